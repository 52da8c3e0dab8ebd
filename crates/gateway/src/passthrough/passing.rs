//! One request that is passed through, until its answer's body is over: it counts as active, and what it used is
//! charged where its answer says it.

use crate::admission::Holder;
use crate::admission::permit::Permit;
use crate::gateway::Gateway;
use crate::phase::observe::spent::{asked_only, by_length, used};
use crate::phase::observe::{Counted, Ended, tokens};
use crate::telemetry::finished::Passed;
use crate::telemetry::trace::Trace;
use crate::upstream::source::Source;
use crate::upstream::under_way::UnderWay;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::Usage;
use coalmine_core::time::UnixMs;
use coalmine_wire::openai::{Ending, Observer, Progress, Seen};
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

/// Settled and told of when it is dropped.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) permit: Option<Permit>,
    pub(crate) method: Method,
    pub(crate) provider: ProviderName,
    pub(crate) holder: Arc<Holder>,
    pub(crate) client: IpAddr,
    pub(crate) trace: Option<Trace>,
    pub(crate) started_at: UnixMs,
    /// Whether somebody else tells of it: the gateway's own answer.
    pub(crate) refused: bool,
    /// 0 until somebody answers.
    pub(crate) status: u16,
    /// The model that was asked for, where that is a turn: it has a price, and an answer of a known form.
    pub(crate) model: Option<String>,
    pub(crate) reader: Option<Box<Observer>>,
    /// What it has read, once that is all.
    pub(crate) seen: Option<Box<Seen>>,
    /// Whether any content has come.
    pub(crate) begun: bool,
    /// Who hears whether its body came to its end.
    pub(crate) source: Option<Source>,
    /// Who works on it, until its answer is over.
    pub(crate) under_way: UnderWay,
    /// Tokens that its request is taken for, where nobody counts them.
    pub(crate) asked: u64,
}

impl Passing {
    /// The next piece of the answer, and what it brought as far as anybody reads it.
    pub(crate) fn see(&mut self, piece: &[u8]) -> Progress {
        let progress = self.reader.as_mut().map_or(Progress::Content, |reader| reader.feed(piece));
        self.begun |= progress == Progress::Content;
        progress
    }

    /// Whether something is done of which no word may come for long: by what the answer says, or before it says anything.
    pub(crate) fn works_unseen(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.works_unseen() || !self.begun)
    }

    /// Its body broke, or stalled.
    pub(crate) fn cut_short(&mut self) {
        self.under_way.clear();
        if let Some(source) = self.source.take() {
            source.cut_short();
        }
    }

    /// Its body came to its end. Whether the answer did, as far as anybody reads it.
    pub(crate) fn body_ended(&mut self) -> Ended {
        self.under_way.clear();
        let seen = self.reader.take().map(|reader| Box::new(reader.finish()));
        let cut = |seen: &Seen| seen.ending == Ending::Truncated && !seen.done && seen.overflowed_events == 0;
        let ended = if seen.as_deref().is_some_and(cut) { Ended::CutShort } else { Ended::InTime };
        self.seen = seen;
        match (self.source.take(), ended) {
            (Some(source), Ended::InTime) => source.came_whole(),
            (Some(source), Ended::CutShort) => source.cut_short(),
            (None, Ended::InTime | Ended::CutShort) => {}
        }
        ended
    }

    /// Whether its answer has ended by its own word: nobody misses what would come behind it.
    pub(crate) fn is_done(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.is_done())
    }

    /// What the next event of its answer would be numbered, as far as anybody reads it.
    pub(crate) fn next_number(&self) -> u64 {
        self.reader.as_ref().map_or(0, |reader| reader.next_number())
    }

    /// How much the caller has left, where that is bounded.
    pub(crate) fn tell_quota(&self, headers: &mut HeaderMap) {
        if let Some(permit) = &self.permit {
            permit.tell(headers, || self.gateway.clock.now());
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let now = self.gateway.clock.now();
        let reader = self.reader.take();
        let seen = self.seen.take().or_else(|| reader.map(|reader| Box::new(reader.finish())));
        // its client left where somebody works on it still
        let left = self.under_way.count() > 0 && self.model.is_some();
        let asked = |seen: &Seen| {
            let cut = seen.ending == Ending::Truncated || left && seen.usage.is_none();
            Some(by_length(self.asked)).filter(|_| cut && (self.begun || left))
        };
        let used = match seen {
            Some(seen) => used(&seen, asked(&seen)),
            None => left.then(|| asked_only(by_length(self.asked), 1)),
        };
        let usage = used.map(|used| used.usage);
        if let (Some(permit), Some(usage)) = (&mut self.permit, &usage) {
            let tokens = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
            let price = self.model.as_ref().and_then(|model| self.gateway.config.prices.cost_usd(model, usage));
            permit.settle(Some(tokens), price, now);
        }
        self.gateway.metrics.active.down();
        if self.refused {
            return;
        }
        self.gateway.telemetry.note_passed(|| Passed {
            started_at: self.started_at,
            ended_at: now,
            method: self.method.clone(),
            provider: self.provider.clone(),
            holder: self.holder.clone(),
            client: self.client,
            trace: self.trace,
            status: self.status,
            usage: usage.as_ref().map_or_else(Usage::default, tokens),
            counted: used.map_or(Counted::Told, |used| used.counted),
        });
    }
}
