//! Classes of badness: how a measured number becomes a count.
//!
//! | metric | classes | value of a class |
//! |---|---|---|
//! | yes/no | 2 | [`YES_NO`] |
//! | judge score 1 to 5 | 5 | [`score_value`]: (5 − s)/4 |
//! | fraction of a session's requests | 41 | [`fraction_values`]: k/40 |
//! | amount (cost, tokens, latency) | 64 | [`AmountScale::values`]: a grid point over the cap |
//!
//! **Rounding at random.** A number between two grid points goes to the upper one with a chance equal to its distance
//! from the lower one, over the gap; so its expectation is kept and the test is exact for the (winsorised) mean
//! itself. Rounding to the nearest would read a shift of 3 % as 1.5 to 5.3 %, by where in a class of 10 % it lies. The
//! caller hands the random bits in, keyed by the session, so that a replay rounds alike.

use serde::{Deserialize, Serialize};

use crate::betting::BadDesign;

/// The values of a yes/no metric: good, bad.
pub const YES_NO: [f64; 2] = [0.0, 1.0];
/// Classes of a fraction.
pub const FRACTION_CLASSES: usize = 41;
/// Classes of an amount.
pub const AMOUNT_CLASSES: usize = 64;
/// The first grid point above 0 of an amount, over its mean.
const SMALLEST: f64 = 0.02;
/// The least cap of an amount, over its mean.
const LEAST_CAP: f64 = 8.0;

/// The badness of a score `s` of 1 to 5, 5 best: (5 − s)/4.
#[must_use]
pub fn score_value(score: u8) -> Option<f64> {
    (1..=5).contains(&score).then(|| f64::from(5 - score) / 4.0)
}

/// The values of the 41 classes of a fraction: 0, 1/40, …, 1.
#[must_use]
pub fn fraction_values() -> [f64; FRACTION_CLASSES] {
    let mut values = [0.0; FRACTION_CLASSES];
    for (k, value) in values.iter_mut().enumerate() {
        *value = k as f64 / (FRACTION_CLASSES - 1) as f64;
    }
    values
}

/// The class of a fraction in 0..=1, rounded at random by `draw` (64 uniform bits); `None` for anything else.
#[must_use]
pub fn fraction_class(fraction: f64, draw: u64) -> Option<usize> {
    if !(0.0..=1.0).contains(&fraction) {
        return None;
    }
    let exact = fraction * (FRACTION_CLASSES - 1) as f64;
    let low = exact.floor();
    Some(low as usize + usize::from(uniform(draw) < exact - low))
}

/// The grid of an amount: 0, then 63 points in geometric steps from 0.02 × mean to the cap. Frozen from control before
/// the first bucket.
///
/// ```
/// use coalmine_stats::histogram::AmountScale;
///
/// let scale = AmountScale::new(100.0, 650.0)?; // mean and p99.9 of control
/// assert_eq!(scale.cap(), 800.0);
/// assert_eq!(scale.class(5000.0, 0), Some(63)); // winsorised; count "above the cap" as a metric of its own
/// # Ok::<(), coalmine_stats::betting::BadDesign>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AmountRange", into = "AmountRange")]
pub struct AmountScale {
    range: AmountRange,
    /// The grid points over the cap: the badness of each class.
    values: [f64; AMOUNT_CLASSES],
}

/// What an amount's grid is made from; the form that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct AmountRange {
    mean: f64,
    cap: f64,
}

impl AmountScale {
    /// The grid for an amount with this mean and this 99.9 % quantile in control; the cap is max(8 × mean, p99.9).
    ///
    /// # Errors
    /// When the mean is not a number above 0, or the quantile is not finite.
    pub fn new(mean: f64, p999: f64) -> Result<Self, BadDesign> {
        if !p999.is_finite() {
            return Err(BadDesign("the 99.9 % quantile of the amount is not a finite number"));
        }
        Self::try_from(AmountRange { mean, cap: p999.max(LEAST_CAP * mean) })
    }

    /// The badness of each class: a grid point over the cap.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Amounts from here on count as this one, in the amount's unit.
    #[must_use]
    pub fn cap(&self) -> f64 {
        self.range.cap
    }

    /// The class of an amount of at least 0 (+∞ included), rounded at random by `draw` (64 uniform bits); `None` for
    /// anything else.
    #[must_use]
    pub fn class(&self, amount: f64, draw: u64) -> Option<usize> {
        if amount.is_nan() || amount < 0.0 {
            return None;
        }
        let value = (amount / self.range.cap).min(1.0);
        let above = self.values.partition_point(|point| *point <= value);
        let low = above.saturating_sub(1);
        let Some(high) = self.values.get(above) else { return Some(low) };
        let up = uniform(draw) * (high - self.values[low]) < value - self.values[low];
        Some(low + usize::from(up))
    }
}

impl TryFrom<AmountRange> for AmountScale {
    type Error = BadDesign;

