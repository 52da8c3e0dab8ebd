//! What is frozen from control before the first bucket: centre, cap, tail threshold.
//!
//! They come from stable's last 24 hours where these exist, else from the warm-up, and never change inside a release.
//! None of them bears on validity: a centre wrong by half or double, or a threshold wrong by a third, costs some units
//! and nothing else.

use crate::betting::{BadDesign, total};
use crate::limit::check;

/// The mean badness of a histogram, in 0..=1; `None` where it is empty.
///
/// # Errors
/// When there is not one count per class, or a value lies outside 0..=1.
pub fn mean(values: &[f64], counts: &[u64]) -> Result<Option<f64>, BadDesign> {
    check(values, counts)?;
    let units = total(counts);
    if units == 0 {
        return Ok(None);
    }
    let sum: f64 = values.iter().zip(counts).map(|(value, count)| value * *count as f64).sum();
    Ok(Some((sum / units as f64).clamp(0.0, 1.0)))
}

/// The frozen centre: the mean of control's history, held by half a pseudo-unit at `prior` so that a rare fault not
/// yet seen does not read as impossible; `prior` itself without history.
///
/// # Errors
/// As [`mean`], and when the prior is not within 0 and 1.
pub fn centre(values: &[f64], counts: &[u64], prior: f64) -> Result<f64, BadDesign> {
    if !(0.0..=1.0).contains(&prior) {
        return Err(BadDesign("the centre's prior is not within 0 and 1"));
    }
    let units = total(counts) as f64;
    Ok(mean(values, counts)?.map_or(prior, |mean| (mean * units + 0.5 * prior) / (units + 0.5)))
}

/// Whether a value counts as a slow one. Control is held against τ (control's own quantile, such as its p95, frozen);
/// the canary against (1 + ρ)·τ with the latency margin ρ ≥ 0.
#[must_use]
pub fn exceeds(value: f64, threshold: f64, margin: f64) -> bool {
    value > (1.0 + margin) * threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_follows_history_and_falls_back_to_its_prior() {
        assert_eq!(mean(&[0.0, 1.0], &[98, 2]), Ok(Some(0.02)));
        assert_eq!(mean(&[0.0, 1.0], &[0, 0]), Ok(None));
        assert_eq!(centre(&[0.0, 1.0], &[0, 0], 0.01), Ok(0.01));
        let unseen = centre(&[0.0, 1.0], &[10_000, 0], 0.01).unwrap();
        assert!(unseen > 0.0 && unseen < 1e-6);
        assert!(centre(&[0.0, 1.0], &[1, 1], f64::NAN).is_err());
        assert!(mean(&[0.0], &[1, 1]).is_err());
    }

    #[test]
    fn only_the_canary_is_given_the_margin() {
        assert!(exceeds(1.05, 1.0, 0.0) && !exceeds(1.05, 1.0, 0.1));
        assert!(!exceeds(f64::NAN, 1.0, 0.0));
    }
}
