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
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureRule, SteadySample, is_drawn};
use coalmine_core::id::{Actor, ReleaseId, RouteName, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use coalmine_store::{CaptureCut, CaptureRow};
use redact::Redactor;
use seal::{KeyRing, SealError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
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
    /// Lost, for their release is not known here, or their route captures nothing here.
    pub unplaced: u64,
    /// Lost, for they could not be redacted, or the webhook that redacts gave no text back.
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
        self.full + self.unplaced + self.not_redacted + self.not_stored
    }
}

/// What waits to be captured.
#[derive(Debug, Default)]
pub(crate) struct Rack {
    waiting: VecDeque<Taken>,
    bytes: usize,
    pub(crate) counts: CaptureCounts,
}

/// What a webhook is sent, and what it sends back.
#[derive(Serialize, Deserialize)]
struct Texts {
    texts: Vec<String>,
}

/// An answer that is to be captured.
#[derive(Debug)]
enum Taken {
    /// Of an arm of a release.
    Compared(Sample),
    /// Of a route without one.
    Steady(SteadySample),
}

/// What is known of an answer beside its text.
type Known = (CaptureHead, CaptureRule);

/// An answer that may be stored, once it is sealed.
struct Found {
    head: CaptureHead,
    rule: CaptureRule,
    text: Text,
}

impl Taken {
    fn bytes(&self) -> usize {
        match self {
            Self::Compared(sample) => sample.bytes(),
            Self::Steady(sample) => sample.bytes(),
        }
    }

    fn raw(&self) -> Raw {
        match self {
            Self::Compared(Sample { conversation, answer, .. }) => Raw::of(conversation, answer),
            Self::Steady(SteadySample { conversation, answer, .. }) => Raw::of(conversation, answer),
        }
    }
}

impl Rack {
    fn wait(&mut self, sample: Taken) {
        let bytes = sample.bytes();
        if self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_MAX_BYTES {
            self.counts.full += 1;
            return;
        }
        self.bytes += bytes;
        self.waiting.push_back(sample);
    }

    /// Both answers of a pair, or neither.
    fn wait_together(&mut self, pair: [Sample; 2]) {
        let bytes: usize = pair.iter().map(Sample::bytes).sum();
        if self.waiting.len() + pair.len() > WAITING_MAX || self.bytes + bytes > WAITING_MAX_BYTES {
            self.counts.full += pair.len() as u64;
            return;
        }
        self.bytes += bytes;
        self.waiting.extend(pair.map(Taken::Compared));
    }

    fn take(&mut self, most: usize) -> Vec<Taken> {
        let taken: Vec<Taken> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.bytes -= taken.iter().map(Taken::bytes).sum::<usize>();
        taken
    }
}

impl Control {
    /// Takes a sampled answer that is to be captured. Never waits for anything but a lock.
    pub fn offer_capture(&self, sample: Sample) {
        self.hang(Taken::Compared(sample));
    }

    /// The same of a route without a release.
    pub fn offer_steady_capture(&self, sample: SteadySample) {
        self.hang(Taken::Steady(sample));
    }

    fn hang(&self, sample: Taken) {
        if self.settings.captures.is_some() {
            self.rack().wait(sample);
            self.capture_bell.notify_one();
        }
    }

    /// Takes both answers to a request of a shadow, where their session is drawn. Stable's stands as control's does.
    pub(crate) fn capture_pair(&self, pair: &PairSample) {
        if self.captures_of(&pair.release, pair.unit) {
            self.rack().wait_together([Arm::Control, Arm::Canary].map(|arm| half(pair, arm)));
            self.capture_bell.notify_one();
        }
    }

    /// Counts a pair that was lost on its way here.
    pub(crate) fn lose_captured_pair(&self, release: &ReleaseId, unit: UnitKey) {
        if self.captures_of(release, unit) {
            self.rack().counts.full += 2;
        }
    }

