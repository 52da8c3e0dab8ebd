//! Relay: the answer's bytes on their way to the client, as they come; the observer reads beside them
//! and never holds them up.

use crate::answer::{AnswerBody, BoxError};
use crate::config::{AnswerHeaders, Timeouts};
use crate::passthrough::Passing;
use crate::phase::observe::{BodyEnd, Exchange};
use crate::phase::rewrite::answer_headers;
use crate::phase::send::{Answer, Passage};
use bytes::Bytes;
use coalmine_core::tally::Cause;
use coalmine_wire::translate;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::{Body, SizeHint};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A provider's body, with its limits of time.
#[derive(Debug)]
pub struct Pipe {
    body: Incoming,
    clock: StallClock,
    over: bool,
    /// A request that is passed through.
    passing: Option<Box<Passing>>,
}

/// Notices a body that is silent, and one that has stalled. Armed when the first wait begins, and then left
/// alone while pieces come: it goes off after one to two times what it waits for.
#[derive(Debug)]
struct StallClock {
    timeouts: Timeouts,
    ends_at: Instant,
    /// Until it has come, the first content of a stream must come by then.
    content_by: Option<Instant>,
    moved: bool,
    /// How long nothing has come, as far as is known.
    silent: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// How long an answer may take from here on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Of whoever answers.
    pub(crate) timeouts: Timeouts,
    /// When all must have come.
    pub(crate) ends_at: Instant,
    /// When a stream's first content must have come.
    pub(crate) content_by: Option<Instant>,
}

/// What a body's silence has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// Long enough to tell the client that it goes on.
    Long,
    /// Too long.
    Stalled,
}

/// What comes of a provider's body.
#[derive(Debug)]
enum Came {
    /// Its next piece.
    Piece(Bytes),
    /// Nothing, for a while.
    Silence,
}

/// A comment, which every reader of events passes over.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// A body that stalled.
#[derive(Debug, thiserror::Error)]
#[error("the provider sent nothing for too long")]
struct Stalled;

impl StallClock {
    fn new(pace: Pace) -> Self {
        let Pace { timeouts, ends_at, content_by } = pace;
        Self { timeouts, ends_at, content_by, moved: false, silent: Duration::ZERO, sleep: None }
    }

    fn until(&self) -> Instant {
        self.content_by.map_or(self.ends_at, |by| by.min(self.ends_at))
    }

    /// Nothing may be said in between.
    fn without_comments(mut self) -> Self {
        self.timeouts.keep_alive = None;
        self
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Silence> {
        let wait = self.timeouts.keep_alive.map_or(self.timeouts.idle, |often| often.min(self.timeouts.idle));
        let next = |ends_at: Instant| ends_at.min(Instant::now() + wait);
        loop {
            let until = self.until();
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next(until))));
            ready!(sleep.as_mut().poll(cx));
            sleep.as_mut().reset(next(until));
            self.silent = if std::mem::take(&mut self.moved) { Duration::ZERO } else { self.silent + wait };
            if Instant::now() >= until || self.silent >= self.timeouts.idle {
                return Poll::Ready(Silence::Stalled);
            }
            if self.silent > Duration::ZERO && self.timeouts.keep_alive.is_some() {
                return Poll::Ready(Silence::Long);
            }
        }
    }
}

