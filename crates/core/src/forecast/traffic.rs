//! What a forecast knows of stable's traffic: measured by the route's history, stated by whoever asks, or both.

use crate::evidence::summary::{Amounts, LogHistogram, Share, Summary};
use crate::evidence::yardstick::usual;
use crate::evidence::{RouteHistory, Yardstick, yardstick};
use crate::judge::Sampling;
use crate::metric::{Kind, Metric};
use crate::release::policy::Policy;
use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far back a history is read.
const DAY: SpanMs = SpanMs::hours(24);
/// A history that covers less says nothing of an hour.
const LEAST_COVERED: SpanMs = SpanMs::minutes(10);
/// A history with fewer requests says little of anything.
const LEAST_REQUESTS: u64 = 300;
/// Turns of a session where nothing is known.
const TURNS: f64 = 4.0;
/// Share of the sessions whose turns share one luck, which no history tells: between the 0.1 and 0.3 that
/// `statistics.md` was measured at.
const CLUSTER: f64 = 0.2;
/// Share of a route's sessions that a named cohort brings, where nobody says.
const COHORT: f64 = 0.1;
/// Share of the sessions that are rated, where nobody says.
const RATED: f64 = 0.1;
/// Units that a stated summary is made of.
const UNITS: u32 = 20_000;
/// Median and spread (of the logarithm) of a time to the first content and to the end, in ms.
const TTFT: (f64, f64) = (800.0, 0.5);
const LATENCY: (f64, f64) = (6_000.0, 0.6);
/// Mean dollars and tokens of a turn; sessions are spread exponentially about theirs.
const TURN_USD: f64 = 0.002;
const TURN_TOKENS: f64 = 300.0;

/// What is stated instead of measured. Everything is optional.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Assumptions {
    /// Sessions of the route per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_hour: Option<f64>,
    /// Requests of a session, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<f64>,
    /// Share of the sessions whose requests fare alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<f64>,
    /// Stable's badness per rate or score.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub badness: BTreeMap<Metric, f64>,
    /// Share of the requests (scores: sessions) that a metric can be read of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sampled: BTreeMap<Metric, f64>,
    /// Share of the route's sessions that a cohort brings, by its label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cohorts: BTreeMap<String, f64>,
}

/// Where the numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// The route's own last hours.
    Measured {
        /// How much of them.
        over: SpanMs,
        /// Requests in them.
        requests: u64,
    },
    /// Stated by whoever asked.
    Stated,
}

/// Stable's traffic as a forecast uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    pub(super) sessions_per_hour: f64,
    pub(super) turns: f64,
    pub(super) cluster: f64,
    pub(super) summary: Summary,
    pub(super) origin: Origin,
    pub(super) cohorts: BTreeMap<String, f64>,
    /// The sessions that judges are to see.
    pub(super) judged: BTreeMap<Metric, Sampling>,
    /// The share of the sessions of a judge that get a score, where it is stated.
    scored: BTreeMap<Metric, f64>,
    /// What was taken for granted, in words.
    pub(super) assumed: Vec<String>,
}

/// There is nothing to forecast by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the route's history is too short to plan by: {requests} requests in {}, at least {LEAST_REQUESTS} in {} are needed; say the traffic yourself, as `--traffic 1000/h`",
    .covered.rounded(), LEAST_COVERED
)]
pub struct TooLittle {
    /// Requests that it has.
    pub requests: u64,
    /// The time that it covers.
    pub covered: SpanMs,
}

impl Traffic {
    /// Reads a history, and puts what is stated over it.
    ///
    /// # Errors
    /// When the history is too short and no traffic is stated.
    pub fn of(history: Option<&RouteHistory>, stated: &Assumptions, now: UnixMs) -> Result<Self, TooLittle> {
        let measured = history.map_or(Err(TooLittle { requests: 0, covered: SpanMs::ZERO }), |h| measured(h, now));
        let mut traffic = match (measured, stated.sessions_per_hour) {
            (Ok(traffic), _) => traffic,
            (Err(_), Some(per_hour)) => invented(per_hour, stated.turns.unwrap_or(TURNS)),
            (Err(too_little), None) => return Err(too_little),
        };
        traffic.state(stated);
        Ok(traffic)
    }

