//! What SQLite says, as what the caller does next.

use crate::StoreError;
use rusqlite::ErrorCode;
use std::path::Path;

/// Why a piece of work on the database did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The rules of the store say no.
    Refused(StoreError),
    /// The engine says no.
    Engine(rusqlite::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    /// Whether the connection is still good: after any other failure it is opened anew.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::Refused(error) => !matches!(error, StoreError::Corrupt { .. }),
            Self::Engine(error) => is_locked(error) || is_full(error),
        }
    }

    /// As told to the caller: what was tried on which file, and how to mend it.
    pub(super) fn into_store_error(self, path: &Path, what: &str) -> StoreError {
        let error = match self {
            Self::Refused(StoreError::Corrupt { what }) => {
                return StoreError::Corrupt { what: format!("{}: {what}", path.display()) };
            }
            Self::Refused(error) => return error,
            Self::Engine(error) => error,
        };
        let file = path.display();
        let mend = if is_locked(&error) {
            format!("{file} is locked by another program; end it (`fuser {file}` names it)")
        } else if is_full(&error) {
            format!("no room left for {file}; free some on its disk")
        } else if is_io(&error) {
            format!("{file} cannot be read or written; look after its disk, its mount and its rights")
        } else {
            return StoreError::Corrupt { what: format!("{file}, while {what}: {error}") };
        };
        StoreError::Unavailable { what: format!("{what}: {mend}"), source: Box::new(error) }
    }
}

fn has_code(error: &rusqlite::Error, codes: &[ErrorCode]) -> bool {
    error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
}

fn is_locked(error: &rusqlite::Error) -> bool {
    has_code(error, &[ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked])
}

fn is_full(error: &rusqlite::Error) -> bool {
    has_code(error, &[ErrorCode::DiskFull])
}

fn is_io(error: &rusqlite::Error) -> bool {
    has_code(
        error,
        &[
            ErrorCode::CannotOpen,
            ErrorCode::SystemIoFailure,
            ErrorCode::ReadOnly,
            ErrorCode::PermissionDenied,
            ErrorCode::FileLockingProtocolFailed,
            ErrorCode::OutOfMemory,
        ],
    )
}
