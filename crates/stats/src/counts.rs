//! Events without a fixed number of units: crashes per instance-hour, tool calls per session.
//!
//! Kept per bucket and arm are the number of events k and the exposure n (in any unit, the same in both arms). With
//! κ = n_canary / n_control one bucket multiplies the capital by
//!
//! ```text
//! ln e(λ) = k_canary·ln(1 + λ) + k_control·ln(1 − κ·r·λ) − λ·n_canary·m
//! ```
//!
//! H0 is *rate(canary) ≤ r·rate(control) + m* (λ > 0) or ≥ (λ < 0). Exact for Poisson arrivals, and for sums of any
//! data in [0, 1]; no centre is needed. With m = 0 it is the likelihood ratio of "whose event comes next" (Lindon,
//! Sanden and Shirikian, KDD 2022).

use serde::{Deserialize, Serialize};

use crate::betting::{BadDesign, Onset, Side};
use crate::grid::{self, Grid};
use crate::restart::{Capital, MAX_BETS};
use crate::special::ln_1p;

/// Everything about a comparison of rates that is fixed before the first bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The side.
    pub side: Side,
    /// `r` of the null, above 0.
    pub ratio: f64,
    /// `m` of the null, in events per unit of exposure, at least 0.
    pub shift: f64,
    /// Planned canary exposure per control exposure (κ̄), above 0.
    pub odds: f64,
    /// The size |λ| of a growth-optimal bet, where an effect is designed for; for a ratio R of rates it is
    /// (R − 1)/(1 + κR).
    pub hint: Option<f64>,
    /// Whether half of the stake waits for restarts.
    pub onset: Onset,
}

/// One sealed bucket of events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Events {
    /// Control's events.
    pub control: u64,
    /// The canary's events.
    pub canary: u64,
    /// Control's exposure.
    pub control_exposure: f64,
    /// The canary's exposure.
    pub canary_exposure: f64,
}

/// A running e-process over event counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RateProcess {
    rates: Rates,
    capital: Capital,
}

impl RateProcess {
    /// Starts at E = 1.
    ///
    /// # Errors
    /// When a number of the design is not finite or out of its range.
    pub fn new(rates: Rates) -> Result<Self, BadDesign> {
        rates.check()?;
        let capital = Capital::new(rates.onset, grid::bets(rates.hint));
        Ok(Self { rates, capital })
    }

    /// Opens a restart, as [`crate::betting::EProcess::restart`] does.
    pub fn restart(&mut self, gamma: f64) {
        self.capital.restart(gamma);
    }

    /// Folds one sealed bucket in.
    ///
    /// # Errors
    /// When an exposure is not a number above 0: merge such a bucket forward. Nothing has changed then.
    pub fn seal(&mut self, events: &Events) -> Result<(), BadDesign> {
        let odds = events.odds()?;
        let cap = grid::cut(self.rates.largest(odds));
        let grid = Grid::new(self.rates.largest(self.rates.odds), self.rates.hint);
        let mut gains = [0.0; MAX_BETS];
        for (gain, stake) in gains.iter_mut().zip(grid.stakes).take(grid.len) {
            *gain = self.rates.gain(events, odds, self.rates.side.signed(stake.min(cap)));
        }
        self.capital.fold(&gains, &grid.weights);
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
}

impl Rates {
    /// ln e of one bucket for one signed bet λ, uncut.
    ///
    /// # Errors
    /// When an exposure is not a number above 0, or λ could lose more than everything.
    pub fn log_factor(&self, events: &Events, lambda: f64) -> Result<f64, BadDesign> {
        let gain = self.gain(events, events.odds()?, lambda);
        if gain.is_finite() { Ok(gain) } else { Err(BadDesign("the bet can lose more than everything")) }
    }

    fn check(&self) -> Result<(), BadDesign> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.ratio) || !positive(self.odds) {
            return Err(BadDesign("the ratio or the planned odds are not a number above 0"));
        }
        if !(self.shift.is_finite() && self.shift >= 0.0) {
            return Err(BadDesign("the shift is not a number of at least 0"));
        }
        if self.hint.is_some_and(|hint| !positive(hint)) {
            return Err(BadDesign("the hinted bet is not a number above 0"));
        }
        Ok(())
    }

    fn largest(&self, odds: f64) -> f64 {
        match self.side {
            Side::Rollback => 1.0 / (odds * self.ratio),
            Side::Promote => 1.0,
        }
    }

    fn gain(&self, events: &Events, odds: f64, lambda: f64) -> f64 {
        let times = |count: u64, x: f64| if count == 0 { 0.0 } else { count as f64 * ln_1p(x) };
        times(events.canary, lambda) + times(events.control, -odds * self.ratio * lambda)
            - lambda * events.canary_exposure * self.shift
    }
}

impl Events {
    fn odds(&self) -> Result<f64, BadDesign> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if positive(self.control_exposure) && positive(self.canary_exposure) {
            Ok(self.canary_exposure / self.control_exposure)
        } else {
            Err(BadDesign("the bucket has an arm without exposure: merge it into the next"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(side: Side, ratio: f64) -> RateProcess {
        let rates = Rates { side, ratio, shift: 0.0, odds: 1.0 / 19.0, hint: None, onset: Onset::FromStart };
        RateProcess::new(rates).unwrap()
    }

    fn events(control: u64, canary: u64) -> Events {
        Events { control, canary, control_exposure: 950.0, canary_exposure: 50.0 }
    }

    #[test]
    fn a_tripled_rate_rolls_back_and_an_equal_one_promotes_within_a_half_more() {
        let (mut back, mut promote) = (process(Side::Rollback, 1.0), process(Side::Promote, 1.5));
        for _ in 0..20 {
            back.seal(&events(19, 3)).unwrap();
            promote.seal(&events(190, 10)).unwrap();
        }
        assert!(back.peak() > 20f64.ln(), "{}", back.peak());
        assert!(promote.log_e() > 20f64.ln(), "{}", promote.log_e());
    }

    #[test]
    fn an_arm_without_exposure_is_refused() {
        let mut process = process(Side::Rollback, 1.0);
        for exposure in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(process.seal(&Events { canary_exposure: exposure, ..events(1, 1) }).is_err());
        }
        assert!(process.log_e().abs() < 1e-12);
    }
}
