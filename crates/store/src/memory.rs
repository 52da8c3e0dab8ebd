//! The store in memory: the same semantics as the durable ones, for tests and the simulator, with
//! faults on request.

use crate::{
    CaptureCut, CaptureRow, EvidenceBatch, INCIDENTS_MAX, Pending, ReleaseEvidence, RouteRow, Seeded, Store, StoreError,
};
use async_trait::async_trait;
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureScope, CaptureUse};
use coalmine_core::evidence::{SealedBucket, Session, Yardstick};
use coalmine_core::id::{Actor, GatewayId, Generation, KeyName, ReleaseId, RouteName, TenantId, UnitKey};
use coalmine_core::incident::Incident;
use coalmine_core::key::{Day, Key, Payer, Spending, Used};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::shadow::young::MirroredSession;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::version::{Version, VersionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A store that forgets everything when the last clone of it goes.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `calls` calls fail with [`StoreError::Unavailable`] and do nothing.
    pub fn fail_next(&self, calls: u32) {
        self.with(|inner| inner.faults.fail_next = calls);
    }

    /// The next `calls` calls do what they are asked; the one after them fails as with [`Self::fail_next`].
    pub fn fail_after(&self, calls: u32) {
        self.with(|inner| inner.faults.fail_after = Some(calls));
    }

    /// The next `calls` calls do what they are asked, and then fail with [`StoreError::Unavailable`]:
    /// the answer is lost after the commit.
    pub fn lose_next_answers(&self, calls: u32) {
        self.with(|inner| inner.faults.lose_next = calls);
    }

    /// Every call fails with [`StoreError::Unavailable`] until [`Self::set_available`].
    pub fn set_unavailable(&self) {
        self.with(|inner| inner.faults.down = true);
    }

    /// Ends [`Self::set_unavailable`].
    pub fn set_available(&self) {
        self.with(|inner| inner.faults.down = false);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        // A test that panicked while it held the lock left no half-done change: every change below is one step.
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One call, with the faults that were asked for.
    fn call<T>(
        &self,
        tenant: &TenantId,
        work: impl FnOnce(&mut Shelf) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|inner| {
            inner.faults.before()?;
            let answer = work(inner.tenants.entry(tenant.clone()).or_default())?;
            inner.faults.after()?;
            Ok(answer)
        })
    }
}

#[derive(Debug, Default)]
struct Inner {
    tenants: BTreeMap<TenantId, Shelf>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Faults {
    down: bool,
    fail_next: u32,
    fail_after: Option<u32>,
    lose_next: u32,
}

impl Faults {
    fn before(&mut self) -> Result<(), StoreError> {
        if self.down {
            return Err(injected("was made unavailable"));
        }
        if let Some(left) = self.fail_after.take() {
            if left == 0 {
                return Err(injected("was told to fail after others"));
            }
            self.fail_after = Some(left - 1);
        }
        if self.fail_next > 0 {
            self.fail_next -= 1;
            return Err(injected("was told to fail"));
        }
        Ok(())
    }

    fn after(&mut self) -> Result<(), StoreError> {
        if self.lose_next > 0 {
            self.lose_next -= 1;
            return Err(injected("did it, and was told to lose the answer"));
        }
        Ok(())
    }
}

fn injected(how: &str) -> StoreError {
    StoreError::Unavailable { what: format!("the store in memory {how}"), source: "an injected fault".into() }
}

/// Everything of one tenant.
#[derive(Debug, Default)]
struct Shelf {
    routes: BTreeMap<RouteName, RouteRow>,
    versions: BTreeMap<VersionId, Version>,
    /// In the order of creation.
    releases: Vec<Filed>,
    outbox: Vec<Pending>,
    effects: u64,
    evidence: BTreeMap<ReleaseId, Evidence>,
    counted: BTreeMap<(GatewayId, u64), u64>,
    documents: BTreeMap<String, String>,
    keys: BTreeMap<KeyName, Key>,
    /// In the order of opening.
    incidents: Vec<Incident>,
    spending: BTreeMap<(Payer, Day), Used>,
    captures: BTreeMap<CaptureId, CaptureRow>,
    capture_uses: BTreeMap<u64, CaptureUse>,
}

/// A release with its journal.
#[derive(Debug)]
struct Filed {
    release: Release,
    changed_by: Actor,
    journal: Vec<JournalRow>,
}

#[derive(Debug, Default)]
struct Evidence {
    yardstick: Option<Yardstick>,
    /// Each with the lap of its row.
    sessions: BTreeMap<UnitKey, (u64, Arc<Session>)>,
    live_from: UnixMs,
    mirrored: BTreeMap<UnitKey, Arc<MirroredSession>>,
    sealed: Vec<SealedBucket>,
    sealed_keys: BTreeSet<(String, Stratum, u64)>,
    totals: Option<String>,
}

impl Shelf {
    fn route(&mut self, route: &RouteName) -> Result<&mut RouteRow, StoreError> {
        self.routes.get_mut(route).ok_or_else(|| StoreError::unknown_route(route))
    }

