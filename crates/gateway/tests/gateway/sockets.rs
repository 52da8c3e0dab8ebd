//! Websockets (T40), with a client and a provider of another make than the gateway's own reader.

use crate::support::*;
use coalmine_core::id::UnitKey;
use coalmine_core::key::Quota;
use coalmine_core::tally::{CancelPoint, Cause, Check, Ending, ServedBy};
use coalmine_core::traffic::pin::Arm;
use coalmine_core::version::{JsonText, Prompt, PromptMode, Tools, ToolsMode, Version};
use coalmine_gateway::config::{ClientKey, Config};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

pub type Socket = WebSocketStream<TcpStream>;

/// A provider: its sockets come out here, each with what it was asked.
pub struct Provider {
    address: SocketAddr,
    opened: mpsc::UnboundedReceiver<(String, HeaderMap, Socket)>,
}

/// One that refuses with this status where there is one.
pub async fn provider(refuse: Option<u16>) -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, opened) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let asked = Arc::new(Mutex::new((String::new(), HeaderMap::new())));
                let seen = asked.clone();
                #[expect(clippy::result_large_err, reason = "the library's own signature")]
                let answer = move |request: &Request, mut response: Response| {
                    *seen.lock().unwrap() = (request.uri().to_string(), request.headers().clone());
                    if let Some(status) = refuse {
                        let body = Some(r#"{"error":{"message":"no","type":"x"}}"#.to_owned());
                        let mut no = ErrorResponse::new(body);
                        *no.status_mut() = status.try_into().unwrap();
                        no.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
                        return Err(no);
                    }
                    response.headers_mut().insert("x-request-id", HeaderValue::from_static("req-1"));
                    Ok(response)
                };
                if let Ok(socket) = accept_hdr_async(stream, answer).await {
                    let (uri, headers) = asked.lock().unwrap().clone();
                    let _ = sender.send((uri, headers, socket));
                }
            });
        }
    });
    Provider { address, opened }
}

impl Provider {
    pub async fn socket(&mut self) -> (String, HeaderMap, Socket) {
        soon("a socket at the provider", self.opened.recv()).await.unwrap()
    }
}

/// Stable at the first provider, the canary at the second.
pub async fn world(stable: &Provider, canary: &Provider, change: impl FnOnce(&mut Config)) -> World {
    let addresses = [("one", stable.address), ("two", canary.address)];
    World::with(vec![], vec![], |config| {
        for (name, address) in addresses {
            config.providers.get_mut(&name.into()).unwrap().upstreams[0].url = format!("http://{address}/v1");
        }
        change(config);
    })
    .await
}

