//! Relay: the answer's bytes on their way to the client, as they come; the observer reads beside them
//! and never holds them up.

mod parting;

use crate::answer::{AnswerBody, BoxError};
use crate::config::{AnswerHeaders, Timeouts};
use crate::end::{End, GatewayEnds, Listening};
use crate::gateway::Owed;
use crate::phase::observe::{BodyEnd, Ended, Exchange, StreamOrBody};
use crate::phase::rewrite::{answer_headers, name_request_id};
use crate::phase::send::{Answer, Passage, is_encoded, shape};
use crate::upstream::connections::ProviderBody;
use crate::upstream::source::Source;
use bytes::Bytes;
use coalmine_core::tally::{Cause, Ending};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::Progress;
use coalmine_wire::translate;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, SizeHint};
pub(crate) use parting::{CutOff, Parting, Stalled, Tail, farewell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A provider's body, with its limits of time.
#[derive(Debug)]
pub(crate) struct Pipe {
    body: ProviderBody,
    clock: StallClock,
    over: bool,
    end: Listening,
}

/// Notices a body that is silent, one that has stalled, and one that is kept open behind its last word. Armed when the
/// first wait begins, and then left alone while pieces come: it ticks twice in the time that it waits for, and so goes
/// off after one to one and a half times that.
#[derive(Debug)]
struct StallClock {
    timeouts: Timeouts,
    ends_at: Instant,
    /// Until it has come, the first content of a stream must come by then.
    content_by: Option<Instant>,
    /// The last bytes before it.
    tail: Tail,
    /// All has been said: what is still open then is closed.
    close_by: Option<Instant>,
    moved: bool,
    /// Since when what comes has been nothing but signs of life; `None`: it gets on.
    stuck_since: Option<Instant>,
    /// How long nothing has come, as far as is known.
    silent: Duration,
    /// How long nothing has come and nothing was said to the client instead.
    unsaid: Duration,
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
    /// All was said, and for too long the end of it was not.
    Endless,
    /// Too long.
    Stalled,
}

/// What comes of a provider's body.
#[derive(Debug)]
pub(crate) enum Came {
    /// Its next piece.
    Piece(Bytes),
    /// Nothing, for a while.
    Silence,
}

/// A comment, which every reader of events passes over.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// Messages have an event for it, once they have begun. Their clients watch for events, and take a stream of comments for a
/// dead one.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";
/// What ends a stream of messages.
const MESSAGE_STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

impl StallClock {
    fn new(pace: Pace) -> Self {
        let Pace { timeouts, ends_at, content_by } = pace;
        let (silent, unsaid) = (Duration::ZERO, Duration::ZERO);
        let (moved, stuck_since, tail) = (false, None, Tail::default());
        Self { timeouts, ends_at, content_by, tail, close_by: None, moved, stuck_since, silent, unsaid, sleep: None }
    }

    /// What came was a sign of life and no part of the answer, which was waited for long enough: pings and comments do not
    /// hide that it is stuck. Where something is done unseen, that may take as long as the first content of a thought.
    fn is_stuck(&mut self, works_unseen: bool, now: Instant) -> bool {
        // behind the last word there is a bound of its own
        if self.is_closing() {
            return false;
        }
        let since = *self.stuck_since.get_or_insert(now);
        let idle = self.timeouts.idle;
        let patience = if works_unseen { idle.max(self.timeouts.thinking) } else { idle };
        // and so there is before the first content
        self.content_by.is_none() && now.duration_since(since) >= patience || now >= self.until()
    }

    /// A piece came.
    fn moves(&mut self, piece: &[u8]) {
        self.moved = true;
        if self.content_by.is_some() {
            self.tail.follow(piece);
        }
    }

    /// Before the first content there is a bound of its own: a thought may be silent for longer than an answer, but not
    /// inside an event.
    fn may_think(&self) -> bool {
        self.content_by.is_some() && self.tail.ends_an_event()
    }

    fn until(&self) -> Instant {
        self.content_by.map_or(self.ends_at, |by| by.min(self.ends_at))
    }

    /// Nothing more is expected but the end.
    fn close_by(&mut self, by: Instant) {
        self.close_by = Some(self.close_by.map_or(by, |before| before.min(by)));
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(by);
        }
    }

    fn is_closing(&self) -> bool {
        self.close_by.is_some()
    }

    fn must_close(&self) -> bool {
        self.close_by.is_some_and(|by| Instant::now() >= by)
    }

    /// Nothing may be said in between.
    fn without_comments(mut self) -> Self {
        self.timeouts.keep_alive = None;
        self
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Silence> {
        let wait = self.timeouts.keep_alive.map_or(self.timeouts.idle, |often| often.min(self.timeouts.idle));
        let tick = (wait / 2).max(Duration::from_millis(1));
        loop {
            let until = self.until();
            let next = || self.close_by.map_or(until, |by| by.min(until)).min(Instant::now() + tick);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next())));
            ready!(sleep.as_mut().poll(cx));
            sleep.as_mut().reset(next());
            if self.must_close() {
                return Poll::Ready(Silence::Endless);
            }
            let moved = std::mem::take(&mut self.moved);
            let longer = |before: Duration| if moved { Duration::ZERO } else { before + tick };
            (self.silent, self.unsaid) = (longer(self.silent), longer(self.unsaid));
            if Instant::now() >= until || self.silent >= self.timeouts.idle && !self.may_think() {
                return Poll::Ready(Silence::Stalled);
            }
            // behind the last word nothing is said any more
            if !self.is_closing() && self.timeouts.keep_alive.is_some_and(|often| self.unsaid >= often) {
                self.unsaid = Duration::ZERO;
                return Poll::Ready(Silence::Long);
            }
        }
    }
}

