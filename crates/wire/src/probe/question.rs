//! A probe's question in Anthropic's form: what a chat completion of plain messages says, without loss.

use serde_json::{Value, json};

/// Tokens that an answer may have where the version does not say.
const MAX_TOKENS: u32 = 1_024;

/// A chat completion of plain messages as `POST /v1/messages` takes it; `None` when the body is none.
#[must_use]
pub fn in_messages(body: &[u8]) -> Option<Vec<u8>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut system: Vec<&str> = Vec::new();
    let mut messages: Vec<&Value> = Vec::new();
    for message in body.get("messages")?.as_array()? {
        match message.get("role")?.as_str()? {
            "system" | "developer" => system.push(message.get("content")?.as_str()?),
            _ => messages.push(message),
        }
    }
    let mut asked = json!({ "model": body.get("model")?, "max_tokens": MAX_TOKENS, "messages": messages });
    if !system.is_empty() {
        asked["system"] = Value::from(system.join("\n\n"));
    }
    serde_json::to_vec(&asked).ok()
}
