//! A connection of HTTP/2: many requests at once, as many as its server allows.

use super::body::ProviderBody;
use super::dial::Bare;
use super::settings::Greeted;
use super::shard::Dialing;
use super::{Failed, IDLE_TIME};
use crate::sync::lock;
use crate::upstream::asked::{self, Asked, AskedBody};
use crate::upstream::under_way::UnderWay;
use h2::Reason;
use http::Response;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioExecutor;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Shared {
    send: SendRequest<AskedBody>,
    state: Arc<State>,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct State {
    /// Requests on it.
    streams: AtomicUsize,
    /// How many it may have. Until its server has said so: the one that it was made for.
    streams_max: AtomicUsize,
    /// Its server has said so.
    is_told: AtomicBool,
    /// Nothing new is asked on it.
    is_spent: AtomicBool,
    /// Since when it has no streams, while it has none.
    idle_since: Mutex<Instant>,
}

/// Room for one request on a connection.
pub(super) struct Stream {
    send: SendRequest<AskedBody>,
    occupied: Occupied,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Occupied(Arc<State>);

impl Shared {
    /// Begins HTTP/2, with room for the request that it is made for.
    pub(super) async fn open(stream: Bare, dialing: Option<Dialing>) -> Result<(Self, Stream), hyper::Error> {
        let state = Arc::new(State::default());
        let greeted = Greeted::new(stream, state.clone(), dialing);
        let (send, mut connection) = Builder::new(TokioExecutor::new()).handshake(greeted).await?;
        let told = state.clone();
        tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                // a server may change its mind
                if told.is_told.load(Ordering::Relaxed) {
                    told.streams_max.store(connection.current_max_send_streams(), Ordering::Relaxed);
                }
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection ended");
            }
            told.is_spent.store(true, Ordering::Relaxed);
        });
        let first = Stream { send: send.clone(), occupied: Occupied(state.clone()) };
        Ok((Self { send, state }, first))
    }

    /// Room for another request, if there is any.
    pub(super) fn enter(&self, refused_by: Option<&Arc<State>>) -> Option<Stream> {
        let state = &self.state;
        let refused = refused_by.is_some_and(|by| Arc::ptr_eq(by, state));
        let full = state.streams.load(Ordering::Relaxed) >= state.streams_max.load(Ordering::Relaxed);
        if full || refused || self.is_closed() {
            return None;
        }
        state.streams.fetch_add(1, Ordering::Relaxed);
        Some(Stream { send: self.send.clone(), occupied: Occupied(state.clone()) })
    }

    fn is_closed(&self) -> bool {
        self.send.is_closed() || self.state.is_spent.load(Ordering::Relaxed)
    }

    /// Whether nobody needs it any more. Answers that still come on it go on to their end.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let idle = || now.saturating_duration_since(*lock(&self.state.idle_since)) >= IDLE_TIME;
        self.is_closed() || self.state.streams.load(Ordering::Relaxed) == 0 && idle()
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            streams: AtomicUsize::new(1),
            streams_max: AtomicUsize::new(1),
            is_told: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
        }
    }
}

impl State {
    /// The server says how many streams it takes at once.
    pub(super) fn allow(&self, streams: usize) {
        self.streams_max.store(streams, Ordering::Relaxed);
        self.is_told.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    pub(super) fn state(&self) -> Arc<State> {
        self.occupied.0.clone()
    }

    /// Sends a request and waits for its answer's head. Dropping the future resets the stream.
    pub(super) async fn ask(mut self, request: Asked, under_way: &UnderWay) -> Result<Response<ProviderBody>, Failed> {
        // where a server refuses a request it does not come back
        let copy = asked::again(&request);
        // whoever has its head has the rest soon
        under_way.went_out();
        let mut error = match self.send.try_send_request(*request).await {
            Ok(response) => return Ok(response.map(|body| ProviderBody::of_shared(body, self.occupied))),
            Err(error) => error,
        };
        under_way.came_back();
        let unsent = error.take_message().is_some();
        let error = error.into_error();
        let refusal = Refusal::of(&error);
        if unsent || refusal == Refusal::Leaving {
            self.occupied.0.is_spent.store(true, Ordering::Relaxed);
        }
        Err(match copy {
            Some(copy) if unsent || refusal != Refusal::None => Failed::Undone(copy, error.into()),
            Some(_) | None => Failed::Lost(error.into()),
        })
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        // told before it is free, so that nobody sees it free since long ago
        *lock(&self.0.idle_since) = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a server says that it did nothing with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It does not.
    None,
    /// This one.
    Stream,
    /// Nor with any after it: it leaves. Only those beyond the last that it worked on fail with this.
    Leaving,
}

impl Refusal {
    fn of(error: &hyper::Error) -> Self {
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
        match source {
            Some(error) if error.is_remote() && error.is_go_away() => Self::Leaving,
            Some(error) if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) => Self::Stream,
            Some(_) | None => Self::None,
        }
    }
}
