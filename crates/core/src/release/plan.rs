//! The ordered exposure levels of a release.

use crate::cohort::Cohort;
use crate::time::SpanMs;
use crate::traffic::weight::WeightBp;
use serde::{Deserialize, Serialize};

/// The stages in order. Never empty; a later stage never lowers a cohort's weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<Stage>,
}

/// One exposure level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Who.
    pub cohort: Cohort,
    /// How much of them.
    pub weight: WeightBp,
    /// How long at least.
    pub bake: SpanMs,
    /// How many canary sessions at least, with their session number posted.
    pub min_sessions: u64,
    /// What opens the stage.
    pub gate: Gate,
}

/// What opens a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Evidence alone.
    Automatic,
    /// Evidence and a person; the text says whose word is awaited (`oncall`).
    Approval(String),
}

impl Stage {
    /// Whether sessions of its own cohort are left on stable to compare with. Without them the stage
    /// is judged by limits and tripwires only.
    #[must_use]
    pub fn leaves_control(&self) -> bool {
        self.weight < WeightBp::FULL
    }

    /// As shown to people: `all 5 %`, `internal 90 %`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.cohort.label(), self.weight)
    }
}
