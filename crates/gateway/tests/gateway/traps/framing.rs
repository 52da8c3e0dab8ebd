//! Framing and bytes: T01 to T10.

use crate::support::*;
use coalmine_core::tally::{Check, Ending};
use coalmine_gateway::config::{ProviderKind, StreamUsage};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// However the bytes are cut, the client gets them all and they mean the same.
#[tokio::test]
async fn t01_every_cut_of_a_stream_is_the_same_stream() {
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

/// A sign of several bytes that two chunks share, in the text and in a tool's arguments.
#[tokio::test]
async fn t02_every_cut_of_a_sign_leaves_text_and_arguments_whole() {
    let called = |delta: &str| {
        event(&format!(
            r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,{delta}}}]}},"finish_reason":null}}]}}"#
        ))
    };
    let whole = [
        delta("서울 🐤"),
        called(r#""id":"c1","type":"function","function":{"name":"find","arguments":"{\"city\":"}"#),
        called(r#""function":{"arguments":"\"東京🗼\"}"}"#),
        event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#),
        done(),
    ]
    .concat();
    let ask = r#"{"model":"support","stream":true,"messages":[],"tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":{"city":{"enum":["東京🗼"]}}}}}]}"#;
    let cuts: Vec<usize> = (1..whole.len()).filter(|at| !whole.is_char_boundary(*at)).collect();
    let scripts = cuts.iter().map(|at| {
        let (a, b) = whole.as_bytes().split_at(*at);
        vec![write(STREAM_HEAD), write(chunk(a)), write(chunk(b)), write(STREAM_END)]
    });
    let world = World::new(scripts.collect(), vec![]).await;
    world.release(0).await;
    for at in &cuts {
        assert_eq!(world.chat("s", ask).await.text(), whole, "cut at {at}");
    }
    for turn in world.turns(cuts.len()).await {
        let outcome = turn.outcome;
        assert_eq!((outcome.ending, outcome.tool_calls, outcome.tool_calls_bad), (Ending::Complete, 1, 0));
    }
}

/// CRLF, comments, several events in one read, no line end at the very end.
#[tokio::test]
async fn t03_line_ends_and_an_open_last_line_pass_byte_for_byte() {
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

/// A line that does not end is passed on, and looked at no further than its bound.
#[tokio::test]
async fn t03_a_line_beyond_the_bound_passes_and_is_not_kept() {
    let long = event(&format!(r#"{{"x":"{}"}}"#, "y".repeat(3 << 20)));
    let text = [delta("a"), long, finish(), done()].concat();
    let mut script = vec![write(STREAM_HEAD)];
    script.extend(text.as_bytes().chunks(100_000).map(|piece| write(chunk(piece))));
    script.push(write(STREAM_END));
    let world = World::new(vec![script], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), text);
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete);
}

/// An event in several data lines is one text; a comment is none.
#[tokio::test]
async fn t04_comments_and_events_of_several_data_lines_pass_and_are_read() {
    let text = [
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}],\n",
        ": ping\ndata: \"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    ]
    .concat();
    let world = World::new(vec![vec![write(STREAM_HEAD), write(chunk(&text)), write(STREAM_END)]], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), text);
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.empty, outcome.usage.output), (Ending::Complete, Check::No, Some(3)));
}

/// What comes encoded, unasked for, passes as the one stream that it is, in pieces too.
#[tokio::test]
async fn t05_encoded_answers_pass_untouched_whole_and_in_pieces() {
    let gzip: Vec<u8> = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].into_iter().chain(0..=255).collect();
    let head = |kind: &str| {
        write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
    };
    for (kind, ask) in [("application/json", ASK), ("text/event-stream", ASK_STREAM)] {
        let mut script = vec![head(kind)];
        script.extend(gzip.chunks(7).map(|piece| write(chunk(piece))));
        script.push(write(STREAM_END));
        let world = World::new(vec![script], vec![]).await;
        world.release(0).await;
        let answer = world.chat("s", ask).await;
        assert_eq!((answer.header("content-encoding"), answer.body.as_deref().unwrap()), ("gzip", &gzip[..]), "{kind}");
        let outcome = &world.turns(1).await[0].outcome;
        assert_eq!((outcome.ending, outcome.refusal, outcome.usage.output), (Ending::Complete, Check::Unknown, None));
    }
}

/// An error that is told anew in the client's dialect does not keep the encoding of the old one.
#[tokio::test]
async fn t06_an_error_in_other_words_has_no_stale_encoding() {
    let body = [0x1f, 0x8b, 8, 0, 1, 2, 3];
    let head =
        "HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 7\r\n\r\n";
    let world = World::with(vec![vec![write(head), write(body)]], vec![], |config| {
        config.providers.values_mut().for_each(|provider| provider.kind = ProviderKind::Anthropic);
    })
    .await;
    world.release(0).await;
    let answer = world.chat("s", ASK).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (400, ""));
    assert!(answer.json()["error"]["message"].is_string());
}

