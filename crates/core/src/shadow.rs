//! The shadow: before anybody is exposed, a share of the sessions is also put to the canary. Stable's answer is
//! served, the canary's is compared with it and thrown away, and what the pairs of answers show may roll the release
//! back. Nobody is ever answered by a canary in its shadow: it is 0 % of the customers.

pub mod pair;
pub mod preferences;
pub mod record;
pub mod similarity;
pub mod spread;
pub mod young;

use crate::id::UnitKey;
use crate::metric::{Kind, Metric};
use crate::release::policy::{Guardrail, Policy, Role};
use crate::shadow::preferences::Preferring;
use crate::shadow::similarity::Similarity;
use crate::time::SpanMs;
use crate::traffic::weight::{Salt, WeightBp};
use serde::{Deserialize, Serialize};

/// The shadow stage of a release: part of its criteria, and frozen with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// How many of the sessions are mirrored.
    pub share: WeightBp,
    /// How long at least.
    #[serde(rename = "for")]
    pub length: SpanMs,
    /// How many mirrored sessions at least, with their numbers posted.
    pub min_sessions: u64,
    /// How many mirrored requests a gateway has under way at once; further ones are not mirrored, and counted.
    pub in_flight: u32,
    /// What mirrored requests may cost, per gateway and day (UTC), in US dollars; then none is mirrored until the
    /// next, and that is counted.
    pub usd_per_day: f64,
    /// The judges that compare its pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<Preferring>,
    /// By whose embeddings the two answers are held together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Box<Similarity>>,
}

/// One thing that the pairs of a shadow are tested for.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion<'a> {
    /// Under which name.
    pub metric: Metric,
    /// What it does.
    pub role: Role,
    /// Its weight among the guardrails.
    pub weight: f64,
    /// The mean of x that a canary at its margin has.
    pub bound: f64,
    /// By what pairs are compared.
    pub by: By<'a>,
}

/// By what pairs are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By<'a> {
    /// What became of both requests.
    Outcomes(&'a Guardrail),
    /// A judge that reads both answers.
    Preference(&'a Preferring),
}

impl Shadow {
    /// Whether the requests of a session are mirrored: by a hash of its unit under the release's salt, independent of
    /// the slot that will later choose its arm.
    #[must_use]
    pub fn includes(share: WeightBp, salt: &Salt, unit: UnitKey) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&salt.0);
        hasher.update(b"shadow").update(&unit.0.to_le_bytes());
        let mut low = [0; 8];
        low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        (u128::from(u64::from_le_bytes(low)) * 10_000) >> 64 < u128::from(share.bp())
    }
}

/// Whether two answers to the same request can be compared in this metric. What clients do and what people say of an
/// answer that they never saw, cannot; nor can what is held against stable's past, which is frozen when exposure begins.
#[must_use]
pub const fn is_paired(metric: &Metric) -> bool {
    match metric {
        Metric::ErrorRate
        | Metric::TtftP50
        | Metric::TtftP95
        | Metric::TtftP99
        | Metric::LatencyP50
        | Metric::LatencyP95
        | Metric::LatencyP99
        | Metric::RefusalRate
        | Metric::EmptyRate
        | Metric::TruncatedRate
        | Metric::ToolCallValid
        | Metric::SchemaValid
        | Metric::FencedJson
        | Metric::RepeatedCall
        | Metric::Repetition
        | Metric::LanguageMismatch
        | Metric::CostPerSession
        | Metric::OutputTokens
        | Metric::InputTokens
        | Metric::ToolCalls => true,
        Metric::CancelBeforeFirstByte
        | Metric::ClientAbort
        | Metric::LongAnswer
        | Metric::ShortAnswer
        | Metric::NewOpening
        | Metric::CacheHit
        | Metric::Abandoned
        | Metric::NotContinued
        | Metric::CostPerRequest
        | Metric::CostPerTask
        | Metric::CostAboveCap
        | Metric::OutputTokensAboveCap
        | Metric::InputTokensAboveCap
        | Metric::ToolCallsAboveCap
        | Metric::Feedback(_)
        | Metric::ThumbsDown(_)
        | Metric::Judge(_) => false,
    }
}

impl Policy {
    /// What is watched and can be compared in pairs; empty without a shadow.
    pub fn paired(&self) -> impl Iterator<Item = &Guardrail> {
        let shadowed = self.shadow.is_some();
        self.guardrails.iter().filter(move |watched| shadowed && is_paired(&watched.metric))
    }

    /// All that pairs are tested for: the watched metrics that can be compared so, and what the shadow itself names.
    pub fn criteria(&self) -> impl Iterator<Item = Criterion<'_>> {
        let outcomes = self.paired().map(|watched| Criterion {
            metric: watched.metric.clone(),
            role: watched.role,
            weight: watched.weight,
            bound: watched.paired_bound(),
            by: By::Outcomes(watched),
        });
        let preferences = self.shadow.iter().flat_map(|shadow| &shadow.preferences).map(|preferring| Criterion {
            metric: Metric::Judge(preferring.judge.clone()),
            role: preferring.role,
            weight: preferring.weight,
            bound: preferring.bound(),
            by: By::Preference(preferring),
        });
        outcomes.chain(preferences)
    }

    /// A criterion's share of the shadow's alpha: by its weight among those that are guardrails.
    #[must_use]
    pub fn paired_share(&self, criterion: &Criterion<'_>) -> f64 {
        let of_guardrails = || self.criteria().filter(|other| other.role == Role::Guardrail);
        let total: f64 = of_guardrails().map(|other| other.weight).sum();
        let share = if total > 0.0 { criterion.weight / total } else { 1.0 / of_guardrails().count().max(1) as f64 };
        share.min(1.0)
    }
}

impl Guardrail {
    /// The mean of x (see [`pair::Compared`]) that a canary at its rollback margin has.
    #[must_use]
    pub fn paired_bound(&self) -> f64 {
        match self.metric.kind() {
            Kind::Rate | Kind::Score => {
                (self.rollback.ratio + self.rollback.shift).min(1.0 + self.rollback.ratio) / (1.0 + self.rollback.ratio)
            }
            Kind::Exceedance | Kind::Amount | Kind::Ratio => 0.5,
        }
    }
}
