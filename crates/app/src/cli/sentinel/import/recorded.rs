//! One line of a recording, in any of three forms.
//!
//! | form | what it is |
//! |---|---|
//! | `{ "messages": […] }` | a chat that ends with the assistant's answer, as for fine-tuning with OpenAI |
//! | `{ "request": {…}, "response": {…} }` | a chat completion and its answer (also `body`, `completion`) |
//! | `{ "prompt": "…", "output": "…" }` | one question and its answer |

use coalmine_wire::probe::{Answer, Call, Message};
use serde_json::{Map, Value};

/// Roles that a test's messages may have.
const ROLES: [&str; 4] = ["system", "developer", "user", "assistant"];

/// One session.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) messages: Vec<Message>,
    pub(super) answer: Recorded,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Recorded {
    pub(super) text: String,
    /// Tools with their arguments as they came.
    pub(super) calls: Vec<(String, String)>,
}

impl Recorded {
    /// As a probe judges it.
    #[cfg(test)]
    pub(super) fn as_answer(&self) -> Answer {
        let calls =
            self.calls.iter().map(|(name, arguments)| Call { name: name.clone(), arguments: arguments.clone() });
        Answer { text: self.text.clone(), calls: calls.collect(), ..Answer::default() }
    }

    fn of(answer: Answer) -> Option<Self> {
        let calls: Vec<_> = answer.calls.into_iter().map(|Call { name, arguments }| (name, arguments)).collect();
        let text = answer.text.trim().to_owned();
        (!text.is_empty() || !calls.is_empty()).then_some(Self { text, calls })
    }
}

/// Reads a line.
///
/// # Errors
/// Why it makes no test.
pub(super) fn read(line: &[u8]) -> Result<Line, &'static str> {
    let Ok(Value::Object(row)) = serde_json::from_slice(line) else { return Err("it is no JSON object") };
    let (messages, answer) = if let Some(messages) = row.get("messages") {
        chat(messages)?
    } else if let Some(request) = row.get("request").or_else(|| row.get("body")) {
        let response = row.get("response").or_else(|| row.get("completion"));
        exchange(request, response.ok_or("it has a `request` and no `response`")?)?
    } else {
        question(&row)?
    };
    if !messages.iter().any(|message| message.role == "user" && !message.content.is_empty()) {
        return Err("it holds no question");
    }
    Ok(Line { messages, answer })
}

fn chat(messages: &Value) -> Result<(Vec<Message>, Recorded), &'static str> {
    let (last, before) = messages.as_array().and_then(|all| all.split_last()).ok_or("`messages` is no list")?;
    if last["role"] != "assistant" {
        return Err("its `messages` do not end with an answer of the assistant");
    }
    let answer = answered(&serde_json::json!({ "choices": [{ "message": last }] }))?;
    Ok((asked(before)?, answer))
}

fn exchange(request: &Value, response: &Value) -> Result<(Vec<Message>, Recorded), &'static str> {
    let messages = request["messages"].as_array().ok_or("its `request` has no `messages`")?;
    let mut asked = asked(messages)?;
    // Anthropic's own place of it.
    if let Some(system) = request["system"].as_str() {
        asked.insert(0, Message { role: "system".to_owned(), content: system.trim().to_owned() });
    }
    // Batches wrap the answer once more.
    Ok((asked, answered(response).or_else(|why| answered(&response["body"]).map_err(|_| why))?))
}

fn question(row: &Map<String, Value>) -> Result<(Vec<Message>, Recorded), &'static str> {
    let text = |key: &str| row.get(key).and_then(Value::as_str).map(|text| text.trim().to_owned());
    let prompt = text("prompt").ok_or("it has neither `messages`, nor `request`, nor `prompt`")?;
    let output = text("output").or_else(|| text("answer")).ok_or("it has a `prompt` and no `output`")?;
    let answer = Recorded::of(Answer { text: output, ..Answer::default() }).ok_or("its answer is empty")?;
    Ok((vec![Message { role: "user".to_owned(), content: prompt }], answer))
}

fn answered(body: &Value) -> Result<Recorded, &'static str> {
    let answer = Answer::read(body.to_string().as_bytes()).ok_or("its answer is no chat completion")?;
    Recorded::of(answer).ok_or("its answer is empty")
}

/// The messages, texts alone: a test cannot ask what was asked with tools' results or pictures.
fn asked(messages: &[Value]) -> Result<Vec<Message>, &'static str> {
    let message = |message: &Value| {
        let role = message["role"].as_str().filter(|role| ROLES.contains(role));
        let role = role.ok_or("it holds messages of tools, which a test cannot ask")?;
        if message.get("tool_calls").is_some_and(|calls| !calls.is_null()) {
            return Err("it holds messages of tools, which a test cannot ask");
        }
        Ok(Message { role: role.to_owned(), content: content(&message["content"])?.trim().to_owned() })
    };
    messages.iter().map(message).collect()
}

fn content(content: &Value) -> Result<String, &'static str> {
    let strange = "it holds content that is no text, which a test cannot ask";
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(str::to_owned));
            parts
                .iter()
                .map(|part| text(part).flatten().ok_or(strange))
                .collect::<Result<Vec<_>, _>>()
                .map(|p| p.concat())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(strange),
    }
}
