//! Websockets: an upgrade is admitted, identified, assigned and pinned like a first request, and stays with its version
//! for as long as it lives (trap T40).
//!
//! | path | the version is chosen | and put into |
//! |---|---|---|
//! | `/v1/realtime?model=ROUTE` | at the upgrade; the client hears of it when the provider has agreed | `model` of the query, `session.update` |
//! | `/v1/responses` | at the first `response.create`, which names the route | each `response.create` |
//! | any other | not at all: it passes to the provider of its dialect, uncounted | nothing |
//!
//! A response on a socket is a turn ([`dialog`]). What runs beside requests is one task a socket ([`tunnel`]); it holds
//! the key's leave and the connection's place until it is over.

mod connect;
mod dialog;
mod line;
pub(crate) mod query;
mod responses;
mod tunnel;

use crate::answer::{AnswerBody, Refusal};
use crate::gateway::Gateway;
use crate::listen::Slot;
use crate::passthrough::{self, PassedBody, Passing};
use crate::phase::admit::Admitted;
use crate::phase::identify::identify;
use crate::phase::observe::{Exchange, StreamOrBody};
use crate::phase::relay::{Pace, Pipe, tell};
use crate::phase::rewrite::{Outbound, answer_headers};
use crate::upstream::connections::ProviderBody;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::ChatRequest;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::websocket::Protocols;
use connect::{Ask, Met, connect};
use dialog::Dialog;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use line::Line;
use std::sync::Arc;
use tunnel::{Talk, Tunnel};

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");
/// What a key is hashed with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's side of the handshake.
struct Handshake {
    upgrade: OnUpgrade,
    /// The client's place among the connections.
    slot: Option<Arc<Slot>>,
    key: String,
    protocols: Vec<String>,
}

/// Whether these headers ask for a websocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A browser can set no header: its key is among the protocols that it offers. It is shown as any other.
pub(crate) fn show_key(headers: &mut HeaderMap) {
    let shown = headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key");
    let Some(key) = protocols(headers).key.filter(|_| !shown) else { return };
    if let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {key}")) {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
}

fn protocols(headers: &HeaderMap) -> Protocols {
    Protocols::read(headers.get_all(PROTOCOL).iter().filter_map(|value| value.to_str().ok()))
}

/// Answers an upgrade.
pub(crate) async fn open(gateway: &Arc<Gateway>, mut admitted: Admitted) -> Result<Response<AnswerBody>, Refusal> {
    let handshake = Handshake::read(&mut admitted)?;
    if gateway.is_draining() {
        let message = "this gateway is about to end; connect again";
        return Err(Refusal::new(Problem::Overloaded, message).retry_after(1));
    }
    let (path, query) = admitted.path.split_once('?').unwrap_or((&admitted.path, ""));
    if path == Dialect::Responses.path() {
        return Ok(responses::open(gateway, admitted, handshake));
    }
    let model = query::model(query).filter(|_| path == Dialect::Realtime.path());
    match model {
        Some(model) if gateway.tables.load().route(&model).is_some() => {
            realtime(gateway, admitted, handshake, &model).await
        }
        // as of a turn: a model that is no route's is for a default provider that somebody named
        Some(model) if gateway.config.default_provider.is_none() => {
            Err(passthrough::no_route(gateway, &admitted.caller, &model))
        }
        Some(model) => pass(gateway, admitted, handshake, &model).await,
        None => pass(gateway, admitted, handshake, "").await,
    }
}

/// A realtime session of a route.
async fn realtime(
    gateway: &Arc<Gateway>,
    mut admitted: Admitted,
    handshake: Handshake,
    model: &str,
) -> Result<Response<AnswerBody>, Refusal> {
    let snapshot = gateway.tables.load();
    let Some(route) = snapshot.route(model) else {
        return Err(Refusal::new(Problem::NoRoute, "the model names no route"));
    };
    admitted.caller.must_be_let_use(model)?;
    // What a first request would say: the session's settings come later, and name nobody.
    let asked = Bytes::from(serde_json::json!({ "model": model, "stream": true }).to_string());
    let chat = ChatRequest::read_as(Dialect::Realtime, &asked);
    let chat = chat.map_err(|error| Refusal::new(Problem::BadRequest, error.to_string()))?;
    let whose = identify(gateway, route, &chat, &admitted);
    let mut line = Line::begin(gateway, route, &whose, &chat, &mut admitted)?;
    let mut exchange = line.turn(&chat, &asked, admitted.received_at, Some(&whose));
    let outbound = outbound(&mut admitted, Dialect::Realtime);
    let ask = Ask { outbound: &outbound, chat: &chat, protocols: &handshake.protocols, path: &admitted.path };
    let open = match connect(&mut exchange, ask).await {
        Met::Open(open) => open,
        Met::Answered(response, pace) => return Ok(refused(gateway, exchange, response, pace).await),
        Met::Refused(refusal) => {
            let mut response = refusal.into_response(Dialect::Realtime);
            exchange.note_client_status(response.status().as_u16());
            tell(response.headers_mut(), &exchange);
            exchange.end_unanswered();
            gateway.written(gateway.records()).await;
            return Ok(response);
        }
    };
    let mut response = handshake.agree(open.headers);
    tell(response.headers_mut(), &exchange);
    match open.other {
        Some((other, arm)) => {
            exchange.note_client_status(response.status().as_u16());
            exchange.end_unanswered();
            line.goes_on_with(other, arm);
        }
        None => exchange.forget(),
    }
    // what is answered here rests on the pin
    gateway.written(gateway.records()).await;
    let timeouts = line.prepared.pool.timeouts;
    let talk = Talk::Dialog(Box::new(Dialog::realtime(line)));
    tunnel::start(Tunnel::new(gateway, talk, timeouts, handshake.slot), handshake.upgrade, open.io);
    Ok(response)
}

