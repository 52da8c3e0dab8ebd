//! Streams that break off after content, told to whoever reads them: T14, T15.

use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Ending};
use coalmine_gateway::config::{Config, ProviderKind, StreamUsage};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A bound of time that is waited for.
const SHORT: Duration = Duration::from_millis(50);

/// How a stream ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Its connection closes inside the body.
    Closes,
    /// Its body ends as a whole one does.
    Ends,
    /// Nothing more comes.
    Stalls,
}

const BREAKS: [Break; 3] = [Break::Closes, Break::Ends, Break::Stalls];

/// Who asks for what, and what comes before the break.
struct Surface {
    kind: ProviderKind,
    path: &'static str,
    body: Value,
    said: String,
}

fn asked(model: &str, stream: Value) -> Value {
    let mut body = json!({"model": model, "max_tokens": 9, "input": "Hi", "prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(stream.as_object().unwrap().clone());
    body
}

/// The surfaces of a route, or the same where `model` names none.
fn surfaces(model: &str) -> Vec<Surface> {
    let stream = json!({"stream": true});
    let counted = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chat = role() + &delta("a");
    let talk = messages::start() + &messages::opened() + &messages::text("a");
    let old = event(r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null}]}"#);
    let response = surfaces::events("r", &["a"])[..3].concat().replace("\"type\":", "\"sequence_number\":4,\"type\":");
    let (open, anthropic) = (ProviderKind::OpenAi, ProviderKind::Anthropic);
    [
        (open, "/v1/chat/completions", &stream, &chat),
        (open, "/v1/chat/completions", &counted, &chat),
        (open, "/v1/completions", &stream, &old),
        (open, "/v1/responses", &stream, &response),
        (anthropic, "/v1/messages", &stream, &talk),
    ]
    .into_iter()
    .map(|(kind, path, stream, said)| Surface { kind, path, body: asked(model, stream.clone()), said: said.clone() })
    .collect()
}

fn script(head: &str, said: &str, how: Break, let_go: &Arc<Notify>) -> Vec<Step> {
    let end = match how {
        Break::Closes => Step::Close,
        Break::Ends => write(STREAM_END),
        Break::Stalls => Step::UntilClosed(let_go.clone()),
    };
    vec![write(head), write(chunk(said)), end]
}

async fn world(kind: ProviderKind, script: Vec<Step>, change: impl FnOnce(&mut Config)) -> World {
    let world = World::with(vec![script], vec![], |config| {
        config.default_provider = Some("one".into());
        for provider in config.providers.values_mut() {
            (provider.kind, provider.timeouts.idle) = (kind, SHORT);
        }
        change(config);
    })
    .await;
    world.release(0).await;
    world
}

async fn ask(world: &World, path: &str, body: &Value) -> Answer {
    Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body.to_string())).await).await
}

/// The one event behind what was said, as its SDK raises by it.
fn is_raised(path: &str, farewell: &str, how: Break) {
    let (head, data) = farewell.trim_end().rsplit_once("data: ").unwrap();
    assert!(farewell.ends_with("\n\n") && !data.contains('\n'), "{path}: one event: {farewell}");
    let data: Value = serde_json::from_str(data).unwrap();
    let stalled = how == Break::Stalls;
    let code = if stalled { "upstream_timeout" } else { "bad_gateway" };
    match path {
        "/v1/messages" => {
            assert_eq!((head, &data["type"]), ("event: error\n", &json!("error")));
            assert_eq!(data["error"]["type"], if stalled { "timeout_error" } else { "api_error" });
        }
        "/v1/responses" => {
            assert_eq!((head, &data["type"], &data["code"]), ("event: error\n", &json!("error"), &json!(code)));
            assert_eq!((&data["sequence_number"], &data["error"]["code"]), (&json!(5), &json!(code)));
        }
        _ => assert_eq!((head, &data["error"]["code"]), ("", &json!(code))),
    }
}

