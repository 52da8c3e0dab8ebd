//! Accepts connections: HTTP/1.1 and HTTP/2, in the clear or under TLS, without Nagle's delay, bounded in number, with
//! bounded time for a request's head; ends them gently when the gateway drains.

mod coming;
pub(crate) mod hush;
mod unread;

use crate::answer::{AnswerBody, BoxError};
use crate::gateway::Gateway;
use crate::metrics::{Gauge, Metrics};
use crate::ports::Boxed;
use crate::socket;
use crate::tls::Tls;
use crate::workers::Load;
use bytes::Bytes;
pub use coming::Coming;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hush::Hushable;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep};
use unread::{HEARS, InTime, LOOKS, Taking, Watched};

/// The most of a head that is kept, and of a body that is read at a time; beyond it a head is answered with 431.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// The same of HTTP/2, with 32 bytes for each field (RFC 9113, section 6.5.2).
const H2_HEAD_BYTES_MAX: u32 = 64 << 10;
/// So much of an answer a kernel takes ahead of what it has sent; half of it must leave before it takes more.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 64 << 10;
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 256;
/// Connections at a time where only operators are served.
const OPERATORS_MAX: usize = 1_024;

/// Answers what the gateway does not [own](Gateway::owns): the management API, health, metrics, pages.
pub type Side = Arc<dyn Fn(Request<Coming<Incoming>>) -> Boxed<'static, Response<SideBody>> + Send + Sync>;

/// What it answers with.
pub type SideBody = UnsyncBoxBody<Bytes, BoxError>;

/// Accepts until the gateway drains. Connections that are open then end after their present request.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, side: Side) {
    accept(Door { gateway, side, tls: None, of: Of::Clients }, listener).await;
}

/// The same under TLS.
pub async fn serve_tls(gateway: Arc<Gateway>, listener: TcpListener, side: Side, tls: Arc<Tls>) {
    accept(Door { gateway, side, tls: Some(tls), of: Of::Clients }, listener).await;
}

/// Accepts at an address at which nothing is the gateway's, within the same bounds, until it is dropped: operators are
/// answered while it drains.
pub async fn serve_beside(gateway: Arc<Gateway>, listener: TcpListener, side: Side) {
    accept(Door { gateway, side, tls: None, of: Of::Operators }, listener).await;
}

/// What is served at one address.
#[derive(Clone)]
struct Door {
    gateway: Arc<Gateway>,
    side: Side,
    tls: Option<Arc<Tls>>,
    of: Of,
}

/// Whom an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Of the gateway, and what else is on the same listener.
    Clients,
    /// Of the management API alone.
    Operators,
}

async fn accept(door: Door, listener: TcpListener) {
    let door = Arc::new(door);
    let gateway = &door.gateway;
    let room = Arc::new(Semaphore::new(match door.of {
        Of::Clients => gateway.config.limits.connections,
        Of::Operators => gateway.config.limits.connections.min(OPERATORS_MAX),
    }));
    loop {
        let drained = gateway.drained.notified();
        if gateway.is_draining() && door.of == Of::Clients {
            return;
        }
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = drained, if door.of == Of::Clients => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let slot = Slot::taken(permit.ok(), gateway, door.of);
                let door = door.clone();
                gateway.workers.take(stream, move |stream, load| connection(door, (stream, peer.ip()), slot.on(load)));
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
    /// Of clients that have asked something.
    clients: Option<Arc<Gauge>>,
    has_asked: AtomicBool,
    _permit: Option<OwnedSemaphorePermit>,
    /// Its weight on the thread that it is kept by.
    _load: Option<Load>,
}

impl Slot {
    fn taken(permit: Option<OwnedSemaphorePermit>, gateway: &Gateway, of: Of) -> Self {
        gateway.metrics.connections.up();
        let clients = (of == Of::Clients).then(|| gateway.clients.clone());
        let (metrics, has_asked) = (gateway.metrics.clone(), AtomicBool::new(false));
        Self { metrics, clients, has_asked, _permit: permit, _load: None }
    }

    /// Its first request has come: until it ends, something may be on its way to its client.
    fn asks(&self) {
        if let Some(clients) = self.clients.as_ref().filter(|_| !self.has_asked.swap(true, Ordering::Relaxed)) {
            clients.up();
        }
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
        if let Some(clients) = self.clients.as_ref().filter(|_| self.has_asked.load(Ordering::Relaxed)) {
            clients.down();
        }
    }
}

async fn connection(door: Arc<Door>, (stream, peer): (TcpStream, IpAddr), slot: Arc<Slot>) {
    at_once(&stream);
    match &door.tls {
        None => speak(door, stream, peer, slot).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => speak(door, stream, peer, slot).await,
            // somebody who does not trust the certificate, or does not speak TLS
            Err(error) => tracing::debug!(%error, "a handshake failed"),
        },
    }
}

