//! Following conversations by their content, for clients that send no session id.
//!
//! A keyed hash runs over the messages: of each its role, text, tool calls (id, name, arguments) and
//! the id of the call that it answers. When an answer has ended, the hash of request and answer is
//! stored; the next request of that conversation carries both, and is found by the hash of its messages
//! up to the last turn of the assistant. How the JSON is written plays no part, nor do members that
//! client libraries add or leave out (`refusal: null`, `annotations`), nor whether a text is a string or
//! an array of text parts.
//!
//! The hash runs over frames: the bytes that frame are none that UTF-8 text can hold, so two different conversations never
//! have the same encoding. It runs over every byte of every request and answer, and its whole state is copied at each turn:
//! a sum of products and a polynomial under a secret key, 64 bytes here (ADR 22, ADR 35).

mod encoded;
mod keyed;

use self::encoded::{Encoded, Out};
pub use self::keyed::Key;
use self::keyed::State;
use crate::dialect::Dialect;
use crate::json::{self, Kind, Scanner, Span, Text, Unescape};
use crate::openai::ChatRequest;
use crate::openai::request::Plain;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::fmt;
use std::hash::Hasher as _;

/// The hash of a conversation up to one of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationHash(pub u128);

/// A keyed hash under way.
#[derive(Clone)]
struct Keyed {
    key: Key,
    state: State,
}

/// Hashes conversations of one scope: those of one API key on one route, say.
#[derive(Clone)]
pub struct Chain<'k> {
    key: &'k Key,
    state: State,
}

/// Hashes the ids of responses of one scope.
#[derive(Clone, Copy)]
pub struct ResponseKey([u8; 16]);

/// A request's conversation.
#[derive(Clone)]
pub struct Trail {
    /// Up to and with the last turn of the assistant: what the answer to the request before this one
    /// was stored under. `None` where there is no such turn.
    pub continued: Option<ConversationHash>,
    hasher: Keyed,
    turn: Turn,
}

/// Where the request leaves the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is yet to begin.
    New,
    /// The client has begun it: the last message is the assistant's.
    Begun,
}

/// A request's conversation, an answer to it being under way.
#[derive(Clone)]
pub struct Answering {
    hasher: Keyed,
    /// Short pieces of the answer: one long update is cheaper than many short ones.
    waiting: Vec<u8>,
}

/// So many bytes of an answer may wait.
const WAITING_MAX_BYTES: usize = 512;

/// Bytes that stand in no UTF-8 text.
mod frame {
    pub(super) const SCOPE: u8 = 0xF5;
    pub(super) const ROLE: u8 = 0xF8;
    pub(super) const TEXT: u8 = 0xF9;
    pub(super) const PART: u8 = 0xFA;
    pub(super) const CALL: u8 = 0xFB;
    pub(super) const FIELD: u8 = 0xFC;
    pub(super) const ANSWERS: u8 = 0xFD;
    pub(super) const END: u8 = 0xFE;
    pub(super) const STRING: u8 = 0xFF;
}

/// How messages of the roles begin that nearly all have: as [`open`] writes it.
const USER: &[u8] = b"\xF8user\xF9";
const ASSISTANT: &[u8] = b"\xF8assistant\xF9";
const SYSTEM: &[u8] = b"\xF8system\xF9";

/// The members of a message that are hashed.
#[derive(Default)]
struct Parts<'a> {
    role: Option<Text<'a>>,
    content: Option<Span>,
    calls: Option<Span>,
    function_call: Option<Span>,
    answers: Option<Text<'a>>,
}

impl<'k> Chain<'k> {
    /// Hashes under `key`; conversations of different `scope`s never meet.
    #[must_use]
    pub fn new(key: &'k Key, scope: &[u8]) -> Self {
        let mut state = State::default();
        state.update(key, &(scope.len() as u64).to_le_bytes());
        state.update(key, scope);
        state.update(key, &[frame::SCOPE]);
        Self { key, state }
    }

