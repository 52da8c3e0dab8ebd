//! Time-uniform statements on quantiles, for descriptive plots.
//!
//! **For display only: no decision rests on these.** They need a distribution that stands still over the whole run,
//! which traffic does not; the tail that a user configures is decided by [`crate::betting`] on exceedance of a frozen
//! quantile.
//!
//! Source: Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
//! identification", Bernoulli 28 (2022).

use crate::boundary::{Tuning, beta_binomial_log_mixture};
use crate::special::{bracket, exp, ln, valley, zeta};

/// How far an empirical distribution function strays from the true one anywhere, ever from `t_min` units on: half the
/// height of the band at t units. `a` > 1/√2 is its leading constant (0.85 is usual); +∞ before `t_min`.
#[must_use]
pub fn empirical_process_bound(t: f64, alpha: f64, t_min: f64, a: f64) -> f64 {
    if t < t_min {
        return f64::INFINITY;
    }
    let error = |c: f64| ln(least_error(c, a)) - ln(alpha);
    let c = bracket(1.0, 100.0, 1e-12, error).map_or(f64::INFINITY, |(low, high)| f64::midpoint(low, high));
    a * ((ln(1.0 + ln(t / t_min)) + c) / t).sqrt()
}

/// The error level that the constant c reaches with the best epochs η.
fn least_error(c: f64, a: f64) -> f64 {
    let edge = |eta: f64| (eta / 2.0).sqrt() + (2.0 * (eta - 1.0) / c).sqrt() - a;
    let widest = bracket(1.0, 2.0 * a * a, 1e-13, edge).map_or(1.0, |(low, _)| low);
    let error = |eta: f64| {
        let gap = a - (2.0 * (eta - 1.0) / c).sqrt();
        let square = 2.0 / eta * gap * gap;
        if square <= 1.0 { f64::INFINITY } else { 4.0 * exp(-square * c) * (1.0 + 1.0 / ((square - 1.0) * ln(eta))) }
    };
    valley(1.0, widest, 1e-9, error).1
}

/// The doubly stitched bound on how many units more than p·t lie below the p-quantile, uniformly in t and p; tightest
/// from `t_opt` units on. δ spaces the quantiles, s > 1 and η > 1 shape the epochs.
#[must_use]
pub fn double_stitching_bound(p: f64, t: f64, alpha: f64, t_opt: f64, delta: f64, s: f64, eta: f64) -> f64 {
    let time = t.max(t_opt);
    let log_odds = ln(p / (1.0 - p));
    let near = 1.0 / (1.0 + exp(-(log_odds + 2.0 * delta * (t_opt * eta / time).sqrt())));
    let r = if p >= 0.5 { p } else { near.min(0.5) };
    let variance = r * (1.0 - r);
    let grid = (time / t_opt).sqrt() * log_odds.abs() / (2.0 * delta) + 1.0;
    let zeta = zeta(s);
    let ell = s * ln(ln(eta * time / t_opt))
        + s * ln(grid)
        + ln(2.0 * zeta * (2.0 * zeta + 1.0) / (alpha * libm::pow(ln(eta), s)));
    let k1 = (libm::pow(eta, 0.25) + libm::pow(eta, -0.25)) / std::f64::consts::SQRT_2;
    let linear = f64::midpoint(eta.sqrt(), 1.0) * (1.0 - 2.0 * p) / 3.0 * ell;
    delta * (eta * time * variance / t_opt).sqrt() + (k1 * k1 * variance * time * ell + linear * linear).sqrt() + linear
}

/// A sequential p-value for "both arms have the same p-quantile", from all values of both arms so far: the least
/// product of the two beta–binomial mixtures over where a common quantile could lie. 1 where an arm is empty.
#[must_use]
pub fn two_sample_p_value(first: &[f64], second: &[f64], p: f64, t_opt: f64, alpha_opt: f64) -> f64 {
    let tuning = Tuning { v_opt: t_opt * p * (1.0 - p), alpha_opt };
    let (Some(first), Some(second)) = (Arm::new(first, p, tuning), Arm::new(second, p, tuning)) else {
        return 1.0;
    };
    let joint = |x: f64| first.log_mixture_at(x) + second.log_mixture_at(x);
    // Each mixture is flat between order statistics and has one valley, so the least sum lies at a value between the
    // two.
    let (low, high) = (first.valley_end.min(second.valley_end), first.valley_start.max(second.valley_start));
    let between = first.sorted.iter().chain(&second.sorted).copied().filter(|x| (low..=high).contains(x));
    let least = between.chain([low, high]).map(joint).fold(f64::INFINITY, f64::min);
    exp(-least).min(1.0)
}

struct Arm {
    sorted: Vec<f64>,
    p: f64,
    tuning: Tuning,
    /// The proportion below at which the mixture is least, and between which values it lies.
    valley: f64,
    valley_start: f64,
    valley_end: f64,
}

impl Arm {
    fn new(values: &[f64], p: f64, tuning: Tuning) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut arm = Self { sorted, p, tuning, valley: p, valley_start: 0.0, valley_end: 0.0 };
        arm.valley = valley(0.0, 1.0, 1e-9, |below| arm.log_mixture(below)).0;
        let rank = arm.valley * arm.sorted.len() as f64;
        arm.valley_start = *arm.sorted.get((rank.ceil() as usize).max(1) - 1)?;
        arm.valley_end = *arm.sorted.get(rank.floor() as usize)?;
        Some(arm)
    }

    /// The mixture if this proportion of the arm lies below the quantile.
    fn log_mixture(&self, below: f64) -> f64 {
        let n = self.sorted.len() as f64;
        let variance = self.p * (1.0 - self.p);
        beta_binomial_log_mixture((below - self.p) * n, variance * n, self.tuning, self.p, 1.0 - self.p)
    }

    /// The least that the mixture can be if the quantile is x.
    fn log_mixture_at(&self, x: f64) -> f64 {
        let n = self.sorted.len() as f64;
        if x < self.valley_start {
            self.log_mixture(self.sorted.partition_point(|value| *value <= x) as f64 / n)
        } else if x > self.valley_end {
            self.log_mixture(self.sorted.partition_point(|value| *value < x) as f64 / n)
        } else {
            self.log_mixture(self.valley)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_arms_are_not_told_apart_and_shifted_ones_are() {
        let one: Vec<f64> = (0..400).map(|k| f64::from((k * 37) % 400)).collect();
        let shifted: Vec<f64> = one.iter().map(|x| x + 150.0).collect();
        assert!(two_sample_p_value(&one, &one, 0.9, 100.0, 0.05) > 0.5);
        assert!(two_sample_p_value(&one, &shifted, 0.9, 100.0, 0.05) < 1e-6);
        assert_eq!(two_sample_p_value(&[], &one, 0.9, 100.0, 0.05), 1.0);
    }

    #[test]
    fn there_is_no_band_before_its_first_unit() {
        assert_eq!(empirical_process_bound(50.0, 0.05, 100.0, 0.85), f64::INFINITY);
        let early = empirical_process_bound(100.0, 0.05, 100.0, 0.85);
        assert!(empirical_process_bound(10_000.0, 0.05, 100.0, 0.85) < early && early < 0.5);
    }
}
