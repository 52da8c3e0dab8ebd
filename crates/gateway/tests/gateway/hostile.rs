//! Hostile clients and upstreams, on the real listener: all of it is bounded, and answered where anybody listens.

use crate::support::*;
use bytes::Bytes;
use coalmine_core::tally::{Cause, Ending};
use coalmine_gateway::BoxError;
use coalmine_gateway::config::Config;
use coalmine_gateway::listen::{Side, serve, serve_beside};
use http::Response;
use http_body_util::{BodyExt, Full};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A bound of time that is waited for.
const SHORT: Duration = Duration::from_millis(100);

/// Writes, and reads until the gateway closes.
async fn say(world: &World, bytes: &[u8]) -> String {
    say_at(world.address, bytes).await
}

async fn say_at(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    soon("the gateway closes", async {
        tokio::join!(
            async {
                // the gateway may close before it has all
                let _ = write.write_all(bytes).await;
            },
            async {
                let _ = read.read_to_end(&mut said).await;
            }
        )
    })
    .await;
    String::from_utf8_lossy(&said).into_owned()
}

async fn impatient() -> World {
    let world = World::with(vec![ok("s")], vec![], |config| {
        config.limits.head_time = SHORT;
        config.limits.body_time = SHORT;
    })
    .await;
    world.release(0).await;
    world
}

/// A client that says nothing, half of a head, or half of what tells one protocol from the other.
#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let world = impatient().await;
    for half in ["", "PRI * HT", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let said = say(&world, half.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{half:?}: {said}");
    }
    assert_eq!(world.chat("s-1", ASK).await.status, 200, "others are served");
    let whole = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{ASK}", ASK.len());
    for second in ["", "GET /v1/mod", "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let said = say(&world, format!("{whole}{second}").as_bytes()).await;
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{second:?}: {said}");
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with(&completion("s")), "{second:?}: {said}");
    }
}

