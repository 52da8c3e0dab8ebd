//! A connection's waker for life, between the connection and whichever task uses it.
//!
//! A connection is driven by the task that waits for its answer, and what it does there would wake that very task once
//! more, for each piece that it hands over. Such wakes are noted and not passed on. Nor does an idle connection hold the
//! task that used it last.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

/// The connection is being driven.
const DRIVEN: u8 = 1;
/// It was woken since.
const WOKEN: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct Gate {
    task: AtomicWaker,
    state: AtomicU8,
}

impl Gate {
    /// A task begins to drive the connection.
    pub(super) fn enter(&self, task: &Waker) {
        self.task.register(task);
        self.again();
    }

    /// It goes on driving it.
    pub(super) fn again(&self) {
        self.state.store(DRIVEN, Ordering::SeqCst);
    }

    /// It stops: whether the connection was woken meanwhile. From here on the task is.
    pub(super) fn leave(&self) -> bool {
        self.state.swap(0, Ordering::SeqCst) & WOKEN != 0
    }

    /// No task has to do with the connection any more.
    pub(super) fn forget(&self) {
        drop(self.task.take());
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::SeqCst) & DRIVEN == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Debug, Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_is_woken_when_it_does_not_drive() {
        let (gate, task) = (Arc::new(Gate::default()), Arc::new(Task::default()));
        let (waker, waiting) = (Waker::from(gate.clone()), Waker::from(task.clone()));
        gate.enter(&waiting);
        waker.wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 0, "it is at it");
        assert!(gate.leave(), "and hears that there is more to do");
        gate.enter(&waiting);
        assert!(!gate.leave());
        waker.wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_idle_connection_holds_no_task() {
        let (gate, task) = (Arc::new(Gate::default()), Arc::new(Task::default()));
        gate.enter(&Waker::from(task.clone()));
        gate.leave();
        gate.forget();
        assert_eq!(Arc::strong_count(&task), 1);
        Waker::from(gate).wake();
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
    }
}
