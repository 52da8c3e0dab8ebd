//! One sample against a fixed bound.
//!
//! Beside the comparison with control stand absolute limits: both arms can be bad together. H0 is *the canary's mean
//! badness is at most b in this bucket* (or at least b, to promote), and one bucket multiplies the capital by
//!
//! ```text
//! ln e(λ) = Σ_x counts[x]·ln(1 + λ(x − b))      against "at most b":          0 < λ < 1/b
//!                                               against "at least b":  −1/(1 − b) < λ < 0
//! ```
//!
//! which is the two-sample form with κ = 0. A limit spends a share of α of its own. Source: Waudby-Smith and Ramdas,
//! as in [`crate::betting`].
//!
//! ```
//! use coalmine_stats::limit::{Bound, Limit};
//!
//! // "Errors at most 2 %", with an alpha share of 0.5 %.
//! let mut limit = Limit::new(Bound::at_most(0.02))?;
//! for _ in 0..10 {
//!     limit.seal(&[0.0, 1.0], &[180, 20])?; // 10 % of 200 sessions
//! }
//! assert!(limit.peak() >= (1.0f64 / 0.005).ln());
//! # Ok::<(), coalmine_stats::betting::BadDesign>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::betting::{BadDesign, Onset, Side, add, total};
use crate::grid::{self, Grid};
use crate::restart::{Capital, MAX_BETS};

/// Everything about a one-sample e-process that is fixed before the first bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Rollback bets against "the mean is at most the bound", promotion against "it is at least the bound".
    pub side: Side,
    /// The bound on mean badness, in 0..=1.
    pub mean: f64,
    /// The size |λ| of a growth-optimal bet, where an effect is designed for.
    pub hint: Option<f64>,
    /// Whether half of the stake waits for restarts.
    pub onset: Onset,
}

/// A running one-sample e-process: a pure function of its bound, its restarts and the buckets in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    bound: Bound,
    capital: Capital,
}

impl Limit {
    /// Starts at E = 1.
    ///
    /// # Errors
    /// When a number of the bound is not finite or out of its range.
    pub fn new(bound: Bound) -> Result<Self, BadDesign> {
        bound.check()?;
        let capital = Capital::new(bound.onset, grid::bets(bound.hint));
        Ok(Self { bound, capital })
    }

    /// Opens a restart, as [`crate::betting::EProcess::restart`] does.
    pub fn restart(&mut self, gamma: f64) {
        self.capital.restart(gamma);
    }

    /// Folds one bucket in: the badness of each class, in 0..=1, and the canary's count per class. An empty bucket
    /// changes nothing.
    ///
    /// # Errors
    /// When the lengths differ or a value lies outside 0..=1. Nothing has changed then.
    pub fn seal(&mut self, values: &[f64], counts: &[u64]) -> Result<(), BadDesign> {
        check(values, counts)?;
        if total(counts) == 0 {
            return Ok(());
        }
        let grid = self.bound.grid();
        self.capital.fold(&self.bound.gains(values, counts, &grid), &grid.weights);
        Ok(())
    }

    /// At a drift epoch: evidence becomes min(E, 1) and is gathered anew.
    pub fn give_up_gains(&mut self) {
        self.capital.give_up_gains();
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

    /// What was fixed before the first bucket.
    #[must_use]
    pub fn bound(&self) -> &Bound {
        &self.bound
    }
}

impl Bound {
    /// An absolute limit that rolls back: H0 is "the mean is at most `mean`".
    #[must_use]
    pub fn at_most(mean: f64) -> Self {
        Self { side: Side::Rollback, mean, hint: None, onset: Onset::FromStart }
    }

    /// ln e of one bucket for one signed bet λ, uncut.
    ///
    /// # Errors
    /// When the bucket does not fit, or λ could lose more than everything in it.
    pub fn log_factor(&self, values: &[f64], counts: &[u64], lambda: f64) -> Result<f64, BadDesign> {
        check(values, counts)?;
        let gain = self.sum(values, counts, &[lambda])[0];
        if gain.is_finite() { Ok(gain) } else { Err(BadDesign("the bet can lose more than everything")) }
    }

