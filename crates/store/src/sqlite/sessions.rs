//! Sessions of running releases, as a log: what a look changed is one row, and the rows are folded into one that holds
//! each live session once as soon as that is worth it. Every byte is rewritten about once.

use super::failure::Failure;
use super::read::rows;
use super::write::run;
use crate::rows::{decode, encode_into};
use crate::{ReleaseEvidence, StoreError};
use coalmine_core::evidence::Session;
use coalmine_core::id::{ReleaseId, TenantId, UnitKey};
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A log below is not folded for its length alone.
const BYTES_MIN: u64 = 1 << 20;
/// Rows that are not folded, at most.
const ROWS_MAX: u64 = 1_024;
/// A row is no longer than this, but for its last session: it is written from one piece of memory, which is used again.
const ROW_BYTES_MAX: usize = 1 << 20;
/// Hexadecimal digits of a unit.
const UNIT_DIGITS: usize = 32;

/// What the rows of one kind hold.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    rows: u64,
    written: u64,
    forgotten: u64,
    bytes: u64,
}

/// One row's lines, as they are made.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    written: u64,
    forgotten: u64,
}

impl Lines {
    fn unit(&mut self, unit: UnitKey) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
        self.text.extend(unit.0.to_be_bytes().into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte)]));
    }

    fn session(&mut self, unit: UnitKey, session: &Session) -> Result<(), StoreError> {
        self.unit(unit);
        self.text.push(b' ');
        encode_into(session, &mut self.text)?;
        self.text.push(b'\n');
        self.written += 1;
        Ok(())
    }

    /// One that is written already.
    fn again(&mut self, unit: UnitKey, document: &str) {
        self.unit(unit);
        self.text.push(b' ');
        self.text.extend_from_slice(document.as_bytes());
        self.text.push(b'\n');
        self.written += 1;
    }

    fn forget(&mut self, unit: UnitKey) {
        self.unit(unit);
        self.text.push(b'\n');
        self.forgotten += 1;
    }

    /// Writes a row once it is long enough.
    fn put_if_long(
        &mut self,
        tx: &Transaction<'_>,
        tenant: &str,
        release: &str,
        folded: Folded,
    ) -> Result<(), Failure> {
        if self.text.len() < ROW_BYTES_MAX {
            return Ok(());
        }
        self.put(tx, tenant, release, folded)
    }

    fn put(&mut self, tx: &Transaction<'_>, tenant: &str, release: &str, folded: Folded) -> Result<(), Failure> {
        // JSON and digits: it is text.
        let text = str::from_utf8(&self.text).map_err(|_| torn(""))?;
        if text.is_empty() {
            return Ok(());
        }
        run(
            tx,
            "INSERT INTO session_log (tenant, release, folded, written, forgotten, bytes, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                tenant,
                release,
                folded as i64,
                self.written.cast_signed(),
                self.forgotten.cast_signed(),
                (text.len() as u64).cast_signed(),
                text
            ],
        )?;
        self.text.clear();
        (self.written, self.forgotten) = (0, 0);
        Ok(())
    }
}

/// Whether a row is what rows before it were folded into.
#[derive(Debug, Clone, Copy)]
enum Folded {
    No = 0,
    Yes = 1,
}

/// Adds what a look changed.
pub(super) fn add(tx: &Transaction<'_>, tenant: &TenantId, change: &ReleaseEvidence) -> Result<(), Failure> {
    if change.sessions.is_empty() && change.forgotten.is_empty() {
        return Ok(());
    }
    let (tenant, release) = (tenant.as_str(), change.release.as_str());
    let mut lines = Lines::default();
    for (unit, session) in &change.sessions {
        lines.session(*unit, session)?;
        lines.put_if_long(tx, tenant, release, Folded::No)?;
    }
    change.forgotten.iter().for_each(|unit| lines.forget(*unit));
    lines.put(tx, tenant, release, Folded::No)?;
    if is_worth_folding(held(tx, tenant, release)?) {
        fold(tx, tenant, release)?;
    }
    Ok(())
}

