//! Control against control: does the noise model hold?
//!
//! Control's units are split in two halves at random (by a hash of the unit) and held against each other. Nothing can
//! be wrong between the halves, so evidence means that units inside an arm are not independent: pods with faults of
//! their own, several sessions of one sick customer. The line is E ≥ 1000: hold the metric, or use
//! [`crate::bucket_mean`] from the next release on. It cannot see noise that a whole arm shares.
//!
//! H0 is *neither half is worse than the other by more than the tolerance* (ratio and shift, as for two arms), so E is
//! the mean of the two one-sided processes, which are updated from the same buckets. Without a tolerance it is *both
//! means are equal*, which halves that are cut by customer never are for long.

use serde::{Deserialize, Serialize};

use crate::betting::{BadDesign, Bucket, Design, EProcess, Onset, Side};
use crate::merge::weighted_mean;

/// The two-sided e-process between the halves of control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    worse: EProcess,
    better: EProcess,
    peak: f64,
}

impl SelfCheck {
    /// Starts at E = 1, with control's frozen mean badness, against *both means are equal*.
    ///
    /// # Errors
    /// When the centre is not within 0 and 1.
    pub fn new(centre: f64) -> Result<Self, BadDesign> {
        Self::beyond(centre, 1.0, 0.0)
    }

    /// The same against *neither mean is above `ratio` times the other plus `shift`*.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn beyond(centre: f64, ratio: f64, shift: f64) -> Result<Self, BadDesign> {
        let design =
            Design { side: Side::Rollback, centre, ratio, shift, odds: 1.0, hint: None, onset: Onset::FromStart };
        Ok(Self { worse: EProcess::new(design.clone())?, better: EProcess::new(design)?, peak: 0.0 })
    }

    /// Folds the halves of one bucket in.
    ///
    /// # Errors
    /// As [`EProcess::seal`]. Nothing has changed then.
    pub fn seal(&mut self, values: &[f64], one: &[u64], other: &[u64]) -> Result<(), BadDesign> {
        self.worse.seal(&Bucket { values, control: one, canary: other })?;
        self.better.seal(&Bucket { values, control: other, canary: one })?;
        self.peak = self.peak.max(self.log_e());
        Ok(())
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        weighted_mean(&[self.worse.log_e(), self.better.log_e()], &[0.5, 0.5])
    }

    /// The largest ln E so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_halves_say_nothing_and_a_sick_half_speaks() {
        let (mut even, mut sick) = (SelfCheck::new(0.02).unwrap(), SelfCheck::new(0.02).unwrap());
        for _ in 0..30 {
            even.seal(&[0.0, 1.0], &[490, 10], &[490, 10]).unwrap();
            sick.seal(&[0.0, 1.0], &[495, 5], &[480, 20]).unwrap();
        }
        assert!(even.log_e() < 1.0, "{}", even.log_e());
        assert!(sick.peak() > 1000f64.ln(), "{}", sick.peak());
        assert!(SelfCheck::new(2.0).is_err());
    }

    #[test]
    fn a_difference_within_the_tolerance_says_nothing_whichever_half_is_the_worse() {
        for swapped in [false, true] {
            let (mut within, mut beyond) =
                (SelfCheck::beyond(0.02, 1.0, 0.02).unwrap(), SelfCheck::beyond(0.02, 1.0, 0.02).unwrap());
            for _ in 0..60 {
                for (check, bad) in [(&mut within, 14), (&mut beyond, 40)] {
                    let (one, other) = ([495, 5], [500 - bad, bad]);
                    let (one, other) = if swapped { (other, one) } else { (one, other) };
                    check.seal(&[0.0, 1.0], &one, &other).unwrap();
                }
            }
            assert!(within.peak() < 1.0, "{}", within.peak());
            assert!(beyond.peak() > 1000f64.ln(), "{}", beyond.peak());
        }
    }
}
