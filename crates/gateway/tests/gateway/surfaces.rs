//! Responses, embeddings and completions of old from one end to the other: routed, patched, observed and
//! pinned as chat completions are.
use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{Cause, Check, Ending, ServedBy};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::{Reach, Revoked, RouteTable};
use coalmine_core::version::{JsonText, Prompt, PromptMode};
use coalmine_gateway::config::{Config, ProviderKind};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;

/// A response that is one body.
pub fn response(id: &str, text: &str) -> Vec<Step> {
    let body = json!({"id": id, "object": "response", "status": "completed", "model": "m", "error": null,
        "output": [{"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]}],
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}}});
    json_answer(200, "", &body.to_string())
}

pub fn named(kind: &str, mut data: Value) -> String {
    data["type"] = json!(kind);
    format!("event: {kind}\ndata: {data}\n\n")
}

/// The events of a response that is a stream.
pub fn events(id: &str, texts: &[&str]) -> Vec<String> {
    let head = |status: &str| json!({"response": {"id": id, "object": "response", "status": status, "model": "m", "output": []}});
    let mut events = vec![
        named("response.created", head("in_progress")),
        named(
            "response.output_item.added",
            json!({"output_index": 0, "item": {"type": "message", "role": "assistant", "content": []}}),
        ),
    ];
    let delta = |text: &&str| {
        named("response.output_text.delta", json!({"output_index": 0, "content_index": 0, "delta": text}))
    };
    events.extend(texts.iter().map(delta));
    let mut last = head("completed");
    last["response"]["usage"] = json!({"input_tokens": 10, "output_tokens": 5});
    events.push(named("response.completed", last));
    events
}

pub fn stream_of(events: &[String]) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD)];
    steps.extend(events.iter().map(|event| write(chunk(event))));
    steps.push(write(STREAM_END));
    steps
}

pub async fn post(world: &World, path: &str, session: &str, body: &Value) -> Answer {
    let headers: &[(&str, &str)] = if session.is_empty() { &[] } else { &[("x-session-id", session)] };
    Answer::of(world.send(world.request(path, headers, body.to_string())).await).await
}

async fn ask(world: &World, session: &str, body: &Value) -> Answer {
    post(world, "/v1/responses", session, body).await
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.header("x-coalmine-arm"))
}

fn patched(generation: u64) -> RouteTable {
    let mut table = route(generation, Some(10_000));
    let mut canary = version("two", "model-c");
    canary.prompt = Some(Prompt::new(PromptMode::Replace, "Be kind."));
    canary.params.insert("max_completion_tokens".to_owned(), JsonText("300".to_owned()));
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions.insert(canary.id(), Arc::new(canary));
    table
}

fn rolled_back(generation: u64) -> RouteTable {
    let mut back = route(generation, None);
    let version = version("two", "model-c").id();
    back.revoked =
        vec![Revoked { release: Arc::new("support-1".into()), version, reach: Reach::CanaryArm, moves_at: UnixMs(0) }];
    back
}

#[tokio::test]
async fn a_response_is_routed_patched_and_observed() {
    let world = World::new(vec![], vec![response("resp_1", "yes")]).await;
    world.gateway.install(&tables(patched(1))).await.unwrap();
    let body = r#"{"model":"support","x":[1.0],"instructions":"Old.","input":"Hi"}"#;
    let answer = Answer::of(world.send(world.request("/v1/responses", &[("x-session-id", "s")], body)).await).await;
    assert_eq!(said(&answer), (200, "canary"));
    let sent = &world.canary.received()[0];
    assert!(sent.head.starts_with("POST /v1/responses HTTP/1.1"), "{}", sent.head);
    let expected = r#"{"model":"model-c","x":[1.0],"instructions":"Be kind.","input":"Hi","max_output_tokens":300}"#;
    assert_eq!(String::from_utf8(sent.body.clone()).unwrap(), expected);
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.empty, outcome.refusal), (Ending::Complete, Check::No, Check::No));
    let usage = outcome.usage;
    assert_eq!((usage.input, usage.cached, usage.output, usage.reasoning), (Some(10), Some(4), Some(5), Some(2)));
}

