//! Does a text go round in circles: the same words again and again, as a model writes that has lost its way.
//!
//! Words are hashed as they come. A text repeats itself when the last words are the same as those so many words before,
//! for as long as four rounds and at least 24 words; or when a line or sentence of six words and more comes for the fifth
//! time among the last 32. Numbers, signs and what stands between words play no part, so that rules of tables and rows of
//! zeros are no repetition. Nothing of the text is kept, and the memory is fixed.

use super::ascii::{HIGH, ascii_digits, ascii_letters, eight};
use super::block::{Block, Place, SIGNS, below, low_bytes, words};
use super::letter::is_word_sign;
use std::fmt;

/// The longest round, in words.
const ROUND_MAX_WORDS: usize = 16;
/// So many rounds of it.
const ROUNDS: usize = 4;
/// And so many words at least.
const WORDS_MIN: usize = 24;
/// A line or sentence counts from so many words on.
const LINE_MIN_WORDS: u32 = 6;
/// So often it may not come.
const LINE_TIMES: usize = 5;
/// Among so many.
const LINES: usize = 32;
/// Scripts from here on write no spaces: each sign is a word.
const IDEOGRAPHS: char = '\u{2E80}';
/// So many words apart it is looked whether one goes round: the shortest that is found holds two such places and more.
const STEP: usize = 8;
/// As many words as are looked back at: the longest run that is asked for, a round before it, and a step.
const BEHIND: usize = 80;
/// They lie in so many, and are moved when these are full.
const WORDS_KEPT: usize = BEHIND + 8 * STEP;
/// A piece that is shorter is read word by word at once.
const PLAIN_MIN_BYTES: usize = 24;
/// Where a hash begins, and what it is multiplied by.
const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Reads a text piece by piece.
pub(crate) struct Repetition {
    word: Word,
    words: usize,
    /// Before `end` the last words; 0 where none has come.
    last: [u32; WORDS_KEPT],
    end: usize,
    line: u32,
    line_words: u32,
    lines: [u32; LINES],
    lines_at: usize,
    found: bool,
}

/// The word that has begun. Eight bytes at a time are mixed, wherever the text is cut.
#[derive(Clone, Copy, Default)]
struct Word {
    mixed: u64,
    /// Bytes that wait to be eight.
    waiting: u64,
    waiting_bytes: usize,
    /// Whether it holds more than digits.
    lettered: bool,
}

impl Word {
    /// So many bytes; the others of the eight are 0.
    fn push(&mut self, bytes: u64, len: usize) {
        self.waiting |= bytes << (8 * self.waiting_bytes);
        let waiting_bytes = self.waiting_bytes + len;
        if waiting_bytes >= 8 {
            self.mixed = (self.mixed ^ self.waiting).wrapping_mul(FACTOR).rotate_left(29);
            self.waiting = if self.waiting_bytes == 0 { 0 } else { bytes >> (64 - 8 * self.waiting_bytes) };
        }
        self.waiting_bytes = waiting_bytes % 8;
    }

    /// A whole one.
    #[inline]
    fn of(block: &Block, at: usize, len: usize) -> Self {
        if len < 8 {
            let waiting = block.eight(at) & low_bytes(len);
            return Self { mixed: 0, waiting, waiting_bytes: len, lettered: true };
        }
        let mut word = Self { lettered: true, ..Self::default() };
        let (full, rest) = (at + len / 8 * 8, len % 8);
        for from in (at..full).step_by(8) {
            word.push(block.eight(from), 8);
        }
        if rest > 0 {
            (word.waiting, word.waiting_bytes) = (block.eight(full) & low_bytes(rest), rest);
        }
        word
    }

    /// Whether none has begun.
    fn is_empty(&self) -> bool {
        !self.lettered && (self.mixed, self.waiting_bytes) == (0, 0)
    }

    /// Never 0, which stands for no word.
    fn hash(self) -> u32 {
        (((self.mixed ^ self.waiting).wrapping_mul(FACTOR) >> 32) as u32).max(1)
    }
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            word: Word::default(),
            words: 0,
            last: [0; WORDS_KEPT],
            end: BEHIND,
            line: BASIS,
            line_words: 0,
            lines: [0; LINES],
            lines_at: 0,
            found: false,
        }
    }
}

