//! Sentinels: known-answer prompts that must always pass, asked of stable and canary by turns.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the suite as a policy freezes it, and how many tries confirm a failure |
//! | [`record`] | what the rounds have shown, per sentinel and arm |
//! | [`purse`] | what judging their answers may cost in a day |
//! | [`schedule`] | which sentinel is due, and on which arms |
//! | [`steady`] | those of a route, asked of its stable version with or without a release |
//!
//! # What confirms a failure
//! One *try* asks `runs` times and passes with `need` right answers. Where the canary's first try fails, both arms
//! are asked again by turns, up to k tries each. The failure is the canary's alone when all of its k tries failed
//! and most of stable's passed; when stable's all failed too, what both depend on is out, or has drifted.
//!
//! If a healthy version fails one try with chance p, all k fail with chance p^k. With m critical sentinels and a
//! share `a` of alpha, round j of a sentinel may spend `a / (m · j · (j + 1))`, which sums to `a` over all rounds,
//! however many: k is the least with p^k below that (`coalmine_stats::sentinel::tries`). p is what the suite states
//! of a try, or what stable itself has shown where that is more. Tries at temperature 0 are not independent, so p^k
//! alone is no bound: hence the turns with stable, stable's own rate, and the qualifying rounds.

pub mod purse;
pub mod record;
pub mod schedule;
pub mod steady;

pub use purse::{Asked, Judging, Spent};
pub use record::{Outcome, Passes, Record, Records, Round, Tried, Tries};
pub use steady::Steady;

use crate::analysis::Alpha;
use crate::release::policy::Policy;
use crate::time::SpanMs;
use crate::version::JsonText;
use coalmine_stats::sentinel::{hard_fail_chance, tries};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most tries that one round makes of a sentinel on one arm; one that needs more is too flaky to confirm anything.
pub const TRIES_MAX: u32 = 24;
/// More sentinels than this in one release are no round any more.
pub const SENTINELS_MAX: usize = 500;
/// A failure is never believed at the first try.
const TRIES_MIN: u32 = 2;
/// Weight, in tries, of what the suite states of a sentinel against what stable shows.
const STATED_WEIGHT: f64 = 50.0;
/// A policy must stay able to confirm a failure in this round.
const FAR_ROUND: u64 = 1_000;

/// The sentinels of a policy, frozen with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sentinels {
    /// Where they were read from, as people know it.
    pub suite: String,
    /// Each.
    pub sentinels: Arc<[Sentinel]>,
    /// A sentinel is critical only after so many rounds in a row that stable passed.
    pub qualify: u32,
    /// What models may be asked about answers in a day.
    #[serde(default, skip_serializing_if = "Judging::is_unbounded")]
    pub judging: Judging,
    /// The bar that the canary must clear before any traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<OfflineGate>,
}

/// One known-answer prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sentinel {
    /// What it is called; each name stands once in a policy.
    pub name: String,
    /// What its failure does.
    pub criticality: Criticality,
    /// Answers asked for in one try.
    pub runs: u32,
    /// Of which so many must be right.
    pub need: u32,
    /// How often within a stage.
    pub every: SpanMs,
    /// The chance that a healthy version gets one answer wrong.
    pub flaky: f64,
    /// The question and what is asserted of the answer, in the form of whoever asks.
    pub probe: JsonText,
}

/// What a sentinel's failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// A confirmed failure of the canary alone rolls back; promotion needs its latest round passed.
    Critical,
    /// It is told, and does nothing.
    Watched,
    /// It is part of the offline gate: asked of the canary before the start, and never again.
    Gate,
}

/// A suite with a bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfflineGate {
    /// Where it was read from.
    pub suite: String,
    /// The share of its sentinels that the canary must pass.
    pub pass_share: f64,
}

impl Sentinels {
    /// The critical ones.
    pub fn critical(&self) -> impl Iterator<Item = &Sentinel> {
        self.sentinels.iter().filter(|sentinel| sentinel.criticality == Criticality::Critical)
    }

