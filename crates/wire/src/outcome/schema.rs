//! Structured answers: is the text the JSON that `response_format` asked for.

use super::bounded::is_bounded;
use super::{Broken, Validity};
use crate::openai::ResponseFormat;
use serde_json::Value;
use std::fmt;

/// The longest schema that is compiled.
pub(super) const SCHEMA_MAX_BYTES: usize = 1 << 20;

/// A compiled contract for the text of an answer. Compile it once and share it.
pub struct SchemaChecker {
    rule: Rule,
}

enum Rule {
    Object,
    Schema(Box<jsonschema::Validator>),
    Unknown,
}

impl SchemaChecker {
    /// Compiles what a request asks for; `None` where it asks for no JSON. A schema that does not
    /// compile makes every verdict [`Validity::Unknown`].
    #[must_use]
    pub fn compile(format: ResponseFormat<'_>) -> Option<Self> {
        let rule = match format {
            ResponseFormat::Text => return None,
            ResponseFormat::JsonObject => Rule::Object,
            ResponseFormat::JsonSchema(schema) => {
                compile(schema).map_or(Rule::Unknown, |validator| Rule::Schema(Box::new(validator)))
            }
        };
        Some(Self { rule })
    }

    /// Judges the text of an answer.
    #[must_use]
    pub fn check(&self, text: &str) -> Validity {
        if let Rule::Unknown = self.rule {
            return Validity::Unknown;
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Validity::Invalid(Broken::NotJson) };
        let kept = match &self.rule {
            Rule::Object => value.is_object(),
            Rule::Schema(validator) => validator.is_valid(&value),
            Rule::Unknown => return Validity::Unknown,
        };
        if kept { Validity::Valid } else { Validity::Invalid(Broken::NotOfSchema) }
    }
}

impl fmt::Debug for SchemaChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Object => "any object",
            Rule::Schema(_) => "schema",
            Rule::Unknown => "does not compile",
        };
        f.debug_tuple("SchemaChecker").field(&rule).finish()
    }
}

/// Compiles a schema. Nothing outside of it is fetched, patterns run in linear time, and one whose
/// checking has no bound is refused.
pub(crate) fn compile(schema: &[u8]) -> Option<jsonschema::Validator> {
    if schema.len() > SCHEMA_MAX_BYTES {
        return None;
    }
    let schema: Value = serde_json::from_slice(schema).ok()?;
    if !is_bounded(&schema) {
        return None;
    }
    jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: ResponseFormat<'_>, text: &str) -> Validity {
        SchemaChecker::compile(format).unwrap().check(text)
    }

    #[test]
    fn an_answer_is_held_against_what_was_asked_for() {
        let schema = ResponseFormat::JsonSchema(br#"{"type":"array","items":{"type":"string","pattern":"^a"}}"#);
        assert_eq!(check(schema, r#" ["a","ab"] "#), Validity::Valid);
        assert_eq!(check(schema, r#"["b"]"#), Validity::Invalid(Broken::NotOfSchema));
        assert_eq!(check(schema, r#"["a""#), Validity::Invalid(Broken::NotJson));
        assert_eq!(check(schema, "Sure! [\"a\"]"), Validity::Invalid(Broken::NotJson));
        assert_eq!(check(ResponseFormat::JsonObject, "{}"), Validity::Valid);
        assert_eq!(check(ResponseFormat::JsonObject, "[]"), Validity::Invalid(Broken::NotOfSchema));
        assert!(SchemaChecker::compile(ResponseFormat::Text).is_none());
    }

    #[test]
    fn a_schema_that_does_not_compile_tells_nothing() {
        for schema in [
            r#"{"type":"strin"}"#,
            r#"{"$ref":"https://example.com/s.json"}"#,
            r##"{"$ref":"#"}"##,
            r#"{"pattern":"(?=a)b"}"#,
            "{",
            "3",
        ] {
            assert_eq!(check(ResponseFormat::JsonSchema(schema.as_bytes()), "{}"), Validity::Unknown, "{schema}");
        }
    }
}
