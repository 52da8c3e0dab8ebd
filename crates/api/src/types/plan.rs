//! What a release is made of.

use coalmine_core::forecast::Assumptions;
use coalmine_core::metric::Metric;
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{Guardrail, Policy, Role};
use coalmine_core::version::Version;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A release to be created: the resolved form of a `releases/*.yaml`, which `coalmine start` makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// The route.
    pub route: String,
    /// The whole canary version.
    #[schema(value_type = Object)]
    pub canary: Version,
    /// The stages.
    #[schema(value_type = Object)]
    pub plan: Plan,
    /// The criteria.
    #[schema(value_type = Object)]
    pub policy: Policy,
}

/// What `POST /plan` is asked: a release as it would be created, and what is stated over the route's own traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanQuestion {
    /// The release.
    pub release: NewRelease,
    /// What is stated instead of measured; empty: nothing.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub stated: Assumptions,
}

/// The stages of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// In order.
    pub stages: Vec<StageView>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    /// `all` or the cohort's name.
    pub cohort: String,
    /// The canary's share in basis points.
    pub weight_bp: u16,
    /// How long at least, in milliseconds.
    pub bake_ms: u64,
    /// How many canary sessions at least.
    pub min_sessions: u64,
    /// Whose word opens it; `null` for none.
    pub approval: Option<String>,
    /// A rung of a ramp: so many harmed sessions a minute are borne on the way here; `null` elsewhere.
    pub harm_per_minute: Option<f64>,
}

/// One guardrail as it was frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuardrailView {
    /// The metric's name.
    pub metric: String,
    /// `guardrail`, `signal`, `dry_run`.
    pub role: String,
    /// What promotion must prove: at most `ratio` × control + `shift`.
    pub promote_ratio: f64,
    /// See `promote_ratio`.
    pub promote_shift: f64,
    /// What must be proven exceeded to roll back.
    pub rollback_ratio: f64,
    /// See `rollback_ratio`.
    pub rollback_shift: f64,
    /// The absolute limit.
    pub limit: Option<f64>,
}

impl From<&Plan> for PlanView {
    fn from(plan: &Plan) -> Self {
        Self { stages: plan.stages.iter().map(Into::into).collect() }
    }
}

impl From<&Stage> for StageView {
    fn from(stage: &Stage) -> Self {
        let (approval, harm_per_minute) = match &stage.gate {
            Gate::Automatic => (None, None),
            Gate::Approval(of) => (Some(of.clone()), None),
            Gate::Ramp(ramp) => (None, Some(ramp.harm_per_minute)),
        };
        Self {
            cohort: stage.cohort.label().to_owned(),
            weight_bp: stage.weight.bp(),
            bake_ms: stage.bake.0,
            min_sessions: stage.min_sessions,
            approval,
            harm_per_minute,
        }
    }
}

impl From<&Guardrail> for GuardrailView {
    fn from(guardrail: &Guardrail) -> Self {
        let role = match guardrail.role {
            Role::Guardrail => "guardrail",
            Role::Signal => "signal",
            Role::DryRun => "dry_run",
        };
        let metric: &Metric = &guardrail.metric;
        Self {
            metric: metric.to_string(),
            role: role.to_owned(),
            promote_ratio: guardrail.promote.ratio,
            promote_shift: guardrail.promote.shift,
            rollback_ratio: guardrail.rollback.ratio,
            rollback_shift: guardrail.rollback.shift,
            limit: guardrail.limit,
        }
    }
}
