//! The transitions: what each makes of the release, and what the world must do.

use crate::id::{Actor, ReleaseId};
use crate::release::decide::{Refused, legal};
use crate::release::effect::{Effect, Notice};
use crate::release::event::Command;
use crate::release::plan::Gate;
use crate::release::report::{Decision, Report, Step};
use crate::release::state::{Drift, PauseCause, Release, Resume, RollbackCause, State};
use crate::release::words::{given, number};
use crate::time::UnixMs;
use crate::traffic::weight::WeightBp;

/// What comes after the start, or after the sentinels: the shadow, where the policy has one, else the first stage. `why`
/// is what let it on.
pub(super) fn let_on(release: &Release, why: &str, now: UnixMs) -> Step {
    match &release.policy.shadow {
        Some(shadow) => {
            let headline = format!("{why}: {} of the sessions are mirrored for {}", shadow.share, shadow.length);
            go(release, State::Shadow { since: now }, Decision::Shadow, vec![publish(release)], headline)
        }
        None => begin(release, format!("{why}: {}", stage_of(release, 0)), now),
    }
}

/// To wait for the sentinels; nothing is exposed.
pub(super) fn preflight(release: &Release, headline: String) -> Step {
    go(release, State::Preflight, Decision::Preflight, Vec::new(), headline)
}

/// Opens the first stage.
pub(super) fn begin(release: &Release, headline: String, now: UnixMs) -> Step {
    let state = State::Running { stage: 0, entered_at: now };
    let effects = vec![publish(release), Effect::Notify(Notice::Started { release: release.id.clone() })];
    let mut step = go(release, state, Decision::Start, effects, headline);
    if release.attempt > 0 {
        let alpha = 100.0 * release.policy.false_rollback_rate * 0.5_f64.powf(f64::from(release.attempt));
        step.report.warnings.push(format!(
            "this is try {} of the same canary: false rollbacks are bounded by {} % this time, and evidence for \
             promotion goes on from where the last try ended",
            release.attempt.saturating_add(1),
            number(alpha)
        ));
    }
    step.next.started_at = Some(now);
    step
}

/// Opens `stage`; its bake counts from now.
pub(super) fn open_stage(release: &Release, stage: usize, headline: String, now: UnixMs) -> Step {
    let label = release.plan.stages.get(stage).map_or(String::new(), |s| s.label());
    let notice = Notice::Advanced { release: release.id.clone(), stage: label };
    let effects = vec![publish(release), Effect::Notify(notice)];
    go(release, State::Running { stage, entered_at: now }, Decision::Advance { stage }, effects, headline)
}

pub(super) fn ask_approval(release: &Release, stage: usize, of: &str, entered_at: UnixMs, now: UnixMs) -> Step {
    let headline = format!("the evidence for {} is there; it waits for the word of {of}", stage_of(release, stage));
    let notice = Notice::ApprovalWanted { release: release.id.clone(), of: of.to_owned() };
    let state = State::AwaitingApproval { stage, since: now, entered_at };
    go(release, state, Decision::AskApproval { stage }, vec![Effect::Notify(notice)], headline)
}

pub(super) fn approve(release: &Release, actor: &Actor, stage: usize, now: UnixMs) -> Step {
    open_stage(release, stage, format!("approved by {actor}: {}", stage_of(release, stage)), now)
}

/// The next stage by a person's word, which is also the word that its gate may ask for.
pub(super) fn advance_by_hand(
    release: &Release,
    actor: &Actor,
    reason: &str,
    stage: usize,
    now: UnixMs,
) -> Result<Step, Refused> {
    let next = stage + 1;
    let Some(opened) = release.plan.stages.get(next) else {
        return Err(Refused::LastStage { stage: stage_of(release, stage) });
    };
    let headline =
        format!("advanced by {actor} without waiting for evidence: {}{}", stage_of(release, next), given(reason));
    let mut step = open_stage(release, next, headline, now);
    let to_keep = release.state.entered_at().unwrap_or(now);
    match &opened.gate {
        Gate::Automatic => {}
        Gate::Ramp(_) => step.next.state = State::Running { stage: next, entered_at: to_keep },
        Gate::Approval(of) => {
            step.report.warnings.push(format!("the word of {of}, which this stage asks for, was given by {actor}"));
        }
    }
    warn_of_freeze(&mut step, now);
    Ok(step)
}

