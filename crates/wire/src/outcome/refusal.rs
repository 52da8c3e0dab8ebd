//! Refusals: does the answer say that it will not answer.
//!
//! The provider's own flag comes first. Without one the opening of the answer is read. A refusal says
//! so in its first sentences, begins such a sentence with it, behind an apology if there is one, and
//! names *what* it will not do: help, assist, comply. "I can't believe how fast this is" names none of
//! these, and "customers often say they cannot help with" does not begin with it. The phrases are data:
//! `data/refusals.json`.

use super::letter::{self, is_word_sign};
use serde::Deserialize;
use std::sync::LazyLock;

/// How much of the start of an answer is kept for this.
pub const HEAD_MAX_BYTES: usize = 1024;

/// A refusal begins in one of so many sentences.
const SENTENCES: usize = 3;

/// How it is known that an answer is a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The provider gave it as one (`refusal`).
    Flagged,
    /// The provider's filter stopped it (`finish_reason: content_filter`).
    Filtered,
    /// It reads like one.
    Phrase,
}

/// The phrases of one language, in lower case with plain apostrophes.
#[derive(Debug, Deserialize)]
struct Phrases {
    /// What may stand before a refusal: "I'm sorry".
    before: Vec<String>,
    /// What says that something will not be done: "I can't".
    wont: Vec<String>,
    /// Words that may stand between.
    between: Vec<String>,
    /// What it is that will not be done: "help".
    act: Vec<String>,
    /// How far behind it may begin.
    gap_bytes: usize,
    /// Beginnings of sentences that refuse by themselves.
    alone: Vec<String>,
    /// Ends of clauses that refuse by themselves.
    #[serde(default)]
    at_end: Vec<String>,
}

/// How many bytes of a sentence are looked at before any phrase is.
const BEGINS_BYTES: usize = 8;
/// As many as [`pair`] tells apart.
const PAIRS: usize = 2048;

/// The phrases, and what makes looking for them cheap where there are none, which is nearly always: by each of the first
/// pairs of bytes of a sentence, in which languages a phrase has that pair there, as a set of bits.
#[derive(Debug)]
struct Table {
    languages: Vec<Phrases>,
    begins: [[u8; PAIRS]; BEGINS_BYTES / 2],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // A test reads the table.
    Table::of(serde_json::from_str(include_str!("../../data/refusals.json")).unwrap_or_default())
});

/// Whether the opening of an answer reads as a refusal, in English, German, French, Spanish,
/// Portuguese, Italian, Chinese or Japanese.
#[must_use]
pub fn reads_as_refusal(head: &str) -> bool {
    let table = &*TABLE;
    sentences(head).take(SENTENCES).any(|sentence| table.may_refuse(sentence) && table.refuses(&plain(sentence)))
}

impl Table {
    fn of(languages: Vec<Phrases>) -> Self {
        let mut begins = [[0; PAIRS]; BEGINS_BYTES / 2];
        for (bit, language) in languages.iter().enumerate().take(8) {
            for phrase in language.before.iter().chain(&language.wont).chain(&language.alone) {
                let mut bytes = phrase.bytes();
                for place in &mut begins {
                    match (bytes.next(), bytes.next()) {
                        (Some(first), Some(second)) => place[pair([first, second])] |= 1 << bit,
                        // anything may follow
                        (Some(first), None) => {
                            (0..=u8::MAX).for_each(|second| place[pair([first, second])] |= 1 << bit);
                        }
                        (None, _) => place.iter_mut().for_each(|languages| *languages |= 1 << bit),
                    }
                }
            }
        }
        Self { languages, begins }
    }

    /// Whether a sentence, as it was written, begins like any phrase, or a clause of it ends with one. Nearly all end here,
    /// without being written in lower case.
    fn may_refuse(&self, sentence: &str) -> bool {
        if sentence.is_ascii() {
            let Some(begins) = sentence.bytes().position(|byte| byte.is_ascii_alphanumeric()) else { return false };
            let bytes = &sentence.as_bytes()[begins..];
            let plain = |byte: u8| if byte == b'`' { b'\'' } else { byte.to_ascii_lowercase() };
            return self.pairs(bytes.as_chunks().0.iter().map(|pair| pair.map(plain))) != 0;
        }
        let first = first_word(sentence);
        // A sign has a byte at least, in lower case too.
        let end = first.char_indices().nth(BEGINS_BYTES).map_or(first.len(), |(at, _)| at);
        self.begins(&plain(&first[..end])) != 0 || self.languages.iter().any(|language| language.ends_clause(sentence))
    }

