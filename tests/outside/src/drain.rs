//! SIGTERM while many slow streams run and the machine is busy: what ends within `limits.drain` comes whole, what does not is told
//! so in the wire format of whoever asked, and the process ends.

use crate::process::{Coalmine, Under, free_port};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// Of each kind.
const EACH: usize = 50;
/// Threads that do nothing but work, beside it all.
const BUSY: usize = 8;
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// A chat's stream and one of messages that end in time, one of each that does not, one that says nothing, and a request without an
/// answer.
const KINDS: [&str; 6] = ["ends", "ends-messages", "goes-on", "goes-on-messages", "silent", "unanswered"];

/// What came of one request.
struct Came {
    status: u16,
    text: String,
    /// Whether its body came to its end.
    whole: bool,
}

/// The provider's own state.
struct Provider {
    asked: AtomicUsize,
    /// Closed until those that end may.
    may_end: Semaphore,
}

/// Runs it all; fails at the first thing that does not hold.
#[expect(clippy::print_stdout, reason = "the report is the product of this command")]
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let provider = Arc::new(Provider { asked: AtomicUsize::new(0), may_end: Semaphore::new(0) });
    let (listening, port) = (serve(provider.clone()).await?, free_port()?);
    let config = format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
limits: {{ drain: 8s, keep_alive: 0s }}
providers:
  chat: {{ kind: openai, base_url: \"http://127.0.0.1:{listening}/v1\" }}
  messages: {{ kind: anthropic, base_url: \"http://127.0.0.1:{listening}/v1\" }}
routes:
  chat: {{ stable: {{ model: chat/m }} }}
  messages: {{ stable: {{ model: messages/m }} }}
"
    );
    let folder = tempfile::tempdir()?;
    let mut coalmine = Coalmine::start(&binary, folder.path(), port, &config).await?;
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let asking: Vec<_> = (0..EACH)
        .flat_map(|_| KINDS)
        .map(|kind| {
            let client = client.clone();
            (kind, tokio::spawn(async move { timeout(PATIENCE, ask(&client, port, kind)).await? }))
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    while provider.asked.load(Ordering::SeqCst) < EACH * KINDS.len() {
        ensure!(Instant::now() < until, "{} requests came", provider.asked.load(Ordering::SeqCst));
        sleep(Duration::from_millis(20)).await;
    }
    let busy = Busy::begin();
    let began = Instant::now();
    let end = async {
        sleep(Duration::from_secs(1)).await;
        // all at once, and while it drains
        provider.may_end.add_permits(2 * EACH);
    };
    let (stopped, ()) = tokio::join!(timeout(PATIENCE, coalmine.stop()), end);
    stopped.context("the process does not end")??;
    let took = began.elapsed();
    drop(busy);
    let (kinds, came): (Vec<_>, Vec<_>) = asking.into_iter().unzip();
    for (kind, came) in kinds.into_iter().zip(join_all(came).await) {
        let came = came?.with_context(|| kind.to_owned())?;
        came.is_as_promised(kind).with_context(|| format!("{kind}: {} {} {}", came.status, came.whole, came.text))?;
    }
    let log = std::fs::read_to_string(folder.path().join("coalmine.log"))?;
    let cut = 4 * EACH;
    ensure!(log.contains(&format!("left={cut}")), "the log does not tell of {cut} that were cut off: {log}");
    println!(
        "ok      of {} slow requests at SIGTERM on a busy machine {} came whole, {cut} were told that the gateway ends, and it ended after {:.1} s",
        EACH * KINDS.len(),
        2 * EACH,
        took.as_secs_f64()
    );
    Ok(())
}

impl Came {
    fn is_as_promised(&self, kind: &str) -> Result<()> {
        ensure!(self.whole, "its body broke");
        let told = self.text.contains("this gateway ends") && self.text.contains("\"error\"");
        let ended = self.text.contains("[DONE]") || self.text.contains("message_stop");
        match kind {
            "ends" | "ends-messages" => ensure!(self.status == 200 && ended && !told, "it is not whole"),
            "unanswered" => ensure!(self.status == 503 && told, "nobody was told"),
            _ => ensure!(self.status == 200 && told && !ended, "it was not told"),
        }
        Ok(())
    }
}

async fn ask(client: &Client<HttpConnector, Full<Bytes>>, port: u16, kind: &str) -> Result<Came> {
    let (route, path) = match kind {
        "ends-messages" | "goes-on-messages" => ("messages", "/v1/messages"),
        _ => ("chat", "/v1/chat/completions"),
    };
    let said = [json!({"role": "user", "content": kind})];
    let body = json!({"model": route, "stream": true, "max_tokens": 9, "messages": said}).to_string();
    let request = Request::post(format!("http://127.0.0.1:{port}{path}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = client.request(request).await?;
    let status = answer.status().as_u16();
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    let whole = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
    };
    Ok(Came { status, text: String::from_utf8_lossy(&text).into_owned(), whole })
}

/// Threads that take what time there is, for as long as this lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..BUSY {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn serve(provider: Arc<Provider>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (provider, _) = (provider.clone(), socket.set_nodelay(true));
            tokio::spawn(async move {
                let answer = service_fn(|request| answer(provider.clone(), request));
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
            });
        }
    });
    Ok(port)
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(provider: Arc<Provider>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let words = if request.uri().path().ends_with("/messages") { messages() } else { chat() };
    let asked = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&asked).unwrap_or_default();
    let kind = asked["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    if kind == "unanswered" {
        provider.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(say(provider, kind, words, send));
    let said = futures_util::stream::unfold(receive, async |mut receive: mpsc::Receiver<String>| {
        Some((receive.recv().await?, receive))
    });
    let mut response =
        Response::new(StreamBody::new(said.map(|text| Ok(Frame::data(Bytes::from(text))))).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// Until it is over, or nobody listens any more.
async fn say(provider: Arc<Provider>, kind: String, words: [String; 3], to: mpsc::Sender<String>) -> Option<()> {
    let [begin, piece, end] = words;
    to.send(begin).await.ok()?;
    provider.asked.fetch_add(1, Ordering::SeqCst);
    if kind.starts_with("ends") {
        provider.may_end.acquire().await.ok()?.forget();
        return to.send(end).await.ok();
    }
    while kind.starts_with("goes-on") {
        sleep(Duration::from_millis(200)).await;
        to.send(piece.clone()).await.ok()?;
    }
    to.closed().await;
    None
}

/// How a stream begins, goes on and ends.
fn chat() -> [String; 3] {
    let event = |delta: Value, finish: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let chunk =
            json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices});
        format!("data: {chunk}\n\n")
    };
    let piece = event(json!({"content": "piece "}), Value::Null);
    [piece.clone(), piece, event(json!({}), json!("stop")) + "data: [DONE]\n\n"]
}

fn messages() -> [String; 3] {
    let event = |told: Value| format!("event: {}\ndata: {told}\n\n", told["type"].as_str().unwrap_or_default());
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage});
    let piece =
        event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "piece "}}));
    let begin = event(json!({"type": "message_start", "message": message}))
        + &event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
    let end = event(json!({"type": "content_block_stop", "index": 0}))
        + &event(
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage}),
        )
        + &event(json!({"type": "message_stop"}));
    [begin + &piece, piece, end]
}
