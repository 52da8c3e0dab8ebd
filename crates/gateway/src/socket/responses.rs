//! Responses over a websocket: which route it is the first `response.create` says, so the client's side agrees before
//! anybody else is asked. What is refused then is told as an event, in the words of the same refusal over HTTP.

use super::connect::{Ask, Met, connect};
use super::dialog::Dialog;
use super::line::Line;
use super::tunnel::{By, Counted, Cut, First, Said, Talk, Tunnel, cut_at_drain, first, say_last};
use super::{Handshake, outbound};
use crate::answer::{AnswerBody, Refusal};
use crate::gateway::Gateway;
use crate::listen::Slot;
use crate::phase::admit::Admitted;
use crate::phase::identify::identify;
use crate::upstream::connections::ProviderBody;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::json;
use coalmine_wire::openai::ChatRequest;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::realtime::ClientEvent;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// The longest error of a provider that is told on.
const ERROR_MAX_BYTES: usize = 64 << 10;
/// So long a client may wait with its first message.
const WAIT_MAX: Duration = Duration::from_mins(5);
const POLICY: u16 = 1008;
const GOING_AWAY: u16 = 1001;

/// Why a socket ends before it has a provider.
struct Ended {
    /// An event that says why.
    event: Option<Vec<u8>>,
    cut: Cut,
}

impl From<Cut> for Ended {
    fn from(cut: Cut) -> Self {
        Self { event: None, cut }
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        let (status, body) = refusal.told(Dialect::Responses);
        Self { event: Some(event(status, json::member(&body, "error"))), cut: Cut::new(POLICY, "refused") }
    }
}

/// An error as an event.
fn event(status: u16, error: Option<&[u8]>) -> Vec<u8> {
    let head = format!("{{\"type\":\"error\",\"status\":{status},\"error\":");
    [head.as_bytes(), error.unwrap_or(b"null"), b"}"].concat()
}

/// Agrees with the client; the rest goes on beside.
pub(super) fn open(gateway: &Arc<Gateway>, admitted: Admitted, handshake: Handshake) -> Response<AnswerBody> {
    let response = handshake.agree(HeaderMap::new());
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let Handshake { upgrade, slot, protocols, .. } = handshake;
        if let Ok(client) = upgrade.await {
            Box::pin(serve(&gateway, admitted, slot, &protocols, TokioIo::new(client))).await;
        }
    });
    response
}

async fn serve(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    slot: Option<Arc<Slot>>,
    protocols: &[String],
    mut client: TokioIo<Upgraded>,
) {
    let counted = Counted::new(gateway);
    let until = Instant::now() + WAIT_MAX;
    let said = tokio::select! {
        said = first(&mut client, gateway) => said,
        cut = cut_at_drain(gateway, || true) => Err(cut),
        () = sleep_until(until) => Err(Cut::new(GOING_AWAY, "nothing was asked for too long; connect again")),
    };
    let ended = match said {
        Ok(None) => return,
        Err(cut) => cut.into(),
        Ok(Some(said)) => match begin(gateway, admitted, slot, protocols, said).await {
            Ok((tunnel, provider, said)) => {
                drop(counted);
                return tunnel.run(client, provider, said).await;
            }
            Err(ended) => ended,
        },
    };
    gateway.metrics.sockets_cut.add(1);
    say_last(&mut client, ended.event.as_deref(), &ended.cut).await;
}

/// From the first message to a provider that has agreed.
async fn begin(
    gateway: &Arc<Gateway>,
    mut admitted: Admitted,
    slot: Option<Arc<Slot>>,
    protocols: &[String],
    said: First,
) -> Result<(Tunnel, TokioIo<Upgraded>, Said), Ended> {
    let First { messages, reader } = said;
    let mut messages = messages.into_iter();
    let body = Bytes::from(messages.next().unwrap_or_default());
    admitted.received_at = gateway.clock.now();
    let chat = ChatRequest::read_as(Dialect::Responses, &body);
    let chat = chat.map_err(|error| Refusal::new(Problem::BadRequest, error.to_string()))?;
    let snapshot = gateway.tables.load();
    let Some(route) = snapshot.route(&chat.model) else {
        let model: String = chat.model.chars().take(100).collect();
        return Err(Refusal::new(Problem::NoRoute, format!("the model `{model}` names no route"))
            .about("model")
            .into());
    };
    admitted.caller.must_be_let_use(&chat.model)?;
    let whose = identify(gateway, route, &chat, &admitted);
    let mut line = Line::begin(gateway, route, &whose, &chat, &mut admitted)?;
    let mut exchange = line.turn(&chat, &body, admitted.received_at, Some(&whose));
    let outbound = outbound(&mut admitted, Dialect::Responses);
    let ask = Ask { outbound: &outbound, chat: &chat, protocols, path: &admitted.path };
    let open = match connect(&mut exchange, ask).await {
        Met::Open(open) => open,
        Met::Answered(answer, _) => {
            let status = answer.status().as_u16();
            exchange.note_client_status(status);
            exchange.end_unanswered();
            return Err(answered(status, answer).await);
        }
        Met::Refused(refusal) => {
            exchange.end_unanswered();
            return Err(refusal.into());
        }
    };
    if let Some((other, arm)) = open.other {
        exchange.end_unanswered();
        line.goes_on_with(other, arm);
        exchange = line.turn(&chat, &body, admitted.received_at, Some(&whose));
    }
    let Ok(provider) = open.io.await else {
        exchange.decide(coalmine_core::tally::Ending::Failed(coalmine_core::tally::Cause::Broken));
        exchange.end_unanswered();
        return Err(Refusal::new(Problem::BadUpstream, "the provider broke off as it agreed").into());
    };
    let timeouts = line.prepared.pool.timeouts;
    let mut dialog = Dialog::responses(line);
    let mut ready = Vec::new();
    let lane = ClientEvent::read(&body).ok().and_then(|event| event.lane.map(std::borrow::Cow::into_owned));
    dialog.take_up(exchange, &chat, lane.as_deref()).write(&body, &mut ready);
    for message in messages {
        match dialog.of_client(&message) {
            Ok(onward) => onward.write(&message, &mut ready),
            Err(cut) => {
                dialog.end(By::Gateway);
                return Err(cut.into());
            }
        }
    }
    // what is answered on it rests on the pin
    gateway.written(gateway.records()).await;
    let tunnel = Tunnel::new(gateway, Talk::Dialog(Box::new(dialog)), timeouts, slot);
    Ok((tunnel, TokioIo::new(provider), Said { ready, reader }))
}

/// A provider's answer that is no agreement, as an event.
async fn answered(status: u16, answer: Response<ProviderBody>) -> Ended {
    let body = timeout(Duration::from_secs(5), Limited::new(answer.into_body(), ERROR_MAX_BYTES).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let error = json::member(&body, "error").filter(|error| json::check(error).is_ok());
    let own =
        || serde_json::json!({"type": "server_error", "code": null, "message": "the provider refused the websocket"});
    let own = own().to_string();
    Ended { event: Some(event(status, Some(error.unwrap_or(own.as_bytes())))), cut: Cut::new(POLICY, "refused") }
}
