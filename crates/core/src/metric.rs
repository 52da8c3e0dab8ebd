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
    /// What the sessions cost over the requests that they have, in their first `ages.whole`.
    CostPerRequest,
    /// What the sessions cost over the tasks that they got done ([`TASK_DONE`]), in their first `ages.whole`.
    CostPerTask,
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
    /// Answers that should be JSON, and have it in a fence.
    FencedJson,
    /// Answers that call a tool with arguments that it was called with already, in this answer or since the user last
    /// spoke. Of requests with tools.
    RepeatedCall,
    /// Answers whose text goes round in circles.
    Repetition,
    /// Answers in another language than the user's, where that one can be told.
    LanguageMismatch,
    /// Answers longer than stable's p95.
    LongAnswer,
    /// Answers shorter than stable's p5.
    ShortAnswer,
    /// Sessions with an answer that begins as many of the canary's do, and hardly any of the control's: refusals in words
    /// that nobody has listed, for one.
    NewOpening,
    /// Of the tokens read, those from the provider's cache. Higher is better.
    CacheHit,
    /// Sessions whose last request in their first `ages.whole` went wrong.
    Abandoned,
    /// Sessions that are one request long.
    NotContinued,
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
    /// Scores of the judge of this name over sampled answers; 0..=1, higher is better.
    Judge(String),
}

/// Names of feedback that the gateway itself sends, from what a session's requests tell of the turns before them.
pub mod noticed {
    /// Whether the calls that the version made did what they were to do, as the results in the next request say.
    pub const TOOL_USE: &str = "tool_use";
    /// The user asks the same again.
    pub const REASK: &str = "reask";
    /// The client's library repeats a request.
    pub const CLIENT_RETRY: &str = "client_retry";
    /// All of them.
    pub const ALL: [&str; 3] = [TOOL_USE, REASK, CLIENT_RETRY];
}

/// The name of the feedback that says whether a task was done, 0..=1; a session may have several.
pub const TASK_DONE: &str = "task_done";

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
    /// What sessions cost over what they have of something: a session counts with its cost less what stable pays for as
    /// much (a frozen price, times one plus the margin for the canary), in 41 classes around one half.
    Ratio,
}

/// What is fixed of a metric.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// As written, without the name of a feedback.
    name: &'static str,
    kind: Kind,
    numbers: &'static [(Number, f64)],
    severity: f64,
    direction: Direction,
    /// Of a time: until when, and stable's quantile.
    time: Option<(Moment, f64)>,
    /// Of an amount and of its tail.
    amount: Option<Amount>,
    /// Of a length: stable's quantile that it is held against.
    length: Option<f64>,
    /// Of a ratio: what it is the price of.
    per: Option<Per>,
}

/// Until when a time is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    FirstContent,
    End,
}

/// What a ratio is the price of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// A request.
    Request,
    /// A task that was done.
    Task,
}

