//! The way of a decision, on one screen.

use crate::analysis::Analysis;
use crate::id::{Actor, ReleaseId};
use crate::release::event::{Command, Event};
use crate::release::look::{self, Serving};
use crate::release::moves;
use crate::release::preflight;
use crate::release::report::Step;
use crate::release::shadow;
use crate::release::state::{DRIFTS_MAX, Release, State};
use crate::time::UnixMs;
use crate::version::VersionId;

/// A command that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not in this state; the message says which commands are legal in it.
    #[error("cannot {verb} a release that is {state}; legal now: {legal}")]
    NotNow {
        /// What was asked.
        verb: &'static str,
        /// Where the release stands.
        state: &'static str,
        /// What is legal.
        legal: String,
    },
    /// The last stage is served already.
    #[error("cannot advance beyond the last stage, {stage}; promote instead, or roll back")]
    LastStage {
        /// Its label.
        stage: String,
    },
    /// What is asked has been decided already; whoever asked may take it as done.
    #[error("this release is {state} already: {why}")]
    RollbackDecided {
        /// `rolling_back` or `rolled_back`.
        state: &'static str,
        /// Why it is.
        why: String,
    },
    /// What answers changed too often for evidence to mean anything.
    #[error(
        "{DRIFTS_MAX} drifts are noted already, and no evidence promotes it any more; promote by hand, or roll back"
    )]
    TooManyDrifts,
    /// The old stable is no longer kept.
    #[error("the old stable was kept for {keep} after the promotion, which is over; start a release back to it")]
    KeepOver {
        /// How long it was kept.
        keep: String,
    },
    /// A later release of the route builds on what this one promoted.
    #[error("release {later} came later and builds on what this one promoted; roll it back first")]
    BuiltUpon {
        /// The later one.
        later: ReleaseId,
    },
    /// The route's stable is no longer the one that the release was written against.
    #[error("the route's stable is {now} now, and this release was written against {then}; write a new release")]
    StableMoved {
        /// The route's.
        now: VersionId,
        /// The release's.
        then: VersionId,
    },
}

/// Decides what becomes of `release` upon `event`. Pure: the same arguments give the same step.
///
/// Only commands are refused. Rollback is legal in every state but rolling back
/// and rolled back, and after a promotion while the old stable is kept.
///
/// # Errors
/// [`Refused`] when the state does not allow an operator's command; nothing changes then.
pub fn decide(release: &Release, event: &Event, now: UnixMs) -> Result<Step, Refused> {
    match event {
        Event::Operator { actor, command } => on_command(release, actor, command, now),
        Event::Look { analysis } => Ok(on_look(release, analysis, now)),
        Event::Drift { what } => Ok(on_drift(release, &Actor::coalmine(), what, now)),
        Event::Superseded { by } => Ok(moves::supersede(release, by)),
        Event::Served => Ok(on_served(release, now)),
        Event::Created => Ok(moves::nothing_to_do(release)),
    }
}

fn on_command(release: &Release, actor: &Actor, command: &Command, now: UnixMs) -> Result<Step, Refused> {
    use Command as C;
    use State as S;
    match (command, &release.state) {
        (C::Start, S::Draft) => Ok(preflight::start(release, actor, now)),
        (C::Prepare, S::Draft) => Ok(preflight::prepare(release, actor, now)),
        (C::Start, S::Preflight) => Ok(preflight::start_by_hand(release, actor, now)),
        (C::Advance { reason }, S::Shadow { .. }) => Ok(shadow::advance_by_hand(release, actor, reason, now)),
        (C::Pause, S::Running { .. } | S::AwaitingApproval { .. }) => Ok(moves::pause_by_hand(release, actor, now)),
        (C::Resume, S::Paused { resume_to, .. }) => Ok(moves::resume(release, actor, *resume_to, now)),
        (C::Approve, S::AwaitingApproval { stage, .. }) => Ok(moves::approve(release, actor, *stage, now)),
        (C::Advance { reason }, S::Running { stage, .. }) => {
            moves::advance_by_hand(release, actor, reason, *stage, now)
        }
        (C::Promote { reason }, S::Running { .. } | S::Paused { .. } | S::AwaitingApproval { .. }) => {
            Ok(moves::promote_by_hand(release, actor, reason, now))
        }
        (
            C::Drift { reason },
            S::Draft
            | S::Preflight
            | S::Shadow { .. }
            | S::Running { .. }
            | S::Paused { .. }
            | S::AwaitingApproval { .. },
        ) => {
            if release.drifts.len() >= DRIFTS_MAX {
                return Err(Refused::TooManyDrifts);
            }
            Ok(on_drift(release, actor, reason, now))
        }
        (
            C::Rollback { reason },
            S::Draft
            | S::Preflight
            | S::Shadow { .. }
            | S::Running { .. }
            | S::Paused { .. }
            | S::AwaitingApproval { .. }
            | S::Promoting { .. },
        ) => Ok(moves::roll_back_by_hand(release, actor, reason, now)),
        (C::Rollback { reason }, S::Promoted { keep_until, .. }) => {
            moves::restore_by_hand(release, actor, reason, *keep_until, now)
        }
        (C::Rollback { .. }, S::RollingBack { why, .. } | S::RolledBack { why, .. }) => {
            Err(Refused::RollbackDecided { state: release.state.word(), why: why.describe() })
        }
        (
            C::Start
            | C::Prepare
            | C::Pause
            | C::Resume
            | C::Approve
            | C::Advance { .. }
            | C::Promote { .. }
            | C::Drift { .. },
            S::Draft
            | S::Preflight
            | S::Shadow { .. }
            | S::Running { .. }
            | S::Paused { .. }
            | S::AwaitingApproval { .. }
            | S::Promoting { .. }
            | S::Promoted { .. }
            | S::RollingBack { .. }
            | S::RolledBack { .. },
        ) => Err(moves::refuse(release, command, now)),
    }
}

