//! The `model` of a form with files (`multipart/form-data`, RFC 7578): where its text stands in the body, so that
//! another can be spliced in. Files are skipped over and never copied. What another reader could read otherwise, by its line ends,
//! escapes or repetitions, is refused: the model that is asked for must be the one that was let through.

use memchr::memmem::Finder;
use std::ops::Range;

/// The longest head of a part that is read.
const HEAD_MAX: usize = 16 << 10;
/// The longest name of a model.
const MODEL_MAX: usize = 512;
/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_MAX: usize = 70;

/// Why a form is not understood. Whoever is asked might read it otherwise, so it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// No boundary, several, or none that may be one.
    #[error("the content-type names no one boundary of 1 to 70 characters")]
    NoBoundary,
    /// A part's head without an end, or without a name that can be read in one way only.
    #[error("a part of the form has a head that cannot be read, or can be in two ways")]
    BadHead,
    /// A boundary behind a line feed alone, which some take for one.
    #[error("a boundary of the form stands behind a line feed without a carriage return")]
    BareLineFeed,
    /// The form has no end.
    #[error("the form breaks off before its last boundary")]
    NoEnd,
    /// Two parts of that name.
    #[error("the form has more than one part `model`")]
    TwoModels,
    /// A file, an encoded text, or one that is too long, in its place.
    #[error("the part `model` is not a short text as it stands")]
    NoText,
}

/// Whether a content type is that of a form with parts.
#[must_use]
pub fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// Where the text of the part `model` stands; `None`: there is none.
///
/// # Errors
/// When the body is no form of that content type, or says more than one thing.
pub fn model(content_type: &str, body: &[u8]) -> Result<Option<Range<usize>>, FormError> {
    let boundary = boundary(content_type).ok_or(FormError::NoBoundary)?;
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let finder = Finder::new(&delimiter[1..]);
    // where the line ends before the next boundary
    let next = |from: usize| {
        let found = body.get(from..).and_then(|rest| finder.find(rest)).ok_or(FormError::NoEnd)?;
        let end = (from + found).checked_sub(1).filter(|end| *end >= from && body[*end] == b'\r');
        end.ok_or(FormError::BareLineFeed)
    };
    // the first boundary may stand at the very beginning
    let mut after = match body.strip_prefix(&delimiter[2..]) {
        Some(_) => delimiter.len() - 2,
        None => next(0)? + delimiter.len(),
    };
    let mut found = None;
    loop {
        let rest = body.get(after..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(found);
        }
        let head_bytes = &rest[..rest.len().min(HEAD_MAX)];
        let head = memchr::memmem::find(head_bytes, b"\r\n\r\n").ok_or(FormError::BadHead)?;
        // a file's name may be of any encoding
        let text = String::from_utf8_lossy(&rest[..head]);
        // a head that a boundary cuts short is a part without a text, or none
        let named = if finder.find(text.as_bytes()).is_some() { Err(FormError::BadHead) } else { disposition(&text) }?;
        let begin = after + head + 4;
        // for some the empty line before a boundary ends the head and the part at once
        if body[begin..].starts_with(&delimiter[2..]) {
            return Err(FormError::BadHead);
        }
        let end = next(begin)?;
        match named {
            Part::Other => {}
            Part::ModelAsFile => return Err(FormError::NoText),
            Part::Model if found.is_some() => return Err(FormError::TwoModels),
            Part::Model => {
                let text = &body[begin..end];
                if text.len() > MODEL_MAX || std::str::from_utf8(text).is_err() {
                    return Err(FormError::NoText);
                }
                found = Some(begin..end);
            }
        }
        after = end + delimiter.len();
    }
}

/// The body with another text in its place.
#[must_use]
pub fn with_model(body: &[u8], at: &Range<usize>, model: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() - at.len() + model.len());
    out.extend_from_slice(&body[..at.start]);
    out.extend_from_slice(model.as_bytes());
    out.extend_from_slice(&body[at.end..]);
    out
}

/// What a part is, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Model,
    ModelAsFile,
    Other,
}

/// Whether a backslash within quotes makes the next character one of the text. RFC 9110 has it so, browsers have not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Escapes,
    IsItself,
}

