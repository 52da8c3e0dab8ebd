//! Pins behind the hot path, on the local disk of one node, and the conversations that are followed by what they say: a
//! log of records in numbered files.
//!
//! [`EmbeddedPins::append`] is one write into the page cache, which survives a kill of the process;
//! [`EmbeddedPins::sync`] makes it survive a power cut. When the files hold more than three times what was
//! live, a thread writes what is live into one file. Nothing is ever changed in place: at every
//! instant the files, read in the order of their numbers, say what was appended.

mod frame;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

pub use replay::Replay;

use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Followed, PinRecord};
use replay::Newest;
use segment::{Directory, Segment};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files are left alone below this many bytes: a start reads them in a quarter of a second, and where thousands of sessions
/// begin in each second a smaller log is written anew every few seconds, most of it for nothing.
const SMALL: u64 = 32 << 20;
/// And up to this many times what was live in them when they were last written anew.
const SLACK: u64 = 3;
/// More files than this (one per restart) are put together whatever their size.
const MANY: usize = 8;
/// The most conversations that are kept, the latest: 48 MB.
const FOLLOWED_MAX: usize = 1_000_000;

/// The log of pins of one node. Clones share it.
#[derive(Debug, Clone)]
pub struct EmbeddedPins {
    shared: Arc<Shared>,
}

/// Why pins were not written or read.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// Two processes on one log would spoil it.
    #[error("{} is in use by another coalmine; stop that one, or name another directory", dir.display())]
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by a newer build: do not go on.
    #[error("{} has format {format}, and this build reads up to {}; run the build that wrote it", path.display(), frame::FORMAT)]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Cannot be written at all; nothing of the call was.
    #[error("the name of release {name}… is longer than {} bytes; shorten the route's name", frame::LONGEST_NAME)]
    NameTooLong {
        /// How it begins.
        name: String,
    },
    /// The disk says no. The log is as it was before: call again when the cause is gone.
    #[error("{what} {} failed ({source}); look after its disk: room, mount, rights", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PinsError {
    pub(crate) fn disk(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { what, path: path.to_owned(), source }
    }
}

#[derive(Debug)]
struct Shared {
    dir: Directory,
    ttl: SpanMs,
    found: Replay,
    /// The conversations that were found, until somebody takes them.
    followed: Mutex<Vec<Followed>>,
    log: Mutex<Log>,
}

