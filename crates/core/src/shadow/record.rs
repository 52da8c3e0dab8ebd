//! What the pairs of a release have shown. A session is one unit of evidence: it counts with the mean over its pairs,
//! once, when it has reached the age of a session's number. What it brings later is shown nowhere.
//!
//! Sessions that are still young are rows of their own ([`crate::shadow::young`]).

use crate::id::UnitKey;
use crate::metric::Metric;
use crate::release::policy::Policy;
use crate::shadow::By;
use crate::shadow::pair::{Lost, Mirrored};
use crate::shadow::preferences::{Preferences, Preferred};
use crate::shadow::similarity::Likenesses;
use crate::shadow::spread::Spread;
use crate::shadow::young::{MirroredSession, Young};
use crate::time::{SpanMs, UnixMs};
use coalmine_stats::betting::Side;
use coalmine_stats::limit::{Bound, Limit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// What judges of pairs have said, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preferences: BTreeMap<String, Preferences>,
    /// How near its answers are to stable's.
    #[serde(default, skip_serializing_if = "Likenesses::is_empty")]
    pub likenesses: Likenesses,
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
    /// How their differences are spread; of a judge, what it said of each session.
    #[serde(default, skip_serializing_if = "Spread::is_empty")]
    pub spread: Spread,
    /// The evidence against the canary.
    pub process: Limit,
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
        if policy.shadow.as_ref().is_some_and(|shadow| shadow.similarity.is_some()) {
            self.absorb_likenesses(young, mirrored);
        }
    }

    fn absorb_likenesses(&mut self, young: &mut Young, mirrored: &Mirrored) {
        for likeness in &mirrored.likenesses {
            if young.liken(likeness) {
                self.likenesses.note(likeness);
            } else {
                self.likenesses.late += 1;
            }
        }
    }

    /// Counts one verdict of a judge of pairs; it waits in `young` as its pair does.
    pub fn absorb_preference(&mut self, young: &mut Young, preferred: &Preferred) {
        let counts = self.preferences.entry(preferred.judge.clone()).or_default();
        if young.prefer(preferred) {
            counts.note(preferred.verdict);
        } else {
            counts.late += 1;
        }
    }

    /// Counts the sessions whose first pair began at least `age` before `complete_to`.
    pub fn post(&mut self, young: &mut Young, policy: &Policy, age: SpanMs, complete_to: UnixMs) -> bool {
        let due = young.close_due(age, complete_to);
        for (unit, session) in &due {
            self.sessions += 1;
            if let Some(sums) = &session.likeness {
                let similarity = policy.shadow.as_ref().and_then(|shadow| shadow.similarity.as_deref());
                self.likenesses.post(similarity.and_then(|similarity| similarity.bar), sums);
            }
            self.post_session(policy, *unit, session);
        }
        !due.is_empty()
    }

    fn post_session(&mut self, policy: &Policy, unit: UnitKey, session: &MirroredSession) {
        for criterion in policy.criteria() {
            let Some(sums) = session.of.get(&criterion.metric) else { continue };
            let bound = Bound { side: Side::Rollback, ..Bound::at_most(criterion.bound) };
            let tested = match self.of.get_mut(&criterion.metric) {
                Some(tested) => tested,
                None => {
                    // A margin that leaves nothing to test was refused before the start.
                    let Ok(process) = Limit::new(bound) else { continue };
                    self.of.entry(criterion.metric.clone()).or_insert(Tested {
                        sessions: 0,
                        stable: 0.0,
                        canary: 0.0,
                        both: 0,
                        spread: Spread::default(),
                        process,
                    })
                }
            };
            if tested.process.seal(&[sums.mean_x()], &[1]).is_ok() {
                tested.sessions += 1;
            }
            match criterion.by {
                By::Outcomes(_) => {}
                By::Preference(_) => tested.spread.add_place(&criterion.metric, unit, sums.mean_x()),
            }
            if let Some((stable, canary)) = sums.means() {
                tested.both += 1;
                tested.stable += stable;
                tested.canary += canary;
                tested.spread.add(&criterion.metric, unit, stable, canary);
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

#[cfg(test)]
mod tests;