/// Both protocols, with their bounds.
fn builder(gateway: &Gateway) -> auto::Builder<InTime> {
    let mut builder = auto::Builder::new(InTime(gateway.config.longest()));
    // whoever watches a connection looks at the time of its heads: here it would be a timer for each request
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .keep_alive_interval(Duration::from_mins(1));
    builder
}

async fn speak(
    door: Arc<Door>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    slot: Arc<Slot>,
) {
    // of its own: each request counts who holds it, and cores that count in one place wait for each other
    let door = Arc::new(Door::clone(&door));
    let gateway = &door.gateway;
    let builder = builder(gateway);
    let (stream, taking) = Watched::new(TokioIo::new(stream));
    let (told, enough) = oneshot::channel();
    let watch = Arc::new(Watch { taking, ..Watch::default() });
    // apart from what is served, which is woken for each piece of an answer and would look at all its clocks then
    tokio::spawn(watch.clone().tell(door.clone(), told));
    let service = service_fn(|mut request: Request<Incoming>| {
        if watch.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            slot.asks();
        }
        watch.is_two.store(request.version() == Version::HTTP_2, Ordering::Relaxed);
        if socket::is_asked(request.headers()) {
            request.extensions_mut().insert(slot.clone());
        }
        Responding::to(&door, peer, request, UnderWay(watch.clone()))
    });
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    let enough = tokio::select! {
        biased;
        ended = gateway.end.wakes(Hushable::new(serving.as_mut())) => return note(ended),
        enough = enough => enough,
    };
    if enough == Ok(Enough::AfterThis) {
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            // who does not let go is let go of
            ended = tokio::time::timeout(gateway.config.longest(), gateway.end.wakes(Hushable::new(serving))) => ended.map_or((), note),
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
    /// How many of them are over: their answers were sent to the last byte, or given up.
    over: AtomicU32,
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
    async fn tell(self: Arc<Self>, door: Arc<Door>, mut told: oneshot::Sender<Enough>) {
        let limits = &door.gateway.config.limits;
        let enough = tokio::select! {
            () = told.closed() => return,
            () = self.silent(limits.head_time) => Enough::AtOnce,
            () = self.taking.ended_for(limits.taking_time) => Enough::AtOnce,
            enough = self.idle(limits.head_time) => enough,
            () = self.drained(&door.gateway), if door.of == Of::Clients => Enough::AfterThis,
        };
        // it may have ended just now
        let _ = told.send(enough);
    }

    /// What has not asked anything by then does not say which protocol it speaks, which only that tells.
    async fn silent(&self, time: Duration) {
        tokio::time::sleep(time).await;
        // what has come and was not read yet, for want of time, is heard first
        tokio::time::sleep(HEARS).await;
        if self.asked.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
    }

    /// Nothing was asked for as long as this, or up to a quarter longer. Of HTTP/1 nothing goes on then, and what has come of a head is
    /// of one that comes too slowly; of HTTP/2 what goes on may end.
    async fn idle(&self, time: Duration) -> Enough {
        let (mut before, mut quiet) = (self.counts(), 0);
        loop {
            tokio::time::sleep(time / LOOKS).await;
            let (over, asked) = self.counts();
            let is_two = self.is_two.load(Ordering::Relaxed);
            let goes_on = !is_two && (over != asked || self.taking.waits());
            quiet = if goes_on || (over, asked) != before { 0 } else { quiet + 1 };
            before = (over, asked);
            if quiet < LOOKS {
                continue;
            }
            if is_two {
                return Enough::AfterThis;
            }
            tokio::time::sleep(HEARS).await;
            if self.counts() == before {
                return Enough::AtOnce;
            }
        }
    }

    /// How many of its requests are over, of how many.
    fn counts(&self) -> (u32, u32) {
        (self.over.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed))
    }

    /// A client whose answer began before the drain was not told to close the connection, and may ask again on it the
    /// moment that answer is over. HTTP/2 can tell it meanwhile.
    async fn drained(&self, gateway: &Gateway) {
        gateway.until_it_drains().await;
        let linger = gateway.linger();
        tokio::time::sleep(linger).await;
        if !linger.is_zero() && !self.is_two.load(Ordering::Relaxed) {
            self.quiet_for(linger).await;
        }
    }

    /// Ends when nothing was asked, nor answered, for as long as this.
    async fn quiet_for(&self, time: Duration) {
        const LOOK: Duration = Duration::from_millis(20);
        let mut since = Instant::now();
        let mut before = self.over.load(Ordering::Relaxed);
        loop {
            let (over, asked) = self.counts();
            if over != asked || over != before {
                (since, before) = (Instant::now(), over);
            }
            if since.elapsed() >= time {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A request of a connection, until its answer is over.
#[derive(Debug)]
struct UnderWay(Arc<Watch>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.over.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer's body, which its connection is watched by. Where it breaks, that is told once its client has taken all that came
/// before: whoever writes to it lets go of what it has not written yet when it hears of a break.
#[derive(Debug)]
struct Served {
    body: AnswerBody,
    under_way: UnderWay,
    broke: Option<Broke>,
}

/// A break that waits for what is to leave before it.
#[derive(Debug)]
struct Broke {
    error: BoxError,
    /// When it is looked again whether that has left.
    look: Option<Pin<Box<Sleep>>>,
}

/// So often it is looked whether a client has taken what came before a break. It has the time that any client has.
const LOOK_AT_BREAK: Duration = Duration::from_millis(5);

impl Broke {
    fn poll(&mut self, taking: &Taking, cx: &mut Context<'_>) -> Poll<()> {
        while taking.waits() {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK_AT_BREAK)));
            ready!(look.as_mut().poll(cx));
            self.look = None;
        }
        Poll::Ready(())
    }
}

impl Body for Served {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let served = self.get_mut();
        if served.broke.is_none() {
            match ready!(Pin::new(&mut served.body).poll_frame(cx)) {
                Some(Err(error)) => served.broke = Some(Broke { error, look: None }),
                frame => return Poll::Ready(frame),
            }
        }
        if let Some(broke) = &mut served.broke {
            ready!(broke.poll(&served.under_way.0.taking, cx));
        }
        Poll::Ready(served.broke.take().map(|broke| Err(broke.error)))
    }

    fn is_end_stream(&self) -> bool {
        self.broke.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.broke.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// What is written goes out at once: with Nagle's delay a short answer would wait for the other side's
/// acknowledgement, 40 ms and more.
///
/// And what its client takes is seen: of megabytes that a kernel may hold it says that there is room again when a third of them
/// has left, for which a client that takes a few kilobytes a second needs longer than it may take nothing.
fn at_once(stream: &TcpStream) {
    // a connection that is gone already tells so when it is read
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// What answers a request. It is boxed without the request, so that a stream that goes on for minutes does not keep the memory of
/// its beginning.
struct Responding {
    door: Arc<Door>,
    version: Version,
    under_way: Option<UnderWay>,
    answer: Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>,
}

impl Responding {
    fn to(door: &Arc<Door>, peer: IpAddr, request: Request<Incoming>, under_way: UnderWay) -> Self {
        let version = request.version();
        // CONNECT names a host and no path
        let is_owned = || Gateway::owns(request.uri().path()) || request.method() == Method::CONNECT;
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = if door.of == Of::Clients && is_owned() {
            Box::pin(door.gateway.answer(request, peer))
        } else {
            Box::pin(beside(door.clone(), request))
        };
        Self { door: door.clone(), version, under_way: Some(under_way), answer }
    }
}

impl Future for Responding {
    type Output = Result<Response<Served>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = ready!(self.answer.as_mut().poll(cx));
        // whoever has an answer asks for no other
        let Some(under_way) = self.under_way.take() else { return Poll::Pending };
        let ends = self.door.of == Of::Clients && self.door.gateway.is_draining();
        if self.version == Version::HTTP_11 && ends && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(answer.map(|body| Served { body, under_way, broke: None })))
    }
}

/// Lets a neighbour answer, which may think for longer than streams on this thread can wait.
async fn beside(door: Arc<Door>, request: Request<Incoming>) -> Response<AnswerBody> {
    let answer = (door.side)(request.map(|body| Coming::through(&door, body)));
    let answer = door.gateway.workers.beside_for(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "what answers beside the gateway did not");
        let mut failed = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    });
    answer.map(AnswerBody::Side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// How long it is from now on until a connection has been idle for 40 ms, and how it ends then.
    async fn idle_after(watch: &Watch) -> (Duration, Enough) {
        let (began, limit) = (Instant::now(), Duration::from_secs(9));
        let enough = tokio::time::timeout(limit, watch.idle(Duration::from_millis(40))).await;
        (began.elapsed(), enough.expect("it is idle in the end"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_where_nothing_goes_on_that_it_waits_for() {
        let in_time = |waited: Duration, at_least_ms: u64| {
            let over = waited.checked_sub(Duration::from_millis(at_least_ms)).expect("it is idle for all of its time");
            assert!(over <= Duration::from_millis(40 / 4) + HEARS, "{waited:?}");
        };
        let watch = Arc::new(Watch::default());
        let (waited, enough) = idle_after(&watch).await;
        in_time(waited, 40);
        assert_eq!(enough, Enough::AtOnce, "half a head is no reason to stay");

        watch.asked.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(watch.clone());
        let answered = async {
            tokio::time::sleep(Duration::from_millis(205)).await;
            drop(under_way);
        };
        let ((waited, _), ()) = tokio::join!(idle_after(&watch), answered);
        in_time(waited, 245);

        let _waits = watch.taking.note(Poll::<()>::Pending);
        let taken = async {
            tokio::time::sleep(Duration::from_millis(205)).await;
            let _took = watch.taking.note(Poll::Ready(()));
        };
        let ((waited, _), ()) = tokio::join!(idle_after(&watch), taken);
        in_time(waited, 230);

        watch.is_two.store(true, Ordering::Relaxed);
        watch.asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(idle_after(&watch).await.1, Enough::AfterThis, "it asks nothing, and what goes on is let end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_quiet_only_when_its_last_answer_is_some_time_over() {
        let (watch, time) = (Arc::new(Watch::default()), Duration::from_millis(40));
        let quiet = async |within: Duration| tokio::time::timeout(within, watch.quiet_for(time)).await.is_ok();
        watch.quiet_for(time).await;
        watch.asked.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(watch.clone());
        assert!(!quiet(time * 4).await, "an answer runs, however silent it is");
        let (before, over) = (Instant::now(), async {
            tokio::time::sleep(time * 3).await;
            drop(under_way);
        });
        tokio::join!(watch.quiet_for(time), over);
        assert!(before.elapsed() >= time * 4, "its client may ask again: {:?}", before.elapsed());
        let (before, asks_again) = (Instant::now(), async {
            tokio::time::sleep(time / 2).await;
            watch.asked.fetch_add(1, Ordering::Relaxed);
            // and is answered between two looks
            drop(UnderWay(watch.clone()));
        });
        tokio::join!(watch.quiet_for(time), asks_again);
        assert!(before.elapsed() >= time * 3 / 2, "it did: {:?}", before.elapsed());
    }

    /// Whoever writes to a client lets go of what it has not written when it hears of a break.
    #[tokio::test(start_paused = true)]
    async fn t15_a_break_waits_for_what_came_before_it() {
        let watch = Arc::new(Watch::default());
        watch.asked.fetch_add(1, Ordering::Relaxed);
        let broken = || Frames([Ok("a"), Err("the provider broke off")].into_iter().collect());
        let served = || {
            let body = AnswerBody::Side(BodyExt::boxed_unsync(broken()));
            Served { body, under_way: UnderWay(watch.clone()), broke: None }
        };
        let mut quick = served();
        assert_eq!(quick.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert!(quick.frame().await.unwrap().is_err() && quick.frame().await.is_none(), "its client takes what comes");
        let mut slow = served();
        assert!(slow.frame().await.unwrap().is_ok());
        assert!(watch.taking.note(Poll::<()>::Pending).is_pending());
        assert!(
            tokio::time::timeout(Duration::from_mins(1), slow.frame()).await.is_err(),
            "the first is not taken yet"
        );
        assert!(!slow.is_end_stream(), "nor is it over");
        assert!(watch.taking.note(Poll::Ready(())).is_ready());
        assert!(slow.frame().await.unwrap().is_err(), "it is now");
    }

    /// A body of these pieces.
    #[derive(Debug)]
    struct Frames(std::collections::VecDeque<Result<&'static str, &'static str>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let next = self.0.pop_front();
            Poll::Ready(next.map(|next| next.map(|text| Frame::data(text.into())).map_err(Into::into)))
        }
    }

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

    /// What its kernel had taken hid from whoever wrote that it took anything.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_that_takes_a_little_is_seen_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = tokio::net::TcpSocket::new_v4().unwrap();
        slow.set_recv_buffer_size(64 << 10).unwrap();
        let (client, accepted) = tokio::join!(slow.connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        at_once(&stream);
        let (piece, mut read) = (vec![b'x'; 64 << 10], vec![0; 128 << 10]);
        let fill = async || {
            while tokio::time::timeout(Duration::from_millis(50), stream.writable()).await.is_ok() {
                let _ = stream.try_write(&piece);
            }
        };
        // a client that was quick: much is kept for it
        for _ in 0..32 {
            let read = client.read_exact(&mut read);
            tokio::pin!(read);
            while futures_util::poll!(&mut read).is_pending() {
                let _ = stream.try_write(&piece);
                tokio::task::yield_now().await;
            }
        }
        fill().await;
        client.read_exact(&mut read).await.unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(9), stream.writable()).await;
        assert!(seen.is_ok(), "it took 128 KiB");
    }
}