#[tokio::test]
async fn a_response_in_pieces_passes_as_it_is_and_its_first_content_counts() {
    let events = events("resp_1", &["a", "b"]);
    let world = World::new(vec![stream_of(&events)], vec![]).await;
    world.release(0).await;
    let answer = ask(&world, "s", &json!({"model": "support", "input": "Hi", "stream": true})).await;
    assert_eq!(answer.text(), events.concat());
    assert_eq!(world.stable.received()[0].json().get("stream_options"), None, "responses tell usage unasked");
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.usage.output, outcome.ttft_ms), (Ending::Complete, Some(5), Some(0.0)));
}

#[tokio::test]
async fn tool_calls_of_responses_are_judged() {
    let call = |arguments: &str| {
        let item = json!({"type": "function_call", "call_id": "c", "name": "find", "arguments": arguments});
        let body = json!({"object": "response", "id": "r", "status": "completed", "output": [item]});
        json_answer(200, "", &body.to_string())
    };
    let world = World::new(vec![call("{\"id\":7}"), call("{\"id\":\"x\"}")], vec![]).await;
    world.release(0).await;
    let tools = json!([{"type": "function", "name": "find", "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}}}]);
    for _ in 0..2 {
        ask(&world, "s", &json!({"model": "support", "input": "Hi", "tools": tools})).await;
    }
    let turns = world.turns(2).await;
    let calls: Vec<_> = turns.iter().map(|turn| (turn.outcome.tool_calls, turn.outcome.tool_calls_bad)).collect();
    assert_eq!(calls, [(1, 0), (1, 1)]);
}

#[tokio::test]
async fn failures_of_responses_before_the_first_content_are_rescued() {
    let failed = named(
        "response.failed",
        json!({"response": {"id": "r", "object": "response", "status": "failed", "error": {"code": "server_error", "message": "x"}, "output": []}}),
    );
    let cut = events("r", &[]);
    let scripts: Vec<(&str, Vec<Step>, Cause)> = vec![
        ("a failure told", stream_of(&[events("r", &[])[0].clone(), failed]), Cause::InBand),
        ("a break", stream_of(&cut[..2]), Cause::Broken),
        ("a status", error(500, ""), Cause::Server),
    ];
    for (what, script, cause) in scripts {
        let world = World::new(vec![stream_of(&events("resp_s", &["fine"]))], vec![script]).await;
        world.release(10_000).await;
        let answer = ask(&world, "s", &json!({"model": "support", "input": "Hi", "stream": true})).await;
        assert_eq!(answer.text(), events("resp_s", &["fine"]).concat(), "{what}");
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Rescue, Ending::Failed(cause)), "{what}");
    }
}

/// A later request finds the session by the response that it names, whatever else it says.
#[tokio::test]
async fn t36_a_response_that_is_named_finds_its_session() {
    for stream in [false, true] {
        let script = |id| if stream { stream_of(&events(id, &["yes"])) } else { response(id, "yes") };
        let world = World::new(vec![script("resp_s")], vec![script("resp_c"), script("resp_d")]).await;
        world.release(10_000).await;
        let first = ask(&world, "", &json!({"model": "support", "input": "Hi", "stream": stream})).await;
        assert_eq!(said(&first), (200, "canary"));
        world.gateway.install(&tables(route(2, Some(0)))).await.unwrap();
        let more =
            |id: &str| json!({"model": "support", "input": "more", "stream": stream, "previous_response_id": id});
        let second = ask(&world, "another-name", &more("resp_c")).await;
        assert_eq!(said(&second), (200, "canary"));
        assert_eq!(second.header("x-coalmine-session"), first.header("x-coalmine-session"));
        assert_eq!(world.canary.received()[1].json()["previous_response_id"], "resp_c", "ids pass as they are");
        assert_eq!(said(&ask(&world, "", &more("resp_d")).await), (200, "canary"));
        assert_eq!(said(&ask(&world, "", &more("resp_unknown")).await), (200, "stable"));
        let turns = world.turns(4).await;
        let counted: Vec<bool> = turns.iter().map(|turn| turn.member.is_some()).collect();
        assert_eq!(counted, [true, true, true, false]);
    }
}

/// A rollback does not send a session to a provider that cannot know what it goes on from.
#[tokio::test]
async fn t36_a_rollback_leaves_a_response_with_the_provider_that_holds_it() {
    let world = World::new(vec![response("resp_s", "s")], vec![response("resp_c", "c")]).await;
    world.release(10_000).await;
    ask(&world, "s", &json!({"model": "support", "input": "Hi"})).await;
    world.gateway.install(&tables(rolled_back(2))).await.unwrap();
    let more = json!({"model": "support", "input": "more", "previous_response_id": "resp_c"});
    assert_eq!(said(&ask(&world, "s", &more).await), (200, "canary"));
    let anew = ask(&world, "s", &json!({"model": "support", "input": "anew"})).await;
    assert_eq!(said(&anew), (200, "stable"), "what refers to nothing moves");
    assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="bound"} 1"#));
    assert!(world.turns(3).await[1..].iter().all(|turn| turn.member.is_none()));
}