    fn state(&mut self, stated: &Assumptions) {
        self.sessions_per_hour = stated.sessions_per_hour.unwrap_or(self.sessions_per_hour);
        self.turns = stated.turns.unwrap_or(self.turns).max(1.0);
        self.cluster = stated.cluster.unwrap_or(CLUSTER).clamp(0.0, 1.0);
        if stated.cluster.is_none() && self.turns > 1.0 {
            let percent = CLUSTER * 100.0;
            self.assumed.push(format!("{percent:.0} % of the sessions fare alike in all their requests (--cluster)"));
        }
        self.cohorts = stated.cohorts.clone();
        for (metric, badness) in &stated.badness {
            let sampled = stated.sampled.get(metric).copied().unwrap_or_else(|| self.sampled(metric).max(f64::EPSILON));
            self.say(metric, *badness, sampled);
        }
        for (metric, sampled) in &stated.sampled {
            if metric.judge().is_some() {
                self.scored.insert(metric.clone(), sampled.clamp(0.0, 1.0));
            }
            let badness = stated.badness.get(metric).copied().unwrap_or_else(|| self.badness(metric));
            self.say(metric, badness, *sampled);
        }
    }

    fn say(&mut self, metric: &Metric, badness: f64, sampled: f64) {
        let known = sampled.clamp(0.0, 1.0) * self.readings(metric);
        let share = Share { bad: badness.clamp(0.0, 1.0) * known, known: known.round().max(1.0) as u64 };
        self.summary.rates.insert(metric.clone(), share);
    }

    /// All that a metric could have been read of.
    fn readings(&self, metric: &Metric) -> f64 {
        if metric.is_of_session() {
            return self.summary.requests as f64 / self.turns;
        }
        match metric.kind() {
            Kind::Score => self.summary.requests as f64 / self.turns,
            Kind::Rate | Kind::Exceedance | Kind::Amount | Kind::Ratio => self.summary.requests as f64,
        }
    }

    /// Share of the canary's requests (scores, amounts: sessions) that the metric can be read of.
    pub(super) fn sampled(&self, metric: &Metric) -> f64 {
        let drawn = self.judged.get(metric).map_or(1.0, |sampling| sampling.canary.share());
        drawn * self.present(metric)
    }

    /// The same share among those that are drawn for it: of a metric that no judge scores, all are.
    pub(super) fn present(&self, metric: &Metric) -> f64 {
        if self.judged.contains_key(metric) {
            return self.scored.get(metric).copied().unwrap_or(1.0);
        }
        let of = |known: u64, all: f64| if all > 0.0 { (known as f64 / all).min(1.0) } else { 0.0 };
        match metric.kind() {
            Kind::Rate | Kind::Score => {
                of(self.summary.rates.get(metric).map_or(0, |share| share.known), self.readings(metric))
            }
            Kind::Exceedance => of(self.times(metric).len(), self.summary.requests as f64),
            Kind::Ratio => self.present(&Metric::CostPerSession),
            Kind::Amount => {
                let known = self.summary.amounts.get(metric).map_or(0, |amounts| amounts.histogram.len());
                of(known, self.summary.sessions as f64)
            }
        }
    }

    /// Stable's mean badness of a rate or score.
    pub(super) fn badness(&self, metric: &Metric) -> f64 {
        self.summary.rates.get(metric).and_then(|share| share.mean()).unwrap_or_else(|| usual(metric))
    }

    /// The times of a quantile metric.
    pub(super) fn times(&self, metric: &Metric) -> &LogHistogram {
        if metric.is_of_first_content() { &self.summary.ttft_ms } else { &self.summary.latency_ms }
    }

    /// The measures that a release would freeze from this traffic.
    pub(super) fn yardstick(&self, watched: &[Metric]) -> Yardstick {
        yardstick::freeze(&self.summary, yardstick::Source::History, watched, UnixMs(0))
    }

    /// The share of the route's sessions that a cohort brings.
    pub(super) fn cohort(&self, label: &str) -> Option<f64> {
        self.cohorts.get(label).map(|share| share.clamp(0.0, 1.0))
    }
}

/// The share that is taken where nobody says.
pub(super) const fn usual_cohort() -> f64 {
    COHORT
}

