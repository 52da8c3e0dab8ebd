//! Rows that are appended, and which of them go.

use super::*;
use crate::conformance::sample;
use crate::sqlite::migrate::migrate;
use coalmine_core::id::ReleaseId;
use proptest::prelude::*;

fn store() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    migrate(&mut db).unwrap();
    db
}

fn release() -> ReleaseId {
    "support-agent-1".into()
}

fn session(exposed_at: u64, requests: u64) -> Arc<Session> {
    Arc::new(Session { exposed_at: UnixMs(exposed_at), requests, ..sample::session() })
}

/// Sessions by unit, exposure and requests.
fn written(lap: u64, rows: &[(u128, u64, u64)]) -> ReleaseEvidence {
    let row = |(unit, exposed_at, requests): &(u128, u64, u64)| (UnitKey(*unit), session(*exposed_at, *requests));
    ReleaseEvidence { sessions: rows.iter().map(row).collect(), lap, ..ReleaseEvidence::empty(release()) }
}

fn put(db: &mut Connection, change: &ReleaseEvidence) {
    let tx = db.transaction().unwrap();
    add(&tx, &sample::tenant(), change).unwrap();
    tx.commit().unwrap();
}

fn kept(db: &Connection, live_from: u64) -> Result<ReleaseEvidence, Failure> {
    let mut evidence = ReleaseEvidence { live_from: UnixMs(live_from), ..ReleaseEvidence::empty(release()) };
    read(db, &sample::tenant(), &mut evidence).map(|()| evidence)
}

fn found(db: &Connection, live_from: u64) -> Vec<(u128, u64)> {
    kept(db, live_from).unwrap().sessions.into_iter().map(|(unit, session)| (unit.0, session.requests)).collect()
}

/// Rows and the bytes in them.
fn held(db: &Connection) -> (u64, u64) {
    let query = "SELECT count(*), coalesce(sum(length(document)), 0) FROM session_rows";
    let number = |row: &rusqlite::Row<'_>, column| row.get(column).map(i64::cast_unsigned);
    db.query_row(query, [], |row| Ok((number(row, 0)?, number(row, 1)?))).unwrap()
}

#[test]
fn rows_are_of_bounded_length() {
    let mut db = store();
    let many: Vec<_> = (0..4_000).map(|unit| (unit, 7, 2)).collect();
    put(&mut db, &written(0, &many));
    let (rows, bytes) = held(&db);
    assert!(rows > 3 && bytes / rows <= ROW_BYTES_MAX as u64 + 1_024, "{rows} rows of {bytes} bytes");
    assert_eq!(found(&db, 0).len(), 4_000);
}

#[test]
fn rows_go_with_the_last_of_their_sessions_and_with_their_lap() {
    let mut db = store();
    put(&mut db, &written(0, &[(1, 10, 1), (2, 20, 1)]));
    put(&mut db, &written(0, &[(3, 30, 1)]));
    put(&mut db, &ReleaseEvidence { live_from: UnixMs(20), ..written(0, &[]) });
    assert_eq!((held(&db).0, found(&db, 20)), (2, vec![(2, 1), (3, 1)]), "a row goes whole or not at all");
    put(&mut db, &ReleaseEvidence { live_from: UnixMs(30), ..written(1, &[(3, 30, 2)]) });
    assert_eq!((held(&db).0, found(&db, 30)), (2, vec![(3, 2)]));
    put(&mut db, &ReleaseEvidence { whole_from: 1, live_from: UnixMs(30), ..written(1, &[]) });
    assert_eq!((held(&db).0, found(&db, 30)), (1, vec![(3, 2)]));
    assert_eq!(kept(&db, 0).unwrap().lap, 1);
    put(&mut db, &ReleaseEvidence { whole_from: u64::MAX, ..written(0, &[]) });
    assert_eq!(held(&db).0, 0, "of a release that is over nothing is left");
}

