//! The keyed hash itself.
//!
//! Each block of 512 bytes is a sum of products (NH: Black, Halevi, Krawczyk, Krovetz and Rogaway, CRYPTO 1999), 16 bytes
//! a multiplication; the sums of the blocks are the coefficients of a polynomial modulo 2^127 - 1 at a secret point, as in
//! VMAC (Krovetz and Dai, 2007); that and the length go through SipHash-1-3, so that nobody who sees hashes learns
//! anything of the key. Two different texts have the same hash with a chance of less than 2^-60 over the keys: that is
//! proved of the first two steps, whoever chose the texts, as long as he does not know the key.

use super::ConversationHash;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;

/// So many bytes are one product.
const PAIR_BYTES: usize = 16;
/// So many products are one sum.
const PAIRS: usize = 32;
/// The prime that the polynomial is taken modulo.
const PRIME: u128 = (1 << 127) - 1;
/// So many bits of a sum count.
const SUM: u128 = (1 << 126) - 1;

/// The key that all conversations of a site are hashed under. It is made once, and shared.
#[derive(Clone)]
pub struct Key(Arc<Words>);

/// What a key says.
struct Words {
    /// What is added to each pair of a block.
    pairs: [[u64; 2]; PAIRS],
    /// Where the polynomial is taken, below 2^126.
    point: u128,
    /// The key of the last step.
    seal: [u8; 16],
}

impl Key {
    /// The key that grows from a secret of the site: the same in every process that has the secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("coalmine 2 conversation words");
        hasher.update(secret);
        let mut words = hasher.finalize_xof();
        let mut next = || {
            let mut bytes = [0; PAIR_BYTES];
            words.fill(&mut bytes);
            bytes
        };
        let pairs = std::array::from_fn(|_| halves(u128::from_le_bytes(next())));
        Self(Arc::new(Words { pairs, point: u128::from_le_bytes(next()) >> 2, seal: next() }))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What has been hashed so far.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// The polynomial over the blocks that are full.
    blocks: u128,
    /// The sum of the block that has begun.
    sum: u128,
    /// Bytes that wait to be sixteen.
    waiting: u128,
    len: u64,
}

impl State {
    /// Takes the next bytes; how they are cut plays no part.
    #[inline]
    pub(super) fn update(&mut self, key: &Key, bytes: &[u8]) {
        let waiting = self.len as usize % PAIR_BYTES;
        if waiting + bytes.len() < PAIR_BYTES {
            // What frames is mostly this short.
            self.waiting |= short(bytes) << (8 * waiting);
            self.len += bytes.len() as u64;
        } else {
            self.long(&key.0, bytes);
        }
    }

    fn long(&mut self, key: &Words, mut bytes: &[u8]) {
        let waiting = self.len as usize % PAIR_BYTES;
        let mut at = self.len as usize / PAIR_BYTES % PAIRS;
        self.len += bytes.len() as u64;
        if waiting > 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(PAIR_BYTES - waiting));
            let pair = self.waiting | short(first) << (8 * waiting);
            self.sum = self.sum.wrapping_add(product(pair, key.pairs[at]));
            bytes = rest;
            at = self.next(at + 1, key);
        }
        let (mut pairs, rest) = bytes.as_chunks::<PAIR_BYTES>();
        while !pairs.is_empty() {
            let keys = &key.pairs[at..];
            let (now, later) = pairs.split_at(pairs.len().min(keys.len()));
            self.sum = self.sum.wrapping_add(products(now, &keys[..now.len()]));
            at = self.next(at + now.len(), key);
            pairs = later;
        }
        self.waiting = short(rest);
    }

    /// Ends a block that is full.
    fn next(&mut self, at: usize, key: &Words) -> usize {
        if at < PAIRS {
            return at;
        }
        self.blocks = times(self.blocks + (self.sum & SUM), key.point);
        self.sum = 0;
        0
    }

    /// Of what came so far; more may follow.
    pub(super) fn hash(&self, Key(key): &Key) -> ConversationHash {
        let mut sum = self.sum;
        if !self.len.is_multiple_of(PAIR_BYTES as u64) {
            let at = self.len as usize / PAIR_BYTES % PAIRS;
            sum = sum.wrapping_add(product(self.waiting, key.pairs[at]));
        }
        let mut seal = SipHasher13::new_with_key(&key.seal);
        let [low, high] = halves((self.blocks + (sum & SUM)) % PRIME);
        seal.write_u64(low);
        seal.write_u64(high);
        seal.write_u64(self.len);
        ConversationHash(seal.finish128().as_u128())
    }
}

fn halves(both: u128) -> [u64; 2] {
    [both as u64, (both >> 64) as u64]
}

/// Less than sixteen bytes, with 0 behind them.
#[inline]
fn short(bytes: &[u8]) -> u128 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        // what both have counts once
        return u128::from(first) | u128::from(last) << (8 * (len - 8));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u128::from(u64::from(first) | u64::from(last) << (8 * (len - 4)));
    }
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u128::from(*byte))
}

