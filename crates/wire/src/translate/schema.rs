//! Schemas that an answer is held to, or the arguments of a strict tool. Either API takes a part of JSON Schema there, each
//! another, and refuses a request with more; a version that could only be refused is not asked.

use super::object::Object;
use crate::json;
use crate::openai::items;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Schemas within schemas are looked at so deep; neither API takes deeper ones.
const DEPTH_MAX: usize = 32;
/// Where the schemas within a schema stand: by name, in a list, by itself.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
const LISTED: [&str; 4] = ["anyOf", "allOf", "oneOf", "prefixItems"];
const SINGLE: [&str; 2] = ["items", "additionalProperties"];
/// What neither takes.
const OF_NOBODY: [&str; 8] =
    ["oneOf", "not", "if", "patternProperties", "propertyNames", "minProperties", "maxProperties", "uniqueItems"];
/// What OpenAI takes and messages do not.
const NOT_OF_MESSAGES: [&str; 8] =
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems"];

/// Whose bounds they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    Messages,
    OpenAi,
}

/// The first thing of a schema that this one refuses, in words.
pub(super) fn refused(schema: &[u8], by: Taker) -> Option<Cow<'static, str>> {
    find(schema, &|members| of_itself(members, by), 0)
}

/// What OpenAI refuses in the schema of any function, strict or not.
pub(super) fn unusable(schema: &[u8]) -> Option<Cow<'static, str>> {
    let of_itself = |members: &Object<'_>| {
        // also one whose first items have schemas of their own
        let is_open = is_array(members) && members.get("items").is_none();
        is_open.then(|| "a schema of a list without `items`".into())
    };
    find(schema, &of_itself, 0)
}

fn is_array(schema: &Object<'_>) -> bool {
    let among = |kinds: &[u8]| items(kinds).into_iter().any(|kind| kind == br#""array""#);
    schema.is("type", "array") || schema.get("type").is_some_and(among)
}

/// The schema of a function's arguments with the member that OpenAI must have, where it has none: an object without it says
/// that it has no properties.
pub(super) fn with_properties(schema: &[u8]) -> Cow<'_, [u8]> {
    let members = Object::read(schema);
    match schema {
        [b'{', rest @ ..] if members.is("type", "object") && members.get("properties").is_none() => {
            [br#"{"properties":{},"#, rest].concat().into()
        }
        _ => schema.into(),
    }
}

/// The first thing that is found of a schema itself, or of one that stands within it.
fn find(
    schema: &[u8],
    of_itself: &dyn Fn(&Object<'_>) -> Option<Cow<'static, str>>,
    depth: usize,
) -> Option<Cow<'static, str>> {
    if depth > DEPTH_MAX {
        return Some("a schema of many levels".into());
    }
    let members = Object::read(schema);
    if let Some(own) = of_itself(&members) {
        return Some(own);
    }
    let named = NAMED.iter().filter_map(|key| members.object(key));
    let named: Vec<&[u8]> = named.flat_map(|all| all.members().map(|(_, inner)| inner).collect::<Vec<_>>()).collect();
    let listed = LISTED.iter().filter_map(|key| members.get(key)).flat_map(items);
    let single = SINGLE.iter().filter_map(|key| members.get(key));
    named.into_iter().chain(listed).chain(single).find_map(|inner| find(inner, of_itself, depth + 1))
}

fn of_itself(schema: &Object<'_>, by: Taker) -> Option<Cow<'static, str>> {
    let theirs: &[&str] = match by {
        Taker::Messages => &NOT_OF_MESSAGES,
        Taker::OpenAi => &["allOf"],
    };
    if let Some(key) = OF_NOBODY.iter().chain(theirs).find(|key| schema.get(key).is_some()) {
        return Some(format!("`{key}` of a schema").into());
    }
    let most = schema.count("minItems").is_some_and(|least| least > 1);
    if by == Taker::Messages && most {
        return Some("`minItems` above 1 of a schema".into());
    }
    let properties = schema.object("properties");
    if !(schema.is("type", "object") || properties.is_some()) {
        return None;
    }
    if schema.get("additionalProperties") != Some(b"false") {
        return Some("a schema of an object without `additionalProperties: false`".into());
    }
    let required = schema.get("required").map(items).unwrap_or_default();
    let required: BTreeSet<Cow<'_, str>> = required.into_iter().filter_map(json::text).collect();
    let optional = properties.is_some_and(|all| all.members().any(|(name, _)| !required.contains(&name)));
    (by == Taker::OpenAi && optional).then(|| "a schema with properties that are not `required`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn closed(properties: Value, required: &[&str]) -> Value {
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }

    fn says(schema: &Value, by: Taker) -> String {
        refused(schema.to_string().as_bytes(), by).unwrap_or_default().into_owned()
    }

    #[test]
    fn what_both_take_is_refused_by_neither() {
        let city = closed(json!({"name": {"type": "string", "enum": ["Oslo"], "default": "Oslo"}}), &["name"]);
        let whole = json!({
            "$defs": {"City": city},
            "type": "object",
            "properties": {
                "cities": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/City"}},
                "unit": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                // names of properties are no words of a schema
                "minimum": {"type": ["number", "null"]},
            },
            "required": ["cities", "unit", "minimum"],
            "additionalProperties": false,
        });
        for by in [Taker::Messages, Taker::OpenAi] {
            assert_eq!(says(&whole, by), "", "{by:?}");
        }
    }

    #[test]
    fn what_is_open_is_refused_wherever_it_stands() {
        let open = json!({"type": "object", "properties": {}});
        let places = [
            open.clone(),
            closed(json!({"a": open}), &["a"]),
            closed(json!({"a": {"type": "array", "items": open}}), &["a"]),
            closed(json!({"a": {"anyOf": [open, {"type": "null"}]}}), &["a"]),
            json!({"$defs": {"a": open}, "$ref": "#/$defs/a"}),
        ];
        for schema in &places {
            for by in [Taker::Messages, Taker::OpenAi] {
                assert!(says(schema, by).contains("additionalProperties"), "{schema} {by:?}");
            }
        }
    }

    #[test]
    fn each_has_bounds_of_its_own() {
        let bounded = closed(json!({"n": {"type": "integer", "minimum": 1}}), &["n"]);
        assert_eq!(says(&bounded, Taker::Messages), "`minimum` of a schema");
        assert_eq!(says(&bounded, Taker::OpenAi), "");
        let two = closed(json!({"n": {"type": "array", "minItems": 2, "items": {"type": "string"}}}), &["n"]);
        assert_eq!((says(&two, Taker::Messages).is_empty(), says(&two, Taker::OpenAi).is_empty()), (false, true));
        let optional = closed(json!({"n": {"type": "integer"}, "m": {"type": "string"}}), &["n"]);
        assert_eq!(says(&optional, Taker::Messages), "");
        assert!(says(&optional, Taker::OpenAi).contains("not `required`"));
    }

    #[test]
    fn a_schema_without_an_end_is_looked_at_so_deep() {
        let mut deep = json!({"type": "string"});
        for _ in 0..60 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(says(&deep, Taker::Messages).contains("many levels"));
    }
}
