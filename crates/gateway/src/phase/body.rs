//! A request's body: bounded by itself in size and in time, and together with all others in what is held at once.

use crate::answer::Refusal;
use crate::config::Limits;
use crate::gateway::Gateway;
use crate::listen::hush::hushed;
use crate::metrics::Gauge;
use bytes::{Bytes, BytesMut};
use coalmine_wire::openai::errors::Problem;
use http::{Version, header, request};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

/// Room is taken in pieces of this size.
const BLOCK: usize = 16 << 10;
/// When a client that found no room may come again.
const COME_AGAIN_S: u32 = 1;

/// Room for the bodies of all requests.
#[derive(Debug)]
pub(crate) struct Bodies {
    blocks: Arc<Semaphore>,
    all: usize,
    wait: Duration,
}

/// What a request has taken of it, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

/// Why a body was not read.
enum Unread {
    Broken,
    Late,
    TooLarge,
    NoRoom,
}

/// How long a body is thrown away that nobody reads,
const LINGER: Duration = Duration::from_secs(30);
/// how long it may pause meanwhile, and any in a drain,
const PAUSE: Duration = Duration::from_secs(5);
/// and how many times as much of it is read as would have been taken.
const LINGER_BODIES: usize = 16;

/// A request's body on its way in. Where it is refused, the rest of it is read and thrown away for a while: most
/// clients hear nothing before they have sent everything. A connection of HTTP/1 that is closed over unread bytes is
/// reset, which takes the answer with it (RFC 9112, section 9.6); a stream of HTTP/2 is reset behind its answer, and clients
/// that are still sending take that for the loss of it, though they must not (RFC 9113, section 8.1).
#[derive(Debug)]
pub(crate) struct Upload {
    body: Option<Incoming>,
    version: Version,
    /// The most that is thrown away of it.
    lingers_bytes: usize,
    /// Where it streams through: how long it may pause, when it has for too long, and who is told of that.
    pause: Duration,
    late: Option<Pin<Box<Sleep>>>,
    stopped: Option<oneshot::Sender<Refusal>>,
}

impl Upload {
    pub(crate) fn new(body: Incoming, parts: &request::Parts, limits: &Limits) -> Self {
        // who waits to be told to send has sent nothing
        let waits = parts.headers.contains_key(header::EXPECT);
        let lingers_bytes = if waits { 0 } else { limits.body.saturating_mul(LINGER_BODIES) };
        Self {
            body: Some(body),
            version: parts.version,
            lingers_bytes,
            pause: limits.body_time,
            late: None,
            stopped: None,
        }
    }

    /// From now on it streams through. What is returned tells that it stopped, which is the client's doing: whoever is
    /// being sent it hears nothing of that, and is to be left.
    pub(crate) fn stream(&mut self) -> oneshot::Receiver<Refusal> {
        let (stopped, told) = oneshot::channel();
        self.stopped = Some(stopped);
        told
    }

    /// So many bytes are to come at least.
    pub(crate) fn announced(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.size_hint().lower())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        let Some(body) = &mut self.body else { return Ok(None) };
        while let Some(frame) = poll_fn(|cx| poll_taken(body, self.version, cx)).await {
            if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
                if body.is_end_stream() {
                    self.body = None;
                }
                return Ok(Some(data));
            }
        }
        self.body = None;
        Ok(None)
    }
}

/// The next of a body. Of HTTP/1 its last wakes nobody: what would be woken is this task, and there is no more to send.
fn poll_taken(
    body: &mut Incoming,
    version: Version,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    if version == Version::HTTP_2 {
        return Pin::new(body).poll_frame(cx);
    }
    let (taken, woken) = hushed(|| Pin::new(&mut *body).poll_frame(cx));
    if woken && !body.is_end_stream() {
        cx.waker().wake_by_ref();
    }
    taken
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let upload = self.get_mut();
        let Some(body) = &mut upload.body else { return Poll::Ready(None) };
        let refusal = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                upload.late = None;
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                upload.body = None;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => broken(),
            Poll::Pending => {
                let pause = upload.pause;
                ready!(upload.late.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx));
                late()
            }
        };
        upload.lingers_bytes = 0;
        if let Some(stopped) = upload.stopped.take() {
            // whoever no longer listens has left already
            let _ = stopped.send(refusal);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| self.lingers_bytes > 0 && !body.is_end_stream()) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(throw_away(body, self.lingers_bytes));
        }
    }
}

async fn throw_away(mut body: Incoming, most: usize) {
    let until = Instant::now() + LINGER;
    let mut read = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(until.min(Instant::now() + PAUSE), body.frame()).await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > most {
            break;
        }
    }
}

impl Bodies {
    /// Room for so many bytes; who finds none waits for so long.
    pub(crate) fn new(bytes: usize, wait: Duration) -> Self {
        let all = bytes.div_ceil(BLOCK).clamp(1, Semaphore::MAX_PERMITS);
        Self { blocks: Arc::new(Semaphore::new(all)), all, wait }
    }