/// With one provider and one key for both versions, there is nothing to be bound to.
#[tokio::test]
async fn t36_a_rollback_moves_a_response_where_the_provider_is_the_same() {
    let shared = |generation, weight: Option<u16>| {
        let mut table = route(generation, weight);
        let canary = version("one", "model-c");
        if let Some(release) = &mut table.release {
            release.canary = canary.id();
        }
        table.versions.insert(canary.id(), Arc::new(canary));
        table
    };
    let world = World::new(vec![response("resp_1", "s")], vec![]).await;
    world.gateway.install(&tables(shared(1, Some(10_000)))).await.unwrap();
    ask(&world, "s", &json!({"model": "support", "input": "Hi"})).await;
    let mut back = shared(2, None);
    back.revoked = vec![Revoked {
        release: Arc::new("support-1".into()),
        version: version("one", "model-c").id(),
        reach: Reach::CanaryArm,
        moves_at: UnixMs(0),
    }];
    world.gateway.install(&tables(back)).await.unwrap();
    let more = json!({"model": "support", "input": "more", "previous_response_id": "resp_1"});
    assert_eq!(said(&ask(&world, "s", &more).await), (200, "stable"));
    assert_eq!(world.stable.received()[1].json()["model"], "model-s");
}

/// A first turn that stable answered in the canary's place goes on where its response lies.
#[tokio::test]
async fn t36_a_rescued_response_goes_on_where_it_lies() {
    let world = World::new(vec![response("resp_s", "s")], vec![error(500, ""), response("resp_c", "c")]).await;
    world.release(10_000).await;
    assert_eq!(ask(&world, "s", &json!({"model": "support", "input": "Hi"})).await.status, 200);
    let more = json!({"model": "support", "input": "more", "previous_response_id": "resp_s"});
    assert_eq!(said(&ask(&world, "s", &more).await), (200, "stable"));
    assert_eq!(said(&ask(&world, "s", &json!({"model": "support", "input": "anew"})).await), (200, "canary"));
}

/// What is asked of a response by its id goes to the provider that holds it.
#[tokio::test]
async fn t36_a_response_is_read_where_it_lies() {
    let stored = json_answer(200, "", r#"{"id":"resp_c"}"#);
    let world = World::new(vec![], vec![response("resp_c", "c"), stored]).await;
    world.release(10_000).await;
    ask(&world, "s", &json!({"model": "support", "input": "Hi"})).await;
    let get =
        Request::builder().method(Method::GET).uri(format!("http://{}/v1/responses/resp_c?include=x", world.address));
    let answer = Answer::of(world.send(get.body(Full::default()).unwrap()).await).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":"resp_c"}"#));
    assert!(world.canary.received()[1].head.starts_with("GET /v1/responses/resp_c?include=x HTTP/1.1"));
    assert_eq!(world.canary.received()[1].header("authorization"), Some("Bearer key-two"));
}

/// Reasoning that one provider sealed is not shown to another: the session stays, through a rollback too, and
/// stable does not stand in.
#[tokio::test]
async fn t35_encrypted_reasoning_stays_with_the_key_that_made_it() {
    let world = World::new(
        vec![response("resp_s", "s")],
        vec![response("resp_c", "c"), error(500, ""), response("resp_d", "d")],
    )
    .await;
    world.release(10_000).await;
    let begun = json!([{"role": "user", "content": "Hi"}]);
    let sealed = json!([{"role": "user", "content": "Hi"}, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "c"}]}, {"role": "user", "content": "more"}]);
    let body = |input: &Value| json!({"model": "support", "input": input, "store": false, "include": ["reasoning.encrypted_content"]});
    ask(&world, "s", &body(&begun)).await;
    assert_eq!(said(&ask(&world, "s", &body(&sealed)).await), (500, "canary"), "nobody else can read it");
    world.gateway.install(&tables(rolled_back(2))).await.unwrap();
    assert_eq!(said(&ask(&world, "s", &body(&sealed)).await), (200, "canary"));
    assert_eq!(world.canary.received()[2].json()["input"], sealed, "and nothing is taken out of it");
    assert_eq!(world.stable.count(), 0);
}

