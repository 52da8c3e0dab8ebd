//! A chat completion that is not streamed, read as a whole.

use crate::outcome::reads_as_refusal;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Its text; of one in parts, all text parts together.
    pub text: String,
    /// Its tool calls, in order.
    pub calls: Vec<Call>,
    /// How it ended.
    pub finish_reason: Option<String>,
    /// Whether it refuses.
    pub refuses: bool,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments as they came.
    pub arguments: String,
}

impl Answer {
    /// What assertions about text read: the text; of an answer of tool calls alone these, as the JSON of a chat completion.
    pub(super) fn asserted(&self) -> Cow<'_, str> {
        if self.calls.is_empty() || !self.text.trim().is_empty() {
            return Cow::Borrowed(&self.text);
        }
        let call =
            |call: &Call| json!({ "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
        Cow::Owned(Value::Array(self.calls.iter().map(call).collect()).to_string())
    }

    /// Whether it says nothing and calls nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.calls.is_empty()
    }

    /// Reads the first choice of a chat completion, or a message in Anthropic's form; `None` when the body is neither.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        if body.get("type").and_then(Value::as_str) == Some("message") {
            return Self::of_message(&body);
        }
        let choice = body.get("choices")?.get(0)?;
        let message = choice.get("message")?;
        let text = text(message.get("content"));
        let finish_reason = choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned);
        let flagged = message.get("refusal").and_then(Value::as_str).is_some_and(|refusal| !refusal.is_empty());
        let filtered = finish_reason.as_deref() == Some("content_filter");
        let refuses = flagged || filtered || reads_as_refusal(&text);
        Some(Self { calls: calls(message), finish_reason, refuses, text })
    }

    /// Of Anthropic's form; why it stopped is put in the words of a chat completion.
    fn of_message(body: &Value) -> Option<Self> {
        let content = body.get("content")?;
        let text = text(Some(content));
        let stop = body.get("stop_reason").and_then(Value::as_str);
        let finish_reason = stop.map(|stop| match stop {
            "end_turn" | "stop_sequence" => "stop",
            "max_tokens" => "length",
            "tool_use" => "tool_calls",
            "refusal" => "content_filter",
            other => other,
        });
        let call = |part: &Value| {
            let is_call = part.get("type").and_then(Value::as_str) == Some("tool_use");
            let name = part.get("name").and_then(Value::as_str).filter(|_| is_call)?;
            let arguments = part.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
            Some(Call { name: name.to_owned(), arguments })
        };
        let calls = content.as_array()?.iter().filter_map(call).collect();
        let refuses = stop == Some("refusal") || reads_as_refusal(&text);
        Some(Self { text, calls, finish_reason: finish_reason.map(str::to_owned), refuses })
    }
}

fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => String::new(),
    }
}

fn calls(message: &Value) -> Vec<Call> {
    let call = |call: &Value| {
        let function = call.get("function")?;
        let arguments = function.get("arguments").and_then(Value::as_str).unwrap_or_default();
        Some(Call { name: function.get("name")?.as_str()?.to_owned(), arguments: arguments.to_owned() })
    };
    let all = message.get("tool_calls").and_then(Value::as_array);
    all.map(|all| all.iter().filter_map(call).collect()).unwrap_or_default()
}
