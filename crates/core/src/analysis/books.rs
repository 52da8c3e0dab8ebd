//! The running tests of a release: a pure function of its yardstick and its sealed buckets in order.
//!
//! Every guardrail has, per number of its metric, one process against "no worse than the rollback
//! margin", one against the absolute limit where there is one, and for its last number one against
//! "not within the promotion margin". Sessions without a known number are counted and not bet on: all
//! nulls are about the sessions that answered.

use crate::analysis::Climb;
use crate::analysis::alpha::Alpha;
use crate::analysis::band;
use crate::analysis::design;
use crate::analysis::gauging::{Line, Watch};
use crate::evidence::{SealedBucket, TwoArms, Yardstick};
use crate::metric::{Metric, Number};
use crate::release::policy::{ControlArm, Guardrail, Margin, NoData, NoDataThen, Policy, Role, Unit};
use crate::release::state::{Drift, Release};
use crate::time::{SpanMs, UnixMs};
use crate::version::VersionId;
use std::collections::{BTreeMap, VecDeque};

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
    arrivals: Arrivals,
    /// So many drifts it knows of.
    drifts: usize,
}

/// Sessions that began in the last sealed exposure buckets.
#[derive(Debug, Clone, PartialEq, Default)]
struct Arrivals {
    /// (the last bucket merged into it, sessions).
    sealed: VecDeque<(u64, u64)>,
    /// The bucket before the first one kept.
    before: u64,
}

impl Books {
    /// No evidence yet.
    #[must_use]
    pub fn new(release: &Release, yardstick: &Yardstick) -> Self {
        let policy = &release.policy;
        let alpha = Alpha::of(policy, release.attempt);
        let plan = design::Planned::of(&release.plan);
        let watch = |(index, guardrail): (usize, &Guardrail)| {
            let lines = Line::of(guardrail, &alpha, policy);
            let carried = release.carried.get(&guardrail.metric).copied().unwrap_or(0.0);
            Watch::new(band::turn(&release.salt, index), guardrail, lines, &plan, yardstick, carried)
        };
        let watches: Vec<Watch> = policy.guardrails.iter().enumerate().map(watch).collect();
        let budgeted = policy.budget.extra_cost_usd.is_some();
        let watched = policy.guardrails.iter().any(|guardrail| guardrail.metric == Metric::CostPerSession);
        let cost = (budgeted && !watched).then(|| watch((policy.guardrails.len(), &budgeted_cost())));
        let (origin, bucket) = (release.created_at, policy.bucket);
        let mut books = Self { alpha, origin, bucket, watches, cost, arrivals: Arrivals::default(), drifts: 0 };
        books.note_drifts(&release.drifts);
        books
    }

    /// Takes note of the release's drifts: evidence for promotion from before the last is given up. Call it before the
    /// buckets that were sealed since are folded; noting them again changes nothing.
    pub fn note_drifts(&mut self, drifts: &[Drift]) {
        self.drifts = drifts.len();
        self.watches.iter_mut().chain(&mut self.cost).for_each(|watch| watch.note_drifts(drifts));
    }

    pub(super) fn drifts(&self) -> usize {
        self.drifts
    }

    /// The promotion evidence that the next try of the same canary starts from, per metric (`statistics.md`,
    /// section 9, rule 3): all of it where the null is the same or a narrower one, and otherwise min(E, 1):
    /// gains are given up, losses are not forgiven.
    #[must_use]
    pub fn carry(&self, release: &Release, stable: VersionId, next: &Policy) -> BTreeMap<Metric, f64> {
        let earlier = |metric: &Metric| release.policy.guardrails.iter().find(|g| g.metric == *metric);
        let mut carried = BTreeMap::new();
        for watch in &self.watches {
            let Some(then) = earlier(watch.metric()) else { continue };
            let Some(now) = next.guardrails.iter().find(|g| g.metric == then.metric) else { continue };
            let Some(log) = watch.to_carry() else { continue };
            let wider = now.promote.ratio >= then.promote.ratio && now.promote.shift >= then.promote.shift;
            let log = if wider && stable == release.stable { log } else { log.min(0.0) };
            carried.insert(then.metric.clone(), log);
        }
        carried
    }

    /// Folds one sealed bucket; each once, in the order of sealing.
    pub fn fold(&mut self, bucket: &SealedBucket) {
        self.arrivals.note(bucket);
        let ended = self.origin + SpanMs((bucket.bucket + 1).saturating_mul(self.bucket.0));
        for watch in self.watches.iter_mut().chain(&mut self.cost) {
            if let Some(arms) = bucket.metrics.get(watch.metric()) {
                watch.fold(bucket, ended, arms);
            }
        }
    }

    /// What a ramp may rise by; `None` where the plan has none, or nothing is posted yet.
    pub(super) fn climb(&self) -> Option<Climb> {
        let units_per_minute = self.arrivals.per_minute(self.bucket)?;
        let excluded = self.watches.iter().filter_map(|watch| Some((watch.excluded()?, watch.metric())));
        let (worst, limited_by) = excluded.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        Some(Climb { worst, limited_by: Some(limited_by.clone()), units_per_minute })
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

impl Arrivals {
    /// Buckets over which the traffic is counted.
    const KEPT: usize = 10;

    fn note(&mut self, bucket: &SealedBucket) {
        match bucket.number {
            Number::First => {}
            Number::Session | Number::Whole => return,
        }
        let sum = |arms: &TwoArms| arms.control.iter().chain(&arms.canary).sum::<u64>();
        let units = bucket.metrics.values().map(sum).max().unwrap_or(0);
        match self.sealed.back_mut() {
            // Strata seal one after the other.
            Some((last, so_far)) if *last == bucket.bucket => *so_far += units,
            Some(_) | None => {
                if self.sealed.is_empty() {
                    self.before = bucket.bucket.saturating_sub(1);
                }
                self.sealed.push_back((bucket.bucket, units));
            }
        }
        if self.sealed.len() > Self::KEPT
            && let Some((oldest, _)) = self.sealed.pop_front()
        {
            self.before = oldest;
        }
    }

    fn per_minute(&self, length: SpanMs) -> Option<f64> {
        let (last, _) = self.sealed.back()?;
        let minutes = last.saturating_sub(self.before).max(1) as f64 * length.0 as f64 / 60_000.0;
        let units: u64 = self.sealed.iter().map(|(_, units)| units).sum();
        Some(units as f64 / minutes)
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
        age: None,
        sample: None,
        control: ControlArm::default(),
        unit: Unit::Session,
    }
}
