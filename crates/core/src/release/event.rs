//! What can happen to a release. Operators and the analysis speak the same language.

use crate::analysis::Analysis;
use crate::id::{Actor, ReleaseId};
use serde::{Deserialize, Serialize};

/// One happening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// It was written; the first row of its journal, and never decided upon.
    Created,
    /// A person says so.
    Operator {
        /// Who.
        actor: Actor,
        /// What.
        command: Command,
    },
    /// A scheduled analysis.
    Look {
        /// What it found.
        analysis: Box<Analysis>,
    },
    /// Another model was seen to answer under the same name: evidence for promotion is gathered anew.
    Drift {
        /// What changed, in words.
        what: String,
    },
    /// A later release of the route exposes its canary: nobody is held back for this one any more.
    Superseded {
        /// The later one.
        by: ReleaseId,
    },
    /// Every live gateway serves the table of the last step (or the wait for the laggards is over).
    Served,
}

/// What a person can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Begin.
    Start,
    /// Begin as soon as the canary's upstreams are ready: what `start` of a draft becomes where they are not.
    Prepare,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Open the stage that waits for approval.
    Approve,
    /// Open the next stage now, without waiting for bake or evidence.
    Advance {
        /// Why; kept in the journal.
        reason: String,
    },
    /// Promote now, without waiting for evidence.
    Promote {
        /// Why; kept in the journal.
        reason: String,
    },
    /// Another model answers under the same name: what was proven for promotion is proven anew. Evidence of a
    /// rollback stays as it is.
    Drift {
        /// What changed; kept in the journal.
        reason: String,
    },
    /// Roll back now; legal in every state but rolled back.
    Rollback {
        /// Why; kept in the journal.
        reason: String,
    },
}

impl Command {
    /// The verb, as typed.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Start | Self::Prepare => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Advance { .. } => "advance",
            Self::Promote { .. } => "promote",
            Self::Drift { .. } => "drift",
            Self::Rollback { .. } => "rollback",
        }
    }
}
