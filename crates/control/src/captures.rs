//! Captured answers: off unless a route says otherwise. Sampled ones wait in bounded memory, lose what names people and
//! opens doors, are sealed, and only then go to the store, which never has a key.
//!
//! | module | what it holds |
//! |---|---|
//! | here | what waits, its way into the store, and what is counted of it |
//! | [`redact`] | what is taken out of a text |
//! | [`text`] | what is sealed, and what comes out again |
//! | [`seal`] | the keys |
//! | [`read`] | who may read, and the record of who did |
//! | [`pairs`] | answers of both arms to like prompts |
//!
//! All of it has a pace of its own beside the loop: no decision and no request waits for it, and a store or a webhook
//! that is away costs captures, which are counted, and nothing else.

pub mod pairs;
pub mod read;
pub mod redact;
pub mod seal;
pub mod text;

use crate::control::Control;
use crate::error::chain;
use crate::judges::labels::item_of;
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureRule, is_drawn};
use coalmine_core::id::{Actor, RouteName};
use coalmine_core::judge::Sample;
use coalmine_core::traffic::pin::Arm;
use coalmine_store::{CaptureCut, CaptureRow};
use redact::Redactor;
use seal::{KeyRing, SealError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use text::{Raw, Text};

/// Answers that wait.
const WAITING_MAX: usize = 500;
/// Bytes of their texts.
const WAITING_MAX_BYTES: usize = 32 << 20;
/// So many go to the store in one go.
const AT_ONCE: usize = 16;
/// The webhook's time.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(10);

/// What is captured at this site, and how.
#[derive(Debug, Clone)]
pub struct CaptureSettings {
    /// By route; of others nothing is captured.
    pub rules: BTreeMap<RouteName, CaptureRule>,
    /// What seals and opens.
    pub keys: KeyRing,
    /// What is taken out.
    pub redactor: Redactor,
    /// A webhook that takes out more, by its name among the assessors.
    pub webhook: Option<String>,
    /// Who may read.
    pub readers: BTreeSet<Actor>,
}

/// What became of sampled answers since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureCounts {
    /// Kept.
    pub kept: u64,
    /// Lost, for too many waited.
    pub full: u64,
    /// Lost, for the webhook that redacts gave no text back.
    pub not_redacted: u64,
    /// Lost, for the store did not take them.
    pub not_stored: u64,
    /// Given up for newer ones.
    pub evicted: u64,
    /// Deleted at the end of their time.
    pub expired: u64,
}

impl CaptureCounts {
    /// Sampled, and never kept.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.full + self.not_redacted + self.not_stored
    }
}

/// What waits to be captured.
#[derive(Debug, Default)]
pub(crate) struct Rack {
    waiting: VecDeque<Sample>,
    bytes: usize,
    pub(crate) counts: CaptureCounts,
}

/// What a webhook is sent, and what it sends back.
#[derive(Serialize, Deserialize)]
struct Texts {
    texts: Vec<String>,
}

/// A sample with what is known of it beside its text.
struct Found {
    head: CaptureHead,
    rule: CaptureRule,
    text: Text,
}

impl Rack {
    fn wait(&mut self, sample: Sample) {
        let bytes = sample.bytes();
        if self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_MAX_BYTES {
            self.counts.full += 1;
            return;
        }
        self.bytes += bytes;
        self.waiting.push_back(sample);
    }

    fn take(&mut self, most: usize) -> Vec<Sample> {
        let taken: Vec<Sample> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.bytes -= taken.iter().map(Sample::bytes).sum::<usize>();
        taken
    }
}

impl Control {
    /// Takes a sampled answer that is to be captured. Never waits for anything but a lock.
    pub fn offer_capture(&self, sample: Sample) {
        if self.settings.captures.is_some() {
            self.rack().wait(sample);
            self.capture_bell.notify_one();
        }
    }

    /// Counts an answer that was lost on its way here.
    pub fn lose_capture(&self) {
        self.rack().counts.full += 1;
    }

    /// What became of sampled answers since the process began.
    #[must_use]
    pub fn capture_counts(&self) -> CaptureCounts {
        self.rack().counts
    }

    pub(crate) fn rack(&self) -> MutexGuard<'_, Rack> {
        self.rack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer that waits for a label is captured too where its route captures, or nobody could read what to label;
    /// those of a drawn session are on their way already.
    pub(crate) fn capture_to_label(&self, sample: &Arc<Sample>) {
        let Some((head, rule)) = self.head_of(sample) else { return };
        if !is_drawn(rule.sample, &head.route, sample.unit) {
            self.offer_capture(Sample::clone(sample));
        }
    }

    /// Captures for ever.
    pub(crate) async fn run_captures(self: Arc<Self>) {
        loop {
            self.capture_bell.notified().await;
            self.capture_waiting().await;
        }
    }

    /// Captures what waits, to its end. `run` does it beside the loop.
    pub async fn capture_waiting(&self) {
        loop {
            let samples = self.rack().take(AT_ONCE);
            if samples.is_empty() {
                return;
            }
            self.capture(samples).await;
        }
    }

