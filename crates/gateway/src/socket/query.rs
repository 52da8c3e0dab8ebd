//! The query of an upgrade: which model it names, and another in its place.

use std::borrow::Cow;

/// The value of `model`; of several, the first.
pub(crate) fn model(query: &str) -> Option<String> {
    let value = query.split('&').find_map(named_model)?;
    Some(decoded(value)).filter(|model| !model.is_empty())
}

/// The value of a pair whose name is `model`, however it is written: whoever is asked decodes it too.
fn named_model(pair: &str) -> Option<&str> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name == "model" || (name.contains('%') && decoded(name) == "model")).then_some(value)
}

/// The same path with another model; only one is left.
pub(crate) fn with_model(path: &str, model: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let mut named = false;
    let pairs = query.split('&').filter_map(|pair| match named_model(pair) {
        Some(_) if std::mem::replace(&mut named, true) => None,
        Some(_) => Some(Cow::Owned(format!("model={}", encoded(model)))),
        None => Some(Cow::Borrowed(pair)),
    });
    let query: Vec<Cow<'_, str>> = pairs.collect();
    format!("{path}?{}", query.join("&"))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let digit = |at: usize| char::from(*hex?.get(at)?).to_digit(16);
        let byte = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        match (byte, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_and_replaced() {
        assert_eq!(model("intent=x&model=support%2Fa+b").as_deref(), Some("support/a b"));
        assert_eq!((model("models=x"), model("model="), model("model=%zz").as_deref()), (None, None, Some("%zz")));
        assert_eq!(model("model=%+1%4").as_deref(), Some("% 1%4"), "a sign is no digit");
        assert_eq!(
            with_model("/realtime?a=1&model=r&b=%20&model=s", "gpt realtime/2"),
            "/realtime?a=1&model=gpt%20realtime%2F2&b=%20"
        );
        assert_eq!(with_model("/responses", "m"), "/responses");
        assert_eq!(model("a&%6Dodel=x").as_deref(), Some("x"));
        assert_eq!(with_model("/realtime?model=r&%6dode%6C=other&model&b=1", "m"), "/realtime?model=m&b=1");
    }
}
