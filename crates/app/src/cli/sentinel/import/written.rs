//! The suite as it is written: everything that was said stands under `vars` as quoted text, so that nothing of it is
//! read as YAML or as a template.

use super::Top;
use super::recorded::Recorded;
use coalmine_wire::probe::Message;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An answer of so many words at most is looked for as it stands.
const SHORT_WORDS: usize = 12;
/// Of a longer one so much of its words.
const OVERLAP_LEAST: f64 = 0.5;
/// Characters of a test's name.
const NAME_CHARS: usize = 60;

/// The suite's text.
pub(super) fn suite(top: &[Top], files: &str) -> String {
    let mut text = format!(
        "# Made by `coalmine sentinel import` from {}.\n\
         # These are words of customers: take out what must not be kept, for a suite is kept with each release.\n\
         # No answer is confirmed. Read each test, mend what it asserts, and remove its `confirmed: no`.\n\
         description: The conversations that come most often\n\
         prompts: [\"{{{{conversation}}}}\"]\n\
         tests:\n",
        files.replace(['\n', '\r'], " ")
    );
    let mut names = BTreeSet::new();
    for one in top {
        let name = name(&one.messages, &mut names);
        text.push_str(&format!("  - description: {}\n    vars:\n", quoted(&name)));
        text.push_str(&format!("      conversation: {}\n", quoted(&conversation(&one.messages))));
        let (variables, assertions) = asserted(&one.answer);
        for (name, value) in variables {
            text.push_str(&format!("      {name}: {}\n", quoted(&value)));
        }
        let Top { count, agreed, answers, .. } = one;
        text.push_str(&format!("    # asked {count} times; {agreed} answered so, {answers} different answers\n"));
        text.push_str("    assert:\n");
        for assertion in assertions {
            text.push_str(&format!("      - {assertion}\n"));
        }
        text.push_str("    metadata: { canary: { confirmed: no } }\n");
    }
    text
}

/// A single question is asked as it stands; anything else as a chat. What would be read as a chat is written as one.
fn conversation(messages: &[Message]) -> String {
    match messages {
        [Message { role, content }] if role == "user" && !content.starts_with(['[', '-']) => content.clone(),
        several => json!(several).to_string(),
    }
}

/// Variables, and assertions in YAML's flow form, which JSON is.
fn asserted(answer: &Recorded) -> (Vec<(&'static str, String)>, Vec<Value>) {
    if !answer.calls.is_empty() {
        let call = |(name, arguments): &(String, String)| match serde_json::from_str::<Value>(arguments) {
            // Braces within would be read as a template.
            Ok(args @ Value::Object(_)) if !is_template(&args.to_string()) => {
                json!({ "type": "trajectory:tool-args-match", "value": { "name": name, "args": args, "mode": "partial" } })
            }
            Ok(_) | Err(_) => json!({ "type": "trajectory:tool-used", "value": name }),
        };
        return (Vec::new(), answer.calls.iter().map(call).collect());
    }
    if matches!(serde_json::from_str::<Value>(&answer.text), Ok(Value::Object(_) | Value::Array(_))) {
        return (Vec::new(), vec![json!({ "type": "is-json" })]);
    }
    let variables = vec![("answer", answer.text.clone())];
    let words = answer.text.split_whitespace().count();
    let assertion = if words <= SHORT_WORDS || !answer.text.chars().any(char::is_alphanumeric) {
        json!({ "type": "icontains", "value": "{{answer}}" })
    } else {
        json!({ "type": "rouge-n", "value": "{{answer}}", "threshold": OVERLAP_LEAST })
    };
    (variables, vec![assertion])
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// The last question, cut, and with a number where it is taken.
fn name(messages: &[Message], taken: &mut BTreeSet<String>) -> String {
    let last = messages.iter().rev().find(|message| message.role == "user").map_or("", |message| &message.content);
    let words: Vec<&str> = last.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(NAME_CHARS).collect();
    let short = if short.trim().is_empty() { "question".to_owned() } else { short.trim().to_owned() };
    let mut name = short.clone();
    for number in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{short} ({number})");
    }
    name
}

/// A JSON string is one of YAML too, but for what YAML does not print.
fn quoted(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let escape = |c: char| match c {
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
            format!("\\u{:04x}", c as u32)
        }
        c => c.to_string(),
    };
    quoted.chars().map(escape).collect()
}
