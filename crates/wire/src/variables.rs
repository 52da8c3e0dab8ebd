//! What a client gives for the variables of a version's prompt: a JSON object of texts, in a header.

use crate::json::{Kind, ScanError, Scanner};
use std::collections::BTreeMap;

/// The longest header that is read.
pub const BYTES_MAX: usize = 32 << 10;
/// As much of a name is shown.
const NAME_SHOWN_MAX: usize = 40;

/// Why it is not read. Values are never told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariablesError {
    /// Too much of it.
    #[error("it has {0} bytes, more than {BYTES_MAX}: leave out what the prompt does not need")]
    TooLong(usize),
    /// Headers are bytes, and these are no text.
    #[error("it is not UTF-8: write letters beyond ASCII as JSON escapes, such as \\u00e9")]
    NotUtf8,
    /// Not JSON, or not an object.
    #[error("{0}: it must be a JSON object of texts, such as {{\"company\":\"Globex\"}}")]
    NotAnObject(#[from] ScanError),
    /// Another value than a text.
    #[error("the value of '{0}' is no text: put it between quotes")]
    NotText(String),
    /// A name that stands twice: one reader takes the first, and another the last.
    #[error("'{0}' stands twice: send it once")]
    Twice(String),
    /// One long value.
    #[error("the value of '{name}' has more than {max_bytes} bytes: send a shorter one")]
    LongValue {
        /// Whose.
        name: String,
        /// What may be.
        max_bytes: usize,
    },
}

/// Reads the values, each of `value_max_bytes` at most.
///
/// # Errors
/// [`VariablesError`].
pub fn read(header: &[u8], value_max_bytes: usize) -> Result<BTreeMap<String, String>, VariablesError> {
    if header.len() > BYTES_MAX {
        return Err(VariablesError::TooLong(header.len()));
    }
    if std::str::from_utf8(header).is_err() {
        return Err(VariablesError::NotUtf8);
    }
    let mut scanner = Scanner::new(header);
    scanner.enter_object()?;
    let mut values = BTreeMap::new();
    while let Some(name) = scanner.next_member()? {
        let name = name.decode().into_owned();
        let shown = || name.chars().take(NAME_SHOWN_MAX).collect::<String>();
        if scanner.peek()? != Kind::String {
            return Err(VariablesError::NotText(shown()));
        }
        let value = scanner.string()?.decode().into_owned();
        if value.len() > value_max_bytes {
            return Err(VariablesError::LongValue { name: shown(), max_bytes: value_max_bytes });
        }
        if values.contains_key(&name) {
            return Err(VariablesError::Twice(shown()));
        }
        values.insert(name, value);
    }
    scanner.end()?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(header: &str) -> String {
        read(header.as_bytes(), 8).unwrap_err().to_string()
    }

    #[test]
    fn texts_are_read_with_their_escapes_undone() {
        let read = read(br#" { "a" : "x\n\"{{b}}\"" , "b":"\u00e9" , "c":"" } "#, 4_096).unwrap();
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("a", "x\n\"{{b}}\""), ("b", "é"), ("c", "")]);
    }

    #[test]
    fn anything_else_is_told_with_its_mend_and_without_its_value() {
        for no_object in ["", "x", "[]", "\"a\"", "{", r#"{"a":"b""#, r#"{"a":"b"}x"#, r#"{"a":"b",}"#, "company=hush"]
        {
            let told = told(no_object);
            assert!(told.contains(r#"it must be a JSON object of texts, such as {"company":"Globex"}"#), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
        for no_text in ["1", "null", "true", "{}", "[]"] {
            assert_eq!(told(&format!(r#"{{"a":{no_text}}}"#)), "the value of 'a' is no text: put it between quotes");
        }
        assert_eq!(told(r#"{"a":"x","a":"y"}"#), "'a' stands twice: send it once");
        assert_eq!(told(r#"{"a":"x","\u0061":"y"}"#), "'a' stands twice: send it once");
        let long = told(r#"{"a":"hushhushh"}"#);
        assert_eq!(long, "the value of 'a' has more than 8 bytes: send a shorter one");
        assert!(told(&" ".repeat(BYTES_MAX + 1)).contains("more than 32768"));
        assert_eq!(read(b"{\"a\":\"\xe9\"}", 8), Err(VariablesError::NotUtf8));
        assert!(told(&format!(r#"{{"{}":1}}"#, "n".repeat(500))).len() < 100);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::btree_map("\\PC{0,8}", any::<String>(), 0..6)) {
            let written = serde_json::to_vec(&values).unwrap();
            prop_assert_eq!(read(&written, usize::MAX), Ok(values));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes, 8);
        }
    }
}
