//! The two-sample betting e-process. (Signatures agreed with `coalmine-core`; bodies follow.)

use serde::{Deserialize, Serialize};

/// Which null is bet against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// H0: the canary's mean badness is at most `ratio` · control's + `shift`. Evidence rolls back.
    Rollback,
    /// H0: it is at least that. Evidence promotes.
    Promote,
}

/// Everything about one e-process that is fixed before the first bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// The side.
    pub side: Side,
    /// Control's mean badness as known before, in 0..=1; a wrong one costs power, never validity.
    pub centre: f64,
    /// `r` of the null; at least 1 for a margin, 1 for none.
    pub ratio: f64,
    /// `m` of the null.
    pub shift: f64,
    /// Planned canary units per control unit (κ̄), above 0.
    pub odds: f64,
    /// A growth-optimal bet, where an effect is designed for: it gets half of the weight.
    pub hint: Option<f64>,
}

/// One sealed bucket: counts per class in both arms.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    /// The badness of each class, in 0..=1.
    pub values: &'a [f64],
    /// Control's count per class.
    pub control: &'a [u64],
    /// The canary's count per class.
    pub canary: &'a [u64],
}

/// A design that cannot be bet on, or a bucket that does not fit it.
#[derive(Debug, Clone, PartialEq)]
pub struct BadDesign(pub &'static str);

/// A running e-process: a pure function of its design and the buckets in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    design: Design,
}

impl EProcess {
    /// Starts at E = 1.
    ///
    /// # Errors
    /// When a number of the design is not finite or out of its range.
    pub fn new(design: Design) -> Result<Self, BadDesign> {
        Ok(Self { design })
    }

    /// Opens a restart: late-onset insurance mass γ is bet from the next bucket on
    /// (`γ_k = 1/(k(k+1))` for the k-th stage of a release).
    pub fn restart(&mut self, gamma: f64) {
        let _ = (gamma, &self.design);
    }

    /// Folds one sealed bucket in. A bucket with an empty arm is refused: merge it forward.
    ///
    /// # Errors
    /// When the bucket's lengths differ or an arm is empty.
    pub fn seal(&mut self, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        let _ = bucket;
        Ok(())
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        0.0
    }

    /// The largest ln E so far (the latch for rollback).
    #[must_use]
    pub fn peak(&self) -> f64 {
        0.0
    }
}
