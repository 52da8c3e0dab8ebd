//! When each stage opens and closes if nothing goes wrong, and what flows through it.

use crate::cohort::Cohort;
use crate::forecast::traffic::{Traffic, usual_cohort};
use crate::judge::Sampling;
use crate::release::plan::{Plan, Stage};
use crate::release::policy::Policy;
use crate::time::{SpanMs, UnixMs};

/// A forecast looks no further.
pub(super) const HORIZON: SpanMs = SpanMs::hours(24 * 90);

/// The stages of a release in time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schedule {
    pub(super) stages: Vec<Slot>,
}

/// One stage in time, from the start of the release.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) opens: SpanMs,
    /// When bake, sessions and freezes let the next one open; the last stage goes on.
    pub(super) closes: SpanMs,
    /// How much of that a freeze adds.
    pub(super) frozen: SpanMs,
    pub(super) flows: Vec<Flow>,
}

/// Sessions that are split by one weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flow {
    pub(super) canary_per_hour: f64,
    pub(super) control_per_hour: f64,
}

impl Flow {
    /// The sessions of it that a judge scores.
    pub(super) fn judged(self, sampling: Sampling) -> Self {
        Self {
            canary_per_hour: self.canary_per_hour * sampling.canary.share(),
            control_per_hour: self.control_per_hour * sampling.control.share(),
        }
    }

    /// Canary sessions per control session; `None` where an arm is empty.
    pub(super) fn odds(self) -> Option<f64> {
        let both = self.canary_per_hour > 0.0 && self.control_per_hour > 0.0;
        both.then(|| self.canary_per_hour / self.control_per_hour)
    }
}

impl Slot {
    pub(super) fn canary_per_hour(&self) -> f64 {
        self.flows.iter().map(|flow| flow.canary_per_hour).sum()
    }

    pub(super) fn control_per_hour(&self) -> f64 {
        self.flows.iter().map(|flow| flow.control_per_hour).sum()
    }

    pub(super) fn hours(&self) -> f64 {
        hours(self.closes) - hours(self.opens)
    }
}

impl Schedule {
    /// The stages one after the other, from `now` on.
    pub(super) fn of(plan: &Plan, policy: &Policy, traffic: &Traffic, now: UnixMs) -> Self {
        let mut stages = Vec::with_capacity(plan.stages.len());
        let mut opens = SpanMs::ZERO;
        for (index, stage) in plan.stages.iter().enumerate() {
            let flows = flows(&plan.stages[..=index], traffic);
            let own = stage_flow(stage, traffic);
            let baked = opens + stage.bake.max(until_posted(stage, own, policy));
            let baked = baked.min(HORIZON);
            let closes = policy.frozen_until(now + baked).map_or(baked, |until| until.since(now)).max(baked);
            let closes = closes.min(HORIZON);
            stages.push(Slot { opens, closes, frozen: SpanMs(closes.0 - baked.0), flows });
            opens = closes;
        }
        Self { stages }
    }

    /// When the last stage has baked.
    pub(super) fn baked(&self) -> SpanMs {
        self.stages.last().map_or(SpanMs::ZERO, |slot| slot.closes)
    }

    /// The flows in time: the last stage goes on to the horizon.
    pub(super) fn segments(&self) -> impl Iterator<Item = (f64, f64, &[Flow])> {
        let last = self.stages.len().saturating_sub(1);
        self.stages.iter().enumerate().map(move |(index, slot)| {
            let end = if index == last { HORIZON } else { slot.closes };
            (hours(slot.opens), hours(end), slot.flows.as_slice())
        })
    }

    /// Canary sessions exposed in the first `at` hours.
    pub(super) fn exposed_by(&self, at: f64) -> f64 {
        self.segments()
            .map(|(from, to, flows)| {
                let sessions: f64 = flows.iter().map(|flow| flow.canary_per_hour).sum();
                sessions * (at.min(to) - from).max(0.0)
            })
            .sum()
    }
}

pub(super) fn hours(span: SpanMs) -> f64 {
    span.0 as f64 / SpanMs::hours(1).0 as f64
}

/// `None` beyond the horizon.
pub(super) fn span(hours: f64) -> Option<SpanMs> {
    let ms = hours * SpanMs::hours(1).0 as f64;
    (ms.is_finite() && ms >= 0.0 && ms < HORIZON.0 as f64).then_some(SpanMs(ms as u64))
}

/// The share of the route's sessions that a stage is cut to.
pub(super) fn reach(stage: &Stage, traffic: &Traffic) -> f64 {
    match &stage.cohort {
        Cohort::All => 1.0,
        Cohort::Named { name, .. } => traffic.cohort(name).unwrap_or_else(usual_cohort),
    }
}

fn stage_flow(stage: &Stage, traffic: &Traffic) -> f64 {
    traffic.sessions_per_hour * reach(stage, traffic) * stage.weight.share()
}

/// How long until the stage's least number of sessions has posted.
fn until_posted(stage: &Stage, per_hour: f64, policy: &Policy) -> SpanMs {
    let need = stage.min_sessions.max(1) as f64;
    let flowing = if per_hour > 0.0 { span(need / per_hour).unwrap_or(HORIZON) } else { HORIZON };
    flowing + policy.ages.session + policy.bucket
}

/// Who is split how once these stages are open: each cohort by the largest weight that holds it, the rest by the
/// largest weight of everybody. Cohorts that overlap without one being within the other are counted apart.
fn flows(open: &[Stage], traffic: &Traffic) -> Vec<Flow> {
    let mut named: Vec<(&Cohort, f64)> = Vec::new();
    for stage in open {
        let seen = named.iter().any(|(cohort, _)| **cohort == stage.cohort);
        if stage.cohort != Cohort::All && !seen {
            named.push((&stage.cohort, reach(stage, traffic)));
        }
    }
    let taken: f64 = named.iter().map(|(_, share)| share).sum();
    let rest = (Cohort::All, (1.0 - taken).max(0.0));
    let parts = named.iter().copied().chain([(&rest.0, rest.1)]);
    parts
        .filter_map(|(cohort, share)| {
            let holding = open.iter().filter(|stage| cohort.is_within(&stage.cohort));
            let weight = holding.map(|stage| stage.weight).max()?.share();
            let sessions = traffic.sessions_per_hour * share;
            (share > 0.0)
                .then_some(Flow { canary_per_hour: sessions * weight, control_per_hour: sessions * (1.0 - weight) })
        })
        .collect()
}
