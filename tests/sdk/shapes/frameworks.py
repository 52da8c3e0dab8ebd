"""Frameworks, unmodified, each asked for one shape: `ask(way, shape, stream)` gives all that it tells of the answer, and of that
its text, its calls of tools and its tokens."""

import asyncio
import json
import os

# LiteLLM would ask the internet for these.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"

import functools
import operator

import litellm
import pydantic_ai.direct
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from anthropic import AsyncAnthropic
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

KEY = "test-key"
LOOP = asyncio.new_event_loop()
litellm.telemetry = False
litellm.suppress_debug_info = True
set_tracing_disabled(True)


def calls_of(calls):
    return sorted((id, name, json.loads(asked) if isinstance(asked, str) else asked) for id, name, asked in calls)


def of_langchain(model, stream):
    pieces = list(model.stream("hi")) if stream else [model.invoke("hi")]
    whole = functools.reduce(operator.add, pieces)
    usage = whole.usage_metadata or {}
    calls = calls_of((call["id"], call["name"], call["args"]) for call in whole.tool_calls)
    return pieces, (whole.text, calls, (usage.get("input_tokens"), usage.get("output_tokens")))


def langchain_chat(way, shape, stream):
    more = {"max_retries": 0, "default_headers": {"x-shape": shape}, "stream_usage": True}
    return of_langchain(ChatOpenAI(model=way.chat, base_url=f"{way.url}/v1", api_key=KEY, **more), stream)


def langchain_messages(way, shape, stream):
    more = {"max_retries": 0, "default_headers": {"x-shape": shape}, "max_tokens": 500}
    return of_langchain(ChatAnthropic(model=way.messages, base_url=way.url, api_key=KEY, **more), stream)


def of_litellm(shape, stream, **more):
    said = [{"role": "user", "content": "hi"}]
    more |= {"api_key": KEY, "max_retries": 0, "extra_headers": {"x-shape": shape}}
    if stream:
        pieces = list(litellm.completion(messages=said, stream=True, stream_options={"include_usage": True}, **more))
        whole = litellm.stream_chunk_builder(pieces)
    else:
        pieces = [whole := litellm.completion(messages=said, **more)]
    message = whole.choices[0].message
    calls = calls_of((call.id, call.function.name, call.function.arguments) for call in message.tool_calls or [])
    return pieces, (message.content or "", calls, (whole.usage.prompt_tokens, whole.usage.completion_tokens))


def litellm_chat(way, shape, stream):
    return of_litellm(shape, stream, model=f"openai/{way.chat}", api_base=f"{way.url}/v1")


def litellm_messages(way, shape, stream):
    return of_litellm(shape, stream, model=f"anthropic/{way.messages}", api_base=way.url, max_tokens=500)


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "cold"


@function_tool(strict_mode=False)
def get_time(city: str = "here") -> str:
    """The time in a city."""
    return "late"


def agents_chat(way, shape, stream):
    client = AsyncOpenAI(base_url=f"{way.url}/v1", api_key=KEY, max_retries=0)
    settings = ModelSettings(extra_headers={"x-shape": shape}, include_usage=True)
    model = OpenAIChatCompletionsModel(model=way.chat, openai_client=client)
    tools = {"tools": [get_weather, get_time], "tool_use_behavior": "stop_on_first_tool"}
    agent = Agent(name="guide", model=model, model_settings=settings, **tools)

    async def run():
        if not stream:
            return [], await Runner.run(agent, "hi")
        result = Runner.run_streamed(agent, "hi")
        return [event.data async for event in result.stream_events() if event.type == "raw_response_event"], result

    pieces, result = LOOP.run_until_complete(run())
    items = [item for response in result.raw_responses for item in response.output]
    texts = [part for item in items if item.type == "message" for part in item.content]
    text = "".join(getattr(part, "text", None) or getattr(part, "refusal", "") for part in texts)
    calls = calls_of((item.call_id, item.name, item.arguments) for item in items if item.type == "function_call")
    usage = result.context_wrapper.usage
    return [pieces, items], (text, calls, (usage.input_tokens, usage.output_tokens))


def of_pydantic_ai(model, shape, stream):
    asked = model, [ModelRequest.user_text_prompt("hi")]
    settings = {"extra_headers": {"x-shape": shape}, "max_tokens": 500}

    async def run():
        if not stream:
            return [], await pydantic_ai.direct.model_request(*asked, model_settings=settings)
        async with pydantic_ai.direct.model_request_stream(*asked, model_settings=settings) as events:
            return [event async for event in events], events.get()

    pieces, whole = LOOP.run_until_complete(run())
    text = "".join(part.content for part in whole.parts if part.part_kind == "text")
    calls = calls_of((part.tool_call_id, part.tool_name, part.args_as_dict()) for part in whole.parts if part.part_kind == "tool-call")
    return [pieces, whole], (text, calls, (whole.usage.input_tokens, whole.usage.output_tokens))


def pydantic_ai_chat(way, shape, stream):
    client = AsyncOpenAI(base_url=f"{way.url}/v1", api_key=KEY, max_retries=0)
    return of_pydantic_ai(OpenAIChatModel(way.chat, provider=OpenAIProvider(openai_client=client)), shape, stream)


def pydantic_ai_messages(way, shape, stream):
    client = AsyncAnthropic(base_url=way.url, api_key=KEY, max_retries=0)
    return of_pydantic_ai(AnthropicModel(way.messages, provider=AnthropicProvider(anthropic_client=client)), shape, stream)


OF_CHAT = (langchain_chat, litellm_chat, agents_chat, pydantic_ai_chat)
OF_MESSAGES = (langchain_messages, litellm_messages, pydantic_ai_messages)
