//! Turns reduced to session numbers at fixed ages, and sealed into exposure buckets
//! (`statistics.md`, section 7). Pure: what is absorbed, in whatever order, gives the same buckets.

pub mod history;
pub mod ledger;
pub mod totals;

pub use history::RouteHistory;
pub use ledger::{Absorbed, Changes, Kept, Ledger};
pub use totals::Totals;

use crate::metric::{Metric, Number};
use crate::time::UnixMs;
use crate::traffic::pin::{Arm, Stratum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is frozen from stable before any evidence counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Yardstick {
    /// When it was frozen; sessions exposed earlier do not count.
    pub frozen_at: UnixMs,
    /// Stable's p95 in milliseconds, per quantile metric.
    pub tau_ms: BTreeMap<Metric, f64>,
    /// The cap of an amount, in its unit.
    pub cap: BTreeMap<Metric, f64>,
    /// Stable's mean badness, per metric: the centre of its bets.
    pub centre: BTreeMap<Metric, f64>,
}

/// What one session has shown so far; kept until its last number is posted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its arm.
    pub arm: Arm,
    /// The exposure that governed it.
    pub stratum: Stratum,
    /// When its first exposed request began.
    pub exposed_at: UnixMs,
    /// Requests seen.
    pub requests: u64,
    /// Sums per metric.
    pub sums: BTreeMap<Metric, Sums>,
}

/// A session's sums under one metric. All zero where the metric does not apply to the session.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// The first exposed request's badness; `None` while unknown.
    pub first: Option<f64>,
    /// Badness summed over the requests that count for X2.
    pub session: f64,
    /// Requests that count for X2.
    pub session_n: u32,
    /// The amount, or the scores, summed over the whole age.
    pub whole: f64,
    /// How many went into `whole`.
    pub whole_n: u32,
}

/// One number of every metric, over the sessions exposed in one bucket, both arms. Sealed: never
/// changes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedBucket {
    /// Which number.
    pub number: Number,
    /// Which exposure.
    pub stratum: Stratum,
    /// Index of the exposure bucket since the start; the last one where several were merged
    /// because an arm was empty.
    pub bucket: u64,
    /// The histograms per metric.
    pub metrics: BTreeMap<Metric, TwoArms>,
}

/// Counts per class in both arms. The class at `values.len() - 1` is *missing*, worth the centre.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TwoArms {
    /// Sessions of the control per class.
    pub control: Vec<u64>,
    /// Sessions of the canary per class.
    pub canary: Vec<u64>,
}
