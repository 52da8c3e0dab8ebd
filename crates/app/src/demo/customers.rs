//! Simulated customers: they hold sessions of several turns over HTTP, as any client would.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sessions in flight at most, over all routes; further arrivals are turned away and counted.
const SESSIONS_MAX: u64 = 2_000;

/// What the customers of one route have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Sessions begun.
    pub(super) sessions: AtomicU64,
    /// Requests sent.
    pub(super) requests: AtomicU64,
    /// Requests that failed in the client's eyes.
    pub(super) failures: AtomicU64,
    /// Sessions whose version changed under way without a rollback.
    pub(super) flips: AtomicU64,
    /// Arrivals turned away.
    pub(super) turned_away: AtomicU64,
    in_flight: AtomicU64,
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// Sends sessions to `route` at `rate` a second, until aborted. Every second session names itself in a
/// header; the others are recognised by what they say.
pub(super) async fn visit(
    gateway: SocketAddr,
    route: &'static str,
    rate: f64,
    seed: u64,
    think: Duration,
    seen: Arc<Seen>,
) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(512).build(connector);
    let mut draw = StdRng::seed_from_u64(seed);
    // Late arrivals are caught up, so that a stall of the machine does not thin them out.
    let mut arrivals = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    loop {
        arrivals.tick().await;
        if seen.in_flight.load(Ordering::Relaxed) >= SESSIONS_MAX {
            seen.turned_away.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let number = seen.sessions.fetch_add(1, Ordering::Relaxed);
        seen.in_flight.fetch_add(1, Ordering::Relaxed);
        let turns = 1 + usize::from(draw.random_bool(0.7)) + usize::from(draw.random_bool(0.4));
        let session = Session {
            http: http.clone(),
            gateway,
            route,
            number,
            turns,
            stream: draw.random_bool(0.5),
            think,
            seen: Arc::clone(&seen),
        };
        tokio::spawn(session.hold());
    }
}

struct Session {
    http: Http,
    gateway: SocketAddr,
    route: &'static str,
    number: u64,
    turns: usize,
    stream: bool,
    think: Duration,
    seen: Arc<Seen>,
}

/// What a client keeps of an answer.
struct Answer {
    version: String,
    message: Value,
}

impl Session {
    async fn hold(self) {
        let mut messages = Vec::new();
        let mut version = String::new();
        for turn in 0..self.turns {
            if turn > 0 {
                tokio::time::sleep(self.think).await;
            }
            messages.push(json!({"role": "user", "content": format!("customer {}: question {} about my order", self.number, turn + 1)}));
            let Some(answer) = self.ask(&messages).await else { break };
            if !version.is_empty() && version != answer.version {
                self.seen.flips.fetch_add(1, Ordering::Relaxed);
            }
            version = answer.version;
            let call = answer.message["tool_calls"][0]["id"].as_str().map(str::to_owned);
            messages.push(answer.message);
            if let Some(id) = call {
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": "shipped yesterday"}));
                let Some(answer) = self.ask(&messages).await else { break };
                messages.push(answer.message);
            }
        }
        self.seen.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    async fn ask(&self, messages: &[Value]) -> Option<Answer> {
        self.seen.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.exchange(messages).await;
        if answer.is_none() {
            self.seen.failures.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn exchange(&self, messages: &[Value]) -> Option<Answer> {
        let parameters = json!({"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"], "additionalProperties": false});
        let tool = json!({"type": "function", "function": {"name": "look_up_order", "description": "The state of an order", "parameters": parameters}});
        let body = json!({"model": self.route, "messages": messages, "tools": [tool], "stream": self.stream});
        let mut request = Request::post(format!("http://{}/v1/chat/completions", self.gateway))
            .header(header::CONTENT_TYPE, "application/json");
        if self.number.is_multiple_of(2) {
            request = request.header("x-session-id", format!("{}-{}", self.route, self.number));
        }
        let request = request.body(Full::new(Bytes::from(body.to_string()))).ok()?;
        let response = self.http.request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        if !parts.status.is_success() {
            return None;
        }
        let version =
            parts.headers.get("x-coalmine-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let message = if self.stream {
            assembled(&bytes)?
        } else {
            serde_json::from_slice::<Value>(&bytes).ok()?["choices"][0]["message"].clone()
        };
        Some(Answer { version, message })
    }
}

/// The message of a stream, as an SDK puts it together.
fn assembled(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut content = String::new();
    let mut calls: Vec<Value> = Vec::new();
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).ok()?;
        let delta = &chunk["choices"][0]["delta"];
        content.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let mut call = call.clone();
            call.as_object_mut()?.remove("index");
            calls.push(call);
        }
    }
    let content = if content.is_empty() { Value::Null } else { Value::String(content) };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    Some(message)
}
