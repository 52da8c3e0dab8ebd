//! Sentinel prompts: known questions with known answers, asked again and again.
//!
//! A sentinel run asks k times and *hard-fails* when too few tries pass. If one try fails with chance φ on a healthy
//! version, a run of which all k tries must fail hard-fails with p0 = φ^k. Against H0 *hard failures are at most p0*
//! stands the likelihood ratio of p1 (one half by default):
//!
//! ```text
//! ln E = fails·ln(p1/p0) + passes·ln((1 − p1)/(1 − p0))
//! ```
//!
//! Runs on stable and canary are interleaved, and a run that both fail says nothing about the canary: it counts as an
//! outage of what both depend on. Tries at temperature 0 are not independent, so φ^k is a floor and no bound: qualify
//! a sentinel on stable first, and take its measured rate of hard failures where that is higher.

use serde::{Deserialize, Serialize};

use crate::betting::BadDesign;
use crate::special::{ln, ln_1p, ln_gamma};

/// The two rates of hard failures that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sentinel {
    healthy: f64,
    broken: f64,
}

/// How one interleaved round went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Round {
    /// The canary's run passed.
    Passed,
    /// The canary's run failed hard and stable's did not.
    CanaryFailed,
    /// Both failed hard: no evidence about the canary.
    BothFailed,
}

/// The running likelihood ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentinelProcess {
    sentinel: Sentinel,
    log_e: f64,
    peak: f64,
}

impl Sentinel {
    /// A sentinel that hard-fails at most with p0 = `healthy` on a good version, tested against p1 = `broken`.
    ///
    /// # Errors
    /// Unless 0 < p0 < p1 < 1.
    pub fn new(healthy: f64, broken: f64) -> Result<Self, BadDesign> {
        if 0.0 < healthy && healthy < broken && broken < 1.0 {
            Ok(Self { healthy, broken })
        } else {
            Err(BadDesign("the sentinel's rates are not 0 < healthy < broken < 1"))
        }
    }

    /// ln E after these runs.
    #[must_use]
    pub fn log_e(&self, fails: u64, passes: u64) -> f64 {
        fails as f64 * ln(self.broken / self.healthy) + passes as f64 * (ln_1p(-self.broken) - ln_1p(-self.healthy))
    }
}

impl SentinelProcess {
    /// Starts at E = 1.
    #[must_use]
    pub fn new(sentinel: Sentinel) -> Self {
        Self { sentinel, log_e: 0.0, peak: 0.0 }
    }

    /// Folds one round in.
    pub fn round(&mut self, round: Round) {
        self.log_e += match round {
            Round::Passed => self.sentinel.log_e(0, 1),
            Round::CanaryFailed => self.sentinel.log_e(1, 0),
            Round::BothFailed => 0.0,
        };
        self.peak = self.peak.max(self.log_e);
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.log_e
    }

    /// The largest ln E so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak
    }
}

/// The chance that a run of `tries` has fewer than `need` passes, if each try fails independently with chance `phi`.
#[must_use]
pub fn hard_fail_chance(phi: f64, tries: u32, need: u32) -> f64 {
    let choose = |k: u32| {
        let (n, k) = (f64::from(tries), f64::from(k));
        ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
    };
    let times = |count: u32, ln_chance: f64| if count == 0 { 0.0 } else { f64::from(count) * ln_chance };
    let passes = 0..need.min(tries + 1);
    let chance = |k: u32| crate::special::exp(choose(k) + times(k, ln_1p(-phi)) + times(tries - k, ln(phi)));
    passes.map(chance).sum::<f64>().min(1.0)
}

/// The fewest tries k for which N runs hard-fail with chance at most `share` in all, N·φ^k ≤ share, when all tries
/// must fail; so that even "roll back at the first hard failure" keeps its share of α. `None` where no k of at most 64
/// does.
#[must_use]
pub fn tries(phi: f64, runs: f64, share: f64) -> Option<u32> {
    (1..=64).find(|k| runs * libm::pow(phi, f64::from(*k)) <= share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_sentinel_is_found_and_an_outage_of_both_is_not_blamed() {
        let mut process = SentinelProcess::new(Sentinel::new(0.01, 0.5).unwrap());
        process.round(Round::CanaryFailed);
        process.round(Round::BothFailed);
        process.round(Round::BothFailed);
        assert!((process.log_e() - 50f64.ln()).abs() < 1e-12);
        process.round(Round::Passed);
        assert!(process.log_e() < process.peak());
    }

    #[test]
    fn the_chance_of_a_hard_failure_is_binomial() {
        assert!((hard_fail_chance(0.1, 3, 1) - 0.001).abs() < 1e-15);
        assert!((hard_fail_chance(0.1, 3, 2) - (0.001 + 3.0 * 0.01 * 0.9)).abs() < 1e-14);
        assert_eq!(hard_fail_chance(0.0, 3, 1), 0.0);
        assert_eq!(hard_fail_chance(0.3, 3, 0), 0.0);
        assert!((hard_fail_chance(0.3, 3, 9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rates_that_tell_nothing_apart_are_refused() {
        for (healthy, broken) in [(0.0, 0.5), (0.5, 0.5), (0.6, 0.5), (0.1, 1.0), (f64::NAN, 0.5)] {
            assert!(Sentinel::new(healthy, broken).is_err());
        }
        assert_eq!(tries(1.0, 2000.0, 0.005), None);
    }
}
