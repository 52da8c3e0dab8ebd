//! What Coalmine remembers, in domain words: one trait, SQLite and memory behind it, one conformance
//! suite for all.
//!
//! Every row carries its tenant. State, journal and outbox change in one transaction, under the
//! generation that the writer saw.

pub mod ceiling;
#[cfg(any(test, feature = "conformance"))]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a law that does not hold panics: that is its way to fail a test"
)]
pub mod conformance;
pub mod conversations;
#[cfg(test)]
mod crash;
pub mod memory;
pub mod pins;
mod rows;
pub mod sqlite;

pub use ceiling::Ceilings;
pub use memory::MemoryStore;
pub use pins::EmbeddedPins;
pub use sqlite::SqliteStore;

use async_trait::async_trait;
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureScope, CaptureUse};
use coalmine_core::evidence::{SealedBucket, Session, Yardstick};
use coalmine_core::id::{Actor, GatewayId, Generation, IncidentId, KeyName, ReleaseId, RouteName, TenantId, UnitKey};
use coalmine_core::incident::Incident;
use coalmine_core::key::{Day, Key, Spending};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::shadow::young::MirroredSession;
use coalmine_core::time::UnixMs;
use coalmine_core::version::{Version, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// As many incidents are read at once.
pub const INCIDENTS_MAX: usize = 1_000;

/// A route as stored: its stable version wins over the file once the store knows the route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Its name.
    pub route: RouteName,
    /// The version in service.
    pub stable: VersionId,
    /// The generation of its last published table; grows at every publication.
    pub table_generation: Generation,
    /// How many releases it has had.
    pub releases: u64,
}

/// An effect that is still to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Its number in the outbox.
    pub id: u64,
    /// The release that wants it; `None`: an incident.
    pub release: Option<ReleaseId>,
    /// What.
    pub effect: Effect,
    /// How often it was tried and failed.
    pub tries: u32,
    /// What the last try said; `None` before the first failure.
    pub last_error: Option<String>,
}

/// What one intake adds to the evidence of a release; written in one transaction with the mark of
/// the delta that it came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvidenceBatch {
    /// Deltas now counted, as (gateway, epoch, sequence). The highest of each gateway and epoch is
    /// kept as its mark. Offering the mark again is harmless (the answer of a first try was lost);
    /// offering only older ones is [`StoreError::Behind`], and then nothing of the batch is written.
    pub counted: Vec<(GatewayId, u64, u64)>,
    /// Per release, what changed.
    pub releases: Vec<Arc<ReleaseEvidence>>,
    /// What payers have used, whole days; a day that is known is replaced.
    pub spending: Vec<Spending>,
}

impl EvidenceBatch {
    /// The highest sequence of each gateway and epoch in the batch.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<(GatewayId, u64), u64> {
        let mut marks = BTreeMap::new();
        for (gateway, epoch, sequence) in &self.counted {
            let mark = marks.entry((gateway.clone(), *epoch)).or_insert(*sequence);
            *mark = (*mark).max(*sequence);
        }
        marks
    }
}

/// What is known of the evidence of one release (or what changed of it).
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseEvidence {
    /// Which.
    pub release: ReleaseId,
    /// The yardstick, once frozen; `None` leaves what is there.
    pub yardstick: Option<Yardstick>,
    /// Sessions, whole rows, in any order; an existing row is replaced. Read back in the order of their units.
    pub sessions: Vec<(UnitKey, Arc<Session>)>,
    /// The lap that these rows belong to; read back, the highest that there is.
    pub lap: u64,
    /// Every session that lives has a row of this lap or a later one: the others are removed, after `sessions` were
    /// written. Always 0 as read.
    pub whole_from: u64,
    /// Sessions exposed earlier have posted their last number: they are not read back. It never falls.
    pub live_from: UnixMs,
    /// Mirrored sessions, whole rows; an existing row is replaced. Read back in the order of their units.
    pub mirrored: Vec<(UnitKey, Arc<MirroredSession>)>,
    /// Mirrored sessions that are not remembered any longer; removed after `mirrored` were written.
    pub unmirrored: Vec<UnitKey>,
    /// Sealed buckets, in the order of sealing; one already known by (number, stratum, bucket) is ignored.
    pub sealed: Vec<SealedBucket>,
    /// Running totals that are not in buckets, as a JSON document of the evidence's own
    /// (`coalmine_core` writes and reads it); replaced, `None` leaves what is there.
    pub totals: Option<String>,
}

impl ReleaseEvidence {
    /// No evidence at all.
    #[must_use]
    pub const fn empty(release: ReleaseId) -> Self {
        Self {
            release,
            yardstick: None,
            sessions: Vec::new(),
            lap: 0,
            whole_from: 0,
            live_from: UnixMs(0),
            mirrored: Vec::new(),
            unmirrored: Vec::new(),
            sealed: Vec::new(),
            totals: None,
        }
    }
}

/// A captured answer as stored: its text is sealed, and the store has no key.
#[derive(Clone, PartialEq, Eq)]
pub struct CaptureRow {
    /// What is known of it without the key.
    pub head: CaptureHead,
    /// Nonce, ciphertext and tag.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for CaptureRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureRow").field("head", &self.head).field("bytes", &self.sealed.len()).finish()
    }
}

