//! Many e-values, one decision.
//!
//! | rule | when | formula |
//! |---|---|---|
//! | [`weighted_mean`] | e-processes updated from the same cohort at the same seal, and not latched | ln Σ w_i E_i |
//! | [`weighted_max`] | anything else: numbers of different ages, latched peaks, other sources | max ln(w_i E_i) |
//! | [`e_bh`] | to name the guilty after the fact | the k largest with E_(k) ≥ K/(k·α) |
//!
//! With Σ w ≤ 1 both the mean and the maximum may be held against ln(1/α). The mean of two processes whose buckets lag
//! each other is *not* a supermartingale: with fair coins, a lagged mean crosses 20 in 6.3 % of runs where 5 % were
//! promised. The maximum is the union bound and always holds; it costs 1 to 8 % more units. Promotion needs no
//! correction: every metric must stand at its own line (intersection–union), which is [`all_at`].
//!
//! Sources: Vovk and Wang, "E-values: calibration, combination and applications" (Annals of Statistics 2021); Wang and
//! Ramdas, "False discovery rate control with e-values" (JRSS B 2022).

use crate::special::{exp, ln};

/// ln of the weighted mean of e-values given as ln E; −∞ for none. Weights sum to at most 1. What has no partner or is
/// not a number counts as E = 0.
#[must_use]
pub fn weighted_mean(log_e: &[f64], weights: &[f64]) -> f64 {
    let terms = || log_e.iter().zip(weights).filter(|(log_e, weight)| **weight > 0.0 && !log_e.is_nan());
    let high = terms().map(|(log_e, _)| *log_e).fold(f64::NEG_INFINITY, f64::max);
    if !high.is_finite() {
        return high;
    }
    high + ln(terms().map(|(log_e, weight)| weight * exp(log_e - high)).sum())
}

/// The largest w_i·E_i and whose it is: (index, ln(w_i·E_i)). `None` where no weight is above 0; a number that is not
/// one is passed over.
#[must_use]
pub fn weighted_max(log_e: &[f64], weights: &[f64]) -> Option<(usize, f64)> {
    let terms = log_e.iter().zip(weights).map(|(log_e, weight)| log_e + ln(weight.max(0.0)));
    let comparable = terms.enumerate().filter(|(_, term)| *term > f64::NEG_INFINITY);
    comparable.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// Which e-values are named at false discovery rate α, as indices in order of evidence, strongest first.
#[must_use]
pub fn e_bh(log_e: &[f64], alpha: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..log_e.len()).filter(|index| !log_e[*index].is_nan()).collect();
    order.sort_by(|a, b| log_e[*b].total_cmp(&log_e[*a]));
    let all = log_e.len() as f64;
    let named = (1..=order.len()).rev().find(|k| log_e[order[k - 1]] >= ln(all / (*k as f64 * alpha)));
    order.truncate(named.unwrap_or(0));
    order
}

/// Whether every one stands at its line *now* (ln 1/β); `false` for none, since no evidence is never a pass.
#[must_use]
pub fn all_at(log_e: &[f64], line: f64) -> bool {
    !log_e.is_empty() && log_e.iter().all(|log_e| *log_e >= line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_names_its_metric_and_passes_over_what_is_no_number() {
        let (index, value) = weighted_max(&[1.0, f64::NAN, 3.0, 9.0], &[0.5, 0.2, 0.3, 0.0]).unwrap();
        assert_eq!(index, 2);
        assert!((value - (3.0 + 0.3f64.ln())).abs() < 1e-12);
        assert_eq!(weighted_max(&[], &[]), None);
        assert_eq!(weighted_max(&[1.0], &[0.0]), None);
    }

    #[test]
    fn naming_needs_more_of_a_lone_guilty_than_of_many() {
        let line = |k: f64| (6.0 / (k * 0.05f64)).ln();
        assert_eq!(e_bh(&[0.0, line(1.0) + 0.01, 0.0, 0.0, 0.0, 0.0], 0.05), [1]);
        assert!(e_bh(&[0.0, line(1.0) - 0.01, 0.0, 0.0, 0.0, 0.0], 0.05).is_empty());
        let two = line(2.0) + 0.01;
        assert_eq!(e_bh(&[two, 0.0, two + 0.1, 0.0, 0.0, 0.0], 0.05), [2, 0]);
        assert!(e_bh(&[f64::NAN; 3], 0.05).is_empty());
    }

    #[test]
    fn nothing_is_no_pass() {
        assert!(!all_at(&[], 3.0));
        assert!(!all_at(&[4.0, f64::NAN], 3.0));
        assert!(!all_at(&[4.0, 2.9], 3.0));
        assert!(all_at(&[4.0, 3.0], 3.0));
    }

    #[test]
    fn a_mean_of_huge_evidence_is_finite() {
        assert!((weighted_mean(&[5000.0, 0.0], &[0.5, 0.5]) - (5000.0 + 0.5f64.ln())).abs() < 1e-9);
        assert!((weighted_mean(&[f64::NAN, 4.0], &[0.5, 0.5]) - (4.0 + 0.5f64.ln())).abs() < 1e-12);
        assert_eq!(weighted_mean(&[], &[]), f64::NEG_INFINITY);
    }
}
