//! Chunks of a chat completion as a stream of messages.
//!
//! Blocks of messages come one after the other, while calls of tools may come interleaved, without an
//! index, or with the same one. The call whose block is open goes on at once; pieces of others wait until
//! its arguments are complete.

use super::answer::BodyEnd;
use super::object::Object;
use super::{answer, from_chat, put};
use crate::json::{self, Scanner, Text};
use crate::openai::items;
use crate::usage::Usage;

/// Arguments are kept up to this length, all calls together.
const KEPT_MAX_BYTES: usize = 1 << 20;
const CALLS_MAX: usize = 256;
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
/// The same where no event may come: a message begins with `message_start`.
const COMMENT: &[u8] = b": ping\n\n";

/// What has been said so far.
#[derive(Default)]
pub(super) struct ToMessages {
    started: bool,
    /// The answer's, as it is written.
    id: Vec<u8>,
    /// Blocks that have begun.
    blocks: usize,
    open: Open,
    calls: Vec<Call>,
    kept_bytes: usize,
    finish: Option<Vec<u8>>,
    /// The sequence that stopped it, where the server tells.
    stopped_by: Option<Vec<u8>>,
    refused: bool,
    usage: Usage,
    over: bool,
}

/// The block that is open.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Open {
    #[default]
    Nothing,
    Text,
    Call(usize),
}

/// One call of a tool.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    /// As they are written, without their quotes.
    id: Vec<u8>,
    name: Vec<u8>,
    arguments: Vec<u8>,
    /// How much of the arguments has been sent.
    sent: usize,
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Waits,
    Open,
    Closed,
}

