//! Posts a message to a collector, by the rules of OTLP over HTTP: 429, 502, 503 and 504 are asked again, after the
//! pause that the collector names or one that doubles; any other refusal is final.

use crate::config;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What is read of a collector's answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Carries messages to one collector.
pub(super) struct Courier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    timeout: Duration,
}

/// Whether the collector takes one kind of message. The log is told when that changes, and not of each message.
#[derive(Debug)]
pub(super) struct Standing {
    what: &'static str,
    failing: AtomicBool,
}

/// What a message says that those before it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Fails,
    Recovers,
}

/// For how long a message is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A minute: what is lost here is lost.
    Long,
    /// A few seconds: the next message says it too.
    Short,
    /// Once.
    None,
}

/// Why a message was not taken. The address and the headers, which may hold secrets, are in none of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// Given up after some tries.
    #[error("the collector does not answer, or asks for time that there is not")]
    Away,
    /// It will not take it.
    #[error("the collector answered {0}")]
    Refused(StatusCode),
}

/// What of an answer is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: Partial,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    rejected_spans: Number,
    rejected_data_points: Number,
    rejected_log_records: Number,
}

/// A number of 64 bits is a text in JSON; some write it plainly.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Default for Number {
    fn default() -> Self {
        Self::Plain(0)
    }
}

impl Number {
    fn get(&self) -> u64 {
        match self {
            Self::Plain(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0),
        }
    }
}

/// What one try came to.
enum Tried {
    Taken { rejected: u64 },
    Later(Option<Duration>),
    Refused(StatusCode),
}

impl Standing {
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, failing: AtomicBool::new(false) }
    }

    pub(super) fn taken(&self) {
        if self.turn(false) == Some(Turn::Recovers) {
            tracing::info!(what = self.what, "the collector takes them again");
        }
    }

    pub(super) fn not_taken(&self, error: &PostError) {
        if self.turn(true) == Some(Turn::Fails) {
            tracing::warn!(%error, what = self.what, "the collector of `telemetry.otlp` does not take them; further failures are counted at /metrics (coalmine_otlp_…)");
        } else {
            tracing::debug!(%error, what = self.what, "the collector still does not take them");
        }
    }

    fn turn(&self, fails: bool) -> Option<Turn> {
        let failed = self.failing.swap(fails, Ordering::Relaxed);
        (failed != fails).then_some(if fails { Turn::Fails } else { Turn::Recovers })
    }
}

impl Patience {
    const fn time(self) -> Duration {
        match self {
            Self::Long => Duration::from_mins(1),
            Self::Short => Duration::from_secs(5),
            Self::None => Duration::ZERO,
        }
    }
}

impl Courier {
    pub(super) fn new(config: &config::Otlp) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.timeout));
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(http);
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.expose());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                headers.insert(name, value);
            } else {
                tracing::error!("a header of `telemetry.otlp.headers` cannot be sent and is left out");
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("coalmine/", env!("CARGO_PKG_VERSION"))));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), headers, timeout: config.timeout }
    }

    /// Posts until it is taken, refused, or the patience is over. Returns how many spans, points or records the
    /// collector did not want of it.
    pub(super) async fn deliver(&self, to: &Uri, body: Bytes, patience: Patience) -> Result<u64, PostError> {
        let until = Instant::now() + patience.time();
        let mut pause = PAUSE_FIRST;
        loop {
            let wanted = match self.post(to, body.clone()).await {
                Tried::Taken { rejected } => return Ok(rejected),
                Tried::Refused(status) => return Err(PostError::Refused(status)),
                Tried::Later(wanted) => wanted,
            };
            let pause_now = next_pause(wanted, pause, rand::random());
            if Instant::now() + pause_now > until {
                return Err(PostError::Away);
            }
            tokio::time::sleep(pause_now).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn post(&self, to: &Uri, body: Bytes) -> Tried {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.clone();
        request.headers_mut().clone_from(&self.headers);
        let asked = async {
            let response = self.client.request(request).await.ok()?;
            let (parts, body) = response.into_parts();
            // read to its end, so that the connection can be used again
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_or_else(|_| Bytes::new(), |b| b.to_bytes());
            Some(judge(parts.status, &parts.headers, &body))
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Some(tried)) => tried,
            Ok(None) | Err(_) => Tried::Later(None),
        }
    }
}

/// The collector's own wish, or half of `pause` to all of it; `jitter` is uniform in 0..1.
fn next_pause(wanted: Option<Duration>, pause: Duration, jitter: f64) -> Duration {
    wanted.unwrap_or_else(|| pause.mul_f64((0.5 + jitter / 2.0).clamp(0.5, 1.0)))
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Tried {
    match status.as_u16() {
        200..=299 => {
            let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
            let Partial { rejected_spans, rejected_data_points, rejected_log_records } = answer.partial_success;
            let rejected = rejected_spans.get().saturating_add(rejected_data_points.get());
            Tried::Taken { rejected: rejected.saturating_add(rejected_log_records.get()) }
        }
        429 | 502..=504 => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
            Tried::Later(seconds.map(Duration::from_secs))
        }
        _ => Tried::Refused(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>, body: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        match judge(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()) {
            Tried::Taken { rejected } => format!("taken, {rejected} rejected"),
            Tried::Later(wanted) => format!("later, {wanted:?}"),
            Tried::Refused(status) => format!("refused, {status}"),
        }
    }

    #[test]
    fn what_the_specification_says_of_answers() {
        assert_eq!(judged(200, None, "{}"), "taken, 0 rejected");
        assert_eq!(judged(200, None, r#"{"partialSuccess":{"rejectedSpans":"3"}}"#), "taken, 3 rejected");
        assert_eq!(judged(200, None, r#"{"partialSuccess":{"rejectedDataPoints":2}}"#), "taken, 2 rejected");
        assert_eq!(judged(200, None, r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#), "taken, 1 rejected");
        assert_eq!(judged(202, None, "no JSON"), "taken, 0 rejected");
        for status in [429, 502, 503, 504] {
            assert_eq!(judged(status, None, ""), "later, None");
            assert_eq!(judged(status, Some("7"), ""), "later, Some(7s)");
        }
        assert_eq!(judged(429, Some("Fri, 31 Dec 1999 23:59:59 GMT"), ""), "later, None", "a date is as good as none");
        for status in [301, 400, 401, 404, 413, 500] {
            assert!(judged(status, Some("7"), "").starts_with("refused"), "{status}");
        }
    }

    #[test]
    fn a_collector_that_fails_is_told_of_once_until_it_takes_again() {
        let spans = Standing::of("spans");
        let said = [false, true, true, true, false, false, true].map(|fails| spans.turn(fails));
        let (fails, recovers) = (Some(Turn::Fails), Some(Turn::Recovers));
        assert_eq!(said, [None, fails, None, None, recovers, None, fails]);
    }

    #[test]
    fn pauses_are_the_collectors_or_drawn() {
        let second = Duration::from_secs(1);
        assert_eq!(next_pause(Some(second * 9), second, 0.0), second * 9);
        assert_eq!(next_pause(None, second, 0.0), second / 2);
        assert_eq!(next_pause(None, second, 1.0), second);
    }
}
