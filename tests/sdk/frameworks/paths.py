"""The two ways to the mock that every case goes: directly, and through Coalmine by the routes' names."""

import asyncio
import json
import os
import re
import unittest
import urllib.request
from dataclasses import dataclass

KEY = "test-key"
# A picture of one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# What to say to the mock to be failed, by the name that the SDKs give the error.
PROVOKES = {"RateLimitError": "too many", "BadRequestError": "bad request", "InternalServerError": "fall over"}
WEATHER = "It is 21 degrees and sunny in Zürich."


@dataclass(frozen=True)
class Path:
    """A base URL with /v1, and the names to ask for: chat completions and responses, messages."""

    url: str
    chat: str
    messages: str

    @property
    def root(self):
        """What SDKs of Anthropic's dialect call the base URL."""
        return self.url.removesuffix("/v1")


DIRECT = Path(os.environ["DIRECT_URL"], "gpt-4o-mini", "claude-sonnet-4-5")
THROUGH = Path(os.environ["COALMINE_URL"], "support", "claude-sonnet-4-5")

# Each case goes through Coalmine at least so often, and at most until both arms have answered it.
ROUNDS = 2
ROUNDS_MAX = 30
ARMS = ("stable", "canary")

# One loop for all cases: the SDKs keep connections across calls.
LOOP = asyncio.new_event_loop()


def mended(value):
    """The mock cuts its streams between the halves of a surrogate pair; together they are one character again."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    if isinstance(value, (list, tuple)):
        return [mended(part) for part in value]
    return value


def sent(as_messages):
    """What the mock was sent last. Of messages it forgets the pictures, but not how many bytes it was sent."""
    endpoint = "/v1/messages" if as_messages else "/v1/chat/completions"
    with urllib.request.urlopen(f"{DIRECT.root}/__aimock/journal?path={endpoint}") as answer:
        last = json.load(answer)[-1]
    return last["headers"]["content-length"] if as_messages else last["body"]["messages"]


ARM = re.compile(r'^coalmine_requests_total\{[^}]*\barm="(\w+)"[^}]*\} (\d+)', re.MULTILINE)


def answered():
    """How many requests each arm of Coalmine's routes has had so far."""
    with urllib.request.urlopen(f"{THROUGH.root}/metrics") as page:
        found = ARM.findall(page.read().decode())
    counts = dict.fromkeys(ARMS, 0)
    for arm, count in found:
        # the control is that part of stable's sessions which the canary's are compared with
        counts["stable" if arm == "control" else arm] += int(count)
    return counts


class BothPaths(unittest.TestCase):
    """A case asks on both paths, and must get the same; through Coalmine in several rounds, until both arms of its route
    have answered: half of the sessions are the canary's."""

    def same(self, ask, arms=ARMS):
        plain = mended(LOOP.run_until_complete(ask(DIRECT)))
        seen = set()
        for done in range(1, ROUNDS_MAX + 1):
            before = answered()
            self.assertEqual(mended(LOOP.run_until_complete(ask(THROUGH))), plain)
            seen |= {arm for arm, count in answered().items() if count > before[arm]}
            if done >= ROUNDS and seen >= set(arms):
                return plain
        return self.fail(f"in {ROUNDS_MAX} rounds only {sorted(seen)} answered")

    def each(self, ways, check):
        """What `check(way, path)` finds by each of the ways, once it is the same on both paths."""
        found = []
        for way in ways:
            with self.subTest(way=way.__name__):
                found.append(self.same(lambda path: check(way, path)))
        return found

    async def raised(self, kind, call):
        """What a client sees of an error that must come: its class, its status, what it says."""
        with self.assertRaises(kind) as caught:
            await call
        error = caught.exception
        return type(error).__name__, getattr(error, "status_code", None), said_of(error)


def said_of(error):
    """The provider's own words of an error."""
    body = getattr(error, "body", None)
    return json.dumps(body, sort_keys=True) if body else getattr(error, "message", str(error))
