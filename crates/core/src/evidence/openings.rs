//! How answers begin, and which beginnings one arm has and the other lacks: a canary that refuses in words that no list
//! knows begins its answers alike.
//!
//! Of each arm the most frequent openings are kept (Misra and Gries, 1982). One that several sessions share becomes a
//! suspect, and is counted exactly in both arms from then on. A suspect that the canary has and the control hardly
//! has is *new*: a session's number under `new_opening_rate` says whether any of its answers begins so. What is new is
//! told by the sessions posted before, never by the session itself, so that under the null both arms are alike in it.
//!
//! The words of an opening are kept only once several sessions have it: what a single person was told is nobody's to see.

use crate::analysis::ArmCounts;
use crate::evidence::totals::count;
use crate::tally::Opening;
use crate::traffic::pin::Arm;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Openings of one session that are kept.
const OF_SESSION: usize = 8;
/// Openings whose count is kept of one arm.
const KEPT: usize = 128;
/// So many sessions of an arm make an opening a suspect.
const SUSPECT_FROM: u32 = 5;
/// So many suspects at once.
const SUSPECTS: usize = 64;
/// A suspect that is rare gives way to another after so many sessions.
const TRIED: u64 = 500;
/// Sessions of each arm before an opening is called new.
const SESSIONS_MIN: u64 = 20;
/// What is new has so many sessions of its arm, and such a share of them …
const SEEN_MIN: u64 = 3;
const SHARE_MIN: f64 = 0.01;
/// … and so many times the share that the other arm may have.
const TIMES: f64 = 4.0;
/// So many are told.
const TOLD: usize = 3;
/// Words that are remembered until their opening is a suspect, in each of two ages.
const WORDS: usize = 4_096;

/// The openings of a release's answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Openings {
    /// Sessions counted.
    sessions: ArmCounts,
    control: Frequent,
    canary: Frequent,
    suspects: BTreeMap<u64, Suspect>,
}

/// An opening that is counted exactly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Suspect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<Arc<str>>,
    /// The sessions that had been counted when it became one.
    since: ArmCounts,
    /// The sessions since that have it.
    seen: ArmCounts,
}

/// Counts of the most frequent openings; each is too low by at most 1/129 of all that was added.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Frequent(BTreeMap<u64, u32>);

/// The words of openings heard of late, in memory only.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Words {
    young: HashMap<u64, Arc<str>>,
    old: HashMap<u64, Arc<str>>,
}

/// Adds an opening to those of a session: the smallest keys are kept, in whatever order they come.
pub(super) fn note(of_session: &mut Vec<u64>, key: u64) {
    if let Err(at) = of_session.binary_search(&key) {
        of_session.insert(at, key);
        of_session.truncate(OF_SESSION);
    }
}

impl Openings {
    /// Counts the sessions that were posted together.
    pub(super) fn fold(&mut self, sessions: &[(Arm, &[u64])], words: &Words) {
        for (arm, keys) in sessions {
            count(&mut self.sessions, *arm);
            for key in *keys {
                self.add(*arm, *key, words);
            }
        }
    }

    fn add(&mut self, arm: Arm, key: u64, words: &Words) {
        if let Some(suspect) = self.suspects.get_mut(&key) {
            count(&mut suspect.seen, arm);
            suspect.words = suspect.words.take().or_else(|| words.get(key));
            return;
        }
        let frequent = match arm {
            Arm::Stable => return,
            Arm::Control => &mut self.control,
            Arm::Canary => &mut self.canary,
        };
        if frequent.add(key) < SUSPECT_FROM || !self.has_room() {
            return;
        }
        self.control.0.remove(&key);
        self.canary.0.remove(&key);
        let suspect = Suspect { words: words.get(key), since: self.sessions, seen: ArmCounts::default() };
        self.suspects.insert(key, suspect);
    }

    /// Whether one more suspect may come; the rarest of those that were tried long enough gives way.
    fn has_room(&mut self) -> bool {
        if self.suspects.len() < SUSPECTS {
            return true;
        }
        let tried = self.suspects.iter().filter(|(_, suspect)| {
            self.sessions.control + self.sessions.canary - suspect.since.control - suspect.since.canary >= TRIED
        });
        let rarest = tried.min_by_key(|(key, suspect)| (suspect.seen.control + suspect.seen.canary, **key));
        let Some(key) = rarest.map(|(key, _)| *key) else { return false };
        self.suspects.remove(&key);
        true
    }

    /// The openings that are the canary's alone.
    pub(super) fn new_ones(&self) -> BTreeSet<u64> {
        let new = self.suspects.iter().filter(|(_, suspect)| {
            let of = self.of(suspect);
            stands_out(of.canary, of.control)
        });
        new.map(|(key, _)| *key).collect()
    }

    /// The openings that one arm has and the other lacks, in words, the most frequent first.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let mut told: Vec<(f64, String)> = Vec::new();
        for suspect in self.suspects.values() {
            let of = self.of(suspect);
            let (who, whose, own, other) = if stands_out(of.canary, of.control) {
                ("the canary", "the control", of.canary, of.control)
            } else if stands_out(of.control, of.canary) {
                ("the control", "the canary", of.control, of.canary)
            } else {
                continue;
            };
            let words = suspect.words.as_deref().unwrap_or("(its words were lost with a restart)");
            let say = format!(
                "answers that begin \"{words}\" are in {} of {} sessions of {who} and in {} of {} of {whose}",
                own.0, own.1, other.0, other.1
            );
            told.push((share(own), say));
        }
        told.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        told.into_iter().take(TOLD).map(|(_, say)| say).collect()
    }

    /// Of both arms: sessions that have it, and all since it is counted.
    fn of(&self, suspect: &Suspect) -> Both {
        Both {
            control: (suspect.seen.control, self.sessions.control - suspect.since.control),
            canary: (suspect.seen.canary, self.sessions.canary - suspect.since.canary),
        }
    }
}

