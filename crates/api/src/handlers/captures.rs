//! Captured answers: list, read, delete, and who did. The right to read is the control plane's to give.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{CaptureTextView, CaptureUseView, CapturesView, SideBySideView};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use coalmine_control::ControlError;
use coalmine_control::captures::read::Window;
use coalmine_core::capture::CaptureId;
use coalmine_core::id::{ReleaseId, RouteName};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};

/// Pairs in one answer at most.
const PAIRS_MAX: usize = 100;

/// Which pairs are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    #[serde(default)]
    skip: usize,
}

pub(super) async fn list(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<CapturesView>, Refusal> {
    Ok(Json(api.control.captured(&ReleaseId(id).into()).await?.into()))
}

pub(super) async fn list_of_route(
    State(api): State<Api>,
    _: Operator,
    Path(route): Path<String>,
) -> Result<Json<CapturesView>, Refusal> {
    Ok(Json(api.control.captured(&RouteName::from(route.as_str()).into()).await?.into()))
}

pub(super) async fn pairs(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Wanted { limit, skip }) = wanted?;
    let window = Window { skip, most: limit.unwrap_or(20).min(PAIRS_MAX) };
    Ok(unkept(SideBySideView::from(api.control.side_by_side(&ReleaseId(id), window, &actor).await?)))
}

pub(super) async fn one(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    Ok(unkept(CaptureTextView::from(api.control.captured_text(read(&id)?, &actor).await?)))
}

pub(super) async fn delete(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
) -> Result<Json<u64>, Refusal> {
    Ok(Json(api.control.delete_capture(read(&id)?, &actor).await?))
}

pub(super) async fn delete_all(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
) -> Result<Json<u64>, Refusal> {
    Ok(Json(api.control.delete_captures_of(&ReleaseId(id).into(), &actor).await?))
}

pub(super) async fn delete_of_route(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(route): Path<String>,
) -> Result<Json<u64>, Refusal> {
    Ok(Json(api.control.delete_captures_of(&RouteName::from(route.as_str()).into(), &actor).await?))
}

pub(super) async fn uses(State(api): State<Api>, _: Operator) -> Result<Json<Vec<CaptureUseView>>, Refusal> {
    Ok(Json(api.control.capture_uses().await?.into_iter().map(Into::into).collect()))
}

fn read(id: &str) -> Result<CaptureId, Refusal> {
    CaptureId::read(id).ok_or_else(|| ControlError::UnknownCapture(id.to_owned()).into())
}

/// Texts of customers stay in no cache on the way.
fn unkept(view: impl Serialize) -> Response {
    let mut response = Json(view).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
