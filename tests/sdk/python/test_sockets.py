"""Realtime sessions and responses over websockets, of the unmodified openai SDK: through Coalmine and directly, the same."""

import os
import unittest

import openai

DIRECT = openai.OpenAI(base_url=os.environ["DIRECT_URL"], api_key="test-key", max_retries=0)
THROUGH = openai.OpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
PATHS = [(DIRECT, "gpt-4o-mini"), (THROUGH, "support")]


def until(connection, *last):
    """Events up to the first of these kinds."""
    events = []
    while not events or events[-1].type not in last:
        events.append(connection.recv())
    return events


def kinds(events):
    return [event.type for event in events]


class Sockets(unittest.TestCase):
    def same(self, ask):
        direct, through = (ask(client, model) for client, model in PATHS)
        self.assertEqual(direct, through)
        return through

    def test_a_realtime_session(self):
        def ask(client, model):
            with client.realtime.connect(model=model) as connection:
                seen = until(connection, "session.created")
                connection.session.update(session={"type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"]})
                seen += until(connection, "session.updated", "error")
                said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say hello"}]}
                connection.conversation.item.create(item=said)
                connection.response.create()
                seen += until(connection, "response.done", "error")
            done = seen[-1].response
            text = "".join(event.delta for event in seen if event.type.endswith("text.delta"))
            return (kinds(seen), text, done.status, done.usage and done.usage.output_tokens)

        seen, text, status, _ = self.same(ask)
        self.assertEqual((status, "안녕하세요" in text), ("completed", True), seen)

    def test_responses(self):
        def ask(client, model):
            seen = []
            with client.responses.connect() as connection:
                for prompt in ("say hello", "bad request", "and again"):
                    connection.response.create(model=model, input=prompt)
                    seen += until(connection, "response.completed", "error")
            text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
            return (kinds(seen), text)

        seen, text = self.same(ask)
        self.assertEqual((seen.count("response.completed"), seen.count("error")), (2, 1))
        self.assertIn("once more", text)

    def test_a_route_that_is_none_is_refused_at_once(self):
        from websockets.exceptions import InvalidStatus

        with self.assertRaises(InvalidStatus) as refused:
            THROUGH.realtime.connect(model="nobody").enter()
        self.assertEqual(refused.exception.response.status_code, 404)
        with THROUGH.responses.connect() as connection:
            connection.response.create(model="nobody", input="say hello")
            self.assertEqual(connection.recv().type, "error")


if __name__ == "__main__":
    unittest.main(verbosity=1)
