//! A canary with a provider of another dialect: the client notices nothing but the answer.
use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{Cause, Check, Ending, ServedBy};
use coalmine_core::traffic::pin::Arm;
use coalmine_core::version::{JsonText, Prompt, PromptMode, Tools, ToolsMode, Version};
use coalmine_gateway::config::{Config, ProviderKind, RouteSettings, SessionSource};
use serde_json::json;
use std::sync::Arc;

const SYSTEM: &str = r#"{"model":"support","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"hello"}],"temperature":0.5}"#;
const MESSAGES: &str = r#"{"model":"support","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}"#;
/// Messages have no seed.
const UNSAID: &str = r#"{"model":"support","seed":7,"messages":[{"role":"user","content":"hello"}]}"#;

fn message(text: &str) -> String {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 5}})
    .to_string()
}

fn named(kind: &str, mut data: serde_json::Value) -> String {
    data["type"] = json!(kind);
    format!("event: {kind}\ndata: {data}\n\n")
}

fn events(texts: &[&str]) -> Vec<String> {
    let start = json!({"message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}}});
    let mut events = vec![
        named("message_start", start),
        named("ping", json!({})),
        named("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    let delta = |text: &&str| json!({"index": 0, "delta": {"type": "text_delta", "text": text}});
    events.extend(texts.iter().map(|text| named("content_block_delta", delta(text))));
    events.push(named("content_block_stop", json!({"index": 0})));
    events.push(named("message_delta", json!({"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}})));
    events.push(named("message_stop", json!({})));
    events
}

fn stream_of(events: &[String]) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD)];
    steps.extend(events.iter().map(|event| write(chunk(event))));
    steps
}

fn anthropic(config: &mut Config, provider: &str) {
    config.providers.get_mut(&ProviderName::from(provider)).unwrap().kind = ProviderKind::Anthropic;
}

/// Stable speaks chat completions, the canary messages.
async fn world(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>) -> World {
    World::with(stable, canary, |config| anthropic(config, "two")).await
}

async fn ask(world: &World, session: &str, body: &str) -> Answer {
    let request = world.request("/v1/messages", &[("x-session-id", session)], body.to_owned());
    Answer::of(world.send(request).await).await
}

#[tokio::test]
async fn a_chat_completion_is_answered_by_a_canary_of_messages() {
    let world =
        world(vec![ok("from stable")], vec![json_answer(200, "request-id: req_1\r\n", &message("Grüße"))]).await;
    world.release(10_000).await;
    let headers = [("x-session-id", "s-1"), ("openai-beta", "x"), ("authorization", "Bearer sk")];
    let answer = Answer::of(world.send(world.request("/v1/chat/completions", &headers, SYSTEM)).await).await;
    assert_eq!((answer.status, answer.header("request-id")), (200, "req_1"));
    let told = answer.json();
    assert_eq!((&told["object"], &told["id"]), (&json!("chat.completion"), &json!("msg_1")));
    assert_eq!(told["choices"][0]["message"]["content"], "Grüße");
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert_eq!((&told["usage"]["prompt_tokens"], &told["created"]), (&json!(12), &json!(1_000)));

    let sent = &world.canary.received()[0];
    assert!(sent.head.starts_with("POST /v1/messages HTTP/1.1"), "{}", sent.head);
    assert_eq!((sent.header("x-api-key"), sent.header("authorization")), (Some("key-two"), None));
    assert_eq!((sent.header("anthropic-version"), sent.header("openai-beta")), (Some("2023-06-01"), None));
    let body = sent.json();
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("model-c"), &json!(8_192)));
    assert_eq!(body["system"], json!([{"type": "text", "text": "Be kind."}]));
    let turn = world.turns(1).await.remove(0);
    assert_eq!((turn.outcome.ending, turn.member.unwrap().arm), (Ending::Complete, Arm::Canary));
    assert_eq!((turn.outcome.usage.input, turn.outcome.usage.cached), (Some(12), Some(2)));
}

/// A version's prompt takes the place of the client's first system message, and of no other, whoever is asked.
#[tokio::test]
async fn a_prompt_meets_the_first_system_message_in_either_dialect() {
    let asked = json!({"model": "support", "messages": [
        {"role": "system", "content": "Be kind."}, {"role": "system", "content": "It is Monday."},
        {"role": "user", "content": "hello"},
    ]});
    for (mode, said) in [
        (PromptMode::Replace, &["NEW", "It is Monday."][..]),
        (PromptMode::Append, &["Be kind.", "NEW", "It is Monday."]),
    ] {
        for (foreign, answer) in [(false, ok("so")), (true, json_answer(200, "", &message("so")))] {
            let change = |config: &mut Config| {
                if foreign {
                    anthropic(config, "two")
                }
            };
            let world = World::with(vec![], vec![answer], change).await;
            let mut table = route(1, Some(10_000));
            let canary = Version { prompt: Some(Prompt::new(mode, "NEW")), ..version("two", "model-c") };
            table.release.as_mut().unwrap().canary = canary.id();
            table.versions.insert(canary.id(), Arc::new(canary));
            world.gateway.install(&tables(table)).await.unwrap();
            assert_eq!(world.chat("s-1", &asked.to_string()).await.status, 200);
            let sent = world.canary.received()[0].json();
            let texts = |list: &serde_json::Value, name: &str| -> Vec<String> {
                let texts = list.as_array().unwrap().iter().filter(|one| one["role"] != "user");
                texts.flat_map(|one| one[name].as_str().unwrap().split("\n\n")).map(str::to_owned).collect()
            };
            let told = if foreign { texts(&sent["system"], "text") } else { texts(&sent["messages"], "content") };
            assert_eq!(told, said, "{sent}");
        }
    }
}

#[tokio::test]
async fn a_stream_comes_in_the_clients_dialect() {
    let mut script = stream_of(&events(&["a", "b"]));
    script.push(write(STREAM_END));
    let world = world(vec![], vec![script]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK_STREAM).await;
    let text = answer.text();
    assert_eq!((text.matches("data: [DONE]").count(), text.matches("usage").count()), (1, 0), "T11, T13: {text}");
    assert!(
        text.contains(r#""content":"a""#) && text.contains(": ping") && text.contains(r#""finish_reason":"stop""#),
        "T19"
    );
    assert!(!text.contains("event:"), "{text}");
    let turn = world.turns(1).await.remove(0);
    assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(7)));
    assert!(turn.outcome.ttft_ms.is_some());
}

#[tokio::test]
async fn messages_are_answered_by_a_canary_of_chat_completions() {
    for stream in [false, true] {
        let canary = if stream { streamed(&["a", "b"]) } else { ok("ab") };
        let world = World::with(vec![], vec![canary], |config| anthropic(config, "one")).await;
        world.release(10_000).await;
        let body = if stream {
            MESSAGES.replace(r#""max_tokens""#, r#""stream":true,"max_tokens""#)
        } else {
            MESSAGES.to_owned()
        };
        let headers = [("x-session-id", "s-1"), ("x-api-key", "sk"), ("anthropic-version", "2023-06-01")];
        let answer = Answer::of(world.send(world.request("/v1/messages?beta=true", &headers, body)).await).await;
        let sent = &world.canary.received()[0];
        assert!(sent.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", sent.head);
        assert_eq!((sent.header("authorization"), sent.header("anthropic-version")), (Some("Bearer key-two"), None));
        let asked = sent.json();
        assert_eq!(asked["max_tokens"], 50, "a server that is not OpenAI itself knows the older name");
        let text = answer.text();
        if stream {
            assert_eq!(asked["stream_options"]["include_usage"], true);
            assert_eq!(text.matches("event: message_stop").count(), 1, "{text}");
            assert!(
                text.contains(r#""text":"b""#) && text.contains(r#""output_tokens":5"#) && !text.contains("[DONE]")
            );
        } else {
            let told = answer.json();
            assert_eq!((&told["type"], &told["stop_reason"]), (&json!("message"), &json!("end_turn")));
            assert_eq!((&told["content"][0]["text"], &told["usage"]["input_tokens"]), (&json!("ab"), &json!(10)));
        }
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(5)));
    }
}

#[tokio::test]
async fn errors_come_in_the_clients_dialect_with_their_status() {
    let refused = r#"{"type":"error","error":{"type":"invalid_request_error","message":"too hot"}}"#;
    let world =
        world(vec![error(400, "")], vec![json_answer(400, "retry-after: 3\r\nrequest-id: req_1\r\n", refused)]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.header("retry-after")), (400, "3"));
    assert_eq!(
        (answer.header("x-request-id"), answer.header("request-id")),
        ("req_1", "req_1"),
        "SDKs look for theirs"
    );
    let told = json!({"error": {"message": "too hot", "type": "invalid_request_error", "param": null, "code": null}});
    assert_eq!((answer.json(), answer.header("content-type")), (told, "application/json"));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::ClientError);
}

#[tokio::test]
async fn a_failing_canary_is_rescued_across_dialects() {
    let bad = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let early = vec![write(STREAM_HEAD), write(chunk(&events(&[])[0])), Step::Close];
    for (what, script, stream, cause) in [
        ("an overload", json_answer(529, "", bad), false, Cause::Server),
        ("an error in a body", json_answer(200, "", bad), false, Cause::InBand),
        ("no message", json_answer(200, "", "<html>"), false, Cause::Malformed),
        ("half a body", json_answer(200, "", r#"{"type":"mess"#), false, Cause::Broken),
        ("a break before content", early, true, Cause::Broken),
    ] {
        let stable = if stream { streamed(&["fine"]) } else { ok("fine") };
        let world = world(vec![stable], vec![script]).await;
        world.release(10_000).await;
        let answer = world.chat("s-1", if stream { ASK_STREAM } else { ASK }).await;
        assert!(answer.status == 200 && answer.text().contains("fine"), "{what}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("verloaded") && !answer.text().contains("msg_1"), "{what}");
        let turn = world.turns(1).await.remove(0);
        assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Rescue, Ending::Failed(cause)), "{what}");
    }
}

#[tokio::test]
async fn what_a_failed_rescue_said_is_not_of_the_canary() {
    let half = r#"{"type":"message","model":"claude","usage":{"input_tokens":10,"output_tokens":5},"content":["#;
    let failed =
        r#"{"error":{"message":"no","type":"server_error"},"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    for (status, input) in [(500, None), (200, Some(3))] {
        let (stable, canary) = (json_answer(200, "", half), json_answer(status, "", failed));
        let world = World::with(vec![stable], vec![canary], |config| anthropic(config, "one")).await;
        world.release(10_000).await;
        let answer = world.chat("s-1", ASK).await;
        assert!(answer.text().contains("server_error"), "{status}: {} {}", answer.status, answer.text());
        assert_eq!((world.stable.count(), world.canary.count()), (1, 1), "stable was asked");
        let turn = world.turns(1).await.remove(0);
        assert!(matches!(turn.outcome.ending, Ending::Failed(_)), "{status}");
        assert_eq!(turn.outcome.usage.input, input, "{status}: of the canary's own answer alone");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_and_does_not_look_whole() {
    let mut script = stream_of(&events(&["half"])[..4]);
    script.push(Step::Close);
    let world = world(vec![], vec![script]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK_STREAM).await;
    let text = answer.text();
    assert!(text.contains("half") && text.contains(r#""error":{"message""#) && !text.contains("[DONE]"), "T15: {text}");
    let turn = world.turns(1).await.remove(0);
    assert_eq!((turn.outcome.ending, turn.outcome.truncated), (Ending::Failed(Cause::Broken), Check::Yes));
}

#[tokio::test]
async fn what_the_canary_cannot_be_asked_goes_to_stable_and_counts_in_neither_arm() {
    for weight in [0, 10_000] {
        let world = world(vec![ok("from stable")], vec![]).await;
        world.release(weight).await;
        let answer = world.chat("s-1", UNSAID).await;
        assert_eq!((answer.text(), answer.header("x-coalmine-arm")), (completion("from stable"), "stable"));
        assert_eq!(world.stable.received()[0].json()["seed"], 7, "nothing is left out");
        world.chat("s-1", ASK).await;
        assert_eq!(world.canary.count(), 0, "the session stays where it began");
        let turns = world.turns(2).await;
        assert!(turns.iter().all(|turn| turn.member.is_none()), "{weight}");
        assert!(world.metric(r#"coalmine_assignments_total{route="support",reason="ineligible"} 1"#));
    }
}

/// What a provider does by itself does not come back in the next turn through another dialect, and a turn that pauses there
/// cannot be gone on with; the client's allowed tools would meet the version's own.
#[tokio::test]
async fn a_version_with_tools_of_its_provider_is_asked_in_its_own_dialect_alone() {
    let allowed = json!({"model": "support", "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}});
    let allowed = allowed.to_string();
    let own = r#"[{"type":"function","function":{"name":"g"}}]"#;
    let search = r#"[{"type":"web_search_20250305","name":"web_search"}]"#;
    for (tools, asked, arm) in [
        (Some(search), ASK, "stable"),
        (Some(own), ASK, "canary"),
        (Some(own), &allowed, "stable"),
        (None, &allowed, "canary"),
    ] {
        let world = world(vec![ok("so")], vec![json_answer(200, "", &message("so"))]).await;
        let mut table = route(1, Some(10_000));
        let given = tools.map(|json| Tools { mode: ToolsMode::Merge, json: JsonText(json.to_owned()) });
        let canary = Version { tools: given, ..version("two", "model-c") };
        table.release.as_mut().unwrap().canary = canary.id();
        table.versions.insert(canary.id(), Arc::new(canary));
        world.gateway.install(&tables(table)).await.unwrap();
        let answer = world.chat("s-1", asked).await;
        assert_eq!((answer.status, answer.header("x-coalmine-arm")), (200, arm), "{tools:?} {asked}");
    }
}

#[tokio::test]
async fn a_session_that_could_be_asked_leaves_for_the_turn_that_cannot() {
    let world = world(vec![ok("from stable")], vec![json_answer(200, "", &message("x"))]).await;
    world.release(10_000).await;
    let arms = [world.chat("s", ASK).await, world.chat("s", UNSAID).await, world.chat("s", ASK).await]
        .map(|answer| answer.header("x-coalmine-arm").to_owned());
    assert_eq!(arms, ["canary", "stable", "canary"]);
    let members: Vec<bool> = world.turns(3).await.iter().map(|turn| turn.member.is_some()).collect();
    assert_eq!(members, [true, false, true]);
}

#[tokio::test]
async fn what_stable_cannot_be_asked_is_refused_and_says_why() {
    let world = World::with(vec![], vec![], |config| anthropic(config, "one")).await;
    world.release(0).await;
    let answer = world.chat("s-1", UNSAID).await;
    let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 400);
    assert_eq!(
        told,
        "route 'support' is answered by a provider that speaks messages: the member `seed` cannot be said in messages"
    );
    let turn = world.turns(1).await.remove(0);
    assert_eq!((turn.outcome.ending, turn.member), (Ending::ClientError, None));
}

#[tokio::test]
async fn tokens_are_not_counted_by_a_provider_that_cannot() {
    let world = world(vec![], vec![]).await;
    world.release(0).await;
    let request = world.request("/v1/messages/count_tokens", &[], MESSAGES);
    let answer = Answer::of(world.send(request).await).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(ask(&world, "s", "[").await.json()["type"], "error");
}

#[tokio::test]
async fn a_conversation_is_found_again_across_dialects() {
    let world = World::with(vec![ok("yes")], vec![json_answer(200, "", &message("yes"))], |config| {
        anthropic(config, "two");
        let settings = RouteSettings { sessions: vec![SessionSource::Conversation], ..Default::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.release(10_000).await;
    let send = async |body: String| {
        let answer = Answer::of(world.send(world.request("/v1/chat/completions", &[], body)).await).await;
        (answer.header("x-coalmine-session").to_owned(), answer.header("x-coalmine-arm").to_owned())
    };
    let began = send(ASK.to_owned()).await;
    let more = ASK.replace(r#""}]"#, r#""},{"role":"assistant","content":"yes"},{"role":"user","content":"more"}]"#);
    assert_eq!(send(more).await, began);
    assert_eq!(began.1, "canary");
}

/// A rate limit stays one through translation, streamed or not, with all that it says of when to come again.
#[tokio::test]
async fn t26_a_rate_limit_stays_one_through_translation() {
    let limits = "retry-after: 7\r\nanthropic-ratelimit-requests-remaining: 0\r\nx-ratelimit-reset-tokens: 6ms\r\n";
    let said = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#;
    let openai = r#"{"error":{"message":"slow","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let messages = MESSAGES.replace(r#""max_tokens""#, r#""stream":true,"max_tokens""#);
    for (kind, path, bodies, told) in [
        (ProviderKind::Anthropic, "/v1/chat/completions", [ASK, ASK_STREAM], said),
        (ProviderKind::OpenAi, "/v1/messages", [MESSAGES, &messages], openai),
    ] {
        let world = World::with(vec![json_answer(429, limits, told)], vec![], |config| {
            config.providers.values_mut().for_each(|provider| provider.kind = kind);
        })
        .await;
        world.release(0).await;
        for body in bodies {
            let request = world.request(path, &[("x-session-id", "s")], body.to_owned());
            let answer = Answer::of(world.send(request).await).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, "7"));
            assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), "0", "as it came, and not renamed");
            assert_eq!(answer.header("x-ratelimit-reset-tokens"), "6ms");
            let json = answer.json();
            assert_eq!(
                (&json["error"]["message"], &json["error"]["type"]),
                (&json!("slow"), &json!("rate_limit_error"))
            );
        }
        for turn in world.turns(2).await {
            assert_eq!(turn.outcome.ending, Ending::Failed(Cause::RateLimited));
        }
    }
}

/// What a client of the other dialect is told of tokens is what was used, the larger of two counts, once; and costs the same
/// streamed and not.
#[tokio::test]
async fn t18_t24_tokens_and_cost_are_the_same_through_translation() {
    let rate = coalmine_wire::prices::Rate { input_usd: 2.0, output_usd: 8.0, ..Default::default() };
    let price = coalmine_wire::prices::Price { rate, long: None };
    let counted = r#"{"model":"support","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}]}"#;
    let whole = message("ab")
        .replace(r#""cache_read_input_tokens":2,"#, "")
        .replace(r#""output_tokens":5"#, r#""output_tokens":7"#);
    let streaming = MESSAGES.replace(r#""max_tokens""#, r#""stream":true,"max_tokens""#);
    let native = stream_of(&events(&["a", "b"])).into_iter().chain([write(STREAM_END)]).collect::<Vec<_>>();
    for (kind, path, scripts, bodies, told, cost) in [
        (
            ProviderKind::Anthropic,
            "/v1/chat/completions",
            vec![native, json_answer(200, "", &whole)],
            [counted, ASK],
            [r#""prompt_tokens":10,"completion_tokens":7"#; 2],
            76e-6,
        ),
        (
            ProviderKind::OpenAi,
            "/v1/messages",
            vec![streamed(&["a", "b"]), ok("ab")],
            [&*streaming, MESSAGES],
            [r#""input_tokens":10"#, r#""output_tokens":5"#],
            60e-6,
        ),
    ] {
        let world = World::with(scripts, vec![], |config| {
            config.providers.values_mut().for_each(|provider| provider.kind = kind);
            config.prices = coalmine_wire::prices::Prices::default().with("model-s", price);
        })
        .await;
        world.release(0).await;
        for body in bodies {
            let text = Answer::of(world.send(world.request(path, &[], body.to_owned())).await).await.text();
            assert!(told.iter().all(|told| text.contains(told)), "{text}");
        }
        let costs: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.cost_usd).collect();
        assert_eq!(costs, [Some(cost); 2], "{path}");
    }
}
