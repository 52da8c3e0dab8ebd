//! Tools, as the one dialect and as the other declares them. Schemas go over byte for byte.

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
    out.extend_from_slice(present("parameters").unwrap_or(br#"{"type":"object","properties":{}}"#));
    if present("strict") == Some(b"true") {
        out.extend_from_slice(br#","strict":true"#);
    }
    out.push(b'}');
}
