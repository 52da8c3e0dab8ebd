"""The shapes by frameworks: the same through Coalmine as directly, and what was said where the provider speaks the other
dialect."""

import dataclasses
import json
import re
import unittest

import chat
import messages
import pydantic
from agents.exceptions import ModelBehaviorError
from both import CROSSED, WAYS, raised
from frameworks import OF_CHAT, OF_MESSAGES, agents_chat
from test_crossed import NOT_FOR_MESSAGES, said

STATUS = (400, 401, 404, 413, 429, 500, 529)
# What is of the single call: times, and the ids and names that frameworks give themselves.
OF_THE_CALL = {"created", "created_at", "timestamp", "run_id", "conversation_id", "model", "duration_ms", "provider_url"}
OWN_ID = re.compile(r"(lc_run-|chatcmpl-|resp_|run-)-?[0-9a-f-]{32,}\S*|__fake_id__|pyd_ai_[0-9a-f]+")


def plain(value):
    """All that is told of a value but what is of the single call."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump(mode="python", warnings=False)
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key not in OF_THE_CALL}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return OWN_ID.sub("", value) if isinstance(value, str) else value


def found(ask, way, shape, stream):
    """What a framework tells or raises."""
    try:
        return ask(way, shape, stream)
    except Exception as error:  # frameworks raise what their SDKs do as well: it is what is compared
        return *raised(error), re.sub(r"model_name: \S+", "", str(error))


class Frameworks(unittest.TestCase):
    maxDiff = 4000

    def each(self, asks, shapes, check, streams=(False, True)):
        for ask in asks:
            for shape in shapes:
                for stream in streams:
                    with self.subTest(ask=ask.__name__, shape=shape, stream=stream):
                        check(ask, shape, stream)

    def test_all_that_is_told_is_the_same(self):
        def check(ask, shape, stream):
            direct, through = (plain(found(ask, way, shape, stream)) for way in WAYS)
            self.assertEqual(through, direct)

        self.each(OF_CHAT, chat.SHAPES, check)
        self.each(OF_MESSAGES, messages.SHAPES, check)

    def test_errors_are_the_same_whoever_answers(self):
        def check(ask, shape, stream):
            direct, through, crossed = (found(ask, way, shape, stream) for way in (*WAYS, CROSSED))
            self.assertEqual(plain(through), plain(direct))
            (kind, told, again, words), as_direct = crossed, (direct[0], direct[1]["status_code"], direct[2])
            self.assertEqual((kind, told["status_code"], again), as_direct)
            self.assertIn(f"for {shape}", words)

        for asks in (OF_CHAT, OF_MESSAGES):
            self.each(asks, [str(status) for status in STATUS], check)

    def test_an_error_in_the_middle_of_a_stream_is_raised_whoever_answers(self):
        def check(ask, shape, stream):
            direct, through, crossed = (plain(found(ask, way, shape, stream)) for way in (*WAYS, CROSSED))
            self.assertEqual(through, direct)
            # the one dialect's provider fails with 500, the other's with 529
            self.assertRegex(crossed[-1], "for (500|529)")

        self.each((*OF_CHAT, *OF_MESSAGES), ["midway"], check, streams=(True,))

    def test_what_messages_say_is_heard_by_clients_of_chat_completions(self):
        def check(ask, shape, stream):
            if (ask, shape) == (agents_chat, "paused"):
                # a turn that pauses is not finished, and this one knows that an empty one that was cut is no answer
                with self.assertRaisesRegex(ModelBehaviorError, "'length'"):
                    ask(CROSSED, shape, stream)
                return
            text, _, calls = said(messages.SHAPES[shape]["content"])
            self.assertEqual(ask(CROSSED, shape, stream)[1], (text, calls, (2120, 34)))

        self.each(OF_CHAT, messages.SHAPES, check)

    def test_what_chat_completions_say_is_heard_by_clients_of_messages(self):
        def check(ask, shape, stream):
            message = chat.SHAPES[shape][0]["choices"][0]["message"]
            text = (message["content"] or "") + (message["refusal"] or "")
            calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ())]
            self.assertEqual(ask(CROSSED, shape, stream)[1], (text, calls, (19, 10)))

        self.each(OF_MESSAGES, [shape for shape in chat.SHAPES if shape not in NOT_FOR_MESSAGES], check)


if __name__ == "__main__":
    unittest.main(verbosity=1)
