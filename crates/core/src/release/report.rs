//! Why the last decision did, or did not, move.

use crate::analysis::Analysis;
use crate::id::{Actor, Generation, ReleaseId};
use crate::release::effect::Effect;
use crate::release::event::Event;
use crate::release::state::{Release, RollbackCause};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// The outcome of one call of [`crate::release::decide::decide`]: what becomes of the release, what
/// the world must do, and why.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a step that is not committed did not happen"]
pub struct Step {
    /// The release afterwards; its generation is one higher exactly when `decision` is not `Hold`.
    pub next: Release,
    /// The decision.
    pub decision: Decision,
    /// What the world must do once this is committed.
    pub effects: Vec<Effect>,
    /// Why.
    pub report: Report,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Written, in draft; only in the first row of a journal.
    Create,
    /// Stay; nothing is written.
    Hold,
    /// Ask the sentinels before anybody is exposed.
    Preflight,
    /// Mirror requests to the canary before anybody is exposed.
    Shadow,
    /// Stay, and write down that a condition opened or closed, or that a drift began; what opened is told to people.
    Tell,
    /// Begin to expose.
    Start,
    /// To this stage.
    Advance {
        /// Its index.
        stage: usize,
    },
    /// The next stage's evidence is there; a person is asked.
    AskApproval {
        /// The stage that waits.
        stage: usize,
    },
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// The canary becomes stable.
    Promote,
    /// Back to stable.
    Rollback {
        /// Why.
        why: RollbackCause,
    },
    /// Told to every gateway: the release is over.
    Settle,
}

/// Why a release moved or what it waits for; shown by `status` and `explain`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The first reason, as a sentence with numbers.
    pub headline: String,
    /// Everything that is still missing for the next move forward; empty when it moved.
    pub waiting_for: Vec<Waiting>,
    /// What is wrong but does not hold by itself.
    pub warnings: Vec<String>,
}

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Waiting {
    /// The stage is young.
    Bake {
        /// Until when.
        until: UnixMs,
    },
    /// Too few canary sessions.
    Sessions {
        /// So many there are.
        have: u64,
        /// So many are needed.
        need: u64,
    },
    /// Too few mirrored sessions.
    Mirrored {
        /// So many there are.
        have: u64,
        /// So many are needed.
        need: u64,
    },
    /// A guardrail has not reached what it needs.
    Guardrail {
        /// Which metric.
        metric: String,
        /// In words with numbers.
        why: String,
    },
    /// Evidence is void or stale.
    DataQuality {
        /// In words with numbers.
        why: String,
    },
    /// A person's word.
    Approval {
        /// Whose.
        of: String,
    },
    /// A freeze window.
    Freeze {
        /// Until when.
        until: UnixMs,
    },
    /// Sessions too young to have posted their numbers.
    Posting {
        /// Until when at least.
        until: UnixMs,
    },
    /// A sentinel has not passed.
    Sentinel {
        /// Which; of the offline gate, its suite.
        name: String,
        /// In words with numbers.
        why: String,
    },
    /// A ramp's next weight.
    Ramp {
        /// Which weight, and what allows less, in words with numbers.
        why: String,
    },
    /// The canary's upstreams: they are not warm, or have no room.
    Upstreams {
        /// In words with numbers.
        why: String,
    },
    /// Gateways that do not yet serve the last table.
    Gateways,
}

impl Waiting {
    /// For people, seen at `now`.
    #[must_use]
    pub fn describe(&self, now: UnixMs) -> String {
        let left = |until: &UnixMs| until.since(now).rounded();
        match self {
            Self::Bake { until } => format!("{} more of bake", left(until)),
            Self::Sessions { have, need } => format!("canary sessions ({have} of {need} posted)"),
            Self::Mirrored { have, need } => format!("mirrored sessions ({have} of {need} counted)"),
            Self::Guardrail { metric, why } => format!("{metric} ({why})"),
            Self::DataQuality { why } => format!("sound evidence ({why})"),
            Self::Approval { of } => format!("the word of {of}"),
            Self::Freeze { until } => format!("the end of the freeze in {}", left(until)),
            Self::Posting { until } => format!("the first sessions to come of age in {}", left(until)),
            Self::Sentinel { name, why } => format!("sentinel {name} ({why})"),
            Self::Ramp { why } => format!("the ramp's next weight ({why})"),
            Self::Upstreams { why } => format!("the canary's upstreams ({why})"),
            Self::Gateways => "gateways that lag".to_owned(),
        }
    }
}

/// One row of the journal: immutable; the state of a release is the fold of its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalRow {
    /// Which release.
    pub release: ReleaseId,
    /// The generation that this step made (for a refused or holding event: the one it saw).
    pub generation: Generation,
    /// When.
    pub at: UnixMs,
    /// Who.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub report: Report,
}

impl JournalRow {
    /// The analysis behind the step, where a look made it.
    #[must_use]
    pub fn analysis(&self) -> Option<&Analysis> {
        match &self.event {
            Event::Look { analysis } => Some(analysis),
            Event::Created
            | Event::Operator { .. }
            | Event::Drift { .. }
            | Event::Superseded { .. }
            | Event::Served => None,
        }
    }
}

#[cfg(test)]
mod tests;
