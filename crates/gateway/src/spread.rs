//! A hasher for keys that nobody outside can choose: keyed hashes, our own numbers, and what an operator has written.
//! Their own bits serve, mixed in a few instructions. What a client writes is kept under the standard library's.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by such keys.
pub(crate) type SpreadMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// Mixes words.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Spread(u64);

/// 2^64 over the golden ratio, which is odd.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        // a map takes the lowest bits and the highest: both halves of the product are in all of them
        let product = u128::from(self.0.rotate_left(5) ^ value) * u128::from(ODD);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault, Hash};

    fn hash(of: impl Hash) -> u64 {
        BuildHasherDefault::<Spread>::default().hash_one(of)
    }

    /// Of a shard's numbers, which are all alike in their last bits, as many places are used as of any others.
    #[test]
    fn numbers_with_like_ends_lie_apart() {
        for step in [1, 16, 64, 1 << 32] {
            let places: BTreeSet<u64> = (0..1_024_u64).map(|n| hash(n * step) % 2_048).collect();
            assert!(places.len() > 600, "{} places for steps of {step}", places.len());
            let tags: BTreeSet<u64> = (0..1_024_u64).map(|n| hash(n * step) >> 57).collect();
            assert!(tags.len() > 100, "{} tags for steps of {step}", tags.len());
        }
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let base = hash((1_u128, [1_u8; 32]));
        assert_ne!(base, hash((1_u128 << 64 | 1, [1_u8; 32])));
        let mut other = [1_u8; 32];
        other[31] = 2;
        assert_ne!(base, hash((1_u128, other)));
    }
}
