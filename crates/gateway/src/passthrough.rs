//! Everything under `/v1` that is no chat completion of a route: passed through to a provider as it
//! is and uncounted; of a turn's answer only what it used is read. Where `model` names a route, its stable version's model and provider
//! take its place.

mod body;
mod passing;

pub(crate) use body::PassedBody;
pub(crate) use passing::Passing;

use crate::answer::{AnswerBody, Refusal, json};
use crate::conversations::Found;
use crate::gateway::Gateway;
use crate::phase::admit::{Admitted, Caller, must_be_plain};
use crate::phase::assign::peek;
use crate::phase::identify::{chain, identify};
use crate::phase::observe::StreamOrBody;
use crate::phase::relay::{Pace, Pipe, form};
use crate::phase::rewrite::{Outbound, answer_headers};
use crate::phase::send::{is_encoded, shape};
use crate::phase::variables::Given;
use crate::table::{Route, Snapshot};
use crate::telemetry::trace::{Sampler, Trace};
use crate::upstream::asked::{self, Asked, AskedBody};
use crate::upstream::choice::{As, Going, Picked};
use crate::upstream::connections::ProviderBody;
use crate::upstream::pool::{Pool, Trouble};
use crate::upstream::source::Source;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use coalmine_core::id::UnitKey;
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::multipart;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::openai::{AskUsage, ChatRequest, Expect, Observer, Patch};
use coalmine_wire::usage::estimate;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A route in the list of models.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

impl<'a> Model<'a> {
    fn of(id: &'a str) -> Self {
        Self { id, object: "model", created: 0, owned_by: "coalmine" }
    }
}

/// The same in Anthropic's dialect.
#[derive(Serialize)]
struct ModelInfo<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

#[derive(Serialize)]
struct ModelPage<'a> {
    data: Vec<ModelInfo<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

impl<'a> ModelInfo<'a> {
    fn of(id: &'a str) -> Self {
        Self { r#type: "model", id, display_name: id, created_at: "1970-01-01T00:00:00Z" }
    }
}

/// The routes that a caller may use, sorted.
fn names<'a>(snapshot: &'a Snapshot, caller: &Caller) -> Vec<&'a str> {
    snapshot.names().into_iter().filter(|name| caller.holder.may_use(name)).collect()
}

/// `GET /v1/models`: the routes.
pub(crate) fn models(gateway: &Gateway, caller: &Caller, dialect: Dialect) -> Response<AnswerBody> {
    let snapshot = gateway.tables.load();
    let names = names(&snapshot, caller);
    match dialect.family() {
        Family::OpenAi => written(&Models { object: "list", data: names.into_iter().map(Model::of).collect() }),
        Family::Anthropic => written(&ModelPage {
            has_more: false,
            first_id: names.first().copied(),
            last_id: names.last().copied(),
            data: names.into_iter().map(ModelInfo::of).collect(),
        }),
    }
}

/// How many tokens a turn would have, and the like: asked of whoever would answer, of what it would be sent.
/// Never counted as a turn, and it pins nothing.
pub(crate) async fn beside(gateway: &Arc<Gateway>, admitted: Admitted) -> Result<Response<AnswerBody>, Refusal> {
    let body = admitted.body.clone();
    let dialect = admitted.dialect;
    let chat = ChatRequest::read_as(dialect, &body);
    let chat = chat.map_err(|error| Refusal::new(Problem::BadRequest, error.to_string()))?;
    let Some(route) = gateway.tables.load().route(&chat.model).cloned() else {
        return pass_unknown(gateway, admitted, &chat.model).await;
    };
    admitted.caller.must_be_let_use(&chat.model)?;
    let given = Given::read(&admitted.parts.headers)?;
    let whose = identify(gateway, &route, &chat, &admitted);
    let version = peek(gateway, &route, &whose, admitted.received_at);
    let Some(prepared) = route.prepared(version) else {
        return Err(Refusal::new(Problem::Internal, "the version of this route cannot be served"));
    };
    let patch = match prepared.patch_with(dialect, &given) {
        Ok(patch) if prepared.pool.manners.speak(dialect) => patch,
        Ok(_) | Err(_) => return Err(another_dialect(&route.name.0, prepared.pool.manners.dialect)),
    };
    let compacts = admitted.path.starts_with("/responses/compact");
    let patch = if compacts { patch.for_compacting() } else { patch.for_counting() };
    let patched = patch.apply(&chat, AskUsage::Leave).body;
    let patched = patched.map_or_else(|| body.clone(), Bytes::from);
    forward(gateway, prepared.pool.clone(), admitted, patched, Content::Any).await
}

