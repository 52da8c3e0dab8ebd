//! Send: to the version assigned, again where that is harmless; where it failed before its first content
//! byte, to its own fallbacks and then, for a canary, to stable. All of it within one bound of time.
//!
//! # Whose fault a status is
//! | the version's answer | blame |
//! |---|---|
//! | no answer, 5xx, 408, 429, 3xx | the version's |
//! | 401, 403, 404 | the version's: its key or its model is missing at the provider |
//! | any other 4xx of stable | the client's |
//! | any other 4xx of the canary | put to stable: its answer makes it the version's fault (and is what the client gets), its refusal the client's |
//! | the same, where it cannot be put to stable | the version's if stable accepted most of the canary's last refusals, else the client's; counted as unproven |

use crate::answer::Refusal;
use crate::phase::hedge::{Head, Race, Second};
use crate::phase::observe::{Contract, Exchange, StreamOrBody};
use crate::phase::relay::Pace;
use crate::phase::rewrite::{Outbound, Rewritten, StripUsage, Unsaid, Wording, rewrite};
use crate::phase::variables::Given;
use crate::sync::lock;
use crate::table::Prepared;
use crate::upstream::choice::{Going, Tried, Tries};
use crate::upstream::connections::ProviderBody;
use crate::upstream::pool::{Pool, Trouble};
use crate::upstream::rescue::{Proof, RescueBudget};
use crate::upstream::retry::{self, Attempt};
use crate::upstream::source::Source;
use bytes::Bytes;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{Cause, Ending};
use coalmine_core::traffic::pin::Arm;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::openai::{BODY_MAX_BYTES, ChatRequest, UsageStripper};
use coalmine_wire::translate::{BodyEnd, Translator};
use http::{HeaderMap, HeaderValue, StatusCode, header, response};
use http_body::Body;
use http_body_util::BodyExt;
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The most of a body that is held back in the hope that it turns out whole.
const HELD_MAX: usize = 1 << 20;

/// An answer on its way to the client. Boxed, for it goes through many hands.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: response::Parts,
    /// Its first pieces, seen already.
    pub(crate) held: Vec<Bytes>,
    /// The rest; `None` when there is none.
    pub(crate) body: Option<ProviderBody>,
    pub(crate) passage: Passage,
    pub(crate) pace: Pace,
    /// Where it comes from, while it is not known how it ends.
    pub(crate) source: Option<Source>,
}

/// What becomes of an answer's body on its way to the client.
#[derive(Debug)]
pub(crate) enum Passage {
    /// It passes as it is.
    AsIs,
    /// Usage that the client did not ask for is taken out.
    Stripped(Box<UsageStripper>),
    /// It is told in the client's dialect.
    Translated(Box<Translator>),
}

/// A request, for as many attempts as it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) outbound: &'a Outbound,
    pub(crate) chat: &'a ChatRequest<'a>,
    pub(crate) body: &'a Bytes,
    /// What follows the provider's base.
    pub(crate) path: &'a str,
    /// For the variables of whichever version is asked.
    pub(crate) given: &'a Given,
}

/// A request on its way, with its bounds of time.
#[derive(Clone, Copy)]
struct Asking<'a> {
    question: Question<'a>,
    /// When whoever is asked now was asked first.
    began: Instant,
    /// When everything must be over.
    ends_at: Instant,
    /// Where it was in vain.
    been: &'a Been,
}

/// The addresses of each provider that did not answer a request, so that whoever is asked in its version's place is asked elsewhere.
#[derive(Debug, Default)]
struct Been(Mutex<Vec<(ProviderName, Tried)>>);

impl Been {
    /// Where a request goes that was there already.
    fn further(&self, pool: &Pool, going: Going) -> Going {
        let been = lock(&self.0);
        been.iter().find(|(name, _)| *name == pool.name).map_or(going, |(_, tried)| going.been(*tried))
    }

    /// Its attempts are over; what an address cannot help (a refusal, an error of the model) says nothing of it.
    fn note(&self, pool: &Pool, going: Going, came: &Result<Head, Trouble>) {
        let in_vain = came.as_ref().map_or(true, |head| matches!(head.parts.status.as_u16(), 502..=504));
        if !in_vain || !pool.choice.is_free() {
            return;
        }
        let mut been = lock(&self.0);
        been.retain(|(name, _)| *name != pool.name);
        been.push((pool.name.clone(), going.tried()));
    }
}

