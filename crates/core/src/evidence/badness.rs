//! What one turn says under one metric: its badness, or its amount.
//!
//! Blame decides first: what the client or the gateway spoilt is no error of the version, and says
//! nothing of its quality. A failure that stable rescued is still a failure of the arm that was assigned.

use crate::evidence::Went;
use crate::metric::{Amount, Kind, Metric};
use crate::tally::{Blame, CancelPoint, Cause, Check, Ending, Outcome, Presence};

/// What one request says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// This bad, 0..=1.
    Is(f64),
    /// It should have said something and did not: it counts as the centre.
    Unknown,
    /// By its own nature it has no part in the metric.
    NotApplicable,
}

impl Reading {
    fn yes_no(bad: bool) -> Self {
        Self::Is(f64::from(u8::from(bad)))
    }

    /// The badness, where known.
    #[must_use]
    pub fn known(self) -> Option<f64> {
        match self {
            Self::Is(badness) => Some(badness),
            Self::Unknown | Self::NotApplicable => None,
        }
    }
}

/// The badness of one request. `threshold` is what a quantile metric compares with (milliseconds) or a length
/// (characters); without one nothing is known. Amounts and scores are not read per request: [`Reading::NotApplicable`].
#[must_use]
pub fn reading(metric: &Metric, outcome: &Outcome, threshold: Option<f64>) -> Reading {
    match metric {
        Metric::ErrorRate => Reading::yes_no(outcome.ending.blame() == Blame::Upstream),
        Metric::CancelBeforeFirstByte => {
            Reading::yes_no(outcome.ending == Ending::Cancelled(CancelPoint::BeforeFirstByte))
        }
        Metric::ClientAbort => Reading::yes_no(match outcome.ending {
            Ending::Cancelled(CancelPoint::BeforeFirstByte | CancelPoint::MidAnswer) => true,
            Ending::Complete | Ending::Running | Ending::Failed(_) | Ending::ClientError | Ending::GatewayError => {
                false
            }
        }),
        Metric::TtftP95 | Metric::TtftP50 | Metric::TtftP99 => {
            threshold.map_or(Reading::Unknown, |limit| first_token(outcome, limit))
        }
        Metric::LatencyP95 | Metric::LatencyP50 | Metric::LatencyP99 => {
            threshold.map_or(Reading::Unknown, |limit| elapsed(outcome, limit))
        }
        Metric::RefusalRate => of_answer(outcome, outcome.refusal),
        Metric::EmptyRate => of_answer(outcome, outcome.empty),
        Metric::TruncatedRate if outcome.truncated == Check::Yes => Reading::Is(1.0),
        Metric::TruncatedRate => of_answer(outcome, outcome.truncated),
        Metric::ToolCallValid => tool_calls(outcome),
        Metric::SchemaValid => of_answer(outcome, outcome.schema_broken),
        Metric::FencedJson if outcome.schema_broken == Check::NotApplicable => Reading::NotApplicable,
        Metric::FencedJson => of_answer(outcome, outcome.detected.fenced_json),
        Metric::RepeatedCall if outcome.tools_declared == Presence::Absent => Reading::NotApplicable,
        Metric::RepeatedCall => of_answer(outcome, outcome.detected.repeated_call),
        Metric::Repetition => of_answer(outcome, outcome.detected.repetition),
        Metric::LanguageMismatch => of_answer(outcome, outcome.detected.other_language),
        Metric::LongAnswer => length(outcome, threshold, |chars, limit| chars > limit),
        Metric::ShortAnswer => length(outcome, threshold, |chars, limit| chars < limit),
        Metric::CacheHit => cache_misses(outcome),
        Metric::NewOpening
        | Metric::Abandoned
        | Metric::NotContinued
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
        | Metric::Feedback(_)
        | Metric::ThumbsDown(_)
        | Metric::Judge(_) => Reading::NotApplicable,
    }
}

/// What a request adds to an amount by itself: `None` when that is unknown. A request that failed before
/// anything was delivered, without a bill, adds 0; any other without a number is unknown, never 0.
#[must_use]
pub fn amount(metric: &Metric, outcome: &Outcome) -> Option<f64> {
    let stated = stated_amount(metric, outcome);
    let is_summed = match metric.kind() {
        Kind::Amount | Kind::Ratio => true,
        Kind::Rate | Kind::Exceedance | Kind::Score => false,
    };
    let nothing_delivered = outcome.ttft_ms.is_none()
        && match outcome.ending {
            Ending::Failed(_) | Ending::ClientError | Ending::GatewayError => true,
            Ending::Complete | Ending::Running | Ending::Cancelled(_) => false,
        };
    stated.or(if nothing_delivered && is_summed { Some(0.0) } else { None })
}