    /// Reads the conversation that a request carries, as the client sent it: before any patch.
    #[must_use]
    pub fn follow(&self, request: &ChatRequest<'_>) -> Trail {
        let hasher = Keyed { key: self.key.clone(), state: self.state };
        match request.dialect {
            Dialect::Messages => return messages(request, hasher),
            Dialect::Responses => return items(request, hasher),
            Dialect::Chat | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {}
        }
        // only the last one is asked for
        let mut last_turn = None;
        let mut encoded = Encoded::new(hasher);
        for message in request.messages() {
            if let Some(plain) = message.plain() {
                let hasher = encoded.hasher();
                hasher.plain(plain);
                hasher.update(&[frame::END]);
                if plain.role.is("assistant") {
                    last_turn = Some(hasher.state);
                }
                continue;
            }
            let parts = Parts::of(message.json);
            parts.encode(message.json, &mut encoded);
            if parts.role.is_some_and(|role| role.is("assistant")) {
                last_turn = Some(encoded.hasher().state);
            }
        }
        encoded.into_hasher().trail(last_turn, Turn::New)
    }
}

/// The conversation of a response's input: the instructions, then item by item. Items of the model that
/// follow one another are one turn: what it said, then what it called. What it thought, and what the
/// provider's own tools did, is left out, as it is of the answer.
fn items(request: &ChatRequest<'_>, hasher: Keyed) -> Trail {
    let (mut last_turn, mut encoded) = (None, Encoded::new(hasher));
    let mut said = Said::default();
    if let Some(instructions) = request.value("instructions").filter(|text| *text != b"null") {
        open("system", &mut encoded);
        content(instructions, &mut encoded);
        close(None, &mut encoded);
    }
    let input = request.value("input").unwrap_or(b"[]");
    if input.starts_with(b"\"") {
        open("user", &mut encoded);
        content(input, &mut encoded);
        close(None, &mut encoded);
    }
    for_each(input, |item| {
        if said.took(item) {
            return;
        }
        if said.ends(&mut encoded) {
            last_turn = Some(encoded.hasher().state);
        }
        if &*member_text(item, "type") == "item_reference" {
            return self::part(item, &mut encoded);
        }
        let answers = json::member(item, "call_id").and_then(json::text);
        let role = json::member(item, "role").and_then(json::text).unwrap_or("tool".into());
        open(&role, &mut encoded);
        content(
            json::member(item, "content").or_else(|| json::member(item, "output")).unwrap_or(b"null"),
            &mut encoded,
        );
        close(answers.as_deref(), &mut encoded);
    });
    if said.ends(&mut encoded) {
        last_turn = Some(encoded.hasher().state);
    }
    encoded.into_hasher().trail(last_turn, Turn::New)
}

/// A turn of the model, put together from its items.
#[derive(Default)]
struct Said {
    begun: bool,
    text: Vec<u8>,
    calls: Vec<u8>,
}

impl Said {
    /// Whether an item is the model's own; then it is taken.
    fn took(&mut self, item: &[u8]) -> bool {
        let kind = member_text(item, "type");
        match &*kind {
            "function_call" => function(item, &member_text(item, "call_id"), "arguments", &mut self.calls),
            "custom_tool_call" => function(item, &member_text(item, "call_id"), "input", &mut self.calls),
            "message" | "" if member_text(item, "role") == "assistant" => {
                content(json::member(item, "content").unwrap_or(b"null"), &mut self.text);
            }
            _ if kind == "reasoning" || kind.ends_with("_call") => {}
            _ => return false,
        }
        self.begun = true;
        true
    }

    /// Closes a turn that has begun, as an answer closes it.
    fn ends(&mut self, out: &mut impl Out) -> bool {
        let Self { begun, text, calls } = std::mem::take(self);
        if begun {
            open("assistant", out);
            out.extend_from_slice(&text);
            out.extend_from_slice(&calls);
            close(None, out);
        }
        begun
    }
}

/// The conversation of messages: the system prompt, then turn by turn. A last turn of the assistant is
/// left open: the answer goes on where it stops, and the client will send both back as one.
fn messages(request: &ChatRequest<'_>, hasher: Keyed) -> Trail {
    let (mut last_turn, mut encoded) = (None, Encoded::new(hasher));
    let mut turn = Turn::New;
    if let Some(system) = request.value("system").filter(|system| *system != b"null") {
        open("system", &mut encoded);
        content(system, &mut encoded);
        close(None, &mut encoded);
    }
    let mut all = request.messages().peekable();
    while let Some(message) = all.next() {
        let assistant = message.role().is_some_and(|role| role == "assistant");
        match message.plain() {
            Some(plain) => encoded.hasher().plain(plain),
            None => blocks(message.json, &mut encoded),
        }
        if assistant && all.peek().is_none() {
            turn = Turn::Begun;
        } else {
            encoded.hasher().update(&[frame::END]);
        }
        if assistant && turn == Turn::New {
            last_turn = Some(encoded.hasher().state);
        }
    }
    encoded.into_hasher().trail(last_turn, turn)
}