impl Pipe {
    pub(crate) fn new(body: ProviderBody, pace: Pace, end: &Arc<End>) -> Self {
        let end = Listening::to(end);
        Self { over: body.is_end_stream(), body, clock: StallClock::new(pace), end }
    }

    /// Whether, with a piece that brought this, the body has got on for too long by signs of life alone.
    pub(crate) fn is_stuck(&mut self, progress: Progress, works_unseen: impl FnOnce() -> bool) -> bool {
        match progress {
            Progress::Step | Progress::Content => {
                self.clock.stuck_since = None;
                false
            }
            Progress::Nothing => self.clock.is_stuck(works_unseen(), Instant::now()),
        }
    }

    pub(crate) fn poll_came(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Came, BoxError>>> {
        while !self.over {
            if self.clock.must_close() {
                break;
            }
            if self.end.is_over() {
                return self.fail(GatewayEnds.into());
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.over = self.body.is_end_stream();
                    // trailers say nothing in these protocols, and nobody reads on behind the end
                    if let Ok(data) = frame.into_data() {
                        self.clock.moves(&data);
                        return Poll::Ready(Some(Ok(Came::Piece(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => return self.fail(error.into()),
                Poll::Ready(None) => self.over = true,
                Poll::Pending if self.end.poll(cx).is_ready() => {}
                Poll::Pending => {
                    return match ready!(self.clock.poll_silence(cx)) {
                        Silence::Long => Poll::Ready(Some(Ok(Came::Silence))),
                        Silence::Stalled => self.fail(Stalled.into()),
                        Silence::Endless => continue,
                    };
                }
            }
        }
        self.over = true;
        Poll::Ready(None)
    }

    fn fail<T>(&mut self, error: BoxError) -> Poll<Option<Result<T, BoxError>>> {
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
    /// Who hears how it ended.
    source: Option<Source>,
    passage: Passage,
    exchange: Box<Exchange>,
    /// The last bytes that went on.
    tail: Tail,
    /// How the client's dialect has a stream end.
    last_word: LastWord,
    /// Whether it is told in events, between which something may be said.
    form: StreamOrBody,
    /// Of a body that breaks, behind what is ready.
    parting: Parting,
    /// What is to be written before anything more goes on.
    owed: Option<Owed>,
}

/// What a client waits for at the end of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWord {
    /// The body's end: it is one body, or a stream whose provider may end it so.
    Any,
    /// An event of messages, which strict clients do not do without.
    MessageStop,
    /// Whatever the translator says, once the provider's stream has ended.
    Translators,
}

/// The answer to the client, its body observed.
pub(crate) async fn relay(answer: Box<Answer>, mut exchange: Box<Exchange>) -> Response<AnswerBody> {
    let Answer { parts, held, body, passage, pace, source } = *answer;
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = parts.status;
    *response.headers_mut() = answer_headers(parts.headers);
    exchange.note_client_status(parts.status.as_u16());
    let form = form(parts.status, response.headers());
    if !matches!(passage, Passage::AsIs) || form == StreamOrBody::Stream {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    name_request_id(response.headers_mut(), exchange.dialect().family());
    if matches!(passage, Passage::Translated(_)) && !parts.status.is_success() {
        response.headers_mut().remove(header::CONTENT_ENCODING);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    tell(response.headers_mut(), &exchange);
    let events = exchange.reads_events();
    let pipe = body.map(|body| {
        let mut pipe = Pipe::new(body, pace, &exchange.gateway.end);
        if !events {
            pipe.clock = pipe.clock.without_comments();
        }
        pipe
    });
    let last_word = match (&passage, exchange.dialect()) {
        (Passage::Translated(_), _) => LastWord::Translators,
        (Passage::AsIs | Passage::Stripped(_), Dialect::Messages)
            if shape(response.headers()) == StreamOrBody::Stream =>
        {
            LastWord::MessageStop
        }
        (Passage::AsIs | Passage::Stripped(_), _) => LastWord::Any,
    };
    let (ready, tail, parting) = (VecDeque::new(), Tail::default(), Parting::default());
    let owed = None;
    let mut relay = Box::new(Relay { ready, pipe, source, passage, exchange, tail, last_word, form, parting, owed });
    for piece in held {
        relay.pass(piece);
    }
    relay.mind_the_end();
    if relay.is_cut_in_translation() {
        relay.break_off(CutOff.into());
    } else if relay.pipe.as_ref().is_none_or(Pipe::is_over) {
        relay.end(BodyEnd::Whole);
    } else if !events {
        // A short body has come with its head: its end is then written down together with others'.
        poll_fn(|cx| Poll::Ready(relay.poll_more(cx).is_ready())).await;
    }
    let gateway = relay.exchange.gateway.clone();
    gateway.written(gateway.records()).await;
    relay.owed = None;
    *response.body_mut() = AnswerBody::Relay(relay);
    response
}

impl Relay {
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if let Some(owed) = &mut self.owed {
                ready!(self.exchange.gateway.poll_written(owed, cx));
                self.owed = None;
            }
            if let Some(piece) = self.ready.pop_front() {
                self.tail.follow(&piece);
                return Poll::Ready(Some(Ok(piece)));
            }
            if self.pipe.is_none() {
                return self.parting.poll(cx).map(|broke| broke.map(Err));
            }
            ready!(self.poll_more(cx));
            if self.pipe.is_none() {
                self.owe();
            }
        }
    }

    /// Waits for what comes next, and makes it ready to go on.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(()) };
        match ready!(pipe.poll_came(cx)) {
            // Inside an event nothing can be said.
            Some(Ok(Came::Silence)) if self.tail.ends_an_event() => {
                self.ready.push_back(Bytes::from_static(self.sign_of_life()));
            }
            Some(Ok(Came::Silence)) => {}
            Some(Ok(Came::Piece(piece))) => {
                let over = pipe.is_over();
                let progress = self.exchange.see(&piece);
                if self.exchange.content_begun() {
                    pipe.clock.content_by = None;
                }
                if !over && pipe.is_stuck(progress, || self.exchange.works_unseen()) {
                    self.pass(piece);
                    self.break_off(Stalled.into());
                    return Poll::Ready(());
                }
                if self.mind_the_end() {
                    self.owe();
                }
                self.pass(piece);
                if self.is_cut_in_translation() {
                    self.break_off(CutOff.into());
                } else if over {
                    self.end(BodyEnd::Whole);
                }
            }
            Some(Err(error)) => self.break_off(error),
            None => self.end(BodyEnd::Whole),
        }
        Poll::Ready(())
    }

    /// What is said in a silence. No event may stand before `message_start`, which is the provider's to say.
    fn sign_of_life(&self) -> &'static [u8] {
        let begun = || match &self.passage {
            Passage::AsIs | Passage::Stripped(_) => self.exchange.answer_begun(),
            Passage::Translated(translator) => translator.has_begun(),
        };
        if self.exchange.dialect() == Dialect::Messages && begun() { PING } else { KEEP_ALIVE }
    }

    /// What has landed is written before the client is told that it is over.
    fn owe(&mut self) {
        self.owed = Some(self.exchange.gateway.records().into());
    }

    /// The answer's body ends before its end, because it broke, or because the gateway ends it.
    fn break_off(&mut self, error: BoxError) {
        if error.is::<GatewayEnds>() {
            // no fault of whoever answers
            self.source = None;
            if self.exchange.is_undecided() {
                self.exchange.decide(Ending::GatewayError);
            }
        }
        let waits = self.pipe.as_ref().is_some_and(|pipe| pipe.clock.content_by.is_some());
        if error.is::<Stalled>() && waits && self.exchange.is_undecided() {
            self.exchange.fail(Cause::Deadline);
        }
        // nobody misses what would have come behind the last word
        let all_said = self.form == StreamOrBody::Stream && self.exchange.has_landed();
        // a translated answer says so in its own words
        let says_so = matches!(self.passage, Passage::Translated(_));
        self.end(BodyEnd::Broken);
        if !all_said && !says_so {
            self.part(error);
        }
    }

    /// The client is told that what it has is not all: in its own dialect where it stands between two events, and else by a
    /// body that breaks.
    fn part(&mut self, error: BoxError) {
        if self.form == StreamOrBody::Stream && self.stands_between_events() {
            self.ready.push_back(farewell(self.exchange.dialect(), &error, self.exchange.next_number()));
        } else {
            self.parting.break_by(error);
        }
    }

    /// Lands the exchange where the answer says that it is over, and whether it did. What is still open then, or has said
    /// all but that, is closed in a while.
    fn mind_the_end(&mut self) -> bool {
        let done = self.exchange.land_when_done();
        let Some(pipe) = &mut self.pipe else { return done };
        let lacks_end = || self.last_word != LastWord::Any && self.exchange.lacks_end();
        if done || !pipe.clock.is_closing() && lacks_end() {
            pipe.clock.close_by(Instant::now() + self.exchange.gateway.config.limits.end_time);
        }
        done
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

    /// Whether its client was told that it broke off, for the provider said what cannot be told: nobody reads on, and it is no answer.
    fn is_cut_in_translation(&self) -> bool {
        matches!(&self.passage, Passage::Translated(translator) if translator.is_cut())
    }

    /// Nothing more comes. Lands before the last piece has left: the client may close right behind it.
    fn end(&mut self, end: BodyEnd) {
        self.pipe = None;
        let waits = end == BodyEnd::Whole && self.last_word == LastWord::MessageStop;
        if waits {
            // what ended with a CR is read when nothing more comes
            self.exchange.failure_in_band();
        }
        if waits && self.exchange.lacks_end() && self.stands_between_events() {
            self.ready.push_back(Bytes::from_static(MESSAGE_STOP));
        }
        let ended = self.exchange.body_ended(end);
        let cut_off = end == BodyEnd::Whole && ended == Ended::CutShort && self.form == StreamOrBody::Stream;
        let mut says_so = false;
        match std::mem::replace(&mut self.passage, Passage::AsIs) {
            Passage::AsIs => {}
            Passage::Stripped(mut strip) if ended == Ended::CutShort => {
                strip.finish_cut(|piece| self.ready.push_back(piece));
            }
            Passage::Stripped(mut strip) => strip.finish(|piece| self.ready.push_back(piece)),
            Passage::Translated(mut translator) => {
                says_so = true;
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
        if cut_off && !says_so {
            self.part(CutOff.into());
        }
        match (self.source.take(), ended) {
            (Some(source), Ended::InTime) => source.came_whole(),
            (Some(source), Ended::CutShort) => source.cut_short(),
            (None, Ended::InTime | Ended::CutShort) => {}
        }
    }

    /// Whether what is ready, too, ends with an event.
    fn stands_between_events(&self) -> bool {
        let mut tail = self.tail;
        self.ready.iter().for_each(|piece| tail.follow(piece));
        tail.ends_an_event()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ready.is_empty() && self.parting.is_none() && self.pipe.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let is_open = self.form == StreamOrBody::Stream || !self.parting.is_none();
        if !matches!(self.passage, Passage::AsIs) || is_open {
            return SizeHint::default();
        }
        let waiting: u64 = self.ready.iter().map(|piece| piece.len() as u64).sum();
        let coming = self.pipe.as_ref().map_or(SizeHint::with_exact(0), Pipe::size_hint);
        coming.exact().map_or_else(SizeHint::default, |coming| SizeHint::with_exact(coming + waiting))
    }
}

/// How an answer's body is told. Into what is encoded nothing can be said.
pub(crate) fn form(status: StatusCode, headers: &HeaderMap) -> StreamOrBody {
    if status.is_success() && !is_encoded(headers) { shape(headers) } else { StreamOrBody::Body }
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
    headers.reserve(5);
    if let Some(id) = exchange.request_id.as_deref().and_then(value) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(unit) = exchange.unit().and_then(|unit| HeaderValue::from_bytes(&unit.hex()).ok()) {
        headers.insert(SESSION, unit);
    }
    headers.insert(VERSION, exchange.prepared.header.clone());
    headers.insert(ARM, HeaderValue::from_static(exchange.arm.as_str()));
    if let (Some(release), Some(_)) = (&exchange.route.release_header, &exchange.flight.member) {
        headers.insert(RELEASE, release.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(content_by: Option<Instant>) -> (StallClock, Instant) {
        let now = Instant::now();
        let timeouts =
            Timeouts { idle: Duration::from_secs(5), thinking: Duration::from_mins(1), ..Timeouts::default() };
        (StallClock::new(Pace { timeouts, ends_at: now + timeouts.total, content_by }), now)
    }

    /// Signs of life one after the other, at these seconds; at which of them it is stuck.
    fn stuck_at(clock: &mut StallClock, since: Instant, works_unseen: bool, seconds: &[u64]) -> Option<u64> {
        let mut stuck = |s: &u64| clock.is_stuck(works_unseen, since + Duration::from_secs(*s));
        seconds.iter().copied().find(|s| stuck(s))
    }

    #[test]
    fn signs_of_life_alone_are_borne_for_idle_and_a_thought_for_longer() {
        let seconds = [0, 2, 4, 5, 30, 60, 70];
        let (mut talks, now) = clock(None);
        assert_eq!(stuck_at(&mut talks, now, false, &seconds), Some(5));
        let (mut thinks, now) = clock(None);
        assert_eq!(stuck_at(&mut thinks, now, true, &seconds), Some(60));
        let (mut gets_on, now) = clock(None);
        assert_eq!(stuck_at(&mut gets_on, now, false, &[0, 4]), None);
        gets_on.stuck_since = None;
        assert_eq!(stuck_at(&mut gets_on, now, false, &[6, 10, 11]), Some(11), "counted anew");
    }

    #[test]
    fn before_the_first_content_and_behind_the_last_word_other_bounds_hold() {
        let (_, now) = clock(None);
        let (mut waits, now) = clock(Some(now + Duration::from_secs(20)));
        assert_eq!(stuck_at(&mut waits, now, false, &[0, 10, 19, 21]), Some(21));
        let (mut ended, now) = clock(None);
        ended.close_by(now + Duration::from_secs(3));
        assert_eq!(stuck_at(&mut ended, now, false, &[0, 60, 7_200]), None);
    }
    #[tokio::test(start_paused = true)]
    async fn silence_is_borne_for_idle_and_before_the_first_content_until_that_is_due() {
        let stalled_in = async |content_by: Option<u64>, came: &str| {
            let (mut clock, began) = clock(content_by.map(|s| Instant::now() + Duration::from_secs(s)));
            clock.timeouts.keep_alive = None;
            clock.moves(came.as_bytes());
            clock.moved = false;
            assert_eq!(poll_fn(|cx| clock.poll_silence(cx)).await, Silence::Stalled);
            began.elapsed().as_secs()
        };
        assert_eq!(stalled_in(None, "data: {}\n\n").await, 5);
        assert_eq!(stalled_in(Some(50), "").await, 50, "a thought that is silent");
        assert_eq!(stalled_in(Some(50), ": begun\n\n").await, 50);
        assert_eq!(stalled_in(Some(50), "data: {}\n").await, 5, "no thought begins inside an event");
        assert_eq!(stalled_in(Some(2), "").await, 2);
    }
}
