//! Every query. Each names the tenant.

use super::failure::Failure;
use super::sessions;
use crate::rows::{Document, decode};
use crate::{INCIDENTS_MAX, Pending, ReleaseEvidence, RouteRow, StoreError};
use coalmine_core::evidence::SealedBucket;
use coalmine_core::id::{
    Actor, CustomerId, GatewayId, Generation, IncidentId, KeyName, ReleaseId, RouteName, TenantId, UnitKey,
};
use coalmine_core::incident::Incident;
use coalmine_core::key::{Day, Key, Payer, Spending, Usd, Used};
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::time::UnixMs;
use coalmine_core::version::{Version, VersionId};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::sync::Arc;

/// A release as filed: its document, and what queries need beside it.
pub(super) struct Filed {
    pub(super) release: Release,
    pub(super) changed_by: Actor,
}

pub(super) fn routes(db: &Connection, tenant: &TenantId) -> Result<Vec<RouteRow>, Failure> {
    let query = "SELECT route, stable, table_generation, releases FROM routes WHERE tenant = ?1 ORDER BY route";
    rows(db, query, params![tenant.as_str()], route_row)?.into_iter().collect()
}

pub(super) fn route(db: &Connection, tenant: &TenantId, route: &RouteName) -> Result<Option<RouteRow>, Failure> {
    let query = "SELECT route, stable, table_generation, releases FROM routes WHERE tenant = ?1 AND route = ?2";
    one(db, query, params![tenant.as_str(), route.as_str()], route_row)?.transpose()
}

/// The outer result is SQLite's, the inner one ours.
fn route_row(row: &Row<'_>) -> rusqlite::Result<Result<RouteRow, Failure>> {
    let (route, stable): (String, String) = (row.get(0)?, row.get(1)?);
    let (table_generation, releases) = (Generation(unsigned(row.get(2)?)), unsigned(row.get(3)?));
    Ok(match VersionId::from_hex(&stable) {
        Some(stable) => Ok(RouteRow { route: RouteName(route), stable, table_generation, releases }),
        None => Err(StoreError::Corrupt { what: format!("route {route} has a stable version that is no hash") }.into()),
    })
}

pub(super) fn version(db: &Connection, tenant: &TenantId, id: VersionId) -> Result<Option<Version>, Failure> {
    let query = "SELECT document FROM versions WHERE tenant = ?1 AND version = ?2";
    document_of(db, query, params![tenant.as_str(), id.to_hex()])
}

pub(super) fn release(db: &Connection, tenant: &TenantId, id: &ReleaseId) -> Result<Option<Release>, Failure> {
    Ok(filed(db, tenant, id)?.map(|filed| filed.release))
}

