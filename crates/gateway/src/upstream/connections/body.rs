//! An answer's body, with the connection that it comes over.

use super::single::Single;
use super::streams::Occupied;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What a provider answers. With its end the connection is free for others; dropped before, it is cancelled there.
#[derive(Debug)]
pub(crate) struct ProviderBody {
    /// `None` once it is over.
    incoming: Option<Incoming>,
    over: Over,
}

/// The connection.
#[derive(Debug)]
enum Over {
    Single(Box<Single>),
    /// It is driven by a task of its own, which counts its streams.
    Shared {
        _stream: Occupied,
    },
    /// It is driven by a task of its own, and nobody else's; or it is given back.
    None,
}

impl ProviderBody {
    pub(super) fn of_single(incoming: Incoming, single: Box<Single>) -> Self {
        Self::new(incoming, Over::Single(single))
    }

    pub(super) fn of_shared(incoming: Incoming, stream: Occupied) -> Self {
        Self::new(incoming, Over::Shared { _stream: stream })
    }

    /// Of a connection that somebody else drives.
    pub(super) fn driven(incoming: Incoming) -> Self {
        Self::new(incoming, Over::None)
    }

    fn new(incoming: Incoming, over: Over) -> Self {
        let mut body = Self { incoming: Some(incoming), over };
        if body.is_end_stream() {
            body.end();
        }
        body
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.incoming = None;
        if let Over::Single(single) = std::mem::replace(&mut self.over, Over::None) {
            single.release();
        }
    }
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let frame = ready!(match &mut this.over {
            Over::Single(single) => single.poll_body(cx, incoming),
            Over::Shared { .. } | Over::None => Pin::new(&mut *incoming).poll_frame(cx),
        });
        if !matches!(frame, Some(Ok(_))) || incoming.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ProviderBody {
    /// What is left of it may have come already, as of a short refusal that nobody reads: the connection is then kept.
    fn drop(&mut self) {
        self.end();
    }
}
