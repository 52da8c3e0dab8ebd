//! Sessions: how they are named, that they keep their version, and how their scores find them.

use crate::support::*;
use coalmine_core::tally::Feedback;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;
use coalmine_core::traffic::table::{Reach, Revoked};
use coalmine_gateway::config::{ClientKey, CustomerSource, RouteSettings, SessionSource};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::sync::Arc;

fn said(turns: &[(&str, &str)]) -> String {
    let messages: Vec<serde_json::Value> =
        turns.iter().map(|(role, content)| serde_json::json!({"role": role, "content": content})).collect();
    serde_json::json!({"model": "support", "messages": messages}).to_string()
}

async fn arm(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> (String, String) {
    let answer = Answer::of(world.send(world.request(path, headers, body.to_owned())).await).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.header("x-coalmine-arm").to_owned(), answer.header("x-coalmine-session").to_owned())
}

#[tokio::test]
async fn a_session_is_the_same_by_header_path_and_body_and_another_under_another_key() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(5_000).await;
    const CHAT: &str = "/v1/chat/completions";
    let by_header = arm(&world, CHAT, &[("x-session-id", "call-7")], ASK).await;
    let by_path = arm(&world, "/s/call-7/v1/chat/completions", &[], ASK).await;
    let body = r#"{"model":"support","metadata":{"session_id":"call-7"},"messages":[]}"#;
    let by_body = arm(&world, CHAT, &[], body).await;
    assert_eq!(by_header, by_path);
    assert_eq!(by_header, by_body);
    let other_key = arm(&world, CHAT, &[("x-session-id", "call-7"), ("authorization", "Bearer k")], ASK).await;
    assert_ne!(by_header.1, other_key.1);
    assert!(!by_header.1.contains("call-7"));
}

#[tokio::test]
async fn s7_a_session_keeps_its_version_through_a_ramp_and_a_restart() {
    let log = Arc::new(Log::default());
    let world = World::over(log.clone(), vec![ok("s")], vec![ok("c")], |_| {}).await;
    let mut arms = Vec::new();
    for (generation, weight) in [(1, 500), (2, 2_500), (3, 5_000)] {
        world.gateway.install(&tables(route(generation, Some(weight)))).await.unwrap();
        for n in 0..60 {
            let session = format!("s-{generation}-{n}");
            arms.push((session.clone(), arm(&world, "/v1/chat/completions", &[("x-session-id", &session)], ASK).await));
        }
    }
    let canaries = arms.iter().filter(|(_, (arm, _))| arm == "canary").count();
    assert!((20..=80).contains(&canaries), "{canaries} of 180");
    drop(world);
    let world = World::over(log, vec![ok("s")], vec![ok("c")], |_| {}).await;
    world.gateway.install(&tables(route(3, Some(5_000)))).await.unwrap();
    for (session, before) in arms {
        let body = said(&[("user", "hello"), ("assistant", "x"), ("user", "more")]);
        let after = arm(&world, "/v1/chat/completions", &[("x-session-id", &session)], &body).await;
        assert_eq!(after, before, "{session}");
    }
}

#[tokio::test]
async fn t39_parallel_first_requests_of_a_session_agree() {
    let world = Arc::new(World::new(vec![ok("s")], vec![ok("c")]).await);
    world.release(5_000).await;
    for n in 0..8 {
        let going: Vec<_> = (0..16)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move {
                    arm(&world, "/v1/chat/completions", &[("x-session-id", &n.to_string())], ASK).await
                })
            })
            .collect();
        let mut seen = HashSet::new();
        for one in going {
            seen.insert(one.await.unwrap());
        }
        assert_eq!(seen.len(), 1);
    }
}

