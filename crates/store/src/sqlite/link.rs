//! Connections on threads of their own: the async runtime never waits for the disk. A connection is
//! opened anew when it broke, or when the file under its path is another one.

use super::failure::Failure;
use super::migrate::{migrate, version};
use crate::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a writer waits for another program's lock.
const BUSY: Duration = Duration::from_secs(1);
/// Calls that may wait in line; a caller beyond them waits to get into the line.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&Link) + Send>;

/// The sending end of a connection's thread, which ends with the last clone of it.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
}

impl Desk {
    /// Starts the thread of `link`.
    pub(super) fn start(link: Link, name: &str) -> Result<Self, StoreError> {
        let (jobs, mut line) = mpsc::channel::<Job>(QUEUE);
        let serve = move || {
            while let Some(job) = line.blocking_recv() {
                job(&link);
            }
        };
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(serve);
        started.map_err(|e| StoreError::Unavailable {
            what: "no thread for the store can be started; raise the limit of threads".to_owned(),
            source: Box::new(e),
        })?;
        Ok(Self { jobs })
    }

    /// Has `work` done on the connection; `what` names it in errors. Calls are done in the order of
    /// arrival, also one whose caller has gone.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |link| {
            // A caller that has gone does not want to know.
            let _gone = reply.send(link.work(what, work));
        });
        let ended = |_| StoreError::Unavailable {
            what: format!("{what}: the store's thread has ended; restart coalmine"),
            source: "a thread ended early".into(),
        };
        self.jobs.send(job).await.map_err(|_| ended(()))?;
        answer.await.map_err(|_| ended(()))?
    }
}

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// The file under the path, and the connections to it. They are kept together because all of them
/// must be closed before another file under the same path is opened: the write-ahead log beside it
/// is found by path, and belongs to the old file as long as one connection to that is open.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    identity: Mutex<Option<FileIdentity>>,
    connections: Vec<Mutex<Option<Connection>>>,
}

/// Device and inode: another file under the same path has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity(u64, u64);

impl StoreFile {
    /// Opens the file, which is made where there is none, once per access.
    pub(super) fn open(path: &Path, access: &[Access]) -> Result<Vec<Link>, StoreError> {
        let connections = access.iter().map(|_| Mutex::default()).collect();
        let file = Arc::new(Self { path: path.to_owned(), identity: Mutex::default(), connections });
        let link = |(place, access)| {
            let link = Link { file: Arc::clone(&file), place, access };
            let opened = link.open(OpenFlags::SQLITE_OPEN_CREATE);
            *link.connection() = Some(opened.map_err(|e| e.into_store_error(path, "opening the store"))?);
            Ok(link)
        };
        let links = (0..).zip(access.iter().copied()).map(link).collect::<Result<_, StoreError>>()?;
        file.notice_another_file()?;
        Ok(links)
    }

    /// A file that was deleted or replaced would swallow writes unseen. A missing one is never made
    /// anew while running: an empty store in its place would look like a store that knows no release.
    fn notice_another_file(&self) -> Result<(), StoreError> {
        let found = std::fs::metadata(&self.path).map(|it| FileIdentity(it.dev(), it.ino()));
        let mut identity = lock(&self.identity);
        let now = found.as_ref().ok().copied();
        if *identity != now {
            if identity.is_some() {
                tracing::warn!(path = %self.path.display(), "the store file was moved or replaced; closing the old one");
                self.close_all()?;
            }
            *identity = now;
        }
        let path = self.path.display();
        found.map(|_| ()).map_err(|e| StoreError::Unavailable {
            what: format!("{path} cannot be found; put it back, or restart coalmine to begin with an empty store"),
            source: Box::new(e),
        })
    }
}

impl StoreFile {
    /// Writes the log back into the old file, wherever that is now, empties it, and lets the old file
    /// go. SQLite by itself leaves the log of a moved file where it is, to be replayed into the new one.
    fn close_all(&self) -> Result<(), StoreError> {
        let mut connections: Vec<_> = self.connections.iter().map(lock).collect();
        if let Some(open) = connections.iter().find_map(|connection| connection.as_ref()) {
            let left = open.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            let what = "writing the log back into the store file that was here before";
            if left.map_err(|e| Failure::from(e).into_store_error(&self.path, what))? {
                let source = "another program still has it open".into();
                return Err(StoreError::Unavailable { what: format!("{what}: {}", self.path.display()), source });
            }
        }
        for connection in &mut connections {
            **connection = None;
        }
        Ok(())
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Link {
    file: Arc<StoreFile>,
    place: usize,
    access: Access,
}

impl Link {
    fn work<T>(&self, what: &str, work: impl FnOnce(&mut Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.file.notice_another_file()?;
        let mut connection = self.connection();
        let done = self.connected(&mut connection).and_then(work);
        done.map_err(|failure| {
            if !failure.leaves_connection_usable() {
                *connection = None;
            }
            failure.into_store_error(&self.file.path, what)
        })
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        lock(&self.file.connections[self.place])
    }

    fn connected<'a>(&self, connection: &'a mut Option<Connection>) -> Result<&'a mut Connection, Failure> {
        let opened = match connection.take() {
            Some(open) => open,
            None => self.open(OpenFlags::empty())?,
        };
        Ok(connection.insert(opened))
    }

    fn open(&self, create: OpenFlags) -> Result<Connection, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let mut connection = Connection::open_with_flags(&self.file.path, flags)?;
        connection.busy_timeout(BUSY)?;
        // Refuses the file of another program or of a newer coalmine before anything in it is touched.
        version(&connection)?;
        // WAL: readers and the writer do not wait for each other. FULL: a commit is on the disk before
        // it is answered, so that neither a kill nor a power cut loses a decision. fullfsync: the same
        // on macOS, where fsync alone does not reach the disk.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA journal_size_limit = 67108864;
             PRAGMA trusted_schema = OFF;",
        )?;
        migrate(&mut connection)?;
        if self.access == Access::Read {
            connection.execute_batch("PRAGMA query_only = ON")?;
        }
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}

/// A thread that panicked in the middle of a transaction rolled it back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
