//! The files in which earlier builds kept the conversations that are followed by what they say. They are in the
//! [log of pins](crate::pins) now; what these files hold is moved there once.
//!
//! `conversations.young` and `conversations.old` are fixed records of 80 bytes with a checksum each, oldest first.

use crate::pins::{EmbeddedPins, PinsError};
use coalmine_core::id::UnitKey;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Followed;
use coalmine_core::version::VersionId;
use std::io;
use std::path::{Path, PathBuf};

const RECORD_BYTES: usize = 80;
const BODY_BYTES: usize = 72;
/// The older first.
const FILES: [&str; 2] = ["conversations.old", "conversations.young"];

/// Moves what the files in `folder` hold and is not idle for longer than `idle` at `now` into `log`, and returns it, oldest
/// first. A cut off or damaged record, and what follows it, is left out. The files go when the log is on stable storage:
/// a crash before that, or a disk that is full, has them moved once more, which says nothing new.
///
/// # Errors
/// Where they cannot be read.
pub fn move_into(log: &EmbeddedPins, folder: &Path, idle: SpanMs, now: UnixMs) -> Result<Vec<Followed>, PinsError> {
    let mut found = Vec::new();
    let mut there = Vec::new();
    for path in FILES.map(|name| folder.join(name)) {
        match std::fs::read(&path) {
            Ok(bytes) => {
                found.extend(bytes.chunks_exact(RECORD_BYTES).map_while(decode));
                there.push(path);
            }
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PinsError::disk("reading", &path, source)),
        }
    }
    found.retain(|followed| now.since(followed.at) <= idle);
    if let Err(error) = put(log, &found, &there) {
        tracing::warn!(%error, "conversations of an earlier build stay in its files; the next start moves them");
    }
    Ok(found)
}

fn put(log: &EmbeddedPins, found: &[Followed], there: &[PathBuf]) -> Result<(), PinsError> {
    if !found.is_empty() {
        log.append_with(&[], found)?;
        log.sync_here()?;
    }
    there
        .iter()
        .try_for_each(|path| std::fs::remove_file(path).map_err(|source| PinsError::disk("removing", path, source)))
}

fn decode(record: &[u8]) -> Option<Followed> {
    let (body, sum) = record.split_at_checked(BODY_BYTES)?;
    if checksum(body) != sum {
        return None;
    }
    Some(Followed {
        conversation: u128::from_le_bytes(body[..16].try_into().ok()?),
        unit: UnitKey(u128::from_le_bytes(body[16..32].try_into().ok()?)),
        version: VersionId(body[32..64].try_into().ok()?),
        at: UnixMs(u64::from_le_bytes(body[64..].try_into().ok()?)),
    })
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(body).as_bytes()[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: SpanMs = SpanMs(1_000);

    fn followed(n: u64) -> Followed {
        Followed {
            conversation: u128::from(n) << 70 | u128::from(n),
            unit: UnitKey(u128::from(n) * 31),
            version: VersionId([u8::try_from(n % 251).unwrap(); 32]),
            at: UnixMs(n),
        }
    }

    /// As earlier builds wrote it.
    fn encode(followed: &Followed) -> Vec<u8> {
        let mut record = followed.conversation.to_le_bytes().to_vec();
        record.extend_from_slice(&followed.unit.0.to_le_bytes());
        record.extend_from_slice(&followed.version.0);
        record.extend_from_slice(&followed.at.0.to_le_bytes());
        let sum = checksum(&record);
        record.extend_from_slice(&sum);
        record
    }

    /// The log in `folder` reopened: what it was given of the files, and what it has itself.
    fn open(folder: &Path, now: u64) -> (Vec<Followed>, Vec<Followed>) {
        let (log, _) = EmbeddedPins::open(folder, IDLE, UnixMs(now)).unwrap();
        let own = log.take_followed();
        (move_into(&log, folder, IDLE, UnixMs(now)).unwrap(), own)
    }

    #[test]
    fn a_record_of_an_earlier_build_is_read() {
        let hex: String = encode(&followed(7)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex.len(), 2 * RECORD_BYTES);
        assert_eq!(&hex[..32], "0700000000000000c001000000000000");
        assert_eq!(&hex[128..], "070000000000000072bf99b1641a195b");
    }

    #[test]
    fn what_is_idle_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, all: std::ops::Range<u64>| {
            std::fs::write(folder.path().join(name), all.flat_map(|n| encode(&followed(n))).collect::<Vec<_>>())
        };
        write("conversations.old", 0..10).unwrap();
        write("conversations.young", 10..20).unwrap();
        let expected: Vec<_> = (5..20).map(followed).collect();
        assert_eq!(open(folder.path(), 1_005), (expected.clone(), Vec::new()));
        assert_eq!(open(folder.path(), 1_005), (Vec::new(), expected), "moved for good");
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_is_moved_as_far_as_it_goes(cut in 0_usize..(20 * RECORD_BYTES)) {
            let folder = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = (0..20).flat_map(|n| encode(&followed(n))).collect();
            std::fs::write(folder.path().join("conversations.young"), &bytes[..cut]).unwrap();
            let whole: Vec<_> = (0..(cut / RECORD_BYTES) as u64).map(followed).collect();
            prop_assert_eq!(open(folder.path(), 50), (whole.clone(), Vec::new()));
            // a crash before the files went: they are moved again
            std::fs::write(folder.path().join("conversations.young"), &bytes[..cut]).unwrap();
            prop_assert_eq!(open(folder.path(), 50), (whole.clone(), whole));
            prop_assert!(!folder.path().join("conversations.young").exists());
        }
    }
}
