//! Observe: reads the answer beside the stream, and says in the end what became of the request and by
//! whose fault. Whatever happens to a request, it lands here exactly once: an exchange that is dropped
//! was given up by the client.

mod contents;
pub(crate) mod spent;

use crate::admission::Holder;
use crate::admission::permit::Permit;
use crate::config::AnswerHeaders;
use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::judged::{Kept, Whose};
use crate::names::said;
use crate::phase::hedge::Hedged;
use crate::phase::notice::{Watched, notice};
use crate::ports::Wanted;
use crate::request_id::RequestId;
use crate::table::{Prepared, Route};
use crate::tally::{Departure, Flight};
use crate::telemetry::finished::Finished;
use crate::telemetry::trace::Trace;
use crate::upstream::choice::Going;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use coalmine_core::capture::is_drawn;
use coalmine_core::id::{CustomerId, UnitKey};
use coalmine_core::origin::{Origin, Transport};
use coalmine_core::tally::{
    AnsweredAs, CancelPoint, Cause, Check, Detected, Ending, Opening, Outcome, Presence, ServedBy, Usage,
};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::assign::{Assignment, Identity};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_core::traffic::table::Exposed;
use coalmine_core::version::VersionId;
use coalmine_wire::conversation::{ConversationHash, ResponseKey, Trail};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{
    ChatRequest, Detect, Ending as AnswerEnding, Expect, Finish, KeepText, Observer, Progress, ResponseFormat, Seen,
};
use coalmine_wire::outcome::{SchemaChecker, Validity};
use coalmine_wire::realtime::Reckoned;
use coalmine_wire::usage::estimate;
use contents::Contents;
use http::HeaderMap;
use spent::used;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(crate) use spent::{Counted, Used};

/// One request from its assignment to its end.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) route: Arc<Route>,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) arm: Arm,
    pub(crate) request_id: Option<String>,
    reason: &'static str,
    dialect: Dialect,
    pub(crate) holder: Arc<Holder>,
    client: IpAddr,
    trace: Option<Trace>,
    unit: Option<UnitKey>,
    trail: Option<Trail>,
    /// Until the answer's id is known and kept.
    responses: Option<ResponseKey>,
    /// Whose answer is read.
    answering: VersionId,
    watch: Watch,
    /// Decided before the answer's end, by its status.
    verdict: Option<Ending>,
    schema: SchemaAsked,
    /// What the answer is held against, besides its own contract.
    detect: Detect,
    client_status: u16,
    /// What its request is taken for, where nobody counts it.
    asked: Reckoned,
    /// What it costs beside its answer; `None`: nobody knows.
    beside_usd: Option<f64>,
    contents: Contents,
    permit: Option<Permit>,
    /// What it is charged to besides: the leave of its socket.
    line: Option<Arc<Permit>>,
    hedge: Hedged,
    /// Who works on it.
    pub(crate) under_way: UnderWay,
    /// Where the answer is to be judged or captured.
    kept: Option<Box<Kept>>,
    side: Side,
    /// Where the request has a twin: told what became of it.
    pair: Option<Twin>,
    landed: bool,
}

/// Whoever is told what became of a request that has a twin.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) tell: oneshot::Sender<Told>,
    /// Whether the answer's text is told too: somebody will read both.
    pub(crate) text: KeepText,
}

/// What became of one of two.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    /// The answer, where it is read, whole, and the version's own.
    pub(crate) text: Option<String>,
}

/// For whom a version is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// For a client, who gets the answer.
    Served,
    /// For nobody: a copy. Nothing but its twin learns of it.
    Shadow,
}

impl Side {
    fn depart(self, gateway: &Gateway, departure: Departure) -> Arc<Flight> {
        match self {
            Self::Served => gateway.tally.depart(departure),
            Self::Shadow => gateway.tally.aside(departure),
        }
    }
}

/// Who reads the answer.
#[derive(Debug)]
enum Watch {
    /// Nobody: an error answer, or one that is encoded.
    Nobody,
    /// The observer.
    Reading(Box<Observer>),
    /// It has read all.
    Read(Box<Seen>),
}