/// What is summed over a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// US dollars.
    Cost,
    /// Tokens that the version wrote.
    OutputTokens,
    /// Tokens that it read.
    InputTokens,
    /// Tool calls that it made.
    ToolCalls,
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
    /// What counts requests: its first, and those of its first while.
    const OF_REQUESTS: &'static [(Self, f64)] = &[(Self::First, 0.3), (Self::Session, 0.7)];
    /// What counts sessions by their first while.
    const SESSION: &'static [(Self, f64)] = &[(Self::Session, 1.0)];
    /// What counts sessions.
    const WHOLE: &'static [(Self, f64)] = &[(Self::Whole, 1.0)];

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
    pub const BUILT_IN: [Self; 34] = [
        Self::ErrorRate,
        Self::TtftP95,
        Self::LatencyP95,
        Self::TtftP50,
        Self::TtftP99,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::CostPerSession,
        Self::CostPerRequest,
        Self::CostPerTask,
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
        Self::FencedJson,
        Self::RepeatedCall,
        Self::Repetition,
        Self::LanguageMismatch,
        Self::LongAnswer,
        Self::ShortAnswer,
        Self::NewOpening,
        Self::CacheHit,
        Self::Abandoned,
        Self::NotContinued,
        Self::CancelBeforeFirstByte,
        Self::ClientAbort,
    ];

    /// All that is fixed of a metric, in one place.
    const fn facts(&self) -> Facts {
        match self {
            Self::ErrorRate => Facts::rate("error_rate", 0.3),
            Self::TtftP95 => Facts::time("ttft_p95", Moment::FirstContent, 0.95),
            Self::LatencyP95 => Facts::time("latency_p95", Moment::End, 0.95),
            Self::TtftP50 => Facts::time("ttft_p50", Moment::FirstContent, 0.5),
            Self::TtftP99 => Facts::time("ttft_p99", Moment::FirstContent, 0.99),
            Self::LatencyP50 => Facts::time("latency_p50", Moment::End, 0.5),
            Self::LatencyP99 => Facts::time("latency_p99", Moment::End, 0.99),
            Self::CostPerSession => Facts::amount("cost_per_session", Amount::Cost, 0.1),
            Self::CostPerRequest => Facts::ratio("cost_per_request", Per::Request),
            Self::CostPerTask => Facts::ratio("cost_per_task", Per::Task),
            Self::OutputTokens => Facts::amount("output_tokens", Amount::OutputTokens, 0.05),
            Self::InputTokens => Facts::amount("input_tokens", Amount::InputTokens, 0.05),
            Self::ToolCalls => Facts::amount("tool_calls", Amount::ToolCalls, 0.05),
            Self::CostAboveCap => Facts::above_cap("cost_above_cap", Amount::Cost),
            Self::OutputTokensAboveCap => Facts::above_cap("output_tokens_above_cap", Amount::OutputTokens),
            Self::InputTokensAboveCap => Facts::above_cap("input_tokens_above_cap", Amount::InputTokens),
            Self::ToolCallsAboveCap => Facts::above_cap("tool_calls_above_cap", Amount::ToolCalls),
            Self::RefusalRate => Facts::rate("refusal_rate", 0.2),
            Self::EmptyRate => Facts::rate("empty_rate", 0.05),
            Self::TruncatedRate => Facts::rate("truncated_rate", 0.05),
            Self::ToolCallValid => Facts::rate("tool_call_valid", 0.2).better_when_higher(),
            Self::SchemaValid => Facts::rate("schema_valid", 0.2).better_when_higher(),
            Self::FencedJson => Facts::rate("fenced_json_rate", 0.05),
            Self::RepeatedCall => Facts::rate("repeated_call_rate", 0.1),
            Self::Repetition => Facts::rate("repetition_rate", 0.1),
            Self::LanguageMismatch => Facts::rate("language_mismatch_rate", 0.1),
            Self::LongAnswer => Facts::length("long_answer_rate", 0.95),
            Self::ShortAnswer => Facts::length("short_answer_rate", 0.05),
            Self::NewOpening => Facts::new("new_opening_rate", Kind::Rate, Number::SESSION, 0.1),
            Self::CacheHit => Facts::rate("cache_hit_share", 0.05).better_when_higher(),
            Self::Abandoned => Facts::new("abandoned_rate", Kind::Rate, Number::WHOLE, 0.1),
            Self::NotContinued => Facts::new("not_continued_rate", Kind::Rate, Number::WHOLE, 0.05),
            Self::CancelBeforeFirstByte => Facts::rate("cancel_before_first_byte", 0.05),
            Self::ClientAbort => Facts::rate("client_abort", 0.05),
            Self::Feedback(_) => Facts::new("feedback", Kind::Score, Number::WHOLE, 0.2).better_when_higher(),
            Self::ThumbsDown(_) => Facts::new("thumbs_down", Kind::Rate, Number::WHOLE, 0.2),
            Self::Judge(_) => Facts::new("judge", Kind::Score, Number::WHOLE, 0.2).better_when_higher(),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.facts().kind
    }

    /// Which way is good, as people read the number.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.facts().direction
    }

    /// The quantile of stable that a quantile metric compares with; `None` for the others.
    #[must_use]
    pub const fn quantile(&self) -> Option<f64> {
        match self.facts().time {
            Some((_, quantile)) => Some(quantile),
            None => None,
        }
    }

    /// Whether a quantile metric is of the time to the first content, and not to the end.
    #[must_use]
    pub const fn is_of_first_content(&self) -> bool {
        matches!(self.facts().time, Some((Moment::FirstContent, _)))
    }

    /// What a ratio is the price of; `None` where it is none.
    #[must_use]
    pub const fn per(&self) -> Option<Per> {
        self.facts().per
    }

    /// The quantile of stable's answers that the length of an answer is held against; `None` for what is no length.
    #[must_use]
    pub const fn length_quantile(&self) -> Option<f64> {
        self.facts().length
    }

    /// The amount that it is the mean of; `None` where it is none.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        self.facts().amount.filter(|_| self.kind() == Kind::Amount)
    }

    /// The amount whose sessions above the cap this metric counts.
    #[must_use]
    pub fn tail_of(&self) -> Option<Self> {
        self.other_of_amount(Kind::Rate)
    }

    /// The metric that counts the sessions above this amount's cap; `None` where it is no amount.
    #[must_use]
    pub fn tail(&self) -> Option<Self> {
        self.other_of_amount(Kind::Amount)
    }

    /// The other metric of the same amount, if this one is of this kind.
    fn other_of_amount(&self, own: Kind) -> Option<Self> {
        let amount = self.facts().amount.filter(|_| self.kind() == own)?;
        Self::BUILT_IN.into_iter().find(|metric| metric.facts().amount == Some(amount) && metric.kind() != own)
    }

    /// The name of the feedback that it is made of.
    #[must_use]
    pub fn feedback(&self) -> Option<&str> {
        if let Self::Feedback(name) | Self::ThumbsDown(name) = self { Some(name) } else { None }
    }

    /// The name of the judge that gives its scores.
    #[must_use]
    pub fn judge(&self) -> Option<&str> {
        if let Self::Judge(name) = self { Some(name) } else { None }
    }

    /// Whether its numbers are made of prices.
    #[must_use]
    pub fn is_of_cost(&self) -> bool {
        self.facts().amount == Some(Amount::Cost) || self.per().is_some()
    }

    /// The name of the feedback without which there is nothing of it.
    #[must_use]
    pub fn needs_feedback(&self) -> Option<&str> {
        self.feedback().or((self.per() == Some(Per::Task)).then_some(TASK_DONE))
    }

    /// Whether its numbers come later than the turns that they are about.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Feedback(_) | Self::ThumbsDown(_) | Self::Judge(_))
    }

    /// The numbers of a session under this metric, each with its share of the metric's weight;
    /// the last of them is the one that promotion must prove.
    #[must_use]
    pub const fn numbers(&self) -> &'static [(Number, f64)] {
        self.facts().numbers
    }

    /// Whether it is a yes or no of a session as a whole, which no request of it says by itself.
    #[must_use]
    pub const fn is_of_session(&self) -> bool {
        matches!(self, Self::NewOpening | Self::Abandoned | Self::NotContinued)
    }

    /// Its weight in the rollback budget before normalising, by severity (`statistics.md`, section 5, rule 9).
    #[must_use]
    pub const fn severity(&self) -> f64 {
        self.facts().severity
    }
}

