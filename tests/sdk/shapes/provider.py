"""A provider that gives the answer whose name stands in `x-shape`, whole or as a stream, on any of the three surfaces; under
`/__sent` it tells what it was sent last. usage: provider.py PORT"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import chat
import messages
import responses

OF_OPENAI = {"x-request-id": "req_1", "openai-processing-ms": "412", "x-ratelimit-remaining-tokens": "199960"}
OF_ANTHROPIC = {"request-id": "req_1", "anthropic-ratelimit-requests-remaining": "3999"}
# What SDKs are told of when to come again. A second and more: sooner, the gateway itself would.
AGAIN = {429: {"retry-after": "20", "retry-after-ms": "20123"}, 503: {"retry-after": "7"}}
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
SENT = []


def error(status, as_messages):
    if as_messages:
        kind = KINDS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": f"for {status}"}, "request_id": "req_1"}
    return {"error": {"message": f"for {status}", "type": "invalid_request_error", "param": "temperature", "code": f"code_{status}"}}


def asked_of_response(method, path, shape):
    """What is asked of a response that was given before."""
    if path.endswith("/cancel"):
        return responses.response(status="cancelled", background=True)
    if path.endswith("/input_items"):
        item = {"id": "msg_0", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
        return {"object": "list", "data": [item], "first_id": "msg_0", "last_id": "msg_0", "has_more": False}
    if path.endswith("/input_tokens"):
        return {"object": "response.input_tokens", "input_tokens": 11}
    return {"id": "resp_1", "object": "response", "deleted": True} if method == "DELETE" else responses.SHAPES[shape]


def whole(method, path, shape, body):
    if path.endswith("/count_tokens"):
        return {"input_tokens": 2095}
    if "/responses/" in path:
        return asked_of_response(method, path, shape)
    if path.endswith("/responses"):
        return {**responses.SHAPES[shape], "previous_response_id": body.get("previous_response_id")}
    return messages.SHAPES[shape] if path.endswith("/messages") else chat.SHAPES[shape][0]


def streamed(path, shape, body):
    """The events of a stream, as bytes; `midway` is a text that ends with an error."""
    midway = shape == "midway"
    name = "text" if midway or shape == "stalls" else shape
    if path.endswith("/messages"):
        events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in messages.events(name)]
        failed = f"event: error\ndata: {json.dumps(error(529, True))}\n\n"
        cut = 4
    elif "/responses" in path:
        events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in responses.events(responses.SHAPES[name])]
        said = {"type": "error", "sequence_number": 5, "code": "server_error", "message": "for 500", "param": None}
        failed = f"event: error\ndata: {json.dumps(said)}\n\n"
        cut = 5
    else:
        events = [f"data: {json.dumps(one)}\n\n" for one in chat.chunks(name, body.get("stream_options") or {})]
        events.append("data: [DONE]\n\n")
        failed = f"data: {json.dumps(error(500, False))}\n\n"
        cut = 3
    if name != shape:
        events = [*events[:cut], *([failed] if midway else [])]
    return [event.encode() for event in events]


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        written = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/__sent":
            return self.whole(200, {}, SENT[-1] if SENT else {})
        shape = self.headers.get("x-shape", "text")
        body = json.loads(written) if written else {}
        named = {name.lower(): value for name, value in self.headers.items()}
        SENT[:] = [{"method": self.command, "path": self.path, "headers": named, "body": body}]
        as_messages = "/messages" in path
        own = OF_ANTHROPIC if as_messages else OF_OPENAI
        if shape.isdigit():
            again = {"x-should-retry": "false", **AGAIN.get(int(shape), {})}
            return self.whole(int(shape), {**own, **again}, error(int(shape), as_messages))
        if shape == "slow":
            time.sleep(2)
            shape = "text"
        if body.get("stream") is True or "stream=true" in query:
            return self.stream(own, streamed(path, shape, body), shape == "stalls")
        return self.whole(200, own, whole(self.command, path, shape, body))

    do_GET = do_POST = do_DELETE = answer

    def head(self, status, headers):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def whole(self, status, headers, body):
        written = json.dumps(body).encode()
        self.head(status, {"content-type": "application/json", "content-length": str(len(written)), **headers})
        self.wfile.write(written)

    def stream(self, headers, events, stalls):
        self.head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **headers})
        for event in events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
        if stalls:
            time.sleep(2)
        self.wfile.write(b"0\r\n\r\n")

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was left


if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
