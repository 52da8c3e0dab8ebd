//! Accepts connections: HTTP/1.1 and HTTP/2, in the clear or under TLS, without Nagle's delay, bounded in number, with
//! bounded time for a request's head; ends them gently when the gateway drains.

mod unread;

use crate::answer::{AnswerBody, BoxError};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::ports::Boxed;
use crate::socket;
use crate::tls::Tls;
use crate::workers::Load;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use unread::{InTime, Taking, Watched};

/// The most of a head that is kept, and of a body that is read at a time; beyond it a head is answered with 431.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// The same of HTTP/2, with 32 bytes for each field (RFC 9113, section 6.5.2).
const H2_HEAD_BYTES_MAX: u32 = 64 << 10;
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 256;

/// Answers what the gateway does not [own](Gateway::owns): the management API, health, metrics, pages.
pub type Side = Arc<dyn Fn(Request<Incoming>) -> Boxed<'static, Response<SideBody>> + Send + Sync>;

/// What it answers with.
pub type SideBody = UnsyncBoxBody<Bytes, BoxError>;

/// Accepts until the gateway drains. Connections that are open then end after their present request.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, side: Side) {
    accept(gateway, listener, side, None).await;
}

/// The same under TLS.
pub async fn serve_tls(gateway: Arc<Gateway>, listener: TcpListener, side: Side, tls: Arc<Tls>) {
    accept(gateway, listener, side, Some(tls)).await;
}

