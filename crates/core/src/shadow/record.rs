//! What the pairs of a release have shown. A session is one unit of evidence: it counts with the mean over its pairs,
//! once, when it has reached the age of a session's number. What it brings later is shown nowhere.
//!
//! Sessions that are still young are held in memory only. A restart loses them, of both answers alike.

use crate::id::UnitKey;
use crate::metric::Metric;
use crate::release::policy::Policy;
use crate::shadow::pair::{Compared, Lost, Mirrored, Pair};
use crate::time::{SpanMs, UnixMs};
use coalmine_stats::betting::Side;
use coalmine_stats::limit::{Bound, Limit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Young sessions that are held at once; the pairs of further ones are lost, and counted.
const OPEN_MAX: usize = 10_000;
/// Sessions that are remembered as counted; of the oldest a late request would count again.
const POSTED_MAX: usize = 100_000;

/// Everything that pairs have shown, kept with the release's totals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Pairs that say something.
    pub pairs: u64,
    /// Pairs that do not: the client left or was at fault, or the gateway was.
    pub void: u64,
    /// Sessions that were counted.
    pub sessions: u64,
    /// Requests that were not compared.
    pub lost: Lost,
    /// What the copies cost, in US dollars, where known.
    pub cost_usd: f64,
    /// Copies whose cost is unknown.
    pub cost_unknown: u64,
    /// By metric.
    #[serde(default)]
    pub of: BTreeMap<Metric, Tested>,
}

/// What pairs have shown in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Sessions with something to compare.
    pub sessions: u64,
    /// Over these, the sum of stable's means (a badness, or milliseconds, US dollars, tokens, calls).
    pub stable: f64,
    /// The canary's.
    pub canary: f64,
    /// Sessions with a value of both, over which the sums go.
    pub both: u64,
    /// The evidence against the canary.
    pub process: Limit,
}

/// The sessions that are young, and those that have been counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Young {
    open: BTreeMap<UnitKey, Open>,
    posted: BTreeSet<UnitKey>,
    order: VecDeque<UnitKey>,
}

#[derive(Debug, Clone, PartialEq)]
struct Open {
    first_at: UnixMs,
    of: BTreeMap<Metric, Sums>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sums {
    pairs: u32,
    x: f64,
    both: u32,
    stable: f64,
    canary: f64,
}

impl Record {
    /// Nothing was mirrored yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Counts what a gateway has mirrored; its pairs wait in `young` until their sessions are old enough.
    pub fn absorb(&mut self, young: &mut Young, policy: &Policy, mirrored: &Mirrored) {
        self.lost.add(mirrored.lost);
        for pair in &mirrored.pairs {
            match pair.canary.cost_usd {
                Some(usd) => self.cost_usd += usd,
                None => self.cost_unknown += 1,
            }
            if pair.is_void() {
                self.void += 1;
            } else if young.add(policy, &pair.clone().blamed()) {
                self.pairs += 1;
            } else {
                self.lost.queue += 1;
            }
        }
    }

    /// Counts the sessions whose first pair began at least `age` before `complete_to`.
    pub fn post(&mut self, young: &mut Young, policy: &Policy, age: SpanMs, complete_to: UnixMs) -> bool {
        let due: Vec<UnitKey> =
            young.open.iter().filter(|(_, open)| open.first_at + age <= complete_to).map(|(unit, _)| *unit).collect();
        for unit in &due {
            if let Some(open) = young.close(*unit) {
                self.sessions += 1;
                self.post_session(policy, &open);
            }
        }
        !due.is_empty()
    }

    fn post_session(&mut self, policy: &Policy, open: &Open) {
        for watched in policy.paired() {
            let Some(sums) = open.of.get(&watched.metric) else { continue };
            let bound = Bound { side: Side::Rollback, ..Bound::at_most(watched.paired_bound()) };
            let tested = match self.of.get_mut(&watched.metric) {
                Some(tested) => tested,
                None => {
                    // A margin that leaves nothing to test was refused before the start.
                    let Ok(process) = Limit::new(bound) else { continue };
                    self.of.entry(watched.metric.clone()).or_insert(Tested {
                        sessions: 0,
                        stable: 0.0,
                        canary: 0.0,
                        both: 0,
                        process,
                    })
                }
            };
            let x = (sums.x / f64::from(sums.pairs.max(1))).clamp(0.0, 1.0);
            if tested.process.seal(&[x], &[1]).is_ok() {
                tested.sessions += 1;
            }
            if sums.both > 0 {
                tested.both += 1;
                tested.stable += sums.stable / f64::from(sums.both);
                tested.canary += sums.canary / f64::from(sums.both);
            }
        }
    }
}

impl Tested {
    /// The means of stable and canary, over the sessions with a value of both.
    #[must_use]
    pub fn means(&self) -> Option<(f64, f64)> {
        let both = self.both as f64;
        (self.both > 0).then(|| (self.stable / both, self.canary / both))
    }
}

impl Young {
    /// Whether there was room; the later pairs of a session that is counted already find room and say nothing.
    fn add(&mut self, policy: &Policy, pair: &Pair) -> bool {
        if self.posted.contains(&pair.unit) {
            return true;
        }
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&pair.unit) {
            return false;
        }
        let fresh = || Open { first_at: pair.started_at, of: BTreeMap::new() };
        let open = self.open.entry(pair.unit).or_insert_with(fresh);
        open.first_at = open.first_at.min(pair.started_at);
        for watched in policy.paired() {
            let Some(Compared { x, stable, canary }) = pair.compare(watched) else { continue };
            let sums = open.of.entry(watched.metric.clone()).or_default();
            sums.pairs += 1;
            sums.x += x;
            if let Some((stable, canary)) = stable.zip(canary) {
                sums.both += 1;
                sums.stable += stable;
                sums.canary += canary;
            }
        }
        true
    }

    fn close(&mut self, unit: UnitKey) -> Option<Open> {
        let open = self.open.remove(&unit)?;
        if self.posted.insert(unit) {
            self.order.push_back(unit);
        }
        if self.order.len() > POSTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.posted.remove(&oldest);
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests;
