//! Every change, each in one transaction that is written from the start: nothing read in it can
//! have changed when it commits.

use super::failure::Failure;
use super::{read, sessions};
use crate::rows::encode;
use crate::{EvidenceBatch, ReleaseEvidence, RouteRow, Seeded, StoreError};
use coalmine_core::id::{Generation, ReleaseId, RouteName, TenantId};
use coalmine_core::incident::Incident;
use coalmine_core::key::{Day, Key, Spending};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::version::{Version, VersionId};
use rusqlite::{Connection, Params, Transaction, TransactionBehavior, params};

pub(super) fn seed_route(
    db: &mut Connection,
    tenant: &TenantId,
    route: &RouteName,
    stable: &Version,
) -> Result<(RouteRow, Seeded), Failure> {
    let tx = begin(db)?;
    if let Some(known) = read::route(&tx, tenant, route)? {
        return Ok((known, Seeded::Known));
    }
    let id = insert_version(&tx, tenant, stable)?;
    run(
        &tx,
        "INSERT INTO routes (tenant, route, stable, table_generation, releases) VALUES (?1, ?2, ?3, 0, 0)",
        params![tenant.as_str(), route.as_str(), id.to_hex()],
    )?;
    tx.commit()?;
    let row = RouteRow { route: route.clone(), stable: id, table_generation: Generation::default(), releases: 0 };
    Ok((row, Seeded::New))
}

pub(super) fn set_stable(
    db: &mut Connection,
    tenant: &TenantId,
    route: &RouteName,
    stable: VersionId,
) -> Result<RouteRow, Failure> {
    let tx = begin(db)?;
    need_version(&tx, tenant, stable)?;
    let row = need_route(&tx, tenant, route)?;
    run(
        &tx,
        "UPDATE routes SET stable = ?3 WHERE tenant = ?1 AND route = ?2",
        params![tenant.as_str(), route.as_str(), stable.to_hex()],
    )?;
    tx.commit()?;
    Ok(RouteRow { stable, ..row })
}

pub(super) fn next_table_generation(
    db: &mut Connection,
    tenant: &TenantId,
    route: &RouteName,
) -> Result<Generation, Failure> {
    let tx = begin(db)?;
    let next = need_route(&tx, tenant, route)?.table_generation.next();
    run(
        &tx,
        "UPDATE routes SET table_generation = ?3 WHERE tenant = ?1 AND route = ?2",
        params![tenant.as_str(), route.as_str(), next.0.cast_signed()],
    )?;
    tx.commit()?;
    Ok(next)
}

pub(super) fn put_version(db: &mut Connection, tenant: &TenantId, version: &Version) -> Result<VersionId, Failure> {
    let tx = begin(db)?;
    let id = insert_version(&tx, tenant, version)?;
    tx.commit()?;
    Ok(id)
}

pub(super) fn create_release(db: &mut Connection, release: &Release, first: &JournalRow) -> Result<(), Failure> {
    let tx = begin(db)?;
    let tenant = &release.tenant;
    if let Some(filed) = read::filed(&tx, tenant, &release.id)? {
        let same = filed.release == *release && read::journal(&tx, tenant, &release.id)? == [first.clone()];
        return if same { Ok(()) } else { Err(conflict(&filed, Generation::default())) };
    }
    need_route(&tx, tenant, &release.route)?;
    need_version(&tx, tenant, release.stable)?;
    need_version(&tx, tenant, release.canary)?;
    need_free_route(&tx, release)?;
    run(
        &tx,
        "INSERT INTO releases (tenant, release, route, generation, is_over, changed_by, document)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            tenant.as_str(),
            release.id.as_str(),
            release.route.as_str(),
            release.generation.0.cast_signed(),
            release.state.is_over(),
            first.actor.as_str(),
            encode(release)?
        ],
    )?;
    run(
        &tx,
        "UPDATE routes SET releases = releases + 1 WHERE tenant = ?1 AND route = ?2",
        params![tenant.as_str(), release.route.as_str()],
    )?;
    insert_journal_row(&tx, release, first)?;
    tx.commit()?;
    Ok(())
}