fn measured(history: &RouteHistory, now: UnixMs) -> Result<Traffic, TooLittle> {
    let summary = history.last(DAY, now);
    let covered = now.since(history.covers_from(DAY, now).unwrap_or(now));
    if summary.requests < LEAST_REQUESTS || covered < LEAST_COVERED || summary.arrivals == 0 {
        return Err(TooLittle { requests: summary.requests, covered });
    }
    let hours = covered.0 as f64 / SpanMs::hours(1).0 as f64;
    Ok(Traffic {
        sessions_per_hour: summary.arrivals as f64 / hours,
        turns: (summary.requests as f64 / summary.arrivals as f64).max(1.0),
        cluster: CLUSTER,
        origin: Origin::Measured { over: covered, requests: summary.requests },
        summary,
        cohorts: BTreeMap::new(),
        judged: BTreeMap::new(),
        scored: BTreeMap::new(),
        assumed: Vec::new(),
    })
}

/// A route that nobody has measured, with usual rates, times and amounts.
fn invented(sessions_per_hour: f64, turns: f64) -> Traffic {
    let turns = turns.max(1.0);
    let sessions = f64::from(UNITS);
    let mut summary = Summary { requests: (sessions * turns) as u64, sessions: UNITS.into(), ..Summary::default() };
    summary.arrivals = summary.sessions;
    for metric in Metric::BUILT_IN.into_iter().filter(|metric| metric.kind() == Kind::Rate) {
        let known = summary.requests;
        summary.rates.insert(metric.clone(), Share { bad: usual(&metric) * known as f64, known });
    }
    for i in 0..UNITS {
        let place = (f64::from(i) + 0.5) / sessions;
        let spread = coalmine_stats::special::normal_quantile(place);
        summary.ttft_ms.add(TTFT.0 * (TTFT.1 * spread).exp());
        summary.latency_ms.add(LATENCY.0 * (LATENCY.1 * spread).exp());
    }
    // One reading per request, in the same proportions.
    let times = turns as u64;
    for histogram in [&mut summary.ttft_ms, &mut summary.latency_ms] {
        histogram.classes.multiply(times.max(1));
    }
    for (metric, mean) in [(Metric::CostPerSession, TURN_USD * turns), (Metric::OutputTokens, TURN_TOKENS * turns)] {
        let mut amounts = Amounts::default();
        for i in 0..UNITS {
            let amount = -mean * (1.0 - (f64::from(i) + 0.5) / sessions).ln();
            amounts.sum += amount;
            amounts.histogram.add(amount);
        }
        summary.amounts.insert(metric, amounts);
    }
    let assumed = vec![
        format!("sessions of {turns} requests on average (--turns)"),
        "usual rates, times and amounts of stable: errors 0.5 %, refusals 2 %, first content 0.8 s, answer 6 s \
         (--baseline METRIC=SHARE)"
            .to_owned(),
    ];
    Traffic {
        sessions_per_hour,
        turns,
        cluster: CLUSTER,
        summary,
        origin: Origin::Stated,
        cohorts: BTreeMap::new(),
        judged: BTreeMap::new(),
        scored: BTreeMap::new(),
        assumed,
    }
}

impl Traffic {
    /// The sessions that a release's judges are to score, which its policy says and no history.
    pub(super) fn with_judges(mut self, policy: &Policy) -> Self {
        for watched in &policy.guardrails {
            let (Some(_), Some(sampling)) = (watched.metric.judge(), watched.sample) else { continue };
            let metric = &watched.metric;
            self.judged.insert(metric.clone(), sampling);
            if !self.summary.rates.contains_key(metric) {
                self.say(metric, usual(metric), 1.0);
                let percent = 100.0 * (1.0 - usual(metric));
                self.assumed.push(format!("stable has {percent:.0} % by {metric} (--baseline {metric}=SHARE)"));
            }
        }
        self
    }

    /// Scores that nobody has seen yet on an invented route are taken to be of a usual share of its sessions.
    pub(super) fn with_scores<'a>(mut self, metrics: impl Iterator<Item = &'a Metric>) -> Self {
        if self.origin != Origin::Stated {
            return self;
        }
        for metric in metrics.filter(|metric| metric.kind() == Kind::Score) {
            if !self.summary.rates.contains_key(metric) {
                self.say(metric, usual(metric), RATED);
                self.assumed
                    .push(format!("{:.0} % of the sessions are scored for {metric} (--sampled)", RATED * 100.0));
            }
        }
        self
    }
}
