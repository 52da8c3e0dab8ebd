//! The API's own document, OpenAPI 3.1, generated from the types and checked in as `openapi.json`.

use crate::types::{
    AsideView, CommandBody, CommandOutcome, ExplainView, FaultView, IncidentBody, IncidentStepView, IncidentView,
    IssuedView, JournalView, JudgeQuestion, JudgedView, KeyView, LabelBody, LabelView, LoadView, NewKeyBody,
    NewRelease, PlanQuestion, ProbeBody, ProbeView, Problem, QuotaView, RecordingView, ReleaseSummary, ReleaseView,
    ReplayView, RotateBody, RouteView, RulingView, SiteView, StatusView, SteadyView, TrafficView, UpstreamView,
    VersionView, WarmView,
};
use crate::types::{CaptureTextView, CaptureUseView, CapturesView, SideBySideView};
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(
    info(title = "Coalmine management API", description = "Routes, versions and releases: create, command, explain."),
    components(schemas(
        AsideView,
        CaptureTextView,
        CaptureUseView,
        CapturesView,
        CommandBody,
        CommandOutcome,
        ExplainView,
        FaultView,
        IncidentBody,
        IncidentStepView,
        IncidentView,
        IssuedView,
        JournalView,
        JudgeQuestion,
        JudgedView,
        LabelBody,
        LabelView,
        KeyView,
        NewKeyBody,
        NewRelease,
        PlanQuestion,
        ProbeBody,
        ProbeView,
        Problem,
        QuotaView,
        RecordingView,
        ReleaseSummary,
        ReleaseView,
        ReplayView,
        RotateBody,
        RouteView,
        RulingView,
        SideBySideView,
        SiteView,
        StatusView,
        SteadyView,
        TrafficView,
        LoadView,
        UpstreamView,
        VersionView,
        WarmView
    ))
)]
struct Components;

/// One operation of the API.
struct Operation {
    method: &'static str,
    path: &'static str,
    says: &'static str,
    takes: Option<String>,
    gives: Gives,
}

enum Gives {
    One(String),
    Many(String),
}

fn name<T: ToSchema>() -> String {
    T::name().into_owned()
}

fn operations() -> Vec<Operation> {
    let get = |path, says, gives| Operation { method: "get", path, says, takes: None, gives };
    let post = |path, says, takes, gives| Operation { method: "post", path, says, takes: Some(takes), gives };
    let mut all = vec![
        get("/api/v1/status", "The whole system at a glance.", Gives::One(name::<StatusView>())),
        get("/api/v1/site", "What a release file is read against.", Gives::One(name::<SiteView>())),
        get("/api/v1/routes", "All routes.", Gives::Many(name::<RouteView>())),
        get("/api/v1/routes/{route}", "One route.", Gives::One(name::<RouteView>())),
        post(
            "/api/v1/routes/{route}/probe",
            "Put one question to one version, outside of all traffic.",
            name::<ProbeBody>(),
            Gives::One(name::<ProbeView>()),
        ),
        get("/api/v1/versions", "All versions known to routes and releases.", Gives::Many(name::<VersionView>())),
        post(
            "/api/v1/versions",
            "Register a version (the body has the form of `NewRelease.canary`).",
            "Version".to_owned(),
            Gives::One(name::<VersionView>()),
        ),
        get(
            "/api/v1/versions/{id}",
            "One version, by its hash or the beginning of it.",
            Gives::One(name::<VersionView>()),
        ),
        post(
            "/api/v1/plan",
            "When the evidence of a release will be there, whom it harms on the way, and what cannot be decided.",
            name::<PlanQuestion>(),
            Gives::One("Outlook".to_owned()),
        ),
        get(
            "/api/v1/releases",
            "All releases, newest first; `?route=` narrows.",
            Gives::Many(name::<ReleaseSummary>()),
        ),
        post("/api/v1/releases", "Create a release in draft.", name::<NewRelease>(), Gives::One(name::<ReleaseView>())),
        get("/api/v1/releases/{id}", "One release as it is now.", Gives::One(name::<ReleaseView>())),
        get(
            "/api/v1/releases/{id}/explain",
            "Number, bound, n and reason of the last decision, and the record.",
            Gives::One(name::<ExplainView>()),
        ),
        get("/api/v1/releases/{id}/journal", "The record, oldest first.", Gives::Many(name::<JournalView>())),
        get(
            "/api/v1/releases/{id}/evidence",
            "What is kept of its evidence, for backtests.",
            Gives::One(name::<RecordingView>()),
        ),
        get(
            "/api/v1/releases/{id}/replay",
            "Whether the record replays to the same decisions.",
            Gives::One(name::<ReplayView>()),
        ),
    ];
    all.extend(commands());
    all.extend(keys());
    all.extend(incidents());
    all.extend(captures());
    all
}