/// What became of a version's attempts.
enum Came {
    /// An answer fit for the client, by its status and as far as it was seen.
    Fine(Box<Answer>),
    /// The version refuses the request: whose fault that is, stable can tell.
    Refused(Box<Answer>),
    /// The version failed.
    Failed(Cause, Result<Box<Answer>, NoAnswer>),
    /// It was not asked: it cannot be.
    Unsaid(Unsaid),
}

/// Why there is none for the client.
enum NoAnswer {
    /// None came.
    Trouble(Trouble),
    /// One came that cannot be told in the client's dialect.
    Untold(Untold),
}

/// Why an answer cannot be told in another dialect.
enum Untold {
    /// It is packed, though nothing packed was asked for.
    Packed,
    /// It is longer than what is held.
    TooLong,
    /// It is none of its provider's dialect, or calls tools with what is no JSON object.
    Unread,
}

impl From<Trouble> for NoAnswer {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Untold> for NoAnswer {
    fn from(untold: Untold) -> Self {
        Self::Untold(untold)
    }
}

impl NoAnswer {
    /// What the client is told.
    fn refusal(self, provider: &ProviderName) -> Refusal {
        let why = match self {
            Self::Trouble(trouble) => return unanswered(trouble, provider),
            Self::Untold(Untold::Packed) => "it is packed, though nothing packed was asked for".to_owned(),
            Self::Untold(Untold::TooLong) => format!("it is longer than {BODY_MAX_BYTES} bytes"),
            Self::Untold(Untold::Unread) => {
                "its body is none of that provider's dialect, or calls a tool with what is no JSON object".to_owned()
            }
        };
        let message =
            format!("the answer of provider '{provider}' cannot be told in the dialect of the request: {why}");
        Refusal::new(Problem::BadUpstream, message)
    }
}

/// Whether a canary's answer is held back until it has begun for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Stable may take over until then.
    UntilContent,
    /// Nobody would take over.
    No,
}

/// Sends the request; what comes back is what the client gets.
pub(crate) async fn send(exchange: &mut Exchange, question: Question<'_>) -> Result<Box<Answer>, Refusal> {
    let assigned = exchange.prepared.clone();
    let canary = exchange.arm == Arm::Canary && exchange.flight.member.is_some();
    let budget = exchange.route.rescue.as_ref().filter(|_| canary).cloned();
    if let Some(budget) = &budget {
        budget.pay_in();
    }
    let stable = exchange.route.prepared(exchange.route.table.stable).filter(|stable| stable.id != assigned.id);
    // A person cannot take over within the time of a request.
    let stable = stable.filter(|stable| !stable.is_people() && assigned.gives_way_to(stable, question.chat)).cloned();
    let somebody = budget.is_some() && stable.is_some() || !assigned.fallbacks.is_empty();
    let hold = if somebody { Hold::UntilContent } else { Hold::No };
    let began = Instant::now();
    let been = Been::default();
    let asking = Asking { question, began, ends_at: began + assigned.pool.timeouts.total, been: &been };
    let mut came = attempt(exchange, &assigned, asking, hold).await;
    if !assigned.fallbacks.is_empty()
        && let Came::Failed(cause, _) = came
    {
        exchange.fail(cause);
        came = Box::pin(fall_back(exchange, &assigned, asking, came)).await;
    }
    if let Came::Fine(answer) = came {
        return Ok(answer);
    }
    if let Came::Unsaid(_) = came {
        return deliver(exchange, came, |_| Ending::ClientError);
    }
    match (budget, stable) {
        (Some(budget), Some(stable)) => Box::pin(rescue(exchange, asking, came, &budget, &stable)).await,
        (budget, _) => deliver(exchange, came, |exchange| unproven(exchange, budget.as_deref())),
    }
}

/// The version failed: its fallbacks are asked, until one is fit to answer. Where none is, `came` is what it was.
async fn fall_back(exchange: &mut Exchange, failed: &Prepared, asking: Asking<'_>, came: Came) -> Came {
    for fallback in &failed.fallbacks {
        let Some(asking) = asking.anew() else { break };
        if !failed.gives_way_to(fallback, asking.question.chat) {
            continue;
        }
        let second = attempt(exchange, fallback, asking, Hold::UntilContent).await;
        if let Came::Fine(_) = second {
            exchange.flight.note_fallback();
            exchange.route.series.fallbacks.add(1);
            return second;
        }
        exchange.look_away();
    }
    came
}

