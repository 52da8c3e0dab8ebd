//! What a regression is proven by: a bet on each session, or one on each bucket.

use crate::analysis::design;
use crate::release::policy::Unit;
use coalmine_stats::betting::{BadDesign, Bucket, Design, EProcess, Side};
use coalmine_stats::bucket_mean::BucketMean;

/// A running proof.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Proof {
    /// Each session is a unit.
    Sessions(EProcess),
    /// Each bucket is.
    Buckets(BucketMean),
}

impl Proof {
    /// Of a regression.
    pub(super) fn of_regression(unit: Unit, design: &Design) -> Result<Self, BadDesign> {
        match unit {
            Unit::Session => EProcess::new(design.clone()).map(Self::Sessions),
            Unit::BucketMean => by_bucket(Side::Rollback, design).map(Self::Buckets),
        }
    }

    pub(super) fn restart(&mut self, mass: f64) {
        match self {
            Self::Sessions(process) => process.restart(mass),
            Self::Buckets(process) => process.restart(mass),
        }
    }

    pub(super) fn seal(&mut self, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        match self {
            Self::Sessions(process) => process.seal(bucket),
            Self::Buckets(process) => process.seal(bucket),
        }
    }

    /// ln E now.
    pub(super) fn log_e(&self) -> f64 {
        match self {
            Self::Sessions(process) => process.log_e(),
            Self::Buckets(process) => process.log_e(),
        }
    }

    /// The largest ln E so far.
    pub(super) fn peak(&self) -> f64 {
        match self {
            Self::Sessions(process) => process.peak(),
            Self::Buckets(process) => process.peak(),
        }
    }
}

/// The same null with the bucket as its unit.
pub(super) fn by_bucket(side: Side, design: &Design) -> Result<BucketMean, BadDesign> {
    BucketMean::new(side, design.ratio, design.shift, design::clip(design.centre), design.onset)
}
