//! The capital of one mixture of bets, with late-onset insurance.
//!
//! A mixture splits a stake of 1 over a few bet sizes and lets each part grow by itself. A fault that begins late has
//! to win back what the bets lost before it. So, where asked for, half of the stake bets from the first bucket on and
//! the other half is laid out in parts γ at *restarts* (the stages of a release):
//!
//! ```text
//! E_t = Σ_j w_j · ( ½·S0_j,t + ½·SR_j,t ) + ½·cash      S0: from the start     SR_t = e_t·(SR_{t−1} + γ_t)
//! ```
//!
//! **One accounting.** γ is a share *of the insurance half*: all γ and the cash sum to 1, so the whole stake sums to 1
//! at every moment and E starts at exactly 1. (A list of absolute masses that sum to one half is the same mixture;
//! divide by ½.) What is not laid out is cash: it counts, and it earns nothing. Since each part is bet from a moment
//! that was chosen without looking ahead, E stays a supermartingale under the null and P(E ever ≥ 1/α) ≤ α (Ville).
//!
//! The idea is the e-detector of Shin, Ramdas and Rinaldo, held to a finite mass so that the bound covers a whole run.

use serde::{Deserialize, Serialize};

use crate::special::{exp, ln, ln_add_exp};

/// The most bets that one mixture splits its stake over.
pub const MAX_BETS: usize = 9;

/// When a fault is expected to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Onset {
    /// The whole stake bets from the first bucket on; restarts are without effect.
    FromStart,
    /// Half of the stake is kept for restarts: about a fifth slower for a fault that is there from the start, three
    /// times as fast for one that begins hours later.
    StageRestarts,
}

/// The share of the insurance half that the k-th stage lays out, γ_k = 1/(k(k+1)) for k = 1, 2, …; the sum over all k
/// is 1. Stage 0 does not exist and gets nothing.
#[must_use]
pub fn stage_mass(stage: u32) -> f64 {
    if stage == 0 {
        return 0.0;
    }
    1.0 / (f64::from(stage) * (f64::from(stage) + 1.0))
}

/// Late-onset insurance for any stream of e-values, one per bucket: a sentinel's likelihood ratio, a bet of one size.
///
/// ```
/// use coalmine_stats::restart::{LateOnset, Onset, stage_mass};
///
/// let mut insured = LateOnset::new(Onset::StageRestarts);
/// insured.restart(stage_mass(1));
/// insured.fold(-8.0); // a first stage in which the bet loses nearly all
/// insured.restart(stage_mass(2));
/// insured.fold(9.0); // a fault that begins in the second
/// assert!(insured.log_e() > 20f64.ln());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LateOnset {
    capital: Capital,
}

impl LateOnset {
    /// Starts at E = 1.
    #[must_use]
    pub fn new(onset: Onset) -> Self {
        Self { capital: Capital::new(onset, 1) }
    }

    /// Lays γ of the insurance half out, as [`crate::betting::EProcess::restart`] does.
    pub fn restart(&mut self, gamma: f64) {
        self.capital.restart(gamma);
    }

    /// Multiplies what is laid out by one bucket's e-value, given as ln e; a value that is not finite changes nothing.
    pub fn fold(&mut self, log_e: f64) {
        if log_e.is_finite() {
            self.capital.fold(&[log_e; MAX_BETS], &[1.0; MAX_BETS]);
        }
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.capital.log_e()
    }

    /// The largest ln E so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.capital.peak()
    }
}

/// The capital of a mixture of up to [`MAX_BETS`] bets. All logarithms are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Capital {
    onset: Onset,
    /// How many of the bets are in play.
    bets: usize,
    /// ln S0 per bet, stakes not counted.
    start: [f64; MAX_BETS],
    /// ln SR per bet; none before the first restart.
    late: Option<[f64; MAX_BETS]>,
    /// The part of the insurance half that is cash.
    cash: f64,
    /// ln of what the whole is scaled by (0, or less after gains were given up).
    scale: f64,
    log_e: f64,
    peak: f64,
}

impl Capital {
    /// A fresh stake of 1 over `bets` bets (at most [`MAX_BETS`]).
    pub(crate) fn new(onset: Onset, bets: usize) -> Self {
        Self {
            onset,
            bets: bets.min(MAX_BETS),
            start: [0.0; MAX_BETS],
            late: None,
            cash: 1.0,
            scale: 0.0,
            log_e: 0.0,
            peak: 0.0,
        }
    }

