//! How long it will take: the duration calculator.
//!
//! If canary and control are as forecast, a bet λ grows the log of its capital per canary unit by
//!
//! ```text
//! g(λ) = E_canary ln(1 + λ(X − m − r·c)) + (1/κ̄)·E_control ln(1 − κ̄·r·λ(X − c))        λ* = argmax g (concave)
//! n̂    = ( ln(1/α) + ln(1/w*) ) / g(λ*)         hours = n̂ / (canary units per hour · sampling rate)
//! ```
//!
//! where w* is the stake behind the bet: ½ for a hint, ½ again with restarts, and the metric's own weight. n̂ agrees
//! with simulated *means* to 0.96–1.34; the median is a little lower, and nine runs of ten end by [`SLOWEST_TENTH`] ·
//! n̂. Harm is set by the number of canary units, not by the share: n̂·Δ units get an answer that control would have
//! given right.

use crate::betting::{BadDesign, Design, Onset};
use crate::grid::{self, Grid};
use crate::limit::Bound;
use crate::special::{bracket, exp, ln, ln_1p, normal_cdf, normal_density};

/// Nine runs of ten end within this many times n̂.
pub const SLOWEST_TENTH: f64 = 2.0;

/// What both arms are expected to look like: chances per class, each arm's sum 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    values: Vec<f64>,
    control: Vec<f64>,
    canary: Vec<f64>,
}

/// The bet that grows fastest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimum {
    /// λ*, signed as the side is; |λ*| is the hint for a design.
    pub lambda: f64,
    /// g(λ*), in nats per canary unit; 0 where no bet grows.
    pub growth: f64,
}

/// When a decision is likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration {
    /// n̂, canary units until the line is reached, typically.
    pub units: f64,
    /// By how many units nine runs of ten have reached it.
    pub units_slow: f64,
    /// Units among n̂ that are worse off than with control; negative where better.
    pub harmed: f64,
}

impl Forecast {
    /// Chances per class of badness.
    ///
    /// # Errors
    /// When there is not one chance per class in each arm, a value lies outside 0..=1, or an arm's chances do not sum
    /// to 1.
    pub fn new(values: &[f64], control: &[f64], canary: &[f64]) -> Result<Self, BadDesign> {
        if values.len() != control.len() || values.len() != canary.len() {
            return Err(BadDesign("the forecast has not one chance per class in each arm"));
        }
        let unit = |x: &f64| (0.0..=1.0).contains(x);
        if ![values, control, canary].into_iter().flatten().all(unit) {
            return Err(BadDesign("a value or a chance of the forecast is not within 0 and 1"));
        }
        if [control, canary].iter().any(|arm| (arm.iter().sum::<f64>() - 1.0).abs() > 1e-6) {
            return Err(BadDesign("the chances of an arm do not sum to 1"));
        }
        Ok(Self { values: values.to_vec(), control: control.to_vec(), canary: canary.to_vec() })
    }

    /// A yes/no metric with these rates of badness.
    ///
    /// # Errors
    /// When a rate is not within 0 and 1.
    pub fn yes_no(control: f64, canary: f64) -> Result<Self, BadDesign> {
        Self::new(&[0.0, 1.0], &[1.0 - control, control], &[1.0 - canary, canary])
    }

    /// Control as counted, and a canary whose mean badness is `mean`: control's distribution tilted exponentially, the
    /// least change that brings the mean there.
    ///
    /// # Errors
    /// When the counts are empty or do not fit, or no tilt brings the mean there.
    pub fn tilted(values: &[f64], counts: &[u64], mean: f64) -> Result<Self, BadDesign> {
        if crate::centre::mean(values, counts)?.is_none() {
            return Err(BadDesign("the forecast has no units of control"));
        }
        let total = crate::betting::total(counts) as f64;
        let control: Vec<f64> = counts.iter().map(|count| *count as f64 / total).collect();
        let tilt = |theta: f64| -> Vec<f64> {
            let raw: Vec<f64> = values.iter().zip(&control).map(|(x, p)| p * exp(theta * (x - mean))).collect();
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|p| p / sum).collect()
        };
        let off = |theta: f64| tilt(theta).iter().zip(values).map(|(p, x)| p * (x - mean)).sum();
        let (low, high) =
            bracket(-500.0, 500.0, 1e-9, off).ok_or(BadDesign("no tilt of control has the forecast's mean"))?;
        Self::new(values, &control, &tilt(f64::midpoint(low, high)))
    }

    /// The canary's mean badness less control's.
    #[must_use]
    pub fn effect(&self) -> f64 {
        self.values.iter().zip(self.canary.iter().zip(&self.control)).map(|(x, (b, a))| x * (b - a)).sum()
    }

    /// g(λ) for a signed bet, in nats per canary unit; −∞ where the bet can lose everything.
    #[must_use]
    pub fn growth(&self, design: &Design, lambda: f64) -> f64 {
        let line = design.shift + design.ratio * design.centre;
        let stretch = design.odds * design.ratio;
        let expect = |chances: &[f64], f: &dyn Fn(f64) -> f64| -> f64 {
            let present = self.values.iter().zip(chances).filter(|(_, chance)| **chance > 0.0);
            present.map(|(x, chance)| chance * f(*x)).sum()
        };
        expect(&self.canary, &|x| ln_1p(lambda * (x - line)))
            + expect(&self.control, &|x| ln_1p(-stretch * lambda * (x - design.centre))) / design.odds
    }

    fn slope(&self, design: &Design, lambda: f64) -> f64 {
        let line = design.shift + design.ratio * design.centre;
        let stretch = design.odds * design.ratio;
        let arms = self.values.iter().zip(self.canary.iter().zip(&self.control));
        arms.map(|(x, (canary, control))| {
            let (b, a) = (x - line, x - design.centre);
            canary * b / (1.0 + lambda * b) - control * design.ratio * a / (1.0 - stretch * lambda * a)
        })
        .sum()
    }
}

