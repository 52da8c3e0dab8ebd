//! Everything under `/v1` that is no chat completion of a route: passed through to a provider as it
//! is, unobserved and uncounted. Where `model` names a route, its stable version's model and provider
//! take its place.

use crate::answer::{AnswerBody, Refusal, json};
use crate::gateway::Gateway;
use crate::phase::admit::Admitted;
use crate::phase::relay::{ActiveRequest, Pipe};
use crate::phase::rewrite::{Outbound, answer_headers};
use crate::table::Snapshot;
use crate::upstream::pool::Pool;
use bytes::Bytes;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::openai::{AskUsage, ChatRequest, Patch};
use http::{Method, Response, StatusCode};
use serde::Serialize;
use std::sync::Arc;

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

/// `GET /v1/models`: the routes.
pub(crate) fn models(gateway: &Gateway) -> Response<AnswerBody> {
    let snapshot = gateway.tables.load();
    let data = snapshot.names().into_iter().map(Model::of).collect();
    written(&Models { object: "list", data })
}

/// A chat completion whose model names no route.
pub(crate) async fn pass_unknown(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    model: &str,
) -> Result<Response<AnswerBody>, Refusal> {
    let Some(pool) = gateway.config.default_provider.as_ref().and_then(|name| gateway.pools.get(name)) else {
        return Err(no_route(&gateway.tables.load(), model));
    };
    let body = admitted.body.clone();
    forward(gateway, pool.clone(), admitted, body).await
}

/// Anything else.
pub(crate) async fn pass(gateway: &Arc<Gateway>, admitted: Admitted) -> Result<Response<AnswerBody>, Refusal> {
    let snapshot = gateway.tables.load();
    if admitted.parts.method == Method::GET
        && let Some(name) = admitted.path.strip_prefix("/models/")
        && snapshot.route(name).is_some()
    {
        return Ok(written(&Model::of(name)));
    }
    let whole = admitted.body.clone();
    let read = ChatRequest::read(&whole).ok();
    let in_query =
        admitted.parts.uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("model=")));
    let model = read.as_ref().map(|request| &*request.model).or(in_query).unwrap_or("");
    if let Some(route) = snapshot.route(model) {
        let Some(stable) = route.prepared(route.table.stable) else {
            return Err(Refusal::new(Problem::Internal, "the stable version of this route cannot be served"));
        };
        let patch = Patch::default().with_model(&stable.version.model);
        let patched = read.as_ref().and_then(|request| patch.apply(request, AskUsage::Leave).body);
        let body = patched.map_or_else(|| whole.clone(), Bytes::from);
        return forward(gateway, stable.pool.clone(), admitted, body).await;
    }
    let named = gateway.config.default_provider.as_ref().and_then(|name| gateway.pools.get(name));
    let only = || gateway.pools.values().next().filter(|_| gateway.pools.len() == 1);
    match named.or_else(only) {
        Some(pool) => forward(gateway, pool.clone(), admitted, whole.clone()).await,
        None => Err(no_route(&snapshot, model)),
    }
}

async fn forward(
    gateway: &Arc<Gateway>,
    pool: Arc<Pool>,
    mut admitted: Admitted,
    body: Bytes,
) -> Result<Response<AnswerBody>, Refusal> {
    gateway.metrics.passed_through.add(1);
    gateway.metrics.active.up();
    let active = ActiveRequest(gateway.metrics.clone());
    let outbound = Outbound::new(admitted.parts.method.clone(), std::mem::take(&mut admitted.parts.headers));
    let request = outbound.request(&pool.authorization, body);
    let response = pool.send(request, &admitted.path).await.map_err(|trouble| {
        let message = format!("provider '{}' did not answer ({})", pool.name, trouble.as_str());
        Refusal::new(Problem::BadUpstream, message)
    })?;
    let (parts, body) = response.into_parts();
    tracing::info!(
        target: "access",
        method = %admitted.parts.method,
        provider = %pool.name,
        status = parts.status.as_u16(),
        reason = "passed_through",
    );
    let pipe = Pipe::new(body, pool.timeouts, Some(active));
    let mut answer = Response::new(AnswerBody::Pipe(Box::new(pipe)));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = answer_headers(parts.headers);
    Ok(answer)
}

fn no_route(snapshot: &Snapshot, model: &str) -> Refusal {
    let known = snapshot.names();
    let known = if known.is_empty() { "there is none yet".to_owned() } else { known.join(", ") };
    let model: String = model.chars().take(100).collect();
    let message = format!(
        "the model `{model}` names no route; routes: {known}. To pass other models through, set `default_provider` in coalmine.yaml"
    );
    Refusal::new(Problem::NoRoute, message).about("model")
}

fn written(value: &impl Serialize) -> Response<AnswerBody> {
    // these are plain structs of texts and numbers, which always can be written
    json(StatusCode::OK, serde_json::to_vec(value).unwrap_or_default())
}
