//! What is said on a socket, and which turns come of it: a response that is asked for, by the client or by somebody who
//! has stopped to speak, up to its end. Events are read beside the stream; of the client's, those that a version stands
//! in are rewritten.

use super::line::Line;
use super::tunnel::{By, Cut};
use crate::phase::observe::{BodyEnd, Contract, Exchange, StreamOrBody};
use bytes::Bytes;
use coalmine_core::tally::{CancelPoint, Ending};
use coalmine_core::time::UnixMs;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{AskUsage, ChatRequest, Fill, ResponseFormat};
use coalmine_wire::realtime::{self, Asks, ClientEvent, Happened, Lately, Reckoning, ServerEvent};
use http::HeaderMap;
use std::borrow::Cow;

/// Turns under way at a time; what comes on top is passed and not counted.
const TURNS_MAX: usize = 32;
/// The settings of a session are kept up to this length, for what they say of the model.
const SETTINGS_MAX_BYTES: usize = 64 << 10;
/// What a close frame says to a client that breaks a rule of ours.
const POLICY: u16 = 1008;

/// The turns of one socket.
#[derive(Debug)]
pub(super) struct Dialog {
    line: Line,
    kind: Kind,
    turns: Vec<Turn>,
}

#[derive(Debug)]
enum Kind {
    Realtime(Realtime),
    Responses,
}

/// A realtime session.
#[derive(Debug)]
struct Realtime {
    /// Its latest settings, as the provider tells them.
    settings: Option<Vec<u8>>,
    /// What was said lately, and which tools there are.
    lately: Lately,
    /// What its next response reads.
    reckoning: Reckoning,
    /// Whether the version's settings have gone out.
    fill: Fill,
    /// Since when an answer is due to somebody who has spoken.
    heard_at: Option<UnixMs>,
    /// What the next turn costs beside its answer; `None`: nobody knows.
    beside_usd: Option<f64>,
}

#[derive(Debug)]
struct Turn {
    exchange: Exchange,
    lane: Option<String>,
    /// The client's event that asked for it.
    asked_by: Option<String>,
    /// Known once it has begun.
    response: Option<String>,
    begun: bool,
    /// The tools that were asked for it alone.
    tools: Option<Bytes>,
}

/// What goes on in the place of a client's message.
#[derive(Debug, Default)]
pub(super) struct Onward {
    /// Before it.
    pub(super) first: Option<Vec<u8>>,
    /// In its place.
    pub(super) instead: Option<Vec<u8>>,
}

impl Dialog {
    pub(super) fn realtime(line: Line) -> Self {
        let realtime = Realtime {
            settings: None,
            lately: Lately::default(),
            reckoning: Reckoning::default(),
            fill: Fill::All,
            heard_at: None,
            beside_usd: Some(0.0),
        };
        Self { line, kind: Kind::Realtime(realtime), turns: Vec::new() }
    }

    pub(super) fn responses(line: Line) -> Self {
        Self { line, kind: Kind::Responses, turns: Vec::new() }
    }

    fn now(&self) -> UnixMs {
        self.line.gateway.clock.now()
    }

    /// A client's message of text is about to go on.
    pub(super) fn of_client(&mut self, message: &[u8]) -> Result<Onward, Cut> {
        // what is no event is the provider's to refuse
        let Ok(event) = ClientEvent::read(message) else { return Ok(Onward::default()) };
        match self.kind {
            Kind::Realtime(_) => self.settings_or_turn(message, &event),
            Kind::Responses if event.asks == Asks::Response => self.response(message, &event),
            Kind::Responses => Ok(Onward::default()),
        }
    }

    fn settings_or_turn(&mut self, message: &[u8], event: &ClientEvent<'_>) -> Result<Onward, Cut> {
        let Kind::Realtime(realtime) = &mut self.kind else { return Ok(Onward::default()) };
        let fill = std::mem::replace(&mut realtime.fill, Fill::Present);
        let patch = self.line.patch();
        let own = || patch.filter(|_| fill == Fill::All).and_then(realtime::own_settings);
        let onward = match event.asks {
            Asks::Settings(at) => {
                let instead = patch.and_then(|patch| realtime::with_version(message, at, patch, fill));
                Onward { first: None, instead }
            }
            Asks::Other | Asks::Hear(_) | Asks::Response => Onward { first: own(), instead: None },
        };
        if let Some(own) = &onward.first {
            realtime.lately.of_client(own);
        }
        match event.asks {
            Asks::Settings(_) => realtime.lately.of_client(onward.instead.as_deref().unwrap_or(message)),
            Asks::Hear(bytes) => realtime.reckoning.sound(bytes),
            Asks::Other => {
                realtime.lately.of_client(message);
                realtime.reckoning.of_client(message);
            }
            Asks::Response => {
                self.line.may_go_on().map_err(|why| Cut::new(POLICY, why))?;
                let now = self.now();
                self.begin_realtime(Some(message), now, event.id.as_deref());
            }
        }
        Ok(onward)
    }

