//! Records on their way to a log: requests leave them, and whoever comes to the log first writes all that wait in
//! one call. Nothing is answered before the records that it rests on are written, so a kill loses none (ADRs 4, 15
//! and 22).

use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records that wait for whoever writes.
#[derive(Debug)]
pub(crate) struct Behind<T> {
    waiting: Mutex<Vec<T>>,
    /// Held while records are written: in the order in which they came. What they are written from.
    writing: Mutex<Vec<T>>,
    /// How many were left so far.
    left: AtomicU64,
    /// How many of them are written.
    written: AtomicU64,
}

/// The most that wait: those whose requests are never answered are written too.
const WAITING_MAX: usize = 1_024;

/// Whether more may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Yes.
    Left,
    /// Somebody has to write.
    Full,
}

impl<T> Default for Behind<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            writing: Mutex::default(),
            left: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }
}

impl<T> Behind<T> {
    /// Leaves a record; whether so many wait now that they had better be written.
    #[must_use]
    pub(crate) fn leave(&self, record: T) -> Room {
        let mut waiting = lock(&self.waiting);
        waiting.push(record);
        // counted by whoever holds the lock, and by nobody else
        self.left.store(self.left.load(Ordering::Relaxed) + 1, Ordering::Release);
        if waiting.len() < WAITING_MAX { Room::Left } else { Room::Full }
    }

    /// How many were left so far: what a caller that has left its own must see written.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Whether so many are written.
    pub(crate) fn is_written(&self, through: u64) -> bool {
        self.written.load(Ordering::Acquire) >= through
    }

    /// Hands all that waits to `write`, in the order in which it came; nothing where nothing waits. When it returns
    /// all that was left before the call is written, by this caller or by another.
    pub(crate) fn write(&self, write: impl FnOnce(&[T])) {
        self.take(|records| {
            if !records.is_empty() {
                write(records);
            }
        });
    }

    /// The same for whoever writes something else together with them: called where nothing waits, too.
    pub(crate) fn take<R>(&self, write: impl FnOnce(&[T]) -> R) -> R {
        let mut records = lock(&self.writing);
        std::mem::swap(&mut *records, &mut *lock(&self.waiting));
        let done = write(&records);
        self.written.store(self.written.load(Ordering::Relaxed) + records.len() as u64, Ordering::Release);
        records.clear();
        done
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.waiting).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_written_together_and_in_order() {
        let behind = Behind::default();
        (0..10).for_each(|record| assert_eq!(behind.leave(record), Room::Left));
        assert_eq!((behind.len(), behind.left()), (10, 10));
        assert!(behind.is_written(0) && !behind.is_written(1));
        let mut written = Vec::new();
        behind.write(|records| written.push(records.to_vec()));
        assert!(behind.is_written(10) && !behind.is_written(11));
        behind.write(|records| written.push(records.to_vec()));
        assert_eq!(written, [(0..10).collect::<Vec<_>>()], "one write, and none for nothing");
        assert_eq!(behind.len(), 0);
    }

    #[test]
    fn what_is_left_while_others_are_written_waits_for_the_next_write() {
        let behind = Behind::default();
        assert_eq!(behind.leave(1), Room::Left);
        behind.write(|records| {
            assert_eq!(records, [1]);
            assert_eq!(behind.leave(2), Room::Left);
        });
        assert_eq!((behind.left(), behind.is_written(1), behind.is_written(2)), (2, true, false));
        behind.write(|records| assert_eq!(records, [2]));
        assert!(behind.is_written(2));
    }

    #[test]
    fn says_when_too_many_wait() {
        let behind = Behind::default();
        let full = (0..WAITING_MAX).filter(|record| behind.leave(*record) == Room::Full).count();
        assert_eq!(full, 1);
    }
}