/// Which captured answers are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureCut {
    /// This one.
    One(CaptureId),
    /// All of these.
    Of(CaptureScope),
    /// Those whose time is over.
    ExpiredBy(UnixMs),
}

/// The store. Every method is safe to call again with the same arguments after an error: where the
/// first call did happen and only its answer was lost, the second one says `Ok` and changes nothing.
/// (Only [`Store::next_table_generation`] then hands out another number, which is harmless.)
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Seeds a route that is unknown; returns the row as it is afterwards and whether it was new.
    async fn seed_route(
        &self,
        tenant: &TenantId,
        route: &RouteName,
        stable: &Version,
    ) -> Result<(RouteRow, Seeded), StoreError>;
    /// All routes.
    async fn routes(&self, tenant: &TenantId) -> Result<Vec<RouteRow>, StoreError>;
    /// Makes `stable` the route's stable version, and returns the row. `NotFound` where the route
    /// or the version is unknown.
    async fn set_stable(&self, tenant: &TenantId, route: &RouteName, stable: VersionId)
    -> Result<RouteRow, StoreError>;
    /// Takes the next table generation of a route: strictly increasing, never handed out twice.
    /// `NotFound` where the route is unknown.
    async fn next_table_generation(&self, tenant: &TenantId, route: &RouteName) -> Result<Generation, StoreError>;
    /// Keeps a version; harmless when known.
    async fn put_version(&self, tenant: &TenantId, version: &Version) -> Result<VersionId, StoreError>;
    /// Reads a version.
    async fn version(&self, tenant: &TenantId, id: VersionId) -> Result<Option<Version>, StoreError>;
    /// Writes a new release and the first row of its journal; counts it in its route. `RouteBusy`
    /// where another release of the route is not over, `Conflict` where the name is taken,
    /// `NotFound` where the route or one of the two versions is unknown.
    async fn create_release(&self, release: &Release, first: &JournalRow) -> Result<(), StoreError>;
    /// Reads a release.
    async fn release(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Option<Release>, StoreError>;
    /// All releases, the one created last first; of one route if given.
    async fn releases(&self, tenant: &TenantId, route: Option<&RouteName>) -> Result<Vec<Release>, StoreError>;
    /// State, journal and outbox in one transaction, if the release still has generation `expected`;
    /// else `Conflict`. `RouteBusy` where `next` is not over, the release was, and the route has
    /// another one by now (a rollback after promotion); `NotFound` for an unknown release.
    async fn commit_step(
        &self,
        expected: Generation,
        next: &Release,
        row: &JournalRow,
        effects: &[Effect],
    ) -> Result<(), StoreError>;
    /// The journal of a release, oldest first.
    async fn journal(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Vec<JournalRow>, StoreError>;
    /// Effects still to be done, oldest first.
    async fn outbox(&self, tenant: &TenantId) -> Result<Vec<Pending>, StoreError>;
    /// An effect was done (`Ok`: it leaves the outbox), or failed once more with this message.
    /// One that is not there any more is ignored.
    async fn settle_effect(&self, tenant: &TenantId, id: u64, outcome: Result<(), String>) -> Result<(), StoreError>;
    /// Opens an incident, with its effects in one transaction. Where one of the same id is known, open or not, or one of
    /// the same route and subject is open, that one is returned and nothing is written.
    async fn open_incident(
        &self,
        tenant: &TenantId,
        incident: &Incident,
        effects: &[Effect],
    ) -> Result<Incident, StoreError>;
    /// Adds to an incident's journal, with its effects in one transaction. `IncidentChanged` where the known one does not
    /// become `next` by more entries, `NotFound` where there is none.
    async fn update_incident(&self, tenant: &TenantId, next: &Incident, effects: &[Effect]) -> Result<(), StoreError>;
    /// The incidents, those that are open first, each newest first; at most [`INCIDENTS_MAX`].
    async fn incidents(&self, tenant: &TenantId) -> Result<Vec<Incident>, StoreError>;
    /// Adds evidence, all of the batch or nothing. A release unknown to the store is no error: its
    /// evidence is kept under its name.
    async fn add_evidence(&self, tenant: &TenantId, batch: &EvidenceBatch) -> Result<(), StoreError>;
    /// All evidence of a release, empty where there is none; sealed buckets in the order of sealing.
    async fn evidence(&self, tenant: &TenantId, id: &ReleaseId) -> Result<ReleaseEvidence, StoreError>;
    /// The mark (last counted sequence) per gateway and epoch, in their order.
    async fn counted(&self, tenant: &TenantId) -> Result<Vec<(GatewayId, u64, u64)>, StoreError>;
    /// Keeps a new key. `KeyTaken` where another one has its name, also a revoked one.
    async fn create_key(&self, tenant: &TenantId, key: &Key) -> Result<(), StoreError>;
    /// Replaces a key, if it still has generation `expected`; else `KeyChanged`. `NotFound` for an unknown one.
    async fn update_key(&self, tenant: &TenantId, expected: Generation, key: &Key) -> Result<(), StoreError>;
    /// All keys, by name.
    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Key>, StoreError>;
    /// What payers have used from this day on, by payer and day.
    async fn spending(&self, tenant: &TenantId, since: Day) -> Result<Vec<Spending>, StoreError>;
    /// Forgets what payers used before this day.
    async fn forget_spending(&self, tenant: &TenantId, before: Day) -> Result<(), StoreError>;
    /// Keeps captured answers; one that is known by its id stays as it is. Then of each arm of their routes the newest
    /// `rows_max` stay, and how many gave way is returned.
    async fn put_captures(&self, tenant: &TenantId, rows: &[CaptureRow], rows_max: u64) -> Result<u64, StoreError>;
    /// What is known of the captured answers of a release, or of a route without one, the newest first.
    async fn capture_heads(&self, tenant: &TenantId, scope: &CaptureScope) -> Result<Vec<CaptureHead>, StoreError>;
    /// One captured answer.
    async fn capture(&self, tenant: &TenantId, id: CaptureId) -> Result<Option<CaptureRow>, StoreError>;
    /// Deletes captured answers; returns how many.
    async fn delete_captures(&self, tenant: &TenantId, which: &CaptureCut) -> Result<u64, StoreError>;
    /// Notes what was done with captured texts; one that is known by its id stays as it is.
    async fn note_capture_use(&self, tenant: &TenantId, used: &CaptureUse) -> Result<(), StoreError>;
    /// What was done with captured texts since, the newest first.
    async fn capture_uses(&self, tenant: &TenantId, since: UnixMs) -> Result<Vec<CaptureUse>, StoreError>;
    /// Forgets what was done with captured texts before.
    async fn forget_capture_uses(&self, tenant: &TenantId, before: UnixMs) -> Result<(), StoreError>;
    /// A small document by name (route history, notification marks); `None` when unknown.
    async fn document(&self, tenant: &TenantId, name: &str) -> Result<Option<String>, StoreError>;
    /// Replaces a small document.
    async fn put_document(&self, tenant: &TenantId, name: &str, text: &str) -> Result<(), StoreError>;
    /// A read that touches the disk: whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Whether a seed was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// The route was unknown and now has the seed.
    New,
    /// The route was known; the seed was ignored.
    Known,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster: read again and decide again.
    #[error(
        "release {release} was changed meanwhile by {by} (generation {found}, expected {expected}); look again and repeat"
    )]
    Conflict {
        /// Which.
        release: ReleaseId,
        /// Who changed it.
        by: Actor,
        /// The generation now.
        found: Generation,
        /// The one that the writer saw.
        expected: Generation,
    },
    /// Another release of the route is not over.
    #[error("route {route} already has release {running}, which is not over; end it first")]
    RouteBusy {
        /// Which route.
        route: RouteName,
        /// The release in the way.
        running: ReleaseId,
    },
    /// What was named is not there.
    #[error("{what} is not known to the store")]
    NotFound {
        /// In words.
        what: String,
    },
    /// The name is gone for good.
    #[error("there is a key {key} already; a name is taken once, also by a key that was revoked: choose another one")]
    KeyTaken {
        /// Which.
        key: KeyName,
    },
    /// Somebody else was faster: read the key again.
    #[error("key {key} was changed meanwhile; look again and repeat")]
    KeyChanged {
        /// Which.
        key: KeyName,
    },
    /// Somebody else was faster: read the incidents again.
    #[error("incident {incident} was changed meanwhile; look again and repeat")]
    IncidentChanged {
        /// Which.
        incident: IncidentId,
    },
    /// Another intake has counted further: read the evidence again.
    #[error(
        "gateway {gateway} (epoch {epoch}) is counted up to delta {found}, and delta {offered} was offered; read the evidence again"
    )]
    Behind {
        /// Which gateway.
        gateway: GatewayId,
        /// Which of its starts.
        epoch: u64,
        /// The mark.
        found: u64,
        /// The highest that was offered.
        offered: u64,
    },
    /// The store does not answer now (locked, full, gone): try again later.
    #[error("the store does not answer: {what}")]
    Unavailable {
        /// What was tried, where, and how to mend it.
        what: String,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read by this build: do not go on.
    #[error("the store holds what this build cannot read: {what}")]
    Corrupt {
        /// In words.
        what: String,
    },
}

impl StoreError {
    pub(crate) fn unknown_route(route: &RouteName) -> Self {
        Self::NotFound { what: format!("route {route}") }
    }

    pub(crate) fn unknown_version(id: VersionId) -> Self {
        Self::NotFound { what: format!("version {id}") }
    }

    pub(crate) fn unknown_key(name: &KeyName) -> Self {
        Self::NotFound { what: format!("key {name}") }
    }

    pub(crate) fn unknown_incident(id: &IncidentId) -> Self {
        Self::NotFound { what: format!("incident {id}") }
    }

    pub(crate) fn unknown_release(id: &ReleaseId) -> Self {
        Self::NotFound { what: format!("release {id}") }
    }
}