    /// `response.create` of a connection for responses: a request like one over HTTP.
    fn response(&mut self, message: &[u8], event: &ClientEvent<'_>) -> Result<Onward, Cut> {
        let body = Bytes::copy_from_slice(message);
        let Ok(chat) = ChatRequest::read_as(Dialect::Responses, &body) else {
            return Err(Cut::new(POLICY, "`response.create` names no model"));
        };
        if chat.model != self.line.route.name.as_str() {
            let why = format!("this connection is of the route `{}`; open another for another", self.line.route.name);
            return Err(Cut::new(POLICY, why));
        }
        self.line.may_go_on().map_err(|why| Cut::new(POLICY, why))?;
        let exchange = self.line.turn(&chat, &body, self.now(), None);
        Ok(self.take_up(exchange, &chat, event.lane.as_deref()))
    }

    /// A response is asked for, and counted by this exchange.
    pub(super) fn take_up(&mut self, mut exchange: Exchange, chat: &ChatRequest<'_>, lane: Option<&str>) -> Onward {
        let prepared = self.line.prepared.clone();
        // nothing of theirs comes in headers
        exchange.notice(chat, &HeaderMap::new());
        exchange.flight.note_status(101);
        exchange.note_client_status(101);
        let patch = self.line.patch();
        let tools = patch.and_then(|patch| patch.tools_for(chat));
        let contract = Contract { tools, format: chat.response_format() };
        exchange.watch(&prepared, Dialect::Responses, &contract, StreamOrBody::Stream);
        exchange.under_way.went_out();
        let instead = patch.and_then(|patch| patch.apply(chat, AskUsage::Leave).body);
        let lane = lane.map(str::to_owned);
        self.keep(Turn { exchange, lane, asked_by: None, response: None, begun: false, tools: None });
        Onward { first: None, instead }
    }

    /// A response is due, by this event of the client or by somebody who has spoken.
    fn begin_realtime(&mut self, create: Option<&[u8]>, at: UnixMs, asked_by: Option<&str>) {
        let Kind::Realtime(realtime) = &mut self.kind else { return };
        let tools = realtime.lately.tools(create);
        let asked = Bytes::from(realtime.lately.asked(self.line.route.name.as_str(), tools.as_deref()));
        let Ok(chat) = ChatRequest::read_as(Dialect::Realtime, &asked) else { return };
        let mut exchange = self.line.turn(&chat, &asked, at, None);
        exchange.reads(realtime.reckoning.next());
        exchange.costs_beside(realtime.beside_usd.replace(0.0));
        exchange.notice(&chat, &HeaderMap::new());
        exchange.flight.note_status(101);
        exchange.note_client_status(101);
        let own = create.and_then(|create| Lately::default().tools(Some(create))).map(Bytes::from);
        let asked_by = asked_by.map(str::to_owned);
        self.keep(Turn { exchange, lane: None, asked_by, response: None, begun: false, tools: own });
    }

    /// From here on the answer of a realtime turn is read: settings that were on their way when it was asked for hold by now.
    fn watch_realtime(&mut self, at: usize) {
        let Kind::Realtime(realtime) = &self.kind else { return };
        let Some(turn) = self.turns.get_mut(at) else { return };
        let own = turn.tools.take().map(|own| own.to_vec());
        let tools = own.or_else(|| realtime.lately.tools(None)).map(Cow::Owned);
        let contract = Contract { tools, format: ResponseFormat::Text };
        turn.exchange.watch(&self.line.prepared, Dialect::Realtime, &contract, StreamOrBody::Stream);
        if let Some(settings) = &realtime.settings {
            turn.exchange.see_message(settings);
        }
    }

    fn keep(&mut self, turn: Turn) {
        if self.turns.len() < TURNS_MAX {
            self.turns.push(turn);
        } else {
            turn.exchange.forget();
        }
    }

    /// A provider's message of text is about to go on; what rests on it is written when this returns.
    pub(super) fn of_provider(&mut self, message: &[u8]) {
        let Ok(event) = ServerEvent::read(message) else { return };
        if let Kind::Realtime(realtime) = &mut self.kind {
            realtime.reckoning.of_provider(event.what, message);
        }
        match event.what {
            Happened::Other | Happened::Speaks => {}
            Happened::Session => {
                if let Kind::Realtime(realtime) = &mut self.kind
                    && message.len() <= SETTINGS_MAX_BYTES
                {
                    realtime.lately.settings(message);
                    realtime.settings = Some(message.to_vec());
                }
            }
            Happened::Said => {
                if let Kind::Realtime(realtime) = &mut self.kind {
                    realtime.lately.spoke();
                }
            }
            Happened::Heard => {
                let now = self.now();
                if let Kind::Realtime(realtime) = &mut self.kind {
                    realtime.heard_at = Some(now);
                    realtime.lately.spoke();
                }
            }
            Happened::Transcribed => self.transcribed(message),
            Happened::Begun => self.begun(&event, message),
            Happened::Part | Happened::Item => {
                if let (Kind::Realtime(realtime), Happened::Item) = (&mut self.kind, event.what) {
                    realtime.lately.of_provider(message);
                }
                if let Some(at) = self.running(&event) {
                    self.turns[at].exchange.see_message(message);
                }
            }
            Happened::Over | Happened::Interrupted => {
                if let Some(at) = self.running(&event) {
                    self.over(at, &event, message);
                }
            }
            Happened::Refused | Happened::Failed => {
                if let Some(at) = self.meant(&event) {
                    self.over(at, &event, message);
                }
            }
        }
    }

