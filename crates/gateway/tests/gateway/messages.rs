//! Anthropic's dialect from one end to the other: routed, patched, observed and blamed as chat
//! completions are, and told of errors in its own words.
use crate::support::*;
use bytes::Bytes;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{CancelPoint, Cause, Check, Ending, Presence, ServedBy};
use coalmine_core::traffic::pin::Arm;
use coalmine_gateway::config::{Betas, ClientKey, Config, ProviderKind, SessionSource};
use http::Request;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::Notify;

pub const ASK: &str = r#"{"model":"support","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}"#;
pub const ASK_STREAM: &str =
    r#"{"model":"support","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

pub fn message(text: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":10,"cache_creation_input_tokens":4,"cache_read_input_tokens":6,"output_tokens":5}}}}"#
    )
}

pub fn named(kind: &str, data: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{data}}}\n\n")
}

pub fn start() -> String {
    named(
        "message_start",
        r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":10,"output_tokens":1}}"#,
    )
}

pub fn ping() -> String {
    named("ping", "")
}

pub fn text(piece: &str) -> String {
    named("content_block_delta", &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{piece}"}}"#))
}

pub fn end() -> [String; 3] {
    [
        named("content_block_stop", r#","index":0"#),
        named(
            "message_delta",
            r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}"#,
        ),
        named("message_stop", ""),
    ]
}

pub fn opened() -> String {
    named("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#)
}

pub fn streamed(texts: &[&str]) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD), write(chunk(start())), write(chunk(ping())), write(chunk(opened()))];
    steps.extend(texts.iter().map(|piece| write(chunk(text(piece)))));
    steps.extend(end().map(|event| write(chunk(event))));
    steps.push(write(STREAM_END));
    steps
}

pub fn ok(text: &str) -> Vec<Step> {
    json_answer(200, "", &message(text))
}

pub fn error(status: u16, kind: &str) -> Vec<Step> {
    json_answer(status, "", &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}}}}"#))
}

pub fn anthropic(config: &mut Config) {
    for provider in config.providers.values_mut() {
        provider.kind = ProviderKind::Anthropic;
    }
}

pub async fn world(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>) -> World {
    World::with(stable, canary, anthropic).await
}

pub async fn ask(world: &World, session: &str, body: &str) -> Answer {
    let request = world.request("/v1/messages", &[("x-session-id", session)], body.to_owned());
    Answer::of(world.send(request).await).await
}

fn said(answer: &Answer) -> (u16, String, String) {
    let json = answer.json();
    assert_eq!(json["type"], "error", "{json}");
    let text = |key: &str| json["error"][key].as_str().unwrap().to_owned();
    (answer.status, text("type"), text("message"))
}

#[tokio::test]
async fn a_request_goes_to_its_version_and_is_told() {
    let world = world(vec![ok("from stable")], vec![ok("from canary")]).await;
    world.release(10_000).await;
    let headers = [("x-session-id", "s-1"), ("anthropic-beta", "b-1,b-2"), ("x-api-key", "of-the-client")];
    let answer = Answer::of(world.send(world.request("/v1/messages?beta=true", &headers, ASK)).await).await;
    assert_eq!((answer.status, answer.text()), (200, message("from canary")));
    assert_eq!(answer.header("x-coalmine-arm"), "canary");
    let sent = &world.canary.received()[0];
    assert!(sent.head.starts_with("POST /v1/messages?beta=true HTTP/1.1"), "{}", sent.head);
    assert_eq!(String::from_utf8(sent.body.clone()).unwrap(), ASK.replace("support", "model-c"));
    assert_eq!((sent.header("x-api-key"), sent.header("authorization")), (Some("key-two"), None));
    assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(sent.header("anthropic-beta"), Some("b-1,b-2"));
    let turn = &world.turns(1).await[0];
    assert_eq!((turn.outcome.ending, turn.outcome.served_by), (Ending::Complete, ServedBy::Assigned));
    assert_eq!(turn.member.as_ref().unwrap().arm, Arm::Canary);
    let usage = turn.outcome.usage;
    assert_eq!((usage.input, usage.cached, usage.output), (Some(20), Some(6), Some(5)), "all that was read");
    assert_eq!((turn.outcome.refusal, turn.outcome.tools_declared), (Check::No, Presence::Absent));
}