struct Both {
    control: (u64, u64),
    canary: (u64, u64),
}

fn share((seen, all): (u64, u64)) -> f64 {
    if all == 0 { 0.0 } else { seen as f64 / all as f64 }
}

/// Whether one arm has it often, and the other hardly: one session more than it has shown is granted to that one.
fn stands_out(own: (u64, u64), other: (u64, u64)) -> bool {
    let enough = own.1 >= SESSIONS_MIN && other.1 >= SESSIONS_MIN && own.0 >= SEEN_MIN;
    enough && share(own) >= SHARE_MIN.max(TIMES * share((other.0 + 1, other.1 + 1)))
}

impl Frequent {
    /// Adds one; returns its count.
    fn add(&mut self, key: u64) -> u32 {
        if let Some(count) = self.0.get_mut(&key) {
            *count += 1;
            return *count;
        }
        if self.0.len() < KEPT {
            self.0.insert(key, 1);
            return 1;
        }
        self.0.retain(|_, count| {
            *count -= 1;
            *count > 0
        });
        0
    }
}

impl Words {
    pub(super) fn hear(&mut self, opening: &Opening) {
        if self.young.contains_key(&opening.key) {
            return;
        }
        if self.young.len() >= WORDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(opening.key, Arc::clone(&opening.words));
    }

    fn get(&self, key: u64) -> Option<Arc<str>> {
        self.young.get(&key).or_else(|| self.old.get(&key)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::Dice;
    use proptest::prelude::*;

    fn words(said: &[(u64, &str)]) -> Words {
        let mut words = Words::default();
        for (key, said) in said {
            words.hear(&Opening { key: *key, words: (*said).into() });
        }
        words
    }

    /// `n` sessions of each arm: the canary's have opening 7 in so many of 100, all the rest one of their own.
    fn traffic(openings: &mut Openings, n: u64, percent: u64, words: &Words) {
        let mut dice = Dice(n);
        for session in 0..n {
            let refused = [if session % 100 < percent { 7 } else { dice.bits() }];
            openings.fold(&[(Arm::Control, &[dice.bits()]), (Arm::Canary, &refused)], words);
        }
    }

    #[test]
    fn an_opening_that_the_canary_alone_has_is_new_and_told() {
        let mut openings = Openings::default();
        traffic(&mut openings, 2_000, 3, &words(&[(7, "im afraid that is not")]));
        assert_eq!(openings.new_ones(), BTreeSet::from([7]));
        let told = openings.told();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("answers that begin \"im afraid that is not\" are in "), "{told:?}");
        let json = serde_json::to_string(&openings).unwrap();
        assert_eq!(serde_json::from_str::<Openings>(&json).unwrap(), openings);
        assert!(json.len() < 16_384, "{}", json.len());
    }

    #[test]
    fn what_both_arms_have_is_not_new_and_what_the_canary_lost_is_told() {
        let mut openings = Openings::default();
        for session in 0..1_000_u64 {
            let gone = if session % 10 == 0 { vec![5, 9] } else { vec![9] };
            openings.fold(&[(Arm::Control, &gone), (Arm::Canary, &[9])], &words(&[(5, "with pleasure"), (9, "sure")]));
        }
        assert!(openings.new_ones().is_empty());
        let told = openings.told();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("\"with pleasure\"") && told[0].contains("sessions of the control"), "{told:?}");
    }

    #[test]
    fn the_words_of_few_sessions_are_not_kept() {
        let mut openings = Openings::default();
        let heard = words(&[(1, "hello maria your secret is")]);
        (0..4).for_each(|_| openings.fold(&[(Arm::Canary, &[1])], &heard));
        assert!(!serde_json::to_string(&openings).unwrap().contains("maria"));
    }

    #[test]
    fn it_stays_small_whatever_comes() {
        let mut openings = Openings::default();
        let mut heard = Words::default();
        let mut dice = Dice(1);
        for _ in 0..20_000 {
            let keys: Vec<u64> = (0..4).map(|_| dice.below(3_000)).collect();
            keys.iter().for_each(|key| heard.hear(&Opening { key: *key, words: "x".into() }));
            openings.fold(&[(Arm::Control, &keys), (Arm::Canary, &keys)], &heard);
        }
        assert!(openings.suspects.len() <= SUSPECTS && openings.canary.0.len() <= KEPT);
        assert!(heard.young.len() <= WORDS && heard.old.len() <= WORDS);
    }

    proptest! {
        #[test]
        fn a_session_keeps_the_same_openings_in_whatever_order(mut keys in prop::collection::vec(0_u64..40, 0..30)) {
            let kept = |keys: &[u64]| {
                let mut kept = Vec::new();
                keys.iter().for_each(|key| note(&mut kept, *key));
                kept
            };
            let one = kept(&keys);
            keys.reverse();
            prop_assert_eq!(&kept(&keys), &one);
            prop_assert!(one.len() <= OF_SESSION);
        }
    }
}