/// A body that does not come is told in the caller's own format.
#[tokio::test]
async fn a_body_that_does_not_come_is_told() {
    let world = impatient().await;
    for (path, kind) in [("/v1/chat/completions", "request_timeout"), ("/v1/messages", "timeout_error")] {
        let said =
            say(&world, format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{{").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains(kind), "{said}");
    }
    assert_eq!(world.stable.count(), 0);
}

/// What reads beside the gateway says what became of a body.
pub fn reader() -> Side {
    Arc::new(|request| {
        Box::pin(async {
            let read = request.into_body().collect().await;
            let kind = |error: &BoxError| error.downcast_ref().map_or(io::ErrorKind::Other, io::Error::kind);
            let said = read.map_or_else(|error| format!("{:?}: {error}", kind(&error)), |_| "whole".to_owned());
            Response::new(Full::new(Bytes::from(said)).map_err(|never| match never {}).boxed_unsync())
        })
    })
}

/// Whoever reads beside the gateway, on its listener or on one of the operators, looks at no clock.
#[tokio::test]
async fn what_is_beside_the_gateway_waits_no_longer_than_it_does() {
    let world = impatient().await;
    let (clients, operators) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = [clients.local_addr().unwrap(), operators.local_addr().unwrap()];
    tokio::spawn(serve(world.gateway.clone(), clients, reader()));
    tokio::spawn(serve_beside(world.gateway.clone(), operators, reader()));
    for address in addresses {
        for half in ["", "PRI * HT", "GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "] {
            let said = say_at(address, half.as_bytes()).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{half:?}: {said}");
        }
        let said = say_at(address, b"POST /api HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{").await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("the request body did not come in time"), "{said}");
        let many: String = (0..1_000).map(|n| format!("x-{n}: 1\r\n")).collect();
        let said = say_at(address, format!("GET /api HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    }
    assert_eq!(world.gateway.drain(Duration::ZERO).await, 0);
    for path in ["/metrics", "/v1/models"] {
        let said = say_at(addresses[1], format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert!(
            said.ends_with("whole"),
            "operators are answered while it drains, and nothing there is its own: {said}"
        );
    }
}

/// Too many headers, or too long ones.
#[tokio::test]
async fn a_flood_of_headers_is_431() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let many: String = (0..1_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let said = say(&world, format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    }
}

/// A body without a declared end is read to the bound, and thrown away for a while, so that the answer is heard.
#[tokio::test]
async fn a_body_without_end_is_413() {
    let world = World::with(vec![ok("s")], vec![], |config| config.limits.body = 100_000).await;
    world.release(0).await;
    for (path, code) in
        [("/v1/chat/completions", r#""code":"request_too_large""#), ("/v1/messages", r#""type":"request_too_large""#)]
    {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = chunk(vec![b' '; 10_000]);
        let (mut read, mut write) = stream.split();
        let mut said = Vec::new();
        let mut sent = 0_u64;
        soon("the gateway has enough", async {
            let endless = async {
                while write.write_all(&piece).await.is_ok() {
                    sent += 1;
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = endless => {}
                _ = read.read_to_end(&mut said) => {}
            }
        })
        .await;
        let _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)).await;
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 413") && said.contains(code), "after {sent} pieces: {said}");
    }
    assert_eq!(world.stable.count(), 0);
}

/// A body that is packed is not unpacked, whatever is in it.
#[tokio::test]
async fn a_packed_request_is_415() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let request = world.request(path, &[("content-encoding", "gzip")], vec![0x1f, 0x8b, 8, 0]);
        let answer = Answer::of(world.send(request).await).await;
        assert_eq!((answer.status, answer.json()["error"]["message"].as_str().unwrap().contains("gzip")), (415, true));
    }
    let plain = world.request("/v1/chat/completions", &[("content-encoding", "identity")], ASK);
    assert_eq!(world.send(plain).await.status(), 200);
}

/// What an upstream packs is passed as it is: a bomb goes off nowhere here.
#[tokio::test]
async fn a_bomb_from_upstream_is_not_unpacked() {
    let bomb = "\u{1}".repeat(10_000);
    let world = World::new(vec![json_answer(200, "content-encoding: gzip\r\n", &bomb)], vec![]).await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.header("content-encoding"), answer.text().len()), ("gzip", bomb.len()));
}

/// No SSE, half of it, a line without an end: passed on, and no more of it is kept than the bound.
#[tokio::test]
async fn a_malformed_stream_is_passed_and_is_a_failure() {
    let line = "data: ".to_owned() + &"x".repeat(3 << 20);
    for (body, is_told) in [("data: {\"choices\":[\n\n", false), ("\u{0}\u{1}\u{2}", false), (&line, false), ("", true)]
    {
        let mut script = vec![write(STREAM_HEAD)];
        if !body.is_empty() {
            script.push(write(chunk(body)));
        }
        script.push(write(STREAM_END));
        let world = World::new(vec![script], vec![]).await;
        world.release(0).await;
        let answer = world.chat("s-1", ASK_STREAM).await;
        assert!(if is_told { answer.broke_off_behind(body) } else { answer.text() == body }, "{}", body.len());
        let Ending::Failed(_) = world.turns(1).await[0].outcome.ending else { panic!("it answered: {}", body.len()) };
    }
}

/// An upstream that never ends, and one that floods: over at `total_timeout`.
#[tokio::test]
async fn an_answer_without_end_ends_at_the_total() {
    let world = World::with(vec![], vec![], |config| {
        for provider in config.providers.values_mut() {
            provider.timeouts.total = SHORT * 3;
            let flood = flood();
            provider.upstreams[0].url = format!("http://{flood}/v1");
        }
    })
    .await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK_STREAM).await;
    let told = answer.text().ends_with("\"code\":\"upstream_timeout\"}}\n\n");
    assert!(told || answer.body.is_err(), "cut off between two events, or in one");
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Broken));
}

/// An upstream that writes content as fast as it is taken, for ever.
fn flood() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4_096];
        let _ = stream.read(&mut asked);
        let piece = chunk(delta("more"));
        let mut open = stream.write_all(STREAM_HEAD.as_bytes()).is_ok();
        while open {
            open = stream.write_all(&piece).is_ok();
        }
    });
    address
}

/// Headers without end from upstream are no answer.
#[tokio::test]
async fn gigantic_headers_from_upstream_are_a_failure() {
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    let many: String = (0..1_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let world = World::new([long, many].map(|headers| json_answer(200, &headers, "{}")).into(), vec![]).await;
    world.release(0).await;
    for _ in 0..2 {
        assert_eq!(world.chat("s-1", ASK).await.status, 502);
    }
    for turn in world.turns(2).await {
        let Ending::Failed(Cause::Malformed | Cause::Broken) = turn.outcome.ending else { panic!("{turn:?}") };
    }
}

/// Frames of HTTP/2, written by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// `POST /v1/chat/completions`, by RFC 7541: indexed and literal fields.
fn h2_head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, 20];
    block.extend(b"/v1/chat/completions");
    block.extend([0x01, 1, b'x']);
    block
}

