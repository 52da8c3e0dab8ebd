//! What a kill, a power cut, a full or damaged disk and a compaction leave of a pin log.

use super::frame::FRAME;
use super::{EmbeddedPins, PinsError, Replay};
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Followed, Membership, Pin, PinRecord, Stratum};
use coalmine_core::version::VersionId;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TTL: SpanMs = SpanMs::hours(1);
const NOW: UnixMs = UnixMs(1_750_000_000_000);

fn open(dir: &Path) -> (EmbeddedPins, Vec<PinRecord>) {
    EmbeddedPins::open(dir, TTL, NOW).unwrap()
}

fn record(unit: u128, version: u8, release: Option<&str>) -> PinRecord {
    let member = release.map(|release| Membership {
        release: Arc::new(ReleaseId::from(release)),
        arm: if version.is_multiple_of(2) { Arm::Canary } else { Arm::Control },
        stratum: Stratum(u16::from(version)),
        exposed_at: UnixMs(NOW.0 - 5_000),
    });
    PinRecord { unit: UnitKey(unit), pin: Pin { version: VersionId([version; 32]), member, last_seen: NOW } }
}

fn some(units: std::ops::Range<u128>) -> Vec<PinRecord> {
    units.map(|unit| record(unit, 1, Some("support-agent-7"))).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

/// A directory with one log file of these bytes.
fn log_of(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pins-0000000001.log"), bytes).unwrap();
    dir
}

fn any_record(unit: u128) -> impl Strategy<Value = PinRecord> {
    let release = prop_oneof![
        Just(None),
        prop::sample::select(vec![String::new(), "r".to_owned(), "ü".repeat(18), "x".repeat(36), "long ".repeat(60)])
            .prop_map(Some),
    ];
    (0..4_u8, release).prop_map(move |(version, release)| record(unit, version, release.as_deref()))
}

fn any_records() -> impl Strategy<Value = Vec<PinRecord>> {
    (0..12_u128).prop_flat_map(|count| (0..count).map(any_record).collect::<Vec<_>>())
}

/// The bytes of a log to which `records` were appended, one call each.
fn bytes_of(records: &[PinRecord]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    for record in records {
        pins.append(std::slice::from_ref(record)).unwrap();
    }
    files(dir.path()).first().map_or_else(Vec::new, |path| std::fs::read(path).unwrap())
}

proptest! {
    #[test]
    fn any_prefix_of_the_file_is_a_prefix_of_the_records(records in any_records(), cut in 0.0..=1.0_f64) {
        let bytes = bytes_of(&records);
        let cut = (bytes.len() as f64 * cut) as usize;
        let dir = log_of(&bytes[..cut]);
        let (pins, found) = open(dir.path());
        prop_assert_eq!(&found[..], &records[..found.len()]);
        let torn = u64::from(!cut.is_multiple_of(FRAME));
        prop_assert_eq!(pins.replay(), Replay { records: found.len() as u64, torn, ..Replay::default() });
        if cut == bytes.len() {
            prop_assert_eq!(found, records);
        }
    }

    #[test]
    fn what_is_appended_after_a_crash_is_kept_too(records in any_records(), cut in 0.0..=1.0_f64) {
        let bytes = bytes_of(&records);
        let dir = log_of(&bytes[..(bytes.len() as f64 * cut) as usize]);
        let (pins, mut expected) = open(dir.path());
        pins.append(&some(100..103)).unwrap();
        drop(pins);
        expected.extend(some(100..103));
        prop_assert_eq!(open(dir.path()).1, expected);
    }

    #[test]
    fn a_damaged_byte_costs_only_what_needs_it(records in any_records(), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = bytes_of(&records);
        prop_assume!(!bytes.is_empty());
        let place = place.index(bytes.len());
        let is_pin = bytes[place / FRAME * FRAME + 4] == 4;
        bytes[place] ^= flip;
        let dir = log_of(&bytes);
        let (pins, found) = open(dir.path());
        prop_assert!(found.iter().all(|it| records.contains(it)), "nothing is made up");
        prop_assert!(pins.replay().damaged >= 1);
        if is_pin {
            prop_assert_eq!(found.len(), records.len() - 1);
        }
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let dir = log_of(&bytes);
        prop_assert!(open(dir.path()).1.is_empty());
    }
}

#[test]
fn the_last_record_of_a_unit_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, found) = open(dir.path());
    assert!(found.is_empty());
    pins.append(&some(0..3)).unwrap();
    let moved = record(1, 9, None);
    pins.append(std::slice::from_ref(&moved)).unwrap();
    drop(pins);
    let mut expected = some(0..3);
    expected[1] = moved;
    assert_eq!(open(dir.path()).1, expected);
}