#[tokio::test]
async fn a_stream_is_relayed_as_it_is_pings_included() {
    let world = world(vec![streamed(&["a", "b"])], vec![]).await;
    world.release(0).await;
    let answer = ask(&world, "s-1", ASK_STREAM).await;
    let whole: String = [start(), ping(), opened(), text("a"), text("b")].into_iter().chain(end()).collect();
    assert_eq!(answer.text(), whole, "T19");
    let turn = &world.turns(1).await[0];
    assert_eq!((turn.outcome.usage.input, turn.outcome.usage.output), (Some(10), Some(7)), "T18: no sum");
    assert_eq!((turn.outcome.ending, turn.outcome.truncated), (Ending::Complete, Check::No));
}

#[tokio::test]
async fn the_first_content_is_what_the_first_token_means() {
    let go = Arc::new(Notify::new());
    let script = vec![
        write(STREAM_HEAD),
        write(chunk(start() + &ping() + &opened())),
        Step::Wait(go.clone()),
        write(chunk(text("a") + &end().concat())),
        write(STREAM_END),
    ];
    let world = world(vec![script], vec![]).await;
    world.release(0).await;
    let response = world.send(world.request("/v1/messages", &[("x-session-id", "s")], ASK_STREAM)).await;
    let mut body = response.into_body();
    let first = soon("the first piece", body.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: message_start"), "nothing is held back");
    world.clock.advance(700);
    go.notify_one();
    soon("the rest", body.collect()).await.unwrap();
    assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(700.0));
}

#[tokio::test]
async fn failures_before_the_first_content_are_rescued_by_stable() {
    let in_band = named("error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#);
    let head = || write(STREAM_HEAD);
    let scripts: Vec<(&str, Vec<Step>, Cause)> = vec![
        ("an overload", error(529, "overloaded_error"), Cause::Server),
        ("no model", error(404, "not_found_error"), Cause::Rejected),
        ("an error event", vec![head(), write(chunk(start() + &in_band)), write(STREAM_END)], Cause::InBand),
        ("a break before content", vec![head(), write(chunk(start() + &ping())), Step::Close], Cause::Broken),
        ("an error in a body", error(200, "api_error"), Cause::InBand),
        ("half a body", json_answer(200, "", r#"{"type":"message","cont"#), Cause::Broken),
    ];
    for (what, script, cause) in scripts {
        let stream = matches!(&script[0], Step::Write(bytes) if bytes == STREAM_HEAD.as_bytes());
        let stable = if stream { streamed(&["fine"]) } else { ok("fine") };
        let world = world(vec![stable], vec![script]).await;
        world.release(10_000).await;
        let answer = ask(&world, "s-1", if stream { ASK_STREAM } else { ASK }).await;
        assert_eq!(answer.status, 200, "{what}");
        assert!(answer.text().contains("fine") && !answer.text().contains("overloaded"), "{what}: {}", answer.text());
        assert_eq!(answer.text().matches("event: message_start").count(), usize::from(stream), "{what}");
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Rescue, Ending::Failed(cause)), "{what}");
    }
}

#[tokio::test]
async fn an_error_in_mid_stream_passes_and_is_the_versions() {
    let late = named("error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#);
    let script = vec![write(STREAM_HEAD), write(chunk(start() + &opened() + &text("half") + &late)), write(STREAM_END)];
    let world = world(vec![script], vec![]).await;
    world.release(0).await;
    let answer = ask(&world, "s-1", ASK_STREAM).await;
    assert!(answer.text().ends_with(&late), "T14: {}", answer.text());
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::InBand));
}

