//! A whole chat completion as an answer of messages.

use super::object::Object;
use super::put;
use crate::json::{self, Scanner};
use crate::openai::items;
use crate::usage::Usage;

/// So many letters of an answer's id stand in that of a call.
const OF_ANSWER_MAX: usize = 24;

/// `None` where the body is no chat completion, or calls a tool with what is no JSON object, which
/// messages have no place for.
pub(super) fn body(body: &[u8]) -> Option<Vec<u8>> {
    json::check(body).ok()?;
    let completion = Object::read(body);
    let choice = Object::read(items(completion.get("choices")?).into_iter().next()?);
    let message = choice.object("message")?;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut said = texts(message.get("content"));
    let refusal = message.text("refusal").filter(|refusal| !refusal.is_empty());
    said.push_str(refusal.as_deref().unwrap_or_default());
    if !said.is_empty() {
        let mut block = br#"{"type":"text","text":"#.to_vec();
        json::quote(&said, &mut block);
        block.push(b'}');
        blocks.push(block);
    }
    let finish = choice.text("finish_reason").unwrap_or_default();
    // a call of old has no id, by which its result could come back
    if finish == "error" || message.get("function_call").is_some() {
        return None;
    }
    let calls = message.get("tool_calls").map(items).unwrap_or_default();
    for (number, call) in calls.iter().enumerate() {
        let cut = if finish == "length" && number + 1 == calls.len() { Cut::Perhaps } else { Cut::No };
        let own = || own_id(completion.string("id"), number);
        blocks.push(tool_use(&Object::read(call), cut, own)?);
    }
    let (reason, sequence) = match choice.string("stop_reason") {
        _ if refusal.is_some() => ("refusal", None),
        // some servers tell what stopped it
        Some(sequence) if finish == "stop" => ("stop_sequence", Some(sequence)),
        _ => (stop(finish.as_bytes(), calls.len()), None),
    };
    let mut out = br#"{"id":"#.to_vec();
    put(&mut out, &[completion.string("id").unwrap_or(br#""""#), br#","type":"message","role":"assistant","model":"#]);
    put(&mut out, &[completion.string("model").unwrap_or(br#""""#), br#","content":["#, &blocks.join(&b',')]);
    put(&mut out, &[br#"],"stop_reason":""#, reason.as_bytes(), br#"","stop_sequence":"#]);
    put(&mut out, &[sequence.unwrap_or(b"null"), br#","usage":"#]);
    let usage = completion.get("usage").and_then(|usage| Usage::scan(&mut Scanner::new(usage)).ok().flatten());
    tokens(&usage.unwrap_or_default(), &mut out);
    out.push(b'}');
    Some(out)
}

fn texts(content: Option<&[u8]>) -> String {
    let content = content.unwrap_or(b"null");
    let parts = items(content);
    let parts = parts.into_iter().filter_map(|part| Object::read(part).text("text"));
    json::text(content).map_or_else(|| parts.collect(), std::borrow::Cow::into_owned)
}

/// Whether a call may have been cut off by the limit of tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Perhaps,
    No,
}

fn tool_use(call: &Object<'_>, cut: Cut, own_id: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
    let function = call.object("function")?;
    let arguments = function.text("arguments").unwrap_or_else(|| {
        // Some servers write the object itself.
        String::from_utf8_lossy(function.get("arguments").unwrap_or(b""))
    });
    let mut arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
    if !arguments.starts_with('{') || json::check(arguments.as_bytes()).is_err() {
        // That it is not to be run `max_tokens` says, as it does of the half of a call in messages.
        arguments = (cut == Cut::Perhaps).then_some("{}")?;
    }
    let mut out = br#"{"type":"tool_use","id":"#.to_vec();
    match call.string("id") {
        Some(id) if id != br#""""# => out.extend_from_slice(id),
        _ => put(&mut out, &[b"\"", &own_id(), b"\""]),
    }
    put(&mut out, &[br#","name":"#, function.string("name")?, br#","input":"#, arguments.as_bytes(), b"}"]);
    Some(out)
}

/// The id of a call whose server gave none, of the letters that messages allow. The answer's own id is in it: clients take
/// calls of one id for one call, whichever turns they are of.
pub(super) fn own_id(answer: Option<&[u8]>, number: usize) -> Vec<u8> {
    let letters = answer.unwrap_or_default().iter().filter(|letter| letter.is_ascii_alphanumeric());
    let last: Vec<u8> = letters.rev().take(OF_ANSWER_MAX).copied().collect();
    let of_answer: Vec<u8> = last.into_iter().rev().collect();
    [b"call_", &of_answer[..], b"_", number.to_string().as_bytes()].concat()
}

/// `stop_reason` for a `finish_reason`; a tool that the client named is called with `stop`.
pub(super) fn stop(finish: &[u8], calls: usize) -> &'static str {
    match finish {
        b"length" => "max_tokens",
        b"tool_calls" | b"function_call" => "tool_use",
        b"content_filter" => "refusal",
        _ if calls > 0 => "tool_use",
        _ => "end_turn",
    }
}

/// `usage` of messages, which count what was read afresh apart from what was read from a cache.
pub(super) fn tokens(usage: &Usage, out: &mut Vec<u8>) {
    let cached = usage.cached_tokens.unwrap_or(0);
    let fresh = usage.input_tokens.unwrap_or(0).saturating_sub(cached);
    let written = usage.output_tokens.unwrap_or(0);
    let counts = format!(
        r#"{{"input_tokens":{fresh},"cache_creation_input_tokens":0,"cache_read_input_tokens":{cached},"output_tokens":{written}"#
    );
    out.extend_from_slice(counts.as_bytes());
    if let Some(thinking) = usage.reasoning_tokens.filter(|thinking| *thinking > 0) {
        out.extend_from_slice(format!(r#","output_tokens_details":{{"thinking_tokens":{thinking}}}"#).as_bytes());
    }
    out.push(b'}');
}