/// The canary failed or refused: stable is asked, if the budget allows it.
async fn rescue(
    exchange: &mut Exchange,
    asking: Asking<'_>,
    came: Came,
    budget: &RescueBudget,
    stable: &Arc<Prepared>,
) -> Result<Box<Answer>, Refusal> {
    if let Came::Failed(cause, _) = &came {
        exchange.fail(*cause);
    }
    let shares_provider = stable.pool.name == exchange.prepared.pool.name;
    let overloaded = matches!(came.status(), Some(429 | 503 | 529));
    if shares_provider && overloaded {
        return deliver(exchange, came, |exchange| unproven(exchange, Some(budget)));
    }
    let Some(asking) = asking.anew() else {
        return deliver(exchange, came, |exchange| unproven(exchange, Some(budget)));
    };
    if !budget.take() {
        exchange.route.series.rescue_refused.add(1);
        return deliver(exchange, came, |exchange| unproven(exchange, Some(budget)));
    }
    let refused = matches!(came, Came::Refused(_));
    let aside = exchange.set_aside();
    let second = attempt(exchange, stable, asking, Hold::No).await;
    if !matches!(second, Came::Fine(_)) {
        exchange.take_up(aside);
    }
    match (second, refused) {
        (Came::Fine(answer), _) => {
            if refused {
                budget.note_proof(Proof::Accepted);
                exchange.fail(Cause::Rejected);
            }
            exchange.flight.note_rescued();
            exchange.route.series.rescued.add(1);
            Ok(answer)
        }
        (Came::Refused(_), true) => {
            budget.note_proof(Proof::Refused);
            deliver(exchange, came, |_| Ending::ClientError)
        }
        (Came::Failed(..) | Came::Unsaid(_), true) => {
            deliver(exchange, came, |exchange| unproven(exchange, Some(budget)))
        }
        // stable's own error is better than none
        (Came::Refused(second) | Came::Failed(_, Ok(second)), false) if came.status().is_none() => Ok(second),
        (Came::Refused(_) | Came::Failed(..) | Came::Unsaid(_), false) => {
            deliver(exchange, came, |_| Ending::ClientError)
        }
    }
}

/// Whose fault a refusal is that could not be put to stable.
fn unproven(exchange: &Exchange, budget: Option<&RescueBudget>) -> Ending {
    if exchange.arm != Arm::Canary {
        return Ending::ClientError;
    }
    exchange.route.series.unproven.add(1);
    match budget.is_some_and(RescueBudget::stable_mostly_accepts) {
        true => Ending::Failed(Cause::Rejected),
        false => Ending::ClientError,
    }
}

/// Hands the version's own answer on, failed as it is; `refused` says whose fault a refusal is.
fn deliver(
    exchange: &mut Exchange,
    came: Came,
    refused: impl FnOnce(&Exchange) -> Ending,
) -> Result<Box<Answer>, Refusal> {
    match came {
        Came::Fine(answer) => Ok(answer),
        Came::Unsaid(why) => {
            exchange.decide(Ending::ClientError);
            let message = format!("route '{}' {why}", exchange.route.name);
            Err(Refusal::new(Problem::BadRequest, message))
        }
        Came::Refused(answer) => {
            let ending = refused(exchange);
            exchange.decide(ending);
            Ok(answer)
        }
        Came::Failed(cause, Ok(answer)) => {
            exchange.fail(cause);
            Ok(answer)
        }
        Came::Failed(cause, Err(none)) => {
            exchange.fail(cause);
            Err(none.refusal(&exchange.prepared.pool.name))
        }
    }
}

/// What a client is told for want of an answer.
pub(crate) fn unanswered(trouble: Trouble, provider: &ProviderName) -> Refusal {
    match trouble {
        Trouble::Connect => Refusal::new(Problem::BadUpstream, format!("no connection to provider '{provider}'")),
        Trouble::Broken => {
            Refusal::new(Problem::BadUpstream, format!("provider '{provider}' broke off before it answered"))
        }
        Trouble::Malformed => Refusal::new(
            Problem::BadUpstream,
            format!("provider '{provider}' answered with something else than HTTP, or another protocol"),
        ),
        Trouble::FirstByte => {
            Refusal::new(Problem::UpstreamTimeout, format!("provider '{provider}' did not answer in time"))
        }
    }
}

