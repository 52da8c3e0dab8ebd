//! Prompts as messages, with `{{variables}}`.

use super::Reader;
use super::elsewhere::{ending, structured};
use crate::config::fault::{Complaint, index};
use crate::config::scalar::shown;
use crate::config::tree::{self, Node, Value};
use coalmine_wire::probe::Message;
use std::collections::BTreeMap;

/// Variables by name.
pub(super) type Vars = BTreeMap<String, String>;

/// A prompt before its variables are filled in.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    /// What tells it from the others.
    pub(super) label: String,
    messages: Vec<Message>,
}

const ROLES: [&str; 4] = ["system", "developer", "user", "assistant"];

impl Prompt {
    /// The messages with their variables.
    pub(super) fn fill(&self, vars: &Vars) -> Result<Vec<Message>, Complaint> {
        let fill =
            |message: &Message| Ok(Message { role: message.role.clone(), content: render(&message.content, vars)? });
        let filled: Vec<Message> = self.messages.iter().map(fill).collect::<Result<_, _>>()?;
        // A prompt that is a variable alone may be filled with a whole chat, as with promptfoo.
        let is_variable = |text: &str| text.starts_with("{{") && text.ends_with("}}") && !text[2..].contains("{{");
        match (self.messages.as_slice(), filled.as_slice()) {
            ([written], [one]) if is_variable(written.content.trim()) => Ok(chat(&one.content).unwrap_or(filled)),
            _ => Ok(filled),
        }
    }
}