/// What is asked about a response by its id (`GET /v1/responses/{id}`, its cancelling and deleting): of the
/// provider that holds it, under the session that got it. `None` where that is not known.
fn holder_of(gateway: &Gateway, snapshot: &Snapshot, admitted: &Admitted) -> Option<(Arc<Pool>, UnitKey)> {
    let id = admitted.path.strip_prefix("/responses/")?.split(['/', '?']).next()?;
    let open = |route: &&Arc<Route>| admitted.caller.holder.may_use(route.name.as_str());
    snapshot.routes().filter(open).find_map(|route| {
        let keys = chain(gateway, route, &admitted.caller.scope).responses();
        match gateway.conversations.find(keys.of(id), admitted.received_at) {
            Found::Unit(unit, mark) => Some((route.marked(mark)?.pool.clone(), unit)),
            Found::Ambiguous | Found::Unknown => None,
        }
    })
}

/// A turn whose model names no route.
pub(crate) async fn pass_unknown(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    model: &str,
) -> Result<Response<AnswerBody>, Refusal> {
    let named = gateway.config.default_provider.as_ref().and_then(|name| gateway.pools.get(name));
    let Some(pool) = named.filter(|pool| pool.manners.speak(admitted.dialect)) else {
        return Err(no_route(gateway, &admitted.caller, model));
    };
    admitted.caller.must_be_let_through()?;
    let body = admitted.body.clone();
    forward(gateway, pool.clone(), admitted, body, Content::Turn(model)).await
}

/// Anything else.
pub(crate) async fn pass(gateway: &Arc<Gateway>, admitted: Admitted) -> Result<Response<AnswerBody>, Refusal> {
    let snapshot = gateway.tables.load();
    if admitted.parts.method == Method::GET
        && let Some(name) = admitted.path.strip_prefix("/models/")
        && snapshot.route(name).is_some()
        && admitted.caller.holder.may_use(name)
    {
        return Ok(match admitted.dialect.family() {
            Family::OpenAi => written(&Model::of(name)),
            Family::Anthropic => written(&ModelInfo::of(name)),
        });
    }
    let whole = admitted.body.clone();
    if let Some((pool, unit)) = holder_of(gateway, &snapshot, &admitted) {
        return forward(gateway, pool, admitted, whole, Content::OfResponse(unit)).await;
    }
    let named = Named::of(&admitted.parts.headers, &whole)?;
    let in_query =
        admitted.parts.uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("model=")));
    let model = named.model(&whole).or(in_query).unwrap_or("");
    if let Some(route) = snapshot.route(model) {
        admitted.caller.must_be_let_use(model)?;
        let Some(stable) = route.prepared(route.table.stable) else {
            return Err(Refusal::new(Problem::Internal, "the stable version of this route cannot be served"));
        };
        if !stable.pool.manners.speak(admitted.dialect) {
            return Err(another_dialect(model, stable.pool.manners.dialect));
        }
        let patched = named.patched(&whole, &stable.version.model);
        let body = patched.map_or_else(|| whole.clone(), Bytes::from);
        return forward(gateway, stable.pool.clone(), admitted, body, Content::Any).await;
    }
    admitted.caller.must_be_let_through()?;
    let pool = pool_of_nobody(gateway, admitted.dialect, &admitted.caller, model)?;
    forward(gateway, pool, admitted, whole.clone(), Content::Any).await
}

/// A file, which no route has a say in.
pub(crate) async fn upload(gateway: &Arc<Gateway>, mut admitted: Admitted) -> Result<Response<AnswerBody>, Refusal> {
    admitted.caller.must_be_let_through()?;
    let pool = pool_of_nobody(gateway, admitted.dialect, &admitted.caller, "")?;
    let Some(mut file) = admitted.upload.take() else {
        return Err(Refusal::new(Problem::Internal, "the file was read already"));
    };
    let stopped = file.stream();
    forward(gateway, pool, admitted, file, Content::Upload(stopped)).await
}

