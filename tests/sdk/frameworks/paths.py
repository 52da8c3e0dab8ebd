"""The ways to the mock that every case goes: directly, and through Coalmine by the routes' names; there also by those of routes
whose canary sits with a provider of the other dialect."""

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
BOTH = "It is 4 degrees in Oslo and 19 in Lima."
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
# A canary of the other dialect answers half of the sessions.
CROSSED = Path(os.environ["COALMINE_URL"], "crossed-support", "claude-opus-4-5")

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


# Words of an error whose whole body a framework tells.
QUOTED = re.compile(r'"message": ?"([^"]*)"')
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


def in_either_dialect(found):
    """What is told alike in both dialects: without the details of tokens, and without the empty pieces of a stream."""
    if isinstance(found, dict):
        return {key: in_either_dialect(value) for key, value in found.items() if not key.endswith("_details")}
    if isinstance(found, (list, tuple)):
        return [in_either_dialect(part) for part in found if part != ""]
    return found


def all_of(found):
    return found


class BothPaths(unittest.TestCase):
    """A case asks on all paths, and must get the same; through Coalmine in several rounds, until both arms of its route
    have answered: half of the sessions are the canary's."""

    def same(self, ask, arms=ARMS, crossed=None):
        """`crossed`: what of it is the same where the canary speaks the other dialect; nothing of what is asked on surfaces that
        are not translated."""
        plain = mended(LOOP.run_until_complete(ask(DIRECT)))
        self.rounds(ask, THROUGH, arms, plain, all_of)
        if crossed:
            self.rounds(ask, CROSSED, arms, crossed(plain), crossed)
        return plain

    def rounds(self, ask, path, arms, plain, told):
        seen = set()
        for done in range(1, ROUNDS_MAX + 1):
            before = answered()
            self.assertEqual(told(mended(LOOP.run_until_complete(ask(path)))), plain)
            seen |= {arm for arm, count in answered().items() if count > before[arm]}
            if done >= ROUNDS and seen >= set(arms):
                return
        self.fail(f"in {ROUNDS_MAX} rounds only {sorted(seen)} answered at {path}")

    # What cannot be asked of a provider of the other dialect.
    not_crossed = ()

    def each(self, ways, check, crossed=in_either_dialect):
        """What `check(way, path)` finds by each of the ways, once it is the same on all paths."""
        found = []
        for way in ways:
            with self.subTest(way=way.__name__):
                over = None if way in self.not_crossed else crossed
                found.append(self.same(lambda path: check(way, path), crossed=over))
        return found

    async def raised(self, kind, call):
        """What a client sees of an error that must come: its class, its status, what it says."""
        with self.assertRaises(kind) as caught:
            await call
        error = caught.exception
        return type(error).__name__, getattr(error, "status_code", None), words_of(error), getattr(error, "body", None)


def words_of(error):
    """The provider's own words of an error, wherever its dialect or the framework puts them."""
    body = getattr(error, "body", None)
    body = body.get("error", body) if isinstance(body, dict) else {}
    told = body.get("message") or getattr(error, "message", str(error))
    quoted = QUOTED.search(told)
    return quoted[1] if quoted else told


def but_the_body(found):
    """Of what was raised what is the same in both dialects."""
    return found[:3]


def but_what_was_sent(found):
    """The answer, without what its provider was sent, which is of its dialect."""
    return in_either_dialect(found[0])
