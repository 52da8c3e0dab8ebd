"""The unmodified anthropic SDK through Coalmine and directly against the same mock: the same results; and each SDK
against a route whose provider speaks the other's dialect.

DIRECT_URL and COALMINE_URL name the two base URLs, /v1 included.
"""

import asyncio
import os
import unittest

import anthropic
import openai


def base(name):
    return os.environ[name].removesuffix("/v1")


DIRECT = anthropic.Anthropic(base_url=base("DIRECT_URL"), api_key="test-key", max_retries=0)
THROUGH = anthropic.Anthropic(base_url=base("COALMINE_URL"), api_key="test-key", max_retries=0)
BEARER = anthropic.Anthropic(base_url=base("COALMINE_URL"), api_key=None, auth_token="test-key", max_retries=0)
CHAT_DIRECT = openai.OpenAI(base_url=os.environ["DIRECT_URL"], api_key="test-key", max_retries=0)
CHAT_THROUGH = openai.OpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
NATIVE = [(DIRECT, "claude-sonnet-4-5"), (THROUGH, "helpdesk"), (BEARER, "helpdesk")]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city"],
}
TOOLS = [{"name": "get_weather", "description": "The weather in a city", "input_schema": SCHEMA}]
FUNCTIONS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]


def user(text):
    return [{"role": "user", "content": text}]


def ask(client, model, text, **more):
    return client.messages.create(model=model, max_tokens=500, messages=user(text), **more)


def lasting(message):
    """Everything of an answer but what names the single answer."""
    whole = message.model_dump()
    for key in ("id", "model"):
        whole.pop(key, None)
    for block in whole["content"]:
        block.pop("id", None)
    return whole


def said(message):
    """What a person or a program makes of an answer, whichever dialect it came through."""
    text = "".join(block.text for block in message.content if block.type == "text")
    # The mock cuts its streams between the halves of a surrogate pair; together they are one character again.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    return text, calls, message.stop_reason


class MessagesThroughCoalmine(unittest.TestCase):
    def same(self, check):
        plain, *routed = (check(client, model) for client, model in NATIVE)
        for found in routed:
            self.assertEqual(found, plain)
        return plain

    def test_plain_answer(self):
        answer = self.same(lambda c, m: lasting(ask(c, m, "say hello", system="Be kind.")))
        self.assertIn("你好", answer["content"][0]["text"])

    def test_streamed_answer(self):
        def stream(c, m):
            with c.messages.stream(model=m, max_tokens=500, messages=user("a long story")) as events:
                texts = list(events.text_stream)
                return texts, lasting(events.get_final_message())

        texts, _ = self.same(stream)
        self.assertGreater(len(texts), 3)

    def test_tools(self):
        def stream(c, m):
            with c.messages.stream(model=m, max_tokens=500, messages=user("two tools"), tools=TOOLS) as events:
                return lasting(events.get_final_message())

        whole = self.same(lambda c, m: lasting(ask(c, m, "what is the weather", tools=TOOLS)))
        self.assertEqual(whole["content"][-1]["input"]["city"], "Zürich")
        self.assertEqual(len([b for b in self.same(stream)["content"] if b["type"] == "tool_use"]), 2)

    def test_errors_arrive_as_they_were_sent(self):
        for prompt, kind in (
            ("too many", anthropic.RateLimitError),
            ("bad request", anthropic.BadRequestError),
            ("fall over", anthropic.InternalServerError),
        ):

            def fail(c, m):
                with self.assertRaises(kind) as caught:
                    ask(c, m, prompt)
                return caught.exception.status_code, caught.exception.body

            self.same(fail)

    def test_the_gateways_own_error_is_one_of_the_sdk(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            ask(THROUGH, "nobody", "hi")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")

    def test_models_are_listed(self):
        self.assertIn("helpdesk", [model.id for model in THROUGH.models.list()])

    def test_async_client_leaves_in_mid_stream(self):
        async def leave():
            client = anthropic.AsyncAnthropic(base_url=base("COALMINE_URL"), api_key="test-key", max_retries=0)
            async with client.messages.stream(
                model="helpdesk", max_tokens=500, messages=user("a long story")
            ) as events:
                async for _ in events.text_stream:
                    break
            after = await client.messages.create(model="helpdesk", max_tokens=500, messages=user("say hello"))
            await client.close()
            return said(after)

        self.assertEqual(asyncio.run(leave())[2], "end_turn")


class AcrossDialects(unittest.TestCase):
    """`support` is served by a provider of chat completions, `helpdesk` by one of messages."""

    def test_messages_answered_by_chat_completions(self):
        for text in ("say hello", "a long story"):
            plain, crossed = (said(ask(c, m, text)) for c, m in ((DIRECT, "claude-sonnet-4-5"), (THROUGH, "support")))
            self.assertEqual(crossed, plain)
            with THROUGH.messages.stream(model="support", max_tokens=500, messages=user(text)) as events:
                self.assertEqual(said(events.get_final_message()), plain)

    def test_tools_of_messages_called_by_chat_completions(self):
        for text in ("what is the weather", "two tools"):
            plain = said(ask(DIRECT, "claude-sonnet-4-5", text, tools=TOOLS))
            self.assertEqual(said(ask(THROUGH, "support", text, tools=TOOLS)), plain)
            with THROUGH.messages.stream(
                model="support", max_tokens=500, messages=user(text), tools=TOOLS
            ) as events:
                self.assertEqual(said(events.get_final_message()), plain)

    def test_chat_completions_answered_by_messages(self):
        def whole(c, m, text, **more):
            choice = c.chat.completions.create(model=m, messages=user(text), **more).choices[0]
            calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
            return choice.message.content, calls, choice.finish_reason

        def streamed(c, m, text, **more):
            text_, calls, finish = "", {}, None
            for chunk in c.chat.completions.create(model=m, messages=user(text), stream=True, **more):
                for choice in chunk.choices:
                    text_ += choice.delta.content or ""
                    finish = choice.finish_reason or finish
                    for call in choice.delta.tool_calls or []:
                        slot = calls.setdefault(call.index, ["", ""])
                        slot[0] += call.function.name or ""
                        slot[1] += call.function.arguments or ""
            return text_, [tuple(call) for call in calls.values()], finish

        for check in (whole, streamed):
            for text, more in (("say hello", {}), ("a long story", {}), ("two tools", {"tools": FUNCTIONS})):
                plain = check(CHAT_DIRECT, "gpt-4o-mini", text, **more)
                self.assertEqual(check(CHAT_THROUGH, "helpdesk", text, **more), plain, (check.__name__, text))

    def test_errors_are_those_of_the_sdk_that_asks(self):
        with self.assertRaises(anthropic.RateLimitError) as caught:
            ask(THROUGH, "support", "too many")
        self.assertEqual(caught.exception.body["error"]["type"], "rate_limit_error")
        with self.assertRaises(openai.BadRequestError) as refused:
            CHAT_THROUGH.chat.completions.create(model="helpdesk", messages=user("bad request"))
        self.assertIn("temperature", refused.exception.message)

    def test_what_cannot_be_said_is_refused(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            CHAT_THROUGH.chat.completions.create(model="helpdesk", messages=user("say hello"), seed=7)
        self.assertIn("seed", refused.exception.message)


if __name__ == "__main__":
    unittest.main(verbosity=1)
