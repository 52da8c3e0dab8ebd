//! The text of a capture: what is sealed, and what comes out again. It is versioned as stored rows are.

use super::redact::Redactor;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The number of the form that this build writes.
const FORM: u32 = 1;
/// What the transcript puts where it cut a text.
const CUT_MARK: &str = " […]";
/// So many bytes before a cut go too: what stood across it is no longer whole, and no pattern knows it.
const CUT_MARGIN_BYTES: usize = 256;

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `user`, `assistant` or `tool`.
    pub who: String,
    /// What was said.
    pub said: String,
}

/// What was said before an answer, and the answer. Nothing of it is shown by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    v: u32,
    /// The conversation as the client sent it; where it was too long, its end.
    pub conversation: Vec<Line>,
    /// The answer; where it was too long, its beginning.
    pub answer: String,
    /// How many pieces were taken out of both.
    pub redacted: u64,
}

/// The texts of a sample, before anything is taken out of them.
pub(crate) struct Raw(Text);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("lines", &self.conversation.len()).field("bytes", &self.bytes()).finish()
    }
}

impl Raw {
    /// The texts of a sample.
    pub(crate) fn of(conversation: &str, answer: &str) -> Self {
        let conversation = serde_json::from_str(conversation).unwrap_or_default();
        Self(Text { v: FORM, conversation, answer: answer.to_owned(), redacted: 0 })
    }

    /// Without what the patterns find. Only then is it cut: a number that was cut is no number to a pattern.
    pub(crate) fn redacted(self, redactor: &Redactor) -> Text {
        let Self(mut text) = self;
        let mut redacted = 0;
        for said in text.all_mut() {
            let (clean, found) = redactor.redact(said);
            *said = clean;
            redacted += found;
            if let Some(whole) = said.strip_suffix(CUT_MARK) {
                let end = whole.floor_char_boundary(whole.len().saturating_sub(CUT_MARGIN_BYTES));
                *said = format!("{}{CUT_MARK}", &whole[..end]);
            }
        }
        text.redacted = redacted;
        text
    }
}

impl Text {
    /// Every text in it, the conversation's first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.conversation.iter().map(|line| &line.said).chain(std::iter::once(&self.answer))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.conversation.iter_mut().map(|line| &mut line.said).chain(std::iter::once(&mut self.answer))
    }

    /// With other texts in their places; `None` where they are not as many.
    pub(crate) fn with(mut self, texts: Vec<String>) -> Option<Self> {
        if texts.len() != self.all().count() {
            return None;
        }
        self.all_mut().zip(texts).for_each(|(own, new)| *own = new);
        Some(self)
    }

    /// So many bytes of the conversation and of the answer at most.
    pub(crate) fn bounded(mut self, most: usize) -> Self {
        let mut left = most;
        let mut kept = Vec::new();
        for mut line in std::mem::take(&mut self.conversation).into_iter().rev() {
            cut(&mut line.said, left);
            left -= line.said.len().min(left);
            kept.push(line);
            if left == 0 {
                break;
            }
        }
        kept.reverse();
        self.conversation = kept;
        cut(&mut self.answer, most);
        self
    }

    pub(crate) fn bytes(&self) -> usize {
        self.all().map(String::len).sum()
    }

    /// As it is sealed.
    pub(crate) fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was sealed; `None` for a form that this build does not know.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|text| text.v == FORM)
    }

    /// The first line of the person.
    #[must_use]
    pub fn first(&self) -> &str {
        self.of_user().next().unwrap_or_default()
    }

    /// The last line of the person, which the answer is to.
    #[must_use]
    pub fn asked(&self) -> &str {
        self.of_user().next_back().unwrap_or_default()
    }

    fn of_user(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.conversation.iter().filter(|line| line.who == "user").map(|line| line.said.as_str())
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT_MARK.len())));
        text.push_str(CUT_MARK);
    }
}

#[cfg(test)]
pub(crate) fn made(lines: &[(&str, &str)], answer: &str) -> Text {
    let line = |(who, said): &(&str, &str)| Line { who: (*who).to_owned(), said: (*said).to_owned() };
    Text { v: FORM, conversation: lines.iter().map(line).collect(), answer: answer.to_owned(), redacted: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sealed_form_is_as_it_was_and_another_is_refused() {
        let text = Text { redacted: 2, ..made(&[("user", "Hi"), ("assistant", "Yes?")], "At nine.") };
        let golden = r#"{"v":1,"conversation":[{"who":"user","said":"Hi"},{"who":"assistant","said":"Yes?"}],"answer":"At nine.","redacted":2}"#;
        assert_eq!(String::from_utf8(text.written()).unwrap(), golden);
        assert_eq!(Text::read(golden.as_bytes()), Some(text));
        assert_eq!(Text::read(golden.replacen("\"v\":1", "\"v\":2", 1).as_bytes()), None);
    }

    #[test]
    fn a_long_conversation_keeps_its_end_and_a_long_answer_its_beginning() {
        let text = made(&[("user", "first"), ("assistant", &"ä".repeat(40)), ("user", "last")], &"ö".repeat(60));
        let text = text.bounded(50);
        assert_eq!(text.conversation.len(), 2);
        assert_eq!(text.asked(), "last");
        assert!(text.answer.starts_with("ööö") && text.answer.ends_with(CUT_MARK) && text.answer.len() <= 50);
        assert!(text.conversation.iter().map(|line| line.said.len()).sum::<usize>() <= 50 + CUT_MARK.len());
    }

    #[test]
    fn what_stood_across_a_cut_goes_with_it() {
        let answer = format!("{} mail ann@exam{CUT_MARK}", "word ".repeat(100));
        let text = Raw(made(&[], &answer)).redacted(&Redactor::new([]).unwrap());
        assert!(text.answer.ends_with(CUT_MARK) && !text.answer.contains("ann"), "{}", text.answer);
        assert!(text.answer.len() > 200);
    }

    #[test]
    fn nothing_of_it_is_shown_by_accident() {
        assert_eq!(format!("{:?}", made(&[("user", "zebra")], "zebra")), "Text { lines: 1, bytes: 10 }");
    }
}
