//! Thresholds, caps and centres, frozen from stable's own traffic before any evidence counts. A wrong
//! one costs power and never validity.

use crate::evidence::Yardstick;
use crate::evidence::summary::Summary;
use crate::metric::{Kind, Metric, Per, TASK_DONE};
use crate::release::policy::Policy;
use crate::time::UnixMs;

/// Where stable's traffic was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In its last 24 hours, sessions whole.
    History,
    /// In the warm-up, where sessions are still going on: amounts are taken twice.
    WarmUp,
}

/// Requests that are enough to freeze a yardstick from a history.
const ENOUGH_REQUESTS: u64 = 300;
/// Sessions that are enough for it, where amounts are watched.
const ENOUGH_SESSIONS: u64 = 30;
/// The cap of an amount, in means.
pub(crate) const CAP_MEANS: f64 = 8.0;

/// Every metric whose numbers a release needs: those of the policy, and the cost where it is budgeted.
#[must_use]
pub fn watched(policy: &Policy) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = policy.guardrails.iter().map(|guardrail| guardrail.metric.clone()).collect();
    if policy.budget.extra_cost_usd.is_some() {
        metrics.push(Metric::CostPerSession);
    }
    let amounts: Vec<Metric> = metrics.iter().filter_map(Metric::tail_of).collect();
    metrics.extend(amounts);
    metrics.sort();
    metrics.dedup();
    metrics
}

/// Whether a history says enough.
#[must_use]
pub fn is_enough(summary: &Summary, watched: &[Metric]) -> bool {
    let amounts = watched.iter().any(|metric| matches!(metric.kind(), Kind::Amount | Kind::Ratio));
    // Outside of a release nobody measures lengths.
    let lengths = watched.iter().any(|metric| metric.length_quantile().is_some());
    let measured = !lengths || summary.chars.len() >= ENOUGH_REQUESTS;
    measured && summary.requests >= ENOUGH_REQUESTS && (!amounts || summary.sessions >= ENOUGH_SESSIONS)
}

/// Freezes. A quantile or an amount that stable never showed has no entry: its metric cannot be read.
#[must_use]
pub fn freeze(summary: &Summary, source: Source, watched: &[Metric], frozen_at: UnixMs) -> Yardstick {
    let mut yardstick = Yardstick { frozen_at, apart: summary.origins.apart(), ..Yardstick::default() };
    for metric in watched {
        if let Some(chars) = metric.length_quantile().and_then(|quantile| summary.chars.quantile(quantile)) {
            yardstick.length.insert(metric.clone(), chars);
        }
        match metric.kind() {
            Kind::Rate | Kind::Score => {
                let seen = if let Metric::ThumbsDown(name) = metric {
                    thumbs_down(summary, name)
                } else {
                    summary.rates.get(metric).and_then(|share| share.mean())
                };
                yardstick.centre.insert(metric.clone(), seen.unwrap_or_else(|| usual(metric)).clamp(1e-4, 1.0 - 1e-4));
            }
            Kind::Exceedance => {
                let spans = if metric.is_of_first_content() { &summary.ttft_ms } else { &summary.latency_ms };
                let Some(quantile) = metric.quantile() else { continue };
                if let Some(tau_ms) = spans.quantile(quantile) {
                    yardstick.tau_ms.insert(metric.clone(), tau_ms);
                }
                yardstick.centre.insert(metric.clone(), 1.0 - quantile);
            }
            Kind::Ratio => {
                yardstick.centre.insert(metric.clone(), 0.5);
                if let Some((cap, price)) = cap_and_price(summary, source, metric) {
                    yardstick.cap.insert(metric.clone(), cap);
                    yardstick.price.insert(metric.clone(), price);
                }
            }
            Kind::Amount => {
                if let Some((cap, centre)) = cap_and_centre(summary, source, metric) {
                    yardstick.cap.insert(metric.clone(), cap);
                    yardstick.centre.insert(metric.clone(), centre);
                }
            }
        }
    }
    yardstick
}

/// Bad ratings per session: a session seldom has two.
fn thumbs_down(summary: &Summary, name: &str) -> Option<f64> {
    let ratings = summary.rates.get(&Metric::Feedback(name.to_owned()))?;
    (summary.sessions > 0).then(|| ratings.bad / summary.sessions as f64)
}