pub(super) fn filed(db: &Connection, tenant: &TenantId, id: &ReleaseId) -> Result<Option<Filed>, Failure> {
    let query = "SELECT document, changed_by FROM releases WHERE tenant = ?1 AND release = ?2";
    let found = one(db, query, params![tenant.as_str(), id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some((text, changed_by)): Option<(String, String)> = found else { return Ok(None) };
    Ok(Some(Filed { release: decode(&text)?, changed_by: Actor(changed_by) }))
}

/// The unfinished release of `next`'s route, where it is another one.
pub(super) fn running(db: &Connection, next: &Release) -> Result<Option<ReleaseId>, Failure> {
    let query = "SELECT release FROM releases WHERE tenant = ?1 AND route = ?2 AND is_over = 0 AND release <> ?3";
    let key = params![next.tenant.as_str(), next.route.as_str(), next.id.as_str()];
    one(db, query, key, |row| row.get(0).map(ReleaseId))
}

pub(super) fn releases(db: &Connection, tenant: &TenantId, route: Option<&RouteName>) -> Result<Vec<Release>, Failure> {
    let query = "SELECT document FROM releases WHERE tenant = ?1 AND (?2 IS NULL OR route = ?2) ORDER BY number DESC";
    documents_of(db, query, params![tenant.as_str(), route.map(RouteName::as_str)])
}

pub(super) fn journal(db: &Connection, tenant: &TenantId, id: &ReleaseId) -> Result<Vec<JournalRow>, Failure> {
    let query = "SELECT document FROM journal WHERE tenant = ?1 AND release = ?2 ORDER BY number";
    documents_of(db, query, params![tenant.as_str(), id.as_str()])
}

pub(super) fn last_journal_row(
    db: &Connection,
    tenant: &TenantId,
    id: &ReleaseId,
) -> Result<Option<JournalRow>, Failure> {
    let query = "SELECT document FROM journal WHERE tenant = ?1 AND release = ?2 ORDER BY number DESC LIMIT 1";
    document_of(db, query, params![tenant.as_str(), id.as_str()])
}

pub(super) fn outbox(db: &Connection, tenant: &TenantId) -> Result<Vec<Pending>, Failure> {
    let query = "SELECT number, release, tries, last_error, document FROM outbox WHERE tenant = ?1 ORDER BY number";
    let read = |row: &Row<'_>| {
        let (number, release, tries, last_error) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let release = Some(ReleaseId(release)).filter(|release| !release.as_str().is_empty());
        Ok((unsigned(number), release, tries, last_error, row.get::<_, String>(4)?))
    };
    let found = rows(db, query, params![tenant.as_str()], read)?;
    let pending = found.into_iter().map(|(id, release, tries, last_error, text)| {
        Ok(Pending { id, release, effect: decode(&text)?, tries, last_error })
    });
    pending.collect()
}

pub(super) fn incidents(db: &Connection, tenant: &TenantId) -> Result<Vec<Incident>, Failure> {
    let query = "SELECT document FROM incidents WHERE tenant = ?1 ORDER BY is_open DESC, number DESC LIMIT ?2";
    documents_of(db, query, params![tenant.as_str(), INCIDENTS_MAX as i64])
}

pub(super) fn incident(db: &Connection, tenant: &TenantId, id: &IncidentId) -> Result<Option<Incident>, Failure> {
    let query = "SELECT document FROM incidents WHERE tenant = ?1 AND incident = ?2";
    document_of(db, query, params![tenant.as_str(), id.as_str()])
}

/// The open one of the same subject.
pub(super) fn open_incident(db: &Connection, tenant: &TenantId, like: &Incident) -> Result<Option<Incident>, Failure> {
    let query = "SELECT document FROM incidents WHERE tenant = ?1 AND route = ?2 AND subject = ?3 AND is_open = 1";
    document_of(db, query, params![tenant.as_str(), like.route.as_str(), like.cause.subject()])
}

/// In one transaction, so that its parts fit together.
pub(super) fn evidence(db: &mut Connection, tenant: &TenantId, id: &ReleaseId) -> Result<ReleaseEvidence, Failure> {
    let db = db.transaction()?;
    let key = params![tenant.as_str(), id.as_str()];
    let query = "SELECT yardstick, totals, live_from FROM evidence WHERE tenant = ?1 AND release = ?2";
    let found = one(&db, query, key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (yardstick, totals, live_from): (Option<String>, Option<String>, i64) = found.unwrap_or_default();
    let query = "SELECT document FROM sealed_buckets WHERE tenant = ?1 AND release = ?2 ORDER BY ordinal";
    let sealed: Vec<SealedBucket> = documents_of(&db, query, key)?;
    let mut evidence = ReleaseEvidence {
        yardstick: yardstick.as_deref().map(decode).transpose()?,
        live_from: UnixMs(unsigned(live_from)),
        mirrored: by_unit(
            &db,
            "SELECT unit, document FROM mirrored_sessions WHERE tenant = ?1 AND release = ?2 ORDER BY unit",
            key,
        )?,
        sealed,
        totals,
        ..ReleaseEvidence::empty(id.clone())
    };
    sessions::read(&db, tenant, &mut evidence)?;
    Ok(evidence)
}

fn by_unit<T: Document>(
    db: &Connection,
    query: &str,
    key: &[&dyn rusqlite::ToSql],
) -> Result<Vec<(UnitKey, Arc<T>)>, Failure> {
    let found = rows(db, query, key, |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?)))?;
    found.into_iter().map(|(unit, text)| Ok((UnitKey(u128::from_be_bytes(unit)), Arc::new(decode(&text)?)))).collect()
}

pub(super) fn counted(db: &Connection, tenant: &TenantId) -> Result<Vec<(GatewayId, u64, u64)>, Failure> {
    let query = "SELECT gateway, epoch, sequence FROM counted WHERE tenant = ?1";
    let read = |row: &Row<'_>| Ok((GatewayId(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?)));
    let mut marks = rows(db, query, params![tenant.as_str()], read)?;
    marks.sort_unstable();
    Ok(marks)
}

