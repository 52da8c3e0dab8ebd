//! The criteria of a release, fixed before it starts.

use crate::judge::{Judge, Sampling};
use crate::metric::{Metric, Number};
use crate::sentinel::Sentinels;
use crate::shadow::Shadow;
use crate::time::{SpanMs, UnixMs};
use crate::traffic::weight::WeightBp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Guardrails, signals, tripwires, budgets and error rates; frozen at start, kept with its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The bound on rolling back a good version, over the whole release and every look.
    pub false_rollback_rate: f64,
    /// The bound on promoting a version whose guardrail stands at its margin, per guardrail.
    pub false_promotion_rate: f64,
    /// The metrics watched.
    pub guardrails: Vec<Guardrail>,
    /// The stops without statistics.
    pub tripwires: Vec<Tripwire>,
    /// Length of an exposure bucket.
    pub bucket: SpanMs,
    /// When a session's numbers are posted.
    pub ages: Ages,
    /// The release ends undecided after this.
    pub max_duration: SpanMs,
    /// What happens then.
    pub on_undecided: OnUndecided,
    /// What becomes of live canary sessions at a rollback.
    pub on_rollback: OnRollback,
    /// How long the old stable can be restored after a promotion.
    pub keep: SpanMs,
    /// Share of the new sessions that stays on the old stable as a control while it is kept: a late
    /// regression that is proven against it rolls the promotion back, under the same bound.
    #[serde(default, skip_serializing_if = "WeightBp::is_zero")]
    pub hold_back: WeightBp,
    /// Share of the canary's requests that stable may rescue.
    pub rescue_budget: WeightBp,
    /// Harm at which the release pauses, whatever the statistics say; outside the bound.
    pub budget: Budget,
    /// Spans of the week in which nothing is advanced or promoted (rollback is never frozen).
    pub freeze: Vec<FreezeWindow>,
    /// Known-answer prompts that must pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinels: Option<Sentinels>,
    /// The judges that score for it, each pinned as it was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<Judge>,
    /// Copies of requests that the canary is shown before anybody is exposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// What the team knows of these criteria and starts with all the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub acknowledged: BTreeSet<Acknowledged>,
}

/// What would refuse a start if nobody said that it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acknowledged {
    /// At the route's traffic a guardrail is unlikely to decide within `max_duration`.
    Undecidable,
}

/// Ages are counted from the beginning of a session's first exposed request (`statistics.md`, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ages {
    /// A request is judged at this age by what is known of it; X1 is posted then.
    pub first: SpanMs,
    /// X2 is posted then.
    pub session: SpanMs,
    /// Amounts (cost) and feedback are posted then.
    pub whole: SpanMs,
}

impl Default for Ages {
    fn default() -> Self {
        Self { first: SpanMs::secs(60), session: SpanMs::minutes(15), whole: SpanMs::minutes(30) }
    }
}

/// One watched metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guardrail {
    /// Which.
    pub metric: Metric,
    /// What its regression does.
    pub role: Role,
    /// The tolerance that promotion must prove: a badness of at most `ratio` × control + `shift`.
    pub promote: Margin,
    /// What must be proven exceeded to roll back.
    pub rollback: Margin,
    /// An absolute bound on the badness (rates: a share; amounts: the unit), tested by a one-sample process.
    pub limit: Option<f64>,
    /// Its share of the guardrails' alpha before normalising.
    pub weight: f64,
    /// What silence of this metric means.
    pub no_data: NoData,
    /// The age at which late scores are counted, where it is not `ages.whole`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<SpanMs>,
    /// Which sessions of stable it is compared with.
    #[serde(default, skip_serializing_if = "ControlArm::is_all")]
    pub control: ControlArm,
    /// What is one unit of its evidence.
    #[serde(default, skip_serializing_if = "Unit::is_session")]
    pub unit: Unit,
    /// Which sessions are scored, where a judge scores them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sampling>,
}

/// What is one unit of a metric's evidence; fixed before the start, like everything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A session: exact where sessions are independent but for what both arms share.
    #[default]
    Session,
    /// An exposure bucket: the difference of the arms' means in it. For metrics in which an arm has noise of its own
    /// (few machines, a provider's account), which makes its sessions fail together.
    BucketMean,
}

