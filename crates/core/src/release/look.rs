//! What a look does, by precedence: what rolls back, what pauses, what ends undecided, what moves on.

use crate::analysis::Analysis;
use crate::release::causes;
use crate::release::conditions::Conditions;
use crate::release::effect::Notice;
use crate::release::forward;
use crate::release::moves;
use crate::release::plan::Gate;
use crate::release::policy::OnUndecided;
use crate::release::ramp;
use crate::release::report::{Decision, Report, Step, Waiting};
use crate::release::state::{Condition, PauseCause, Release, RollbackCause};
use crate::time::UnixMs;

/// A release that serves a stage, and what the look found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serving<'a> {
    pub(super) release: &'a Release,
    pub(super) analysis: &'a Analysis,
    /// The stage that is served.
    pub(super) stage: usize,
    /// When it was entered, pauses left out.
    pub(super) entered_at: UnixMs,
    pub(super) now: UnixMs,
}

/// Rollback outranks budgets, the end of time, gates, minimum evidence, freezes and void evidence.
pub(super) fn running(serving: &Serving<'_>) -> Step {
    if let Some(why) = causes::of_rollback(serving) {
        return moves::roll_back(serving.release, why, serving.now);
    }
    let seen = Conditions::of_running(serving);
    let step = pause_for_budget(serving, &seen)
        .or_else(|| end_undecided(serving, &seen))
        .unwrap_or_else(|| move_forward(serving));
    seen.mark(serving.release, step)
}

/// Nothing moves forward; what rolls back still does.
pub(super) fn paused(serving: &Serving<'_>, by: &PauseCause) -> Step {
    let why = match by {
        PauseCause::Operator { actor } => format!("paused by {actor}; resume goes on"),
        PauseCause::Budget { what } => format!("paused, {what}; resume goes on beyond the budget"),
        PauseCause::Undecided => {
            format!("undecided after {}; promote, roll back, or resume", serving.release.policy.max_duration)
        }
    };
    standing(serving, why, Vec::new())
}

/// As [`paused`], for a stage that waits for a person's word.
pub(super) fn awaiting(serving: &Serving<'_>, stage: usize) -> Step {
    let of = match serving.release.plan.stages.get(stage).map(|s| &s.gate) {
        Some(Gate::Approval(of)) => of.clone(),
        Some(Gate::Automatic | Gate::Ramp(_)) | None => "an operator".to_owned(),
    };
    let headline = format!("{} waits for the word of {of}", moves::stage_of(serving.release, stage));
    standing(serving, headline, vec![Waiting::Approval { of }])
}

/// After the promotion, beside those held back: a late regression that is proven rolls back.
pub(super) fn held_back(serving: &Serving<'_>, keep_until: UnixMs) -> Step {
    let Serving { release, analysis, now, .. } = *serving;
    if let Some(why) = causes::of_late_rollback(serving) {
        return moves::roll_back(release, why, now);
    }
    let keep = release.policy.keep;
    if now >= keep_until {
        let n = analysis.posted;
        let headline = format!(
            "nobody is held back any more: in {keep} nothing was proven worse, n {} / {} held back",
            n.canary, n.control
        );
        return moves::end_hold_back(release, headline);
    }
    let left = keep_until.since(now).rounded();
    let (share, n) = (release.state.hold_back(), analysis.posted);
    let headline = format!(
        "promoted; {share} of the new sessions stay on the old stable for {left} more, n {} / {} held back",
        n.canary, n.control
    );
    moves::hold(release, Report { headline, waiting_for: Vec::new(), warnings: analysis.quality.holds.clone() })
}

fn standing(serving: &Serving<'_>, headline: String, waiting_for: Vec<Waiting>) -> Step {
    if let Some(why) = causes::of_rollback(serving) {
        return moves::roll_back(serving.release, why, serving.now);
    }
    let mut warnings = forward::warnings(serving);
    if serving.is_past_max_duration() {
        warnings.push(format!("max_duration {} is over", serving.release.policy.max_duration));
    }
    let step = moves::hold(serving.release, Report { headline, waiting_for, warnings });
    Conditions::of_standing(serving).mark(serving.release, step)
}

