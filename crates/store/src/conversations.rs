//! Conversations that are followed by what they say, on the local disk of one node, so that a restart
//! finds them again.
//!
//! Two files of fixed records with a checksum each, `conversations.young` and `conversations.old`.
//! When the young one is as old as a conversation may be idle, or too large, it becomes the old one and
//! the old one is gone: a conversation in use is written anew at each answer, so it is always in one of
//! the two. [`ConversationLog::append`] is a write into the page cache, which survives a kill.

use coalmine_core::id::UnitKey;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Followed;
use coalmine_core::version::VersionId;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const RECORD_BYTES: usize = 80;
const BODY_BYTES: usize = 72;

/// The log of one node.
#[derive(Debug)]
pub struct ConversationLog {
    folder: PathBuf,
    idle: SpanMs,
    records_max: u64,
    young: Mutex<Young>,
}

/// Why it was not written or read.
#[derive(Debug, thiserror::Error)]
#[error("{what} {} failed ({source}); look after its disk: room, mount, rights", path.display())]
pub struct ConversationsError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

#[derive(Debug)]
struct Young {
    file: File,
    records: u64,
    since: Option<UnixMs>,
}

impl ConversationLog {
    /// Opens the log in `folder` and reads what is not idle for longer than `idle` at `now`, oldest
    /// first. A cut off or damaged record is left out. At most `records_max` are kept in each file.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn open(
        folder: &Path,
        idle: SpanMs,
        records_max: u64,
        now: UnixMs,
    ) -> Result<(Self, Vec<Followed>), ConversationsError> {
        let mut found = read(&folder.join("conversations.old"))?;
        let young = read(&folder.join("conversations.young"))?;
        let since = young.first().map(|followed| followed.at);
        let records = young.len() as u64;
        found.extend(young);
        found.retain(|followed| now.since(followed.at) <= idle);
        let file = open_young(folder)?;
        // A torn last record would shift every later one.
        let whole = records * RECORD_BYTES as u64;
        let mend = file.metadata().and_then(|meta| if meta.len() == whole { Ok(()) } else { file.set_len(whole) });
        mend.map_err(|source| error("mending", &folder.join("conversations.young"), source))?;
        let young = Mutex::new(Young { file, records, since });
        Ok((Self { folder: folder.to_owned(), idle, records_max, young }, found))
    }

    /// Appends records in their order; in one write, but where a file turns between them.
    ///
    /// # Errors
    /// When the disk says no; these conversations are then known until the next restart only.
    pub fn append(&self, followed: &[Followed]) -> Result<(), ConversationsError> {
        let mut young = self.young.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = followed;
        while let Some(first) = rest.first() {
            let since = *young.since.get_or_insert(first.at);
            if young.records >= self.records_max || first.at.since(since) > self.idle {
                self.turn(&mut young)?;
                young.since = Some(first.at);
            }
            let room = usize::try_from(self.records_max.saturating_sub(young.records)).unwrap_or(usize::MAX).max(1);
            let since = young.since.unwrap_or(first.at);
            let fits = rest.iter().take(room).take_while(|followed| followed.at.since(since) <= self.idle).count();
            let (now, later) = rest.split_at(fits.max(1));
            self.write(&mut young, now)?;
            rest = later;
        }
        Ok(())
    }

    fn write(&self, young: &mut Young, followed: &[Followed]) -> Result<(), ConversationsError> {
        let whole = young.records * RECORD_BYTES as u64;
        let bytes: Vec<u8> = followed.iter().flat_map(encode).collect();
        match young.file.write_all(&bytes) {
            Ok(()) => {
                young.records += followed.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Half a record would shift every later one.
                let _ = young.file.set_len(whole);
                Err(error("writing", &self.folder.join("conversations.young"), source))
            }
        }
    }

    fn turn(&self, young: &mut Young) -> Result<(), ConversationsError> {
        let path = self.folder.join("conversations.young");
        let renamed = std::fs::rename(&path, self.folder.join("conversations.old"));
        renamed.map_err(|source| error("renaming", &path, source))?;
        young.file = open_young(&self.folder)?;
        young.records = 0;
        Ok(())
    }
}