impl Repetition {
    /// Takes the next piece of the text, whole signs of UTF-8; how it is cut plays no part.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        let mut rest = piece;
        while !rest.is_empty() {
            if rest.len() >= PLAIN_MIN_BYTES && self.word.is_empty() {
                rest = self.plain_words(rest);
            }
            rest = self.word(rest);
        }
    }

    /// Takes the words of ASCII that a piece begins with, as far as all of a word is seen; what stands behind them.
    fn plain_words<'p>(&mut self, mut piece: &'p [u8]) -> &'p [u8] {
        while piece.first().is_some_and(u8::is_ascii) {
            let block = Block::of(piece);
            let letters = block.letters();
            let signs = letters | block.digits();
            let whole = block.whole(signs);
            if whole == 0 {
                break;
            }
            let mut line_ends = block.line_ends() & below(whole);
            for Place { at, len, bits } in words(signs & below(whole)) {
                // Those before it, if any.
                let behind = line_ends & bits.wrapping_neg();
                if behind != line_ends {
                    self.end_line();
                    line_ends = behind;
                }
                if letters & bits != 0 {
                    self.add(Word::of(&block, at, len));
                }
            }
            if line_ends != 0 {
                self.end_line();
            }
            piece = &piece[whole..];
            if block.len() < SIGNS {
                break;
            }
        }
        piece
    }

    /// Takes what a piece brings of the word that has begun, and the sign behind it; signs that are not of ASCII together.
    fn word<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let mut word = self.word;
        let mut at = 0;
        while at < piece.len() {
            if piece[at].is_ascii() {
                let Run { len, bytes: run, lettered } = Run::of(eight(&piece[at..]));
                if len > 0 {
                    word.push(run, len);
                    word.lettered |= lettered;
                    at += len;
                    continue;
                }
            }
            let each = if piece[at].is_ascii() { char::from(piece[at]) } else { sign(&piece[at..]) };
            at = (at + each.len_utf8()).min(piece.len());
            if !each.is_ascii() && is_word_sign(each) {
                let mut bytes = [0; 8];
                let len = each.encode_utf8(&mut bytes).len();
                word.push(u64::from_le_bytes(bytes), len);
                word.lettered = true;
                if each < IDEOGRAPHS {
                    continue;
                }
            }
            if word.lettered {
                self.add(word);
            }
            if matches!(each, '\n' | '.' | '!' | '?' | '。' | '！' | '？') {
                self.end_line();
            }
            word = Word::default();
            if piece.get(at).is_some_and(u8::is_ascii) {
                break;
            }
        }
        self.word = word;
        &piece[at..]
    }

    /// Whether it has repeated itself by now.
    pub(crate) fn found(&self) -> bool {
        self.found || self.goes_round(self.end - 1 - self.words % STEP)
    }

    /// A word has ended that is more than digits.
    fn add(&mut self, word: Word) {
        let hash = word.hash();
        if self.end == WORDS_KEPT {
            self.last.copy_within(WORDS_KEPT - BEHIND.., 0);
            self.end = BEHIND;
        }
        self.last[self.end] = hash;
        self.end += 1;
        self.words += 1;
        if self.words.is_multiple_of(STEP) {
            self.found |= self.goes_round(self.end - 1 - STEP);
        }
        self.line = (self.line ^ hash).wrapping_mul(PRIME);
        self.line_words += 1;
    }

    /// Whether the words around `place` are those of a round before for long enough. A run that goes on for more than a
    /// step behind it is told by the next place.
    fn goes_round(&self, place: usize) -> bool {
        let last = &self.last[..self.end];
        let Some(before) = place.checked_sub(ROUND_MAX_WORDS).and_then(|from| last.get(from..=place)) else {
            return false;
        };
        // All lengths at once: without branches this is a few instructions.
        let (same, mut rounds) = (before[ROUND_MAX_WORDS], 0_u32);
        for (at, word) in before[..ROUND_MAX_WORDS].iter().enumerate() {
            rounds |= u32::from(*word == same) << at;
        }
        while same != 0 && rounds != 0 {
            let round = ROUND_MAX_WORDS - rounds.trailing_zeros() as usize;
            rounds &= rounds - 1;
            let behind = last[place..].iter().zip(&last[place - round..]).take_while(|(word, before)| word == before);
            let until = last[..place].iter().rev().zip(last[..place - round].iter().rev());
            let until = until.take_while(|(word, before)| word == before && **word != 0);
            let enough = (round * (ROUNDS - 1)).max(WORDS_MIN);
            if behind.count() + until.take(enough).count() >= enough {
                return true;
            }
        }
        false
    }

    fn end_line(&mut self) {
        let line = std::mem::replace(&mut self.line, BASIS);
        if std::mem::take(&mut self.line_words) < LINE_MIN_WORDS {
            return;
        }
        let before = self.lines.iter().filter(|each| **each == line).count();
        self.found |= before + 1 >= LINE_TIMES;
        self.lines[self.lines_at] = line;
        self.lines_at = (self.lines_at + 1) % LINES;
    }
}

impl fmt::Debug for Repetition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hashes of an answer's words are not shown.
        f.debug_struct("Repetition").field("words", &self.words).field("found", &self.found).finish_non_exhaustive()
    }
}

