//! The system as a whole: status, health, readiness, counters, the document of the API itself.

use super::answer::Refusal;
use super::exposition::Exposition;
use super::operators::Operator;
use super::{Api, incidents, releases, routes};
use crate::types::StatusView;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coalmine_control::view::StoreHealth;
use coalmine_core::analysis::Costs;
use coalmine_core::id::ReleaseId;
use http::{HeaderMap, StatusCode, Uri, header};
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(super) async fn status(State(api): State<Api>, _: Operator) -> Result<Json<StatusView>, Refusal> {
    let mut shown = BTreeSet::new();
    let mut views = Vec::new();
    for release in api.control.releases() {
        let newest_of_route = shown.insert(release.route.clone());
        if newest_of_route || !release.state.is_over() {
            views.push(releases::status_of(&api, &ReleaseId::clone(&release.id))?);
        }
    }
    Ok(Json(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        routes: routes::all(&api),
        releases: views,
        troubles: api.control.health().troubles(),
        now_ms: api.control.now().0,
        upstreams: (api.upstreams)(),
        incidents: api.control.incidents().iter().filter(|one| one.is_open()).map(Into::into).collect(),
    }))
}

/// Whether the process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether it serves: a table is there and it does not drain. A silent store does not make it unready,
/// since requests are answered without it; the body says so.
pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    let health = api.control.health();
    let mut text = String::new();
    for trouble in health.troubles() {
        let _ = writeln!(text, "{trouble}");
    }
    if (api.serving)() {
        (StatusCode::OK, format!("ready\n{text}"))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: no routing table yet, or draining\n{text}"))
    }
}

pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> impl IntoResponse {
    let exposition = Exposition::asked(&headers);
    let mut text = (api.counters)(exposition);
    let health = api.control.health();
    let captures = api.control.capture_counts();
    let store_up = match health.store {
        StoreHealth::Answers => 1,
        StoreHealth::Silent { .. } => 0,
    };
    for (name, help, value) in [
        ("coalmine_store_up", "Whether the store answers.", store_up),
        ("coalmine_outbox_pending", "Effects still to be done.", health.outbox as u64),
        ("coalmine_turns_queued", "Turns waiting to be counted.", health.queued_turns as u64),
        ("coalmine_rollbacks_pending", "Rollbacks whose commit is pending.", health.pending_rollbacks.len() as u64),
        ("coalmine_releases_failing", "Releases whose last look failed.", health.failing.len() as u64),
        ("coalmine_deltas_lost_total", "Deltas lost with a gateway process.", health.lost_deltas),
        ("coalmine_notices_lost_total", "Notices given up after too many tries.", health.notices_lost),
        ("coalmine_captures_total", "Answers captured.", captures.kept),
        ("coalmine_captures_dropped_total", "Answers sampled and never captured.", captures.dropped()),
        ("coalmine_captures_evicted_total", "Captured answers given up for newer ones.", captures.evicted),
    ] {
        exposition.add(&mut text, name, help, value);
    }
    incidents::add_to(&mut text, exposition, &api.control.incidents());
    costs(&api, exposition, &mut text);
    exposition.end(&mut text);
    ([(header::CONTENT_TYPE, exposition.content_type()), (header::VARY, "accept")], text)
}

/// What requests, sessions and tasks have cost in the releases that are looked at.
fn costs(api: &Api, exposition: Exposition, page: &mut String) {
    let looked: Vec<(String, Costs)> = api
        .control
        .releases()
        .iter()
        .filter(|release| release.state.is_watched())
        .filter_map(|release| Some((release.id.to_string(), api.control.status(&release.id)?.look?.analysis.costs?)))
        .collect();
    let mut samples = Vec::new();
    for (release, costs) in &looked {
        for (arm, of) in [("control", costs.control), ("canary", costs.canary)] {
            let each = [("request", of.per_request), ("session", of.per_session), ("task", of.per_task)];
            let known = each.into_iter().filter_map(|(per, usd)| Some((per, usd?)));
            samples
                .extend(known.map(|(per, usd)| (vec![("release", release.as_str()), ("arm", arm), ("per", per)], usd)));
        }
    }
    let help = "US dollars for one request, session or task done, by the prices that the release keeps.";
    exposition.add_gauge(page, "coalmine_release_cost_usd", help, &samples);
}

pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], crate::openapi::document())
}

pub(super) async fn unknown(uri: Uri) -> Refusal {
    let message = format!("nothing is at {}; the API's document is at /api/openapi.json", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}
