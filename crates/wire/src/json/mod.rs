//! A scanner over JSON bytes (RFC 8259): one pass, no tree, no allocation, depth-bounded.
//!
//! It accepts what `serde_json` accepts, and two things more, which real clients send: escapes of
//! lone surrogates (`"\ud83d"`), and bytes in strings that are not UTF-8. Both decode to U+FFFD and
//! are kept byte for byte where a body is passed on.
//!
//! Reading is by pulling. Every `enter_*` is followed by `next_*` until it says that the end is
//! reached, and after every `next_*` that found something exactly one value is consumed.

mod unescape;

use crate::sixteen::{self, Sixteen};
use std::borrow::Cow;
use std::fmt;

pub use unescape::Unescape;

/// How deep containers may nest: the limit of `serde_json`, so that nothing passes here that whoever
/// builds a tree later would refuse.
pub const DEPTH_MAX: usize = 127;
/// So many digits and no more are always a count of 64 bits.
const COUNT_DIGITS: usize = 19;

/// A half-open range of bytes of the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// `-` or a digit
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The bytes between the quotes, escapes as they were written.
    pub raw: &'a [u8],
    /// Whether there is any escape in `raw`.
    pub escaped: bool,
    /// Offset of the opening quote in the scanned text.
    pub at: usize,
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}: expected {expected}")]
pub struct ScanError {
    /// Offset of the byte that does not fit; the length of the text where it ends too early.
    pub at: usize,
    /// What would have fitted.
    pub expected: &'static str,
}

/// The scanner: a position in a text.
#[derive(Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Whether the last thing consumed opened a container, so that no comma is due.
    fresh: bool,
}

impl Span {
    /// The bytes of this span. Empty where the span does not lie in `text`.
    #[must_use]
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

impl<'a> Scanner<'a> {
    /// Stands before the first byte of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, fresh: false }
    }

    /// Stands at the start of `span` of `bytes`; offsets in errors and spans count from the start of
    /// `bytes`.
    #[must_use]
    pub fn within(bytes: &'a [u8], span: Span) -> Self {
        let end = span.end.min(bytes.len());
        Self { bytes: &bytes[..end], at: span.start.min(end), depth: 0, fresh: false }
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The kind of the value that comes next; nothing but white space is consumed.
    pub fn peek(&mut self) -> Result<Kind, ScanError> {
        match self.next_byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Enters the object that comes next.
    pub fn enter_object(&mut self) -> Result<(), ScanError> {
        self.enter(b'{', "an object")
    }

    /// Enters the array that comes next.
    pub fn enter_array(&mut self) -> Result<(), ScanError> {
        self.enter(b'[', "an array")
    }

    /// The key of the next member, the scanner standing before its value; `None` once the object has
    /// been left.
    #[inline]
    pub fn next_member(&mut self) -> Result<Option<Text<'a>>, ScanError> {
        match self.short_member() {
            Some(key) => Ok(Some(key)),
            None => self.any_member(),
        }
    }

    /// The same of one whose key is short, has no escapes and a space before it at most, as nearly all are.
    #[inline]
    fn short_member(&mut self) -> Option<Text<'a>> {
        let mut opens = self.at;
        if !self.fresh {
            opens += match self.bytes.get(opens..)? {
                [b',', b' ', ..] => 2,
                [b',', ..] => 1,
                _ => return None,
            };
        }
        if self.bytes.get(opens) != Some(&b'"') {
            return None;
        }
        let rest = self.bytes.get(opens + 1..)?;
        let (raw, behind) = short_text(rest)?;
        if behind.first() != Some(&b':') {
            return None;
        }
        self.at = opens + raw.len() + 3;
        self.fresh = false;
        Some(Text { raw, escaped: false, at: opens })
    }

