//! The directory of a pin log and its files `pins-0000000001.log`, read in the order of their numbers.

use super::PinsError;
use super::frame::{Encoder, FRAME};
use coalmine_core::traffic::pin::{Followed, PinRecord};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the lock is tried, and what lies between two tries: a second in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    path: PathBuf,
    /// How far it is written.
    pub(super) len: u64,
    /// A write failed and what it left could not be cut off: nothing may be written over that, since
    /// its records would then be read with other names.
    pub(super) spoilt: bool,
    encoder: Encoder,
}

impl Segment {
    /// Appends all of these in one write, or none.
    pub(super) fn append(
        &mut self,
        records: &[PinRecord],
        followed: &[Followed],
        buffer: &mut Vec<u8>,
    ) -> Result<(), PinsError> {
        buffer.clear();
        if self.len == 0 {
            Encoder::header(buffer);
        }
        for record in records {
            self.encoder.pin(record, buffer);
        }
        for followed in followed {
            self.encoder.followed(followed, buffer);
        }
        match self.file.write_all_at(buffer, self.len) {
            Ok(()) => {
                self.encoder.keep();
                self.len += buffer.len() as u64;
                Ok(())
            }
            Err(e) => {
                self.encoder.forget();
                self.spoilt = self.file.set_len(self.len).is_err();
                Err(PinsError::disk("appending pins to", &self.path, e))
            }
        }
    }
}

/// The directory, held against other processes until it is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
    _lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, PinsError> {
        let failed = |e| PinsError::disk("opening", path, e);
        std::fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("pins.lock"));
        let lock = lock.map_err(failed)?;
        take_lock(&lock, path)?;
        let directory = Self { path: path.to_owned(), handle: File::open(path).map_err(failed)?, _lock: lock };
        directory.remove_unfinished()?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files with their numbers, in order.
    pub(super) fn segments(&self) -> Result<Vec<(u64, PathBuf)>, PinsError> {
        let mut files: Vec<_> = self.names()?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
        files.sort_unstable();
        Ok(files)
    }

    pub(super) fn create_segment(&self, number: u64) -> Result<Segment, PinsError> {
        let path = self.path.join(format!("pins-{number:010}.log"));
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        let file = file.map_err(|e| PinsError::disk("creating", &path, e))?;
        Ok(Segment { file: Arc::new(file), path, len: 0, spoilt: false, encoder: Encoder::default() })
    }

    /// Writes `records`, and the conversations that `followed` hands on, in place of the file at `path`, at once or not
    /// at all; returns the new length.
    pub(super) fn replace_segment(
        &self,
        path: &Path,
        records: &[PinRecord],
        followed: impl FnOnce(&mut Fresh) -> Result<(), PinsError>,
    ) -> Result<u64, PinsError> {
        let new = path.with_extension("new");
        let written = Fresh::write(&new, records, followed);
        if written.is_err() {
            // It is of no use, and takes room on a disk that may be full; what stays is removed at the next start.
            let _stays = std::fs::remove_file(&new);
        }
        let bytes = written?;
        std::fs::rename(&new, path).map_err(|e| PinsError::disk("renaming", &new, e))?;
        self.sync()?;
        Ok(bytes)
    }

    /// Makes the names of the files survive a power cut.
    pub(super) fn sync(&self) -> Result<(), PinsError> {
        self.handle.sync_all().map_err(|e| PinsError::disk("syncing", &self.path, e))
    }

    fn remove_unfinished(&self) -> Result<(), PinsError> {
        for path in self.names()? {
            if path.extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_file(&path).map_err(|e| PinsError::disk("removing", &path, e))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<PathBuf>, PinsError> {
        let failed = |e| PinsError::disk("listing", &self.path, e);
        let entries = std::fs::read_dir(&self.path).map_err(failed)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
    }
}

/// A process that is just ending, or has just forked, holds the lock a moment longer than it is used.
fn take_lock(lock: &File, dir: &Path) -> Result<(), PinsError> {
    for _try in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(e)) => return Err(PinsError::disk("locking", dir, e)),
        }
    }
    Err(PinsError::Taken { dir: dir.to_owned() })
}

fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("pins-")?.strip_suffix(".log")?.parse().ok()
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct Fresh {
    file: BufWriter<File>,
    path: PathBuf,
    encoder: Encoder,
    frames: Vec<u8>,
    bytes: u64,
}

impl Fresh {
    fn write(
        path: &Path,
        records: &[PinRecord],
        followed: impl FnOnce(&mut Self) -> Result<(), PinsError>,
    ) -> Result<u64, PinsError> {
        let file = File::create(path).map_err(|e| PinsError::disk("writing", path, e))?;
        let file = BufWriter::with_capacity(FRAME * 4096, file);
        let mut fresh = Self { file, path: path.to_owned(), encoder: Encoder::default(), frames: Vec::new(), bytes: 0 };
        Encoder::header(&mut fresh.frames);
        for record in records {
            fresh.encoder.pin(record, &mut fresh.frames);
            fresh.put()?;
        }
        followed(&mut fresh)?;
        fresh.put()?;
        let (file, bytes) = (fresh.file, fresh.bytes);
        let synced = file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|e| PinsError::disk("writing", path, e))?;
        Ok(bytes)
    }

    /// One more conversation.
    pub(super) fn followed(&mut self, followed: &Followed) -> Result<(), PinsError> {
        self.encoder.followed(followed, &mut self.frames);
        self.put()
    }

    fn put(&mut self) -> Result<(), PinsError> {
        self.file.write_all(&self.frames).map_err(|e| PinsError::disk("writing", &self.path, e))?;
        self.bytes += self.frames.len() as u64;
        self.frames.clear();
        Ok(())
    }
}
