//! A value of the tree as JSON text: what versions carry as parameters.

use crate::config::fault::{At, Complaint};
use crate::config::scalar::shown;
use crate::config::tree::{Node, Value};

/// The JSON text of `node`. Plain numbers, `true`, `false` and `null` keep what was written; other
/// plain text and everything in quotes is a string.
pub(crate) fn text(node: &Node) -> Result<String, (At, Complaint)> {
    let mut out = String::new();
    write(node, &mut out)?;
    Ok(out)
}

fn write(node: &Node, out: &mut String) -> Result<(), (At, Complaint)> {
    match &node.value {
        Value::Scalar { text, plain: true } => match plain(text) {
            Some(json) => out.push_str(json),
            None if is_ambiguous(text) => {
                let what = format!("{} means a number or a truth value to some and text to others", shown(text));
                let mend = "write it as JSON has it (0.5, true, null), or in quotes if text is meant";
                return Err((node.at, Complaint::new(what, mend)));
            }
            None => quote(text, out),
        },
        Value::Scalar { text, plain: false } => quote(text, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (i, entry) in entries.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                quote(&entry.key, out);
                out.push(':');
                write(&entry.value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The text itself where it is JSON's number, truth value or null.
fn plain(text: &str) -> Option<&str> {
    if text.is_empty() || text == "~" {
        return Some("null");
    }
    let scalar = match serde_json::from_str::<serde_json::Value>(text).ok()? {
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => true,
        serde_json::Value::String(_) | serde_json::Value::Array(_) | serde_json::Value::Object(_) => false,
    };
    scalar.then_some(text)
}

/// What YAML of one age or another reads as a number or a truth value and JSON does not.
fn is_ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word =
        matches!(lower.as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | ".inf" | "-.inf" | ".nan");
    let number = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let numeric = number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && number.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b'_' | b'x' | b'o' | b'+' | b'-'))
        && number.bytes().any(|b| b.is_ascii_digit());
    let date_like = number.matches('-').count() > 1 || number.matches('.').count() > 1;
    word || (numeric && !date_like && lower.parse::<f64>().is_ok())
        || lower.starts_with("0x")
        || lower.starts_with("0o")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::parse;

    fn json(yaml: &str) -> Result<String, String> {
        let (node, faults) = parse(yaml);
        assert_eq!(faults, []);
        text(&node.expect("a node")).map_err(|(_, complaint)| complaint.what)
    }

    #[test]
    fn numbers_keep_their_digits_and_words_become_strings() {
        assert_eq!(
            json("{ a: 1.0, b: 0.20, c: [x, '1', true, ~], d: { e: \"q\\\"\" } }").as_deref(),
            Ok(r#"{"a":1.0,"b":0.20,"c":["x","1",true,null],"d":{"e":"q\""}}"#)
        );
    }

    #[test]
    fn what_two_ages_of_yaml_read_differently_is_refused() {
        for yaml in ["yes", "No", ".5", "+1", "0x10", "True", "007"] {
            assert!(json(yaml).is_err(), "{yaml}");
        }
        for yaml in ["gpt-4.1", "2024-05-13", "1.2.3", "medium"] {
            assert!(json(yaml).is_ok(), "{yaml}");
        }
    }
}
