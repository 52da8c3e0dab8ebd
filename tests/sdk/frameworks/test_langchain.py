"""LangChain's chat models, unmodified, through Coalmine and directly against the same mock: the same results."""

import functools
import operator
import unittest

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from paths import BOTH, KEY, PNG, PROVOKES, THROUGH, WEATHER, BothPaths, but_the_body, but_what_was_sent, in_either_dialect, sent
from pydantic import BaseModel


@tool
def get_weather(city: str, unit: str = "celsius") -> str:
    """The weather in a city."""
    return f"21 degrees {unit} in {city}"


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: float


def chat(path, **more):
    return ChatOpenAI(model=path.chat, base_url=path.url, api_key=KEY, max_retries=0, **more)


def responses(path, **more):
    return chat(path, use_responses_api=True, **more)


def messages(path, **more):
    return ChatAnthropic(model=path.messages, base_url=path.root, api_key=KEY, max_retries=0, max_tokens=500, **more)


MODELS = (chat, responses, messages)


def lasting(message):
    """Everything of an answer but what names the single answer."""
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    ends = message.response_metadata.get("finish_reason"), message.response_metadata.get("stop_reason")
    return message.text, calls, ends, message.usage_metadata


def joined(pieces):
    return functools.reduce(operator.add, pieces)


class LangChain(BothPaths):
    not_crossed = (responses,)

    def test_plain(self):
        async def plain(model, path):
            return lasting(await model(path).ainvoke("say hello"))

        for text, *_ in self.each(MODELS, plain):
            self.assertIn("你好", text)

    def test_streamed(self):
        async def stream(model, path):
            pieces = [piece async for piece in model(path, stream_usage=True).astream("a long story")]
            return [piece.text for piece in pieces], lasting(joined(pieces))

        # the mock's streams of messages begin without the tokens that were read
        def said(found):
            return in_either_dialect([found[0], found[1][:3]])

        for texts, _ in self.each(MODELS, stream, crossed=said):
            self.assertGreater(len(texts), 3)

    def test_a_loop_of_tools(self):
        async def loop(model, path):
            bound = model(path).bind_tools([get_weather])
            said = [HumanMessage("what is the weather")]
            answer = await bound.ainvoke(said)
            results = [ToolMessage(get_weather.invoke(c["args"]), tool_call_id=c["id"]) for c in answer.tool_calls]
            last = await bound.ainvoke([*said, answer, *results])
            return lasting(answer), [result.text for result in results], lasting(last)

        for _, results, last in self.each(MODELS, loop):
            self.assertEqual(results, ["21 degrees celsius in Zürich"])
            self.assertEqual(last[0], WEATHER)

    def test_tools_at_once(self):
        async def loop(bound, said, answer):
            results = [ToolMessage(get_weather.invoke(c["args"]), tool_call_id=c["id"]) for c in answer.tool_calls]
            last = await bound.ainvoke([*said, answer, *results])
            return [call["args"]["city"] for call in answer.tool_calls], lasting(last)

        async def whole(model, path):
            bound, said = model(path).bind_tools([get_weather]), [HumanMessage("two tools")]
            return await loop(bound, said, await bound.ainvoke(said))

        async def stream(model, path):
            bound, said = model(path).bind_tools([get_weather]), [HumanMessage("two tools")]
            return await loop(bound, said, joined([piece async for piece in bound.astream(said)]))

        for way in (whole, stream):
            for cities, last in self.each(MODELS, way):
                self.assertEqual((cities, last[0]), (["Oslo", "Lima"], BOTH))

    def test_structured_output(self):
        async def ask(model, path):
            return await model(path).with_structured_output(Weather, method="json_schema").ainvoke("as json")

        for found in self.each(MODELS, ask):
            self.assertEqual(found, Weather(city="Zürich", degrees=21))

    def test_images(self):
        picture = {"type": "image", "base64": PNG, "mime_type": "image/png"}

        async def look(model, path):
            said = HumanMessage([{"type": "text", "text": "say hello"}, picture])
            return lasting(await model(path).ainvoke([said])), sent(model is messages)

        self.each((chat, messages), look, crossed=but_what_was_sent)

    def test_errors(self):
        for name in ("RateLimitError", "BadRequestError", "InternalServerError"):

            async def fail(model, path):
                kind = getattr(anthropic if model is messages else openai, name)
                return await self.raised(kind, model(path).ainvoke(PROVOKES[name]))

            self.each(MODELS, fail, crossed=but_the_body)

    def test_a_client_that_leaves(self):
        async def leave(model, path):
            stream = model(path).astream("a long story")
            async for _ in stream:
                break
            await stream.aclose()
            return lasting(await model(path).ainvoke("say hello"))

        self.each(MODELS, leave)

    def test_embeddings(self):
        async def embed(path):
            model = path.chat if path is THROUGH else "text-embedding-3-small"
            asks = OpenAIEmbeddings(model=model, base_url=path.url, api_key=KEY, check_embedding_ctx_length=False)
            return [len(vector) for vector in await asks.aembed_documents(["one", "two"])]

        # only who names an index is ever split
        self.same(embed, arms=("stable",))


if __name__ == "__main__":
    unittest.main()