    /// The one of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Sentinel> {
        self.sentinels.iter().find(|sentinel| sentinel.name == name)
    }
}

impl Sentinel {
    /// The stated chance that one try fails on a healthy version.
    #[must_use]
    pub fn stated(&self) -> f64 {
        hard_fail_chance(self.flaky, self.runs, self.need)
    }
}

/// How many tries of a sentinel in a row confirm a failure in its next round; `None` where [`TRIES_MAX`] do not.
#[must_use]
pub fn tries_to_confirm(policy: &Policy, attempt: u32, sentinel: &Sentinel, record: Option<&Record>) -> Option<u32> {
    let stated = sentinel.stated();
    let (tried, failed, rounds) = record.map_or((0, 0, 0), |r| (r.stable.tried, r.stable.failed(), r.rounds));
    let measured = (failed as f64 + stated * STATED_WEIGHT) / (tried as f64 + STATED_WEIGHT);
    confirm(policy, attempt, stated.max(measured), rounds + 1)
}

/// The same for a sentinel whose tries fail as stated, far into a release: a policy is checked by it.
#[must_use]
pub fn tries_at_last(policy: &Policy, sentinel: &Sentinel) -> Option<u32> {
    confirm(policy, 0, sentinel.stated(), FAR_ROUND)
}

fn confirm(policy: &Policy, attempt: u32, chance: f64, round: u64) -> Option<u32> {
    let critical = policy.sentinels.as_ref().map_or(0, |sentinels| sentinels.critical().count());
    let share = Alpha::of(policy, attempt).sentinels;
    let round = round as f64;
    // Without critical ones nothing is spent; the watched are confirmed as if one were.
    let (critical, share) = if critical == 0 { (1.0, policy.false_rollback_rate) } else { (critical as f64, share) };
    let k = tries(chance, critical * round * (round + 1.0), share)?.max(TRIES_MIN);
    (k <= TRIES_MAX).then_some(k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{self as ex, sentinel};

    fn policy(count: usize) -> Policy {
        let all: Vec<Sentinel> = (0..count).map(|i| sentinel(&format!("s{i}"), Criticality::Critical)).collect();
        Policy { sentinels: Some(ex::suite(all)), ..ex::policy() }
    }

    #[test]
    fn the_chances_of_all_rounds_together_stay_within_the_share() {
        let policy = policy(200);
        let share = Alpha::of(&policy, 0).sentinels;
        assert!(share > 0.0 && share <= policy.false_rollback_rate);
        let one = sentinel("s0", Criticality::Critical);
        let spent: f64 = (0..10_000_u64)
            .map(|rounds| {
                let record = Record { rounds, ..Record::default() };
                let k = tries_to_confirm(&policy, 0, &one, Some(&record)).unwrap();
                one.stated().powi(i32::try_from(k).unwrap())
            })
            .sum();
        assert!(200.0 * spent <= share, "{spent}");
    }

    #[test]
    fn a_flakier_stable_asks_for_more_tries_and_a_hopeless_one_for_none() {
        let policy = policy(10);
        let one = sentinel("s0", Criticality::Critical);
        let fresh = tries_to_confirm(&policy, 0, &one, None).unwrap();
        let flaky = Record { stable: record::Passes { passed: 70, tried: 100 }, ..Record::default() };
        assert!(tries_to_confirm(&policy, 0, &one, Some(&flaky)).unwrap() > fresh);
        let hopeless = Record { stable: record::Passes { passed: 10, tried: 900 }, ..Record::default() };
        assert_eq!(tries_to_confirm(&policy, 0, &one, Some(&hopeless)), None);
    }

    #[test]
    fn a_second_attempt_has_half_the_share_and_needs_no_fewer_tries() {
        let policy = policy(200);
        let one = sentinel("s0", Criticality::Critical);
        let k = |attempt| tries_to_confirm(&policy, attempt, &one, None).unwrap();
        assert!(k(0) <= k(1) && k(1) <= k(9) && k(0) < k(9));
    }
}