/// What was read of an answer while another version is asked.
#[derive(Debug)]
pub(crate) struct SetAside {
    watch: Watch,
    contents: Contents,
}

/// Whether the request asks for a JSON answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SchemaAsked {
    Yes,
    No,
}

/// What the answer has to keep to.
#[derive(Debug)]
pub(crate) struct Contract<'a> {
    /// The tools that the provider was given.
    pub(crate) tools: Option<Cow<'a, [u8]>>,
    /// What its text has to be.
    pub(crate) format: ResponseFormat<'a>,
}

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// With its end.
    Whole,
    /// It broke, or stalled for too long.
    Broken,
}

/// Whether an answer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did, as its dialect wants it, or by saying that it failed.
    InTime,
    /// It broke, stalled, or lacks what ends it.
    CutShort,
}

/// What a request is, for its exchange.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    pub(crate) route: &'a Arc<Route>,
    pub(crate) prepared: &'a Arc<Prepared>,
    pub(crate) identity: Identity,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) trail: Option<Trail>,
    pub(crate) responses: Option<ResponseKey>,
    pub(crate) assignment: Assignment,
    pub(crate) started_at: UnixMs,
    pub(crate) permit: Option<Permit>,
    /// Where it is a turn of a socket, which has leave for all of them.
    pub(crate) line: Option<Arc<Permit>>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) client: IpAddr,
    pub(crate) trace: Option<Trace>,
    pub(crate) body: &'a Bytes,
}

impl Exchange {
    /// The request sets out.
    pub(crate) fn begin(gateway: &Arc<Gateway>, chat: &ChatRequest<'_>, begun: Begun<'_>) -> Self {
        gateway.metrics.active.up();
        Self::set_out(gateway, chat, begun, Side::Served)
    }

    /// A copy sets out, of which only `pair` is told.
    pub(crate) fn aside(gateway: &Arc<Gateway>, chat: &ChatRequest<'_>, begun: Begun<'_>, pair: Twin) -> Self {
        let mut copy = Self::set_out(gateway, chat, begun, Side::Shadow);
        copy.pair = Some(pair);
        copy
    }

    fn set_out(gateway: &Arc<Gateway>, chat: &ChatRequest<'_>, begun: Begun<'_>, side: Side) -> Self {
        let Begun {
            route,
            prepared,
            identity,
            customer,
            trail,
            responses,
            assignment,
            started_at,
            permit,
            line,
            body,
            ..
        } = begun;
        let unit = match identity {
            Identity::Session(unit) => Some(unit),
            Identity::Nobody => None,
        };
        let release = route.table.release.as_ref().filter(|_| assignment.member.is_some());
        let judged_after = release.map_or(gateway.config.judged_after, |release| release.judged_after);
        let tools_declared = if prepared.declares_tools(chat) { Presence::Present } else { Presence::Absent };
        let transport = if chat.stream { Transport::Stream } else { Transport::Body };
        let kept = kept(gateway, route, unit, &assignment, chat, body, started_at);
        let departure = Departure {
            route: route.name.clone(),
            unit,
            customer,
            version: prepared.id,
            member: assignment.member,
            origin: Origin { transport, region: gateway.config.region.clone() },
            started_at,
            judged_after,
            tools_declared,
        };
        let flight = side.depart(gateway, departure);
        Self {
            gateway: gateway.clone(),
            route: route.clone(),
            prepared: prepared.clone(),
            request_id: if side == Side::Served { request_id(gateway, &flight) } else { None },
            flight,
            arm: assignment.arm,
            reason: assignment.reason.as_str(),
            dialect: chat.dialect,
            holder: begun.holder,
            client: begun.client,
            trace: begun.trace,
            unit,
            trail,
            responses,
            answering: prepared.id,
            watch: Watch::Nobody,
            verdict: None,
            schema: SchemaAsked::No,
            detect: Detect::Off,
            client_status: 0,
            asked: asked(chat, body),
            beside_usd: Some(0.0),
            contents: Contents::default(),
            permit,
            line,
            hedge: Hedged::No,
            under_way: UnderWay::default(),
            kept,
            side,
            pair: None,
            landed: false,
        }
    }

