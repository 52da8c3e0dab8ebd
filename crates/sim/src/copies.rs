//! What a gateway does for a release in its shadow, without sockets: draws sessions, puts copies of their requests to the
//! canary within the bounds of the shadow, and keeps pairs until they are reported.

use crate::luck::Luck;
use crate::upstream::{Answer, Asking, Upstream};
use crate::world::Side;
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::judge::PairSample;
use coalmine_core::shadow::pair::{Loss, Lost, Mirrored, Pair};
use coalmine_core::tally::Ending;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::Shadowed;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The stream of the copies' luck.
const COPIES: u64 = 0x636f_7069_6573;

/// The copies of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    seed: u64,
    /// The copies under way, by their ends.
    under_way: BinaryHeap<Reverse<UnixMs>>,
    day: u64,
    spent_usd: f64,
    /// By the instant at which both have answered.
    pairs: BTreeMap<(UnixMs, u64), (Arc<ReleaseId>, Pair)>,
    read: BTreeMap<(UnixMs, u64), PairSample>,
    lost: BTreeMap<Arc<ReleaseId>, Lost>,
    pub(crate) made: u64,
    pub(crate) lost_in_all: u64,
    pub(crate) sessions: BTreeSet<UnitKey>,
}

/// A served request that may be mirrored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Original<'a> {
    pub(crate) unit: UnitKey,
    pub(crate) at: UnixMs,
    pub(crate) asking: &'a Asking<'a>,
    pub(crate) answered: &'a Answer,
    /// Of what can go wrong, the share that has the luck of its original.
    pub(crate) alike: f64,
}

impl Copies {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Puts a copy of a served request to the canary, where its session is drawn.
    pub(crate) fn mirror(&mut self, shadowed: &Shadowed, upstream: &mut Upstream<'_>, original: &Original<'_>) {
        let Original { unit, at, asking, answered, alike } = *original;
        if !shadowed.includes(unit) {
            return;
        }
        self.sessions.insert(unit);
        if let Some(loss) = self.refused(shadowed, at) {
            self.lost_in_all += 1;
            return self.lost.entry(Arc::clone(&shadowed.id)).or_default().note(loss);
        }
        let mut luck = Luck::part(self.seed ^ COPIES, asking.draw.fine.id);
        let draw = asking.draw.of_copy(&mut luck, alike);
        let copy = upstream.answer(Side::Canary, &Asking { draw: &draw, ..*asking });
        upstream.serve(Side::Canary);
        self.made += 1;
        self.spent_usd += copy.outcome.cost_usd.unwrap_or_default();
        self.under_way.push(Reverse(at + copy.takes));
        let known_at = (at + copy.takes.max(answered.takes), self.made);
        if shadowed.is_judged(unit) && [answered, &copy].iter().all(|answer| answer.outcome.ending == Ending::Complete)
        {
            let sample = PairSample {
                release: Arc::clone(&shadowed.id),
                unit,
                started_at: at,
                conversation: "[]".to_owned(),
                stable: answered.text(),
                canary: copy.text(),
            };
            self.read.insert(known_at, sample);
        }
        let pair = Pair { unit, started_at: at, stable: answered.outcome.clone(), canary: copy.outcome };
        self.pairs.insert(known_at, (Arc::clone(&shadowed.id), pair));
    }

    /// Whether no copy may begin now, and why.
    fn refused(&mut self, shadowed: &Shadowed, at: UnixMs) -> Option<Loss> {
        while self.under_way.peek().is_some_and(|Reverse(end)| *end <= at) {
            self.under_way.pop();
        }
        if self.day != at.0 / DAY_MS {
            (self.day, self.spent_usd) = (at.0 / DAY_MS, 0.0);
        }
        let full = self.under_way.len() >= usize::try_from(shadowed.shadow.in_flight).unwrap_or(usize::MAX);
        let spent = self.spent_usd >= shadowed.shadow.usd_per_day;
        if spent { Some(Loss::Budget) } else { full.then_some(Loss::Busy) }
    }

    /// What is to be reported by an instant.
    pub(crate) fn report(&mut self, later: (UnixMs, u64)) -> Vec<Mirrored> {
        let rest = self.pairs.split_off(&later);
        let mut of: BTreeMap<Arc<ReleaseId>, Vec<Pair>> = BTreeMap::new();
        for (release, pair) in std::mem::replace(&mut self.pairs, rest).into_values() {
            of.entry(release).or_default().push(pair);
        }
        let mut lost = std::mem::take(&mut self.lost);
        lost.keys().for_each(|release| {
            of.entry(Arc::clone(release)).or_default();
        });
        let mirrored = of.into_iter().map(|(release, pairs)| {
            let lost = lost.remove(&release).unwrap_or_default();
            Mirrored { release, pairs, lost, likenesses: Vec::new() }
        });
        mirrored.collect()
    }

    /// What is to be read by judges by an instant.
    pub(crate) fn take_read(&mut self, later: (UnixMs, u64)) -> Vec<PairSample> {
        let rest = self.read.split_off(&later);
        std::mem::replace(&mut self.read, rest).into_values().collect()
    }
}
