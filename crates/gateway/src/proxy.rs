//! The way of a request, on one screen.

use crate::answer::{AnswerBody, Refusal};
use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::phase::admit::{self, Admitted, Surface, admit};
use crate::phase::assign::assign;
use crate::phase::identify::identify;
use crate::phase::observe::{Begun, Exchange};
use crate::phase::relay::{relay, tell};
use crate::phase::rewrite::Outbound;
use crate::phase::send::{Question, send};
use crate::phase::variables::Given;
use crate::shadow::{self, Original};
use crate::telemetry::finished::Refused;
use crate::{feedback, passthrough, people, socket};
use coalmine_wire::openai::ChatRequest;
use coalmine_wire::openai::errors::Problem;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

/// A body from here on is read and rewritten beside the threads of requests: of 64 MiB that takes a tenth of a second, for
/// which all that a thread has would stand still.
const LONG_BODY_BYTES: usize = 1 << 20;

/// Answers one request under `/v1` or `/s/{session}/v1`. It is admitted at once: what is awaited then holds no request.
pub(crate) fn answer(
    gateway: &Arc<Gateway>,
    request: Request<Incoming>,
    peer: IpAddr,
) -> impl Future<Output = Response<AnswerBody>> + Send + use<> {
    let client = gateway.config.trusted_proxies.client(peer, request.headers());
    let dialect = admit::dialect(request.uri().path(), request.headers());
    let is_two = request.version() == Version::HTTP_2;
    let admitted = admit(gateway, request, dialect, client);
    let gateway = Arc::clone(gateway);
    async move {
        let answered = match admitted {
            Err(refusal) => Err(refusal),
            Ok(admitted) => {
                let answer = pin!(serve(&gateway, admitted));
                let end = &gateway.end;
                let answer = if is_two { end.or(answer).await } else { end.unless_over(answer).await };
                answer.unwrap_or_else(|| {
                    let message = "this gateway ends, and its time for answers was over; ask again";
                    Err(Refusal::new(Problem::Overloaded, message).retry_after(1))
                })
            }
        };
        answered.unwrap_or_else(|refusal| {
            gateway.metrics.refused.add(1);
            let response = refusal.into_response(dialect);
            let status = response.status().as_u16();
            gateway.telemetry.note_refused(|| Refused { at: gateway.clock.now(), client, status, dialect });
            response
        })
    }
}

async fn serve(gateway: &Arc<Gateway>, mut admitted: Box<Admitted>) -> Result<Response<AnswerBody>, Refusal> {
    admitted.receive(gateway).await?;
    if admitted.body.len() < LONG_BODY_BYTES {
        return received(gateway, admitted).await;
    }
    let mine = Arc::clone(gateway);
    let work = Box::pin(async move { received(&mine, admitted).await });
    gateway.workers.beside_for(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request with a long body was given up");
        Err(Refusal::new(Problem::Internal, "the gateway could not answer this; see its log"))
    })
}

/// A request of which all has come that is waited for.
async fn received(gateway: &Arc<Gateway>, admitted: Box<Admitted>) -> Result<Response<AnswerBody>, Refusal> {
    match admitted.surface {
        // the one that is not boxed: it has its room in what answers the request, which is boxed as a whole
        Surface::Turn => turn(gateway, admitted).await,
        Surface::Beside => Box::pin(passthrough::beside(gateway, *admitted)).await,
        Surface::Feedback => feedback::take(gateway, &admitted),
        Surface::Logs => Box::pin(feedback::otlp::take(gateway, &admitted)).await,
        Surface::Models => Ok(passthrough::models(gateway, &admitted.caller, admitted.dialect)),
        Surface::Socket => Box::pin(socket::open(gateway, *admitted)).await,
        Surface::Upload => Box::pin(passthrough::upload(gateway, *admitted)).await,
        Surface::Other => Box::pin(passthrough::pass(gateway, *admitted)).await,
    }
}

/// Admitted already: identify, assign, rewrite, send, relay, observe.
async fn turn(gateway: &Arc<Gateway>, mut admitted: Box<Admitted>) -> Result<Response<AnswerBody>, Refusal> {
    let body = std::mem::take(&mut admitted.body);
    let dialect = admitted.dialect;
    let chat = ChatRequest::read_as(dialect, &body);
    let chat = chat.map_err(|error| Refusal::new(Problem::BadRequest, error.to_string()))?;
    let Some(route) = gateway.tables.load().route(&chat.model).cloned() else {
        admitted.body = body.clone();
        return Box::pin(passthrough::pass_unknown(gateway, *admitted, &chat.model)).await;
    };
    admitted.caller.must_be_let_use(&chat.model)?;
    let headers = Headers::from(&admitted.parts.headers);
    let given = Given::read(headers)?;
    let now = admitted.received_at;

    let whose = identify(gateway, &route, &chat, &admitted);
    let assignment = assign(gateway, &route, &whose, &chat, now);
    gateway.customers.note(&route.name, &admitted.caller.scope, &whose, assignment.member.as_ref(), now);
    let Some(prepared) = route.prepared(assignment.version) else {
        return Err(Refusal::new(
            Problem::Internal,
            "the version of this route cannot be served; see the gateway's log",
        ));
    };
    let reason = assignment.reason;
    let trace = gateway.telemetry.trace(headers);
    let mut exchange = Box::new(Exchange::begin(
        gateway,
        &chat,
        Begun {
            route: &route,
            prepared,
            identity: whose.identity,
            customer: whose.customer,
            trail: whose.trail,
            responses: whose.responses,
            assignment,
            started_at: now,
            permit: admitted.permit.take(),
            line: None,
            holder: admitted.caller.holder.clone(),
            client: admitted.client,
            trace,
            body: &body,
        },
    ));
    let Admitted { parts, path, .. } = &*admitted;
    let original = Original { chat: &chat, headers: &parts.headers, body: &body, path, reason, given: &given };
    shadow::mirror(&mut exchange, original);
    exchange.notice(&chat, headers);
    if exchange.prepared.is_people() {
        return Ok(people::answer_later(gateway, exchange).await);
    }
    let mut headers = std::mem::take(&mut admitted.parts.headers);
    if let Some(trace) = trace {
        trace.put(&mut headers);
    }
    let outbound = Outbound::new(admitted.parts.method.clone(), headers, Some(dialect));
    let question = Question { outbound: &outbound, chat: &chat, body: &body, path: &admitted.path, given: &given };
    match send(&mut exchange, question).await {
        Ok(answer) => Ok(relay(answer, exchange).await),
        Err(refusal) => {
            let mut response = refusal.into_response(dialect);
            exchange.note_client_status(response.status().as_u16());
            tell(response.headers_mut(), &exchange);
            exchange.end_unanswered();
            gateway.written(gateway.records()).await;
            Ok(response)
        }
    }
}
