//! Statistics for one look at a sample of a size that was fixed before.

use crate::special::normal_quantile;

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

    #[test]
    fn intervals_stay_within_what_is_possible() {
        assert_eq!(wilson(0, 0, 0.05), (0.0, 1.0));
        let (low, high) = wilson(0, 10, 0.05);
        assert!(low == 0.0 && (0.2..0.4).contains(&high));
        let (low, high) = wilson(10, 10, 0.05);
        assert!(high > 1.0 - 1e-12 && low > 0.6);
    }
}