    /// What the request says of the turns before it is noted, and the answer will be held against it.
    pub(crate) fn notice<'a>(&mut self, chat: &ChatRequest<'_>, headers: impl Into<Headers<'a>>) {
        let watched = if self.pair.is_some() { Watched::Paired } else { Watched::InReleases };
        self.detect = notice(&self.gateway, &self.flight, chat, headers.into(), self.flight.started_at, watched);
    }

    /// Its copy is told what becomes of it.
    pub(crate) fn tell_pair(&mut self, pair: Twin) {
        self.pair = Some(pair);
    }

    /// Where its attempts go: those of a copy leave no mark on the addresses.
    pub(crate) fn going(&self) -> Going {
        match self.side {
            Side::Served => Going::of(self.unit),
            Side::Shadow => Going::aside(self.unit),
        }
    }

    /// Says in headers how much the caller has left, where that is bounded.
    pub(crate) fn tell_quota(&self, headers: &mut HeaderMap) {
        if let Some(permit) = &self.permit {
            permit.tell(headers, || self.gateway.clock.now());
        }
    }

    /// The unit as shown to the client.
    pub(crate) fn unit(&self) -> Option<UnitKey> {
        self.unit
    }

    /// From here on this version is asked.
    pub(crate) fn ask(&mut self, version: VersionId) {
        self.answering = version;
    }

    /// An answer of status 2xx begins: somebody reads it. `prepared` is whose answer it is, `dialect` what it
    /// is written in.
    pub(crate) fn watch(&mut self, prepared: &Prepared, dialect: Dialect, asked: &Contract<'_>, stream: StreamOrBody) {
        self.answering = prepared.id;
        let tools = asked.tools.as_ref().map(|tools| self.gateway.checkers.tools(tools));
        let schema = self.gateway.checkers.schema(asked.format);
        self.schema = if schema.is_some() { SchemaAsked::Yes } else { SchemaAsked::No };
        let conversation = self.trail.clone().map(Trail::answering);
        let stream = stream == StreamOrBody::Stream;
        let by_twin = self.pair.as_ref().map_or(KeepText::No, |twin| twin.text);
        let text = if self.kept.is_some() { KeepText::Yes } else { by_twin };
        let detect = std::mem::take(&mut self.detect);
        let expect = Expect { dialect, stream, tools, schema, conversation, detect, text };
        self.watch = Watch::Reading(Box::new(Observer::new(expect)));
    }

    /// No answer is read any more (the canary's gives way to stable's).
    pub(crate) fn look_away(&mut self) {
        self.watch = Watch::Nobody;
        self.contents = Contents::default();
    }

    /// Another version is asked: what was read of this one's answer is kept for when that fails too.
    pub(crate) fn set_aside(&mut self) -> SetAside {
        SetAside {
            watch: std::mem::replace(&mut self.watch, Watch::Nobody),
            contents: std::mem::take(&mut self.contents),
        }
    }

    /// The other version failed too: nothing that it said is of this turn.
    pub(crate) fn take_up(&mut self, SetAside { watch, contents }: SetAside) {
        (self.watch, self.contents) = (watch, contents);
    }

    /// A second address was asked, or was not.
    pub(crate) fn note_hedge(&mut self, hedge: Hedged) {
        if hedge != Hedged::No {
            self.hedge = hedge;
        }
    }

    /// The status that the client sees.
    pub(crate) fn note_client_status(&mut self, status: u16) {
        self.client_status = status;
    }

    /// The version failed, whoever answers in the end.
    pub(crate) fn fail(&mut self, cause: Cause) {
        self.flight.note_failure(cause, self.gateway.clock.now());
        self.verdict = Some(Ending::Failed(cause));
    }

    /// How the request will have ended, whatever the rest of its answer is.
    pub(crate) fn decide(&mut self, ending: Ending) {
        self.verdict = Some(ending);
    }

    /// Whether nothing has been said yet of how the request will have ended.
    pub(crate) fn is_undecided(&self) -> bool {
        self.verdict.is_none()
    }

    /// The next piece of the answer, and what it brought.
    pub(crate) fn see(&mut self, piece: &[u8]) -> Progress {
        let progress = match &mut self.watch {
            Watch::Reading(observer) => observer.feed(piece),
            Watch::Nobody | Watch::Read(_) if piece.is_empty() => return Progress::Nothing,
            Watch::Nobody | Watch::Read(_) => Progress::Content,
        };
        self.seen(progress);
        progress
    }

    /// Whether the answer says that something is done of which no word may come for long.
    pub(crate) fn works_unseen(&self) -> bool {
        matches!(&self.watch, Watch::Reading(observer) if observer.works_unseen())
    }

    /// An event of the answer, that came by itself.
    pub(crate) fn see_message(&mut self, event: &[u8]) {
        let Watch::Reading(observer) = &mut self.watch else { return };
        let progress = observer.feed_message(event);
        self.seen(progress);
    }

    fn seen(&mut self, progress: Progress) {
        if let (Some(keys), Watch::Reading(observer)) = (&self.responses, &self.watch)
            && let Some(id) = observer.response_id()
        {
            // At once: the client may go on from it before the last byte has come.
            let hash = keys.of(id);
            self.responses = None;
            self.remember(Some(hash), self.answering, self.gateway.clock.now());
            self.gateway.conversations.write();
        }
        if progress != Progress::Content {
            return;
        }
        let now = self.gateway.clock.now();
        if self.contents.came(now) {
            // the words of an error are no content
            if self.verdict.is_none() || matches!(self.watch, Watch::Reading(_)) {
                self.flight.note_content(now);
            }
        }
    }

    /// Whether the answer is read as a stream of events, to be passed on as one.
    pub(crate) fn reads_events(&self) -> bool {
        match &self.watch {
            Watch::Reading(observer) => observer.is_stream(),
            Watch::Nobody | Watch::Read(_) => false,
        }
    }

    /// Whether the answer itself has begun, with or without content.
    pub(crate) fn answer_begun(&self) -> bool {
        matches!(&self.watch, Watch::Reading(observer) if observer.has_begun())
    }

    /// Whether anything that a person would see has come.
    pub(crate) fn content_begun(&self) -> bool {
        self.contents.begun()
    }

    /// The whole body has been seen: why it is a failure of the version, if it is one.
    pub(crate) fn failure_in_band(&mut self) -> Option<Cause> {
        if let Watch::Reading(_) = self.watch
            && let Watch::Reading(observer) = std::mem::replace(&mut self.watch, Watch::Nobody)
        {
            self.contents.next_number = observer.next_number();
            self.watch = Watch::Read(Box::new(observer.finish()));
        }
        match &self.watch {
            Watch::Read(seen) => match seen.ending {
                AnswerEnding::Whole | AnswerEnding::Unseen => None,
                AnswerEnding::Truncated => Some(Cause::Broken),
                AnswerEnding::Failed => Some(Cause::InBand),
                AnswerEnding::Unreadable => Some(Cause::Malformed),
            },
            Watch::Nobody | Watch::Reading(_) => None,
        }
    }

    /// Lands it where the answer says that it is over, whether its body has ended or not: the client may go on from it
    /// at once. Whether it did.
    pub(crate) fn land_when_done(&mut self) -> bool {
        let done = !self.landed && matches!(&self.watch, Watch::Reading(observer) if observer.is_done());
        if done {
            self.body_ended(BodyEnd::Whole);
        }
        done
    }

    /// Whether the answer has said all and its dialect's last word has not come.
    pub(crate) fn lacks_end(&self) -> bool {
        match &self.watch {
            Watch::Reading(observer) => observer.lacks_end(),
            Watch::Read(seen) => !seen.done && seen.ending == AnswerEnding::Whole,
            Watch::Nobody => false,
        }
    }

    /// What the next event of the answer would be numbered, where its dialect numbers them.
    pub(crate) fn next_number(&self) -> u64 {
        match &self.watch {
            Watch::Reading(observer) => observer.next_number(),
            Watch::Nobody | Watch::Read(_) => self.contents.next_number,
        }
    }

    /// In which it was asked.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The answer's body ended: the request lands, unless it has. What that was for whoever sent it.
    pub(crate) fn body_ended(&mut self, end: BodyEnd) -> Ended {
        if self.landed {
            return Ended::InTime;
        }
        let in_band = self.failure_in_band();
        // what could not be looked at may have been the end
        let unsure = matches!(&self.watch, Watch::Read(seen) if seen.overflowed_events > 0);
        let ending = match (self.verdict, end, in_band) {
            (Some(verdict), ..) => verdict,
            (None, BodyEnd::Broken, _) => Ending::Failed(Cause::Broken),
            (None, BodyEnd::Whole, Some(cause)) => Ending::Failed(cause),
            (None, BodyEnd::Whole, None) => Ending::Complete,
        };
        self.land(ending, None);
        let cut = end == BodyEnd::Broken || in_band == Some(Cause::Broken) && !unsure;
        if cut { Ended::CutShort } else { Ended::InTime }
    }

    /// The request ends without a provider's answer: by the version's fault, or else by the gateway's.
    pub(crate) fn end_unanswered(&mut self) {
        self.land(self.verdict.unwrap_or(Ending::GatewayError), None);
    }

    /// Whether it is over for whoever counts it, though its body may not be.
    pub(crate) fn has_landed(&self) -> bool {
        self.landed
    }

    /// It was no request after all: nobody hears of it.
    pub(crate) fn forget(mut self) {
        self.landed = true;
        self.gateway.tally.forget(&self.flight);
        self.gateway.metrics.active.down();
    }

    /// `unheard`: what it used, where no answer is read that could say so.
    fn land(&mut self, ending: Ending, unheard: Option<Used>) {
        if std::mem::replace(&mut self.landed, true) {
            return;
        }
        let now = self.gateway.clock.now();
        let mut outcome = self.flight.outcome(ending, now);
        #[expect(clippy::cast_precision_loss, reason = "a gap is far below 2^53 ms")]
        let gap_max_ms = self.contents.gap_max_ms.map(|gap| gap as f64);
        outcome.gap_max_ms = gap_max_ms;
        let (mut text, mut noted, mut counted) = (None, None, Counted::Told);
        if let Some(used) = unheard {
            let (now_usd, price) = self.prices(&used.usage);
            self.charge(Some(&used.usage), now_usd, now);
            if self.is_own() {
                (noted, counted) = (Some((used.usage, price)), used.counted);
            }
        }
        if let Watch::Read(mut seen) = std::mem::replace(&mut self.watch, Watch::Nobody) {
            let named = self.responses.zip(seen.response_id.as_deref()).map(|(keys, id)| keys.of(id));
            self.remember(named, self.answering, now);
            self.remember(seen.conversation, self.prepared.id, now);
            let left = matches!(ending, Ending::Cancelled(_));
            let cut = seen.ending == AnswerEnding::Truncated || left && seen.usage.is_none();
            let read = self.contents.begun() || left && self.under_way.count() > 0;
            let used = used(&seen, Some(self.asked).filter(|_| cut && read));
            let (now_usd, price) = used.as_ref().map_or((None, None), |used| self.prices(&used.usage));
            self.charge(used.as_ref().map(|used| &used.usage), now_usd, now);
            counted = used.map_or(Counted::Told, |used| used.counted);
            let own = outcome.served_by != ServedBy::Rescue;
            let apart = used.filter(|used| own && (left || used.counted == Counted::Estimated));
            noted = apart.map(|used| (used.usage, price));
            let price = price.filter(|_| seen.usage.is_some());
            match outcome.served_by {
                // what the client did not wait for says nothing of its version
                _ if left => {}
                ServedBy::Assigned => {
                    self.describe(&mut outcome, &seen, price);
                    if let Some((unit, member)) = self.unit.zip(self.flight.member.as_ref()) {
                        self.gateway.callers.note(unit, &seen.calls, member);
                    }
                    let is_read = self.pair.as_ref().is_some_and(|twin| twin.text == KeepText::Yes);
                    text = seen.text.as_ref().filter(|_| is_read && ending == Ending::Complete).cloned();
                    self.hand_over(ending, &mut seen);
                }
                // What it used is the version's to pay; what it said is another's.
                ServedBy::Fallback => outcome.cost_usd = price,
                ServedBy::Rescue => {}
            }
        }
        if let Some(pair) = self.pair.take() {
            let _ = pair.tell.send(Told { outcome: outcome.clone(), text });
        }
        if self.side == Side::Shadow {
            return;
        }
        if let Some(mut permit) = self.permit.take().filter(|_| self.contents.begun()) {
            permit.note_answered();
        }
        self.gateway.metrics.active.down();
        // what was paid for is told, and is no evidence where the provider did not count it or the client did not wait
        let noted = noted.map(|(usage, cost_usd)| Outcome { usage: tokens(&usage), cost_usd, ..outcome.clone() });
        let noted = noted.as_ref().unwrap_or(&outcome);
        self.prepared.series(self.arm).note(noted, counted, self.trace.as_ref(), now);
        if self.gateway.telemetry.is_heard() {
            self.tell(noted, counted, now);
        }
        self.gateway.tally.land(&self.flight, outcome, now);
    }

    /// To whoever wants it, where the session is drawn and the version itself has answered to the end.
    fn hand_over(&mut self, ending: Ending, seen: &mut Seen) {
        if let Some((kept, answer)) = self.kept.take().filter(|_| ending == Ending::Complete).zip(seen.text.take()) {
            self.gateway.judged.send(*kept, answer, self.flight.turn_number(), self.request_id.clone());
        }
    }

    /// What the answer says of itself, when it is the assigned version's own.
    fn describe(&self, outcome: &mut Outcome, seen: &Seen, price: Option<f64>) {
        let name = |name: &Option<String>| name.as_deref().map(said);
        outcome.answered_as = AnsweredAs {
            model: name(&seen.model),
            fingerprint: name(&seen.system_fingerprint),
            tier: name(&seen.service_tier),
        };
        if let Some(usage) = seen.usage {
            outcome.usage = tokens(&usage);
            outcome.cost_usd = price;
        }
        if seen.ending == AnswerEnding::Unseen {
            return;
        }
        let cut = seen.ending == AnswerEnding::Truncated || seen.finishes.contains(&Some(Finish::Length));
        outcome.truncated = check(cut);
        if outcome.ending != Ending::Complete {
            return;
        }
        outcome.refusal = check(seen.refusal.is_some());
        outcome.empty = check(seen.empty);
        match seen.tools {
            Validity::Valid => outcome.tool_calls = seen.tool_calls,
            Validity::Invalid(_) => (outcome.tool_calls, outcome.tool_calls_bad) = (seen.tool_calls.max(1), 1),
            Validity::NotChecked | Validity::Unknown => {}
        }
        outcome.schema_broken = match (seen.schema, self.schema) {
            (Validity::Valid, _) => Check::No,
            (Validity::Invalid(_), _) => Check::Yes,
            (_, SchemaAsked::No) => Check::NotApplicable,
            (Validity::NotChecked | Validity::Unknown, SchemaAsked::Yes) => Check::Unknown,
        };
        if let Some(found) = seen.detected {
            let json = self.schema == SchemaAsked::Yes;
            outcome.detected = Detected {
                fenced_json: if json { check(found.fenced) } else { Check::NotApplicable },
                repeated_call: check(found.repeated_call),
                repetition: if json { Check::NotApplicable } else { check(found.repetition) },
                other_language: found.other_language.filter(|_| !json).map_or(Check::NotApplicable, check),
                chars: (seen.tool_calls == 0).then_some(found.chars),
            };
            let opening = seen.opening.as_ref().filter(|_| !json);
            outcome.opening = opening.map(|opening| Opening { key: opening.key, words: opening.words.as_str().into() });
        }
    }

    /// The next request of this conversation will be found by its content, or by the response that it names.
    fn remember(&self, conversation: Option<ConversationHash>, answered_by: VersionId, now: UnixMs) {
        if let (Some(hash), Some(unit)) = (conversation, self.unit) {
            self.gateway.conversations.keep(hash, unit, answered_by, now);
        }
    }

    /// To whoever hears of requests beside.
    fn tell(&mut self, outcome: &Outcome, counted: Counted, now: UnixMs) {
        self.gateway.telemetry.note(Finished {
            flight: self.flight.clone(),
            prepared: self.prepared.clone(),
            holder: self.holder.clone(),
            client: self.client,
            trace: self.trace,
            dialect: self.dialect,
            arm: self.arm,
            table: self.route.table.generation,
            reason: self.reason,
            client_status: self.client_status,
            outcome: outcome.clone(),
            counted,
            hedged: self.hedge != Hedged::No,
            request_id: self.request_id.take(),
            ended_at: now,
        });
    }
}

