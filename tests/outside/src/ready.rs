//! A canary whose server is busy, and has then to load its model: nobody meets it before it has room and is warm, by
//! itself or by hand; and what is decided meanwhile reaches a collector.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const PROMPT: &str = "Answer with one word: ready.";
const RELEASE: &str = "release: support
canary: { model: own/m-canary, params: { top_p: 1 } }
stages:
  - { weight: 50%, bake: 24h }
  - { weight: 80%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 5pp }
";

/// A model server, as far as it can be seen from outside.
#[derive(Debug, Default)]
struct Server {
    /// It has no model yet, and says so.
    loading: AtomicBool,
    /// Requests that wait in its queue.
    waiting: AtomicU64,
    /// What it was asked, in its order.
    asked: Mutex<Vec<Value>>,
    /// It is the collector as well: the names of events, in their order.
    events: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Server {
    async fn start() -> Result<(u16, Arc<Self>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let server = Arc::new(Self::default());
        let shared = server.clone();
        tokio::spawn(upstream::accept(listener, move |request| shared.clone().answer(request)));
        Ok((port, server))
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == "/metrics" {
            let waiting = self.waiting.load(Ordering::SeqCst);
            let load = format!(
                "vllm:num_requests_running{{model_name=\"m\"}} 1.0\nvllm:num_requests_waiting{{model_name=\"m\"}} {waiting}.0\nvllm:kv_cache_usage_perc{{model_name=\"m\"}} 0.1\n"
            );
            return Ok(Response::new(Full::new(Bytes::from(load))));
        }
        let is_log = request.uri().path() == "/v1/logs";
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        if is_log {
            let records =
                asked["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().cloned().unwrap_or_default();
            if let Ok(mut events) = self.events.lock() {
                events.extend(records.iter().filter_map(|record| Some(record["eventName"].as_str()?.to_owned())));
            }
            return Ok(Response::new(Full::new(Bytes::from_static(b"{}"))));
        }
        if self.loading.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let mut no =
                Response::new(Full::new(Bytes::from_static(b"{\"error\":{\"message\":\"the model is loading\"}}")));
            *no.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(no);
        }
        let said = json!({"id": "c", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ready"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}});
        if let Ok(mut all) = self.asked.lock() {
            all.push(asked);
        }
        let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(response)
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

/// Runs it; fails at the first thing that does not hold.
#[expect(clippy::print_stdout, reason = "the report is the product of this command")]
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let stable = upstream::spawn("stable").await?.port();
    let (own, server) = Server::start().await?;
    server.loading.store(true, Ordering::SeqCst);
    server.waiting.store(7, Ordering::SeqCst);
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
    let port = free_port()?;
    let config = format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  stable: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}
  own:
    kind: openai
    base_url: \"http://127.0.0.1:{own}/v1\"
    warm_up: {{ prompt: \"{PROMPT}\", tries: 1000, within: 5m, then: hold }}
    capacity: {{ path: /metrics, every: 1s }}
telemetry: {{ otlp: {{ endpoint: \"http://127.0.0.1:{own}\", traces: off, metrics: off }} }}
routes:
  support: {{ stable: {{ model: stable/m-stable }} }}
"
    );
    let coalmine = Coalmine::start(&binary, folder.path(), port, &config).await?;
    coalmine.cli(&["start", "release.yaml"])?;
    // a server without room is not even warmed
    waits_for(&coalmine, "own is full").await?;
    customers(&coalmine, 30, "m-canary", 0).await?;
    server.waiting.store(0, Ordering::SeqCst);
    waits_for(&coalmine, "is being warmed up").await?;
    customers(&coalmine, 30, "m-canary", 0).await?;
    let refused = server.refused.load(Ordering::SeqCst);
    ensure!(refused > 0, "it was not asked while it loaded");
    server.loading.store(false, Ordering::SeqCst);
    until(&coalmine, |release| release["state"]["is"] == "running").await?;
    let prompts = server.asked();
    ensure!(prompts.len() >= 3, "{} prompts were answered", prompts.len());
    for prompt in &prompts {
        let messages = prompt["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let last = messages.last().map_or(&Value::Null, |last| &last["content"]);
        ensure!(last == PROMPT && prompt["model"] == "m-canary" && prompt["top_p"] == 1, "of its own: {prompt}");
    }
    customers(&coalmine, 60, "m-canary", 10).await?;
    println!(
        "ok      nobody met the canary while it had no room, loaded ({refused} prompts refused) and was warmed ({} prompts); then it began",
        prompts.len()
    );
    by_hand(&coalmine, &server).await?;
    println!("ok      a step by hand waited for the canary's server, and with --now it did not");
    let told = told(&server, "coalmine.release.promoting").await?;
    let expected = ["preflight", "started", "advanced", "promoting"].map(|name| format!("coalmine.release.{name}"));
    let of_these: Vec<&String> = told.iter().filter(|name| expected.contains(name)).collect();
    ensure!(of_these.into_iter().eq(&expected), "the collector heard {told:?}");
    println!("ok      the collector was told of each step: {}", told.join(", "));
    Ok(())
}

/// While its server loads again an advance waits; while it is full a promotion does not where it is told so.
async fn by_hand(coalmine: &Coalmine, server: &Server) -> Result<()> {
    let stage = |release: &Value| release["state"]["stage"].as_u64();
    server.loading.store(true, Ordering::SeqCst);
    let before = stage(&coalmine.http().get("/api/v1/releases/support-1").await?);
    let waiting = coalmine.begin(&["advance", "support", "-m", "as agreed"])?;
    waits_for(coalmine, "asked to advance, which waits for the canary's upstreams").await?;
    let meanwhile = stage(&coalmine.http().get("/api/v1/releases/support-1").await?);
    ensure!(meanwhile == before, "it went from {before:?} to {meanwhile:?} at once");
    server.loading.store(false, Ordering::SeqCst);
    let told = tokio::task::spawn_blocking(move || waiting.wait_with_output()).await??;
    let why = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.status.success() && why.contains("is being warmed up"), "{}: {why}", told.status);
    until(coalmine, |release| stage(release) > before).await?;
    server.waiting.store(1_000, Ordering::SeqCst);
    let began = Instant::now();
    let is_full = |status: &Value| {
        let mut loads = status["upstreams"].as_array().into_iter().flatten();
        loads.any(|upstream| upstream["load"]["waiting"].as_f64().is_some_and(|waiting| waiting > 100.0))
    };
    loop {
        let status = coalmine.http().get("/api/v1/status").await?;
        if is_full(&status) {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "nobody hears that the server is full: {status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let body = json!({"reason": "all is well"});
    let answer = coalmine.http().send(Method::POST, "/api/v1/releases/support-1/promote", &[], Some(&body)).await?;
    ensure!(answer.status == StatusCode::CONFLICT && answer.text().contains("own is full"), "{}", answer.text());
    coalmine.cli(&["promote", "support", "-m", "all is well", "--now"])?;
    Ok(())
}

/// The events so far, once there is this one.
async fn told(server: &Server, name: &str) -> Result<Vec<String>> {
    let began = Instant::now();
    loop {
        let events = server.events.lock().map(|events| events.clone()).unwrap_or_default();
        if events.iter().any(|event| event == name) {
            return Ok(events);
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "no {name} among {events:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Until `explain` gives this reason for which it waits.
async fn waits_for(coalmine: &Coalmine, why: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let status = coalmine.cli(&["status"])?;
        if status.contains(why) {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(150), "it does not say that it {why}: {status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until(coalmine: &Coalmine, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if is_so(&release) {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(180), "it does not come to it: {release}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// New customers; at least so many, or for 0 none, are answered by this model.
async fn customers(coalmine: &Coalmine, count: usize, model: &str, least: usize) -> Result<()> {
    let mut met = 0;
    for number in 0..count {
        let body = json!({"model": "support", "messages": [{"role": "user", "content": format!("I am {number}")}]});
        let answer = coalmine.app().post("/v1/chat/completions", &body).await?;
        met += usize::from(answer["model"] == model);
    }
    ensure!(if least == 0 { met == 0 } else { met >= least }, "{met} of {count} customers met it");
    Ok(())
}
