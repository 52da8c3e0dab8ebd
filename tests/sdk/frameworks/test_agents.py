"""The OpenAI Agents SDK, unmodified, through Coalmine and directly against the same mock: the same results."""

import unittest

import openai
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from paths import BOTH, KEY, PNG, PROVOKES, WEATHER, BothPaths, but_the_body
from pydantic import BaseModel

set_tracing_disabled(True)
KINDS = (OpenAIChatCompletionsModel, OpenAIResponsesModel)


class Weather(BaseModel):
    city: str
    degrees: float


@function_tool
def get_weather(city: str, unit: str | None = None) -> str:
    """The weather in a city."""
    return f"21 degrees {unit} in {city}"


def agent(kind, path, **more):
    client = openai.AsyncOpenAI(base_url=path.url, api_key=KEY, max_retries=0)
    return Agent(name="guide", instructions="Be kind.", model=kind(model=path.chat, openai_client=client), **more)


def lasting(result):
    usage = result.context_wrapper.usage
    counted = usage.requests, usage.input_tokens, usage.output_tokens
    return result.final_output, [item.type for item in result.new_items], counted


class Agents(BothPaths):
    not_crossed = (OpenAIResponsesModel,)

    def test_plain(self):
        async def plain(kind, path):
            return lasting(await Runner.run(agent(kind, path), "say hello"))

        self.each(KINDS, plain)

    def test_streamed(self):
        async def stream(kind, path):
            run = Runner.run_streamed(agent(kind, path), "a long story")
            raw = [event.data.type async for event in run.stream_events() if event.type == "raw_response_event"]
            self.assertIn("response.output_text.delta", raw)
            return raw, lasting(run)

        self.each(KINDS, stream)

    def test_a_loop_of_tools(self):
        async def loop(kind, path):
            result = lasting(await Runner.run(agent(kind, path, tools=[get_weather]), "what is the weather"))
            self.assertEqual(result[0], WEATHER)
            return result

        async def streamed(kind, path):
            run = Runner.run_streamed(agent(kind, path, tools=[get_weather]), "what is the weather")
            seen = [event.name async for event in run.stream_events() if event.type == "run_item_stream_event"]
            return seen, lasting(run)

        self.each(KINDS, loop)
        self.each(KINDS, streamed)

    def test_tools_at_once(self):
        async def loop(kind, path):
            result = lasting(await Runner.run(agent(kind, path, tools=[get_weather]), "two tools"))
            self.assertEqual(result[0], BOTH)
            return result

        async def streamed(kind, path):
            run = Runner.run_streamed(agent(kind, path, tools=[get_weather]), "two tools")
            seen = [event.name async for event in run.stream_events() if event.type == "run_item_stream_event"]
            return seen, lasting(run)

        self.each(KINDS, loop)
        self.each(KINDS, streamed)

    def test_structured_output(self):
        async def parsed(kind, path):
            result = lasting(await Runner.run(agent(kind, path, output_type=Weather), "as json"))
            self.assertEqual(result[0], Weather(city="Zürich", degrees=21))
            return result

        self.each(KINDS, parsed)

    def test_images(self):
        picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
        said = [{"role": "user", "content": [{"type": "input_text", "text": "say hello"}, picture]}]

        async def look(kind, path):
            return lasting(await Runner.run(agent(kind, path), said))

        self.each(KINDS, look)

    def test_errors(self):
        for name, prompt in PROVOKES.items():

            async def fail(kind, path):
                return await self.raised(getattr(openai, name), Runner.run(agent(kind, path), prompt))

            self.each(KINDS, fail, crossed=but_the_body)

    def test_a_client_that_leaves(self):
        async def leave(kind, path):
            run = Runner.run_streamed(agent(kind, path), "a long story")
            async for _ in run.stream_events():
                break
            run.cancel()
            async for _ in run.stream_events():
                pass
            return lasting(await Runner.run(agent(kind, path), "say hello"))

        self.each(KINDS, leave)


if __name__ == "__main__":
    unittest.main()
