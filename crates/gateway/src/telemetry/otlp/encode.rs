//! The messages of OTLP 1.x in JSON: the protobuf mapping, with ids in hex and 64-bit numbers as texts
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>). Only what is told here is written.

use crate::telemetry::trace::{SpanId, TraceId};
use bytes::Bytes;
use coalmine_core::time::UnixMs;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Display;

/// An attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct KeyValue {
    pub(super) key: Cow<'static, str>,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "intValue")]
    Int(Text<i64>),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "boolValue")]
    Bool(bool),
}

/// Written as a text: JSON's numbers are not of 64 bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Text<T>(pub(super) T);

/// Who tells.
#[derive(Debug, Serialize)]
pub(super) struct Resource {
    pub(super) attributes: Vec<KeyValue>,
}

/// By what.
#[derive(Debug, Serialize)]
pub(super) struct Scope {
    name: &'static str,
    version: &'static str,
}

/// `ExportTraceServiceRequest`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Traces {
    pub(super) resource_spans: [ResourceSpans; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceSpans {
    pub(super) resource: Resource,
    pub(super) scope_spans: [ScopeSpans; 1],
}

#[derive(Debug, Serialize)]
pub(super) struct ScopeSpans {
    pub(super) scope: Scope,
    pub(super) spans: Vec<Span>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: Text<TraceId>,
    pub(super) span_id: Text<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_span_id: Option<Text<SpanId>>,
    pub(super) flags: u32,
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) start_time_unix_nano: Text<u64>,
    pub(super) end_time_unix_nano: Text<u64>,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) status: Status,
}

#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) code: u8,
}

/// `ExportMetricsServiceRequest`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    pub(super) resource_metrics: [ResourceMetrics; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceMetrics {
    pub(super) resource: Resource,
    pub(super) scope_metrics: [ScopeMetrics; 1],
}

#[derive(Debug, Serialize)]
pub(super) struct ScopeMetrics {
    pub(super) scope: Scope,
    pub(super) metrics: Vec<Metric>,
}

#[derive(Debug, Serialize)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) unit: &'static str,
    #[serde(flatten)]
    pub(super) data: Data,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Data {
    #[serde(rename_all = "camelCase")]
    Histogram { data_points: Vec<HistogramPoint>, aggregation_temporality: u8 },
    #[serde(rename_all = "camelCase")]
    Sum { data_points: Vec<SumPoint>, aggregation_temporality: u8, is_monotonic: bool },
}

/// Sums that grow from their beginning on.
pub(super) const CUMULATIVE: u8 = 2;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistogramPoint {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) start_time_unix_nano: Text<u64>,
    pub(super) time_unix_nano: Text<u64>,
    pub(super) count: Text<u64>,
    pub(super) sum: f64,
    pub(super) bucket_counts: Vec<Text<u64>>,
    pub(super) explicit_bounds: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) exemplars: Vec<Exemplar>,
    pub(super) min: f64,
    pub(super) max: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SumPoint {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) start_time_unix_nano: Text<u64>,
    pub(super) time_unix_nano: Text<u64>,
    pub(super) as_double: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exemplar {
    pub(super) time_unix_nano: Text<u64>,
    pub(super) as_double: f64,
    pub(super) span_id: Text<SpanId>,
    pub(super) trace_id: Text<TraceId>,
}

impl Scope {
    pub(super) const OURS: Self = Self { name: "coalmine", version: env!("CARGO_PKG_VERSION") };
}

impl KeyValue {
    pub(super) fn text(key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Value::Text(value.into()) }
    }

    pub(super) fn int(key: &'static str, value: u64) -> Self {
        Self { key: key.into(), value: Value::Int(Text(i64::try_from(value).unwrap_or(i64::MAX))) }
    }

    pub(super) fn double(key: &'static str, value: f64) -> Self {
        Self { key: key.into(), value: Value::Double(value) }
    }

    pub(super) fn yes(key: &'static str) -> Self {
        Self { key: key.into(), value: Value::Bool(true) }
    }
}

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// An instant, in nanoseconds.
pub(super) fn nanos(at: UnixMs) -> Text<u64> {
    Text(at.0.saturating_mul(1_000_000))
}

/// A whole message.
pub(super) fn written(message: &impl Serialize) -> Bytes {
    // texts and finite numbers, which always can be written
    Bytes::from(serde_json::to_vec(message).unwrap_or_default())
}