    fn refuses(&self, sentence: &str) -> bool {
        let ascii = sentence.is_ascii();
        let mut languages = self.begins(first_word(sentence));
        if !ascii {
            let ends = |(_, language): &(usize, &Phrases)| !language.at_end.is_empty();
            languages |= self.languages.iter().enumerate().filter(ends).fold(0, |all, (bit, _)| all | 1 << bit);
        }
        while languages != 0 {
            let bit = languages.trailing_zeros();
            if self
                .languages
                .get(bit as usize)
                .is_some_and(|language| language.refuses(sentence, |rest| self.begins(rest) >> bit & 1 == 1))
            {
                return true;
            }
            languages &= languages - 1;
        }
        false
    }

    /// The languages of which a phrase may be the beginning of a text.
    fn begins(&self, rest: &str) -> u8 {
        if rest.is_empty() {
            return 0;
        }
        self.pairs(rest.as_bytes().as_chunks().0.iter().copied())
    }

    fn pairs(&self, pairs: impl Iterator<Item = [u8; 2]>) -> u8 {
        self.begins.iter().zip(pairs).fold(u8::MAX, |languages, (place, bytes)| languages & place[pair(bytes)])
    }
}

/// Two bytes as a number: letters are told apart, and the first byte from what is not of ASCII.
fn pair([first, second]: [u8; 2]) -> usize {
    usize::from(first >> 7 << 5 | first & 0x1F) << 5 | usize::from(second & 0x1F)
}

/// A text from its first letter or digit on.
fn first_word(text: &str) -> &str {
    text.trim_start_matches(|each: char| !is_word_sign(each))
}

impl Phrases {
    fn refuses(&self, sentence: &str, may_begin: impl Fn(&str) -> bool) -> bool {
        if self.ends_clause(sentence) {
            return true;
        }
        let mut rest = sentence;
        loop {
            rest = first_word(rest);
            if !may_begin(rest) {
                return false;
            }
            if self.alone.iter().any(|alone| behind(rest, alone).is_some()) {
                return true;
            }
            if self.wont.iter().filter_map(|wont| behind(rest, wont)).any(|rest| self.acts(rest)) {
                return true;
            }
            match self.before.iter().filter_map(|before| behind(rest, before)).min_by_key(|rest| rest.len()) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
    }

    /// Whether a clause ends with what refuses by itself. The signs of these phrases know no case.
    fn ends_clause(&self, sentence: &str) -> bool {
        // the first byte of kana
        if self.at_end.is_empty() || memchr::memchr(0xE3, sentence.as_bytes()).is_none() {
            return false;
        }
        let mut clauses = sentence.split('、').map(|clause| clause.trim_end_matches('が'));
        clauses.any(|clause| self.at_end.iter().any(|end| clause.ends_with(end.as_str())))
    }

    /// Whether one of the acts follows.
    fn acts(&self, mut rest: &str) -> bool {
        rest = rest.trim_start();
        while let Some(next) = self.between.iter().find_map(|between| behind(rest, between)) {
            rest = next.trim_start();
        }
        self.act.iter().any(|act| {
            let near = &rest[..rest.floor_char_boundary(self.gap_bytes + act.len())];
            near.match_indices(act.as_str()).any(|(at, _)| {
                // At the start of a word, where the language has words.
                at == 0 || !near[..at].ends_with(|each: char| is_word_sign(each) && each < IDEOGRAPHS)
            })
        })
    }
}

/// Scripts from here on write no spaces.
const IDEOGRAPHS: char = '\u{2E80}';

/// What follows `phrase` at the start of `text`, where it ends with a word's end.
fn behind<'t>(text: &'t str, phrase: &str) -> Option<&'t str> {
    let behind = text.strip_prefix(phrase)?;
    let letter = |each: char| is_word_sign(each) && each < IDEOGRAPHS;
    if phrase.ends_with(letter) && behind.starts_with(letter) { None } else { Some(behind) }
}