    /// Somebody's words are written down, which another model than the version's is paid for. It costs whichever turn is the newest, or
    /// the next one: that answers them.
    fn transcribed(&mut self, message: &[u8]) {
        let Kind::Realtime(realtime) = &mut self.kind else { return };
        let Some(usage) = realtime::transcribed(message) else { return };
        let model = realtime.settings.as_deref().and_then(realtime::transcriber);
        let cost_usd = self.line.charge_beside(model.as_deref(), &usage);
        if let Some(turn) = self.turns.last_mut() {
            turn.exchange.costs_beside(cost_usd);
        } else {
            realtime.beside_usd = realtime.beside_usd.zip(cost_usd).map(|(before, more)| before + more);
        }
    }

    fn begun(&mut self, event: &ServerEvent<'_>, message: &[u8]) {
        let waits = |turn: &Turn| !turn.begun && turn.lane.as_deref() == event.lane.as_deref();
        let now = self.now();
        let mut at = self.turns.iter().position(waits);
        if let (None, Kind::Realtime(realtime)) = (at, &mut self.kind) {
            // nobody asked but who spoke
            let since = realtime.heard_at.take().unwrap_or(now);
            self.begin_realtime(None, since, None);
            at = self.turns.iter().position(waits);
        }
        if let Some(at) = at {
            self.watch_realtime(at);
        }
        let Some(turn) = at.and_then(|at| self.turns.get_mut(at)) else { return };
        turn.begun = true;
        turn.response = event.response.as_deref().map(str::to_owned);
        turn.exchange.see_message(message);
    }

    /// The turn that is under way and that an event belongs to.
    fn running(&self, event: &ServerEvent<'_>) -> Option<usize> {
        let named = event.response.as_deref();
        let by_name =
            self.turns.iter().position(|turn| turn.begun && named.is_some() && turn.response.as_deref() == named);
        // events of responses name no response, but they come one after the other
        let in_lane = || self.turns.iter().position(|turn| turn.begun && turn.lane.as_deref() == event.lane.as_deref());
        match self.kind {
            Kind::Realtime(_) => by_name,
            Kind::Responses => by_name.or_else(in_lane),
        }
    }

    /// The turn that an error ends, if it ends any.
    fn meant(&self, event: &ServerEvent<'_>) -> Option<usize> {
        let in_lane = |turn: &Turn| turn.lane.as_deref() == event.lane.as_deref();
        match (&self.kind, event.caused_by.as_deref()) {
            (Kind::Responses, _) => self.turns.iter().position(in_lane),
            (Kind::Realtime(_), Some(id)) => self.turns.iter().position(|turn| turn.asked_by.as_deref() == Some(id)),
            (Kind::Realtime(_), None) => self.turns.iter().position(|turn| !turn.begun && turn.asked_by.is_none()),
        }
    }

    fn over(&mut self, at: usize, event: &ServerEvent<'_>, message: &[u8]) {
        if self.turns.get(at).is_some_and(|turn| !turn.begun) {
            self.watch_realtime(at);
        }
        let mut exchange = self.turns.remove(at).exchange;
        exchange.see_message(message);
        match event.what {
            Happened::Interrupted => {
                let begun = exchange.content_begun();
                let point = if begun { CancelPoint::MidAnswer } else { CancelPoint::BeforeFirstByte };
                exchange.decide(Ending::Cancelled(point));
            }
            Happened::Refused => exchange.decide(Ending::ClientError),
            Happened::Failed
            | Happened::Over
            | Happened::Session
            | Happened::Speaks
            | Happened::Heard
            | Happened::Said
            | Happened::Transcribed
            | Happened::Begun
            | Happened::Part
            | Happened::Item
            | Happened::Other => {}
        }
        exchange.body_ended(BodyEnd::Whole);
        drop(exchange);
        // what has landed is written before its last bytes leave
        let gateway = &self.line.gateway;
        gateway.write(gateway.records());
    }

    /// Whether no response is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether a connection like this may end between two turns: what comes next is asked on another.
    pub(super) fn may_end_when_idle(&self) -> bool {
        match self.kind {
            Kind::Realtime(_) => false,
            Kind::Responses => true,
        }
    }

    /// The socket is over, and this is what becomes of the turns that were not.
    pub(super) fn end(&mut self, by: By) {
        for mut turn in self.turns.drain(..) {
            match by {
                // dropped: it left
                By::Client => {}
                By::Provider => _ = turn.exchange.body_ended(BodyEnd::Broken),
                By::Gateway => {
                    turn.exchange.decide(Ending::GatewayError);
                    _ = turn.exchange.body_ended(BodyEnd::Broken);
                }
            }
        }
    }
}