#[test]
fn a_torn_row_is_told_and_not_passed_over() {
    let mut db = store();
    put(&mut db, &written(0, &[(1, 1, 1)]));
    db.execute("UPDATE session_rows SET document = CAST('feed me' AS BLOB)", []).unwrap();
    let error = kept(&db, 0).unwrap_err();
    let said = error.into_store_error(std::path::Path::new("state.db"), "reading").to_string();
    assert!(said.contains("names no unit (`feed me`)"), "{said}");
}

/// A store of the schema before, with a row that was folded, and rows behind it.
#[test]
fn sessions_of_an_earlier_schema_are_brought_along() {
    let mut db = Connection::open_in_memory().unwrap();
    db.execute_batch(include_str!("../migrations/0001_first.sql")).unwrap();
    let document = |requests| crate::rows::encode(&*session(30, requests)).unwrap();
    let (tenant, release) = (sample::tenant(), release());
    for unit in [3_u128, 200 << 100] {
        let values = params![tenant.as_str(), release.as_str(), unit.to_be_bytes(), document(4)];
        db.execute("INSERT INTO sessions VALUES (?1, ?2, ?3, ?4)", values).unwrap();
    }
    db.execute_batch(include_str!("../migrations/0004_session_log.sql")).unwrap();
    let text = format!("{:032x} {}\n{:032x}\n", 5, document(1), 200_u128 << 100);
    let text = text + &format!("{:032x} {}\n", 3, document(6));
    let values = params![tenant.as_str(), release.as_str(), text];
    let insert = "INSERT INTO session_log (tenant, release, folded, written, forgotten, bytes, document)
                  VALUES (?1, ?2, 0, 2, 1, 0, ?3)";
    db.execute(insert, values).unwrap();
    db.execute_batch(include_str!("../migrations/0007_session_rows.sql")).unwrap();
    assert_eq!(found(&db, 0), [(3, 6), (5, 1)]);
    put(&mut db, &ReleaseEvidence { live_from: UnixMs(10), ..written(1, &[(3, 30, 7), (9, 40, 1)]) });
    assert_eq!(found(&db, 10), [(3, 7), (5, 1), (9, 1)], "rows of before stay until a lap has written all that lives");
    put(&mut db, &ReleaseEvidence { whole_from: 1, ..written(1, &[(5, 30, 1)]) });
    assert_eq!((held(&db).0, found(&db, 10)), (2, vec![(3, 7), (5, 1), (9, 1)]));
}

proptest! {
    /// At any lap and any watermark: what is read is what a map of the rows would hold.
    #[test]
    fn it_reads_what_a_map_would_hold(
        looks in prop::collection::vec(
            (prop::collection::vec((0..6_u128, 0..20_u64, 0..9_u64), 0..4), 0..3_u64, any::<bool>(), 0..4_u64), 1..40)
    ) {
        let (mut db, mut map) = (store(), BTreeMap::new());
        let (mut lap, mut live_from) = (0, 0);
        for (rows, laps, is_done, later) in looks {
            (lap, live_from) = (lap + laps, live_from + later);
            map.retain(|_, (at, _)| *at >= live_from);
            // A session keeps its exposure; one that is over begins anew, later.
            let exposed = |unit: &u128, after| map.get(unit).map_or(live_from + after, |(at, _)| *at);
            let mut rows: BTreeMap<u128, (u64, u64)> = rows.into_iter().map(|(unit, after, n)| (unit, (exposed(&unit, after), n))).collect();
            // Who has done a lap has written whatever lives.
            if is_done {
                let whole = map.clone().into_iter().chain(rows);
                rows = whole.collect();
            }
            let lines: Vec<_> = rows.iter().map(|(unit, (at, requests))| (*unit, *at, *requests)).collect();
            let whole_from = if is_done { lap } else { 0 };
            put(&mut db, &ReleaseEvidence { whole_from, live_from: UnixMs(live_from), ..written(lap, &lines) });
            map.extend(rows);
            map.retain(|_, (at, _)| *at >= live_from);
            let expected: Vec<_> = map.iter().map(|(unit, (_, requests))| (*unit, *requests)).collect();
            prop_assert_eq!(found(&db, live_from), expected);
        }
    }
}
