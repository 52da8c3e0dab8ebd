//! What lets a request through: taken before anybody is asked, settled when it is over.

use super::Holder;
use super::meter::{Bound, Meter};
use crate::answer::Refusal;
use coalmine_core::key::{Day, Payer, Quota, Usd, Used};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::usage::BYTES_PER_TOKEN;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// Of a rate of tokens, one request holds no more than this part while it runs.
const HELD_PART: u64 = 8;

/// One request's leave. Dropped, it is settled as one whose tokens nobody told.
#[derive(Debug)]
pub(crate) struct Permit {
    holder: Arc<Holder>,
    dialect: Dialect,
    held: u64,
    taken_at: UnixMs,
    answered: Answered,
    settled: bool,
}

impl Permit {
    /// Takes leave of every payer of the holder, or of none.
    pub(crate) fn take(
        holder: &Arc<Holder>,
        dialect: Dialect,
        body_bytes: u64,
        now: UnixMs,
    ) -> Result<Self, (Bound, Refusal)> {
        let held = held(&holder.meters, body_bytes);
        for (index, meter) in holder.meters.iter().enumerate() {
            if let Err((bound, wait_ms)) = meter.take(held, now) {
                for taken in &holder.meters[..index] {
                    taken.put_back(held);
                }
                return Err((bound, refusal(meter, bound, wait_ms, dialect, now)));
            }
        }
        Ok(Self { holder: holder.clone(), dialect, held, taken_at: now, answered: Answered::No, settled: false })
    }

    /// Somebody answered: without tokens told, what was held for the request stands.
    pub(crate) fn note_answered(&mut self) {
        self.answered = Answered::Yes;
    }

    /// The request is over, and this is what it used, as far as that was told.
    pub(crate) fn settle(&mut self, tokens: Option<u64>, cost_usd: Option<f64>, now: UnixMs) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let tokens = match (tokens, self.answered) {
            (Some(tokens), _) => tokens,
            (None, Answered::Yes) => self.held,
            (None, Answered::No) => 0,
        };
        let used = Used { requests: 1, tokens, cost: cost_usd.map_or(Usd(0), Usd::from_dollars) };
        for meter in &self.holder.meters {
            meter.settle(self.held, used, now);
        }
    }

    /// One more turn of what was let through at once (a websocket) used this.
    pub(crate) fn charge(&self, tokens: u64, cost_usd: Option<f64>, now: UnixMs) {
        self.pay(Used { requests: 1, tokens, cost: cost_usd.map_or(Usd(0), Usd::from_dollars) }, now);
    }

    /// The same for what is no request.
    pub(crate) fn charge_beside(&self, tokens: u64, cost_usd: Option<f64>, now: UnixMs) {
        self.pay(Used { requests: 0, tokens, cost: cost_usd.map_or(Usd(0), Usd::from_dollars) }, now);
    }

    fn pay(&self, used: Used, now: UnixMs) {
        for meter in &self.holder.meters {
            meter.pay(used, now);
        }
    }

    /// Whether one more turn of it may begin: rates and money, for its place among the others it has already.
    pub(crate) fn more(&self, now: UnixMs) -> Result<(), (Bound, String)> {
        for meter in &self.holder.meters {
            if let Err((bound, wait_ms)) = meter.more(now) {
                return Err((bound, told(meter, bound, wait_ms).1));
            }
        }
        Ok(())
    }

    /// Says in headers how much is left, where anything is bounded; in place of what the provider says of
    /// the gateway's own account with it.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, now: impl Fn() -> UnixMs) {
        let is_told = |quota: &Quota| quota.requests_per_minute.is_some() || quota.tokens_per_minute.is_some();
        for meter in self.holder.meters.iter().filter(|meter| is_told(&meter.quota)) {
            tell(meter, self.dialect, headers, now());
        }
    }
}

/// Whether anybody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Yes,
    No,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let taken_at = self.taken_at;
        self.settle(None, None, taken_at);
    }
}

/// The same for every payer, so that it can be given back to each.
fn held(meters: &[Meter], body_bytes: u64) -> u64 {
    let limits = meters.iter().filter_map(|meter| meter.quota.tokens_per_minute);
    let most = limits.map(|limit| limit / HELD_PART).min().unwrap_or(0);
    (body_bytes / BYTES_PER_TOKEN).min(most)
}

