//! Labels of scored answers, and one answer judged by hand.

use super::Api;
use super::answer::Refusal;
use super::operators::Operator;
use crate::types::{JudgeQuestion, JudgedView, LabelBody, LabelView};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use coalmine_control::judges::ask::{Answered, Unanswered};
use coalmine_core::id::ReleaseId;
use coalmine_core::judge::Judge;
use http::StatusCode;

pub(super) async fn labels(
    State(api): State<Api>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<Vec<LabelView>>, Refusal> {
    Ok(Json(api.control.labels(&ReleaseId(id))?.into_iter().map(Into::into).collect()))
}

pub(super) async fn label(
    State(api): State<Api>,
    Operator(actor): Operator,
    Path(id): Path<String>,
    body: Result<Json<LabelBody>, JsonRejection>,
) -> Result<Json<Vec<LabelView>>, Refusal> {
    let Json(body) = body?;
    let id = ReleaseId(id);
    api.control.label(&id, body.judge.as_deref(), &body.answer, body.label)?;
    tracing::info!(release = %id, by = %actor, "an answer was labelled");
    let taken = |one: &LabelView| one.item == body.answer || one.request_id.as_ref() == Some(&body.answer);
    Ok(Json(api.control.labels(&id)?.into_iter().map(LabelView::from).filter(taken).collect()))
}

pub(super) async fn judge(
    State(api): State<Api>,
    _: Operator,
    body: Result<Json<JudgeQuestion>, JsonRejection>,
) -> Result<Json<JudgedView>, Refusal> {
    let Json(asked) = body?;
    let judge: Judge = serde_json::from_str(&asked.judge).map_err(|error| {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("`judge` is no judge of this build: {error}"))
    })?;
    let word = |outcome: &str, value, reason, usd| JudgedView { outcome: outcome.to_owned(), value, reason, usd };
    Ok(Json(match api.control.judge_once(&judge, &asked.question, &asked.answer, asked.other.as_deref()).await {
        Ok(Answered { value, usd, reason }) => word("scored", Some(value), reason, usd),
        Err(Unanswered::Unreadable { usd }) => word("unreadable", None, "its answer holds no verdict".to_owned(), usd),
        Err(Unanswered::Refused(why)) => word("refused", None, why, None),
        Err(Unanswered::Trouble(why)) => word("trouble", None, why, None),
    }))
}
