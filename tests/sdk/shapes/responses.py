"""Responses as OpenAI's reference has them, and their events."""

AT = 1764000000
USAGE = {
    "input_tokens": 37,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 48,
}
CITED = {"type": "url_citation", "start_index": 4, "end_index": 15, "url": "https://example.com", "title": "Example"}


def response(*output, status="completed", **more):
    top = {"id": "resp_1", "object": "response", "created_at": AT, "status": status, "model": "gpt-4o-mini-2024-07-18"}
    asked = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "store": True}
    usage = USAGE if status in ("completed", "incomplete") else None
    told = {"error": None, "incomplete_details": None, "instructions": None, "previous_response_id": None}
    return {**top, **told, "output": list(output), **asked, "usage": usage, **more}


def message(*parts):
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": list(parts)}


def text(said, *annotations):
    return {"type": "output_text", "annotations": list(annotations), "logprobs": [], "text": said}


def call(id, name, arguments):
    return {"id": f"fc_{id}", "type": "function_call", "status": "completed", "arguments": arguments, "call_id": f"call_{id}", "name": name}


THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "**Thinking** about it"}]}
SEARCHED = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}
RAN = {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "6*7", "container_id": "cntr_1", "outputs": None}

SHAPES = {
    "text": response(message(text("Hello, Zürich 👋"))),
    "json": response(message(text('{"city":"Zürich","degrees":21.5}'))),
    "reasoning": response(THOUGHT, message(text("42"))),
    "calls": response({**THOUGHT, "encrypted_content": "gAAA"}, call("a", "get_weather", '{"city":"Oslo"}'), call("b", "get_time", "{}")),
    "built in": response(SEARCHED, RAN, message(text("See example.com.", CITED))),
    "refusal": response(message({"type": "refusal", "refusal": "I cannot."})),
    "cut": response(message(text("Once")), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    "failed": response(status="failed", error={"code": "server_error", "message": "The model failed."}),
    "background": response(message(text("done")), background=True),
    "queued": response(status="queued", background=True),
}


def of_message(item, at):
    for place, part in enumerate(item["content"]):
        at = {**at, "content_index": place}
        kind, key = ("output_text", "text") if part["type"] == "output_text" else ("refusal", "refusal")
        yield "response.content_part.added", {**at, "part": {**part, key: ""}}
        yield f"response.{kind}.delta", {**at, "delta": part[key], "logprobs": [], "obfuscation": "x"}
        for number, annotation in enumerate(part.get("annotations", ())):
            yield "response.output_text.annotation.added", {**at, "annotation_index": number, "annotation": annotation}
        yield f"response.{kind}.done", {**at, key: part[key], "logprobs": []}
        yield "response.content_part.done", {**at, "part": part}


def of_reasoning(item, at):
    for place, part in enumerate(item["summary"]):
        at = {**at, "summary_index": place}
        yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
        yield "response.reasoning_summary_text.delta", {**at, "delta": part["text"]}
        yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**at, "part": part}


def of_call(item, at):
    yield "response.function_call_arguments.delta", {**at, "delta": item["arguments"]}
    yield "response.function_call_arguments.done", {**at, "name": item["name"], "arguments": item["arguments"]}


def of_built_in(item, at):
    yield f"response.{item['type']}.in_progress", at
    if "code" in item:
        yield "response.code_interpreter_call_code.delta", {**at, "delta": item["code"]}
        yield "response.code_interpreter_call_code.done", {**at, "code": item["code"]}
    yield f"response.{item['type']}.completed", at


INSIDE = {"message": of_message, "reasoning": of_reasoning, "function_call": of_call}
EMPTY = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}


def told(answer):
    started = {**answer, "status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    yield "response.created", {"response": started}
    yield "response.in_progress", {"response": started}
    for place, item in enumerate(answer["output"]):
        at = {"item_id": item["id"], "output_index": place}
        yield "response.output_item.added", {"output_index": place, "item": {**item, **EMPTY.get(item["type"], {})}}
        yield from INSIDE.get(item["type"], of_built_in)(item, at)
        yield "response.output_item.done", {"output_index": place, "item": item}
    yield f"response.{answer['status']}", {"response": answer}


def events(answer):
    for number, (kind, data) in enumerate(told(answer)):
        yield {"type": kind, "sequence_number": number, **data}