fn on_look(release: &Release, analysis: &Analysis, now: UnixMs) -> Step {
    let serving = |stage, entered_at| Serving { release, analysis, stage, entered_at, now };
    match &release.state {
        State::Preflight => preflight::look(release, analysis, now),
        State::Shadow { since } => shadow::look(release, analysis, *since, now),
        State::Running { stage, entered_at } => look::running(&serving(*stage, *entered_at)),
        State::Paused { by, resume_to } => look::paused(&serving(resume_to.stage, resume_to.entered_at), by),
        State::AwaitingApproval { stage, entered_at, .. } => {
            look::awaiting(&serving(stage.saturating_sub(1), *entered_at), *stage)
        }
        State::Promoted { at, keep_until, hold_back } if !hold_back.is_zero() => {
            look::held_back(&serving(release.plan.stages.len(), *at), *keep_until)
        }
        State::Draft
        | State::Promoting { .. }
        | State::Promoted { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => moves::nothing_to_do(release),
    }
}

/// A drift freezes what was proven for promotion, and moves nothing; what is decided already stays decided.
fn on_drift(release: &Release, by: &Actor, what: &str, now: UnixMs) -> Step {
    match &release.state {
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
            if release.drifts.len() < DRIFTS_MAX =>
        {
            moves::note_drift(release, by, what, now)
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
        | State::RolledBack { .. } => moves::nothing_to_do(release),
    }
}

fn on_served(release: &Release, now: UnixMs) -> Step {
    match &release.state {
        State::Promoting { .. } => moves::promoted(release, now),
        State::RollingBack { why, .. } => moves::rolled_back(release, why, now),
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoted { .. }
        | State::RolledBack { .. } => moves::nothing_to_do(release),
    }
}

/// What the route as a whole has against a command, which [`decide`], seeing one release, cannot know:
/// a rollback after promotion while a later release builds on it, or a start against a stable that moved.
/// `stable` is the route's version in service, `of_route` its releases. Ask before deciding.
///
/// # Errors
/// [`Refused::BuiltUpon`] or [`Refused::StableMoved`].
pub fn permit<'a>(
    release: &Release,
    command: &Command,
    stable: VersionId,
    of_route: impl IntoIterator<Item = &'a Release>,
) -> Result<(), Refused> {
    match command {
        Command::Start | Command::Prepare if release.stable != stable => {
            Err(Refused::StableMoved { now: stable, then: release.stable })
        }
        Command::Rollback { .. } => {
            let Some(promoted_at) = release.promoted_at else { return Ok(()) };
            let mut others = of_route.into_iter().filter(|other| other.id != release.id);
            let later =
                others.find(|other| other.started_at.is_some_and(|at| at >= promoted_at) && builds(&other.state));
            later.map_or(Ok(()), |later| Err(Refused::BuiltUpon { later: later.id.clone() }))
        }
        Command::Start
        | Command::Prepare
        | Command::Pause
        | Command::Resume
        | Command::Approve
        | Command::Advance { .. }
        | Command::Drift { .. }
        | Command::Promote { .. } => Ok(()),
    }
}

/// Whether a started release still builds on the stable that it was started against.
fn builds(state: &State) -> bool {
    match state {
        State::Draft | State::RollingBack { .. } | State::RolledBack { .. } => false,
        State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::Promoted { .. } => true,
    }
}

/// The commands that [`decide`] accepts now, as typed.
#[must_use]
pub fn legal(release: &Release, now: UnixMs) -> Vec<&'static str> {
    match &release.state {
        State::Draft | State::Preflight => vec!["start", "drift", "rollback"],
        State::Shadow { .. } => vec!["advance", "drift", "rollback"],
        State::Running { stage, .. } if stage + 1 < release.plan.stages.len() => {
            vec!["pause", "advance", "promote", "drift", "rollback"]
        }
        State::Running { .. } => vec!["pause", "promote", "drift", "rollback"],
        State::Paused { .. } => vec!["resume", "promote", "drift", "rollback"],
        State::AwaitingApproval { .. } => vec!["approve", "pause", "promote", "drift", "rollback"],
        State::Promoting { .. } => vec!["rollback"],
        State::Promoted { keep_until, .. } if *keep_until > now => vec!["rollback"],
        State::Promoted { .. } | State::RollingBack { .. } | State::RolledBack { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
