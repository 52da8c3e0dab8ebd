//! Server-sent events (WHATWG HTML, section 9.2): where an event begins and ends, and what it says.
//!
//! Chunks may break anywhere, lines end with LF, CRLF or CR, and the last event may lack its empty
//! line. An event is a run of bytes up to and with the empty line that ends it; comments belong to the
//! event before whose end they stand.

use std::borrow::Cow;
use std::fmt;

/// An event longer than this is not looked at; it is counted.
pub const EVENT_MAX_BYTES: usize = 1 << 20;
/// No ping, comment or empty piece of an answer is longer.
const PING_MAX_BYTES: usize = 4 << 10;

/// Finds the ends of events in bytes that come in any pieces.
///
/// Where a piece ends in a CR that ends an empty line, the end is found with the next byte only, as
/// that may be the LF of the same line end.
#[derive(Debug, Clone, Default)]
pub struct Boundary {
    /// Bytes have come since the last line end.
    in_line: bool,
    /// The last byte was a CR.
    after_cr: bool,
    /// The empty line was ended by that CR.
    ending: bool,
}

/// Cuts a stream into events for one who reads beside it. What is incomplete is kept until the rest
/// comes, up to [`EVENT_MAX_BYTES`].
#[derive(Default)]
pub struct Splitter {
    boundary: Boundary,
    partial: Vec<u8>,
    skipping: bool,
    overflowed: u64,
}

/// One event, as it came.
#[derive(Clone, Copy)]
pub struct Event<'a>(pub &'a [u8]);

impl Boundary {
    /// Consumes `bytes` up to the next end of an event: its offset, that of the first byte that no
    /// longer belongs to the event. `None` where all of `bytes` is consumed and no event has ended.
    #[inline]
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            at = usize::from(bytes[0] == b'\n');
            if std::mem::take(&mut self.ending) {
                return Some(at);
            }
        }
        while at < bytes.len() {
            let Some(line) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.in_line = true;
                return None;
            };
            let empty = line == 0 && !self.in_line;
            self.in_line = false;
            let cr = bytes[at + line] == b'\r';
            at += line + 1;
            match bytes.get(at) {
                Some(b'\n') if cr => at += 1,
                None if cr => {
                    self.after_cr = true;
                    self.ending = empty;
                    return None;
                }
                _ => {}
            }
            if empty {
                return Some(at);
            }
        }
        None
    }
}

impl Splitter {
    /// Takes the next piece of the stream; `take` gets every event that it completes.
    pub fn feed(&mut self, chunk: &[u8], mut take: impl FnMut(Event<'_>)) {
        let mut rest = chunk;
        while let Some(behind) = self.next(rest, &mut take) {
            rest = behind;
        }
    }

    /// Takes of the stream what belongs to one event, which `take` gets where that completes it; what stands behind it,
    /// `None` where no event has ended.
    pub(crate) fn next<'c>(&mut self, chunk: &'c [u8], take: impl FnOnce(Event<'_>)) -> Option<&'c [u8]> {
        let Some(end) = self.boundary.find(chunk) else {
            if !chunk.is_empty() && !self.skipping {
                self.keep(chunk);
            }
            return None;
        };
        let (event, behind) = chunk.split_at(end);
        if std::mem::take(&mut self.skipping) {
            return Some(behind);
        }
        if self.partial.is_empty() && event.len() <= EVENT_MAX_BYTES {
            take(Event(event));
            return Some(behind);
        }
        if self.keep(event) {
            take(Event(&self.partial));
        }
        self.skipping = false;
        self.partial.clear();
        Some(behind)
    }

    /// Whether an event begins with the next byte.
    pub(crate) fn is_between_events(&self) -> bool {
        self.partial.is_empty() && !self.skipping
    }

    /// Ends the stream; `take` gets the event that has no empty line, if there is one.
    pub fn finish(&mut self, mut take: impl FnMut(Event<'_>)) {
        if !self.partial.is_empty() {
            take(Event(&self.partial));
        }
        *self = Self { overflowed: self.overflowed, ..Self::default() };
    }

    /// Whether an event is under way that is longer by now than any that only shows that somebody is there.
    pub(crate) fn is_in_a_long_event(&self) -> bool {
        self.skipping || self.partial.len() > PING_MAX_BYTES && self.partial[0] != b':'
    }

    /// How many events were too long to be looked at.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Adds to the partial event; where it grows too long it is let go, counted, and the rest of it
    /// skipped.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        if self.partial.len() + bytes.len() > EVENT_MAX_BYTES {
            self.partial = Vec::new();
            self.skipping = true;
            self.overflowed += 1;
            return false;
        }
        self.partial.extend_from_slice(bytes);
        true
    }
}

impl<'a> Event<'a> {
    /// The type of the event (empty where it has none) and its data: the values of all `data` fields
    /// with a line feed between them. The data is `None` where there is no such field, as in a comment.
    #[must_use]
    pub fn read(&self) -> (&'a [u8], Option<Cow<'a, [u8]>>) {
        let mut kind: &[u8] = b"";
        let mut data: Option<Cow<'a, [u8]>> = None;
        for (name, value) in self.fields() {
            match (name, &mut data) {
                (b"event", _) => kind = value,
                (b"data", None) => data = Some(Cow::Borrowed(value)),
                (b"data", Some(data)) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                _ => {}
            }
        }
        (kind, data)
    }

