//! Whatever is read as a request is JSON, patching it is what editing a tree would be, and what is not patched stays byte for
//! byte and in its order. Half a request is none.

use super::cut;
use coalmine_wire::conversation::{Chain, Key};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::json::{self, Kind, Scanner, Span};
use coalmine_wire::openai::{AskUsage, ChatRequest, Past, Patch, PromptMode, ToolsMode};
use serde_json::{Map, Value, json};

const TOOL: &str = r#"[{"type":"function","function":{"name":"f"}}]"#;

/// Of any bytes that come as a request.
pub fn hold(body: &[u8], cuts: usize) {
    halves(body, cuts);
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Embeddings, Dialect::Completions] {
        let Ok(request) = ChatRequest::read_as(dialect, body) else { continue };
        for patch in patches(dialect) {
            let patched = cut::within(body.len(), 64 << 10, 64, || {
                patch.apply(&request, AskUsage::Inject).body.unwrap_or_else(|| body.to_vec())
            });
            let again = ChatRequest::read_as(dialect, &patched).expect("a patched request is a request");
            assert_eq!(again.model, "new");
            let twice = patch.apply(&again, AskUsage::Inject).body;
            assert!(twice.is_none_or(|twice| twice == patched), "a patched request needs no patch");
            untouched(&members(body), &members(&patched));
        }
        let _ = (request.user(), request.n(), request.tools(), request.response_format(), request.asks_to_think());
        let _ = (request.body_text("metadata.id"), Chain::new(&Key::new(&[0; 32]), b"").follow(&request).asked());
        let _ = Past::read(&request);
    }
    match ChatRequest::read(body) {
        Ok(request) => as_a_tree(&request, body),
        // What is refused has no model, or is no JSON for others either.
        Err(_) => {
            if let Ok(tree) = serde_json::from_slice::<Map<String, Value>>(body) {
                assert!(tree.get("model").and_then(Value::as_str).is_none_or(str::is_empty));
            }
        }
    }
}

/// Half a request is refused, with the place where it breaks off.
fn halves(body: &[u8], cuts: usize) {
    let whole = body.trim_ascii_end().len();
    for at in cut::offsets(body, cuts).into_iter().filter(|at| *at < whole) {
        for dialect in [Dialect::Chat, Dialect::Responses] {
            let half = ChatRequest::read_as(dialect, &body[..at]);
            let why = half.err().map(|why| why.to_string());
            assert!(why.is_some_and(|why| !why.is_empty()) || json::check(body).is_err(), "half a request at {at}");
        }
    }
}

/// Versions whose patches need no second one.
fn patches(dialect: Dialect) -> Vec<Patch> {
    let model = Patch::new(dialect).with_model("new");
    let mut patches = vec![model.clone()];
    let set = match dialect {
        Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => return patches,
        Dialect::Chat | Dialect::Messages => [("temperature", "0"), ("top_p", "0.5")],
        Dialect::Responses => [("reasoning_effort", "\"low\""), ("verbosity", "\"low\"")],
    };
    for mode in [ToolsMode::Merge, ToolsMode::Replace] {
        let patch = model.clone().with_prompt(PromptMode::Replace, "prompt \"q\"\n").expect("a prompt");
        let patch = patch.with_tools(mode, TOOL).expect("tools");
        let set = set.into_iter().try_fold(patch, |patch, (name, value)| patch.with_param(name, value));
        patches.push(set.expect("parameters"));
    }
    patches
}

/// A member of an object, as it is written.
type Member<'a> = (String, &'a [u8], &'a [u8]);

fn members(object: &[u8]) -> Vec<Member<'_>> {
    let mut scanner = Scanner::new(object);
    let mut members = Vec::new();
    scanner.enter_object().expect("an object");
    while let Some(key) = scanner.next_member().expect("a member") {
        members.push((key.decode().into_owned(), key.raw, scanner.skip().expect("a value").of(object)));
    }
    members
}

