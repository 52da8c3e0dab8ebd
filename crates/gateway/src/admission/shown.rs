//! The hash of what a client shows as its key. Clients come again with the same one, so each thread knows the last few:
//! hashing a key is a fiftieth of what the gateway does for a request.

use crate::spread::Spread;
use std::cell::RefCell;
use std::hash::Hasher;

/// So many are known to a thread, each in a place that its bytes say.
const PLACES: usize = 32;
/// A longer key is hashed each time.
const LONGEST: usize = 96;

/// A key as it was shown, never shown or written anywhere itself.
struct Known {
    length: usize,
    token: [u8; LONGEST],
    hash: [u8; 32],
}

thread_local! {
    static KNOWN: RefCell<[Option<Known>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// The BLAKE3 hash of a key.
pub(crate) fn hash(token: &[u8]) -> [u8; 32] {
    if token.len() > LONGEST {
        return *blake3::hash(token).as_bytes();
    }
    KNOWN.with_borrow_mut(|known| {
        let place = &mut known[place(token)];
        if let Some(known) = place.as_ref().filter(|known| is_same(&known.token[..known.length], token)) {
            return known.hash;
        }
        let hash = *blake3::hash(token).as_bytes();
        let known = place.insert(Known { length: token.len(), token: [0; LONGEST], hash });
        known.token[..token.len()].copy_from_slice(token);
        hash
    })
}

fn place(token: &[u8]) -> usize {
    let mut spread = Spread::default();
    spread.write(token);
    spread.finish() as usize % PLACES
}

/// However much of the two is alike, it takes as long: nobody guesses another's key piece by piece.
fn is_same(known: &[u8], shown: &[u8]) -> bool {
    known.len() == shown.len() && known.iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_hash_of_what_was_shown(shown in prop::collection::vec("[a-c]{0,3}|[a-z]{90,100}", 1..200)) {
            for token in shown.iter().map(String::as_bytes) {
                prop_assert_eq!(hash(token), *blake3::hash(token).as_bytes());
            }
        }
    }

    #[test]
    fn keys_of_one_place_are_told_apart() {
        let one = *b"cm_0000";
        let other = (0..10_000).map(|n| format!("cm_{n:04}")).find(|other| {
            let other = other.as_bytes();
            other != one && other.len() == one.len() && place(other) == place(&one)
        });
        let other = other.unwrap();
        for token in [&one[..], other.as_bytes(), &one, &one, other.as_bytes()] {
            assert_eq!(hash(token), *blake3::hash(token).as_bytes());
        }
    }
}
