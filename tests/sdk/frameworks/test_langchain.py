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
from paths import KEY, PNG, PROVOKES, THROUGH, WEATHER, BothPaths, sent
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
    def test_plain(self):
        async def plain(model, path):
            return lasting(await model(path).ainvoke("say hello"))

        for text, *_ in self.each(MODELS, plain):
            self.assertIn("你好", text)

    def test_streamed(self):
        async def stream(model, path):
            pieces = [piece async for piece in model(path, stream_usage=True).astream("a long story")]
            return [piece.text for piece in pieces], lasting(joined(pieces))

        for texts, _ in self.each(MODELS, stream):
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

    def test_streamed_tools(self):
        async def stream(model, path):
            bound = model(path).bind_tools([get_weather])
            total = joined([piece async for piece in bound.astream("two tools")])
            return [call["args"]["city"] for call in total.tool_calls]

        for cities in self.each(MODELS, stream):
            self.assertEqual(cities, ["Oslo", "Lima"])

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

        self.each((chat, messages), look)

    def test_errors(self):
        for name in ("RateLimitError", "BadRequestError", "InternalServerError"):

            async def fail(model, path):
                kind = getattr(anthropic if model is messages else openai, name)
                return await self.raised(kind, model(path).ainvoke(PROVOKES[name]))

            self.each(MODELS, fail)

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