/// The live sessions of a release, by unit.
pub(super) fn read(
    db: &Connection,
    tenant: &TenantId,
    id: &ReleaseId,
) -> Result<Vec<(UnitKey, Arc<Session>)>, Failure> {
    let texts = texts(db, tenant.as_str(), id.as_str())?;
    let live = live(&texts)?.into_iter();
    live.map(|(unit, document)| Ok((unit, Arc::new(decode(document)?)))).collect()
}

/// Of what is folded, and of what is not.
fn held(db: &Connection, tenant: &str, release: &str) -> Result<[Held; 2], Failure> {
    let query = "SELECT folded, count(*), sum(written), sum(forgotten), sum(bytes) FROM session_log
                 WHERE tenant = ?1 AND release = ?2 GROUP BY folded";
    let found = rows(db, query, params![tenant, release], |row| {
        let number = |column| row.get(column).map(i64::cast_unsigned);
        Ok((
            row.get::<_, i64>(0)?,
            Held { rows: number(1)?, written: number(2)?, forgotten: number(3)?, bytes: number(4)? },
        ))
    })?;
    let mut held = [Held::default(); 2];
    for (folded, of) in found {
        held[usize::from(folded == Folded::Yes as i64)] = of;
    }
    Ok(held)
}

/// Once the log has grown as long as what it is folded into, has many rows, or is dead by half: each session that is
/// forgotten was written before.
fn is_worth_folding([log, folded]: [Held; 2]) -> bool {
    log.bytes >= folded.bytes.max(BYTES_MIN)
        || log.rows >= ROWS_MAX
        || 2 * log.forgotten >= folded.written + log.written
}

fn fold(tx: &Transaction<'_>, tenant: &str, release: &str) -> Result<(), Failure> {
    let texts = texts(tx, tenant, release)?;
    run(tx, "DELETE FROM session_log WHERE tenant = ?1 AND release = ?2", params![tenant, release])?;
    let mut lines = Lines::default();
    for (unit, document) in live(&texts)? {
        lines.again(unit, document);
        lines.put_if_long(tx, tenant, release, Folded::Yes)?;
    }
    lines.put(tx, tenant, release, Folded::Yes)
}

fn texts(db: &Connection, tenant: &str, release: &str) -> Result<Vec<String>, Failure> {
    let query = "SELECT document FROM session_log WHERE tenant = ?1 AND release = ?2 ORDER BY ordinal";
    rows(db, query, params![tenant, release], |row| row.get(0))
}

/// Each live session's last document.
fn live(texts: &[String]) -> Result<BTreeMap<UnitKey, &str>, StoreError> {
    let mut live = BTreeMap::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let (unit, document) = line.split_at_checked(UNIT_DIGITS).ok_or_else(|| torn(line))?;
        let unit = UnitKey(u128::from_str_radix(unit, 16).map_err(|_| torn(line))?);
        match document.strip_prefix(' ') {
            Some(document) => live.insert(unit, document),
            None if document.is_empty() => live.remove(&unit),
            None => return Err(torn(line)),
        };
    }
    Ok(live)
}

