//! The metrics of the conventions for generative AI, summed from the turns that are over, from the beginning on.

use super::encode::{
    CUMULATIVE, Data, Exemplar, HistogramPoint, KeyValue, Metric, Metrics, Resource, ResourceMetrics, Scope,
    ScopeMetrics, SumPoint, Text, nanos, written,
};
use super::spans::{common, error_type};
use crate::telemetry::finished::Finished;
use bytes::Bytes;
use coalmine_core::id::{ReleaseId, RouteName};
use coalmine_core::tally::Ending;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Arm;
use coalmine_core::version::VersionId;
use coalmine_wire::dialect::Dialect;
use std::collections::HashMap;
use std::sync::Arc;

/// Series at most; what comes on top is told together, as the specification has it for an overflow.
const SERIES_MAX: usize = 2_000;
/// A series that nothing was added to for so long is forgotten.
const IDLE: SpanMs = SpanMs::hours(1);

/// The boundaries that the conventions ask for; in seconds, and in tokens.
const DURATION_S: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_S: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// All sums; `None` is where what finds no room goes.
#[derive(Debug, Default)]
pub(super) struct Sums {
    series: HashMap<Option<Series>, Sum>,
    latest: UnixMs,
}

/// What is summed together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Series {
    route: Arc<RouteName>,
    release: Option<Arc<ReleaseId>>,
    version: VersionId,
    arm: Arm,
    dialect: Dialect,
    answered_as: Option<Arc<str>>,
    error: Option<&'static str>,
}

#[derive(Debug)]
struct Sum {
    attributes: Vec<KeyValue>,
    begun_at: UnixMs,
    added_at: UnixMs,
    duration: Histogram,
    first_token: Histogram,
    input: Histogram,
    output: Histogram,
    cost_usd: f64,
}

#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    min: f64,
    max: f64,
    exemplar: Option<Exemplar>,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, exemplar: None }
    }

    fn add(&mut self, value: f64, from: &Finished) {
        // bounds are inclusive upper ones
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if let Some((trace, span)) = from.trace.and_then(|trace| Some((trace, trace.span?))) {
            let time_unix_nano = nanos(from.ended_at);
            let (span_id, trace_id) = (Text(span), Text(trace.id));
            self.exemplar = Some(Exemplar { time_unix_nano, as_double: value, span_id, trace_id });
        }
    }

    fn point(&self, sum: &Sum, more: Option<KeyValue>) -> Option<HistogramPoint> {
        let count: u64 = self.counts.iter().sum();
        (count > 0).then(|| HistogramPoint {
            attributes: sum.attributes.iter().cloned().chain(more).collect(),
            start_time_unix_nano: nanos(sum.begun_at),
            time_unix_nano: nanos(sum.added_at),
            count: Text(count),
            sum: self.sum,
            bucket_counts: self.counts.iter().copied().map(Text).collect(),
            explicit_bounds: self.bounds.to_vec(),
            exemplars: self.exemplar.into_iter().collect(),
            min: self.min,
            max: self.max,
        })
    }
}

impl Sums {
    /// Adds a turn.
    pub(super) fn add(&mut self, turn: &Finished) {
        let series = Series {
            route: turn.flight.route.clone(),
            release: turn.flight.member.as_ref().map(|member| member.release.clone()),
            version: turn.flight.version,
            arm: turn.arm,
            dialect: turn.dialect,
            answered_as: turn.outcome.answered_as.model.clone(),
            error: error_type(turn.outcome.ending),
        };
        let known = self.series.len() < SERIES_MAX || self.series.contains_key(&Some(series.clone()));
        let sum = self.series.entry(known.then_some(series)).or_insert_with(|| Sum::new(turn, known));
        sum.added_at = sum.added_at.max(turn.ended_at);
        self.latest = self.latest.max(turn.ended_at);
        let outcome = &turn.outcome;
        sum.duration.add(outcome.latency_ms / 1e3, turn);
        if let Some(ttft_ms) = outcome.ttft_ms.filter(|_| outcome.ending == Ending::Complete) {
            sum.first_token.add(ttft_ms / 1e3, turn);
        }
        for (histogram, count) in [(&mut sum.input, outcome.usage.input), (&mut sum.output, outcome.usage.output)] {
            if let Some(count) = count {
                #[expect(clippy::cast_precision_loss, reason = "tokens of one request are far below 2^53")]
                histogram.add(count as f64, turn);
            }
        }
        sum.cost_usd += outcome.cost_usd.unwrap_or(0.0);
    }

    /// Forgets what nothing was added to for long: versions come and go.
    pub(super) fn forget_idle(&mut self) {
        let latest = self.latest;
        self.series.retain(|_, sum| latest.since(sum.added_at) <= IDLE);
    }

    /// One request to a collector; `None` where there is nothing to tell.
    pub(super) fn encode(&self, resource: Resource) -> Option<Bytes> {
        if self.series.is_empty() {
            return None;
        }
        let sums = || self.series.values();
        let token = |kind: &'static str| Some(KeyValue::text("gen_ai.token.type", kind));
        let tokens =
            sums().flat_map(|sum| [sum.input.point(sum, token("input")), sum.output.point(sum, token("output"))]);
        let metrics = vec![
            histogram(
                "gen_ai.client.operation.duration",
                "GenAI operation duration.",
                "s",
                sums().filter_map(|sum| sum.duration.point(sum, None)),
            ),
            histogram(
                "gen_ai.server.time_to_first_token",
                "Time to generate first token for successful responses.",
                "s",
                sums().filter_map(|sum| sum.first_token.point(sum, None)),
            ),
            histogram(
                "gen_ai.client.token.usage",
                "Number of input and output tokens used.",
                "{token}",
                tokens.flatten(),
            ),
            Metric {
                name: "coalmine.cost",
                description: "US dollars by the price table.",
                unit: "{USD}",
                data: Data::Sum {
                    data_points: sums().map(cost).collect(),
                    aggregation_temporality: CUMULATIVE,
                    is_monotonic: true,
                },
            },
        ];
        let scope_metrics = [ScopeMetrics { scope: Scope::OURS, metrics }];
        Some(written(&Metrics { resource_metrics: [ResourceMetrics { resource, scope_metrics }] }))
    }
}

impl Sum {
    fn new(first: &Finished, known: bool) -> Self {
        let attributes = if known { common(first) } else { vec![KeyValue::yes("otel.metric.overflow")] };
        Self {
            attributes,
            begun_at: first.flight.started_at,
            added_at: first.ended_at,
            duration: Histogram::new(DURATION_S),
            first_token: Histogram::new(FIRST_TOKEN_S),
            input: Histogram::new(TOKENS),
            output: Histogram::new(TOKENS),
            cost_usd: 0.0,
        }
    }
}

fn cost(sum: &Sum) -> SumPoint {
    SumPoint {
        attributes: sum.attributes.clone(),
        start_time_unix_nano: nanos(sum.begun_at),
        time_unix_nano: nanos(sum.added_at),
        as_double: sum.cost_usd,
    }
}

fn histogram(
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    points: impl Iterator<Item = HistogramPoint>,
) -> Metric {
    let data = Data::Histogram { data_points: points.collect(), aggregation_temporality: CUMULATIVE };
    Metric { name, description, unit, data }
}
