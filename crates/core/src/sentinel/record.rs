//! What rounds of sentinels have shown: counts and outcomes, never a word of an answer.

use crate::release::policy::Policy;
use crate::sentinel::steady::Credit;
use crate::sentinel::{Asked, Criticality, Sentinel, Sentinels, Spent, tries_to_confirm};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One round as it was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// When its first question was asked.
    pub began_at: UnixMs,
    /// What each sentinel that was due has shown.
    pub tried: Vec<Tried>,
    /// What others were asked about the answers.
    #[serde(default, skip_serializing_if = "Asked::is_none")]
    pub asked: Asked,
}

/// One sentinel in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name.
    pub sentinel: String,
    /// Stable's tries.
    pub stable: Tries,
    /// The canary's.
    pub canary: Tries,
    /// What stable had shown before the release; counts in the first round only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<Credit>,
}

/// The tries of one arm in one round.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tries {
    /// That passed.
    pub passed: u32,
    /// That did not.
    pub failed: u32,
    /// That say nothing: the provider was overloaded, unreachable or late.
    #[serde(default)]
    pub unknown: u32,
    /// What was not met in the first that failed, or what the trouble was: in the suite's words, never the answer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Everything that rounds have shown in one release, kept with its totals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Records {
    /// By the sentinel's name.
    #[serde(default)]
    pub of: BTreeMap<String, Record>,
    /// What the day has cost in questions about answers.
    #[serde(default, skip_serializing_if = "Spent::is_none")]
    pub spent: Spent,
}

/// What rounds have shown of one sentinel.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Stable's tries over the whole release.
    pub stable: Passes,
    /// The canary's.
    pub canary: Passes,
    /// Rounds in a row that stable passed, before it was qualified; it stands once it is enough.
    pub passed_in_a_row: u32,
    /// Rounds of both arms.
    pub rounds: u64,
    /// The newest round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    /// The round that confirmed a failure of the canary alone; it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Latest>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Passes {
    /// Passed.
    pub passed: u64,
    /// Tried, the unknown left out.
    pub tried: u64,
}

/// One round of one sentinel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// When the round began.
    pub began_at: UnixMs,
    /// What came of it.
    pub outcome: Outcome,
    /// Stable's tries.
    pub stable: Tries,
    /// The canary's.
    pub canary: Tries,
}

/// What one round says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Stable alone was asked, and passed.
    StablePassed,
    /// Stable alone was asked, and failed.
    StableFailed,
    /// The canary passed.
    Passed,
    /// The canary failed as often as confirms it, while most of stable's tries passed.
    CanaryFailed,
    /// Both failed: an outage of what both depend on, or drift.
    BothFailed,
    /// Neither confirmed nor passed.
    Unclear,
    /// Providers were in trouble.
    Unknown,
}

impl Tries {
    /// Those that say something.
    #[must_use]
    pub const fn known(&self) -> u32 {
        self.passed + self.failed
    }

    /// Whether more passed than failed.
    #[must_use]
    pub const fn mostly_passed(&self) -> bool {
        self.passed > self.failed
    }

    const fn was_asked(&self) -> bool {
        self.known() + self.unknown > 0
    }
}

impl Passes {
    /// Tried and not passed.
    #[must_use]
    pub const fn failed(self) -> u64 {
        self.tried.saturating_sub(self.passed)
    }

    pub(super) fn add(&mut self, tries: &Tries) {
        self.passed += u64::from(tries.passed);
        self.tried += u64::from(tries.known());
    }
}

impl Record {
    /// Whether stable has passed its qualifying rounds.
    #[must_use]
    pub const fn is_qualified(&self, rounds: u32) -> bool {
        self.passed_in_a_row >= rounds
    }
}