    /// Lays γ of the insurance half out, as far as there is cash for it.
    pub(crate) fn restart(&mut self, gamma: f64) {
        let gamma = gamma.min(self.cash);
        match self.onset {
            Onset::StageRestarts if gamma > 0.0 => {}
            Onset::FromStart | Onset::StageRestarts => return,
        }
        let mass = ln(gamma);
        self.late = Some(match self.late {
            None => [mass; MAX_BETS],
            Some(late) => late.map(|born| ln_add_exp(born, mass)),
        });
        self.cash -= gamma;
    }

    /// Multiplies every bet's capital by its factor of one bucket, given as ln e, and weighs the bets together.
    pub(crate) fn fold(&mut self, gains: &[f64; MAX_BETS], weights: &[f64; MAX_BETS]) {
        for (capital, gain) in self.start.iter_mut().zip(gains) {
            *capital += gain;
        }
        for (capital, gain) in self.late.iter_mut().flatten().zip(gains) {
            *capital += gain;
        }
        self.log_e = self.scale + self.mixture(weights);
        self.peak = self.peak.max(self.log_e);
    }

    /// Starts the bets anew with a stake of min(E, 1): gains are given up, losses are not forgiven.
    pub(crate) fn give_up_gains(&mut self) {
        let stake = self.log_e.min(0.0);
        *self = Self { scale: stake, log_e: stake, peak: self.peak, ..Self::new(self.onset, self.bets) };
    }

    pub(crate) fn log_e(&self) -> f64 {
        self.log_e
    }

    pub(crate) fn peak(&self) -> f64 {
        self.peak
    }

    fn mixture(&self, weights: &[f64; MAX_BETS]) -> f64 {
        let bets = &self.start[..self.bets];
        let late = self.late.as_ref().map(|late| &late[..self.bets]);
        let sum = |capital: &[f64], high: f64| -> f64 {
            capital.iter().zip(weights).map(|(capital, weight)| weight * exp(capital - high)).sum()
        };
        // The largest term is taken out, so nothing overflows and the sum is never 0.
        let high = bets.iter().chain(late.unwrap_or_default()).copied().fold(f64::NEG_INFINITY, f64::max);
        match self.onset {
            Onset::FromStart => high + ln(sum(bets, high)),
            Onset::StageRestarts => {
                let high = if self.cash > 0.0 { high.max(0.0) } else { high };
                let bet = sum(bets, high) + late.map_or(0.0, |late| sum(late, high));
                high + ln(0.5 * (bet + self.cash * exp(-high)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_BET: [f64; MAX_BETS] = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

    fn gain(log_e: f64) -> [f64; MAX_BETS] {
        [log_e; MAX_BETS]
    }

    #[test]
    fn the_stake_sums_to_one_whatever_is_laid_out() {
        let mut capital = Capital::new(Onset::StageRestarts, 1);
        for stage in 1..=20 {
            capital.restart(stage_mass(stage));
            capital.fold(&gain(0.0), &ONE_BET);
            assert!(capital.log_e().abs() < 1e-12, "stage {stage}: {}", capital.log_e());
        }
        capital.restart(7.0);
        capital.restart(f64::NAN);
        capital.restart(-1.0);
        capital.fold(&gain(0.0), &ONE_BET);
        assert!(capital.log_e().abs() < 1e-12);
    }

    #[test]
    fn mass_laid_out_late_has_not_paid_for_the_time_before() {
        let mut capital = Capital::new(Onset::StageRestarts, 1);
        capital.fold(&gain(-50.0), &ONE_BET);
        capital.restart(0.5);
        capital.fold(&gain(10.0), &ONE_BET);
        let expected = (0.25 * 10f64.exp() + 0.25 + 0.5 * (-40f64).exp()).ln();
        assert!((capital.log_e() - expected).abs() < 1e-12);
    }

    #[test]
    fn without_restarts_nothing_is_kept_back() {
        let mut capital = Capital::new(Onset::FromStart, 1);
        capital.restart(0.5);
        capital.fold(&gain(-2000.0), &ONE_BET);
        assert!((capital.log_e() + 2000.0).abs() < 1e-9);
        assert!(capital.peak().abs() < 1e-12);
    }

    #[test]
    fn gains_are_given_up_and_losses_kept() {
        let mut rich = Capital::new(Onset::FromStart, 1);
        rich.fold(&gain(4.0), &ONE_BET);
        rich.give_up_gains();
        assert!(rich.log_e().abs() < 1e-12 && (rich.peak() - 4.0).abs() < 1e-12);
        let mut poor = Capital::new(Onset::FromStart, 1);
        poor.fold(&gain(-4.0), &ONE_BET);
        poor.give_up_gains();
        poor.fold(&gain(1.0), &ONE_BET);
        assert!((poor.log_e() + 3.0).abs() < 1e-12);
    }
}
