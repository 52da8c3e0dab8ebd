//! JSON Schemas for editors, from the table of keys: completion, meanings, and red lines early. An
//! editor finds one by `# yaml-language-server: $schema=…` in the file's first line.

use crate::config::key::{Key, Kind, Need, Scalar, Section};
use serde_json::Value;

/// The schema of a file (draft 2020-12), as pretty text with a newline at its end.
#[must_use]
pub fn schema(section: &Section) -> String {
    let mut root = of_section(section);
    if let Value::Object(map) = &mut root {
        map.insert("title".to_owned(), Value::from(section.name));
    }
    let sorted = object([("$schema", Value::from("https://json-schema.org/draft/2020-12/schema"))]);
    let root = merge(sorted, root);
    format!("{root:#}\n")
}

/// An object whose keys are in the order of the alphabet, whatever the map keeps.
fn object<'k>(pairs: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
    let mut pairs: Vec<(String, Value)> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(pairs.into_iter().collect())
}

fn merge(a: Value, b: Value) -> Value {
    let pairs = [a, b].into_iter().filter_map(|value| match value {
        Value::Object(map) => Some(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    });
    let mut pairs: Vec<(String, Value)> = pairs.flatten().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(pairs.into_iter().collect())
}

fn of_section(section: &Section) -> Value {
    let required: Vec<Value> =
        section.keys.iter().filter(|key| matches!(key.need, Need::Required)).map(|key| Value::from(key.name)).collect();
    object([
        ("type", Value::from("object")),
        ("description", Value::from(section.doc)),
        ("additionalProperties", Value::from(false)),
        ("properties", object(section.keys.iter().map(|key| (key.name, of_key(key))))),
        ("required", Value::from(required)),
    ])
}

fn of_key(key: &Key) -> Value {
    let described = |more: String| object([("description", Value::from(format!("{}{more}", key.doc)))]);
    match key.need {
        Need::NotBuilt(mend) => {
            // Nothing fits; the description says why.
            merge(described(format!(" Not built yet: {mend}.")), object([("not", object([]))]))
        }
        Need::Default(default) => merge(of_kind(&key.kind), described(format!(" Default: `{default}`."))),
        Need::Required | Need::Optional => merge(of_kind(&key.kind), described(String::new())),
    }
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Scalar(form) => of_scalar(*form),
        Kind::Null => object([("type", Value::from("null"))]),
        Kind::Section(section) => of_section(section),
        Kind::List(of) => object([("type", Value::from("array")), ("items", of_kind(of))]),
        Kind::Map(_, of) => object([("type", Value::from("object")), ("additionalProperties", of_kind(of))]),
        Kind::Either(kinds) => object([("anyOf", Value::from(kinds.iter().map(of_kind).collect::<Vec<_>>()))]),
        Kind::Json => object([]),
    }
}

/// An editor sees `1%` as text and `1` as a number; whether the text is right is for the reader,
/// but for the forms that a pattern says in full.
fn of_scalar(form: Scalar) -> Value {
    let pattern = |pattern: &str| object([("type", Value::from("string")), ("pattern", Value::from(pattern))]);
    match form {
        Scalar::Duration => pattern(r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"),
        Scalar::Share => pattern(r"^[0-9]+(\.[0-9]+)? *%$"),
        Scalar::Margin => object([
            ("type", types(&["string", "number"])),
            ("pattern", Value::from(r"^[0-9]+(\.[0-9]+)? *(pp|%)$|^0$")),
        ]),
        Scalar::Bound => object([("type", types(&["string", "number"]))]),
        Scalar::Money => pattern(r"^\$[0-9]+(\.[0-9]+)?$"),
        Scalar::Bytes => pattern(r"^[0-9]+(\.[0-9]+)? *(B|KB|MB|GB)$"),
        Scalar::Integer(least) => object([("type", Value::from("integer")), ("minimum", Value::from(least))]),
        Scalar::Number => object([("type", Value::from("number")), ("exclusiveMinimum", Value::from(0))]),
        Scalar::Switch => {
            object([("enum", Value::from(vec![Value::from("on"), "off".into(), true.into(), false.into()]))])
        }
        Scalar::OneOf(choices) => {
            let built = choices.iter().filter(|choice| choice.not_built.is_none());
            object([("enum", Value::from(built.map(|choice| Value::from(choice.word)).collect::<Vec<_>>()))])
        }
        Scalar::PerMinute => pattern(r"^[0-9.]+ ?/min$"),
        Scalar::Secret => pattern(r"^(\$\{[A-Za-z0-9_]+\}|file:.+|command:.+)$"),
        Scalar::Url => pattern(r"^(\$\{[A-Za-z0-9_]+\}|https?://.+)$"),
        Scalar::Store => pattern(r"^(memory|sqlite:.+)$"),
        Scalar::Model => pattern("^[^/]+/.+$"),
        Scalar::SessionSource => pattern("^(header:.+|body:.+|path|user|conversation)$"),
        Scalar::CustomerSource => pattern("^(header:.+|body:.+)$"),
        Scalar::NoData => pattern("^(hold|rollback|warn)( .+)?$"),
        Scalar::Name => object([("type", types(&["string", "number"]))]),
        Scalar::Text
        | Scalar::Block
        | Scalar::Address
        | Scalar::Network
        | Scalar::Path
        | Scalar::Metric
        | Scalar::Freeze => object([("type", Value::from("string"))]),
    }
}

fn types(names: &[&str]) -> Value {
    Value::from(names.iter().map(|name| Value::from(*name)).collect::<Vec<_>>())
}
