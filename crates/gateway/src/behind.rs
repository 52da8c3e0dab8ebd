//! Records on their way to a log: requests leave them, and whoever comes to the log first writes all that wait in
//! one call. Nobody goes on before its own record is written, so a kill loses none (ADRs 4 and 15).

use crate::sync::lock;
use std::sync::Mutex;

/// Records that wait for whoever writes.
#[derive(Debug)]
pub(crate) struct Behind<T> {
    waiting: Mutex<Vec<T>>,
    /// Held while records are written: in the order in which they came.
    writing: Mutex<()>,
}

impl<T> Default for Behind<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), writing: Mutex::default() }
    }
}

impl<T> Behind<T> {
    /// Leaves a record.
    pub(crate) fn leave(&self, record: T) {
        lock(&self.waiting).push(record);
    }

    /// Hands all that waits to `write`, in the order in which it came; nothing where nothing waits. When it returns
    /// all that was left before the call is written, by this caller or by another.
    pub(crate) fn write(&self, write: impl FnOnce(&[T])) {
        let _one_at_a_time = lock(&self.writing);
        let records = std::mem::take(&mut *lock(&self.waiting));
        if !records.is_empty() {
            write(&records);
        }
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
        (0..10).for_each(|record| behind.leave(record));
        assert_eq!(behind.len(), 10);
        let mut written = Vec::new();
        behind.write(|records| written.push(records.to_vec()));
        behind.write(|records| written.push(records.to_vec()));
        assert_eq!(written, [(0..10).collect::<Vec<_>>()], "one write, and none for nothing");
        assert_eq!(behind.len(), 0);
    }
}
