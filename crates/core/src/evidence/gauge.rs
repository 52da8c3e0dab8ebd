//! How one metric of a release is read, with every number that the yardstick froze for it.

use crate::evidence::badness::{self, Reading};
use crate::evidence::yardstick::watched;
use crate::evidence::{Session, Sums, Went, Yardstick};
use crate::id::UnitKey;
use crate::judge::Sampling;
use crate::metric::{Kind, Metric, Number, Per};
use crate::release::policy::{ControlArm, Policy};
use crate::tally::{Outcome, Presence};
use crate::time::SpanMs;
use crate::traffic::pin::Arm;
use crate::traffic::weight::Salt;
use std::collections::BTreeSet;

/// One metric, ready to be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gauge {
    pub(super) metric: Metric,
    /// The amount whose sums it reads, where it counts sessions above a cap.
    pub(super) of: Option<Metric>,
    /// Which sessions of the control count.
    pub(super) control: ControlArm,
    /// The age of its own, where it has one.
    pub(super) age: Option<SpanMs>,
    /// The sessions that a judge scores.
    sample: Option<Sampling>,
    centre: f64,
    cap: Option<f64>,
    spans: Spans,
}

/// The thresholds of a quantile metric in milliseconds, or the prices of a ratio; none for the others.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Spans {
    control: Option<f64>,
    canary: Option<f64>,
    /// Where the rollback margin has another ratio than promotion's.
    rollback: Option<f64>,
    limit: Option<f64>,
}

/// What one request says, against each threshold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readings {
    pub(super) main: Reading,
    pub(super) rollback: Option<Reading>,
    pub(super) limit: Option<Reading>,
}

/// All metrics of a release that need numbers.
pub(super) fn gauges(policy: &Policy, yardstick: &Yardstick) -> Vec<Gauge> {
    watched(policy).into_iter().map(|metric| Gauge::new(metric, policy, yardstick)).collect()
}

impl Gauge {
    fn new(metric: Metric, policy: &Policy, yardstick: &Yardstick) -> Self {
        let guardrail = policy.guardrails.iter().find(|guardrail| guardrail.metric == metric);
        // Nothing is known of a request beyond its judging age, so no threshold lies there.
        let latest = policy.ages.first.0 as f64;
        let mut spans = Spans::default();
        let of = metric.tail_of();
        if metric.kind() == Kind::Exceedance {
            let tau = yardstick.tau_ms.get(&metric).copied();
            let widened = |ratio: f64| tau.map(|tau| (tau * ratio).min(latest));
            let promote = guardrail.map_or(1.0, |g| g.promote.ratio);
            let rollback = guardrail.map_or(1.0, |g| g.rollback.ratio);
            spans.control = widened(1.0);
            spans.canary = widened(promote);
            spans.rollback = if rollback.to_bits() == promote.to_bits() { None } else { widened(rollback) };
            spans.limit = guardrail.and_then(|g| g.limit).map(|limit_ms| limit_ms.min(latest));
        }
        if metric.kind() == Kind::Ratio {
            let widened = |ratio: f64| yardstick.price.get(&metric).map(|price| price * ratio);
            let promote = guardrail.map_or(1.0, |g| g.promote.ratio);
            let rollback = guardrail.map_or(1.0, |g| g.rollback.ratio);
            spans.control = widened(1.0);
            spans.canary = widened(promote);
            spans.rollback = if rollback.to_bits() == promote.to_bits() { None } else { widened(rollback) };
            spans.limit = guardrail.and_then(|g| g.limit);
        }
        if let Some(chars) = yardstick.length.get(&metric).copied() {
            (spans.control, spans.canary) = (Some(chars), Some(chars));
        }
        Self {
            centre: yardstick.centre.get(&metric).copied().unwrap_or(0.5),
            cap: yardstick.cap.get(of.as_ref().unwrap_or(&metric)).copied(),
            control: guardrail.map(|guardrail| guardrail.control).unwrap_or_default(),
            age: guardrail.and_then(|guardrail| guardrail.age),
            sample: guardrail.and_then(|guardrail| guardrail.sample),
            of,
            spans,
            metric,
        }
    }

    /// Reads one request.
    pub(super) fn read(&self, arm: Arm, outcome: &Outcome) -> Readings {
        let against = |span: Option<f64>| badness::reading(&self.metric, outcome, span);
        match arm {
            Arm::Stable | Arm::Control => Readings {
                main: against(self.spans.control),
                rollback: None,
                limit: self.spans.limit.map(|span| against(Some(span))),
            },
            Arm::Canary => Readings {
                main: against(self.spans.canary),
                rollback: self.spans.rollback.map(|span| against(Some(span))),
                limit: self.spans.limit.map(|span| against(Some(span))),
            },
        }
    }

    /// The metric under which a session keeps the sums that it reads.
    pub(super) fn source(&self) -> &Metric {
        self.of.as_ref().unwrap_or(&self.metric)
    }

    /// Whether the metric has this number.
    pub(super) fn has(&self, number: Number) -> bool {
        self.metric.numbers().iter().any(|(has, _)| *has == number)
    }