#[tokio::test]
async fn a_client_that_leaves_is_felt_upstream_and_is_not_scored() {
    let left = Arc::new(Notify::new());
    let script =
        vec![write(STREAM_HEAD), write(chunk(start() + &opened() + &text("a"))), Step::UntilClosed(left.clone())];
    let world = world(vec![script], vec![]).await;
    world.release(0).await;
    let response = world.send(world.request("/v1/messages", &[("x-session-id", "s")], ASK_STREAM)).await;
    let mut body = response.into_body();
    soon("the first piece", body.frame()).await.unwrap().unwrap();
    drop(body);
    soon("the close upstream", left.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Cancelled(CancelPoint::MidAnswer));
}

#[tokio::test]
async fn refusals_and_cut_answers_are_seen() {
    let ended = |reason: &str| json_answer(200, "", &message("I").replace("end_turn", reason));
    for (reason, refusal, truncated) in [
        ("refusal", Check::Yes, Check::No),
        ("max_tokens", Check::No, Check::Yes),
        ("model_context_window_exceeded", Check::No, Check::Yes),
        ("stop_sequence", Check::No, Check::No),
    ] {
        let world = world(vec![ended(reason)], vec![]).await;
        world.release(0).await;
        ask(&world, "s-1", ASK).await;
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.refusal, turn.outcome.truncated), (refusal, truncated), "{reason}");
    }
}

#[tokio::test]
async fn tool_calls_are_held_against_their_schemas() {
    let called = |input: &str| {
        json_answer(
            200,
            "",
            &format!(
                r#"{{"type":"message","role":"assistant","content":[{{"type":"tool_use","id":"toolu_1","name":"f","input":{input}}}],"stop_reason":"tool_use","usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            ),
        )
    };
    let body = ASK.replace(
        r#""max_tokens":50"#,
        r#""max_tokens":50,"tools":[{"name":"f","input_schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}]"#,
    );
    for (input, bad) in [(r#"{"n":1}"#, 0), (r#"{"n":"one"}"#, 1)] {
        let world = world(vec![called(input)], vec![]).await;
        world.release(0).await;
        ask(&world, "s-1", &body).await;
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.tool_calls, turn.outcome.tool_calls_bad), (1, bad), "{input}");
        assert_eq!(turn.outcome.tools_declared, Presence::Present);
    }
}

#[tokio::test]
async fn the_gateways_own_errors_speak_the_dialect() {
    let world = World::with(vec![vec![Step::Close]], vec![], |config| {
        anthropic(config);
        config.limits.body = 1_000;
        let hash = *blake3::hash(b"sk-1").as_bytes();
        config.client_keys = vec![ClientKey { hash, customer: None }];
    })
    .await;
    world.release(0).await;
    let send = async |path: &str, key: &str, body: String| {
        let request = world.request(path, &[("x-api-key", key), ("x-session-id", "s")], body);
        said(&Answer::of(world.send(request).await).await)
    };
    let (status, kind, _) = send("/v1/messages", "wrong", ASK.to_owned()).await;
    assert_eq!((status, &*kind), (401, "authentication_error"));
    let (status, kind, _) = send("/v1/messages", "sk-1", "x".repeat(2_000)).await;
    assert_eq!((status, &*kind), (413, "request_too_large"), "T29");
    let (status, kind, _) = send("/v1/messages", "sk-1", "{".to_owned()).await;
    assert_eq!((status, &*kind), (400, "invalid_request_error"));
    let (status, kind, message) = send("/v1/messages", "sk-1", ASK.replace("support", "nobody")).await;
    assert_eq!((status, &*kind), (404, "not_found_error"));
    assert!(message.contains("nobody") && message.contains("support"), "{message}");
    let (status, kind, _) = send("/v1/messages", "sk-1", ASK.to_owned()).await;
    assert_eq!((status, &*kind), (502, "api_error"), "the provider broke off");
    let bearer = world.request("/v1/messages", &[("authorization", "Bearer sk-1")], "{".to_owned());
    assert_eq!(said(&Answer::of(world.send(bearer).await).await).0, 400, "the other form of the key is known too");
}