/// One version's attempts, until one is fit or none is left.
async fn attempt(exchange: &mut Exchange, version: &Arc<Prepared>, asking: Asking<'_>, hold: Hold) -> Came {
    let Asking { question, ends_at, .. } = asking;
    let mut rewritten = match rewrite(version, question.chat, question.body, question.given) {
        Ok(rewritten) => rewritten,
        Err(why) => return Came::Unsaid(why),
    };
    let (path, body) = match rewritten.wording {
        Wording::Own(_) => (question.path, std::mem::take(&mut rewritten.body)),
        // its answer will be held against it
        Wording::Translated(_) => (version.pool.manners.dialect.path(), rewritten.body.clone()),
    };
    let pool = &version.pool;
    let (came, by) = put(exchange, version, asking, body, path).await;
    let Head { parts, held, body, picked } = match came {
        Ok(head) => head,
        Err(trouble) => return Came::Failed(cause(trouble), Err(trouble.into())),
    };
    let status = parts.status;
    if version.id == exchange.prepared.id {
        exchange.flight.note_status(status.as_u16());
    }
    let passage = match rewritten.wording {
        Wording::Translated(_) if !status.is_success() => {
            Passage::Translated(Box::new(Translator::error(pool.manners.dialect, status.as_u16())))
        }
        Wording::Own(StripUsage::Yes) if status.is_success() => Passage::Stripped(Box::default()),
        Wording::Own(_) | Wording::Translated(_) => Passage::AsIs,
    };
    // an error has no content to wait for
    let content_by = status.is_success().then_some(by);
    let pace = Pace { timeouts: pool.timeouts, ends_at, content_by };
    let source = if status.is_success() { Source::of(pool, picked) } else { None };
    let answer = Box::new(Answer { parts, held, body: Some(body), passage, pace, source });
    match standing(status) {
        Standing::Fine => {
            exchange.look_away();
            begin(exchange, version, question, &rewritten, answer, hold).await
        }
        Standing::Refused => Came::Refused(answer),
        Standing::Failed(cause) => Came::Failed(cause, Ok(answer)),
    }
}

/// Puts the request to the version's provider, again where that is harmless. With what came, when its content must
/// have begun.
async fn put(
    exchange: &mut Exchange,
    version: &Arc<Prepared>,
    asking: Asking<'_>,
    body: Bytes,
    path: &str,
) -> (Result<Head, Trouble>, Instant) {
    let Asking { question, began, ends_at, been } = asking;
    let (pool, chat) = (&version.pool, question.chat);
    let thinks = version.thinks || chat.asks_to_think();
    let allowed = if thinks { pool.timeouts.thinking } else { pool.timeouts.first_byte };
    let mut by = ends_at.min(began + allowed);
    let hold_until = began + exchange.gateway.config.limits.rescue_hold;
    let mut done = 0;
    let twice = chat.may_be_asked_twice();
    // one that may not be put to a sibling is not to hang at an address that is tried
    let tries = if twice && pool.retry.retries > 0 { Tries::Soon } else { Tries::Late };
    let mut going = been.further(pool, exchange.going().trying(tries));
    exchange.ask(version.id);
    if let Some(hedge) = pool.hedge.as_ref().filter(|_| twice) {
        hedge.budget.pay_in();
    }
    loop {
        let request = || question.outbound.request(&pool.manners, body.clone());
        let (dialect, under_way) = (version.asked_in(chat.dialect), &exchange.under_way);
        under_way.clear();
        let race = Race { pool, path, dialect, by, hold_until, under_way };
        let picked = pool.aim(&mut going);
        let came = match Second::of(pool, picked, done).filter(|_| twice) {
            Some(second) => {
                let raced = Box::pin(race.run(picked, second, request, &mut going)).await;
                exchange.note_hedge(raced.hedge);
                done += second.attempts(raced.hedge);
                raced.came
            }
            None => race.once(picked, request()).await,
        };
        if !came.as_ref().is_ok_and(|head| head.parts.status.is_success()) {
            exchange.under_way.clear();
        }
        let attempted = match &came {
            Ok(head) => Attempt::Answer(head.parts.status, &head.parts.headers),
            Err(trouble) => Attempt::NoAnswer(*trouble),
        };
        let now = || exchange.gateway.clock.now();
        let next = pool.choice.next(going);
        let pause = retry::pause(&pool.retry, done, attempted, next, rand::random(), now);
        let Some(again) = pause.map(|pause| Instant::now() + pause).filter(|again| *again < ends_at) else {
            been.note(pool, going, &came);
            return (came, by);
        };
        drop(came);
        by = ends_at.min(again + allowed);
        done += 1;
        pool.series.retries.add(1);
        if version.id == exchange.prepared.id {
            exchange.flight.note_retry();
        }
        sleep_until(again).await;
    }
}

