//! The words of a text of ASCII, 64 signs at a time: a few instructions for each word.

use super::ascii::eight;
use crate::sixteen::Sixteen;

/// So many signs are looked at at once.
pub(super) const SIGNS: usize = 64;

/// The next signs of a text up to the first that is none of ASCII, with 0 behind them. Which they are is told by sets of
/// bits: the first sign is the lowest.
pub(super) struct Block {
    /// Eight more, so that eight can be taken from each place.
    signs: [u8; SIGNS + 8],
    /// Those that are looked at.
    ascii: u64,
    len: usize,
}

/// A word.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Where it begins in its block.
    pub(super) at: usize,
    pub(super) len: usize,
    /// Its signs.
    pub(super) bits: u64,
}

impl Block {
    /// The beginning of a text.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        let mut signs = [0; SIGNS + 8];
        let len = text.len().min(SIGNS);
        match text.first_chunk::<SIGNS>() {
            Some(text) => signs[..SIGNS].copy_from_slice(text),
            None => signs[..len].copy_from_slice(text),
        }
        let mut block = Self { signs, ascii: u64::MAX, len };
        let foreign = block.all(Sixteen::foreign);
        if foreign != 0 {
            let ascii = foreign.trailing_zeros() as usize;
            (block.ascii, block.len) = (below(ascii), ascii);
        }
        block
    }

    #[inline]
    fn all(&self, of: impl Fn(Sixteen) -> u32) -> u64 {
        let sixteens = self.signs.as_chunks().0;
        let bits = |at: usize| u64::from(of(Sixteen::of(&sixteens[at]))) << (16 * at);
        bits(0) | bits(1) | bits(2) | bits(3)
    }

    #[inline]
    pub(super) fn letters(&self) -> u64 {
        self.all(Sixteen::letters) & self.ascii
    }

    #[inline]
    pub(super) fn digits(&self) -> u64 {
        self.all(Sixteen::digits) & self.ascii
    }

    /// What ends a line or a sentence.
    #[inline]
    pub(super) fn line_ends(&self) -> u64 {
        self.all(Sixteen::line_ends) & self.ascii
    }

    /// How many signs there are up to and with the last that is no part of a word: what stands before it is whole words.
    /// `words` are the signs of words.
    #[inline]
    pub(super) fn whole(&self, words: u64) -> usize {
        (!words & below(self.len)).checked_ilog2().map_or(0, |last| last as usize + 1)
    }

    /// How many signs there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Eight signs.
    #[inline]
    pub(super) fn eight(&self, at: usize) -> u64 {
        eight(&self.signs[at % SIGNS..])
    }
}

/// The words that the signs make up, each a run of bits.
#[inline]
pub(super) fn words(mut signs: u64) -> impl Iterator<Item = Place> {
    std::iter::from_fn(move || {
        if signs == 0 {
            return None;
        }
        let at = signs.trailing_zeros() as usize;
        // What is carried on from the first sign of a run stands behind its last.
        let behind = signs.wrapping_add(signs & signs.wrapping_neg());
        let bits = signs & !behind;
        signs &= behind;
        Some(Place { at, len: (bits >> at).trailing_ones() as usize, bits })
    })
}

/// The first so many bits.
#[inline]
pub(super) fn below(bits: usize) -> u64 {
    if bits >= SIGNS { u64::MAX } else { (1 << bits) - 1 }
}

/// The first so many bytes of eight: one at least, and no more.
#[inline]
pub(super) fn low_bytes(bytes: usize) -> u64 {
    u64::MAX.wrapping_shr((8 * bytes as u32).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_those_between_other_signs(text in "[a-z0-9 .]{0,80}|[a-z]{60,70}|[a-c ]{0,70}é[a-c ]{0,9}") {
            let block = Block::of(text.as_bytes());
            let ascii = text.split(|each: char| !each.is_ascii()).next().unwrap_or_default();
            let seen = &ascii[..ascii.len().min(SIGNS)];
            prop_assert_eq!(block.len(), seen.len());
            let signs = block.letters() | block.digits();
            let whole = block.whole(signs);
            let end = seen.rfind([' ', '.']).map_or(0, |at| at + 1);
            prop_assert_eq!(whole, end);
            for whole in [whole, seen.len()] {
                let found = words(signs & below(whole)).map(|Place { at, len, .. }| &text[at..at + len]);
                let split = seen[..whole].split([' ', '.']).filter(|word| !word.is_empty());
                prop_assert_eq!(found.collect::<Vec<_>>(), split.collect::<Vec<_>>());
            }
            for Place { at, len, bits } in words(signs) {
                let len = len.min(8);
                let mut eight = [0; 8];
                eight[..len].copy_from_slice(&text.as_bytes()[at..at + len]);
                prop_assert_eq!(block.eight(at) & low_bytes(len), u64::from_le_bytes(eight));
                prop_assert_eq!(bits & below(at), 0);
            }
        }
    }
}
