//! Bodies of requests that somebody beside the gateway reads, who looks at no clock.

use super::{Door, Of};
use crate::answer::BoxError;
use crate::end::GatewayEnds;
use crate::phase::body::stops_in_a_drain;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::sleep;

/// A request's body for as long as it is waited for. Then it fails: with [`ErrorKind::TimedOut`] where it is late, and with
/// [`ErrorKind::ConnectionAborted`] where the gateway ends.
pub struct Coming<B> {
    body: B,
    come: Arc<AtomicUsize>,
    /// Why no more of it is waited for. Until there is something to wait for it is not begun, and then no more.
    given_up: Option<Pin<Box<dyn Future<Output = io::Error> + Send>>>,
}

impl<B> fmt::Debug for Coming<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coming").field("come", &self.come).finish_non_exhaustive()
    }
}

impl<B> Coming<B> {
    pub(super) fn through(door: &Arc<Door>, body: B) -> Self {
        let come = Arc::new(AtomicUsize::new(0));
        Self { body, given_up: Some(Box::pin(given_up(door.clone(), come.clone()))), come }
    }
}

/// Operators are answered while it drains, and hold no exit.
async fn given_up(door: Arc<Door>, come: Arc<AtomicUsize>) -> io::Error {
    let gateway = &door.gateway;
    let late = sleep(gateway.config.limits.body_time);
    let waited_for = async {
        match door.of {
            Of::Operators => late.await,
            Of::Clients => tokio::select! {
                () = late => {}
                () = stops_in_a_drain(gateway, &come) => {}
            },
        }
    };
    match gateway.end.or(waited_for).await {
        Some(()) => io::Error::new(ErrorKind::TimedOut, "the request body did not come in time"),
        None => io::Error::new(ErrorKind::ConnectionAborted, GatewayEnds),
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Coming<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(Into::into)),
            Poll::Pending => match &mut self.given_up {
                Some(given_up) => Some(Err(ready!(given_up.as_mut().poll(cx)).into())),
                None => None,
            },
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.come.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Err(_)) | None => self.given_up = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