/// An answer of status 2xx begins: it is watched, and where stable may still take over it is held back
/// until its first content, or its end.
async fn begin(
    exchange: &mut Exchange,
    version: &Prepared,
    question: Question<'_>,
    rewritten: &Rewritten,
    mut answer: Box<Answer>,
    hold: Hold,
) -> Came {
    let dialect = version.asked_in(question.chat.dialect);
    if is_encoded(&answer.parts.headers) {
        // unasked for: it can be passed on, and neither read nor changed
        answer.passage = Passage::AsIs;
        return match rewritten.wording {
            Wording::Own(_) => Came::Fine(answer),
            Wording::Translated(_) => Came::Failed(Cause::Malformed, Err(Untold::Packed.into())),
        };
    }
    let shape = shape(&answer.parts.headers);
    if shape == StreamOrBody::Body {
        answer.passage = Passage::AsIs;
        answer.pace.content_by = None;
    }
    let asked = match rewritten.wording {
        Wording::Own(_) => None,
        Wording::Translated(_) => ChatRequest::read_as(dialect, &rewritten.body).ok(),
    };
    let tools = match rewritten.wording {
        Wording::Own(_) => version.patch(dialect).ok().and_then(|patch| patch.tools_for(question.chat)),
        Wording::Translated(_) => asked.as_ref().and_then(ChatRequest::tools).map(Cow::Borrowed),
    };
    exchange.watch(version, dialect, &Contract { tools, format: question.chat.response_format() }, shape);
    answer.held.iter().for_each(|piece| _ = exchange.see(piece));
    let Some(body) = answer.body.take() else { return Came::Fine(answer) };
    if let Wording::Translated(told) = rewritten.wording {
        let now_s = exchange.gateway.clock.now().0 / 1_000;
        if shape == StreamOrBody::Body {
            return Box::pin(whole(exchange, version, answer, body, now_s)).await;
        }
        answer.passage = Passage::Translated(Box::new(Translator::stream(dialect, now_s, told)));
    }
    if hold == Hold::No {
        answer.body = Some(body);
        return Came::Fine(answer);
    }
    hold_back(exchange, shape, answer, body).await
}

async fn hold_back(
    exchange: &mut Exchange,
    shape: StreamOrBody,
    mut answer: Box<Answer>,
    mut body: ProviderBody,
) -> Came {
    let Pace { ends_at, content_by, .. } = answer.pace;
    let late = content_by.map_or(ends_at, |by| by.min(ends_at));
    let until = late.min(Instant::now() + exchange.gateway.config.limits.rescue_hold);
    let mut bytes = 0;
    loop {
        if body.is_end_stream() {
            break;
        }
        let enough = shape == StreamOrBody::Stream && exchange.content_begun() || bytes > HELD_MAX;
        if enough {
            answer.body = Some(body);
            return Came::Fine(answer);
        }
        match timeout_at(until, body.frame()).await {
            Err(_) if until == late => {
                answer.cut_short();
                exchange.look_away();
                return Came::Failed(Cause::Deadline, Err(Trouble::FirstByte.into()));
            }
            Err(_held_long_enough) => {
                answer.body = Some(body);
                return Came::Fine(answer);
            }
            Ok(Some(Err(_))) => {
                // the half that came is worth nothing to the client
                answer.cut_short();
                exchange.look_away();
                return Came::Failed(Cause::Broken, Err(Trouble::Broken.into()));
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    bytes += piece.len();
                    exchange.see(&piece);
                    answer.held.push(piece);
                }
            }
            Ok(None) => break,
        }
    }
    if shape == StreamOrBody::Stream && exchange.content_begun() {
        return Came::Fine(answer);
    }
    match exchange.failure_in_band() {
        Some(cause) => {
            answer.failed_in_band(cause);
            Came::Failed(cause, Ok(answer))
        }
        None => Came::Fine(answer),
    }
}