impl Pipe {
    pub(crate) fn new(body: Incoming, pace: Pace, passing: Option<Box<Passing>>) -> Self {
        Self { over: body.is_end_stream(), body, clock: StallClock::new(pace), passing }
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            match ready!(self.poll_came(cx)) {
                Some(Ok(Came::Piece(piece))) => {
                    if let Some(passing) = &mut self.passing {
                        passing.see(&piece);
                    }
                    return Poll::Ready(Some(Ok(piece)));
                }
                Some(Ok(Came::Silence)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Came, BoxError>>> {
        while !self.over {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.clock.moved = true;
                    self.over = self.body.is_end_stream();
                    // trailers say nothing in these protocols
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Came::Piece(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => return self.fail(error.into()),
                Poll::Ready(None) => self.over = true,
                Poll::Pending => {
                    return match ready!(self.clock.poll_silence(cx)) {
                        Silence::Long => Poll::Ready(Some(Ok(Came::Silence))),
                        Silence::Stalled => self.fail(Stalled.into()),
                    };
                }
            }
        }
        self.passing = None;
        Poll::Ready(None)
    }

    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Came, BoxError>>> {
        self.over = true;
        Poll::Ready(Some(Err(error)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

/// An observed answer on its way.
#[derive(Debug)]
pub struct Relay {
    /// Pieces that wait to go on.
    ready: VecDeque<Bytes>,
    /// `None` once it is over.
    pipe: Option<Pipe>,
    passage: Passage,
    exchange: Box<Exchange>,
    /// The last bytes that went on.
    tail: Tail,
    /// To be told to the client after what is ready: the answer broke.
    broke: Option<BoxError>,
    /// What came before the break had its turn to leave.
    paused: bool,
}

/// The last bytes of what went to the client, to tell whether an event is under way.
#[derive(Debug, Clone, Copy, Default)]
struct Tail([u8; 4]);

impl Tail {
    fn follow(&mut self, piece: &[u8]) {
        let last = &piece[piece.len().saturating_sub(4)..];
        self.0.rotate_left(last.len());
        self.0[4 - last.len()..].copy_from_slice(last);
    }

    /// Nothing went yet, or the last was an empty line.
    fn ends_an_event(&self) -> bool {
        self.0 == [0; 4] || [&b"\n\n"[..], b"\r\r", b"\r\n\r\n", b"\n\r\n"].iter().any(|end| self.0.ends_with(end))
    }
}

/// The answer to the client, its body observed.
pub(crate) async fn relay(answer: Answer, mut exchange: Box<Exchange>) -> Response<AnswerBody> {
    let Answer { parts, held, body, passage, pace } = answer;
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = parts.status;
    *response.headers_mut() = answer_headers(parts.headers);
    exchange.note_client_status(parts.status.as_u16());
    if !matches!(passage, Passage::AsIs) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if matches!(passage, Passage::Translated(_)) && !parts.status.is_success() {
        response.headers_mut().remove(header::CONTENT_ENCODING);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    tell(response.headers_mut(), &exchange);
    let events = exchange.reads_events();
    let pipe = body.map(|body| {
        let mut pipe = Pipe::new(body, pace, None);
        if !events {
            pipe.clock = pipe.clock.without_comments();
        }
        pipe
    });
    let (ready, tail) = (VecDeque::new(), Tail::default());
    let mut relay = Relay { ready, pipe, passage, exchange, tail, broke: None, paused: false };
    for piece in held {
        relay.pass(piece);
    }
    relay.exchange.land_when_done();
    if relay.pipe.as_ref().is_none_or(Pipe::is_over) {
        relay.end(BodyEnd::Whole);
    } else if !events {
        // A short body has come with its head: its end is then written down together with others'.
        poll_fn(|cx| Poll::Ready(relay.poll_more(cx).is_ready())).await;
    }
    let gateway = relay.exchange.gateway.clone();
    gateway.written(gateway.records()).await;
    *response.body_mut() = AnswerBody::Relay(Box::new(relay));
    response
}

impl Relay {
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.tail.follow(&piece);
                return Poll::Ready(Some(Ok(piece)));
            }
            if self.broke.is_some() && !std::mem::replace(&mut self.paused, true) {
                // An error that comes with the bytes before it would take them along: they leave first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(error) = self.broke.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if self.pipe.is_none() {
                return Poll::Ready(None);
            }
            ready!(self.poll_more(cx));
            if self.pipe.is_none() {
                // what has landed is written before its last bytes leave
                self.exchange.gateway.write(self.exchange.gateway.records());
            }
        }
    }

    /// Waits for what comes next, and makes it ready to go on.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(()) };
        match ready!(pipe.poll_came(cx)) {
            // Inside an event nothing can be said.
            Some(Ok(Came::Silence)) if self.tail.ends_an_event() => {
                self.ready.push_back(Bytes::from_static(KEEP_ALIVE));
            }
            Some(Ok(Came::Silence)) => {}
            Some(Ok(Came::Piece(piece))) => {
                let over = pipe.is_over();
                self.exchange.see(&piece);
                if self.exchange.land_when_done() {
                    // written before the client is told that it is over
                    self.exchange.gateway.write(self.exchange.gateway.records());
                }
                if self.exchange.content_begun() {
                    pipe.clock.content_by = None;
                }
                self.pass(piece);
                if over {
                    self.end(BodyEnd::Whole);
                }
            }
            Some(Err(error)) => {
                if error.is::<Stalled>() && pipe.clock.content_by.is_some() && self.exchange.is_undecided() {
                    self.exchange.fail(Cause::Deadline);
                }
                // a translated answer says so in its own words
                self.broke = Some(error).filter(|_| !matches!(self.passage, Passage::Translated(_)));
                self.end(BodyEnd::Broken);
            }
            None => self.end(BodyEnd::Whole),
        }
        Poll::Ready(())
    }

    /// To the client, less what it did not ask for.
    fn pass(&mut self, piece: Bytes) {
        match &mut self.passage {
            Passage::AsIs if piece.is_empty() => {}
            Passage::AsIs => self.ready.push_back(piece),
            Passage::Stripped(strip) => strip.feed(piece, |piece| self.ready.push_back(piece)),
            Passage::Translated(translator) => {
                let mut out = Vec::new();
                translator.feed(&piece, &mut out);
                if !out.is_empty() {
                    self.ready.push_back(Bytes::from(out));
                }
            }
        }
    }

    /// Nothing more comes. Lands before the last piece has left: the client may close right behind it.
    fn end(&mut self, end: BodyEnd) {
        self.pipe = None;
        match std::mem::replace(&mut self.passage, Passage::AsIs) {
            Passage::AsIs => {}
            Passage::Stripped(mut strip) => strip.finish(|piece| self.ready.push_back(piece)),
            Passage::Translated(mut translator) => {
                let mut out = Vec::new();
                let how = match end {
                    BodyEnd::Whole => translate::BodyEnd::Whole,
                    BodyEnd::Broken => translate::BodyEnd::Broken,
                };
                translator.finish(how, &mut out);
                if !out.is_empty() {
                    self.ready.push_back(Bytes::from(out));
                }
            }
        }
        self.exchange.body_ended(end);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ready.is_empty() && self.broke.is_none() && self.pipe.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if !matches!(self.passage, Passage::AsIs) || self.broke.is_some() {
            return SizeHint::default();
        }
        let waiting: u64 = self.ready.iter().map(|piece| piece.len() as u64).sum();
        let coming = self.pipe.as_ref().map_or(SizeHint::with_exact(0), Pipe::size_hint);
        coming.exact().map_or_else(SizeHint::default, |coming| SizeHint::with_exact(coming + waiting))
    }
}

/// Says in headers what was decided, on answers and errors alike.
pub(crate) fn tell(headers: &mut HeaderMap, exchange: &Exchange) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-coalmine-request-id");
    const SESSION: HeaderName = HeaderName::from_static("x-coalmine-session");
    const VERSION: HeaderName = HeaderName::from_static("x-coalmine-version");
    const ARM: HeaderName = HeaderName::from_static("x-coalmine-arm");
    const RELEASE: HeaderName = HeaderName::from_static("x-coalmine-release");
    exchange.tell_quota(headers);
    if exchange.gateway.config.answer_headers == AnswerHeaders::Off {
        return;
    }
    let value = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(id) = exchange.request_id.as_deref().and_then(value) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(unit) = exchange.unit().and_then(|unit| value(&unit.to_string())) {
        headers.insert(SESSION, unit);
    }
    headers.insert(VERSION, exchange.prepared.header.clone());
    headers.insert(ARM, HeaderValue::from_static(exchange.arm.as_str()));
    if let (Some(release), Some(_)) = (&exchange.route.release_header, &exchange.flight.member) {
        headers.insert(RELEASE, release.clone());
    }
}
