//! The sentinels of a route, asked of its stable version on their clock, with or without a release.
//!
//! A sentinel that stable has passed in so many rounds in a row as the suite asks for is *qualified*: its failure means
//! something, and a release that begins takes it as qualified. A failure is confirmed when k tries of one round all
//! fail. With a chance p that a try of a good stable fails, k is the least with which all sentinels of the suite
//! together, each asked by its clock for a year, confirm a failure of a good stable less than once:
//! p^k · Σ (a year / every) ≤ 1. It is over after so many passed rounds in a row as qualify.

use crate::id::RouteName;
use crate::sentinel::purse::Spent;
use crate::sentinel::record::{Passes, Round, Tries};
use crate::sentinel::schedule::{AGAIN, Arms, Due};
use crate::sentinel::{Criticality, STATED_WEIGHT, Sentinel, Sentinels, TRIES_MAX, TRIES_MIN};
use crate::time::{SpanMs, UnixMs};
use crate::version::VersionId;
use coalmine_stats::sentinel::tries;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const YEAR: SpanMs = SpanMs::hours(24 * 365);
/// What a steady stable showed longer ago than so many of the sentinel's spans qualifies nothing in a release.
const FRESH_ROUNDS: u64 = 3;

/// How the sentinels of one route stand; one document per route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Steady {
    #[serde(default)]
    of: BTreeMap<String, Standing>,
    /// What the day has cost in questions about answers.
    #[serde(default, skip_serializing_if = "Spent::is_none")]
    pub spent: Spent,
}

/// How one of them stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Which question and how it is asked: another one begins anew.
    asked: String,
    /// Who answers.
    version: VersionId,
    /// Tries of a version that did not fail for good.
    #[serde(default)]
    pub stable: Passes,
    /// Rounds in a row that passed.
    #[serde(default)]
    pub passed_in_a_row: u32,
    /// The newest round.
    pub latest: Asked,
    /// The round that confirmed a failure; stands until enough rounds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Asked>,
}

/// One round of one sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// When it began.
    pub began_at: UnixMs,
    /// Its tries.
    pub tries: Tries,
}

/// What a sentinel has shown on steady stable before a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Rounds in a row that stable passed.
    pub passed_in_a_row: u32,
    /// Its tries.
    pub stable: Passes,
}

impl Steady {
    /// How one stands; `None` before its first round.
    #[must_use]
    pub fn standing(&self, sentinel: &str) -> Option<&Standing> {
        self.of.get(sentinel)
    }