/// The provider's own answer, which is no agreement.
async fn refused(
    gateway: &Arc<Gateway>,
    mut exchange: Exchange,
    answer: Response<ProviderBody>,
    pace: Pace,
) -> Response<AnswerBody> {
    let mut response = piped(gateway, answer, pace, None);
    exchange.note_client_status(response.status().as_u16());
    tell(response.headers_mut(), &exchange);
    exchange.end_unanswered();
    gateway.written(gateway.records()).await;
    response
}

/// An answer that is no agreement, as it comes.
fn piped(
    gateway: &Gateway,
    answer: Response<ProviderBody>,
    pace: Pace,
    passing: Option<Box<Passing>>,
) -> Response<AnswerBody> {
    let (parts, body) = answer.into_parts();
    let body = PassedBody::new(Pipe::new(body, pace, &gateway.end), passing, Dialect::Realtime, StreamOrBody::Body);
    let mut response = Response::new(AnswerBody::Passed(Box::new(body)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = answer_headers(parts.headers);
    response
}

/// A socket that is no route's.
async fn pass(
    gateway: &Arc<Gateway>,
    mut admitted: Admitted,
    handshake: Handshake,
    model: &str,
) -> Result<Response<AnswerBody>, Refusal> {
    admitted.caller.must_be_let_through()?;
    let pool = passthrough::pool_of_nobody(gateway, admitted.dialect, &admitted.caller, model)?;
    let mut passing = passthrough::begin(gateway, &pool, &mut admitted);
    let dialect = admitted.dialect;
    let outbound = outbound(&mut admitted, dialect);
    let (answer, pace) =
        connect::once(&pool, &outbound, &handshake.protocols, &admitted.path).await.map_err(|trouble| {
            passing.refused = true;
            let message = format!("provider '{}' did not answer ({})", pool.name, trouble.as_str());
            Refusal::new(Problem::BadUpstream, message)
        })?;
    passing.status = answer.status().as_u16();
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(piped(gateway, answer, pace, Some(passing)));
    }
    let (parts, io) = connect::switched(answer);
    let response = handshake.agree(parts);
    let tunnel = Tunnel::new(gateway, Talk::Passing(passing), pace.timeouts, handshake.slot);
    tunnel::start(tunnel, handshake.upgrade, io);
    Ok(response)
}

/// What a provider may see of the client's headers; those of the handshake are each side's own.
fn outbound(admitted: &mut Admitted, dialect: Dialect) -> Outbound {
    let mut headers = std::mem::take(&mut admitted.parts.headers);
    for name in [KEY, ACCEPT, VERSION, PROTOCOL, EXTENSIONS] {
        headers.remove(name);
    }
    Outbound::new(Method::GET, headers, Some(dialect))
}

/// What a key is answered with.
fn accepted(key: &[u8]) -> String {
    use base64::Engine as _;
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    base64::engine::general_purpose::STANDARD.encode(context.finish())
}

impl Handshake {
    fn read(admitted: &mut Admitted) -> Result<Self, Refusal> {
        let parts = &mut admitted.parts;
        let bad = |message: &str| Refusal::new(Problem::BadRequest, message);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        if parts.method != Method::GET || parts.version != Version::HTTP_11 {
            return Err(bad("a websocket begins with a GET of HTTP/1.1"));
        }
        let upgrade = upgrade.ok_or_else(|| bad("a websocket begins with `connection: upgrade`"))?;
        if parts.headers.get(VERSION).is_none_or(|version| version.as_bytes() != b"13") {
            return Err(bad("this gateway speaks version 13 of websockets; send `sec-websocket-version: 13`"));
        }
        let key = parts.headers.get(KEY).and_then(|key| key.to_str().ok()).filter(|key| key.len() == 24);
        let key = key.ok_or_else(|| bad("`sec-websocket-key` is missing, or is no key"))?.to_owned();
        let slot = parts.extensions.remove::<Arc<Slot>>();
        Ok(Self { upgrade, slot, key, protocols: protocols(&parts.headers).spoken })
    }

    /// 101, with what the provider says of itself. A browser wants one of the protocols that it offered.
    fn agree(&self, theirs: HeaderMap) -> Response<AnswerBody> {
        let chosen = theirs.get(PROTOCOL).cloned();
        let first = || HeaderValue::from_str(self.protocols.first()?).ok();
        let chosen = chosen.or_else(first);
        let mut response = Response::new(AnswerBody::Whole(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        *headers = answer_headers(theirs);
        for name in [header::CONTENT_LENGTH, header::DATE, EXTENSIONS] {
            headers.remove(name);
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&accepted(self.key.as_bytes())) {
            headers.insert(ACCEPT, accept);
        }
        if let Some(chosen) = chosen {
            headers.insert(PROTOCOL, chosen);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        assert_eq!(accepted(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_among_the_protocols_is_shown_where_no_other_is() {
        let mut headers = HeaderMap::new();
        headers.insert(PROTOCOL, HeaderValue::from_static("realtime, openai-insecure-api-key.k1"));
        show_key(&mut headers);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer k1");
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer own"));
        show_key(&mut headers);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer own");
    }
}
