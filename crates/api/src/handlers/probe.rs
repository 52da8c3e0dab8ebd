//! One question put to one version of a route: what `coalmine sentinel run` asks with.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{ProbeBody, ProbeView};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use coalmine_control::ports::{ProbeTrouble, Question};
use coalmine_core::id::ProviderName;
use coalmine_core::version::Version;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take; the client waits a little longer.
const WALL_ANSWER: Duration = Duration::from_secs(60);

pub(super) async fn probe(
    State(api): State<Api>,
    _: Operator,
    Path(route): Path<String>,
    body: Result<Json<ProbeBody>, JsonRejection>,
) -> Result<Json<ProbeView>, Refusal> {
    let Json(asked) = body?;
    let version = version(&api, &route, &asked.version).await?;
    let mut view = ProbeView {
        outcome: "answered".to_owned(),
        model: format!("{}/{}", version.provider, version.model),
        answer: None,
        why: None,
        latency_ms: None,
        cost_usd: None,
        rulings: Vec::new(),
        tools: version.tools.as_ref().map(|tools| tools.json.0.clone()),
    };
    let question = Question { version, body: asked.request, wall_limit: WALL_ANSWER };
    match api.control.prober().ask(&question).await {
        Ok(probed) => {
            if let Some(probe) = &asked.probe {
                let rulings = api.control.rulings(probe, &probed, view.tools.as_deref(), WALL_ANSWER).await;
                view.rulings = rulings.into_iter().map(Into::into).collect();
            }
            view.answer = Some(String::from_utf8_lossy(&probed.body).into_owned());
            (view.latency_ms, view.cost_usd) = (Some(probed.latency_ms), probed.cost_usd);
        }
        Err(ProbeTrouble::Version(why)) => (view.outcome, view.why) = ("at_fault".to_owned(), Some(why)),
        Err(ProbeTrouble::Provider(why)) => (view.outcome, view.why) = ("trouble".to_owned(), Some(why)),
    }
    Ok(Json(view))
}

async fn version(api: &Api, route: &str, named: &str) -> Result<Arc<Version>, Refusal> {
    let missing = |message: String| Refusal::new(StatusCode::NOT_FOUND, "not_found", message);
    let routes = api.control.routes();
    let found = routes.iter().find(|found| found.row.route.as_str() == route);
    let found = found.ok_or_else(|| missing(format!("route `{route}` is not known")))?;
    let stable = found.stable.clone().ok_or_else(|| missing(format!("route `{route}` has no version in memory")))?;
    match named {
        "stable" => Ok(stable),
        "canary" => {
            let release = found.release.as_ref().and_then(|id| api.control.release(id));
            let canary =
                release.ok_or_else(|| missing(format!("route `{route}` has no release that is not over")))?.canary;
            let version = api.control.version(canary).await?;
            version.ok_or_else(|| missing(format!("version {canary} is not known")))
        }
        model => match model.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                let mut changed = (*stable).clone();
                (changed.provider, changed.model) = (ProviderName::from(provider), model.to_owned());
                Ok(Arc::new(changed))
            }
            Some(_) | None => Err(Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                format!("`{model}` is no version; write stable, canary, or provider/model"),
            )),
        },
    }
}
