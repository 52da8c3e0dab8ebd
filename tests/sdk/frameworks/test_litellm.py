"""LiteLLM's client, unmodified, through Coalmine and directly against the same mock: the same results."""

import json
import os
import unittest

# It would ask the internet for these.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"

import litellm
from paths import BOTH, KEY, PNG, PROVOKES, WEATHER, BothPaths, but_the_body, but_what_was_sent, sent
from pydantic import BaseModel

litellm.telemetry = False
litellm.suppress_debug_info = True

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


class Weather(BaseModel):
    city: str
    degrees: float


def openai_chat(path):
    return {"model": f"openai/{path.chat}", "api_base": path.url}


def anthropic_messages(path):
    return {"model": f"anthropic/{path.messages}", "api_base": path.root, "max_tokens": 500}


WAYS = (openai_chat, anthropic_messages)


async def ask(way, path, messages, **more):
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return await litellm.acompletion(messages=messages, api_key=KEY, max_retries=0, **way(path), **more)


def lasting(answer):
    choice = answer.choices[0]
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    return choice.message.content, calls, choice.finish_reason, answer.usage.total_tokens


class LiteLlm(BothPaths):
    def test_plain(self):
        async def plain(way, path):
            return lasting(await ask(way, path, "say hello"))

        self.each(WAYS, plain)

    def test_streamed(self):
        async def stream(way, path):
            pieces = [p async for p in await ask(way, path, "a long story", stream=True)]
            self.assertGreater(len(pieces), 3)
            text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
            return len(pieces), text, [p.choices[0].finish_reason for p in pieces if p.choices[0].finish_reason]

        self.each(WAYS, stream)

    def test_a_loop_of_tools(self):
        async def loop(way, path):
            said = [{"role": "user", "content": "what is the weather"}]
            first = await ask(way, path, said, tools=TOOLS)
            call = first.choices[0].message.tool_calls[0]
            said.append(first.choices[0].message.model_dump(exclude_none=True))
            said.append({"role": "tool", "tool_call_id": call.id, "content": "21 degrees"})
            last = await ask(way, path, said, tools=TOOLS)
            self.assertEqual(last.choices[0].message.content, WEATHER)
            return lasting(first), lasting(last)

        self.each(WAYS, loop)

    def test_tools_at_once(self):
        async def loop(way, path, asked, message):
            said = [asked, message.model_dump(exclude_none=True)]
            said += [{"role": "tool", "tool_call_id": call.id, "content": "cold"} for call in message.tool_calls]
            last = await ask(way, path, said, tools=TOOLS)
            self.assertEqual(last.choices[0].message.content, BOTH)
            return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls], lasting(last)

        async def whole(way, path):
            asked = {"role": "user", "content": "two tools"}
            return await loop(way, path, asked, (await ask(way, path, [asked], tools=TOOLS)).choices[0].message)

        async def stream(way, path):
            asked = {"role": "user", "content": "two tools"}
            pieces = [p async for p in await ask(way, path, [asked], stream=True, tools=TOOLS)]
            return await loop(way, path, asked, litellm.stream_chunk_builder(pieces).choices[0].message)

        for way in (whole, stream):
            for calls, _ in self.each(WAYS, way):
                self.assertEqual(len(calls), 2)

    def test_structured_output(self):
        async def parsed(way, path):
            answer = await ask(way, path, "as json", response_format=Weather)
            return Weather.model_validate_json(answer.choices[0].message.content)

        self.each(WAYS, parsed)

    def test_images(self):
        async def picture(way, path):
            content = [
                {"type": "text", "text": "say hello"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ]
            answer = lasting(await ask(way, path, [{"role": "user", "content": content}]))
            return answer, sent(way is anthropic_messages)

        self.each(WAYS, picture, crossed=but_what_was_sent)

    def test_errors(self):
        for name, prompt in PROVOKES.items():

            async def fail(way, path):
                return await self.raised(getattr(litellm, name), ask(way, path, prompt))

            self.each(WAYS, fail, crossed=but_the_body)

    def test_a_client_that_leaves(self):
        async def leave(way, path):
            stream = await ask(way, path, "a long story", stream=True)
            async for _ in stream:
                break
            await stream.aclose()
            return lasting(await ask(way, path, "say hello"))

        self.each(WAYS, leave)


if __name__ == "__main__":
    unittest.main()