fn error(what: &'static str, path: &Path, source: io::Error) -> ConversationsError {
    ConversationsError { what, path: path.to_owned(), source }
}

fn open_young(folder: &Path) -> Result<File, ConversationsError> {
    let path = folder.join("conversations.young");
    OpenOptions::new().append(true).create(true).open(&path).map_err(|source| error("opening", &path, source))
}

/// The records of a file up to the first that is cut off or damaged.
fn read(path: &Path) -> Result<Vec<Followed>, ConversationsError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.chunks_exact(RECORD_BYTES).map_while(decode).collect()),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(error("reading", path, source)),
    }
}

fn encode(followed: &Followed) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..16].copy_from_slice(&followed.conversation.to_le_bytes());
    record[16..32].copy_from_slice(&followed.unit.0.to_le_bytes());
    record[32..64].copy_from_slice(&followed.version.0);
    record[64..BODY_BYTES].copy_from_slice(&followed.at.0.to_le_bytes());
    let sum = checksum(&record[..BODY_BYTES]);
    record[BODY_BYTES..].copy_from_slice(&sum);
    record
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
    use super::{ConversationLog, RECORD_BYTES};
    use coalmine_core::id::UnitKey;
    use coalmine_core::time::{SpanMs, UnixMs};
    use coalmine_core::traffic::pin::Followed;
    use coalmine_core::version::VersionId;
    use proptest::prelude::*;

    fn followed(n: u64, at_ms: u64) -> Followed {
        Followed {
            conversation: u128::from(n) << 70 | u128::from(n),
            unit: UnitKey(u128::from(n) * 31),
            version: VersionId([u8::try_from(n % 251).unwrap(); 32]),
            at: UnixMs(at_ms),
        }
    }

    #[test]
    fn what_was_appended_is_found_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let idle = SpanMs::hours(1);
        let (log, found) = ConversationLog::open(folder.path(), idle, 1_000, UnixMs(0)).unwrap();
        assert!(found.is_empty());
        (0..50).for_each(|n| log.append(&[followed(n, n)]).unwrap());
        drop(log);
        let (_, found) = ConversationLog::open(folder.path(), idle, 1_000, UnixMs(100)).unwrap();
        assert_eq!(found, (0..50).map(|n| followed(n, n)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_idle_too_long_is_gone_and_the_files_stay_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let idle = SpanMs(1_000);
        let (log, _) = ConversationLog::open(folder.path(), idle, 10, UnixMs(0)).unwrap();
        (0..100).for_each(|n| log.append(&[followed(n, n * 10)]).unwrap());
        let (_, found) = ConversationLog::open(folder.path(), idle, 10, UnixMs(1_000)).unwrap();
        assert!(found.len() > 10 && found.len() <= 20, "{} of the last two files", found.len());
        assert_eq!(found.last(), Some(&followed(99, 990)));
        let (_, found) = ConversationLog::open(folder.path(), idle, 10, UnixMs(60_000)).unwrap();
        assert!(found.is_empty());
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_reads_to_a_prefix_and_takes_more(cut in 0_usize..(20 * RECORD_BYTES)) {
            let folder = tempfile::tempdir().unwrap();
            let idle = SpanMs::hours(1);
            let (log, _) = ConversationLog::open(folder.path(), idle, 1_000, UnixMs(0)).unwrap();
            (0..20).for_each(|n| log.append(&[followed(n, n)]).unwrap());
            drop(log);
            let path = folder.path().join("conversations.young");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (log, found) = ConversationLog::open(folder.path(), idle, 1_000, UnixMs(50)).unwrap();
            let whole = cut / RECORD_BYTES;
            prop_assert_eq!(&found, &(0..whole as u64).map(|n| followed(n, n)).collect::<Vec<_>>());
            log.append(&[followed(77, 60)]).unwrap();
            drop(log);
            let (_, found) = ConversationLog::open(folder.path(), idle, 1_000, UnixMs(70)).unwrap();
            prop_assert_eq!(found.len(), whole + 1);
            prop_assert_eq!(found.last(), Some(&followed(77, 60)));
        }
    }
}