/// Exposure stands still. Legal where a stage is served; elsewhere the step holds.
pub(super) fn pause(release: &Release, by: PauseCause, notice: Notice, headline: String, now: UnixMs) -> Step {
    let (stage, entered_at) = match &release.state {
        State::Running { stage, entered_at } => (*stage, *entered_at),
        State::AwaitingApproval { stage, entered_at, .. } => (stage.saturating_sub(1), *entered_at),
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Paused { .. }
        | State::Promoting { .. }
        | State::Promoted { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => return nothing_to_do(release),
    };
    let state = State::Paused { by, resume_to: Resume { stage, entered_at, paused_at: now } };
    go(release, state, Decision::Pause, vec![Effect::Notify(notice)], headline)
}

pub(super) fn pause_by_hand(release: &Release, actor: &Actor, now: UnixMs) -> Step {
    let why = format!("paused by {actor}; the canary keeps its share, and nothing advances");
    let notice = Notice::Paused { release: release.id.clone(), why: why.clone() };
    pause(release, PauseCause::Operator { actor: actor.clone() }, notice, why, now)
}

/// The time of the pause does not count as bake.
pub(super) fn resume(release: &Release, actor: &Actor, to: Resume, now: UnixMs) -> Step {
    let entered_at = to.entered_at + now.since(to.paused_at);
    let headline = format!("resumed by {actor}: {}", stage_of(release, to.stage));
    go(release, State::Running { stage: to.stage, entered_at }, Decision::Resume, Vec::new(), headline)
}

pub(super) fn promote(release: &Release, headline: String, now: UnixMs) -> Step {
    let set = Effect::SetStable { route: release.route.clone(), version: release.canary };
    let effects = vec![set, publish(release)];
    let mut step = go(release, State::Promoting { since: now }, Decision::Promote, effects, headline);
    step.next.promoted_at = Some(now);
    step
}

pub(super) fn promote_by_hand(release: &Release, actor: &Actor, reason: &str, now: UnixMs) -> Step {
    let headline = format!("promoted by {actor} without waiting for evidence{}", given(reason));
    let mut step = promote(release, headline, now);
    warn_of_freeze(&mut step, now);
    step
}

pub(super) fn promoted(release: &Release, now: UnixMs) -> Step {
    let keep = release.policy.keep;
    let hold_back = release.policy.hold_back;
    let watch = if hold_back.is_zero() {
        String::new()
    } else {
        format!("; {hold_back} of the new sessions stay on the old one meanwhile, to compare with")
    };
    let headline = format!(
        "{} is the stable of {}; rollback restores the old one for {keep}{watch}",
        release.canary, release.route
    );
    let state = State::Promoted { at: now, keep_until: now + keep, hold_back };
    let notice = Notice::Promoted { release: release.id.clone() };
    go(release, state, Decision::Settle, vec![Effect::Notify(notice)], headline)
}

/// Nobody is held back any more: the keep is over and nothing was proven worse.
pub(super) fn end_hold_back(release: &Release, headline: String) -> Step {
    match &release.state {
        State::Promoted { at, keep_until, hold_back } if !hold_back.is_zero() => {
            let state = State::Promoted { at: *at, keep_until: *keep_until, hold_back: WeightBp::ZERO };
            go(release, state, Decision::Settle, vec![publish(release)], headline)
        }
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::Promoted { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => nothing_to_do(release),
    }
}

pub(super) fn supersede(release: &Release, by: &ReleaseId) -> Step {
    end_hold_back(release, format!("nobody is held back any more: {by} is compared with what this one promoted"))
}

/// Exposure drops first: the table without the canary is published before anybody is told.
pub(super) fn roll_back(release: &Release, why: RollbackCause, now: UnixMs) -> Step {
    let mut effects = Vec::new();
    if release.promoted_at.is_some() {
        effects.push(Effect::SetStable { route: release.route.clone(), version: release.stable });
    }
    effects.push(publish(release));
    effects.push(Effect::Notify(Notice::RolledBack { release: release.id.clone(), why: why.clone() }));
    let headline = format!("rolled back: {}", why.describe());
    let state = State::RollingBack { why: why.clone(), since: now };
    let mut step = go(release, state, Decision::Rollback { why }, effects, headline);
    step.next.revoked_at = Some(now);
    step
}

pub(super) fn roll_back_by_hand(release: &Release, actor: &Actor, reason: &str, now: UnixMs) -> Step {
    roll_back(release, RollbackCause::Operator { actor: actor.clone(), reason: reason.to_owned() }, now)
}

/// After a promotion, while the old stable is kept.
pub(super) fn restore_by_hand(
    release: &Release,
    actor: &Actor,
    reason: &str,
    keep_until: UnixMs,
    now: UnixMs,
) -> Result<Step, Refused> {
    if keep_until <= now {
        return Err(Refused::KeepOver { keep: release.policy.keep.to_string() });
    }
    Ok(roll_back_by_hand(release, actor, reason, now))
}

pub(super) fn rolled_back(release: &Release, why: &RollbackCause, now: UnixMs) -> Step {
    let headline = format!("every gateway serves {} again: {}", release.stable, why.describe());
    let state = State::RolledBack { why: why.clone(), at: now };
    go(release, state, Decision::Settle, Vec::new(), headline)
}

/// An event that says nothing to a release in this state.
pub(super) fn nothing_to_do(release: &Release) -> Step {
    let headline = match &release.state {
        State::Draft => "not started".to_owned(),
        State::Preflight => "in preflight; nothing is exposed".to_owned(),
        State::Shadow { .. } => "in its shadow; nobody is exposed".to_owned(),
        State::Running { stage, .. } => format!("running: {}", stage_of(release, *stage)),
        State::Paused { resume_to, .. } => format!("paused: {}", stage_of(release, resume_to.stage)),
        State::AwaitingApproval { stage, .. } => format!("waits for approval: {}", stage_of(release, *stage)),
        State::Promoting { .. } => "promotion is decided; waiting until every gateway serves it".to_owned(),
        State::Promoted { .. } => format!("over: promoted, {} is the stable of {}", release.canary, release.route),
        State::RollingBack { why, .. } => {
            format!("rollback is decided; waiting until every gateway serves it: {}", why.describe())
        }
        State::RolledBack { why, .. } => format!("over: rolled back, {}", why.describe()),
    };
    hold(release, Report { headline, ..Report::default() })
}

pub(super) fn refuse(release: &Release, command: &Command, now: UnixMs) -> Refused {
    let legal = legal(release, now);
    let legal = if legal.is_empty() { "nothing, it is over".to_owned() } else { legal.join(", ") };
    Refused::NotNow { verb: command.verb(), state: release.state.word(), legal }
}

/// Nothing changes and nothing is written.
pub(super) fn hold(release: &Release, report: Report) -> Step {
    Step { next: release.clone(), decision: Decision::Hold, effects: Vec::new(), report }
}

/// `stage 2 of 4 (all 5 %)`, or `stage 2 of 4 (all 5 %, ramp to 50 %)`.
pub(super) fn stage_of(release: &Release, stage: usize) -> String {
    let plan = &release.plan;
    let label = plan.stages.get(stage).map_or_else(|| "not in the plan".to_owned(), |s| s.label());
    let (which, of) = plan.place(stage);
    let rungs = plan.rungs(stage);
    let ramp = match plan.stages.get(*rungs.end()) {
        Some(last) if rungs.start() < rungs.end() => format!(", ramp to {}", last.weight),
        Some(_) | None => String::new(),
    };
    format!("stage {which} of {of} ({label}{ramp})")
}

/// A higher rung of the ramp; its bake goes on.
pub(super) fn climb(release: &Release, rung: usize, entered_at: UnixMs, headline: String) -> Step {
    let effects = vec![publish(release)];
    go(release, State::Running { stage: rung, entered_at }, Decision::Advance { stage: rung }, effects, headline)
}

/// What was proven for promotion is proven anew; exposure and evidence of a rollback stay as they are.
pub(super) fn note_drift(release: &Release, by: &Actor, what: &str, now: UnixMs) -> Step {
    let told = if what.is_empty() { format!("by the word of {by}") } else { what.to_owned() };
    let headline = format!(
        "drift: {told}; sessions that began before it prove nothing for a promotion any more, and what they prove \
         against the canary stands"
    );
    let notice = Notice::Drift { release: release.id.clone(), what: headline.clone() };
    let effects = vec![Effect::Notify(notice)];
    let mut step = go(release, release.state.clone(), Decision::Tell, effects, headline);
    step.next.drifts.push(Drift { at: now, by: by.clone(), what: told });
    step
}

fn go(release: &Release, state: State, decision: Decision, effects: Vec<Effect>, headline: String) -> Step {
    let mut next = release.clone();
    next.state = state;
    next.generation = release.generation.next();
    Step { next, decision, effects, report: Report { headline, ..Report::default() } }
}

fn publish(release: &Release) -> Effect {
    Effect::Publish { route: release.route.clone() }
}

fn warn_of_freeze(step: &mut Step, now: UnixMs) {
    if step.next.policy.frozen_until(now).is_some() {
        step.report.warnings.push("done by hand inside a freeze window".to_owned());
    }
}
