//! Tool calls: is the tool declared, and are the arguments what its schema asks for.

use super::schema::{self, SCHEMA_MAX_BYTES};
use super::{Broken, Validity};
use crate::json::{self, Scanner};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// The compiled schemas of the tools that a request declares. Compile them once and share them.
pub struct ToolChecker {
    /// By name; `None` where the declaration itself cannot be read.
    tools: Option<HashMap<String, Arguments>>,
}

enum Arguments {
    /// Text of any form, as custom tools take it, or JSON without a schema.
    Any,
    Json,
    Schema(Box<jsonschema::Validator>),
    /// The schema does not compile.
    Unknown,
}

impl ToolChecker {
    /// Compiles `tools`, the JSON array of a request in the form of any dialect.
    #[must_use]
    pub fn compile(tools: &[u8]) -> Self {
        let tools = if tools.len() > SCHEMA_MAX_BYTES { None } else { declarations(tools) };
        Self { tools }
    }

    /// Judges one call. Empty arguments are read as `{}`: providers write calls without arguments
    /// either way, and clients take both.
    #[must_use]
    pub fn check(&self, name: &str, arguments: &str) -> Validity {
        let Some(tools) = &self.tools else { return Validity::Unknown };
        let Some(tool) = tools.get(name) else { return Validity::Invalid(Broken::UnknownTool) };
        if let Arguments::Any = tool {
            return Validity::Valid;
        }
        let arguments = if arguments.trim_ascii().is_empty() { "{}" } else { arguments };
        let Ok(value) = serde_json::from_str::<Value>(arguments) else { return Validity::Invalid(Broken::NotJson) };
        let kept = match tool {
            Arguments::Any | Arguments::Json => value.is_object(),
            Arguments::Schema(validator) => validator.is_valid(&value),
            Arguments::Unknown => return Validity::Unknown,
        };
        if kept { Validity::Valid } else { Validity::Invalid(Broken::NotOfSchema) }
    }
}

impl fmt::Debug for ToolChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolChecker").field("tools", &self.tools.as_ref().map(HashMap::len)).finish()
    }
}

fn declarations(tools: &[u8]) -> Option<HashMap<String, Arguments>> {
    let mut scanner = Scanner::new(tools);
    let mut found = HashMap::new();
    scanner.enter_array().ok()?;
    while scanner.next_item().ok()? {
        let tool = scanner.skip().ok()?.of(tools);
        let name = |declared| json::member(declared, "name").and_then(json::text).map(|name| name.into_owned());
        if let Some(function) = json::member(tool, "function") {
            found.insert(name(function)?, arguments(json::member(function, "parameters")));
        } else if let Some(custom) = json::member(tool, "custom") {
            found.insert(name(custom)?, Arguments::Any);
        } else if let Some(schema) = json::member(tool, "input_schema") {
            found.insert(name(tool)?, arguments(Some(schema)));
        } else if json::member(tool, "type") == Some(br#""function""#) {
            found.insert(name(tool)?, arguments(json::member(tool, "parameters")));
        } else if json::member(tool, "type") == Some(br#""custom""#) {
            found.insert(name(tool)?, Arguments::Any);
        } else if let Some(own) = name(tool) {
            // A tool of the provider's own making, which the client runs: its form is not told.
            found.insert(own, Arguments::Json);
        }
    }
    Some(found)
}

fn arguments(parameters: Option<&[u8]>) -> Arguments {
    match parameters {
        None | Some(b"null") => Arguments::Json,
        Some(parameters) => {
            schema::compile(parameters).map_or(Arguments::Unknown, |validator| Arguments::Schema(Box::new(validator)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: &str = r#"[
        {"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}},
        {"type":"function","function":{"name":"bare"}},
        {"type":"function","function":{"name":"odd","parameters":{"type":"nothing"}}},
        {"type":"custom","custom":{"name":"free"}},
        {"type":"web_search"}
    ]"#;

    #[test]
    fn calls_are_held_against_their_declarations() {
        let checker = ToolChecker::compile(TOOLS.as_bytes());
        for (name, arguments, verdict) in [
            ("f", r#"{"n":1}"#, Validity::Valid),
            ("f", r#"{"n":1.5}"#, Validity::Invalid(Broken::NotOfSchema)),
            ("f", "", Validity::Invalid(Broken::NotOfSchema)),
            ("f", r#"{"n":1"#, Validity::Invalid(Broken::NotJson)),
            ("g", "{}", Validity::Invalid(Broken::UnknownTool)),
            ("bare", "", Validity::Valid),
            ("bare", r#"{"any":1}"#, Validity::Valid),
            ("bare", "[]", Validity::Invalid(Broken::NotOfSchema)),
            ("odd", "{}", Validity::Unknown),
            ("odd", "{", Validity::Invalid(Broken::NotJson)),
            ("free", "SELECT 1", Validity::Valid),
        ] {
            assert_eq!(checker.check(name, arguments), verdict, "{name} {arguments}");
        }
    }

    #[test]
    fn tools_that_cannot_be_read_tell_nothing() {
        for tools in ["{}", "[1", r#"[{"function":{"parameters":{}}}]"#] {
            assert_eq!(ToolChecker::compile(tools.as_bytes()).check("f", "{}"), Validity::Unknown, "{tools}");
        }
    }

    #[test]
    fn one_broken_call_breaks_the_turn() {
        let (valid, unknown) = (Validity::Valid, Validity::Unknown);
        let broken = Validity::Invalid(Broken::NotJson);
        for (parts, whole) in [
            (vec![], Validity::NotChecked),
            (vec![valid, valid], valid),
            (vec![valid, unknown], unknown),
            (vec![unknown, broken, valid], broken),
        ] {
            assert_eq!(parts.into_iter().fold(Validity::NotChecked, Validity::and), whole);
        }
    }
}
