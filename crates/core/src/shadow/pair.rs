//! One request answered by both: what gateways report of it, and what it says under one metric.

use crate::evidence::badness::{reading, stated_amount};
use crate::id::{ReleaseId, UnitKey};
use crate::metric::{Kind, Metric};
use crate::release::policy::Guardrail;
use crate::shadow::similarity::Likeness;
use crate::tally::{Blame, Cause, Ending, Outcome};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a gateway has mirrored for one release since its last delta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mirrored {
    /// The release.
    pub release: Arc<ReleaseId>,
    /// Requests that both have answered, or failed to.
    pub pairs: Vec<Pair>,
    /// Requests of drawn sessions that were not mirrored or not compared.
    pub lost: Lost,
    /// How near the answers of some of them are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likenesses: Vec<Likeness>,
}

/// One request, put to both. Neither says a word of what was asked or answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The session.
    pub unit: UnitKey,
    /// When the request began.
    pub started_at: UnixMs,
    /// What became of it at stable, which was served.
    pub stable: Outcome,
    /// What became of its copy.
    pub canary: Outcome,
}

/// Why requests of drawn sessions were not compared: counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lost {
    /// As many as may be under way at once were.
    #[serde(default)]
    pub busy: u64,
    /// The day's budget was used up.
    #[serde(default)]
    pub budget: u64,
    /// The canary cannot be asked this, or its provider would run tools for it.
    #[serde(default)]
    pub unfit: u64,
    /// Both were there and the queue of pairs was full.
    #[serde(default)]
    pub queue: u64,
    /// No person has answered it in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unanswered: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why one request was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// As many as may be under way at once are.
    Busy,
    /// The day's budget is used up.
    Budget,
    /// The canary cannot be asked this, or its provider would run tools for it.
    Unfit,
    /// The queue of pairs is full.
    Queue,
    /// No person has answered it in time.
    Unanswered,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Busy, Self::Budget, Self::Unfit, Self::Queue, Self::Unanswered];

    /// One word, as in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::Unfit => "unfit",
            Self::Queue => "queue",
            Self::Unanswered => "unanswered",
        }
    }
}

impl Lost {
    /// Counts one.
    pub const fn note(&mut self, loss: Loss) {
        match loss {
            Loss::Busy => self.busy += 1,
            Loss::Budget => self.budget += 1,
            Loss::Unfit => self.unfit += 1,
            Loss::Queue => self.queue += 1,
            Loss::Unanswered => self.unanswered += 1,
        }
    }

    /// Adds others.
    pub const fn add(&mut self, others: Self) {
        self.busy += others.busy;
        self.budget += others.budget;
        self.unfit += others.unfit;
        self.queue += others.queue;
        self.unanswered += others.unanswered;
    }

    /// All together.
    #[must_use]
    pub const fn sum(self) -> u64 {
        self.busy + self.budget + self.unfit + self.queue + self.unanswered
    }
}

/// What a pair says under one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// 0 where the canary is as much better as can be, 1 where it is as much worse. A canary at its rollback margin has a
    /// mean of [`Guardrail::paired_bound`].
    pub x: f64,
    /// Stable's own value: a badness in 0..=1, or milliseconds, US dollars, tokens, calls. `None` where it failed.
    pub stable: Option<f64>,
    /// The canary's.
    pub canary: Option<f64>,
}

impl Pair {
    /// Whether it says nothing: the client left, or its own request is refused by stable too, or the gateway failed.
    #[must_use]
    pub fn is_void(&self) -> bool {
        match (self.stable.ending.blame(), self.canary.ending.blame()) {
            (Blame::Client | Blame::Gateway, _) | (_, Blame::Gateway) => true,
            (Blame::Nobody | Blame::Upstream, Blame::Nobody | Blame::Upstream | Blame::Client) => false,
        }
    }

    /// The copy's outcome, blamed by what stable made of the same request: what only the canary refuses is its fault.
    #[must_use]
    pub fn blamed(mut self) -> Self {
        if self.canary.ending == Ending::ClientError && self.stable.ending.blame() == Blame::Nobody {
            self.canary.ending = Ending::Failed(Cause::Rejected);
        }
        self
    }

    /// What it says under a watched metric; `None` where there is nothing to compare.
    ///
    /// Badness is compared as a difference, x = (canary − ratio · stable + ratio) / (1 + ratio). Times and amounts are
    /// compared by who is above: x is 1 where the canary's is more than ratio · stable's, 0 where it is less, ½ where they
    /// are the same. Who fails before it is done is slower than who does not.
    #[must_use]
    pub fn compare(&self, watched: &Guardrail) -> Option<Compared> {
        let ratio = watched.rollback.ratio;
        let of = |outcome| reading(&watched.metric, outcome, None).known();
        match watched.metric.kind() {
            Kind::Rate | Kind::Score => {
                let (stable, canary) = (of(&self.stable)?, of(&self.canary)?);
                let x = ((canary - ratio * stable + ratio) / (1.0 + ratio)).clamp(0.0, 1.0);
                Some(Compared { x, stable: Some(stable), canary: Some(canary) })
            }
            Kind::Exceedance => {
                let (stable, canary) = (time(&watched.metric, &self.stable), time(&watched.metric, &self.canary));
                let x = match (stable, canary) {
                    (None, None) => return None,
                    (Some(_), None) => 1.0,
                    (None, Some(_)) => 0.0,
                    (Some(stable), Some(canary)) => above(stable, canary, ratio),
                };
                Some(Compared { x, stable, canary })
            }
            Kind::Ratio => None,
            Kind::Amount => {
                let of = |outcome| stated_amount(&watched.metric, outcome);
                let (stable, canary) = (of(&self.stable)?, of(&self.canary)?);
                Some(Compared { x: above(stable, canary, ratio), stable: Some(stable), canary: Some(canary) })
            }
        }
    }
}

fn above(stable: f64, canary: f64, ratio: f64) -> f64 {
    match canary.total_cmp(&(stable * ratio)) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 1.0,
    }
}

/// The time of a request that was answered to its end, or is running well.
fn time(metric: &Metric, outcome: &Outcome) -> Option<f64> {
    if outcome.ending.blame() != Blame::Nobody {
        return None;
    }
    let ms = if metric.is_of_first_content() { outcome.ttft_ms? } else { outcome.latency_ms };
    ms.is_finite().then_some(ms)
}
