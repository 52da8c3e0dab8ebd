"""The unmodified openai SDK through Coalmine and directly against the same mock: the same results.

DIRECT_URL and COALMINE_URL name the two base URLs; the model is a real name on the direct path and
the route's name through Coalmine.
"""

import asyncio
import json
import os
import unittest
import uuid

import openai

DIRECT = openai.OpenAI(base_url=os.environ["DIRECT_URL"], api_key="test-key", max_retries=0)
THROUGH = openai.OpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
PATHS = [(DIRECT, "gpt-4o-mini"), (THROUGH, "support")]
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


def user(text):
    return [{"role": "user", "content": text}]


def lasting(completion):
    """Everything of an answer but what names the single answer or the moment."""
    whole = completion.model_dump()
    for key in ("id", "created", "system_fingerprint"):
        whole.pop(key, None)
    for choice in whole["choices"]:
        for call in choice["message"].get("tool_calls") or []:
            call.pop("id")
    return whole


def collect(stream):
    text, finish, usage, chunks, calls = "", [], None, 0, {}
    for chunk in stream:
        chunks += 1
        usage = chunk.usage.model_dump() if chunk.usage else usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                finish.append(choice.finish_reason)
            for call in choice.delta.tool_calls or []:
                slot = calls.setdefault(call.index, ["", ""])
                slot[0] += call.function.name or ""
                slot[1] += call.function.arguments or ""
    return {"text": text, "finish": finish, "usage": usage, "chunks": chunks, "calls": calls}


class SameThroughCoalmine(unittest.TestCase):
    def same(self, ask):
        plain, routed = (ask(client, model) for client, model in PATHS)
        self.assertEqual(routed, plain)
        return routed

    def test_plain_answer(self):
        answer = self.same(lambda c, m: lasting(c.chat.completions.create(model=m, messages=user("say hello"))))
        self.assertIn("你好", answer["choices"][0]["message"]["content"])

    def test_streamed_answer(self):
        answer = self.same(
            lambda c, m: collect(c.chat.completions.create(model=m, messages=user("a long story"), stream=True))
        )
        self.assertGreater(answer["chunks"], 5)
        self.assertIsNone(answer["usage"], "usage that was not asked for does not show")

    def test_streamed_answer_with_usage(self):
        options = {"include_usage": True}
        answer = self.same(
            lambda c, m: collect(
                c.chat.completions.create(model=m, messages=user("say hello"), stream=True, stream_options=options)
            )
        )
        self.assertGreater(answer["usage"]["completion_tokens"], 0)

    def test_tools(self):
        def call(c, m):
            return lasting(c.chat.completions.create(model=m, messages=user("what is the weather"), tools=TOOLS))

        def stream(c, m):
            return collect(c.chat.completions.create(model=m, messages=user("two tools"), tools=TOOLS, stream=True))

        whole = self.same(call)
        arguments = json.loads(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
        self.assertEqual(arguments["city"], "Zürich")
        self.assertEqual(len(self.same(stream)["calls"]), 2)

    def test_errors_arrive_as_they_were_sent(self):
        for prompt, kind in (
            ("too many", openai.RateLimitError),
            ("bad request", openai.BadRequestError),
            ("fall over", openai.InternalServerError),
        ):

            def fail(c, m):
                with self.assertRaises(kind) as caught:
                    c.chat.completions.create(model=m, messages=user(prompt))
                return (caught.exception.status_code, caught.exception.code, caught.exception.message)

            self.same(fail)

    def test_async_client_leaves_in_mid_stream(self):
        async def leave():
            client = openai.AsyncOpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
            stream = await client.chat.completions.create(model="support", messages=user("a long story"), stream=True)
            async for _ in stream:
                break
            await stream.close()
            after = await client.chat.completions.create(model="support", messages=user("say hello"))
            await client.close()
            return after.choices[0].message.content

        self.assertTrue(asyncio.run(leave()))

    def test_conversation_without_session_header_stays_on_its_version(self):
        raw = THROUGH.chat.completions.with_raw_response
        # Its own words: to the same opening with the same answer from both versions nobody could tell whose it is.
        opening = user(f"say hello, this is {uuid.uuid4()}")
        first = raw.create(model="support", messages=opening)
        said = first.parse().choices[0].message
        second = raw.create(model="support", messages=[*opening, said, *user("and again")])
        for header in ("x-coalmine-version", "x-coalmine-session", "x-coalmine-arm"):
            self.assertEqual(second.headers[header], first.headers[header], header)

    def test_feedback_joins_by_request_id(self):
        answer = THROUGH.chat.completions.with_raw_response.create(model="support", messages=user("say hello"))
        body = {"request_id": answer.headers["x-coalmine-request-id"], "name": "correct", "value": 1}
        reply = THROUGH.post("/feedback", body=body, cast_to=object)
        self.assertTrue(reply, reply)
        with self.assertRaises(openai.UnprocessableEntityError):
            THROUGH.post("/feedback", body={**body, "request_id": "forged"}, cast_to=object)


if __name__ == "__main__":
    unittest.main(verbosity=1)
