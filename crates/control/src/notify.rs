//! Tells people, by signed webhooks. Notices lie in the outbox until they are delivered; they have a pace
//! of their own, so that a slow receiver never delays a decision.

pub mod letter;
pub mod sign;

use crate::control::Control;
use crate::error::chain;
use crate::ports::PostError;
use coalmine_core::analysis::Analysis;
use coalmine_core::release::effect::{Effect, Notice};
use coalmine_core::release::state::Release;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_store::{Pending, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// After so many tries (about a day) a notice is given up, counted and logged.
const TRIES_MAX: u32 = 300;
/// The longest time between two tries, by the wall.
const WALL_PAUSE_MAX: SpanMs = SpanMs::minutes(5);
/// How long one delivery may take, by the wall.
const WALL_DELIVERY: Duration = Duration::from_secs(10);

/// What is being delivered.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    next_try: BTreeMap<u64, UnixMs>,
    /// (effect, webhook) that went through, while another webhook of the same effect did not.
    through: BTreeSet<(u64, usize)>,
}

impl Control {
    /// Delivers notices as they become due, for ever.
    pub(crate) async fn run_notices(self: Arc<Self>) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.settings.wall_look_every.0.max(1)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            self.deliver_notices().await;
        }
    }

    /// Tries every notice that is due, once. `run` does it beside the loop; the simulator need not.
    pub async fn deliver_notices(&self) {
        let mut errands = self.errands.lock().await;
        let pending = match self.ask("reading the outbox", self.store.outbox(&self.settings.tenant)).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "notices wait for the store");
                return;
            }
        };
        let now = self.clock.now();
        let live: BTreeSet<u64> = pending.iter().map(|item| item.id).collect();
        errands.next_try.retain(|id, _| live.contains(id));
        errands.through.retain(|(id, _)| live.contains(id));
        for item in &pending {
            let Effect::Notify(notice) = &item.effect else { continue };
            if errands.next_try.get(&item.id).is_some_and(|due| *due > now) {
                continue;
            }
            if let Err(error) = self.deliver(&mut errands, item, notice, now).await {
                tracing::warn!(error = %chain(&error), "a notice was not settled; it may be told twice");
            }
        }
    }

    async fn deliver(
        &self,
        errands: &mut Errands,
        item: &Pending,
        notice: &Notice,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let told = self.tell(errands, item, notice, now).await;
        let outcome = match told {
            Err(why) if item.tries + 1 >= TRIES_MAX => {
                tracing::error!(about = letter::id_of(notice), %why, "a notice was given up after {TRIES_MAX} tries");
                self.known().notices_lost += 1;
                Ok(())
            }
            Err(why) => {
                tracing::warn!(about = letter::id_of(notice), %why, tries = item.tries + 1, "a notice was not delivered yet");
                errands.next_try.insert(item.id, now + self.clock.of_wall(pause_after(item.tries)));
                Err(why)
            }
            Ok(()) => Ok(()),
        };
        let settle = self.store.settle_effect(&self.settings.tenant, item.id, outcome);
        self.ask("settling a notice", settle).await
    }

    /// Every webhook once; the first failure is told after the others were tried.
    async fn tell(&self, errands: &mut Errands, item: &Pending, notice: &Notice, now: UnixMs) -> Result<(), String> {
        let Some(event) = letter::event_of(notice) else { return Ok(()) };
        if self.settings.webhooks.is_empty() {
            return Ok(());
        }
        let delivery = format!("{}-{}", letter::id_of(notice), item.id);
        let message = match letter::incident(notice, event, &delivery, now) {
            Some(message) => message,
            None => {
                let Some((release, analysis)) = self.behind(notice) else { return Ok(()) };
                letter::message(notice, event, delivery, &release, analysis.as_deref(), now)
            }
        };
        let mut failure = None;
        for (index, webhook) in self.settings.webhooks.iter().enumerate() {
            let wanted = webhook.on.is_empty() || webhook.on.contains(event);
            if !wanted || errands.through.contains(&(item.id, index)) {
                continue;
            }
            let sent = match letter::letter(&message, webhook, now) {
                Ok(letter) => self.post(&letter).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => {
                    errands.through.insert((item.id, index));
                }
                Err(why) => failure = Some(format!("webhook {}: {why}", index + 1)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn post(&self, letter: &crate::ports::Letter) -> Result<(), PostError> {
        match tokio::time::timeout(WALL_DELIVERY, self.ports.post.deliver(letter)).await {
            Ok(answer) => answer,
            Err(_) => Err(PostError("no answer in time".to_owned())),
        }
    }

    /// The release and the last look behind a notice.
    fn behind(&self, notice: &Notice) -> Option<(Release, Option<Arc<Analysis>>)> {
        let known = self.known();
        let found = known.releases.get(letter::release_of(notice)?)?;
        Some((found.release.clone(), found.look.as_ref().map(|look| Arc::clone(&look.analysis))))
    }
}

/// 1 s, 2 s, 4 s, … by the wall.
fn pause_after(tries: u32) -> SpanMs {
    SpanMs(1_000_u64.saturating_mul(1 << tries.min(20))).min(WALL_PAUSE_MAX)
}