/// The sign that begins what is not ASCII.
fn sign(bytes: &[u8]) -> char {
    let (len, first) = match bytes.first() {
        Some(byte @ ..0xE0) => (2, byte & 0x1F),
        Some(byte @ ..0xF0) => (3, byte & 0x0F),
        Some(byte) => (4, byte & 0x07),
        None => (0, 0),
    };
    let behind = bytes.iter().take(len).skip(1);
    let code = behind.fold(u32::from(first), |code, byte| code << 6 | u32::from(byte & 0x3F));
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The letters and digits of ASCII at the start of eight bytes.
struct Run {
    len: usize,
    bytes: u64,
    /// Whether there is a letter among them.
    lettered: bool,
}

impl Run {
    fn of(eight: u64) -> Self {
        let letters = ascii_letters(eight);
        let end = (letters | ascii_digits(eight)) ^ HIGH;
        // of the bit that ends it and all above it, none
        let mask = if end == 0 { u64::MAX } else { (1 << (end.trailing_zeros() & !7)) - 1 };
        let len = if end == 0 { 8 } else { end.trailing_zeros() as usize / 8 };
        Self { len, bytes: eight & mask, lettered: letters & mask != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repeats(text: &str) -> bool {
        let mut repetition = Repetition::default();
        repetition.feed(text.as_bytes());
        repetition.found()
    }

    #[test]
    fn rounds_of_words_and_of_lines_are_found() {
        for text in [
            "I am sorry for the trouble. ".repeat(8),
            "ha ".repeat(40),
            "the the ".repeat(20),
            "我很抱歉。".repeat(10),
            format!("Here it is: {}", "and then we go on, ".repeat(10)),
            (0..6).map(|n| format!("{n}. Please check that the cable is plugged in.\nNote {n} of it\n")).collect(),
        ] {
            assert!(repeats(&text), "{text}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_none() {
        for text in [
            "very, very, very, very good".to_owned(),
            format!("| a | b |\n|{}\n{}", "---|".repeat(40), "| 0 | 0 |\n".repeat(40)),
            "0, ".repeat(100),
            "    return Ok(None)\n}\n".repeat(4),
            "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream. "
                .repeat(2),
            (0..60).map(|n| format!("- item number {n} of the list is called name{n}\n")).collect(),
        ] {
            assert!(!repeats(&text), "{text}");
        }
    }

    /// As the definition says it, word by word.
    fn goes_round(text: &str) -> bool {
        let words: Vec<&str> = text.split(|each: char| !each.is_alphanumeric()).collect();
        let words: Vec<&str> = words.into_iter().filter(|word| word.chars().any(char::is_alphabetic)).collect();
        (1..=ROUND_MAX_WORDS).any(|round| {
            let same = words.iter().zip(words.iter().skip(round)).map(|(before, word)| before == word);
            let mut run = 0;
            let enough = (round * (ROUNDS - 1)).max(WORDS_MIN);
            same.into_iter().any(|same| {
                run = if same { run + 1 } else { 0 };
                run >= enough
            })
        })
    }

    proptest! {
        #[test]
        fn rounds_are_those_of_the_definition(
            round in "(([ab]{1,3}|[ab]{6,17}|[é我])[ ,:]{1,2}){1,17}",
            times in 1_usize..40,
            before in "([ab]{1,2} ){0,200}",
            after in "([cd]{1,2} ){0,20}",
        ) {
            let text = format!("{before}{}{after}", round.repeat(times));
            prop_assert_eq!(repeats(&text), goes_round(&text), "{}", text);
        }

        #[test]
        fn however_it_is_cut_it_is_the_same(text in "([ab]{1,2}[ .\n]|我|1){0,80}", cuts in prop::collection::vec(0_usize..200, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
            cuts.sort_unstable();
            let mut repetition = Repetition::default();
            let mut from = 0;
            for to in cuts.into_iter().chain([text.len()]) {
                repetition.feed(&text.as_bytes()[from..to]);
                from = to;
            }
            prop_assert_eq!(repetition.found(), repeats(&text));
        }

        #[test]
        fn a_word_is_the_same_however_it_is_cut(word in "[a-z0-9é我]{1,24}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| word.floor_char_boundary(cut)).collect();
            cuts.sort_unstable();
            let hash = |pieces: &[&str]| {
                let mut ended = Word::default();
                for bytes in pieces.iter().flat_map(|piece| piece.as_bytes().chunks(8)) {
                    ended.push(eight(bytes), bytes.len());
                }
                ended.hash()
            };
            let from = [0].into_iter().chain(cuts.iter().copied());
            let pieces: Vec<&str> = from.zip(cuts.iter().copied().chain([word.len()])).map(|(from, to)| &word[from..to]).collect();
            prop_assert_eq!(hash(&pieces), hash(&[&word]));
            prop_assert_ne!(hash(&[&word]), hash(&[&word[..word.floor_char_boundary(word.len() - 1)]]));
        }
    }
}
