//! What a look found: per guardrail the number, its bound, n and the reason.

use coalmine_core::analysis::{ArmCounts, Evidence, Finding, Interval, Quality, SliceFinding, Verdict};
use coalmine_core::release::policy::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One guardrail at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// The metric's name.
    pub metric: String,
    /// `guardrail`, `signal` or `dry_run`.
    pub role: String,
    /// The verdict.
    pub verdict: VerdictView,
    /// Which number of a session is shown: `first`, `session`, `whole`.
    pub number: String,
    /// Control's mean, in the metric's own unit.
    pub control: Option<f64>,
    /// The canary's mean.
    pub canary: Option<f64>,
    /// Confidence sequence of the badness difference, canary − control.
    pub difference: Option<IntervalView>,
    /// Sessions with a number.
    pub n: CountsView,
    /// Sessions that owed a number and have none.
    pub missing: CountsView,
    /// Evidence for a rollback.
    pub rollback: EvidenceView,
    /// Evidence for promotion.
    pub promote: EvidenceView,
    /// Evidence against the absolute limit, where there is one.
    pub limit: Option<EvidenceView>,
    /// Evidence that two halves of control's own customers differ by more than the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<EvidenceView>,
    /// What sessions of each origin have shown, where they are compared apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceView>,
    /// A sentence with numbers.
    pub reason: String,
}

/// What sessions of one origin have shown; they are compared apart and decide together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SliceView {
    /// `streams from eu-west`, or `the rest`.
    pub name: String,
    /// Control's mean, in the metric's own unit (of a quantile metric: the share beyond stable's quantile).
    pub control: Option<f64>,
    /// The canary's mean.
    pub canary: Option<f64>,
    /// Sessions with a number.
    pub n: CountsView,
}

impl From<&SliceFinding> for SliceView {
    fn from(slice: &SliceFinding) -> Self {
        Self { name: slice.name.clone(), control: slice.control, canary: slice.canary, n: slice.n.into() }
    }
}

/// What a metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictView {
    /// Proven inside its margin.
    Healthy,
    /// Proven worse.
    Regressed,
    /// Neither.
    Inconclusive,
    /// Silent.
    NoData,
    /// Unusable.
    Error,
}

/// Evidence and its line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// Natural logarithm of the evidence, within ±1e6.
    pub log: f64,
    /// Natural logarithm of its line, within ±1e6; reached when `log >= line`.
    pub line: f64,
}

/// An estimate with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntervalView {
    /// Lower bound; `null` where there is none yet.
    pub low: Option<f64>,
    /// Estimate; `null` where there is none yet.
    pub point: Option<f64>,
    /// Upper bound; `null` where there is none yet.
    pub high: Option<f64>,
}

/// Counts per arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// Control.
    pub control: u64,
    /// Canary.
    pub canary: u64,
}

/// The state of the evidence itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QualityView {
    /// Sample-ratio mismatch against its line.
    pub split: Option<EvidenceView>,
    /// Everything up to here is reported, in milliseconds since 1970.
    pub complete_to_ms: u64,
    /// Turns that were dropped.
    pub dropped: u64,
    /// Share of requests of the heaviest session.
    pub heaviest_unit_share: f64,
    /// What holds everything.
    pub holds: Vec<String>,
    /// What holds promotion only.
    pub promotion_holds: Vec<String>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// JSON has no infinity: what is unbounded is absent.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// JSON has no infinity: evidence beyond any doubt is shown as e to the million.
pub(crate) fn bounded(log: f64) -> f64 {
    if log.is_nan() { 0.0 } else { log.clamp(-1e6, 1e6) }
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let role = match finding.role {
            Role::Guardrail => "guardrail",
            Role::Signal => "signal",
            Role::DryRun => "dry_run",
        };
        Self {
            metric: finding.metric.to_string(),
            role: role.to_owned(),
            verdict: finding.verdict.into(),
            number: finding.number.as_str().to_owned(),
            control: finding.control.and_then(finite),
            canary: finding.canary.and_then(finite),
            difference: finding.difference.map(Into::into),
            n: finding.n.into(),
            missing: finding.missing.into(),
            self_check: finding.self_check.map(Into::into),
            slices: finding.slices.iter().map(SliceView::from).collect(),
            rollback: finding.rollback.into(),
            promote: finding.promote.into(),
            limit: finding.limit.map(Into::into),
            reason: finding.reason.clone(),
        }
    }
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Healthy => Self::Healthy,
            Verdict::Regressed => Self::Regressed,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::NoData => Self::NoData,
            Verdict::Error => Self::Error,
        }
    }
}

impl From<Evidence> for EvidenceView {
    fn from(evidence: Evidence) -> Self {
        Self { log: bounded(evidence.log), line: bounded(evidence.line) }
    }
}

impl From<Interval> for IntervalView {
    fn from(interval: Interval) -> Self {
        Self { low: finite(interval.low), point: finite(interval.point), high: finite(interval.high) }
    }
}

impl From<ArmCounts> for CountsView {
    fn from(counts: ArmCounts) -> Self {
        Self { control: counts.control, canary: counts.canary }
    }
}

impl From<&Quality> for QualityView {
    fn from(quality: &Quality) -> Self {
        Self {
            split: quality.split.map(Into::into),
            complete_to_ms: quality.complete_to.0,
            dropped: quality.dropped,
            heaviest_unit_share: quality.heaviest_unit_share,
            holds: quality.holds.clone(),
            promotion_holds: quality.promotion_holds.clone(),
            warnings: quality.warnings.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EvidenceView, IntervalView};
    use coalmine_core::analysis::{Evidence, Interval};

    #[test]
    fn what_is_unbounded_reads_back() {
        let interval = IntervalView::from(Interval { low: f64::NEG_INFINITY, point: 0.25, high: f64::INFINITY });
        let evidence = EvidenceView::from(Evidence { log: f64::INFINITY, line: f64::NAN });
        let text = serde_json::to_string(&(interval, evidence)).unwrap();
        let read: (IntervalView, EvidenceView) = serde_json::from_str(&text).unwrap();
        assert_eq!(read, (interval, evidence));
        assert_eq!((interval.low, interval.point, evidence.log), (None, Some(0.25), 1e6));
    }
}
