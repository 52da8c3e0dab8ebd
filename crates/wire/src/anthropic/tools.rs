//! Tools, as the one dialect and as the other declares them. Schemas go over byte for byte; one that leaves open what the
//! arguments are is told that they are an object, which they always are.

use crate::json;
use crate::openai::items;

/// An array of functions in OpenAI's form as messages want it; what is no function stays as it is.
#[must_use]
pub fn from_functions(tools: &[u8]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (place, tool) in items(tools).into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match json::member(tool, "function") {
            Some(function) => from_function(function, &mut out),
            None => out.extend_from_slice(tool),
        }
    }
    out.push(b']');
    out
}

fn is_empty(schema: &[u8]) -> bool {
    schema.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start() == b"}")
}

/// One function: `{name, description, parameters, strict}` becomes `{name, description, input_schema, strict}`.
pub(crate) fn from_function(function: &[u8], out: &mut Vec<u8>) {
    let present = |key| json::member(function, key).filter(|value| *value != b"null");
    out.extend_from_slice(br#"{"name":"#);
    out.extend_from_slice(json::member(function, "name").unwrap_or(br#""""#));
    if let Some(description) = present("description") {
        out.extend_from_slice(br#","description":"#);
        out.extend_from_slice(description);
    }
    out.extend_from_slice(br#","input_schema":"#);
    match present("parameters") {
        None => out.extend_from_slice(br#"{"type":"object","properties":{}}"#),
        Some(schema) if is_empty(schema) => out.extend_from_slice(br#"{"type":"object","properties":{}}"#),
        // messages must have it
        Some(open @ [b'{', rest @ ..]) if json::member(open, "type").is_none() => {
            out.extend_from_slice(br#"{"type":"object","#);
            out.extend_from_slice(rest);
        }
        Some(schema) => out.extend_from_slice(schema),
    }
    if present("strict") == Some(b"true") {
        out.extend_from_slice(br#","strict":true"#);
    }
    out.push(b'}');
}