    /// Bytes that are taken, in whole blocks.
    pub(crate) fn held(&self) -> u64 {
        ((self.all - self.blocks.available_permits()) * BLOCK) as u64
    }

    /// The same, for what is no body; `false`: there is none.
    pub(crate) async fn has_room(&self, held: &mut Held, bytes: usize) -> bool {
        self.hold(held, bytes).await.is_ok()
    }

    /// Room for a body of so many bytes in all; what it has already counts. It grows with what has come, for a length
    /// that is declared takes no memory.
    async fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Unread> {
        let has = held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BLOCK).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Unread::NoRoom)?;
        let taken = match self.blocks.clone().try_acquire_many_owned(more) {
            Ok(taken) => taken,
            Err(_) => match timeout(self.wait, self.blocks.clone().acquire_many_owned(more)).await {
                Ok(Ok(taken)) => taken,
                Ok(Err(_)) | Err(_) => return Err(Unread::NoRoom),
            },
        };
        match &mut held.0 {
            Some(own) => own.merge(taken),
            None => held.0 = Some(taken),
        }
        Ok(())
    }
}

/// A body up to here is cheaper copied than a new buffer for its connection.
const COPIED_MAX_BYTES: usize = 8 * 1024;

/// Reads the body, which most often is there in one piece: a large one is then not copied.
pub(crate) async fn read(gateway: &Gateway, upload: &mut Upload) -> Result<(Bytes, Held), Refusal> {
    let max = gateway.config.limits.body;
    let too_large = || {
        let message = format!("the request body is longer than {max} bytes, which is what this gateway takes");
        Refusal::new(Problem::TooLarge, message)
    };
    let mut held = Held::default();
    if upload.announced() > max as u64 {
        return Err(too_large());
    }
    let come = AtomicUsize::new(0);
    let whole = async {
        tokio::select! {
            biased;
            whole = collect(upload, max, &gateway.bodies, &mut held, &come) => whole,
            () = stops_in_a_drain(gateway, &come) => Err(Unread::Late),
        }
    };
    match within(gateway.config.limits.body_time, whole).await {
        Err(_) | Ok(Err(Unread::Late)) => {
            upload.lingers_bytes = 0;
            Err(late())
        }
        Ok(Err(Unread::TooLarge)) => Err(too_large()),
        Ok(Err(Unread::Broken)) => Err(broken()),
        Ok(Err(Unread::NoRoom)) => {
            gateway.metrics.bodies_refused.add(1);
            let message = "this gateway holds as many bytes of requests as it may; try again in a moment";
            Err(Refusal::new(Problem::Overloaded, message).retry_after(COME_AGAIN_S))
        }
        Ok(Ok(bytes)) => Ok((bytes, held)),
    }
}

/// What is there at once, as most bodies are, needs no timer.
async fn within<F: Future>(limit: Duration, what: F) -> Result<F::Output, Elapsed> {
    let mut what = pin!(what);
    match poll_fn(|cx| Poll::Ready(what.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, what).await,
    }
}

fn late() -> Refusal {
    Refusal::new(Problem::LateBody, "the request body did not come in time")
}

fn broken() -> Refusal {
    Refusal::new(Problem::BadRequest, "the request body broke off")
}

/// A body of which there is more to come, for as long as it is waited for.
struct ToCome<'a>(&'a Gauge);

impl<'a> ToCome<'a> {
    fn of(bodies: &'a Gauge) -> Self {
        bodies.up();
        Self(bodies)
    }
}

impl Drop for ToCome<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// Ends where this gateway drains and a body of which so much has come stops: what never comes is to hold nobody's exit.
pub(crate) async fn stops_in_a_drain(gateway: &Gateway, come: &AtomicUsize) {
    // most come at once, and are not waited for at all
    let _to_come = ToCome::of(&gateway.metrics.bodies_to_come);
    gateway.until_it_drains().await;
    stops(come).await;
}

