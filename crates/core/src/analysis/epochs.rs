//! The drift epochs of a release as the evidence for promotion of one guardrail meets them (`statistics.md`, section 9,
//! rule 3): at each, E becomes min(E, 1). What follows depends on the drifts and the sealed buckets alone, so a restart
//! gives the same numbers.

use crate::origin::Slice;
use crate::release::state::Drift;
use crate::time::UnixMs;
use crate::traffic::pin::Stratum;
use std::collections::BTreeMap;

/// The epochs, and how many of them the evidence has met.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Epochs {
    /// Oldest first.
    begun: Vec<UnixMs>,
    met: usize,
    /// The end of the last sealed bucket of each stratum and slice: what comes next began after it.
    sealed_to: BTreeMap<(Stratum, Slice), UnixMs>,
    /// Nothing counts that began earlier.
    from: UnixMs,
}

/// When gains are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// Not for this bucket.
    No,
    /// Before it: it is the first that lies wholly inside a new epoch.
    Before,
    /// After it: it holds sessions from before an epoch that others have met already.
    After,
}

impl Epochs {
    /// None yet; sessions count from then on.
    pub(super) fn new(from: UnixMs) -> Self {
        Self { from, ..Self::default() }
    }

    pub(super) fn note(&mut self, drifts: &[Drift]) {
        self.begun = drifts.iter().map(|drift| drift.at).collect();
    }

    /// Whether nothing from inside the last epoch is sealed yet: until then all that stands is from before it.
    pub(super) fn is_awaited(&self) -> bool {
        self.met < self.begun.len()
    }

    /// When the last one began.
    pub(super) fn last(&self) -> Option<UnixMs> {
        self.begun.last().copied()
    }

    /// What the next bucket of a stratum and slice, which ends then, asks for.
    pub(super) fn meet(&mut self, of: (Stratum, Slice), ended: UnixMs) -> GiveUp {
        let began = self.sealed_to.insert(of, ended).unwrap_or(self.from);
        let behind = self.begun.iter().filter(|epoch| **epoch <= began).count();
        if behind > self.met {
            self.met = behind;
            return GiveUp::Before;
        }
        if behind < self.met { GiveUp::After } else { GiveUp::No }
    }
}
