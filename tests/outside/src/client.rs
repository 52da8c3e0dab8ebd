//! The smallest HTTP client that the tests need: JSON in, JSON out, headers kept.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A pooled client on one base address.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    base: String,
    token: Option<String>,
    inner: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Http {
    /// A client on `base`, as `http://127.0.0.1:8080`.
    pub(crate) fn new(base: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
        Self { base: base.into(), token: None, inner }
    }

    /// The same with a bearer token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// One exchange.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let Some(value) = body else { return self.exchange(method, path, headers, Bytes::new()).await };
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.exchange(method, path, &headers, Bytes::from(serde_json::to_vec(value)?)).await
    }

    /// One exchange, as a browser's form would make it.
    pub(crate) async fn submit(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("cookie", cookie)];
        self.exchange(Method::POST, path, &headers, Bytes::from(fields.join("&"))).await
    }

    async fn exchange(&self, method: Method, path: &str, headers: &[(&str, &str)], bytes: Bytes) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            self.inner.request(request.body(Full::new(bytes))?).await.with_context(|| format!("calling {path}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.with_context(|| format!("reading the answer of {path}"))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A GET whose answer must be JSON with a 2xx.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.send(Method::GET, path, &[], None).await?;
        answer.json(path)
    }

    /// A POST whose answer must be JSON with a 2xx.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.send(Method::POST, path, &[], Some(body)).await?;
        answer.json(path)
    }
}

impl Answer {
    /// The body as JSON; an error that shows the body when the status is not 2xx.
    pub(crate) fn json(&self, what: &str) -> Result<Value> {
        if !self.status.is_success() {
            bail!("{what}: {} {}", self.status, String::from_utf8_lossy(&self.body));
        }
        serde_json::from_slice(&self.body).with_context(|| format!("{what}: not JSON"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