pub(super) fn commit_step(
    db: &mut Connection,
    expected: Generation,
    next: &Release,
    row: &JournalRow,
    effects: &[Effect],
) -> Result<(), Failure> {
    let tx = begin(db)?;
    let filed = read::filed(&tx, &next.tenant, &next.id)?.ok_or_else(|| StoreError::unknown_release(&next.id))?;
    if filed.release == *next && read::last_journal_row(&tx, &next.tenant, &next.id)?.as_ref() == Some(row) {
        return Ok(());
    }
    if filed.release.generation != expected {
        return Err(conflict(&filed, expected));
    }
    need_free_route(&tx, next)?;
    let changed_by = if next.generation == expected { &filed.changed_by } else { &row.actor };
    run(
        &tx,
        "UPDATE releases SET generation = ?3, is_over = ?4, changed_by = ?5, document = ?6
         WHERE tenant = ?1 AND release = ?2",
        params![
            next.tenant.as_str(),
            next.id.as_str(),
            next.generation.0.cast_signed(),
            next.state.is_over(),
            changed_by.as_str(),
            encode(next)?
        ],
    )?;
    insert_journal_row(&tx, next, row)?;
    insert_effects(&tx, &next.tenant, Some(&next.id), effects)?;
    tx.commit()?;
    Ok(())
}

pub(super) fn settle_effect(
    db: &mut Connection,
    tenant: &TenantId,
    id: u64,
    outcome: &Result<(), String>,
) -> Result<(), Failure> {
    let tx = begin(db)?;
    let (tenant, id) = (tenant.as_str(), id.cast_signed());
    match outcome {
        Ok(()) => run(&tx, "DELETE FROM outbox WHERE tenant = ?1 AND number = ?2", params![tenant, id])?,
        Err(message) => run(
            &tx,
            "UPDATE outbox SET tries = tries + 1, last_error = ?3 WHERE tenant = ?1 AND number = ?2",
            params![tenant, id, message],
        )?,
    }
    tx.commit()?;
    Ok(())
}

pub(super) fn add_evidence(db: &mut Connection, tenant: &TenantId, batch: &EvidenceBatch) -> Result<(), Failure> {
    let tx = begin(db)?;
    for ((gateway, epoch), offered) in batch.marks() {
        let found = read::mark(&tx, tenant, &gateway, epoch)?;
        if offered < found {
            return Err(StoreError::Behind { gateway, epoch, found, offered }.into());
        }
        run(
            &tx,
            "INSERT INTO counted (tenant, gateway, epoch, sequence) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET sequence = excluded.sequence",
            params![tenant.as_str(), gateway.as_str(), epoch.cast_signed(), offered.cast_signed()],
        )?;
    }
    for change in &batch.releases {
        add_release_evidence(&tx, tenant, change)?;
    }
    for spending in &batch.spending {
        put_spending(&tx, tenant, spending)?;
    }
    tx.commit()?;
    Ok(())
}

fn add_release_evidence(tx: &Transaction<'_>, tenant: &TenantId, change: &ReleaseEvidence) -> Result<(), Failure> {
    let (owner, release) = (tenant.as_str(), change.release.as_str());
    let live_from = sessions::time(change.live_from);
    if change.yardstick.is_some() || change.totals.is_some() || live_from > 0 {
        run(
            tx,
            "INSERT INTO evidence (tenant, release, yardstick, totals, live_from) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET yardstick = coalesce(excluded.yardstick, yardstick),
                                       totals = coalesce(excluded.totals, totals),
                                       live_from = max(excluded.live_from, live_from)",
            params![owner, release, change.yardstick.as_ref().map(encode).transpose()?, change.totals, live_from],
        )?;
    }
    sessions::add(tx, tenant, change)?;
    add_mirrored(tx, owner, change)?;
    for sealed in &change.sealed {
        let (stratum, bucket) = (sealed.stratum.0, sealed.bucket.cast_signed());
        run(
            tx,
            "INSERT INTO sealed_buckets (tenant, release, number, stratum, bucket, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            params![owner, release, sealed.posting(), stratum, bucket, encode(sealed)?],
        )?;
    }
    Ok(())
}