async fn accept(gateway: Arc<Gateway>, listener: TcpListener, side: Side, tls: Option<Arc<Tls>>) {
    let room = Arc::new(Semaphore::new(gateway.config.limits.connections));
    loop {
        let drained = gateway.drained.notified();
        if gateway.is_draining() {
            return;
        }
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = drained => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let slot = Slot::taken(permit.ok(), &gateway);
                let (served, side, tls) = (gateway.clone(), side.clone(), tls.clone());
                gateway.workers.take(stream, move |stream, load| {
                    connection(served, (stream, peer.ip()), side, tls, slot.on(load))
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A connection's place among the others, for as long as it lives, or the websocket that came of it.
#[derive(Debug)]
pub(crate) struct Slot {
    metrics: Arc<Metrics>,
    _permit: Option<OwnedSemaphorePermit>,
    /// Its weight on the thread that it is kept by.
    _load: Option<Load>,
}

impl Slot {
    fn taken(permit: Option<OwnedSemaphorePermit>, gateway: &Gateway) -> Self {
        gateway.metrics.connections.up();
        Self { metrics: gateway.metrics.clone(), _permit: permit, _load: None }
    }

    /// Shared with what may outlive the connection.
    fn on(mut self, load: Option<Load>) -> Arc<Self> {
        self._load = load;
        Arc::new(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.metrics.connections.down();
    }
}

async fn connection(
    gateway: Arc<Gateway>,
    (stream, peer): (TcpStream, IpAddr),
    side: Side,
    tls: Option<Arc<Tls>>,
    slot: Arc<Slot>,
) {
    at_once(&stream);
    match tls {
        None => speak(gateway, stream, peer, side, slot).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => speak(gateway, stream, peer, side, slot).await,
            // somebody who does not trust the certificate, or does not speak TLS
            Err(error) => tracing::debug!(%error, "a handshake failed"),
        },
    }
}

/// Both protocols, with their bounds.
fn builder(gateway: &Gateway) -> auto::Builder<InTime> {
    let mut builder = auto::Builder::new(InTime(gateway.config.longest()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(gateway.config.limits.head_time)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .keep_alive_interval(Duration::from_mins(1));
    builder
}

async fn speak(
    gateway: Arc<Gateway>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    side: Side,
    slot: Arc<Slot>,
) {
    let builder = builder(&gateway);
    let (stream, taking) = Watched::new(TokioIo::new(stream));
    let (told, enough) = oneshot::channel();
    let watch = Arc::new(Watch { taking, ..Watch::default() });
    // apart from what is served, which is woken for each piece of an answer and would look at all its clocks then
    tokio::spawn(watch.clone().tell(gateway.clone(), told));
    // boxed, so that a stream that goes on for minutes does not keep the memory of its beginning
    let service = service_fn(|mut request: Request<Incoming>| {
        watch.asked.fetch_add(1, Ordering::Relaxed);
        watch.is_two.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
        if socket::is_asked(request.headers()) {
            request.extensions_mut().insert(slot.clone());
        }
        Box::pin(respond(gateway.clone(), peer, side.clone(), request))
    });
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    let enough = tokio::select! {
        biased;
        ended = serving.as_mut() => return note(ended),
        enough = enough => enough,
    };
    if enough == Ok(Enough::AfterThis) {
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            // who does not let go is let go of
            ended = tokio::time::timeout(gateway.config.longest(), serving) => ended.map_or((), note),
            () = watch.taking.ended_for(gateway.config.limits.taking_time) => {}
        }
    }
}

/// A client that leaves is no event of ours.
fn note(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
}

/// What tells when a connection has to end.
#[derive(Debug, Default)]
struct Watch {
    /// Requests so far.
    asked: AtomicU32,
    is_two: AtomicBool,
    taking: Arc<Taking>,
}

/// A connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enough {
    /// After its present request.
    AfterThis,
    AtOnce,
}

impl Watch {
    /// Says so once, unless the connection ends before.
    async fn tell(self: Arc<Self>, gateway: Arc<Gateway>, mut told: oneshot::Sender<Enough>) {
        let limits = &gateway.config.limits;
        let enough = tokio::select! {
            () = told.closed() => return,
            () = self.silent(limits.head_time) => Enough::AtOnce,
            () = self.taking.ended_for(limits.taking_time) => Enough::AtOnce,
            () = self.idle(limits.head_time) => Enough::AfterThis,
            () = drained(&gateway) => Enough::AfterThis,
        };
        // it may have ended just now
        let _ = told.send(enough);
    }

    /// What has not asked anything by then does not say which protocol it speaks, which only that tells.
    async fn silent(&self, time: Duration) {
        tokio::time::sleep(time).await;
        if self.asked.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }

    /// HTTP/1.1 has its own time for the next head, and HTTP/2 none.
    async fn idle(&self, time: Duration) {
        let mut before = 0;
        loop {
            tokio::time::sleep(time).await;
            let now = self.asked.load(Ordering::Relaxed);
            if now == before && self.is_two.load(Ordering::Relaxed) {
                return;
            }
            before = now;
        }
    }
}

async fn drained(gateway: &Gateway) {
    let notified = gateway.drained.notified();
    // a drain that began just before would not be told again
    if !gateway.is_draining() {
        notified.await;
    }
    tokio::time::sleep(gateway.linger()).await;
}

/// What is written goes out at once: with Nagle's delay a short answer would wait for the other side's
/// acknowledgement, 40 ms and more.
fn at_once(stream: &TcpStream) {
    // a connection that is gone already tells so when it is read
    let _ = stream.set_nodelay(true);
}

async fn respond(
    gateway: Arc<Gateway>,
    peer: IpAddr,
    side: Side,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let one = request.version() == Version::HTTP_11;
    let mut answer = if Gateway::owns(request.uri().path()) {
        gateway.answer(request, peer).await
    } else {
        beside(&gateway, side(request)).await.map(AnswerBody::Side)
    };
    if one && gateway.is_draining() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// Lets a neighbour answer, which may think for longer than streams on this thread can wait.
async fn beside(gateway: &Gateway, answer: Boxed<'static, Response<SideBody>>) -> Response<SideBody> {
    gateway.workers.beside_for(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "what answers beside the gateway did not");
        let mut failed = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn t34_a_connection_that_is_accepted_has_no_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (stream, _) = accepted.unwrap();
        at_once(&stream);
        assert!(stream.nodelay().unwrap());
        drop(client);
    }
}