/// What no version sets is there as it was, in its order; what one sets, once.
fn untouched(before: &[Member<'_>], after: &[Member<'_>]) {
    const SET: [&str; 12] = [
        "model",
        "messages",
        "system",
        "input",
        "instructions",
        "tools",
        "temperature",
        "top_p",
        "stream_options",
        "reasoning",
        "text",
        "reasoning_effort",
    ];
    let others = |members: &[Member<'_>]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let kept = members.iter().filter(|(name, ..)| !SET.contains(&name.as_str()));
        kept.map(|(_, key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(others(before), others(after), "what is not patched stays");
    let models = after.iter().filter(|(name, ..)| name == "model");
    assert_eq!(models.map(|(_, _, value)| *value).collect::<Vec<_>>(), [br#""new""#.as_slice()]);
}

/// The items of an array as they are written; `None` where there is none.
fn items(array: &[u8]) -> Option<Vec<&[u8]>> {
    let mut scanner = Scanner::new(array);
    let mut items = Vec::new();
    if scanner.peek().ok()? != Kind::Array {
        return None;
    }
    scanner.enter_array().ok()?;
    while scanner.next_item().ok()? {
        items.push(scanner.skip().ok()?.of(array));
    }
    Some(items)
}

/// A chat completion with each kind of prompt, against the tree that an edit would give.
fn as_a_tree(request: &ChatRequest<'_>, body: &[u8]) {
    for mode in [PromptMode::Replace, PromptMode::Prepend, PromptMode::Append] {
        let patch = Patch::default().with_model("new").with_prompt(mode, "prompt").expect("a prompt");
        let patch = patch.with_param("temperature", "0").expect("a parameter");
        let patched = patch.apply(request, AskUsage::Inject);
        let injected = patched.usage_injected;
        let patched = patched.body.unwrap_or_else(|| body.to_vec());
        messages(body, &patched);
        // Lone surrogates and bytes that are no UTF-8 are passed on, and no tree holds them.
        let (Ok(mut before), Ok(after)) = (
            serde_json::from_slice::<Map<String, Value>>(body),
            serde_json::from_slice::<Map<String, Value>>(&patched),
        ) else {
            return;
        };
        before.insert("model".to_owned(), json!("new"));
        before.insert("temperature".to_owned(), json!(0));
        if let Some(Value::Array(messages)) = before.get_mut("messages") {
            prompted(messages, mode);
        }
        if injected {
            let options = before.entry("stream_options").or_insert(Value::Null);
            match options {
                Value::Object(options) => drop(options.insert("include_usage".to_owned(), json!(true))),
                Value::Null => *options = json!({ "include_usage": true }),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
            }
        }
        assert_eq!(before, after, "{mode:?}");
    }
}

/// What a prompt makes of messages.
fn prompted(messages: &mut Vec<Value>, mode: PromptMode) {
    let leads = |first: &Value| matches!(first["role"].as_str(), Some("system" | "developer"));
    let Some(first) = messages.first_mut().filter(|first| leads(first)) else {
        return messages.insert(0, json!({ "role": "system", "content": "prompt" }));
    };
    let part = json!({ "type": "text", "text": "prompt" });
    let content = match (mode, first.get("content")) {
        (PromptMode::Prepend | PromptMode::Append, Some(Value::String(old))) if old.is_empty() => json!("prompt"),
        (PromptMode::Prepend, Some(Value::String(old))) => json!(format!("prompt\n\n{old}")),
        (PromptMode::Append, Some(Value::String(old))) => json!(format!("{old}\n\nprompt")),
        (PromptMode::Prepend, Some(Value::Array(parts))) => [&[part], &parts[..]].concat().into(),
        (PromptMode::Append, Some(Value::Array(parts))) => [&parts[..], &[part]].concat().into(),
        (PromptMode::Replace | PromptMode::Prepend | PromptMode::Append, _) => json!("prompt"),
    };
    first["content"] = content;
}

/// All messages but the one that leads are there as they were.
fn messages(before: &[u8], after: &[u8]) {
    let of = |body| json::member(body, "messages").and_then(items);
    let (Some(before), Some(after)) = (of(before), of(after)) else { return };
    let added = after.len() - before.len();
    assert!(added <= 1);
    assert_eq!(before.get(1 - added..).unwrap_or_default(), after.get(1..).unwrap_or_default());
}

/// What the scanner takes `serde_json` takes, but for what real clients send: lone surrogates and bytes that are no UTF-8.
pub fn json(text: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(text);
    match json::check(text) {
        Ok(Span { start, end }) => {
            assert!(start < end && end <= text.len());
            let lenient = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
            assert!(theirs.is_ok() || lenient || std::str::from_utf8(text).is_err());
        }
        Err(error) => assert!(theirs.is_err() && error.at <= text.len(), "{error}"),
    }
}
