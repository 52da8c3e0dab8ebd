//! Shapes of HTTP that two readers may take differently, and what is asked beside the protocol's use: each is refused, or
//! read as the standard has it, and nothing of it reaches anybody else.

use crate::messages;
use crate::support::*;
use coalmine_core::tally::{Cause, Ending};
use coalmine_gateway::config::ProviderKind;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A bound of time that is waited for.
const SHORT: Duration = Duration::from_millis(100);

/// What a connection on which this is said gets, until the gateway closes it.
async fn say(world: &World, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    soon("the gateway closes", async {
        tokio::join!(
            async {
                // it may close before it has all
                let _ = write.write_all(bytes.as_ref()).await;
            },
            async {
                let _ = read.read_to_end(&mut said).await;
            }
        )
    })
    .await;
    String::from_utf8_lossy(&said).into_owned()
}

fn statuses(said: &str) -> Vec<&str> {
    said.match_indices("HTTP/1.1 ").map(|(at, found)| &said[at + found.len()..][..3]).collect()
}

async fn world() -> World {
    let world = World::with(vec![ok("s")], vec![], |config| {
        config.default_provider = Some("one".into());
        config.limits.head_time = SHORT;
        config.limits.body_time = SHORT;
    })
    .await;
    world.release(0).await;
    world
}

const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
/// What would be a request of its own, were the one before it shorter than it is.
const HIDDEN: &str = "GET /v1/hidden HTTP/1.1\r\nhost: x\r\n\r\n";

