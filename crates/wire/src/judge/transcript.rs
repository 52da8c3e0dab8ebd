//! A conversation as a judge reads it: a JSON array of `{"who": …, "said": …}`, taken from the client's own request, so
//! that nothing of a version's prompt or model is in it. Long ones lose their beginning.

use crate::dialect::Dialect;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Lines that are kept, the last ones.
const LINES_MAX: usize = 20;
/// Bytes of one line's text.
const LINE_MAX_BYTES: usize = 8 << 10;
/// Bytes of all texts together.
const ALL_MAX_BYTES: usize = 24 << 10;
/// Bytes of an answer.
const ANSWER_MAX_BYTES: usize = 32 << 10;

/// The conversation of a single question.
#[must_use]
pub fn of_question(question: &str) -> String {
    json!([{ "who": "user", "said": question }]).to_string()
}

/// An answer, cut where it is too long to be judged whole.
#[must_use]
pub fn of_answer(answer: &str) -> String {
    cut(answer, ANSWER_MAX_BYTES)
}

/// The conversation in a request's body; an empty one where it holds none that can be read.
#[must_use]
pub fn of_request(dialect: Dialect, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let said = match dialect {
        Dialect::Chat | Dialect::Messages => messages(&body["messages"]),
        Dialect::Responses => match &body["input"] {
            Value::String(text) => vec![("user", cut(text, LINE_MAX_BYTES))],
            input @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                messages(input)
            }
        },
        Dialect::Completions => vec![("user", text(&body["prompt"]))],
        Dialect::Embeddings | Dialect::Realtime => Vec::new(),
    };
    let mut kept: VecDeque<Value> = VecDeque::new();
    let mut bytes = 0;
    for (who, said) in said.into_iter().rev().take(LINES_MAX) {
        bytes += said.len();
        if bytes > ALL_MAX_BYTES && !kept.is_empty() {
            break;
        }
        kept.push_front(json!({ "who": who, "said": said }));
    }
    Value::Array(kept.into()).to_string()
}

/// The lines of people, model and tools; what the application itself says to the model is none.
fn messages(list: &Value) -> Vec<(&'static str, String)> {
    let line = |message: &Value| {
        let kind = message["type"].as_str();
        let who = match (message["role"].as_str(), kind) {
            (Some("user"), _) => "user",
            (Some("assistant"), _) => "assistant",
            (Some("tool" | "function"), _) | (None, Some("function_call_output")) => "tool",
            _ => return None,
        };
        let content = if kind == Some("function_call_output") { &message["output"] } else { &message["content"] };
        let said = text(content);
        let calls: Vec<&str> = message["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|call| call["function"]["name"].as_str())
            .collect();
        let said = if calls.is_empty() { said } else { format!("{said}[calls {}]", calls.join(", ")) };
        (!said.is_empty()).then_some((who, said))
    };
    list.as_array().into_iter().flatten().filter_map(line).collect()
}

/// The text of a content, in one piece or in parts; of a part that is none, its kind.
fn text(content: &Value) -> String {
    let part = |part: &Value| match (part["text"].as_str(), part["type"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, Some("tool_use")) => format!("[calls {}]", part["name"].as_str().unwrap_or_default()),
        (None, Some("tool_result")) => text(&part["content"]),
        (None, Some(kind)) => format!("[{}]", kind.trim_start_matches("input_")),
        (None, None) => part.as_str().unwrap_or_default().to_owned(),
    };
    let whole = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part).collect::<Vec<_>>().join("\n"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    };
    cut(&whole, LINE_MAX_BYTES)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{} […]", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_dialect_says_who_said_what() {
        let chat = br#"{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi"},
            {"role":"assistant","content":null,"tool_calls":[{"function":{"name":"get_order","arguments":"{}"}}]},
            {"role":"tool","content":"shipped"},{"role":"user","content":[{"type":"text","text":"And?"},{"type":"image_url"}]}]}"#;
        assert_eq!(
            of_request(Dialect::Chat, chat),
            r#"[{"said":"Hi","who":"user"},{"said":"[calls get_order]","who":"assistant"},{"said":"shipped","who":"tool"},{"said":"And?\n[image_url]","who":"user"}]"#
        );
        let messages = br#"{"system":"x","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}"#;
        assert_eq!(of_request(Dialect::Messages, messages), r#"[{"said":"Hi","who":"user"}]"#);
        let responses = br#"{"instructions":"x","input":"Hi"}"#;
        assert_eq!(of_request(Dialect::Responses, responses), of_question("Hi"));
        assert_eq!(of_request(Dialect::Completions, br#"{"prompt":"Hi"}"#), of_question("Hi"));
        assert_eq!(of_request(Dialect::Chat, b"{"), "[]");
    }

    #[test]
    fn a_long_conversation_loses_its_beginning_and_a_long_line_its_end() {
        let line = |text: &str| serde_json::json!({ "role": "user", "content": text });
        let many: Vec<_> = (0..50).map(|i| line(&format!("line {i}"))).collect();
        let kept = of_request(Dialect::Chat, serde_json::json!({ "messages": many }).to_string().as_bytes());
        assert!(kept.contains("line 49") && kept.contains("line 30") && !kept.contains("line 29"), "{kept}");
        let long = serde_json::json!({ "messages": [line(&"ä".repeat(50_000))] }).to_string();
        assert!(of_request(Dialect::Chat, long.as_bytes()).len() < LINE_MAX_BYTES + 100);
        assert!(of_answer(&"ä".repeat(50_000)).len() < ANSWER_MAX_BYTES + 100);
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_breaks_it(body in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
            for dialect in Dialect::ALL {
                let _ = of_request(dialect, &body);
                let _ = of_request(dialect, text.as_bytes());
            }
        }
    }
}