/// Ends when nothing has come for as long as a body may pause.
async fn stops(come: &AtomicUsize) {
    let mut before = come.load(Ordering::Relaxed);
    loop {
        sleep(PAUSE).await;
        let now = come.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

async fn collect(
    upload: &mut Upload,
    max: usize,
    bodies: &Bodies,
    held: &mut Held,
    come: &AtomicUsize,
) -> Result<Bytes, Unread> {
    let announced = usize::try_from(upload.announced()).unwrap_or(usize::MAX);
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(data) = upload.next().await? {
        let bytes = whole.len() + joined.len() + data.len();
        if bytes > max {
            return Err(Unread::TooLarge);
        }
        come.store(bytes, Ordering::Relaxed);
        bodies.hold(held, bytes).await?;
        if whole.is_empty() && joined.is_empty() {
            // A small one is copied: what it came in is then free for the connection's next request.
            whole = if data.len() <= COPIED_MAX_BYTES { Bytes::copy_from_slice(&data) } else { data };
        } else {
            make_room(&mut joined, whole.len() + data.len(), announced);
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

/// Room in `joined` for so many bytes more: for four times what has come, and no more than was announced. So a large body is
/// moved seldom and ends in room of its own size, and who announces much and sends little takes little.
fn make_room(joined: &mut BytesMut, more: usize, announced: usize) {
    let needed = joined.len() + more;
    if needed > announced {
        // as much again
        return joined.reserve(more);
    }
    if needed > joined.capacity() {
        let mut roomier = BytesMut::with_capacity(needed.saturating_mul(4).min(announced));
        roomier.extend_from_slice(joined);
        *joined = roomier;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::hush::Hushable;
    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};
    use tokio::io::AsyncWriteExt;

    #[test]
    fn a_large_body_is_moved_seldom_and_wastes_no_room() {
        for (announced, waste) in [(9 << 20, 0), (0, 9 << 20)] {
            let (piece, mut joined) = (vec![b'x'; 16 << 10], BytesMut::new());
            let (mut moved, mut room) = (0, 0);
            while joined.len() < 9 << 20 {
                make_room(&mut joined, piece.len(), announced);
                if joined.capacity() != room {
                    (moved, room) = (moved + joined.len(), joined.capacity());
                }
                joined.extend_from_slice(&piece);
                assert!(room <= joined.len().max(16 << 10) * 4, "who sends little takes little");
            }
            assert!(joined.capacity() <= (9 << 20) + waste, "{announced}: {}", joined.capacity());
            assert!(announced == 0 || moved < joined.len(), "{moved}");
        }
    }

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a connection runs once more for its own reading of what came, and what was read of a request's body by then.
    async fn read_at_once(came: &str) -> (u32, Vec<Bytes>) {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        client.write_all(came.as_bytes()).await.unwrap();
        let read = Mutex::new(Vec::new());
        let service = service_fn(async |request: Request<Incoming>| {
            let (parts, body) = request.into_parts();
            let mut upload = Upload::new(body, &parts, &Limits::default());
            while let Ok(Some(data)) = upload.next().await {
                read.lock().unwrap().push(data);
            }
            read.lock().unwrap().push(Bytes::from_static(b"."));
            std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
        });
        let woken = Arc::new(Woken::default());
        {
            let connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(server), service));
            let polled = pin!(Hushable::new(connection)).poll(&mut Context::from_waker(&Waker::from(woken.clone())));
            assert!(polled.is_pending());
        }
        // a task that was woken twice before it runs does so once
        (woken.0.load(Ordering::Relaxed).min(1), read.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_body_that_came_whole_is_read_in_one_go_and_one_that_did_not_goes_on() {
        const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n";
        let whole = read_at_once(&format!("{HEAD}content-length: 3\r\n\r\nabc")).await;
        assert_eq!(whole, (0, vec!["abc".into(), ".".into()]));
        let half = read_at_once(&format!("{HEAD}content-length: 6\r\n\r\nabc")).await;
        assert_eq!(half, (1, vec!["abc".into()]));
        let in_chunks = read_at_once(&format!("{HEAD}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
        assert_eq!(in_chunks, (1, vec!["abc".into()]), "what ends it is told behind it");
        let waits = read_at_once(&format!("{HEAD}expect: 100-continue\r\ncontent-length: 3\r\n\r\n")).await;
        assert_eq!(waits, (1, vec![]), "it is told to send");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_stops_when_nothing_of_it_comes_and_not_for_being_long() {
        let (come, began) = (AtomicUsize::new(1), Instant::now());
        let comes = async {
            for _ in 0..20 {
                sleep(PAUSE * 9 / 10).await;
                come.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::join!(stops(&come), comes);
        assert!(began.elapsed() >= PAUSE * 18 + PAUSE / 2, "{:?}", began.elapsed());
        assert!(began.elapsed() <= PAUSE * 21, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn room_is_taken_as_a_body_grows_and_given_back_with_it() {
        let bodies = Bodies::new(4 * BLOCK, Duration::from_millis(50));
        let (mut one, mut two) = (Held::default(), Held::default());
        for bytes in [1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            assert!(bodies.hold(&mut one, bytes).await.is_ok());
            assert_eq!(bodies.held(), (bytes.div_ceil(BLOCK) * BLOCK) as u64);
        }
        assert!(matches!(bodies.hold(&mut two, 2 * BLOCK).await, Err(Unread::NoRoom)));
        assert!(bodies.hold(&mut two, BLOCK).await.is_ok());
        // who waits gets what another gives back
        let (third, ()) = tokio::join!(
            async {
                let mut third = Held::default();
                bodies.hold(&mut third, 2 * BLOCK).await.map(|()| third)
            },
            async { drop(one) },
        );
        assert_eq!((third.is_ok(), bodies.held()), (true, 3 * BLOCK as u64));
        drop((third, two));
        assert_eq!(bodies.held(), 0);
    }
}
