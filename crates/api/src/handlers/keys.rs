//! Client keys: make, list, rotate, bound, revoke. A secret leaves by one answer and is kept by nobody.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{IssuedView, KeyView, NewKeyBody, QuotaView, RotateBody};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use coalmine_control::ControlError;
use coalmine_control::keys::{Issued, NewKey};
use coalmine_core::id::{CustomerId, KeyName, RouteName};
use coalmine_core::key::is_key_name;
use coalmine_core::time::SpanMs;
use http::{HeaderValue, StatusCode, header};

pub(super) async fn list(State(api): State<Api>, _: Operator) -> Json<Vec<KeyView>> {
    let now = api.control.now();
    Json(api.control.keys().iter().map(|status| KeyView::of(status, now)).collect())
}

pub(super) async fn one(
    State(api): State<Api>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Json<KeyView>, Refusal> {
    Ok(Json(view(&api, &KeyName(name))?))
}

pub(super) async fn create(
    State(api): State<Api>,
    Operator(actor): Operator,
    body: Result<Json<NewKeyBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(body) = body?;
    let invalid = |message: String| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
    if !is_key_name(&body.name) {
        let message = "a key is called by 1 to 128 letters, digits, `.`, `_`, `-`, such as acme-prod";
        return Err(invalid(message.to_owned()));
    }
    if body.routes.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("the list of routes is empty; leave it out for all routes".to_owned()));
    }
    if body.expires_in_ms == Some(0) {
        return Err(invalid("the key would have expired when it is made; give it a longer life".to_owned()));
    }
    let quota = checked(body.quota)?;
    let new = NewKey {
        name: KeyName(body.name),
        customer: body.customer.map(CustomerId),
        routes: body.routes.map(|routes| routes.into_iter().map(RouteName).collect()),
        expires_at: body.expires_in_ms.map(|ms| api.control.now() + SpanMs(ms)),
        quota: quota.into(),
    };
    let issued = api.control.create_key(new, actor).await?;
    shown_once(&api, StatusCode::CREATED, &issued)
}

pub(super) async fn rotate(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
    body: Result<Json<RotateBody>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(RotateBody { grace_ms }) = body?;
    let issued = api.control.rotate_key(&KeyName(name), SpanMs(grace_ms), &actor).await?;
    shown_once(&api, StatusCode::OK, &issued)
}

pub(super) async fn limit(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
    body: Result<Json<QuotaView>, JsonRejection>,
) -> Result<Json<KeyView>, Refusal> {
    let Json(quota) = body?;
    let name = KeyName(name);
    api.control.limit_key(&name, checked(quota)?.into(), &actor).await?;
    Ok(Json(view(&api, &name)?))
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(name): Path<String>,
) -> Result<Json<KeyView>, Refusal> {
    let name = KeyName(name);
    api.control.revoke_key(&name, actor).await?;
    Ok(Json(view(&api, &name)?))
}

/// Money is a number from 0 on.
fn checked(quota: QuotaView) -> Result<QuotaView, Refusal> {
    let good = |usd: &f64| usd.is_finite() && *usd >= 0.0;
    if [quota.usd_per_day, quota.usd_per_month].iter().flatten().all(good) {
        return Ok(quota);
    }
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "a budget is a number of dollars from 0 on"))
}

fn view(api: &Api, name: &KeyName) -> Result<KeyView, Refusal> {
    let now = api.control.now();
    let keys = api.control.keys();
    let found = keys.iter().find(|status| status.key.name == *name);
    Ok(KeyView::of(found.ok_or_else(|| ControlError::UnknownKey(name.clone()))?, now))
}

fn shown_once(api: &Api, status: StatusCode, issued: &Issued) -> Result<Response, Refusal> {
    let issued = IssuedView { key: view(api, &issued.key.name)?, secret: issued.secret.expose().to_owned() };
    let mut response = (status, Json(issued)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