impl Facts {
    const fn new(name: &'static str, kind: Kind, numbers: &'static [(Number, f64)], severity: f64) -> Self {
        Self {
            name,
            kind,
            numbers,
            severity,
            direction: Direction::LowerIsBetter,
            time: None,
            amount: None,
            length: None,
            per: None,
        }
    }

    /// A share of a session's requests.
    const fn rate(name: &'static str, severity: f64) -> Self {
        Self::new(name, Kind::Rate, Number::OF_REQUESTS, severity)
    }

    const fn time(name: &'static str, moment: Moment, quantile: f64) -> Self {
        let mut facts = Self::new(name, Kind::Exceedance, Number::OF_REQUESTS, 0.15);
        facts.time = Some((moment, quantile));
        facts
    }

    const fn length(name: &'static str, quantile: f64) -> Self {
        let mut facts = Self::rate(name, 0.05);
        facts.length = Some(quantile);
        facts
    }

    const fn amount(name: &'static str, amount: Amount, severity: f64) -> Self {
        let mut facts = Self::new(name, Kind::Amount, Number::WHOLE, severity);
        facts.amount = Some(amount);
        facts
    }

    const fn ratio(name: &'static str, per: Per) -> Self {
        let mut facts = Self::new(name, Kind::Ratio, Number::WHOLE, 0.1);
        facts.per = Some(per);
        facts
    }

    /// Sessions above an amount's cap.
    const fn above_cap(name: &'static str, amount: Amount) -> Self {
        let mut facts = Self::new(name, Kind::Rate, Number::WHOLE, 0.05);
        facts.amount = Some(amount);
        facts
    }

    const fn better_when_higher(mut self) -> Self {
        self.direction = Direction::HigherIsBetter;
        self
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().name)?;
        self.feedback().or(self.judge()).map_or(Ok(()), |name| write!(f, ".{name}"))
    }
}

/// A name that is no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a metric; feedback is written `feedback.NAME` or `thumbs_down.NAME`, a judge `judge.NAME`")]
pub struct UnknownMetric(pub String);

/// A family of metrics, which a name makes one of.
type Named = fn(String) -> Metric;

impl FromStr for Metric {
    type Err = UnknownMetric;
    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let families: [(&str, Named); 3] =
            [("feedback.", Self::Feedback), ("thumbs_down.", Self::ThumbsDown), ("judge.", Self::Judge)];
        for (prefix, made) in families {
            if let Some(name) = text.strip_prefix(prefix).filter(|name| is_feedback_name(name)) {
                return Ok(made(name.to_owned()));
            }
        }
        let found = Self::BUILT_IN.into_iter().find(|metric| metric.to_string() == text);
        found.ok_or_else(|| UnknownMetric(text.to_owned()))
    }
}

/// Whether `name` may name a feedback or a judge: 1 to 64 of `a-z 0-9 _ . -`.
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
        let made = [Metric::Feedback, Metric::ThumbsDown, Metric::Judge].map(|made| made("a.b".to_owned()));
        for metric in Metric::BUILT_IN.into_iter().chain(made) {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        assert!("judge.".parse::<Metric>().is_err());
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
