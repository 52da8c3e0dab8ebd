//! Answers of both arms to like prompts, side by side. Alike are, the surest first: the same conversation to the letter
//! (but for case and blanks); conversations of one length that begin with the same words; questions that share most of
//! their words. Each answer stands in one pair at most.

use super::text::Text;
use coalmine_core::capture::CaptureHead;
use coalmine_core::traffic::pin::Arm;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Two questions are near from here on: so much of the words that either has, both have.
const NEAR: f64 = 0.5;
/// Words of a question that are compared.
const WORDS_MAX: usize = 400;

/// An answer that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What is known of it.
    pub head: CaptureHead,
    /// What was said.
    pub text: Text,
}

/// Two answers to like prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerPair {
    /// What makes them alike.
    pub likeness: Likeness,
    /// Control's answer.
    pub control: Opened,
    /// The canary's.
    pub canary: Opened,
}

/// What makes two prompts alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Likeness {
    /// The conversations are the same.
    SamePrompt,
    /// They are of one length and begin with the same words.
    SameStart,
    /// The questions share this part of their words.
    Near(f64),
}

impl Likeness {
    /// As written in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SamePrompt => "same prompt",
            Self::SameStart => "same start",
            Self::Near(_) => "near",
        }
    }

    /// The part of their words that the questions share; 1 where they are the same.
    #[must_use]
    pub const fn share(self) -> Option<f64> {
        match self {
            Self::SamePrompt => Some(1.0),
            Self::SameStart => None,
            Self::Near(share) => Some(share),
        }
    }
}

/// Pairs them; those that are surest alike first, and of these the newest.
pub(crate) fn pair(opened: Vec<Opened>) -> Vec<AnswerPair> {
    let (control, others): (Vec<Opened>, Vec<Opened>) =
        opened.into_iter().partition(|one| one.head.arm == Arm::Control);
    let canary: Vec<Opened> = others.into_iter().filter(|one| one.head.arm == Arm::Canary).collect();
    let mut matches = Matches::default();
    matches.by_key(&control, &canary, Likeness::SamePrompt, |one| prompt(&one.text));
    matches.by_key(&control, &canary, Likeness::SameStart, |one| start(&one.text));
    matches.by_words(&control, &canary);
    let (mut control, mut canary): (Vec<_>, Vec<_>) =
        (control.into_iter().map(Some).collect(), canary.into_iter().map(Some).collect());
    let pairs = matches.found.into_iter().filter_map(|(a, b, likeness)| {
        Some(AnswerPair { likeness, control: control.get_mut(a)?.take()?, canary: canary.get_mut(b)?.take()? })
    });
    pairs.collect()
}

#[derive(Debug, Default)]
struct Matches {
    found: Vec<(usize, usize, Likeness)>,
    control: HashSet<usize>,
    canary: HashSet<usize>,
}

impl Matches {
    fn take(&mut self, a: usize, b: usize, likeness: Likeness) {
        if !self.control.contains(&a) && !self.canary.contains(&b) {
            self.control.insert(a);
            self.canary.insert(b);
            self.found.push((a, b, likeness));
        }
    }

    /// Those of the same key, in their order; none is of the empty key.
    fn by_key(&mut self, control: &[Opened], canary: &[Opened], likeness: Likeness, key: impl Fn(&Opened) -> String) {
        let mut waiting: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, one) in canary.iter().enumerate().rev().filter(|(at, _)| !self.canary.contains(at)) {
            waiting.entry(key(one)).or_default().push(at);
        }
        waiting.remove("");
        for (at, one) in control.iter().enumerate() {
            if self.control.contains(&at) {
                continue;
            }
            if let Some(other) = waiting.get_mut(&key(one)).and_then(Vec::pop) {
                self.take(at, other, likeness);
            }
        }
    }

    /// The nearest first.
    fn by_words(&mut self, control: &[Opened], canary: &[Opened]) {
        let words = |all: &[Opened], taken: &HashSet<usize>| -> Vec<(usize, BTreeSet<u64>)> {
            let open = all.iter().enumerate().filter(|(at, _)| !taken.contains(at));
            open.map(|(at, one)| (at, words(one.text.asked()))).filter(|(_, words)| !words.is_empty()).collect()
        };
        let (ours, theirs) = (words(control, &self.control), words(canary, &self.canary));
        let mut near = Vec::new();
        for (a, ours) in &ours {
            for (b, theirs) in &theirs {
                let share = shared(ours, theirs);
                if share >= NEAR {
                    near.push((share, *a, *b));
                }
            }
        }
        near.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2).cmp(&(y.1, y.2))));
        near.into_iter().for_each(|(share, a, b)| self.take(a, b, Likeness::Near(share)));
    }
}