/// What a broken bound is called, and told as.
fn told(meter: &Meter, bound: Bound, wait_ms: u64) -> (Problem, String) {
    let quota = &meter.quota;
    let count = |limit: Option<u64>| limit.unwrap_or_default();
    let money = |limit: Option<Usd>| limit.unwrap_or_default();
    let (problem, what) = match bound {
        Bound::Requests => (Problem::RateLimited, format!("{} requests a minute", count(quota.requests_per_minute))),
        Bound::Tokens => (Problem::RateLimited, format!("{} tokens a minute", count(quota.tokens_per_minute))),
        Bound::Concurrent => (Problem::RateLimited, format!("{} requests at a time", count(quota.concurrent))),
        Bound::PerDay => (Problem::QuotaSpent, format!("{} a day", money(quota.per_day))),
        Bound::PerMonth => (Problem::QuotaSpent, format!("{} a month", money(quota.per_month))),
    };
    let whose = match &meter.payer {
        Payer::Key(name) => format!("key '{name}'"),
        Payer::Customer(name) => format!("customer '{name}'"),
        Payer::Tenant => "this gateway".to_owned(),
    };
    let again = SpanMs(wait_ms).rounded();
    (problem, format!("the quota of {whose}, {what}, is used up; try again in {again}"))
}

fn refusal(meter: &Meter, bound: Bound, wait_ms: u64, dialect: Dialect, now: UnixMs) -> Refusal {
    let (problem, message) = told(meter, bound, wait_ms);
    let seconds = u32::try_from(wait_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
    let mut refusal = Refusal::new(problem, message).retry_after(seconds);
    tell(meter, dialect, refusal.headers(), now);
    if problem == Problem::QuotaSpent {
        // the SDKs of both dialects would repeat any other 429 at once
        refusal.headers().insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    refusal
}

/// One payer's bounds, over those told before: they are told from the widest payer to the key.
fn tell(meter: &Meter, dialect: Dialect, headers: &mut HeaderMap, now: UnixMs) {
    let (quota, readings) = (&meter.quota, &meter.readings);
    if let Some(limit) = quota.requests_per_minute {
        let level = readings.requests.level(limit, now);
        put("requests", dialect, [limit, level.left], level.full_in_ms, headers, now);
    }
    if let Some(limit) = quota.tokens_per_minute {
        let level = readings.tokens.level(limit, now);
        put("tokens", dialect, [limit, level.left], level.full_in_ms, headers, now);
    }
}

/// `x-ratelimit-remaining-requests` as OpenAI has it, `anthropic-ratelimit-requests-remaining` as Anthropic.
fn put(of: &str, dialect: Dialect, counts: [u64; 2], full_in_ms: u64, headers: &mut HeaderMap, now: UnixMs) {
    let name = |part: &str| match dialect.family() {
        Family::OpenAi => format!("x-ratelimit-{part}-{of}"),
        Family::Anthropic => format!("anthropic-ratelimit-{of}-{part}"),
    };
    let reset = match dialect.family() {
        Family::OpenAi => span(full_in_ms),
        Family::Anthropic => instant(now + SpanMs(full_in_ms)),
    };
    let told = [("limit", counts[0].to_string()), ("remaining", counts[1].to_string()), ("reset", reset)];
    for (part, text) in told {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name(part)), HeaderValue::try_from(text)) {
            headers.insert(name, value);
        }
    }
}

/// `250ms`, `1.5s`, `1m30s`, as OpenAI writes a span.
fn span(ms: u64) -> String {
    match (ms / 60_000, ms % 60_000) {
        (0, ms) if ms < 1_000 => format!("{ms}ms"),
        (0, ms) => format!("{}s", ms as f64 / 1e3),
        (minutes, ms) => format!("{minutes}m{}s", ms.div_ceil(1_000)),
    }
}

/// `2026-11-24T09:15:00Z` (RFC 3339).
fn instant(at: UnixMs) -> String {
    let day = Day::of(at);
    let secs = at.since(day.begins_at()).0.div_ceil(1_000).min(86_399);
    format!("{day}T{:02}:{:02}:{:02}Z", secs / 3_600, secs / 60 % 60, secs % 60)
}
