//! Under which names a version's provider answers, and whether they changed: another model behind the same name is a
//! drift, not a regression of the canary.
//!
//! A change is called when `RUN` answers in a row of one arm come under names that its first `FIRST` answers did not
//! know. Several names side by side (a provider's machines) are all known, and one that returns ends the run; a name
//! that is a new one with nearly every answer says nothing, and is not followed any more.

use crate::release::state::DRIFTS_MAX;
use crate::tally::{Outcome, ServedBy};
use crate::traffic::pin::Arm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many answers of an arm tell the names that are known.
const FIRST: u32 = 50;
/// So many answers in a row under unknown names are a change.
const RUN: u32 = 20;
/// More names than this of one arm are no names.
const NAMES: usize = 16;

/// The names of both arms, kept with the totals of a release.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    control: Answered,
    canary: Answered,
    /// The changes that were seen, in words; at most [`DRIFTS_MAX`].
    pub changes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Answered {
    model: Followed,
    fingerprint: Followed,
}

/// One name of one arm's answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Followed {
    known: BTreeSet<Arc<str>>,
    /// Answers that told the known names; at most `FIRST`.
    told: u32,
    /// Unknown names of the present run, and its length.
    strange: BTreeSet<Arc<str>>,
    run: u32,
}

impl Names {
    /// Takes one answer; one that somebody else gave in the version's place says nothing of the version.
    pub(crate) fn note(&mut self, arm: Arm, outcome: &Outcome) {
        let answered = match (arm, outcome.served_by) {
            (Arm::Stable, _) | (_, ServedBy::Rescue | ServedBy::Fallback) => return,
            (Arm::Control, ServedBy::Assigned) => &mut self.control,
            (Arm::Canary, ServedBy::Assigned) => &mut self.canary,
        };
        let named = &outcome.answered_as;
        let model = named.model.as_ref().and_then(|name| answered.model.note(name));
        let fingerprint = named.fingerprint.as_ref().and_then(|name| answered.fingerprint.note(name));
        let (what, change) = match (model, fingerprint) {
            (Some(change), _) => {
                // One change has one epoch: what else came with it is known from here on.
                answered.fingerprint = Followed::default();
                ("the model that answers", change)
            }
            (None, Some(change)) => ("the fingerprint that answers carry", change),
            (None, None) => return,
        };
        let who = if arm == Arm::Canary { "the canary" } else { "stable" };
        if self.changes.len() < DRIFTS_MAX {
            let told = format!("{what} for {who} was {}, and is {} in {RUN} answers in a row", change.was, change.is);
            self.changes.push(told);
        }
    }
}

struct Change {
    was: String,
    is: String,
}

impl Followed {
    fn note(&mut self, name: &Arc<str>) -> Option<Change> {
        if self.known.len() > NAMES {
            return None;
        }
        if self.told < FIRST {
            self.told += 1;
            self.known.insert(Arc::clone(name));
            return None;
        }
        if self.known.contains(name) {
            (self.run, self.strange) = (0, BTreeSet::new());
            return None;
        }
        if self.strange.len() <= NAMES {
            self.strange.insert(Arc::clone(name));
        }
        self.run += 1;
        if self.run < RUN {
            return None;
        }
        let change = Change { was: listed(&self.known), is: listed(&self.strange) };
        *self = Self { known: std::mem::take(&mut self.strange), told: RUN, ..Self::default() };
        Some(change)
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
    use crate::evidence::sample::outcome;
    use crate::tally::AnsweredAs;

    fn answer(names: &mut Names, arm: Arm, model: &str, fingerprint: &str, times: u32) {
        let answered_as = AnsweredAs { model: Some(model.into()), fingerprint: Some(fingerprint.into()) };
        for _ in 0..times {
            names.note(arm, &Outcome { answered_as: answered_as.clone(), ..outcome() });
        }
    }

    #[test]
    fn another_model_under_the_same_name_is_one_change() {
        let mut names = Names::default();
        answer(&mut names, Arm::Control, "large-0805", "fp_a", 60);
        answer(&mut names, Arm::Control, "large-1001", "fp_b", RUN - 1);
        assert!(names.changes.is_empty());
        answer(&mut names, Arm::Control, "large-1001", "fp_b", 200);
        assert_eq!(names.changes.len(), 1);
        let told = "the model that answers for stable was large-0805, and is large-1001 in 20 answers in a row";
        assert_eq!(names.changes, [told]);
        answer(&mut names, Arm::Control, "large-1101", "fp_b", 200);
        assert_eq!(names.changes.len(), 2);
    }

    #[test]
    fn machines_that_take_turns_are_no_change_and_a_new_set_of_them_is() {
        let mut names = Names::default();
        for _ in 0..40 {
            answer(&mut names, Arm::Canary, "large", "fp_a", 1);
            answer(&mut names, Arm::Canary, "large", "fp_b", 2);
        }
        for _ in 0..100 {
            answer(&mut names, Arm::Canary, "large", "fp_c", 5);
            answer(&mut names, Arm::Canary, "large", "fp_a", 1);
        }
        assert!(names.changes.is_empty());
        answer(&mut names, Arm::Canary, "large", "fp_c", 30);
        assert_eq!(names.changes.len(), 1);
        assert!(names.changes[0].contains("the canary was fp_a, fp_b, and is fp_c"), "{:?}", names.changes);
    }

    #[test]
    fn a_name_for_every_answer_says_nothing_and_is_not_kept() {
        let mut names = Names::default();
        for i in 0..10_000 {
            answer(&mut names, Arm::Control, "large", &format!("fp_{i}"), 1);
        }
        assert_eq!((names.changes.len(), names.control.fingerprint.known.len()), (0, NAMES + 1));
    }

    #[test]
    fn what_stable_answers_for_the_canary_is_not_the_canarys() {
        let mut names = Names::default();
        answer(&mut names, Arm::Canary, "small", "fp_a", 60);
        let rescued = Outcome {
            answered_as: AnsweredAs { model: Some("large".into()), fingerprint: None },
            served_by: ServedBy::Rescue,
            ..outcome()
        };
        (0..100).for_each(|_| names.note(Arm::Canary, &rescued));
        assert!(names.changes.is_empty());
    }
}
