//! `POST /v1/logs`: evaluations as OTLP logs (`gen_ai.evaluation.result`) over HTTP, in protobuf or JSON, packed by gzip or
//! not. Each becomes an item of feedback like any other; log records of other events are left aside, and counted. The answer
//! is in the form that the caller speaks, refusals too.
//!
//! | attribute | what it says |
//! |---|---|
//! | `gen_ai.evaluation.name` | the score's name; `Answer Relevance` is taken for `answer_relevance` |
//! | `gen_ai.evaluation.score.value` | the score, 0..=1 |
//! | `gen_ai.evaluation.score.label` | without a value: `pass`, `fail` and the like |
//! | `coalmine.request_id` | the request, as the answer's header and this gateway's own spans name it |
//! | `gen_ai.conversation.id` with `feature_flag.key` | else the session, by its own id or as spans name it, and the route |
//! | `enduser.id` with `feature_flag.key` | else the customer, whose last session it is |
//! | `feature_flag.result.variant` | the arm that the sender believes it was |
//! | `gen_ai.response.id` | tells scores of one name and session apart; without it the record's span does |

mod protobuf;
mod unpack;

use super::{Id, Item, Refused, Score, one};
use crate::answer::{AnswerBody, Refusal, json};
use crate::gateway::Gateway;
use crate::phase::admit::Admitted;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::errors::Problem;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The event that is a score.
const EVENT: &str = "gen_ai.evaluation.result";
/// The attributes that are read. Others are not kept: in two bytes each they could fill the memory.
const READ: [&str; 11] = [
    "event.name",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.evaluation.score.label",
    "coalmine.request_id",
    "gen_ai.conversation.id",
    "enduser.id",
    "feature_flag.key",
    "gen_ai.request.model",
    "gen_ai.response.id",
    "feature_flag.result.variant",
];
const GOOD: [&str; 6] = ["pass", "passed", "true", "yes", "good", "correct"];
const BAD: [&str; 6] = ["fail", "failed", "false", "no", "bad", "incorrect"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    #[serde(default)]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    #[serde(default)]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    #[serde(default)]
    log_records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(default)]
    event_name: String,
    #[serde(default)]
    span_id: String,
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

/// `AnyValue`, as far as scores need it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Value {
    string_value: Option<String>,
    double_value: Option<serde_json::Value>,
    int_value: Option<serde_json::Value>,
    bool_value: Option<bool>,
}

/// The answer of a collector.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_success: Option<Partial>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Partial {
    /// 64 bits are texts in this form of JSON.
    rejected_log_records: String,
    error_message: String,
}

/// In which form an export comes, and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// What became of an export.
struct Came {
    refused: Vec<String>,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let form = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |form| form.as_bytes());
        if form.starts_with(b"application/x-protobuf") { Self::Protobuf } else { Self::Json }
    }

    fn read(self, body: &[u8]) -> Result<Export, Refusal> {
        let bad =
            |why: String| Refusal::new(Problem::BadRequest, format!("this is no ExportLogsServiceRequest: {why}"));
        match self {
            Self::Protobuf => protobuf::read(body).map_err(|error| bad(error.to_string())),
            Self::Json => serde_json::from_slice(body).map_err(|error| bad(error.to_string())),
        }
    }

    fn answer(self, came: &Came) -> Response<AnswerBody> {
        let refused = came.refused.len() as u64;
        let first = came.refused.first();
        match self {
            Self::Protobuf => binary(StatusCode::OK, protobuf::taken(refused, first.map(String::as_str))),
            Self::Json => {
                let told = |first: &String| Partial {
                    rejected_log_records: refused.to_string(),
                    error_message: first.clone(),
                };
                let taken = Taken { partial_success: first.map(told) };
                json(StatusCode::OK, serde_json::to_vec(&taken).unwrap_or_default())
            }
        }
    }
}

