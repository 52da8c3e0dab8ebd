//! One name that answers carry, followed: when it has changed for good.
//!
//! The first [`FIRST`] answers tell the names that are known. A change is called when [`RUN`] answers in a row come under
//! names that are not known, and the row is as long as the kind of the name asks for ([`NameKind::lasts`]); one known
//! name ends it. So one odd answer is no change; several machines side by side are all known; and a provider that goes
//! to and fro between them is none. Where it goes to and fro slowly, the first way is told as a change, the way back as
//! one ([`Way::Back`]), and after that both are known. A name that is a new one with nearly every answer says nothing,
//! and is not followed any more.

use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many answers tell the names that are known.
pub const FIRST: u32 = 50;
/// So many answers in a row under unknown names are a change.
pub const RUN: u32 = 20;
/// More names than this are no names.
pub const NAMES: usize = 16;

/// Which of the names that an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameKind {
    /// The model's own name, `model`.
    Model,
    /// The machine's, `system_fingerprint`.
    Fingerprint,
    /// How it was served, `service_tier`.
    Tier,
}

impl NameKind {
    /// How long a row of unknown names must last. A model is another one at once, but for the gateways that have yet to
    /// report; machines and tiers come and go with load and with the provider's own rollouts.
    #[must_use]
    pub const fn lasts(self) -> SpanMs {
        match self {
            Self::Model => SpanMs::secs(3),
            Self::Fingerprint | Self::Tier => SpanMs::minutes(10),
        }
    }

    /// A word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Fingerprint => "fingerprint",
            Self::Tier => "service_tier",
        }
    }

    /// As a sentence names it.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Model => "the model that answers",
            Self::Fingerprint => "the fingerprint that answers carry",
            Self::Tier => "the service tier that answers carry",
        }
    }
}

/// From which names to which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Those before, for people.
    pub was: String,
    /// Those now.
    pub is: String,
    /// Whether they are news.
    pub way: Way,
}

/// Which way names change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To names that were not known.
    New,
    /// To those that the last change left.
    Back,
}

/// The names of one kind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Followed {
    known: BTreeSet<Arc<str>>,
    /// Answers that told the known names; at most `FIRST`.
    told: u32,
    /// Unknown names of the present row, and its length.
    strange: BTreeSet<Arc<str>>,
    run: u32,
    /// When the row began.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_began: Option<UnixMs>,
    /// What the last change left.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    former: BTreeSet<Arc<str>>,
}

impl Followed {
    /// Takes the name of one answer, which began then.
    pub fn note(&mut self, kind: NameKind, name: &Arc<str>, at: UnixMs) -> Option<Change> {
        if self.known.len() > NAMES {
            return None;
        }
        if self.told < FIRST {
            self.told += 1;
            self.known.insert(Arc::clone(name));
            return None;
        }
        if self.known.contains(name) {
            if self.run > 0 {
                (self.run, self.run_began, self.strange) = (0, None, BTreeSet::new());
            }
            return None;
        }
        if self.strange.len() <= NAMES {
            self.strange.insert(Arc::clone(name));
        }
        self.run = self.run.saturating_add(1);
        let began = *self.run_began.get_or_insert(at);
        if self.run < RUN || at.since(began) < kind.lasts() {
            return None;
        }
        Some(self.change())
    }

    fn change(&mut self) -> Change {
        let way = if self.strange.is_subset(&self.former) { Way::Back } else { Way::New };
        let change = Change { was: listed(&self.known), is: listed(&self.strange), way };
        let was = std::mem::take(&mut self.known);
        let strange = std::mem::take(&mut self.strange);
        *self = match way {
            Way::New => Self { known: strange, told: RUN, former: was, ..Self::default() },
            // It goes to and fro: from here on both are known.
            Way::Back => Self { known: &strange | &was, told: FIRST, ..Self::default() },
        };
        change
    }

    /// How many names are known.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.known.len()
    }
}