/// On every surface, routed or passed through: what came, then an error that the SDK of the surface raises, and nothing that
/// looks like an end. A provider that broke off and one that ended its body in the middle are the same.
#[tokio::test]
async fn t15_a_break_behind_content_is_told_on_every_surface() {
    for model in ["support", "gpt-9"] {
        for Surface { kind, path, body, said } in surfaces(model) {
            for how in BREAKS {
                let let_go = Arc::new(Notify::new());
                let world = world(kind, script(STREAM_HEAD, &said, how, &let_go), |_| {}).await;
                let answer = ask(&world, path, &body).await;
                let text = answer.text();
                let farewell = text.strip_prefix(&*said).unwrap_or_else(|| panic!("{path} {how:?}: {text}"));
                is_raised(path, farewell, how);
                assert!(answer.body.is_ok(), "{path} {model} {how:?}: nothing comes behind it");
                if how == Break::Stalls {
                    soon("the provider is let go", let_go.notified()).await;
                }
                if model == "support" {
                    let ending = world.turns(1).await[0].outcome.ending;
                    assert_eq!(ending, Ending::Failed(Cause::Broken), "{path} {how:?}");
                }
            }
        }
    }
}

/// Inside an event nothing can be said, and nothing is made of its half: the body breaks behind what came. Where the gateway
/// holds the half itself, it is left out, and the break is told.
#[tokio::test]
async fn t15_a_break_inside_an_event_mangles_nothing() {
    for model in ["support", "gpt-9"] {
        for Surface { kind, path, body, said } in surfaces(model) {
            let half = &said[..said.len() - 9];
            let end = said.trim_end_matches('\n').rfind("\n\n").map_or(0, |at| at + 2);
            // usage is asked for, and taken out again
            let holds = path.ends_with("/completions") && model == "support" && body.get("stream_options").is_none();
            for how in BREAKS {
                let let_go = Arc::new(Notify::new());
                let world = world(kind, script(STREAM_HEAD, half, how, &let_go), |_| {}).await;
                let answer = ask(&world, path, &body).await;
                let text = answer.text();
                if holds {
                    is_raised(path, text.strip_prefix(&said[..end]).unwrap(), how);
                } else {
                    assert_eq!((text.as_str(), answer.body.is_err()), (half, true), "{path} {model} {how:?}");
                }
            }
        }
    }
}

/// The same over HTTP/2, where a break is a stream that is reset: the connection goes on.
#[tokio::test]
async fn t15_a_break_is_told_over_http2() {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
    for model in ["support", "gpt-9"] {
        for Surface { kind, path, body, said } in surfaces(model) {
            for how in BREAKS {
                let (let_go, half) = (Arc::new(Notify::new()), &said[..said.len() - 1]);
                let leave = |config: &mut Config| {
                    config.providers.values_mut().for_each(|provider| provider.stream_usage = StreamUsage::Leave);
                };
                let world = world(kind, script(STREAM_HEAD, &said, how, &let_go), leave).await;
                for said in [&*said, half] {
                    world.stable.does(vec![script(STREAM_HEAD, said, how, &let_go)]);
                    let request = world.request(path, &[("x-session-id", "s")], body.to_string());
                    world.clock.advance(1);
                    let answer = Answer::of(soon("an answer", client.request(request)).await.unwrap()).await;
                    let text = answer.text();
                    let farewell = text.strip_prefix(said).unwrap();
                    assert_eq!(answer.body.is_err(), said == half, "{path} {model} {how:?}");
                    if said != half {
                        is_raised(path, farewell, how);
                    } else {
                        assert_eq!(farewell, "", "{path} {model} {how:?}");
                    }
                }
            }
        }
    }
}