/// Both lengths, two lengths, lengths and codings that are none: nobody sees a second request in the first.
#[tokio::test]
async fn a_request_has_one_length() {
    let (length, hex) = (ASK.len(), format!("{:x}", ASK.len()));
    let chunked = format!("{hex}\r\n{ASK}\r\n0\r\n\r\n");
    for (headers, body, status) in [
        ("content-length: 5\r\ntransfer-encoding: chunked".to_owned(), chunked.clone(), "200"),
        (format!("transfer-encoding: chunked\r\ncontent-length: {}", length + 50), chunked.clone(), "200"),
        (format!("content-length: {length}\r\ncontent-length: {}", length + 1), ASK.to_owned(), "400"),
        (format!("content-length: {length}, {length}"), ASK.to_owned(), "400"),
        (format!("content-length: +{length}"), ASK.to_owned(), "400"),
        ("content-length: 0x10".to_owned(), ASK.to_owned(), "400"),
        ("content-length: 18446744073709551616".to_owned(), ASK.to_owned(), "400"),
        ("transfer-encoding: xchunked".to_owned(), chunked.clone(), "400"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: cow".to_owned(), chunked.clone(), "400"),
        ("transfer-encoding: chunked, gzip".to_owned(), chunked.clone(), "400"),
        ("transfer-encoding : chunked".to_owned(), chunked.clone(), "400"),
        ("transfer-encoding: \u{b}chunked".to_owned(), chunked.clone(), "400"),
        ("x-folded: 1\r\n 2\r\ncontent-length: 5".to_owned(), ASK.to_owned(), "400"),
        ("x-cr: a\rb\r\ncontent-length: 5".to_owned(), ASK.to_owned(), "400"),
        ("transfer-encoding: chunked".to_owned(), format!("{hex}\n{ASK}\n0\n\n"), "400"),
        ("transfer-encoding: chunked".to_owned(), format!("fffffffffffffffff\r\n{ASK}\r\n0\r\n\r\n"), "400"),
        ("transfer-encoding: chunked".to_owned(), format!("-1\r\n{ASK}\r\n0\r\n\r\n"), "400"),
        ("transfer-encoding: chunked".to_owned(), format!("{hex}\r\n{ASK}XX0\r\n\r\n"), "400"),
        (
            "transfer-encoding: chunked".to_owned(),
            format!("{hex};{}\r\n{ASK}\r\n0\r\n\r\n", "e".repeat(1 << 20)),
            "400",
        ),
        (
            "transfer-encoding: chunked".to_owned(),
            format!("{hex}\r\n{ASK}\r\n0\r\n{}\r\n", "x-t: y\r\n".repeat(50_000)),
            "400",
        ),
    ] {
        let world = world().await;
        let said = say(&world, format!("{POST}{headers}\r\n\r\n{body}{HIDDEN}")).await;
        assert_eq!(statuses(&said), [status], "{headers}: {said}");
        let asked = usize::from(status == "200");
        assert_eq!(world.stable.count(), asked, "{headers}");
        assert!(world.stable.received().iter().all(|sent| !sent.head.contains("hidden")), "{headers}");
    }
}

/// What a trailer says is said too late to be heeded.
#[tokio::test]
async fn trailers_of_a_request_go_no_further() {
    let world = world().await;
    let hex = format!("{:x}", ASK.len());
    let trailers = "x-session-id: other\r\nauthorization: Bearer x\r\nx-own: 1";
    let said = say(
        &world,
        format!("{POST}connection: close\r\ntrailer: x-own\r\ntransfer-encoding: chunked\r\n\r\n{hex}\r\n{ASK}\r\n0\r\n{trailers}\r\n\r\n"),
    )
    .await;
    assert_eq!(statuses(&said), ["200"]);
    let sent = &world.stable.received()[0];
    assert!(
        sent.header("x-own").is_none() && sent.header("trailer").is_none() && sent.header("x-session-id").is_none()
    );
    assert_eq!(sent.header("authorization"), Some("Bearer key-one"));
}

/// TRACE would show the client the provider's key, CONNECT a way past it; a segment that steps out would leave `/v1` with it.
#[tokio::test]
async fn what_would_step_past_the_gateway_is_refused_in_the_callers_words() {
    let world = world().await;
    for (start, status) in [
        ("TRACE /v1/models", 405),
        ("CONNECT /v1/models", 405),
        ("CONNECT example.com:443", 405),
        ("BREW /v1/models", 405),
        ("GET /v1/../api/keys", 400),
        ("GET /v1/files/%2e%2E/x", 400),
        ("GET /v1/./models", 400),
        ("GET /s/a/v1/..", 400),
    ] {
        for dialect in ["", "anthropic-version: 2023-06-01\r\n"] {
            let said = say(&world, format!("{start} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{dialect}\r\n")).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{start}: {said}");
            assert!(status != 405 || said.contains("\r\nallow: POST"), "{said}");
            assert_eq!(
                said.contains(r#"{"type":"error","error":{"type":"invalid_request_error""#),
                !dialect.is_empty(),
                "{said}"
            );
        }
    }
    let two = say(&world, format!("{POST}host: y\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(statuses(&two), ["400"]);
    assert_eq!(world.stable.count(), 0);
}

/// `Expect: 100-continue` is told to go on, or why not, before the body is sent.
#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_told() {
    let world = World::with(vec![ok("s")], vec![], |config| config.limits.body = 1_000).await;
    world.release(0).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head =
        |length: usize| format!("{POST}expect: 100-continue\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head(ASK.len()).as_bytes()).await.unwrap();
    let mut told = [0; 25];
    soon("go on", stream.read_exact(&mut told)).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(statuses(&answer), ["200"]);
    assert_eq!(world.stable.received()[0].header("expect"), None);
    let refused = say(&world, head(5_000)).await;
    assert_eq!(statuses(&refused), ["413"], "without being asked for the body");
}

/// A proxy's form of a target is read as any other, and `*` is no path of ours.
#[tokio::test]
async fn targets_have_four_forms() {
    let world = world().await;
    let body = format!("host: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{ASK}", ASK.len());
    let said = say(&world, format!("POST http://other.example:9/v1/chat/completions?q=1 HTTP/1.1\r\n{body}")).await;
    assert_eq!(statuses(&said), ["200"]);
    let sent = &world.stable.received()[0];
    assert!(sent.head.starts_with("POST /v1/chat/completions?q=1 HTTP/1.1"), "{}", sent.head);
    assert_eq!(sent.header("host"), Some(&*world.stable.address.to_string()), "and not the one that the client named");
    for start in ["OPTIONS *", "GET *", "GET http://other.example"] {
        let said = say(&world, format!("{start} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(said.contains("beside"), "{start} is the neighbour's: {said}");
    }
    assert_eq!(world.stable.count(), 1);
}

/// An upstream's answer with two lengths, with none that can be, with another protocol, with a body where there is none.
#[tokio::test]
async fn answers_have_one_length_too() {
    let text = completion("whole");
    let body =
        |head: &str| vec![write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n\r\n{text}"))];
    let chunked = |head: &str| {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}transfer-encoding: chunked\r\n\r\n");
        vec![write(head), write(chunk(&text)), write("0\r\nx-late: 1\r\ncontent-length: 3\r\n\r\n")]
    };
    let close = |mut steps: Vec<Step>| {
        steps.push(Step::Close);
        steps
    };
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let hinted = [vec![write(hints)], ok("whole")].concat();
    for (what, script, status, whole) in [
        ("the coding's, not the length's", chunked("content-length: 5\r\n"), 200, true),
        ("trailers go no further", chunked("trailer: x-late\r\n"), 200, true),
        ("two lengths", body(&format!("content-length: {}\r\ncontent-length: 3", text.len())), 502, false),
        ("no length", body("content-length: -1"), 502, false),
        ("a folded line", body(&format!("x: 1\r\n 2\r\ncontent-length: {}", text.len())), 502, false),
        ("a line in a line", body(&format!("x: a\rset-cookie: b\r\ncontent-length: {}", text.len())), 502, false),
        ("a sign of nothing", body(&format!("x: a\0b\r\ncontent-length: {}", text.len())), 502, false),
        ("no head at all", close(vec![write(&text)]), 502, false),
        ("no status", close(vec![write("HTTP/1.1 99 X\r\n\r\n")]), 502, false),
        ("hints before it", hinted, 200, true),
        (
            "another protocol",
            vec![write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")],
            502,
            false,
        ),
        (
            "nothing, and a body",
            vec![write(format!("HTTP/1.1 204 X\r\ncontent-length: {}\r\n\r\n{text}", text.len()))],
            204,
            false,
        ),
        (
            "not modified, and a body",
            vec![write(format!("HTTP/1.1 304 X\r\ncontent-length: {}\r\n\r\n{text}", text.len()))],
            304,
            false,
        ),
    ] {
        let world = World::new(vec![script, ok("next")], vec![]).await;
        world.release(0).await;
        let answer = world.chat("s", ASK).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if whole {
            assert_eq!((answer.text(), answer.header("x-late")), (text.clone(), ""), "{what}");
        } else {
            assert!(!answer.text().contains("whole"), "{what}");
            let Ending::Failed(Cause::Malformed | Cause::Broken) = world.turns(1).await[0].outcome.ending else {
                panic!("{what}")
            };
        }
        assert_eq!(world.chat("s", ASK).await.text(), completion("next"), "{what}: and the next is the next's");
    }
}

/// More than its length belongs to nobody: it is no answer to the next request.
#[tokio::test]
async fn what_an_upstream_says_behind_its_answer_is_nobodys() {
    let poison = String::from_utf8_lossy(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").into_owned();
    let text = completion("first");
    let script = vec![write(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}{poison}",
        text.len()
    ))];
    let world = World::new(vec![script, ok("second")], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("a", ASK).await.text(), text);
    assert_eq!(world.chat("b", ASK).await.text(), completion("second"));
}

/// In the other dialect what cannot be read is no answer of status 200.
#[tokio::test]
async fn what_cannot_be_told_in_the_clients_dialect_is_502() {
    let half = completion("x");
    let half = &half[..half.len() - 5];
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (kind, path, ask, body) in [
        (ProviderKind::OpenAi, "/v1/messages", messages::ASK, half),
        (ProviderKind::OpenAi, "/v1/messages", messages::ASK, r#"{"error":{"message":"boom"}}"#),
        (ProviderKind::Anthropic, "/v1/chat/completions", ASK, overloaded),
        (ProviderKind::Anthropic, "/v1/chat/completions", ASK, "\u{0}\u{1}"),
    ] {
        let world = World::with(vec![json_answer(200, "", body)], vec![], |config| {
            config.providers.values_mut().for_each(|one| one.kind = kind);
        })
        .await;
        world.release(0).await;
        let answer = Answer::of(world.send(world.request(path, &[("x-session-id", "s")], ask)).await).await;
        assert_eq!(answer.status, 502, "{body}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
        let Ending::Failed(_) = world.turns(1).await[0].outcome.ending else { panic!("{body}") };
    }
}

/// A client that asks for much and takes none of it holds nothing for ever.
#[tokio::test]
async fn who_takes_nothing_of_its_answer_is_gone() {
    let closed = Arc::new(Notify::new());
    let script =
        vec![write(STREAM_HEAD), write(chunk(role())), Step::Over(chunk(delta("more").repeat(2_000)), closed.clone())];
    let world = World::with(vec![script], vec![], |config| config.limits.taking_time = SHORT).await;
    world.release(0).await;
    let mut client = TcpStream::connect(world.address).await.unwrap();
    let request = format!("{POST}content-length: {}\r\n\r\n{ASK_STREAM}", ASK_STREAM.len());
    client.write_all(request.as_bytes()).await.unwrap();
    soon("the provider is let go", closed.notified()).await;
    let Ending::Cancelled(_) = world.turns(1).await[0].outcome.ending else { panic!("not a cancel") };
    drop(client);
}

/// Frames of HTTP/2, written by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `POST /v1/chat/completions`, by RFC 7541: indexed and literal fields.
fn h2_head() -> Vec<u8> {
    [&[0x83, 0x86, 0x04, 20][..], b"/v1/chat/completions", &[0x01, 1, b'x']].concat()
}

/// What a connection of HTTP/2 gets, until the gateway closes it.
async fn say_frames(world: &World, settings: &[u8], frames: &[Vec<u8>]) -> Vec<u8> {
    let bytes = [PREFACE, &frame(4, 0, 0, settings), &frames.concat()].concat();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
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
    said
}

/// Heads without end, fields without number, frames without content: the connection is ended, and nobody was asked.
#[tokio::test]
async fn floods_of_frames_end_the_connection() {
    let field = |name: &[u8], value: usize| {
        let value = vec![b'y'; value];
        let length = value.len() - 127;
        [&[0, name.len() as u8][..], name, &[127, (length % 128) as u8 | 128, (length / 128) as u8], &value].concat()
    };
    let more = |count: usize, payload: &[u8]| vec![frame(9, 0, 1, payload); count];
    let indexed = [h2_head(), [&[0x40, 3][..], b"x-a", &[127, 0xA1, 0x1E], &[b'y'; 4_000]].concat()].concat();
    let bomb = |n: u32| frame(1, 5, 2 * n + 3, &[&h2_head()[..], &[0xBE; 16_000]].concat());
    for (what, frames) in [
        ("continuations", [vec![frame(1, 0, 1, &h2_head())], more(1_000, &field(b"x-a", 15_000))].concat()),
        ("empty continuations", [vec![frame(1, 0, 1, &h2_head())], more(50_000, b"")].concat()),
        ("fields by reference", [vec![frame(1, 5, 1, &indexed)], (0..50).map(bomb).collect()].concat()),
        ("empty data", [vec![frame(1, 4, 1, &h2_head())], vec![frame(0, 0, 1, b""); 50_000]].concat()),
    ] {
        let world = World::new(vec![ok("s")], vec![]).await;
        world.release(0).await;
        let said = say_frames(&world, b"", &frames).await;
        assert!(said.windows(4).any(|window| window == [7, 0, 0, 0]), "{what}: no GOAWAY");
        assert_eq!((world.stable.count(), world.gateway.active()), (0, 0), "{what}");
    }
}

/// The frames that a connection said: kind, flags, stream and payload of each that is there whole.
fn frames(said: &[u8]) -> Vec<(u8, u8, u32, &[u8])> {
    let (mut frames, mut rest) = (Vec::new(), said);
    while let [a, b, c, kind, flags, d, e, f, g, behind @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        frames.push((*kind, *flags, u32::from_be_bytes([*d, *e, *f, *g]), payload));
        rest = behind;
    }
    frames
}

/// Reads until the answer of a stream has ended.
async fn until_answered(client: &mut TcpStream, said: &mut Vec<u8>, stream: u32) {
    let (headers, end) = (1, 1);
    let ended = |said: &[u8]| {
        frames(said).iter().any(|(kind, flags, of, _)| *of == stream && *kind <= headers && flags & end == end)
    };
    while !ended(said) {
        let read = soon("an answer", client.read_buf(said)).await.unwrap();
        assert!(read > 0, "the connection goes on");
    }
}

/// A client that is still sending what was refused already is not cut off: some take a stream that is reset behind its
/// answer for one without any.
#[tokio::test]
async fn t29_a_refusal_over_http2_lets_its_client_end() {
    let world = World::with(vec![ok("s")], vec![], |config| config.limits.body = 30_000).await;
    world.release(0).await;
    let packed = [h2_head(), [&[0, 16][..], b"content-encoding", &[4], b"gzip"].concat()].concat();
    let unsupported = (415, "unsupported_media_type", packed, 0, 5);
    for (status, code, head, before, behind) in [unsupported, (413, "request_too_large", h2_head(), 4, 1)] {
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let data = |pieces: usize| frame(0, 0, 1, &[b'x'; 10_000]).repeat(pieces);
        client
            .write_all(&[PREFACE, &frame(4, 0, 0, b""), &frame(1, 4, 1, &head), &data(before)].concat())
            .await
            .unwrap();
        let mut said = Vec::new();
        until_answered(&mut client, &mut said, 1).await;
        client.write_all(&data(behind)).await.unwrap();
        let ask = [frame(1, 4, 3, &h2_head()), frame(0, 1, 3, ASK.as_bytes())].concat();
        client.write_all(&[frame(0, 1, 1, b"x"), ask].concat()).await.unwrap();
        until_answered(&mut client, &mut said, 3).await;
        let frames = frames(&said);
        let (reset, goaway) = (3, 7);
        let ends: Vec<_> = frames.iter().filter(|(kind, ..)| [reset, goaway].contains(kind)).collect();
        assert!(ends.is_empty(), "{status}: {ends:?}");
        let told = |stream| frames.iter().rfind(|(kind, _, of, _)| *kind == 0 && *of == stream).unwrap().3;
        assert!(String::from_utf8_lossy(told(1)).contains(&format!("\"code\":\"{code}\"")), "{status}");
        assert_eq!(String::from_utf8_lossy(told(3)), completion("s"), "{status}");
    }
}

/// An idle connection of HTTP/2 does not stay for ever, as one of HTTP/1.1 does not; what is under way on it goes on.
#[tokio::test]
async fn an_idle_connection_of_http2_is_ended() {
    let go = Arc::new(Notify::new());
    let world = World::with(vec![[vec![Step::Wait(go.clone())], ok("late")].concat()], vec![], |config| {
        config.limits.head_time = SHORT;
    })
    .await;
    world.release(0).await;
    let stream = TokioIo::new(TcpStream::connect(world.address).await.unwrap());
    let (mut ask, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = tokio::spawn(ask.send_request(world.request("/v1/chat/completions", &[], ASK)));
    soon("the request upstream", world.stable.arrived.notified()).await;
    tokio::time::sleep(SHORT * 3).await;
    go.notify_one();
    let answer = Answer::of(soon("the answer", answer).await.unwrap().unwrap()).await;
    assert_eq!(answer.text(), completion("late"), "what was asked is answered");
    soon("the connection to end", connection).await.unwrap().unwrap();
    assert!(ask.send_request(world.request("/v1/chat/completions", &[], ASK)).await.is_err());
}

/// A stream of HTTP/2 for which the client makes no room is over when its time is, and the connection goes on.
#[tokio::test]
async fn a_stream_without_room_is_over_in_time() {
    let closed = Arc::new(Notify::new());
    let script =
        vec![write(STREAM_HEAD), write(chunk(role())), Step::Over(chunk(delta("more").repeat(2_000)), closed.clone())];
    let world = World::with(vec![script], vec![], |config| {
        config.limits.body_time = SHORT;
        config.limits.end_time = SHORT;
        config.providers.values_mut().for_each(|provider| provider.timeouts.total = SHORT);
    })
    .await;
    world.release(0).await;
    let no_room = [0, 4, 0, 0, 0, 0];
    let mut client = TcpStream::connect(world.address).await.unwrap();
    let ask = [frame(1, 4, 1, &h2_head()), frame(0, 1, 1, ASK_STREAM.as_bytes())].concat();
    client.write_all(&[PREFACE, &frame(4, 0, 0, &no_room), &ask].concat()).await.unwrap();
    soon("the provider is let go", closed.notified()).await;
    let (Ending::Cancelled(_) | Ending::Failed(Cause::Broken)) = world.turns(1).await[0].outcome.ending else {
        panic!()
    };
}