/// The whole conversation, but for case and blanks.
fn prompt(text: &Text) -> String {
    let lines = text.conversation.iter().map(|line| format!("{}\u{1f}{}", line.who, folded(&line.said)));
    lines.collect::<Vec<_>>().join("\u{1e}")
}

/// How it begins, and how long it is.
fn start(text: &Text) -> String {
    let first = folded(text.first());
    if first.is_empty() { first } else { format!("{} {first}", text.conversation.len()) }
}

fn folded(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// The words of a text, by their hashes.
fn words(text: &str) -> BTreeSet<u64> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS_MAX);
    let hash = |word: &str| {
        let mut low = [0; 8];
        low.copy_from_slice(&blake3::hash(word.to_lowercase().as_bytes()).as_bytes()[..8]);
        u64::from_le_bytes(low)
    };
    words.map(hash).collect()
}

/// The part of all words of two sets that is in both.
#[expect(clippy::cast_precision_loss, reason = "some hundred words")]
fn shared(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let both = a.intersection(b).count();
    let all = a.len() + b.len() - both;
    if all == 0 { 0.0 } else { both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captures::text::made;
    use coalmine_core::capture::CaptureId;
    use coalmine_core::time::UnixMs;
    use coalmine_core::version::VersionId;
    use proptest::prelude::*;

    fn opened(number: u128, arm: Arm, lines: &[&str]) -> Opened {
        let head = CaptureHead {
            id: CaptureId(number),
            route: "support".into(),
            release: Some("support-1".into()),
            arm,
            version: VersionId([1; 32]),
            at: UnixMs(1),
            expires_at: UnixMs(2),
            item: 0,
            key_id: String::new(),
        };
        let who = ["user", "assistant"];
        let lines: Vec<(&str, &str)> = who.into_iter().cycle().zip(lines.iter().copied()).collect();
        Opened { head, text: made(&lines, "an answer") }
    }

    #[test]
    fn the_surest_go_first_and_nobody_stands_twice() {
        let (a, b) = (Arm::Control, Arm::Canary);
        let pairs = pair(vec![
            opened(1, a, &["where is my new parcel today"]),
            opened(2, a, &["Hello  there"]),
            opened(3, a, &["I want to cancel", "why?", "too dear"]),
            opened(4, a, &["something else entirely"]),
            opened(11, b, &["hello there"]),
            opened(12, b, &["i want to cancel", "may I ask why?", "it is late"]),
            opened(13, b, &["where is my parcel today"]),
            opened(14, b, &["hello there"]),
            opened(15, b, &["completely unrelated words"]),
            opened(16, Arm::Stable, &["something else entirely"]),
        ]);
        let found: Vec<(&str, u128, u128)> =
            pairs.iter().map(|p| (p.likeness.as_str(), p.control.head.id.0, p.canary.head.id.0)).collect();
        assert_eq!(found, [("same prompt", 2, 11), ("same start", 3, 12), ("near", 1, 13)]);
        assert_eq!(pairs[2].likeness.share(), Some(5.0 / 6.0));
    }

    #[test]
    fn what_says_nothing_is_like_nothing() {
        assert!(pair(vec![opened(1, Arm::Control, &[]), opened(2, Arm::Canary, &[])]).is_empty());
    }

    proptest! {
        #[test]
        fn every_answer_stands_in_one_pair_at_most(said in proptest::collection::vec(("[ab ]{0,6}", any::<bool>()), 0..20)) {
            let arm = |canary: bool| if canary { Arm::Canary } else { Arm::Control };
            let all = said.iter().zip(0..).map(|((said, canary), n)| opened(n, arm(*canary), &[said.as_str()])).collect();
            let pairs = pair(all);
            let mut seen = HashSet::new();
            for pair in &pairs {
                prop_assert_eq!((pair.control.head.arm, pair.canary.head.arm), (Arm::Control, Arm::Canary));
                prop_assert!(seen.insert(pair.control.head.id) && seen.insert(pair.canary.head.id));
            }
        }
    }
}
