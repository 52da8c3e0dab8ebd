//! The traps of the wire that proxies fall into, as far as they concern chat.

use crate::support::*;
use coalmine_core::tally::{Cause, Check, Ending, Presence};
use coalmine_gateway::config::StreamUsage;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// T01, T02, T03: however the bytes are cut, the client gets them all and they mean the same.
#[tokio::test]
async fn every_cut_of_a_stream_is_the_same_stream() {
    let whole = [role(), delta("日本 🐤 x"), finish(), usage(), done()].concat().into_bytes();
    let expected = [role(), delta("日本 🐤 x"), finish(), done()].concat();
    let scripts: Vec<Vec<Step>> = (1..whole.len())
        .map(|at| {
            let (a, b) = whole.split_at(at);
            vec![write(STREAM_HEAD), write(chunk(a)), write(chunk(b)), write(STREAM_END)]
        })
        .collect();
    let count = scripts.len();
    let world = World::new(scripts, vec![]).await;
    world.release(0).await;
    for n in 0..count {
        let answer = world.chat("s", ASK_STREAM).await;
        assert_eq!(answer.text(), expected, "cut at {}", n + 1);
    }
    for turn in world.turns(count).await {
        assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(5)));
    }
}

/// T03, T04: CRLF, comments, several events in one read, no line end at the very end.
#[tokio::test]
async fn comments_line_ends_and_an_open_last_line_pass_byte_for_byte() {
    let text = format!(
        ": OPENROUTER PROCESSING\r\n\r\n{}: ping\n\n{}data: [DONE]",
        delta("a").replace('\n', "\r\n"),
        finish()
    );
    let world = World::with(vec![vec![write(STREAM_HEAD), write(chunk(&text)), write(STREAM_END)]], vec![], |config| {
        config.providers.values_mut().for_each(|provider| provider.stream_usage = StreamUsage::Leave);
    })
    .await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), text);
    assert_eq!(world.stable.received()[0].json().get("stream_options"), None);
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete);
}

/// T05, T06, T07: nothing encoded is asked for; what comes encoded all the same passes untouched.
#[tokio::test]
async fn encodings_are_not_asked_for_and_not_touched() {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3];
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        gzip.len()
    );
    let world = World::new(vec![vec![write(head), write(gzip)]], vec![]).await;
    world.release(0).await;
    let request = world.request("/v1/chat/completions", &[("accept-encoding", "gzip, br"), ("x-session-id", "s")], ASK);
    let answer = Answer::of(world.send(request).await).await;
    assert_eq!(world.stable.received()[0].header("accept-encoding"), None);
    assert_eq!((answer.header("content-encoding"), answer.body.as_deref().unwrap()), ("gzip", &gzip[..]));
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.refusal, outcome.usage.output), (Ending::Complete, Check::Unknown, None));
}

/// T08, T09: lengths are right, whatever was taken out and however the body came.
#[tokio::test]
async fn lengths_are_right() {
    let body = [delta("a"), finish(), usage(), done()].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let text = completion("in pieces");
    let (a, b) = text.split_at(20);
    let pieces = vec![
        write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{a}",
            text.len()
        )),
        write(b),
    ];
    let until_close =
        vec![write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{text}")), Step::Close];
    let world = World::new(vec![vec![write(head), write(&body)], pieces, until_close], vec![]).await;
    world.release(0).await;
    let answer = world.chat("s", ASK_STREAM).await;
    assert_eq!((answer.header("content-length"), answer.text()), ("", [delta("a"), finish(), done()].concat()));
    let answer = world.chat("s", ASK).await;
    assert_eq!((answer.header("content-length"), answer.text()), (&*text.len().to_string(), text.clone()));
    assert_eq!(world.chat("s", ASK).await.text(), text);
    assert!(world.turns(3).await.iter().all(|turn| turn.outcome.ending == Ending::Complete));
}

/// T08: a chunked request is read, and sent on with its length.
#[tokio::test]
async fn a_chunked_request_is_taken() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let (a, b) = ASK.split_at(10);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\r\n";
    let request = [head.as_bytes(), &chunk(a), &chunk(b), b"0\r\n\r\n"].concat();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 200"));
    let sent = &world.stable.received()[0];
    assert_eq!((sent.header("transfer-encoding"), sent.header("x-hop"), sent.header("connection")), (None, None, None));
    assert_eq!(sent.json()["model"], "model-s");
}

/// T11, T12: usage that the client asked for stays, and is read wherever it stands.
#[tokio::test]
async fn usage_stays_where_it_was_asked_for_and_is_read_on_any_chunk() {
    let last = event(
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    );
    let odd = vec![
        write(STREAM_HEAD),
        write(chunk(delta("a"))),
        write(chunk(&last)),
        write(chunk(done())),
        write(STREAM_END),
    ];
    let world = World::new(vec![streamed(&["a"]), odd], vec![]).await;
    world.release(0).await;
    let asked = r#"{"model":"support","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert!(world.chat("s", asked).await.text().contains(r#""choices":[],"usage""#));
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), [delta("a"), last, done()].concat());
    let outputs: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.usage.output).collect();
    assert_eq!(outputs, [Some(5), Some(4)]);
}

