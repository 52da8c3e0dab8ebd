//! What the control plane asks of a gateway: tables, ceilings, deltas, drain.

use crate::hostile::reader;
use crate::support::*;
use bytes::Bytes;
use coalmine_core::id::{Generation, RouteName};
use coalmine_core::tally::{Cause, Ending, TurnPart};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::listen::serve;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

fn serving(world: &World) -> u64 {
    world.gateway.serving().get(&RouteName::from("support")).map_or(0, |generation| generation.0)
}

async fn arm(world: &World, session: &str) -> String {
    world.chat(session, ASK).await.header("x-coalmine-arm").to_owned()
}

#[tokio::test]
async fn a_raise_waits_until_the_pins_are_durable_and_a_lowering_does_not() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    world.log.broken.store(true, Ordering::SeqCst);
    assert!(world.gateway.install(&tables(route(2, Some(10_000)))).await.is_err());
    assert_eq!((serving(&world), arm(&world, "a").await.as_str()), (1, "stable"), "not served and not acknowledged");
    world.log.broken.store(false, Ordering::SeqCst);
    world.gateway.install(&tables(route(2, Some(10_000)))).await.unwrap();
    assert_eq!((serving(&world), arm(&world, "b").await.as_str()), (2, "canary"));
    world.log.broken.store(true, Ordering::SeqCst);
    world.gateway.install(&tables(route(3, Some(100)))).await.unwrap();
    assert_eq!(serving(&world), 3);
    world.gateway.install(&tables(route(4, None))).await.unwrap();
    assert_eq!((serving(&world), arm(&world, "c").await.as_str()), (4, "stable"));
}

#[tokio::test]
async fn a_promotion_waits_and_a_rollback_of_it_does_not() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    world.log.broken.store(true, Ordering::SeqCst);
    let mut promoted = route(2, None);
    let (old, new) = (promoted.stable, version("two", "model-c").id());
    promoted.stable = new;
    assert!(world.gateway.install(&tables(promoted.clone())).await.is_err());
    assert_eq!((serving(&world), arm(&world, "a").await.as_str()), (1, "canary"), "the release goes on meanwhile");
    world.log.broken.store(false, Ordering::SeqCst);
    world.gateway.install(&tables(promoted)).await.unwrap();
    let answer = world.chat("b", ASK).await;
    assert_eq!((answer.header("x-coalmine-arm"), answer.header("x-coalmine-version")), ("stable", &*new.to_string()));
    world.log.broken.store(true, Ordering::SeqCst);
    let mut restored = route(3, None);
    let gone = coalmine_core::traffic::table::Revoked {
        release: Arc::new("support-1".into()),
        version: new,
        reach: coalmine_core::traffic::table::Reach::EverySession,
        moves_at: coalmine_core::time::UnixMs(0),
    };
    restored.revoked = vec![gone];
    world.gateway.install(&tables(restored)).await.unwrap();
    assert_eq!(world.chat("c", ASK).await.header("x-coalmine-version"), old.to_string());
}

#[tokio::test]
async fn an_older_generation_is_refused() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.gateway.install(&tables(route(5, None))).await.unwrap();
    world.gateway.install(&tables(route(4, Some(10_000)))).await.unwrap();
    assert_eq!((serving(&world), arm(&world, "a").await.as_str()), (5, "stable"));
    assert!(world.metric(r#"coalmine_generations_refused_total{route="support"} 1"#));
}

#[tokio::test]
async fn a_ceiling_holds_new_sessions_down_at_once() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(10_000).await;
    assert_eq!(arm(&world, "live").await, "canary");
    world.gateway.lower(&"support-1".into(), WeightBp::ZERO);
    assert_eq!(arm(&world, "new").await, "stable");
    assert_eq!(arm(&world, "live").await, "canary", "a live session is the release's to move");
    world.gateway.install(&tables(route(2, Some(10_000)))).await.unwrap();
    assert_eq!(arm(&world, "newer").await, "stable", "a new table does not lift it by itself");
    world.gateway.lift(&"support-1".into());
    assert_eq!(arm(&world, "newest").await, "canary");
}

