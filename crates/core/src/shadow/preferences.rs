//! What a judge of pairs says: which of two answers to the same request is better, asked in both orders.

use crate::id::{ReleaseId, UnitKey};
use crate::judge::{Judge, JudgeId, is_drawn};
use crate::release::policy::{Policy, Role};
use crate::time::UnixMs;
use crate::traffic::weight::{Salt, WeightBp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A judge of pairs among the criteria of a shadow; the judge itself is one of the policy's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preferring {
    /// Its name.
    pub judge: String,
    /// What a canary whose answers lose does.
    pub role: Role,
    /// By so much the share of the pairs that the canary loses may be above the share that it wins, 0..1.
    pub margin: f64,
    /// Its share of the shadow's alpha before normalising.
    pub weight: f64,
    /// The share of the mirrored sessions that it sees.
    pub sample: WeightBp,
}

/// One verdict on a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Preferred {
    /// The release.
    pub release: Arc<ReleaseId>,
    /// The session.
    pub unit: UnitKey,
    /// When the request began.
    pub started_at: UnixMs,
    /// The judge's name.
    pub judge: String,
    /// Who it is; another judge's word is not counted.
    pub by: JudgeId,
    /// What it said.
    pub verdict: PairVerdict,
}

/// Which of the two answers is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairVerdict {
    /// The canary's.
    Won,
    /// Stable's.
    Lost,
    /// Neither is, or the judge went by the place.
    Tied,
}

/// Verdicts of one judge, counted by pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preferences {
    /// The canary's answer is better.
    pub won: u64,
    /// Stable's is.
    pub lost: u64,
    /// Neither is, or the two orders contradict each other.
    pub tied: u64,
    /// Verdicts that came when their session was counted already, or found no room; in none of the others.
    #[serde(default)]
    pub late: u64,
}

impl Preferring {
    /// Whether the judge sees the pairs of a session: by a hash of its unit under the release's salt.
    #[must_use]
    pub fn includes(&self, salt: &Salt, unit: UnitKey) -> bool {
        is_drawn(self.sample, salt, &self.judge, unit)
    }

    /// The mean of x that a canary at its margin has: ½, and half of what it may lose more than it wins.
    #[must_use]
    pub fn bound(&self) -> f64 {
        f64::midpoint(1.0, self.margin).clamp(0.0, 1.0)
    }

    /// So many judged sessions a shadow of `min_sessions` needs.
    #[must_use]
    pub fn need(&self, min_sessions: u64) -> u64 {
        let drawn = u128::from(min_sessions) * u128::from(self.sample.bp());
        u64::try_from(drawn.div_ceil(10_000)).unwrap_or(u64::MAX).max(1)
    }
}

impl PairVerdict {
    /// The badness of the canary's answer against stable's.
    #[must_use]
    pub const fn x(self) -> f64 {
        match self {
            Self::Won => 0.0,
            Self::Tied => 0.5,
            Self::Lost => 1.0,
        }
    }

    /// From a goodness of the canary's answer: below ½ it has lost.
    #[must_use]
    pub fn of_goodness(goodness: f64) -> Self {
        match goodness.total_cmp(&0.5) {
            std::cmp::Ordering::Less => Self::Lost,
            std::cmp::Ordering::Equal => Self::Tied,
            std::cmp::Ordering::Greater => Self::Won,
        }
    }
}

impl Preferences {
    pub(super) const fn note(&mut self, verdict: PairVerdict) {
        match verdict {
            PairVerdict::Won => self.won += 1,
            PairVerdict::Lost => self.lost += 1,
            PairVerdict::Tied => self.tied += 1,
        }
    }

    /// Pairs that were decided.
    #[must_use]
    pub const fn decided(self) -> u64 {
        self.won + self.lost
    }
}

impl Policy {
    /// The judges that compare the shadow's pairs.
    pub fn preferring(&self) -> impl Iterator<Item = (&Judge, &Preferring)> {
        let of_shadow = self.shadow.iter().flat_map(|shadow| &shadow.preferences);
        of_shadow.filter_map(|preferring| Some((self.judge(&preferring.judge)?, preferring)))
    }

    /// Every judge that has something to do for this policy.
    pub fn judges_at_work(&self) -> impl Iterator<Item = &Judge> {
        self.judged().map(|(judge, _)| judge).chain(self.preferring().map(|(judge, _)| judge))
    }
}
