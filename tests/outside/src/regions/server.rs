//! One address: it answers looks at its health and its load, and does with turns what it is told to.

use crate::upstream;
use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// What becomes of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// It says its name.
    #[default]
    Answered,
    /// 503, and to come again in half a minute.
    Overloaded,
    /// Nothing, for ever.
    Hangs,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    name: String,
    port: u16,
    turn: Mutex<Turn>,
    unwell: AtomicBool,
    look_ms: AtomicU64,
    /// Requests that it says it works on.
    running: AtomicU64,
    silent: AtomicBool,
    asked: AtomicU64,
    let_go: AtomicU64,
}

/// A turn that is worked on; dropped, it was sent away.
struct Working<'a>(&'a AtomicU64);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Server {
    /// Starts it on a free port; it lives as long as the runtime.
    pub(super) async fn start(name: &str) -> Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let server = Arc::new(Self { name: name.to_owned(), port, ..Self::default() });
        let shared = server.clone();
        tokio::spawn(upstream::accept(listener, move |request| shared.clone().answer(request)));
        Ok(server)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// As it is shown.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}/v1", self.port)
    }

    /// As it stands in metrics.
    pub(super) fn label(&self) -> String {
        format!("upstream=\"{}\"", self.address())
    }

    /// From now on.
    pub(super) fn does(&self, turn: Turn) {
        if let Ok(mut does) = self.turn.lock() {
            *does = turn;
        }
    }

    pub(super) fn is_well(&self, yes: bool) {
        self.unwell.store(!yes, Ordering::SeqCst);
    }

    pub(super) fn answers_looks_after(&self, time: Duration) {
        self.look_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub(super) fn bears(&self, running: u64) {
        self.running.store(running, Ordering::SeqCst);
    }

    /// It says nothing of its load any more.
    pub(super) fn is_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// How many turns it was asked for.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Of how many it was let go before it had answered.
    pub(super) fn let_go(&self) -> u64 {
        self.let_go.load(Ordering::SeqCst)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(match path.as_str() {
            "/health" => {
                tokio::time::sleep(Duration::from_millis(self.look_ms.load(Ordering::SeqCst))).await;
                let unwell = self.unwell.load(Ordering::SeqCst);
                said(if unwell { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, String::new())
            }
            "/metrics" if self.silent.load(Ordering::SeqCst) => said(StatusCode::NOT_FOUND, String::new()),
            "/metrics" => {
                let running = self.running.load(Ordering::SeqCst);
                let load = format!(
                    "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {running}.0\nvllm:num_requests_waiting{{engine=\"0\"}} 0.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} 0.01\n"
                );
                said(StatusCode::OK, load)
            }
            _ => self.turn(&serde_json::from_slice(&body).unwrap_or_default()).await,
        })
    }

    async fn turn(&self, asked: &Value) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let turn = self.turn.lock().map(|turn| *turn).unwrap_or_default();
        match turn {
            Turn::Hangs => {
                let _working = Working(&self.let_go);
                std::future::pending().await
            }
            Turn::Overloaded => {
                let error = json!({"error": {"message": "full", "type": "server_error", "param": null, "code": null}});
                let mut full = said(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
                full
            }
            Turn::Answered => {
                let answer = json!({"id": "c", "object": "chat.completion", "created": 0, "model": asked["model"],
                    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": self.name}}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}});
                said(StatusCode::OK, answer.to_string())
            }
        }
    }
}

fn said(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
