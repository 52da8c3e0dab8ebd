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
    /// As [`Metric::TtftP95`], at stable's median.
    TtftP50,
    /// As [`Metric::TtftP95`], at stable's p99.
    TtftP99,
    /// As [`Metric::LatencyP95`], at stable's median.
    LatencyP50,
    /// As [`Metric::LatencyP95`], at stable's p99.
    LatencyP99,
    /// US dollars of a session in its first `ages.whole`.
    CostPerSession,
    /// Tokens that the version wrote in a session in its first `ages.whole`.
    OutputTokens,
    /// Tokens that the version read in a session in its first `ages.whole`.
    InputTokens,
    /// Tool calls that the version made in a session in its first `ages.whole`.
    ToolCalls,
    /// Sessions that cost more than the cap that the mean is cut at: loops, which a capped mean hides.
    CostAboveCap,
    /// Sessions with more output tokens than the cap.
    OutputTokensAboveCap,
    /// Sessions with more input tokens than the cap.
    InputTokensAboveCap,
    /// Sessions with more tool calls than the cap.
    ToolCallsAboveCap,
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
    /// Requests that the client gave up before they were judged, the ones before the first byte included.
    ClientAbort,
    /// A score or rating that the application sends back, by its own name; 0..=1, higher is better.
    Feedback(String),
    /// Sessions with at least one rating below one half under this name of feedback, of all sessions: who
    /// rates is chosen by the answer, so the mean of ratings compares two selections
    /// (`statistics.md`, section 9, rule 8).
    ThumbsDown(String),
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
    /// Yes or no per request; a session counts with its share of bad requests, in 41 classes. Of a whole
    /// session (above a cap, a thumbs-down): yes or no.
    Rate,
    /// Yes or no per request against a frozen quantile of stable; then as [`Kind::Rate`].
    Exceedance,
    /// A non-negative amount per session, a mean or a count, in 64 logarithmic bins capped at eight times
    /// the mean.
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
    pub const BUILT_IN: [Self; 22] = [
        Self::ErrorRate,
        Self::TtftP95,
        Self::LatencyP95,
        Self::TtftP50,
        Self::TtftP99,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::CostPerSession,
        Self::OutputTokens,
        Self::InputTokens,
        Self::ToolCalls,
        Self::CostAboveCap,
        Self::OutputTokensAboveCap,
        Self::InputTokensAboveCap,
        Self::ToolCallsAboveCap,
        Self::RefusalRate,
        Self::EmptyRate,
        Self::TruncatedRate,
        Self::ToolCallValid,
        Self::SchemaValid,
        Self::CancelBeforeFirstByte,
        Self::ClientAbort,
    ];

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TtftP95 | Self::LatencyP95 | Self::TtftP50 | Self::TtftP99 | Self::LatencyP50 | Self::LatencyP99 => {
                Kind::Exceedance
            }
            Self::CostPerSession | Self::OutputTokens | Self::InputTokens | Self::ToolCalls => Kind::Amount,
            Self::Feedback(_) => Kind::Score,
            Self::ErrorRate
            | Self::CostAboveCap
            | Self::OutputTokensAboveCap
            | Self::InputTokensAboveCap
            | Self::ToolCallsAboveCap
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::ToolCallValid
            | Self::SchemaValid
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort
            | Self::ThumbsDown(_) => Kind::Rate,
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
            | Self::TtftP50
            | Self::TtftP99
            | Self::LatencyP50
            | Self::LatencyP99
            | Self::CostPerSession
            | Self::OutputTokens
            | Self::InputTokens
            | Self::ToolCalls
            | Self::CostAboveCap
            | Self::OutputTokensAboveCap
            | Self::InputTokensAboveCap
            | Self::ToolCallsAboveCap
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort
            | Self::ThumbsDown(_) => Direction::LowerIsBetter,
        }
    }

    /// The quantile of stable that a quantile metric compares with; `None` for the others.
    #[must_use]
    pub const fn quantile(&self) -> Option<f64> {
        match self {
            Self::TtftP50 | Self::LatencyP50 => Some(0.5),
            Self::TtftP95 | Self::LatencyP95 => Some(0.95),
            Self::TtftP99 | Self::LatencyP99 => Some(0.99),
            Self::ErrorRate
            | Self::CostPerSession
            | Self::OutputTokens
            | Self::InputTokens
            | Self::ToolCalls
            | Self::CostAboveCap
            | Self::OutputTokensAboveCap
            | Self::InputTokensAboveCap
            | Self::ToolCallsAboveCap
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::ToolCallValid
            | Self::SchemaValid
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort
            | Self::Feedback(_)
            | Self::ThumbsDown(_) => None,
        }
    }

    /// Whether a quantile metric is of the time to the first content, and not to the end.
    #[must_use]
    pub const fn is_of_first_content(&self) -> bool {
        matches!(self, Self::TtftP50 | Self::TtftP95 | Self::TtftP99)
    }

    /// Whether it is a yes or no of the whole session, and not a share of its requests.
    const fn is_of_whole_sessions(&self) -> bool {
        matches!(
            self,
            Self::CostAboveCap
                | Self::OutputTokensAboveCap
                | Self::InputTokensAboveCap
                | Self::ToolCallsAboveCap
                | Self::ThumbsDown(_)
        )
    }

    /// The amount whose sessions above the cap this metric counts.
    #[must_use]
    pub fn tail_of(&self) -> Option<Self> {
        match self {
            Self::CostAboveCap => Some(Self::CostPerSession),
            Self::OutputTokensAboveCap => Some(Self::OutputTokens),
            Self::InputTokensAboveCap => Some(Self::InputTokens),
            Self::ToolCallsAboveCap => Some(Self::ToolCalls),
            Self::ErrorRate
            | Self::TtftP95
            | Self::LatencyP95
            | Self::TtftP50
            | Self::TtftP99
            | Self::LatencyP50
            | Self::LatencyP99
            | Self::CostPerSession
            | Self::OutputTokens
            | Self::InputTokens
            | Self::ToolCalls
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::ToolCallValid
            | Self::SchemaValid
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort
            | Self::Feedback(_)
            | Self::ThumbsDown(_) => None,
        }
    }

    /// The metric that counts the sessions above this amount's cap; `None` where it is no amount.
    #[must_use]
    pub fn tail(&self) -> Option<Self> {
        Self::BUILT_IN.into_iter().find(|metric| metric.tail_of().as_ref() == Some(self))
    }

    /// The name of the feedback that it is made of.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        match self {
            Self::Feedback(name) | Self::ThumbsDown(name) => Some(name),
            Self::ErrorRate
            | Self::TtftP95
            | Self::LatencyP95
            | Self::TtftP50
            | Self::TtftP99
            | Self::LatencyP50
            | Self::LatencyP99
            | Self::CostPerSession
            | Self::OutputTokens
            | Self::InputTokens
            | Self::ToolCalls
            | Self::CostAboveCap
            | Self::OutputTokensAboveCap
            | Self::InputTokensAboveCap
            | Self::ToolCallsAboveCap
            | Self::RefusalRate
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::ToolCallValid
            | Self::SchemaValid
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort => None,
        }
    }

    /// The numbers of a session under this metric, each with its share of the metric's weight;
    /// the last of them is the one that promotion must prove.
    #[must_use]
    pub const fn numbers(&self) -> &'static [(Number, f64)] {
        match self.kind() {
            Kind::Rate if self.is_of_whole_sessions() => &[(Number::Whole, 1.0)],
            Kind::Rate | Kind::Exceedance => &[(Number::First, 0.3), (Number::Session, 0.7)],
            Kind::Amount | Kind::Score => &[(Number::Whole, 1.0)],
        }
    }

    /// Its weight in the rollback budget before normalising, by severity (`statistics.md`, section 5, rule 9).
    #[must_use]
    pub const fn severity(&self) -> f64 {
        match self {
            Self::ErrorRate => 0.3,
            Self::RefusalRate | Self::ToolCallValid | Self::SchemaValid | Self::Feedback(_) | Self::ThumbsDown(_) => {
                0.2
            }
            Self::TtftP95 | Self::LatencyP95 | Self::TtftP50 | Self::TtftP99 | Self::LatencyP50 | Self::LatencyP99 => {
                0.15
            }
            Self::CostPerSession => 0.1,
            Self::OutputTokens
            | Self::InputTokens
            | Self::ToolCalls
            | Self::CostAboveCap
            | Self::OutputTokensAboveCap
            | Self::InputTokensAboveCap
            | Self::ToolCallsAboveCap
            | Self::EmptyRate
            | Self::TruncatedRate
            | Self::CancelBeforeFirstByte
            | Self::ClientAbort => 0.05,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate => f.write_str("error_rate"),
            Self::TtftP95 => f.write_str("ttft_p95"),
            Self::LatencyP95 => f.write_str("latency_p95"),
            Self::TtftP50 => f.write_str("ttft_p50"),
            Self::TtftP99 => f.write_str("ttft_p99"),
            Self::LatencyP50 => f.write_str("latency_p50"),
            Self::LatencyP99 => f.write_str("latency_p99"),
            Self::CostPerSession => f.write_str("cost_per_session"),
            Self::OutputTokens => f.write_str("output_tokens"),
            Self::InputTokens => f.write_str("input_tokens"),
            Self::ToolCalls => f.write_str("tool_calls"),
            Self::CostAboveCap => f.write_str("cost_above_cap"),
            Self::OutputTokensAboveCap => f.write_str("output_tokens_above_cap"),
            Self::InputTokensAboveCap => f.write_str("input_tokens_above_cap"),
            Self::ToolCallsAboveCap => f.write_str("tool_calls_above_cap"),
            Self::RefusalRate => f.write_str("refusal_rate"),
            Self::EmptyRate => f.write_str("empty_rate"),
            Self::TruncatedRate => f.write_str("truncated_rate"),
            Self::ToolCallValid => f.write_str("tool_call_valid"),
            Self::SchemaValid => f.write_str("schema_valid"),
            Self::CancelBeforeFirstByte => f.write_str("cancel_before_first_byte"),
            Self::ClientAbort => f.write_str("client_abort"),
            Self::Feedback(name) => write!(f, "feedback.{name}"),
            Self::ThumbsDown(name) => write!(f, "thumbs_down.{name}"),
        }
    }
}

/// A name that is no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric; feedback is written `feedback.NAME` or `thumbs_down.NAME`")]
pub struct UnknownMetric(pub String);

impl FromStr for Metric {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        for (prefix, made) in [("feedback.", Self::Feedback as fn(String) -> Self), ("thumbs_down.", Self::ThumbsDown)]
        {
            if let Some(name) = text.strip_prefix(prefix).filter(|name| is_feedback_name(name)) {
                return Ok(made(name.to_owned()));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_reads_back_by_its_name() {
        let feedback = [Metric::Feedback("a.b".to_owned()), Metric::ThumbsDown("a.b".to_owned())];
        for metric in Metric::BUILT_IN.into_iter().chain(feedback) {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        assert!("thumbs_down.".parse::<Metric>().is_err());
    }

    #[test]
    fn every_amount_has_its_tail_and_every_quantile_its_share() {
        for metric in Metric::BUILT_IN {
            assert_eq!(metric.tail().is_some(), metric.kind() == Kind::Amount, "{metric}");
            assert_eq!(metric.quantile().is_some(), metric.kind() == Kind::Exceedance, "{metric}");
            assert!((metric.numbers().iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(Metric::CostPerSession.tail(), Some(Metric::CostAboveCap));
    }
}