/// T13, T14, T15: no `[DONE]` of our own; an error event and an end without a reason are failures.
#[tokio::test]
async fn a_broken_off_or_failed_stream_is_no_success() {
    let broken_off = vec![write(STREAM_HEAD), write(chunk(delta("a"))), write(STREAM_END)];
    let in_band = event(r#"{"object":"error","message":"boom","code":500}"#);
    let failed = vec![write(STREAM_HEAD), write(chunk(delta("a"))), write(chunk(&in_band)), write(STREAM_END)];
    let world = World::new(vec![broken_off, failed], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), delta("a"));
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), delta("a") + &in_band);
    let endings: Vec<Ending> = world.turns(2).await.iter().map(|turn| turn.outcome.ending).collect();
    assert_eq!(endings, [Ending::Failed(Cause::Broken), Ending::Failed(Cause::InBand)]);
}

/// T16, T21: the canary's lifecycle frames are held back, but not for ever.
#[tokio::test]
async fn a_long_thought_is_let_go_in_time() {
    let content = Arc::new(Notify::new());
    let mut script = vec![write(STREAM_HEAD), write(chunk(": thinking\n\n")), Step::Wait(content.clone())];
    script.extend([delta("at last"), finish(), done()].map(|event| write(chunk(event))));
    script.push(write(STREAM_END));
    let world = World::with(vec![], vec![script], |config| config.limits.rescue_hold = Duration::from_millis(10)).await;
    world.release(10_000).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM)).await;
    let frame = soon("the comment", answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ": thinking\n\n");
    world.clock.advance(40_000);
    content.notify_one();
    assert!(Answer::of(answer).await.text().contains("at last"));
    assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(40_000.0), "a comment is no content");
}

/// T17: tool calls are judged by the tools that were declared.
#[tokio::test]
async fn tool_calls_are_judged_by_the_declared_tools() {
    let call = |name: &str, arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        json_answer(
            200,
            "",
            &format!(
                r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":null,"tool_calls":[{{"id":"c1","type":"function","function":{{"name":"{name}","arguments":{arguments}}}}}]}},"finish_reason":"tool_calls"}}]}}"#
            ),
        )
    };
    let world =
        World::new(vec![call("find", r#"{"id":7}"#), call("find", r#"{"id":"seven"}"#), call("fnid", "{}")], vec![])
            .await;
    world.release(0).await;
    let ask = r#"{"model":"support","messages":[],"tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}}}]}"#;
    for _ in 0..3 {
        world.chat("s", ask).await;
    }
    let turns = world.turns(3).await;
    let calls: Vec<(u32, u32)> =
        turns.iter().map(|turn| (turn.outcome.tool_calls, turn.outcome.tool_calls_bad)).collect();
    assert_eq!(calls, [(1, 0), (1, 1), (1, 1)]);
    assert!(
        turns.iter().all(|turn| turn.outcome.tools_declared == Presence::Present && turn.outcome.empty == Check::No)
    );
}

/// T26, T28: rate limits and unknown headers pass both ways; keys pass neither.
#[tokio::test]
async fn limits_and_unknown_headers_pass_and_keys_do_not() {
    let world = World::new(vec![error(429, "retry-after: 20\r\nx-ratelimit-reset-tokens: 6ms\r\n")], vec![]).await;
    world.release(0).await;
    let headers = [
        ("authorization", "Bearer of-the-gateway"),
        ("x-api-key", "secret"),
        ("openai-beta", "x=1"),
        ("traceparent", "00-a-b-01"),
        ("x-session-id", "s"),
    ];
    let answer = Answer::of(world.send(world.request("/v1/chat/completions", &headers, ASK)).await).await;
    assert_eq!(
        (answer.status, answer.header("retry-after"), answer.header("x-ratelimit-reset-tokens")),
        (429, "20", "6ms")
    );
    let sent = &world.stable.received()[0];
    assert_eq!((sent.header("openai-beta"), sent.header("traceparent")), (Some("x=1"), Some("00-a-b-01")));
    assert!(!sent.head.contains("of-the-gateway") && !sent.head.contains("secret"));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::RateLimited));
}

/// T29: large bodies go through; one beyond the limit is told so in the caller's wire format.
#[tokio::test]
async fn a_body_of_twelve_mebibytes_passes_and_one_beyond_the_limit_is_told() {
    let world = World::with(vec![ok("s")], vec![], |config| config.limits.body = 13 << 20).await;
    world.release(0).await;
    let ask = |bytes: usize| ASK.replace("hello", &"x".repeat(bytes));
    assert_eq!(world.chat("s", &ask(12 << 20)).await.status, 200);
    assert!(world.stable.received()[0].body.len() > 12 << 20);
    let answer = world.chat("s", &ask(14 << 20)).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (413, Some("request_too_large")));
}

/// T30: what is not patched goes through byte for byte.
#[tokio::test]
async fn unknown_members_and_nulls_go_through_byte_for_byte() {
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

/// T31: a pooled connection that died meanwhile costs nothing.
#[tokio::test]
async fn a_stale_connection_is_replaced() {
    let mut closing = ok("first");
    closing.push(Step::Close);
    let world = World::new(vec![closing, ok("second")], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK).await.text(), completion("first"));
    assert_eq!(world.chat("s", ASK).await.text(), completion("second"));
}

/// T32: connections upstream are kept, and nothing but their own end closes them.
#[tokio::test]
async fn connections_are_kept() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    for _ in 0..20 {
        world.chat("s", ASK).await;
    }
    assert_eq!(world.stable.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
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