fn disposition(head: &str) -> Result<Part, FormError> {
    let mut lines = head.split("\r\n");
    // what stands between boundary and line break is padding
    if !lines.next().is_none_or(|padding| padding.trim_matches(BLANK).is_empty()) {
        return Err(FormError::BadHead);
    }
    let fields: Option<Vec<(&str, &str)>> = lines.map(field).collect();
    let fields = fields.ok_or(FormError::BadHead)?;
    let values =
        |wanted| fields.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value);
    let mut found = values("content-disposition");
    let (Some(value), None) = (found.next(), found.next()) else { return Err(FormError::BadHead) };
    let part = part(value, Backslash::Escapes).ok_or(FormError::BadHead)?;
    if Some(part) != self::part(value, Backslash::IsItself) {
        return Err(FormError::BadHead);
    }
    // some clients say of each text that it is not encoded
    let is_itself = |how: &str| PLAIN.iter().any(|plain| how.trim_matches(BLANK).eq_ignore_ascii_case(plain));
    if part == Part::Model && !values("content-transfer-encoding").all(is_itself) {
        return Err(FormError::NoText);
    }
    Ok(part)
}

/// Name and value of a head's line. `None` for one that goes on with the line before, that ends in its middle for others,
/// or whose name others take for another.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (is_name && !value.contains(|c: char| c.is_control() && c != '\t')).then_some((name, value))
}

/// `None`: it has no name, or more than one.
fn part(value: &str, backslash: Backslash) -> Option<Part> {
    let all = parameters(value, backslash);
    // other spellings of a name (RFC 5987, RFC 2231) are ones that whoever is asked may prefer
    if all.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("name*")) {
        return None;
    }
    let is_file = all.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("filename"));
    match (&*one(&all, "name", backslash)?, is_file) {
        ("model", false) => Some(Part::Model),
        ("model", true) => Some(Part::ModelAsFile),
        _ => Some(Part::Other),
    }
}

/// The one boundary of a content type that may be one.
fn boundary(content_type: &str) -> Option<String> {
    let read = |how| one(&parameters(content_type, how), "boundary", how);
    let may_be = |text: &String| (1..=BOUNDARY_MAX).contains(&text.len()) && !text.contains(char::is_control);
    read(Backslash::Escapes).filter(may_be).filter(|text| read(Backslash::IsItself).is_some_and(|other| other == *text))
}

/// The encodings of a part that leave its text as it is (RFC 2045, section 6.2).
const PLAIN: [&str; 3] = ["7bit", "8bit", "binary"];
/// What may stand around names and values.
const BLANK: [char; 2] = [' ', '\t'];

/// The parameters of a header's value, quotes and all: `form-data; name="model"`.
fn parameters(value: &str, backslash: Backslash) -> Vec<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(|c: char| {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = quoted && backslash == Backslash::Escapes,
            '"' => quoted = !quoted,
            ';' => return !quoted,
            _ => {}
        }
        false
    });
    let pairs = parts.skip(1).map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.map(|(name, text)| (name.trim_matches(BLANK), text.trim_matches(BLANK))).collect()
}