fn add_mirrored(tx: &Transaction<'_>, tenant: &str, change: &ReleaseEvidence) -> Result<(), Failure> {
    let release = change.release.as_str();
    for (unit, session) in &change.mirrored {
        run(
            tx,
            "INSERT INTO mirrored_sessions (tenant, release, unit, document) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET document = excluded.document",
            params![tenant, release, unit.0.to_be_bytes(), encode(&**session)?],
        )?;
    }
    for unit in &change.unmirrored {
        run(
            tx,
            "DELETE FROM mirrored_sessions WHERE tenant = ?1 AND release = ?2 AND unit = ?3",
            params![tenant, release, unit.0.to_be_bytes()],
        )?;
    }
    Ok(())
}

fn put_spending(tx: &Transaction<'_>, tenant: &TenantId, spending: &Spending) -> Result<(), Failure> {
    let Spending { payer, day, used } = spending;
    run(
        tx,
        "INSERT INTO spending (tenant, payer, day, requests, tokens, cost) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET requests = excluded.requests, tokens = excluded.tokens, cost = excluded.cost",
        params![
            tenant.as_str(),
            read::payer_text(payer),
            day.0.cast_signed(),
            used.requests.cast_signed(),
            used.tokens.cast_signed(),
            used.cost.0.cast_signed()
        ],
    )
}

pub(super) fn forget_spending(db: &mut Connection, tenant: &TenantId, before: Day) -> Result<(), Failure> {
    let tx = begin(db)?;
    let query = "DELETE FROM spending WHERE tenant = ?1 AND day < ?2";
    run(&tx, query, params![tenant.as_str(), before.0.cast_signed()])?;
    tx.commit()?;
    Ok(())
}

pub(super) fn create_key(db: &mut Connection, tenant: &TenantId, key: &Key) -> Result<(), Failure> {
    let tx = begin(db)?;
    if let Some(known) = read::key(&tx, tenant, &key.name)? {
        return if known == *key { Ok(()) } else { Err(StoreError::KeyTaken { key: key.name.clone() }.into()) };
    }
    run(
        &tx,
        "INSERT INTO client_keys (tenant, key, generation, document) VALUES (?1, ?2, ?3, ?4)",
        params![tenant.as_str(), key.name.as_str(), key.generation.0.cast_signed(), encode(key)?],
    )?;
    tx.commit()?;
    Ok(())
}

pub(super) fn update_key(
    db: &mut Connection,
    tenant: &TenantId,
    expected: Generation,
    key: &Key,
) -> Result<(), Failure> {
    let tx = begin(db)?;
    let known = read::key(&tx, tenant, &key.name)?.ok_or_else(|| StoreError::unknown_key(&key.name))?;
    if known == *key {
        return Ok(());
    }
    if known.generation != expected {
        return Err(StoreError::KeyChanged { key: key.name.clone() }.into());
    }
    run(
        &tx,
        "UPDATE client_keys SET generation = ?3, document = ?4 WHERE tenant = ?1 AND key = ?2",
        params![tenant.as_str(), key.name.as_str(), key.generation.0.cast_signed(), encode(key)?],
    )?;
    tx.commit()?;
    Ok(())
}

pub(super) fn open_incident(
    db: &mut Connection,
    tenant: &TenantId,
    incident: &Incident,
    effects: &[Effect],
) -> Result<Incident, Failure> {
    let tx = begin(db)?;
    let same = read::incident(&tx, tenant, &incident.id)?;
    if let Some(known) = same.map_or_else(|| read::open_incident(&tx, tenant, incident), |known| Ok(Some(known)))? {
        return Ok(known);
    }
    run(
        &tx,
        "INSERT INTO incidents (tenant, incident, route, subject, is_open, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            tenant.as_str(),
            incident.id.as_str(),
            incident.route.as_str(),
            incident.cause.subject(),
            incident.is_open(),
            encode(incident)?
        ],
    )?;
    insert_effects(&tx, tenant, None, effects)?;
    tx.commit()?;
    Ok(incident.clone())
}

