"""Responses and embeddings of the unmodified openai SDK, through Coalmine and directly: the same results."""

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
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
        "strict": False,
    }
]


class Responses(unittest.TestCase):
    def same(self, ask):
        direct, through = (ask(client, model) for client, model in PATHS)
        self.assertEqual(direct, through)
        return through

    def test_text(self):
        def ask(client, model):
            answer = client.responses.create(model=model, input="say hello")
            return (answer.output_text, answer.status, answer.usage and answer.usage.output_tokens)

        self.assertIn("你好", self.same(ask)[0])

    def test_a_stream_has_the_same_events(self):
        def ask(client, model):
            events = list(client.responses.create(model=model, input="say hello", stream=True))
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            return (text, [event.type for event in events])

        text, kinds = self.same(ask)
        self.assertIn("안녕하세요", text)
        self.assertEqual(kinds[-1], "response.completed")

    def test_tool_calls(self):
        def ask(client, model):
            answer = client.responses.create(model=model, input="what is the weather", tools=TOOLS)
            return [(item.name, item.arguments) for item in answer.output if item.type == "function_call"]

        ((name, arguments),) = self.same(ask)
        self.assertEqual((name, json.loads(arguments)["city"]), ("get_weather", "Zürich"))

    def test_errors_arrive_as_they_were_sent(self):
        for prompt, kind in (("too many", openai.RateLimitError), ("bad request", openai.BadRequestError)):

            def fail(client, model):
                with self.assertRaises(kind) as caught:
                    client.responses.create(model=model, input=prompt)
                return (caught.exception.status_code, caught.exception.code, caught.exception.message)

            self.same(fail)

    def test_what_goes_on_from_a_response_stays_on_its_version(self):
        raw = THROUGH.responses.with_raw_response
        first = raw.create(model="support", input=f"say hello, this is {uuid.uuid4()}")
        second = raw.create(model="support", input="and again", previous_response_id=first.parse().id)
        for header in ("x-coalmine-version", "x-coalmine-session", "x-coalmine-arm"):
            self.assertEqual(second.headers[header], first.headers[header], header)

    def test_embeddings(self):
        def ask(client, model):
            answer = client.embeddings.create(model=model, input=["say hello", "and again"])
            return [item.embedding for item in answer.data]

        self.assertEqual(len(self.same(ask)), 2)


if __name__ == "__main__":
    unittest.main(verbosity=1)
