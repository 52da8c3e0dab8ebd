//! Tools, as chat completions and as responses declare them. Schemas go over byte for byte.

use crate::json;
use crate::openai::items;

/// An array of tools in the form of chat completions, as responses want it: what stands inside `function`
/// or `custom` stands beside `type`. What has neither is as responses want it already.
#[must_use]
pub(crate) fn flattened(tools: &[u8]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (place, tool) in items(tools).into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        if let Some(function) = json::member(tool, "function") {
            from_function(function, &mut out);
        } else if let Some(custom) = json::member(tool, "custom") {
            from_custom(custom, &mut out);
        } else {
            out.extend_from_slice(tool);
        }
    }
    out.push(b']');
    out
}

/// A choice of one tool (`tool_choice`), likewise.
#[must_use]
pub(crate) fn choice(choice: &[u8]) -> Vec<u8> {
    for kind in ["function", "custom"] {
        let name = json::member(choice, kind).and_then(|named| json::member(named, "name"));
        if let Some(name) = name {
            return [br#"{"type":""#, kind.as_bytes(), br#"","name":"#, name, b"}"].concat();
        }
    }
    choice.to_vec()
}

/// Strictness is the other way round where nothing is said: it is said.
fn from_function(function: &[u8], out: &mut Vec<u8>) {
    let present = |key| json::member(function, key).filter(|value| *value != b"null");
    out.extend_from_slice(br#"{"type":"function","name":"#);
    out.extend_from_slice(json::member(function, "name").unwrap_or(br#""""#));
    if let Some(description) = present("description") {
        out.extend_from_slice(br#","description":"#);
        out.extend_from_slice(description);
    }
    out.extend_from_slice(br#","parameters":"#);
    out.extend_from_slice(present("parameters").unwrap_or(br#"{"type":"object","properties":{}}"#));
    out.extend_from_slice(br#","strict":"#);
    out.extend_from_slice(present("strict").unwrap_or(b"false"));
    out.push(b'}');
}

fn from_custom(custom: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"custom""#);
    for key in ["name", "description", "format"] {
        let Some(value) = json::member(custom, key) else { continue };
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        let grammar = json::member(value, "grammar").filter(|grammar| key == "format" && grammar.starts_with(b"{"));
        match grammar {
            Some(grammar) => {
                out.extend_from_slice(br#"{"type":"grammar","#);
                out.extend_from_slice(&grammar[1..]);
            }
            None => out.extend_from_slice(value),
        }
    }
    out.push(b'}');
}