pub(super) fn mark(db: &Connection, tenant: &TenantId, gateway: &GatewayId, epoch: u64) -> Result<u64, Failure> {
    let query = "SELECT sequence FROM counted WHERE tenant = ?1 AND gateway = ?2 AND epoch = ?3";
    let found = one(db, query, params![tenant.as_str(), gateway.as_str(), epoch.cast_signed()], |row| row.get(0))?;
    Ok(found.map_or(0, unsigned))
}

pub(super) fn keys(db: &Connection, tenant: &TenantId) -> Result<Vec<Key>, Failure> {
    documents_of(db, "SELECT document FROM client_keys WHERE tenant = ?1 ORDER BY key", params![tenant.as_str()])
}

pub(super) fn key(db: &Connection, tenant: &TenantId, name: &KeyName) -> Result<Option<Key>, Failure> {
    let query = "SELECT document FROM client_keys WHERE tenant = ?1 AND key = ?2";
    document_of(db, query, params![tenant.as_str(), name.as_str()])
}

pub(super) fn spending(db: &Connection, tenant: &TenantId, since: Day) -> Result<Vec<Spending>, Failure> {
    let query = "SELECT payer, day, requests, tokens, cost FROM spending WHERE tenant = ?1 AND day >= ?2";
    let read = |row: &Row<'_>| {
        let used =
            Used { requests: unsigned(row.get(2)?), tokens: unsigned(row.get(3)?), cost: Usd(unsigned(row.get(4)?)) };
        Ok((row.get::<_, String>(0)?, Day(unsigned(row.get(1)?)), used))
    };
    let found = rows(db, query, params![tenant.as_str(), since.0.cast_signed()], read)?.into_iter();
    let days = found.map(|(text, day, used)| Ok(Spending { payer: payer(&text)?, day, used }));
    let mut days: Vec<Spending> = days.collect::<Result<_, Failure>>()?;
    days.sort_by(|a, b| (&a.payer, a.day).cmp(&(&b.payer, b.day)));
    Ok(days)
}

/// As a column holds it.
pub(super) fn payer_text(payer: &Payer) -> String {
    match payer {
        Payer::Key(name) => format!("key/{name}"),
        Payer::Customer(name) => format!("customer/{name}"),
        Payer::Tenant => "tenant".to_owned(),
    }
}

fn payer(text: &str) -> Result<Payer, StoreError> {
    match text.split_once('/') {
        Some(("key", name)) => Ok(Payer::Key(KeyName::from(name))),
        Some(("customer", name)) => Ok(Payer::Customer(CustomerId::from(name))),
        None if text == "tenant" => Ok(Payer::Tenant),
        Some(_) | None => Err(StoreError::Corrupt { what: "spending of a payer that is none".to_owned() }),
    }
}

pub(super) fn document(db: &Connection, tenant: &TenantId, name: &str) -> Result<Option<String>, Failure> {
    let query = "SELECT text FROM documents WHERE tenant = ?1 AND name = ?2";
    one(db, query, params![tenant.as_str(), name], |row| row.get(0))
}

pub(super) fn ping(db: &Connection) -> Result<(), Failure> {
    one(db, "SELECT version FROM schema_version LIMIT 1", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}

/// Unsigned numbers are stored as their 64 bits.
fn unsigned(stored: i64) -> u64 {
    stored.cast_unsigned()
}

pub(super) fn one<T>(
    db: &Connection,
    query: &str,
    key: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Failure> {
    Ok(db.prepare_cached(query)?.query_row(key, read).optional()?)
}

pub(super) fn rows<T>(
    db: &Connection,
    query: &str,
    key: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Failure> {
    Ok(db.prepare_cached(query)?.query_map(key, read)?.collect::<Result<_, _>>()?)
}

fn document_of<T: Document>(db: &Connection, query: &str, key: impl Params) -> Result<Option<T>, Failure> {
    let text: Option<String> = one(db, query, key, |row| row.get(0))?;
    Ok(text.as_deref().map(decode).transpose()?)
}

pub(super) fn documents_of<T: Document>(db: &Connection, query: &str, key: impl Params) -> Result<Vec<T>, Failure> {
    let texts: Vec<String> = rows(db, query, key, |row| row.get(0))?;
    texts.iter().map(|text| Ok(decode(text)?)).collect()
}
