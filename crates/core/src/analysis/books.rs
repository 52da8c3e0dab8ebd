//! The running tests of a release: a pure function of its yardstick and its sealed buckets in order.
//!
//! Every guardrail has, per number of its metric, one process against "no worse than the rollback
//! margin", one against the absolute limit where there is one, and for its last number one against
//! "not within the promotion margin". Sessions without a known number are counted and not bet on: all
//! nulls are about the sessions that answered.

use crate::analysis::alpha::Alpha;
use crate::analysis::design;
use crate::analysis::gauging::{Line, Watch};
use crate::evidence::{SealedBucket, Yardstick};
use crate::metric::Metric;
use crate::release::policy::{Guardrail, Margin, NoData, NoDataThen, Role};
use crate::release::state::Release;
use crate::time::{SpanMs, UnixMs};

/// The e-processes of every guardrail. Built anew at a restart by folding the kept buckets in the order
/// of sealing, which gives the same numbers bit for bit. A stage's late-onset mass is laid out at the
/// first bucket of its stratum, so nothing but the buckets is needed.
#[derive(Debug, Clone, PartialEq)]
pub struct Books {
    alpha: Alpha,
    origin: UnixMs,
    bucket: SpanMs,
    /// In the order of the policy.
    watches: Vec<Watch>,
    /// The cost, where it is budgeted and no guardrail watches it.
    cost: Option<Watch>,
}

impl Books {
    /// No evidence yet.
    #[must_use]
    pub fn new(release: &Release, yardstick: &Yardstick) -> Self {
        let policy = &release.policy;
        let alpha = Alpha::of(policy, release.attempt);
        let plan = design::Planned::of(&release.plan);
        let watch = |guardrail: &Guardrail| {
            let lines = Line::of(guardrail, &alpha, policy);
            Watch::new(guardrail, lines, &plan, yardstick)
        };
        let watches: Vec<Watch> = policy.guardrails.iter().map(watch).collect();
        let budgeted = policy.budget.extra_cost_usd.is_some();
        let watched = policy.guardrails.iter().any(|guardrail| guardrail.metric == Metric::CostPerSession);
        let cost = (budgeted && !watched).then(|| watch(&budgeted_cost()));
        Self { alpha, origin: release.created_at, bucket: policy.bucket, watches, cost }
    }

    /// Folds one sealed bucket; each once, in the order of sealing.
    pub fn fold(&mut self, bucket: &SealedBucket) {
        let ended = self.origin + SpanMs((bucket.bucket + 1).saturating_mul(self.bucket.0));
        for watch in self.watches.iter_mut().chain(&mut self.cost) {
            if let Some(arms) = bucket.metrics.get(watch.metric()) {
                watch.fold(bucket.number, bucket.stratum, ended, arms);
            }
        }
    }

    pub(super) fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    pub(super) fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// What is watched of the cost per session, if it is at all.
    pub(super) fn cost(&self) -> Option<&Watch> {
        self.cost.as_ref().or_else(|| self.watches.iter().find(|watch| *watch.metric() == Metric::CostPerSession))
    }
}

/// The cost as a budget needs it: estimated, and judged by nothing.
fn budgeted_cost() -> Guardrail {
    let margin = Margin { ratio: 1.1, shift: 0.0 };
    Guardrail {
        metric: Metric::CostPerSession,
        role: Role::DryRun,
        promote: margin,
        rollback: margin,
        limit: None,
        weight: 0.0,
        no_data: NoData { then: NoDataThen::Warn, grace: SpanMs::hours(24) },
    }
}
