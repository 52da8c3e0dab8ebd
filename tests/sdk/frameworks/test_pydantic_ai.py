"""Pydantic AI, unmodified, through Coalmine and directly against the same mock: the same results."""

import base64
import unittest

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from paths import BOTH, KEY, PNG, PROVOKES, WEATHER, BothPaths, but_the_body
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class Weather(BaseModel):
    city: str
    degrees: float


def chat(path):
    client = AsyncOpenAI(base_url=path.url, api_key=KEY, max_retries=0)
    return OpenAIChatModel(path.chat, provider=OpenAIProvider(openai_client=client))


def responses(path):
    client = AsyncOpenAI(base_url=path.url, api_key=KEY, max_retries=0)
    return OpenAIResponsesModel(path.chat, provider=OpenAIProvider(openai_client=client))


def messages(path):
    client = AsyncAnthropic(base_url=path.root, api_key=KEY, max_retries=0)
    return AnthropicModel(path.messages, provider=AnthropicProvider(anthropic_client=client))


MODELS = (chat, responses, messages)


def agent(model, path, **more):
    made = Agent(model(path), instructions="Be kind.", **more)

    @made.tool_plain
    def get_weather(city: str, unit: str = "celsius") -> str:
        """The weather in a city."""
        return f"21 degrees {unit} in {city}"

    return made


def lasting(run):
    usage = run.usage() if callable(run.usage) else run.usage
    parts = [[part.part_kind for part in message.parts] for message in run.all_messages()]
    return parts, (usage.requests, usage.input_tokens, usage.output_tokens, usage.tool_calls)


class PydanticAi(BothPaths):
    not_crossed = (responses,)

    def test_plain(self):
        async def plain(model, path):
            run = await agent(model, path).run("say hello")
            return run.output, lasting(run)

        self.each(MODELS, plain)

    def test_streamed(self):
        async def stream(model, path):
            async with agent(model, path).run_stream("a long story") as run:
                pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
                self.assertGreater(len(pieces), 3)
                return pieces, lasting(run)

        self.each(MODELS, stream)

    def test_a_loop_of_tools(self):
        async def loop(model, path):
            run = await agent(model, path).run("what is the weather")
            self.assertEqual(run.output, WEATHER)
            return run.output, lasting(run)

        async def streamed(model, path):
            async with agent(model, path).run_stream("what is the weather") as run:
                return await run.get_output(), lasting(run)

        self.each(MODELS, loop)
        self.each(MODELS, streamed)

    def test_tools_at_once(self):
        async def loop(model, path):
            run = await agent(model, path).run("two tools")
            self.assertEqual(run.output, BOTH)
            return run.output, lasting(run)

        async def streamed(model, path):
            async with agent(model, path).run_stream("two tools") as run:
                return await run.get_output(), lasting(run)

        self.each(MODELS, loop)
        self.each(MODELS, streamed)

    def test_structured_output(self):
        async def native(model, path):
            run = await Agent(model(path), output_type=NativeOutput(Weather)).run("as json")
            self.assertEqual(run.output, Weather(city="Zürich", degrees=21))
            return run.output, lasting(run)

        async def by_tool(model, path):
            run = await Agent(model(path), output_type=Weather).run("by the last tool")
            self.assertEqual(run.output, Weather(city="Zürich", degrees=21))
            return run.output, lasting(run)

        self.each(MODELS, native)
        self.each(MODELS, by_tool)

    def test_images(self):
        picture = BinaryContent(base64.b64decode(PNG), media_type="image/png")

        async def look(model, path):
            run = await agent(model, path).run(["say hello", picture])
            return run.output, lasting(run)

        self.each(MODELS, look)

    def test_errors(self):
        for prompt in PROVOKES.values():

            async def fail(model, path):
                return await self.raised(ModelHTTPError, agent(model, path).run(prompt))

            self.each(MODELS, fail, crossed=but_the_body)

    def test_a_client_that_leaves(self):
        async def leave(model, path):
            async with agent(model, path).run_stream("a long story") as run:
                async for _ in run.stream_text(delta=True, debounce_by=None):
                    break
            return (await agent(model, path).run("say hello")).output

        self.each(MODELS, leave)


if __name__ == "__main__":
    unittest.main()
