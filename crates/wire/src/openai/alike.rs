//! Events that differ in their text alone.
//!
//! Nearly each event of a stream is the one before with another text in it. Of such an event nothing but the text is read:
//! all other bytes are those of an event that was read whole, brought one text, and changed nothing that would change again.

use crate::json::{Scanner, Text};
use crate::sse::EVENT_MAX_BYTES;

/// A frame that is longer is not kept.
const FRAME_MAX_BYTES: usize = 1024;

/// The event that was read last, where a text was all that it brought.
#[derive(Default)]
pub(crate) struct Alike {
    /// What stands before its text, from its first line on, with the quote that opens it. Nothing where there is no such
    /// event.
    before: Vec<u8>,
    /// What stands behind its text, with the quote that closes it, up to and with the empty line.
    after: Vec<u8>,
    /// The choice that the text is of.
    choice: usize,
    brought: Brought,
}

/// An event that is like the last one.
pub(crate) struct Like<'a> {
    /// Its text.
    pub(crate) text: Text<'a>,
    /// The choice that it is of.
    pub(crate) choice: usize,
    /// How long the event is.
    pub(crate) len: usize,
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

    /// It was read whole: an event, and what it says.
    pub(crate) fn end(&mut self, event: &[u8], data: &[u8]) {
        let Brought::Text { choice, at, len } = self.brought else { return };
        // Its data is its last line, and no byte behind the empty line could still be one of it.
        let lines = ["\n\n", "\r\n\r\n"].iter().find_map(|end| event.strip_suffix(end.as_bytes()));
        let Some(head) = lines.and_then(|lines| lines.strip_suffix(data)) else { return };
        let at = head.len() + at;
        let (Some(before), Some(after)) = (event.get(..at), event.get(at + len..)) else { return };
        if before.len() + after.len() > FRAME_MAX_BYTES {
            return;
        }
        self.before.extend_from_slice(before);
        self.after.clear();
        self.after.extend_from_slice(after);
        self.choice = choice;
    }

    /// The event that a stream goes on with, where it is like the last one but for its text.
    pub(crate) fn of<'a>(&self, stream: &'a [u8]) -> Option<Like<'a>> {
        if self.before.is_empty() || !stream.starts_with(&self.before) {
            return None;
        }
        let quoted = &stream[self.before.len() - 1..];
        let text = Scanner::new(quoted).string().ok()?;
        let ends_alike = !text.raw.is_empty() && quoted[1 + text.raw.len()..].starts_with(&self.after);
        let len = self.before.len() + text.raw.len() + self.after.len();
        (ends_alike && len <= EVENT_MAX_BYTES).then_some(Like { text, choice: self.choice, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"id":"c","choices":[{"index":3,"delta":{"content":"@"},"finish_reason":null}]}"#;

    fn with(text: &str) -> Vec<u8> {
        format!("event: delta\ndata: {DATA}\n\n").replace('@', text).into_bytes()
    }

    fn after(text: &str) -> Alike {
        let mut alike = Alike::default();
        alike.begin();
        alike.text(3, DATA.find('@').unwrap_or_default(), text.len());
        alike.end(&with(text), DATA.replace('@', text).as_bytes());
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
            let event = with(text);
            for behind in ["", "data: x", "\n"] {
                let stream = [&event, behind.as_bytes()].concat();
                let Like { text: found, choice, len } = alike.of(&stream).unwrap();
                let found = (found.raw, found.escaped, choice, len);
                assert_eq!(found, (text.as_bytes(), text.contains('\\'), 3, event.len()), "{text}");
            }
        }
    }

    #[test]
    fn whatever_differs_besides_is_read_whole() {
        let alike = after("Hello");
        let twice = r#"a"},"delta":{"content":"b"#;
        for text in ["", twice, "a\n", "a\\"] {
            assert!(alike.of(&with(text)).is_none(), "{text}");
        }
        let whole = String::from_utf8(with("Hello")).unwrap();
        for other in [
            &whole[1..],
            &whole[..whole.len() - 1],
            &whole.replace("event: delta", "event: other"),
            &whole.replace("null", "\"stop\""),
            &whole.replace("3", "4"),
            &whole.replace("\n\n", "\ndata: and more\n\n"),
            &whole.replace("\"Hello", " \"Hello"),
            "",
            "{}",
        ] {
            assert!(alike.of(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn an_event_is_kept_whose_end_is_clear() {
        let data = DATA.replace('@', "Hello");
        let at = DATA.find('@').unwrap_or_default();
        let kept = |event: &str| {
            let mut alike = Alike::default();
            alike.begin();
            alike.text(3, at, 5);
            alike.end(event.as_bytes(), data.as_bytes());
            alike.of(event.as_bytes()).map(|like| like.len)
        };
        for event in [format!("data: {data}\n\n"), format!("id: 1\r\ndata:{data}\r\n\r\n")] {
            assert_eq!(kept(&event), Some(event.len()), "{event}");
        }
        for end in ["", "\n", "\r\r", "\r\n\r", "\nid: 1\n\n", " \n\n"] {
            assert_eq!(kept(&format!("data: {data}{end}")), None, "{end:?}");
        }
    }

    #[test]
    fn nothing_is_kept_of_what_brought_more_or_less_than_a_text() {
        let at = DATA.find('@').unwrap_or_default();
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
            alike.end(&with("Hello"), DATA.replace('@', "Hello").as_bytes());
            assert!(alike.of(&with("Hello")).is_none());
        }
        let long = DATA.replace("\"c\"", &format!("\"{}\"", "c".repeat(FRAME_MAX_BYTES)));
        let event = format!("data: {long}\n\n");
        let mut alike = Alike::default();
        alike.begin();
        alike.text(3, long.find('@').unwrap_or_default(), 1);
        alike.end(event.as_bytes(), long.as_bytes());
        assert!(alike.of(event.as_bytes()).is_none(), "it would be held for each stream");
    }
}
