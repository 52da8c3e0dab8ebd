"""What a call gives on both ways to the provider: all that the client sees of it, and all that the provider was sent."""

import json
import os
import unittest
import urllib.request

import anthropic
import openai
import pydantic

DIRECT, THROUGH = os.environ["SHAPES_DIRECT_URL"], os.environ["COALMINE_URL"].removesuffix("/v1")
OPTIONS = {"api_key": "test-key", "max_retries": 0, "timeout": 10}
# Headers that are of the one hop, of the key, or of the gateway.
OF_THE_HOP = {"host", "connection", "accept-encoding", "content-length", "authorization", "x-api-key", "transfer-encoding"}


class Way:
    """A base URL without /v1, and the names to ask for."""

    def __init__(self, url, chat, messages):
        self.url = url
        self.openai = openai.OpenAI(base_url=f"{url}/v1", **OPTIONS)
        self.anthropic = anthropic.Anthropic(base_url=url, **OPTIONS)
        self.chat, self.messages = chat, messages


WAYS = (Way(DIRECT, "gpt-4o-mini", "claude-sonnet-4-5"), Way(THROUGH, "shapes-chat", "shapes-messages"))
# A provider of the other dialect answers.
CROSSED = Way(THROUGH, "shapes-messages", "shapes-chat")


def shaped(name):
    return {"extra_headers": {"x-shape": name}}


def user(text="hi"):
    return [{"role": "user", "content": text}]


def plain(value):
    """All that was told of a value, and nothing that was not. The gateway asks for usage itself, so that chunks are told that
    theirs is null."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True, warnings=False)
    if isinstance(value, dict):
        unsaid = {"usage"} if value.get("object") == "chat.completion.chunk" and value.get("usage") is None else ()
        return {key: plain(one) for key, one in value.items() if key not in unsaid}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def raised(error):
    """What a program sees of an error."""
    told = {key: getattr(error, key, None) for key in ("status_code", "body", "code", "param", "type", "request_id")}
    response = getattr(error, "response", None)
    again = {} if response is None else {key: response.headers.get(key) for key in ("retry-after", "retry-after-ms")}
    return type(error).__name__, told, again


def sent():
    with urllib.request.urlopen(f"{DIRECT}/__sent") as answer:
        request = json.load(answer)
    request["headers"] = {name: value for name, value in request["headers"].items() if name not in OF_THE_HOP}
    body = request["body"]
    body.pop("model", None)
    options = {key: value for key, value in (body.get("stream_options") or {}).items() if key != "include_usage"}
    return {**request, "body": {**body, "stream_options": options}}


def found(call, way):
    """What comes of `call(way, out)`: what it puts out on its way, and what it gives or raises."""
    out = []
    try:
        result = call(way, out)
    except Exception as error:  # SDKs raise what their HTTP clients do as well: it is what is compared
        result = raised(error)
    return plain([out, result]), sent()


class BothWays(unittest.TestCase):
    maxDiff = 4000

    def same(self, title, call):
        with self.subTest(title):
            (direct, asked), (through, passed) = (found(call, way) for way in WAYS)
            self.assertEqual(through, direct)
            self.assertEqual(passed, asked)