impl ToMessages {
    /// Whether its message has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.started
    }

    /// Takes one event: its type, and its data where it has any.
    pub(super) fn event(&mut self, kind: &[u8], data: Option<&[u8]>, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let Some(data) = data else { return out.extend_from_slice(if self.started { PING } else { COMMENT }) };
        if data.trim_ascii() == b"[DONE]" {
            return self.finish(BodyEnd::Whole, out);
        }
        if data.is_empty() {
            return;
        }
        if json::check(data).is_err() && kind != b"error" {
            return self.finish(BodyEnd::Broken, out);
        }
        let chunk = Object::read(data);
        if chunk.get("error").is_some() || chunk.is("object", "error") || kind == b"error" {
            let code = chunk.object("error").as_ref().unwrap_or(&chunk).count("code");
            let status = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
            return self.fail(answer::error_to_messages(data, status.unwrap_or(500)), out);
        }
        if !self.started && tells_nothing(&chunk) {
            return;
        }
        self.start(&chunk, out);
        for choice in chunk.get("choices").map(items).unwrap_or_default() {
            let choice = Object::read(choice);
            if choice.is("finish_reason", "error") {
                return self.fail(answer::gave_up_messages(), out);
            }
            self.choice(&choice, out);
        }
        if let Some(Ok(Some(usage))) = chunk.get("usage").map(|usage| Usage::scan(&mut Scanner::new(usage))) {
            self.usage = usage;
        }
    }

    /// The stream ended. One that broke off is told so.
    pub(super) fn finish(&mut self, end: BodyEnd, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if !self.started || self.finish.is_none() || end == BodyEnd::Broken {
            return self.fail(answer::broke_off_messages(), out);
        }
        self.close(out);
        for place in 0..self.calls.len() {
            if self.calls[place].state == State::Waits {
                self.open_call(place, out);
                self.close(out);
            }
        }
        self.over = true;
        let finish = self.finish.take().unwrap_or_default();
        let reason = match &self.stopped_by {
            _ if self.refused => "refusal",
            Some(_) if finish == b"stop" => "stop_sequence",
            _ => from_chat::stop(&finish, self.calls.len()),
        };
        let sequence = self.stopped_by.take().filter(|_| reason == "stop_sequence").unwrap_or(b"null".to_vec());
        out.extend_from_slice(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"");
        put(out, &[reason.as_bytes(), br#"","stop_sequence":"#, &sequence, br#"},"usage":"#]);
        from_chat::tokens(&self.usage, out);
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, error: Vec<u8>, out: &mut Vec<u8>) {
        self.over = true;
        put(out, &[b"event: error\ndata: ", &error, b"\n\n"]);
    }

    fn start(&mut self, chunk: &Object<'_>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let empty: &[u8] = br#""""#;
        let (id, model) = (chunk.string("id").unwrap_or(empty), chunk.string("model").unwrap_or(empty));
        self.id = id.to_vec();
        out.extend_from_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":");
        put(out, &[id, br#","type":"message","role":"assistant","model":"#, model]);
        out.extend_from_slice(br#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#);
        from_chat::tokens(&Usage::default(), out);
        out.extend_from_slice(b"}}\n\n");
    }

    fn choice(&mut self, choice: &Object<'_>, out: &mut Vec<u8>) {
        if choice.count("index").unwrap_or(0) != 0 {
            return;
        }
        if let Some(delta) = choice.object("delta") {
            match delta.get("content") {
                Some(text) if text.starts_with(b"\"") => self.text(text, out),
                Some(parts) => {
                    for part in items(parts) {
                        if let Some(text) = Object::read(part).string("text") {
                            self.text(text, out);
                        }
                    }
                }
                None => {}
            }
            let thinks = ["reasoning_content", "reasoning"].iter().any(|key| delta.string(key).is_some());
            if thinks && self.open == Open::Nothing {
                // What it thinks would have to be sealed to be shown; that it lives can be.
                out.extend_from_slice(PING);
            }
            if let Some(text) = delta.string("refusal").filter(|text| *text != br#""""#) {
                self.refused = true;
                self.text(text, out);
            }
            if delta.get("function_call").is_some() {
                return self.fail(answer::of_old(), out);
            }
            for call in delta.get("tool_calls").map(items).unwrap_or_default() {
                self.call(&Object::read(call), out);
            }
        }
        if let Some(finish) = choice.text("finish_reason").filter(|finish| !finish.is_empty()) {
            self.finish = Some(finish.into_owned().into_bytes());
            self.stopped_by = choice.string("stop_reason").map(<[u8]>::to_vec);
        }
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text == br#""""# || self.over {
            return;
        }
        if self.open != Open::Text {
            self.close(out);
            self.open(br#"{"type":"text","text":""}"#, out);
            self.open = Open::Text;
        }
        self.delta(&[br#"{"type":"text_delta","text":"#, text, b"}"], out);
    }

    fn call(&mut self, piece: &Object<'_>, out: &mut Vec<u8>) {
        let function = piece.object("function").unwrap_or_else(|| Object::read(b"{}"));
        let inner = |string: Option<&[u8]>| string.map(|s| s[1..s.len() - 1].to_vec()).unwrap_or_default();
        let (id, name) = (inner(piece.string("id")), inner(function.string("name")));
        let mut arguments = inner(function.string("arguments"));
        if let Some(bare) = function.get("arguments").filter(|bare| bare.starts_with(b"{")) {
            json::escape(&String::from_utf8_lossy(bare), &mut arguments);
        }
        self.kept_bytes += id.len() + name.len() + arguments.len();
        if self.over || self.kept_bytes > KEPT_MAX_BYTES || self.calls.len() >= CALLS_MAX {
            return self.fail(answer::too_long(), out);
        }
        let index = piece.count("index");
        let place = self.place(index, &id, &name, &arguments).unwrap_or(self.calls.len());
        if place == self.calls.len() {
            self.calls.push(Call { index, ..Call::default() });
        }
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            call.id = id;
        }
        // Servers either give the name once, or repeat it, or give it in pieces.
        if call.state == State::Waits && call.name != name {
            call.name.extend_from_slice(&name);
        }
        call.arguments.extend_from_slice(&arguments);
        match call.state {
            State::Open => self.go_on(place, out),
            State::Waits => self.take_turn(place, out),
            State::Closed if arguments.is_empty() => {}
            // Its block cannot be opened again.
            State::Closed => self.fail(answer::out_of_order(), out),
        }
    }

    /// The call that a piece belongs to; `None` for a new one.
    fn place(&self, index: Option<u64>, id: &[u8], name: &[u8], arguments: &[u8]) -> Option<usize> {
        let by_id = || self.calls.iter().rposition(|call| !id.is_empty() && call.id == id);
        let place = match index {
            Some(index) => self.calls.iter().rposition(|call| call.index == Some(index))?,
            None if !id.is_empty() => return by_id(),
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[place];
        if !id.is_empty() && !call.id.is_empty() {
            return if call.id == id { Some(place) } else { by_id() };
        }
        let begins = id.is_empty() && !name.is_empty() && !arguments.is_empty();
        if begins && !call.name.is_empty() && call.is_complete() { None } else { Some(place) }
    }

    /// Opens the block of a call, if no other call is still under way, and none before it has yet to begin.
    fn take_turn(&mut self, place: usize, out: &mut Vec<u8>) {
        if self.calls[..place].iter().any(|call| call.state == State::Waits) {
            return;
        }
        let free = match self.open {
            Open::Nothing | Open::Text => true,
            Open::Call(other) => self.calls[other].is_complete(),
        };
        // Names that come in pieces are whole when the arguments begin.
        let named = !self.calls[place].name.is_empty() && !self.calls[place].arguments.is_empty();
        if free && named {
            self.open_call(place, out);
        }
    }

    fn open_call(&mut self, place: usize, out: &mut Vec<u8>) {
        self.close(out);
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            call.id = from_chat::own_id(Some(&self.id), place);
        }
        call.state = State::Open;
        let head = [br#"{"type":"tool_use","id":""#, &call.id[..], br#"","name":""#, &call.name].concat();
        self.open(&[&head[..], br#"","input":{}}"#].concat(), out);
        self.open = Open::Call(place);
        self.go_on(place, out);
    }

    /// Sends what has come of the arguments.
    fn go_on(&mut self, place: usize, out: &mut Vec<u8>) {
        let call = &mut self.calls[place];
        let piece = call.arguments[call.sent..].to_vec();
        call.sent = call.arguments.len();
        if !piece.is_empty() {
            self.delta(&[br#"{"type":"input_json_delta","partial_json":""#, &piece, br#""}"#], out);
        }
    }

    fn open(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let index = self.blocks.to_string();
        self.blocks += 1;
        out.extend_from_slice(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        put(out, &[index.as_bytes(), br#","content_block":"#, block, b"}\n\n"]);
    }

    fn delta(&self, delta: &[&[u8]], out: &mut Vec<u8>) {
        let index = self.blocks.saturating_sub(1).to_string();
        out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        put(out, &[index.as_bytes(), br#","delta":"#]);
        put(out, delta);
        out.extend_from_slice(b"}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::Nothing => return,
            Open::Text => {}
            Open::Call(place) => self.calls[place].state = State::Closed,
        }
        let index = self.blocks.saturating_sub(1).to_string();
        out.extend_from_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        put(out, &[index.as_bytes(), b"}\n\n"]);
    }
}

/// A first chunk that holds what was found in the prompt, say, and neither names the answer nor begins it.
fn tells_nothing(chunk: &Object<'_>) -> bool {
    chunk.text("id").is_none_or(|id| id.is_empty()) && chunk.get("choices").map(items).unwrap_or_default().is_empty()
}

impl Call {
    /// Whether its arguments are a whole JSON value.
    fn is_complete(&self) -> bool {
        let text = Text { raw: &self.arguments, escaped: self.arguments.contains(&b'\\'), at: 0 };
        json::check(text.decode().as_bytes()).is_ok()
    }
}
