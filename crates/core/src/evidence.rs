//! Turns reduced to session numbers at fixed ages, and sealed into exposure buckets
//! (`statistics.md`, section 7). Pure: what is absorbed, in whatever order, gives the same buckets.
//!
//! | module | what it holds |
//! |---|---|
//! | [`badness`] | what one turn says under one metric |
//! | [`classes`] | the classes that sessions are counted in, and the rounding between them |
//! | [`ledger`] | the sessions of one release until their last number is posted |
//! | [`openings`] | how answers begin, and which beginnings one arm alone has |
//! | [`names`] | under which names a version answers, and whether they changed |
//! | [`totals`] | what is counted beside them: exposure, tripwires, the heaviest unit |
//! | [`summary`], [`history`] | stable's traffic in short: what is calibrated and planned by |
//! | [`yardstick`] | thresholds, caps and centres, frozen from it |

pub mod badness;
pub mod classes;
mod gauge;
pub mod heavy;
pub mod history;
pub mod ledger;
mod listed;
pub mod names;
pub mod openings;
pub mod row;
pub mod runs;
#[cfg(test)]
pub(crate) mod sample;
mod seal;
pub mod summary;
pub mod totals;
pub mod yardstick;

pub use history::RouteHistory;
pub use ledger::{Absorbed, Changes, Kept, Ledger};
pub use listed::{ByMetric, Listed};
pub use totals::Totals;

use crate::metric::{Metric, Number};
use crate::origin::{Origin, Slice};
use crate::tally::Presence;
use crate::time::UnixMs;
use crate::traffic::pin::{Arm, Stratum};
use crate::traffic::weight::Salt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Stable's quantile in characters, per metric of a length.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub length: BTreeMap<Metric, f64>,
    /// Stable's price of one request, or of one task done, per ratio.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub price: BTreeMap<Metric, f64>,
    /// The origins whose sessions are kept apart, by stable's past; none where there is one kind of session only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Origin>,
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
    pub sums: ByMetric<Sums>,
    /// What is known of its first exposed request.
    #[serde(default)]
    pub first_seen: FirstSeen,
    /// Requests whose amounts are owed: those begun early enough to be judged by `ages.whole`.
    #[serde(default)]
    pub owed: u32,
    /// Idempotency keys of the feedback counted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scored: BTreeSet<u64>,
    /// Sums of a quantile metric against thresholds of its own, where the policy has such.
    #[serde(default, skip_serializing_if = "ByMetric::is_empty")]
    pub beyond: ByMetric<Beyond>,
    /// How its answers begin, as hashes, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<u64>,
    /// The last of its requests that `owed` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastSeen>,
}

/// A session's last request so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// When it began.
    pub started_at: UnixMs,
    /// How it went for the user; of two at once the worse.
    pub went: Went,
}

/// How a request went for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Went {
    /// It was answered.
    Well,
    /// It failed, was refused, empty or cut off, was given up, or took too long.
    Wrong,
}

impl LastSeen {
    /// The later one of what was known and a request, the worse of two at once.
    #[must_use]
    pub fn later(known: Option<Self>, started_at: UnixMs, went: Went) -> Self {
        match known {
            Some(known) if known.started_at > started_at => known,
            Some(known) if known.started_at == started_at => Self { started_at, went: known.went.max(went) },
            Some(_) | None => Self { started_at, went },
        }
    }
}

/// What a session's first exposed request was: it decides which metrics apply, alike in both arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FirstSeen {
    /// When the earliest request seen began; `None` while none was seen that began in the session's
    /// own exposure bucket.
    pub started_at: Option<UnixMs>,
    /// Whether it declared tools.
    pub tools: Option<Presence>,
    /// Whether it asked for a JSON Schema.
    pub schema: Option<Presence>,
    /// Where it came from, as far as that is kept apart.
    #[serde(default, skip_serializing_if = "Slice::is_rest")]
    pub slice: Slice,
    /// In which half of the control it is, by its customer; `None` where that is not known, and in the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half: Option<Half>,
}

