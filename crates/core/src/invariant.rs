//! The laws of a release, checked after every step by tests and the simulator. Each stands in
//! `ARCHITECTURE.md` under the same number; what concerns the gateway or the store is checked there.

use crate::analysis::{Analysis, Finding, Verdict};
use crate::id::{Actor, CustomerId};
use crate::metric::Metric;
use crate::release::decide::decide;
use crate::release::effect::{Effect, Notice};
use crate::release::event::{Command, Event};
use crate::release::forward::DOUBT;
use crate::release::plan::Gate;
use crate::release::policy::{NoDataThen, OnUndecided, Role};
use crate::release::report::{Decision, Step};
use crate::release::state::{Release, State};
use crate::time::UnixMs;
use crate::traffic::table::{Exposure, exposures, governing};
use crate::traffic::weight::WeightBp;
use std::collections::BTreeSet;
use std::fmt;

/// A law of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// Only a committed start, advance, approval or promotion, and the end of a hold-back, raises anybody's
    /// exposure (3).
    ExposureByDecision,
    /// A cohort's weight never falls, but by rollback; a promotion gives it everybody, or all but those held
    /// back (4).
    WeightNeverFalls,
    /// The machine advances only with the stage's minimum of sessions, and never over a guardrail that is
    /// regressed, silent or unusable, void evidence, or a freeze (7).
    AdvanceNeedsEvidence,
    /// The machine promotes only with every guardrail proven now, or undecided by a policy that says so (7).
    PromotionNeedsProof,
    /// A ramp climbs no further than the harm that it bears in the worst case not yet excluded, and its bake
    /// goes on.
    RampBearsItsHarm,
    /// Evidence, a limit or a tripwire that says rollback is obeyed wherever a stage is served.
    RollbackOutranks,
    /// Rollback is legal in every state but rolling back, rolled back, and promoted beyond the keep.
    RollbackLegal,
    /// A rollback publishes at once, restores the old stable if it was replaced, and is told.
    RollbackTold,
    /// The same record replays to the same step, so the state is the fold of the journal (8).
    Replays,
    /// The generation grows by one with every step that changes or does anything, and only then (9).
    GenerationGrows,
    /// The versions, plan, policy, salt and attempt never change.
    CriteriaFrozen,
    /// A drift is noted once and moves nothing, and what has not taken account of it moves nothing forward.
    DriftOnlyFreezes,
    /// Rolled back stays so; promoted ends only in a rollback.
    OverIsOver,
}

/// A law that a step broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// How.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law.id(), self.how)
    }
}

impl Law {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ExposureByDecision,
        Self::WeightNeverFalls,
        Self::AdvanceNeedsEvidence,
        Self::PromotionNeedsProof,
        Self::RampBearsItsHarm,
        Self::RollbackOutranks,
        Self::RollbackLegal,
        Self::RollbackTold,
        Self::Replays,
        Self::GenerationGrows,
        Self::CriteriaFrozen,
        Self::DriftOnlyFreezes,
        Self::OverIsOver,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ExposureByDecision => "exposure-by-decision",
            Self::WeightNeverFalls => "weight-never-falls",
            Self::AdvanceNeedsEvidence => "advance-needs-evidence",
            Self::PromotionNeedsProof => "promotion-needs-proof",
            Self::RampBearsItsHarm => "ramp-bears-its-harm",
            Self::RollbackOutranks => "rollback-outranks",
            Self::RollbackLegal => "rollback-legal",
            Self::RollbackTold => "rollback-told",
            Self::Replays => "replays",
            Self::GenerationGrows => "generation-grows",
            Self::CriteriaFrozen => "criteria-frozen",
            Self::DriftOnlyFreezes => "drift-only-freezes",
            Self::OverIsOver => "over-is-over",
        }
    }

    fn broken(self, taken: &Taken<'_>) -> Option<String> {
        match self {
            Self::ExposureByDecision => exposure_by_decision(taken),
            Self::WeightNeverFalls => weight_never_falls(taken),
            Self::AdvanceNeedsEvidence => advance_needs_evidence(taken),
            Self::PromotionNeedsProof => promotion_needs_proof(taken),
            Self::RampBearsItsHarm => ramp_bears_its_harm(taken),
            Self::RollbackOutranks => rollback_outranks(taken),
            Self::RollbackLegal => rollback_legal(taken),
            Self::RollbackTold => rollback_told(taken),
            Self::Replays => replays(taken),
            Self::GenerationGrows => generation_grows(taken),
            Self::CriteriaFrozen => criteria_frozen(taken),
            Self::DriftOnlyFreezes => drift_only_freezes(taken),
            Self::OverIsOver => over_is_over(taken),
        }
    }
}