fn binary(status: StatusCode, body: Vec<u8>) -> Response<AnswerBody> {
    let mut response = json(status, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    response
}

/// Takes an export of logs.
pub(crate) async fn take(gateway: &Gateway, admitted: &Admitted) -> Result<Response<AnswerBody>, Refusal> {
    let form = Form::of(&admitted.parts.headers);
    let came = match unpacked(gateway, admitted).await {
        Ok(body) => form.read(&body).and_then(|export| all(gateway, admitted, export)),
        Err(refusal) => Err(refusal),
    };
    match (came, form) {
        (Ok(came), form) => Ok(form.answer(&came)),
        (Err(refusal), Form::Json) => Err(refusal),
        (Err(refusal), Form::Protobuf) => {
            gateway.metrics.refused.add(1);
            let message = protobuf::status(refusal.message());
            let told = refusal.into_response(Dialect::Chat);
            let mut response = binary(told.status(), message);
            let again = told.headers().get(header::RETRY_AFTER);
            response.headers_mut().extend(again.map(|again| (header::RETRY_AFTER, again.clone())));
            Ok(response)
        }
    }
}

/// The body as it was before its exporter packed it. That is work, and is done beside.
async fn unpacked(gateway: &Gateway, admitted: &Admitted) -> Result<Bytes, Refusal> {
    let how = admitted.parts.headers.get(header::CONTENT_ENCODING).map_or(&b"identity"[..], |how| how.as_bytes());
    if !how.eq_ignore_ascii_case(b"gzip") {
        crate::phase::admit::must_be_plain(&admitted.parts.headers)?;
        super::must_be_short(&admitted.body)?;
        return Ok(admitted.body.clone());
    }
    let (packed, most) = (admitted.body.clone(), gateway.config.limits.body);
    let inside = tokio::task::spawn_blocking(move || unpack::gzip(&packed, most)).await;
    let inside = inside.map_err(|_| Refusal::new(Problem::Internal, "the body could not be unpacked"))?;
    inside.map_err(|why| {
        let problem = match why {
            unpack::NotUnpacked::Broken => Problem::BadRequest,
            unpack::NotUnpacked::TooLarge => Problem::TooLarge,
        };
        Refusal::new(problem, why.to_string())
    })
}

fn all(gateway: &Gateway, admitted: &Admitted, export: Export) -> Result<Came, Refusal> {
    let scopes = export.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let records: Vec<Record> = scopes.flat_map(|scope| scope.log_records).collect();
    let max = gateway.config.limits.feedback;
    if records.len() > max {
        let message = format!("{} log records in one request; this gateway takes {max}", records.len());
        return Err(Refusal::new(Problem::TooLarge, message));
    }
    let all = records.len();
    let scores: Vec<Record> = records.into_iter().filter(Record::is_score).collect();
    gateway.metrics.feedback_ignored.add((all - scores.len()) as u64);
    let mut refused: Vec<String> = Vec::new();
    let mut accepted = 0;
    for score in &scores {
        let taken = score.item().map_err(Refused::Wrong);
        match taken.and_then(|item| one(gateway, &admitted.caller, &item, admitted.received_at)) {
            Ok(()) => accepted += 1,
            // An exporter sends all of it again, and what was taken counts once.
            Err(full @ Refused::Full) => return Err(Refusal::new(Problem::Overloaded, full.to_string())),
            Err(Refused::Wrong(why)) => refused.push(why),
        }
    }
    gateway.metrics.feedback_taken.add(accepted);
    gateway.metrics.feedback_refused.add(refused.len() as u64);
    Ok(Came { refused })
}

impl Record {
    fn is_score(&self) -> bool {
        self.event_name == EVENT || self.text("event.name") == Some(EVENT)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        debug_assert!(READ.contains(&key), "{key} is not among what is kept");
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.string_value.as_deref().filter(|text| !text.is_empty())
    }

    fn item(&self) -> Result<Item, String> {
        let name = self.text("gen_ai.evaluation.name").ok_or("`gen_ai.evaluation.name` is missing")?;
        let owned = |key| self.text(key).map(str::to_owned);
        let span = Some(self.span_id.clone()).filter(|id| !id.is_empty());
        Ok(Item {
            request_id: owned("coalmine.request_id"),
            session_id: owned("gen_ai.conversation.id"),
            customer_id: owned("enduser.id"),
            model: owned("feature_flag.key").or_else(|| owned("gen_ai.request.model")),
            metrics: BTreeMap::new(),
            name: Some(plain(name)),
            value: Some(self.score(name)?),
            id: owned("gen_ai.response.id").or(span).map(Id::Text),
            arm: owned("feature_flag.result.variant"),
            answer: None,
        })
    }

    fn score(&self, name: &str) -> Result<Score, String> {
        if let Some(score) = self.value("gen_ai.evaluation.score.value").and_then(Value::number) {
            return Ok(score);
        }
        let label = self.text("gen_ai.evaluation.score.label").map(str::to_lowercase);
        match label.as_deref() {
            Some(label) if GOOD.contains(&label) => Ok(Score::Truth(true)),
            Some(label) if BAD.contains(&label) => Ok(Score::Truth(false)),
            Some(label) => Err(format!(
                "`{name}` has the label `{label}` and no `gen_ai.evaluation.score.value`; send the value, 0..1"
            )),
            None => Err(format!("`{name}` has no `gen_ai.evaluation.score.value`")),
        }
    }
}

impl Value {
    /// Numbers of 64 bits may be texts.
    fn number(&self) -> Option<Score> {
        if let Some(truth) = self.bool_value {
            return Some(Score::Truth(truth));
        }
        let number = self.double_value.as_ref().or(self.int_value.as_ref())?;
        let number = number.as_f64().or_else(|| number.as_str()?.parse().ok())?;
        Some(Score::Number(number))
    }
}

/// Names as evaluators write them, as feedback has them.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '/'], "_")
}

/// See [`crate::laws::export`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn laws(body: &[u8]) {
    for form in [Form::Protobuf, Form::Json] {
        let Ok(export) = form.read(body) else { continue };
        let scopes = export.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records: Vec<Record> = scopes.flat_map(|scope| scope.log_records).collect();
        assert!(records.len() <= body.len(), "records are made of nothing");
        for record in records {
            let scored = record.is_score().then(|| record.item());
            assert!(scored.is_none_or(|scored| scored.is_ok() || scored.is_err_and(|why| !why.is_empty())));
        }
    }
    if let Ok(inside) = unpack::gzip(body, 1 << 16) {
        assert!(inside.len() <= 1 << 16);
    }
}