#[tokio::test]
async fn a_conversation_without_a_name_is_followed_by_its_content() {
    for (stream, scripts) in [
        (false, vec![ok("answer one"), ok("answer two")]),
        (true, vec![streamed(&["answer ", "one"]), streamed(&["answer two"])]),
    ] {
        let world = World::new(scripts.clone(), scripts).await;
        world.release(10_000).await;
        let ask = |turns: &[(&str, &str)]| {
            let mut body: serde_json::Value = serde_json::from_str(&said(turns)).unwrap();
            body["stream"] = stream.into();
            body.to_string()
        };
        const CHAT: &str = "/v1/chat/completions";
        let first = arm(&world, CHAT, &[], &ask(&[("user", "q1")])).await;
        let second = arm(&world, CHAT, &[], &ask(&[("user", "q1"), ("assistant", "answer one"), ("user", "q2")])).await;
        assert_eq!(first, second);
        assert_eq!(first.0, "canary");
        let third =
            &[("user", "q1"), ("assistant", "answer one"), ("user", "q2"), ("assistant", "answer two"), ("user", "q3")];
        assert_eq!(arm(&world, CHAT, &[], &ask(third)).await, first);
        let edited = arm(&world, CHAT, &[], &ask(&[("user", "Q1"), ("assistant", "answer one"), ("user", "q2")])).await;
        assert_ne!(edited.1, first.1, "an edited history is a new session");
        assert_eq!(edited.0, "stable", "and one that did not begin here");
        let other = arm(&world, CHAT, &[("authorization", "Bearer k")], &ask(third)).await;
        assert_ne!(other.1, first.1);
        assert!(world.metric(r#"coalmine_conversations_edited_total{route="support"} 2"#));
    }
}

#[tokio::test]
async fn an_older_session_goes_to_stable_and_is_not_counted() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    let body = said(&[("user", "a"), ("assistant", "b"), ("user", "c")]);
    assert_eq!(arm(&world, "/v1/chat/completions", &[("x-session-id", "old")], &body).await.0, "stable");
    assert_eq!(world.turns(1).await[0].member, None);
    assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="older_than_release"} 1"#));
}

#[tokio::test]
async fn a_rollback_moves_live_sessions_at_their_next_turn_and_counts_it() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    let name = [("x-session-id", "live")];
    assert_eq!(arm(&world, "/v1/chat/completions", &name, ASK).await.0, "canary");
    let mut back = route(2, None);
    let canary = version("two", "model-c").id();
    back.revoked = vec![Revoked {
        release: Arc::new("support-1".into()),
        version: canary,
        reach: Reach::CanaryArm,
        moves_at: UnixMs(0),
    }];
    world.gateway.install(&tables(back)).await.unwrap();
    assert_eq!(arm(&world, "/v1/chat/completions", &name, ASK).await.0, "stable");
    assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="moved_by_rollback"} 1"#));
    assert_eq!(arm(&world, "/v1/chat/completions", &name, ASK).await.0, "stable");
    assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="moved_by_rollback"} 1"#), "once");
}