/// The growth-optimal bet for a design (its hint is not looked at) if the arms are as forecast.
///
/// # Errors
/// When a number of the design is not finite or out of its range.
pub fn optimum(design: &Design, forecast: &Forecast) -> Result<Optimum, BadDesign> {
    design.check()?;
    let largest = grid::cut(design.largest(design.odds));
    let slope = |size: f64| forecast.slope(design, design.side.signed(size)) * design.side.signed(1.0);
    let size = if slope(0.0) <= 0.0 {
        0.0
    } else {
        bracket(0.0, largest, 1e-12 * largest, slope).map_or(largest, |(low, high)| f64::midpoint(low, high))
    };
    let lambda = design.side.signed(size);
    Ok(Optimum { lambda, growth: forecast.growth(design, lambda).max(0.0) })
}

/// n̂ for a bet that grows by `growth` nats per canary unit, with `stake` of the capital behind it, until E ≥ 1/α. +∞
/// where it does not grow.
#[must_use]
pub fn units(growth: f64, alpha: f64, stake: f64) -> f64 {
    if growth > 0.0 { (ln(1.0 / alpha) + ln(1.0 / stake)) / growth } else { f64::INFINITY }
}

/// When this design is likely to reach 1/α: the earliest of its bets. α is the metric's own share (w·α). Units are +∞
/// where no bet grows: such a guardrail cannot decide.
///
/// # Errors
/// When a number of the design is not finite or out of its range.
pub fn duration(design: &Design, forecast: &Forecast, alpha: f64) -> Result<Duration, BadDesign> {
    design.check()?;
    let (grid, cap) = (design.grid(), design.cap(design.odds));
    let kept = match design.onset {
        Onset::FromStart => 1.0,
        Onset::StageRestarts => 0.5,
    };
    let bets = grid.stakes.iter().zip(grid.weights).take(grid.len);
    let reach = |(size, weight): (&f64, f64)| {
        units(forecast.growth(design, design.side.signed(size.min(cap))), alpha, kept * weight)
    };
    let units = bets.map(reach).fold(f64::INFINITY, f64::min);
    Ok(Duration { units, units_slow: SLOWEST_TENTH * units, harmed: units * forecast.effect() })
}

/// Hours until `units` canary units are there: all units of the route per hour, the canary's share of them, and the
/// share of its units that the metric samples. +∞ where nothing flows.
#[must_use]
pub fn hours(units: f64, units_per_hour: f64, share: f64, sampled: f64) -> f64 {
    let flow = units_per_hour * share * sampled;
    if flow > 0.0 { units / flow } else { f64::INFINITY }
}

/// One bet of a mixture on what is forecast, per canary unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bet {
    /// Its share of the stake.
    pub weight: f64,
    /// Mean gain of its log capital.
    pub growth: f64,
    /// Variance of that gain.
    pub variance: f64,
}

/// The bets of `design` if the arms are as forecast, in a stage whose odds are `settled`, in a bucket whose odds come
/// out as `odds`: sized for the one and cut by the other.
///
/// # Errors
/// When a number of the design or one of the odds is not finite or out of its range.
pub fn bets(design: &Design, forecast: &Forecast, settled: f64, odds: f64) -> Result<Vec<Bet>, BadDesign> {
    design.check()?;
    if ![settled, odds].iter().all(|odds| odds.is_finite() && *odds > 0.0) {
        return Err(BadDesign("the odds are not a number above 0"));
    }
    let (grid, cap) = (design.grid_at(grid::sized(design.odds, settled)), design.cap(odds));
    let line = design.shift + design.ratio * design.centre;
    let stretch = odds * design.ratio;
    let bet = |size: f64, weight: f64| {
        let lambda = design.side.signed(size.min(cap));
        let canary = moments(&forecast.values, &forecast.canary, |x| ln_1p(lambda * (x - line)));
        let control = moments(&forecast.values, &forecast.control, |x| ln_1p(-stretch * lambda * (x - design.centre)));
        Bet { weight, growth: canary.0 + control.0 / odds, variance: canary.1 + control.1 / odds }
    };
    Ok(each(&grid, bet))
}

