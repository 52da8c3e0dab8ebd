//! Locking without panics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A poisoned lock only means that a thread died while it held it; what is kept behind
/// locks here is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
