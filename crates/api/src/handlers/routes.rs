//! Routes and versions.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{RouteView, SiteView, VersionView};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use coalmine_control::view::RouteStatus;
use coalmine_core::version::Version;
use http::StatusCode;

pub(super) async fn list(State(api): State<Api>, _: Operator) -> Json<Vec<RouteView>> {
    Json(all(&api))
}

/// The configured names, with the stable versions that are in service now.
pub(super) async fn site(State(api): State<Api>, _: Operator) -> Json<SiteView> {
    let mut site = (*api.site).clone();
    for route in api.control.routes() {
        if let (Some(named), Some(stable)) = (site.routes.get_mut(&route.row.route), &route.stable) {
            named.stable = (**stable).clone();
        }
    }
    Json(site)
}

pub(super) async fn one(
    State(api): State<Api>,
    _: Operator,
    Path(route): Path<String>,
) -> Result<Json<RouteView>, Refusal> {
    let routes = all(&api);
    let known: Vec<String> = routes.iter().map(|r| r.route.clone()).collect();
    let found = routes.into_iter().find(|r| r.route == route);
    found.map(Json).ok_or_else(|| {
        let message = format!("route `{route}` is not known; known routes: {}", known.join(", "));
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
    })
}

pub(super) async fn versions(State(api): State<Api>, _: Operator) -> Json<Vec<VersionView>> {
    Json(api.control.versions().iter().map(|known| VersionView::from(&*known.version)).collect())
}

pub(super) async fn register(
    State(api): State<Api>,
    _: Operator,
    body: Result<Json<Version>, JsonRejection>,
) -> Result<(StatusCode, Json<VersionView>), Refusal> {
    let Json(version) = body?;
    let view = VersionView::from(&version);
    api.control.register_version(version).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// By the whole hash, or by any beginning of it that names one version (`v_` may be left out).
pub(super) async fn version(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<VersionView>, Refusal> {
    let digits = id.strip_prefix("v_").unwrap_or(&id);
    let all: Vec<VersionView> = api.control.versions().iter().map(|known| VersionView::from(&*known.version)).collect();
    let mut found = all.into_iter().filter(|v| digits.len() >= 4 && v.hash.starts_with(digits));
    match (found.next(), found.next()) {
        (Some(version), None) => Ok(Json(version)),
        (Some(_), Some(_)) => {
            let message = format!("`{id}` begins several versions; give more digits");
            Err(Refusal::new(StatusCode::CONFLICT, "conflict", message))
        }
        (None, _) => {
            let message = format!("version `{id}` is not known; give at least 4 digits of its hash");
            Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message))
        }
    }
}

pub(super) fn all(api: &Api) -> Vec<RouteView> {
    api.control.routes().iter().filter_map(|route| view(api, route)).collect()
}

fn view(api: &Api, route: &RouteStatus) -> Option<RouteView> {
    let stable = route.stable.as_deref()?;
    Some(RouteView {
        route: route.row.route.to_string(),
        stable: stable.into(),
        stable_version: stable.clone(),
        release: route.release.as_ref().map(ToString::to_string),
        generation: route.table_generation.0,
        traffic: (api.traffic)(&route.row.route),
        sentinels: api.control.steady_sentinels(&route.row.route).into_iter().map(Into::into).collect(),
    })
}