    async fn capture(&self, samples: Vec<Sample>) {
        let Some(settings) = self.settings.captures.clone() else { return };
        let found = samples.into_iter().filter_map(|sample| Some((self.head_of(&sample)?, sample))).collect::<Vec<_>>();
        let redactor = settings.redactor.clone();
        let redacting = tokio::task::spawn_blocking(move || {
            let each = found.into_iter().map(|((head, rule), sample)| Found {
                head,
                rule,
                text: Raw::of(&sample).redacted(&redactor),
            });
            each.collect::<Vec<_>>()
        });
        let Ok(found) = redacting.await else {
            // What could not be redacted is not kept; which of them it was is not known.
            self.rack().counts.not_redacted += 1;
            return tracing::error!("captured answers could not be redacted, and are lost");
        };
        let mut by_route: BTreeMap<RouteName, (CaptureRule, Vec<CaptureRow>)> = BTreeMap::new();
        for Found { head, rule, text } in found {
            let Some(text) = self.redacted_by_webhook(&settings, text).await else {
                self.rack().counts.not_redacted += 1;
                continue;
            };
            let text = text.bounded(rule.text_max_bytes).written();
            match settings.keys.seal(&self.settings.tenant, &head, &text) {
                Ok(sealed) => {
                    let of = by_route.entry(head.route.clone()).or_insert_with(|| (rule, Vec::new()));
                    of.1.push(CaptureRow { head, sealed });
                }
                Err(error) => {
                    self.rack().counts.not_stored += 1;
                    tracing::error!(error = %chain(&error), "an answer could not be sealed, and is lost");
                }
            }
        }
        for (rule, rows) in by_route.into_values() {
            self.keep_captures(&rows, rule.rows_max).await;
        }
    }

    async fn keep_captures(&self, rows: &[CaptureRow], rows_max: u64) {
        let put = self.store.put_captures(&self.settings.tenant, rows, rows_max);
        let kept = self.ask("keeping captures", put).await;
        let mut rack = self.rack();
        match kept {
            Ok(evicted) => {
                rack.counts.kept += rows.len() as u64;
                rack.counts.evicted += evicted;
            }
            Err(error) => {
                rack.counts.not_stored += rows.len() as u64;
                drop(rack);
                tracing::warn!(lost = rows.len(), error = %chain(&error), "captured answers were not stored");
            }
        }
    }

    /// The text as the webhook gives it back. Where one is configured nothing is kept that it has not seen.
    async fn redacted_by_webhook(&self, settings: &CaptureSettings, text: Text) -> Option<Text> {
        let Some(webhook) = &settings.webhook else { return Some(text) };
        let sent = Texts { texts: text.all().cloned().collect() };
        let body = serde_json::to_string(&sent).ok()?;
        match self.ports.assessors.call(webhook, body, WEBHOOK_PATIENCE).await {
            Ok(answer) => {
                let back = serde_json::from_slice::<Texts>(&answer).ok();
                let text = back.and_then(|back| text.with(back.texts));
                if text.is_none() {
                    tracing::warn!(%webhook, "it did not answer `texts`, as many as it was sent; the capture is lost");
                }
                text
            }
            Err(error) => {
                tracing::warn!(%webhook, error = %chain(&error), "it did not redact; the capture is lost");
                None
            }
        }
    }

    fn rule_of(&self, sample: &Sample) -> Option<CaptureRule> {
        let settings = self.settings.captures.as_ref()?;
        let known = self.known();
        let route = &known.releases.get(&*sample.member.release)?.release.route;
        settings.rules.get(route).copied()
    }

    fn head_of(&self, sample: &Sample) -> Option<(CaptureHead, CaptureRule)> {
        let settings = self.settings.captures.as_ref()?;
        let rule = self.rule_of(sample)?;
        let known = self.known();
        let release = &known.releases.get(&*sample.member.release)?.release;
        let version = match sample.member.arm {
            Arm::Stable => return None,
            Arm::Control => release.stable,
            Arm::Canary => release.canary,
        };
        let head = CaptureHead {
            id: CaptureId::of(&release.id, sample.unit, sample.turn),
            route: release.route.clone(),
            release: release.id.clone(),
            arm: sample.member.arm,
            version,
            at: sample.started_at,
            expires_at: sample.started_at + rule.keep,
            item: item_of(sample),
            key_id: settings.keys.current().to_owned(),
        };
        Some((head, rule))
    }

    /// Deletes what has been kept for long enough, also where nothing is captured any more.
    pub(crate) async fn expire_captures(&self) {
        let which = CaptureCut::ExpiredBy(self.clock.now());
        let delete = self.store.delete_captures(&self.settings.tenant, &which);
        match self.ask("deleting expired captures", delete).await {
            Ok(gone) => self.rack().counts.expired += gone,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "expired captures are not deleted yet; they are not shown")
            }
        }
    }
}

impl CaptureSettings {
    /// Whether this operator may read what was captured.
    #[must_use]
    pub fn lets_read(&self, actor: &Actor) -> bool {
        self.readers.contains(actor)
    }
}

impl From<SealError> for crate::ControlError {
    fn from(error: SealError) -> Self {
        Self::Sealed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::id::UnitKey;
    use coalmine_core::time::UnixMs;
    use coalmine_core::traffic::pin::{Membership, Stratum};

    fn sample(bytes: usize) -> Sample {
        let member = Membership {
            release: Arc::new("r-1".into()),
            arm: Arm::Canary,
            stratum: Stratum(0),
            exposed_at: UnixMs(1),
        };
        Sample {
            unit: UnitKey(1),
            member,
            turn: 1,
            request_id: None,
            started_at: UnixMs(1),
            conversation: String::new(),
            answer: "x".repeat(bytes),
        }
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes_and_the_rest_is_counted() {
        let mut rack = Rack::default();
        (0..WAITING_MAX + 3).for_each(|_| rack.wait(sample(1)));
        assert_eq!((rack.waiting.len(), rack.counts.full), (WAITING_MAX, 3));
        assert_eq!(rack.take(usize::MAX).len(), WAITING_MAX);
        assert_eq!(rack.bytes, 0);
        (0..5).for_each(|_| rack.wait(sample(WAITING_MAX_BYTES / 4)));
        assert_eq!((rack.waiting.len(), rack.counts.full), (4, 4));
    }
}
