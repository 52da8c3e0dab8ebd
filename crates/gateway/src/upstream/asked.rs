//! What a request brings to a provider.

use crate::phase::body::Upload;
use bytes::Bytes;
use http::Request;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request on its way to a provider: boxed, for it goes through many hands.
pub(crate) type Asked = Box<Request<AskedBody>>;

/// Its body.
#[derive(Debug)]
pub(crate) enum AskedBody {
    /// In the gateway's hands, so that it can be sent again.
    Whole(Bytes),
    /// Of a client that is still sending it.
    Streams(Box<Upload>),
}

impl Default for AskedBody {
    /// Nothing.
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl AskedBody {
    /// The same once more, where there is more than one.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(whole) => Some(Self::Whole(whole.clone())),
            Self::Streams(_) => None,
        }
    }
}

/// The same request once more, where its body can be had again.
pub(crate) fn again(request: &Asked) -> Option<Asked> {
    let mut copy = Box::new(Request::new(request.body().again()?));
    *copy.method_mut() = request.method().clone();
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

impl From<Bytes> for AskedBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Upload> for AskedBody {
    fn from(upload: Upload) -> Self {
        Self::Streams(Box::new(upload))
    }
}

impl Body for AskedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) if whole.is_empty() => Poll::Ready(None),
            Self::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Self::Streams(upload) => Pin::new(upload.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_empty(),
            Self::Streams(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Self::Streams(upload) => upload.size_hint(),
        }
    }
}