    /// The sentinels that are due now on this version, in the order of the suite.
    #[must_use]
    pub fn due<'a>(&self, suite: &'a Sentinels, version: VersionId, now: UnixMs) -> Vec<Due<'a>> {
        let wanted = suite.sentinels.iter().filter(|sentinel| sentinel.criticality != Criticality::Gate);
        let due = wanted.filter_map(|sentinel| {
            let Some(standing) = self.standing_of(sentinel, version) else {
                return Some(Due { sentinel, arms: Arms::Stable });
            };
            let tried = &standing.latest.tries;
            let is_qualified = standing.is_qualified(suite);
            let pause = match (standing.failing.is_some(), tried.mostly_passed(), tried.known()) {
                (_, _, 0) => sentinel.every.min(AGAIN),
                (false, true, _) if !is_qualified => SpanMs::ZERO,
                (_, _, _) => sentinel.every,
            };
            let arms = if is_qualified { Arms::Steady } else { Arms::Stable };
            (now.since(standing.latest.began_at) >= pause).then_some(Due { sentinel, arms })
        });
        due.collect()
    }

    /// How many failed tries in a row confirm a failure; `None` where [`TRIES_MAX`] do not.
    #[must_use]
    pub fn tries_to_confirm(&self, suite: &Sentinels, version: VersionId, sentinel: &Sentinel) -> Option<u32> {
        let stated = sentinel.stated();
        let shown = self.standing_of(sentinel, version).map(|standing| standing.stable).unwrap_or_default();
        let measured = (shown.failed() as f64 + stated * STATED_WEIGHT) / (shown.tried as f64 + STATED_WEIGHT);
        confirm(suite, stated.max(measured))
    }

    /// Counts one round that this version was asked; sentinels that the suite does not have any more are forgotten.
    pub fn absorb(&mut self, suite: &Sentinels, version: VersionId, round: &Round) {
        self.spent.add(&round.asked, round.began_at);
        self.of.retain(|name, _| suite.named(name).is_some());
        for tried in &round.tried {
            let Some(sentinel) = suite.named(&tried.sentinel) else { continue };
            let confirm = self.tries_to_confirm(suite, version, sentinel);
            let asked = Asked { began_at: round.began_at, tries: tried.stable.clone() };
            let before = self.of.remove(&tried.sentinel).filter(|standing| standing.asked == identity(sentinel));
            let standing = match before {
                Some(standing) if standing.version == version => standing,
                before => Standing {
                    asked: identity(sentinel),
                    version,
                    stable: Passes::default(),
                    passed_in_a_row: 0,
                    latest: Asked::default(),
                    failing: before.and_then(|standing| standing.failing),
                },
            };
            self.of.insert(tried.sentinel.clone(), standing.after(suite, asked, confirm));
        }
    }

    /// What a release may take as shown of a sentinel of its own: the same question, of the same version, lately, and
    /// not failing.
    #[must_use]
    pub fn credit(&self, sentinel: &Sentinel, version: VersionId, now: UnixMs) -> Option<Credit> {
        let standing = self.standing_of(sentinel, version)?;
        let fresh = SpanMs(sentinel.every.0.saturating_mul(FRESH_ROUNDS));
        let holds = standing.failing.is_none() && now.since(standing.latest.began_at) <= fresh;
        holds.then_some(Credit { passed_in_a_row: standing.passed_in_a_row, stable: standing.stable })
    }

    fn standing_of(&self, sentinel: &Sentinel, version: VersionId) -> Option<&Standing> {
        let standing = self.of.get(&sentinel.name)?;
        (standing.version == version && standing.asked == identity(sentinel)).then_some(standing)
    }
}

impl Standing {
    /// Whether its failure means something.
    #[must_use]
    pub fn is_qualified(&self, suite: &Sentinels) -> bool {
        self.passed_in_a_row >= suite.qualify
    }

    fn after(mut self, suite: &Sentinels, asked: Asked, confirm: Option<u32>) -> Self {
        let tries = &asked.tries;
        let all_failed = tries.passed == 0 && confirm.is_some_and(|k| tries.failed >= k);
        if tries.known() == 0 {
            self.latest = asked;
            return self;
        }
        if all_failed && self.is_qualified(suite) {
            self.failing.get_or_insert_with(|| asked.clone());
            self.passed_in_a_row = 0;
        } else if tries.mostly_passed() {
            self.passed_in_a_row = self.passed_in_a_row.saturating_add(1);
        } else if !self.is_qualified(suite) {
            self.passed_in_a_row = 0;
        }
        if self.failing.is_none() {
            self.stable.add(tries);
        } else if self.is_qualified(suite) {
            self.failing = None;
        }
        self.latest = asked;
        self
    }
}

impl Asked {
    /// In words, of a failure that was confirmed.
    #[must_use]
    pub fn describe(&self, route: &RouteName, sentinel: &str) -> String {
        let Tries { passed, failed, fault, .. } = &self.tries;
        let fault = fault.as_ref().map_or(String::new(), |fault| format!(" ({fault})"));
        format!("sentinel {sentinel} fails on stable of {route}: {passed}/{} passed{fault}", passed + failed)
    }
}