/// A stream of a surface that is passed through unread: whether its clients know the event is not known, so that it breaks as
/// well. What is no stream, or encoded, breaks and gets no word.
#[tokio::test]
async fn t15_what_nobody_reads_breaks_behind_what_came() {
    let plain = STREAM_HEAD.replace("text/event-stream", "audio/mpeg");
    let encoded = STREAM_HEAD.replace("\r\n\r\n", "\r\ncontent-encoding: br\r\n\r\n");
    let said = event(r#"{"type":"image_generation.partial_image"}"#);
    for (head, is_told) in [(STREAM_HEAD, true), (&plain, false), (&encoded, false)] {
        for path in ["/v1/images/generations", "/v1/chat/completions"] {
            let reads = path == "/v1/chat/completions" && is_told;
            for how in [Break::Closes, Break::Stalls] {
                let let_go = Arc::new(Notify::new());
                let world = world(ProviderKind::OpenAi, script(head, &said, how, &let_go), |_| {}).await;
                let answer = ask(&world, path, &asked("gpt-9", json!({"stream": true}))).await;
                let text = answer.text();
                let farewell = text.strip_prefix(&*said).unwrap();
                if is_told {
                    is_raised(path, farewell, how);
                } else {
                    assert_eq!(farewell, "", "{head}");
                }
                assert_eq!(answer.body.is_err(), !reads, "{head} {path} {how:?}");
            }
        }
    }
}

/// Behind the last word nothing is missed: a provider that closes instead of ending its body breaks nobody's.
#[tokio::test]
async fn t13_a_break_behind_the_last_word_is_none() {
    let chat = [role(), delta("a"), finish(), done()].concat();
    let talk = [messages::start(), messages::opened(), messages::text("a"), messages::end().concat()].concat();
    let response = surfaces::events("r", &["a"]).concat();
    for (kind, path, said) in [
        (ProviderKind::OpenAi, "/v1/chat/completions", chat),
        (ProviderKind::Anthropic, "/v1/messages", talk),
        (ProviderKind::OpenAi, "/v1/responses", response),
    ] {
        for model in ["support", "gpt-9"] {
            let steps = script(STREAM_HEAD, &said, Break::Closes, &Arc::default());
            let world = world(kind, steps, |_| {}).await;
            let answer = ask(&world, path, &asked(model, json!({"stream": true}))).await;
            assert_eq!(answer.body.map_err(|cut| String::from_utf8(cut).unwrap()).unwrap(), said.clone().into_bytes());
        }
    }
}

/// A stream that was told its length has another one with what the gateway says in it: it is not cut by the first.
#[tokio::test]
async fn t08_a_stream_with_a_length_is_not_cut_by_what_is_said_in_it() {
    let whole = [role(), delta("a"), finish(), done()].concat();
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n")
    };
    let begun = role() + &delta("a");
    let (length, go) = (whole.len(), Arc::new(Notify::new()));
    let pauses = vec![write(head(length)), write(&begun), Step::Wait(go.clone()), write(&whole[begun.len()..])];
    let breaks = vec![write(head(length)), write(&begun), Step::Close];
    for model in ["support", "gpt-9"] {
        let body = asked(model, json!({"stream": true, "stream_options": {"include_usage": true}}));
        let world = world(ProviderKind::OpenAi, pauses.clone(), |config| {
            for provider in config.providers.values_mut() {
                provider.timeouts.idle = PATIENCE;
                provider.timeouts.keep_alive = Some(SHORT / 5);
            }
        })
        .await;
        let mut answer =
            world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], body.to_string())).await;
        let mut got = String::new();
        let enough = if model == "support" { ": keep-alive\n\n" } else { &*begun };
        while !got.contains(enough) {
            let frame = soon("a piece", answer.body_mut().frame()).await.unwrap().unwrap();
            got.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        go.notify_one();
        got.push_str(&Answer::of(answer).await.text());
        assert_eq!(got.replace(": keep-alive\n\n", ""), whole, "{model}");
        world.stable.does(vec![breaks.clone()]);
        let answer = ask(&world, "/v1/chat/completions", &body).await;
        is_raised("/v1/chat/completions", answer.text().strip_prefix(&*begun).unwrap(), Break::Closes);
        assert!(answer.body.is_ok(), "{model}");
    }
}
