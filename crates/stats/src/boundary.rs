//! Time-uniform boundaries for one arm, for the dashboard.
//!
//! **For display only: no decision rests on these.** They watch one arm by itself, so they answer "what is this arm's
//! rate" and not "is the canary worse".
//!
//! A sum s with intrinsic time v crosses its boundary ever with probability at most α. Mixtures are tuned to be
//! tightest at `v_opt` for `alpha_opt`. Source: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
//! nonasymptotic confidence sequences", Annals of Statistics 49 (2021).

use crate::special::{bracket, gamma_q, ln, ln_beta, ln_gamma, normal_cdf, zeta};

/// One or two sides of a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only sums that are too large count.
    One,
    /// Sums that are too large or too small count.
    Two,
}

/// Where a mixture is tightest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// The intrinsic time, above 0.
    pub v_opt: f64,
    /// The error level, in 0..1 (below ½ for one side).
    pub alpha_opt: f64,
}

impl Tuning {
    /// ρ, the precision of the mixing distribution.
    #[must_use]
    pub fn rho(self, sides: Sides) -> f64 {
        let alpha = match sides {
            Sides::One => 2.0 * self.alpha_opt,
            Sides::Two => self.alpha_opt,
        };
        let level = 2.0 * ln(1.0 / alpha);
        self.v_opt / (level + ln(1.0 + level))
    }
}

/// ln of the normal mixture supermartingale at (s, v), for sums with sub-Gaussian increments of variance v.
#[must_use]
pub fn normal_log_mixture(s: f64, v: f64, tuning: Tuning, sides: Sides) -> f64 {
    let rho = tuning.rho(sides);
    let square = s * s / (2.0 * (v + rho));
    match sides {
        Sides::One => 0.5 * ln(4.0 * rho / (v + rho)) + square + ln(normal_cdf(s / (v + rho).sqrt())),
        Sides::Two => 0.5 * ln(rho / (v + rho)) + square,
    }
}

/// The sum that the normal mixture allows at time v and level α.
#[must_use]
pub fn normal_mixture_bound(v: f64, alpha: f64, tuning: Tuning, sides: Sides) -> f64 {
    let level = ln(1.0 / alpha);
    let rho = tuning.rho(sides);
    let two_sided = ((v + rho) * (ln(1.0 + v / rho) + 2.0 * level)).sqrt();
    match sides {
        Sides::Two => two_sided,
        Sides::One => {
            let excess = |s: f64| normal_log_mixture(s, v, tuning, Sides::One) - level;
            bracket(0.0, 2.0 * two_sided, 1e-12 * two_sided, excess)
                .map_or(two_sided, |(low, high)| f64::midpoint(low, high))
        }
    }
}

/// ln of the two-sided beta–binomial mixture at (s, v), for increments in [−g, h].
#[must_use]
pub fn beta_binomial_log_mixture(s: f64, v: f64, tuning: Tuning, g: f64, h: f64) -> f64 {
    let prior = (tuning.rho(Sides::Two) - g * h).max(1e-3 * g * h);
    let (down, up) = (g * (g + h), h * (g + h));
    v / (g * h) * ln(g + h) - (v + h * s) / up * ln(g) - (v - g * s) / down * ln(h)
        + ln_beta((prior + v - g * s) / down, (prior + v + h * s) / up)
        - ln_beta(prior / down, prior / up)
}

/// ln of the gamma–Poisson mixture at (s, v), for sums whose jumps have scale c.
#[must_use]
pub fn gamma_poisson_log_mixture(s: f64, v: f64, tuning: Tuning, c: f64) -> f64 {
    let shape = tuning.rho(Sides::One) / (c * c);
    let (time, events) = (v / (c * c) + shape, s / c + v / (c * c) + shape);
    shape * ln(shape) - ln_gamma(shape) - ln(gamma_q(shape, shape)) + ln_gamma(events) + ln(gamma_q(events, time))
        - events * ln(time)
        + v / (c * c)
}

/// A confidence sequence for a yes/no rate after `bad` of `n` units, tightest around `t_opt` units: (lower, upper).
#[must_use]
pub fn bernoulli_interval(bad: u64, n: u64, alpha: f64, t_opt: f64, alpha_opt: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (units, rate) = (n as f64, bad as f64 / n as f64);
    let excess = |p: f64| {
        if p <= 0.0 || p >= 1.0 {
            return 1.0;
        }
        let variance = p * (1.0 - p);
        let tuning = Tuning { v_opt: variance * t_opt, alpha_opt };
        beta_binomial_log_mixture((rate - p) * units, variance * units, tuning, p, 1.0 - p) - ln(1.0 / alpha)
    };
    let middle = |ends: Option<(f64, f64)>, end: f64| ends.map_or(end, |(low, high)| f64::midpoint(low, high));
    let lower = if bad > 0 { middle(bracket(0.0, rate, 1e-13, excess), 0.0) } else { 0.0 };
    let upper = if bad < n { middle(bracket(rate, 1.0, 1e-13, excess), 1.0) } else { 1.0 };
    (lower, upper)
}

/// The polynomially stitched boundary (law of the iterated logarithm) at time v; s > 1 and η > 1 shape the epochs, c
/// is the scale of sub-gamma increments (0 for sub-Gaussian).
#[must_use]
pub fn poly_stitching_bound(v: f64, alpha: f64, v_min: f64, c: f64, s: f64, eta: f64) -> f64 {
    let time = v.max(v_min);
    let k1 = (libm::pow(eta, 0.25) + libm::pow(eta, -0.25)) / std::f64::consts::SQRT_2;
    let k2 = f64::midpoint(eta.sqrt(), 1.0);
    let ell = s * ln(ln(eta * time / v_min)) + ln(zeta(s) / (alpha * libm::pow(ln(eta), s)));
    let linear = k2 * c * ell;
    (k1 * k1 * time * ell + linear * linear).sqrt() + linear
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_where_its_mixture_reaches_the_line() {
        let tuning = Tuning { v_opt: 100.0, alpha_opt: 0.05 };
        for sides in [Sides::One, Sides::Two] {
            let bound = normal_mixture_bound(60.0, 0.05, tuning, sides);
            assert!((normal_log_mixture(bound, 60.0, tuning, sides) - 20f64.ln()).abs() < 1e-9, "{sides:?}");
        }
    }

    #[test]
    fn a_rate_lies_in_its_interval_which_narrows() {
        let width = |n: u64| {
            let (low, high) = bernoulli_interval(n / 50, n, 0.05, 1000.0, 0.05);
            assert!(low < 0.02 && 0.02 < high, "{low} {high}");
            high - low
        };
        assert!(width(5000) < width(500));
        assert_eq!(bernoulli_interval(0, 0, 0.05, 1000.0, 0.05), (0.0, 1.0));
        assert_eq!(bernoulli_interval(0, 50, 0.05, 1000.0, 0.05).0, 0.0);
        assert_eq!(bernoulli_interval(50, 50, 0.05, 1000.0, 0.05).1, 1.0);
    }
}