/// What a round of one sentinel says when `confirm` failures in a row confirm one.
#[must_use]
pub fn outcome(sentinel: &Sentinel, tried: &Tried, confirm: Option<u32>) -> Outcome {
    let Tried { stable, canary, .. } = tried;
    if !canary.was_asked() {
        return match (stable.mostly_passed(), stable.known()) {
            (_, 0) => Outcome::Unknown,
            (true, _) => Outcome::StablePassed,
            (false, _) => Outcome::StableFailed,
        };
    }
    if canary.mostly_passed() {
        return Outcome::Passed;
    }
    if sentinel.criticality == Criticality::Gate {
        return if canary.known() == 0 { Outcome::Unknown } else { Outcome::CanaryFailed };
    }
    let is_confirmed = canary.passed == 0 && confirm.is_some_and(|tries| canary.failed >= tries);
    match (is_confirmed, stable.passed, stable.known()) {
        (false, _, _) if canary.unknown > 0 || canary.known() == 0 => Outcome::Unknown,
        (false, _, _) => Outcome::Unclear,
        (true, _, 0) => Outcome::Unknown,
        (true, 0, _) => Outcome::BothFailed,
        (true, _, _) if stable.mostly_passed() => Outcome::CanaryFailed,
        (true, _, _) => Outcome::Unclear,
    }
}

impl Records {
    /// The same with what stable has shown before the release of the sentinels that were not asked in it yet.
    #[must_use]
    pub fn credited(&self, suite: &Sentinels, shown: impl Fn(&Sentinel) -> Option<Credit>) -> Self {
        let mut credited = self.clone();
        for sentinel in suite.sentinels.iter().filter(|sentinel| !self.of.contains_key(&sentinel.name)) {
            if let Some(credit) = shown(sentinel) {
                credited.of.insert(sentinel.name.clone(), Record::credited(credit));
            }
        }
        credited
    }

    /// Counts one round; sentinels that the policy does not have are left out.
    pub fn absorb(&mut self, policy: &Policy, attempt: u32, round: &Round) {
        let Some(suite) = &policy.sentinels else { return };
        self.spent.add(&round.asked, round.began_at);
        for tried in &round.tried {
            let Some(sentinel) = suite.named(&tried.sentinel) else { continue };
            if let Some(credit) = tried.credit {
                self.of.entry(tried.sentinel.clone()).or_insert_with(|| Record::credited(credit));
            }
            let confirm = tries_to_confirm(policy, attempt, sentinel, self.of.get(&tried.sentinel));
            let outcome = outcome(sentinel, tried, confirm);
            let latest = Latest {
                began_at: round.began_at,
                outcome,
                stable: tried.stable.clone(),
                canary: tried.canary.clone(),
            };
            self.of.entry(tried.sentinel.clone()).or_default().add(sentinel, suite.qualify, latest);
        }
    }
}

impl Record {
    fn credited(credit: Credit) -> Self {
        Self { stable: credit.stable, passed_in_a_row: credit.passed_in_a_row, ..Self::default() }
    }

