//! A stream of messages as chunks of a chat completion.

use super::answer::{BodyEnd, Told as UsageTold};
use super::object::Object;
use super::{answer, from_messages, put};
use crate::anthropic::usage::Told;
use crate::json::{self, Scanner};

/// What has been said so far.
#[derive(Default)]
pub(super) struct ToChat {
    created_s: u64,
    usage: UsageTold,
    /// The answer's id and model, in their quotes.
    id: Vec<u8>,
    model: Vec<u8>,
    told: Told,
    /// The calls in their order.
    calls: Vec<Call>,
    /// The reason to stop was given.
    ended: bool,
    over: bool,
}

/// A call of a tool, which has a block for itself.
struct Call {
    /// Of the block.
    index: u64,
    arguments: Arguments,
}

/// What has come of a call's arguments.
#[derive(PartialEq, Eq)]
enum Arguments {
    /// Nothing in pieces; so they are what the block began with.
    Whole(Vec<u8>),
    /// All or some of them.
    Told,
}

impl ToChat {
    pub(super) fn new(created_s: u64, usage: UsageTold) -> Self {
        let empty = || br#""""#.to_vec();
        Self { created_s, usage, id: empty(), model: empty(), ..Self::default() }
    }

    /// Takes one event: its type, and its data where it has any.
    pub(super) fn event(&mut self, kind: &[u8], data: Option<&[u8]>, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let Some(data) = data.filter(|data| !data.trim_ascii().is_empty()) else {
            return out.extend_from_slice(b": ping\n\n");
        };
        if data.trim_ascii() == b"[DONE]" {
            // of a server that ends all its streams alike
            return self.finish(BodyEnd::Whole, out);
        }
        if json::check(data).is_err() && kind != b"error" {
            return self.finish(BodyEnd::Broken, out);
        }
        let event = Object::read(data);
        let said = event.text("type").unwrap_or_else(|| String::from_utf8_lossy(kind));
        let part = |key| event.object(key).unwrap_or_else(|| Object::read(b"{}"));
        match &*said {
            "message_start" => self.start(&part("message"), out),
            "content_block_start" => self.block(event.count("index").unwrap_or(0), &part("content_block"), out),
            "content_block_delta" => self.piece(event.count("index").unwrap_or(0), &part("delta"), out),
            "content_block_stop" => self.close(event.count("index").unwrap_or(0), out),
            "message_delta" => {
                self.count(&event);
                if let Some(reason) =
                    part("delta").text("stop_reason").filter(|reason| !self.ended && !reason.is_empty())
                {
                    self.ended = true;
                    (0..self.calls.len()).for_each(|number| self.complete(number, out));
                    self.chunk(b"", Some(from_messages::finish(reason.as_bytes())), out);
                }
            }
            "message_stop" => self.finish(BodyEnd::Whole, out),
            "ping" => out.extend_from_slice(b": ping\n\n"),
            "error" => self.fail(data, out),
            _ if kind == b"error" => self.fail(data, out),
            _ => {}
        }
    }

    /// The stream ended. One that broke off is told so: `[DONE]` would hide it.
    pub(super) fn finish(&mut self, end: BodyEnd, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if self.ended && end == BodyEnd::Whole {
            return self.end(out);
        }
        self.over = true;
        put(out, &[b"data: ", &answer::broke_off_chat(), b"\n\n"]);
    }

    fn start(&mut self, message: &Object<'_>, out: &mut Vec<u8>) {
        for (name, slot) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(value) = message.string(name) {
                *slot = value.to_vec();
            }
        }
        self.count(message);
        self.chunk(br#""role":"assistant","content":"""#, None, out);
    }

    fn count(&mut self, holder: &Object<'_>) {
        if let Some(usage) = holder.get("usage") {
            // What is no usage counts nothing.
            let _ = self.told.scan(&mut Scanner::new(usage));
        }
    }

