//! Before the start: when the evidence will be there, whom it harms on the way, and what cannot be decided.
//!
//! A forecast reads the plan and the policy with the engine that will decide: the same bets, weights, restarts,
//! shares of alpha and lines ([`crate::analysis`]), the same ages, and the yardstick that this traffic would
//! freeze. What it adds is a walk: per bet the mean and the variance of a session's gain, as stable's traffic
//! makes them, so that *typical* is the median and *slow* the time by which nine runs of ten have got there.
//!
//! | module | what it holds |
//! |---|---|
//! | [`traffic`] | stable's traffic, measured or stated |
//! | [`regression`] | how bad a canary could be, by name |
//! | `shape` | the numbers of sessions to come, as chances per class |
//! | `shadow` | what the judges of a shadow's pairs will read, and see |
//! | `schedule` | when each stage opens, and what flows through it |
//! | `course` | the evidence of one guardrail over the schedule |
//! | [`hazard`] | what is unsafe or cannot be decided, and what could decide it |

mod course;
mod foresee;
pub mod hazard;
pub mod regression;
mod schedule;
mod shadow;
mod shape;
#[cfg(test)]
mod tests;
pub mod traffic;

pub use foresee::foresee;
pub use hazard::{Hazard, Severity};
pub use regression::Regression;
pub use traffic::{Assumptions, Origin, TooLittle, Traffic};

use crate::analysis::alpha::Share;
use crate::metric::Metric;
use crate::release::policy::Role;
use crate::time::SpanMs;
use serde::{Deserialize, Serialize};

/// What will become of a release at this traffic, as far as that can be said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// What it was read from.
    pub traffic: TrafficSeen,
    /// How long the shadow before them lasts, where there is one: the times of the stages count from its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<SpanMs>,
    /// The judges of its pairs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paired: Vec<PairedOutlook>,
    /// The stages in time, if nothing goes wrong.
    pub stages: Vec<StageOutlook>,
    /// Per guardrail and signal, in the order of the policy.
    pub guardrails: Vec<GuardrailOutlook>,
    /// When a canary that is as good as stable is promoted.
    pub promotion: Within,
    /// The release ends undecided after this.
    pub max_duration: SpanMs,
    /// What a canary that is bad from the start does before it is found.
    pub harm: Vec<Harm>,
    /// Every cause of a rollback with its share of the bound.
    pub causes: Vec<Share>,
    /// The chance that a tripwire stops a canary that fails as often as stable does.
    pub tripwires: Vec<FalseAlarm>,
    /// What is unsafe or cannot be decided, the worst first.
    pub hazards: Vec<Hazard>,
    /// What could decide where this traffic does not.
    pub advice: Vec<String>,
}

/// The traffic that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficSeen {
    /// Sessions of the route per hour.
    pub sessions_per_hour: f64,
    /// Requests of a session.
    pub turns: f64,
    /// Where it comes from.
    pub origin: Origin,
    /// What was taken for granted, in words.
    pub assumed: Vec<String>,
}

/// When something will have happened, counted from the start (of the release or of the stage, as is said).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Within {
    /// In every second run; `None` within 90 days.
    pub typical: Option<SpanMs>,
    /// In nine runs of ten.
    pub slow: Option<SpanMs>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageOutlook {
    /// As shown to people.
    pub label: String,
    /// When it opens, from the start of the release.
    pub opens: SpanMs,
    /// When bake, sessions and freezes let the next one open.
    pub closes: SpanMs,
    /// What the plan asks for.
    pub bake: SpanMs,
    /// Canary sessions per hour, of every cohort that is exposed by then.
    pub canary_per_hour: f64,
    /// Control sessions per hour beside them.
    pub control_per_hour: f64,
    /// Canary sessions of the stage by its end.
    pub canary_sessions: f64,
    /// Per guardrail, what the stage sees.
    pub sights: Vec<Sight>,
}

/// What one stage sees of a regression of the margin's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// Whose.
    pub metric: Metric,
    /// How long the stage must bake to see one that begins with it, on its own evidence.
    pub bake: Within,
    /// The chance that one that was there from the start is found by this stage's end.
    pub found_by_end: f64,
}