#[test]
fn a_second_process_is_kept_out_until_the_first_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    let refused = EmbeddedPins::open(dir.path(), TTL, NOW);
    assert!(matches!(refused, Err(PinsError::Taken { .. })), "{refused:?}");
    drop(pins);
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused() {
    let mut bytes = Vec::new();
    super::frame::Encoder::header(&mut bytes);
    bytes[18] = 7;
    let sum = *blake3::hash(&bytes[4..FRAME]).as_bytes();
    bytes[..4].copy_from_slice(&sum[..4]);
    let dir = log_of(&bytes);
    let refused = EmbeddedPins::open(dir.path(), TTL, NOW).unwrap_err().to_string();
    assert!(refused.contains("format 7"), "{refused}");
}

#[test]
fn idle_pins_are_dropped_at_opening_and_at_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    let mut idle = record(1, 1, None);
    idle.pin.last_seen = UnixMs(NOW.0 - TTL.0 - 1);
    let mut barely = record(2, 1, None);
    barely.pin.last_seen = NOW - TTL;
    pins.append(&[idle, barely.clone(), record(3, 1, None)]).unwrap();
    drop(pins);
    let (pins, found) = open(dir.path());
    assert_eq!(found, [barely.clone(), record(3, 1, None)]);
    assert_eq!(pins.replay().idle, 1);
    pins.compact().unwrap();
    drop(pins);
    let (pins, found) = open(dir.path());
    assert_eq!(found, [barely, record(3, 1, None)]);
    assert_eq!(pins.replay(), Replay { records: 2, ..Replay::default() });
}

#[test]
fn a_name_that_is_too_long_is_refused_and_nothing_written() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    let longest = record(1, 1, Some(&"x".repeat(super::frame::LONGEST_NAME)));
    pins.append(std::slice::from_ref(&longest)).unwrap();
    let refused = pins.append(&[record(2, 1, None), record(3, 1, Some(&"x".repeat(super::frame::LONGEST_NAME + 1)))]);
    assert!(matches!(refused, Err(PinsError::NameTooLong { .. })), "{refused:?}");
    drop(pins);
    assert_eq!(open(dir.path()).1, [longest]);
}

#[test]
fn compaction_keeps_what_is_live_and_frees_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    for _restart in 0..3 {
        let (pins, _) = open(dir.path());
        for _ in 0..10 {
            pins.append(&some(0..50)).unwrap();
        }
    }
    let (pins, _) = open(dir.path());
    let before: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    pins.compact().unwrap();
    pins.append(&some(50..60)).unwrap();
    let after: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(after * 20 < before, "{before} bytes became {after}");
    drop(pins);
    let (pins, found) = open(dir.path());
    assert_eq!(found, some(0..60));
    assert_eq!(pins.replay(), Replay { records: 60, ..Replay::default() });
}

