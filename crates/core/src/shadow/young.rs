//! The mirrored sessions that are young, and those that have been counted: one row each, kept by the store until the
//! release is over, so that a restart loses none and counts none twice.

use crate::id::UnitKey;
use crate::metric::Metric;
use crate::release::policy::Policy;
use crate::shadow::pair::{Compared, Pair};
use crate::shadow::preferences::Preferred;
use crate::shadow::similarity::{Likeness, LikenessSums};
use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Young sessions that are held at once; the pairs of further ones are lost, and counted.
const OPEN_MAX: usize = 10_000;
/// Sessions that are remembered as counted; of the oldest a late request would count again.
const COUNTED_MAX: usize = 100_000;

/// One mirrored session as it is kept: sums of numbers, and no word of what was asked or answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MirroredSession {
    /// When its first pair began.
    pub first_at: UnixMs,
    /// Whether it is counted; then its sums are gone, and what it brings later says nothing.
    pub is_counted: bool,
    /// By metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<Metric, Sums>,
    /// How near its answers are, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<LikenessSums>,
}

/// What its pairs have shown in one metric.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Pairs with something to compare.
    pub pairs: u32,
    /// Their x, summed.
    pub x: f64,
    /// Pairs with a value of both.
    pub both: u32,
    /// Stable's values, summed over these.
    pub stable: f64,
    /// The canary's.
    pub canary: f64,
}

/// Rows of sessions as they are now, and those that may go.
pub type Rows = (Vec<(UnitKey, Arc<MirroredSession>)>, Vec<UnitKey>);

/// All of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Young {
    open: BTreeMap<UnitKey, MirroredSession>,
    counted: BTreeMap<UnitKey, UnixMs>,
    order: VecDeque<UnitKey>,
    changed: BTreeSet<UnitKey>,
    gone: Vec<UnitKey>,
}

impl Young {
    /// Goes on from what was kept.
    #[must_use]
    pub fn restore(kept: Vec<(UnitKey, MirroredSession)>) -> Self {
        let mut young = Self::default();
        let (counted, open): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, session)| session.is_counted);
        young.open = open.into_iter().collect();
        young.counted = counted.iter().map(|(unit, session)| (*unit, session.first_at)).collect();
        let mut order: Vec<(UnixMs, UnitKey)> = young.counted.iter().map(|(unit, at)| (*at, *unit)).collect();
        order.sort_unstable();
        young.order = order.into_iter().map(|(_, unit)| unit).collect();
        young
    }

    /// The rows that changed since the last call, and those that may go.
    pub fn take_changes(&mut self) -> Rows {
        let counted = |unit: &UnitKey| {
            let first_at = *self.counted.get(unit)?;
            Some(MirroredSession { first_at, is_counted: true, of: BTreeMap::new(), likeness: None })
        };
        let row = |unit: &UnitKey| Some((*unit, Arc::new(self.open.get(unit).cloned().or_else(|| counted(unit))?)));
        let rows = self.changed.iter().filter_map(row).collect();
        self.changed.clear();
        (rows, std::mem::take(&mut self.gone))
    }

    /// Whether there was room; the later pairs of a session that is counted already find room and say nothing.
    pub(super) fn add(&mut self, policy: &Policy, pair: &Pair) -> bool {
        let Some(open) = self.open(pair.unit, pair.started_at) else { return self.counted.contains_key(&pair.unit) };
        for watched in policy.paired() {
            let Some(compared) = pair.compare(watched) else { continue };
            open.of.entry(watched.metric.clone()).or_default().add(compared);
        }
        true
    }

    /// Whether there was room for a verdict, and its session is not counted yet.
    pub(super) fn prefer(&mut self, preferred: &Preferred) -> bool {
        let Some(open) = self.open(preferred.unit, preferred.started_at) else { return false };
        let sums = open.of.entry(Metric::Judge(preferred.judge.clone())).or_default();
        sums.add(Compared { x: preferred.verdict.x(), stable: None, canary: None });
        true
    }

    /// Whether there was room for what was measured of a pair, and its session is not counted yet.
    pub(super) fn liken(&mut self, likeness: &Likeness) -> bool {
        let Some(open) = self.open(likeness.unit, likeness.started_at) else { return false };
        open.likeness.get_or_insert_default().add(likeness);
        true
    }

    /// The sums of a session that is not counted yet; `None` where it is, or there is no room.
    fn open(&mut self, unit: UnitKey, started_at: UnixMs) -> Option<&mut MirroredSession> {
        if self.counted.contains_key(&unit) || (self.open.len() >= OPEN_MAX && !self.open.contains_key(&unit)) {
            return None;
        }
        self.changed.insert(unit);
        let fresh = || MirroredSession { first_at: started_at, is_counted: false, of: BTreeMap::new(), likeness: None };
        let open = self.open.entry(unit).or_insert_with(fresh);
        open.first_at = open.first_at.min(started_at);
        Some(open)
    }

    /// Takes out the sessions whose first pair began at least `age` before `complete_to`: they are counted now.
    pub(super) fn close_due(&mut self, age: SpanMs, complete_to: UnixMs) -> Vec<(UnitKey, MirroredSession)> {
        let due = |open: &MirroredSession| open.first_at + age <= complete_to;
        let units: Vec<UnitKey> = self.open.iter().filter(|(_, open)| due(open)).map(|(unit, _)| *unit).collect();
        units.into_iter().filter_map(|unit| Some((unit, self.close(unit)?))).collect()
    }

    fn close(&mut self, unit: UnitKey) -> Option<MirroredSession> {
        let open = self.open.remove(&unit)?;
        self.changed.insert(unit);
        if self.counted.insert(unit, open.first_at).is_none() {
            self.order.push_back(unit);
        }
        if self.order.len() > COUNTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counted.remove(&oldest);
            self.changed.remove(&oldest);
            self.gone.push(oldest);
        }
        Some(open)
    }
}

impl Sums {
    fn add(&mut self, Compared { x, stable, canary }: Compared) {
        self.pairs += 1;
        self.x += x;
        if let Some((stable, canary)) = stable.zip(canary) {
            self.both += 1;
            self.stable += stable;
            self.canary += canary;
        }
    }

    /// The mean of x over its pairs.
    #[must_use]
    pub fn mean_x(&self) -> f64 {
        (self.x / f64::from(self.pairs.max(1))).clamp(0.0, 1.0)
    }

    /// Its means of stable and canary, where a pair has a value of both.
    #[must_use]
    pub fn means(&self) -> Option<(f64, f64)> {
        let both = f64::from(self.both);
        (self.both > 0).then(|| (self.stable / both, self.canary / both))
    }
}
