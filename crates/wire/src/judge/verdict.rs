//! The JSON object in a judge's answer: models put words or a fence around it.

use super::Unreadable;
use serde_json::{Map, Value};

/// The end of a judge's answer that is looked at, in bytes.
const READ_MAX: usize = 16 << 10;

/// One JSON object that may be a verdict.
pub(super) struct Verdict(Map<String, Value>);

impl Verdict {
    /// A word under `key`, in small letters.
    pub(super) fn word(&self, key: &str) -> Option<String> {
        Some(self.0.get(key)?.as_str()?.trim().to_ascii_lowercase())
    }

    /// A whole number under `key`, as a number or as text.
    pub(super) fn whole(&self, key: &str) -> Option<i64> {
        let number = match self.0.get(key)? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        (number.fract() == 0.0 && number.abs() < 1e6).then_some(number as i64)
    }

    fn reason(&self) -> String {
        self.0.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// What `read` makes of the objects in `text`; all that say something must say the same.
pub(super) fn only<T: PartialEq>(text: &str, read: impl Fn(&Verdict) -> Option<T>) -> Result<(T, String), Unreadable> {
    let from = text.ceil_char_boundary(text.len().saturating_sub(READ_MAX));
    let mut rest = &text[from..];
    let mut found: Option<(T, String)> = None;
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
        let Some(Ok(object)) = objects.next() else {
            rest = &rest[1..];
            continue;
        };
        rest = &rest[objects.byte_offset()..];
        let object = Verdict(object);
        let Some(said) = read(&object) else { continue };
        if found.as_ref().is_some_and(|(before, _)| *before != said) {
            return Err(Unreadable::Several);
        }
        found = Some((said, object.reason()));
    }
    found.ok_or(Unreadable::None)
}
