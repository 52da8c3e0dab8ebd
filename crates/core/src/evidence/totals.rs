//! Running totals of a release that are in no bucket; kept with it, as one JSON document.

use serde::{Deserialize, Serialize};

/// What a ledger counts beside its sessions. Written whole at every change; control serialises it into
/// `ReleaseEvidence::totals`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Turns that were not counted because their session's numbers were already posted.
    pub late_turns: u64,
}
