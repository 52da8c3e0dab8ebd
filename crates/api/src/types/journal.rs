//! The record of a release: what happened, what was decided, and why.

use coalmine_core::release::event::Event;
use coalmine_core::release::report::{Decision, JournalRow};
use coalmine_core::release::state::RollbackCause;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::release::ReportView;

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalView {
    /// The generation that the step made.
    pub generation: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// What happened: a command's verb, `look`, `served`.
    pub event: String,
    /// What was decided: `start`, `advance`, `promote`, `rollback`, …
    pub decision: String,
    /// The words given with the command, or the cause of a rollback.
    pub why: Option<String>,
    /// Why.
    pub report: ReportView,
}

/// Whether the journal replays to the same decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayView {
    /// Rows replayed.
    pub rows: usize,
    /// Rows whose decision or state came out otherwise, in words; empty when all agree.
    pub differs: Vec<String>,
}

impl From<&JournalRow> for JournalView {
    fn from(row: &JournalRow) -> Self {
        let event = match &row.event {
            Event::Operator { command, .. } => command.verb(),
            Event::Created => "created",
            Event::Look { .. } => "look",
            Event::Drift { .. } => "drift",
            Event::Superseded { .. } => "superseded",
            Event::Served => "served",
        };
        Self {
            generation: row.generation.0,
            at_ms: row.at.0,
            actor: row.actor.to_string(),
            event: event.to_owned(),
            decision: decision_word(&row.decision).to_owned(),
            why: match &row.decision {
                Decision::Rollback { why } => Some(cause_word(why).to_owned()),
                Decision::Create
                | Decision::Preflight
                | Decision::Shadow
                | Decision::Tell
                | Decision::Hold
                | Decision::Start
                | Decision::Advance { .. }
                | Decision::AskApproval { .. }
                | Decision::Pause
                | Decision::Resume
                | Decision::Promote
                | Decision::Settle => None,
            },
            report: (&row.report).into(),
        }
    }
}

/// A decision in one word.
#[must_use]
pub fn decision_word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Create => "create",
        Decision::Preflight => "preflight",
        Decision::Shadow => "shadow",
        Decision::Tell => "tell",
        Decision::Hold => "hold",
        Decision::Start => "start",
        Decision::Advance { .. } => "advance",
        Decision::AskApproval { .. } => "ask_approval",
        Decision::Pause => "pause",
        Decision::Resume => "resume",
        Decision::Promote => "promote",
        Decision::Rollback { .. } => "rollback",
        Decision::Settle => "settle",
    }
}

/// A cause of a rollback in one word.
#[must_use]
pub fn cause_word(cause: &RollbackCause) -> &'static str {
    cause.kind().word()
}