/// Thinking that is signed stays with its provider; on the way into a dialect that has none it is left out.
#[tokio::test]
async fn t37_signed_thinking_is_not_shown_to_another_provider() {
    let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "c"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}).to_string();
    let first = json!({"model": "support", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let mut later = first.clone();
    later["messages"] = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "c"}]}, {"role": "user", "content": "more"}]);
    for (stable_kind, expected) in [(ProviderKind::Anthropic, "canary"), (ProviderKind::OpenAi, "stable")] {
        let kinds = |config: &mut Config| {
            config.providers.get_mut(&ProviderName::from("one")).unwrap().kind = stable_kind;
            config.providers.get_mut(&ProviderName::from("two")).unwrap().kind = ProviderKind::Anthropic;
        };
        let world = World::with(vec![ok("s")], vec![json_answer(200, "", &message)], kinds).await;
        world.release(10_000).await;
        assert_eq!(said(&post(&world, "/v1/messages", "s", &first).await), (200, "canary"));
        world.gateway.install(&tables(rolled_back(2))).await.unwrap();
        assert_eq!(said(&post(&world, "/v1/messages", "s", &later).await), (200, expected), "{stable_kind:?}");
        assert!(world.stable.received().iter().all(|sent| !String::from_utf8_lossy(&sent.body).contains("sig")));
    }
}

#[tokio::test]
async fn a_conversation_of_responses_is_found_by_its_content() {
    let world = World::new(vec![], vec![response("resp_1", "yes"), response("resp_2", "more")]).await;
    world.release(10_000).await;
    let first = ask(&world, "", &json!({"model": "support", "input": "Hi", "store": false})).await;
    let items = json!([{"role": "user", "content": "Hi"}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes"}]}, {"role": "user", "content": "more"}]);
    let second = ask(&world, "", &json!({"model": "support", "input": items, "store": false})).await;
    assert_eq!(second.header("x-coalmine-session"), first.header("x-coalmine-session"));
    assert_eq!(said(&second), (200, "canary"));
}

/// A canary whose provider has no responses is not asked for one, and neither arm counts the session.
#[tokio::test]
async fn a_surface_that_one_provider_lacks_makes_a_session_ineligible() {
    for (path, body) in [
        ("/v1/responses", json!({"model": "support", "input": "Hi"})),
        ("/v1/embeddings", json!({"model": "support", "input": "Hi"})),
        ("/v1/completions", json!({"model": "support", "prompt": "Hi"})),
    ] {
        let kind = |name: &'static str| {
            move |config: &mut Config| {
                config.providers.get_mut(&ProviderName::from(name)).unwrap().kind = ProviderKind::Anthropic;
            }
        };
        let world = World::with(vec![ok("s")], vec![], kind("two")).await;
        world.release(10_000).await;
        assert_eq!(said(&post(&world, path, "s", &body).await), (200, "stable"), "{path}");
        assert_eq!((world.turns(1).await[0].member.clone(), world.canary.count()), (None, 0), "{path}");
        assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="ineligible"} 1"#), "{path}");
        let world = World::with(vec![], vec![], kind("one")).await;
        world.release(0).await;
        let refused = post(&world, path, "s", &body).await;
        let told = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 400, "{path}");
        assert!(told.starts_with("route 'support' is answered by a provider that speaks messages: "), "{told}");
    }
}