/// The files as they are. The lock is held while one write goes into the page cache, never over a
/// wait for the disk.
#[derive(Debug)]
struct Log {
    /// The file that is written; made at the first append.
    active: Option<Segment>,
    /// Files that were written since the last sync and are not any more.
    unsynced: Vec<Arc<File>>,
    /// The number of the next file.
    next: u64,
    /// Bytes of the files that are not written any more.
    settled_bytes: u64,
    /// Beyond this many bytes in all files what is live is written anew.
    compact_above: u64,
    compaction: Compaction,
    /// The system could not write something back and will not say so twice: what the files hold must
    /// be written anew before a sync may succeed.
    doubtful: bool,
    /// The time of use that was appended last: the time by which pins are idle.
    now: UnixMs,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compaction {
    Idle,
    Running,
}

impl EmbeddedPins {
    /// Opens the log in `dir`, which is made where there is none, and reads it: the newest record of
    /// every unit that is not idle for longer than `ttl` at `now`, in the order of the units' first
    /// records. Blocks on the disk: call it before serving. A cut off or damaged record is left out
    /// and counted in [`Self::replay`].
    ///
    /// # Errors
    /// Where another process has it open, a newer build wrote it, or the disk says no.
    pub fn open(dir: &Path, ttl: SpanMs, now: UnixMs) -> Result<(Self, Vec<PinRecord>), PinsError> {
        let dir = Directory::open(dir)?;
        let files = dir.segments()?;
        let mut newest = Newest::default();
        let mut followed = Vec::new();
        let mut settled_bytes = 0;
        for (_, path) in &files {
            newest.read_file(path, |conversation| {
                if now.since(conversation.at) <= ttl {
                    followed.push(conversation);
                }
            })?;
            settled_bytes += path.metadata().map_err(|e| PinsError::disk("reading", path, e))?.len();
        }
        followed.drain(..followed.len().saturating_sub(FOLLOWED_MAX));
        let (live, found) = newest.live(ttl, now);
        if found.damaged > 0 {
            tracing::warn!(dir = %dir.path().display(), damaged = found.damaged, "damaged pin records were left out");
        }
        let log = Log {
            active: None,
            unsynced: Vec::new(),
            next: files.last().map_or(1, |(number, _)| number + 1),
            settled_bytes,
            compact_above: Log::threshold((live.len() + followed.len()) as u64 * frame::FRAME as u64),
            compaction: Compaction::Idle,
            doubtful: false,
            now,
            buffer: Vec::new(),
        };
        let (log, followed) = (Mutex::new(log), Mutex::new(followed));
        let pins = Self { shared: Arc::new(Shared { dir, ttl, found, followed, log }) };
        let due = {
            let mut log = pins.shared.lock();
            if files.len() > MANY { log.claim() } else { log.claim_if_large() }
        };
        pins.shared.compact_in_background(due);
        Ok((pins, live))
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn replay(&self) -> Replay {
        self.shared.found
    }

    /// The conversations that were found when it was opened and are not idle for too long either, oldest first: for
    /// whoever asks first.
    #[must_use]
    pub fn take_followed(&self) -> Vec<Followed> {
        std::mem::take(&mut *self.shared.followed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends `records`, all or none, in one write that does not wait for the disk. A later record of
    /// a unit replaces its earlier ones.
    ///
    /// # Errors
    /// Where the disk is full or broken; the log is then as it was before.
    pub fn append(&self, records: &[PinRecord]) -> Result<(), PinsError> {
        self.append_with(records, &[])
    }

    /// The same with conversations, in the same write.
    ///
    /// # Errors
    /// Where the disk is full or broken; the log is then as it was before.
    pub fn append_with(&self, records: &[PinRecord], followed: &[Followed]) -> Result<(), PinsError> {
        let due = self.shared.append(records, followed)?;
        self.shared.compact_in_background(due);
        Ok(())
    }

    /// Waits until everything that was appended before the call is on stable storage. The waiting is
    /// done on a thread for blocking calls.
    ///
    /// # Errors
    /// Where the disk says no.
    pub async fn sync(&self) -> Result<(), PinsError> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.sync()).await {
            Ok(done) => done,
            Err(e) => Err(PinsError::disk("syncing", self.shared.dir.path(), io::Error::other(e))),
        }
    }

    /// The same on this thread.
    pub(crate) fn sync_here(&self) -> Result<(), PinsError> {
        self.shared.sync()
    }

    /// Writes what is live into one file now, and waits for it.
    ///
    /// # Errors
    /// Where the disk says no; the log is as it was before.
    pub fn compact(&self) -> Result<(), PinsError> {
        self.shared.compact()
    }
}

/// The right to compact, until it is used.
#[derive(Debug)]
#[must_use]
struct Claim;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        // Whoever panicked left the files as they are said to be: the length counts after the write.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, records: &[PinRecord], followed: &[Followed]) -> Result<Option<Claim>, PinsError> {
        let too_long = |record: &&PinRecord| {
            record.pin.member.as_ref().is_some_and(|member| member.release.as_str().len() > frame::LONGEST_NAME)
        };
        if let Some(member) = records.iter().find(too_long).and_then(|record| record.pin.member.as_ref()) {
            return Err(PinsError::NameTooLong { name: member.release.as_str().chars().take(40).collect() });
        }
        let mut guard = self.lock();
        let log = &mut *guard;
        if log.active.as_ref().is_none_or(|active| active.spoilt) {
            let doubtful = log.turn(&self.dir)?.doubtful;
            log.doubtful |= doubtful;
        }
        let pinned_at = records.last().map(|record| record.pin.last_seen);
        let last = pinned_at.max(followed.last().map(|followed| followed.at));
        if let (Some(active), Some(last)) = (&mut log.active, last) {
            active.append(records, followed, &mut log.buffer)?;
            log.now = last;
        }
        Ok(log.claim_if_large())
    }

    fn sync(&self) -> Result<(), PinsError> {
        let (files, doubtful) = {
            let log = self.lock();
            let mut files = log.unsynced.clone();
            files.extend(log.active.as_ref().map(|active| Arc::clone(&active.file)));
            (files, log.doubtful)
        };
        if doubtful {
            return self.compact();
        }
        for file in &files {
            if let Err(e) = file.sync_data() {
                self.lock().doubtful = true;
                return Err(PinsError::disk("syncing", self.dir.path(), e));
            }
        }
        self.dir.sync()?;
        self.lock().unsynced.retain(|file| !files.iter().any(|synced| Arc::ptr_eq(file, synced)));
        Ok(())
    }

    fn compact_in_background(self: &Arc<Self>, claim: Option<Claim>) {
        let Some(claim) = claim else { return };
        let shared = Arc::clone(self);
        let work = move || {
            if let Err(e) = shared.compact_claimed(claim) {
                tracing::warn!(error = %e, "pins could not be compacted; their log grows on, and it is tried again");
            }
        };
        if let Err(e) = std::thread::Builder::new().name("pins-compaction".to_owned()).spawn(work) {
            self.lock().compaction = Compaction::Idle; // the claim went with the closure
            tracing::warn!(error = %e, "no thread to compact pins; it is tried again at the next append");
        }
    }

