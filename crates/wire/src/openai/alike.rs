//! Events that differ in their text alone.
//!
//! Nearly each event of a stream is the one before with another text in it. Of such an event nothing but the text is read:
//! all other bytes are those of an event that was read whole, brought one text, and changed nothing that would change again.

use crate::json::{Scanner, Text};

/// A frame that is longer is not kept.
const FRAME_MAX_BYTES: usize = 1024;

/// The event that was read last, where a text was all that it brought.
#[derive(Default)]
pub(crate) struct Alike {
    /// What the event is called.
    kind: Vec<u8>,
    /// What stands before its text, with the quote that opens it. Nothing where there is no such event.
    before: Vec<u8>,
    /// What stands behind its text, with the quote that closes it.
    after: Vec<u8>,
    /// The choice that the text is of.
    choice: usize,
    brought: Brought,
}

/// What the event that is being read has brought so far.
#[derive(Clone, Copy, Default)]
enum Brought {
    #[default]
    Nothing,
    /// A text of a choice: so many bytes from an offset on.
    Text { choice: usize, at: usize, len: usize },
    /// More, or something else.
    Other,
}

impl Alike {
    /// An event is about to be read.
    pub(crate) fn begin(&mut self) {
        self.before.clear();
        self.brought = Brought::Nothing;
    }

    /// It brought a text, whose first byte stands at `at`.
    pub(crate) fn text(&mut self, choice: usize, at: usize, len: usize) {
        self.brought = match self.brought {
            Brought::Nothing if len > 0 => Brought::Text { choice, at, len },
            Brought::Nothing | Brought::Text { .. } | Brought::Other => Brought::Other,
        };
    }

    /// It brought something that is no text.
    pub(crate) fn other(&mut self) {
        self.brought = Brought::Other;
    }

    /// It was read whole.
    pub(crate) fn end(&mut self, kind: &[u8], data: &[u8]) {
        let Brought::Text { choice, at, len } = self.brought else { return };
        let (Some(before), Some(after)) = (data.get(..at), data.get(at + len..)) else { return };
        if kind.len() + before.len() + after.len() > FRAME_MAX_BYTES {
            return;
        }
        self.before.extend_from_slice(before);
        self.kind.clear();
        self.kind.extend_from_slice(kind);
        self.after.clear();
        self.after.extend_from_slice(after);
        self.choice = choice;
    }

    /// The text of an event that is like the last one but for it, and whose it is.
    pub(crate) fn of<'a>(&self, kind: &[u8], data: &'a [u8]) -> Option<(Text<'a>, usize)> {
        if self.before.is_empty()
            || self.kind != kind
            || !data.starts_with(&self.before)
            || !data.ends_with(&self.after)
        {
            return None;
        }
        let quoted = data.get(self.before.len() - 1..)?;
        let text = Scanner::new(quoted).string().ok()?;
        let ends_there = text.raw.len() + 1 + self.after.len() == quoted.len();
        (ends_there && !text.raw.is_empty()).then_some((text, self.choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"id":"c","choices":[{"index":3,"delta":{"content":"@"},"finish_reason":null}]}"#;

    fn with(text: &str) -> Vec<u8> {
        FRAME.replace('@', text).into_bytes()
    }

    fn after(text: &str) -> Alike {
        let mut alike = Alike::default();
        alike.begin();
        alike.text(3, FRAME.find('@').unwrap_or_default(), text.len());
        alike.end(b"delta", &with(text));
        alike
    }

    #[test]
    fn another_text_in_the_same_frame_is_found() {
        let alike = after("Hello");
        for text in [
            "Hello",
            " ",
            "a much longer text than before",
            "é",
            r"\\",
            r#"say \"no\" \ud83d"#,
            r#"\"},\"finish_reason\":null}]}"#,
        ] {
            let data = with(text);
            let (found, choice) = alike.of(b"delta", &data).unwrap();
            assert_eq!((found.raw, found.escaped, choice), (text.as_bytes(), text.contains('\\'), 3), "{text}");
        }
    }

    #[test]
    fn whatever_differs_besides_is_read_whole() {
        let alike = after("Hello");
        let twice = r#"a"},"delta":{"content":"b"#;
        for text in ["", twice, "a\n", "a\\"] {
            assert!(alike.of(b"delta", &with(text)).is_none(), "{text}");
        }
        assert!(alike.of(b"", &with("Hello")).is_none(), "an event of another name");
        let whole = String::from_utf8(with("Hello")).unwrap();
        for other in [
            &whole[1..],
            &whole[..whole.len() - 1],
            &whole.replace("null", "\"stop\""),
            &whole.replace('3', "4"),
            "",
            "{}",
        ] {
            assert!(alike.of(b"delta", other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn nothing_is_kept_of_what_brought_more_or_less_than_a_text() {
        let at = FRAME.find('@').unwrap_or_default();
        let brings: [fn(&mut Alike, usize); 5] = [
            |_, _| {},
            |alike, _| alike.other(),
            |alike, at| alike.text(3, at, 0),
            |alike, at| (0..2).for_each(|_| alike.text(3, at, 5)),
            |alike, at| {
                alike.text(3, at, 5);
                alike.other();
            },
        ];
        for bring in brings {
            let mut alike = after("Hello");
            alike.begin();
            bring(&mut alike, at);
            alike.end(b"delta", &with("Hello"));
            assert!(alike.of(b"delta", &with("Hello")).is_none());
        }
        let long = FRAME.replace("\"c\"", &format!("\"{}\"", "c".repeat(FRAME_MAX_BYTES)));
        let mut alike = Alike::default();
        alike.begin();
        alike.text(3, long.find('@').unwrap_or_default(), 1);
        alike.end(b"delta", long.as_bytes());
        assert!(alike.of(b"delta", long.as_bytes()).is_none(), "it would be held for each stream");
    }
}