#[tokio::test]
async fn a_rate_limit_reaches_the_client_as_it_is() {
    let limits = "retry-after: 7\r\nanthropic-ratelimit-requests-remaining: 0\r\nrequest-id: req_9\r\n";
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"req_9"}"#;
    let world = world(vec![json_answer(429, limits, body)], vec![]).await;
    world.release(0).await;
    let answer = ask(&world, "s-1", ASK).await;
    assert_eq!((answer.status, answer.text()), (429, body.to_owned()));
    assert_eq!((answer.header("retry-after"), answer.header("request-id")), ("7", "req_9"), "T26");
    assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), "0");
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::RateLimited));
}

#[tokio::test]
async fn sessions_are_found_by_user_id_and_by_content() {
    let world = World::with(vec![ok("yes")], vec![ok("yes")], |config| {
        anthropic(config);
        let sources = vec![SessionSource::Body("metadata.user_id".to_owned()), SessionSource::Conversation];
        let settings = coalmine_gateway::config::RouteSettings { sessions: sources, ..Default::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.release(5_000).await;
    let send = async |body: String| {
        let answer = Answer::of(world.send(world.request("/v1/messages", &[], body)).await).await;
        (answer.header("x-coalmine-session").to_owned(), answer.header("x-coalmine-version").to_owned())
    };
    let with_user = ASK.replace(r#""max_tokens":50"#, r#""max_tokens":50,"metadata":{"user_id":"user_1_session_7"}"#);
    assert_eq!(send(with_user.clone()).await, send(with_user).await);
    for opening in 0..8 {
        let first = ASK.replace("hello", &format!("hello {opening}"));
        let began = send(first.clone()).await;
        let more = first.replace(
            r#""}]}"#,
            r#""},{"role":"assistant","content":[{"type":"text","text":"yes"}]},{"role":"user","content":"more"}]}"#,
        );
        assert_eq!(send(more).await, began, "{opening}");
    }
}

#[tokio::test]
async fn tokens_are_counted_by_whoever_would_answer() {
    let world = world(vec![json_answer(200, "", r#"{"input_tokens":12}"#)], vec![ok("x")]).await;
    world.release(10_000).await;
    let body = r#"{"model":"support","messages":[{"role":"user","content":"hello"}]}"#;
    let count = async || {
        let request = world.request("/v1/messages/count_tokens", &[("x-session-id", "s-1")], body);
        Answer::of(world.send(request).await).await
    };
    let answer = count().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"input_tokens":12}"#));
    let sent = &world.stable.received()[0];
    assert!(sent.head.starts_with("POST /v1/messages/count_tokens HTTP/1.1"), "{}", sent.head);
    assert_eq!(sent.json()["model"], "model-s");
    assert!(world.pins.is_empty(), "counting pins nobody");
    ask(&world, "s-1", ASK).await;
    count().await;
    assert_eq!(world.canary.received()[1].json()["model"], "model-c", "a session's own version counts");
    assert_eq!(world.turns(1).await.len(), 1, "counting is no turn");
}

#[tokio::test]
async fn models_are_listed_in_the_clients_own_shape() {
    let world = world(vec![], vec![]).await;
    world.release(0).await;
    let get = async |path: &str| {
        let uri = format!("http://{}{path}", world.address);
        let request = Request::get(uri).header("anthropic-version", "2023-06-01").body(Bytes::new().into()).unwrap();
        Answer::of(world.send(request).await).await.json()
    };
    let page = get("/v1/models").await;
    assert_eq!((&page["data"][0]["type"], &page["data"][0]["id"]), (&"model".into(), &"support".into()));
    assert_eq!((&page["has_more"], &page["last_id"]), (&false.into(), &"support".into()));
    assert_eq!(get("/v1/models/support").await["display_name"], "support");
}

#[tokio::test]
async fn a_provider_is_told_only_the_flags_that_it_knows() {
    let world = World::with(vec![ok("x")], vec![], |config| {
        anthropic(config);
        let one = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        one.betas = Betas::Only(["b-1".to_owned()].into());
    })
    .await;
    world.release(0).await;
    let headers = [("x-session-id", "s"), ("anthropic-beta", "b-1,b-2")];
    world.send(world.request("/v1/messages", &headers, ASK)).await;
    assert_eq!(world.stable.received()[0].header("anthropic-beta"), Some("b-1"), "T28");
}