    fn compact(&self) -> Result<(), PinsError> {
        let claim = self.lock().claim();
        match claim {
            Some(claim) => self.compact_claimed(claim),
            None => {
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, "it is being compacted already");
                Err(PinsError::disk("compacting", self.dir.path(), busy))
            }
        }
    }

    fn compact_claimed(&self, claim: Claim) -> Result<(), PinsError> {
        let done = self.turn_and_compact();
        let mut log = self.lock();
        log.release(claim);
        if done.is_err() {
            log.compact_above = log.bytes() + log.bytes() / 2;
        }
        done
    }

    /// Turns to a new file, and puts all files before it together into the last of them. A crash
    /// leaves either all of them, or the one that holds everything and perhaps some before it, which
    /// it overrules.
    fn turn_and_compact(&self) -> Result<(), PinsError> {
        let turn = self.lock().turn(&self.dir)?;
        let compacted = self.compact_below(&turn);
        let mut log = self.lock();
        match compacted {
            Ok(bytes) => {
                // All that the old files held is in one that is synced.
                log.unsynced.retain(|file| !turn.unsynced.iter().any(|old| Arc::ptr_eq(file, old)));
                log.settled_bytes = log.settled_bytes - turn.settled_bytes + bytes;
                log.compact_above = Log::threshold(bytes);
                Ok(())
            }
            Err(e) => {
                log.doubtful |= turn.doubtful;
                Err(e)
            }
        }
    }

    fn compact_below(&self, turn: &Turn) -> Result<u64, PinsError> {
        let files: Vec<_> = self.dir.segments()?.into_iter().filter(|(number, _)| *number < turn.number).collect();
        let Some(((_, last), older)) = files.split_last() else { return Ok(0) };
        let is_live = |followed: &Followed| turn.now.since(followed.at) <= self.ttl;
        let (mut newest, mut followed) = (Newest::default(), 0_usize);
        for (_, path) in &files {
            newest.read_file(path, |conversation| followed += usize::from(is_live(&conversation)))?;
        }
        let (live, _) = newest.live(self.ttl, turn.now);
        // read once more, for they are many: the oldest of too many are left out
        let mut left_out = followed.saturating_sub(FOLLOWED_MAX);
        let bytes = self.dir.replace_segment(last, &live, |fresh| {
            files.iter().try_for_each(|(_, path)| {
                replay::followed(path, |conversation| match (is_live(&conversation), left_out) {
                    (true, 0) => fresh.followed(&conversation),
                    (true, _) => {
                        left_out -= 1;
                        Ok(())
                    }
                    (false, _) => Ok(()),
                })
            })
        })?;
        for (_, path) in older {
            std::fs::remove_file(path).map_err(|e| PinsError::disk("removing", path, e))?;
        }
        Ok(bytes)
    }
}

/// How the log stood when it turned to the file `number`.
#[derive(Debug)]
struct Turn {
    number: u64,
    now: UnixMs,
    unsynced: Vec<Arc<File>>,
    settled_bytes: u64,
    doubtful: bool,
}

impl Log {
    fn threshold(live_bytes: u64) -> u64 {
        (SLACK * live_bytes).max(SMALL)
    }

    fn bytes(&self) -> u64 {
        self.settled_bytes + self.active.as_ref().map_or(0, |active| active.len)
    }

    /// Goes on in a new file.
    fn turn(&mut self, dir: &Directory) -> Result<Turn, PinsError> {
        let number = self.next;
        let fresh = dir.create_segment(number)?;
        self.next += 1;
        if let Some(old) = self.active.replace(fresh) {
            self.settled_bytes += old.len;
            self.unsynced.push(old.file);
        }
        let (now, settled_bytes, unsynced) = (self.now, self.settled_bytes, self.unsynced.clone());
        Ok(Turn { number, now, unsynced, settled_bytes, doubtful: std::mem::take(&mut self.doubtful) })
    }

    fn claim_if_large(&mut self) -> Option<Claim> {
        if self.bytes() > self.compact_above { self.claim() } else { None }
    }

    /// One compaction at a time.
    fn claim(&mut self) -> Option<Claim> {
        if self.compaction == Compaction::Running {
            return None;
        }
        self.compaction = Compaction::Running;
        Some(Claim)
    }

    fn release(&mut self, Claim: Claim) {
        self.compaction = Compaction::Idle;
    }
}
