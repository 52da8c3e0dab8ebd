//! The store in one SQLite file: one thread writes, others read, the async runtime waits for neither.
//!
//! A commit is on the disk (WAL, `synchronous = FULL`) before it is answered. A file that is locked,
//! full, missing or replaced makes calls fail with [`StoreError::Unavailable`] and nothing else; they
//! succeed again, without a restart, when the cause is gone.

mod captures;
mod failure;
#[cfg(test)]
mod faults;
mod link;
mod migrate;
mod read;
mod sessions;
mod write;

use crate::{CaptureCut, CaptureRow, EvidenceBatch, Pending, ReleaseEvidence, RouteRow, Seeded, Store, StoreError};
use async_trait::async_trait;
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureScope, CaptureUse};
use coalmine_core::id::{GatewayId, Generation, ReleaseId, RouteName, TenantId};
use coalmine_core::incident::Incident;
use coalmine_core::key::{Day, Key, Spending};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::time::UnixMs;
use coalmine_core::version::{Version, VersionId};
use link::{Access, Desk, StoreFile};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections: one writes, the others read at the same time.
const ACCESS: [Access; 3] = [Access::Write, Access::Read, Access::Read];

/// The store in one SQLite file. Clones share its connections.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Desk,
    readers: Arc<[Desk]>,
    next_reader: Arc<AtomicUsize>,
}

