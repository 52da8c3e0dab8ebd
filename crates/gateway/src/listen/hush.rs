//! Who takes the last of a request's body wakes nobody.
//!
//! hyper wakes whoever sends a body when a piece of it was taken, though it may have been the last. Over HTTP/1 that is the task of the
//! connection, which is at work just then, and would run once more for nothing with each request.

use crate::sync::lock;
use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// What of a thread's wakes goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakes {
    GoOn,
    AreKept,
    /// There was one.
    WereKept,
}

thread_local! {
    static WAKES: Cell<Wakes> = const { Cell::new(Wakes::GoOn) };
}

/// Some work whose task is not woken by what is [hushed].
pub(crate) struct Hushable<F> {
    work: F,
    task: Arc<Task>,
    waker: Waker,
    /// The task that did it last, as it is known there too: a connection's is the same from its beginning to its end.
    by: Option<Waker>,
}

/// Who does the work.
#[derive(Debug, Default)]
struct Task(Mutex<Option<Waker>>);

impl<F> Hushable<F> {
    pub(crate) fn new(work: F) -> Self {
        let task = Arc::new(Task::default());
        Self { work, waker: Waker::from(task.clone()), task, by: None }
    }
}

impl<F: Future + Unpin> Future for Hushable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { work, task, waker, by } = &mut *self;
        if !by.as_ref().is_some_and(|by| by.will_wake(cx.waker())) {
            *by = Some(cx.waker().clone());
            lock(&task.0).clone_from(by);
        }
        Pin::new(work).poll(&mut Context::from_waker(waker))
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // those of other threads are never kept
        if WAKES.get() != Wakes::GoOn {
            WAKES.set(Wakes::WereKept);
        } else if let Some(by) = &*lock(&self.0) {
            by.wake_by_ref();
        }
    }
}

/// What comes of `work`, and whether it would have woken a task that is hushable.
pub(crate) fn hushed<T>(work: impl FnOnce() -> T) -> (T, bool) {
    /// A panic must not leave a thread deaf.
    struct GoOn;
    impl Drop for GoOn {
        fn drop(&mut self) {
            WAKES.set(Wakes::GoOn);
        }
    }
    WAKES.set(Wakes::AreKept);
    let go_on = GoOn;
    let came = work();
    let woken = WAKES.get() == Wakes::WereKept;
    drop(go_on);
    (came, woken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a task is woken by what its work does in one go.
    fn woken(work: impl Fn(&Waker)) -> u32 {
        let count = Arc::new(Count::default());
        let mut work = Hushable::new(poll_fn(|cx| {
            work(cx.waker());
            Poll::<()>::Pending
        }));
        assert!(Pin::new(&mut work).poll(&mut Context::from_waker(&Waker::from(count.clone()))).is_pending());
        count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_hushed_is_told_and_wakes_nobody() {
        assert_eq!(woken(Waker::wake_by_ref), 1);
        assert_eq!(woken(|waker| assert!(hushed(|| waker.wake_by_ref()).1)), 0);
        assert!(!hushed(|| ()).1);
    }

    #[test]
    fn another_threads_wake_goes_on() {
        let elsewhere = |waker: &Waker| {
            let waker = waker.clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
        };
        assert_eq!(woken(|waker| assert!(!hushed(|| elsewhere(waker)).1)), 1);
    }

    #[test]
    fn a_panic_leaves_no_thread_deaf() {
        let panicked = std::panic::catch_unwind(|| hushed(|| std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        assert_eq!(woken(Waker::wake_by_ref), 1);
    }
}
