"""Messages as Anthropic's reference has them, and their streams."""

import json

USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 2000,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    "output_tokens": 34,
    "output_tokens_details": {"thinking_tokens": 5},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "standard",
}


def message(*content, stop="end_turn", **more):
    top = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    return {**top, "content": list(content), "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **more}


def text(said, **more):
    return {"type": "text", "text": said, **more}


def use(id, name, kind="tool_use", **arguments):
    return {"type": kind, "id": id, "name": name, "input": arguments}


THINKING = {"type": "thinking", "thinking": "Let me think about it.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}
REDACTED = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://example.com", "title": "E", "encrypted_content": "Eqgf", "page_age": None}],
}
FOUND_AT = {
    "type": "web_search_result_location",
    "url": "https://example.com",
    "title": "E",
    "encrypted_index": "Eo8B",
    "cited_text": "born 1916",
}
READ_AT = {
    "type": "char_location",
    "cited_text": "The grass is green.",
    "document_index": 0,
    "document_title": "D",
    "start_char_index": 0,
    "end_char_index": 20,
    "file_id": None,
}
RAN = {"type": "bash_code_execution_result", "stdout": "a\n", "stderr": "", "return_code": 0, "content": []}

SHAPES = {
    "text": message(text("Hello, Zürich 👋")),
    "json": message(text('{"city":"Zürich","degrees":21.5}')),
    "thinking": message(THINKING, REDACTED, text("42")),
    "parallel": message(text("Let me look."), use("toolu_a", "get_weather", city="Oslo"), use("toolu_b", "get_time"), stop="tool_use"),
    "thinking and tools": message(THINKING, use("toolu_a", "get_weather", city="Oslo"), stop="tool_use"),
    "searched": message(
        use("srvtoolu_1", "web_search", "server_tool_use", query="shannon"), FOUND, text("Born in 1916.", citations=[FOUND_AT])
    ),
    "cited": message(text("It is "), text("green", citations=[READ_AT])),
    "paused": message(
        use("srvtoolu_2", "bash_code_execution", "server_tool_use", command="ls"),
        {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content": RAN},
        stop="pause_turn",
        container={"id": "container_1", "expires_at": "2027-01-01T00:00:00Z"},
    ),
    "refused": message(text("I can't"), stop="refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "no"}),
    "cut": message(text("Once upon"), stop="max_tokens"),
    "window": message(text("Once upon"), stop="model_context_window_exceeded"),
    "stopped": {**message(text("1 2 3"), stop="stop_sequence"), "stop_sequence": "4"},
    "nothing": message(),
}


def deltas(block):
    """What a block begins with, and its deltas."""
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        empty = {**block, "text": "", **({"citations": []} if cited else {})}
        return empty, [*cited, *({"type": "text_delta", "text": part} for part in halves(block["text"]))]
    if kind == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": part} for part in halves(block["thinking"])]
        sealed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*thoughts, sealed]
    if kind in ("tool_use", "server_tool_use"):
        written = json.dumps(block["input"]) if block["input"] else ""
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in ("", *halves(written))]
    return block, []


def halves(written):
    middle = len(written) // 2
    return [part for part in (written[:middle], written[middle:]) if part]


def events(name):
    whole = SHAPES[name]
    at_the_end = {key: whole[key] for key in ("container", "stop_details") if key in whole}
    start = {key: value for key, value in whole.items() if key not in at_the_end}
    start |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": {**USAGE, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(whole["content"]):
        empty, pieces = deltas(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "ping"}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    ends = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"], **at_the_end}
    yield {
        "type": "message_delta",
        "delta": ends,
        "usage": {key: USAGE[key] for key in USAGE if key not in ("cache_creation", "service_tier")},
    }
    yield {"type": "message_stop"}