/// Who is asked for what is no route's: the default provider, or the only one of the dialect.
pub(crate) fn pool_of_nobody(
    gateway: &Gateway,
    dialect: Dialect,
    caller: &Caller,
    model: &str,
) -> Result<Arc<Pool>, Refusal> {
    let named = gateway.config.default_provider.as_ref().and_then(|name| gateway.pools.get(name));
    let speaks = |pool: &&Arc<Pool>| !pool.is_people() && pool.manners.speak(dialect);
    let only = || {
        let mut speaking = gateway.pools.values().filter(speaks);
        speaking.next().filter(|_| speaking.next().is_none())
    };
    let pool = named.filter(speaks).or_else(only).cloned();
    pool.ok_or_else(|| no_route(gateway, caller, model))
}

/// Something that is passed through sets out.
pub(crate) fn begin(gateway: &Arc<Gateway>, pool: &Pool, admitted: &mut Admitted) -> Box<Passing> {
    gateway.metrics.passed_through.add(1);
    gateway.metrics.active.up();
    Box::new(Passing {
        gateway: gateway.clone(),
        permit: admitted.permit.take(),
        method: admitted.parts.method.clone(),
        provider: pool.name.clone(),
        holder: admitted.caller.holder.clone(),
        client: admitted.client,
        trace: Trace::of(&admitted.parts.headers, Sampler::OFF),
        started_at: admitted.received_at,
        refused: false,
        status: 0,
        model: None,
        reader: None,
        seen: None,
        begun: false,
        source: None,
        under_way: UnderWay::default(),
        asked: estimate(&admitted.body),
    })
}

/// Where a body that is passed through names its model.
enum Named<'a> {
    /// A member of a JSON object.
    Json(Box<ChatRequest<'a>>),
    /// A part of a form with files.
    Form(Range<usize>),
    /// Nowhere.
    Not,
}

impl<'a> Named<'a> {
    fn of(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !multipart::is_form(kind) {
            return Ok(ChatRequest::read(body).map_or(Self::Not, |request| Self::Json(Box::new(request))));
        }
        // what is packed cannot be read, and cannot be patched
        must_be_plain(headers)?;
        let at = multipart::model(kind, body).map_err(|error| Refusal::new(Problem::BadRequest, error.to_string()))?;
        Ok(at.map_or(Self::Not, Self::Form))
    }

    fn model<'b>(&'b self, body: &'b [u8]) -> Option<&'b str> {
        match self {
            Self::Json(request) => Some(&request.model),
            Self::Form(at) => std::str::from_utf8(body.get(at.clone())?).ok(),
            Self::Not => None,
        }
    }

    /// The body with another model; `None`: it names none.
    fn patched(&self, body: &[u8], model: &str) -> Option<Vec<u8>> {
        match self {
            Self::Json(request) => Patch::default().with_model(model).apply(request, AskUsage::Leave).body,
            Self::Form(at) => Some(multipart::with_model(body, at, model)),
            Self::Not => None,
        }
    }
}

/// What is passed through, as far as it is known.
enum Content<'a> {
    /// A turn of this model: its answer says what it used.
    Turn(&'a str),
    /// About a response that this session got: it lies with whoever made it.
    OfResponse(UnitKey),
    /// A file that is still coming, until the client stops.
    Upload(oneshot::Receiver<Refusal>),
    /// Anything.
    Any,
}

