//! The provider's side of the handshake. Whoever fails it before anything was said is replaced as for any request: by its
//! fallbacks, and a canary by stable, within the budget for that.

use super::{ACCEPT, KEY, PROTOCOL, VERSION, accepted, query};
use crate::answer::Refusal;
use crate::phase::observe::Exchange;
use crate::phase::relay::Pace;
use crate::phase::rewrite::Outbound;
use crate::phase::send::{Standing, cause, standing, unanswered};
use crate::table::Prepared;
use crate::upstream::asked::Asked;
use crate::upstream::choice::Going;
use crate::upstream::connections::ProviderBody;
use crate::upstream::pool::{Pool, Trouble};
use crate::upstream::rescue::{Proof, RescueBudget};
use crate::upstream::retry::{self, Attempt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coalmine_core::tally::{Cause, Ending};
use coalmine_core::traffic::pin::Arm;
use coalmine_wire::openai::ChatRequest;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A handshake needs no thought: it comes by then, or not at all.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) outbound: &'a Outbound,
    pub(super) chat: &'a ChatRequest<'a>,
    pub(super) protocols: &'a [String],
    /// What follows `/v1`.
    pub(super) path: &'a str,
}

/// What came of it.
pub(super) enum Met {
    /// A socket.
    Open(Open),
    /// An answer that is none: it is the client's.
    Answered(Response<ProviderBody>, Pace),
    /// No answer.
    Refused(Refusal),
}

/// A socket to a provider.
pub(super) struct Open {
    pub(super) io: OnUpgrade,
    pub(super) headers: HeaderMap,
    /// Who answers in the version's place, and in which arm.
    pub(super) other: Option<(Arc<Prepared>, Arm)>,
}

/// What came of one version.
enum Came {
    Open(Response<ProviderBody>),
    Refused(Response<ProviderBody>),
    Failed(Cause, Result<Response<ProviderBody>, Trouble>),
}

/// Connects to the version of the exchange, or to whoever stands in.
pub(super) async fn connect(exchange: &mut Exchange, ask: Ask<'_>) -> Met {
    let assigned = exchange.prepared.clone();
    let rescue = rescue(exchange, &assigned, ask.chat);
    let came = attempt(exchange, &assigned, ask).await;
    let failed = match came {
        Came::Open(answer) => return open(answer, None),
        Came::Failed(cause, _) => Some(cause),
        Came::Refused(_) => None,
    };
    if let Some(cause) = failed {
        exchange.fail(cause);
        for fallback in assigned.fallbacks.iter().filter(|other| other.can_be_asked(ask.chat)) {
            if let Came::Open(answer) = attempt(exchange, fallback, ask).await {
                exchange.flight.note_fallback();
                exchange.route.series.fallbacks.add(1);
                return open(answer, Some((fallback.clone(), exchange.arm)));
            }
        }
    }
    if let Some((budget, stable)) = rescue.filter(|(_, stable)| !shares_an_overload(&came, &assigned, stable)) {
        if budget.take() {
            let second = attempt(exchange, &stable, ask).await;
            match (second, failed) {
                (Came::Open(answer), _) => {
                    if failed.is_none() {
                        budget.note_proof(Proof::Accepted);
                        exchange.fail(Cause::Rejected);
                    }
                    exchange.flight.note_rescued();
                    exchange.route.series.rescued.add(1);
                    return open(answer, Some((stable, Arm::Stable)));
                }
                (Came::Refused(_), None) => budget.note_proof(Proof::Refused),
                (Came::Refused(_) | Came::Failed(..), _) => {}
            }
        } else {
            exchange.route.series.rescue_refused.add(1);
        }
    }
    if failed.is_none() {
        exchange.decide(Ending::ClientError);
    }
    let pace = pace(&assigned.pool, Instant::now());
    match came {
        Came::Open(answer) | Came::Refused(answer) | Came::Failed(_, Ok(answer)) => Met::Answered(answer, pace),
        Came::Failed(_, Err(trouble)) => Met::Refused(unanswered(trouble, &assigned.pool.name)),
    }
}

/// Who may answer in a canary's place.
fn rescue(
    exchange: &Exchange,
    assigned: &Arc<Prepared>,
    chat: &ChatRequest<'_>,
) -> Option<(Arc<RescueBudget>, Arc<Prepared>)> {
    let counted = exchange.arm == Arm::Canary && exchange.flight.member.is_some();
    let budget = exchange.route.rescue.clone().filter(|_| counted)?;
    budget.pay_in();
    let stable = exchange.route.prepared(exchange.route.table.stable)?.clone();
    let other = stable.id != assigned.id && assigned.gives_way_to(&stable, chat) && stable.can_be_asked(chat);
    other.then_some((budget, stable))
}