/// The amount as the outcome states it; `None` where it does not, or states no usable number.
#[must_use]
pub fn stated_amount(metric: &Metric, outcome: &Outcome) -> Option<f64> {
    let summed = metric.amount().or(metric.per().map(|_| Amount::Cost));
    let stated = match summed? {
        Amount::Cost => outcome.cost_usd,
        Amount::OutputTokens => outcome.usage.output.map(|tokens| tokens as f64),
        Amount::InputTokens => outcome.usage.input.map(|tokens| tokens as f64),
        // A broken answer shows the calls up to the break, and no more is known of it.
        Amount::ToolCalls => is_answered(outcome.ending).then(|| f64::from(outcome.tool_calls)),
    };
    stated.filter(|amount| amount.is_finite() && *amount >= 0.0)
}

/// Whether the request asked for a JSON Schema, as its check tells.
#[must_use]
pub fn schema_asked(outcome: &Outcome) -> Presence {
    match outcome.schema_broken {
        Check::NotApplicable => Presence::Absent,
        Check::Yes | Check::No | Check::Unknown => Presence::Present,
    }
}

fn is_answered(ending: Ending) -> bool {
    match ending {
        Ending::Complete | Ending::Running => true,
        Ending::Failed(_) | Ending::ClientError | Ending::GatewayError | Ending::Cancelled(_) => false,
    }
}

fn of_answer(outcome: &Outcome, check: Check) -> Reading {
    match check {
        Check::NotApplicable => Reading::NotApplicable,
        Check::Unknown => Reading::Unknown,
        Check::Yes | Check::No if !is_answered(outcome.ending) => Reading::Unknown,
        Check::Yes => Reading::Is(1.0),
        Check::No => Reading::Is(0.0),
    }
}

fn tool_calls(outcome: &Outcome) -> Reading {
    match outcome.tools_declared {
        Presence::Absent => Reading::NotApplicable,
        Presence::Present if !is_answered(outcome.ending) => Reading::Unknown,
        Presence::Present if outcome.tool_calls == 0 => Reading::NotApplicable,
        Presence::Present => Reading::Is((f64::from(outcome.tool_calls_bad) / f64::from(outcome.tool_calls)).min(1.0)),
    }
}

/// The length of an answer in text; one that calls tools has its text still to come.
fn length(outcome: &Outcome, threshold: Option<f64>, is_bad: impl Fn(f64, f64) -> bool) -> Reading {
    match (is_answered(outcome.ending), outcome.detected.chars, threshold) {
        (false, ..) | (true, _, None) => Reading::Unknown,
        (true, None, Some(_)) => Reading::NotApplicable,
        (true, Some(chars), Some(limit)) => Reading::yes_no(is_bad(chars as f64, limit)),
    }
}

/// The share of the tokens read that came from no cache. A provider that does not tell is unknown.
fn cache_misses(outcome: &Outcome) -> Reading {
    match (outcome.usage.input, outcome.usage.cached) {
        (Some(0), _) => Reading::NotApplicable,
        (Some(input), Some(cached)) => Reading::Is(1.0 - (cached as f64 / input as f64).min(1.0)),
        (None, _) | (_, None) => Reading::Unknown,
    }
}

/// How a request went for its user: wrong is no answer, none of use, or none by its judging age.
#[must_use]
pub fn went(outcome: &Outcome) -> Went {
    if is_wrong(outcome) { Went::Wrong } else { Went::Well }
}

fn is_wrong(outcome: &Outcome) -> bool {
    let answer = [outcome.refusal, outcome.empty, outcome.truncated].contains(&Check::Yes);
    match outcome.ending {
        Ending::Complete => answer,
        Ending::Running | Ending::Failed(_) | Ending::Cancelled(_) => true,
        // Neither the version's doing nor a reason to leave it.
        Ending::ClientError | Ending::GatewayError => false,
    }
}

