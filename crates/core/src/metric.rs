//! What is measured: name, kind, direction, unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A metric that a guardrail, a signal or a limit may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metric {
    /// Requests that failed by the version's fault.
    ErrorRate,
    /// Requests whose first content came later than stable's p95 (times one plus the margin).
    TtftP95,
    /// Requests that took longer than stable's p95 (times one plus the margin).
    LatencyP95,
    /// US dollars of a session in its first `ages.whole`.
    CostPerSession,
    /// Tokens that the version wrote in a session in its first `ages.whole`.
    OutputTokens,
    /// Answers that refuse.
    RefusalRate,
    /// Answers without text and without a tool call.
    EmptyRate,
    /// Answers cut off in mid-stream or by the token limit.
    TruncatedRate,
    /// Tool calls that fit the declared tools (name known, arguments valid). Higher is better.
    ToolCallValid,
    /// Answers that fit the JSON Schema that the request asked for. Higher is better.
    SchemaValid,
    /// Requests that the client gave up before the first byte.
    CancelBeforeFirstByte,
    /// A score or rating that the application sends back, by its own name; 0..=1, higher is better.
    Feedback(String),
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    HigherIsBetter,
    /// Less is better.
    LowerIsBetter,
}

/// How a metric becomes a badness in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Yes or no per request; a session counts with its share of bad requests, in 41 classes.
    Rate,
    /// Yes or no per request against a frozen quantile of stable; then as [`Kind::Rate`].
    Exceedance,
    /// A non-negative amount per session, in 64 logarithmic bins capped at eight times the mean.
    Amount,
    /// A score in 0..=1 that arrives later; a session counts with its mean, in 41 classes.
    Score,
}

/// Which of a session's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    /// X1: the first exposed request, posted at `ages.first`.
    First,
    /// X2: the mean over the requests of the first `ages.session`, posted there.
    Session,
    /// The whole session, posted at `ages.whole`: amounts and feedback.
    Whole,
}

impl Number {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Session => "session",
            Self::Whole => "whole",
        }
    }
}

impl Metric {
    /// Every built-in metric, in the order in which they are listed to people.
    pub const BUILT_IN: [Self; 11] = [
        Self::ErrorRate,
        Self::TtftP95,
        Self::LatencyP95,
        Self::CostPerSession,
        Self::OutputTokens,
        Self::RefusalRate,
        Self::EmptyRate,
        Self::TruncatedRate,
        Self::ToolCallValid,
        Self::SchemaValid,
        Self::CancelBeforeFirstByte,
    ];

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TtftP95 | Self::LatencyP95 => Kind::Exceedance,
            Self::CostPerSession | Self::OutputTokens => Kind::Amount,
            Self::Feedback(_) => Kind::Score,
            Self::ErrorRate
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::ToolCallValid
            | Self::SchemaValid
            | Self::CancelBeforeFirstByte => Kind::Rate,
        }
    }

    /// Which way is good, as people read the number.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self {
            Self::ToolCallValid | Self::SchemaValid | Self::Feedback(_) => Direction::HigherIsBetter,
            Self::ErrorRate
            | Self::TtftP95
            | Self::LatencyP95
            | Self::CostPerSession
            | Self::OutputTokens
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::CancelBeforeFirstByte => Direction::LowerIsBetter,
        }
    }

    /// The numbers of a session under this metric, each with its share of the metric's weight;
    /// the last of them is the one that promotion must prove.
    #[must_use]
    pub const fn numbers(&self) -> &'static [(Number, f64)] {
        match self.kind() {
            Kind::Rate | Kind::Exceedance => &[(Number::First, 0.3), (Number::Session, 0.7)],
            Kind::Amount | Kind::Score => &[(Number::Whole, 1.0)],
        }
    }

    /// Its weight in the rollback budget before normalising, by severity (`statistics.md`, section 5, rule 9).
    #[must_use]
    pub const fn severity(&self) -> f64 {
        match self {
            Self::ErrorRate => 0.3,
            Self::RefusalRate | Self::ToolCallValid | Self::SchemaValid | Self::Feedback(_) => 0.2,
            Self::TtftP95 | Self::LatencyP95 => 0.15,
            Self::CostPerSession => 0.1,
            Self::OutputTokens | Self::EmptyRate | Self::TruncatedRate | Self::CancelBeforeFirstByte => 0.05,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate => f.write_str("error_rate"),
            Self::TtftP95 => f.write_str("ttft_p95"),
            Self::LatencyP95 => f.write_str("latency_p95"),
            Self::CostPerSession => f.write_str("cost_per_session"),
            Self::OutputTokens => f.write_str("output_tokens"),
            Self::RefusalRate => f.write_str("refusal_rate"),
            Self::EmptyRate => f.write_str("empty_rate"),
            Self::TruncatedRate => f.write_str("truncated_rate"),
            Self::ToolCallValid => f.write_str("tool_call_valid"),
            Self::SchemaValid => f.write_str("schema_valid"),
            Self::CancelBeforeFirstByte => f.write_str("cancel_before_first_byte"),
            Self::Feedback(name) => write!(f, "feedback.{name}"),
        }
    }
}

/// A name that is no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric; feedback is written `feedback.NAME`")]
pub struct UnknownMetric(pub String);

impl FromStr for Metric {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        if let Some(name) = text.strip_prefix("feedback.")
            && is_feedback_name(name)
        {
            return Ok(Self::Feedback(name.to_owned()));
        }
        let found = Self::BUILT_IN.into_iter().find(|metric| metric.to_string() == text);
        found.ok_or_else(|| UnknownMetric(text.to_owned()))
    }
}

/// Whether `name` may name a feedback: 1 to 64 of `a-z 0-9 _ . -`.
#[must_use]
pub fn is_feedback_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

impl TryFrom<String> for Metric {
    type Error = UnknownMetric;
    fn try_from(text: String) -> Result<Self, UnknownMetric> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}
