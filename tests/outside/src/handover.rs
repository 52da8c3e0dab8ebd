//! The listener handed to another process under load: no connection and no request is lost, no stream is cut, and
//! sessions stay where they are.

use crate::client::Http;
use crate::process::{Coalmine, Under, free_port};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Pieces of a stream, and the pause before each.
const PIECES: usize = 45;
const PAUSE: Duration = Duration::from_millis(200);
const CLIENTS: usize = 12;
/// Clients that ask for one short stream after the other.
const STREAMING: usize = 8;
/// Pieces of a short one.
const PIECES_OF_FEW: usize = 4;
const FEW: &str = "a few pieces";

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    slowest_ms: AtomicU64,
    over: AtomicBool,
}

/// Runs it; fails when anything was lost.
#[expect(clippy::print_stdout, reason = "the report is the product of this command")]
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let provider = slow_provider().await?;
    let folder = tempfile::tempdir()?;
    let (port, admin) = (free_port()?, free_port()?);
    let config = format!(
        "listen: 127.0.0.1:{port}\nadmin_listen: 127.0.0.1:{admin}\nstore: sqlite:coalmine.db\nproviders:\n  one: {{ kind: openai, base_url: \"http://127.0.0.1:{provider}/v1\" }}\nroutes:\n  r: {{ stable: {{ model: one/m }} }}\n"
    );
    let mut old = Coalmine::start(&binary, folder.path(), admin, &config).await?;
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(ask_for_ever(port, n, Arc::clone(&tally)))).collect();
    let streaming = (0..STREAMING).map(|_| tokio::spawn(stream_for_ever(port, Arc::clone(&tally))));
    let clients: Vec<_> = clients.into_iter().chain(streaming).collect();
    let stream = tokio::spawn(stream(port));
    tokio::time::sleep(Duration::from_secs(1)).await;
    fail_to_succeed(folder.path().join(".coalmine/handover.sock")).await?;
    let taken_back = serves_again(&tally).await?;
    let began = Instant::now();
    let new = old.succeed().await?;
    let before = tally.answered.load(Ordering::SeqCst);
    let pieces = stream.await??;
    old.wait().await?;
    let ended = began.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tally.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await?.context("a request was lost")?;
    }
    let answered = tally.answered.load(Ordering::SeqCst);
    ensure!(pieces == PIECES, "the stream that began on the old process had {pieces} of {PIECES} pieces");
    ensure!(answered > before, "the new process answered nothing");
    ensure!(new.app().send(Method::GET, "/readyz", &[], None).await?.status.is_success(), "its API does not answer");
    println!(
        "ok      {answered} requests of {CLIENTS} clients and streams of {STREAMING} others, none lost; served again {:.1} s after a process took over and died; the slowest request took {} ms, the old process ended after {:.1} s with its stream whole",
        taken_back.as_secs_f64(),
        tally.slowest_ms.load(Ordering::SeqCst),
        ended.as_secs_f64()
    );
    Ok(())
}

/// Takes the sockets as a new process does, and ends before it serves.
async fn fail_to_succeed(door: PathBuf) -> Result<()> {
    let taken = tokio::task::spawn_blocking(move || -> Result<()> {
        let mut stream = UnixStream::connect(&door).with_context(|| format!("no door at {}", door.display()))?;
        stream.read_exact(&mut [0; 1]).context("no sockets were given")
    });
    taken.await?
}

/// Waits until every client has been answered anew. How long that took.
async fn serves_again(tally: &Tally) -> Result<Duration> {
    let began = Instant::now();
    // a request may be on its way when the sockets are taken: only what comes after that counts
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tally.answered.load(Ordering::SeqCst);
    while tally.answered.load(Ordering::SeqCst) < before + 3 * CLIENTS as u64 {
        ensure!(began.elapsed() < Duration::from_secs(30), "nobody serves after a process took over and died");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(began.elapsed())
}

/// One after the other; half of the clients on connections that they keep, half on a new one each time.
async fn ask_for_ever(port: u16, n: usize, tally: Arc<Tally>) -> Result<()> {
    let mut http = Http::new(format!("http://127.0.0.1:{port}"));
    let session = format!("s-{n}");
    let body = json!({"model": "r", "messages": [{"role": "user", "content": "hello"}]});
    while !tally.over.load(Ordering::SeqCst) {
        if n.is_multiple_of(2) {
            http = Http::new(format!("http://127.0.0.1:{port}"));
        }
        let began = Instant::now();
        let answer =
            http.send(Method::POST, "/v1/chat/completions", &[("x-session-id", &session)], Some(&body)).await?;
        ensure!(answer.status.is_success(), "{}", answer.status);
        tally.slowest_ms.fetch_max(u64::try_from(began.elapsed().as_millis())?, Ordering::SeqCst);
        tally.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// One stream after the other on one connection, each asked for in the moment in which the one before is over, until
/// an answer says that the connection will be closed. No library stands between that repeats what is lost.
async fn stream_for_ever(port: u16, tally: Arc<Tally>) -> Result<()> {
    let body = json!({"model": "r", "stream": true, "messages": [{"role": "user", "content": FEW}]}).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut kept = None;
    while !tally.over.load(Ordering::SeqCst) {
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => TcpStream::connect(("127.0.0.1", port)).await?,
        };
        socket.write_all(request.as_bytes()).await.context("a connection was closed without a word")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let came = socket.read_buf(&mut answer).await.context("a stream was cut")?;
            ensure!(came > 0, "a connection was closed without a word after {} bytes of an answer", answer.len());
        }
        let answer = String::from_utf8(answer)?;
        ensure!(answer.matches("piece").count() == PIECES_OF_FEW, "a stream is not whole: {answer}");
        let (head, _) = answer.split_once("\r\n\r\n").context("no head")?;
        kept = (!head.contains("connection: close")).then_some(socket);
        tally.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Reads a stream to its end, and counts what came.
async fn stream(port: u16) -> Result<usize> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = json!({"model": "r", "stream": true, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let request = Request::post(format!("http://127.0.0.1:{port}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let whole = client.request(request).await?.into_body().collect().await.context("the stream was cut")?.to_bytes();
    Ok(String::from_utf8_lossy(&whole).matches("piece").count())
}

/// Answers after a pause; a stream piece by piece.
async fn slow_provider() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(async move {
                let served = hyper::server::conn::http1::Builder::new();
                let _ = served.serve_connection(TokioIo::new(socket), service_fn(answer)).await;
            });
        }
    });
    Ok(port)
}

async fn answer(request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let asked = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&asked).unwrap_or_default();
    if asked["stream"] == true {
        let event = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            format!(
                "data: {}\n\n",
                json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]})
            )
        };
        let few = asked["messages"].to_string().contains(FEW);
        let pieces =
            futures_util::stream::iter(0..if few { PIECES_OF_FEW } else { PIECES }).then(move |_| async move {
                tokio::time::sleep(PAUSE).await;
                event(json!({"content": "piece "}), Value::Null)
            });
        let end = event(json!({}), json!("stop")) + "data: [DONE]\n\n";
        let events = pieces.chain(futures_util::stream::once(std::future::ready(end)));
        let body = StreamBody::new(events.map(|text| Ok(Frame::data(Bytes::from(text)))));
        let mut response = Response::new(body.boxed_unsync());
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
        return Ok(response);
    }
    tokio::time::sleep(PAUSE / 2).await;
    let said = json!({"id": "c", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let mut response = Response::new(Full::new(Bytes::from(said.to_string())).boxed_unsync());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}
