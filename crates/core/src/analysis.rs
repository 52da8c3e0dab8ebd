//! Sealed buckets to verdicts. Nothing here can express traffic: an analysis is read by
//! [`crate::release::decide`], and by people.

pub mod alpha;
mod band;
pub mod books;
pub(crate) mod design;
pub(crate) mod epochs;
pub mod eta;
mod finding;
pub(crate) mod gauging;
mod judges;
pub mod look;
mod proof;
mod quality;
#[cfg(test)]
mod ratio_tests;
mod sentinels;
mod shadow;
#[cfg(test)]
mod tests;
mod words;

pub use alpha::Alpha;
pub use books::Books;
pub use judges::JudgeFinding;
pub use look::{Reporting, analyse};
pub use shadow::{PairedFinding, ShadowFinding, SimilarityFinding};

use crate::metric::{Metric, Number};
use crate::release::policy::Role;
use crate::sentinel::Tries;
use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};

/// What one look found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// When.
    pub at: UnixMs,
    /// The stage that was served.
    pub stage: usize,
    /// Per guardrail, in the order of the policy.
    pub findings: Vec<Finding>,
    /// The guardrails together: `max(w_i · E_i)` against the line.
    pub rollback: Evidence,
    /// The metrics whose `w_i · E_i` reached the line by itself, the guiltiest first.
    pub guilty: Vec<Metric>,
    /// Absolute limits that were proven exceeded.
    pub limits_exceeded: Vec<LimitFinding>,
    /// The first tripwire that fired, in words; empty when control tripped too.
    pub tripped: Option<String>,
    /// Sessions of this stage with their session number posted, canary and control.
    pub posted: ArmCounts,
    /// Sessions exposed in the whole release.
    pub exposed: ArmCounts,
    /// Canary sessions harmed so far, by the worst guardrail.
    pub harmed: Interval,
    /// Excess cost so far in US dollars; `None` without prices.
    pub extra_cost_usd: Option<Interval>,
    /// What both arms have cost; `None` while no cost is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
    /// What a ramp may rise by; `None` where the plan has none, or nothing is posted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub climb: Option<Climb>,
    /// So many drifts of the release the evidence for promotion has taken account of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drifts: usize,
    /// The state of the evidence itself.
    pub quality: Quality,
    /// Per sentinel, in the order of the suite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<SentinelFinding>,
    /// Per judge, in the order of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<JudgeFinding>,
    /// What the shadow has shown; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowFinding>,
    /// What the canary's upstreams say to being given more; asked only when all else is there.
    #[serde(default, skip_serializing_if = "Readiness::is_silent")]
    pub readiness: Readiness,
}

/// What both arms have cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The control.
    pub control: ArmCosts,
    /// The canary.
    pub canary: ArmCosts,
}

/// What the requests of one arm have cost, those after the ages included; in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmCosts {
    /// In all, where known.
    pub usd: f64,
    /// Requests whose cost is unknown; below they are taken to cost what the others do.
    pub unknown: u64,
    /// Tasks that feedback says were done.
    pub tasks_done: f64,
    /// For one request.
    pub per_request: Option<f64>,
    /// For one session.
    pub per_session: Option<f64>,
    /// For one task done.
    pub per_task: Option<f64>,
}

/// Whether the upstreams of the canary can be given more: warm, and with room. It is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Readiness {
    /// Why they cannot yet, in words with numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// What is odd, and holds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Readiness {
    /// Whether there is nothing to say: they are ready, or nothing of them was asked.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.holds.is_empty() && self.notes.is_empty()
    }
}

/// One guardrail's finding: number, bound, n and reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which metric.
    pub metric: Metric,
    /// What its regression does.
    pub role: Role,
    /// The verdict.
    pub verdict: Verdict,
    /// The number that is shown and that promotion must prove.
    pub number: Number,
    /// Control's mean, in the metric's own direction and unit.
    pub control: Option<f64>,
    /// The canary's.
    pub canary: Option<f64>,
    /// The confidence sequence of the badness difference canary − control, by inversion of the same tests.
    pub difference: Option<Interval>,
    /// Sessions with a number, per arm.
    pub n: ArmCounts,
    /// Sessions that owed a number and have none, per arm.
    pub missing: ArmCounts,
    /// How long beyond its age one of its numbers has been awaited; nothing right after one was posted.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub silent: SpanMs,
    /// Evidence for a rollback (the latched maximum over the metric's numbers, weighted) against its line.
    pub rollback: Evidence,
    /// log of the same evidence as it stands now, without the latch.
    #[serde(default = "no_evidence", with = "crate::float")]
    pub standing: f64,
    /// Evidence for promotion, as it stands now, against its line.
    pub promote: Evidence,
    /// Against the absolute limit, where there is one.
    pub limit: Option<Evidence>,
    /// Stable's own evidence against the same limit, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_limit: Option<Evidence>,
    /// Against *two halves of control's customers differ by no more than the margin*, latched: at the line the metric
    /// speaks of its customers more than of its versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<Evidence>,
    /// What each slice has shown in this number, where sessions are kept apart by where they come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceFinding>,
    /// Why, as a sentence with numbers.
    pub reason: String,
}

