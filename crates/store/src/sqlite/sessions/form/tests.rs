//! What is written is read, what cannot be is told, and what was written before is as it was.

use super::*;
use crate::conformance::sample;
use proptest::prelude::*;
use std::path::Path;

type Sessions = BTreeMap<UnitKey, Session>;

fn row<'a>(sessions: impl IntoIterator<Item = (&'a UnitKey, &'a Session)>) -> Row {
    let mut row = Row::default();
    sessions.into_iter().for_each(|(unit, session)| row.push(*unit, session));
    row
}

fn found(row: &[u8]) -> Result<Sessions, String> {
    let mut found = Sessions::new();
    lay(row, &mut found).map_err(|error| error.to_string())?;
    Ok(found)
}

/// One request, answered, under one metric.
fn short() -> Session {
    let exposed_at = UnixMs(1_750_000_000_123);
    let sums = Sums { first: Some(0.0), session_n: 1, ..Sums::default() };
    Session {
        arm: Arm::Control,
        stratum: Stratum(0),
        exposed_at,
        requests: 1,
        sums: ByMetric::from([(Metric::ErrorRate, sums)]),
        first_seen: FirstSeen {
            started_at: Some(exposed_at),
            tools: Some(Presence::Absent),
            schema: Some(Presence::Absent),
            ..FirstSeen::default()
        },
        owed: 1,
        scored: BTreeSet::new(),
        beyond: ByMetric::default(),
        openings: Vec::new(),
        last: Some(LastSeen { started_at: exposed_at, went: Went::Well }),
    }
}

/// As the builds that write this form have written it; `COALMINE_BLESS=1` writes it anew, which is never right once a
/// build that writes it is out.
#[test]
fn a_row_is_as_it_was() {
    let sliced = Session {
        first_seen: FirstSeen { slice: Slice(2), half: Some(Half::Other), ..short().first_seen },
        ..sample::judged_session()
    };
    let sessions =
        Sessions::from([(UnitKey(3), sample::session()), (UnitKey(1 << 64), short()), (UnitKey(u128::MAX), sliced)]);
    let hex = |row: &Row| row.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden/session_row.v2.hex");
    let now = hex(&row(&sessions));
    if std::env::var_os("COALMINE_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(now, golden, "the written form has changed");
    let bytes: Vec<u8> = golden.trim().as_bytes().chunks(2).map(unhex).collect();
    assert_eq!(found(&bytes).unwrap(), sessions);
}

fn unhex(byte: &[u8]) -> u8 {
    u8::from_str_radix(str::from_utf8(byte).unwrap(), 16).unwrap()
}

#[test]
fn a_session_of_one_request_takes_thirty_bytes() {
    let sessions: Sessions = (0..1_000).map(|unit| (UnitKey(unit << 90), short())).collect();
    let row = row(&sessions);
    assert!(row.bytes().len() < 30 * 1_000, "{}", row.bytes().len());
}

#[test]
fn what_a_build_of_before_wrote_is_read() {
    let golden = include_str!("../../../golden/session.v1.jsonl").trim();
    let three = format!("{:032x} {golden}\n", 3);
    let text = format!("{:032x} {golden}\n{three}{:032x}\n", 4, 4);
    assert_eq!(found(text.as_bytes()).unwrap(), Sessions::from([(UnitKey(3), sample::session())]));
}

#[test]
fn what_cannot_be_is_told() {
    assert!(found(b"").unwrap_err().contains("a row of sessions without a byte"));
    assert!(found(&[9, 1]).unwrap_err().contains("of form 9, and this build reads form 2"));
    assert!(found(b"feed me\n").unwrap_err().contains("names no unit (`feed me`)"));
    let whole = row(&Sessions::from([(UnitKey(3), sample::session())]));
    for length in 2..whole.bytes().len() {
        assert!(found(&whole.bytes()[..length]).unwrap_err().contains("breaks off"), "{length}");
    }
}

prop_compose! {
    fn sums()(
        values in prop::array::uniform3(prop_oneof![Just(0.0), Just(1.0), Just(-0.0), any::<f64>()]),
        is_known: bool,
        counts in prop::array::uniform3(prop_oneof![Just(0), any::<u32>()]),
    ) -> Sums {
        let [first, session, whole] = values;
        let [session_n, session_unknown, whole_n] = counts;
        Sums { first: is_known.then_some(first), session, session_n, session_unknown, whole, whole_n }
    }
}

fn metric() -> impl Strategy<Value = Metric> {
    let named = "[a-z0-9_.-]{1,64}".prop_map(Metric::Feedback);
    prop_oneof![prop::sample::select(Metric::BUILT_IN.to_vec()), named]
}

fn seen() -> impl Strategy<Value = FirstSeen> {
    let presence = || prop::option::of(prop::sample::select(vec![Presence::Present, Presence::Absent]));
    let half = prop::option::of(prop::sample::select(vec![Half::One, Half::Other]));
    let started_at = prop::option::of(any::<u64>().prop_map(UnixMs));
    (started_at, presence(), presence(), any::<u8>(), half).prop_map(|(started_at, tools, schema, slice, half)| {
        FirstSeen { started_at, tools, schema, slice: Slice(slice), half }
    })
}

fn session() -> impl Strategy<Value = Session> {
    let arm = prop::sample::select(vec![Arm::Stable, Arm::Control, Arm::Canary]);
    let of_metrics = prop::collection::btree_map(metric(), sums(), 0..6).prop_map(ByMetric::from);
    let beyond = (prop::option::of(sums()), prop::option::of(sums()));
    let beyond = beyond.prop_map(|(rollback, limit)| Beyond { rollback, limit });
    let beyond = prop::collection::btree_map(metric(), beyond, 0..3).prop_map(ByMetric::from);
    let last = (any::<u64>(), prop::sample::select(vec![Went::Well, Went::Wrong]));
    let last = prop::option::of(last.prop_map(|(at, went)| LastSeen { started_at: UnixMs(at), went }));
    let keys = (prop::collection::btree_set(any::<u64>(), 0..4), prop::collection::vec(any::<u64>(), 0..4));
    let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u32>());
    (arm, numbers, of_metrics, seen(), keys, beyond, last).prop_map(
        |(arm, (stratum, exposed_at, requests, owed), sums, first_seen, (scored, openings), beyond, last)| Session {
            arm,
            stratum: Stratum(stratum),
            exposed_at: UnixMs(exposed_at),
            requests,
            sums,
            first_seen,
            owed,
            scored,
            beyond,
            openings,
            last,
        },
    )
}

/// To the last bit, also of what is no number.
fn bits(sessions: &Sessions) -> String {
    format!("{sessions:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read(sessions in prop::collection::btree_map(any::<u128>().prop_map(UnitKey), session(), 0..6)) {
        let row = row(&sessions);
        if sessions.is_empty() {
            prop_assert!(row.bytes().is_empty());
        } else {
            let found = found(row.bytes()).unwrap();
            prop_assert_eq!(bits(&found), bits(&sessions));
            prop_assert_eq!(row.exposed_to(), sessions.values().map(|session| session.exposed_at).max().unwrap());
        }
    }

    #[test]
    fn no_row_is_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let _ = found(&[&[FORM], &*bytes].concat());
        let mut damaged = row(&Sessions::from([(UnitKey(3), sample::judged_session()), (UnitKey(9), short())])).bytes().to_vec();
        for (place, byte) in places {
            *place.get_mut(&mut damaged) = byte;
        }
        let _ = found(&damaged);
    }
}
