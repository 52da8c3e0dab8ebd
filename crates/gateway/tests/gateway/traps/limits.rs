//! Status, headers, limits, connections: T26 to T34.

use crate::support::*;
use coalmine_core::tally::{Cause, Ending};
use coalmine_gateway::config::{KeyNeed, RetryPolicy};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A 429 stays one, with all that it says of when to come again.
#[tokio::test]
async fn t26_a_rate_limit_reaches_the_client_as_it_is() {
    let world = World::new(vec![error(429, "retry-after: 20\r\nx-ratelimit-reset-tokens: 6ms\r\n")], vec![]).await;
    world.release(0).await;
    let answer = world.chat("s", ASK).await;
    assert_eq!(
        (answer.status, answer.header("retry-after"), answer.header("x-ratelimit-reset-tokens")),
        (429, "20", "6ms")
    );
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::RateLimited));
}

/// Of the canary too, where stable's provider is the same and so is its limit.
#[tokio::test]
async fn t26_a_rate_limit_of_a_shared_provider_stays_429() {
    let mut shared = route(1, Some(10_000));
    let canary = version("one", "model-c");
    shared.versions.insert(canary.id(), Arc::new(canary.clone()));
    shared.release.as_mut().unwrap().canary = canary.id();
    let world = World::new(vec![error(429, "retry-after: 3\r\n")], vec![]).await;
    world.gateway.install(&tables(shared)).await.unwrap();
    let answer = world.chat("s", ASK).await;
    assert_eq!((answer.status, answer.header("retry-after"), world.stable.count()), (429, "3", 1));
}

/// Headers of one hop end here, both ways, and so does the key that the client shows the gateway.
#[tokio::test]
async fn t27_headers_of_one_hop_and_the_gateways_own_key_end_here() {
    let answered = "connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-request-id: r-1\r\n";
    let world = World::new(vec![json_answer(200, answered, &completion("s"))], vec![]).await;
    world.release(0).await;
    let headers = [
        ("authorization", "Bearer of-the-gateway"),
        ("x-api-key", "secret"),
        ("connection", "te, x-own"),
        ("x-own", "1"),
        ("te", "trailers"),
        ("keep-alive", "timeout=1"),
        ("proxy-authorization", "Basic x"),
        ("upgrade", "h2c"),
        ("traceparent", "00-a-b-01"),
        ("openai-beta", "x=1"),
        ("x-session-id", "s"),
    ];
    let answer = Answer::of(world.send(world.request("/v1/chat/completions", &headers, ASK)).await).await;
    assert_eq!((answer.header("x-hop"), answer.header("keep-alive"), answer.header("x-request-id")), ("", "", "r-1"));
    let sent = &world.stable.received()[0];
    assert_eq!((sent.header("openai-beta"), sent.header("traceparent")), (Some("x=1"), Some("00-a-b-01")));
    assert_eq!(sent.header("authorization"), Some("Bearer key-one"));
    for name in ["x-api-key", "x-own", "te", "keep-alive", "proxy-authorization", "upgrade", "trailer"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    assert!(!sent.head.contains("of-the-gateway") && !sent.head.contains("secret"));
}

/// Large bodies go through; one beyond the limit is told so in the caller's wire format.
#[tokio::test]
async fn t29_a_body_of_twelve_mebibytes_passes_and_one_beyond_the_limit_is_told() {
    let world = World::with(vec![ok("s")], vec![], |config| config.limits.body = 13 << 20).await;
    world.release(0).await;
    let ask = |bytes: usize| ASK.replace("hello", &"x".repeat(bytes));
    assert_eq!(world.chat("s", &ask(12 << 20)).await.status, 200);
    assert!(world.stable.received()[0].body.len() > 12 << 20);
    let answer = world.chat("s", &ask(14 << 20)).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("request_too_large")));
}