/// The bets of a one-sample bound on units with these chances per class: an absolute limit, or pairs.
///
/// # Errors
/// When the bound is out of its range, or there is not one chance per class.
pub fn bets_alone(bound: &Bound, values: &[f64], chances: &[f64]) -> Result<Vec<Bet>, BadDesign> {
    bound.check()?;
    if values.len() != chances.len() {
        return Err(BadDesign("the forecast has not one chance per class"));
    }
    let grid = bound.grid();
    let cap = grid::cut(bound.largest());
    let bet = |size: f64, weight: f64| {
        let lambda = bound.side.signed(size.min(cap));
        let (growth, variance) = moments(values, chances, |x| ln_1p(lambda * (x - bound.mean)));
        Bet { weight, growth, variance }
    };
    Ok(each(&grid, bet))
}

/// The chance that a walk has reached `barrier` > 0 at least once by the time its mean is `mean` and its variance
/// `variance`: Brownian motion with drift (the inverse Gaussian law).
///
/// ```text
/// P = Φ((G − b)/√V) + exp(2Gb/V)·Φ(−(G + b)/√V)
/// ```
#[must_use]
pub fn reached(barrier: f64, mean: f64, variance: f64) -> f64 {
    if variance <= 0.0 || !mean.is_finite() {
        return if mean >= barrier { 1.0 } else { 0.0 };
    }
    let spread = variance.sqrt();
    let (near, far) = ((mean - barrier) / spread, (mean + barrier) / spread);
    // Beyond six the product of a huge and a tiny number is φ(near) times Mills' ratio, exp(2Gb/V)·φ(far) = φ(near).
    let before = if far > 6.0 {
        normal_density(near) * (1.0 - 1.0 / (far * far)) / far
    } else {
        exp(2.0 * mean * barrier / variance) * normal_cdf(-far)
    };
    (normal_cdf(near) + before).clamp(0.0, 1.0)
}

fn each(grid: &Grid, bet: impl Fn(f64, f64) -> Bet) -> Vec<Bet> {
    grid.stakes.iter().zip(grid.weights).take(grid.len).map(|(size, weight)| bet(*size, weight)).collect()
}

/// Mean and variance of `f` over classes with these chances.
fn moments(values: &[f64], chances: &[f64], f: impl Fn(f64) -> f64) -> (f64, f64) {
    let present = values.iter().zip(chances).filter(|(_, chance)| **chance > 0.0);
    let (mut mean, mut square) = (0.0, 0.0);
    for (x, chance) in present {
        let gain = f(*x);
        mean += chance * gain;
        square += chance * gain * gain;
    }
    (mean, (square - mean * mean).max(0.0))
}