    /// The same, however it is written.
    #[inline(never)]
    fn any_member(&mut self) -> Result<Option<Text<'a>>, ScanError> {
        let fresh = std::mem::take(&mut self.fresh);
        match self.next_byte() {
            Some(b'"') if fresh => {}
            Some(b',') if !fresh => {
                self.at += 1;
                if self.next_byte() != Some(b'"') {
                    return Err(self.expected("a key"));
                }
            }
            other => return self.no_member(fresh, other),
        }
        let key = match self.short_quoted() {
            Some(key) => key,
            None => self.quoted()?,
        };
        if self.next_byte() != Some(b':') {
            return Err(self.expected("':'"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// The end of an object, or what is wrong with it.
    fn no_member(&mut self, fresh: bool, byte: Option<u8>) -> Result<Option<Text<'a>>, ScanError> {
        match byte {
            Some(b'}') => {
                self.leave();
                Ok(None)
            }
            _ if fresh => Err(self.expected("a key or '}'")),
            _ => Err(self.expected("',' or '}'")),
        }
    }

    /// Whether there is a next item, the scanner standing before it; `false` once the array has been
    /// left.
    #[inline]
    pub fn next_item(&mut self) -> Result<bool, ScanError> {
        let fresh = std::mem::take(&mut self.fresh);
        match self.next_byte() {
            Some(b']') => {}
            Some(b',') if !fresh => {
                self.at += 1;
                return Ok(true);
            }
            Some(_) if fresh => return Ok(true),
            _ => return Err(self.expected("',' or ']'")),
        }
        self.leave();
        Ok(false)
    }

    /// Consumes the string that comes next.
    pub fn string(&mut self) -> Result<Text<'a>, ScanError> {
        if self.next_byte() == Some(b'"') { self.quoted() } else { Err(self.expected("a string")) }
    }

    /// Consumes the value that comes next: its text if it is a string, `None` if it is anything else.
    pub fn string_or_skip(&mut self) -> Result<Option<Text<'a>>, ScanError> {
        if self.next_byte() == Some(b'"') {
            return self.quoted().map(Some);
        }
        self.skip().map(|_| None)
    }

