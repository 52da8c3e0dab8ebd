//! Clients that do not take their answers: whoever writes to them waits, and looks at no clock of its own.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// So often it is looked whether a client takes anything, in the time that it may take nothing. What counts is how often it was
/// looked, and not how late: where this process had no time for long, no time has passed for its clients.
pub(super) const LOOKS: u32 = 4;
/// In this time whoever waits for the other side hears of what has come of it, where nobody here had time to: then it is believed
/// that nothing has.
pub(super) const HEARS: Duration = Duration::from_millis(50);

/// A connection that notes whether its other side takes what is written.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    taking: Arc<Taking>,
}

/// Whether a client takes what is written to it.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// Goes on with each look.
    look: AtomicU32,
    /// One more than the look at which a write began to wait; zero: none waits.
    waits_since: AtomicU32,
}

/// Ends what goes on for one request of HTTP/2 when its time is over, whether its client takes its answer or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct InTime(pub(super) Duration);

impl Taking {
    /// Ends when one write has waited for as long as this, or up to a quarter longer.
    pub(super) async fn ended_for(&self, time: Duration) {
        loop {
            tokio::time::sleep(time / LOOKS).await;
            let look = self.look.fetch_add(1, Ordering::Relaxed);
            let since = self.waits_since.load(Ordering::Relaxed);
            if since == 0 || since.saturating_add(LOOKS) > look.saturating_add(1) {
                continue;
            }
            tokio::time::sleep(HEARS).await;
            if self.waits_since.load(Ordering::Relaxed) == since {
                return;
            }
        }
    }

    /// Whether something is written that the other side has no room for.
    pub(super) fn waits(&self) -> bool {
        self.waits_since.load(Ordering::Relaxed) != 0
    }

    pub(super) fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        let waits = self.waits();
        if written.is_pending() != waits {
            let since = if waits { 0 } else { self.look.load(Ordering::Relaxed) + 1 };
            self.waits_since.store(since, Ordering::Relaxed);
        }
        written
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Taking>) {
        let taking = Arc::new(Taking::default());
        (Self { stream, taking: taking.clone() }, taking)
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.taking.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.taking.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // under TLS what was written may wait here, and else nothing does
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.taking.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<F> hyper::rt::Executor<F> for InTime
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        let time = self.0;
        tokio::spawn(async move {
            let _ = tokio::time::timeout(time, work).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_mins(5);

    /// Looks until it has ended, in the background.
    fn looks(taking: &Arc<Taking>) -> tokio::task::JoinHandle<()> {
        let taking = taking.clone();
        tokio::spawn(async move { taking.ended_for(TIME).await })
    }

    /// So much time passes at once: nobody in this process had any of it.
    async fn nobody_runs_for(time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..9 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waits_through_all_looks_is_the_end() {
        let taking = Taking::default();
        let ended = async || tokio::time::timeout(TIME * 4, taking.ended_for(TIME)).await.is_ok();
        assert!(!ended().await, "nobody writes");
        let _ = taking.note(Poll::<()>::Pending);
        let _ = taking.note(Poll::Ready(()));
        assert!(!ended().await, "it was taken");
        let _ = taking.note(Poll::<()>::Pending);
        let began = tokio::time::Instant::now();
        let _ = taking.note(Poll::<()>::Pending);
        assert!(ended().await, "it waits");
        assert!((TIME..=TIME * 4 / 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_now_and_then_stays() {
        let taking = Arc::new(Taking::default());
        let looks = looks(&taking);
        for _ in 0..20 {
            let _ = taking.note(Poll::<()>::Pending);
            tokio::time::sleep(TIME * 9 / 10).await;
            let _ = taking.note(Poll::Ready(()));
        }
        assert!(!looks.is_finished());
    }

    /// A client that takes what it is sent is not let go because nobody here had time to see that.
    #[tokio::test(start_paused = true)]
    async fn time_that_this_process_did_not_have_is_not_its_clients() {
        let taking = Arc::new(Taking::default());
        let looks = looks(&taking);
        nobody_runs_for(TIME * 9 / 10).await;
        for _ in 0..3 {
            let _ = taking.note(Poll::<()>::Pending);
            // first the clocks are looked at, and then who was waited for
            nobody_runs_for(TIME * 10).await;
            assert!(!looks.is_finished(), "the client had no more than a moment");
            let _ = taking.note(Poll::Ready(()));
        }
        let _ = taking.note(Poll::<()>::Pending);
        tokio::time::sleep(TIME + TIME / 8).await;
        nobody_runs_for(TIME).await;
        assert!(!looks.is_finished(), "it is looked whether there is room by now");
        let _ = taking.note(Poll::Ready(()));
        tokio::time::sleep(TIME * 2).await;
        assert!(!looks.is_finished(), "there was");
        let _ = taking.note(Poll::<()>::Pending);
        tokio::time::sleep(TIME * 2).await;
        assert!(looks.is_finished(), "it takes nothing any more");
    }
}