    fn need_version(&self, id: VersionId) -> Result<(), StoreError> {
        if self.versions.contains_key(&id) { Ok(()) } else { Err(StoreError::unknown_version(id)) }
    }

    fn filed(&self, id: &ReleaseId) -> Option<&Filed> {
        self.releases.iter().find(|filed| filed.release.id == *id)
    }

    fn need_free_route(&self, next: &Release) -> Result<(), StoreError> {
        let mut others = self.releases.iter().map(|filed| &filed.release);
        match others.find(|it| it.route == next.route && it.id != next.id && !it.state.is_over()) {
            Some(running) if !next.state.is_over() => {
                Err(StoreError::RouteBusy { route: next.route.clone(), running: running.id.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn create_release(&mut self, release: &Release, first: &JournalRow) -> Result<(), StoreError> {
        if let Some(filed) = self.filed(&release.id) {
            return if filed.release == *release && filed.journal == [first.clone()] {
                Ok(())
            } else {
                Err(filed.conflict(Generation::default()))
            };
        }
        self.route(&release.route)?;
        self.need_version(release.stable)?;
        self.need_version(release.canary)?;
        self.need_free_route(release)?;
        self.route(&release.route)?.releases += 1;
        let changed_by = first.actor.clone();
        self.releases.push(Filed { release: release.clone(), changed_by, journal: vec![first.clone()] });
        Ok(())
    }

    fn commit_step(
        &mut self,
        expected: Generation,
        next: &Release,
        row: &JournalRow,
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        let filed = self.filed(&next.id).ok_or_else(|| StoreError::unknown_release(&next.id))?;
        if filed.release == *next && filed.journal.last() == Some(row) {
            return Ok(());
        }
        if filed.release.generation != expected {
            return Err(filed.conflict(expected));
        }
        self.need_free_route(next)?;
        self.want(Some(&next.id), effects);
        if let Some(filed) = self.releases.iter_mut().find(|filed| filed.release.id == next.id) {
            if next.generation != expected {
                filed.changed_by = row.actor.clone();
            }
            filed.release = next.clone();
            filed.journal.push(row.clone());
        }
        Ok(())
    }

    fn add_evidence(&mut self, batch: &EvidenceBatch) -> Result<(), StoreError> {
        let marks = batch.marks();
        for ((gateway, epoch), offered) in &marks {
            let found = self.counted.get(&(gateway.clone(), *epoch)).copied().unwrap_or(0);
            if *offered < found {
                return Err(StoreError::Behind { gateway: gateway.clone(), epoch: *epoch, found, offered: *offered });
            }
        }
        self.counted.extend(marks);
        for change in &batch.releases {
            self.evidence.entry(change.release.clone()).or_default().add(change);
        }
        self.spending.extend(batch.spending.iter().map(|it| ((it.payer.clone(), it.day), it.used)));
        Ok(())
    }

    fn want(&mut self, release: Option<&ReleaseId>, effects: &[Effect]) {
        for effect in effects {
            self.effects += 1;
            let (id, release, effect) = (self.effects, release.cloned(), effect.clone());
            self.outbox.push(Pending { id, release, effect, tries: 0, last_error: None });
        }
    }

    fn open_incident(&mut self, incident: &Incident, effects: &[Effect]) -> Incident {
        let subject = (&incident.route, incident.cause.subject());
        let same =
            |it: &&Incident| it.id == incident.id || (it.is_open() && (&it.route, it.cause.subject()) == subject);
        let by_id = self.incidents.iter().find(|it| it.id == incident.id);
        if let Some(known) = by_id.or_else(|| self.incidents.iter().find(same)) {
            return known.clone();
        }
        self.incidents.push(incident.clone());
        self.want(None, effects);
        incident.clone()
    }

    fn update_incident(&mut self, next: &Incident, effects: &[Effect]) -> Result<(), StoreError> {
        let known = self.incidents.iter_mut().find(|it| it.id == next.id);
        let known = known.ok_or_else(|| StoreError::unknown_incident(&next.id))?;
        if *known == *next && next.entries.len() > 1 {
            return Ok(());
        }
        if !known.becomes(next) {
            return Err(StoreError::IncidentChanged { incident: next.id.clone() });
        }
        known.clone_from(next);
        self.want(None, effects);
        Ok(())
    }

    fn create_key(&mut self, key: &Key) -> Result<(), StoreError> {
        match self.keys.get(&key.name) {
            Some(known) if known != key => return Err(StoreError::KeyTaken { key: key.name.clone() }),
            Some(_) => {}
            None => {
                self.keys.insert(key.name.clone(), key.clone());
            }
        }
        Ok(())
    }

    fn update_key(&mut self, expected: Generation, key: &Key) -> Result<(), StoreError> {
        let known = self.keys.get_mut(&key.name).ok_or_else(|| StoreError::unknown_key(&key.name))?;
        if known != key && known.generation != expected {
            return Err(StoreError::KeyChanged { key: key.name.clone() });
        }
        known.clone_from(key);
        Ok(())
    }
}

impl Shelf {
    fn put_captures(&mut self, rows: &[CaptureRow], rows_max: u64) -> u64 {
        for row in rows {
            self.captures.entry(row.head.id).or_insert_with(|| row.clone());
        }
        let groups: BTreeSet<_> = rows.iter().map(|row| (row.head.route.clone(), row.head.arm)).collect();
        let mut gone = 0;
        for (route, arm) in groups {
            let heads = self.captures.values().map(|row| &row.head);
            let mut of_group: Vec<_> =
                heads.filter(|head| head.route == route && head.arm == arm).map(|head| (head.at, head.id)).collect();
            of_group.sort_unstable_by(|a, b| b.cmp(a));
            for (_, id) in of_group.into_iter().skip(usize::try_from(rows_max).unwrap_or(usize::MAX)) {
                self.captures.remove(&id);
                gone += 1;
            }
        }
        gone
    }

    fn delete_captures(&mut self, which: &CaptureCut) -> u64 {
        let before = self.captures.len();
        self.captures.retain(|id, row| match which {
            CaptureCut::One(one) => id != one,
            CaptureCut::Of(scope) => row.head.scope() != *scope,
            CaptureCut::ExpiredBy(now) => row.head.expires_at > *now,
        });
        (before - self.captures.len()) as u64
    }
}

impl Filed {
    fn conflict(&self, expected: Generation) -> StoreError {
        let (release, by) = (self.release.id.clone(), self.changed_by.clone());
        StoreError::Conflict { release, by, found: self.release.generation, expected }
    }
}

impl Evidence {
    fn add(&mut self, change: &ReleaseEvidence) {
        if change.yardstick.is_some() {
            self.yardstick.clone_from(&change.yardstick);
        }
        if change.totals.is_some() {
            self.totals.clone_from(&change.totals);
        }
        self.sessions.extend(change.sessions.iter().map(|(unit, row)| (*unit, (change.lap, Arc::clone(row)))));
        self.live_from = self.live_from.max(change.live_from);
        if change.whole_from > 0 || change.live_from > UnixMs(0) {
            let from = (change.whole_from, self.live_from);
            self.sessions.retain(|_, (lap, session)| *lap >= from.0 && session.exposed_at >= from.1);
        }
        self.mirrored.extend(change.mirrored.iter().cloned());
        for unit in &change.unmirrored {
            self.mirrored.remove(unit);
        }
        for sealed in &change.sealed {
            if self.sealed_keys.insert((sealed.posting(), sealed.stratum, sealed.bucket)) {
                self.sealed.push(sealed.clone());
            }
        }
    }

    fn read(&self, release: &ReleaseId) -> ReleaseEvidence {
        ReleaseEvidence {
            yardstick: self.yardstick.clone(),
            sessions: self.sessions.iter().map(|(unit, (_, session))| (*unit, Arc::clone(session))).collect(),
            lap: self.sessions.values().map(|(lap, _)| *lap).max().unwrap_or(0),
            live_from: self.live_from,
            mirrored: self.mirrored.iter().map(|(unit, session)| (*unit, Arc::clone(session))).collect(),
            sealed: self.sealed.clone(),
            totals: self.totals.clone(),
            ..ReleaseEvidence::empty(release.clone())
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn seed_route(
        &self,
        tenant: &TenantId,
        route: &RouteName,
        stable: &Version,
    ) -> Result<(RouteRow, Seeded), StoreError> {
        self.call(tenant, |shelf| {
            if let Some(row) = shelf.routes.get(route) {
                return Ok((row.clone(), Seeded::Known));
            }
            let id = stable.id();
            shelf.versions.insert(id, stable.clone());
            let row =
                RouteRow { route: route.clone(), stable: id, table_generation: Generation::default(), releases: 0 };
            shelf.routes.insert(route.clone(), row.clone());
            Ok((row, Seeded::New))
        })
    }

    async fn routes(&self, tenant: &TenantId) -> Result<Vec<RouteRow>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.routes.values().cloned().collect()))
    }

    async fn set_stable(
        &self,
        tenant: &TenantId,
        route: &RouteName,
        stable: VersionId,
    ) -> Result<RouteRow, StoreError> {
        self.call(tenant, |shelf| {
            shelf.need_version(stable)?;
            let row = shelf.route(route)?;
            row.stable = stable;
            Ok(row.clone())
        })
    }

    async fn next_table_generation(&self, tenant: &TenantId, route: &RouteName) -> Result<Generation, StoreError> {
        self.call(tenant, |shelf| {
            let row = shelf.route(route)?;
            row.table_generation = row.table_generation.next();
            Ok(row.table_generation)
        })
    }

    async fn put_version(&self, tenant: &TenantId, version: &Version) -> Result<VersionId, StoreError> {
        self.call(tenant, |shelf| {
            let id = version.id();
            shelf.versions.insert(id, version.clone());
            Ok(id)
        })
    }

    async fn version(&self, tenant: &TenantId, id: VersionId) -> Result<Option<Version>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.versions.get(&id).cloned()))
    }

    async fn create_release(&self, release: &Release, first: &JournalRow) -> Result<(), StoreError> {
        self.call(&release.tenant, |shelf| shelf.create_release(release, first))
    }

    async fn release(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Option<Release>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.filed(id).map(|filed| filed.release.clone())))
    }