#[inline]
fn product(pair: u128, [low, high]: [u64; 2]) -> u128 {
    let [first, second] = halves(pair);
    u128::from(first.wrapping_add(low)) * u128::from(second.wrapping_add(high))
}

#[inline]
fn products(pairs: &[[u8; PAIR_BYTES]], keys: &[[u64; 2]]) -> u128 {
    let of = |pair: &[u8; PAIR_BYTES], key: &[u64; 2]| product(u128::from_le_bytes(*pair), *key);
    let ((fours, pairs), (keys_of_fours, keys)) = (pairs.as_chunks::<4>(), keys.as_chunks::<4>());
    let mut sum = 0_u128;
    for (pairs, keys) in fours.iter().zip(keys_of_fours) {
        for at in 0..4 {
            sum = sum.wrapping_add(of(&pairs[at], &keys[at]));
        }
    }
    pairs.iter().zip(keys).fold(sum, |sum, (pair, key)| sum.wrapping_add(of(pair, key)))
}

/// The same modulo the prime, at most 2^127.
#[inline]
fn reduced(value: u128) -> u128 {
    (value & PRIME) + (value >> 127)
}

/// The product of a value up to 2^127 and 2^126 and a point below 2^126, modulo the prime, at most 2^127.
#[inline]
fn times(value: u128, point: u128) -> u128 {
    let ([value_low, value_high], [point_low, point_high]) =
        (halves(value).map(u128::from), halves(point).map(u128::from));
    let low = value_low * point_low;
    let middle = value_low * point_high + value_high * point_low;
    let high = value_high * point_high;
    // 2^127 counts for 1: the high one for 2 of its own, and of the one in the middle what is above 2^63.
    let middle_low = (middle & (u128::from(u64::MAX) >> 1)) << 64;
    reduced(reduced(reduced(low) + middle_low) + 2 * high + (middle >> 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The product as it is learned at school, bit by bit.
    fn times_plainly(value: u128, point: u128) -> u128 {
        (0..128).rev().fold(0, |all: u128, bit| {
            let doubled = all * 2 % PRIME;
            if point >> bit & 1 == 1 { (doubled + value % PRIME) % PRIME } else { doubled }
        })
    }

    /// As the definition says it.
    fn plainly(Key(key): &Key, bytes: &[u8]) -> u128 {
        let blocks = bytes.chunks(PAIRS * PAIR_BYTES).map(|block| {
            block.chunks(PAIR_BYTES).zip(&key.pairs).fold(0_u128, |sum, (pair, key)| {
                let mut whole = [0; PAIR_BYTES];
                whole[..pair.len()].copy_from_slice(pair);
                sum.wrapping_add(product(u128::from_le_bytes(whole), *key))
            })
        });
        let sums: Vec<u128> = blocks.map(|sum| sum & SUM).collect();
        let full = bytes.len() / (PAIRS * PAIR_BYTES);
        let all = sums[..full].iter().fold(0, |all, sum| times_plainly(all + sum, key.point));
        (all + sums.get(full).copied().unwrap_or(0)) % PRIME
    }

    fn sealed(Key(key): &Key, all: u128, len: usize) -> ConversationHash {
        let mut seal = SipHasher13::new_with_key(&key.seal);
        seal.write(&all.to_le_bytes());
        seal.write(&(len as u64).to_le_bytes());
        ConversationHash(seal.finish128().as_u128())
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_as_defined(
            secret: [u8; 32],
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(u8::MAX)], 0..1700),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let key = Key::new(&secret);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut state, mut from) = (State::default(), 0);
            for to in cuts.into_iter().chain([bytes.len()]) {
                state.update(&key, &bytes[from..to]);
                from = to;
            }
            prop_assert_eq!(state.hash(&key), sealed(&key, plainly(&key, &bytes), bytes.len()));
        }

        #[test]
        fn products_are_those_of_the_school(value: u128, point: u128) {
            let most = (1 << 127) + SUM;
            for value in [value % most, most, 0] {
                for point in [point >> 2, u128::MAX >> 2, 0] {
                    prop_assert!(times(value, point) <= 1 << 127);
                    prop_assert_eq!(times(value, point) % PRIME, times_plainly(value, point));
                }
            }
        }

        #[test]
        fn a_byte_more_or_another_is_another_hash(bytes in prop::collection::vec(any::<u8>(), 1..1100), at: prop::sample::Index, bit in 0..8_u32) {
            let key = Key::new(&[5; 32]);
            let hash = |bytes: &[u8]| {
                let mut state = State::default();
                state.update(&key, bytes);
                state.hash(&key)
            };
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_ne!(hash(&other), hash(&bytes));
            prop_assert_ne!(hash(&[&bytes[..], &[0]].concat()), hash(&bytes), "zeros count");
            prop_assert_ne!(hash(&bytes[1..]), hash(&bytes));
        }

        #[test]
        fn few_bytes_are_those(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let mut whole = [0; 16];
            whole[..bytes.len()].copy_from_slice(&bytes);
            prop_assert_eq!(short(&bytes), u128::from_le_bytes(whole));
        }
    }
}