impl Unit {
    const fn is_session(&self) -> bool {
        matches!(self, Self::Session)
    }
}

/// Which sessions of stable a metric is compared with; all of them began inside the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlArm {
    /// All that were not chosen: twice as strong per canary session at 5 %.
    #[default]
    All,
    /// As many as the canary has, cut by slot: for what a cold cache biases.
    Matched,
}

impl ControlArm {
    const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

impl Policy {
    /// The age at which a metric's number is posted.
    #[must_use]
    pub fn age(&self, metric: &Metric, number: Number) -> SpanMs {
        match number {
            Number::First => self.ages.first,
            Number::Session => self.ages.session,
            Number::Whole => self.own_age(metric).unwrap_or(self.ages.whole),
        }
    }

    /// The judge of this name.
    #[must_use]
    pub fn judge(&self, name: &str) -> Option<&Judge> {
        self.judges.iter().find(|judge| judge.name == name)
    }

    /// The judges whose scores are watched, each with the sessions that it scores.
    pub fn judged(&self) -> impl Iterator<Item = (&Judge, Sampling)> {
        self.guardrails.iter().filter_map(|watched| Some((self.judge(watched.metric.judge()?)?, watched.sample?)))
    }

    /// The age of a metric's own, where it has one.
    #[must_use]
    pub fn own_age(&self, metric: &Metric) -> Option<SpanMs> {
        self.guardrails.iter().find(|guardrail| guardrail.metric == *metric)?.age
    }
}

/// A tolerated badness, relative to control's: `ratio` × control + `shift`. For a quantile metric
/// `ratio` widens the threshold of the canary (`ratio` × τ) and the exceedance rates are compared at
/// ratio 1 and shift 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// At least 1.
    pub ratio: f64,
    /// At least 0; in shares of 1 for rates and scores, in shares of the cap for amounts.
    pub shift: f64,
}

/// What a regression does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It rolls the release back.
    Guardrail,
    /// It holds the release, which goes on after recovery; it has no share of alpha.
    Signal,
    /// It is computed and shown and does nothing.
    DryRun,
}

/// What silence of a metric means, after a grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoData {
    /// What it does.
    pub then: NoDataThen,
    /// How long it is borne.
    pub grace: SpanMs,
}

/// What a silent metric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDataThen {
    /// Holds the release.
    Hold,
    /// Rolls it back; outside the bound, and said so.
    Rollback,
    /// Is told. A signal holds nothing by it. A guardrail that has never had a session to measure, in
    /// either arm, is not waited for (the route calls no tools); once it has had one, silence holds.
    Warn,
}

/// A stop without statistics; outside the bound, and said so. Ignored while control trips too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tripwire {
    /// So many canary requests in a row failed by the version's fault.
    ConsecutiveFailures(u32),
}

/// Harm at which a release pauses.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Bad canary sessions beyond those expected at control's rate.
    pub harmed: Option<u64>,
    /// US dollars beyond those expected at control's rate.
    pub extra_cost_usd: Option<f64>,
}

/// What happens when `max_duration` is over and nothing is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUndecided {
    /// Stays where it is and tells.
    Hold,
    /// Rolls back; not a verdict on the version, and said so.
    Rollback,
    /// Pauses until a person says.
    Ask,
    /// Promotes without proof; the policy must carry the acknowledgement.
    Promote,
}

/// What becomes of live canary sessions at a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "live_sessions")]
pub enum OnRollback {
    /// They are answered by stable from their next turn on.
    MoveNextTurn,
    /// They finish on the canary for at most this long.
    FinishOnCanary {
        /// The drain.
        drain: SpanMs,
    },
}

/// A weekly span in minutes since Monday 00:00; `from` > `to` wraps over the week's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeWindow {
    /// Its first minute.
    pub from: u16,
    /// The first minute after it.
    pub to: u16,
    /// The zone on whose clock the minutes are read; without one, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// A time zone over the life of a release, resolved when the release was written: what the rules of a
/// country become later does not change what was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name, `Europe/Berlin`.
    pub name: String,
    /// Its offsets, oldest first; the first holds before its own beginning too, and the last for ever.
    pub offsets: Vec<Offset>,
}

/// An offset of local time from UTC, from an instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The first instant.
    pub from: UnixMs,
    /// Minutes that local time is ahead.
    pub minutes: i16,
}