    pub(crate) fn check(&self) -> Result<(), BadDesign> {
        if !(0.0..=1.0).contains(&self.mean) {
            return Err(BadDesign("the bound is not within 0 and 1"));
        }
        if self.hint.is_some_and(|hint| !(hint.is_finite() && hint > 0.0)) {
            return Err(BadDesign("the hinted bet is not a number above 0"));
        }
        Ok(())
    }

    pub(crate) fn grid(&self) -> Grid {
        Grid::new(self.largest(), self.hint)
    }

    /// ln e of one bucket for each bet of a grid, cut to what this bound allows.
    pub(crate) fn gains(&self, values: &[f64], counts: &[u64], grid: &Grid) -> [f64; MAX_BETS] {
        let cap = grid::cut(self.largest());
        let lambdas = grid.stakes.map(|stake| self.side.signed(stake.min(cap)));
        self.sum(values, counts, &lambdas[..grid.len])
    }

    pub(crate) fn largest(&self) -> f64 {
        match self.side {
            Side::Rollback => grid::inverse(self.mean),
            Side::Promote => grid::inverse(1.0 - self.mean),
        }
    }

    fn sum(&self, values: &[f64], counts: &[u64], lambdas: &[f64]) -> [f64; MAX_BETS] {
        let mut gains = [0.0; MAX_BETS];
        for (x, count) in values.iter().zip(counts).filter(|(_, count)| **count > 0) {
            add(&mut gains, lambdas, *count, x - self.mean);
        }
        gains
    }
}

pub(crate) fn check(values: &[f64], counts: &[u64]) -> Result<(), BadDesign> {
    if values.len() != counts.len() {
        return Err(BadDesign("the bucket has not one count per class"));
    }
    if !values.iter().all(|value| (0.0..=1.0).contains(value)) {
        return Err(BadDesign("the bucket has a class whose badness is not within 0 and 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES_NO: [f64; 2] = [0.0, 1.0];

    #[test]
    fn a_canary_at_its_limit_builds_no_evidence_either_way() {
        for side in [Side::Rollback, Side::Promote] {
            let mut limit = Limit::new(Bound { side, ..Bound::at_most(0.02) }).unwrap();
            for _ in 0..200 {
                limit.seal(&YES_NO, &[98, 2]).unwrap();
            }
            assert!(limit.peak() < 1.0, "{side:?}: {}", limit.peak());
        }
    }

    #[test]
    fn a_canary_far_below_its_limit_proves_it() {
        let mut limit = Limit::new(Bound { side: Side::Promote, ..Bound::at_most(0.05) }).unwrap();
        for _ in 0..20 {
            limit.seal(&YES_NO, &[99, 1]).unwrap();
        }
        assert!(limit.log_e() > 20f64.ln());
    }

    #[test]
    fn limits_at_the_ends_are_finite() {
        for mean in [0.0, 1.0] {
            for side in [Side::Rollback, Side::Promote] {
                let mut limit = Limit::new(Bound { side, ..Bound::at_most(mean) }).unwrap();
                limit.seal(&YES_NO, &[5, 5]).unwrap();
                assert!(limit.log_e().is_finite(), "{mean} {side:?}");
            }
        }
        assert!(Limit::new(Bound::at_most(f64::NAN)).is_err());
    }

    #[test]
    fn an_empty_bucket_changes_nothing_and_a_misfit_is_refused() {
        let mut limit = Limit::new(Bound::at_most(0.1)).unwrap();
        limit.seal(&YES_NO, &[8, 2]).unwrap();
        let before = limit.clone();
        limit.seal(&YES_NO, &[0, 0]).unwrap();
        assert!(limit.seal(&[0.0, 2.0], &[1, 1]).is_err());
        assert!(limit.seal(&YES_NO, &[1]).is_err());
        assert_eq!(limit, before);
    }
}
