//! The gateway's end: whatever still runs when a drain is over is told so, and nobody is left with half an answer that looks
//! like a fault of the wire.

use crate::workers::here;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// So many places to listen at: threads of requests, which all listen for each of theirs, do not wait for one another there.
const PLACES: usize = 16;

/// Whether it has come.
#[derive(Debug, Default)]
pub(crate) struct End {
    over: AtomicBool,
    told: [Arc<Notify>; PLACES],
}

/// Cut off by it.
#[derive(Debug, thiserror::Error)]
#[error("this gateway ends")]
pub(crate) struct GatewayEnds;

/// Listens for it, beside something else that is waited for.
#[derive(Debug)]
pub(crate) struct Listening {
    end: Arc<End>,
    /// Registered when the first wait begins, and left alone for as long as the same task waits.
    waits: Option<(Pin<Box<OwnedNotified>>, Waker)>,
}

impl End {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Tells all who listen.
    pub(crate) fn tell(&self) {
        self.over.store(true, Ordering::Release);
        self.told.iter().for_each(|place| place.notify_waiters());
    }

    /// What comes of some work; `None`: the end came first.
    pub(crate) async fn or<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut listening) = (pin!(work), Listening::to(self));
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => listening.poll(cx).map(|()| None),
        })
        .await
    }

    /// Work to its own end, which is polled once more when the gateway's has come: a connection, on whose task all requests of HTTP/1
    /// run.
    pub(crate) async fn wakes<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        match self.or(work.as_mut()).await {
            Some(done) => done,
            None => work.await,
        }
    }

    /// What comes of work on a task that is woken so; `None`: the end came first.
    pub(crate) async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.is_over() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl Listening {
    pub(crate) fn to(end: &Arc<End>) -> Self {
        Self { end: Arc::clone(end), waits: None }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end.is_over()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        if self.waits.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let waits = self.waits.take().map(|(told, _)| told);
        let mut told = waits.unwrap_or_else(|| Box::pin(Arc::clone(&self.end.told[here() % PLACES]).notified_owned()));
        // one that was told before it was registered finds it said
        if told.as_mut().poll(cx).is_ready() || self.is_over() {
            return Poll::Ready(());
        }
        self.waits = Some((told, cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_who_comes_later_too() {
        let end = Arc::new(End::default());
        assert_eq!(end.or(std::future::ready(7)).await, Some(7));
        let mine = Arc::clone(&end);
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let end = Arc::clone(&mine);
                tokio::spawn(async move { end.or(std::future::pending::<()>()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        end.tell();
        for one in waiting {
            assert_eq!(one.await.unwrap(), None);
        }
        assert_eq!(end.or(std::future::pending::<()>()).await, None);
        assert_eq!(end.or(std::future::ready(7)).await, Some(7), "what is done is done");
    }

    #[tokio::test]
    async fn who_is_polled_for_something_else_finds_that_the_end_has_come() {
        let end = Arc::new(End::default());
        let work = tokio::spawn({
            let end = Arc::clone(&end);
            async move { end.wakes(end.unless_over(std::future::pending::<()>())).await }
        });
        tokio::task::yield_now().await;
        assert!(!work.is_finished());
        end.tell();
        assert_eq!(work.await.unwrap(), None);
        assert_eq!(end.unless_over(std::future::ready(7)).await, Some(7), "what is done is done");
    }
}