    /// The fields in their order; comments are left out.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.0);
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                let line = &rest[..end];
                rest = rest.get(end + 1..).unwrap_or_default();
                if line.is_empty() || line[0] == b':' {
                    continue;
                }
                let colon = memchr::memchr(b':', line).unwrap_or(line.len());
                let value = line.get(colon + 1..).unwrap_or_default();
                return Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)));
            }
            None
        })
    }
}

// What an event says is not shown: it may be an answer.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("bytes", &self.0.len()).finish()
    }
}

impl fmt::Debug for Splitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partial = self.partial.len();
        f.debug_struct("Splitter").field("partial", &partial).field("overflowed", &self.overflowed).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> (Vec<(String, Option<String>)>, u64) {
        let mut seen = Vec::new();
        let mut take = |event: Event<'_>| {
            let (kind, data) = event.read();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if data.is_some() {
                seen.push((text(kind), data.as_deref().map(text)));
            }
        };
        let mut splitter = Splitter::default();
        for piece in pieces {
            splitter.feed(piece, &mut take);
        }
        splitter.finish(&mut take);
        let overflowed = splitter.overflowed();
        (seen, overflowed)
    }

    fn data(texts: &[&str]) -> Vec<(String, Option<String>)> {
        texts.iter().map(|text| (String::new(), Some((*text).to_owned()))).collect()
    }

    #[test]
    fn lines_end_in_three_ways_and_the_last_need_not() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "\u{feff}data: a\n\n: comment\n\ndata:b\ndata\ndata:  c\nid: 1\n\n\n\nevent: x\ndata: d"
                .replace('\n', end);
            let (seen, _) = events(&[stream.as_bytes()]);
            let mut expected = data(&["a", "b\n\n c"]);
            expected.push(("x".to_owned(), Some("d".to_owned())));
            assert_eq!(seen, expected, "{end:?}");
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_skipped_and_counted() {
        let long = format!("data: {}\n\n", "x".repeat(EVENT_MAX_BYTES));
        for size in [usize::MAX, 1000, EVENT_MAX_BYTES] {
            let stream = format!("data: a\n\n{long}data: b\n\n");
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size.min(stream.len())).collect();
            assert_eq!(events(&pieces), (data(&["a", "b"]), 1), "{size}");
        }
        let endless = "x".repeat(3 * EVENT_MAX_BYTES);
        assert_eq!(events(&[endless.as_bytes(), b"y", b"\n\ndata: b\n\n"]), (data(&["b"]), 1));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_events_are_the_same(
            lines in prop::collection::vec(prop::sample::select(vec!["data: a", "data: é漢", "data", "", "", "\r", ": c", "event: e", "\u{feff}"]), 0..20),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream: String = lines.iter().zip(&ends).map(|(line, end)| format!("{line}{end}")).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut at = 0;
            for cut in cuts {
                pieces.push(&stream.as_bytes()[at..cut]);
                at = cut;
            }
            pieces.push(&stream.as_bytes()[at..]);
            prop_assert_eq!(events(&pieces), events(&[stream.as_bytes()]));
        }

        #[test]
        fn events_together_are_the_stream(bytes in prop::collection::vec(prop::sample::select(b"d\n\r:\xff".to_vec()), 0..60)) {
            let mut together = Vec::new();
            let mut splitter = Splitter::default();
            let mut take = |event: Event<'_>| together.extend_from_slice(event.0);
            for piece in bytes.chunks(7) {
                splitter.feed(piece, &mut take);
            }
            splitter.finish(&mut take);
            prop_assert_eq!(together, bytes);
        }
    }
}