fn listed(names: &BTreeSet<Arc<str>>) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(|name| &**name).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Follows one kind, a second between two answers.
    struct Seen(Followed, NameKind, UnixMs, Vec<Change>);

    impl Seen {
        fn of(kind: NameKind) -> Self {
            Self(Followed::default(), kind, UnixMs(1_000), Vec::new())
        }

        fn answer(&mut self, name: &str, times: u64) {
            for _ in 0..times {
                self.2 = self.2 + SpanMs::secs(1);
                self.3.extend(self.0.note(self.1, &name.into(), self.2));
            }
        }

        fn told(&self) -> Vec<(&str, &str, Way)> {
            self.3.iter().map(|change| (change.was.as_str(), change.is.as_str(), change.way)).collect()
        }
    }

    #[test]
    fn a_model_has_changed_after_a_row_and_one_odd_answer_is_none() {
        let mut seen = Seen::of(NameKind::Model);
        seen.answer("large-0805", 60);
        for _ in 0..100 {
            seen.answer("odd", u64::from(RUN) - 1);
            seen.answer("large-0805", 1);
        }
        assert_eq!(seen.told(), []);
        seen.answer("large-1001", 300);
        assert_eq!(seen.told(), [("large-0805", "large-1001", Way::New)]);
    }

    #[test]
    fn a_burst_is_no_change_before_it_has_lasted() {
        let mut followed = Followed::default();
        for name in ["a", "b"] {
            for _ in 0..500 {
                assert_eq!(followed.note(NameKind::Model, &name.into(), UnixMs(5_000)), None);
            }
        }
        assert_eq!(followed.note(NameKind::Model, &"b".into(), UnixMs(7_999)), None);
        assert!(followed.note(NameKind::Model, &"b".into(), UnixMs(8_000)).is_some());
    }

    #[test]
    fn machines_that_take_turns_are_no_change_and_another_set_that_lasts_is() {
        for kind in [NameKind::Fingerprint, NameKind::Tier] {
            let mut seen = Seen::of(kind);
            for _ in 0..40 {
                seen.answer("fp_a", 1);
                seen.answer("fp_b", 2);
            }
            for _ in 0..20 {
                seen.answer("fp_c", 599);
                seen.answer("fp_a", 1);
            }
            assert_eq!(seen.told(), [], "nine minutes and then a known one");
            seen.answer("fp_c", 700);
            assert_eq!(seen.told(), [("fp_a, fp_b", "fp_c", Way::New)]);
        }
    }

    #[test]
    fn what_goes_to_and_fro_slowly_is_told_there_and_back_and_then_no_more() {
        let mut seen = Seen::of(NameKind::Fingerprint);
        for _ in 0..20 {
            seen.answer("fp_a", 3_600);
            seen.answer("fp_b", 3_600);
        }
        assert_eq!(seen.told(), [("fp_a", "fp_b", Way::New), ("fp_b", "fp_a", Way::Back)]);
        seen.answer("fp_c", 3_600);
        assert_eq!(seen.told()[2..], [("fp_a, fp_b", "fp_c", Way::New)], "a third is news");
    }

    #[test]
    fn a_name_for_every_answer_says_nothing_and_is_not_kept() {
        let mut seen = Seen::of(NameKind::Fingerprint);
        for i in 0..10_000 {
            seen.answer(&format!("fp_{i}"), 1);
        }
        assert_eq!((seen.told(), seen.0.known()), (vec![], NAMES + 1));
    }

    #[test]
    fn what_an_earlier_build_kept_is_read() {
        let old = r#"{"known":["a"],"told":50,"strange":["b"],"run":7}"#;
        let read: Followed = serde_json::from_str(old).unwrap();
        assert_eq!((read.run, read.run_began, read.known()), (7, None, 1));
    }

    proptest! {
        /// Whatever is mixed of names that the first answers had is no change, in any order.
        #[test]
        fn a_mixed_fleet_never_alarms(order in prop::collection::vec(0..4_usize, 1..2_000)) {
            let mut seen = Seen::of(NameKind::Model);
            for name in ["a", "b", "c", "d"] {
                seen.answer(name, 13);
            }
            for name in order {
                seen.answer(["a", "b", "c", "d"][name], 1);
            }
            prop_assert!(seen.3.is_empty());
        }
    }
}
