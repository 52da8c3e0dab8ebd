//! What JSON is not written in: it is UTF-8 without a mark (RFC 8259, section 8.1).

use std::fmt;

/// Another encoding of a text that should be JSON, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8 behind a byte order mark.
    Marked,
    /// UTF-16 of either order, with or without a mark.
    Utf16,
    /// UTF-32 of either order, with or without a mark.
    Utf32,
}

impl Encoding {
    /// `None` where the text begins as UTF-8 does. JSON begins with two ASCII characters, or is one alone; so the zeros
    /// among the first bytes tell the rest.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        match text {
            [0xEF, 0xBB, 0xBF, ..] => Some(Self::Marked),
            [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] | [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => Some(Self::Utf32),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, _, ..] | [_, 0, ..] => Some(Self::Utf16),
            _ => None,
        }
    }
}

/// What is wrong, and how it is mended.
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Marked => {
                "begins with a byte order mark (the bytes EF BB BF), which JSON must not have: send it without those three bytes (in Python, encode it as 'utf-8' and not as 'utf-8-sig')"
            }
            Self::Utf16 => "is written in UTF-16, and JSON must be UTF-8: encode it as UTF-8, without a byte order mark",
            Self::Utf32 => "is written in UTF-32, and JSON must be UTF-8: encode it as UTF-8, without a byte order mark",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_are_told_by_their_first_bytes() {
        let text = r#"{"model":"é"}"#;
        let sixteen = |of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
        let thirty_two = |of: fn(u32) -> [u8; 4]| text.chars().flat_map(|sign| of(sign.into())).collect::<Vec<u8>>();
        for (mark, body, told) in [
            (&b"\xEF\xBB\xBF"[..], text.as_bytes().to_vec(), Encoding::Marked),
            (b"\xFF\xFE", sixteen(u16::to_le_bytes), Encoding::Utf16),
            (b"\xFE\xFF", sixteen(u16::to_be_bytes), Encoding::Utf16),
            (b"\xFF\xFE\0\0", thirty_two(u32::to_le_bytes), Encoding::Utf32),
            (b"\0\0\xFE\xFF", thirty_two(u32::to_be_bytes), Encoding::Utf32),
        ] {
            assert_eq!(Encoding::of(&[mark, &body].concat()), Some(told));
            let bare = if told == Encoding::Marked { None } else { Some(told) };
            assert_eq!(Encoding::of(&body), bare, "without its mark");
        }
        for plain in ["", "{", "{}", " {", "\"é\"", "[]", "\u{feff}"] {
            assert_eq!(Encoding::of(plain.as_bytes()).is_some(), plain == "\u{feff}", "{plain:?}");
        }
    }
}