/// The text of a parameter that is there once, and is quoted as a whole or not at all.
fn one(all: &[(&str, &str)], wanted: &str, backslash: Backslash) -> Option<String> {
    let mut found = all.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let (Some((_, text)), None) = (found.next(), found.next()) else { return None };
    let Some(inner) = text.strip_prefix('"') else {
        return Some(*text).filter(|text| !text.contains('"')).map(str::to_owned);
    };
    let mut out = String::new();
    let mut rest = inner.chars();
    loop {
        match rest.next()? {
            '"' => return Some(out).filter(|_| rest.as_str().is_empty()),
            '\\' if backslash == Backslash::Escapes => out.push(rest.next()?),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x7\"";

    fn part(head: &str, text: &str) -> String {
        format!("--x7\r\ncontent-disposition: form-data; {head}\r\n\r\n{text}\r\n")
    }

    fn found(body: &str) -> Result<Option<&str>, FormError> {
        model(TYPE, body.as_bytes()).map(|at| at.map(|at| &body[at]))
    }

    #[test]
    fn the_model_is_found_wherever_it_stands_and_another_spliced_in() {
        let file = part("name=\"file\"; filename=\"model\"", "a\r\n--x\r\nmodel\r\n\r\nb");
        let own = part("name=\"model\"", "whisper");
        for body in [format!("{own}{file}--x7--\r\n"), format!("{file}{own}--x7--"), format!("\r\n{own}--x7--")] {
            assert_eq!(found(&body), Ok(Some("whisper")), "{body}");
            let at = model(TYPE, body.as_bytes()).unwrap().unwrap();
            let patched = String::from_utf8(with_model(body.as_bytes(), &at, "whisper-large")).unwrap();
            assert_eq!(patched, body.replace("whisper", "whisper-large"));
        }
        let plain = "name=\"model\"\r\ncontent-type: text/plain; charset=UTF-8\r\ncontent-transfer-encoding: 8bit";
        assert_eq!(found(&format!("{}--x7--", part(plain, "whisper"))), Ok(Some("whisper")));
        assert_eq!(found(&format!("{file}--x7--")), Ok(None));
        assert_eq!(found(&format!("{}--x7--", part("name=model", ""))), Ok(Some("")));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let own = part("name=\"model\"", "a");
        let end = "--x7--";
        for (body, error) in [
            (format!("{own}{own}{end}"), FormError::TwoModels),
            (format!("{own}{}{end}", part("name=\"x\"; name*=utf-8''model", "b")), FormError::BadHead),
            (
                format!(
                    "{own}--x7\r\nContent-Disposition: a; name=x\r\nContent-Disposition: a; name=model\r\n\r\nb\r\n{end}"
                ),
                FormError::BadHead,
            ),
            (format!("{}{end}", part("name=\"model\"; filename=\"f\"", "a")), FormError::NoText),
            (format!("{}{end}", part("name=\"model\"", &"a".repeat(600))), FormError::NoText),
            (own.clone(), FormError::NoEnd),
            (format!("--x7\r\nx: y\r\n{own}{end}"), FormError::BadHead),
            ("--x7\r\ncontent-disposition: form-data; name=model\r\n\r\na".to_owned(), FormError::NoEnd),
            ("{}".to_owned(), FormError::NoEnd),
            (format!("{}{end}", part("name=a; name=model", "a")), FormError::BadHead),
            (format!("{}{end}", part(r#"name=a; filename="x\"; name=model; y=""#, "a")), FormError::BadHead),
            (format!("{}{end}", part("name=a\r\n ; name=model", "a")), FormError::BadHead),
            (format!("{}{end}", part("name=a\ncontent-disposition: form-data; name=model", "a")), FormError::BadHead),
            (
                format!("{}{end}", part("name=a", &part("name=model", "b").replace("--x7\r", "\n--x7\r"))),
                FormError::BareLineFeed,
            ),
            (format!("\n{own}{end}"), FormError::BareLineFeed),
            (format!("--x7\r\ncontent-disposition\u{b}: form-data; name=model\r\n\r\na\r\n{end}"), FormError::BadHead),
            (format!("{}{end}", part(r#"name="mo"del"#, "a")), FormError::BadHead),
            (format!("--x7\r\ncontent-disposition: form-data; name=a\r\n\r\n{own}{end}"), FormError::BadHead),
            (format!("{}{end}", part(r#"name=x; name*0="mod"; name*1="el""#, "a")), FormError::BadHead),
            (format!("{}{end}", part("name=model\r\ncontent-transfer-encoding: base64", "YQ==")), FormError::NoText),
        ] {
            assert_eq!(found(&body), Err(error), "{body}");
        }
        for no in [
            "multipart/form-data",
            "multipart/form-data; boundary=x7; boundary=x8",
            r#"multipart/form-data; boundary="x\7""#,
        ] {
            assert_eq!(model(no, b"--x7--"), Err(FormError::NoBoundary), "{no}");
        }
        assert!(is_form("Multipart/Form-Data; boundary=x") && !is_form("multipart/mixed; boundary=x"));
    }

    proptest! {
        /// Whatever lies in a file, the form's own model is found, byte for byte where it stands.
        #[test]
        fn files_hide_nothing(file in proptest::collection::vec(any::<u8>(), 0..200), name in "[a-z0-9-]{1,20}") {
            prop_assume!(memchr::memmem::find(&file, b"--x7").is_none());
            let mut body = b"--x7\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n".to_vec();
            body.extend_from_slice(&file);
            body.extend_from_slice(format!("\r\n{}--x7--\r\n", part("name=\"model\"", &name)).as_bytes());
            let at = model(TYPE, &body).unwrap().unwrap();
            prop_assert_eq!(&body[at], name.as_bytes());
        }

        /// No body makes it panic.
        #[test]
        fn any_bytes_are_read(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'\r'), Just(b'\n'), Just(b'x'), Just(b'7'), any::<u8>()], 0..120)) {
            let _ = model(TYPE, &body);
        }
    }
}