/// A half of the control, cut by a hash of the customer; of the session, where there is no customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// The one.
    One,
    /// The other.
    Other,
}

impl Half {
    /// The half of whoever this is, under a release's salt: another one in each release.
    #[must_use]
    pub fn of(salt: &Salt, whose: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&salt.0);
        hasher.update(b"half").update(whose);
        if hasher.finalize().as_bytes()[0].is_multiple_of(2) { Self::One } else { Self::Other }
    }
}

/// A session's sums under one metric; what is zero is not written.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// The first exposed request's badness; `None` while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// Badness summed over the requests that count for X2 and whose badness is known; of a ratio, the tasks done.
    #[serde(skip_serializing_if = "is_zero")]
    pub session: f64,
    /// How many those are.
    #[serde(skip_serializing_if = "is_none")]
    pub session_n: u32,
    /// Requests that count for X2 and whose badness is unknown: they count as the centre.
    #[serde(skip_serializing_if = "is_none")]
    pub session_unknown: u32,
    /// The amount, or the scores, summed over the whole age; of a ratio, the cost.
    #[serde(skip_serializing_if = "is_zero")]
    pub whole: f64,
    /// How many went into `whole`.
    #[serde(skip_serializing_if = "is_none")]
    pub whole_n: u32,
}

fn is_zero(sum: &f64) -> bool {
    sum.to_bits() == 0
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// A quantile metric of one canary session against thresholds other than promotion's.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Beyond {
    /// Against the rollback margin's own threshold.
    pub rollback: Option<Sums>,
    /// Against the absolute limit.
    pub limit: Option<Sums>,
}

/// One number of every metric, over the sessions exposed in one bucket, both arms. Sealed: never
/// changes again. A metric is here once both arms have a session whose number is known; until then its
/// sessions are carried into the next bucket of the same stratum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedBucket {
    /// Which number.
    pub number: Number,
    /// Which exposure.
    pub stratum: Stratum,
    /// Which sessions of it, by where they come from.
    #[serde(default, skip_serializing_if = "Slice::is_rest")]
    pub slice: Slice,
    /// Index of the exposure bucket since the release was created; the last one where several were
    /// merged because an arm was empty.
    pub bucket: u64,
    /// The metric with an age of its own that this bucket holds alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Metric>,
    /// The histograms per metric.
    pub metrics: BTreeMap<Metric, TwoArms>,
}

impl SealedBucket {
    /// What is posted together under one number: `first`, or `whole/feedback.rating` for a metric with an
    /// age of its own; with `@2` behind it in the second slice. With stratum and bucket it is sealed once.
    #[must_use]
    pub fn posting(&self) -> String {
        let mut posting = self.number.as_str().to_owned();
        if let Some(metric) = &self.own {
            posting.push_str(&format!("/{metric}"));
        }
        if !self.slice.is_rest() {
            posting.push_str(&format!("@{}", self.slice.0));
        }
        posting
    }
}

/// Counts per class in both arms. The last class is *missing*: sessions that owe a number and have
/// none. They are shown and are not bet on, so that silence proves nothing in either direction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TwoArms {
    /// Sessions of the control per class.
    #[serde(with = "classes::sparse")]
    pub control: Vec<u64>,
    /// Sessions of the canary per class; of a quantile metric against promotion's threshold.
    #[serde(with = "classes::sparse")]
    pub canary: Vec<u64>,
    /// The canary against the rollback margin's own threshold; empty where it is promotion's.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "classes::sparse")]
    pub canary_rollback: Vec<u64>,
    /// The canary against a limit with its own threshold; empty where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "classes::sparse")]
    pub canary_limit: Vec<u64>,
    /// Control against the same; empty where the limit has no threshold of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "classes::sparse")]
    pub control_limit: Vec<u64>,
    /// Of the control, the one half of its customers: what control is held against itself by.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "classes::sparse")]
    pub control_half: Vec<u64>,
}
