//! Under which names a version's provider answers in a release, and whether they changed: another model behind the same
//! name is a drift, not a regression of the canary. When a change is one is said in [`crate::drift::followed`].

use crate::drift::followed::RUN;
use crate::drift::{Answered, Drifted, NameKind};
use crate::release::state::DRIFTS_MAX;
use crate::tally::{Outcome, ServedBy};
use crate::time::UnixMs;
use crate::traffic::pin::Arm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The names of both arms, kept with the totals of a release.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    control: Answered,
    canary: Answered,
    /// The changes that were seen, in words; at most [`DRIFTS_MAX`].
    pub changes: Vec<String>,
    /// The last change behind the canary of each kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub canary_drifted: BTreeMap<NameKind, Drifted>,
}

impl Names {
    /// Takes one answer to a request that began then; one that somebody else gave in the version's place says nothing
    /// of the version.
    pub(crate) fn note(&mut self, arm: Arm, outcome: &Outcome, at: UnixMs) {
        let answered = match (arm, outcome.served_by) {
            (Arm::Stable, _) | (_, ServedBy::Rescue | ServedBy::Fallback) => return,
            (Arm::Control, ServedBy::Assigned) => &mut self.control,
            (Arm::Canary, ServedBy::Assigned) => &mut self.canary,
        };
        let Some((kind, change)) = answered.note(&outcome.answered_as, at) else { return };
        let who = if arm == Arm::Canary { "the canary" } else { "stable" };
        if self.changes.len() < DRIFTS_MAX {
            self.changes.push(told(kind, who, &change.was, &change.is));
        }
        if arm == Arm::Canary {
            self.canary_drifted.insert(kind, Drifted { kind, change, at });
        }
    }
}

fn told(kind: NameKind, who: &str, was: &str, is: &str) -> String {
    let row = match kind {
        NameKind::Model => format!("{RUN} answers in a row"),
        NameKind::Fingerprint | NameKind::Tier => format!("every answer of {}", kind.lasts()),
    };
    format!("{} for {who} was {was}, and is {is} in {row}", kind.phrase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::{Change, Way};
    use crate::evidence::sample::outcome;
    use crate::tally::AnsweredAs;
    use crate::time::SpanMs;

    /// One answer a second.
    #[derive(Default)]
    struct Heard(Names, u64);

    impl Heard {
        fn answer(&mut self, arm: Arm, named: [&str; 3], times: u32) {
            let [model, fingerprint, tier] = named.map(|name| Some(name.into()));
            let answered_as = AnsweredAs { model, fingerprint, tier };
            for _ in 0..times {
                self.1 += 1;
                let at = UnixMs(0) + SpanMs::secs(self.1);
                self.0.note(arm, &Outcome { answered_as: answered_as.clone(), ..outcome() }, at);
            }
        }
    }

    #[test]
    fn another_model_under_the_same_name_is_one_change() {
        let mut heard = Heard::default();
        heard.answer(Arm::Control, ["large-0805", "fp_a", "default"], 60);
        heard.answer(Arm::Control, ["large-1001", "fp_b", "flex"], RUN - 1);
        assert!(heard.0.changes.is_empty());
        heard.answer(Arm::Control, ["large-1001", "fp_b", "flex"], 2_000);
        let told = "the model that answers for stable was large-0805, and is large-1001 in 20 answers in a row";
        assert_eq!(heard.0.changes, [told], "what came with it is no change of its own");
        heard.answer(Arm::Control, ["large-1101", "fp_b", "flex"], 200);
        assert_eq!(heard.0.changes.len(), 2);
    }

    #[test]
    fn another_service_tier_that_lasts_is_a_change() {
        let mut heard = Heard::default();
        heard.answer(Arm::Canary, ["large", "fp_a", "priority"], 60);
        heard.answer(Arm::Canary, ["large", "fp_a", "default"], 590);
        assert!(heard.0.changes.is_empty());
        heard.answer(Arm::Canary, ["large", "fp_a", "default"], 20);
        let told =
            "the service tier that answers carry for the canary was priority, and is default in every answer of 10m";
        assert_eq!(heard.0.changes, [told]);
    }

    #[test]
    fn the_last_change_behind_the_canary_is_known_and_whether_it_is_the_way_back() {
        let mut heard = Heard::default();
        heard.answer(Arm::Control, ["large", "fp_a", "default"], 60);
        heard.answer(Arm::Canary, ["small-1", "fp_a", "default"], 60);
        heard.answer(Arm::Control, ["huge", "fp_a", "default"], 60);
        assert!(heard.0.canary_drifted.is_empty(), "that was stable");
        heard.answer(Arm::Canary, ["small-2", "fp_a", "default"], 100);
        let last = |heard: &Heard| {
            let Drifted { change: Change { was, is, way }, .. } = heard.0.canary_drifted[&NameKind::Model].clone();
            (was, is, way)
        };
        assert_eq!(last(&heard), ("small-1".to_owned(), "small-2".to_owned(), Way::New));
        heard.answer(Arm::Canary, ["small-1", "fp_a", "default"], 30);
        assert_eq!(last(&heard), ("small-2".to_owned(), "small-1".to_owned(), Way::Back));
        let again: Names = serde_json::from_str(&serde_json::to_string(&heard.0).unwrap()).unwrap();
        assert_eq!(again, heard.0);
    }

    #[test]
    fn what_stable_answers_for_the_canary_is_not_the_canarys() {
        let mut heard = Heard::default();
        heard.answer(Arm::Canary, ["small", "fp_a", "default"], 60);
        let rescued = Outcome {
            answered_as: AnsweredAs { model: Some("large".into()), ..AnsweredAs::default() },
            served_by: ServedBy::Rescue,
            ..outcome()
        };
        (0..100).for_each(|i| heard.0.note(Arm::Canary, &rescued, UnixMs(i * 1_000_000)));
        assert!(heard.0.changes.is_empty());
    }

    #[test]
    fn what_an_earlier_build_kept_is_read() {
        let old = r#"{"control":{"model":{"known":["a"],"told":50,"strange":[],"run":0},"fingerprint":{"known":[],"told":0,"strange":[],"run":0}},"canary":{},"changes":["x"]}"#;
        let read: Names = serde_json::from_str(old).unwrap();
        assert_eq!(read.changes, ["x"]);
        let again: Names = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }
}
