//! What is written behind the hot path: requests leave records, and one task writes all that wait together,
//! each time the runtime has run through what was ready. Two workers never meet at a file's lock, and under
//! load one write carries dozens of records. A kill loses what waits, which is below a millisecond's
//! worth on a machine that keeps up; an orderly stop loses nothing (ADR 15).

use crate::sync::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// With more than this waiting, whoever leaves a record writes them all: the bound of memory.
const WAITING_MAX: usize = 4_096;

/// Records on their way to a log.
#[derive(Debug)]
pub(crate) struct Behind<T> {
    waiting: Mutex<Vec<T>>,
    count: AtomicUsize,
    /// Held while records are written, so that they are written in the order in which they came.
    writing: Mutex<()>,
    bell: Notify,
}

/// Whether whoever left a record has to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Left {
    /// The task will.
    ForTheTask,
    /// Too many wait.
    WriteNow,
}

impl<T> Default for Behind<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), count: AtomicUsize::new(0), writing: Mutex::default(), bell: Notify::new() }
    }
}

impl<T> Behind<T> {
    /// Leaves a record.
    pub(crate) fn leave(&self, record: T) -> Left {
        let count = {
            let mut waiting = lock(&self.waiting);
            waiting.push(record);
            waiting.len()
        };
        self.count.store(count, Ordering::Relaxed);
        if count == 1 {
            self.bell.notify_one();
        }
        if count > WAITING_MAX { Left::WriteNow } else { Left::ForTheTask }
    }

    /// Hands all that waits to `write`, in the order in which it came; nothing where nothing waits.
    pub(crate) fn write(&self, write: impl FnOnce(&[T])) {
        let _one_at_a_time = lock(&self.writing);
        let records = std::mem::take(&mut *lock(&self.waiting));
        if !records.is_empty() {
            write(&records);
            self.count.store(lock(&self.waiting).len(), Ordering::Relaxed);
        }
    }

    /// Resolves when records wait and the runtime has run through what was ready with them.
    pub(crate) async fn is_due(&self) {
        self.bell.notified().await;
        tokio::task::yield_now().await;
    }

    /// How many wait, or are being written.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_together_is_written_together_and_in_order() {
        let behind = Behind::default();
        for record in 0..10 {
            assert_eq!(behind.leave(record), Left::ForTheTask);
        }
        assert_eq!(behind.len(), 10);
        behind.is_due().await;
        let mut written = Vec::new();
        behind.write(|records| written.push(records.to_vec()));
        behind.write(|records| written.push(records.to_vec()));
        assert_eq!(written, [(0..10).collect::<Vec<_>>()], "one write, and none for nothing");
        assert_eq!(behind.len(), 0);
        let _ = behind.leave(10);
        behind.is_due().await;
    }

    #[test]
    fn what_waits_is_bounded() {
        let behind = Behind::default();
        let left = (0..=WAITING_MAX).map(|record| behind.leave(record)).collect::<Vec<_>>();
        assert_eq!(left.iter().position(|left| *left == Left::WriteNow), Some(WAITING_MAX));
    }
}
