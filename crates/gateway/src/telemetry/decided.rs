//! What is told of decisions on releases: made by the control plane, and told by whoever posts to the collector.

use coalmine_core::id::Actor;
use coalmine_core::release::effect::{Effect, Notice};
use coalmine_core::release::report::{Decision, Step};
use coalmine_core::release::state::{Release, RollbackCause, State};
use coalmine_core::time::UnixMs;

/// One thing that was decided of a release, or that was noted of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    pub(crate) at: UnixMs,
    /// The last part of the event's name.
    pub(crate) what: &'static str,
    pub(crate) gravity: Gravity,
    /// One sentence, with numbers.
    pub(crate) why: String,
    pub(crate) by: Actor,
    /// As it is afterwards.
    pub(crate) release: Box<Release>,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// It goes its way.
    Info,
    /// Something is wrong.
    Warn,
}

impl Decided {
    /// All that a committed step says: its decision, and what it noted beside.
    pub(crate) fn of(step: &Step, by: &Actor, at: UnixMs) -> Vec<Self> {
        let told = |(what, gravity), why: &str| Self {
            at,
            what,
            gravity,
            why: why.to_owned(),
            by: by.clone(),
            release: Box::new(step.next.clone()),
        };
        let notices = step.effects.iter().filter_map(|effect| match effect {
            Effect::Notify(notice) => beside(notice),
            Effect::Publish { .. } | Effect::SetStable { .. } => None,
        });
        let mut all: Vec<Self> = notices.map(|(what, why)| told((what, Gravity::Warn), why)).collect();
        let of_decision = match (&step.decision, &step.next.state) {
            // what is noted says it
            (Decision::Tell, _) if !all.is_empty() => None,
            (decision, state) => name(decision, state),
        };
        if let Some(name) = of_decision {
            all.insert(0, told(name, &step.report.headline));
        }
        all
    }
}

/// What a decision is called; `None` for those that change nothing.
fn name(decision: &Decision, state: &State) -> Option<(&'static str, Gravity)> {
    Some(match decision {
        Decision::Create | Decision::Hold => return None,
        Decision::Preflight => ("preflight", Gravity::Info),
        Decision::Shadow => ("shadow", Gravity::Info),
        Decision::Tell => ("noted", Gravity::Info),
        Decision::Start => ("started", Gravity::Info),
        Decision::Advance { .. } => ("advanced", Gravity::Info),
        Decision::AskApproval { .. } => ("approval_wanted", Gravity::Info),
        Decision::Pause => ("paused", Gravity::Warn),
        Decision::Resume => ("resumed", Gravity::Info),
        Decision::Promote => ("promoting", Gravity::Info),
        Decision::Rollback { .. } => ("rolling_back", Gravity::Warn),
        Decision::Settle => (state.word(), Gravity::Info),
    })
}

/// What is noted beside a decision, and in which words; `None` for what only says the decision once more.
fn beside(notice: &Notice) -> Option<(&'static str, &str)> {
    match notice {
        Notice::Held { why, .. } => Some(("held", why)),
        Notice::Undecided { .. } => Some(("undecided", "its time is over and nothing is decided")),
        Notice::StableSick { what, .. } => Some(("stable_sick", what)),
        Notice::Drift { what, .. } => Some(("drift", what)),
        Notice::LostData { what, .. } => Some(("lost_data", what)),
        Notice::Started { .. }
        | Notice::Advanced { .. }
        | Notice::ApprovalWanted { .. }
        | Notice::Paused { .. }
        | Notice::Promoted { .. }
        | Notice::RolledBack { .. }
        | Notice::IncidentOpened { .. }
        | Notice::IncidentClosed { .. } => None,
    }
}

/// The metrics that a rollback is about.
pub(crate) fn metrics(why: &RollbackCause) -> Option<String> {
    match why {
        RollbackCause::Guardrail { metrics, .. } | RollbackCause::Shadow { metrics, .. } if !metrics.is_empty() => {
            Some(metrics.join(", "))
        }
        RollbackCause::Limit { metric, .. } | RollbackCause::NoData { metric } => Some(metric.clone()),
        RollbackCause::Guardrail { .. }
        | RollbackCause::Shadow { .. }
        | RollbackCause::Sentinel { .. }
        | RollbackCause::Tripwire { .. }
        | RollbackCause::Undecided
        | RollbackCause::Operator { .. } => None,
    }
}
