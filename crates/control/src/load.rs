//! From the store into memory: at the start, after a conflict, and when this node takes over.

use crate::control::Control;
use crate::error::{ControlError, chain};
use crate::known::KnownRelease;
use crate::trail::Trail;
use coalmine_core::id::{Actor, ReleaseId};
use coalmine_core::release::report::{JournalRow, Report};
use coalmine_core::release::state::Release;
use coalmine_core::version::VersionId;
use coalmine_store::StoreError;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Control {
    /// Routes, releases and the versions that they name.
    pub(crate) async fn load_all(&self) -> Result<(), ControlError> {
        let tenant = &self.settings.tenant;
        let routes = self.ask("reading the routes", self.store.routes(tenant)).await?;
        let releases = self.ask("reading the releases", self.store.releases(tenant, None)).await?;
        let mut versions: BTreeSet<VersionId> = routes.iter().map(|row| row.stable).collect();
        versions.extend(releases.iter().flat_map(|release| [release.stable, release.canary]));
        for id in versions {
            self.load_version(id).await?;
        }
        for release in releases {
            self.take_up(release).await?;
        }
        self.load_incidents().await?;
        self.known().routes = routes.into_iter().map(|row| (row.route.clone(), row)).collect();
        Ok(())
    }

    /// One release as committed, after somebody else changed it.
    pub(crate) async fn reload(&self, id: &ReleaseId) -> Result<(), ControlError> {
        let release = self.ask("reading a release", self.store.release(&self.settings.tenant, id)).await?;
        let release = release.ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        self.take_up(release).await?;
        self.known().stale.remove(id);
        Ok(())
    }

    /// A version into memory, where the store has it.
    pub(crate) async fn load_version(&self, id: VersionId) -> Result<(), StoreError> {
        if self.known().versions.contains_key(&id) {
            return Ok(());
        }
        let version = self.ask("reading a version", self.store.version(&self.settings.tenant, id)).await?;
        if let Some(version) = version {
            self.known().versions.insert(id, Arc::new(version));
        }
        Ok(())
    }

    /// The last row of the journal tells who wrote and why.
    async fn take_up(&self, release: Release) -> Result<(), ControlError> {
        let seen = self.known().releases.get(&release.id).map(|known| known.release.generation);
        if seen == Some(release.generation) {
            return Ok(());
        }
        let journal = self.ask("reading the journal", self.store.journal(&self.settings.tenant, &release.id)).await?;
        let (actor, report) =
            journal.last().map_or_else(unwritten, |row: &JournalRow| (row.actor.clone(), row.report.clone()));
        let trail = if seen.is_none() { self.load_trail(&release.id).await } else { None };
        let mut known = self.known();
        match known.releases.get(&release.id) {
            Some(_) => known.put(release, actor, report),
            None => {
                let mut fresh = KnownRelease::new(release, actor, report);
                fresh.trail = trail.unwrap_or_default();
                known.releases.insert(fresh.release.id.clone(), fresh);
            }
        }
        Ok(())
    }

    /// Only a picture: one that cannot be read is begun anew.
    async fn load_trail(&self, id: &ReleaseId) -> Option<Trail> {
        let name = crate::trail::document_of(id);
        let found = self.ask("reading a trail", self.store.document(&self.settings.tenant, &name)).await;
        match found.map(|text| text.map(|text| serde_json::from_str(&text))) {
            Ok(Some(Ok(trail))) => Some(trail),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                tracing::warn!(release = %id, %error, "the trail of evidence cannot be read and is begun anew");
                None
            }
            Err(error) => {
                tracing::warn!(release = %id, error = %chain(&error), "the trail of evidence was not read");
                None
            }
        }
    }
}

fn unwritten() -> (Actor, Report) {
    (Actor::coalmine(), Report::default())
}
