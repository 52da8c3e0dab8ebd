//! Prompts with variables: what a client gives for them by a header, on every surface, and nothing of it beyond.

use crate::shadow::shadowed;
use crate::support::*;
use coalmine_core::id::{Generation, ProviderName};
use coalmine_core::tally::Ending;
use coalmine_core::traffic::table::RouteTable;
use coalmine_core::version::{Fallback, Prompt, PromptMode, Version};
use coalmine_gateway::config::ProviderKind;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const HEADER: &str = "x-coalmine-variables";
const GLOBEX: &str = r#"{"company":"Globex \"East\"\n{{tone}}","never_declared":"x"}"#;
/// What the canary's prompt says with the defaults, and with what is given above.
const BY_DEFAULT: &str = "You help Acme, calm. {{none}}";
const AS_GIVEN: &str = "You help Globex \"East\"\n{{tone}}, calm. {{none}}";

pub fn templated(provider: &str, model: &str) -> Version {
    let variables = [("company", "Acme"), ("tone", "calm")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let prompt = Prompt {
        variables: variables.into(),
        ..Prompt::new(PromptMode::Replace, "You help {{company}}, {{ tone }}. {{none}}")
    };
    Version { prompt: Some(prompt), ..version(provider, model) }
}

/// Everybody gets the canary, which declares two variables; stable has a prompt with the same braces, and declares none.
pub fn released() -> RouteTable {
    let mut table = route(1, Some(10_000));
    let plain = Prompt::new(PromptMode::Replace, "You help {{company}}.");
    let stable = Version { prompt: Some(plain), ..version("one", "model-s") };
    let canary = templated("two", "model-c");
    (table.stable, table.release.as_mut().unwrap().canary) = (stable.id(), canary.id());
    table.versions = [stable, canary].into_iter().map(|version| (version.id(), Arc::new(version))).collect();
    table
}

async fn world(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>, kinds: [ProviderKind; 2]) -> World {
    let world = World::with(stable, canary, |config| {
        for (name, kind) in ["one", "two"].into_iter().zip(kinds) {
            config.providers.get_mut(&ProviderName::from(name)).unwrap().kind = kind;
        }
    })
    .await;
    world.gateway.install(&tables(released())).await.unwrap();
    world
}

const OPENAI: [ProviderKind; 2] = [ProviderKind::OpenAi, ProviderKind::OpenAi];
const ANTHROPIC: [ProviderKind; 2] = [ProviderKind::Anthropic, ProviderKind::Anthropic];

async fn post(world: &World, path: &str, given: &[&str], body: &Value) -> Answer {
    let mut request = world.request(path, &[("x-session-id", "s-1")], body.to_string());
    for value in given {
        request.headers_mut().append(HEADER, value.parse().unwrap());
    }
    Answer::of(world.send(request).await).await
}

fn messages() -> Value {
    json!({"model": "support", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]})
}

fn input() -> Value {
    json!({"model": "support", "input": "hello"})
}

fn message() -> Vec<Step> {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "so"}], "usage": {"input_tokens": 10, "output_tokens": 5}});
    json_answer(200, "", &body.to_string())
}

fn response() -> Vec<Step> {
    let said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]});
    let body = json!({"object": "response", "id": "r", "status": "completed", "output": [said]});
    json_answer(200, "", &body.to_string())
}