/// One turn of messages, not closed: its text, then what else it holds. What the assistant thought is
/// left out, for clients may send it back or not.
fn blocks(message: &[u8], out: &mut impl Out) {
    let role = json::member(message, "role").and_then(json::text).unwrap_or_default();
    open(&role, out);
    let Some(value) = json::member(message, "content") else { return };
    if !value.starts_with(b"[") {
        return content(value, out);
    }
    for_each(value, |block| {
        if let Some(said) = json::member(block, "text").filter(|said| said.starts_with(b"\"")) {
            text(said, out);
        }
    });
    for_each(value, |block| match &*member_text(block, "type") {
        "text" | "thinking" | "redacted_thinking" => {}
        "tool_use" => function(block, &member_text(block, "id"), "input", out),
        "tool_result" => {
            out.push(frame::ANSWERS);
            out.extend_from_slice(member_text(block, "tool_use_id").as_bytes());
            out.push(frame::FIELD);
            content(json::member(block, "content").unwrap_or(b"null"), out);
        }
        _ => part(block, out),
    });
}

fn member_text<'a>(object: &'a [u8], key: &str) -> std::borrow::Cow<'a, str> {
    json::member(object, key).and_then(json::text).unwrap_or_default()
}

impl Trail {
    /// The whole request: equal for two requests that say the same.
    #[must_use]
    pub fn asked(&self) -> ConversationHash {
        self.hasher.hash()
    }

    /// Begins an answer, for the observer that will read it.
    #[must_use]
    pub fn answering(mut self) -> Answering {
        if self.turn == Turn::New {
            self.hasher.update(ASSISTANT);
        }
        Answering { hasher: self.hasher, waiting: Vec::new() }
    }
}

impl Chain<'_> {
    /// The key of this scope's responses.
    #[must_use]
    pub fn responses(&self) -> ResponseKey {
        let mut state = self.state;
        state.update(self.key, &[frame::FIELD]);
        ResponseKey(state.hash(self.key).0.to_le_bytes())
    }
}

impl ResponseKey {
    /// What a response is found by whose id a later request names.
    #[must_use]
    pub fn of(&self, id: &str) -> ConversationHash {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(id.as_bytes());
        ConversationHash(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for ResponseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseKey")
    }
}

impl Answering {
    /// Takes the next piece of the answer's text.
    pub(crate) fn text(&mut self, piece: &[u8]) {
        if self.waiting.len() + piece.len() > WAITING_MAX_BYTES {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
        if piece.len() > WAITING_MAX_BYTES / 4 && self.waiting.is_empty() {
            self.hasher.update(piece);
        } else {
            self.waiting.extend_from_slice(piece);
        }
    }

    /// Ends the answer with its tool calls: (id, name, arguments).
    pub(crate) fn end<'c>(mut self, calls: impl Iterator<Item = (&'c str, &'c str, &'c str)>) -> ConversationHash {
        let mut last = self.waiting;
        for (id, name, arguments) in calls {
            call(id, name, arguments, &mut last);
        }
        if !last.is_empty() {
            self.hasher.update(&last);
        }
        self.hasher.update(&[frame::END]);
        self.hasher.hash()
    }
}

impl Keyed {
    fn update(&mut self, bytes: &[u8]) {
        self.state.update(&self.key, bytes);
    }

    /// Takes a plain message, not closed.
    fn plain(&mut self, Plain { role, content }: Plain<'_>) {
        match role.raw {
            b"user" => self.update(USER),
            b"assistant" => self.update(ASSISTANT),
            b"system" => self.update(SYSTEM),
            _ => {
                self.update(&[frame::ROLE]);
                self.update(role.decode().as_bytes());
                self.update(&[frame::TEXT]);
            }
        }
        let mut unescape = Unescape::default();
        unescape.feed_bytes(content, |piece| self.update(piece));
        unescape.finish(|piece| self.update(piece.as_bytes()));
    }

    /// Of what came so far; more may follow.
    fn hash(&self) -> ConversationHash {
        self.state.hash(&self.key)
    }

