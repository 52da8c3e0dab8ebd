//! What a version answers, given the luck of the turn.

use crate::users::Draw;
use crate::world::{Truth, Users};
use coalmine_core::tally::{Cause, Check, Ending, Outcome, Presence, ServedBy, Usage};
use coalmine_core::time::SpanMs;

const TTFT_SIGMA: f64 = 0.5;
const ANSWER_SIGMA: f64 = 0.6;
const COST_SIGMA: f64 = 0.7;
/// Tokens written for a dollar; only the ratio between the arms matters.
const TOKENS_PER_USD: f64 = 40_000.0;

/// An answer and how long it takes.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) takes: SpanMs,
    /// Whether a user would call the turn bad.
    pub(crate) bad: bool,
}

/// The answer of a version to a turn of this luck; a request without content by `deadline` has failed.
pub(crate) fn answer(truth: &Truth, draw: &Draw, users: &Users, deadline: SpanMs) -> Answer {
    let has_tools = draw.has_tools < users.tools;
    let tools_declared = if has_tools { Presence::Present } else { Presence::Absent };
    let ttft_ms = truth.ttft_ms * (TTFT_SIGMA * draw.ttft).exp();
    let latency_ms = ttft_ms + truth.answer_ms * (ANSWER_SIGMA * draw.answer).exp();
    let cost_usd = truth.cost_usd * (COST_SIGMA * draw.cost).exp();
    let deadline_ms = deadline.0 as f64;
    if draw.hang < truth.hang || ttft_ms >= deadline_ms {
        return failed(Cause::Deadline, tools_declared, deadline_ms);
    }
    if draw.error < truth.error {
        return failed(Cause::Server, tools_declared, ttft_ms);
    }
    let refused = draw.refusal < truth.refusal;
    let bad_call = has_tools && draw.tool_bad < truth.tool_bad;
    let outcome = Outcome {
        ending: Ending::Complete,
        status: 200,
        ttft_ms: Some(ttft_ms),
        latency_ms,
        gap_max_ms: Some(ttft_ms / 4.0),
        usage: Usage {
            input: Some(800),
            output: Some((cost_usd * TOKENS_PER_USD) as u64),
            cached: None,
            reasoning: None,
        },
        cost_usd: Some(cost_usd),
        refusal: yes_no(refused),
        empty: Check::No,
        truncated: Check::No,
        tools_declared,
        tool_calls: u32::from(has_tools),
        tool_calls_bad: u32::from(bad_call),
        schema_broken: Check::NotApplicable,
        served_by: ServedBy::Assigned,
        retries: 0,
    };
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad: refused || bad_call }
}

fn failed(cause: Cause, tools_declared: Presence, latency_ms: f64) -> Answer {
    let outcome = Outcome {
        ending: Ending::Failed(cause),
        status: if cause == Cause::Server { 500 } else { 0 },
        ttft_ms: None,
        latency_ms,
        gap_max_ms: None,
        usage: Usage::default(),
        cost_usd: None,
        refusal: Check::Unknown,
        empty: Check::Unknown,
        truncated: Check::Unknown,
        tools_declared,
        tool_calls: 0,
        tool_calls_bad: 0,
        schema_broken: Check::NotApplicable,
        served_by: ServedBy::Assigned,
        retries: 0,
    };
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad: true }
}

fn yes_no(is: bool) -> Check {
    if is { Check::Yes } else { Check::No }
}