/// What moves a release.
fn commands() -> Vec<Operation> {
    let post = |path, says, gives| Operation { method: "post", path, says, takes: Some(name::<CommandBody>()), gives };
    let command = |path, says| post(path, says, Gives::One(name::<CommandOutcome>()));
    vec![
        command("/api/v1/releases/{id}/start", "Begin to expose the canary."),
        command("/api/v1/releases/{id}/pause", "Hold it where it is."),
        command("/api/v1/releases/{id}/resume", "Go on."),
        command("/api/v1/releases/{id}/approve", "Open the stage that waits for approval."),
        command("/api/v1/releases/{id}/advance", "Open the next stage now."),
        command("/api/v1/releases/{id}/promote", "Promote now, without waiting for evidence."),
        command("/api/v1/releases/{id}/rollback", "Roll back now; works with the store away."),
        post(
            "/api/v1/rollback-all",
            "Roll back every release that exposes its canary.",
            Gives::Many(name::<CommandOutcome>()),
        ),
    ]
}

/// What is done with captured answers.
fn captures() -> Vec<Operation> {
    let one = |method, path, says, gives| Operation { method, path, says, takes: None, gives: Gives::One(gives) };
    let whole = || "Count".to_owned();
    vec![
        one(
            "get",
            "/api/v1/releases/{id}/captures",
            "What is captured of a release, without its texts, and what was dropped.",
            name::<CapturesView>(),
        ),
        one("delete", "/api/v1/releases/{id}/captures", "Delete all captured answers of a release.", whole()),
        one(
            "get",
            "/api/v1/releases/{id}/captures/pairs",
            "Answers of both arms to like prompts, for operators who may read them; `?limit=` up to 100, `?skip=`. It is noted.",
            name::<SideBySideView>(),
        ),
        one(
            "get",
            "/api/v1/routes/{route}/captures",
            "What is captured of a route while no release exposes anybody, without its texts.",
            name::<CapturesView>(),
        ),
        one(
            "delete",
            "/api/v1/routes/{route}/captures",
            "Delete all captured answers of a route without a release.",
            whole(),
        ),
        one(
            "get",
            "/api/v1/captures/{id}",
            "One captured answer, for operators who may read it. It is noted.",
            name::<CaptureTextView>(),
        ),
        one("delete", "/api/v1/captures/{id}", "Delete one captured answer.", whole()),
        Operation {
            method: "get",
            path: "/api/v1/captures/uses",
            says: "Who read and deleted captured answers, the newest first.",
            takes: None,
            gives: Gives::Many(name::<CaptureUseView>()),
        },
    ]
}

/// What is done with client keys.
fn keys() -> Vec<Operation> {
    let one = |method, path, says, takes, gives| Operation { method, path, says, takes, gives: Gives::One(gives) };
    let key = name::<KeyView>;
    let list = "Client keys by name, with what was used; of their secrets the first characters.";
    vec![
        Operation { method: "get", path: "/api/v1/keys", says: list, takes: None, gives: Gives::Many(key()) },
        one(
            "post",
            "/api/v1/keys",
            "Make a key; its secret is in this answer and nowhere else.",
            Some(name::<NewKeyBody>()),
            name::<IssuedView>(),
        ),
        one("get", "/api/v1/keys/{name}", "One client key.", None, key()),
        Operation {
            method: "get",
            path: "/api/v1/releases/{id}/labels",
            says: "Scored answers that were drawn for a human label, blind to arm and score.",
            takes: None,
            gives: Gives::Many(name::<LabelView>()),
        },
        Operation {
            method: "post",
            path: "/api/v1/releases/{id}/labels",
            says: "Label one, by its request's id.",
            takes: Some(name::<LabelBody>()),
            gives: Gives::Many(name::<LabelView>()),
        },
        one(
            "post",
            "/api/v1/judge",
            "Judge one answer by hand, outside of all releases.",
            Some(name::<JudgeQuestion>()),
            name::<JudgedView>(),
        ),
        one(
            "post",
            "/api/v1/keys/{name}/rotate",
            "Give it another secret; the present one stays good for a while.",
            Some(name::<RotateBody>()),
            name::<IssuedView>(),
        ),
        one("put", "/api/v1/keys/{name}/quota", "Give it another quota.", Some(name::<QuotaView>()), key()),
        one("post", "/api/v1/keys/{name}/revoke", "Revoke it now; works with the store away.", None, key()),
    ]
}

