//! Releases: create, read, command, explain.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::evidence::bounded;
use crate::types::journal::decision_word;
use crate::types::{
    CommandBody, CommandOutcome, EtaView, EvidencePoint, EvidenceTrack, ExplainView, FindingView, GatewayView,
    GuardrailView, JournalView, NewRelease, PlanQuestion, RecordingView, ReleaseSummary, ReleaseView, ReplayView,
    StateView,
};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use coalmine_control::gateways::{GatewayStatus, Liveness};
use coalmine_control::trail::{Trail, TrailPoint};
use coalmine_control::view::{Commit, Outcome, ReleaseStatus};
use coalmine_control::{ControlError, Haste};
use coalmine_core::analysis::alpha::shares;
use coalmine_core::analysis::eta::{Eta, eta};
use coalmine_core::analysis::{ArmCounts, Evidence};
use coalmine_core::forecast::{Assumptions, Outlook};
use coalmine_core::id::{Generation, ReleaseId, RouteName};
use coalmine_core::release::check::check;
use coalmine_core::release::event::Command;
use coalmine_core::time::UnixMs;
use http::StatusCode;
use serde::Deserialize;

/// What `GET /releases` can be narrowed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Narrow {
    route: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    _: Operator,
    narrow: Result<Query<Narrow>, QueryRejection>,
) -> Result<Json<Vec<ReleaseSummary>>, Refusal> {
    let Query(narrow) = narrow?;
    let wanted = |route: &RouteName| narrow.route.as_deref().is_none_or(|name| route.as_str() == name);
    let releases = api.control.releases();
    let shown = releases.iter().filter(|r| wanted(&r.route)).map(|r| ReleaseSummary {
        id: r.id.to_string(),
        route: r.route.to_string(),
        state: (&r.state).into(),
        canary: r.canary.to_string(),
        created_at_ms: r.created_at.0,
    });
    Ok(Json(shown.collect()))
}

pub(super) async fn create(
    State(api): State<Api>,
    Operator(actor): Operator,
    body: Result<Json<NewRelease>, JsonRejection>,
) -> Result<(StatusCode, Json<ReleaseView>), Refusal> {
    let Json(new) = body?;
    let faults: Vec<String> = check(&new.plan, &new.policy).iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        let refusal =
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the release cannot be started as written");
        return Err(refusal.with_details(faults));
    }
    let new = in_control(new);
    refuse_undecidable(&api, &new).await?;
    let created = api.control.create_release(new, actor).await?;
    Ok((StatusCode::CREATED, Json(status_of(&api, &created.release.id)?)))
}

