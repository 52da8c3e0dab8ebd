//! Rules on cumulative means and variances: the repeated z test, mSPRT, and the one-sided confidence sequence.

use crate::boundary::Sides;
use crate::rivals::asymptotic::half_width;
use crate::special::{exp, normal_quantile};

/// Count, sum and sum of squares of one arm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    n: f64,
    sum: f64,
    squares: f64,
}

/// Two arms, cumulative since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Comparison {
    /// Control.
    pub control: Moments,
    /// The canary.
    pub canary: Moments,
}

impl Moments {
    /// Adds `count` units of one value.
    pub fn add(&mut self, value: f64, count: f64) {
        self.n += count;
        self.sum += value * count;
        self.squares += value * value * count;
    }

    /// The mean; 0 without units.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.n > 0.0 { self.sum / self.n } else { 0.0 }
    }

    /// The variance of the mean; 0 with fewer than two units.
    #[must_use]
    pub fn variance_of_mean(&self) -> f64 {
        if self.n < 2.0 {
            return 0.0;
        }
        ((self.squares - self.sum * self.sum / self.n) / (self.n - 1.0)).max(0.0) / self.n
    }
}

impl Comparison {
    /// Canary less control, and the variance of it.
    #[must_use]
    pub fn difference(&self) -> (f64, f64) {
        let variance = self.canary.variance_of_mean() + self.control.variance_of_mean();
        (self.canary.mean() - self.control.mean(), variance)
    }

    /// A z test at this look: is the canary worse at level α, one-sided?
    #[must_use]
    pub fn z_test(&self, alpha: f64) -> bool {
        let (difference, variance) = self.difference();
        variance > 0.0 && difference >= normal_quantile(1.0 - alpha) * variance.sqrt()
    }

    /// The z statistic of this look; 0 without variance.
    #[must_use]
    pub fn z(&self) -> f64 {
        let (difference, variance) = self.difference();
        if variance > 0.0 { difference / variance.sqrt() } else { 0.0 }
    }

    /// mSPRT with a normal mixture of standard deviation τ: Λ = sqrt(V/(V + τ²))·exp(τ²θ²/(2V(V + τ²))) ≥ 1/α and the
    /// canary worse. Source: Johari, Koomen, Pekelis and Walsh, "Always valid inference" (Operations Research 2022).
    #[must_use]
    pub fn msprt(&self, tau: f64, alpha: f64) -> bool {
        let (difference, variance) = self.difference();
        if variance <= 0.0 || difference <= 0.0 {
            return false;
        }
        let spread = variance + tau * tau;
        let exponent = tau * tau * difference * difference / (2.0 * variance * spread);
        (variance / spread).sqrt() * exp(exponent.min(700.0)) >= 1.0 / alpha
    }

    /// The one-sided asymptotic confidence sequence: (lower, upper) bounds, each at level α, tightest at `planned`
    /// units.
    #[must_use]
    pub fn asymptotic(&self, planned: f64, alpha: f64) -> (f64, f64) {
        let (difference, variance) = self.difference();
        let n = self.control.n + self.canary.n;
        if n <= 0.0 {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let reach = half_width(variance * n, n, planned, alpha, Sides::One);
        (difference - reach, difference + reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(control: f64, canary: f64, n: f64) -> Comparison {
        let mut sums = Comparison::default();
        for (arm, rate) in [(&mut sums.control, control), (&mut sums.canary, canary)] {
            arm.add(1.0, rate * n);
            arm.add(0.0, (1.0 - rate) * n);
        }
        sums
    }

    #[test]
    fn all_three_rules_see_a_gross_difference_and_none_sees_none() {
        let (gross, none) = (rates(0.1, 0.3, 1000.0), rates(0.1, 0.1, 1000.0));
        assert!((gross.z() - 0.2 / gross.difference().1.sqrt()).abs() < 1e-12);
        assert!(gross.z_test(0.05) && gross.msprt(0.2, 0.05) && gross.asymptotic(5000.0, 0.05).0 > 0.0);
        assert!(!none.z_test(0.05) && !none.msprt(0.2, 0.05) && none.asymptotic(5000.0, 0.05).0 < 0.0);
    }

    #[test]
    fn without_units_nothing_is_said() {
        let nothing = Comparison::default();
        assert!(!nothing.z_test(0.05) && !nothing.msprt(0.1, 0.05) && nothing.z() == 0.0);
        assert_eq!(nothing.asymptotic(5000.0, 0.05), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn no_canary_failures_make_a_falsely_tight_bound() {
        let (_, upper) = rates(0.001, 0.0, 500.0).asymptotic(5000.0, 0.05);
        assert!(upper < 0.006, "the flaw that the table shows: {upper}");
    }
}
