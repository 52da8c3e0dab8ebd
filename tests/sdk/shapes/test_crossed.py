"""The same shapes where a provider of the other dialect answers: what a client makes of them, and what the provider was asked."""

import json
import unittest

import anthropic
import chat
import messages
import openai
from both import CROSSED, sent, shaped, user

OPENAI, ANTHROPIC, CHAT, MESSAGES = CROSSED.openai, CROSSED.anthropic, CROSSED.chat, CROSSED.messages
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
TOOL = {"name": "get_weather", "input_schema": SCHEMA}
FINISH = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "refusal": "content_filter"}
STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
# What a client of messages can never have asked for.
NOT_FOR_MESSAGES = ("audio", "function_call", "two choices", "logprobs", "cited")
RAISED = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    409: "ConflictError",
    429: "RateLimitError",
    500: "InternalServerError",
}


def said(blocks):
    """Text, thoughts and calls of a message."""
    joined = {kind: "".join(block.get(kind, "") for block in blocks if block["type"] == kind) for kind in ("text", "thinking")}
    calls = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    return joined["text"], joined["thinking"], calls


def of_completion(completion):
    (choice,) = completion.choices
    message = choice.message
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return (message.content or "", getattr(message, "reasoning_content", ""), calls), choice.finish_reason, completion.usage


def of_chunks(chunks):
    """The same of a stream."""
    text, thoughts, calls, finish, usage = "", "", {}, None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thoughts += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
            for piece in choice.delta.tool_calls or []:
                slot = calls.setdefault(piece.index, ["", "", ""])
                for place, part in enumerate((piece.id, piece.function.name, piece.function.arguments)):
                    slot[place] += part or ""
    return (text, thoughts, [(id, name, json.loads(arguments)) for id, name, arguments in calls.values()]), finish, usage


class ChatAnsweredByMessages(unittest.TestCase):
    def test_answers(self):
        for name, told in messages.SHAPES.items():
            finish = FINISH.get(told["stop_reason"], "length")
            with self.subTest(name):
                asked = {"model": CHAT, "messages": user(), **shaped(name)}
                whole = of_completion(OPENAI.chat.completions.create(**asked))
                options = {"stream": True, "stream_options": {"include_usage": True}}
                streamed = of_chunks(OPENAI.chat.completions.create(**asked, **options))
                for answer in (whole, streamed):
                    self.assertEqual(answer[:2], (said(told["content"]), finish))
                for usage in (whole[2], streamed[2]):
                    read = (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens)
                    self.assertEqual((*read, usage.completion_tokens), (2120, 2000, 34))
                    self.assertEqual(usage.completion_tokens_details.reasoning_tokens, 5)

    def asked(self, **more):
        OPENAI.chat.completions.create(model=CHAT, **{"messages": user(), **more}, **shaped("text"))
        return sent()["body"]

    def test_requests(self):
        forms = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
        for chosen, form in forms.items():
            self.assertEqual(self.asked(tools=[FUNCTION], tool_choice=chosen)["tool_choice"], form)
        named = {"type": "function", "function": {"name": "get_weather"}}
        alone = self.asked(tools=[FUNCTION], tool_choice=named, parallel_tool_calls=False)["tool_choice"]
        self.assertEqual(alone, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True})
        other = {"type": "function", "function": {"name": "get_time"}}
        for mode, form in (("auto", "auto"), ("required", "any")):
            allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named]}}
            told = self.asked(tools=[other, FUNCTION], tool_choice=allowed)
            self.assertEqual(([tool["name"] for tool in told["tools"]], told["tool_choice"]), (["get_weather"], {"type": form}))
        told = self.asked(
            messages=[
                {"role": "developer", "content": "Be kind."},
                {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}}]},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "tool_calls": [chat.OSLO, chat.LIMA]},
                {"role": "tool", "tool_call_id": "call_a", "content": "21"},
                {"role": "tool", "tool_call_id": "call_b", "content": ""},
            ],
            stop=["4"],
            max_completion_tokens=7,
            user="u-1",
            seed=None,
            response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA, "strict": True}},
        )
        self.assertEqual([block["text"] for block in told["system"]], ["Be kind.", "Be brief."])
        self.assertEqual([turn["role"] for turn in told["messages"]], ["user", "assistant", "user"])
        source = {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}
        self.assertEqual(told["messages"][0]["content"], [{"type": "image", "source": source}])
        refused, *calls = told["messages"][1]["content"]
        self.assertEqual((refused["text"], [block["id"] for block in calls]), ("No.", ["call_a", "call_b"]))
        self.assertEqual([block["content"] for block in told["messages"][2]["content"]], [[{"type": "text", "text": "21"}], []])
        self.assertEqual((told["stop_sequences"], told["max_tokens"], told["metadata"]), (["4"], 7, {"user_id": "u-1"}))
        self.assertEqual(told["output_config"], {"format": {"type": "json_schema", "schema": SCHEMA}})

    def test_a_schema_that_could_only_be_refused_is_refused_here(self):
        bounded = {**SCHEMA, "properties": {"city": {"type": "string", "minLength": 1}}}
        form = {"type": "json_schema", "json_schema": {"name": "w", "schema": bounded, "strict": True}}
        with self.assertRaisesRegex(openai.BadRequestError, "`minLength` of a schema"):
            self.asked(response_format=form)

    def test_errors(self):
        for status, kind in RAISED.items():
            with self.subTest(status), self.assertRaises(getattr(openai, kind)) as caught:
                OPENAI.chat.completions.create(model=CHAT, messages=user(), **shaped(str(status)))
            self.assertEqual((caught.exception.body["message"], caught.exception.request_id), (f"for {status}", "req_1"))
        with self.assertRaisesRegex(openai.APIError, "for 529"):
            list(OPENAI.chat.completions.create(model=CHAT, messages=user(), stream=True, **shaped("midway")))