    /// The end of a request, with where its last turn of the assistant ended.
    fn trail(self, last_turn: Option<State>, turn: Turn) -> Trail {
        Trail { continued: last_turn.map(|state| state.hash(&self.key)), hasher: self, turn }
    }
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Self {
        let mut parts = Self::default();
        let mut scanner = Scanner::new(message);
        if scanner.enter_object().is_err() {
            return parts;
        }
        while let Ok(Some(key)) = scanner.next_member() {
            let read = if key.is("role") {
                scanner.string_or_skip().map(|role| parts.role = role)
            } else if key.is("tool_call_id") {
                scanner.string_or_skip().map(|id| parts.answers = id)
            } else {
                scanner.skip().map(|value| {
                    if key.is("content") {
                        parts.content = Some(value);
                    } else if key.is("tool_calls") {
                        parts.calls = Some(value);
                    } else if key.is("function_call") {
                        parts.function_call = Some(value);
                    }
                })
            };
            if read.is_err() {
                break;
            }
        }
        parts
    }

    fn encode(&self, message: &[u8], out: &mut impl Out) {
        open(&self.role.map(|role| role.decode()).unwrap_or_default(), out);
        if let Some(value) = self.content {
            content(value.of(message), out);
        }
        for_each(self.calls.map_or(b"", |calls| calls.of(message)), |item| {
            tool_call(item, out);
        });
        if let Some(value) = self.function_call.map(|value| value.of(message)).filter(|value| value.starts_with(b"{")) {
            function(value, "", "arguments", out);
        }
        close(self.answers.map(|id| id.decode()).as_deref(), out);
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").field("continued", &self.continued).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

fn open(role: &str, out: &mut impl Out) {
    out.push(frame::ROLE);
    out.extend_from_slice(role.as_bytes());
    out.push(frame::TEXT);
}

fn close(answers: Option<&str>, out: &mut impl Out) {
    if let Some(id) = answers {
        out.push(frame::ANSWERS);
        out.extend_from_slice(id.as_bytes());
    }
    out.push(frame::END);
}

/// Arguments are hashed as what they say, not as they are written: client libraries parse them and
/// write them anew.
fn call(id: &str, name: &str, arguments: &str, out: &mut impl Out) {
    out.push(frame::CALL);
    out.extend_from_slice(id.as_bytes());
    out.push(frame::FIELD);
    out.extend_from_slice(name.as_bytes());
    out.push(frame::FIELD);
    // A call without arguments is written either way.
    let arguments = if arguments.trim_ascii().is_empty() { "{}" } else { arguments };
    if json::check(arguments.as_bytes()).is_ok() {
        canonical(arguments.as_bytes(), out);
    } else {
        out.extend_from_slice(arguments.as_bytes());
    }
}

fn tool_call(item: &[u8], out: &mut impl Out) {
    let id = json::member(item, "id").and_then(json::text).unwrap_or_default();
    if let Some(custom) = json::member(item, "custom") {
        function(custom, &id, "input", out);
    } else {
        function(json::member(item, "function").unwrap_or(b"{}"), &id, "arguments", out);
    }
}

fn function(called: &[u8], id: &str, arguments: &str, out: &mut impl Out) {
    let name = json::member(called, "name").and_then(json::text).unwrap_or_default();
    let value = json::member(called, arguments).unwrap_or(b"\"\"");
    let arguments = json::text(value).unwrap_or_else(|| String::from_utf8_lossy(value));
    call(id, &name, &arguments, out);
}

/// The text of a content, whether a string or an array of parts; parts that are no text by what they
/// say.
fn content(value: &[u8], out: &mut impl Out) {
    match Scanner::new(value).peek() {
        Ok(Kind::String) => text(value, out),
        Ok(Kind::Array) => for_each(value, |part| match json::member(part, "text") {
            Some(value) if value.starts_with(b"\"") => text(value, out),
            _ if json::member(part, "type") == Some(br#""refusal""#) => {}
            _ => self::part(part, out),
        }),
        Ok(Kind::Null) | Err(_) => {}
        Ok(Kind::Object | Kind::Number | Kind::Bool) => canonical(value, out),
    }
}

/// A part that is no text, by what it says.
fn part(part: &[u8], out: &mut impl Out) {
    out.push(frame::PART);
    canonical(part, out);
    out.push(frame::PART);
}

fn text(value: &[u8], out: &mut impl Out) {
    if let Ok(text) = Scanner::new(value).string() {
        unescaped(text, out);
    }
}

fn unescaped(text: Text<'_>, out: &mut impl Out) {
    let mut unescape = Unescape::default();
    unescape.feed(text, |piece| {
        out.extend_from_slice(piece.as_bytes());
    });
    unescape.finish(|piece| {
        out.extend_from_slice(piece.as_bytes());
    });
}

/// JSON without its white space and with the escapes of its strings undone; the order of members is
/// kept, as every library keeps it.
fn canonical(value: &[u8], out: &mut impl Out) {
    let mut at = 0;
    while at < value.len() {
        let end = value[at..]
            .iter()
            .position(|byte| matches!(byte, b'"' | b' ' | b'\t' | b'\n' | b'\r'))
            .map_or(value.len(), |plain| at + plain);
        out.extend_from_slice(&value[at..end]);
        at = end + 1;
        if value.get(end) == Some(&b'"') {
            let mut string = Scanner::within(value, Span { start: end, end: value.len() });
            let Ok(_) = string.skip() else { return };
            out.push(frame::STRING);
            text(&value[end..string.at()], out);
            out.push(frame::STRING);
            at = string.at();
        }
    }
}

fn for_each(array: &[u8], mut take: impl FnMut(&[u8])) {
    let mut scanner = Scanner::new(array);
    if scanner.enter_array().is_err() {
        return;
    }
    while let Ok(true) = scanner.next_item() {
        let Ok(item) = scanner.skip() else { return };
        take(item.of(array));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::{Expect, Observer};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const KEY: [u8; 32] = [9; 32];

    fn follow(messages: &Value) -> Trail {
        let body = json!({"model": "m", "messages": messages}).to_string();
        Chain::new(&Key::new(&KEY), b"scope").follow(&ChatRequest::read(body.as_bytes()).unwrap())
    }

    /// What the observer says of an answer, sent whole or in pieces of a few characters.
    fn answered(messages: &Value, message: &Value, stream: bool) -> ConversationHash {
        let conversation = Some(follow(messages).answering());
        let mut observer = Observer::new(Expect { stream, conversation, ..Expect::default() });
        if !stream {
            let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string();
            observer.feed(body.as_bytes());
            return observer.finish().conversation.unwrap();
        }
        let mut send = |delta: Value, finish: Option<&str>| {
            let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            observer.feed(format!("data: {chunk}\n\n").as_bytes());
        };
        send(json!({"role": "assistant", "content": message["content"].as_str().map(|_| "")}), None);
        let pieces = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        for piece in pieces(message["content"].as_str().unwrap_or_default()) {
            send(json!({"content": piece}), None);
        }
        for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let name = &call["function"]["name"];
            send(
                json!({"tool_calls": [{"index": index, "id": call["id"], "function": {"name": name, "arguments": ""}}]}),
                None,
            );
            for piece in pieces(call["function"]["arguments"].as_str().unwrap()) {
                send(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), None);
            }
        }
        send(json!({}), Some("stop"));
        observer.finish().conversation.unwrap()
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zé漢😀\"\\\\\n ]{0,12}", Just(String::new())]
    }

    fn calls() -> impl Strategy<Value = Vec<Value>> {
        let arguments = prop::sample::select(vec!["{}", r#"{"a": "é\n", "b": [1, 2.0]}"#, "not json {", ""]);
        let call = ("[a-z0-9]{1,6}", "[a-z]{1,6}", arguments).prop_map(|(id, name, arguments)| {
            json!({"id": format!("call_{id}"), "type": "function", "function": {"name": name, "arguments": arguments}})
        });
        prop::collection::vec(call, 0..3)
    }

    fn turn() -> impl Strategy<Value = Value> {
        (prop::sample::select(vec!["system", "user", "tool", "developer"]), text(), any::<bool>()).prop_map(
            |(role, text, parts)| {
                let content = if parts { json!([{"type": "text", "text": text}]) } else { json!(text) };
                if role == "tool" {
                    json!({"role": role, "content": content, "tool_call_id": "call_1"})
                } else {
                    json!({"role": role, "content": content})
                }
            },
        )
    }

    /// The assistant's message as client libraries put it into the next request.
    fn echoed(message: &Value, how: u8) -> Value {
        let mut echo = message.clone();
        match how {
            // The object that came, extra members and all.
            0 => {
                echo["refusal"] = Value::Null;
                echo["annotations"] = json!([]);
                echo["function_call"] = Value::Null;
                echo["audio"] = Value::Null;
            }
            // Members that are null are left out.
            1 => {
                let members = echo.as_object_mut().unwrap();
                members.retain(|_, value| !value.is_null());
            }
            // Text as parts, arguments parsed and written anew.
            2 => {
                if let Some(text) = message["content"].as_str() {
                    echo["content"] = json!([{"type": "text", "text": text}]);
                }
                for call in echo["tool_calls"].as_array_mut().into_iter().flatten() {
                    let arguments = call["function"]["arguments"].as_str().unwrap();
                    if let Ok(Value::Object(parsed)) = serde_json::from_str::<Value>(arguments) {
                        call["function"]["arguments"] = json!(Value::Object(parsed).to_string());
                    }
                }
            }
            // Null in place of nothing said.
            _ => {
                if message["content"] == "" {
                    echo["content"] = Value::Null;
                }
            }
        }
        echo
    }

    proptest! {
        #[test]
        fn an_answer_is_found_in_the_next_request(
            history in prop::collection::vec(turn(), 1..4),
            said in text(),
            calls in calls(),
            stream in any::<bool>(),
            how in 0_u8..4,
            later in prop::collection::vec(turn(), 0..3),
        ) {
            let mut message = json!({"role": "assistant", "content": said});
            if !calls.is_empty() {
                message["tool_calls"] = json!(calls);
            }
            let stored = answered(&json!(history), &message, stream);
            let mut next = history.clone();
            next.push(echoed(&message, how));
            next.extend(later.clone());
            prop_assert_eq!(follow(&json!(next)).continued, Some(stored));

            // An edited or cut history is another one.
            next[0]["content"] = json!("something else entirely");
            prop_assert_ne!(follow(&json!(next)).continued, Some(stored));
            prop_assert_ne!(follow(&json!(next[1..])).continued, Some(stored));
        }

        #[test]
        fn conversations_that_differ_have_different_hashes(a in prop::collection::vec(turn(), 1..4), b in prop::collection::vec(turn(), 1..4)) {
            let flat = |turns: &[Value]| {
                let text = |turn: &Value| turn["content"].as_str().map_or_else(|| turn["content"][0]["text"].as_str().unwrap().to_owned(), str::to_owned);
                turns.iter().map(|turn| (turn["role"].to_string(), text(turn))).collect::<Vec<_>>()
            };
            prop_assert_eq!(flat(&a) == flat(&b), follow(&json!(a)).asked() == follow(&json!(b)).asked());
        }
    }

    #[test]
    fn roles_begin_as_any_other_would() {
        for (role, begins) in [("user", USER), ("assistant", ASSISTANT), ("system", SYSTEM)] {
            let mut encoded = Vec::new();
            open(role, &mut encoded);
            assert_eq!(encoded, begins);
        }
    }

    #[test]
    fn key_and_scope_part_conversations() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
        let request = ChatRequest::read(body).unwrap();
        let asked = |key, scope: &[u8]| Chain::new(&Key::new(&key), scope).follow(&request).asked();
        assert_eq!(asked(KEY, b"a"), asked(KEY, b"a"));
        assert_ne!(asked(KEY, b"a"), asked(KEY, b"b"));
        assert_ne!(asked(KEY, b"a"), asked([8; 32], b"a"));
    }

    #[test]
    fn what_is_said_with_pictures_or_files_counts() {
        let with = |part: Value| {
            follow(&json!([{"role": "user", "content": [{"type": "text", "text": "look"}, part]}])).asked()
        };
        let a = with(json!({"type": "image_url", "image_url": {"url": "data:a"}}));
        assert_ne!(a, with(json!({"type": "image_url", "image_url": {"url": "data:b"}})));
        assert_ne!(a, follow(&json!([{"role": "user", "content": "look"}])).asked());
    }

    #[test]
    fn an_answer_that_broke_off_is_not_followed() {
        let conversation = Some(follow(&json!([{"role": "user", "content": "Hi"}])).answering());
        let mut observer = Observer::new(Expect { stream: true, conversation, ..Expect::default() });
        observer.feed(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n");
        assert_eq!(observer.finish().conversation, None);
    }
}