/// Streams that are opened and reset as fast as can be (CVE-2023-44487): the connection is ended.
#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![vec![Step::UntilClosed(closed)]], vec![]).await;
    world.release(0).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for n in 0..5_000 {
        bytes.extend(frame(1, 0x4, 2 * n + 1, &h2_head()));
        bytes.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    soon("the gateway closes", async {
        tokio::join!(
            async {
                let _ = write.write_all(&bytes).await;
            },
            async {
                let _ = read.read_to_end(&mut said).await;
            }
        )
    })
    .await;
    let goaway = said.windows(4).any(|window| window[0] == 7 && window[1] == 0 && window[2] == 0);
    assert!(goaway, "the connection was ended with a reason");
    assert_eq!(world.gateway.active(), 0);
}

/// More streams at a time than are allowed are refused, one by one.
#[tokio::test]
async fn streams_at_a_time_are_bounded() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![vec![Step::UntilClosed(closed)]], vec![]).await;
    world.release(0).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for n in 0..400 {
        bytes.extend(frame(1, 0x4, 2 * n + 1, &h2_head()));
    }
    stream.write_all(&bytes).await.unwrap();
    // RST_STREAM with REFUSED_STREAM (7)
    let refused = [&[0_u8, 0, 4, 3, 0][..]].concat();
    let mut said = Vec::new();
    soon("a stream is refused", async {
        let mut piece = [0; 4_096];
        while !said.windows(5).any(|window| window == refused) {
            let n = stream.read(&mut piece).await.unwrap();
            assert!(n > 0, "the connection was closed instead");
            said.extend_from_slice(&piece[..n]);
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_that_find_no_room_together_are_told_to_come_again() {
    let go = Arc::new(Notify::new());
    let slow = [vec![Step::Wait(go.clone())], ok("slow")].concat();
    let change = |config: &mut Config| {
        config.limits.bodies = 64 << 10;
        config.limits.bodies_wait = Duration::ZERO;
    };
    let world = World::with(vec![slow, ok("yes")], vec![], change).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let long = ASK.replace("hello", &"x".repeat(40 << 10));
    let first = world.chat("a", &long);
    let others = async {
        world.stable.arrived.notified().await;
        let refused = world.chat("b", &long).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
        assert_eq!(refused.json()["error"]["code"], "overloaded");
        let request = world.request("/v1/messages", &[], long.clone());
        let refused = Answer::of(world.send(request).await).await;
        assert_eq!((refused.status, refused.header("retry-after")), (529, "1"));
        assert_eq!(refused.json()["error"]["type"], "overloaded_error");
        assert_eq!(world.chat("c", ASK).await.status, 200, "a short one finds room");
        assert!(world.metric("coalmine_body_bytes 49152"), "that of the first");
        assert!(world.metric("coalmine_bodies_refused_total 2"));
        go.notify_one();
    };
    let (first, ()) = soon("both", async { tokio::join!(first, others) }).await;
    assert_eq!(first.status, 200);
    assert!(world.metric("coalmine_body_bytes 0"));
    assert_eq!(world.chat("d", &long).await.status, 200);
}

/// JSON in another encoding is refused in words that say so, in the wire format of every surface, and nobody is asked.
#[tokio::test]
async fn a_body_in_another_encoding_is_told_how_to_mend_it() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let marked = |body: &str| [b"\xEF\xBB\xBF", body.as_bytes()].concat();
    let sixteen = |body: &str| body.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let marked_sixteen =
        |body: &str| [&b"\xFE\xFF"[..], &body.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>()].concat();
    let thirty_two = |body: &str| body.chars().flat_map(|sign| u32::from(sign).to_le_bytes()).collect::<Vec<u8>>();
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/feedback",
    ] {
        for (body, words) in [
            (marked(ASK), ["byte order mark", "send it without those three bytes"]),
            (sixteen(ASK), ["UTF-16", "encode it as UTF-8"]),
            (marked_sixteen(ASK), ["UTF-16", "encode it as UTF-8"]),
            (thirty_two(ASK), ["UTF-32", "encode it as UTF-8"]),
        ] {
            let answer = Answer::of(world.send(world.request(path, &[], body)).await).await;
            let told = answer.json();
            let message = told["error"]["message"].as_str().unwrap();
            assert!(words.iter().all(|word| message.contains(word)), "{path}: {message}");
            assert_eq!((answer.status, &told["error"]["type"]), (400, &"invalid_request_error".into()), "{path}");
            let is_messages = path.starts_with("/v1/messages");
            assert_eq!(told["type"] == "error", is_messages, "{path}: {told}");
        }
    }
    assert_eq!(world.stable.count(), 0);
    assert_eq!(world.chat("s", ASK).await.status, 200, "as it should be");
}
