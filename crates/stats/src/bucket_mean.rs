//! One bet per bucket, where the units of an arm share noise.
//!
//! When pods or a provider's region give an arm's bucket a level of its own, units are not independent and many of
//! them count for too much. Then the bucket is the unit: with D = mean(canary) − r·mean(control) − m, clipped to ±w,
//!
//! ```text
//! x = ½ + clip(D, −w, w)/(2w)          H0: mean x ≤ ½          ln e(λ) = ln(1 + λ(x − ½))
//! ```
//!
//! a one-sample bet with one unit per bucket. It needs tens of buckets instead of hundreds of units, and tests the
//! mean *clipped* difference. Choose the unit before the release starts and keep it: a switch in mid-run is a second
//! try.

use serde::{Deserialize, Serialize};

use crate::betting::{BadDesign, Bucket, Onset, Side};
use crate::centre::mean;
use crate::limit::{Bound, Limit};

/// What a bucket's difference is held against, and how far it may reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BucketMean {
    ratio: f64,
    shift: f64,
    clip: f64,
    process: Limit,
}

impl BucketMean {
    /// Starts at E = 1. `clip` is w: 0.05 is usual for rates; it has to hold most healthy buckets.
    ///
    /// # Errors
    /// When the ratio or the clip is not a number above 0, or the shift is not finite.
    pub fn new(side: Side, ratio: f64, shift: f64, clip: f64, onset: Onset) -> Result<Self, BadDesign> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !(positive(ratio) && positive(clip) && shift.is_finite()) {
            return Err(BadDesign("the ratio or the clip is not above 0, or the shift is not finite"));
        }
        let process = Limit::new(Bound { side, onset, ..Bound::at_most(0.5) })?;
        Ok(Self { ratio, shift, clip, process })
    }

    /// Opens a restart, as [`crate::betting::EProcess::restart`] does.
    pub fn restart(&mut self, gamma: f64) {
        self.process.restart(gamma);
    }

    /// Folds one sealed bucket in, as one unit.
    ///
    /// # Errors
    /// As [`crate::betting::EProcess::seal`]. Nothing has changed then.
    pub fn seal(&mut self, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        bucket.odds()?;
        let (control, canary) = (mean(bucket.values, bucket.control)?, mean(bucket.values, bucket.canary)?);
        let (Some(control), Some(canary)) = (control, canary) else { return Ok(()) };
        let difference = canary - self.ratio * control - self.shift;
        let x = (0.5 + difference / (2.0 * self.clip)).clamp(0.0, 1.0);
        self.process.seal(&[x], &[1])
    }

    /// At a drift epoch: evidence becomes min(E, 1) and is gathered anew.
    pub fn give_up_gains(&mut self) {
        self.process.give_up_gains();
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.process.log_e()
    }

    /// The largest ln E so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.process.peak()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_difference_is_found_and_the_number_of_units_does_not_matter() {
        let (mut few, mut many) = (1.0, 1.0);
        for (units, peak) in [(1u64, &mut few), (1000, &mut many)] {
            let mut process = BucketMean::new(Side::Rollback, 1.0, 0.0, 0.05, Onset::FromStart).unwrap();
            for _ in 0..60 {
                let bucket =
                    Bucket { values: &[0.0, 1.0], control: &[98 * units, 2 * units], canary: &[95 * units, 5 * units] };
                process.seal(&bucket).unwrap();
            }
            *peak = process.peak();
        }
        assert!(few > 20f64.ln(), "{few}");
        assert_eq!(few.to_bits(), many.to_bits());
    }

    #[test]
    fn a_bucket_counts_no_more_than_its_clip() {
        let mut process = BucketMean::new(Side::Rollback, 1.0, 0.0, 0.05, Onset::FromStart).unwrap();
        process.seal(&Bucket { values: &[0.0, 1.0], control: &[1000, 0], canary: &[0, 1000] }).unwrap();
        assert!(process.peak() <= 2f64.ln(), "one bucket cannot decide: {}", process.peak());
        assert!(process.seal(&Bucket { values: &[0.0, 1.0], control: &[0, 0], canary: &[1, 0] }).is_err());
        assert!(BucketMean::new(Side::Rollback, 1.0, 0.0, 0.0, Onset::FromStart).is_err());
    }
}