/// The client left: hyper drops whatever was going on for it, and with it the request upstream.
impl Drop for Exchange {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let ending = match self.verdict {
            Some(verdict) => verdict,
            None if self.gateway.end.is_over() => Ending::GatewayError,
            None if self.contents.begun() => Ending::Cancelled(CancelPoint::MidAnswer),
            None => Ending::Cancelled(CancelPoint::BeforeFirstByte),
        };
        // what has come until then was paid for, and is charged
        self.failure_in_band();
        let unheard = self.unheard();
        self.land(ending, unheard);
    }
}

/// What a request is taken for; what is asked of a realtime session is not in the body that stands for it.
fn asked(chat: &ChatRequest<'_>, body: &[u8]) -> Reckoned {
    if chat.dialect == Dialect::Realtime { Reckoned::default() } else { spent::by_length(estimate(body)) }
}

/// Tokens as evidence and telemetry have them.
pub(crate) fn tokens(usage: &coalmine_wire::usage::Usage) -> Usage {
    Usage {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cached: usage.cached_tokens,
        reasoning: usage.reasoning_tokens,
    }
}

/// What whoever wants the answer will need of it, where its session is drawn.
fn kept(
    gateway: &Gateway,
    route: &Route,
    unit: Option<UnitKey>,
    assignment: &Assignment,
    chat: &ChatRequest<'_>,
    body: &Bytes,
    started_at: UnixMs,
) -> Option<Box<Kept>> {
    // what is asked of a realtime session is not in its upgrade
    let is_read = chat.dialect != Dialect::Realtime && gateway.judged.is_open();
    let unit = unit.filter(|_| is_read)?;
    let of = match (&route.table.release, &assignment.member) {
        (Some(release), Some(member)) => {
            let wanted = wanted(route, release, unit, member, started_at)?;
            Whose::Compared { member: member.clone(), wanted }
        }
        (Some(_), None) => return None,
        (None, _) => {
            let drawn = is_drawn(route.settings.capture, &route.name, unit);
            drawn.then(|| Whose::Steady { route: route.name.clone(), version: assignment.version })?
        }
    };
    Some(Box::new(Kept { body: body.clone(), dialect: chat.dialect, unit, started_at, of }))
}

fn request_id(gateway: &Gateway, flight: &Flight) -> Option<String> {
    if gateway.config.answer_headers == AnswerHeaders::Off {
        return None;
    }
    let id = RequestId {
        route: flight.route.clone(),
        unit: flight.unit,
        member: flight.member.clone(),
        turn: flight.turn_number(),
    };
    Some(id.seal(&gateway.keys.request_id))
}

/// Who wants the answer to this request, by its session alone.
fn wanted(route: &Route, release: &Exposed, unit: UnitKey, member: &Membership, started_at: UnixMs) -> Option<Wanted> {
    let compared = match member.arm {
        Arm::Control | Arm::Canary => true,
        Arm::Stable => false,
    };
    let captured = compared && *member.release == *release.id && is_drawn(route.settings.capture, &route.name, unit);
    Wanted::of(release.is_judged(unit, member, started_at), captured)
}

/// How an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamOrBody {
    /// As server-sent events.
    Stream,
    /// As one body.
    Body,
}

fn check(is_so: bool) -> Check {
    if is_so { Check::Yes } else { Check::No }
}

/// A schema that is asked for, as the checkers hand it out.
pub(crate) type Schema = Arc<SchemaChecker>;
