//! What a request tells of the turns before it: which tools were called since the user last spoke, what came of the last
//! calls, and whether the user asks the same again. One pass over the messages, in any dialect of conversations.

use crate::dialect::Dialect;
use crate::json::{self, Scanner, Text};
use crate::openai::patch::items;
use crate::openai::request::Plain;
use crate::openai::{ChatRequest, Message};
use crate::outcome::Spoken;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

/// As many earlier calls are remembered.
const CALLS_MAX: usize = 64;
/// As many results are looked at.
const RESULTS_MAX: usize = 64;
/// A result beyond this length is none of an error.
const RESULT_MAX_BYTES: usize = 64 << 10;
/// What is asked again has so many letters and digits: "yes" and "go on" are said twice with good reason.
const ASKED_MIN_SIGNS: u32 = 16;
/// The language of what the user says is looked for in so many of his last messages, if they are not longer than this.
const SPOKEN_IN: usize = 3;
const SPOKEN_MAX_BYTES: usize = 64 << 10;
/// So much of such a message is looked at: some forty words.
const SPOKEN_BYTES: usize = 256;
/// How results begin that are an error in words.
const ERROR_WORDS: [&str; 5] = ["error:", "error executing", "an error occurred", "exception:", "traceback ("];

/// Calls of tools, as hashes of name and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EarlierCalls(Vec<u64>);

/// What came of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolResult {
    /// A hash of the call's id: that of [`crate::openai::Seen::calls`].
    pub call: u64,
    /// Whether it says that the call failed (`is_error`, an object with an error, words of one).
    pub failed: bool,
}

/// What a request tells of the turns before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// The calls made since the user last spoke.
    pub calls: EarlierCalls,
    /// What came of those of the last answer.
    pub results: Vec<ToolResult>,
    /// The user says what he said before: letters and digits are the same.
    pub asked_again: bool,
    /// The language that the user speaks, where that can be told of his last messages.
    pub asked_in: Option<Spoken>,
}

/// A past that is being read.
#[derive(Debug, Default)]
struct Reading<'a> {
    past: Past,
    /// What the user said, the last at the end.
    said: Vec<Content<'a>>,
    /// Whether an answer has come since.
    answered: bool,
}

