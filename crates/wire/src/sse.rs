//! Server-sent events (WHATWG HTML, section 9.2): where an event begins and ends, and what it says.
//!
//! Chunks may break anywhere, lines end with LF, CRLF or CR, and the last event may lack its empty
//! line. An event is a run of bytes up to and with the empty line that ends it; comments belong to the
//! event before whose end they stand.

use std::borrow::Cow;

/// An event longer than this is not looked at; it is counted.
pub const EVENT_MAX_BYTES: usize = 1 << 20;

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
#[derive(Debug, Default)]
pub struct Splitter {
    boundary: Boundary,
    partial: Vec<u8>,
    skipping: bool,
    overflowed: u64,
}

/// One event, as it came.
#[derive(Debug, Clone, Copy)]
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
        while let Some(end) = self.boundary.find(rest) {
            let (event, behind) = rest.split_at(end);
            rest = behind;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if self.partial.is_empty() && event.len() <= EVENT_MAX_BYTES {
                take(Event(event));
                continue;
            }
            if self.keep(event) {
                take(Event(&self.partial));
            }
            self.skipping = false;
            self.partial.clear();
        }
        if !rest.is_empty() && !self.skipping {
            self.keep(rest);
        }
    }

    /// Ends the stream; `take` gets the event that has no empty line, if there is one.
    pub fn finish(&mut self, mut take: impl FnMut(Event<'_>)) {
        if !self.partial.is_empty() {
            take(Event(&self.partial));
        }
        *self = Self { overflowed: self.overflowed, ..Self::default() };
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