#[tokio::test]
async fn deltas_are_numbered_offered_until_taken_and_never_hold_requests_up() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(0).await;
    world.sink.refuse.store(true, Ordering::SeqCst);
    for n in 0..5 {
        assert_eq!(world.chat(&n.to_string(), ASK).await.status, 200);
    }
    let before = world.sink.offered.load(Ordering::SeqCst);
    soon("another offer", async {
        while world.sink.offered.load(Ordering::SeqCst) <= before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.sink.refuse.store(false, Ordering::SeqCst);
    assert_eq!(world.turns(5).await.len(), 5);
    let deltas = world.sink.deltas.lock().unwrap().clone();
    let sequences: Vec<u64> = deltas.iter().map(|delta| delta.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "without a gap or a repetition");
    let last = deltas.last().unwrap();
    assert_eq!(last.serving.get(&RouteName::from("support")), Some(&Generation(1)));
    assert!(!world.metric("coalmine_sink_refusals_total 0"));
}

#[tokio::test]
async fn a_long_answer_is_judged_at_its_age_and_its_tail_follows() {
    let (go_on, silent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut speaking = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::Wait(go_on.clone())];
    speaking.extend([finish(), usage(), done()].map(|event| write(chunk(event))));
    speaking.push(write(STREAM_END));
    let mute = vec![
        write(STREAM_HEAD),
        Step::Wait(silent.clone()),
        write(chunk(delta("late"))),
        write(chunk(finish())),
        write(STREAM_END),
    ];
    let world = World::new(vec![speaking, mute], vec![]).await;
    world.release(0).await;
    let chat = |session| world.request("/v1/chat/completions", &[("x-session-id", session)], ASK_STREAM);
    let mut first = world.send(chat("s-1")).await;
    soon("content", first.body_mut().frame()).await.unwrap().unwrap();
    let second = world.send(chat("s-2")).await;
    world.clock.advance(60_000);
    let judged = world.turns(2).await;
    let endings: BTreeSet<_> = judged.iter().map(|turn| (turn.part as u8, turn.outcome.ending)).collect();
    let part = TurnPart::Judged as u8;
    assert_eq!(endings, BTreeSet::from([(part, Ending::Running), (part, Ending::Failed(Cause::Deadline))]));
    go_on.notify_one();
    silent.notify_one();
    assert!(Answer::of(first).await.body.is_ok() && Answer::of(second).await.body.is_ok());
    let mut tails = world.turns(4).await;
    tails.retain(|turn| turn.part == TurnPart::Tail);
    assert_eq!(tails.len(), 2);
    assert_eq!(tails.iter().filter(|turn| turn.outcome.usage.output == Some(5)).count(), 1);
}

#[tokio::test]
async fn a_drain_lets_what_runs_end_and_refuses_the_rest() {
    let go_on = Arc::new(Notify::new());
    let mut slow = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::Wait(go_on.clone())];
    slow.extend([write(chunk(finish())), write(chunk(done())), write(STREAM_END)]);
    let mut world = World::new(vec![slow], vec![]).await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM)).await;
    soon("content", answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(world.gateway.drain(Duration::ZERO).await, 1);
    go_on.notify_one();
    assert!(Answer::of(answer).await.body.is_ok());
    assert_eq!(world.gateway.drain(PATIENCE).await, 0);
    soon("nobody listens any more", async {
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.running.take().unwrap().stop(PATIENCE).await;
    assert_eq!(world.turns(1).await.len(), 1, "what was learnt was carried away before the end");
}

/// Streams by an event that clients raise, what has no answer yet by 503; and nobody is blamed for it.
#[tokio::test]
async fn what_a_drain_leaves_is_told_that_the_gateway_ends() {
    let one = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let two = Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
    for (client, linger) in [(&one, Duration::ZERO), (&one, Duration::from_mins(1)), (&two, Duration::ZERO)] {
        left_is_told(client, linger).await;
    }
}

/// Connections stay open for `linger` behind their last answer, of which those that wait for one know nothing.
async fn left_is_told(client: &Client<HttpConnector, Full<Bytes>>, linger: Duration) {
    let never = Arc::new(Notify::new());
    let slow = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(never.clone())];
    let silent = vec![Step::UntilClosed(never.clone())];
    let world = World::new(vec![slow.clone(), slow, silent], vec![]).await;
    world.release(0).await;
    let mut begun = Vec::new();
    for n in 0..2 {
        let session = format!("s-{n}");
        let request = world.request("/v1/chat/completions", &[("x-session-id", &session)], ASK_STREAM);
        let mut answer = client.request(request).await.unwrap();
        soon("content", answer.body_mut().frame()).await.unwrap().unwrap();
        begun.push(answer);
    }
    let waits = tokio::spawn(client.request(world.request("/v1/chat/completions", &[], ASK)));
    soon("it is asked", async {
        while world.stable.count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.gateway.drain_lingering(Duration::ZERO, linger).await, 3);
    soon("they are told", world.gateway.cut_off()).await;
    for answer in begun {
        let answer = Answer::of(answer).await;
        let (text, is_whole) = (answer.text(), answer.body.is_ok());
        assert!(is_whole && text.contains("this gateway ends") && text.contains("\"error\""), "{text}");
        assert!(!text.contains("[DONE]"));
    }
    let waited = Answer::of(soon("an answer", waits).await.unwrap().unwrap()).await;
    assert_eq!(waited.status, 503);
    assert!(waited.text().contains("this gateway ends"), "{}", waited.text());
    let turns = world.turns(3).await;
    let endings: Vec<_> = turns.iter().map(|turn| turn.outcome.ending).collect();
    assert_eq!(endings, [Ending::GatewayError; 3]);
}

/// Requests of which half has come, and nothing more does: one of the gateway's, and one of what is beside it.
async fn half_sent(world: &World) -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let beside = listener.local_addr().unwrap();
    tokio::spawn(serve(world.gateway.clone(), listener, reader()));
    let send = async |address, path| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let streams = [send(world.address, "/v1/messages").await, send(beside, "/api/v1/keys").await];
    soon("their bodies are waited for", async {
        while !world.metric("coalmine_bodies_to_come 2") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    streams
}

async fn said_to([ours, beside]: [TcpStream; 2]) -> [String; 2] {
    let read = async |mut stream: TcpStream| {
        let mut said = String::new();
        soon("its connection ends", stream.read_to_string(&mut said)).await.unwrap();
        said
    };
    [read(ours).await, read(beside).await]
}

#[tokio::test]
async fn who_is_still_sending_when_a_drain_ends_is_counted_and_told() {
    let world = World::new(vec![], vec![]).await;
    world.release(0).await;
    let half = half_sent(&world).await;
    assert_eq!(world.gateway.drain(Duration::ZERO).await, 2);
    soon("they are told", world.gateway.cut_off()).await;
    let [ours, beside] = said_to(half).await;
    assert!(ours.starts_with("HTTP/1.1 529") && ours.contains("this gateway ends"), "{ours}");
    assert!(beside.ends_with("ConnectionAborted: this gateway ends"), "{beside}");
    assert_eq!(world.gateway.drain(PATIENCE).await, 0);
}

/// It holds the exit no longer than a body may pause, and is told why.
#[tokio::test]
async fn what_never_comes_whole_holds_no_drain() {
    let world = World::new(vec![], vec![]).await;
    world.release(0).await;
    let half = half_sent(&world).await;
    assert_eq!(world.gateway.drain(PATIENCE).await, 0);
    let [ours, beside] = said_to(half).await;
    assert!(ours.starts_with("HTTP/1.1 408") && ours.contains("timeout_error"), "{ours}");
    assert!(beside.ends_with("TimedOut: the request body did not come in time"), "{beside}");
    assert!(world.metric("coalmine_bodies_to_come 0"));
}

/// The request is over, and its answer's last bytes wait in the gateway for a client that has no room for them.
#[tokio::test]
async fn a_drain_waits_for_the_last_bytes_of_an_answer() {
    let long = "x".repeat(8_000);
    let window = 7_000;
    let world = World::new(vec![ok(&long)], vec![]).await;
    world.release(0).await;
    let mut client = Client::builder(TokioExecutor::new());
    client.http2_only(true).http2_initial_stream_window_size(window);
    let client = client.build(HttpConnector::new());
    let answer = client.request(world.request("/v1/chat/completions", &[], ASK)).await.unwrap();
    soon("it is over for whoever counts it", async {
        while world.gateway.active() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tokio::time::pause();
    let drain = world.gateway.drain(Duration::from_secs(10));
    tokio::pin!(drain);
    assert!(tokio::time::timeout(Duration::from_secs(9), &mut drain).await.is_err(), "it was not taken yet");
    tokio::time::resume();
    let (left, answer) = soon("its client takes it", async { tokio::join!(drain, Answer::of(answer)) }).await;
    assert!(left == 0 && answer.text().contains(&long), "{left}");
}

#[tokio::test]
async fn a_model_that_names_no_route_is_told_or_passed_through() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(0).await;
    let ask = r#"{"model":"gpt-x","messages":[]}"#;
    let answer = world.chat("s", ask).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, error["code"].as_str(), error["param"].as_str()),
        (404, Some("model_not_found"), Some("model"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("support") && message.contains("default_provider"), "{message}");

    let world = World::with(vec![], vec![ok("passed")], |config| config.default_provider = Some("two".into())).await;
    world.release(0).await;
    let answer = world.chat("s", ask).await;
    assert_eq!((answer.status, answer.text()), (200, completion("passed")));
    assert_eq!(world.canary.received()[0].body, ask.as_bytes());
    assert_eq!(answer.header("x-coalmine-arm"), "");
    assert!(world.metric("coalmine_passed_through_total 1"));
}

#[tokio::test]
async fn other_endpoints_go_to_the_routes_stable_provider() {
    let world = World::new(vec![json_answer(200, "", "[1]")], vec![]).await;
    world.release(10_000).await;
    let body = r#"{"input": "x", "model": "support"}"#;
    let answer = Answer::of(world.send(world.request("/v1/embeddings?a=b", &[], body)).await).await;
    assert_eq!((answer.status, answer.text()), (200, "[1]".to_owned()));
    let sent = &world.stable.received()[0];
    assert!(sent.head.starts_with("POST /v1/embeddings?a=b "));
    assert_eq!(sent.body, br#"{"input": "x", "model": "model-s"}"#);
    let answer = Answer::of(world.send(world.request("/v1/embeddings", &[], r#"{"model":"other"}"#)).await).await;
    assert_eq!(answer.status, 404);
    let listed = http::Request::get(format!("http://{}/v1/models", world.address)).body(Default::default()).unwrap();
    let answer = Answer::of(world.send(listed).await).await;
    assert_eq!(answer.json()["data"][0]["id"], "support");
}
