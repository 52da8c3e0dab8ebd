//! The client leaves: the upstream is told in all windows, and nobody is blamed (T22, T23).

use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::key::Quota;
use coalmine_core::tally::{CancelPoint, Ending};
use coalmine_gateway::config::ProviderKind;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;
use tokio::sync::Notify;

/// The same request with a body so long that it is served beside the threads of requests.
fn long(body: &str) -> String {
    let pad = "x".repeat(1 << 20);
    body.replacen('{', &format!(r#"{{"metadata":{{"pad":"{pad}"}},"#), 1)
}

async fn ending(world: &World) -> Ending {
    world.turns(1).await[0].outcome.ending
}

#[tokio::test]
async fn t22_the_cancel_is_felt_before_the_first_byte() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![], vec![vec![Step::UntilClosed(closed.clone())]]).await;
    world.release(10_000).await;
    for (n, body) in [ASK.to_owned(), ASK_STREAM.to_owned(), long(ASK), long(ASK_STREAM)].into_iter().enumerate() {
        let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], body);
        let going = tokio::spawn(world.client.request(request));
        soon("the request upstream", world.canary.arrived.notified()).await;
        world.clock.advance(700);
        going.abort();
        soon("the upstream's cancel", closed.notified()).await;
        // told a moment later, on its own thread
        let turn = world.turns(n + 1).await.pop().unwrap();
        assert_eq!(turn.outcome.ending, Ending::Cancelled(CancelPoint::BeforeFirstByte));
        assert_eq!((turn.outcome.latency_ms, turn.outcome.ttft_ms), (700.0, None), "its elapsed time counts");
    }
    assert_eq!(world.pins.len(), 1, "the pin stays");
    assert_eq!(world.stable.count(), 0, "a cancel is nothing to rescue");
}

#[tokio::test]
async fn t22_the_cancel_is_felt_while_lifecycle_frames_are_held_back() {
    let closed = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(closed.clone())];
    let world = World::new(vec![], vec![script]).await;
    world.release(10_000).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK_STREAM);
    let going = tokio::spawn(world.client.request(request));
    soon("the request upstream", world.canary.arrived.notified()).await;
    going.abort();
    soon("the upstream's cancel", closed.notified()).await;
    assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::BeforeFirstByte));
}

#[tokio::test]
async fn t22_the_cancel_is_felt_in_the_middle_of_a_stream() {
    for body in [ASK_STREAM.to_owned(), long(ASK_STREAM)] {
        let closed = Arc::new(Notify::new());
        let script = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(closed.clone())];
        let world = World::new(vec![], vec![script]).await;
        world.release(10_000).await;
        let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], body)).await;
        let first = soon("the first frame", answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), delta("a"));
        drop(answer);
        soon("the upstream's cancel", closed.notified()).await;
        assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::MidAnswer));
        assert!(world.metric("coalmine_active_requests 0"));
    }
}

#[tokio::test]
async fn t22_the_cancel_is_felt_in_the_middle_of_a_body() {
    let closed = Arc::new(Notify::new());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let world = World::new(vec![vec![write(head), Step::UntilClosed(closed.clone())]], vec![]).await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK)).await;
    assert!(soon("the first frame", answer.body_mut().frame()).await.is_some());
    drop(answer);
    soon("the upstream's cancel", closed.notified()).await;
    assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::MidAnswer));
}

#[tokio::test]
async fn t22_the_cancel_is_felt_while_stable_stands_in() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![vec![Step::UntilClosed(closed.clone())]], vec![error(500, "")]).await;
    world.release(10_000).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK);
    let going = tokio::spawn(world.client.request(request));
    soon("the request at stable", world.stable.arrived.notified()).await;
    going.abort();
    soon("stable's cancel", closed.notified()).await;
    let failed = Ending::Failed(coalmine_core::tally::Cause::Server);
    assert_eq!(ending(&world).await, failed, "the canary had failed before");
}

#[tokio::test]
async fn t23_a_cancel_is_no_failure_and_leaves_the_pin() {
    let closed = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(closed.clone())];
    let world = World::new(vec![], vec![script, ok("again")]).await;
    world.release(10_000).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK_STREAM)).await;
    soon("the first frame", answer.body_mut().frame()).await.unwrap().unwrap();
    drop(answer);
    soon("the upstream's cancel", closed.notified()).await;
    let Ending::Cancelled(_) = ending(&world).await else { panic!("not a cancel") };
    assert_eq!(world.pins.len(), 1);
    world.gateway.install(&tables(route(2, Some(0)))).await.unwrap();
    assert_eq!(world.chat("s-1", ASK).await.header("x-coalmine-arm"), "canary", "the session goes on where it was");
}

/// Over HTTP/2 a client leaves by resetting one stream. It is felt in all windows, on every surface and through
/// translation, gives its place back, and leaves the connection as it was.
#[tokio::test]
async fn t22_a_stream_of_http2_that_is_reset_is_felt_upstream() {
    let responses = r#"{"model":"support","input":"Hi","stream":true}"#;
    let text = messages::start() + &messages::opened() + &messages::text("a");
    let responded = surfaces::events("r", &["a"])[..3].concat();
    for (kind, path, body, content) in [
        (ProviderKind::OpenAi, "/v1/chat/completions", ASK_STREAM, delta("a")),
        (ProviderKind::OpenAi, "/v1/responses", responses, responded),
        (ProviderKind::Anthropic, "/v1/messages", messages::ASK_STREAM, text.clone()),
        (ProviderKind::Anthropic, "/v1/chat/completions", ASK_STREAM, text),
        (ProviderKind::OpenAi, "/v1/messages", messages::ASK_STREAM, delta("a")),
    ] {
        let closed = Arc::new(Notify::new());
        let windows = [
            vec![Step::UntilClosed(closed.clone())],
            vec![write(STREAM_HEAD), Step::UntilClosed(closed.clone())],
            vec![write(STREAM_HEAD), write(chunk(content)), Step::UntilClosed(closed.clone())],
            vec![
                write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"),
                Step::UntilClosed(closed.clone()),
            ],
        ];
        let count = windows.len();
        let world = World::with(windows.into(), vec![], |config| {
            config.providers.values_mut().for_each(|provider| provider.kind = kind);
            config.quota = Quota { concurrent: Some(1), ..Quota::default() };
        })
        .await;
        world.release(0).await;
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
        for n in 0..count {
            world.clock.advance(1);
            let request = world.request(path, &[("x-session-id", "s")], body);
            let going = client.request(request);
            let going = tokio::spawn(async move {
                let mut answer = going.await.unwrap().into_body();
                while let Some(Ok(_)) = answer.frame().await {}
            });
            soon("the request upstream", world.stable.arrived.notified()).await;
            going.abort();
            soon("the upstream's cancel", closed.notified()).await;
            world.turns(n + 1).await;
        }
        for turn in world.turns(count).await {
            let Ending::Cancelled(_) = turn.outcome.ending else { panic!("{path} {kind:?}: {:?}", turn.outcome) };
        }
        assert!(world.metric("coalmine_active_requests 0"), "{path}");
        assert_eq!(world.stable.count(), count, "each had its place: one at a time is allowed");
    }
}