    /// Consumes the value that comes next and gives its bytes.
    pub fn value(&mut self) -> Result<&'a [u8], ScanError> {
        self.skip().map(|span| span.of(self.bytes))
    }

    /// Consumes the value that comes next: a count if it is a whole number of at least 0 (`12` or
    /// `12.0`), `None` if it is anything else.
    pub fn count(&mut self) -> Result<Option<u64>, ScanError> {
        if let Some((count, end)) = self.short_count() {
            self.at = end;
            self.fresh = false;
            return Ok(Some(count));
        }
        let value = self.value()?;
        let (whole, part) = value.split_at(value.iter().take_while(|digit| digit.is_ascii_digit()).count());
        let is_whole = part.is_empty() || (part[0] == b'.' && part[1..].iter().all(|digit| *digit == b'0'));
        if whole.is_empty() || !is_whole {
            return Ok(None);
        }
        let digits = whole.iter().map(|digit| u64::from(digit - b'0'));
        Ok(digits.into_iter().try_fold(0_u64, |count, digit| count.checked_mul(10)?.checked_add(digit)))
    }

    /// A count of few digits and nothing else, as most are, with where it ends; nothing but white space is consumed.
    fn short_count(&mut self) -> Option<(u64, usize)> {
        let first = self.next_byte()?;
        let digits = &self.bytes[self.at..];
        let (mut count, mut len) = (0_u64, 0);
        while let Some(digit @ b'0'..=b'9') = digits.get(len) {
            count = count.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            len += 1;
        }
        let ends = matches!(digits.get(len), Some(b',' | b'}'));
        (ends && (first != b'0' || len == 1) && (1..=COUNT_DIGITS).contains(&len)).then_some((count, self.at + len))
    }

    /// Consumes the value that comes next, whatever it is, and says where it stands.
    pub fn skip(&mut self) -> Result<Span, ScanError> {
        let first = self.next_byte();
        let start = self.at;
        match first {
            Some(b'"') => self.at = self.string_end(start + 1)?.0 + 1,
            Some(b'{' | b'[') => self.skip_container()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't' | b'f' | b'n') => self.word()?,
            _ => return Err(self.expected("a value")),
        }
        self.fresh = false;
        Ok(Span { start, end: self.at })
    }

    /// Consumes white space up to the end; anything else there is an error.
    pub fn end(&mut self) -> Result<(), ScanError> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the text")),
        }
    }

    fn enter(&mut self, open: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.next_byte() != Some(open) {
            return Err(self.expected(expected));
        }
        if self.depth >= DEPTH_MAX {
            return Err(self.expected("less nesting (127 levels at most)"));
        }
        self.at += 1;
        self.depth += 1;
        self.fresh = true;
        Ok(())
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
        self.fresh = false;
    }

    /// Skips a container without recursion: one bit per level says whether it is an object.
    fn skip_container(&mut self) -> Result<(), ScanError> {
        let outer = self.depth;
        let mut objects: u128 = 0;
        loop {
            // Before a value.
            match self.next_byte() {
                Some(b'"') => {
                    self.quoted()?;
                }
                Some(b'{') => {
                    self.enter(b'{', "an object")?;
                    objects = objects << 1 | 1;
                }
                Some(b'[') => {
                    self.enter(b'[', "an array")?;
                    objects <<= 1;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't' | b'f' | b'n') => self.word()?,
                _ => return Err(self.expected("a value")),
            }
            // Behind a value, or just inside a container: on to the next value.
            loop {
                let more = if objects & 1 == 1 { self.next_member()?.is_some() } else { self.next_item()? };
                if more {
                    break;
                }
                objects >>= 1;
                if self.depth == outer {
                    return Ok(());
                }
            }
        }
    }

    /// The string whose opening quote is the next byte.
    #[inline]
    fn quoted(&mut self) -> Result<Text<'a>, ScanError> {
        let start = self.at + 1;
        let (end, escaped) = self.string_end(start)?;
        self.at = end + 1;
        self.fresh = false;
        Ok(Text { raw: &self.bytes[start..end], escaped, at: start - 1 })
    }

    /// The same where it is short and has no escapes, as nearly all names are.
    #[inline]
    fn short_quoted(&mut self) -> Option<Text<'a>> {
        let (raw, _) = short_text(self.bytes.get(self.at + 1..)?)?;
        let at = self.at;
        self.at = at + raw.len() + 2;
        self.fresh = false;
        Some(Text { raw, escaped: false, at })
    }

    /// The offset of the quote that ends the string whose text begins at `start`, and whether there is any escape in it.
    #[inline]
    fn string_end(&self, start: usize) -> Result<(usize, bool), ScanError> {
        let at = plain_run(self.bytes, start);
        if self.bytes.get(at) == Some(&b'"') { Ok((at, false)) } else { self.escaped_end(at) }
    }

    /// The same from the first byte on that a string cannot hold as it is.
    #[inline(never)]
    fn escaped_end(&self, mut at: usize) -> Result<(usize, bool), ScanError> {
        let mut escaped = false;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => return Ok((at, escaped)),
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(_) => return Err(ScanError { at, expected: "an escape in place of a control character" }),
                None => return Err(ScanError { at, expected: "'\"'" }),
            }
            at = plain_run(self.bytes, at);
        }
    }

    /// Checks the escape whose backslash stands at `at`; the offset behind it.
    fn escape(&self, at: usize) -> Result<usize, ScanError> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match (at + 2..at + 6).find(|i| !self.bytes.get(*i).is_some_and(u8::is_ascii_hexdigit)) {
                None => Ok(at + 6),
                Some(at) => Err(ScanError { at: at.min(self.bytes.len()), expected: "a hex digit" }),
            },
            _ => Err(ScanError { at: at + 1, expected: "an escape" }),
        }
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.expected("a digit")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        self.fresh = false;
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), ScanError> {
        match self.byte() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => Err(self.expected("a digit")),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Result<(), ScanError> {
        let rest = &self.bytes[self.at..];
        for word in ["true", "false", "null"] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                self.fresh = false;
                return Ok(());
            }
            if word.as_bytes().starts_with(rest) {
                self.at = self.bytes.len();
            }
        }
        Err(self.expected("true, false or null"))
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte that is not white space; the scanner stands on it.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' { Some(byte) } else { self.behind_space() }
    }

    fn behind_space(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> ScanError {
        ScanError { at: self.at, expected }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("at", &self.at).field("bytes", &self.raw.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scanner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be a prompt: it is not shown.
        f.debug_struct("Scanner").field("at", &self.at).field("depth", &self.depth).finish_non_exhaustive()
    }
}

/// What stands before the quote that ends a short string without escapes, and what stands behind that quote; `None` where it
/// is another.
#[inline]
fn short_text(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    // Where there is none it may still end right behind them.
    let specials = |at| Some(Sixteen::at(rest, at)?.specials() | 1 << Sixteen::LEN);
    let mut len = specials(0)?.trailing_zeros() as usize;
    if len == Sixteen::LEN {
        len += specials(Sixteen::LEN)?.trailing_zeros() as usize;
    }
    match rest.split_at_checked(len)? {
        (raw, [b'"', behind @ ..]) => Some((raw, behind)),
        _ => None,
    }
}

/// The offset, from `at` on, of the first byte that a string cannot hold as it is: a quote, a
/// backslash or a control character; the length of `bytes` if there is none.
#[inline]
fn plain_run(bytes: &[u8], at: usize) -> usize {
    // Most strings are names, and short.
    match Sixteen::at(bytes, at).map(Sixteen::specials) {
        Some(0) => long_run(bytes, at + Sixteen::LEN),
        Some(specials) => at + specials.trailing_zeros() as usize,
        None => short_run(bytes, at),
    }
}

/// The same of a longer one: another name, what somebody says, or an image.
#[inline(never)]
fn long_run(bytes: &[u8], mut at: usize) -> usize {
    let mut left = 3;
    while let Some(sixteen) = Sixteen::at(bytes, at) {
        let specials = sixteen.specials();
        if specials != 0 {
            return at + specials.trailing_zeros() as usize;
        }
        at += Sixteen::LEN;
        left -= 1;
        if left == 0 {
            let (blocks, _) = bytes.get(at..).unwrap_or_default().as_chunks();
            at += 64 * blocks.iter().take_while(|block| !sixteen::any_special(block)).count();
            left = 4;
        }
    }
    short_run(bytes, at)
}

/// The same near the end.
#[inline(never)]
fn short_run(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
    rest.iter().position(special).map_or(bytes.len(), |plain| at + plain)
}

impl<'a> Text<'a> {
    /// Whether the text, escapes undone, is `other`.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &str) -> bool {
        if self.escaped { self.decode() == other } else { self.raw == other.as_bytes() }
    }

    /// As bytes of UTF-8 with its escapes undone, for names.
    #[inline]
    pub(crate) fn name(&self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        Cow::Owned(self.decode().into_owned().into_bytes())
    }

    /// Its first bytes, so many at most: neither an escape nor a character is cut.
    #[must_use]
    pub fn start(self, bytes_max: usize) -> Self {
        if self.raw.len() <= bytes_max {
            return self;
        }
        let mut end = bytes_max;
        if self.escaped {
            // An escape is six bytes at most, a pair of them twelve: the last backslash that opens one opens it there.
            let mut at = 0;
            while let Some(next) = memchr::memchr(b'\\', &self.raw[at..bytes_max]) {
                let opens = at + next;
                let len = if self.raw.get(opens + 1) == Some(&b'u') { 6 } else { 2 };
                if opens + len > bytes_max {
                    end = opens;
                    break;
                }
                at = opens + len;
            }
        }
        while end > 0 && self.raw[end] & 0xC0 == 0x80 {
            end -= 1;
        }
        Self { raw: &self.raw[..end], ..self }
    }

    /// The text with its escapes undone; borrowed where there are none.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            // The check of all at once is several times faster than one that looks for what to replace.
            return std::str::from_utf8(self.raw).map_or_else(|_| String::from_utf8_lossy(self.raw), Cow::Borrowed);
        }
        let mut out = String::with_capacity(self.raw.len());
        let mut unescape = Unescape::default();
        unescape.feed(*self, |piece| out.push_str(piece));
        unescape.finish(|piece| out.push_str(piece));
        Cow::Owned(out)
    }
}

