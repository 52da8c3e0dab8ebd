//! Where the model of a form with files is found, every other reader finds the same: one that knows no escapes and one that
//! does, one that lets lines end in a line feed alone and one that does not.

use coalmine_wire::multipart::{FormError, is_form, model, with_model};

/// Of any bytes that come as a form with this content type.
pub fn hold(content_type: &str, body: &[u8]) {
    let _ = is_form(content_type);
    // a header is one line
    if content_type.contains(['\r', '\n', '\0']) {
        return;
    }
    let Ok(found) = model(content_type, body) else { return };
    let Some(at) = found else {
        assert!(others(content_type, body).all(|models| models.is_empty()), "a model that was not seen");
        return;
    };
    let text = &body[at.clone()];
    for models in others(content_type, body) {
        assert_eq!(models, [text], "another reader sees another model");
    }
    let patched = with_model(body, &at, "new");
    assert_eq!(model(content_type, &patched), Ok(Some(at.start..at.start + 3)), "another model is put in its place");
    assert_eq!((&patched[..at.start], &patched[at.start + 3..]), (&body[..at.start], &body[at.end..]));
}

/// Half a form is refused: nothing is found in what breaks off before its last boundary.
pub fn halves(content_type: &str, body: &[u8]) {
    for at in 0..body.len().saturating_sub(4) {
        assert!(matches!(model(content_type, &body[..at]), Err(FormError::NoEnd | FormError::BadHead)), "at {at}");
    }
}

/// How another reader goes about it.
#[derive(Clone, Copy)]
struct Reading {
    escapes: bool,
    feeds_end_lines: bool,
    last_counts: bool,
}

fn others<'a>(content_type: &'a str, body: &'a [u8]) -> impl Iterator<Item = Vec<&'a [u8]>> {
    (0..8_u8).map(move |bits| {
        let reading = Reading { escapes: bits & 1 > 0, feeds_end_lines: bits & 2 > 0, last_counts: bits & 4 > 0 };
        reading.models(content_type.as_bytes(), body)
    })
}

impl Reading {
    /// The texts of all parts that are named `model`.
    fn models<'a>(self, content_type: &[u8], body: &'a [u8]) -> Vec<&'a [u8]> {
        let Some(boundary) = self.parameter(content_type, b"boundary") else { return Vec::new() };
        let boundary = [b"--", &boundary[..]].concat();
        let mut parts: Vec<(usize, usize)> = Vec::new();
        let mut line = 0;
        while line < body.len() {
            let end = self.line_end(body, line);
            let text = &body[line..end.0];
            if let Some(rest) = text.strip_prefix(&boundary[..]) {
                if let Some(last) = parts.last_mut().filter(|last| last.1 == 0) {
                    last.1 = line;
                }
                if rest.starts_with(b"--") {
                    break;
                }
                if rest.trim_ascii().is_empty() {
                    parts.push((end.1, 0));
                }
            }
            line = end.1;
        }
        parts.into_iter().filter(|(_, end)| *end > 0).filter_map(|(start, end)| self.model(body, start, end)).collect()
    }

    /// Where a line ends, and where the next begins.
    fn line_end(self, body: &[u8], from: usize) -> (usize, usize) {
        let mut at = from;
        while at < body.len() {
            if body[at] == b'\n' {
                let returned = at > from && body[at - 1] == b'\r';
                if returned || self.feeds_end_lines {
                    return (at - usize::from(returned), at + 1);
                }
            }
            at += 1;
        }
        (body.len(), body.len())
    }

    fn model(self, body: &[u8], start: usize, end: usize) -> Option<&[u8]> {
        let mut line = start;
        let mut named = false;
        while line < end {
            let (until, next) = self.line_end(&body[..end], line);
            if until == line {
                // The line end before the boundary is the boundary's.
                let text = body[..end]
                    .strip_suffix(b"\n")
                    .map_or(&body[..end], |text| text.strip_suffix(b"\r").unwrap_or(text));
                return named.then(|| text.get(next..).unwrap_or_default());
            }
            let head = &body[line..until];
            let colon = head.iter().position(|byte| *byte == b':').unwrap_or(head.len());
            if head[..colon].trim_ascii().eq_ignore_ascii_case(b"content-disposition") {
                let is_model = self.parameter(head, b"name").is_some_and(|name| name == b"model");
                let is_file = self.parameter(head, b"filename").is_some();
                named = if self.last_counts { is_model && !is_file } else { named || (is_model && !is_file) };
            }
            line = next;
        }
        None
    }

    /// A parameter of a header's value, its quotes and escapes undone.
    fn parameter(self, value: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
        let (mut quoted, mut escaped) = (false, false);
        let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
        for byte in value {
            let part = parts.last_mut()?;
            match byte {
                _ if std::mem::take(&mut escaped) => part.push(*byte),
                b'\\' if quoted && self.escapes => escaped = true,
                b'"' => quoted = !quoted,
                b';' if !quoted => parts.push(Vec::new()),
                other => part.push(*other),
            }
        }
        let mut found = parts.iter().skip(1).filter_map(|part| {
            let at = part.iter().position(|byte| *byte == b'=')?;
            let is = part[..at].trim_ascii().eq_ignore_ascii_case(wanted);
            is.then(|| part[at + 1..].trim_ascii().to_vec())
        });
        if self.last_counts { found.next_back() } else { found.next() }
    }
}