fn torn(line: &str) -> StoreError {
    let begins: String = line.chars().take(UNIT_DIGITS).collect();
    StoreError::Corrupt { what: format!("a line of the log of sessions that names no unit (`{begins}`)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;
    use crate::sqlite::migrate::migrate;
    use proptest::prelude::*;

    fn store() -> Connection {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db
    }

    fn release() -> ReleaseId {
        "support-agent-1".into()
    }

    fn change(written: &[(u128, u64)], forgotten: &[u128]) -> ReleaseEvidence {
        let session = |requests| Arc::new(Session { requests, ..sample::session() });
        ReleaseEvidence {
            sessions: written.iter().map(|(unit, requests)| (UnitKey(*unit), session(*requests))).collect(),
            forgotten: forgotten.iter().copied().map(UnitKey).collect(),
            ..ReleaseEvidence::empty(release())
        }
    }

    fn put(db: &mut Connection, change: &ReleaseEvidence) {
        let tx = db.transaction().unwrap();
        add(&tx, &sample::tenant(), change).unwrap();
        tx.commit().unwrap();
    }

    fn found(db: &Connection) -> Vec<(u128, u64)> {
        let sessions = read(db, &sample::tenant(), &release()).unwrap();
        sessions.into_iter().map(|(unit, session)| (unit.0, session.requests)).collect()
    }

    fn all(db: &Connection) -> [Held; 2] {
        held(db, sample::tenant().as_str(), release().as_str()).unwrap()
    }

    #[test]
    fn a_log_of_many_looks_is_folded_and_stays_short() {
        let mut db = store();
        for look in 0..ROWS_MAX * 2 + 5 {
            put(&mut db, &change(&[(u128::from(look % 7), look)], &[]));
        }
        let [log, folded] = all(&db);
        assert_eq!((log.rows, folded.rows, folded.written), (5, 1, 7), "each fold leaves the seven that live");
        assert_eq!(found(&db).len(), 7);
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut db = store();
        let units: Vec<u128> = (0..500).collect();
        put(&mut db, &change(&units.iter().map(|unit| (*unit, 1)).collect::<Vec<_>>(), &[]));
        put(&mut db, &change(&[], &units));
        let [log, folded] = all(&db);
        assert_eq!((log.rows, folded.rows), (0, 0));
    }

    #[test]
    fn a_long_log_is_folded_into_rows_of_bounded_length() {
        let mut db = store();
        for look in 0..3 {
            let many: Vec<_> = (0..12_000).map(|unit| (unit, look)).collect();
            put(&mut db, &change(&many, &[]));
        }
        let [log, folded] = all(&db);
        assert_eq!((log.rows, folded.written), (0, 12_000));
        assert!(folded.rows > 1 && folded.bytes / folded.rows <= ROW_BYTES_MAX as u64 + 4_096, "{folded:?}");
        assert_eq!(found(&db).iter().filter(|(_, requests)| *requests == 2).count(), 12_000);
    }

    #[test]
    fn a_torn_line_is_told_and_not_passed_over() {
        let mut db = store();
        put(&mut db, &change(&[(1, 1)], &[]));
        db.execute("UPDATE session_log SET document = 'nonsense' || char(10)", []).unwrap();
        let error = read(&db, &sample::tenant(), &release()).unwrap_err();
        let said = error.into_store_error(std::path::Path::new("state.db"), "reading").to_string();
        assert!(said.contains("names no unit (`nonsense`)"), "{said}");
    }

    #[test]
    fn sessions_of_an_earlier_schema_are_brought_along() {
        let mut db = store();
        db.execute_batch(
            "DROP TABLE session_log;
             CREATE TABLE sessions (tenant TEXT NOT NULL, release TEXT NOT NULL, unit BLOB NOT NULL, document TEXT NOT NULL,
                                    PRIMARY KEY (tenant, release, unit)) STRICT, WITHOUT ROWID;
             DELETE FROM schema_version WHERE name = 'session_log';",
        )
        .unwrap();
        for unit in [3_u128, 200 << 100] {
            let document = crate::rows::encode(&Session { requests: 4, ..sample::session() }).unwrap();
            let (tenant, release) = (sample::tenant(), release());
            let values = params![tenant.as_str(), release.as_str(), unit.to_be_bytes(), document];
            db.execute("INSERT INTO sessions VALUES (?1, ?2, ?3, ?4)", values).unwrap();
        }
        db.execute_batch(include_str!("migrations/0004_session_log.sql")).unwrap();
        assert_eq!(found(&db), [(3, 4), (200 << 100, 4)]);
        put(&mut db, &change(&[(3, 5)], &[200 << 100]));
        assert_eq!(found(&db), [(3, 5)]);
    }

    proptest! {
        #[test]
        fn it_reads_what_a_map_would_hold(
            looks in prop::collection::vec((prop::collection::vec((0..6_u128, 0..9_u64), 0..4), prop::collection::vec(0..6_u128, 0..3)), 1..40)
        ) {
            let (mut db, mut map) = (store(), BTreeMap::new());
            for (written, forgotten) in looks {
                put(&mut db, &change(&written, &forgotten));
                map.extend(written);
                for unit in forgotten {
                    map.remove(&unit);
                }
                prop_assert_eq!(found(&db), map.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