/// What is known of steady routes, and done with it.
fn incidents() -> Vec<Operation> {
    let incident = name::<IncidentView>;
    let step = |path, says| Operation {
        method: "post",
        path,
        says,
        takes: Some(name::<IncidentBody>()),
        gives: Gives::One(incident()),
    };
    let get = |path, says, gives| Operation { method: "get", path, says, takes: None, gives };
    vec![
        get("/api/v1/incidents", "Incidents, those that are open first.", Gives::Many(incident())),
        get("/api/v1/incidents/{id}", "One incident with its journal.", Gives::One(incident())),
        step("/api/v1/incidents/{id}/ack", "Say that somebody knows of it."),
        step("/api/v1/incidents/{id}/close", "Say that it is over."),
    ]
}

/// The document as pretty-printed JSON with a final newline.
#[must_use]
pub fn document() -> String {
    let mut document = serde_json::to_value(Components::openapi()).unwrap_or_default();
    let mut paths = Map::new();
    for operation in operations() {
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method] = described(&operation);
    }
    document["paths"] = Value::Object(paths);
    document["components"]["schemas"]["Version"] =
        json!({"type": "object", "description": "A whole version: provider, model, prompt, tools, params."});
    document["components"]["schemas"]["Outlook"] = json!({"type": "object", "description": "A forecast: traffic, stages, guardrails, promotion, harm, causes, tripwires, hazards, advice. Spans are milliseconds from the start of the release."});
    document["components"]["schemas"]["Count"] =
        json!({"type": "integer", "minimum": 0, "description": "How many it were."});
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    document["security"] = json!([{"token": []}]);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn described(operation: &Operation) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let content = |schema: Value| json!({"application/json": {"schema": schema}});
    let gives = match &operation.gives {
        Gives::One(name) => reference(name),
        Gives::Many(name) => json!({"type": "array", "items": reference(name)}),
    };
    let parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let mut value = json!({
        "summary": operation.says,
        "operationId": operation_id(operation),
        "responses": {
            "2XX": {"description": "Done.", "content": content(gives)},
            "default": {"description": "Not done, and why.", "content": content(reference("Problem"))},
        },
    });
    if !parameters.is_empty() {
        value["parameters"] = Value::Array(parameters);
    }
    if let Some(takes) = &operation.takes {
        value["requestBody"] = json!({"required": true, "content": content(reference(takes))});
    }
    value
}

/// `get_releases_id_explain`: unique, since method and path are.
fn operation_id(operation: &Operation) -> String {
    let path = operation.path.trim_start_matches("/api/v1/").replace(['/', '-'], "_").replace(['{', '}'], "");
    format!("{}_{path}", operation.method)
}

#[cfg(test)]
mod tests {
    use super::document;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_reference_has_its_schema_and_every_operation_its_own_id() {
        let text = document();
        let value: Value = serde_json::from_str(&text).unwrap();
        let schemas = value["components"]["schemas"].as_object().unwrap();
        let mut missing = BTreeSet::new();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            if !schemas.contains_key(name) {
                missing.insert(name.to_owned());
            }
        }
        assert!(missing.is_empty(), "no schema for {missing:?}");
        let operations = value["paths"].as_object().unwrap().values().flat_map(|p| p.as_object().unwrap().values());
        let ids: Vec<&str> = operations.map(|o| o["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
        assert_eq!(ids.len(), 45);
    }
}