    fn try_from(range: AmountRange) -> Result<Self, BadDesign> {
        let AmountRange { mean, cap } = range;
        if !(mean.is_finite() && mean > 0.0 && cap.is_finite() && cap >= LEAST_CAP * mean) {
            return Err(BadDesign("the mean of the amount is not a number above 0, or its cap is below 8 means"));
        }
        let smallest = SMALLEST * mean / cap;
        let step = libm::pow(1.0 / smallest, 1.0 / (AMOUNT_CLASSES - 2) as f64);
        let mut values = [0.0; AMOUNT_CLASSES];
        for (k, value) in values.iter_mut().enumerate().skip(1) {
            *value = (smallest * libm::pow(step, (k - 1) as f64)).min(1.0);
        }
        values[AMOUNT_CLASSES - 1] = 1.0;
        Ok(Self { range, values })
    }
}

impl From<AmountScale> for AmountRange {
    fn from(scale: AmountScale) -> Self {
        scale.range
    }
}

/// Counts per class. Addition is the only way that tables merge, so order and node do not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty histogram of `classes` classes.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![0; classes] }
    }

    /// Counts one unit of a class; a class that does not exist is not counted, and the answer is then `false`.
    pub fn add(&mut self, class: usize) -> bool {
        match self.counts.get_mut(class) {
            Some(count) => {
                *count = count.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// Adds another histogram class by class.
    ///
    /// # Errors
    /// When it has another number of classes. Nothing has changed then.
    pub fn merge(&mut self, other: &Self) -> Result<(), BadDesign> {
        if self.counts.len() != other.counts.len() {
            return Err(BadDesign("the histograms have not the same classes"));
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        Ok(())
    }

    /// The counts per class.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All units.
    #[must_use]
    pub fn total(&self) -> u64 {
        crate::betting::total(&self.counts)
    }
}

/// 64 bits as a number in [0, 1).
fn uniform(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws evenly spread over [0, 1): the mean over them is an integral to 1/n.
    fn draws(n: u64) -> impl Iterator<Item = u64> {
        (0..n).map(move |i| (u64::MAX / n) * i + u64::MAX / (2 * n))
    }

    #[test]
    fn rounding_keeps_the_mean_of_a_fraction() {
        let values = fraction_values();
        for fraction in [0.0, 0.001, 0.37, 1.0 / 3.0, 0.9999, 1.0] {
            let sum: f64 = draws(10_000).map(|draw| values[fraction_class(fraction, draw).unwrap()]).sum();
            assert!((sum / 10_000.0 - fraction).abs() < 1e-5, "{fraction}");
        }
        assert_eq!(fraction_class(f64::NAN, 0), None);
        assert_eq!(fraction_class(1.01, 0), None);
        assert_eq!(fraction_class(-0.01, 0), None);
    }

    #[test]
    fn rounding_keeps_the_mean_of_an_amount_up_to_its_cap() {
        let scale = AmountScale::new(100.0, 1500.0).unwrap();
        assert_eq!(scale.cap(), 1500.0);
        for amount in [0.0, 0.5, 2.0, 37.0, 100.0, 1234.5, 1500.0, 9e9, f64::INFINITY] {
            let sum: f64 = draws(10_000).map(|draw| scale.values()[scale.class(amount, draw).unwrap()]).sum();
            let mean = sum / 10_000.0 * scale.cap();
            assert!((mean - amount.min(1500.0)).abs() < 0.02, "{amount}: {mean}");
        }
        assert_eq!(scale.class(f64::NAN, 0), None);
        assert_eq!(scale.class(-1.0, 0), None);
    }

    #[test]
    fn the_grid_of_an_amount_rises_from_zero_to_one() {
        let scale = AmountScale::new(0.003, 0.01).unwrap();
        assert_eq!(scale.values()[0], 0.0);
        assert!((scale.values()[1] - 0.02 / 8.0).abs() < 1e-15);
        assert_eq!(scale.values()[63], 1.0);
        assert!(scale.values().windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_stored_scale_is_the_same_scale_and_a_broken_one_is_refused() {
        let scale = AmountScale::new(100.0, 1500.0).unwrap();
        let stored = serde_json::to_string(&scale).unwrap();
        assert_eq!(stored, r#"{"mean":100.0,"cap":1500.0}"#);
        assert_eq!(serde_json::from_str::<AmountScale>(&stored).unwrap(), scale);
        assert!(serde_json::from_str::<AmountScale>(r#"{"mean":0.0,"cap":1500.0}"#).is_err());
        for (mean, p999) in [(0.0, 1.0), (-1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0)] {
            assert!(AmountScale::new(mean, p999).is_err());
        }
    }

    #[test]
    fn scores_are_badness() {
        assert_eq!(score_value(5), Some(0.0));
        assert_eq!(score_value(1), Some(1.0));
        assert_eq!(score_value(0), None);
        assert_eq!(score_value(6), None);
    }

    #[test]
    fn histograms_merge_by_addition_of_like_with_like() {
        let (mut a, mut b) = (Histogram::new(2), Histogram::new(2));
        assert!(a.add(1) && b.add(1) && b.add(0) && !b.add(2));
        a.merge(&b).unwrap();
        assert_eq!((a.counts(), a.total()), (&[1, 2][..], 3));
        assert!(a.merge(&Histogram::new(3)).is_err());
    }
}
