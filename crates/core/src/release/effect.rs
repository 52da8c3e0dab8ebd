//! Instructions to the world that follow a committed decision. Each is idempotent, and is retried
//! from the outbox until done.

use crate::id::{IncidentId, ReleaseId, RouteName};
use crate::release::state::RollbackCause;
use crate::version::VersionId;
use serde::{Deserialize, Serialize};

/// One instruction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// Build the route's table anew from the committed state and give it to the gateways.
    Publish {
        /// The route.
        route: RouteName,
    },
    /// The route's stable version is this from now on.
    SetStable {
        /// The route.
        route: RouteName,
        /// The version.
        version: VersionId,
    },
    /// Tell people.
    Notify(Notice),
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// A release began to expose its canary.
    Started {
        /// Which.
        release: ReleaseId,
    },
    /// A release reached its next stage.
    Advanced {
        /// Which.
        release: ReleaseId,
        /// The stage's label.
        stage: String,
    },
    /// A release waits for a person.
    ApprovalWanted {
        /// Which.
        release: ReleaseId,
        /// Whose word is awaited.
        of: String,
    },
    /// A release stands still.
    Paused {
        /// Which.
        release: ReleaseId,
        /// Why, in words with numbers.
        why: String,
    },
    /// A signal holds a release, which goes on by itself after recovery.
    Held {
        /// Which.
        release: ReleaseId,
        /// Why, in words with numbers.
        why: String,
    },
    /// A release was promoted.
    Promoted {
        /// Which.
        release: ReleaseId,
    },
    /// A release was rolled back.
    RolledBack {
        /// Which.
        release: ReleaseId,
        /// Why.
        why: RollbackCause,
    },
    /// `max_duration` is over and nothing is decided.
    Undecided {
        /// Which.
        release: ReleaseId,
    },
    /// Stable itself is proven above an absolute limit.
    StableSick {
        /// Which.
        release: ReleaseId,
        /// In words with numbers, and what follows.
        what: String,
    },
    /// What answers behind a version changed: evidence for promotion is gathered anew.
    Drift {
        /// Which.
        release: ReleaseId,
        /// In words.
        what: String,
    },
    /// Evidence is missing or void: stale, dropped, split mismatch.
    LostData {
        /// Which.
        release: ReleaseId,
        /// In words with numbers.
        what: String,
    },
    /// Something is wrong with a route, release or not.
    IncidentOpened {
        /// Which.
        incident: IncidentId,
        /// Of which route.
        route: RouteName,
        /// In words with numbers.
        what: String,
    },
    /// It is over, by itself or by the word of somebody.
    IncidentClosed {
        /// Which.
        incident: IncidentId,
        /// Of which route.
        route: RouteName,
        /// What it was, and why it is over.
        what: String,
    },
}
