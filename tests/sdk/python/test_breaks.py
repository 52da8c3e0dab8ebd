"""A provider that breaks its connection in mid-stream: what came before reaches the unmodified SDKs as it does on the direct
path, and then they raise, natively and through translation.

Directly an SDK feels a connection that was cut, and raises whatever its HTTP client does. Through Coalmine it is told by an event,
and raises the error of its own that it has for one.
"""

import asyncio
import os
import unittest

import anthropic
import openai

WHOLE = "Once upon a time there was a canary"


def base(name):
    return os.environ[name].removesuffix("/v1")


CHAT_DIRECT = openai.OpenAI(base_url=os.environ["DIRECT_URL"], api_key="test-key", max_retries=0)
CHAT_THROUGH = openai.OpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
DIRECT = anthropic.Anthropic(base_url=base("DIRECT_URL"), api_key="test-key", max_retries=0)
THROUGH = anthropic.Anthropic(base_url=base("COALMINE_URL"), api_key="test-key", max_retries=0)


def user(text):
    return [{"role": "user", "content": text}]


def until_it_breaks(stream, text_of):
    """The texts that came, and what was raised behind them."""
    texts = []
    try:
        for event in stream:
            text = text_of(event)
            if text is not None:
                texts.append(text)
    except Exception as error:  # whatever it is: that is what is looked at
        return texts, error
    return texts, None


def of_chunk(chunk):
    for choice in chunk.choices:
        assert choice.finish_reason is None, "it ended as if it were whole"
        return choice.delta.content
    return None


def of_event(event):
    assert event.type not in ("message_delta", "message_stop"), "it ended as if it were whole"
    return event.delta.text if event.type == "content_block_delta" else None


def of_response(event):
    assert event.type != "response.completed", "it ended as if it were whole"
    return event.delta if event.type == "response.output_text.delta" else None


def chat(client, model):
    return until_it_breaks(
        client.chat.completions.create(model=model, messages=user("break off"), stream=True), of_chunk
    )


def responses(client, model):
    return until_it_breaks(client.responses.create(model=model, input="break off", stream=True), of_response)


def messages(client, model):
    stream = client.messages.create(model=model, max_tokens=500, messages=user("break off"), stream=True)
    return until_it_breaks(stream, of_event)


class ProviderThatBreaksOff(unittest.TestCase):
    def is_of_openai(self, error):
        self.assertIsInstance(error, openai.APIError)
        self.assertEqual((error.code, error.type), ("bad_gateway", "server_error"), error)

    def is_of_anthropic(self, error):
        self.assertIsInstance(error, anthropic.APIStatusError)
        self.assertEqual((error.body["type"], error.body["error"]["type"]), ("error", "api_error"), error)

    def direct(self, ask, client, model):
        texts, error = ask(client, model)
        self.assertIsNotNone(error, "the mock breaks off")
        self.assertNotIsInstance(error, AssertionError)
        self.assertTrue(WHOLE.startswith("".join(texts)[: len(WHOLE)]) and texts, texts)
        return texts

    def test_chat_completions(self):
        texts, error = chat(CHAT_THROUGH, "shaky-support")
        self.is_of_openai(error)
        self.assertEqual(texts, self.direct(chat, CHAT_DIRECT, "gpt-4o-mini"))

    def test_responses(self):
        texts, error = responses(CHAT_THROUGH, "shaky-support")
        self.is_of_openai(error)
        self.assertEqual(texts, self.direct(responses, CHAT_DIRECT, "gpt-4o-mini"))

    def test_messages(self):
        texts, error = messages(THROUGH, "shaky-helpdesk")
        self.is_of_anthropic(error)
        self.assertEqual(texts, self.direct(messages, DIRECT, "claude-sonnet-4-5"))

    def test_helpers_give_no_final_message(self):
        with self.assertRaises(anthropic.APIStatusError) as caught:
            with THROUGH.messages.stream(
                model="shaky-helpdesk", max_tokens=500, messages=user("break off")
            ) as events:
                events.get_final_message()
        self.is_of_anthropic(caught.exception)
        with self.assertRaises(openai.APIError) as failed:
            with CHAT_THROUGH.chat.completions.stream(model="shaky-support", messages=user("break off")) as events:
                events.get_final_completion()
        self.is_of_openai(failed.exception)

    def test_async_clients(self):
        async def ask():
            client = openai.AsyncOpenAI(base_url=os.environ["COALMINE_URL"], api_key="test-key", max_retries=0)
            texts = []
            try:
                stream = await client.chat.completions.create(
                    model="shaky-support", messages=user("break off"), stream=True
                )
                async for chunk in stream:
                    text = of_chunk(chunk)
                    if text is not None:
                        texts.append(text)
            except openai.APIError as error:
                return texts, error
            finally:
                await client.close()
            return texts, None

        texts, error = asyncio.run(ask())
        self.is_of_openai(error)
        self.assertEqual(texts, self.direct(chat, CHAT_DIRECT, "gpt-4o-mini"))

    def test_through_translation_each_sdk_raises_its_own(self):
        texts, error = messages(THROUGH, "shaky-support")
        self.is_of_anthropic(error)
        self.assertEqual("".join(texts), "".join(self.direct(chat, CHAT_DIRECT, "gpt-4o-mini")))
        texts, error = chat(CHAT_THROUGH, "shaky-helpdesk")
        self.is_of_openai(error)
        self.assertEqual("".join(filter(None, texts)), "".join(self.direct(messages, DIRECT, "claude-sonnet-4-5")))

    def test_the_next_request_is_whole(self):
        chat(CHAT_THROUGH, "shaky-support")
        answer = CHAT_THROUGH.chat.completions.create(model="shaky-support", messages=user("say hello"))
        self.assertEqual(answer.choices[0].finish_reason, "stop")


if __name__ == "__main__":
    unittest.main(verbosity=1)
