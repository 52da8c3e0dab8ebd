"""Shapes of all three surfaces, and what goes with them, by the unmodified SDKs: the same through Coalmine as directly."""

import unittest

import chat
import messages
import openai
import pydantic
import responses
from both import BothWays, shaped, user

STREAM_OPTIONS = (openai.omit, {"include_usage": True}, {"include_usage": False}, {"include_obfuscation": False})
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
BETAS = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27", "fine-grained-tool-streaming-2025-05-14"]
MARK = {"type": "ephemeral", "ttl": "1h"}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
STATUS = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 529)


class Weather(pydantic.BaseModel):
    city: str
    degrees: float


def each(out, events):
    out.extend(events)


def helped(out, manager, last):
    """The events of a helper, and what it makes of them."""
    with manager as stream:
        out.extend(stream)
        return getattr(stream, last)()


class Chat(BothWays):
    def test_answers(self):
        for name in chat.SHAPES:
            more = shaped(name)

            def streams(way, out, **stream_options):
                create = way.openai.chat.completions.create
                each(out, create(model=way.chat, messages=user(), stream=True, **stream_options, **more))

            self.same(name, lambda way, _: way.openai.chat.completions.create(model=way.chat, messages=user(), **more))
            for options in STREAM_OPTIONS:
                self.same(f"{name}, {options}", lambda way, out: streams(way, out, stream_options=options))

    def test_helpers(self):
        for name in ("json", "refusal", "cut", "filtered"):
            more = {"messages": user(), "response_format": Weather, **shaped(name)}
            self.same(name, lambda way, _: way.openai.chat.completions.parse(model=way.chat, **more))
        for name in ("json", "refusal", "cut", "parallel", "interleaved", "logprobs", "two choices"):
            more = {"messages": user(), "stream_options": {"include_usage": True}, **shaped(name)}
            self.same(
                f"{name} streamed",
                lambda way, out: helped(out, way.openai.chat.completions.stream(model=way.chat, **more), "get_final_completion"),
            )

    def test_what_is_asked_goes_on_as_it_is(self):
        said = [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "name": "bob", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
            {"role": "assistant", "content": None, "tool_calls": [chat.OSLO]},
            {"role": "tool", "tool_call_id": "call_a", "content": [{"type": "text", "text": "21"}]},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "assistant", "audio": {"id": "audio_1"}},
            {"role": "user", "content": ""},
        ]
        asked = {"n": 2, "logprobs": True, "top_logprobs": 2, "seed": 7, "stop": None, "store": True, "metadata": {"a": "b"}}
        sound = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
        unknown = {"extra_body": {"later": {"deep": [1, None, 12345678901234567890]}}}
        more = {"messages": said, "parallel_tool_calls": False, **asked, **sound, **unknown, **shaped("text")}
        self.same("all", lambda way, _: way.openai.chat.completions.create(model=way.chat, **more))


class Responses(BothWays):
    def test_answers(self):
        for name, answer in responses.SHAPES.items():
            more = {"background": True} if answer.get("background") else {}
            more |= {"input": user(), "include": ["reasoning.encrypted_content"], **shaped(name)}
            self.same(name, lambda way, _: way.openai.responses.create(model=way.chat, **more))
            if name == "queued":
                continue
            self.same(f"{name} streamed", lambda way, out: each(out, way.openai.responses.create(model=way.chat, stream=True, **more)))
            if name != "failed":
                stream = {"input": "hi", **shaped(name)}
                self.same(
                    f"{name} helped",
                    lambda way, out: helped(out, way.openai.responses.stream(model=way.chat, **stream), "get_final_response"),
                )

    def test_structured_output(self):
        for name in ("json", "refusal"):
            more = {"input": "hi", "text_format": Weather, **shaped(name)}
            self.same(name, lambda way, _: way.openai.responses.parse(model=way.chat, **more))

    def test_what_is_asked_of_a_response(self):
        text = shaped("text")

        def life(way, out):
            asks = way.openai.responses
            out.append(asks.create(model=way.chat, input="hi", background=True, **shaped("queued")))
            out.append(asks.retrieve("resp_1", **text))
            each(out, asks.retrieve("resp_1", stream=True, starting_after=2, **shaped("background")))
            out.append(asks.create(model=way.chat, input="and?", previous_response_id="resp_1", **text))
            out.append(list(asks.input_items.list("resp_1", order="asc", **text)))
            out.append(asks.input_tokens.count(model=way.chat, input="hi", **text))
            out.append(asks.cancel("resp_1", **text))
            asks.delete("resp_1", **text)

        self.same("its life", life)