/// The same for a sentinel whose tries fail as stated: a suite is checked by it.
#[must_use]
pub fn tries_as_stated(suite: &Sentinels, sentinel: &Sentinel) -> Option<u32> {
    confirm(suite, sentinel.stated())
}

fn confirm(suite: &Sentinels, chance: f64) -> Option<u32> {
    let rounds = |sentinel: &Sentinel| YEAR.0 as f64 / sentinel.every.0.max(1) as f64;
    let of_a_year: f64 = suite.sentinels.iter().map(rounds).sum();
    let k = tries(chance, of_a_year, 1.0)?.max(TRIES_MIN);
    (k <= TRIES_MAX).then_some(k)
}

fn identity(sentinel: &Sentinel) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("coalmine sentinel on steady stable 1");
    hasher.update(&sentinel.runs.to_le_bytes());
    hasher.update(&sentinel.need.to_le_bytes());
    hasher.update(sentinel.probe.0.as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::{canary_version, stable_version};
    use crate::release::example::{self as ex, MONDAY, sentinel, tries as tried};
    use crate::sentinel::record::Tried;
    use crate::version::JsonText;

    fn suite(count: usize) -> Sentinels {
        ex::suite((0..count).map(|i| sentinel(&format!("s{i}"), Criticality::Critical)).collect())
    }

    fn round(at: UnixMs, tries: Tries) -> Round {
        let tried = Tried { sentinel: "s0".to_owned(), stable: tries, canary: Tries::default(), credit: None };
        Round { began_at: at, tried: vec![tried], asked: crate::sentinel::Asked::default() }
    }

    fn at(minutes: u64) -> UnixMs {
        MONDAY + SpanMs::minutes(minutes)
    }

    /// One sentinel after these rounds, ten minutes apart.
    fn after(rounds: &[Tries]) -> Steady {
        let mut steady = Steady::default();
        for (i, tries) in (0..).zip(rounds) {
            steady.absorb(&suite(1), stable_version(), &round(at(10 * i), tries.clone()));
        }
        steady
    }

    fn standing(steady: &Steady) -> (u32, bool) {
        let standing = steady.standing("s0").unwrap();
        (standing.passed_in_a_row, standing.failing.is_some())
    }

    #[test]
    fn a_good_stable_alarms_less_than_once_in_a_year() {
        for count in [1, 10, 200] {
            let suite = suite(count);
            let one = &suite.sentinels[0];
            let k = Steady::default().tries_to_confirm(&suite, stable_version(), one).unwrap();
            let rounds = 365.0 * 144.0 * count as f64;
            assert!(one.stated().powi(i32::try_from(k).unwrap()) * rounds <= 1.0, "{count}: {k}");
            assert!(one.stated().powi(i32::try_from(k - 1).unwrap()) * rounds > 1.0, "{count}: no more than needed");
        }
        let flaky = Sentinel { flaky: 0.7, ..suite(1).sentinels[0].clone() };
        assert_eq!(tries_as_stated(&suite(1), &flaky), None);
    }

    #[test]
    fn only_a_qualified_sentinel_fails_and_only_when_all_tries_did() {
        let (pass, fail) = (tried(1, 0), tried(0, 9));
        assert_eq!(standing(&after(&[pass.clone(), pass.clone(), fail.clone()])), (0, false), "not qualified yet");
        let mut rounds = vec![pass.clone(); 3];
        for (round, expected) in [
            (tried(0, 1), (3, false)),
            (tried(1, 8), (3, false)),
            (Tries { unknown: 2, ..tried(0, 0) }, (3, false)),
            (tried(2, 1), (4, false)),
            (fail, (0, true)),
        ] {
            rounds.push(round);
            assert_eq!(standing(&after(&rounds)), expected, "{rounds:?}");
            rounds.pop();
        }
    }

    #[test]
    fn it_is_over_after_as_many_passed_rounds_as_qualify() {
        let (pass, fail) = (tried(1, 0), tried(0, 9));
        let mut rounds = vec![pass.clone(); 3];
        rounds.push(fail);
        rounds.extend([pass.clone(), pass.clone(), tried(0, 1), pass.clone(), pass.clone()]);
        assert_eq!(standing(&after(&rounds)), (2, true), "a failed round begins it anew");
        let since = after(&rounds).standing("s0").unwrap().failing.clone().unwrap().began_at;
        assert_eq!(since, at(30), "the first one stands");
        rounds.push(pass);
        assert_eq!(standing(&after(&rounds)), (3, false));
        assert_eq!(after(&rounds).standing("s0").unwrap().stable.failed(), 0, "an outage is no flakiness");
    }

    #[test]
    fn it_qualifies_at_once_and_is_then_asked_by_the_clock() {
        let arms = |steady: &Steady, now| {
            let suite = suite(1);
            steady.due(&suite, stable_version(), now).iter().map(|due| due.arms).collect::<Vec<_>>()
        };
        let pass = tried(1, 0);
        assert_eq!(arms(&Steady::default(), at(0)), [Arms::Stable]);
        assert_eq!(arms(&after(&vec![pass.clone(); 2]), at(10)), [Arms::Stable], "to qualify, at once");
        let qualified = after(&vec![pass.clone(); 3]);
        assert_eq!(arms(&qualified, at(29)), []);
        assert_eq!(arms(&qualified, at(30)), [Arms::Steady]);
        let failing = after(&[pass.clone(), pass.clone(), pass.clone(), tried(0, 9), pass]);
        assert_eq!(arms(&failing, at(49)), [], "back to health by the clock");
        assert_eq!(arms(&failing, at(50)), [Arms::Stable]);
        let trouble = after(&[Tries { unknown: 1, ..tried(0, 0) }]);
        assert_eq!((arms(&trouble, at(0)), arms(&trouble, at(1))), (vec![], vec![Arms::Stable]));
        assert_eq!(qualified.due(&suite(1), canary_version(), at(20)).len(), 1, "a new stable is asked at once");
    }

    #[test]
    fn what_is_shown_of_one_question_and_version_says_nothing_of_another() {
        let steady = after(&vec![tried(1, 0); 4]);
        let one = sentinel("s0", Criticality::Critical);
        let credit = steady.credit(&one, stable_version(), at(40)).unwrap();
        assert_eq!((credit.passed_in_a_row, credit.stable.tried), (4, 4));
        assert_eq!(steady.credit(&one, canary_version(), at(40)), None);
        assert_eq!(steady.credit(&one, stable_version(), at(61)), None, "that is long ago");
        let reworded = Sentinel { probe: JsonText(r#"{"messages":[]}"#.to_owned()), ..one.clone() };
        assert_eq!(steady.credit(&reworded, stable_version(), at(40)), None);
        let failing = after(&[tried(1, 0), tried(1, 0), tried(1, 0), tried(0, 9)]);
        assert_eq!(failing.credit(&one, stable_version(), at(30)), None);
    }

    #[test]
    fn a_new_stable_qualifies_anew_and_an_open_failure_stands_until_then() {
        let mut steady = after(&[tried(1, 0), tried(1, 0), tried(1, 0), tried(0, 9)]);
        for minutes in [40, 50] {
            steady.absorb(&suite(1), canary_version(), &round(at(minutes), tried(1, 0)));
        }
        assert_eq!(standing(&steady), (2, true));
        steady.absorb(&suite(1), canary_version(), &round(at(60), tried(1, 0)));
        assert_eq!(standing(&steady), (3, false));
        let text = serde_json::to_string(&steady).unwrap();
        assert_eq!(serde_json::from_str::<Steady>(&text).unwrap(), steady);
        steady.absorb(&suite(0), canary_version(), &round(at(70), tried(1, 0)));
        assert!(steady.of.is_empty(), "the suite has it no more");
    }
}