/// Whoever is overloaded for one is so for the other.
fn shares_an_overload(came: &Came, assigned: &Prepared, stable: &Prepared) -> bool {
    let status = match came {
        Came::Open(answer) | Came::Refused(answer) | Came::Failed(_, Ok(answer)) => answer.status().as_u16(),
        Came::Failed(_, Err(_)) => 0,
    };
    stable.pool.name == assigned.pool.name && matches!(status, 429 | 503 | 529)
}

async fn attempt(exchange: &mut Exchange, version: &Arc<Prepared>, ask: Ask<'_>) -> Came {
    let pool = &version.pool;
    let path = query::with_model(ask.path, &version.version.model);
    let ends_at = Instant::now() + HANDSHAKE_MAX.min(pool.timeouts.first_byte);
    let mut going = exchange.going();
    let mut done = 0;
    let answered = loop {
        let came = asked(pool, ask.outbound, ask.protocols, &path, &mut going, ends_at).await;
        let attempted = match &came {
            Ok(answer) => Attempt::Answer(answer.status(), answer.headers()),
            Err(trouble) => Attempt::NoAnswer(*trouble),
        };
        let now = || exchange.gateway.clock.now();
        let pause = retry::pause(&pool.retry, done, attempted, pool.choice.next(going), rand::random(), now);
        let again = pause.map(|pause| Instant::now() + pause);
        let Some(again) = again.filter(|again| *again < ends_at) else { break came };
        done += 1;
        pool.series.retries.add(1);
        sleep_until(again).await;
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(trouble) => return Came::Failed(cause(trouble), Err(trouble)),
    };
    let status = answer.status();
    if version.id == exchange.prepared.id {
        exchange.flight.note_status(status.as_u16());
    }
    match (status, standing(status)) {
        (StatusCode::SWITCHING_PROTOCOLS, _) => Came::Open(answer),
        // an answer where a socket was asked for
        (_, Standing::Fine) => Came::Failed(Cause::Malformed, Ok(answer)),
        (_, Standing::Refused) => Came::Refused(answer),
        (_, Standing::Failed(cause)) => Came::Failed(cause, Ok(answer)),
    }
}

/// One try at a provider that is asked for nobody's version.
pub(super) async fn once(
    pool: &Pool,
    outbound: &Outbound,
    protocols: &[String],
    path: &str,
) -> Result<(Response<ProviderBody>, Pace), Trouble> {
    let by = Instant::now() + HANDSHAKE_MAX.min(pool.timeouts.first_byte);
    let answer = asked(pool, outbound, protocols, path, &mut Going::default(), by).await?;
    Ok((answer, pace(pool, Instant::now())))
}

fn pace(pool: &Pool, now: Instant) -> Pace {
    Pace { timeouts: pool.timeouts, ends_at: now + pool.timeouts.total, content_by: None }
}

/// One request, with a key of its own that its answer must fit.
async fn asked(
    pool: &Pool,
    outbound: &Outbound,
    protocols: &[String],
    path: &str,
    going: &mut Going,
    by: Instant,
) -> Result<Response<ProviderBody>, Trouble> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let mut request = outbound.request(&pool.manners, Bytes::new());
    dress(&mut request, &key, protocols);
    let answer = pool.open_socket(request, path, going, by).await?;
    let fits =
        answer.headers().get(ACCEPT).is_some_and(|accept| accept.as_bytes() == accepted(key.as_bytes()).as_bytes());
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !fits {
        return Err(Trouble::Malformed);
    }
    Ok(answer)
}

fn dress(request: &mut Asked, key: &str, protocols: &[String]) {
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(VERSION, HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(KEY, key);
    }
    if let Some(protocols) = HeaderValue::from_str(&protocols.join(", ")).ok().filter(|all| !all.is_empty()) {
        headers.insert(PROTOCOL, protocols);
    }
}

fn open(answer: Response<ProviderBody>, other: Option<(Arc<Prepared>, Arm)>) -> Met {
    let (headers, io) = switched(answer);
    Met::Open(Open { io, headers, other })
}

/// What a provider says of itself as it agrees, and the socket.
pub(super) fn switched(mut answer: Response<ProviderBody>) -> (HeaderMap, OnUpgrade) {
    let io = hyper::upgrade::on(&mut answer);
    (std::mem::take(answer.headers_mut()), io)
}