/// Most clients read nothing before they have sent everything: whoever closes over what they still send resets the
/// connection, and the answer is lost.
#[tokio::test]
async fn t29_whoever_sends_everything_first_hears_why_it_was_refused() {
    let world = World::with(vec![ok("s")], vec![], |config| {
        config.limits.body = 2 << 20;
        config.key_need = KeyNeed::Always;
    })
    .await;
    world.release(0).await;
    let length = 24 << 20;
    let chunked = "transfer-encoding: chunked".to_owned();
    for (framing, begin) in [(format!("content-length: {length}"), ""), (chunked, "1800000\r\n")] {
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n{begin}");
        client.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..24 {
            soon("a piece is taken", client.write_all(&piece)).await.expect("not reset");
        }
        let end = if begin.is_empty() { "" } else { "\r\n0\r\n\r\n" };
        client.write_all(end.as_bytes()).await.unwrap();
        // the connection is as good as before
        client.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut told = String::new();
        soon("the end", client.read_to_string(&mut told)).await.unwrap();
        assert_eq!(told.matches("HTTP/1.1 401").count(), 2, "{framing}: {told}");
    }
}

/// The 413 has the shape of whoever asks.
#[tokio::test]
async fn t29_a_body_beyond_the_limit_is_told_in_the_callers_format() {
    let world = World::with(vec![], vec![], |config| config.limits.body = 1_000).await;
    world.release(0).await;
    let long = "x".repeat(2_000);
    for (path, pointer) in [
        ("/v1/chat/completions", "/error/code"),
        ("/v1/responses", "/error/code"),
        ("/v1/embeddings", "/error/code"),
        ("/v1/completions", "/error/code"),
        ("/v1/responses/compact", "/error/code"),
        ("/v1/images/generations", "/error/code"),
        ("/v1/models", "/error/code"),
        ("/v1/feedback", "/error/code"),
        ("/v1/messages", "/error/type"),
        ("/v1/messages/count_tokens", "/error/type"),
        ("/v1/messages/batches", "/error/type"),
        ("/s/a/v1/messages", "/error/type"),
    ] {
        let answer = Answer::of(world.send(world.request(path, &[], long.clone())).await).await;
        let told = answer.json();
        assert_eq!(
            (answer.status, &told.pointer(pointer).unwrap()),
            (413, &&serde_json::json!("request_too_large")),
            "{path}"
        );
        assert_eq!(told["type"] == "error", path.contains("/v1/messages"), "{path}");
    }
}

/// What is not patched goes through byte for byte.
#[tokio::test]
async fn t30_unknown_members_and_nulls_go_through_byte_for_byte() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let ask = |model: &str| {
        format!(
            "{{ \"x\":{{\"y\":[1.50,null]}},\n\"model\" : \"{model}\", \"encoding_format\": null,\"messages\":[{{\"role\":\"user\",\"content\":\"\\u00e9\"}}], \"n\":1e0}}"
        )
    };
    world.chat("s", &ask("support")).await;
    assert_eq!(String::from_utf8(world.stable.received()[0].body.clone()).unwrap(), ask("model-s"));
}

/// A pooled connection that died meanwhile costs nothing.
#[tokio::test]
async fn t31_a_stale_connection_is_replaced() {
    let mut closing = ok("first");
    closing.push(Step::Close);
    let world = World::new(vec![closing, ok("second")], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK).await.text(), completion("first"));
    assert_eq!(world.chat("s", ASK).await.text(), completion("second"));
}

/// An attempt that broke before anything was delivered is repeated; one that delivered is not.
#[tokio::test]
async fn t31_only_what_delivered_nothing_is_repeated() {
    let half = vec![write(STREAM_HEAD), write(chunk(delta("half"))), Step::Close];
    let world = World::with(vec![vec![Step::Close], streamed(&["a"]), half], vec![], |config| {
        for provider in config.providers.values_mut() {
            provider.retry = RetryPolicy { retries: 1, pause: Duration::from_millis(1), ..RetryPolicy::default() };
        }
    })
    .await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.status, 200);
    assert_eq!(world.stable.count(), 2, "once more");
    assert!(world.chat("s", ASK_STREAM).await.broke_off_behind(&delta("half")));
    assert_eq!(world.stable.count(), 3, "and not again");
}