async fn forward(
    gateway: &Arc<Gateway>,
    pool: Arc<Pool>,
    mut admitted: Admitted,
    body: impl Into<AskedBody>,
    content: Content<'_>,
) -> Result<Response<AnswerBody>, Refusal> {
    let mut passing = begin(gateway, &pool, &mut admitted);
    passing.model = match content {
        Content::Turn(model) => Some(model.to_owned()),
        Content::OfResponse(_) | Content::Upload(_) | Content::Any => None,
    };
    let outbound = Outbound::new(admitted.parts.method, std::mem::take(&mut admitted.parts.headers), None);
    let request = outbound.request(&pool.manners, body);
    let now = Instant::now();
    let ends_at = now + pool.timeouts.total;
    let by = match content {
        // its answer comes when all of it is there
        Content::Upload(_) => ends_at,
        Content::Turn(_) | Content::OfResponse(_) | Content::Any => ends_at.min(now + pool.timeouts.first_byte),
    };
    let sent = match content {
        Content::OfResponse(unit) => ask_its_maker(&pool, request, &admitted.path, unit, by).await,
        Content::Upload(stopped) => tokio::select! {
            biased;
            Ok(refusal) = stopped => {
                passing.refused = true;
                return Err(refusal);
            }
            sent = ask(&pool, request, &admitted.path, by, &passing.under_way) => sent,
        },
        Content::Turn(_) | Content::Any => ask(&pool, request, &admitted.path, by, &passing.under_way).await,
    };
    let (response, picked) = sent.map_err(|trouble| {
        passing.refused = true;
        passing.under_way.clear();
        let message = format!("provider '{}' did not answer ({})", pool.name, trouble.as_str());
        Refusal::new(Problem::BadUpstream, message)
    })?;
    let (parts, body) = response.into_parts();
    passing.status = parts.status.as_u16();
    if !parts.status.is_success() {
        passing.under_way.clear();
    }
    if parts.status.is_success() {
        passing.source = Source::of(&pool, picked);
        if let Some(permit) = &mut passing.permit {
            permit.note_answered();
        }
        passing.reader = reader(admitted.dialect, &parts.headers).filter(|_| passing.model.is_some());
    }
    let mut headers = answer_headers(parts.headers);
    passing.tell_quota(&mut headers);
    let pace = Pace { timeouts: pool.timeouts, ends_at, content_by: None };
    let form = form(parts.status, &headers);
    if form == StreamOrBody::Stream {
        headers.remove(header::CONTENT_LENGTH);
    }
    let body = PassedBody::new(Pipe::new(body, pace, &gateway.end), Some(passing), admitted.dialect, form);
    let mut answer = Response::new(AnswerBody::Passed(Box::new(body)));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// The address that is best for it.
async fn ask(
    pool: &Pool,
    request: Asked,
    path: &str,
    by: Instant,
    under_way: &UnderWay,
) -> Result<(Response<ProviderBody>, Picked), Trouble> {
    let picked = pool.aim(&mut Going::default());
    pool.send_to(picked, request, path, by, under_way).await.map(|response| (response, picked))
}

/// The address that the session knows; the others in their turn where that one does not know the response, for a try that
/// went elsewhere, or a time at which it was away.
async fn ask_its_maker(
    pool: &Pool,
    request: Asked,
    path: &str,
    unit: UnitKey,
    by: Instant,
) -> Result<(Response<ProviderBody>, Picked), Trouble> {
    let first = pool.aim(&mut Going::of(Some(unit)));
    let others = (0..pool.addresses.len()).filter(|at| *at != first.at);
    let mut spare = asked::again(&request);
    // what is asked of a response is no turn, and has no price
    let nobody = UnderWay::default();
    let mut came = pool.send_to(first, request, path, by, &nobody).await.map(|response| (response, first));
    for at in others {
        if came.as_ref().is_ok_and(|(answer, _)| answer.status() != StatusCode::NOT_FOUND) {
            break;
        }
        let Some(request) = spare.take() else { break };
        spare = asked::again(&request);
        let next = Picked::of(at, As::LastResort);
        let second = pool.send_to(next, request, path, by, &nobody).await.map(|response| (response, next));
        if second.is_ok() || came.is_err() {
            came = second;
        }
    }
    came
}

/// Whoever reads what an answer says of its tokens; nobody reads what is encoded.
fn reader(dialect: Dialect, headers: &HeaderMap) -> Option<Box<Observer>> {
    if is_encoded(headers) {
        return None;
    }
    let stream = shape(headers) == StreamOrBody::Stream;
    Some(Box::new(Observer::new(Expect { dialect, stream, ..Expect::default() })))
}

/// What has no counterpart in the dialect of whoever answers the route.
fn another_dialect(route: &str, dialect: Dialect) -> Refusal {
    let dialect = dialect.as_str();
    Refusal::new(Problem::NoRoute, format!("the route `{route}` is answered by a provider that speaks {dialect} only"))
}

pub(crate) fn no_route(gateway: &Gateway, caller: &Caller, model: &str) -> Refusal {
    let snapshot = gateway.tables.load();
    let known = names(&snapshot, caller);
    let known = if known.is_empty() { "there is none yet".to_owned() } else { known.join(", ") };
    let model: String = model.chars().take(100).collect();
    let passes = match &gateway.config.default_provider {
        None => "To pass other models through, set `default_provider` in coalmine.yaml".to_owned(),
        Some(name) => format!("Other models pass through to `{name}`, which is not asked in this dialect"),
    };
    let message = format!("the model `{model}` names no route; routes: {known}. {passes}");
    Refusal::new(Problem::NoRoute, message).about("model")
}

fn written(value: &impl Serialize) -> Response<AnswerBody> {
    // these are plain structs of texts and numbers, which always can be written
    json(StatusCode::OK, serde_json::to_vec(value).unwrap_or_default())
}
