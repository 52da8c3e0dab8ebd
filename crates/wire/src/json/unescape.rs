//! Undoing the escapes of strings.

use super::Text;
use crate::sixteen;

/// Pieces of a text between its escapes are gathered up to so many bytes.
const GATHERED_BYTES: usize = 4 << 10;

/// Undoes escapes of a text that comes in several strings, as answers do in a stream: a surrogate
/// pair may have its halves in two of them.
#[derive(Debug, Clone, Default)]
pub struct Unescape {
    high: Option<u16>,
}

impl Unescape {
    /// Undoes the escapes of the next string; `out` takes the text in pieces.
    pub fn feed(&mut self, text: Text<'_>, mut out: impl FnMut(&str)) {
        let mut rest = text.raw;
        while !rest.is_empty() {
            let plain = if text.escaped { memchr::memchr(b'\\', rest).unwrap_or(rest.len()) } else { rest.len() };
            if plain > 0 {
                self.finish(&mut out);
                lossy(&rest[..plain], &mut out);
                rest = &rest[plain..];
                continue;
            }
            rest = self.escape(rest, &mut out);
        }
    }

    /// The same in bytes of UTF-8, in few and long pieces: what is of ASCII, as most of it is, is not checked a second time.
    pub(crate) fn feed_bytes(&mut self, text: Text<'_>, mut out: impl FnMut(&[u8])) {
        let ascii = sixteen::is_ascii(text.raw);
        if !text.escaped && (!ascii || text.raw.is_empty()) {
            return self.feed(text, |piece| out(piece.as_bytes()));
        }
        if !text.escaped {
            self.finish(|piece| out(piece.as_bytes()));
            return out(text.raw);
        }
        let mut gathered = Vec::with_capacity(text.raw.len().min(GATHERED_BYTES));
        let mut gather = |piece: &[u8]| {
            if gathered.len() + piece.len() > GATHERED_BYTES && !gathered.is_empty() {
                out(&gathered);
                gathered.clear();
            }
            gathered.extend_from_slice(piece);
        };
        if ascii {
            self.feed_ascii(text.raw, gather);
        } else {
            self.feed(text, |piece| gather(piece.as_bytes()));
        }
        if !gathered.is_empty() {
            out(&gathered);
        }
    }

    fn feed_ascii(&mut self, mut rest: &[u8], mut out: impl FnMut(&[u8])) {
        while let Some(plain) = memchr::memchr(b'\\', rest) {
            if plain > 0 {
                self.finish(|piece| out(piece.as_bytes()));
                out(&rest[..plain]);
            }
            rest = self.escape(&rest[plain..], &mut |piece: &str| out(piece.as_bytes()));
        }
        if !rest.is_empty() {
            self.finish(|piece| out(piece.as_bytes()));
            out(rest);
        }
    }

    /// Ends the text: half a pair that is still waiting becomes U+FFFD.
    pub fn finish(&mut self, mut out: impl FnMut(&str)) {
        if self.high.take().is_some() {
            out("\u{FFFD}");
        }
    }

    /// Undoes the escape at the start of `rest`; what is behind it.
    fn escape<'r>(&mut self, rest: &'r [u8], out: &mut impl FnMut(&str)) -> &'r [u8] {
        let simple = match rest.get(1) {
            Some(b'u') => {
                let (digits, behind) = rest[2..].split_at(4.min(rest.len() - 2));
                let unit = digits.iter().fold(0, |unit, digit| unit << 4 | hex(*digit));
                self.unit(unit, out);
                return behind;
            }
            Some(b'b') => "\u{8}",
            Some(b'f') => "\u{c}",
            Some(b'n') => "\n",
            Some(b'r') => "\r",
            Some(b't') => "\t",
            Some(b'"') => "\"",
            Some(b'\\') => "\\",
            Some(b'/') => "/",
            _ => "\u{FFFD}",
        };
        self.finish(&mut *out);
        out(simple);
        rest.get(2..).unwrap_or_default()
    }

    fn unit(&mut self, unit: u16, out: &mut impl FnMut(&str)) {
        let high = self.high.take();
        if let (Some(high), 0xDC00..=0xDFFF) = (high, unit) {
            let scalar = 0x1_0000 + (u32::from(high - 0xD800) << 10 | u32::from(unit - 0xDC00));
            return out(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut [0; 4]));
        }
        if high.is_some() {
            out("\u{FFFD}");
        }
        if let 0xD800..=0xDBFF = unit {
            self.high = Some(unit);
            return;
        }
        let decoded = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
        out(decoded.encode_utf8(&mut [0; 4]));
    }
}

/// Bytes as text, what is not UTF-8 as U+FFFD.
fn lossy(bytes: &[u8], out: &mut impl FnMut(&str)) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out(text),
        Err(_) => out(&String::from_utf8_lossy(bytes)),
    }
}

fn hex(digit: u8) -> u16 {
    let value = match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    };
    u16::from(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &[u8]) -> Text<'_> {
        Text { raw, escaped: raw.contains(&b'\\'), at: 0 }
    }

    #[test]
    fn a_text_of_many_lines_is_handed_out_at_once() {
        for line in ["- \\\"one\\\"\\n", "- \\u00e9 é\\n"] {
            let raw = line.repeat(80);
            let mut pieces = 0;
            Unescape::default().feed_bytes(text(raw.as_bytes()), |_| pieces += 1);
            assert_eq!(pieces, 1, "{line}");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_text(
            strings in prop::collection::vec(
                r#"([a-z ]{0,9}|[é我]{0,2}|\\n|\\"|\\x|\\u00e9|\\ud83d|\\ude00|\\u2){0,9}|(long and plain |\\t){600,900}|(\\ud83d)?"#,
                0..4,
            ),
            foreign in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let (mut as_text, mut as_bytes) = (Unescape::default(), Unescape::default());
            let (mut wanted, mut found) = (String::new(), Vec::new());
            for string in strings {
                let raw = [string.as_bytes(), &foreign, string.as_bytes()].concat();
                as_text.feed(text(&raw), |piece| wanted.push_str(piece));
                as_bytes.feed_bytes(text(&raw), |piece| found.extend_from_slice(piece));
            }
            as_text.finish(|piece| wanted.push_str(piece));
            as_bytes.finish(|piece| found.extend_from_slice(piece.as_bytes()));
            prop_assert_eq!(String::from_utf8(found).unwrap(), wanted);
        }
    }
}