/// Nothing closes what is in use: neither new tables with other versions, nor requests beyond any number of them.
#[tokio::test]
async fn t32_a_stream_lives_through_new_tables_and_many_other_requests() {
    let go = Arc::new(Notify::new());
    let long = vec![
        write(STREAM_HEAD),
        write(chunk(role())),
        write(chunk(delta("half"))),
        Step::Wait(go.clone()),
        write(chunk([finish(), done()].concat())),
        write(STREAM_END),
    ];
    let world = World::new(vec![long, ok("s")], vec![ok("c")]).await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM)).await;
    let mut got = Vec::new();
    while !got.ends_with(delta("half").as_bytes()) {
        got.extend_from_slice(&soon("half", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap());
    }
    for generation in 2..250 {
        let mut table = route(generation, Some(5_000));
        // another canary each time: what is kept of the last ones may go, what is in use may not
        let canary = version("two", &format!("model-{generation}"));
        table.versions.insert(canary.id(), Arc::new(canary.clone()));
        table.release.as_mut().unwrap().canary = canary.id();
        world.gateway.install(&tables(table)).await.unwrap();
        assert_eq!(world.chat(&format!("other-{generation}"), ASK).await.status, 200);
    }
    go.notify_one();
    got.extend_from_slice(&Answer::of(answer).await.body.unwrap());
    assert_eq!(String::from_utf8(got).unwrap(), [role(), delta("half"), finish(), done()].concat());
    assert_eq!(world.turns(249).await[0].outcome.ending, Ending::Complete);
    let opened = world.stable.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(opened <= 2, "one that streams and one for all others: {opened}");
}

/// Connections upstream are kept, and nothing but their own end closes them.
#[tokio::test]
async fn t32_connections_are_kept() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    for _ in 0..20 {
        world.chat("s", ASK).await;
    }
    assert_eq!(world.stable.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// A store that is slow, or takes nothing at all, holds no request up: none is asked on the way.
#[tokio::test]
async fn t33_no_request_waits_for_whoever_keeps_the_evidence() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.sink.refuse.store(true, std::sync::atomic::Ordering::SeqCst);
    world.log.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    world.release(5_000).await;
    for n in 0..20 {
        assert_eq!(world.chat(&n.to_string(), ASK).await.status, 200);
    }
    world.sink.refuse.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.turns(20).await.len(), 20, "and nothing is lost");
}

/// Slow is worse than gone, for nothing fails: whoever takes the evidence hangs, and no request does.
#[tokio::test]
async fn t33_no_request_waits_for_a_keeper_that_hangs() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    let until = Arc::new(Notify::new());
    *world.sink.hangs.lock().unwrap() = Some(until.clone());
    world.release(5_000).await;
    for n in 0..50 {
        assert_eq!(world.chat(&n.to_string(), ASK).await.status, 200, "request {n}");
    }
    assert!(world.sink.deltas.lock().unwrap().is_empty(), "it hangs still");
    *world.sink.hangs.lock().unwrap() = None;
    until.notify_one();
    assert_eq!(world.turns(50).await.len(), 50, "and nothing is lost");
}

#[tokio::test]
async fn rubbish_is_told_and_nothing_else_happens() {
    let world = World::new(vec![ok("s")], vec![ok("c")]).await;
    world.release(5_000).await;
    for body in ["", "{", "[]", "null", "{\"model\":1}", "{\"messages\":[]}", "\u{0}", "{\"model\":\"support\",}"] {
        let answer = world.chat("s", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    for body in ["", "{", "[", "7", "[[]]", "{\"request_id\":7}"] {
        let answer = Answer::of(world.send(world.request("/v1/feedback", &[], body)).await).await;
        assert!(answer.status == 400 || answer.status == 422, "{body}");
    }
    for raw in [
        "GET / HTTP/9\r\n\r\n",
        "\u{0}\u{1}\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    }
    assert_eq!(world.chat("s", ASK).await.status, 200);
    assert_eq!(world.turns(1).await.len(), 1);
}

/// HTTP/2 without TLS, as some clients speak it inside a cluster.
#[tokio::test]
async fn cleartext_http2_is_spoken() {
    let world = World::new(vec![streamed(&["a"])], vec![]).await;
    world.release(0).await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build(hyper_util::client::legacy::connect::HttpConnector::new());
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM);
    let answer = Answer::of(soon("an answer", client.request(request)).await.unwrap()).await;
    assert_eq!((answer.status, answer.text()), (200, [role(), delta("a"), finish(), done()].concat()));
}