class Messages(BothWays):
    asked = {
        "max_tokens": 500,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": MARK}, {"type": "text", "text": "Be brief."}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [
            {"name": "get_weather", "input_schema": SCHEMA, "cache_control": MARK},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": MARK}]},
            {
                "role": "assistant",
                "content": [messages.THINKING, messages.REDACTED, *(messages.use(f"toolu_{id}", "get_weather") for id in "ab")],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_a", "content": [{"type": "image", "source": PNG}]},
                    {"type": "tool_result", "tool_use_id": "toolu_b", "is_error": True, "content": "down"},
                ],
            },
            {"role": "assistant", "content": messages.SHAPES["searched"]["content"]},
            {"role": "user", "content": "and?"},
            {"role": "system", "content": "Be brief."},
        ],
    }

    def test_answers(self):
        for name in messages.SHAPES:
            more = {**self.asked, **shaped(name)}
            self.same(name, lambda way, _: way.anthropic.messages.create(model=way.messages, **more))
            self.same(
                f"{name} streamed", lambda way, out: each(out, way.anthropic.messages.create(model=way.messages, stream=True, **more))
            )
            self.same(
                f"{name} helped",
                lambda way, out: helped(
                    out, way.anthropic.beta.messages.stream(model=way.messages, betas=BETAS, **more), "get_final_message"
                ),
            )

    def test_structured_output(self):
        more = {"max_tokens": 9, "messages": user(), "output_format": Weather, **shaped("json")}
        self.same("whole", lambda way, _: way.anthropic.messages.parse(model=way.messages, **more))

    def test_counted_tokens(self):
        counted = {key: value for key, value in self.asked.items() if key != "max_tokens"}
        self.same("tokens", lambda way, _: way.anthropic.messages.count_tokens(model=way.messages, **counted))


def surfaces(name, stream, **more):
    """The same asked on each surface."""
    more |= {"stream": stream, **shaped(name)}
    yield "chat", lambda way, out: each(out, way.openai.chat.completions.create(model=way.chat, messages=user(), **more))
    yield "responses", lambda way, out: each(out, way.openai.responses.create(model=way.chat, input="hi", **more))
    yield "messages", lambda way, out: each(out, way.anthropic.messages.create(model=way.messages, max_tokens=9, messages=user(), **more))


class Failures(BothWays):
    def test_refusals_raise_the_same(self):
        for status in STATUS:
            for surface, ask in surfaces(str(status), stream=status % 2 == 0):
                self.same(f"{status} on {surface}", ask)

    def test_an_error_in_the_middle_of_a_stream_raises_the_same(self):
        for surface, ask in surfaces("midway", stream=True):
            self.same(surface, ask)

    def test_a_client_that_waits_no_longer_raises_the_same(self):
        for name, stream in (("slow", False), ("stalls", True)):
            for surface, ask in surfaces(name, stream, timeout=0.25):
                self.same(f"{name} on {surface}", ask)


class Headers(BothWays):
    def test_what_the_provider_says_of_the_request(self):
        names = (
            "x-request-id",
            "request-id",
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-requests-remaining",
            "openai-processing-ms",
        )

        def told(raw):
            return [raw.headers.get(name) for name in names], raw.parse()

        chat_raw = {"messages": user(), **shaped("text")}
        self.same("chat", lambda way, _: told(way.openai.chat.completions.with_raw_response.create(model=way.chat, **chat_raw)))
        self.same(
            "messages",
            lambda way, _: told(way.anthropic.messages.with_raw_response.create(model=way.messages, max_tokens=9, **chat_raw)),
        )


if __name__ == "__main__":
    unittest.main(verbosity=1)
