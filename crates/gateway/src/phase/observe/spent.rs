//! What an answer used, and who pays for it: as its provider told it, or, of one that broke off before it did, what was asked and
//! what came of the answer, by the bytes of both.

use super::{Exchange, Watch};
use crate::phase::hedge::Hedged;
use crate::table::Prepared;
use coalmine_core::tally::ServedBy;
use coalmine_core::time::UnixMs;
use coalmine_wire::openai::Seen;
use coalmine_wire::prices::Price;
use coalmine_wire::realtime::Reckoned;
use coalmine_wire::usage::{BYTES_PER_TOKEN, Media, Usage};

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The provider told it.
    Told,
    /// Nobody: some of it was reckoned from bytes.
    Estimated,
}

/// Tokens, and who counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) usage: Usage,
    pub(crate) counted: Counted,
}

/// What an answer used. Where content had come of one that ended before its time, `asked` is what its request is taken for: its
/// provider has read that, whether it said so or not, and has written no less than what came.
pub(crate) fn used(seen: &Seen, asked: Option<Reckoned>) -> Option<Used> {
    let told = |usage| Used { usage, counted: Counted::Told };
    let Some(asked) = asked else { return seen.usage.map(told) };
    let before = seen.usage.unwrap_or_default();
    let came = (seen.said_bytes / BYTES_PER_TOKEN).saturating_add(seen.sound_tokens);
    let (read, written) = (before.input_media, before.output_media);
    let heard = if before.input_tokens.is_some() { read.audio_tokens } else { asked.sound_tokens };
    let usage = Usage {
        input_tokens: Some(before.input_tokens.unwrap_or(asked.tokens)),
        output_tokens: Some(before.output_tokens.unwrap_or(0).max(came)),
        input_media: Media { audio_tokens: heard, ..read },
        output_media: Media { audio_tokens: written.audio_tokens.max(seen.sound_tokens), ..written },
        ..before
    };
    Some(if usage == before { told(usage) } else { Used { usage, counted: Counted::Estimated } })
}

/// What a request is taken for of which nothing but its length is known.
pub(crate) fn by_length(tokens: u64) -> Reckoned {
    Reckoned { tokens, sound_tokens: 0 }
}

/// What a request used of which nothing was heard: `asked` of each of `many`, and nobody will tell what else.
pub(crate) fn asked_only(asked: Reckoned, many: u64) -> Used {
    let [tokens, sound] = [asked.tokens, asked.sound_tokens].map(|tokens| tokens.saturating_mul(many));
    let input_media = Media { audio_tokens: sound, ..Media::default() };
    let usage = Usage { input_tokens: Some(tokens), output_tokens: Some(0), input_media, ..Usage::default() };
    Used { usage, counted: Counted::Estimated }
}

impl Exchange {
    /// What was asked of everybody who works on a request whose client leaves before anything of an answer is read.
    pub(super) fn unheard(&self) -> Option<Used> {
        let many = self.under_way.count();
        (many > 0 && self.asked.tokens > 0 && matches!(self.watch, Watch::Nobody)).then(|| asked_only(self.asked, many))
    }

    /// A turn of a realtime session sets out, whose event does not hold what it reads.
    pub(crate) fn reads(&mut self, asked: Reckoned) {
        self.asked = asked;
        self.under_way.went_out();
    }

    /// Whether whoever is asked answers for the version: it is the version itself, or its fallback.
    pub(super) fn is_own(&self) -> bool {
        let own = |id| self.answering == id;
        own(self.prepared.id) || self.prepared.fallbacks.iter().any(|fallback| own(fallback.id))
    }

    /// Whoever answered, what was used is charged to the payers of the request.
    pub(super) fn charge(&mut self, usage: Option<&Usage>, price: Option<f64>, now: UnixMs) {
        let in_vain = usage.and_then(|usage| self.read_in_vain(usage)).and_then(|read| read.input_tokens).unwrap_or(0);
        if let Some(permit) = &mut self.permit {
            permit.note_answered();
        }
        let Some(usage) = usage else { return };
        let tokens = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
        let tokens = tokens.saturating_add(in_vain);
        if let Some(line) = &self.line {
            line.charge(tokens, price, now);
        }
        if let Some(permit) = &mut self.permit {
            permit.settle(Some(tokens), price, now);
        }
    }

    /// What an address used that was sent away for another: it had read the same, and what it wrote nobody knows.
    fn read_in_vain(&self, usage: &Usage) -> Option<Usage> {
        let read = Usage { output_tokens: Some(0), reasoning_tokens: None, ..*usage };
        (self.hedge == Hedged::Cancelled).then_some(read)
    }

    /// The turn costs so much more, which its payers were charged already; `None`: nobody knows.
    pub(crate) fn costs_beside(&mut self, more_usd: Option<f64>) {
        self.beside_usd = self.beside_usd.zip(more_usd).map(|(before, more)| before + more);
    }

    /// What an answer costs: payers pay what holds now, a release compares by what held when it was created, and by what the turn costs beside.
    pub(super) fn prices(&self, usage: &Usage) -> (Option<f64>, Option<f64>) {
        let Some(by) = self.answered_by() else { return (None, None) };
        let of_now = self.cost_usd(usage, by.price);
        let of_release = self.cost_usd(usage, self.route.price(&by.version.model, by.price));
        (of_now, of_release.zip(self.beside_usd).map(|(answer, beside)| answer + beside))
    }

    /// Whoever gave the answer.
    fn answered_by(&self) -> Option<&Prepared> {
        let fallback = || self.prepared.fallbacks.iter().find(|fallback| fallback.id == self.answering);
        let stable = || self.route.prepared(self.route.table.stable);
        let by = match self.flight.served_by() {
            // whoever was asked when its client left
            ServedBy::Assigned if self.answering != self.prepared.id => fallback().or_else(stable),
            ServedBy::Assigned => Some(&self.prepared),
            ServedBy::Rescue => stable(),
            ServedBy::Fallback => fallback(),
        };
        by.map(|by| &**by)
    }

    /// What an answer costs, by that price.
    fn cost_usd(&self, usage: &Usage, price: Option<Price>) -> Option<f64> {
        let price = price?;
        Some(price.cost_usd(usage)? + self.read_in_vain(usage).and_then(|usage| price.cost_usd(&usage)).unwrap_or(0.0))
    }
}
