//! Which of sixteen bytes end a string of JSON, and which are letters or digits, as a set of bits: the first byte is the
//! lowest.
//!
//! On x86-64 that is a handful of instructions, of the set that each such processor has, called without `unsafe`; anywhere
//! else it is a loop, which says the same.

/// Sixteen bytes.
#[derive(Clone, Copy)]
pub(crate) struct Sixteen(kinds::Bytes);

impl Sixteen {
    /// So many bytes are looked at at once.
    pub(crate) const LEN: usize = 16;

    #[inline]
    pub(crate) fn of(bytes: &[u8; Self::LEN]) -> Self {
        Self(kinds::of(bytes))
    }

    /// The bytes from `at` on; `None` where there are not so many.
    #[inline]
    pub(crate) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        bytes.get(at..)?.first_chunk().map(Self::of)
    }

    /// What a string of JSON cannot hold as it is: quotes, backslashes and control characters.
    #[inline]
    pub(crate) fn specials(self) -> u32 {
        kinds::specials(self.0)
    }

    /// The letters of ASCII.
    #[inline]
    pub(crate) fn letters(self) -> u32 {
        kinds::letters(self.0)
    }

    /// The digits.
    #[inline]
    pub(crate) fn digits(self) -> u32 {
        kinds::digits(self.0)
    }

    /// What ends a line or a sentence: `.`, `!`, `?` and the line feed.
    #[inline]
    pub(crate) fn line_ends(self) -> u32 {
        kinds::line_ends(self.0)
    }

    /// What is none of ASCII.
    #[inline]
    pub(crate) fn foreign(self) -> u32 {
        kinds::foreign(self.0)
    }
}

/// Whether all is of ASCII: a few instructions for each 64 bytes.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks();
    blocks.iter().all(kinds::is_ascii) && rest.is_ascii()
}

/// Whether there is anything in a block that a string of JSON cannot hold as it is.
#[inline]
pub(crate) fn any_special(block: &[u8; 64]) -> bool {
    kinds::any_special(block)
}

#[cfg(target_arch = "x86_64")]
mod kinds {
    use safe_arch::{
        cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, min_u8_m128i, move_mask_i8_m128i, set_splat_i8_m128i,
        sub_i8_m128i,
    };

    pub(super) type Bytes = m128i;

    #[inline]
    pub(super) fn of(bytes: &[u8; 16]) -> Bytes {
        load_unaligned_m128i(bytes)
    }

    #[inline]
    fn each(byte: u8) -> Bytes {
        set_splat_i8_m128i(byte.cast_signed())
    }

    #[inline]
    fn bits(marked: Bytes) -> u32 {
        move_mask_i8_m128i(marked).cast_unsigned()
    }

    #[inline]
    fn is(bytes: Bytes, byte: u8) -> Bytes {
        cmp_eq_mask_i8_m128i(bytes, each(byte))
    }