/// The time to the first content; where none came, what had passed without it.
fn first_token(outcome: &Outcome, threshold_ms: f64) -> Reading {
    if let Some(ttft_ms) = outcome.ttft_ms.filter(|ms| ms.is_finite()) {
        return match outcome.ending.blame() {
            Blame::Gateway => Reading::Unknown,
            Blame::Nobody | Blame::Client | Blame::Upstream => Reading::yes_no(ttft_ms > threshold_ms),
        };
    }
    match outcome.ending {
        Ending::Running | Ending::Failed(Cause::Deadline) => Reading::Is(1.0),
        Ending::Complete => of_span(outcome.latency_ms, threshold_ms),
        Ending::Failed(_) | Ending::Cancelled(_) => at_least(outcome.latency_ms, threshold_ms),
        Ending::ClientError | Ending::GatewayError => Reading::Unknown,
    }
}

fn elapsed(outcome: &Outcome, threshold_ms: f64) -> Reading {
    match outcome.ending {
        Ending::Complete => of_span(outcome.latency_ms, threshold_ms),
        // No threshold lies beyond the judging age, and this one is still running there.
        Ending::Running | Ending::Failed(Cause::Deadline) => Reading::Is(1.0),
        Ending::Failed(_) | Ending::Cancelled(_) => at_least(outcome.latency_ms, threshold_ms),
        Ending::ClientError | Ending::GatewayError => Reading::Unknown,
    }
}

fn of_span(ms: f64, threshold_ms: f64) -> Reading {
    if ms.is_finite() { Reading::yes_no(ms > threshold_ms) } else { Reading::Unknown }
}