/// Checks that `text` is one JSON value, white space around it allowed; the span of the value.
pub fn check(text: &[u8]) -> Result<Span, ScanError> {
    let mut scanner = Scanner::new(text);
    let span = scanner.skip()?;
    scanner.end()?;
    Ok(span)
}

/// The last value of `key` in the object at the start of `object`, as parsers that keep the last of
/// duplicates see it; `None` where there is none, or where `object` is no object.
#[must_use]
pub fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut scanner = Scanner::new(object);
    let mut found = None;
    scanner.enter_object().ok()?;
    while let Some(name) = scanner.next_member().ok()? {
        let value = scanner.skip().ok()?;
        if name.is(key) {
            found = Some(value.of(object));
        }
    }
    found
}

/// The values of several keys in the object at the start of `object`, in one pass: each as [`member`] finds it.
#[must_use]
pub fn members<'a, const N: usize>(object: &'a [u8], keys: [&str; N]) -> [Option<&'a [u8]>; N] {
    let read = || {
        let mut scanner = Scanner::new(object);
        let mut found = [None; N];
        scanner.enter_object().ok()?;
        while let Some(name) = scanner.next_member().ok()? {
            let value = scanner.skip().ok()?;
            if let Some(at) = keys.iter().position(|key| name.is(key)) {
                found[at] = Some(value.of(object));
            }
        }
        Some(found)
    };
    read().unwrap_or([None; N])
}

/// The text of a value that is a string.
#[must_use]
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    Scanner::new(value).string().ok().map(|text| text.decode())
}

/// Writes `text` as a JSON string, quotes included.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Writes `text` as it stands between the quotes of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_run(rest, 0);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(*other)]);
            }
        }
        rest = &rest[plain + 1..];
    }
}

#[cfg(test)]
mod tests;