fn cap_and_centre(summary: &Summary, source: Source, metric: &Metric) -> Option<(f64, f64)> {
    let amounts = summary.amounts.get(metric)?;
    let factor = match source {
        Source::History => 1.0,
        Source::WarmUp => 2.0,
    };
    let mean = factor * amounts.sum / amounts.histogram.len() as f64;
    let tail = factor * amounts.histogram.quantile(0.999)?;
    let cap = (CAP_MEANS * mean).max(tail);
    (cap.is_finite() && cap > 0.0).then(|| (cap, (mean / cap).clamp(1e-4, 1.0 - 1e-4)))
}

/// The cap of a session's cost, and what stable pays for one request or one task.
fn cap_and_price(summary: &Summary, source: Source, metric: &Metric) -> Option<(f64, f64)> {
    let (cap, _) = cap_and_centre(summary, source, &Metric::CostPerSession)?;
    let costs = summary.amounts.get(&Metric::CostPerSession)?;
    let per_session = costs.sum / costs.histogram.len() as f64;
    let sessions = summary.arrivals.max(summary.sessions) as f64;
    let count = match metric.per()? {
        Per::Request => summary.requests as f64,
        Per::Task => {
            let told = summary.rates.get(&Metric::Feedback(TASK_DONE.to_owned()))?;
            told.known as f64 - told.bad
        }
    };
    let price = per_session * sessions / count;
    (price.is_finite() && price > 0.0).then_some((cap, price))
}

/// A first guess where stable has shown nothing of it yet.
pub(crate) fn usual(metric: &Metric) -> f64 {
    match (metric.kind(), metric) {
        (Kind::Exceedance, metric) => 1.0 - metric.quantile().unwrap_or(0.95),
        (Kind::Amount, _) => 1.0 / CAP_MEANS,
        (Kind::Score, _) => 0.3,
        (Kind::Ratio, _) => 0.5,
        // The cap is stable's p99.9 at least.
        (Kind::Rate, metric) if metric.tail_of().is_some() => 0.001,
        (Kind::Rate, Metric::LongAnswer | Metric::ShortAnswer | Metric::Abandoned) => 0.05,
        (Kind::Rate, Metric::NotContinued | Metric::CacheHit) => 0.5,
        (Kind::Rate, Metric::ErrorRate | Metric::EmptyRate) => 0.005,
        (Kind::Rate, Metric::TruncatedRate) => 0.01,
        (Kind::Rate, _) => 0.02,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::outcome;
    use crate::evidence::summary::Followed;
    use crate::tally::{Cause, Ending, Outcome};
    use std::collections::BTreeMap;

    fn day() -> Summary {
        let mut summary = Summary::default();
        for i in 0..1_000 {
            let ending = if i % 50 == 0 { Ending::Failed(Cause::Server) } else { Ending::Complete };
            summary.add_request(&Outcome { ending, ttft_ms: Some(f64::from(i)), ..outcome() }, None);
        }
        for i in 0..200 {
            let cost = if i == 0 { 50.0 } else { 1.0 };
            let sums = BTreeMap::from([(Metric::CostPerSession, Some(cost))]);
            summary.add_session(&Followed { sums: sums.into(), ..Followed::default() });
        }
        summary
    }

    #[test]
    fn it_measures_stable() {
        let watched = [Metric::ErrorRate, Metric::TtftP95, Metric::CostPerSession, Metric::Feedback("ok".to_owned())];
        let yardstick = freeze(&day(), Source::History, &watched, UnixMs(5));
        assert!((yardstick.centre[&Metric::ErrorRate] - 0.02).abs() < 0.001);
        assert!((yardstick.tau_ms[&Metric::TtftP95] / 950.0 - 1.0).abs() < 0.02);
        let cap = yardstick.cap[&Metric::CostPerSession];
        assert!((49.0..52.0).contains(&cap), "p99.9 lies above eight means: {cap}");
        assert!((yardstick.centre[&Metric::CostPerSession] * cap / 1.245 - 1.0).abs() < 0.01);
        assert!((yardstick.centre[&watched[3]] - 0.3).abs() < 1e-9);
        let young = freeze(&day(), Source::WarmUp, &watched, UnixMs(5));
        assert!((young.cap[&Metric::CostPerSession] / cap - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_stable_never_showed_has_no_measure() {
        let watched = [Metric::TtftP95, Metric::OutputTokens];
        let yardstick = freeze(&Summary::default(), Source::History, &watched, UnixMs(5));
        assert!(yardstick.tau_ms.is_empty() && yardstick.cap.is_empty());
        assert!(!is_enough(&Summary::default(), &watched));
        assert!(is_enough(&day(), &watched));
    }
}