fn pause_for_budget(serving: &Serving<'_>, seen: &Conditions) -> Option<Step> {
    let budgets = [Condition::HarmBudget, Condition::CostBudget];
    let used_up: Vec<&str> = budgets.iter().filter_map(|budget| seen.onset(serving.release, budget)).collect();
    if used_up.is_empty() {
        return None;
    }
    let what = format!("{} (a budget stands outside of the bound on false rollbacks)", used_up.join("; "));
    let notice = Notice::Paused { release: serving.release.id.clone(), why: what.clone() };
    let headline = format!("paused: {what}");
    Some(moves::pause(serving.release, PauseCause::Budget { what }, notice, headline, serving.now))
}

fn end_undecided(serving: &Serving<'_>, seen: &Conditions) -> Option<Step> {
    if !serving.is_past_max_duration() {
        return None;
    }
    let release = serving.release;
    let after = format!("undecided after {}", release.policy.max_duration);
    match release.policy.on_undecided {
        OnUndecided::Rollback => Some(moves::roll_back(release, RollbackCause::Undecided, serving.now)),
        OnUndecided::Hold => {
            let headline = format!("{after}, and stays here as its policy says; promote or roll back");
            let (waiting_for, warnings) = (forward::to_promote(serving), forward::warnings(serving));
            Some(moves::hold(release, Report { headline, waiting_for, warnings }))
        }
        OnUndecided::Ask => {
            seen.onset(release, &Condition::Undecided)?;
            let notice = Notice::Undecided { release: release.id.clone() };
            let headline = format!("{after}; promote, roll back, or resume");
            Some(moves::pause(release, PauseCause::Undecided, notice, headline, serving.now))
        }
        OnUndecided::Promote => {
            let missing = forward::to_promote_without_proof(serving);
            if missing.is_empty() {
                let headline = format!("{after}; promoted without proof, as the policy says");
                return Some(moves::promote(release, headline, serving.now));
            }
            Some(forward::stay(serving, &format!("{after}; the promotion that its policy says"), missing))
        }
    }
}

fn move_forward(serving: &Serving<'_>) -> Step {
    let Serving { release, stage, entered_at, now, .. } = *serving;
    let Some(next) = release.plan.stages.get(release.plan.rungs(stage).end() + 1) else {
        let mut missing = forward::to_promote(serving);
        if missing.is_empty() {
            return forward::warned(serving, moves::promote(release, forward::proof(serving), now));
        }
        if let Some(step) = ramp::climb(serving) {
            return forward::warned(serving, step);
        }
        missing.extend(ramp::waits(serving));
        return forward::stay(serving, &moves::stage_of(release, stage), missing);
    };
    let missing = forward::to_advance(serving);
    if !missing.is_empty() {
        return forward::stay(serving, &moves::stage_of(release, stage), missing);
    }
    let step = match &next.gate {
        Gate::Approval(of) => moves::ask_approval(release, stage + 1, of, entered_at, now),
        // A ramp ends its plan, so what comes next is no rung.
        Gate::Automatic | Gate::Ramp(_) => {
            let headline = format!(
                "advanced to {}: baked {}, {} canary sessions posted, nothing is against it",
                moves::stage_of(release, stage + 1),
                now.since(entered_at).rounded(),
                serving.analysis.posted.canary
            );
            moves::open_stage(release, stage + 1, headline, now)
        }
    };
    forward::warned(serving, step)
}

impl Serving<'_> {
    pub(super) fn is_past_max_duration(&self) -> bool {
        let started_at = self.release.started_at.unwrap_or(self.release.created_at);
        self.now >= started_at + self.release.policy.max_duration
    }
}

impl Conditions {
    /// Writes what opened and closed into the step; a hold becomes a telling when something did.
    pub(super) fn mark(self, release: &Release, mut step: Step) -> Step {
        match step.decision {
            Decision::Rollback { .. } => return step,
            Decision::Hold => {
                if *self.open() == release.open {
                    return step;
                }
                step.decision = Decision::Tell;
                step.next.generation = release.generation.next();
            }
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
            | Decision::Settle => {}
        }
        let notices = self.notices(release, &step);
        step.effects.extend(notices);
        step.next.open = self.into_open();
        step
    }
}