/// The laws that the step from `before` upon `event` at `now` broke; none, if all is well.
#[must_use]
pub fn check(before: &Release, event: &Event, step: &Step, now: UnixMs) -> Vec<Violation> {
    let taken = Taken { before, event, step, now };
    let broken = Law::ALL.into_iter().filter_map(|law| law.broken(&taken).map(|how| Violation { law, how }));
    broken.collect()
}

struct Taken<'a> {
    before: &'a Release,
    event: &'a Event,
    step: &'a Step,
    now: UnixMs,
}

impl<'a> Taken<'a> {
    fn look(&self) -> Option<&'a Analysis> {
        match self.event {
            Event::Look { analysis } => Some(analysis),
            Event::Created
            | Event::Operator { .. }
            | Event::Drift { .. }
            | Event::Superseded { .. }
            | Event::Served => None,
        }
    }

    /// Everybody whose exposure may differ: the customers that cohorts name, and one that none does.
    fn everybody(&self) -> Vec<Option<CustomerId>> {
        let cohorts = self.before.plan.stages.iter().map(|stage| &stage.cohort);
        let named: BTreeSet<CustomerId> = cohorts.flat_map(|cohort| cohort.customers().cloned()).collect();
        named.into_iter().map(Some).chain([None]).collect()
    }

    fn weight_before(&self, who: &Option<CustomerId>) -> WeightBp {
        weight_of(self.before, &exposures(self.before), who.as_ref())
    }

    fn weight_now(&self, who: &Option<CustomerId>) -> WeightBp {
        weight_of(&self.step.next, &exposures(&self.step.next), who.as_ref())
    }

    fn passed(&self) -> String {
        format!("{} -> {} by {:?}", self.before.state.word(), self.step.next.state.word(), self.step.decision)
    }
}