    fn add(&mut self, sentinel: &Sentinel, qualify: u32, latest: Latest) {
        // Only a sentinel that stable passes can accuse anybody.
        let accuses = sentinel.criticality == Criticality::Critical && self.is_qualified(qualify);
        // An outage of both is no flakiness of either.
        if latest.outcome != Outcome::BothFailed {
            self.stable.add(&latest.stable);
            self.canary.add(&latest.canary);
        }
        if latest.canary.was_asked() {
            self.rounds += 1;
        }
        if !self.is_qualified(qualify) && latest.stable.known() > 0 {
            self.passed_in_a_row = if latest.stable.mostly_passed() { self.passed_in_a_row + 1 } else { 0 };
        }
        if accuses && latest.outcome == Outcome::CanaryFailed && self.confirmed.is_none() {
            self.confirmed = Some(latest.clone());
        }
        self.latest = Some(latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{self as ex, sentinel, tries};

    const REFUND: &str = "refund";

    fn policy() -> Policy {
        Policy { sentinels: Some(ex::suite(vec![sentinel(REFUND, Criticality::Critical)])), ..ex::policy() }
    }

    fn round(stable: Tries, canary: Tries) -> Round {
        Round {
            began_at: UnixMs(7),
            tried: vec![Tried { sentinel: REFUND.to_owned(), stable, canary, credit: None }],
            asked: Asked::default(),
        }
    }

    fn after(rounds: &[(Tries, Tries)]) -> Record {
        let mut records = Records::default();
        for (stable, canary) in rounds {
            records.absorb(&policy(), 0, &round(stable.clone(), canary.clone()));
        }
        records.of[REFUND].clone()
    }

    fn qualified() -> Vec<(Tries, Tries)> {
        vec![(tries(1, 0), Tries::default()); 3]
    }

    fn then(stable: Tries, canary: Tries) -> Record {
        let mut rounds = qualified();
        rounds.push((stable, canary));
        after(&rounds)
    }

    #[test]
    fn only_a_confirmed_failure_of_the_canary_alone_accuses() {
        let all = tries(0, 5);
        let accused = then(tries(5, 0), all.clone());
        assert_eq!(accused.confirmed.map(|latest| latest.outcome), Some(Outcome::CanaryFailed));
        let outcomes = [
            (tries(0, 5), all.clone(), Outcome::BothFailed),
            (Tries { unknown: 5, ..Tries::default() }, all.clone(), Outcome::Unknown),
            (tries(2, 3), all, Outcome::Unclear),
            (tries(1, 0), tries(0, 1), Outcome::Unclear),
            (tries(2, 0), tries(1, 1), Outcome::Unclear),
            (tries(3, 0), tries(2, 1), Outcome::Passed),
            (tries(1, 0), Tries { unknown: 2, ..Tries::default() }, Outcome::Unknown),
            (tries(1, 0), Tries { unknown: 2, ..tries(0, 1) }, Outcome::Unknown),
        ];
        for (stable, canary, expected) in outcomes {
            let record = then(stable, canary);
            assert_eq!(record.latest.map(|latest| latest.outcome), Some(expected));
            assert_eq!(record.confirmed, None, "{expected:?}");
        }
    }

    #[test]
    fn a_sentinel_that_stable_has_not_qualified_accuses_nobody() {
        let failing = (tries(5, 0), tries(0, 5));
        assert_eq!(after(&[failing.clone(), failing.clone(), failing.clone()]).confirmed, None);
        assert!(after(&[failing.clone(), failing.clone(), failing.clone(), failing]).confirmed.is_some());
    }

    #[test]
    fn what_qualified_on_steady_stable_accuses_from_the_first_round() {
        let credit = Credit { passed_in_a_row: 40, stable: Passes { passed: 39, tried: 41 } };
        let policy = policy();
        let suite = policy.sentinels.as_ref().unwrap();
        let known = Records::default().credited(suite, |_| Some(credit));
        assert!(known.of[REFUND].is_qualified(3) && known.of[REFUND].latest.is_none());
        let mut records = Records::default();
        let mut first = round(tries(5, 0), tries(0, 5));
        first.tried[0].credit = Some(credit);
        records.absorb(&policy, 0, &first);
        assert!(records.of[REFUND].confirmed.is_some());
        assert_eq!(records.of[REFUND].stable, Passes { passed: 44, tried: 46 });
        records.absorb(&policy, 0, &first);
        assert_eq!(records.of[REFUND].stable.tried, 51, "it counts once");
        assert_eq!(records.credited(suite, |_| Some(credit)), records, "what the release knows itself stands");
    }

    #[test]
    fn a_stable_that_fails_begins_to_qualify_anew() {
        let (pass, fail) = ((tries(1, 0), Tries::default()), (tries(0, 1), Tries::default()));
        let unknown = (Tries { unknown: 1, ..Tries::default() }, Tries::default());
        assert_eq!(after(&[pass.clone(), pass.clone(), fail, pass.clone()]).passed_in_a_row, 1);
        assert_eq!(after(&[pass.clone(), unknown, pass]).passed_in_a_row, 2, "trouble says nothing");
    }
}
