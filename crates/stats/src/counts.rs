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
use crate::interval::{Opening, edge};
use crate::restart::{Capital, MAX_BETS};
use crate::special::ln_1p;

/// Bounds are looked for within this many times the rates that were seen.
const WIDEST: f64 = 1000.0;

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
        let (grid, lambdas) = self.rates.lambdas(odds);
        let mut gains = [0.0; MAX_BETS];
        for (gain, lambda) in gains.iter_mut().zip(lambdas).take(grid.len) {
            *gain = self.rates.gain(events, odds, lambda);
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

/// The confidence sequence of *rate(canary) − r·rate(control)*, kept as the buckets come: in a bucket the shift enters
/// ln e linearly, so two sums per bet are all there is to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct RateBand {
    rates: Rates,
    segments: Vec<Segment>,
    total: Events,
}

/// The buckets from one opening to the next, summed per bet.
#[derive(Debug, Clone, PartialEq)]
struct Segment {
    opening: Opening,
    /// ln e at shift 0.
    gains: [f64; MAX_BETS],
    /// What a shift of 1 takes away: λ·n_canary.
    slopes: [f64; MAX_BETS],
}

impl RateBand {
    /// Nothing excluded yet.
    ///
    /// # Errors
    /// As [`RateProcess::new`].
    pub fn new(rates: Rates) -> Result<Self, BadDesign> {
        rates.check()?;
        let total = Events { control: 0, canary: 0, control_exposure: 0.0, canary_exposure: 0.0 };
        let mut band = Self { rates, segments: Vec::new(), total };
        band.open(Opening::Plain);
        Ok(band)
    }

    /// Says what happened just before the next bucket.
    pub fn open(&mut self, opening: Opening) {
        self.segments.push(Segment { opening, gains: [0.0; MAX_BETS], slopes: [0.0; MAX_BETS] });
    }

    /// Folds one sealed bucket in.
    ///
    /// # Errors
    /// As [`RateProcess::seal`]. Nothing has changed then.
    pub fn seal(&mut self, events: &Events) -> Result<(), BadDesign> {
        let odds = events.odds()?;
        let (grid, lambdas) = self.rates.lambdas(odds);
        let flat = Rates { shift: 0.0, ..self.rates.clone() };
        if let Some(segment) = self.segments.last_mut() {
            for (j, lambda) in lambdas.iter().enumerate().take(grid.len) {
                segment.gains[j] += flat.gain(events, odds, *lambda);
                segment.slopes[j] += lambda * events.canary_exposure;
            }
        }
        self.total.control = self.total.control.saturating_add(events.control);
        self.total.canary = self.total.canary.saturating_add(events.canary);
        self.total.control_exposure += events.control_exposure;
        self.total.canary_exposure += events.canary_exposure;
        Ok(())
    }

    /// ln E against the null with this shift.
    #[must_use]
    pub fn log_e(&self, shift: f64) -> f64 {
        let grid = self.rates.grid();
        let mut capital = Capital::new(self.rates.onset, grid.len);
        for segment in &self.segments {
            segment.opening.apply(self.rates.side, &mut capital);
            let mut gains = segment.gains;
            for (gain, slope) in gains.iter_mut().zip(segment.slopes) {
                *gain -= slope * shift;
            }
            capital.fold(&gains, &grid.weights);
        }
        capital.log_e()
    }

    /// The bound at `line` = ln(1/(w·α)), in events per unit of exposure: lower for the rollback side, upper for
    /// promotion; −∞ or +∞ where nothing is excluded.
    #[must_use]
    pub fn bound(&self, line: f64) -> f64 {
        let total = &self.total;
        if total.odds().is_err() {
            return self.rates.side.signed(f64::NEG_INFINITY);
        }
        let rate = |events: u64, exposure: f64| events as f64 / exposure;
        let guess =
            rate(total.canary, total.canary_exposure) - self.rates.ratio * rate(total.control, total.control_exposure);
        let most = rate(total.canary.max(1), total.canary_exposure)
            + self.rates.ratio * rate(total.control.max(1), total.control_exposure);
        let reach = WIDEST * most;
        let bound = edge(self.rates.side, -reach, reach, guess, |shift| self.log_e(shift) - line);
        if bound.abs() < reach { bound } else { self.rates.side.signed(f64::NEG_INFINITY) }
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

    fn grid(&self) -> Grid {
        Grid::new(self.largest(self.odds), self.hint)
    }

    /// The bets of a bucket with odds κ, signed and cut.
    fn lambdas(&self, odds: f64) -> (Grid, [f64; MAX_BETS]) {
        let (grid, cap) = (self.grid(), grid::cut(self.largest(odds)));
        (grid, grid.stakes.map(|stake| self.side.signed(stake.min(cap))))
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

    #[test]
    fn a_band_encloses_the_difference_and_agrees_with_the_process_that_decides() {
        let rates = |side| Rates { shift: 0.001, ..process(side, 1.0).rates };
        let (mut lower, mut upper) =
            (RateBand::new(rates(Side::Rollback)).unwrap(), RateBand::new(rates(Side::Promote)).unwrap());
        let mut back = RateProcess::new(rates(Side::Rollback)).unwrap();
        assert_eq!((lower.bound(3.0), upper.bound(3.0)), (f64::NEG_INFINITY, f64::INFINITY));
        for _ in 0..40 {
            for band in [&mut lower, &mut upper] {
                band.seal(&events(19, 3)).unwrap();
            }
            back.seal(&events(19, 3)).unwrap();
        }
        assert!((lower.log_e(0.001) - back.log_e()).abs() < 1e-9);
        let (low, high) = (lower.bound(20f64.ln()), upper.bound(20f64.ln()));
        assert!(0.01 < low && low < 0.04 && 0.04 < high && high < 0.1, "{low} {high}");
        assert!((lower.log_e(low) - 20f64.ln()).abs() < 0.01);
        assert!(lower.seal(&Events { canary_exposure: 0.0, ..events(1, 1) }).is_err());
    }
}
