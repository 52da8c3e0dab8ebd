//! Sessions of running releases, as rows that are appended. Which of them may go is the ledger's to say
//! (`coalmine_core::evidence::Changes`): the store never reads a row back while its release runs.

mod form;

use super::failure::Failure;
use super::read::rows;
use super::write::run;
use crate::ReleaseEvidence;
use coalmine_core::evidence::Session;
use coalmine_core::id::{TenantId, UnitKey};
use coalmine_core::time::UnixMs;
use form::Row;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row is no longer than this, but for its last session: it is written from one piece of memory, which is used again.
const ROW_BYTES_MAX: usize = 64 << 10;
/// What a session takes in a row, about.
const SESSION_BYTES: usize = 48;

/// Writes what a look changed, and lets go of what no longer says anything.
pub(super) fn add(tx: &Transaction<'_>, tenant: &TenantId, change: &ReleaseEvidence) -> Result<(), Failure> {
    let (tenant, release) = (tenant.as_str(), change.release.as_str());
    let mut row = Row::of(change.sessions.len().saturating_mul(SESSION_BYTES).min(ROW_BYTES_MAX + 1_024));
    for (unit, session) in &change.sessions {
        row.push(*unit, session);
        if row.bytes().len() >= ROW_BYTES_MAX {
            put(tx, tenant, change, &row)?;
            row.clear();
        }
    }
    if !row.bytes().is_empty() {
        put(tx, tenant, change, &row)?;
    }
    let earlier = "DELETE FROM session_rows WHERE tenant = ?1 AND release = ?2 AND lap < ?3";
    run(tx, earlier, params![tenant, release, lap(change.whole_from)])?;
    let over = "DELETE FROM session_rows WHERE tenant = ?1 AND release = ?2 AND exposed_to < ?3";
    run(tx, over, params![tenant, release, time(change.live_from)])
}

fn put(tx: &Transaction<'_>, tenant: &str, change: &ReleaseEvidence, row: &Row) -> Result<(), Failure> {
    run(
        tx,
        "INSERT INTO session_rows (tenant, release, lap, exposed_to, document) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![tenant, change.release.as_str(), lap(change.lap), time(row.exposed_to()), row.bytes()],
    )
}

/// The sessions of a release that live, and the lap of the last row; a row at a time.
pub(super) fn read(db: &Connection, tenant: &TenantId, evidence: &mut ReleaseEvidence) -> Result<(), Failure> {
    let query = "SELECT ordinal, lap FROM session_rows WHERE tenant = ?1 AND release = ?2";
    let key = params![tenant.as_str(), evidence.release.as_str()];
    let mut found: Vec<(i64, i64)> = rows(db, query, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.sort_unstable();
    let mut live: BTreeMap<UnitKey, Session> = BTreeMap::new();
    let mut document = db.prepare_cached("SELECT document FROM session_rows WHERE ordinal = ?1")?;
    for (ordinal, _) in &found {
        let mut row = document.query([ordinal])?;
        if let Some(row) = row.next()? {
            form::lay(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, &mut live)?;
        }
    }
    evidence.lap = found.iter().map(|(_, lap)| lap.cast_unsigned()).max().unwrap_or(0);
    live.retain(|_, session| session.exposed_at >= evidence.live_from);
    evidence.sessions = live.into_iter().map(|(unit, session)| (unit, Arc::new(session))).collect();
    Ok(())
}

/// As SQLite keeps it; a lap that is never reached stays the greatest.
fn lap(lap: u64) -> i64 {
    i64::try_from(lap).unwrap_or(i64::MAX)
}

pub(super) fn time(at: UnixMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