/// The share of a customer's new sessions that the canary's version answers.
fn weight_of(release: &Release, exposures: &[Exposure], customer: Option<&CustomerId>) -> WeightBp {
    let beside = match &release.state {
        State::Promoting { .. } | State::Promoted { .. } if exposures.is_empty() => WeightBp::FULL,
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::Promoted { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => WeightBp::ZERO,
    };
    governing(exposures, customer).map_or(beside, |exposure| exposure.weight)
}

fn exposure_by_decision(taken: &Taken<'_>) -> Option<String> {
    let may_raise = match &taken.step.decision {
        Decision::Start | Decision::Advance { .. } | Decision::Promote => true,
        Decision::Settle => !taken.before.state.hold_back().is_zero(),
        Decision::Create
        | Decision::Hold
        | Decision::Preflight
        | Decision::Shadow
        | Decision::Tell
        | Decision::AskApproval { .. }
        | Decision::Pause
        | Decision::Resume
        | Decision::Rollback { .. } => false,
    };
    let raised = |who: &Option<CustomerId>| taken.weight_now(who) > taken.weight_before(who);
    (!may_raise && taken.everybody().iter().any(raised)).then(|| taken.passed())
}

fn weight_never_falls(taken: &Taken<'_>) -> Option<String> {
    let may_fall = match &taken.step.next.state {
        State::RollingBack { .. } => true,
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::Promoted { .. }
        | State::RolledBack { .. } => false,
    };
    let fell = |who: &Option<CustomerId>| taken.weight_now(who) < taken.weight_before(who);
    (!may_fall && taken.everybody().iter().any(fell)).then(|| taken.passed())
}

fn advance_needs_evidence(taken: &Taken<'_>) -> Option<String> {
    let analysis = taken.look()?;
    let forward = match &taken.step.decision {
        Decision::Advance { .. } | Decision::AskApproval { .. } => true,
        Decision::Create
        | Decision::Hold
        | Decision::Preflight
        | Decision::Shadow
        | Decision::Tell
        | Decision::Start
        | Decision::Pause
        | Decision::Resume
        | Decision::Promote
        | Decision::Rollback { .. }
        | Decision::Settle => false,
    };
    let stage = taken.before.plan.stages.get(taken.before.state.serving_stage()?)?;
    if !forward {
        return None;
    }
    let climbs = matches!(taken.step.next.plan.stages.get(to_stage(taken.step)?).map(|s| &s.gate), Some(Gate::Ramp(_)));
    let unseen = analysis.posted.canary < stage.min_sessions.max(1) && !climbs;
    let void = !analysis.quality.holds.is_empty() || taken.before.policy.frozen_until(taken.now).is_some();
    let against = stage.leaves_control() && objects(taken.before, analysis);
    (unseen || void || against).then(|| taken.passed())
}

/// The stage that a step opened or asks to open.
fn to_stage(step: &Step) -> Option<usize> {
    match &step.decision {
        Decision::Advance { stage } | Decision::AskApproval { stage } => Some(*stage),
        Decision::Create
        | Decision::Hold
        | Decision::Preflight
        | Decision::Shadow
        | Decision::Tell
        | Decision::Start
        | Decision::Pause
        | Decision::Resume
        | Decision::Promote
        | Decision::Rollback { .. }
        | Decision::Settle => None,
    }
}

/// A ramp climbs by itself no further than its worst case that is not excluded allows: harm = weight ·
/// excess · sessions a minute.
fn ramp_bears_its_harm(taken: &Taken<'_>) -> Option<String> {
    let analysis = taken.look()?;
    let rung = to_stage(taken.step)?;
    let Gate::Ramp(ramp) = &taken.before.plan.stages.get(rung)?.gate else { return None };
    let climb = analysis.climb.as_ref();
    let weight = taken.before.plan.stages[rung].weight.share();
    let harm = climb.map_or(f64::INFINITY, |climb| weight * climb.worst * climb.units_per_minute);
    let bake_kept = taken.before.state.entered_at() == taken.step.next.state.entered_at();
    (harm > ramp.harm_per_minute * (1.0 + 1e-6) || !bake_kept).then(|| format!("{}, harm {harm}", taken.passed()))
}

fn promotion_needs_proof(taken: &Taken<'_>) -> Option<String> {
    let analysis = taken.look()?;
    if taken.step.decision != Decision::Promote {
        return None;
    }
    let policy = &taken.before.policy;
    let void = !analysis.quality.holds.is_empty() || !analysis.quality.promotion_holds.is_empty();
    let proven = |metric: &Metric| {
        analysis.findings.iter().any(|f| f.metric == *metric && f.verdict == Verdict::Healthy && f.promote.reached())
    };
    let mut guardrails = policy.guardrails.iter().filter(|g| g.role == Role::Guardrail).peekable();
    let started_at = taken.before.started_at.unwrap_or(taken.before.created_at);
    let acknowledged = policy.on_undecided == OnUndecided::Promote && taken.now >= started_at + policy.max_duration;
    let all_proven = guardrails.peek().is_some()
        && guardrails.all(|g| proven(&g.metric) || is_borne_silent(taken.before, analysis, &g.metric));
    let against = objects(taken.before, analysis)
        || analysis.findings.iter().any(|f| f.role == Role::Guardrail && f.standing >= DOUBT.ln());
    let unseen = analysis.posted.canary == 0;
    (unseen || void || against || !(all_proven || acknowledged)).then(|| taken.passed())
}

/// Whether a guardrail is against going on.
fn objects(release: &Release, analysis: &Analysis) -> bool {
    let guardrails = release.policy.guardrails.iter().filter(|g| g.role == Role::Guardrail);
    let mut verdicts = guardrails.map(|g| {
        let finding = analysis.findings.iter().find(|f| f.metric == g.metric);
        let verdict = match finding {
            Some(finding) if finding.is_bad_in_both_arms() => Some(Verdict::Regressed),
            Some(_) | None => finding.map(|f| f.verdict),
        };
        (verdict, is_borne_silent(release, analysis, &g.metric))
    });
    verdicts.any(|(verdict, borne)| match verdict {
        Some(Verdict::Healthy | Verdict::Inconclusive) => false,
        Some(Verdict::NoData) => !borne,
        Some(Verdict::Regressed | Verdict::Error) | None => true,
    })
}

/// No session of either arm had anything to measure, and the policy only warns of that.
fn is_borne_silent(release: &Release, analysis: &Analysis, metric: &Metric) -> bool {
    let warns = release.policy.guardrails.iter().any(|g| g.metric == *metric && g.no_data.then == NoDataThen::Warn);
    let counted = |f: &Finding| f.n.canary + f.n.control + f.missing.canary + f.missing.control;
    warns && analysis.findings.iter().filter(|f| f.metric == *metric).all(|f| counted(f) == 0)
}

fn rollback_outranks(taken: &Taken<'_>) -> Option<String> {
    let analysis = taken.look()?;
    if taken.before.state.serving_stage().is_none() && taken.before.state.hold_back().is_zero() {
        return None;
    }
    let due = analysis.rollback.reached() || !analysis.limits_exceeded.is_empty() || analysis.tripped.is_some();
    let obeyed = matches!(taken.step.next.state, State::RollingBack { .. });
    (due && !obeyed).then(|| taken.passed())
}

fn rollback_legal(taken: &Taken<'_>) -> Option<String> {
    let command = Command::Rollback { reason: String::new() };
    let legal = decide(&taken.step.next, &Event::Operator { actor: Actor::coalmine(), command }, taken.now).is_ok();
    let due = match &taken.step.next.state {
        State::RollingBack { .. } | State::RolledBack { .. } => false,
        State::Promoted { keep_until, .. } => *keep_until > taken.now,
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. } => true,
    };
    (legal != due)
        .then(|| format!("rollback of a release that is {}: legal {legal}, due {due}", taken.step.next.state.word()))
}

