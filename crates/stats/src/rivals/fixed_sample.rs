//! Statistics for one look at a sample of a size that was fixed before.

use crate::special::{exp, ln, ln_1p, normal_quantile};

/// Wilson's interval for a rate after `bad` of `n` units at level 1 − α: (lower, upper). Shown before there is
/// evidence.
#[must_use]
pub fn wilson(bad: u64, n: u64, alpha: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, rate) = (n as f64, bad as f64 / n as f64);
    let z = normal_quantile(1.0 - alpha / 2.0);
    let scale = 1.0 + z * z / n;
    let middle = (rate + z * z / (2.0 * n)) / scale;
    let reach = z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt() / scale;
    ((middle - reach).max(0.0), (middle + reach).min(1.0))
}

/// Clopper's and Pearson's exact interval (1934) for a rate after `bad` of `n` units at level 1 − α: (lower, upper). For
/// rates near 0, where a bound must not be too short.
#[must_use]
pub fn clopper_pearson(bad: u64, n: u64, alpha: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let upper = |bad: u64| if bad >= n { 1.0 } else { bisected(|rate| at_most(bad, n, rate) - alpha / 2.0) };
    (1.0 - upper(n - bad.min(n)), upper(bad))
}

/// The chance of at most `bad` of `n` at this rate.
fn at_most(bad: u64, n: u64, rate: f64) -> f64 {
    let odds = ln(rate) - ln_1p(-rate);
    let mut term = n as f64 * ln_1p(-rate);
    let mut sum = exp(term);
    for i in 0..bad {
        term += ln((n - i) as f64) - ln((i + 1) as f64) + odds;
        sum += exp(term);
    }
    sum
}

/// Where a falling function of 0..1 crosses 0.
fn bisected(falling: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if falling(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Canary units for a one-sided test of two rates at level α with this power, with `ratio` control units per canary
/// unit, by the arcsine transformation.
#[must_use]
pub fn sample_size(canary: f64, control: f64, ratio: f64, alpha: f64, power: f64) -> f64 {
    let angle = |rate: f64| 2.0 * libm::asin(rate.sqrt());
    let effect = angle(canary) - angle(control);
    let reach = normal_quantile(1.0 - alpha) + normal_quantile(power);
    (1.0 + 1.0 / ratio) * (reach / effect).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the closed forms at 0 and n, and the table of Clopper and Pearson's own example (3 of 10: 6.7 to 65.2 %).
    #[test]
    fn exact_intervals_are_those_of_the_book() {
        let close = |found: f64, truth: f64| assert!((found - truth).abs() < 1e-4, "{found} and not {truth}");
        let (low, high) = clopper_pearson(0, 1_000, 0.05);
        close(low, 0.0);
        close(high, 1.0 - 0.025_f64.powf(1e-3));
        close(clopper_pearson(1_000, 1_000, 0.05).0, 0.025_f64.powf(1e-3));
        let (low, high) = clopper_pearson(3, 10, 0.05);
        close(low, 0.0667);
        close(high, 0.6525);
        let (low, high) = clopper_pearson(900, 2_000, 0.05);
        assert!(low < wilson(900, 2_000, 0.05).0 && high > wilson(900, 2_000, 0.05).1, "{low} {high}");
        assert_eq!(clopper_pearson(0, 0, 0.05), (0.0, 1.0));
    }

    #[test]
    fn intervals_stay_within_what_is_possible() {
        assert_eq!(wilson(0, 0, 0.05), (0.0, 1.0));
        let (low, high) = wilson(0, 10, 0.05);
        assert!(low == 0.0 && (0.2..0.4).contains(&high));
        let (low, high) = wilson(10, 10, 0.05);
        assert!(high > 1.0 - 1e-12 && low > 0.6);
    }
}