    #[inline]
    fn up_to(bytes: Bytes, last: u8) -> Bytes {
        cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, each(last)), bytes)
    }

    /// One bit turned, the quote is the first behind the control characters, which stay among themselves.
    #[inline]
    fn turned(bytes: Bytes) -> Bytes {
        bytes ^ each(0x02)
    }

    const LAST_TURNED: u8 = b'"' ^ 0x02;
    const BACKSLASH_TURNED: u8 = b'\\' ^ 0x02;

    #[inline]
    fn special(bytes: Bytes) -> Bytes {
        let turned = turned(bytes);
        up_to(turned, LAST_TURNED) | is(turned, BACKSLASH_TURNED)
    }

    #[inline]
    pub(super) fn specials(bytes: Bytes) -> u32 {
        bits(special(bytes))
    }

    #[inline]
    pub(super) fn letters(bytes: Bytes) -> u32 {
        bits(up_to(sub_i8_m128i(bytes | each(0x20), each(b'a')), b'z' - b'a'))
    }

    #[inline]
    pub(super) fn digits(bytes: Bytes) -> u32 {
        bits(up_to(sub_i8_m128i(bytes, each(b'0')), 9))
    }

    #[inline]
    pub(super) fn line_ends(bytes: Bytes) -> u32 {
        bits(is(bytes, b'.') | is(bytes, b'!') | is(bytes, b'?') | is(bytes, b'\n'))
    }

    #[inline]
    pub(super) fn foreign(bytes: Bytes) -> u32 {
        bits(bytes)
    }

    #[inline]
    pub(super) fn is_ascii(block: &[u8; 64]) -> bool {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| of(&block.as_chunks().0[at]));
        bits(a | b | c | d) == 0
    }

    #[inline]
    pub(super) fn any_special(block: &[u8; 64]) -> bool {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| turned(of(&block.as_chunks().0[at])));
        let lowest = min_u8_m128i(min_u8_m128i(a, b), min_u8_m128i(c, d));
        let backslashes = [a, b, c, d].map(|bytes| is(bytes, BACKSLASH_TURNED));
        let [a, b, c, d] = backslashes;
        bits(up_to(lowest, LAST_TURNED) | a | b | c | d) != 0
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    pub(super) type Bytes = [u8; 16];

    pub(super) fn of(bytes: &[u8; 16]) -> Bytes {
        *bytes
    }

    fn special(byte: u8) -> bool {
        byte == b'"' || byte == b'\\' || byte < 0x20
    }

    fn bits(bytes: Bytes, is: impl Fn(u8) -> bool) -> u32 {
        bytes.into_iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(is(byte)))
    }

    pub(super) fn specials(bytes: Bytes) -> u32 {
        bits(bytes, special)
    }

    pub(super) fn letters(bytes: Bytes) -> u32 {
        bits(bytes, |byte| byte.is_ascii_alphabetic())
    }

    pub(super) fn digits(bytes: Bytes) -> u32 {
        bits(bytes, |byte| byte.is_ascii_digit())
    }

    pub(super) fn line_ends(bytes: Bytes) -> u32 {
        bits(bytes, |byte| matches!(byte, b'.' | b'!' | b'?' | b'\n'))
    }

    pub(super) fn foreign(bytes: Bytes) -> u32 {
        bits(bytes, |byte| !byte.is_ascii())
    }

    pub(super) fn is_ascii(block: &[u8; 64]) -> bool {
        block.is_ascii()
    }

    pub(super) fn any_special(block: &[u8; 64]) -> bool {
        // without an early exit, so that it is done many at a time
        block.iter().fold(false, |any, byte| any | special(*byte))
    }
}

#[cfg(not(target_arch = "x86_64"))]
use plain as kinds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..Sixteen::LEN {
                let mut bytes = *b"a-9Z\xC3\x00{@\"b\\.\n!?7";
                bytes[place] = byte;
                let (sixteen, same) = (Sixteen::of(&bytes), plain::of(&bytes));
                assert_eq!(sixteen.specials(), plain::specials(same), "{bytes:?}");
                assert_eq!(sixteen.letters(), plain::letters(same), "{bytes:?}");
                assert_eq!(sixteen.digits(), plain::digits(same), "{bytes:?}");
                assert_eq!(sixteen.line_ends(), plain::line_ends(same), "{bytes:?}");
                assert_eq!(sixteen.foreign(), plain::foreign(same), "{bytes:?}");
            }
        }
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..64).map(move |place| (byte, place))) {
            let mut block = [b'#'; 64];
            block[place] = byte;
            assert_eq!(any_special(&block), plain::any_special(&block), "{byte} at {place}");
            assert_eq!(kinds::is_ascii(&block), plain::is_ascii(&block), "{byte} at {place}");
            assert_eq!((is_ascii(&block[..place + 1]), is_ascii(&block[..place])), (byte < 0x80, true));
        }
        assert_eq!(Sixteen::at(b"0123456789abcdef", 0).map(Sixteen::specials), Some(0));
        assert!(Sixteen::at(b"0123456789abcdef", 1).is_none() && Sixteen::at(b"", 1).is_none());
    }
}