impl SqliteStore {
    /// Opens the file, which is made, with the directories above it, where there is none; brings its
    /// schema up to date. Blocks on the disk: call it before serving.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a file of another program or of a newer coalmine (told by name),
    /// [`StoreError::Unavailable`] where it cannot be opened now.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| StoreError::Unavailable {
                what: format!("the directory {} cannot be made; look after its rights", parent.display()),
                source: Box::new(e),
            })?;
        }
        let mut links = StoreFile::open(path, &ACCESS)?.into_iter();
        let writer = links.next().map(|link| Desk::start(link, "store-writer"));
        let readers = links.map(|link| Desk::start(link, "store-reader")).collect::<Result<_, _>>()?;
        let Some(writer) = writer.transpose()? else {
            return Err(StoreError::Corrupt { what: "a store without a writer".to_owned() });
        };
        Ok(Self { writer, readers, next_reader: Arc::default() })
    }

    fn reader(&self) -> &Desk {
        let next = self.next_reader.fetch_add(1, Ordering::Relaxed);
        self.readers.get(next % self.readers.len().max(1)).unwrap_or(&self.writer)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn seed_route(
        &self,
        tenant: &TenantId,
        route: &RouteName,
        stable: &Version,
    ) -> Result<(RouteRow, Seeded), StoreError> {
        let (tenant, route, stable) = (tenant.clone(), route.clone(), stable.clone());
        self.writer.ask("seeding a route", move |db| write::seed_route(db, &tenant, &route, &stable)).await
    }

    async fn routes(&self, tenant: &TenantId) -> Result<Vec<RouteRow>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading routes", move |db| read::routes(db, &tenant)).await
    }

    async fn set_stable(
        &self,
        tenant: &TenantId,
        route: &RouteName,
        stable: VersionId,
    ) -> Result<RouteRow, StoreError> {
        let (tenant, route) = (tenant.clone(), route.clone());
        self.writer
            .ask("setting a route's stable version", move |db| write::set_stable(db, &tenant, &route, stable))
            .await
    }

    async fn next_table_generation(&self, tenant: &TenantId, route: &RouteName) -> Result<Generation, StoreError> {
        let (tenant, route) = (tenant.clone(), route.clone());
        self.writer.ask("taking a table generation", move |db| write::next_table_generation(db, &tenant, &route)).await
    }

    async fn put_version(&self, tenant: &TenantId, version: &Version) -> Result<VersionId, StoreError> {
        let (tenant, version) = (tenant.clone(), version.clone());
        self.writer.ask("keeping a version", move |db| write::put_version(db, &tenant, &version)).await
    }

    async fn version(&self, tenant: &TenantId, id: VersionId) -> Result<Option<Version>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading a version", move |db| read::version(db, &tenant, id)).await
    }

    async fn create_release(&self, release: &Release, first: &JournalRow) -> Result<(), StoreError> {
        let (release, first) = (release.clone(), first.clone());
        self.writer.ask("creating a release", move |db| write::create_release(db, &release, &first)).await
    }

    async fn release(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Option<Release>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.reader().ask("reading a release", move |db| read::release(db, &tenant, &id)).await
    }

    async fn releases(&self, tenant: &TenantId, route: Option<&RouteName>) -> Result<Vec<Release>, StoreError> {
        let (tenant, route) = (tenant.clone(), route.cloned());
        self.reader().ask("reading releases", move |db| read::releases(db, &tenant, route.as_ref())).await
    }

    async fn commit_step(
        &self,
        expected: Generation,
        next: &Release,
        row: &JournalRow,
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        let (next, row, effects) = (next.clone(), row.clone(), effects.to_vec());
        self.writer.ask("committing a step", move |db| write::commit_step(db, expected, &next, &row, &effects)).await
    }

    async fn journal(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Vec<JournalRow>, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.reader().ask("reading a journal", move |db| read::journal(db, &tenant, &id)).await
    }

    async fn outbox(&self, tenant: &TenantId) -> Result<Vec<Pending>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading the outbox", move |db| read::outbox(db, &tenant)).await
    }

    async fn settle_effect(&self, tenant: &TenantId, id: u64, outcome: Result<(), String>) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.writer.ask("settling an effect", move |db| write::settle_effect(db, &tenant, id, &outcome)).await
    }

    async fn open_incident(
        &self,
        tenant: &TenantId,
        incident: &Incident,
        effects: &[Effect],
    ) -> Result<Incident, StoreError> {
        let (tenant, incident, effects) = (tenant.clone(), incident.clone(), effects.to_vec());
        self.writer.ask("opening an incident", move |db| write::open_incident(db, &tenant, &incident, &effects)).await
    }

    async fn update_incident(&self, tenant: &TenantId, next: &Incident, effects: &[Effect]) -> Result<(), StoreError> {
        let (tenant, next, effects) = (tenant.clone(), next.clone(), effects.to_vec());
        self.writer.ask("changing an incident", move |db| write::update_incident(db, &tenant, &next, &effects)).await
    }

    async fn incidents(&self, tenant: &TenantId) -> Result<Vec<Incident>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading incidents", move |db| read::incidents(db, &tenant)).await
    }

    async fn add_evidence(&self, tenant: &TenantId, batch: &EvidenceBatch) -> Result<(), StoreError> {
        let (tenant, batch) = (tenant.clone(), batch.clone());
        self.writer.ask("adding evidence", move |db| write::add_evidence(db, &tenant, &batch)).await
    }

    async fn evidence(&self, tenant: &TenantId, id: &ReleaseId) -> Result<ReleaseEvidence, StoreError> {
        let (tenant, id) = (tenant.clone(), id.clone());
        self.reader().ask("reading evidence", move |db| read::evidence(db, &tenant, &id)).await
    }

    async fn counted(&self, tenant: &TenantId) -> Result<Vec<(GatewayId, u64, u64)>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading what is counted", move |db| read::counted(db, &tenant)).await
    }

    async fn create_key(&self, tenant: &TenantId, key: &Key) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.writer.ask("keeping a key", move |db| write::create_key(db, &tenant, &key)).await
    }

    async fn update_key(&self, tenant: &TenantId, expected: Generation, key: &Key) -> Result<(), StoreError> {
        let (tenant, key) = (tenant.clone(), key.clone());
        self.writer.ask("changing a key", move |db| write::update_key(db, &tenant, expected, &key)).await
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Key>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading keys", move |db| read::keys(db, &tenant)).await
    }

    async fn spending(&self, tenant: &TenantId, since: Day) -> Result<Vec<Spending>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading what was spent", move |db| read::spending(db, &tenant, since)).await
    }

    async fn forget_spending(&self, tenant: &TenantId, before: Day) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.writer.ask("forgetting what was spent", move |db| write::forget_spending(db, &tenant, before)).await
    }

    async fn put_captures(&self, tenant: &TenantId, rows: &[CaptureRow], rows_max: u64) -> Result<u64, StoreError> {
        let (tenant, rows) = (tenant.clone(), rows.to_vec());
        self.writer.ask("keeping captures", move |db| captures::put(db, &tenant, &rows, rows_max)).await
    }

    async fn capture_heads(&self, tenant: &TenantId, scope: &CaptureScope) -> Result<Vec<CaptureHead>, StoreError> {
        let (tenant, scope) = (tenant.clone(), scope.clone());
        self.reader().ask("listing captures", move |db| captures::heads(db, &tenant, &scope)).await
    }

    async fn capture(&self, tenant: &TenantId, id: CaptureId) -> Result<Option<CaptureRow>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading a capture", move |db| captures::one(db, &tenant, id)).await
    }

    async fn delete_captures(&self, tenant: &TenantId, which: &CaptureCut) -> Result<u64, StoreError> {
        let (tenant, which) = (tenant.clone(), which.clone());
        self.writer.ask("deleting captures", move |db| captures::delete(db, &tenant, &which)).await
    }

    async fn note_capture_use(&self, tenant: &TenantId, used: &CaptureUse) -> Result<(), StoreError> {
        let (tenant, used) = (tenant.clone(), used.clone());
        self.writer.ask("noting a use of captures", move |db| captures::note_use(db, &tenant, &used)).await
    }

    async fn capture_uses(&self, tenant: &TenantId, since: UnixMs) -> Result<Vec<CaptureUse>, StoreError> {
        let tenant = tenant.clone();
        self.reader().ask("reading uses of captures", move |db| captures::uses(db, &tenant, since)).await
    }

    async fn forget_capture_uses(&self, tenant: &TenantId, before: UnixMs) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.writer.ask("forgetting uses of captures", move |db| captures::forget_uses(db, &tenant, before)).await
    }

    async fn document(&self, tenant: &TenantId, name: &str) -> Result<Option<String>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.reader().ask("reading a document", move |db| read::document(db, &tenant, &name)).await
    }

    async fn put_document(&self, tenant: &TenantId, name: &str, text: &str) -> Result<(), StoreError> {
        let (tenant, name, text) = (tenant.clone(), name.to_owned(), text.to_owned());
        self.writer.ask("keeping a document", move |db| write::put_document(db, &tenant, &name, &text)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.reader().ask("looking whether the store answers", |db| read::ping(db)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn empty() -> (SqliteStore, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (SqliteStore::open(&dir.path().join("data/state.db")).unwrap(), dir)
    }

    crate::for_every_law!(empty());
}
