//! What a version answers, given the luck of the turn.

use crate::luck::Luck;
use crate::users::Draw;
use crate::world::{Side, Truth, Users, World};
use coalmine_core::tally::{
    AnsweredAs, CancelPoint, Cause, Check, Detected, Ending, Outcome, Presence, ServedBy, Usage,
};
use coalmine_core::time::SpanMs;
use std::sync::Arc;

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

/// The versions as they answer.
#[derive(Debug)]
pub(crate) struct Upstream<'a> {
    world: &'a World,
    seed: u64,
    /// Requests that each version has served, stable first: what warms a cache.
    served: [u64; 2],
    /// The provider's own names for what answers, before the first swap, before the second, …
    models: Vec<Arc<str>>,
}

/// One turn, as far as an answer depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// Since the start of the release; `None` before it.
    pub(crate) age: Option<SpanMs>,
    pub(crate) draw: &'a Draw,
    pub(crate) crowd: Option<usize>,
    pub(crate) is_first: bool,
    /// A request without content by then has failed.
    pub(crate) deadline: SpanMs,
}

impl<'a> Upstream<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Self {
        let models = (1..=world.swaps.len() + 1).map(|nth| format!("snapshot-{nth}").into()).collect();
        Self { world, seed, served: [0; 2], models }
    }

    /// What is true for this turn.
    pub(crate) fn truth(&self, on: Side, asking: &Asking<'_>) -> Truth {
        let mut truth = self.world.truth(on, asking.age);
        if let Some(crowd) = asking.crowd.and_then(|index| self.world.users.crowds.get(index)) {
            crowd.facts.iter().for_each(|(part, value)| truth.set(*part, *value));
        }
        if let Some(first) = truth.first_refusal.filter(|_| asking.is_first) {
            truth.refusal = first;
        }
        if let Some(age) = asking.age.filter(|_| self.world.noise > 0.0) {
            let factor = self.noise(on, age);
            for rate in [&mut truth.error, &mut truth.refusal, &mut truth.tool_bad] {
                *rate = (*rate * factor).min(1.0);
            }
        }
        if let Some(cache) = self.world.cache {
            let cold = (-(self.served[usize::from(on == Side::Canary)] as f64) / cache.warms.max(1.0)).exp();
            if asking.draw.miss < cold {
                truth.ttft_ms *= cache.slower;
                truth.cost_usd *= cache.dearer;
            }
        }
        truth
    }

    /// A version's answer.
    pub(crate) fn answer(&self, on: Side, asking: &Asking<'_>) -> Answer {
        let mut answer = answer(&self.truth(on, asking), asking.draw, &self.world.users, asking.deadline);
        let swapped = |swap: &&SpanMs| asking.age.is_some_and(|age| age >= **swap);
        let nth = self.world.swaps.iter().filter(swapped).count();
        if answer.outcome.ttft_ms.is_some() {
            answer.outcome.answered_as.model = self.models.get(nth).cloned();
        }
        answer
    }

    /// A version has served one more.
    pub(crate) fn serve(&mut self, on: Side) {
        self.served[usize::from(on == Side::Canary)] += 1;
    }

    /// What an arm's rates are multiplied by in this minute: log-normal with a mean of 1.
    fn noise(&self, on: Side, age: SpanMs) -> f64 {
        let minute = age.0 / 60_000;
        let arm = if on == Side::Canary { 1 } else { 0 };
        let sd = self.world.noise;
        (sd * Luck::part(self.seed ^ 0x006e_6f69_7365, 2 * minute + arm).normal() - sd * sd / 2.0).exp()
    }
}

/// The answer of a version to a turn of this luck.
fn answer(truth: &Truth, draw: &Draw, users: &Users, deadline: SpanMs) -> Answer {
    let has_tools = draw.has_tools < users.tools;
    let tools_declared = if has_tools { Presence::Present } else { Presence::Absent };
    let ttft_ms = truth.ttft_ms * (TTFT_SIGMA * draw.ttft).exp();
    let latency_ms = ttft_ms + truth.answer_ms * (ANSWER_SIGMA * draw.answer).exp();
    let cost_usd = truth.cost_usd * (COST_SIGMA * draw.cost).exp();
    let deadline_ms = deadline.0 as f64;
    let hangs = draw.hang < truth.hang || ttft_ms >= deadline_ms;
    let silent_ms = if hangs { deadline_ms } else { ttft_ms };
    if let Some(patience_ms) = users.patience_ms.filter(|patience_ms| *patience_ms < silent_ms) {
        return without_content(Ending::Cancelled(CancelPoint::BeforeFirstByte), tools_declared, patience_ms);
    }
    if hangs {
        return without_content(Ending::Failed(Cause::Deadline), tools_declared, deadline_ms);
    }
    if draw.error < truth.error {
        return without_content(Ending::Failed(Cause::Server), tools_declared, ttft_ms);
    }
    let refused = draw.refusal < truth.refusal;
    let bad_call = has_tools && draw.tool_bad < truth.tool_bad;
    let bad = refused || bad_call;
    let stopped = bad && draw.stop < truth.stop;
    let latency_ms = if stopped { f64::midpoint(ttft_ms, latency_ms) } else { latency_ms };
    let outcome = Outcome {
        ending: if stopped { Ending::Cancelled(CancelPoint::MidAnswer) } else { Ending::Complete },
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
        // What was not said to the end cannot be judged.
        refusal: if stopped { Check::Unknown } else { yes_no(refused) },
        empty: Check::No,
        truncated: if stopped { Check::Unknown } else { Check::No },
        tools_declared,
        tool_calls: if stopped { 0 } else { u32::from(has_tools) },
        tool_calls_bad: if stopped { 0 } else { u32::from(bad_call) },
        schema_broken: Check::NotApplicable,
        detected: Detected::NOT_APPLICABLE,
        opening: None,
        served_by: ServedBy::Assigned,
        answered_as: AnsweredAs::default(),
        retries: 0,
    };
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad }
}

fn without_content(ending: Ending, tools_declared: Presence, latency_ms: f64) -> Answer {
    let outcome = Outcome {
        ending,
        status: if ending == Ending::Failed(Cause::Server) { 500 } else { 0 },
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
        detected: Detected::NOT_APPLICABLE,
        opening: None,
        served_by: ServedBy::Assigned,
        answered_as: AnsweredAs::default(),
        retries: 0,
    };
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad: true }
}

fn yes_no(is: bool) -> Check {
    if is { Check::Yes } else { Check::No }
}