/// A span that was cut short: it tells only that it was too long.
fn at_least(ms: f64, threshold_ms: f64) -> Reading {
    if ms.is_finite() && ms > threshold_ms { Reading::Is(1.0) } else { Reading::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::outcome;
    use crate::tally::{Detected, ServedBy};

    const BLAMELESS: [Ending; 3] =
        [Ending::ClientError, Ending::GatewayError, Ending::Cancelled(CancelPoint::MidAnswer)];

    fn with(ending: Ending) -> Outcome {
        Outcome { ending, ..outcome() }
    }

    #[test]
    fn only_the_versions_own_failures_are_errors() {
        let read = |ending| reading(&Metric::ErrorRate, &with(ending), None);
        assert_eq!(read(Ending::Complete), Reading::Is(0.0));
        assert_eq!(read(Ending::Running), Reading::Is(0.0));
        for ending in BLAMELESS {
            assert_eq!(read(ending), Reading::Is(0.0), "{ending:?}");
        }
        for cause in [Cause::Connect, Cause::Server, Cause::RateLimited, Cause::Rejected, Cause::Deadline] {
            assert_eq!(read(Ending::Failed(cause)), Reading::Is(1.0), "{cause:?}");
        }
    }

    #[test]
    fn a_rescued_failure_is_a_failure() {
        let rescued =
            Outcome { served_by: ServedBy::Rescue, refusal: Check::No, ..with(Ending::Failed(Cause::Server)) };
        assert_eq!(reading(&Metric::ErrorRate, &rescued, None), Reading::Is(1.0));
        assert_eq!(reading(&Metric::RefusalRate, &rescued, None), Reading::Unknown, "it is stable's answer");
    }

    #[test]
    fn quality_is_unknown_where_there_is_no_answer() {
        for metric in [Metric::RefusalRate, Metric::EmptyRate, Metric::TruncatedRate, Metric::SchemaValid] {
            let asked = |ending| Outcome { schema_broken: Check::No, ..with(ending) };
            assert_eq!(reading(&metric, &asked(Ending::Complete), None), Reading::Is(0.0), "{metric}");
            for ending in BLAMELESS.into_iter().chain([Ending::Failed(Cause::Server)]) {
                assert_eq!(reading(&metric, &asked(ending), None), Reading::Unknown, "{metric} {ending:?}");
            }
        }
        let refused = Outcome { refusal: Check::Yes, ..outcome() };
        assert_eq!(reading(&Metric::RefusalRate, &refused, None), Reading::Is(1.0));
        let unseen = Outcome { refusal: Check::Unknown, ..outcome() };
        assert_eq!(reading(&Metric::RefusalRate, &unseen, None), Reading::Unknown);
    }

    #[test]
    fn an_answer_broken_off_is_truncated_though_it_failed() {
        let broken = Outcome { truncated: Check::Yes, ..with(Ending::Failed(Cause::Broken)) };
        assert_eq!(reading(&Metric::TruncatedRate, &broken, None), Reading::Is(1.0));
    }

    #[test]
    fn every_request_says_whether_it_was_given_up_before_the_first_byte() {
        let read = |ending| reading(&Metric::CancelBeforeFirstByte, &with(ending), None);
        assert_eq!(read(Ending::Cancelled(CancelPoint::BeforeFirstByte)), Reading::Is(1.0));
        for ending in BLAMELESS.into_iter().chain([Ending::Complete, Ending::Failed(Cause::Server)]) {
            assert_eq!(read(ending), Reading::Is(0.0), "{ending:?}");
        }
    }

    #[test]
    fn tool_calls_are_bad_by_their_share() {
        let called = |calls, bad| Outcome {
            tools_declared: Presence::Present,
            tool_calls: calls,
            tool_calls_bad: bad,
            ..outcome()
        };
        assert_eq!(reading(&Metric::ToolCallValid, &called(4, 1), None), Reading::Is(0.25));
        assert_eq!(reading(&Metric::ToolCallValid, &called(0, 0), None), Reading::NotApplicable);
        assert_eq!(reading(&Metric::ToolCallValid, &outcome(), None), Reading::NotApplicable, "no tools declared");
        let failed = Outcome { ending: Ending::Failed(Cause::Server), ..called(0, 0) };
        assert_eq!(reading(&Metric::ToolCallValid, &failed, None), Reading::Unknown);
    }

    #[test]
    fn a_schema_counts_only_where_one_was_asked_for() {
        let answered = |schema_broken| reading(&Metric::SchemaValid, &Outcome { schema_broken, ..outcome() }, None);
        assert_eq!(answered(Check::NotApplicable), Reading::NotApplicable);
        assert_eq!(answered(Check::Yes), Reading::Is(1.0));
        assert_eq!(schema_asked(&Outcome { schema_broken: Check::Unknown, ..outcome() }), Presence::Present);
    }

    #[test]
    fn detectors_count_where_there_was_something_to_look_at() {
        let found = Detected::all(Check::Yes);
        let read = |metric: &Metric, outcome: &Outcome| reading(metric, outcome, None);
        let asked =
            Outcome { detected: found, tools_declared: Presence::Present, schema_broken: Check::Yes, ..outcome() };
        for metric in [Metric::FencedJson, Metric::RepeatedCall, Metric::Repetition, Metric::LanguageMismatch] {
            assert_eq!(read(&metric, &asked), Reading::Is(1.0), "{metric}");
            let failed = Outcome { ending: Ending::Failed(Cause::Server), ..asked.clone() };
            assert_eq!(read(&metric, &failed), Reading::Unknown, "{metric}");
            assert_eq!(read(&metric, &outcome()), Reading::NotApplicable, "{metric}");
        }
        let plain = Outcome { detected: found, ..outcome() };
        assert_eq!(read(&Metric::FencedJson, &plain), Reading::NotApplicable, "nobody asked for JSON");
        assert_eq!(read(&Metric::RepeatedCall, &plain), Reading::NotApplicable, "no tools");
    }

    #[test]
    fn lengths_are_held_against_stables_own() {
        let said = |chars| Outcome { detected: Detected { chars, ..Detected::NOT_APPLICABLE }, ..outcome() };
        let read = |metric, chars| reading(&metric, &said(chars), Some(100.0));
        assert_eq!(read(Metric::LongAnswer, Some(101)), Reading::Is(1.0));
        assert_eq!(read(Metric::LongAnswer, Some(100)), Reading::Is(0.0));
        assert_eq!(read(Metric::ShortAnswer, Some(99)), Reading::Is(1.0));
        assert_eq!(read(Metric::ShortAnswer, Some(100)), Reading::Is(0.0));
        assert_eq!(read(Metric::ShortAnswer, None), Reading::NotApplicable);
        assert_eq!(reading(&Metric::LongAnswer, &said(Some(9)), None), Reading::Unknown, "no yardstick");
    }

    #[test]
    fn a_cache_that_is_not_told_of_is_not_one_that_missed() {
        let read = |input, cached| {
            let usage = crate::tally::Usage { input, cached, ..crate::tally::Usage::default() };
            reading(&Metric::CacheHit, &Outcome { usage, ..outcome() }, None)
        };
        assert_eq!(read(Some(100), Some(75)), Reading::Is(0.25));
        assert_eq!(read(Some(100), Some(0)), Reading::Is(1.0));
        assert_eq!(read(Some(100), None), Reading::Unknown);
        assert_eq!(read(None, None), Reading::Unknown);
    }

    #[test]
    fn what_went_wrong_is_the_versions_or_the_waiting() {
        assert!(went(&outcome()) == Went::Well);
        assert!(went(&Outcome { refusal: Check::Yes, ..outcome() }) == Went::Wrong);
        for ending in [Ending::Running, Ending::Failed(Cause::Server), Ending::Cancelled(CancelPoint::MidAnswer)] {
            assert_eq!(went(&with(ending)), Went::Wrong, "{ending:?}");
        }
        for ending in [Ending::ClientError, Ending::GatewayError] {
            assert_eq!(went(&with(ending)), Went::Well, "{ending:?}");
        }
    }

    #[test]
    fn the_first_token_is_late_beyond_the_threshold() {
        let read = |ending, ttft_ms, latency_ms| {
            reading(&Metric::TtftP95, &Outcome { ttft_ms, latency_ms, ..with(ending) }, Some(500.0))
        };
        let gave_up = Ending::Cancelled(CancelPoint::BeforeFirstByte);
        assert_eq!(read(Ending::Complete, Some(499.0), 9e3), Reading::Is(0.0));
        assert_eq!(read(Ending::Complete, Some(501.0), 9e3), Reading::Is(1.0));
        assert_eq!(read(Ending::Complete, None, 501.0), Reading::Is(1.0), "no content at all: the end counts");
        assert_eq!(read(Ending::Failed(Cause::Broken), Some(501.0), 9e3), Reading::Is(1.0));
        assert_eq!(read(Ending::Failed(Cause::Deadline), None, 60e3), Reading::Is(1.0));
        assert_eq!(
            read(Ending::Failed(Cause::Server), None, 20.0),
            Reading::Unknown,
            "failed fast: an error, not slow"
        );
        assert_eq!(read(gave_up, None, 501.0), Reading::Is(1.0), "patience lost after the threshold");
        assert_eq!(read(gave_up, None, 300.0), Reading::Unknown);
        assert_eq!(read(Ending::Complete, Some(f64::NAN), f64::NAN), Reading::Unknown);
        assert_eq!(reading(&Metric::TtftP95, &outcome(), None), Reading::Unknown, "no yardstick");
    }

    #[test]
    fn what_still_runs_when_judged_took_too_long() {
        let read =
            |ending, latency_ms| reading(&Metric::LatencyP95, &Outcome { latency_ms, ..with(ending) }, Some(8_000.0));
        assert_eq!(read(Ending::Running, 60e3), Reading::Is(1.0));
        assert_eq!(read(Ending::Complete, 7_999.0), Reading::Is(0.0));
        assert_eq!(read(Ending::Cancelled(CancelPoint::MidAnswer), 8_001.0), Reading::Is(1.0));
        assert_eq!(read(Ending::Cancelled(CancelPoint::MidAnswer), 3_000.0), Reading::Unknown);
        assert_eq!(read(Ending::GatewayError, 9e3), Reading::Unknown);
    }

    #[test]
    fn an_unknown_price_is_never_nothing() {
        let cost = |outcome: &Outcome| amount(&Metric::CostPerSession, outcome);
        assert_eq!(cost(&Outcome { cost_usd: Some(0.02), ..outcome() }), Some(0.02));
        assert_eq!(cost(&Outcome { cost_usd: None, ..outcome() }), None);
        assert_eq!(cost(&Outcome { cost_usd: Some(f64::NAN), ..outcome() }), None);
        assert_eq!(cost(&Outcome { cost_usd: Some(-1.0), ..outcome() }), None);
        let refused = Outcome { cost_usd: None, ttft_ms: None, ..with(Ending::Failed(Cause::Server)) };
        assert_eq!(cost(&refused), Some(0.0), "nothing was delivered and nothing billed");
        let gave_up = Outcome { ending: Ending::Cancelled(CancelPoint::BeforeFirstByte), ..refused };
        assert_eq!(cost(&gave_up), None);
    }
}