/// What sessions of one origin have shown. They are shown apart and decide together: their evidence multiplies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceFinding {
    /// Which: `streams from eu-west`, `the rest`.
    pub name: String,
    /// Control's mean, as the finding's own.
    pub control: Option<f64>,
    /// The canary's.
    pub canary: Option<f64>,
    /// Sessions with a number, per arm.
    pub n: ArmCounts,
}

/// What a ramp may rise by: no word of traffic, only what the evidence excludes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Climb {
    /// The worst excess of badness that no guardrail's evidence has excluded, 1 while nothing is.
    pub worst: f64,
    /// Whose.
    pub limited_by: Option<Metric>,
    /// Sessions of both arms that began in a minute, over the last sealed buckets.
    pub units_per_minute: f64,
}

/// log E of something that was never tested.
fn no_evidence() -> f64 {
    f64::NEG_INFINITY
}

impl Finding {
    /// Stable itself is proven above the limit.
    #[must_use]
    pub fn is_sick_in_stable(&self) -> bool {
        self.control_limit.is_some_and(Evidence::reached)
    }

    /// Both arms are proven above the limit: the cause is not the canary.
    #[must_use]
    pub fn is_bad_in_both_arms(&self) -> bool {
        self.is_sick_in_stable() && self.limit.is_some_and(Evidence::reached)
    }
}

/// One sentinel's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentinelFinding {
    /// Which.
    pub name: String,
    /// What it may do now.
    pub standing: Standing,
    /// What its newest round says; a confirmed failure stands.
    pub verdict: SentinelVerdict,
    /// Stable's tries in that round.
    pub stable: Tries,
    /// The canary's.
    pub canary: Tries,
    /// When it began; `None` before the first.
    pub at: Option<UnixMs>,
    /// Why, as a sentence with numbers.
    pub reason: String,
}

/// What a sentinel may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its confirmed failure on the canary alone rolls back.
    Critical,
    /// It will be critical once stable has passed its qualifying rounds.
    Qualifying,
    /// It cannot be critical: stable itself fails it.
    Disqualified,
    /// It is told.
    Watched,
    /// It is part of the offline gate.
    Gate,
}

/// What a sentinel says of the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentinelVerdict {
    /// The newest round passed.
    Passed,
    /// It failed on the canary, confirmed, and not on stable.
    Failed,
    /// It fails on both: an outage, or drift.
    BothFailed,
    /// Neither passed nor confirmed.
    Unclear,
    /// It was not asked yet, or not for long, or providers were in trouble.
    Unknown,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_nothing(span: &SpanMs) -> bool {
    *span == SpanMs::ZERO
}

/// Evidence and its line, both as natural logarithms; it is enough when `log >= line`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// log E.
    #[serde(with = "crate::float")]
    pub log: f64,
    /// log of the line.
    #[serde(with = "crate::float")]
    pub line: f64,
}

impl Evidence {
    /// Whether it is enough.
    #[must_use]
    pub fn reached(self) -> bool {
        self.log >= self.line
    }
}

/// A proven excess over an absolute limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitFinding {
    /// Which metric.
    pub metric: Metric,
    /// The evidence.
    pub evidence: Evidence,
}

/// An estimate with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    #[serde(with = "crate::float")]
    pub low: f64,
    /// Point estimate.
    #[serde(with = "crate::float")]
    pub point: f64,
    /// Upper bound.
    #[serde(with = "crate::float")]
    pub high: f64,
}

/// A count in each arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmCounts {
    /// Of the control.
    pub control: u64,
    /// Of the canary.
    pub canary: u64,
}

/// What a metric says. No evidence is never healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Proven inside its margin, now, on at least the stage's minimum of evidence.
    Healthy,
    /// Proven worse than its rollback margin.
    Regressed,
    /// Neither.
    Inconclusive,
    /// No number was posted for longer than its grace.
    NoData,
    /// The numbers cannot be used (not finite, design impossible).
    Error,
}

/// The state of the evidence itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// Sample-ratio mismatch: log E against its line; the evidence is void at the line.
    pub split: Option<Evidence>,
    /// Every live gateway reported up to this instant.
    pub complete_to: UnixMs,
    /// Turns of this release that were dropped.
    pub dropped: u64,
    /// Share of the release's requests of the heaviest unit; above 1 % it blocks promotion.
    #[serde(with = "crate::float")]
    pub heaviest_unit_share: f64,
    /// Reasons why nothing may advance or be promoted now, in words with numbers.
    pub holds: Vec<String>,
    /// Reasons why only promotion may not happen.
    pub promotion_holds: Vec<String>,
    /// What is odd, and holds nothing.
    pub warnings: Vec<String>,
}
