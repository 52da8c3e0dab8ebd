//! How an answer begins: its first words, alike for all answers that begin alike. Case, signs and markup play no part, and
//! words with digits in them are all the same word, so that a number of an order makes no opening of its own.

use super::ascii::{HIGH, ascii_letters, eight, in_lower_case};
use super::letter::{self, is_word_sign};

/// So much is an opening: a word counts for two, a sign of a script without spaces for one.
const WEIGHT_MAX: u32 = 10;
/// Scripts from here on write no spaces.
const IDEOGRAPHS: char = '\u{2E80}';
/// A longer word is cut here.
const WORD_MAX_BYTES: usize = 32;

/// How an answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstWords {
    /// A hash of the words, the same in every process.
    pub key: u64,
    /// The words.
    pub words: String,
}

impl FirstWords {
    /// The opening of a text; `None` where it has no words.
    #[must_use]
    pub fn of(head: &str) -> Option<Self> {
        let mut words = Vec::with_capacity(48);
        let mut weight = 0;
        let mut rest = head;
        while weight < WEIGHT_MAX {
            let begins = rest.bytes().position(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
            let Some(begins) = begins else { break };
            rest = &rest[begins..];
            let Some(first) = rest.chars().next() else { break };
            if !is_word_sign(first) {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            if !words.is_empty() {
                words.push(b' ');
            }
            if first >= IDEOGRAPHS {
                weight += 1;
                push(first, &mut words);
                rest = &rest[first.len_utf8()..];
            } else {
                weight += 2;
                if let Some((lower, len)) = short_word(rest) {
                    words.extend_from_slice(&lower[..len]);
                    rest = &rest[len..];
                    continue;
                }
                let (word, behind) = rest.split_at(word_end(rest));
                push_word(word, &mut words);
                rest = behind;
            }
        }
        if words.is_empty() {
            return None;
        }
        let mut low = [0; 8];
        low.copy_from_slice(&blake3::hash(&words).as_bytes()[..8]);
        Some(Self { key: u64::from_le_bytes(low), words: String::from_utf8(words).ok()? })
    }
}

/// A word of less than eight letters of ASCII, as most are, in lower case, with its length.
fn short_word(text: &str) -> Option<([u8; 8], usize)> {
    let eight = eight(text.as_bytes());
    let end = ascii_letters(eight) ^ HIGH;
    let bits = end.trailing_zeros() & !7;
    let behind = eight.checked_shr(bits)? as u8;
    let ends = behind.is_ascii() && !behind.is_ascii_digit() && behind != b'\'';
    let lower = in_lower_case(eight).to_le_bytes();
    (ends && bits > 0).then_some((lower, bits as usize / 8))
}

/// The length of the word that a text begins with.
fn word_end(text: &str) -> usize {
    let end = text.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'\'')).unwrap_or(text.len());
    if text.as_bytes().get(end).is_none_or(u8::is_ascii) {
        return end;
    }
    text.char_indices().find(|(_, sign)| !is_inside_word(*sign)).map_or(text.len(), |(at, _)| at)
}

fn is_inside_word(sign: char) -> bool {
    (is_word_sign(sign) && sign < IDEOGRAPHS) || matches!(sign, '\'' | '’')
}

fn push(sign: char, words: &mut Vec<u8>) {
    words.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_word(word: &str, words: &mut Vec<u8>) {
    if word.is_ascii() {
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            return words.push(b'#');
        }
        let signs = word.bytes().take(WORD_MAX_BYTES).filter(|byte| *byte != b'\'');
        words.extend(signs.map(|byte| byte.to_ascii_lowercase()));
        return;
    }
    if word.chars().any(char::is_numeric) {
        return words.push(b'#');
    }
    let word = &word[..word.floor_char_boundary(WORD_MAX_BYTES)];
    for sign in word.chars().filter(|sign| !matches!(sign, '\'' | '’')) {
        letter::in_lower_case(sign, |lower| push(lower, words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(head: &str) -> Option<String> {
        FirstWords::of(head).map(|opening| opening.words)
    }

    #[test]
    fn answers_that_begin_alike_have_one_opening() {
        let one = FirstWords::of("**I'm afraid** that is not something I can talk about.").unwrap();
        let other = FirstWords::of("I’m  afraid that\nis not something else").unwrap();
        assert_eq!((one.words.as_str(), &one), ("im afraid that is not", &other));
        assert_eq!(words("Order 4711-A is on its way").as_deref(), Some("order # a is on"));
        assert_eq!(words("很抱歉，我无法讨论这个话题。").as_deref(), Some("很 抱 歉 我 无 法 讨 论 这 个"));
        assert_eq!(words("Yes.").as_deref(), Some("yes"));
        assert_eq!(words("Don't4 Überall STRASSEN-Karten 2b").as_deref(), Some("# überall strassen karten #"));
        assert_eq!(words("ABCDEFGH abcdefg").as_deref(), Some("abcdefgh abcdefg"));
    }

    #[test]
    fn what_has_no_words_has_no_opening() {
        assert_eq!(words(""), None);
        assert_eq!(words("--- ** !"), None);
        let long = "a".repeat(2_000);
        assert_eq!(words(&long).map(|words| words.len()), Some(WORD_MAX_BYTES));
    }
}