/// A version that sets what a surface has no place for is not asked on it, and says why.
#[tokio::test]
async fn a_version_that_a_surface_has_no_place_for_is_not_asked_on_it() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.gateway.install(&tables(patched(1))).await.unwrap();
    let body = json!({"model": "support", "input": "Hi"});
    assert_eq!(said(&post(&world, "/v1/embeddings", "s", &body).await), (200, "stable"));
    assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="ineligible"} 1"#));
    let mut only = patched(2);
    only.stable = only.release.take().unwrap().canary;
    let world = World::new(vec![], vec![]).await;
    world.gateway.install(&tables(only)).await.unwrap();
    let refused = post(&world, "/v1/embeddings", "s", &body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["error"]["message"],
        "route 'support' cannot be asked like this: a prompt cannot be said in embeddings"
    );
}

fn embedding() -> Vec<Step> {
    let vector: Vec<f64> = (0..1_536).map(|n| f64::from(n) / 1_536.0).collect();
    let body = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}], "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    json_answer(200, "", &body.to_string())
}

/// Vectors of two models cannot be compared, so only a request that names its session is ever split.
#[tokio::test]
async fn embeddings_are_split_by_named_session_and_else_are_stables() {
    let world = World::new(vec![embedding()], vec![embedding()]).await;
    world.release(10_000).await;
    let body = json!({"model": "support", "input": ["a", "b"], "encoding_format": null});
    let answer = post(&world, "/v1/embeddings", "index-7", &body).await;
    assert_eq!(said(&answer), (200, "canary"));
    assert_eq!(answer.json()["data"][0]["embedding"].as_array().unwrap().len(), 1_536, "byte for byte");
    assert_eq!(
        world.canary.received()[0].json(),
        json!({"model": "model-c", "input": ["a", "b"], "encoding_format": null})
    );
    assert_eq!(said(&post(&world, "/v1/embeddings", "", &body).await), (200, "stable"));
    let turns = world.turns(2).await;
    let outcome = &turns[0].outcome;
    assert_eq!((outcome.ending, outcome.empty), (Ending::Complete, Check::No));
    assert_eq!((outcome.usage.input, outcome.usage.output), (Some(8), Some(0)));
    assert_eq!(turns[1].unit, None);
}

#[tokio::test]
async fn completions_of_old_are_routed_and_observed() {
    let piece = |text: &str, end: &str| {
        event(&format!(
            r#"{{"object":"text_completion","choices":[{{"text":"{text}","index":0,"finish_reason":{end}}}]}}"#
        ))
    };
    let events = [piece("Once ", "null"), piece("upon", r#""length""#)];
    let stream = stream_of(&[events.concat(), usage(), done()]);
    let world = World::new(vec![], vec![stream]).await;
    world.release(10_000).await;
    let answer =
        post(&world, "/v1/completions", "", &json!({"model": "support", "prompt": "Tell", "stream": true})).await;
    assert_eq!(
        (said(&answer), answer.text()),
        ((200, "canary"), events.concat() + &done()),
        "usage is taken out again"
    );
    assert_eq!(world.canary.received()[0].json()["stream_options"]["include_usage"], true);
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.truncated, outcome.usage.output), (Ending::Complete, Check::Yes, Some(5)));
}