/// An answer that is one body, for a client of another dialect: translated when all of it has come.
async fn whole(
    exchange: &mut Exchange,
    version: &Prepared,
    mut answer: Box<Answer>,
    mut body: ProviderBody,
    now_s: u64,
) -> Came {
    let Pace { timeouts, ends_at, .. } = answer.pace;
    let mut bytes = Vec::new();
    loop {
        let piece = match timeout_at(ends_at.min(Instant::now() + timeouts.idle), body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(_))) | Err(_) => {
                answer.cut_short();
                return Came::Failed(Cause::Broken, Err(Trouble::Broken.into()));
            }
        };
        exchange.see(&piece);
        if bytes.len() + piece.len() > BODY_MAX_BYTES {
            return Came::Failed(Cause::Malformed, Err(Untold::TooLong.into()));
        }
        bytes.extend_from_slice(&piece);
    }
    answer.parts.headers.remove(header::CONTENT_LENGTH);
    let dialect = version.pool.manners.dialect;
    if let Some(cause) = exchange.failure_in_band() {
        answer.failed_in_band(cause);
        if cause != Cause::InBand {
            return Came::Failed(cause, Err(Untold::Unread.into()));
        }
        let mut told = Vec::new();
        // whatever status it came with, an error has one of an error's
        answer.parts.status = StatusCode::BAD_GATEWAY;
        answer.parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut translator = Translator::error(dialect, StatusCode::BAD_GATEWAY.as_u16());
        translator.feed(&bytes, &mut told);
        translator.finish(BodyEnd::Whole, &mut told);
        answer.held.push(Bytes::from(told));
        return Came::Failed(cause, Ok(answer));
    }
    match Translator::whole(dialect, &bytes, now_s) {
        Some(told) => {
            answer.held.push(Bytes::from(told));
            Came::Fine(answer)
        }
        None => Came::Failed(Cause::Malformed, Err(Untold::Unread.into())),
    }
}

impl Answer {
    /// It ended before its end.
    fn cut_short(&mut self) {
        if let Some(source) = self.source.take() {
            source.cut_short();
        }
    }

    /// Its body ended, and says that it failed.
    fn failed_in_band(&mut self, cause: Cause) {
        match cause {
            Cause::Broken => self.cut_short(),
            Cause::Connect
            | Cause::Server
            | Cause::RateLimited
            | Cause::Rejected
            | Cause::InBand
            | Cause::Malformed
            | Cause::Deadline => self.source = None,
        }
    }
}

impl Asking<'_> {
    /// For whoever is asked next; `None`: the time is over.
    fn anew(self) -> Option<Self> {
        let began = Instant::now();
        (began < self.ends_at).then_some(Self { began, ..self })
    }
}

impl Came {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Fine(answer) | Self::Refused(answer) | Self::Failed(_, Ok(answer)) => {
                Some(answer.parts.status.as_u16())
            }
            Self::Failed(_, Err(_)) | Self::Unsaid(_) => None,
        }
    }
}

/// What a status says of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Fine,
    Refused,
    Failed(Cause),
}

pub(crate) fn standing(status: StatusCode) -> Standing {
    match status.as_u16() {
        200..=299 => Standing::Fine,
        429 => Standing::Failed(Cause::RateLimited),
        401 | 403 | 404 => Standing::Failed(Cause::Rejected),
        408 | 500.. => Standing::Failed(Cause::Server),
        400..=499 => Standing::Refused,
        _ => Standing::Failed(Cause::Malformed),
    }
}

pub(crate) fn cause(trouble: Trouble) -> Cause {
    match trouble {
        Trouble::Connect => Cause::Connect,
        Trouble::Broken => Cause::Broken,
        Trouble::Malformed => Cause::Malformed,
        Trouble::FirstByte => Cause::Deadline,
    }
}

pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(crate) fn shape(headers: &HeaderMap) -> StreamOrBody {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"text/event-stream") { StreamOrBody::Stream } else { StreamOrBody::Body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_blame() {
        let standings = |codes: &[u16]| -> Vec<Standing> {
            codes.iter().map(|code| standing(StatusCode::from_u16(*code).unwrap())).collect()
        };
        assert_eq!(standings(&[200, 201]), [Standing::Fine; 2]);
        assert_eq!(standings(&[401, 403, 404]), [Standing::Failed(Cause::Rejected); 3]);
        assert_eq!(standings(&[400, 405, 409, 413, 415, 422]), [Standing::Refused; 6]);
        assert_eq!(standings(&[408, 500, 503, 529]), [Standing::Failed(Cause::Server); 4]);
        assert_eq!(standings(&[429, 301]), [Standing::Failed(Cause::RateLimited), Standing::Failed(Cause::Malformed)]);
    }
}
