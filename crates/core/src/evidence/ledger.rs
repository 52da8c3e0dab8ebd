//! The ledger of one release: turns in, sealed buckets out.

use crate::evidence::history::RouteHistory;
use crate::evidence::totals::Totals;
use crate::evidence::{SealedBucket, Session, Yardstick};
use crate::id::UnitKey;
use crate::release::state::Release;
use crate::tally::{Dropped, Feedback, Turn};
use crate::time::UnixMs;
use std::collections::BTreeMap;

/// The sessions of one release until their last number is posted. Sealing depends on what was absorbed
/// and on `complete_to` alone, never on the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    yardstick: Option<Yardstick>,
    sessions: BTreeMap<UnitKey, Session>,
    totals: Totals,
}

/// What the store kept of a ledger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// The yardstick, once frozen.
    pub yardstick: Option<Yardstick>,
    /// Sessions that still owe a number.
    pub sessions: Vec<(UnitKey, Session)>,
    /// The totals; `None` when nothing was ever kept.
    pub totals: Option<Totals>,
}

/// What changed since the last call of [`Ledger::take_changes`]; belongs into one transaction with the
/// marks of the deltas that it came from. Field by field what the store's `ReleaseEvidence` holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The yardstick, when it was frozen since.
    pub yardstick: Option<Yardstick>,
    /// Sessions that are new or changed, whole.
    pub sessions: Vec<(UnitKey, Session)>,
    /// Sessions that have posted their last number.
    pub forgotten: Vec<UnitKey>,
    /// Buckets sealed since, in the order of sealing.
    pub sealed: Vec<SealedBucket>,
    /// The totals as they are now.
    pub totals: Totals,
}

/// What became of something that was offered to a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// It counts.
    Counted,
    /// It is no part of this release's evidence (another release, no unit, not compared).
    NotOurs,
    /// Its session began before the yardstick was frozen.
    WarmUp,
    /// It is beyond the ages at which its session is judged: in the totals only.
    BeyondAges,
    /// The numbers that it belongs to are already posted: counted as late, in the totals only.
    Late,
    /// It contradicts what is known of its session (arm, stratum or exposure): counted, ignored.
    Contradicts,
    /// It was counted before (feedback under a known idempotency key).
    Repeated,
    /// It cannot be used (a score that is not within 0 and 1).
    Unusable,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(release: &Release) -> Self {
        Self::restore(release, Kept::default())
    }

    /// Goes on from what was kept.
    #[must_use]
    pub fn restore(release: &Release, kept: Kept) -> Self {
        let _ = release;
        Self {
            yardstick: kept.yardstick,
            sessions: kept.sessions.into_iter().collect(),
            totals: kept.totals.unwrap_or_default(),
        }
    }

    /// Takes one turn. Deltas are counted once by intake, so a turn comes once.
    pub fn absorb(&mut self, turn: &Turn) -> Absorbed {
        let _ = turn;
        Absorbed::NotOurs
    }

    /// Takes one late score; harmless when repeated under the same idempotency key.
    pub fn absorb_feedback(&mut self, feedback: &Feedback) -> Absorbed {
        let _ = feedback;
        Absorbed::NotOurs
    }

    /// Counts turns of this release that a gateway threw away.
    pub fn absorb_dropped(&mut self, dropped: &Dropped) {
        let _ = dropped;
    }

    /// Freezes the yardstick once that is possible: at once from a history with enough of stable's last
    /// 24 hours, else at the end of the warm-up. Call it at every look from the start of exposure on;
    /// returns the yardstick once there is one (build the [`crate::analysis::Books`] then).
    pub fn calibrate(&mut self, history: Option<&RouteHistory>, now: UnixMs) -> Option<&Yardstick> {
        let _ = (history, now);
        self.yardstick.as_ref()
    }

    /// Seals every exposure bucket whose age has passed by `complete_to`; fold each into the books, in
    /// this order. They are also in the next [`Ledger::take_changes`].
    pub fn seal(&mut self, complete_to: UnixMs) -> Vec<SealedBucket> {
        let _ = complete_to;
        Vec::new()
    }

    /// What changed since the last call; `None` when nothing did.
    pub fn take_changes(&mut self) -> Option<Changes> {
        None
    }

    /// The yardstick, once frozen.
    #[must_use]
    pub fn yardstick(&self) -> Option<&Yardstick> {
        self.yardstick.as_ref()
    }

    /// The totals.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Sessions that still owe a number.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }
}