/// Lower case, and one kind of apostrophe.
fn plain(head: &str) -> String {
    if head.is_ascii() && !head.contains('`') {
        return head.to_ascii_lowercase();
    }
    let mut plain = String::with_capacity(head.len());
    for sign in head.chars() {
        letter::in_lower_case(sign, |lower| {
            plain.push(if matches!(lower, '’' | '‘' | '`' | 'ʼ') { '\'' } else { lower })
        });
    }
    plain
}

/// The sentences of a text, without what ends them.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let next = move || {
        let whole = Some(rest).filter(|rest| !rest.is_empty())?;
        let (end, behind) = sentence_end(whole).unwrap_or((whole.len(), whole.len()));
        rest = &whole[behind..];
        Some(whole[..end].trim())
    };
    std::iter::from_fn(next).filter(|sentence| !sentence.is_empty())
}

/// Where the sign stands that ends the first sentence, and where the next one begins.
fn sentence_end(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // Nearly all bytes end none: they are passed over in blocks, which is a few instructions each.
        let may_end = |byte: u8| {
            u8::from(byte == b'.')
                | u8::from(byte == b'!')
                | u8::from(byte == b'?')
                | u8::from(byte == b'\n')
                | byte >> 7
        };
        let block = bytes[at..].first_chunk::<32>();
        if block.is_some_and(|block| block.iter().fold(0, |any, byte| any | may_end(*byte)) == 0) {
            at += 32;
            continue;
        }
        let until = bytes.len().min(at + 32);
        let ends = bytes[at..until].iter().enumerate().filter(|(_, byte)| ENDS[usize::from(**byte)]);
        let end = ends.into_iter().find_map(|(behind, _)| {
            let sign = text[at + behind..].chars().next()?;
            matches!(sign, '.' | '!' | '?' | '\n' | '。' | '！' | '？')
                .then_some((at + behind, at + behind + sign.len_utf8()))
        });
        if end.is_some() {
            return end;
        }
        at = until;
    }
    None
}