/// One guardrail or signal over the whole release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardrailOutlook {
    /// Which metric.
    pub metric: Metric,
    /// What its regression does.
    pub role: Role,
    /// Share of the sessions that it can be read of.
    pub sampled: f64,
    /// The regression that is to be seen, in its own words: `0.5 → 1 %`, `+20 %`.
    pub regression: String,
    /// When that is found, if it is there from the start.
    pub found: Within,
    /// Sessions with a number in the canary until then, typically.
    pub found_sessions: Option<f64>,
    /// When a canary as good as stable is proven within the margin.
    pub proven: Within,
    /// Sessions with a number in the canary until then, typically.
    pub proven_sessions: Option<f64>,
    /// The chance that the proof is there by `max_duration`.
    pub proven_by_max: f64,
    /// What its judge will have to do, where one scores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedOutlook>,
}

/// What a judge will have to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedOutlook {
    /// Sessions of control that it scores, by the end of the last stage.
    pub control_sessions: f64,
    /// The same of the canary.
    pub canary_sessions: f64,
    /// Answers that it scores on a day of the busiest stage; its anchors come on top.
    pub answers_per_day: f64,
    /// How often it may be asked on a day, where that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u64>,
    /// What that asks of its provider.
    #[serde(default)]
    pub asks: Asks,
}

/// What a judge of a shadow's pairs will have to do, and what it will see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedOutlook {
    /// Its name.
    pub judge: String,
    /// What its verdict does.
    pub role: Role,
    /// Judged sessions that the first stage waits for.
    pub need_sessions: u64,
    /// Judged sessions by the end of the shadow, if it is as long as it must be.
    pub sessions: f64,
    /// The canary that is looked for loses so much more of its pairs than it wins, 0..=1.
    pub loses: f64,
    /// The share of ties that was taken for granted.
    pub ties: f64,
    /// Judged sessions until that is found, typically; `None`: never, or not asked.
    pub found_sessions: Option<f64>,
    /// After how long, from the start of the shadow.
    pub found: Option<SpanMs>,
    /// What that asks of its provider.
    pub asks: Asks,
}

/// What is asked of a judge on a day, and what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Asks {
    /// Questions on a day of the busiest stage, or of the shadow; anchors come on top.
    pub per_day: f64,
    /// What one costs in US dollars, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_each: Option<f64>,
    /// What a day may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_bound: Option<f64>,
    /// How many a day may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_bound: Option<u64>,
}

impl Asks {
    /// What a day costs in US dollars, where that is known.
    #[must_use]
    pub fn usd_per_day(&self) -> Option<f64> {
        self.usd_each.map(|each| each * self.per_day)
    }

    /// Whether a bound is too small for a day.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let calls = self.calls_bound.is_some_and(|calls| (calls as f64) < self.per_day);
        calls || self.usd_per_day().zip(self.usd_bound).is_some_and(|(usd, bound)| bound < usd)
    }
}

/// What a regression does before it is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    /// The metric that it worsens; `None` for an outage, which worsens all.
    pub metric: Option<Metric>,
    /// How bad.
    pub regression: Regression,
    /// In the metric's own words.
    pub what: String,
    /// When it is found.
    pub found: Within,
    /// Canary sessions exposed until then, typically.
    pub exposed: Option<f64>,
    /// Those with an answer that control would have given right (in time), typically; `None` for amounts.
    pub harmed: Option<f64>,
    /// Dollars beyond control's, typically; for the cost only.
    pub extra_usd: Option<f64>,
}

/// A stop without statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FalseAlarm {
    /// Which, in words.
    pub tripwire: String,
    /// At most this chance over the whole release, were requests to fail by themselves.
    pub chance: f64,
}

impl Outlook {
    /// Puts in what one question to each judge costs, by its name, and warns where a day costs more than its budget.
    pub fn price(&mut self, usd_of: impl Fn(&str) -> Option<f64>) {
        for guardrail in &mut self.guardrails {
            let Some(judged) = &mut guardrail.judged else { continue };
            judged.asks.usd_each = guardrail.metric.judge().and_then(&usd_of);
            self.hazards.extend(hazard::dear(&judged.asks, guardrail.metric.judge().unwrap_or_default()));
        }
        for paired in &mut self.paired {
            paired.asks.usd_each = usd_of(&paired.judge);
            self.hazards.extend(hazard::dear(&paired.asks, &paired.judge));
        }
    }

    /// What refuses a start: hazards that are errors and not acknowledged.
    pub fn refusals(&self) -> impl Iterator<Item = &Hazard> {
        self.hazards.iter().filter(|hazard| hazard.severity == Severity::Error)
    }
}