pub async fn dial(
    world: &World,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, http::Response<Option<Vec<u8>>>), Error> {
    let mut request = format!("ws://{}{path}", world.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(world.address).await.unwrap();
    soon("the handshake", client_async(request, stream)).await
}

async fn open(world: &World, path: &str) -> Socket {
    dial(world, path, &[("authorization", "Bearer of-the-client")]).await.unwrap().0
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// The next event; pings are answered by the library.
pub async fn event(socket: &mut Socket) -> Value {
    loop {
        match soon("a message", socket.next()).await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("no event: {other:?}"),
        }
    }
}

/// How it ended: the code and reason of its close frame; `None` without one.
async fn end(socket: &mut Socket) -> Option<(u16, String)> {
    loop {
        match soon("the end", socket.next()).await {
            Some(Ok(Message::Close(frame))) => {
                return frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

pub async fn say(socket: &mut Socket, events: &[Value]) {
    for event in events {
        socket.send(text(event)).await.unwrap();
    }
}

fn close(code: u16, reason: &'static str) -> Option<CloseFrame> {
    Some(CloseFrame { code: code.into(), reason: reason.into() })
}

pub fn spoken(id: &str, status: &str) -> Vec<Value> {
    vec![
        json!({"type": "response.created", "response": {"id": id, "status": "in_progress"}}),
        json!({"type": "response.output_audio.delta", "response_id": id, "delta": "AAAA"}),
        json!({"type": "response.done", "response": {"id": id, "status": status,
            "usage": {"input_tokens": 12, "output_tokens": 7, "input_token_details": {"cached_tokens": 2}}}}),
    ]
}

#[tokio::test]
async fn t40_a_socket_is_routed_pinned_and_counted() {
    let (mut one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.release(10_000).await;
    let path = "/s/call-7/v1/realtime?intent=x&model=support";
    let headers = [("authorization", "Bearer of-the-client"), ("sec-websocket-extensions", "permessage-deflate")];
    let (mut client, agreed) = dial(&world, path, &headers).await.unwrap();
    assert_eq!(agreed.headers()["x-coalmine-arm"], "canary");
    assert_eq!(agreed.headers()["x-request-id"], "req-1");
    let (uri, asked, mut theirs) = two.socket().await;
    assert_eq!(uri, "/v1/realtime?intent=x&model=model-c");
    assert_eq!(asked["authorization"], "Bearer key-two");
    assert!(!asked.contains_key("sec-websocket-extensions"), "nothing is packed");
    say(&mut theirs, &[json!({"type": "session.created", "session": {"model": "model-c-0001"}})]).await;
    assert_eq!(event(&mut client).await["type"], "session.created");
    say(&mut client, &[json!({"type": "session.update", "session": {"type": "realtime", "model": "support"}})]).await;
    assert_eq!(event(&mut theirs).await["session"]["model"], "model-c");
    say(&mut client, &[json!({"type": "response.create"})]).await;
    assert_eq!(event(&mut theirs).await, json!({"type": "response.create"}));
    say(&mut theirs, &spoken("resp_1", "completed")).await;
    for _ in 0..3 {
        event(&mut client).await;
    }
    let turns = world.turns(1).await;
    let (turn, outcome) = (&turns[0], &turns[0].outcome);
    assert_eq!((outcome.ending, outcome.usage.input, outcome.usage.output), (Ending::Complete, Some(12), Some(7)));
    assert_eq!(outcome.answered_as.model.as_deref(), Some("model-c-0001"));
    assert_eq!(turn.member.as_ref().unwrap().arm, Arm::Canary);
    assert!(world.metric("coalmine_sockets 1"));
    client.close(close(4000, "bye")).await.unwrap();
    assert_eq!(end(&mut theirs).await, Some((4000, "bye".to_owned())));
    // the session is where it was, whatever the weight
    world.gateway.install(&tables(route(2, Some(0)))).await.unwrap();
    let _again = open(&world, path).await;
    assert_eq!(two.socket().await.0, uri);
    let _other = open(&world, "/s/call-8/v1/realtime?model=support").await;
    assert_eq!(one.socket().await.0, "/v1/realtime?model=model-s");
    assert_eq!(world.turns(1).await.len(), 1, "a socket on which nothing was asked is no turn");
}

/// A canary with this prompt.
fn prompted(mode: PromptMode) -> Version {
    Version { prompt: Some(Prompt::new(mode, "Be brief.")), ..version("two", "model-c") }
}

#[tokio::test]
async fn t40_a_version_stands_in_the_sessions_settings() {
    let (one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    let (mut table, canary) = (route(1, Some(10_000)), prompted(PromptMode::Append));
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions =
        BTreeMap::from([(table.stable, table.versions[&table.stable].clone()), (canary.id(), Arc::new(canary))]);
    world.gateway.install(&tables(table)).await.unwrap();
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = two.socket().await.2;
    let update = |session: Value| json!({"type": "session.update", "session": session});
    say(&mut client, &[update(json!({"type": "realtime", "instructions": "Help."}))]).await;
    assert_eq!(event(&mut theirs).await["session"]["instructions"], "Help.\n\nBe brief.");
    let later = update(json!({"type": "realtime", "audio": null}));
    say(&mut client, std::slice::from_ref(&later)).await;
    assert_eq!(event(&mut theirs).await, later, "what it does not say it leaves alone");
    // one that says nothing of itself has the version's own before anything else
    let mut silent = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = two.socket().await.2;
    say(&mut silent, &[json!({"type": "input_audio_buffer.append", "audio": "AAAA"})]).await;
    assert_eq!(event(&mut theirs).await, update(json!({"type": "realtime", "instructions": "Be brief."})));
    assert_eq!(event(&mut theirs).await["type"], "input_audio_buffer.append");
}

/// What the upgrade gives for the variables of a prompt holds for the socket's life.
#[tokio::test]
async fn t40_a_socket_has_the_variables_of_its_upgrade() {
    let (one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    let (mut table, canary) = (route(1, Some(10_000)), crate::variables::templated("two", "model-c"));
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions =
        BTreeMap::from([(table.stable, table.versions[&table.stable].clone()), (canary.id(), Arc::new(canary))]);
    world.gateway.install(&tables(table)).await.unwrap();
    let given = |value| [("x-coalmine-variables", value)];
    let globex = given(r#"{"company":"Globex"}"#);
    for (headers, said) in [(&globex[..], "You help Globex, calm. {{none}}"), (&[], "You help Acme, calm. {{none}}")] {
        let mut client = dial(&world, "/v1/realtime?model=support", headers).await.unwrap().0;
        let (_, asked, mut theirs) = two.socket().await;
        assert!(!asked.contains_key("x-coalmine-variables"), "it ends at the gateway");
        say(&mut client, &[json!({"type": "input_audio_buffer.append", "audio": "AAAA"})]).await;
        assert_eq!(event(&mut theirs).await["session"]["instructions"], said);
        assert_eq!(event(&mut theirs).await["type"], "input_audio_buffer.append");
        let later = json!({"type": "session.update", "session": {"type": "realtime", "instructions": "Mine."}});
        say(&mut client, &[later]).await;
        assert_eq!(event(&mut theirs).await["session"]["instructions"], said);

        let mut client = dial(&world, "/v1/responses", headers).await.unwrap().0;
        let create = json!({"type": "response.create", "model": "support", "input": "hello"});
        say(&mut client, &[create]).await;
        assert_eq!(event(&mut two.socket().await.2).await["instructions"], said);
    }
    let Err(Error::Http(refused)) = dial(&world, "/v1/realtime?model=support", &given("x")).await else {
        panic!("it was agreed to");
    };
    assert_eq!(refused.status(), 400);
    let mut client = dial(&world, "/v1/responses", &given("x")).await.unwrap().0;
    say(&mut client, &[json!({"type": "response.create", "model": "support", "input": "hello"})]).await;
    let told = event(&mut client).await;
    assert_eq!((&told["type"], &told["status"]), (&json!("error"), &json!(400)));
    assert!(told["error"]["message"].as_str().unwrap().contains("x-coalmine-variables"), "{told}");
}

/// A response that calls `name`.
fn calling(id: &str, name: &str, arguments: &str) -> Vec<Value> {
    let item = json!({"id": "i", "type": "function_call", "call_id": format!("call-{id}"), "name": name, "arguments": arguments});
    vec![
        json!({"type": "response.created", "response": {"id": id, "status": "in_progress"}}),
        json!({"type": "response.output_item.added", "response_id": id, "output_index": 0,
            "item": {"id": "i", "type": "function_call", "call_id": format!("call-{id}"), "name": name, "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "response_id": id, "output_index": 0, "delta": arguments}),
        json!({"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": item}),
        json!({"type": "response.done", "response": {"id": id, "status": "completed"}}),
    ]
}

#[tokio::test]
async fn t40_calls_of_a_session_are_held_against_its_tools_and_its_past() {
    let (one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    let tools = json!([{"type": "function", "function": {"name": "refund", "parameters": {"type": "object", "required": ["order"]}}}]);
    let merged = Tools { mode: ToolsMode::Merge, json: JsonText(tools.to_string()) };
    let canary = Version { tools: Some(merged), ..version("two", "model-c") };
    let mut table = route(1, Some(10_000));
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions =
        BTreeMap::from([(table.stable, table.versions[&table.stable].clone()), (canary.id(), Arc::new(canary))]);
    world.gateway.install(&tables(table)).await.unwrap();
    let mut client = open(&world, "/s/call-9/v1/realtime?model=support").await;
    let mut theirs = two.socket().await.2;
    let look = json!({"type": "function", "name": "look", "parameters": {"type": "object", "required": ["at"]}});
    say(&mut client, &[json!({"type": "session.update", "session": {"type": "realtime", "tools": [look]}})]).await;
    let settings = event(&mut theirs).await;
    assert_eq!(settings["session"]["tools"].as_array().unwrap().len(), 2, "the version's beside the client's");
    let create = || json!({"type": "response.create"});
    let own = json!({"type": "response.create", "response": {"tools": []}});
    let bad = [
        ("valid", create(), calling("r1", "refund", r#"{"order":1}"#), 0),
        ("of the client", create(), calling("r2", "look", r#"{"at":1}"#), 0),
        ("unknown", create(), calling("r3", "delete_all", "{}"), 1),
        ("no JSON", create(), calling("r4", "look", r#"{"at":"#), 1),
        ("not of its schema", create(), calling("r5", "look", "{}"), 1),
        ("not among its own", own, calling("r6", "look", r#"{"at":2}"#), 1),
        ("made before", create(), calling("r7", "look", r#"{"at": 1}"#), 0),
    ];
    for (number, (what, ask, answer, invalid)) in bad.into_iter().enumerate() {
        world.clock.advance(1);
        say(&mut client, &[ask]).await;
        event(&mut theirs).await;
        say(&mut theirs, &answer).await;
        for _ in &answer {
            event(&mut client).await;
        }
        let outcome = world.turns(number + 1).await[number].outcome.clone();
        assert_eq!(
            (outcome.ending, outcome.tool_calls, outcome.tool_calls_bad),
            (Ending::Complete, 1, invalid),
            "{what}"
        );
        let again = if what == "made before" { Check::Yes } else { Check::No };
        assert_eq!(outcome.detected.repeated_call, again, "{what}");
    }
    world.clock.advance(1);
    // somebody speaks, and asks for the same: that is no loop
    say(&mut theirs, &[json!({"type": "input_audio_buffer.speech_stopped"})]).await;
    say(&mut theirs, &calling("r8", "look", r#"{"at":1}"#)).await;
    assert_eq!(world.turns(8).await[7].outcome.detected.repeated_call, Check::No);
    // and what came of it is told of the turn that called
    let output = json!({"type": "function_call_output", "call_id": "call-r8", "output": "Error: gone"});
    say(&mut client, &[json!({"type": "conversation.item.create", "item": output}), create()]).await;
    let scored = soon("a score", async {
        loop {
            let deltas = world.sink.deltas.lock().unwrap().clone();
            if let Some(score) = deltas.iter().flat_map(|delta| delta.feedback.clone()).next() {
                break score;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((scored.name.as_str(), scored.value), ("tool_use", 0.0));
}

#[tokio::test]
async fn t40_codes_and_reasons_pings_and_bytes_pass_both_ways() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = one.socket().await.2;
    let large = vec![7; 200_000];
    for message in [Message::binary(large.clone()), Message::Ping(vec![1].into()), Message::Pong(vec![2].into())] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(soon("a message", theirs.next()).await.unwrap().unwrap(), message);
        theirs.send(message.clone()).await.unwrap();
        let mut came = soon("a message", client.next()).await.unwrap().unwrap();
        if came == Message::Pong(vec![1].into()) && message != came {
            // the library has answered the ping meanwhile
            came = soon("a message", client.next()).await.unwrap().unwrap();
        }
        assert_eq!(came, message);
    }
    theirs.close(close(4001, "no more")).await.unwrap();
    assert_eq!(end(&mut client).await, Some((4001, "no more".to_owned())));
}

#[tokio::test]
async fn t40_a_refused_socket_is_told_at_once_and_is_no_answer() {
    let (one, two) = (provider(Some(401)).await, provider(Some(500)).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let Err(Error::Http(refused)) = dial(&world, "/v1/realtime?model=support", &[]).await else { panic!("open") };
    assert_eq!(refused.status(), 401);
    let turns = world.turns(1).await;
    assert_eq!(turns[0].outcome.ending, Ending::Failed(Cause::Rejected));
    let Err(Error::Http(unknown)) = dial(&world, "/v1/realtime?model=nobody", &[]).await else { panic!("open") };
    assert_eq!(unknown.status(), 404);
    let mut old = format!("ws://{}/v1/realtime?model=support", world.address).into_client_request().unwrap();
    old.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("8"));
    let stream = TcpStream::connect(world.address).await.unwrap();
    let Err(Error::Http(refused)) = soon("an answer", client_async(old, stream)).await else { panic!("open") };
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn t40_stable_takes_over_where_a_canary_refuses_the_socket() {
    let (mut one, two) = (provider(None).await, provider(Some(500)).await);
    let world = world(&one, &two, |_| {}).await;
    world.release(10_000).await;
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = one.socket().await.2;
    let failed = &world.turns(1).await[0];
    assert_eq!(failed.outcome.ending, Ending::Failed(Cause::Server));
    assert_eq!((failed.outcome.served_by, failed.member.is_some()), (ServedBy::Rescue, true));
    say(&mut client, &[json!({"type": "response.create"})]).await;
    event(&mut theirs).await;
    world.clock.advance(1);
    say(&mut theirs, &spoken("r", "completed")).await;
    let turns = world.turns(2).await;
    assert!(turns[1].member.is_none() && turns[1].outcome.ending == Ending::Complete, "it counts in neither arm");
}

#[tokio::test]
async fn t40_a_browsers_key_opens_and_goes_no_further() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let hash = *blake3::hash(b"secret").as_bytes();
    let world = world(&one, &two, |config| config.client_keys = vec![ClientKey { hash, customer: None }]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let path = "/v1/realtime?model=support";
    let Err(Error::Http(refused)) = dial(&world, path, &[]).await else { panic!("open") };
    assert_eq!(refused.status(), 401);
    let offered = [("sec-websocket-protocol", "realtime, openai-insecure-api-key.secret, openai-project.p")];
    let (_client, agreed) = dial(&world, path, &offered).await.unwrap();
    assert_eq!(agreed.headers()["sec-websocket-protocol"], "realtime", "a browser wants one of its own");
    let (_, asked, _theirs) = one.socket().await;
    assert_eq!(asked["sec-websocket-protocol"], "realtime");
    assert_eq!(asked["authorization"], "Bearer key-one");
}

#[tokio::test]
async fn t40_whoever_leaves_is_felt_by_the_other() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let begun = spoken("r", "completed")[..2].to_vec();
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = one.socket().await.2;
    say(&mut client, &[json!({"type": "response.create"})]).await;
    event(&mut theirs).await;
    say(&mut theirs, &begun).await;
    event(&mut client).await;
    event(&mut client).await;
    drop(client);
    assert_eq!(end(&mut theirs).await, None);
    drop(theirs);
    world.clock.advance(1);
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = one.socket().await.2;
    say(&mut client, &[json!({"type": "response.create"})]).await;
    event(&mut theirs).await;
    say(&mut theirs, &begun).await;
    event(&mut client).await;
    drop(theirs);
    assert_eq!(end(&mut client).await, None);
    drop(client);
    let endings: Vec<Ending> = world.turns(2).await.iter().map(|turn| turn.outcome.ending).collect();
    assert_eq!(endings, [Ending::Cancelled(CancelPoint::MidAnswer), Ending::Failed(Cause::Broken)]);
    soon("both to be over", async {
        while !world.metric("coalmine_sockets 0") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn t40_what_was_interrupted_or_refused_is_nobodys_failure() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut theirs = one.socket().await.2;
    // somebody speaks: nothing is asked by the client, and an answer is due from then on
    say(&mut theirs, &[json!({"type": "input_audio_buffer.speech_stopped"})]).await;
    event(&mut client).await;
    world.clock.advance(70);
    say(&mut theirs, &spoken("r1", "cancelled")).await;
    for _ in 0..3 {
        event(&mut client).await;
    }
    world.clock.advance(1);
    say(&mut client, &[json!({"type": "response.create", "event_id": "c1"})]).await;
    event(&mut theirs).await;
    let error = |caused: &str, kind: &str| json!({"type": "error", "error": {"type": kind, "event_id": caused}});
    say(&mut theirs, &[error("another", "invalid_request_error"), error("c1", "invalid_request_error")]).await;
    event(&mut client).await;
    event(&mut client).await;
    world.clock.advance(1);
    say(&mut client, &[json!({"type": "response.create", "event_id": "c2"})]).await;
    event(&mut theirs).await;
    say(&mut theirs, &[error("c2", "server_error")]).await;
    let turns = world.turns(3).await;
    let endings: Vec<Ending> = turns.iter().map(|turn| turn.outcome.ending).collect();
    assert_eq!(
        endings,
        [Ending::Cancelled(CancelPoint::MidAnswer), Ending::ClientError, Ending::Failed(Cause::InBand)]
    );
    assert_eq!(turns[0].outcome.ttft_ms, Some(70.0));
}

#[tokio::test]
async fn t40_a_gateway_that_ends_says_so() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let mut client = open(&world, "/v1/realtime?model=support").await;
    let mut waiting = open(&world, "/v1/responses").await;
    let mut theirs = one.socket().await.2;
    let gateway = world.gateway.clone();
    let drained = tokio::spawn(async move { gateway.drain(Duration::from_secs(3)).await });
    assert_eq!(end(&mut waiting).await.unwrap().0, 1001);
    say(&mut theirs, &[json!({"type": "session.created"})]).await;
    assert_eq!(event(&mut client).await["type"], "session.created", "it goes on until then");
    assert_eq!(end(&mut client).await.unwrap().0, 1001);
    assert_eq!(end(&mut theirs).await.unwrap().0, 1001);
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn t40_sockets_are_bounded_like_requests() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |config| {
        config.limits.body = 1_000;
        config.quota = Quota { concurrent: Some(1), ..Quota::default() };
    })
    .await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let path = "/v1/realtime?model=support";
    let mut client = open(&world, path).await;
    let mut theirs = one.socket().await.2;
    let Err(Error::Http(refused)) = dial(&world, path, &[]).await else { panic!("open") };
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    client.send(Message::text("x".repeat(1_001))).await.unwrap();
    assert_eq!(end(&mut client).await.unwrap().0, 1009);
    assert_eq!(end(&mut theirs).await.unwrap().0, 1001);
    drop((client, theirs));
    soon("its place to be free again", async {
        while dial(&world, path, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub fn written(id: &str, text: &str) -> Vec<Value> {
    let response = |status: &str| {
        json!({"id": id, "object": "response", "status": status, "model": "m", "output": [],
        "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}})
    };
    vec![
        json!({"type": "response.created", "response": response("in_progress")}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}),
        json!({"type": "response.completed", "response": response("completed")}),
    ]
}

#[tokio::test]
async fn t40_responses_are_routed_by_their_first_message() {
    let (one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.release(10_000).await;
    let mut client = open(&world, "/s/agent-1/v1/responses").await;
    let ask = |more: Value| {
        let mut ask = json!({"type": "response.create", "model": "support", "input": "hello", "x": null});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask
    };
    say(&mut client, &[ask(json!({}))]).await;
    let (uri, asked, mut theirs) = two.socket().await;
    assert_eq!((uri.as_str(), &asked["authorization"]), ("/v1/responses", &HeaderValue::from_static("Bearer key-two")));
    let sent = event(&mut theirs).await;
    assert_eq!(
        (&sent["model"], &sent["type"], &sent["x"]),
        (&json!("model-c"), &json!("response.create"), &Value::Null)
    );
    say(&mut theirs, &written("resp_1", "hi")).await;
    for _ in 0..3 {
        event(&mut client).await;
    }
    world.clock.advance(1);
    say(&mut client, &[ask(json!({"previous_response_id": "resp_1"}))]).await;
    assert_eq!(event(&mut theirs).await["previous_response_id"], "resp_1");
    say(&mut theirs, &[json!({"type": "error", "status": 400, "error": {"type": "invalid_request_error", "code": "previous_response_not_found"}})]).await;
    assert_eq!(event(&mut client).await["status"], 400);
    let turns = world.turns(2).await;
    let seen: Vec<_> = turns.iter().map(|turn| (turn.outcome.ending, turn.outcome.usage.output, turn.unit)).collect();
    let unit: Option<UnitKey> = turns[0].unit;
    assert_eq!(seen, [(Ending::Complete, Some(3), unit), (Ending::ClientError, None, unit)]);
    assert!(!world.log.followed.lock().unwrap().is_empty(), "what goes on from it over HTTP is found");
    say(&mut client, &[ask(json!({"model": "another"}))]).await;
    assert_eq!(end(&mut client).await.unwrap().0, 1008);
}

#[tokio::test]
async fn t40_what_is_refused_of_responses_is_an_event_in_the_same_words() {
    let (one, two) = (provider(Some(429)).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    for (asked, status) in [
        (json!({"type": "response.create", "model": "nobody", "input": "x"}), 404),
        (json!({"type": "response.create", "input": "x"}), 400),
        (json!({"type": "response.create", "model": "support", "input": "x"}), 429),
    ] {
        let mut client = open(&world, "/v1/responses").await;
        say(&mut client, &[asked]).await;
        let told = event(&mut client).await;
        assert_eq!((&told["type"], &told["status"]), (&json!("error"), &json!(status)));
        assert!(told["error"]["message"].is_string(), "{told}");
        assert_eq!(end(&mut client).await.unwrap().0, 1008);
    }
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::RateLimited));
}

#[tokio::test]
async fn t40_any_other_socket_passes_to_the_one_provider() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |config| config.default_provider = Some("one".into())).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let mut client = open(&world, "/v1/live/sessions?x=1").await;
    let (uri, asked, mut theirs) = one.socket().await;
    assert_eq!(
        (uri.as_str(), &asked["authorization"]),
        ("/v1/live/sessions?x=1", &HeaderValue::from_static("Bearer key-one"))
    );
    let start = json!({"type": "session.start", "session": {"model": "support"}});
    say(&mut client, std::slice::from_ref(&start)).await;
    assert_eq!(event(&mut theirs).await, start);
}

/// A socket has its version for life, through a rollback too; the session's next one is stable's.
#[tokio::test]
async fn t40_a_rollback_lets_a_socket_live_and_moves_the_next() {
    let (mut one, mut two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.release(10_000).await;
    let path = "/s/call-3/v1/realtime?model=support";
    let mut client = open(&world, path).await;
    let mut theirs = two.socket().await.2;
    let mut back = route(2, None);
    back.revoked = vec![coalmine_core::traffic::table::Revoked {
        release: Arc::new("support-1".into()),
        version: version("two", "model-c").id(),
        reach: coalmine_core::traffic::table::Reach::CanaryArm,
        moves_at: coalmine_core::time::UnixMs(0),
    }];
    world.gateway.install(&tables(back)).await.unwrap();
    say(&mut client, &[json!({"type": "response.create"})]).await;
    assert_eq!(event(&mut theirs).await["type"], "response.create", "it goes on with the canary");
    say(&mut theirs, &spoken("r1", "completed")).await;
    for _ in 0..3 {
        event(&mut client).await;
    }
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete);
    client.close(close(1000, "")).await.unwrap();
    assert_eq!(end(&mut theirs).await, Some((1000, String::new())));
    let _next = open(&world, path).await;
    assert_eq!(one.socket().await.0, "/v1/realtime?model=model-s");
}

/// Every code that may be sent passes, with the longest reason, either way; so does a close that says nothing.
#[tokio::test]
async fn t40_every_code_passes_either_way() {
    let (mut one, two) = (provider(None).await, provider(None).await);
    let world = world(&one, &two, |_| {}).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let long: &'static str = "the longest reason that a close may have is of one hundred and twenty-three bytes, and this one is filled up to that with: éééééé.";
    let long = &long[..long.char_indices().map(|(at, sign)| at + sign.len_utf8()).rfind(|end| *end <= 123).unwrap()];
    for (code, reason) in [
        (1000, ""),
        (1001, "away"),
        (1003, "x"),
        (1007, "x"),
        (1008, long),
        (1011, "boom"),
        (1013, "later"),
        (3000, "x"),
        (4999, "x"),
    ] {
        for by_client in [true, false] {
            let mut client = open(&world, "/v1/realtime?model=support").await;
            let mut theirs = one.socket().await.2;
            let (from, to) = if by_client { (&mut client, &mut theirs) } else { (&mut theirs, &mut client) };
            from.close(close(code, reason)).await.unwrap();
            assert_eq!(end(to).await, Some((code, reason.to_owned())), "{code} {by_client}");
        }
    }
    for by_client in [true, false] {
        let mut client = open(&world, "/v1/realtime?model=support").await;
        let mut theirs = one.socket().await.2;
        let (from, to) = if by_client { (&mut client, &mut theirs) } else { (&mut theirs, &mut client) };
        from.close(None).await.unwrap();
        assert_eq!(end(to).await, None, "a close without a code is one without a code");
    }
}