/// Nothing is asked for in an encoding that could not be read.
#[tokio::test]
async fn t07_no_encoding_is_asked_for() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let request = world.request("/v1/chat/completions", &[("accept-encoding", "gzip, br"), ("x-session-id", "s")], ASK);
    Answer::of(world.send(request).await).await;
    assert_eq!(world.stable.received()[0].header("accept-encoding"), None);
    assert_eq!(world.turns(1).await[0].outcome.usage.output, Some(5), "so it can be read");
}

/// A length is that of what is sent, or is not told.
#[tokio::test]
async fn t08_lengths_are_right_whatever_was_taken_out() {
    let body = [delta("a"), finish(), usage(), done()].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let world = World::new(vec![vec![write(head), write(&body)], ok("whole")], vec![]).await;
    world.release(0).await;
    let answer = world.chat("s", ASK_STREAM).await;
    assert_eq!((answer.header("content-length"), answer.text()), ("", [delta("a"), finish(), done()].concat()));
    let answer = world.chat("s", ASK).await;
    assert_eq!(answer.header("content-length"), completion("whole").len().to_string());
    assert!(world.turns(2).await.iter().all(|turn| turn.outcome.ending == Ending::Complete));
}

/// A body in many pieces, in one and an empty one, and one that ends with its connection.
#[tokio::test]
async fn t09_a_body_in_pieces_is_one_body() {
    let text = completion("in pieces");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
    let mut bytewise = vec![write(&head)];
    bytewise.extend(text.as_bytes().chunks(1).map(write));
    let until_close =
        vec![write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{text}")), Step::Close];
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let and_an_end = vec![write(chunked), write(chunk(&text)), write(STREAM_END)];
    let scripts = vec![bytewise, and_an_end, until_close];
    let count = scripts.len();
    for world in [World::new(scripts.clone(), vec![]).await, World::new(vec![], scripts).await] {
        // by stable as it comes, and by a canary whose answer is held back
        world.release(if world.stable.has_scripts() { 0 } else { 10_000 }).await;
        for _ in 0..count {
            assert_eq!(world.chat("s", ASK).await.text(), text);
        }
        for turn in world.turns(count).await {
            assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(5)));
        }
    }
}

/// A chunked request is read, and sent on with its length.
#[tokio::test]
async fn t08_a_chunked_request_goes_on_with_its_length() {
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

/// A comment keeps a silent stream alive, between events and never inside one.
#[tokio::test]
async fn t10_a_keep_alive_stands_between_events_and_never_inside_one() {
    let (whole, half) = (delta("a"), delta("b"));
    let (begin, rest) = half.split_at(20);
    let go: Vec<Arc<Notify>> = (0..2).map(|_| Arc::default()).collect();
    let script = vec![
        write(STREAM_HEAD),
        write(chunk(&whole)),
        Step::Wait(go[0].clone()),
        write(chunk(begin)),
        Step::Wait(go[1].clone()),
        write(chunk([rest, &finish(), &done()].concat())),
        write(STREAM_END),
    ];
    let world = World::with(vec![script], vec![], |config| {
        for provider in config.providers.values_mut() {
            provider.timeouts.keep_alive = Some(Duration::from_millis(10));
            // nothing is held back, so that half an event is on its way
            provider.stream_usage = StreamUsage::Leave;
        }
    })
    .await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM)).await;
    let mut got = Vec::new();
    let mut comments = 0;
    while comments < 3 {
        let frame = soon("a comment", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
        comments += usize::from(frame == ": keep-alive\n\n");
        got.extend_from_slice(&frame);
    }
    go[0].notify_one();
    while !got.ends_with(begin.as_bytes()) {
        got.extend_from_slice(&soon("half", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap());
    }
    // silence inside an event: whatever was due meanwhile must not stand in it
    assert!(tokio::time::timeout(Duration::from_millis(60), answer.body_mut().frame()).await.is_err());
    go[1].notify_one();
    got.extend_from_slice(&Answer::of(answer).await.body.unwrap());
    let got = String::from_utf8(got).unwrap();
    assert_eq!(got.replace(": keep-alive\n\n", ""), [whole, half, finish(), done()].concat());
    assert!(world.turns(1).await[0].outcome.ending == Ending::Complete);
}

/// A body that is no stream of events is left alone.
#[tokio::test]
async fn t10_a_body_that_is_no_stream_gets_no_comment() {
    let go = Arc::new(Notify::new());
    let text = completion("late");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
    let world = World::with(vec![vec![write(head), Step::Wait(go.clone()), write(&text)]], vec![], |config| {
        config
            .providers
            .values_mut()
            .for_each(|provider| provider.timeouts.keep_alive = Some(Duration::from_millis(5)));
    })
    .await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK)).await;
    assert!(tokio::time::timeout(Duration::from_millis(40), answer.body_mut().frame()).await.is_err());
    go.notify_one();
    assert_eq!(Answer::of(answer).await.text(), text);
}