    /// Whether the answers of a release's session are captured.
    fn captures_of(&self, release: &ReleaseId, unit: UnitKey) -> bool {
        let Some(settings) = &self.settings.captures else { return false };
        let known = self.known();
        let Some(route) = known.releases.get(release).map(|found| &found.release.route) else { return false };
        settings.rules.get(route).is_some_and(|rule| is_drawn(rule.sample, route, unit))
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

    async fn capture(&self, samples: Vec<Taken>) {
        let Some(settings) = self.settings.captures.clone() else { return };
        let mut placed = Vec::new();
        for sample in samples {
            match self.known_of(&sample) {
                Some(known) => placed.push((known, sample)),
                None => self.rack().counts.unplaced += 1,
            }
        }
        let (all, redactor) = (placed.len() as u64, settings.redactor.clone());
        let redacting = tokio::task::spawn_blocking(move || redacted(placed, |raw| raw.redacted(&redactor)));
        let found = redacting.await.unwrap_or_default();
        let lost = all - found.len() as u64;
        if lost > 0 {
            // What could not be redacted is not kept.
            self.rack().counts.not_redacted += lost;
            tracing::error!(lost, "captured answers could not be redacted, and are lost");
        }
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

    fn known_of(&self, sample: &Taken) -> Option<Known> {
        match sample {
            Taken::Compared(sample) => self.head_of(sample),
            Taken::Steady(sample) => self.steady_head_of(sample),
        }
    }

    fn head_of(&self, sample: &Sample) -> Option<Known> {
        let settings = self.settings.captures.as_ref()?;
        let known = self.known();
        let release = &known.releases.get(&*sample.member.release)?.release;
        let rule = *settings.rules.get(&release.route)?;
        let version = match sample.member.arm {
            Arm::Stable => return None,
            Arm::Control => release.stable,
            Arm::Canary => release.canary,
        };
        let head = CaptureHead {
            id: CaptureId::of(&release.id.clone().into(), sample.unit, sample.turn),
            route: release.route.clone(),
            release: Some(release.id.clone()),
            arm: sample.member.arm,
            version,
            at: sample.started_at,
            expires_at: sample.started_at + rule.keep,
            item: item_of(sample.request_id.as_deref(), sample.turn),
            key_id: settings.keys.current().to_owned(),
        };
        Some((head, rule))
    }

    fn steady_head_of(&self, sample: &SteadySample) -> Option<Known> {
        let settings = self.settings.captures.as_ref()?;
        let rule = *settings.rules.get(&*sample.route)?;
        let route = RouteName::clone(&sample.route);
        let head = CaptureHead {
            id: CaptureId::of(&route.clone().into(), sample.unit, sample.turn),
            route,
            release: None,
            arm: Arm::Stable,
            version: sample.version,
            at: sample.started_at,
            expires_at: sample.started_at + rule.keep,
            item: item_of(sample.request_id.as_deref(), sample.turn),
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

/// One answer of a pair, as it would be captured alone.
fn half(pair: &PairSample, arm: Arm) -> Sample {
    let (answer, place) = match arm {
        Arm::Canary => (&pair.canary, 1),
        Arm::Stable | Arm::Control => (&pair.stable, 0),
    };
    let exposed_at = pair.started_at;
    Sample {
        unit: pair.unit,
        member: Membership { release: Arc::clone(&pair.release), arm, stratum: Stratum(0), exposed_at },
        turn: (pair.started_at.0 << 1) | place,
        request_id: None,
        started_at: pair.started_at,
        conversation: pair.conversation.clone(),
        answer: answer.clone(),
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

/// What could be redacted: a text that a pattern fails at is lost, and no other with it.
fn redacted(placed: Vec<(Known, Taken)>, redact: impl Fn(Raw) -> Text) -> Vec<Found> {
    let each = placed.into_iter().filter_map(|((head, rule), sample)| {
        let text = std::panic::catch_unwind(AssertUnwindSafe(|| redact(sample.raw()))).ok()?;
        Some(Found { head, rule, text })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::time::{SpanMs, UnixMs};
    use coalmine_core::traffic::weight::WeightBp;
    use coalmine_core::version::VersionId;

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
        (0..WAITING_MAX + 3).for_each(|_| rack.wait(Taken::Compared(sample(1))));
        assert_eq!((rack.waiting.len(), rack.counts.full), (WAITING_MAX, 3));
        assert_eq!(rack.take(usize::MAX).len(), WAITING_MAX);
        assert_eq!(rack.bytes, 0);
        (0..5).for_each(|_| rack.wait(Taken::Compared(sample(WAITING_MAX_BYTES / 4))));
        assert_eq!((rack.waiting.len(), rack.counts.full), (4, 4));
    }

    #[test]
    fn a_text_that_cannot_be_redacted_is_lost_and_no_other_with_it() {
        let rule = CaptureRule { sample: WeightBp::FULL, keep: SpanMs::hours(1), text_max_bytes: 100, rows_max: 10 };
        let placed = (1..=3).map(|number| {
            let head = CaptureHead {
                id: CaptureId(number),
                route: "support".into(),
                release: None,
                arm: Arm::Stable,
                version: VersionId([1; 32]),
                at: UnixMs(1),
                expires_at: UnixMs(2),
                item: 0,
                key_id: String::new(),
            };
            ((head, rule), Taken::Compared(sample(usize::try_from(number).unwrap())))
        });
        let redactor = Redactor::new([]).unwrap();
        let found = redacted(placed.collect(), |raw| {
            let text = raw.redacted(&redactor);
            assert_ne!(text.answer, "xx", "a pattern fails");
            text
        });
        assert_eq!(found.iter().map(|found| found.head.id.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_pair_waits_whole_or_not_at_all() {
        let pair = |bytes| [sample(bytes), sample(bytes)];
        let mut rack = Rack::default();
        (0..WAITING_MAX - 1).for_each(|_| rack.wait(Taken::Compared(sample(1))));
        rack.wait_together(pair(1));
        assert_eq!((rack.waiting.len(), rack.counts.full), (WAITING_MAX - 1, 2));
        let mut rack = Rack::default();
        (0..3).for_each(|_| rack.wait_together(pair(WAITING_MAX_BYTES / 4)));
        assert_eq!((rack.waiting.len(), rack.counts.full), (4, 2));
        assert_eq!(rack.take(usize::MAX).len(), 4);
        assert_eq!(rack.bytes, 0);
    }
}
