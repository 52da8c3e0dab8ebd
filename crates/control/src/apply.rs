//! One idempotent function per [`Effect`], driven from the outbox until done.

use crate::control::Control;
use crate::error::chain;
use coalmine_core::id::{ReleaseId, RouteName};
use coalmine_core::release::effect::Effect;
use coalmine_core::version::VersionId;
use coalmine_store::{Pending, StoreError};
use std::collections::BTreeSet;

impl Control {
    /// Does what committed decisions want of the world, oldest first. What fails is tried again by the
    /// next round, and holds back the later effects of its own release only. Notices have their own pace:
    /// see [`crate::notify`].
    pub(crate) async fn apply(&self) {
        let pending = match self.ask("reading the outbox", self.store.outbox(&self.settings.tenant)).await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the outbox was not read");
                return;
            }
        };
        let mut left = pending.len();
        let mut stuck: BTreeSet<Option<ReleaseId>> = BTreeSet::new();
        for item in &pending {
            if stuck.contains(&item.release) {
                continue;
            }
            match self.perform(item).await {
                Ok(Done::Yes) => left -= 1,
                Ok(Done::ElsewhereLater) => {}
                Err(error) => {
                    tracing::warn!(release = ?item.release, error = %chain(&error), "an effect is not done yet");
                    stuck.insert(item.release.clone());
                }
            }
        }
        self.known().outbox = left;
    }

    async fn perform(&self, item: &Pending) -> Result<Done, StoreError> {
        let outcome = match &item.effect {
            Effect::Publish { route } => self.publish(route).await,
            Effect::SetStable { route, version } => self.set_stable(route, *version).await,
            Effect::Notify(_) => return Ok(Done::ElsewhereLater),
        };
        let told = outcome.as_ref().copied().map_err(|error| chain(error));
        let settle = self.store.settle_effect(&self.settings.tenant, item.id, told);
        self.ask("settling an effect", settle).await?;
        outcome.map(|()| Done::Yes)
    }

    async fn set_stable(&self, route: &RouteName, version: VersionId) -> Result<(), StoreError> {
        let call = self.store.set_stable(&self.settings.tenant, route, version);
        let row = self.ask("setting a stable version", call).await?;
        self.known().routes.insert(route.clone(), row);
        Ok(())
    }
}

enum Done {
    Yes,
    ElsewhereLater,
}