/// What a message says.
#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    /// A text that was found already.
    Text(Text<'a>),
    /// JSON: a text, or an array of parts.
    Json(&'a [u8]),
}

impl EarlierCalls {
    /// Whether this call was made before.
    pub(crate) fn has(&self, name: &str, arguments: &str) -> bool {
        self.0.contains(&call(name, arguments))
    }

    fn add(&mut self, name: &str, arguments: &str) {
        if self.0.len() < CALLS_MAX {
            self.0.push(call(name, arguments));
        }
    }
}

impl Past {
    /// Reads it. What is no conversation has none.
    #[must_use]
    pub fn read(request: &ChatRequest<'_>) -> Self {
        let mut reading = Reading::default();
        match request.dialect {
            Dialect::Chat => request.messages().for_each(|message| reading.turn(&message, Reading::chat)),
            Dialect::Messages => request.messages().for_each(|message| reading.turn(&message, Reading::message)),
            Dialect::Responses | Dialect::Realtime => {
                let input = request.value("input").unwrap_or(b"[]");
                items(input).into_iter().for_each(|item| reading.item(item));
            }
            Dialect::Embeddings | Dialect::Completions => {}
        }
        let latest = reading.said.iter().rev().take(SPOKEN_IN);
        reading.past.asked_in = latest.filter(|said| said.len() <= SPOKEN_MAX_BYTES).find_map(|said| spoken(*said));
        reading.past
    }
}

impl<'a> Reading<'a> {
    fn turn(&mut self, message: &Message<'a>, read: impl FnOnce(&mut Self, &'a [u8])) {
        let Some(Plain { role, content }) = message.plain() else { return read(self, message.json) };
        match role.raw {
            b"user" => self.user(Some(Content::Text(content))),
            b"assistant" => self.assistant(),
            _ => {}
        }
    }

    fn chat(&mut self, message: &'a [u8]) {
        let [role, content, calls, answers] = json::members(message, ["role", "content", "tool_calls", "tool_call_id"]);
        match role.and_then(json::text).as_deref() {
            Some("user") => self.user(content.map(Content::Json)),
            Some("assistant") => {
                self.assistant();
                for called in items(calls.unwrap_or(b"[]")) {
                    let function = json::member(called, "function").unwrap_or(b"{}");
                    let [name, arguments] = json::members(function, ["name", "arguments"]);
                    self.called(name.and_then(json::text), arguments.and_then(json::text));
                }
            }
            Some("tool") => self.result(answers.and_then(json::text), content, false),
            _ => {}
        }
    }

    fn message(&mut self, message: &'a [u8]) {
        let [role, content] = json::members(message, ["role", "content"]);
        let blocks = items(content.unwrap_or(b"[]"));
        let is = |block: &[u8], kind: &str| string(block, "type").is_some_and(|own| own == kind);
        match role.and_then(json::text).as_deref() {
            Some("user") if blocks.iter().any(|block| is(block, "tool_result")) => {
                for block in blocks.into_iter().filter(|block| is(block, "tool_result")) {
                    let failed = json::member(block, "is_error") == Some(b"true");
                    self.result(string(block, "tool_use_id"), json::member(block, "content"), failed);
                }
            }
            Some("user") => self.user(content.map(Content::Json)),
            Some("assistant") => {
                self.assistant();
                for block in blocks.into_iter().filter(|block| is(block, "tool_use")) {
                    let input = json::member(block, "input").map(String::from_utf8_lossy);
                    self.called(string(block, "name"), input);
                }
            }
            _ => {}
        }
    }

    fn item(&mut self, item: &'a [u8]) {
        match string(item, "type").as_deref() {
            Some("function_call") => {
                self.assistant();
                self.called(string(item, "name"), string(item, "arguments"));
            }
            Some("function_call_output") => self.result(string(item, "call_id"), json::member(item, "output"), false),
            Some("message") | None => match string(item, "role").as_deref() {
                Some("user") => self.user(json::member(item, "content").map(Content::Json)),
                Some("assistant") => self.assistant(),
                _ => {}
            },
            Some(_) => {}
        }
    }

    fn user(&mut self, content: Option<Content<'a>>) {
        let both = self.said.last().copied().zip(content).filter(|_| self.answered);
        self.past.asked_again = both.is_some_and(|(before, now)| ask_the_same(before, now));
        self.said.extend(content);
        self.answered = false;
        self.past.calls.0.clear();
        self.past.results.clear();
    }

    fn assistant(&mut self) {
        self.answered = true;
        self.past.asked_again = false;
        self.past.results.clear();
    }

    fn called(&mut self, name: Option<Cow<'_, str>>, arguments: Option<Cow<'_, str>>) {
        self.past.calls.add(&name.unwrap_or_default(), &arguments.unwrap_or_default());
    }

    fn result(&mut self, id: Option<Cow<'_, str>>, content: Option<&[u8]>, failed: bool) {
        let Some(id) = id.filter(|id| !id.is_empty()) else { return };
        if self.past.results.len() < RESULTS_MAX {
            let failed = failed || content.is_some_and(says_failed);
            self.past.results.push(ToolResult { call: call_key(&id), failed });
        }
    }
}

/// What a call is known by from its answer to the request that brings its result, in one process.
pub(crate) fn call_key(id: &str) -> u64 {
    hash(&id)
}

fn call(name: &str, arguments: &str) -> u64 {
    // Libraries write arguments anew: white space plays no part.
    let signs: Vec<u8> = arguments.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hash(&(name, signs))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn string<'a>(object: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
    json::text(json::member(object, key)?)
}

impl<'a> Content<'a> {
    /// How long it is as JSON.
    fn len(self) -> usize {
        match self {
            Self::Text(text) => text.raw.len() + 2,
            Self::Json(json) => json.len(),
        }
    }