    fn block(&mut self, index: u64, block: &Object<'_>, out: &mut Vec<u8>) {
        match block.text("type").as_deref() {
            Some("text") => self.text("content", block.string("text"), out),
            Some("thinking") => self.text("reasoning_content", block.string("thinking"), out),
            Some("tool_use") => {
                let number = self.calls.len().to_string();
                let input = block.get("input").unwrap_or(b"{}").to_vec();
                self.calls.push(Call { index, arguments: Arguments::Whole(input) });
                let empty: &[u8] = br#""""#;
                let (id, name) = (block.string("id").unwrap_or(empty), block.string("name").unwrap_or(empty));
                let head = [br#""tool_calls":[{"index":"#, number.as_bytes(), br#","id":"#, id].concat();
                let function = [br#","type":"function","function":{"name":"#, name, br#","arguments":""}}]"#].concat();
                self.chunk(&[head, function].concat(), None, out);
            }
            _ => {}
        }
    }

    fn piece(&mut self, index: u64, delta: &Object<'_>, out: &mut Vec<u8>) {
        match delta.text("type").as_deref() {
            Some("text_delta") => self.text("content", delta.string("text"), out),
            Some("thinking_delta") => self.text("reasoning_content", delta.string("thinking"), out),
            Some("input_json_delta") => {
                if let Some(piece) = delta.string("partial_json").filter(|piece| *piece != br#""""#) {
                    self.arguments(index, piece, out);
                }
            }
            _ => {}
        }
    }

    fn arguments(&mut self, index: u64, piece: &[u8], out: &mut Vec<u8>) {
        // of blocks of one index the last one grows
        let Some(number) = self.calls.iter().rposition(|call| call.index == index) else { return };
        self.calls[number].arguments = Arguments::Told;
        self.tell(number, piece, out);
    }

    fn tell(&self, number: usize, piece: &[u8], out: &mut Vec<u8>) {
        let number = number.to_string();
        let head = [br#""tool_calls":[{"index":"#, number.as_bytes(), br#","function":{"arguments":"#].concat();
        self.chunk(&[&head, piece, b"}}]"].concat(), None, out);
    }

    fn close(&mut self, index: u64, out: &mut Vec<u8>) {
        if let Some(number) = self.calls.iter().rposition(|call| call.index == index) {
            self.complete(number, out);
        }
    }

    /// A call of which nothing came in pieces has what its block began with: in messages an empty object, where it has none;
    /// some servers give all of it at once.
    fn complete(&mut self, number: usize, out: &mut Vec<u8>) {
        let Arguments::Whole(input) = std::mem::replace(&mut self.calls[number].arguments, Arguments::Told) else {
            return;
        };
        let mut quoted = Vec::with_capacity(input.len() + 2);
        json::quote(&String::from_utf8_lossy(&input), &mut quoted);
        self.tell(number, &quoted, out);
    }

    fn text(&self, member: &str, text: Option<&[u8]>, out: &mut Vec<u8>) {
        if let Some(text) = text.filter(|text| *text != br#""""#) {
            self.chunk(&[b"\"", member.as_bytes(), b"\":", text].concat(), None, out);
        }
    }

    fn fail(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.over = true;
        put(out, &[b"data: ", &answer::error_to_chat(data), b"\n\n"]);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        if self.usage == UsageTold::Yes {
            self.head(out);
            out.extend_from_slice(br#","choices":[],"usage":"#);
            from_messages::tokens(&self.told.usage().unwrap_or_default(), out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn head(&self, out: &mut Vec<u8>) {
        put(out, &[br#"data: {"id":"#, &self.id, br#","object":"chat.completion.chunk","created":"#]);
        put(out, &[self.created_s.to_string().as_bytes(), br#","model":"#, &self.model]);
    }

    fn chunk(&self, delta: &[u8], finish: Option<&str>, out: &mut Vec<u8>) {
        self.head(out);
        put(out, &[br#","choices":[{"index":0,"delta":{"#, delta, br#"},"logprobs":null,"finish_reason":"#]);
        match finish {
            Some(finish) => put(out, &[b"\"", finish.as_bytes(), b"\"}]"]),
            None => out.extend_from_slice(b"null}]"),
        }
        out.extend_from_slice(if self.usage == UsageTold::Yes { br#","usage":null}"# } else { b"}" });
        out.extend_from_slice(b"\n\n");
    }
}