/// The first bytes of what ends a sentence.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let first = [b'.', b'!', b'?', b'\n', 0xE3, 0xEF];
    let mut at = 0;
    while at < first.len() {
        ends[first[at] as usize] = true;
        at += 1;
    }
    ends
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_are_read_in_every_language() {
        for head in [
            "I'm sorry, but I can't help with that.",
            "I’m sorry, but I can’t assist with that request.",
            "I cannot provide instructions for making explosives. If you are in danger, call for help.",
            "Sorry! I am unable to comply with this request.",
            "I apologize, but as an AI language model, I cannot generate that kind of content.",
            "Unfortunately, I'm not able to share that information.\nIs there anything else?",
            "I understand this is frustrating. However, I won't help you bypass the lock.",
            "I must decline. This goes against policy.",
            "As an AI, I am not able to give you medical advice.",
            "Es tut mir leid, aber dabei kann ich nicht helfen.",
            "Leider kann ich Ihnen bei dieser Anfrage nicht weiterhelfen.",
            "Ich bin leider nicht in der Lage, Ihnen dabei zu helfen.",
            "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
            "Malheureusement, je ne suis pas en mesure de fournir ces informations.",
            "Lo siento, pero no puedo ayudarte con eso.",
            "Lamentablemente, no puedo proporcionar esa información.",
            "Desculpe, mas não posso ajudar com isso.",
            "Infelizmente, não consigo fornecer essas informações.",
            "Mi dispiace, ma non posso aiutarti con questa richiesta.",
            "Purtroppo non sono in grado di fornire queste informazioni.",
            "很抱歉，我无法提供这方面的帮助。",
            "对不起，我不能协助您完成这个请求。",
            "申し訳ありませんが、そのご要望にはお応えできません。",
            "そのご質問にはお答えできませんが、別の方法をご案内します。",
            "申し訳ございません。その件についてはお手伝いできません。",
        ] {
            assert!(reads_as_refusal(head), "{head}");
        }
    }

    #[test]
    fn answers_that_sound_like_refusals_are_none() {
        for head in [
            "I can't believe how fast this is! Let me help you tune it further.",
            "I can't wait to help you plan this.",
            "I'm sorry to hear that your parcel is late. Let me check it for you.",
            "Sorry for the delay! Here is the table.",
            "You can't help falling in love is a song by Elvis Presley.",
            "I cannot stress enough how important backups are.",
            "Customers often say that they cannot help with the form.",
            "The function returns null if it is unable to provide a value.",
            "Unfortunately, the flight is fully booked. I can offer you the next one.",
            "Sure! To decline politely, write: \"I'm sorry, but I can't help with that.\"",
            "I understand. Your refund was issued today.",
            "As an AI assistant, I can help you with that.",
            "I won't keep you waiting: the answer is 42.",
            "Leider ist der Artikel ausverkauft. Ich kann Ihnen aber eine Alternative zeigen.",
            "Ich kann gern versuchen, Ihnen dabei zu helfen.",
            "Das kann ich gut verstehen! Nicht jeder mag Spinat.",
            "Je ne peux pas imaginer un meilleur choix pour vous.",
            "No puedo creer lo rápido que fue.",
            "Não posso deixar de notar que o código está correto.",
            "Non posso che consigliare questo libro.",
            "我无法想象没有音乐的生活。",
            "抱歉让您久等了，您的订单已经发货。",
            "すみません、お待たせしました。こちらが結果です。",
            "",
            "...",
        ] {
            assert!(!reads_as_refusal(head), "{head}");
        }
    }

    #[test]
    fn sentences_end_with_their_signs() {
        let text = "One. Two!  Three?\nけっこうです。「はい」！Ｆ fünf…, six? .. \n seven";
        let split = text.split(['.', '!', '?', '\n', '。', '！', '？']).map(str::trim);
        let wanted: Vec<&str> = split.filter(|sentence| !sentence.is_empty()).collect();
        assert_eq!(sentences(text).collect::<Vec<_>>(), wanted);
        assert_eq!(sentences("..!").count(), 0);
    }

    #[test]
    fn the_phrases_are_there_in_eight_languages() {
        assert_eq!(TABLE.languages.len(), 8, "a bit for each");
    }

    #[test]
    fn ends_of_clauses_are_the_same_in_lower_case() {
        for end in TABLE.languages.iter().flat_map(|language| &language.at_end) {
            assert!(end.starts_with(|sign| ('\u{3040}'..='\u{9FFF}').contains(&sign)), "{end}");
            assert!(end.chars().all(|sign| ('\u{3040}'..='\u{9FFF}').contains(&sign)), "{end}");
            assert!(end.bytes().any(|byte| byte == 0xE3), "{end}");
        }
        for sign in '\0'..=char::MAX {
            let lower = sign.to_lowercase().next().unwrap();
            assert_eq!(lower.is_alphanumeric(), sign.is_alphanumeric(), "{sign:?}");
            assert!(lower == sign || !('\u{3000}'..='\u{9FFF}').contains(&lower), "{sign:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_over_at_once_refuses_nothing(
            pieces in prop::collection::vec((any::<prop::sample::Index>(), "[ ,、.'’`*é我が]{0,2}|[a-zA-ZÀ-ÿ]{1,3} "), 1..6),
            shout in any::<bool>(),
        ) {
            let phrases: Vec<&String> = TABLE.languages.iter().flat_map(|of| of.before.iter().chain(&of.wont).chain(&of.act).chain(&of.alone).chain(&of.at_end)).collect();
            let text: String = pieces.iter().map(|(phrase, between)| format!("{between}{}{between}", phrase.get(&phrases))).collect();
            let text = if shout { text.to_uppercase() } else { text };
            let all = sentences(&text).take(SENTENCES).any(|sentence| TABLE.refuses(&plain(sentence)));
            prop_assert_eq!(reads_as_refusal(&text), all, "{}", text);
        }
    }

    #[test]
    fn a_sentence_that_begins_like_no_phrase_is_passed_over_at_once() {
        for sentence in [
            "Für Ihre Nutzer ändert sich dabei nichts",
            "Sure, I'd be happy to explain it",
            "はい、カナリアリリースについてご説明します",
        ] {
            assert!(!TABLE.may_refuse(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_refusal_far_into_an_answer_is_not_looked_for() {
        assert!(!reads_as_refusal("Here it is. One. Two. Three. I'm sorry, but I can't help with that."));
    }
}