fn rollback_told(taken: &Taken<'_>) -> Option<String> {
    let Decision::Rollback { why } = &taken.step.decision else { return None };
    let route = || taken.before.route.clone();
    let mut due = vec![Effect::Publish { route: route() }];
    due.push(Effect::Notify(Notice::RolledBack { release: taken.before.id.clone(), why: why.clone() }));
    if taken.before.promoted_at.is_some() {
        due.push(Effect::SetStable { route: route(), version: taken.before.stable });
    }
    let same = due.len() == taken.step.effects.len() && due.iter().all(|effect| taken.step.effects.contains(effect));
    (!same).then(|| format!("{:?}", taken.step.effects))
}

fn replays(taken: &Taken<'_>) -> Option<String> {
    let again = decide(taken.before, taken.event, taken.now);
    (again.as_ref() != Ok(taken.step)).then(|| format!("{again:?}"))
}

fn generation_grows(taken: &Taken<'_>) -> Option<String> {
    let (before, next) = (taken.before, &taken.step.next);
    let kept = match &taken.step.decision {
        Decision::Hold => next == before && taken.step.effects.is_empty(),
        Decision::Create
        | Decision::Preflight
        | Decision::Shadow
        | Decision::Tell
        | Decision::Start
        | Decision::Advance { .. }
        | Decision::AskApproval { .. }
        | Decision::Pause
        | Decision::Resume
        | Decision::Promote
        | Decision::Rollback { .. }
        | Decision::Settle => next.generation == before.generation.next(),
    };
    (!kept).then(|| format!("{}, generation {} -> {}", taken.passed(), before.generation, next.generation))
}

fn criteria_frozen(taken: &Taken<'_>) -> Option<String> {
    let next = &taken.step.next;
    let mut thawed = next.clone();
    thawed.state = taken.before.state.clone();
    thawed.open.clone_from(&taken.before.open);
    thawed.drifts.clone_from(&taken.before.drifts);
    thawed.generation = taken.before.generation;
    thawed.started_at = taken.before.started_at;
    thawed.promoted_at = taken.before.promoted_at;
    thawed.revoked_at = taken.before.revoked_at;
    (thawed != *taken.before).then(|| taken.passed())
}

fn drift_only_freezes(taken: &Taken<'_>) -> Option<String> {
    let (before, next) = (taken.before, &taken.step.next);
    let noted = match taken.event {
        Event::Drift { .. } | Event::Operator { command: Command::Drift { .. }, .. } => 1,
        Event::Created | Event::Operator { .. } | Event::Look { .. } | Event::Superseded { .. } | Event::Served => 0,
    };
    let added = next.drifts.strip_prefix(before.drifts.as_slice());
    let moved = match added {
        Some([]) => false,
        Some([one]) => noted == 0 || one.at != taken.now || next.state != before.state || next.open != before.open,
        Some(_) | None => true,
    };
    let forward = match &taken.step.decision {
        Decision::Advance { .. } | Decision::AskApproval { .. } | Decision::Promote => true,
        Decision::Create
        | Decision::Hold
        | Decision::Preflight
        | Decision::Shadow
        | Decision::Tell
        | Decision::Start
        | Decision::Pause
        | Decision::Resume
        | Decision::Rollback { .. }
        | Decision::Settle => false,
    };
    let stale = forward && taken.look().is_some_and(|analysis| analysis.drifts < before.drifts.len());
    (moved || stale).then(|| format!("{}, drifts {} -> {}", taken.passed(), before.drifts.len(), next.drifts.len()))
}

fn over_is_over(taken: &Taken<'_>) -> Option<String> {
    let allowed = match (&taken.before.state, &taken.step.next.state) {
        (State::RolledBack { .. }, _) => taken.step.next == *taken.before,
        (State::Promoted { at, keep_until, .. }, State::Promoted { at: then, keep_until: till, hold_back }) => {
            taken.step.next == *taken.before || (at == then && keep_until == till && hold_back.is_zero())
        }
        (State::Promoted { .. }, after) => matches!(after, State::RollingBack { .. }),
        (State::RollingBack { .. }, after) => matches!(after, State::RollingBack { .. } | State::RolledBack { .. }),
        (State::Promoting { .. }, after) => {
            matches!(after, State::Promoting { .. } | State::Promoted { .. } | State::RollingBack { .. })
        }
        (
            State::Draft
            | State::Preflight
            | State::Shadow { .. }
            | State::Running { .. }
            | State::Paused { .. }
            | State::AwaitingApproval { .. },
            after,
        ) => !after.is_over(),
    };
    (!allowed).then(|| taken.passed())
}

#[cfg(test)]
mod tests;
