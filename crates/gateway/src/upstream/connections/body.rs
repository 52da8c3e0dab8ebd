//! An answer's body, with the connection that it comes over.

use super::Lost;
use super::single::Single;
use super::streams::Occupied;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What a provider answers. With its end the connection is free for others; dropped before, it is cancelled there.
#[derive(Debug)]
pub(crate) struct ProviderBody(Over);

/// The connection.
#[derive(Debug)]
enum Over {
    Single(Box<Single>),
    /// It is driven by a task of its own, which counts its streams.
    Shared {
        incoming: Incoming,
        _stream: Option<Occupied>,
    },
    /// It is given back, for the body is over.
    None,
}

impl ProviderBody {
    pub(super) fn of_single(single: Box<Single>) -> Self {
        Self::new(Over::Single(single))
    }

    pub(super) fn of_shared(incoming: Incoming, stream: Occupied) -> Self {
        Self::new(Over::Shared { incoming, _stream: Some(stream) })
    }

    /// Of a connection that is for this answer alone.
    pub(super) fn driven(incoming: Incoming) -> Self {
        Self::new(Over::Shared { incoming, _stream: None })
    }

    fn new(over: Over) -> Self {
        let mut body = Self(over);
        if body.is_end_stream() {
            body.end();
        }
        body
    }

    /// Nothing more comes.
    fn end(&mut self) {
        if let Over::Single(single) = std::mem::replace(&mut self.0, Over::None) {
            single.release();
        }
    }
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        let this = self.get_mut();
        let frame = ready!(match &mut this.0 {
            Over::Single(single) => single.poll_body(cx),
            Over::Shared { incoming, .. } => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Lost::Hyper)))
            }
            Over::None => Poll::Ready(None),
        });
        if !matches!(frame, Some(Ok(_))) || this.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Over::Single(single) => single.is_over(),
            Over::Shared { incoming, .. } => incoming.is_end_stream(),
            Over::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Over::Single(single) => single.left().map_or_else(SizeHint::new, SizeHint::with_exact),
            Over::Shared { incoming, .. } => incoming.size_hint(),
            Over::None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ProviderBody {
    /// What is left of it may have come already, as of a short refusal that nobody reads: the connection is then kept.
    fn drop(&mut self) {
        self.end();
    }
}