fn tokens() -> Vec<Step> {
    json_answer(200, "", r#"{"input_tokens":12}"#)
}

/// Where a dialect has its prompt.
fn prompt_of(path: &str, body: &Value) -> Value {
    let within = |body: &Value| body["content"].clone();
    match path {
        "/v1/chat/completions" => within(&body["messages"][0]),
        "/v1/messages" | "/v1/messages/count_tokens" => body["system"].clone(),
        _ => body["instructions"].clone(),
    }
}

#[tokio::test]
async fn every_surface_puts_in_what_is_given_and_the_default_for_the_rest() {
    let surfaces = [
        ("/v1/chat/completions", OPENAI, messages(), ok("so")),
        ("/v1/responses", OPENAI, input(), response()),
        ("/v1/messages", ANTHROPIC, messages(), message()),
    ];
    for (path, kinds, body, answer) in surfaces {
        let world = world(vec![], vec![answer.clone(), answer], kinds).await;
        assert_eq!(post(&world, path, &[], &body).await.status, 200, "{path}");
        assert_eq!(post(&world, path, &[GLOBEX], &body).await.status, 200, "{path}");
        let sent = world.canary.received();
        assert_eq!(prompt_of(path, &sent[0].json()), BY_DEFAULT, "{path}");
        assert_eq!(prompt_of(path, &sent[1].json()), AS_GIVEN, "{path}");
        assert_eq!(sent[1].header(HEADER), None, "{path}: it ends at the gateway");
        assert!(world.turns(2).await.iter().all(|turn| turn.outcome.ending == Ending::Complete), "{path}");
    }
}

#[tokio::test]
async fn what_is_counted_is_what_would_be_sent() {
    for (path, kinds, body, turn, of_turn) in [
        ("/v1/messages/count_tokens", ANTHROPIC, messages(), message(), "/v1/messages"),
        ("/v1/responses/input_tokens", OPENAI, input(), response(), "/v1/responses"),
    ] {
        let world = world(vec![], vec![turn, tokens(), tokens()], kinds).await;
        // counting pins nobody: the session is the canary's by its turn
        post(&world, of_turn, &[], &body).await;
        post(&world, path, &[], &body).await;
        post(&world, path, &[GLOBEX], &body).await;
        let sent = world.canary.received();
        assert_eq!(prompt_of(path, &sent[1].json()), BY_DEFAULT, "{path}");
        assert_eq!(prompt_of(path, &sent[2].json()), AS_GIVEN, "{path}");
    }
}

/// A request that is translated has it too, both ways.
#[tokio::test]
async fn a_provider_of_another_dialect_is_told_the_same() {
    let to_messages = world(vec![], vec![message()], [ProviderKind::OpenAi, ProviderKind::Anthropic]).await;
    assert_eq!(post(&to_messages, "/v1/chat/completions", &[GLOBEX], &messages()).await.status, 200);
    assert_eq!(prompt_of("/v1/messages", &to_messages.canary.received()[0].json()), AS_GIVEN);
    let to_chat = world(vec![], vec![ok("so")], [ProviderKind::Anthropic, ProviderKind::OpenAi]).await;
    assert_eq!(post(&to_chat, "/v1/messages", &[GLOBEX], &messages()).await.status, 200);
    assert_eq!(prompt_of("/v1/chat/completions", &to_chat.canary.received()[0].json()), AS_GIVEN);
}

/// A version that declares none is sent as it is, whatever is given, and so is the one that stands in for another.
#[tokio::test]
async fn a_rescue_is_given_nothing_that_it_does_not_declare() {
    let world = world(vec![ok("from stable")], vec![error(500, "")], OPENAI).await;
    let answer = post(&world, "/v1/chat/completions", &[GLOBEX], &messages()).await;
    assert_eq!((answer.status, answer.text()), (200, completion("from stable")));
    assert_eq!(prompt_of("/v1/chat/completions", &world.canary.received()[0].json()), AS_GIVEN);
    assert_eq!(prompt_of("/v1/chat/completions", &world.stable.received()[0].json()), "You help {{company}}.");
}

#[tokio::test]
async fn a_copy_is_given_what_its_original_gives() {
    let world = World::new(vec![ok("a"), ok("b")], vec![ok("c"), ok("d")]).await;
    let mut table = shadowed(crate::shadow::shadow());
    let canary = templated("two", "model-c");
    table.shadow.as_mut().unwrap().canary = canary.id();
    table.versions.insert(canary.id(), Arc::new(canary));
    world.gateway.install(&tables(table)).await.unwrap();
    post(&world, "/v1/chat/completions", &[GLOBEX], &messages()).await;
    world.pairs(1).await;
    post(&world, "/v1/chat/completions", &[], &messages()).await;
    world.pairs(2).await;
    let copies = world.canary.received();
    assert_eq!(prompt_of("/v1/chat/completions", &copies[0].json()), AS_GIVEN);
    assert_eq!(prompt_of("/v1/chat/completions", &copies[1].json()), BY_DEFAULT);
    assert_eq!(copies[0].header(HEADER), None);
}

#[tokio::test]
async fn a_probe_has_the_defaults() {
    let world = World::new(vec![], vec![ok("4")]).await;
    let question = messages().to_string().into();
    world.gateway.probe(&templated("two", "m"), &question, Duration::from_secs(20)).await.unwrap();
    assert_eq!(prompt_of("/v1/chat/completions", &world.canary.received()[0].json()), BY_DEFAULT);
}

/// Who stands in is a version of its own chain: with the canary's prompt, and what the request gives for it.
#[tokio::test]
async fn a_fallback_is_told_what_its_version_is_told() {
    let world = world(vec![ok("so")], vec![error(500, "")], OPENAI).await;
    let mut table = released();
    let fallback = Fallback { provider: "one".into(), model: Some("model-f".to_owned()) };
    let canary = Version { fallbacks: vec![fallback], ..templated("two", "model-c") };
    table.generation = Generation(2);
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions.insert(canary.id(), Arc::new(canary));
    world.gateway.install(&tables(table)).await.unwrap();
    assert_eq!(post(&world, "/v1/chat/completions", &[GLOBEX], &messages()).await.status, 200);
    let asked = world.stable.received();
    assert_eq!(asked[0].json()["model"], "model-f");
    assert_eq!(prompt_of("/v1/chat/completions", &asked[0].json()), AS_GIVEN);
    assert_eq!(asked[0].header(HEADER), None);
}

/// Only the version's own text has places: what the client says beside it is passed as it is.
#[tokio::test]
async fn braces_of_the_client_are_no_places() {
    let world = world(vec![], vec![ok("so")], OPENAI).await;
    let mut table = released();
    let mut canary = templated("two", "model-c");
    canary.prompt.as_mut().unwrap().mode = PromptMode::Prepend;
    table.generation = Generation(2);
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions.insert(canary.id(), Arc::new(canary));
    world.gateway.install(&tables(table)).await.unwrap();
    let turns = json!([{"role": "system", "content": "{{company}} of mine"}, {"role": "user", "content": "{{tone}}?"}]);
    let body = json!({"model": "support", "messages": turns});
    assert_eq!(post(&world, "/v1/chat/completions", &[GLOBEX], &body).await.status, 200);
    let sent = world.canary.received()[0].json();
    assert_eq!(sent["messages"][0]["content"], format!("{AS_GIVEN}\n\n{{{{company}}}} of mine"));
    assert_eq!(sent["messages"][1]["content"], "{{tone}}?");
}

/// What is passed through has no prompt of ours, so nothing is read; and the header ends here all the same.
#[tokio::test]
async fn the_header_goes_on_with_nothing_that_is_passed_through() {
    let answers = (0..4).map(|_| json_answer(200, "", "{}")).collect();
    let world = World::with(answers, vec![], |config| config.default_provider = Some("one".into())).await;
    world.gateway.install(&tables(released())).await.unwrap();
    let passed = [
        ("/v1/chat/completions", json!({"model": "nobody", "messages": []})),
        ("/v1/images/generations", json!({"model": "support", "prompt": "a bird"})),
        ("/v1/moderations", json!({"input": "x"})),
        ("/v1/embeddings", json!({"model": "nobody", "input": "x"})),
    ];
    for (path, body) in &passed {
        let answer = post(&world, path, &["no object", GLOBEX], body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!format!("{:?}", answer.headers).contains("Globex"), "{path}");
    }
    let sent = world.stable.received();
    assert_eq!(sent.len(), passed.len());
    assert!(sent.iter().all(|sent| sent.header(HEADER).is_none() && !sent.head.contains("Globex")));
}

/// As much as 32 KiB are read, whatever a version declares; more is refused in words; and what no server takes is not
/// read at all.
#[tokio::test]
async fn a_long_header_is_read_up_to_its_bound() {
    let world = world(vec![], vec![ok("so")], OPENAI).await;
    let of = |bytes: usize| {
        let fill = |at: usize| format!("\"filler_{at}\":\"{}\"", "x".repeat(4_000));
        let most: Vec<String> = (0..8).map(fill).collect();
        let head = format!("{{{},\"company\":\"", most.join(","));
        format!("{head}{}\"}}", "y".repeat(bytes - head.len() - 2))
    };
    let longest = of(32 << 10);
    assert_eq!(post(&world, "/v1/chat/completions", &[&longest], &messages()).await.status, 200);
    let said = prompt_of("/v1/chat/completions", &world.canary.received()[0].json());
    assert!(said.as_str().unwrap().starts_with("You help yyy"), "{said}");
    let refused = post(&world, "/v1/chat/completions", &[&of((32 << 10) + 1)], &messages()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("it has 32769 bytes, more than 32768"), "{}", refused.text());
    let flood =
        post(&world, "/v1/chat/completions", &[&format!("{{\"a\":\"{}\"}}", "z".repeat(200 << 10))], &messages()).await;
    assert_eq!(flood.status, 431);
    assert_eq!((world.canary.count(), world.stable.count()), (1, 0));
}

/// Nobody is asked, and nothing is pinned; the words name the header and how to mend, in the client's own format.
#[tokio::test]
async fn what_cannot_be_read_is_refused_before_anybody_is_asked() {
    let long = json!({ "company": "x".repeat(4_097) }).to_string();
    let cases: [(&[&str], &str); 5] = [
        (&["company=hush"], "it must be a JSON object of texts"),
        (&[r#"{"company":7}"#], "the value of 'company' is no text: put it between quotes"),
        (&[r#"{"company":"hush","company":"x"}"#], "'company' stands twice: send it once"),
        (&["{}", "{}"], "it stands twice: send it once, with all variables in one object"),
        (&[&long], "the value of 'company' has more than 4096 bytes: send a shorter one"),
    ];
    let surfaces = [
        ("/v1/chat/completions", OPENAI, messages()),
        ("/v1/responses", OPENAI, input()),
        ("/v1/messages", ANTHROPIC, messages()),
        ("/v1/messages/count_tokens", ANTHROPIC, messages()),
    ];
    for (path, kinds, body) in surfaces {
        let world = world(vec![], vec![], kinds).await;
        for (given, told) in &cases {
            let answer = post(&world, path, given, &body).await;
            assert_eq!(answer.status, 400, "{path} {told}");
            let error = answer.json();
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.contains(HEADER) && message.contains(told) && !message.contains("hush"), "{message}");
            let kind = if kinds == ANTHROPIC { &error["type"] } else { &error["error"]["type"] };
            assert_eq!(kind, if kinds == ANTHROPIC { "error" } else { "invalid_request_error" }, "{path}");
        }
        assert_eq!((world.canary.count(), world.stable.count(), world.pins.len()), (0, 0, 0), "{path}");
    }
}
