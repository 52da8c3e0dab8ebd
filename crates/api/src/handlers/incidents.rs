//! Incidents: listed, acknowledged, closed.

use super::Api;
use super::answer::Refusal;
use super::exposition::Exposition;
use super::operators::Operator;
use crate::types::{IncidentBody, IncidentView};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use coalmine_core::id::IncidentId;
use coalmine_core::incident::Incident;
use std::collections::BTreeMap;

pub(super) async fn list(State(api): State<Api>, _: Operator) -> Json<Vec<IncidentView>> {
    Json(api.control.incidents().iter().map(Into::into).collect())
}

pub(super) async fn one(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<IncidentView>, Refusal> {
    Ok(Json((&api.control.incident(&IncidentId(id))?).into()))
}

pub(super) async fn acknowledge(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
    body: Result<Json<IncidentBody>, JsonRejection>,
) -> Result<Json<IncidentView>, Refusal> {
    let Json(body) = body?;
    Ok(Json((&api.control.acknowledge_incident(&IncidentId(id), &actor, &body.note).await?).into()))
}

pub(super) async fn close(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
    body: Result<Json<IncidentBody>, JsonRejection>,
) -> Result<Json<IncidentView>, Refusal> {
    let Json(body) = body?;
    Ok(Json((&api.control.close_incident(&IncidentId(id), &actor, &body.note).await?).into()))
}

/// Those that are open, by route, kind and state.
pub(super) fn add_to(page: &mut String, exposition: Exposition, incidents: &[Incident]) {
    let mut open: BTreeMap<[&str; 3], u64> = BTreeMap::new();
    for incident in incidents.iter().filter(|incident| incident.is_open()) {
        let labels = [incident.route.as_str(), incident.cause.word(), incident.state().word()];
        *open.entry(labels).or_default() += 1;
    }
    let labels = ["route", "kind", "state"];
    exposition.add_labelled(page, "coalmine_incidents", "Incidents that are not closed.", &labels, &open);
}
