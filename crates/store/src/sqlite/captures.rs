//! Captured answers, sealed, and what was done with them.

use super::failure::Failure;
use super::read::{documents_of, one as one_row};
use super::write::{begin, run};
use crate::rows::{decode, encode};
use crate::{CaptureCut, CaptureRow};
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureScope, CaptureUse};
use coalmine_core::id::{ReleaseId, RouteName, TenantId};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// What the column says of an answer that was given in no release.
const NO_RELEASE: &str = "";

pub(super) fn put(db: &mut Connection, tenant: &TenantId, rows: &[CaptureRow], rows_max: u64) -> Result<u64, Failure> {
    let tx = begin(db)?;
    let mut groups: BTreeSet<(&RouteName, Arm)> = BTreeSet::new();
    for CaptureRow { head, sealed } in rows {
        run(
            &tx,
            "INSERT INTO captures (tenant, capture, route, release, arm, at, expires_at, document, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            params![
                tenant.as_str(),
                head.id.to_string(),
                head.route.as_str(),
                head.release.as_ref().map_or(NO_RELEASE, ReleaseId::as_str),
                head.arm.as_str(),
                stored(head.at),
                stored(head.expires_at),
                encode(head)?,
                sealed
            ],
        )?;
        groups.insert((&head.route, head.arm));
    }
    let mut gone = 0;
    for (route, arm) in groups {
        let mut beyond = tx.prepare_cached(
            "DELETE FROM captures WHERE rowid IN (SELECT rowid FROM captures
             WHERE tenant = ?1 AND route = ?2 AND arm = ?3 ORDER BY at DESC, capture DESC LIMIT -1 OFFSET ?4)",
        )?;
        let most = i64::try_from(rows_max).unwrap_or(i64::MAX);
        gone += beyond.execute(params![tenant.as_str(), route.as_str(), arm.as_str(), most])? as u64;
    }
    tx.commit()?;
    Ok(gone)
}

pub(super) fn heads(db: &Connection, tenant: &TenantId, scope: &CaptureScope) -> Result<Vec<CaptureHead>, Failure> {
    match scope {
        CaptureScope::Release { release } => {
            let query =
                "SELECT document FROM captures WHERE tenant = ?1 AND release = ?2 ORDER BY at DESC, capture DESC";
            documents_of(db, query, params![tenant.as_str(), release.as_str()])
        }
        CaptureScope::Steady { route } => {
            let query = "SELECT document FROM captures WHERE tenant = ?1 AND route = ?2 AND arm = ?3 AND release = ?4
                         ORDER BY at DESC, capture DESC";
            documents_of(db, query, params![tenant.as_str(), route.as_str(), Arm::Stable.as_str(), NO_RELEASE])
        }
    }
}

pub(super) fn one(db: &Connection, tenant: &TenantId, id: CaptureId) -> Result<Option<CaptureRow>, Failure> {
    let query = "SELECT document, sealed FROM captures WHERE tenant = ?1 AND capture = ?2";
    let key = params![tenant.as_str(), id.to_string()];
    let found = one_row(db, query, key, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let Some((document, sealed)) = found else { return Ok(None) };
    Ok(Some(CaptureRow { head: decode(&document)?, sealed }))
}

pub(super) fn delete(db: &mut Connection, tenant: &TenantId, which: &CaptureCut) -> Result<u64, Failure> {
    let tx = begin(db)?;
    let of = tenant.as_str();
    let gone = match which {
        CaptureCut::One(id) => {
            tx.execute("DELETE FROM captures WHERE tenant = ?1 AND capture = ?2", params![of, id.to_string()])?
        }
        CaptureCut::Of(CaptureScope::Release { release }) => {
            tx.execute("DELETE FROM captures WHERE tenant = ?1 AND release = ?2", params![of, release.as_str()])?
        }
        CaptureCut::Of(CaptureScope::Steady { route }) => tx.execute(
            "DELETE FROM captures WHERE tenant = ?1 AND route = ?2 AND release = ?3",
            params![of, route.as_str(), NO_RELEASE],
        )?,
        CaptureCut::ExpiredBy(now) => {
            tx.execute("DELETE FROM captures WHERE tenant = ?1 AND expires_at <= ?2", params![of, stored(*now)])?
        }
    };
    tx.commit()?;
    Ok(gone as u64)
}

pub(super) fn note_use(db: &mut Connection, tenant: &TenantId, used: &CaptureUse) -> Result<(), Failure> {
    let tx = begin(db)?;
    run(
        &tx,
        "INSERT INTO capture_uses (tenant, number, at, document) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![tenant.as_str(), used.id.cast_signed(), stored(used.at), encode(used)?],
    )?;
    tx.commit()?;
    Ok(())
}

pub(super) fn uses(db: &Connection, tenant: &TenantId, since: UnixMs) -> Result<Vec<CaptureUse>, Failure> {
    let query = "SELECT document FROM capture_uses WHERE tenant = ?1 AND at >= ?2";
    let mut uses: Vec<CaptureUse> = documents_of(db, query, params![tenant.as_str(), stored(since)])?;
    uses.sort_by_key(|it| std::cmp::Reverse((it.at, it.id)));
    Ok(uses)
}

pub(super) fn forget_uses(db: &mut Connection, tenant: &TenantId, before: UnixMs) -> Result<(), Failure> {
    let tx = begin(db)?;
    run(&tx, "DELETE FROM capture_uses WHERE tenant = ?1 AND at < ?2", params![tenant.as_str(), stored(before)])?;
    tx.commit()?;
    Ok(())
}

/// An instant as a column holds it: beyond what one can be, the last one.
fn stored(at: UnixMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
