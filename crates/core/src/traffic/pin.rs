//! The recorded assignment of a session, kept through weight changes and restarts.

use crate::id::{ReleaseId, UnitKey};
use crate::time::UnixMs;
use crate::version::VersionId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The population served in one role during one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Served by the stable version and not compared.
    Stable,
    /// Served by the stable version and compared with the canary.
    Control,
    /// Served by the version on trial.
    Canary,
}

impl Arm {
    /// As written in headers, metrics and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Control => "control",
            Self::Canary => "canary",
        }
    }
}

/// Which exposure of the plan governed the unit when it was assigned: the index of a stage.
/// Evidence of different strata is never pooled, only multiplied (Simpson's paradox).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stratum(pub u16);

/// The part that a session plays in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The release.
    pub release: Arc<ReleaseId>,
    /// Its arm.
    pub arm: Arm,
    /// The exposure that governed it.
    pub stratum: Stratum,
    /// When its first exposed request began: its exposure bucket and its ages count from here.
    pub exposed_at: UnixMs,
}

/// What a session is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The version that answers it.
    pub version: VersionId,
    /// Its part in a release; `None` when it began outside of any, or was moved by a rollback.
    pub member: Option<Membership>,
    /// When it was last used; idle pins expire.
    pub last_seen: UnixMs,
}

/// A conversation that is followed by what it says: whose it is, found by the hash of all that was said
/// up to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The keyed hash of everything said, the answer included.
    pub conversation: u128,
    /// The unit that was answered.
    pub unit: UnitKey,
    /// The version that answered.
    pub version: VersionId,
    /// When the answer ended.
    pub at: UnixMs,
}

/// A pin with its unit, as written behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// Whose.
    pub unit: UnitKey,
    /// To what.
    pub pin: Pin,
}