    /// Whether the metric applies to the session, as its first exposed request tells; a judge's, whether it is drawn.
    pub(super) fn applies(&self, unit: UnitKey, session: &Session, salt: &Salt) -> bool {
        match &self.metric {
            Metric::Judge(name) => self.sample.is_some_and(|sampling| sampling.includes(salt, name, unit, session.arm)),
            Metric::ToolCallValid | Metric::RepeatedCall => session.first_seen.tools == Some(Presence::Present),
            Metric::SchemaValid | Metric::FencedJson => session.first_seen.schema == Some(Presence::Present),
            Metric::ErrorRate
            | Metric::TtftP95
            | Metric::LatencyP95
            | Metric::TtftP50
            | Metric::TtftP99
            | Metric::LatencyP50
            | Metric::LatencyP99
            | Metric::CostPerSession
            | Metric::CostPerRequest
            | Metric::CostPerTask
            | Metric::OutputTokens
            | Metric::InputTokens
            | Metric::ToolCalls
            | Metric::CostAboveCap
            | Metric::OutputTokensAboveCap
            | Metric::InputTokensAboveCap
            | Metric::ToolCallsAboveCap
            | Metric::RefusalRate
            | Metric::EmptyRate
            | Metric::TruncatedRate
            | Metric::Repetition
            | Metric::LanguageMismatch
            | Metric::LongAnswer
            | Metric::ShortAnswer
            | Metric::NewOpening
            | Metric::CacheHit
            | Metric::Abandoned
            | Metric::NotContinued
            | Metric::CancelBeforeFirstByte
            | Metric::ClientAbort
            | Metric::Feedback(_)
            | Metric::ThumbsDown(_) => true,
        }
    }

    /// The session's number under a metric of sessions as a whole; `None` under any other. `new` are the openings that the
    /// canary alone has.
    pub(super) fn of_session(&self, session: &Session, new: &BTreeSet<u64>) -> Option<Option<f64>> {
        let yes_no = |bad: bool| f64::from(u8::from(bad));
        if self.metric == Metric::NewOpening {
            let begun = (!session.openings.is_empty()).then_some(&session.openings);
            Some(begun.map(|openings| yes_no(openings.iter().any(|key| new.contains(key)))))
        } else if self.metric == Metric::Abandoned {
            Some(session.last.map(|last| yes_no(last.went == Went::Wrong)))
        } else if self.metric == Metric::NotContinued {
            Some((session.owed > 0).then(|| yes_no(session.owed == 1)))
        } else {
            None
        }
    }

    /// The session's number as a badness; `None` when it is missing.
    pub(super) fn number(&self, number: Number, sums: &Sums, owed: u32) -> Option<f64> {
        match (number, self.metric.kind()) {
            (Number::First, _) => sums.first,
            (Number::Session, _) => {
                let unknown = f64::from(sums.session_unknown);
                let n = f64::from(sums.session_n) + unknown;
                (sums.session_n > 0).then(|| (sums.session + unknown * self.centre) / n)
            }
            (Number::Whole, Kind::Amount) => {
                // Beyond the cap the rest does not matter, so there a part is known to be enough.
                let known = |cap: &f64| owed > 0 && (sums.whole_n == owed || sums.whole > *cap);
                self.cap.filter(known).map(|cap| (sums.whole / cap).min(1.0))
            }
            (Number::Whole, Kind::Rate) if self.of.is_some() => {
                let known = |cap: &f64| owed > 0 && (sums.whole_n == owed || sums.whole > *cap);
                self.cap.filter(known).map(|cap| f64::from(u8::from(sums.whole > cap)))
            }
            // Who gave no thumbs-down by this age gave none.
            (Number::Whole, Kind::Rate) => Some(sums.whole.min(1.0)),
            (Number::Whole, Kind::Ratio) => self.net(self.spans.control, sums, owed),
            (Number::Whole, Kind::Exceedance | Kind::Score) => {
                (sums.whole_n > 0).then(|| 1.0 - sums.whole / f64::from(sums.whole_n))
            }
        }
    }

    /// A ratio's number: what the session cost, less `price` for each request or task that it has, as a part of the cap
    /// around one half. `None` where a part of the cost is unknown.
    fn net(&self, price: Option<f64>, sums: &Sums, owed: u32) -> Option<f64> {
        let (price, cap) = (price?, self.cap?);
        let count = match self.metric.per()? {
            Per::Request => f64::from(owed),
            Per::Task => sums.session,
        };
        let known = owed > 0 && sums.whole_n == owed;
        known.then(|| (0.5 + (sums.whole - price * count) / (2.0 * cap)).clamp(0.0, 1.0))
    }

    /// A ratio's numbers, each against a price of its own: the main one, rollback's and the limit's.
    pub(super) fn nets(&self, arm: Arm, sums: &Sums, owed: u32) -> [Option<Option<f64>>; 3] {
        let net = |price: Option<f64>| self.net(price, sums, owed);
        let own = |price: Option<f64>| price.map(|price| net(Some(price)));
        match arm {
            Arm::Stable | Arm::Control => [Some(net(self.spans.control)), None, own(self.spans.limit)],
            Arm::Canary => [Some(net(self.spans.canary)), own(self.spans.rollback), own(self.spans.limit)],
        }
    }
}

impl Sums {
    /// Adds one request of the first `ages.session`.
    pub(super) fn add_to_session(&mut self, reading: Reading) {
        match reading {
            Reading::Is(badness) => {
                self.session += badness;
                self.session_n += 1;
            }
            Reading::Unknown => self.session_unknown += 1,
            Reading::NotApplicable => {}
        }
    }

    /// Takes a request as the session's first: it replaces a later one, and joins an equal one.
    pub(super) fn take_as_first(&mut self, reading: Reading, rank: Rank) {
        self.first = match rank {
            Rank::Earlier => reading.known(),
            Rank::Equal => match (self.first, reading.known()) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            },
            Rank::Later => self.first,
        };
    }
}

/// How a request stands to the earliest that its session has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// It began before it, or is the first one seen.
    Earlier,
    /// It began in the same millisecond: two that a client sent at once.
    Equal,
    /// It began after it, or too late to be the first.
    Later,
}
