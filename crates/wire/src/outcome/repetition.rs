//! Does a text go round in circles: the same words again and again, as a model writes that has lost its way.
//!
//! Words are hashed as they come. A text repeats itself when the last words are the same as those so many words before,
//! for as long as four rounds and at least 24 words; or when a line or sentence of six words and more comes for the fifth
//! time among the last 32. Numbers, signs and what stands between words play no part, so that rules of tables and rows of
//! zeros are no repetition. Nothing of the text is kept, and the memory is fixed.

use std::fmt;

/// The longest round, in words.
const ROUND_MAX_WORDS: usize = 16;
/// So many rounds of it.
const ROUNDS: u32 = 4;
/// And so many words at least.
const WORDS_MIN: u32 = 24;
/// By length of a round: so many words on end are enough. The first round is repeated by those that follow it.
const ENOUGH: [i32; ROUND_MAX_WORDS] = {
    let mut enough = [WORDS_MIN as i32; ROUND_MAX_WORDS];
    let (mut at, mut round) = (0, 0);
    while at < ROUND_MAX_WORDS {
        round += ROUNDS - 1;
        if round > WORDS_MIN {
            enough[at] = round as i32;
        }
        at += 1;
    }
    enough
};
/// A line or sentence counts from so many words on.
const LINE_MIN_WORDS: u32 = 6;
/// So often it may not come.
const LINE_TIMES: usize = 5;
/// Among so many.
const LINES: usize = 32;
/// Scripts from here on write no spaces: each sign is a word.
const IDEOGRAPHS: char = '\u{2E80}';
/// The last words lie in so many, written from the end to the start, so that they are moved but once in a while.
const WORDS_KEPT: usize = 8 * ROUND_MAX_WORDS;
/// FNV-1a, 32 bits.
const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// Reads a text piece by piece.
pub(crate) struct Repetition {
    /// The word that has begun; [`BASIS`] where none has.
    word: u32,
    /// Whether it holds more than digits.
    lettered: bool,
    words: usize,
    /// From `latest` on the last words, the latest first; 0 where none has come.
    last: [u32; WORDS_KEPT],
    latest: usize,
    /// By length of a round: how many words on end were those of a round before. With a sign, for two numbers of that
    /// kind are compared by one instruction on every machine.
    runs: [i32; ROUND_MAX_WORDS],
    line: u32,
    line_words: u32,
    lines: [u32; LINES],
    lines_at: usize,
    found: bool,
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            word: BASIS,
            lettered: false,
            words: 0,
            last: [0; WORDS_KEPT],
            latest: WORDS_KEPT - ROUND_MAX_WORDS,
            runs: [0; ROUND_MAX_WORDS],
            line: BASIS,
            line_words: 0,
            lines: [0; LINES],
            lines_at: 0,
            found: false,
        }
    }
}

impl Repetition {
    /// Takes the next piece of the text; how it is cut plays no part.
    pub(crate) fn feed(&mut self, piece: &str) {
        if self.found {
            return;
        }
        let bytes = piece.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if !byte.is_ascii() {
                let Some(each) = piece.get(at..).and_then(|rest| rest.chars().next()) else { return };
                at += each.len_utf8();
                self.sign(each);
                continue;
            }
            at += 1;
            match SIGNS[usize::from(byte)] {
                Sign::Letter => {
                    self.word = mixed(self.word, u32::from(byte));
                    self.lettered = true;
                }
                Sign::Digit => self.word = mixed(self.word, u32::from(byte)),
                Sign::Between => self.end_word(),
                Sign::LineEnd => {
                    self.end_word();
                    self.end_line();
                }
            }
        }
    }

    /// A sign that is none of ASCII.
    fn sign(&mut self, each: char) {
        if each.is_alphanumeric() {
            self.word = mixed(self.word, u32::from(each));
            self.lettered = true;
            if each >= IDEOGRAPHS {
                self.end_word();
            }
        } else {
            self.end_word();
            if matches!(each, '。' | '！' | '？') {
                self.end_line();
            }
        }
    }

    /// Whether it has repeated itself by now.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    fn end_word(&mut self) {
        let word = std::mem::replace(&mut self.word, BASIS);
        if !std::mem::take(&mut self.lettered) {
            return;
        }
        let word = word.max(1);
        // All lengths at once: without branches this is a few instructions.
        let last = self.last[self.latest..].first_chunk::<ROUND_MAX_WORDS>();
        let mut found = false;
        for ((run, before), enough) in self.runs.iter_mut().zip(last.unwrap_or(&[0; _])).zip(&ENOUGH) {
            // No text has as many words as would wrap.
            *run = if *before == word { run.wrapping_add(1) } else { 0 };
            found |= *run >= *enough;
        }
        self.found |= found;
        if self.latest == 0 {
            self.last.copy_within(..ROUND_MAX_WORDS, WORDS_KEPT - ROUND_MAX_WORDS);
            self.latest = WORDS_KEPT - ROUND_MAX_WORDS;
        }
        self.latest -= 1;
        self.last[self.latest] = word;
        self.words += 1;
        self.line = (self.line ^ word).wrapping_mul(PRIME);
        self.line_words += 1;
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

/// What a sign of ASCII is to words and lines.
#[derive(Clone, Copy)]
enum Sign {
    Letter,
    Digit,
    Between,
    LineEnd,
}

const SIGNS: [Sign; 128] = {
    let mut signs = [Sign::Between; 128];
    let mut at = 0;
    while at < signs.len() {
        let byte = at as u8;
        if byte.is_ascii_alphabetic() {
            signs[at] = Sign::Letter;
        } else if byte.is_ascii_digit() {
            signs[at] = Sign::Digit;
        } else if matches!(byte, b'\n' | b'.' | b'!' | b'?') {
            signs[at] = Sign::LineEnd;
        }
        at += 1;
    }
    signs
};

fn mixed(hash: u32, each: u32) -> u32 {
    (hash ^ each).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repeats(text: &str) -> bool {
        let mut repetition = Repetition::default();
        repetition.feed(text);
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
            let enough = (round * (ROUNDS as usize - 1)).max(WORDS_MIN as usize);
            same.into_iter().any(|same| {
                run = if same { run + 1 } else { 0 };
                run >= enough
            })
        })
    }

    proptest! {
        #[test]
        fn rounds_are_those_of_the_definition(round in "([ab]{1,3}[ ,:]{1,2}){1,17}", times in 1_usize..40, before in "([ab]{1,2} ){0,200}") {
            let text = format!("{before}{}", round.repeat(times));
            prop_assert_eq!(repeats(&text), goes_round(&text), "{}", text);
        }

        #[test]
        fn however_it_is_cut_it_is_the_same(text in "([ab]{1,2}[ .\n]|我|1){0,80}", cuts in prop::collection::vec(0_usize..200, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
            cuts.sort_unstable();
            let mut repetition = Repetition::default();
            let mut from = 0;
            for to in cuts.into_iter().chain([text.len()]) {
                repetition.feed(&text[from..to]);
                from = to;
            }
            prop_assert_eq!(repetition.found(), repeats(&text));
        }
    }
}