class MessagesAnsweredByChat(unittest.TestCase):
    def test_answers(self):
        asked = {"model": MESSAGES, "max_tokens": 9, "messages": user()}
        for name, (told, _) in chat.SHAPES.items():
            if name in NOT_FOR_MESSAGES:
                continue
            (choice,) = told["choices"]
            text = (choice["message"]["content"] or "") + (choice["message"]["refusal"] or "")
            calls = [
                (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in choice["message"].get("tool_calls", ())
            ]
            stop = "refusal" if choice["message"]["refusal"] else STOP[choice["finish_reason"]]
            with self.subTest(name):
                whole = ANTHROPIC.messages.create(**asked, **shaped(name))
                with ANTHROPIC.messages.stream(**asked, **shaped(name)) as events:
                    streamed = events.get_final_message()
                for message in (whole, streamed):
                    heard, _, called = said(message.model_dump()["content"])
                    self.assertEqual((heard, called, message.stop_reason), (text, calls, stop))
                    usage = message.usage
                    self.assertEqual((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (15, 4, 10))
                self.assertEqual(whole.usage.output_tokens_details.thinking_tokens, 3)
                self.assertEqual(whole._request_id, "req_1")

    def asked(self, **more):
        ANTHROPIC.messages.create(model=MESSAGES, max_tokens=9, **{"messages": user(), **more}, **shaped("text"))
        return sent()["body"]

    def test_requests(self):
        forms = {"auto": "auto", "none": "none", "any": "required"}
        for chosen, form in forms.items():
            self.assertEqual(self.asked(tools=[TOOL], tool_choice={"type": chosen})["tool_choice"], form)
        alone = self.asked(tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True})
        self.assertEqual(alone["tool_choice"], {"type": "function", "function": {"name": "get_weather"}})
        self.assertIs(alone["parallel_tool_calls"], False)
        told = self.asked(
            system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]},
                {
                    "role": "assistant",
                    "content": [
                        messages.THINKING,
                        messages.use("toolu_a", "get_weather", city="Oslo"),
                        messages.use("toolu_b", "get_time"),
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "toolu_a", "content": "21"},
                        {"type": "tool_result", "tool_use_id": "toolu_b", "is_error": True, "content": [{"type": "text", "text": "down"}]},
                        {"type": "text", "text": "And?"},
                    ],
                },
                {"role": "system", "content": "Be brief."},
            ],
            stop_sequences=["4"],
            metadata={"user_id": "u-1"},
            output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
        )
        roles = ["system", "user", "assistant", "tool", "tool", "user", "system"]
        self.assertEqual([message["role"] for message in told["messages"]], roles)
        self.assertEqual(told["messages"][1]["content"][0]["image_url"]["url"], "https://example.com/a.png")
        self.assertEqual([call["id"] for call in told["messages"][2]["tool_calls"]], ["toolu_a", "toolu_b"])
        self.assertEqual((told["stop"], told["user"], told["max_tokens"]), (["4"], "u-1", 9))
        self.assertEqual(told["response_format"]["json_schema"]["schema"], SCHEMA)

    def test_errors(self):
        for status, kind in RAISED.items():
            with self.subTest(status), self.assertRaises(getattr(anthropic, kind)) as caught:
                ANTHROPIC.messages.create(model=MESSAGES, max_tokens=9, messages=user(), **shaped(str(status)))
            self.assertEqual((caught.exception.body["error"]["message"], caught.exception.request_id), (f"for {status}", "req_1"))
        with self.assertRaisesRegex(anthropic.APIStatusError, "for 500"):
            list(ANTHROPIC.messages.create(model=MESSAGES, max_tokens=9, messages=user(), stream=True, **shaped("midway")))


if __name__ == "__main__":
    unittest.main(verbosity=1)