    fn text(self) -> Option<Text<'a>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(json) => Scanner::new(json).string().ok(),
        }
    }

    /// If it is no text, its parts.
    fn parts(self) -> Vec<&'a [u8]> {
        match self {
            Self::Text(_) => Vec::new(),
            Self::Json(json) => items(json),
        }
    }
}

/// The texts of a content, whether it is a string or an array of parts.
fn texts(content: Content<'_>) -> Vec<Cow<'_, str>> {
    match content.text() {
        Some(text) => vec![text.decode()],
        None => content.parts().into_iter().filter_map(|part| string(part, "text")).collect(),
    }
}

/// Whether two contents have the same letters and digits, and not too few. What differs does so early as a rule.
fn ask_the_same(before: Content<'_>, now: Content<'_>) -> bool {
    let (before, now) = (texts(before), texts(now));
    let mut count = 0_u32;
    let same = signs(&before).eq(signs(&now).inspect(|_| count = count.saturating_add(1)));
    same && count >= ASKED_MIN_SIGNS
}

/// The letters and digits of texts, in lower case.
fn signs<'a>(texts: &'a [Cow<'_, str>]) -> impl Iterator<Item = char> + 'a {
    let chars = texts.iter().flat_map(|text| text.chars());
    chars.filter(|sign| sign.is_alphanumeric()).flat_map(char::to_lowercase)
}

/// The language of a content.
fn spoken<'a>(content: Content<'a>) -> Option<Spoken> {
    // Who escapes what is not ASCII writes three times the bytes: what is looked at begins in so much.
    let begins = |text: Text<'a>| text.start(if text.escaped { SPOKEN_BYTES * 3 } else { SPOKEN_BYTES }).decode();
    if let Some(text) = content.text() {
        let text = begins(text);
        return Spoken::of(&text[..text.floor_char_boundary(SPOKEN_BYTES)]);
    }
    let mut start = String::new();
    for part in content.parts() {
        let text = json::member(part, "text").and_then(|text| Scanner::new(text).string().ok());
        let Some(text) = text.map(begins) else { continue };
        start.push_str(&text[..text.floor_char_boundary(SPOKEN_BYTES)]);
        start.push('\n');
        if start.len() > SPOKEN_BYTES {
            break;
        }
    }
    Spoken::of(&start)
}

fn says_failed(content: &[u8]) -> bool {
    if content.len() > RESULT_MAX_BYTES {
        return false;
    }
    if content.starts_with(b"{") {
        return object_failed(content);
    }
    texts(Content::Json(content)).first().is_some_and(|text| {
        let text = text.trim_start();
        if text.starts_with('{') {
            return object_failed(text.as_bytes());
        }
        let begins = |words: &&str| text.get(..words.len()).is_some_and(|own| own.eq_ignore_ascii_case(words));
        ERROR_WORDS.iter().any(begins)
    })
}

/// Whether an object says that something failed: an `error` that says something, `isError`, or no success.
fn object_failed(object: &[u8]) -> bool {
    let member = |key| json::member(object, key);
    let says = |value: &[u8]| !matches!(value, b"null" | b"false" | b"\"\"" | b"[]" | b"{}" | b"0");
    member("error").is_some_and(says)
        || member("errors").is_some_and(says)
        || member("isError").or_else(|| member("is_error")) == Some(b"true")
        || member("success").or_else(|| member("ok")) == Some(b"false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn past(dialect: Dialect, key: &str, turns: &Value) -> Past {
        let body = json!({"model": "m", key: turns}).to_string();
        Past::read(&ChatRequest::read_as(dialect, body.as_bytes()).unwrap())
    }

    fn failed(past: &Past) -> Vec<bool> {
        past.results.iter().map(|result| result.failed).collect()
    }

    #[test]
    fn calls_and_results_are_read_in_every_dialect() {
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
        let chat = past(
            Dialect::Chat,
            "messages",
            &json!([
                {"role": "user", "content": "go"},
                {"role": "assistant", "tool_calls": [call("one")]},
                {"role": "tool", "tool_call_id": "one", "content": "{\"error\": \"no such city\"}"},
                {"role": "assistant", "tool_calls": [call("two"), call("three")]},
                {"role": "tool", "tool_call_id": "two", "content": "21 degrees"},
                {"role": "tool", "tool_call_id": "three", "content": [{"type": "text", "text": "Error: gone"}]},
            ]),
        );
        assert_eq!(failed(&chat), [false, true], "those of the last answer alone");
        assert!(chat.calls.has("f", "{\"a\":1}") && !chat.calls.has("f", "{\"a\":2}"));
        let messages = past(
            Dialect::Messages,
            "messages",
            &json!([
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "one", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "one", "is_error": true, "content": "gone"},
                    {"type": "tool_result", "tool_use_id": "two", "content": "21"}]},
            ]),
        );
        assert_eq!(failed(&messages), [true, false]);
        assert!(messages.calls.has("f", "{ \"a\": 1 }"));
        let responses = past(
            Dialect::Responses,
            "input",
            &json!([
                {"role": "user", "content": "go"},
                {"type": "function_call", "call_id": "one", "name": "f", "arguments": "{\"a\":1}"},
                {"type": "function_call_output", "call_id": "one", "output": "{\"success\": false}"},
            ]),
        );
        assert_eq!(failed(&responses), [true]);
        assert!(responses.calls.has("f", "{\"a\":1}"));
    }

    #[test]
    fn what_is_no_error_is_none() {
        for content in [
            "21 degrees",
            "{\"error\":null,\"city\":\"Oslo\"}",
            "{\"errors\":[]}",
            "no error: all is well",
            "[]",
            "{\"success\":true}",
            "Errors were mended",
        ] {
            let turns = json!([{"role": "tool", "tool_call_id": "one", "content": content}]);
            assert_eq!(failed(&past(Dialect::Chat, "messages", &turns)), [false], "{content}");
        }
    }

    #[test]
    fn a_new_word_of_the_user_closes_what_was_before() {
        let turns = json!([
            {"role": "assistant", "tool_calls": [{"id": "one", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "one", "content": "Error: gone"},
            {"role": "user", "content": "and now?"},
        ]);
        assert_eq!(past(Dialect::Chat, "messages", &turns).results, []);
        assert!(!past(Dialect::Chat, "messages", &turns).calls.has("f", "{}"));
    }

    #[test]
    fn the_users_language_is_that_of_his_last_words_that_tell_one() {
        let turns = json!([
            {"role": "system", "content": "You are the support of a shop, and you are kind to all of them."},
            {"role": "user", "content": [{"type": "text", "text": "Wo ist meine Bestellung? Sie ist noch nicht bei mir, und ich warte auf das Paket."}]},
            {"role": "assistant", "content": "Sie ist unterwegs."},
            {"role": "user", "content": "OK."},
        ]);
        let asked_in = past(Dialect::Chat, "messages", &turns).asked_in.unwrap();
        let german =
            Spoken::of("Sie ist unterwegs und wird am Montag bei Ihnen sein, das ist nicht mehr weit.").unwrap();
        let english = Spoken::of("It is on the way and will be with you on Monday, that is not so long.").unwrap();
        assert!(asked_in.differs(english) && !asked_in.differs(german));
        assert_eq!(past(Dialect::Chat, "messages", &json!([{"role": "user", "content": "4711?"}])).asked_in, None);
    }

    #[test]
    fn the_same_question_after_an_answer_is_asked_again() {
        let asked = |second: &str, between: &Value| {
            let turns = json!([{"role": "user", "content": "Where is my order 4711?"}, between, {"role": "user", "content": second}]);
            past(Dialect::Chat, "messages", &turns).asked_again
        };
        let answer = json!({"role": "assistant", "content": "I do not know."});
        assert!(asked("where is MY order 4711", &answer));
        assert!(!asked("Where is my order 4712?", &answer));
        assert!(
            !asked("Where is my order 4711?", &json!({"role": "system", "content": "Be brief."})),
            "nobody answered"
        );
        let short = json!([{"role": "user", "content": "yes"}, answer, {"role": "user", "content": "yes"}]);
        assert!(!past(Dialect::Chat, "messages", &short).asked_again);
    }
}