#[tokio::test]
async fn tokens_of_responses_are_counted_by_whoever_would_answer() {
    let counted = json_answer(200, "", r#"{"object":"response.input_tokens","input_tokens":11}"#);
    let world = World::new(vec![counted.clone()], vec![response("resp_c", "c"), counted]).await;
    world.gateway.install(&tables(patched(1))).await.unwrap();
    let body = json!({"model": "support", "input": "Hi"});
    assert_eq!(post(&world, "/v1/responses/input_tokens", "s", &body).await.json()["input_tokens"], 11);
    assert!(world.pins.is_empty(), "counting pins nobody");
    ask(&world, "s", &body).await;
    let more = json!({"model": "support", "input": "more", "previous_response_id": "resp_c"});
    post(&world, "/v1/responses/input_tokens", "", &more).await;
    let sent = world.canary.received()[1].json();
    assert_eq!(
        sent,
        json!({"model": "model-c", "input": "more", "previous_response_id": "resp_c", "instructions": "Be kind."})
    );
    assert_eq!(world.turns(1).await.len(), 1, "counting is no turn");
}

/// A form as the SDKs send it for a transcription.
async fn form(world: &World, parts: &[(&str, &str)]) -> Answer {
    let part =
        |(head, text): &(&str, &str)| format!("--b7\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let body: String = parts.iter().map(part).chain(["--b7--\r\n".to_owned()]).collect();
    let mut request = world.request("/v1/audio/transcriptions", &[], body);
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=b7".parse().unwrap());
    Answer::of(world.send(request).await).await
}

#[tokio::test]
async fn the_model_of_a_form_names_its_route_and_only_it_is_patched() {
    let world = World::new(vec![json_answer(200, "", r#"{"text":"hi"}"#)], vec![]).await;
    world.release(10_000).await;
    let file = ("name=\"file\"; filename=\"a.wav\"", "RIFF support --b7 x");
    for parts in [[file, ("name=\"model\"", "support")], [("name=\"model\"", "support"), file]] {
        assert_eq!(form(&world, &parts).await.json(), json!({"text": "hi"}));
        let sent = world.stable.received().pop().unwrap();
        let text = String::from_utf8(sent.body.clone()).unwrap();
        assert!(text.contains("name=\"model\"\r\n\r\nmodel-s\r\n--b7"), "{text}");
        assert!(text.contains("\r\n\r\nRIFF support --b7 x\r\n--b7"), "the file is as it was: {text}");
        assert_eq!(sent.header("content-type"), Some("multipart/form-data; boundary=b7"));
    }
    assert_eq!(form(&world, &[("name=\"model\"", "gpt-x")]).await.status, 404, "two providers, and no default");
    let twice = form(&world, &[("name=\"model\"", "support"), file, ("name=\"model\"", "gpt-x")]).await;
    assert_eq!(twice.status, 400);
    assert!(twice.text().contains("more than one part `model`"), "{}", twice.text());
    assert_eq!((world.stable.count(), world.canary.count()), (2, 0), "nobody was asked in vain, and no turn is split");
}

/// In whatever form a server hands its seals on: redacted, as blocks beside the text, as details of its reasoning.
#[tokio::test]
async fn t37_every_form_of_a_seal_binds() {
    let sealed = |dialect: &str, message: Value| match dialect {
        "/v1/responses" => {
            json!({"model": "support", "input": [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "more"}]})
        }
        _ => {
            json!({"model": "support", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "more"}]})
        }
    };
    let said = |extra: Value| {
        let mut message = json!({"role": "assistant", "content": "c"});
        message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        message
    };
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "sig"});
    for (path, kind, message, bound) in [
        (
            "/v1/messages",
            ProviderKind::Anthropic,
            said(json!({"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "c"}]})),
            true,
        ),
        ("/v1/messages", ProviderKind::Anthropic, said(json!({"content": [{"type": "text", "text": "c"}]})), false),
        ("/v1/chat/completions", ProviderKind::OpenAi, said(json!({"thinking_blocks": [block]})), true),
        (
            "/v1/chat/completions",
            ProviderKind::OpenAi,
            said(json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]})),
            true,
        ),
        (
            "/v1/chat/completions",
            ProviderKind::OpenAi,
            said(json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}], "reasoning": "hm"})),
            false,
        ),
        (
            "/v1/responses",
            ProviderKind::OpenAi,
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}),
            true,
        ),
        (
            "/v1/responses",
            ProviderKind::OpenAi,
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null}),
            false,
        ),
    ] {
        let kinds = |config: &mut Config| config.providers.values_mut().for_each(|one| one.kind = kind);
        let world = World::with(vec![json_answer(500, "", "{}")], vec![json_answer(200, "", "{}")], kinds).await;
        world.release(10_000).await;
        let begun = sealed(path, json!({"role": "user", "content": "x"}));
        post(&world, path, "s", &begun).await;
        let at = (world.stable.count(), world.canary.count());
        world.gateway.install(&tables(rolled_back(2))).await.unwrap();
        post(&world, path, "s", &sealed(path, message.clone())).await;
        let went = (world.stable.count() - at.0, world.canary.count() - at.1);
        assert_eq!(went, if bound { (0, 1) } else { (1, 0) }, "{path} {message}");
    }
}
