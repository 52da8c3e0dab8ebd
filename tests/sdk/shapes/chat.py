"""Chat completions as OpenAI's reference has them: each shape whole, and as the choices of its chunks."""

AT = 1764000000
CITED = {
    "type": "url_citation",
    "url_citation": {"start_index": 4, "end_index": 15, "title": "Example", "url": "https://example.com"},
}
USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}


def whole(*choices):
    top = {"id": "chatcmpl-1", "object": "chat.completion", "created": AT, "model": "gpt-4o-mini-2024-07-18"}
    return {**top, "choices": list(choices), "usage": USAGE, "service_tier": "default", "system_fingerprint": "fp_1"}


def choice(finish="stop", index=0, logprobs=None, **message):
    message = {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def piece(delta, finish=None, index=0, logprobs=None):
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def said(*texts, finish="stop", member="content"):
    begin = piece({"role": "assistant", "content": "", "refusal": None})
    return [begin, *(piece({member: text}) for text in texts), piece({}, finish)]


def call(id, name, arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def begun(index, id, name):
    return {"index": index, **call(id, name, "")}


def more(index, arguments):
    return {"index": index, "function": {"arguments": arguments}}


def calls(*chunks):
    begin = piece({"role": "assistant", "content": None})
    return [begin, *(piece({"tool_calls": list(chunk)}) for chunk in chunks), piece({}, "tool_calls")]


def likely(token):
    own = {"token": token, "logprob": -0.25, "bytes": list(token.encode())}
    return {"content": [{**own, "top_logprobs": [own, {"token": "Hi", "logprob": -1.5, "bytes": [72, 105]}]}], "refusal": None}


OSLO, LIMA = call("call_a", "get_weather", '{"city":"Oslo"}'), call("call_b", "get_time", '{"city":"Lima"}')
SOUND = {"id": "audio_1", "data": "UklGRiQA", "expires_at": AT + 3600, "transcript": "Hello there"}
ASKED = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}

SHAPES = {
    "text": (whole(choice(content="Hello, Zürich 👋")), said("Hello", ", Zürich", " 👋")),
    "json": (whole(choice(content='{"city":"Zürich","degrees":21.5}')), said('{"city":"Zürich",', '"degrees":21.5}')),
    "cut": (whole(choice("length", content='{"city":"Zü')), said('{"city":"Zü', finish="length")),
    "filtered": (whole(choice("content_filter", content="")), said(finish="content_filter")),
    "refusal": (whole(choice(refusal="I cannot.")), said("I can", "not.", member="refusal")),
    "parallel": (
        whole(choice("tool_calls", tool_calls=[OSLO, LIMA])),
        calls(
            [begun(0, "call_a", "get_weather")],
            [more(0, '{"city":')],
            [more(0, '"Oslo"}')],
            [begun(1, "call_b", "get_time")],
            [more(1, '{"city":"Lima"}')],
        ),
    ),
    "interleaved": (
        whole(choice("tool_calls", tool_calls=[OSLO, LIMA])),
        calls(
            [begun(0, "call_a", "get_weather"), begun(1, "call_b", "get_time")],
            [more(1, '{"city":')],
            [more(0, '{"city":')],
            [more(1, '"Lima"}'), more(0, '"Oslo"}')],
        ),
    ),
    "two choices": (
        whole(choice(content="Yes."), choice("length", 1, content="Certainly.")),
        [
            piece({"role": "assistant", "content": ""}),
            piece({"role": "assistant", "content": ""}, index=1),
            piece({"content": "Certainly."}, index=1),
            piece({"content": "Yes."}),
            piece({}, "length", 1),
            piece({}, "stop"),
        ],
    ),
    "logprobs": (
        whole(choice(content="Hello", logprobs=likely("Hello"))),
        [piece({"role": "assistant", "content": ""}), piece({"content": "Hello"}, logprobs=likely("Hello")), piece({}, "stop")],
    ),
    "audio": (
        whole(choice(audio=SOUND)),
        [
            piece({"role": "assistant", "refusal": None, "audio": {"id": "audio_1", "transcript": "Hello"}}),
            piece({"audio": {"transcript": " there"}}),
            piece({"audio": {"data": "UklGRiQA"}}),
            piece({"audio": {"expires_at": AT + 3600}}),
            piece({}, "stop"),
        ],
    ),
    "cited": (
        whole(choice(content="See example.com.", annotations=[CITED])),
        [*said("See example.com.")[:-1], piece({"annotations": [CITED]}), piece({}, "stop")],
    ),
    "function_call": (
        whole(choice("function_call", function_call=ASKED)),
        [piece({"role": "assistant", "content": None, "function_call": ASKED}), piece({}, "function_call")],
    ),
    "reasoning": (
        whole(choice(content="42", reasoning_content="Let me think.")),
        [piece({"role": "assistant", "content": None, "reasoning_content": "Let me think."}), piece({"content": "42"}), piece({}, "stop")],
    ),
}


def chunks(name, options):
    """The chunks of a stream: usage is told in one of its own where it was asked for, and is null in all others then."""
    answer, pieces = SHAPES[name]
    top = {key: answer[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    top["object"] = "chat.completion.chunk"
    told = options.get("include_usage") is True
    padding = {} if options.get("include_obfuscation") is False else {"obfuscation": "aB3"}
    for one in pieces:
        yield {**top, "choices": [one], **({"usage": None} if told else {}), **padding}
    if told:
        yield {**top, "choices": [], "usage": answer["usage"], **padding}