pub(super) fn update_incident(
    db: &mut Connection,
    tenant: &TenantId,
    next: &Incident,
    effects: &[Effect],
) -> Result<(), Failure> {
    let tx = begin(db)?;
    let known = read::incident(&tx, tenant, &next.id)?.ok_or_else(|| StoreError::unknown_incident(&next.id))?;
    if known == *next && next.entries.len() > 1 {
        return Ok(());
    }
    if !known.becomes(next) {
        return Err(StoreError::IncidentChanged { incident: next.id.clone() }.into());
    }
    run(
        &tx,
        "UPDATE incidents SET is_open = ?3, document = ?4 WHERE tenant = ?1 AND incident = ?2",
        params![tenant.as_str(), next.id.as_str(), next.is_open(), encode(next)?],
    )?;
    insert_effects(&tx, tenant, None, effects)?;
    tx.commit()?;
    Ok(())
}

pub(super) fn put_document(db: &mut Connection, tenant: &TenantId, name: &str, text: &str) -> Result<(), Failure> {
    let tx = begin(db)?;
    run(
        &tx,
        "INSERT INTO documents (tenant, name, text) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET text = excluded.text",
        params![tenant.as_str(), name, text],
    )?;
    tx.commit()?;
    Ok(())
}

pub(super) fn begin(db: &mut Connection) -> Result<Transaction<'_>, Failure> {
    Ok(db.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

pub(super) fn run(db: &Connection, change: &str, values: impl Params) -> Result<(), Failure> {
    db.prepare_cached(change)?.execute(values)?;
    Ok(())
}

fn insert_version(tx: &Transaction<'_>, tenant: &TenantId, version: &Version) -> Result<VersionId, Failure> {
    let id = version.id();
    run(
        tx,
        "INSERT INTO versions (tenant, version, document) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![tenant.as_str(), id.to_hex(), encode(version)?],
    )?;
    Ok(id)
}

/// Those of no release stand under an empty name.
fn insert_effects(
    tx: &Transaction<'_>,
    tenant: &TenantId,
    release: Option<&ReleaseId>,
    effects: &[Effect],
) -> Result<(), Failure> {
    for effect in effects {
        run(
            tx,
            "INSERT INTO outbox (tenant, release, tries, document) VALUES (?1, ?2, 0, ?3)",
            params![tenant.as_str(), release.map_or("", ReleaseId::as_str), encode(effect)?],
        )?;
    }
    Ok(())
}

fn insert_journal_row(tx: &Transaction<'_>, release: &Release, row: &JournalRow) -> Result<(), Failure> {
    run(
        tx,
        "INSERT INTO journal (tenant, release, document) VALUES (?1, ?2, ?3)",
        params![release.tenant.as_str(), release.id.as_str(), encode(row)?],
    )
}

fn need_route(tx: &Transaction<'_>, tenant: &TenantId, route: &RouteName) -> Result<RouteRow, Failure> {
    Ok(read::route(tx, tenant, route)?.ok_or_else(|| StoreError::unknown_route(route))?)
}

fn need_version(tx: &Transaction<'_>, tenant: &TenantId, id: VersionId) -> Result<(), Failure> {
    match read::version(tx, tenant, id)? {
        Some(_) => Ok(()),
        None => Err(StoreError::unknown_version(id).into()),
    }
}

fn need_free_route(tx: &Transaction<'_>, next: &Release) -> Result<(), Failure> {
    if next.state.is_over() {
        return Ok(());
    }
    match read::running(tx, next)? {
        Some(running) => Err(StoreError::RouteBusy { route: next.route.clone(), running }.into()),
        None => Ok(()),
    }
}

fn conflict(filed: &read::Filed, expected: Generation) -> Failure {
    let (release, by) = (filed.release.id.clone(), filed.changed_by.clone());
    StoreError::Conflict { release, by, found: filed.release.generation, expected }.into()
}
