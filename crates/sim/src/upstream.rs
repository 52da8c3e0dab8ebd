//! What a version answers, given the luck of the turn.

use crate::luck::Luck;
use crate::users::Draw;
use crate::world::{Side, Truth, Users, World};
use coalmine_core::tally::{
    AnsweredAs, CancelPoint, Cause, Check, Detected, Ending, Opening, Outcome, Presence, ServedBy, Usage,
};
use coalmine_core::time::SpanMs;
use std::sync::Arc;

const TTFT_SIGMA: f64 = 0.5;
const ANSWER_SIGMA: f64 = 0.6;
const COST_SIGMA: f64 = 0.7;
/// Tokens written for a dollar; only the ratio between the arms matters.
const TOKENS_PER_USD: f64 = 40_000.0;
/// Tokens read by a request.
const READ: u64 = 800;
const CHARS_SIGMA: f64 = 0.6;
/// Ways in which answers usually begin; the first ones are the most frequent.
const OPENINGS: usize = 400;

/// An answer and how long it takes.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) takes: SpanMs,
    /// Whether a user would call the turn bad.
    pub(crate) bad: bool,
    /// How good a judge who never errs would find it, 0..=1; below one half it is poor.
    pub(crate) goodness: f64,
    /// Tells it from any other.
    id: u64,
}

impl Answer {
    /// Whether a user is worse off with it than with what stable would have answered, noticed or not.
    pub(crate) fn is_worse_than(&self, stable: &Self) -> bool {
        let is = |check: Check| check == Check::Yes;
        let (own, beside) = (&self.outcome, &stable.outcome);
        let checks = [
            (own.schema_broken, beside.schema_broken),
            (own.detected.fenced_json, beside.detected.fenced_json),
            (own.detected.repeated_call, beside.detected.repeated_call),
            (own.detected.repetition, beside.detected.repetition),
            (own.detected.other_language, beside.detected.other_language),
        ];
        (self.bad && !stable.bad)
            || (!self.bad && self.goodness < 0.5 && stable.goodness >= 0.5)
            || checks.into_iter().any(|(own, beside)| is(own) && !is(beside))
    }

    /// What a judge is shown of it: a simulated judge reads how good it is.
    pub(crate) fn text(&self) -> String {
        crate::judges::text(self.id, self.goodness)
    }
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
    /// How answers usually begin, and at the end how those of stable and of the canary begin that have words of their own.
    openings: Vec<Opening>,
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
        let usual = (0..OPENINGS).map(|nth| format!("usual opening {nth}"));
        let own = ["stable", "canary"].map(|side| format!("an opening of the {side} alone"));
        let named = usual.chain(own).zip(0_u64..);
        let openings =
            named.map(|(words, key)| Opening { key: key.wrapping_mul(0x9E37_79B9_7F4A_7C15), words: words.into() });
        Self { world, seed, served: [0; 2], models, openings: openings.collect() }
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
                truth.cached = truth.cached.map(|_| 0.0);
            }
        }
        truth
    }

    /// A version's answer.
    pub(crate) fn answer(&self, on: Side, asking: &Asking<'_>) -> Answer {
        let truth = self.truth(on, asking);
        let mut answer = answer(&truth, asking.draw, &self.world.users, asking.deadline);
        let swapped = |swap: &&SpanMs| asking.age.is_some_and(|age| age >= **swap);
        let nth = self.world.swaps.iter().filter(swapped).count();
        if answer.outcome.ttft_ms.is_some() {
            answer.outcome.answered_as.model = self.models.get(nth).cloned();
            answer.outcome.opening = self.opening(on, &truth, asking.draw);
        }
        answer
    }

    /// How an answer begins: the n-th of the usual ways in about 1/n of the answers.
    fn opening(&self, on: Side, truth: &Truth, draw: &Draw) -> Option<Opening> {
        let usual = (OPENINGS as f64).powf(draw.fine.opening) as usize;
        let own = OPENINGS + usize::from(on == Side::Canary);
        let nth = if draw.fine.new_opening < truth.new_opening { own } else { usual.min(OPENINGS) - 1 };
        self.openings.get(nth).cloned()
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
    let (empty, truncated) = (draw.fine.empty < truth.empty, draw.fine.truncated < truth.truncated);
    let bad = refused || bad_call || empty || truncated;
    let stopped = bad && draw.stop < truth.stop;
    let latency_ms = if stopped { f64::midpoint(ttft_ms, latency_ms) } else { latency_ms };
    // What was not said to the end cannot be judged.
    let said = |is| if stopped { Check::Unknown } else { yes_no(is) };
    let schema_asked = draw.fine.schema_asked < users.schemas;
    let of_schema = |is| if schema_asked { said(is) } else { Check::NotApplicable };
    let outcome = Outcome {
        ending: if stopped { Ending::Cancelled(CancelPoint::MidAnswer) } else { Ending::Complete },
        status: 200,
        ttft_ms: Some(ttft_ms),
        latency_ms,
        gap_max_ms: Some(ttft_ms / 4.0),
        usage: Usage {
            input: Some(READ),
            output: Some((cost_usd * TOKENS_PER_USD) as u64),
            cached: truth.cached.map(|share| if draw.fine.cached < share { READ } else { 0 }),
            reasoning: None,
        },
        cost_usd: Some(cost_usd),
        refusal: said(refused),
        empty: yes_no(empty),
        truncated: said(truncated),
        tools_declared,
        tool_calls: if stopped { 0 } else { u32::from(has_tools) },
        tool_calls_bad: if stopped { 0 } else { u32::from(bad_call) },
        schema_broken: of_schema(draw.fine.schema_bad < truth.schema_bad),
        detected: Detected {
            fenced_json: of_schema(draw.fine.fenced < truth.fenced),
            repeated_call: if has_tools {
                said(draw.fine.repeated_call < truth.repeated_call)
            } else {
                Check::NotApplicable
            },
            repetition: if schema_asked { Check::NotApplicable } else { said(draw.fine.repetition < truth.repetition) },
            other_language: said(draw.fine.other_language < truth.other_language),
            chars: (!has_tools).then(|| (truth.chars * (CHARS_SIGMA * draw.fine.chars).exp()) as u64),
        },
        opening: None,
        served_by: ServedBy::Assigned,
        answered_as: AnsweredAs::default(),
        retries: 0,
    };
    let shade = if draw.fine.grade < 0.5 { 0.0 } else { 0.25 };
    let goodness = if draw.fine.good < truth.good { 1.0 - shade } else { shade };
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad, goodness, id: draw.fine.id }
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
    Answer { outcome, takes: SpanMs(latency_ms as u64), bad: true, goodness: 0.0, id: 0 }
}

fn yes_no(is: bool) -> Check {
    if is { Check::Yes } else { Check::No }
}
