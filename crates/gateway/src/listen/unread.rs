//! Clients that do not take their answers: whoever writes to them waits, and looks at no clock of its own.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

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
    /// Ends when one write has waited for as long as this, or up to twice as long.
    pub(super) async fn ended_for(&self, time: Duration) {
        loop {
            tokio::time::sleep(time).await;
            let look = self.look.fetch_add(1, Ordering::Relaxed);
            let since = self.waits_since.load(Ordering::Relaxed);
            if since != 0 && since <= look {
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

    #[tokio::test]
    async fn a_write_that_waits_through_two_looks_is_the_end() {
        let taking = Taking::default();
        let time = Duration::from_millis(20);
        let ended = async || tokio::time::timeout(time * 4, taking.ended_for(time)).await.is_ok();
        assert!(!ended().await, "nobody writes");
        let _ = taking.note(Poll::<()>::Pending);
        let _ = taking.note(Poll::Ready(()));
        assert!(!ended().await, "it was taken");
        let _ = taking.note(Poll::<()>::Pending);
        let began = tokio::time::Instant::now();
        let _ = taking.note(Poll::<()>::Pending);
        assert!(ended().await, "it waits");
        assert!(began.elapsed() >= time);
    }
}