#[test]
fn nothing_is_lost_while_it_is_compacted_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..4_u128 {
            let pins = pins.clone();
            scope.spawn(move || {
                for unit in 0..500 {
                    pins.append(&some(writer * 1_000 + unit..writer * 1_000 + unit + 1)).unwrap();
                }
            });
        }
        for _ in 0..20 {
            pins.compact().unwrap();
        }
    });
    drop(pins);
    let mut found = open(dir.path()).1;
    found.sort_by_key(|record| record.unit);
    let expected: Vec<_> = (0..4).flat_map(|writer| some(writer * 1_000..writer * 1_000 + 500)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_growing_log_is_compacted_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    let batch = some(0..1_000);
    let size = || files(dir.path()).iter().filter_map(|path| path.metadata().ok()).map(|it| it.len()).sum::<u64>();
    let mut appended = 0;
    while size() >= appended {
        pins.append(&batch).unwrap();
        appended += batch.len() as u64 * FRAME as u64;
        assert!(appended < 1 << 30, "a gibibyte was appended and never compacted");
    }
    // The thread of the compaction holds the directory until it has ended.
    drop(pins);
    let found = loop {
        match EmbeddedPins::open(dir.path(), TTL, NOW) {
            Ok((_, found)) => break found,
            Err(PinsError::Taken { .. }) => std::thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(found, batch);
}

/// A crash may come between any two steps of a compaction.
#[test]
fn a_crash_in_a_compaction_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for units in [0..10, 5..20, 15..30] {
        let (pins, _) = open(dir.path());
        pins.append(&some(units)).unwrap();
    }
    let before = files(dir.path());
    let old: Vec<_> = before.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let (pins, found) = open(dir.path());
    assert_eq!(found, some(0..30));
    pins.compact().unwrap();
    drop(pins);
    let compacted = std::fs::read(&before[2]).unwrap();

    // While the new file was being written.
    for (path, bytes) in before.iter().zip(&old) {
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(before[2].with_extension("new"), &compacted[..100]).unwrap();
    assert_eq!(open(dir.path()).1, some(0..30));
    assert!(!before[2].with_extension("new").exists(), "what was not finished is removed");

    // After the new file took its place, before the first and before the second old one went.
    std::fs::write(&before[2], &compacted).unwrap();
    assert_eq!(open(dir.path()).1, some(0..30));
    std::fs::remove_file(&before[0]).unwrap();
    let mut found = open(dir.path()).1;
    found.sort_by_key(|record| record.unit);
    assert_eq!(found, some(0..30));
}

#[tokio::test]
async fn a_sync_covers_every_file_written_since_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    pins.sync().await.unwrap();
    pins.append(&some(0..5)).unwrap();
    pins.shared.lock().turn(&pins.shared.dir).unwrap();
    pins.append(&some(5..9)).unwrap();
    assert_eq!(pins.shared.lock().unsynced.len(), 1);
    pins.sync().await.unwrap();
    assert!(pins.shared.lock().unsynced.is_empty());
}

/// After a write-back that failed the system forgets it: only writing anew makes sure.
#[tokio::test]
async fn a_doubtful_log_is_written_anew_before_a_sync_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    pins.append(&some(0..5)).unwrap();
    let before = files(dir.path());
    pins.shared.lock().doubtful = true;
    pins.sync().await.unwrap();
    assert!(!pins.shared.lock().doubtful);
    assert_ne!(files(dir.path()), before);
    drop(pins);
    assert_eq!(open(dir.path()).1, some(0..5));
}

fn followed(n: u128, version: u8) -> Followed {
    Followed { conversation: n << 64 | n, unit: UnitKey(n), version: VersionId([version; 32]), at: NOW }
}

fn conversations(numbers: std::ops::Range<u128>) -> Vec<Followed> {
    numbers.map(|n| followed(n, u8::try_from(n % 3).unwrap())).collect()
}

#[test]
fn conversations_outlive_a_restart_and_a_compaction_beside_the_pins() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(dir.path());
    pins.append_with(&some(0..3), &conversations(0..5)).unwrap();
    let idle = Followed { at: UnixMs(NOW.0 - TTL.0 - 1), ..followed(900, 1) };
    pins.append_with(&[], &[idle, followed(5, 7)]).unwrap();
    pins.append(&some(3..4)).unwrap();
    drop(pins);
    let expected: Vec<_> = conversations(0..5).into_iter().chain([followed(5, 7)]).collect();
    for compacts in [true, false] {
        let (pins, found) = open(dir.path());
        assert_eq!((found, pins.take_followed()), (some(0..4), expected.clone()));
        assert!(pins.take_followed().is_empty(), "they are taken once");
        if compacts {
            pins.compact().unwrap();
            assert_eq!(files(dir.path()).len(), 2, "all of it, and what is written next");
        }
    }
}

proptest! {
    /// One write has pins and conversations: what a kill leaves of it is the beginning of both.
    #[test]
    fn a_log_cut_anywhere_is_a_prefix_of_pins_and_of_conversations(cut in 0.0..=1.0_f64, calls in 1..6_u128) {
        let dir = tempfile::tempdir().unwrap();
        let (pins, _) = open(dir.path());
        for call in 0..calls {
            pins.append_with(&some(call * 4..call * 4 + 4), &conversations(call * 3..call * 3 + 3)).unwrap();
        }
        drop(pins);
        let bytes = std::fs::read(&files(dir.path())[0]).unwrap();
        let dir = log_of(&bytes[..(bytes.len() as f64 * cut) as usize]);
        let (pins, found) = open(dir.path());
        let conversed = pins.take_followed();
        prop_assert!(some(0..calls * 4).starts_with(&found));
        prop_assert!(conversations(0..calls * 3).starts_with(&conversed));
        pins.append_with(&some(900..901), &conversations(900..901)).unwrap();
        drop(pins);
        let (pins, found) = open(dir.path());
        prop_assert!(found.ends_with(&some(900..901)));
        prop_assert!(pins.take_followed().ends_with(&conversations(900..901)));
    }
}