/// A closed form for a small effect on a yes/no metric with rate p, hinted: n̂ ≈ 2(1 + κ)·p(1 − p)·(ln(1/α) + ln
/// 2)/Δ².
#[must_use]
pub fn rule_of_thumb(rate: f64, effect: f64, odds: f64, alpha: f64) -> f64 {
    2.0 * (1.0 + odds) * rate * (1.0 - rate) * (ln(1.0 / alpha) + std::f64::consts::LN_2) / (effect * effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::betting::Side;

    fn design(side: Side, centre: f64, shift: f64, hint: Option<f64>) -> Design {
        Design { side, centre, ratio: 1.0, shift, odds: 1.0 / 19.0, hint, onset: Onset::FromStart }
    }

    #[test]
    fn the_calculator_gives_the_units_of_the_specification() {
        for (control, canary, expected) in [(0.005, 0.02, 314.0), (0.02, 0.04, 497.0), (0.08, 0.15, 145.0)] {
            let design = design(Side::Rollback, control, 0.0, None);
            let forecast = Forecast::yes_no(control, canary).unwrap();
            let best = optimum(&design, &forecast).unwrap();
            assert!((units(best.growth, 0.05, 0.5) - expected).abs() < 0.6, "{}", units(best.growth, 0.05, 0.5));
            let hinted = Design { hint: Some(best.lambda), ..design };
            let duration = duration(&hinted, &forecast, 0.05).unwrap();
            assert!((duration.units - expected).abs() < 0.6, "{duration:?}");
            assert!((duration.harmed - expected * (canary - control)).abs() < 0.1);
        }
    }

    #[test]
    fn the_bets_agree_with_the_duration_and_bracket_the_walk() {
        let design = design(Side::Rollback, 0.02, 0.0, None);
        let forecast = Forecast::yes_no(0.02, 0.04).unwrap();
        let found = bets(&design, &forecast, design.odds, design.odds).unwrap();
        let barrier = |bet: &Bet| ln(1.0 / (0.05 * bet.weight));
        let fastest = found.iter().map(|bet| barrier(bet) / bet.growth).filter(|n| *n > 0.0).fold(f64::MAX, f64::min);
        let planned = duration(&design, &forecast, 0.05).unwrap().units;
        assert!((fastest / planned - 1.0).abs() < 1e-9, "{fastest} {planned}");
        let chance = |units: f64| {
            let one = |bet: &Bet| reached(barrier(bet), units * bet.growth, units * bet.variance);
            found.iter().map(one).fold(0.0, f64::max)
        };
        assert!(chance(0.5 * planned) < 0.5 && chance(planned) > 0.5, "the median lies below the mean");
        assert!((0.85..0.97).contains(&chance(SLOWEST_TENTH * planned)), "{}", chance(SLOWEST_TENTH * planned));
        assert!(bets(&design, &forecast, 0.0, 0.1).is_err());
    }

    #[test]
    fn a_walk_without_drift_is_sometimes_there_and_one_against_it_hardly() {
        assert!((reached(3.0, 0.0, 9.0) - 2.0 * normal_cdf(-1.0)).abs() < 1e-9, "the reflection principle");
        assert!((reached(3.0, -1e6, 1e6) - exp(-6.0)).abs() < 1e-4, "it was there once at most");
        assert_eq!(reached(3.0, 400.0, 0.0), 1.0);
        assert_eq!(reached(3.0, 1e6, 1.0), 1.0);
    }

    #[test]
    fn pairs_of_a_worse_canary_are_bet_on() {
        let bound = crate::paired::bound(Side::Rollback, 0.0);
        let found = bets_alone(&bound, &crate::paired::PREFERENCE, &[0.08, 0.77, 0.15]).unwrap();
        let best = found.iter().map(|bet| bet.growth).fold(0.0, f64::max);
        assert!((0.005..0.02).contains(&best), "{best}");
        assert!(bets_alone(&bound, &crate::paired::PREFERENCE, &[1.0]).is_err());
    }

    #[test]
    fn what_cannot_decide_takes_for_ever() {
        let design = design(Side::Rollback, 0.02, 0.01, None);
        let inside = Forecast::yes_no(0.02, 0.025).unwrap();
        assert_eq!(optimum(&design, &inside).unwrap(), Optimum { lambda: 0.0, growth: 0.0 });
        assert_eq!(duration(&design, &inside, 0.05).unwrap().units, f64::INFINITY);
        assert_eq!(hours(100.0, 0.0, 0.05, 1.0), f64::INFINITY);
        assert!((hours(500.0, 1000.0, 0.05, 0.1) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn promotion_of_an_equal_canary_is_planned_for() {
        let design = design(Side::Promote, 0.02, 0.01, None);
        let equal = Forecast::yes_no(0.02, 0.02).unwrap();
        let best = optimum(&design, &equal).unwrap();
        assert!(best.lambda < 0.0 && best.growth > 0.0);
        let duration = duration(&Design { hint: Some(-best.lambda), ..design }, &equal, 0.05).unwrap();
        assert!((1000.0..3000.0).contains(&duration.units), "{duration:?}");
    }

    #[test]
    fn the_rule_of_thumb_is_near_for_small_effects() {
        let design = design(Side::Rollback, 0.1, 0.0, None);
        let best = optimum(&design, &Forecast::yes_no(0.1, 0.105).unwrap()).unwrap();
        let ratio = rule_of_thumb(0.1, 0.005, 1.0 / 19.0, 0.05) / units(best.growth, 0.05, 0.5);
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_tilt_brings_the_mean_where_it_is_asked_for() {
        let values = [0.0, 0.25, 0.5, 0.75, 1.0];
        let forecast = Forecast::tilted(&values, &[400, 300, 200, 70, 30], 0.35).unwrap();
        let mean: f64 = values.iter().zip(&forecast.canary).map(|(x, p)| x * p).sum();
        assert!((mean - 0.35).abs() < 1e-6);
        assert!(Forecast::tilted(&values, &[0; 5], 0.35).is_err());
        assert!(Forecast::tilted(&values, &[10, 0, 0, 0, 0], 0.35).is_err());
        assert!(Forecast::new(&values, &[0.2; 5], &[0.3; 5]).is_err());
        assert!(Forecast::yes_no(f64::NAN, 0.1).is_err());
    }
}