#[tokio::test]
async fn only_known_keys_are_let_in_and_name_their_customer() {
    let world = World::with(vec![ok("s")], vec![], |config| {
        let hash = *blake3::hash(b"sesame").as_bytes();
        config.client_keys = vec![ClientKey { hash, customer: Some("acme".into()) }];
        let by_header = CustomerSource::Header("x-customer".to_owned());
        let sessions = vec![SessionSource::Header("x-session-id".to_owned())];
        let settings = RouteSettings { sessions, customers: vec![by_header], ..RouteSettings::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.release(0).await;
    for key in ["", "Bearer open", "sesam"] {
        let answer =
            Answer::of(world.send(world.request("/v1/chat/completions", &[("authorization", key)], ASK)).await).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")), "{key}");
        assert!(!answer.text().contains("open"), "a key is never repeated");
    }
    let key = ("authorization", "bearer sesame");
    arm(&world, "/v1/chat/completions", &[key, ("x-session-id", "1")], ASK).await;
    arm(&world, "/v1/chat/completions", &[key, ("x-session-id", "2"), ("x-customer", "globex")], ASK).await;
    let (own, named) = {
        let turns = world.turns(2).await;
        (turns[0].customer.clone(), turns[1].customer.clone())
    };
    assert_eq!([own, named], [Some("acme".into()), Some("globex".into())]);
    arm(&world, "/v1/chat/completions", &[key], ASK).await;
    assert_eq!(world.turns(3).await[2].unit, None, "no source names it and content is not followed here");
}

#[tokio::test]
async fn what_a_request_tells_of_earlier_turns_is_a_late_score_of_its_session() {
    let calls = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"one","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
    let world = World::new(vec![], vec![json_answer(200, "", calls), ok("c")]).await;
    world.release(10_000).await;
    let call = serde_json::json!({"id": "one", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let said = |second: &str| {
        serde_json::json!({"model": "support", "messages": [
            {"role": "user", "content": "where is my order 4711"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "one", "content": "Error: no such table"},
            {"role": "assistant", "content": "I do not know"},
            {"role": "user", "content": second},
        ]})
        .to_string()
    };
    let results = serde_json::json!({"model": "support", "messages": [
        {"role": "user", "content": "where is my order 4711"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "one", "content": "Error: no such table"},
        {"role": "tool", "tool_call_id": "nobody's", "content": "Error: no such table"},
    ]})
    .to_string();
    world.chat("s-1", ASK).await;
    // Sent again, the same result counts once: by its idempotency.
    world.chat("s-1", &results).await;
    world.chat("s-1", &results).await;
    world.chat("s-1", &said("Where is my order 4711?")).await;
    let again = [("x-session-id", "s-1"), ("x-stainless-retry-count", "1")];
    Answer::of(world.send(world.request("/v1/chat/completions", &again, said("something else entirely"))).await).await;
    let scores = scores(&world, 4).await;
    let mut told: Vec<_> = scores.iter().map(|score| (score.name.as_str(), score.value, score.unit)).collect();
    told.sort_by_key(|(name, ..)| *name);
    let unit = world.turns(5).await[0].unit.unwrap();
    assert_eq!(
        told,
        [("client_retry", 0.0, unit), ("reask", 0.0, unit), ("tool_use", 0.0, unit), ("tool_use", 0.0, unit)]
    );
    let results: Vec<u64> =
        scores.iter().filter(|score| score.name == "tool_use").map(|score| score.idempotency).collect();
    assert_eq!(results[0], results[1]);
    assert!(scores.iter().all(|score| score.member.is_some()));

    assert!(world.metric("coalmine_tool_results_unmatched_total 2"), "what nobody called is scored to nobody");
}

async fn logs(world: &World, records: serde_json::Value) -> (u16, serde_json::Value) {
    let body = serde_json::json!({"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]});
    let answer = Answer::of(world.send(world.request("/v1/logs", &[], body.to_string())).await).await;
    (answer.status, answer.json())
}

/// A log record with these attributes of text, and a score.
fn evaluation(score: &serde_json::Value, texts: &[(&str, &str)]) -> serde_json::Value {
    let texts = texts.iter().map(|(key, text)| serde_json::json!({"key": key, "value": {"stringValue": text}}));
    let score = serde_json::json!({"key": "gen_ai.evaluation.score.value", "value": score});
    let attributes: Vec<serde_json::Value> = texts.chain([score]).collect();
    serde_json::json!({"eventName": "gen_ai.evaluation.result", "timeUnixNano": "1", "attributes": attributes})
}

#[tokio::test]
async fn evaluations_come_as_logs_and_an_arm_that_they_name_is_never_believed() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    let answer = world.chat("call-7", ASK).await;
    let id = answer.header("x-coalmine-request-id").to_owned();
    let unit = answer.header("x-coalmine-session").to_owned();
    let name = ("gen_ai.evaluation.name", "Answer Relevance");
    let by_request = evaluation(&serde_json::json!({"doubleValue": 0.75}), &[name, ("coalmine.request_id", &id)]);
    let own =
        [name, ("gen_ai.conversation.id", "call-7"), ("feature_flag.key", "support"), ("gen_ai.response.id", "r")];
    let by_session = evaluation(&serde_json::json!({"intValue": "1"}), &own);
    let named = [("gen_ai.evaluation.name", "ok"), ("gen_ai.conversation.id", &unit), ("feature_flag.key", "support")];
    let mistaken: Vec<(&str, &str)> = named.into_iter().chain([("feature_flag.result.variant", "control")]).collect();
    let mistaken = evaluation(&serde_json::json!({"boolValue": false}), &mistaken);
    let other = serde_json::json!({"eventName": "gen_ai.client.inference.operation.details", "attributes": []});
    let nobody = evaluation(&serde_json::json!({"doubleValue": 0.5}), &[name]);
    let all = serde_json::json!([by_request, by_session, mistaken, other, nobody]);
    let (status, told) = logs(&world, all.clone()).await;
    assert_eq!((status, told["partialSuccess"]["rejectedLogRecords"].as_str()), (200, Some("1")), "{told}");
    assert!(told["partialSuccess"]["errorMessage"].as_str().unwrap().contains("request_id"));
    let first = scores(&world, 3).await;
    let found: Vec<(&str, f64)> = first.iter().map(|score| (score.name.as_str(), score.value)).collect();
    assert_eq!(found, [("answer_relevance", 0.75), ("answer_relevance", 1.0), ("ok", 0.0)]);
    assert!(
        first.iter().all(|score| score.member.as_ref().unwrap().arm == Arm::Canary && score.unit.to_string() == unit)
    );
    // An exporter that heard nothing sends the same again.
    logs(&world, all).await;
    let again: Vec<u64> = scores(&world, 6).await.iter().map(|score| score.idempotency).collect();
    assert_eq!(again[..3], again[3..]);
    assert_eq!(again.iter().collect::<HashSet<_>>().len(), 3);

    assert!(world.metric("coalmine_feedback_mismatched_total 2") && world.metric("coalmine_feedback_ignored_total 2"));
    let refused = binary_logs(&world, b"x".to_vec(), None).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/x-protobuf"));
    assert_eq!(refused.body.unwrap()[0], 0x12, "a google.rpc.Status");
    let (status, _) =
        feedback(&world, serde_json::json!({"request_id": id, "name": "x", "value": 1, "arm": "left"})).await;
    assert_eq!(status, 422, "that is no arm");
}

async fn binary_logs(world: &World, body: Vec<u8>, encoding: Option<&'static str>) -> Answer {
    let mut request = world.request("/v1/logs", &[], body);
    request.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    if let Some(how) = encoding {
        request.headers_mut().insert("content-encoding", how.parse().unwrap());
    }
    Answer::of(world.send(request).await).await
}

/// As most exporters send them: in protobuf, packed.
#[tokio::test]
async fn evaluations_come_in_protobuf_and_packed_and_a_bomb_does_not_burst() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    let id = world.chat("call-7", ASK).await.header("x-coalmine-request-id").to_owned();
    let attribute = |key: &str, value: Any| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let record = |id: &str| LogRecord {
        event_name: "gen_ai.evaluation.result".to_owned(),
        attributes: vec![
            attribute("gen_ai.evaluation.name", Any::StringValue("helpful".to_owned())),
            attribute("gen_ai.evaluation.score.value", Any::DoubleValue(0.25)),
            attribute("coalmine.request_id", Any::StringValue(id.to_owned())),
        ],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record(&id), record("forged")], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let body = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    for (body, encoding) in [(gzip(&body), Some("gzip")), (body, None)] {
        let answer = binary_logs(&world, body, encoding).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-protobuf"));
        let told = ExportLogsServiceResponse::decode(&answer.body.unwrap()[..]).unwrap().partial_success.unwrap();
        assert_eq!(told.rejected_log_records, 1);
        assert!(told.error_message.contains("request_id"));
    }
    assert_eq!(scores(&world, 2).await.iter().map(|score| score.value).collect::<Vec<_>>(), [0.25; 2]);
    let bomb = binary_logs(&world, gzip(&vec![0; 20 << 20]), Some("gzip")).await;
    assert_eq!(bomb.status, 413);
    assert_eq!(binary_logs(&world, b"x".to_vec(), Some("br")).await.status, 415);
}

async fn feedback(world: &World, body: serde_json::Value) -> (u16, serde_json::Value) {
    let answer = Answer::of(world.send(world.request("/v1/feedback", &[], body.to_string())).await).await;
    (answer.status, answer.json())
}

async fn scores(world: &World, count: usize) -> Vec<Feedback> {
    soon("the scores", async {
        loop {
            let scores: Vec<Feedback> =
                world.sink.deltas.lock().unwrap().iter().flat_map(|delta| delta.feedback.clone()).collect();
            if scores.len() >= count {
                return scores;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn feedback_joins_by_request_and_by_session_without_a_lookup_of_the_first() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    let answer = world.chat("call-7", ASK).await;
    let id = answer.header("x-coalmine-request-id");
    let session = answer.header("x-coalmine-session").to_owned();
    let other = if id.as_bytes()[20] == b'a' { "b" } else { "a" };
    let forged = [&id[..20], other, &id[21..]].concat();
    let (status, report) = feedback(
        &world,
        serde_json::json!([
            {"request_id": id, "metrics": {"correct": 1, "feedback.helpful": 0.25}},
            {"session_id": "call-7", "model": "support", "name": "solved", "value": false, "id": 3},
            {"session_id": "call-8", "model": "support", "name": "solved", "value": 1},
            {"request_id": forged, "name": "x", "value": 1},
            {"request_id": id, "name": "correct", "value": 1.5},
            {"request_id": id, "name": "Correct!", "value": 1},
            {"request_id": id, "name": "correct"},
            {"request_id": id, "nmae": "correct", "value": 1},
            7,
        ]),
    )
    .await;
    assert_eq!((status, report["accepted"].as_u64(), report["refused"].as_u64()), (200, Some(2), Some(7)));
    assert!(report["results"][7]["error"].as_str().unwrap().contains("nmae"));
    let scores = scores(&world, 3).await;
    for score in &scores {
        assert_eq!(score.unit.to_string(), session);
        let member = score.member.as_ref().unwrap();
        assert_eq!((member.release.as_str(), member.arm), ("support-1", Arm::Canary));
    }
    let found: Vec<(&str, f64)> = scores.iter().map(|score| (score.name.as_str(), score.value)).collect();
    assert_eq!(found, [("correct", 1.0), ("helpful", 0.25), ("solved", 0.0)]);
    // sent again it is the same; of another request of the same session it is another
    feedback(&world, serde_json::json!({"request_id": id, "name": "correct", "value": 1})).await;
    let next = world.chat("call-7", ASK).await;
    let next = next.header("x-coalmine-request-id");
    feedback(&world, serde_json::json!({"request_id": next, "name": "correct", "value": 1})).await;
    let scores = self::scores(&world, 5).await;
    assert_eq!(scores[3].idempotency, scores[0].idempotency);
    assert_ne!(scores[4].idempotency, scores[0].idempotency);
}

#[tokio::test]
async fn unknown_names_are_refused_where_the_route_lists_them() {
    let world = World::with(vec![ok("s")], vec![], |config| {
        let settings = RouteSettings { feedback: BTreeSet::from(["correct".to_owned()]), ..RouteSettings::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.release(0).await;
    let id = world.chat("s", ASK).await.header("x-coalmine-request-id").to_owned();
    let (status, report) = feedback(&world, serde_json::json!({"request_id": id, "name": "nice", "value": 1})).await;
    assert_eq!((status, report["accepted"].as_u64()), (422, Some(0)));
    let (status, _) = feedback(&world, serde_json::json!({"request_id": id, "name": "correct", "value": 1})).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn feedback_of_a_customer_is_about_his_last_session_where_that_is_plain() {
    let world = World::with(vec![ok("s")], vec![ok("c")], |config| {
        let sessions = vec![SessionSource::Header("x-session-id".to_owned())];
        let customers = vec![CustomerSource::Header("x-customer".to_owned())];
        let settings = RouteSettings { sessions, customers, ..RouteSettings::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.release(5_000).await;
    let ask = |session: &str, customer: &str| {
        let headers = [("x-session-id", session), ("x-customer", customer)];
        world.send(world.request("/v1/chat/completions", &headers, ASK.to_owned()))
    };
    let session = Answer::of(ask("call-0", "acme").await).await.header("x-coalmine-session").to_owned();
    for call in 1..16 {
        Answer::of(ask(&format!("call-{call}"), "globex").await).await;
    }
    let about =
        |customer: &str| serde_json::json!({"customer_id": customer, "model": "support", "name": "solved", "value": 1});
    assert_eq!(feedback(&world, about("acme")).await.0, 200);
    assert_eq!(scores(&world, 1).await[0].unit.to_string(), session);
    for (customer, why) in [("nobody", "no session of this customer"), ("globex", "more than one version")] {
        let (status, report) = feedback(&world, about(customer)).await;
        assert_eq!(status, 422);
        assert!(report["results"][0]["error"].as_str().unwrap().contains(why), "{report}");
    }
}

/// A client's own retry, behind a rollback: its session is stable's by then, and the retry is counted for nobody.
#[tokio::test]
async fn t39_a_request_that_is_sent_again_behind_a_rollback_goes_to_stable() {
    let world =
        World::new(vec![ok("s")], vec![vec![write(STREAM_HEAD), write(chunk(delta("half"))), Step::Close]]).await;
    world.release(10_000).await;
    assert!(world.chat("live", ASK_STREAM).await.broke_off_behind(&delta("half")), "the canary's, in the middle");
    let mut back = route(2, None);
    let canary = version("two", "model-c").id();
    let release = Arc::new("support-1".into());
    back.revoked = vec![Revoked { release, version: canary, reach: Reach::CanaryArm, moves_at: UnixMs(0) }];
    world.gateway.install(&tables(back)).await.unwrap();
    let again = [("x-session-id", "live"), ("x-stainless-retry-count", "1")];
    for _ in 0..2 {
        assert_eq!(arm(&world, "/v1/chat/completions", &again, ASK).await.0, "stable");
    }
    let members: Vec<bool> = world.turns(3).await.iter().map(|turn| turn.member.is_some()).collect();
    assert_eq!(members, [true, false, false]);
}

/// The first burst of a session agrees over HTTP/2, streamed and not, on every surface; and gateways that have never heard of
/// each other's pins draw alike.
#[tokio::test]
async fn t39_a_burst_agrees_on_every_surface_and_at_every_gateway() {
    let worlds = [World::new(vec![ok("s")], vec![ok("c")]).await, World::new(vec![ok("s")], vec![ok("c")]).await];
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build(hyper_util::client::legacy::connect::HttpConnector::new());
    let responses = r#"{"model":"support","input":"Hi"}"#;
    let (mut seen, mut arms) = (HashSet::new(), HashSet::new());
    for world in &worlds {
        world.release(5_000).await;
    }
    for n in 0..12 {
        let mut going = tokio::task::JoinSet::new();
        for world in &worlds {
            for (path, body) in
                [("/v1/chat/completions", ASK), ("/v1/chat/completions", ASK_STREAM), ("/v1/responses", responses)]
            {
                going.spawn(client.request(world.request(path, &[("x-session-id", &format!("b-{n}"))], body)));
            }
        }
        let answers = going.join_all().await;
        let agreed: BTreeSet<(String, String)> = answers
            .into_iter()
            .map(|answer| {
                let answer = answer.unwrap();
                let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
                (header("x-coalmine-arm"), header("x-coalmine-session"))
            })
            .collect();
        assert_eq!(agreed.len(), 1, "{agreed:?}");
        let (arm, session) = agreed.into_iter().next().unwrap();
        arms.insert(arm);
        assert!(seen.insert(session));
    }
    assert_eq!(arms.len(), 2, "both arms were drawn");
}
