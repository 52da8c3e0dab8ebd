//! Bodies of requests that somebody beside the gateway reads, who looks at no clock.

use crate::answer::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// A request's body until its time is over; then it fails.
#[derive(Debug)]
pub struct Coming<B> {
    body: B,
    ends: Pin<Box<Sleep>>,
}

impl<B> Coming<B> {
    /// It has so long, from now on.
    pub(super) fn within(body: B, time: Duration) -> Self {
        Self { body, ends: Box::pin(tokio::time::sleep(time)) }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Coming<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.ends.as_mut().poll(cx));
        Poll::Ready(Some(Err("the request body did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
