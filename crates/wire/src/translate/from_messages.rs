//! A whole answer of messages as a chat completion.

use super::object::Object;
use super::put;
use crate::anthropic::usage::Told;
use crate::json::{self, Scanner};
use crate::openai::items;
use crate::usage::Usage;

/// `created_s` is the time of the answer, in seconds since 1970. `None` where the body is no message.
pub(super) fn body(body: &[u8], created_s: u64) -> Option<Vec<u8>> {
    json::check(body).ok()?;
    let message = Object::read(body);
    let content = message.get("content").filter(|_| message.is("type", "message"))?;
    let (mut texts, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in items(content) {
        let block = Object::read(block);
        match block.text("type").as_deref() {
            Some("text") => texts.push_str(&block.text("text").unwrap_or_default()),
            Some("thinking") => thoughts.push_str(&block.text("thinking").unwrap_or_default()),
            Some("tool_use") => calls.push(call(&block)),
            _ => {}
        }
    }
    let mut out = br#"{"id":"#.to_vec();
    put(&mut out, &[message.string("id").unwrap_or(br#""""#), br#","object":"chat.completion","created":"#]);
    put(&mut out, &[created_s.to_string().as_bytes(), br#","model":"#]);
    out.extend_from_slice(message.string("model").unwrap_or(br#""""#));
    out.extend_from_slice(br#","choices":[{"index":0,"message":{"role":"assistant","content":"#);
    if texts.is_empty() && !calls.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        json::quote(&texts, &mut out);
    }
    out.extend_from_slice(br#","refusal":null"#);
    if !thoughts.is_empty() {
        out.extend_from_slice(br#","reasoning_content":"#);
        json::quote(&thoughts, &mut out);
    }
    if !calls.is_empty() {
        put(&mut out, &[br#","tool_calls":["#, &calls.join(&b','), b"]"]);
    }
    out.extend_from_slice(br#"},"logprobs":null,"finish_reason":"#);
    match message.text("stop_reason") {
        Some(reason) => put(&mut out, &[b"\"", finish(reason.as_bytes()).as_bytes(), b"\""]),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}]");
    let mut told = Told::default();
    if let Some(usage) = message.get("usage") {
        told.scan(&mut Scanner::new(usage)).ok()?;
    }
    if let Some(usage) = told.usage() {
        out.extend_from_slice(br#","usage":"#);
        tokens(&usage, &mut out);
    }
    out.push(b'}');
    Some(out)
}

fn call(block: &Object<'_>) -> Vec<u8> {
    let empty: &[u8] = br#""""#;
    let mut out = [br#"{"id":"#, block.string("id").unwrap_or(empty), br#","type":"function","function":"#].concat();
    put(&mut out, &[br#"{"name":"#, block.string("name").unwrap_or(empty), br#","arguments":"#]);
    json::quote(&String::from_utf8_lossy(block.get("input").unwrap_or(b"{}")), &mut out);
    out.extend_from_slice(b"}}");
    out
}

/// `finish_reason` for a `stop_reason`. A turn that pauses is not finished, and a client of chat completions cannot go on
/// with it: to that one it was cut off.
pub(super) fn finish(reason: &[u8]) -> &'static str {
    match reason {
        b"max_tokens" | b"model_context_window_exceeded" | b"pause_turn" => "length",
        b"tool_use" => "tool_calls",
        b"refusal" => "content_filter",
        _ => "stop",
    }
}

/// `usage` of a chat completion.
pub(super) fn tokens(usage: &Usage, out: &mut Vec<u8>) {
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    let total = input.saturating_add(output);
    let counts = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":"#
    );
    let cached = usage.cached_tokens.unwrap_or(0);
    put(out, &[counts.as_bytes(), format!(r#"{{"cached_tokens":{cached}}}"#).as_bytes()]);
    if let Some(thinking) = usage.reasoning_tokens {
        put(out, &[format!(r#","completion_tokens_details":{{"reasoning_tokens":{thinking}}}"#).as_bytes()]);
    }
    out.push(b'}');
}