/// `text` with each `{{ name }}` replaced.
pub(super) fn render(text: &str, vars: &Vars) -> Result<String, Complaint> {
    if let Some(tag) = ["{%", "{#"].into_iter().find(|tag| text.contains(tag)) {
        let what = format!("`{tag} … }}` of a template is not read");
        return Err(Complaint::new(what, "write the text out; `{{name}}` is what is filled in"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = from.find("}}") else {
            let what = "a `{{` has no `}}`";
            return Err(Complaint::new(what, "close it"));
        };
        let name = from[2..end].trim().trim_matches('-').trim();
        let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if !plain {
            let what = format!("{} is more than the name of a variable", shown(&from[..end + 2]));
            return Err(Complaint::new(what, "give it as a variable; filters and expressions are not read"));
        }
        let Some(value) = vars.get(name) else {
            let what = format!("the variable {} has no value in this test", shown(name));
            return Err(Complaint::new(what, "write it under `vars`, of the test or of `defaultTest`"));
        };
        out.push_str(value);
        rest = &from[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

impl Reader<'_> {
    pub(super) fn prompts(&self, node: &Node, path: &str) -> Vec<Prompt> {
        if let Value::Map(entries) = &node.value
            && !entries.iter().any(|entry| matches!(entry.key.as_str(), "raw" | "id"))
        {
            let what = "a mapping of files to labels is not read";
            self.fault(node.at, path, what, "write a list of `{ id: file://…, label: … }`");
            return Vec::new();
        }
        let items: Vec<(&Node, String)> = match &node.value {
            Value::List(items) => items.iter().enumerate().map(|(i, item)| (item, index(path, i))).collect(),
            Value::Scalar { .. } | Value::Map(_) => vec![(node, path.to_owned())],
        };
        let mut prompts: Vec<Prompt> = Vec::new();
        for (item, path) in items {
            for (label, messages) in self.prompt(item, &path) {
                let label = label.unwrap_or_else(|| format!("prompt {}", prompts.len() + 1));
                prompts.push(Prompt { label, messages });
            }
        }
        prompts
    }

    fn prompt(&self, node: &Node, path: &str) -> Vec<(Option<String>, Vec<Message>)> {
        match &node.value {
            Value::Scalar { text, .. } => self.prompt_text(node, path, text).into_iter().map(|m| (None, m)).collect(),
            Value::Map(_) => {
                let Some(map) = self.map(node, path) else { return Vec::new() };
                self.known(&map, &["id", "raw", "label"]);
                let text = |key| map.get(key).and_then(|(node, path)| self.text(node, &path));
                let Some(source) = text("raw").or_else(|| text("id")) else {
                    self.fault(node.at, path, "this prompt has neither `raw` nor `id`", "write its text under `raw`");
                    return Vec::new();
                };
                let label = text("label").map(str::to_owned);
                self.prompt_text(node, path, source).into_iter().map(|m| (label.clone(), m)).collect()
            }
            Value::List(_) => {
                self.fault(node.at, path, "this is a list", "write a text, `file://…`, or `{ raw, label }`");
                Vec::new()
            }
        }
    }

    fn prompt_text(&self, node: &Node, path: &str, text: &str) -> Vec<Vec<Message>> {
        let file = match source(text) {
            Source::Words => return self.worded(node, path, text).into_iter().collect(),
            Source::Elsewhere => {
                let what = format!("the prompt {} is run or kept elsewhere", shown(text));
                self.fault(node.at, path, what, "write its text, or name a file by `file://…`");
                return Vec::new();
            }
            Source::File(file) => file,
        };
        let read = match self.words_of(file) {
            Ok(read) => read,
            Err(complaint) => {
                self.reading.fault(node.at, path, complaint, None);
                return Vec::new();
            }
        };
        match ending(file) {
            Some("txt" | "md" | "j2") => {
                let parts = read.split("\n---\n").map(str::trim).filter(|part| !part.is_empty());
                parts.filter_map(|part| self.worded(node, path, part)).collect()
            }
            Some("json" | "yaml" | "yml") => match chat(&read) {
                Some(messages) => vec![messages],
                None => {
                    let what = format!("{} is no list of messages", shown(file));
                    self.fault(node.at, path, what, "write a list of `{ role, content }`, the content a text");
                    Vec::new()
                }
            },
            Some(_) | None => {
                let what = format!("{} is no prompt that can be read: it may be a program", shown(file));
                self.fault(node.at, path, what, "name a .txt, .md, .json or .yaml file");
                Vec::new()
            }
        }
    }

    /// A prompt as it is written: a chat, or what a user says.
    fn worded(&self, node: &Node, path: &str, text: &str) -> Option<Vec<Message>> {
        let messages = chat(text);
        if messages.is_none() && is_chat_of_other_form(text) {
            let what = "this chat has messages that are more than a role and a text";
            self.fault(node.at, path, what, "write each as `{ role, content }`, the content a text");
            return None;
        }
        Some(messages.unwrap_or_else(|| vec![user(text)]))
    }

    pub(super) fn vars(&self, node: &Node, path: &str) -> Vars {
        let Some(map) = self.map(node, path) else { return Vars::new() };
        let mut vars = Vars::new();
        for entry in map.entries {
            let path = format!("{path}.{}", entry.key);
            match &entry.value.value {
                Value::Scalar { text, .. } => match text.strip_prefix("file://") {
                    None => {
                        vars.insert(entry.key.clone(), text.clone());
                    }
                    Some(file) => {
                        let read = self.words_of(file).unwrap_or_else(|complaint| {
                            self.reading.fault(entry.value.at, &path, complaint, None);
                            String::new()
                        });
                        vars.insert(entry.key.clone(), read.trim().to_owned());
                    }
                },
                Value::List(_) => {
                    let what = "a list of values, which promptfoo makes several tests of, is not expanded";
                    self.fault(entry.value.at, &path, what, "write one test for each value");
                    vars.insert(entry.key.clone(), String::new());
                }
                Value::Map(_) => {
                    let what = "a variable of several parts is not read";
                    self.fault(entry.value.at, &path, what, "write one variable for each part");
                    vars.insert(entry.key.clone(), String::new());
                }
            }
        }
        vars
    }
}

/// Where a prompt's words are.
enum Source<'a> {
    /// Here.
    Words,
    /// In this file.
    File(&'a str),
    /// With a program, or with somebody who keeps prompts.
    Elsewhere,
}

/// As promptfoo tells them apart: what has the form of a path names a file, with or without `file://`.
fn source(text: &str) -> Source<'_> {
    const READ: [&str; 7] = ["txt", "md", "j2", "json", "yaml", "yml", "jsonl"];
    const RUN: [&str; 6] = ["js", "cjs", "mjs", "ts", "py", "sh"];
    if let Some(file) = text.strip_prefix("file://") {
        return Source::File(file);
    }
    if text.starts_with("exec:") {
        return Source::Elsewhere;
    }
    if text.contains(char::is_whitespace) || text.contains("{{") {
        return Source::Words;
    }
    let is_of = |endings: &[&str]| ending(text).is_some_and(|ending| endings.contains(&ending));
    if text.contains("://") {
        Source::Elsewhere
    } else if is_of(&READ) || is_of(&RUN) {
        Source::File(text)
    } else {
        Source::Words
    }
}

/// Whether a text is a list of messages that [`chat`] cannot read.
fn is_chat_of_other_form(text: &str) -> bool {
    if !text.trim_start().starts_with(['[', '-', '{']) {
        return false;
    }
    let has_role = |item: &serde_json::Value| item.get("role").is_some();
    match structured(text) {
        Some(serde_json::Value::Array(items)) => items.iter().any(has_role),
        Some(chat @ serde_json::Value::Object(_)) => chat.get("messages").is_some() || has_role(&chat),
        Some(_) | None => false,
    }
}

fn user(text: &str) -> Message {
    Message { role: "user".to_owned(), content: text.to_owned() }
}

/// A chat in JSON or YAML; `None` when the text is none.
fn chat(text: &str) -> Option<Vec<Message>> {
    if !text.trim_start().starts_with(['[', '-']) {
        return None;
    }
    let (Some(Node { value: Value::List(items), .. }), faults) = tree::parse(text) else { return None };
    if !faults.is_empty() || items.is_empty() {
        return None;
    }
    let message = |item: &Node| {
        let Value::Map(entries) = &item.value else { return None };
        let of = |key: &str| {
            let entry = entries.iter().find(|entry| entry.key == key)?;
            match &entry.value.value {
                Value::Scalar { text, .. } => Some(text.clone()),
                Value::List(_) | Value::Map(_) => None,
            }
        };
        let role = of("role").filter(|role| ROLES.contains(&role.as_str()))?;
        Some(Message { role, content: of("content")? })
    };
    items.iter().map(message).collect()
}
