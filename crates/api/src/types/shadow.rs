//! What a shadow has shown of a canary that nobody was exposed to.

use crate::types::{EvidenceView, IntervalView};
use coalmine_core::analysis::{PairedFinding, ShadowFinding, SimilarityFinding};
use coalmine_core::release::policy::Role;
use coalmine_core::shadow::preferences::Preferences;
use coalmine_core::shadow::similarity::Told;
use coalmine_core::shadow::spread::{Measure, PairedInterval};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The pairs of answers, as far as their sessions are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShadowView {
    /// Mirrored sessions that are counted.
    pub sessions: u64,
    /// So many the stage needs.
    pub need: u64,
    /// Pairs that say something, of sessions counted or young.
    pub pairs: u64,
    /// Pairs that say nothing: the client left or was at fault.
    pub void: u64,
    /// Requests not mirrored while too many copies were under way.
    pub lost_busy: u64,
    /// Requests not mirrored beyond the day's budget.
    pub lost_budget: u64,
    /// Requests that the canary cannot be asked without acting, or not at all.
    pub lost_unfit: u64,
    /// Pairs lost to a full queue.
    pub lost_queue: u64,
    /// Requests that no person has answered within a day, of a route that people answer.
    pub lost_unanswered: u64,
    /// What the copies cost, in US dollars, where known.
    pub cost_usd: f64,
    /// Copies of unknown cost.
    pub cost_unknown: u64,
    /// The guardrails together against the shadow's line.
    pub rollback: EvidenceView,
    /// Per metric that can be compared in pairs.
    pub findings: Vec<PairedView>,
    /// How near the answers are to stable's, by embeddings; it tests nothing and rolls nothing back.
    pub similarity: Option<SimilarityView>,
}

/// How near the canary's answers are to stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarityView {
    /// By whose embeddings.
    pub model: String,
    /// Pairs that were measured, of sessions counted or young.
    pub pairs: u64,
    /// Measurements without a number, for whoever was asked was in trouble or the day's budget was spent.
    pub unknown: u64,
    /// Measurements that came when their session was counted already.
    pub late: u64,
    /// The canary's answers against stable's.
    pub canary: Option<CosinesView>,
    /// Stable's second answers against its first: how far one version is from itself.
    pub stable_again: Option<CosinesView>,
    /// What the first stage waits for, where the release says so: this cosine or a greater one,
    pub min: Option<f64>,
    /// of so much of the measured sessions.
    pub share: Option<f64>,
    /// Sessions that have it.
    pub met: u64,
    /// Why the bar is not cleared yet.
    pub lacks: Option<String>,
}

/// How the sessions' mean cosines are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CosinesView {
    /// Sessions.
    pub sessions: u64,
    /// The mean over them.
    pub mean: f64,
    /// A tenth of them is below, to a hundredth.
    pub p10: f64,
    /// Half of them.
    pub p50: f64,
    /// Nine tenths of them.
    pub p90: f64,
}

/// One metric over pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairedView {
    /// The metric's name.
    pub metric: String,
    /// `guardrail`, `signal`, `dry_run`.
    pub role: String,
    /// Sessions with something to compare.
    pub sessions: u64,
    /// Stable's mean: a badness in 0..=1, or milliseconds, US dollars, tokens, calls.
    pub stable: Option<f64>,
    /// The canary's.
    pub canary: Option<f64>,
    /// The paired difference of these means, canary − stable.
    pub difference: Option<f64>,
    /// What is excluded of the paired difference: 95 %, at any number of looks, each by itself.
    pub interval: Option<PairedIntervalView>,
    /// Evidence against the canary, its maximum, against the line.
    pub rollback: EvidenceView,
    /// What a judge of pairs has said.
    pub preferences: Option<PreferencesView>,
    /// Why it is not enough yet to go on.
    pub lacks: Option<String>,
    /// A sentence with numbers.
    pub reason: String,
}

/// A paired difference with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairedIntervalView {
    /// `share`: by how much the canary's share is above stable's. `ratio`: how many times as long or as much, the geometric
    /// mean over the sessions, each held within 1/8 and 8. `losses`: by how much the share of the pairs that the canary
    /// loses is above the share that it wins.
    pub measure: String,
    /// In its unit.
    pub interval: IntervalView,
}

/// Pairs by a judge's verdict, asked in both orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreferencesView {
    /// The canary's answer is better.
    pub won: u64,
    /// Stable's is.
    pub lost: u64,
    /// Neither is, or the two orders contradict each other.
    pub tied: u64,
    /// Verdicts that came too late to count.
    pub late: u64,
}

impl From<&ShadowFinding> for ShadowView {
    fn from(finding: &ShadowFinding) -> Self {
        let lost = finding.lost;
        Self {
            sessions: finding.sessions,
            need: finding.need,
            pairs: finding.pairs,
            void: finding.void,
            lost_busy: lost.busy,
            lost_budget: lost.budget,
            lost_unfit: lost.unfit,
            lost_queue: lost.queue,
            lost_unanswered: lost.unanswered,
            cost_usd: finding.cost_usd,
            cost_unknown: finding.cost_unknown,
            rollback: finding.rollback.into(),
            findings: finding.findings.iter().map(Into::into).collect(),
            similarity: finding.similarity.as_deref().map(Into::into),
        }
    }
}

impl From<&SimilarityFinding> for SimilarityView {
    fn from(finding: &SimilarityFinding) -> Self {
        Self {
            model: finding.model.clone(),
            pairs: finding.pairs,
            unknown: finding.unknown,
            late: finding.late,
            canary: finding.canary.map(Into::into),
            stable_again: finding.again.map(Into::into),
            min: finding.bar.map(|bar| bar.min),
            share: finding.bar.map(|bar| bar.share.share()),
            met: finding.met,
            lacks: finding.lacks.clone(),
        }
    }
}

impl From<Told> for CosinesView {
    fn from(Told { sessions, mean, p10, p50, p90 }: Told) -> Self {
        Self { sessions, mean, p10, p50, p90 }
    }
}

impl From<&PairedFinding> for PairedView {
    fn from(finding: &PairedFinding) -> Self {
        let role = match finding.role {
            Role::Guardrail => "guardrail",
            Role::Signal => "signal",
            Role::DryRun => "dry_run",
        };
        Self {
            metric: finding.metric.to_string(),
            role: role.to_owned(),
            sessions: finding.sessions,
            stable: finding.stable,
            canary: finding.canary,
            difference: finding.difference,
            interval: finding.interval.map(Into::into),
            rollback: finding.rollback.into(),
            preferences: finding.preferences.map(Into::into),
            lacks: finding.lacks.clone(),
            reason: finding.reason.clone(),
        }
    }
}

impl From<PairedInterval> for PairedIntervalView {
    fn from(PairedInterval { measure, interval }: PairedInterval) -> Self {
        let measure = match measure {
            Measure::Share => "share",
            Measure::Ratio => "ratio",
            Measure::Losses => "losses",
        };
        Self { measure: measure.to_owned(), interval: interval.into() }
    }
}

impl From<Preferences> for PreferencesView {
    fn from(Preferences { won, lost, tied, late }: Preferences) -> Self {
        Self { won, lost, tied, late }
    }
}