/// A start that can hardly end in a decision is refused, unless the release says that this is known. A route
/// without a history cannot be judged, and is not refused.
async fn refuse_undecidable(api: &Api, new: &coalmine_control::view::NewRelease) -> Result<(), Refusal> {
    let outlook = match api.control.forecast(new, &Assumptions::default()).await {
        Ok(outlook) => outlook,
        Err(ControlError::TooLittle(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let details: Vec<String> = outlook.refusals().map(|h| format!("{}: {}; {}", h.key, h.what, h.mend)).collect();
    if details.is_empty() {
        return Ok(());
    }
    let message = "at the route's traffic the release is unlikely to be decided; `coalmine plan` shows what could, \
                   and `acknowledge: [undecidable]` (or --acknowledge) starts it all the same";
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "undecidable", message).with_details(details))
}

pub(super) async fn plan(
    State(api): State<Api>,
    _: Operator,
    body: Result<Json<PlanQuestion>, JsonRejection>,
) -> Result<Json<Outlook>, Refusal> {
    let Json(question) = body?;
    Ok(Json(api.control.forecast(&in_control(question.release), &question.stated).await?))
}

fn in_control(new: NewRelease) -> coalmine_control::view::NewRelease {
    coalmine_control::view::NewRelease {
        route: RouteName(new.route),
        canary: new.canary,
        plan: new.plan,
        policy: new.policy,
    }
}

pub(super) async fn one(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<ReleaseView>, Refusal> {
    status_of(&api, &ReleaseId(id)).map(Json)
}

pub(super) async fn explain(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<ExplainView>, Refusal> {
    let id = ReleaseId(id);
    let explanation = api.control.explain(&id).await?;
    let policy = &explanation.release.policy;
    let mut release = status_of(&api, &id)?;
    if release.findings.is_empty()
        && let Some(analysis) = &explanation.analysis
    {
        release.findings = analysis.findings.iter().map(FindingView::from).collect();
        release.shadow = analysis.shadow.as_ref().map(Into::into);
        release.costs = analysis.costs.map(Into::into);
        release.judges = analysis.judges.iter().map(Into::into).collect();
        release.sentinels = analysis.sentinels.iter().map(Into::into).collect();
    }
    Ok(Json(ExplainView {
        release,
        guardrails: policy.guardrails.iter().map(GuardrailView::from).collect(),
        false_rollback_rate: policy.false_rollback_rate,
        false_promotion_rate: policy.false_promotion_rate,
        shares: shares(policy, explanation.release.attempt).into_iter().map(Into::into).collect(),
        policy_hash: explanation.release.policy_hash.clone(),
        tracks: api.control.evidence_history(&id).map(|trail| tracks(&trail, api.control.now())).unwrap_or_default(),
        journal: explanation.journal.iter().map(JournalView::from).collect(),
    }))
}

pub(super) async fn journal(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<Vec<JournalView>>, Refusal> {
    let journal = api.control.journal(&ReleaseId(id)).await?;
    Ok(Json(journal.iter().map(JournalView::from).collect()))
}

pub(super) async fn evidence(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<RecordingView>, Refusal> {
    Ok(Json(api.control.recording(&ReleaseId(id)).await?.into()))
}

pub(super) async fn replay(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, Refusal> {
    let replayed = api.control.replay(&ReleaseId(id)).await?;
    let differs = replayed.differences.iter().map(|d| {
        let written = decision_word(&d.written);
        format!("generation {}: written {written}, replayed {}", d.generation, d.replayed)
    });
    let differs = differs.collect();
    Ok(Json(ReplayView { rows: replayed.rows, differs }))
}

pub(super) async fn command(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path((id, verb)): Path<(String, String)>,
    body: Result<Json<CommandBody>, JsonRejection>,
) -> Result<Json<CommandOutcome>, Refusal> {
    let Json(body) = body?;
    let command = command_of(&verb, body.reason)?;
    let expected = body.expected_generation.map(Generation);
    let haste = if body.now { Haste::Now } else { Haste::WhenReady };
    let outcome = api.control.command_in(haste, &ReleaseId(id), command, actor, expected).await?;
    Ok(Json(outcome_view(&outcome)))
}

pub(super) async fn rollback_all(
    State(api): State<Api>,
    Operator(actor): Operator,
    body: Result<Json<CommandBody>, JsonRejection>,
) -> Result<Json<Vec<CommandOutcome>>, Refusal> {
    let Json(body) = body?;
    let outcomes = api.control.rollback_all(&actor, &body.reason).await;
    let shown = outcomes.into_iter().map(|(id, outcome)| match outcome {
        Ok(outcome) => outcome_view(&outcome),
        Err(error) => CommandOutcome {
            state: api.control.release(&id).map_or_else(unknown_state, |r| (&r.state).into()),
            id: id.to_string(),
            committed: false,
            message: error.to_string(),
        },
    });
    Ok(Json(shown.collect()))
}

fn unknown_state() -> StateView {
    StateView {
        is: "unknown".to_owned(),
        stage: None,
        since_ms: None,
        why: None,
        cause: None,
        cover: None,
        keep_until_ms: None,
        hold_back_bp: None,
    }
}

fn command_of(verb: &str, reason: String) -> Result<Command, Refusal> {
    Ok(match verb {
        "start" => Command::Start,
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "approve" => Command::Approve,
        "advance" => Command::Advance { reason },
        "promote" => Command::Promote { reason },
        "drift" => Command::Drift { reason },
        "rollback" => Command::Rollback { reason },
        other => {
            let message = format!(
                "`{other}` is no command; commands are start, pause, resume, approve, advance, promote, drift, rollback"
            );
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message));
        }
    })
}

fn outcome_view(outcome: &Outcome) -> CommandOutcome {
    let committed = match &outcome.commit {
        Commit::Done => true,
        Commit::Pending { .. } => false,
    };
    CommandOutcome {
        id: outcome.release.id.to_string(),
        state: (&outcome.release.state).into(),
        committed,
        message: outcome.message.clone(),
    }
}

/// When a side of a track is likely to reach its line, in words and as an instant.
fn eta_view(points: &[TrailPoint], now: UnixMs, side: fn(&TrailPoint) -> Evidence) -> EtaView {
    let line = points.last().map_or(f64::INFINITY, |p| side(p).line);
    let track: Vec<(UnixMs, f64)> = points.iter().map(|p| (p.at, side(p).log)).collect();
    match eta(&track, line, now) {
        Eta::Reached => EtaView { is: "reached".to_owned(), at_ms: None },
        Eta::About { at } => EtaView { is: "about".to_owned(), at_ms: Some(at.0) },
        Eta::NotAtThisRate => EtaView { is: "not_at_this_rate".to_owned(), at_ms: None },
        Eta::TooEarly => EtaView { is: "too_early".to_owned(), at_ms: None },
    }
}

fn tracks(trail: &Trail, now: UnixMs) -> Vec<EvidenceTrack> {
    let track = |(metric, points): (&coalmine_core::metric::Metric, &Vec<TrailPoint>)| EvidenceTrack {
        metric: metric.to_string(),
        rollback_eta: eta_view(points, now, |p| p.rollback),
        promote_eta: eta_view(points, now, |p| p.promote),
        points: points
            .iter()
            .map(|p| EvidencePoint {
                at_ms: p.at.0,
                rollback: bounded(p.rollback.log),
                rollback_line: bounded(p.rollback.line),
                promote: bounded(p.promote.log),
                promote_line: bounded(p.promote.line),
                difference: p.difference.map(Into::into),
                n: (p.n != ArmCounts::default()).then(|| p.n.into()),
            })
            .collect(),
    };
    trail.points.iter().map(track).collect()
}

/// The present view of a release.
pub(super) fn status_of(api: &Api, id: &ReleaseId) -> Result<ReleaseView, Refusal> {
    let status = api.control.status(id);
    let status = status.ok_or_else(|| Refusal::from(coalmine_control::ControlError::UnknownRelease(id.clone())))?;
    Ok(view(api, &status))
}

fn view(api: &Api, s: &ReleaseStatus) -> ReleaseView {
    let release = &s.release;
    let missing = || Refusal::new(StatusCode::NOT_FOUND, "not_found", "version");
    let version =
        |v: &Option<std::sync::Arc<coalmine_core::version::Version>>| v.as_deref().map(Into::into).ok_or_else(missing);
    let analysis = s.look.as_ref().map(|look| &*look.analysis);
    let diff = match (&s.stable, &s.canary) {
        (Some(stable), Some(canary)) => stable.diff(canary).changed.iter().map(Into::into).collect(),
        _ => Vec::new(),
    };
    let unknown = |id: coalmine_core::version::VersionId| crate::types::VersionView {
        id: id.to_string(),
        hash: id.to_hex(),
        model: "?".to_owned(),
        prompt: None,
        variables: std::collections::BTreeMap::new(),
        prompt_mode: None,
        tools: None,
        tools_mode: None,
        params: std::collections::BTreeMap::new(),
        fallbacks: Vec::new(),
    };
    ReleaseView {
        id: release.id.to_string(),
        route: release.route.to_string(),
        state: (&release.state).into(),
        generation: release.generation.0,
        stable: version(&s.stable).unwrap_or_else(|_| unknown(release.stable)),
        canary: version(&s.canary).unwrap_or_else(|_| unknown(release.canary)),
        diff,
        plan: (&release.plan).into(),
        attempt: release.attempt,
        created_at_ms: release.created_at.0,
        started_at_ms: release.started_at.map(|at| at.0),
        now_ms: s.now.0,
        report: (&s.report).into(),
        drifts: release.drifts.iter().map(Into::into).collect(),
        findings: analysis.map(|a| a.findings.iter().map(Into::into).collect()).unwrap_or_default(),
        sentinels: analysis.map(|a| a.sentinels.iter().map(Into::into).collect()).unwrap_or_default(),
        judges: analysis.map(|a| a.judges.iter().map(Into::into).collect()).unwrap_or_default(),
        shadow: analysis.and_then(|a| a.shadow.as_ref()).map(Into::into),
        exposed: analysis.map(|a| a.exposed).unwrap_or_default().into(),
        posted: analysis.map(|a| a.posted).unwrap_or_default().into(),
        harmed: analysis.map(|a| a.harmed.into()),
        extra_cost_usd: analysis.and_then(|a| a.extra_cost_usd).map(Into::into),
        quality: analysis.map(|a| (&a.quality).into()),
        costs: analysis.and_then(|a| a.costs).map(Into::into),
        prices: s.prices.as_ref().map(Into::into),
        live_canary_sessions: s.live_on_canary,
        served: s.propagation.as_ref().is_none_or(|p| p.waiting.is_empty() && !p.served.is_empty()),
        gateways: s.gateways.iter().map(|g| gateway(g, &release.route)).collect(),
        troubles: troubles(api, s),
    }
}

fn gateway(g: &GatewayStatus, route: &RouteName) -> GatewayView {
    let live = match g.liveness {
        Liveness::Live => true,
        Liveness::Lagging => false,
    };
    GatewayView { id: g.gateway.to_string(), serves: g.serving.get(route).map(|n| n.0), live }
}

/// What is wrong with Coalmine itself, and with this release's rollback.
fn troubles(api: &Api, s: &ReleaseStatus) -> Vec<String> {
    let mut troubles = api.control.health().troubles();
    if let Some(pending) = &s.pending {
        troubles.push(format!(
            "rolled back by {}, exposure is down, the commit is pending: {}",
            pending.actor, pending.why
        ));
    }
    troubles
}
