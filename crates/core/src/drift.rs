//! What answers behind a version, and whether it changed: the drift watch.
//!
//! | module | what it holds |
//! |---|---|
//! | here | under which names a route's stable version answers, release or not |
//! | [`followed`] | one name of one kind: when it has changed for good |
//!
//! A release follows the names of its two arms by the same rule ([`crate::evidence::names`]); sentinels on a steady
//! stable are in [`crate::sentinel::steady`].

pub mod followed;

pub use followed::{Change, Followed, NameKind, Way};

use crate::id::{ReleaseId, RouteName};
use crate::tally::{AnsweredAs, ServedBy, Turn};
use crate::time::UnixMs;
use crate::version::VersionId;
use serde::{Deserialize, Serialize};

/// Changes that wait to be told of; more are dropped, the oldest first.
const UNTOLD_MAX: usize = 16;

/// The three names that answers carry, each followed by itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answered {
    model: Followed,
    fingerprint: Followed,
    tier: Followed,
}

impl Answered {
    /// Takes one answer. Of several names that change with it, the model's is told.
    pub fn note(&mut self, named: &AnsweredAs, at: UnixMs) -> Option<(NameKind, Change)> {
        let mut follow = |kind, name: &Option<_>| {
            let followed = match kind {
                NameKind::Model => &mut self.model,
                NameKind::Fingerprint => &mut self.fingerprint,
                NameKind::Tier => &mut self.tier,
            };
            Some((kind, followed.note(kind, name.as_ref()?, at)?))
        };
        let model = follow(NameKind::Model, &named.model);
        let fingerprint = follow(NameKind::Fingerprint, &named.fingerprint);
        let tier = follow(NameKind::Tier, &named.tier);
        if model.is_some() {
            // One change has one epoch: what else came with it is known from here on.
            (self.fingerprint, self.tier) = Default::default();
        }
        model.or(fingerprint).or(tier)
    }
}

/// The names under which a route's stable version answers, in whatever release or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StableNames {
    /// Provider and model that it asks for.
    pub requested: String,
    answered: Answered,
    /// What changed, until it is told of; oldest first.
    untold: Vec<Drifted>,
}

/// A change of names behind a stable version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// Of which name.
    pub kind: NameKind,
    /// From what to what.
    pub change: Change,
    /// When the answer that made it a change began.
    pub at: UnixMs,
}

impl StableNames {
    /// Takes a turn of the route. What somebody else answered in stable's place says nothing of it; another requested
    /// model begins anew.
    pub fn absorb(&mut self, turn: &Turn, stable: VersionId, requested: &str) {
        if turn.version != stable || turn.outcome.served_by != ServedBy::Assigned {
            return;
        }
        if self.requested != requested {
            *self =
                Self { requested: requested.to_owned(), untold: std::mem::take(&mut self.untold), ..Self::default() };
        }
        if let Some((kind, change)) = self.answered.note(&turn.outcome.answered_as, turn.started_at) {
            if self.untold.len() >= UNTOLD_MAX {
                self.untold.remove(0);
            }
            self.untold.push(Drifted { kind, change, at: turn.started_at });
        }
    }

    /// The oldest change that nobody was told of.
    #[must_use]
    pub fn untold(&self) -> Option<&Drifted> {
        self.untold.first()
    }

    /// It was told.
    pub fn note_told(&mut self, drifted: &Drifted) {
        self.untold.retain(|waiting| waiting != drifted);
    }
}

impl Drifted {
    /// In words, for a route and what it asks for.
    #[must_use]
    pub fn describe(&self, route: &RouteName, requested: &str) -> String {
        self.described(&format!("stable of {route}"), requested)
    }

    /// The same of a release's canary.
    #[must_use]
    pub fn describe_canary(&self, release: &ReleaseId, requested: &str) -> String {
        self.described(&format!("the canary of {release}"), requested)
    }

    fn described(&self, of: &str, requested: &str) -> String {
        let Change { was, is, .. } = &self.change;
        format!("{} for {of} ({requested}) was {was}, and is {is}", self.kind.phrase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::{canary_version, stable_version, turn};
    use crate::id::UnitKey;
    use crate::time::SpanMs;

    const REQUESTED: &str = "openai/large-latest";

    fn answers(names: &mut StableNames, model: &str, from_s: u64, count: u64) {
        for i in 0..count {
            let mut turn = turn(UnitKey(1), UnixMs(0) + SpanMs::secs(from_s + i));
            turn.outcome.answered_as.model = Some(model.into());
            names.absorb(&turn, stable_version(), REQUESTED);
        }
    }

    #[test]
    fn another_model_behind_stable_is_told_once_also_after_a_restart() {
        let mut names = StableNames::default();
        answers(&mut names, "large-0805", 0, 60);
        answers(&mut names, "large-1001", 100, 40);
        let text = serde_json::to_string(&names).unwrap();
        let mut names: StableNames = serde_json::from_str(&text).unwrap();
        let drifted = names.untold().unwrap().clone();
        assert_eq!(
            drifted.describe(&"support".into(), REQUESTED),
            "the model that answers for stable of support (openai/large-latest) was large-0805, and is large-1001"
        );
        names.note_told(&drifted);
        answers(&mut names, "large-1001", 200, 400);
        assert_eq!(names.untold(), None);
    }

    #[test]
    fn what_others_answer_says_nothing_and_another_requested_model_begins_anew() {
        let mut names = StableNames::default();
        answers(&mut names, "large-0805", 0, 60);
        for i in 0..100 {
            let mut other = turn(UnitKey(1), UnixMs(0) + SpanMs::secs(100 + i));
            other.outcome.answered_as.model = Some("small".into());
            let rescued = {
                let mut turn = other.clone();
                turn.outcome.served_by = ServedBy::Fallback;
                turn
            };
            names.absorb(&rescued, stable_version(), REQUESTED);
            names.absorb(&Turn { version: canary_version(), ..other }, stable_version(), REQUESTED);
        }
        assert_eq!(names.untold(), None);
        let mut turn = turn(UnitKey(1), UnixMs(0) + SpanMs::secs(300));
        turn.outcome.answered_as.model = Some("small".into());
        names.absorb(&turn, stable_version(), "openai/small");
        answers(&mut names, "large-1001", 400, 100);
        assert_eq!((names.untold(), names.requested.as_str()), (None, REQUESTED), "each began anew");
    }
}
