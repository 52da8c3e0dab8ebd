//! Signs of ASCII, eight at a time, in plain words of the processor.

const ONES: u64 = u64::MAX / 255;
/// The highest bit of each byte.
pub(super) const HIGH: u64 = ONES << 7;

/// The next eight bytes, with 0 behind the end.
pub(super) fn eight(bytes: &[u8]) -> u64 {
    let eight = bytes.first_chunk::<8>().copied();
    u64::from_le_bytes(eight.unwrap_or_else(|| {
        let mut short = [0; 8];
        short[..bytes.len()].copy_from_slice(bytes);
        short
    }))
}

/// Marks the letters, each by the highest bit of its byte.
pub(super) fn ascii_letters(eight: u64) -> u64 {
    between::<b'a', b'z'>(eight | (ONES * 0x20)) & !eight
}

/// Marks the digits.
pub(super) fn ascii_digits(eight: u64) -> u64 {
    between::<b'0', b'9'>(eight)
}

/// The letters in lower case; what is no letter becomes something else.
pub(super) fn in_lower_case(letters: u64) -> u64 {
    letters | (ONES * 0x20)
}

fn between<const FROM: u8, const TO: u8>(eight: u64) -> u64 {
    // Without the highest bits nothing carries from one byte into the next.
    let plain = eight & !HIGH;
    let from = plain + ONES * (0x80 - FROM as u64);
    let past = plain + ONES * (0x7F - TO as u64);
    from & !past & !eight & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = *b"a-9Z\xC3\x00{@";
                bytes[place] = byte;
                let marked = |is: fn(&u8) -> bool| {
                    bytes.iter().rev().fold(0, |all, byte| all << 8 | if is(byte) { 0x80 } else { 0 })
                };
                let word = eight(&bytes);
                assert_eq!(ascii_letters(word), marked(u8::is_ascii_alphabetic), "{bytes:?}");
                assert_eq!(ascii_digits(word), marked(u8::is_ascii_digit), "{bytes:?}");
            }
        }
        assert_eq!(eight(b"ab"), 0x6261);
        assert_eq!(in_lower_case(eight(b"ABCDefgh")), eight(b"abcdefgh"));
    }
}