    async fn releases(&self, tenant: &TenantId, route: Option<&RouteName>) -> Result<Vec<Release>, StoreError> {
        self.call(tenant, |shelf| {
            let newest_first = shelf.releases.iter().rev().map(|filed| &filed.release);
            Ok(newest_first.filter(|it| route.is_none_or(|route| it.route == *route)).cloned().collect())
        })
    }

    async fn commit_step(
        &self,
        expected: Generation,
        next: &Release,
        row: &JournalRow,
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        self.call(&next.tenant, |shelf| shelf.commit_step(expected, next, row, effects))
    }

    async fn journal(&self, tenant: &TenantId, id: &ReleaseId) -> Result<Vec<JournalRow>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.filed(id).map_or_else(Vec::new, |filed| filed.journal.clone())))
    }

    async fn outbox(&self, tenant: &TenantId) -> Result<Vec<Pending>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.outbox.clone()))
    }

    async fn settle_effect(&self, tenant: &TenantId, id: u64, outcome: Result<(), String>) -> Result<(), StoreError> {
        self.call(tenant, |shelf| {
            match outcome {
                Ok(()) => shelf.outbox.retain(|pending| pending.id != id),
                Err(message) => {
                    if let Some(pending) = shelf.outbox.iter_mut().find(|pending| pending.id == id) {
                        pending.tries += 1;
                        pending.last_error = Some(message);
                    }
                }
            }
            Ok(())
        })
    }

    async fn open_incident(
        &self,
        tenant: &TenantId,
        incident: &Incident,
        effects: &[Effect],
    ) -> Result<Incident, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.open_incident(incident, effects)))
    }

    async fn update_incident(&self, tenant: &TenantId, next: &Incident, effects: &[Effect]) -> Result<(), StoreError> {
        self.call(tenant, |shelf| shelf.update_incident(next, effects))
    }

    async fn incidents(&self, tenant: &TenantId) -> Result<Vec<Incident>, StoreError> {
        self.call(tenant, |shelf| {
            let (open, over): (Vec<_>, Vec<_>) = shelf.incidents.iter().rev().cloned().partition(Incident::is_open);
            Ok(open.into_iter().chain(over).take(INCIDENTS_MAX).collect())
        })
    }

    async fn add_evidence(&self, tenant: &TenantId, batch: &EvidenceBatch) -> Result<(), StoreError> {
        self.call(tenant, |shelf| shelf.add_evidence(batch))
    }

    async fn evidence(&self, tenant: &TenantId, id: &ReleaseId) -> Result<ReleaseEvidence, StoreError> {
        self.call(tenant, |shelf| {
            Ok(shelf.evidence.get(id).map_or_else(|| ReleaseEvidence::empty(id.clone()), |known| known.read(id)))
        })
    }

    async fn counted(&self, tenant: &TenantId) -> Result<Vec<(GatewayId, u64, u64)>, StoreError> {
        self.call(tenant, |shelf| {
            let marks = shelf.counted.iter();
            Ok(marks.map(|((gateway, epoch), sequence)| (gateway.clone(), *epoch, *sequence)).collect())
        })
    }

    async fn create_key(&self, tenant: &TenantId, key: &Key) -> Result<(), StoreError> {
        self.call(tenant, |shelf| shelf.create_key(key))
    }

    async fn update_key(&self, tenant: &TenantId, expected: Generation, key: &Key) -> Result<(), StoreError> {
        self.call(tenant, |shelf| shelf.update_key(expected, key))
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Key>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.keys.values().cloned().collect()))
    }

    async fn spending(&self, tenant: &TenantId, since: Day) -> Result<Vec<Spending>, StoreError> {
        self.call(tenant, |shelf| {
            let days = shelf.spending.iter().filter(|((_, day), _)| *day >= since);
            Ok(days.map(|((payer, day), used)| Spending { payer: payer.clone(), day: *day, used: *used }).collect())
        })
    }

    async fn forget_spending(&self, tenant: &TenantId, before: Day) -> Result<(), StoreError> {
        self.call(tenant, |shelf| {
            shelf.spending.retain(|(_, day), _| *day >= before);
            Ok(())
        })
    }

    async fn put_captures(&self, tenant: &TenantId, rows: &[CaptureRow], rows_max: u64) -> Result<u64, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.put_captures(rows, rows_max)))
    }

    async fn capture_heads(&self, tenant: &TenantId, scope: &CaptureScope) -> Result<Vec<CaptureHead>, StoreError> {
        self.call(tenant, |shelf| {
            let of_scope = shelf.captures.values().map(|row| &row.head).filter(|head| head.scope() == *scope);
            let mut heads: Vec<CaptureHead> = of_scope.cloned().collect();
            heads.sort_by_key(|head| std::cmp::Reverse((head.at, head.id)));
            Ok(heads)
        })
    }

    async fn capture(&self, tenant: &TenantId, id: CaptureId) -> Result<Option<CaptureRow>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.captures.get(&id).cloned()))
    }

    async fn delete_captures(&self, tenant: &TenantId, which: &CaptureCut) -> Result<u64, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.delete_captures(which)))
    }

    async fn note_capture_use(&self, tenant: &TenantId, used: &CaptureUse) -> Result<(), StoreError> {
        self.call(tenant, |shelf| {
            shelf.capture_uses.entry(used.id).or_insert_with(|| used.clone());
            Ok(())
        })
    }

    async fn capture_uses(&self, tenant: &TenantId, since: UnixMs) -> Result<Vec<CaptureUse>, StoreError> {
        self.call(tenant, |shelf| {
            let mut uses: Vec<CaptureUse> = shelf.capture_uses.values().filter(|it| it.at >= since).cloned().collect();
            uses.sort_by_key(|it| std::cmp::Reverse((it.at, it.id)));
            Ok(uses)
        })
    }

    async fn forget_capture_uses(&self, tenant: &TenantId, before: UnixMs) -> Result<(), StoreError> {
        self.call(tenant, |shelf| {
            shelf.capture_uses.retain(|_, it| it.at >= before);
            Ok(())
        })
    }

    async fn document(&self, tenant: &TenantId, name: &str) -> Result<Option<String>, StoreError> {
        self.call(tenant, |shelf| Ok(shelf.documents.get(name).cloned()))
    }

    async fn put_document(&self, tenant: &TenantId, name: &str, text: &str) -> Result<(), StoreError> {
        self.call(tenant, |shelf| {
            shelf.documents.insert(name.to_owned(), text.to_owned());
            Ok(())
        })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(|inner| {
            inner.faults.before()?;
            inner.faults.after()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;

    crate::for_every_law!((MemoryStore::new(), ()));

    #[tokio::test]
    async fn a_failed_call_does_nothing_and_a_lost_answer_did_it() {
        let store = MemoryStore::new();
        store.fail_next(1);
        let failed = store.put_document(&sample::tenant(), "name", "text").await;
        assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
        assert_eq!(store.document(&sample::tenant(), "name").await.unwrap(), None);
        store.lose_next_answers(1);
        let lost = store.put_document(&sample::tenant(), "name", "text").await;
        assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
        assert_eq!(store.document(&sample::tenant(), "name").await.unwrap().as_deref(), Some("text"));
    }

    #[tokio::test]
    async fn it_is_down_until_it_is_up() {
        let store = MemoryStore::new();
        store.set_unavailable();
        for _ in 0..3 {
            assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
        }
        store.set_available();
        store.ping().await.unwrap();
    }
}
