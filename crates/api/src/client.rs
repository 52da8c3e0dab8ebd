//! A typed client of the management API: what the CLI uses, and what other programs may.

use crate::types::{CaptureTextView, CaptureUseView, CapturesView, SideBySideView};
use crate::types::{
    CommandBody, CommandOutcome, ExplainView, IssuedView, KeyView, NewKeyBody, NewRelease, PlanQuestion, ProbeBody,
    ProbeView, Problem, QuotaView, RecordingView, ReleaseSummary, ReleaseView, ReplayView, RotateBody, RouteView,
    SiteView, StatusView, VersionView,
};
use crate::types::{IncidentBody, IncidentView, JudgeQuestion, JudgedView, LabelBody, LabelView};
use bytes::Bytes;
use coalmine_core::forecast::Outlook;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Pool, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const ANSWER_BYTES_MAX: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// A model may think for a minute.
const PROBE_PATIENCE: Duration = Duration::from_secs(150);

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be called.
    #[error("`{url}` is not an address of Coalmine; write it as http://HOST:PORT")]
    Address {
        /// As given.
        url: String,
    },
    /// Nobody answers there.
    #[error("no answer from {url}: is `coalmine serve` running there? (COALMINE_URL or --url names another address)")]
    NoAnswer {
        /// Where.
        url: String,
        /// What the transport said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server says no.
    #[error("{}", problem.message)]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        problem: Problem,
    },
    /// Something else answers there.
    #[error("what answers at {url} is not Coalmine's API: {what}")]
    Foreign {
        /// Where.
        url: String,
        /// In words.
        what: String,
    },
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `base`, as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When `base` is not an `http` or `https` address.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        let good = base
            .parse::<Uri>()
            .is_ok_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
        if !good {
            return Err(ClientError::Address { url: base });
        }
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Ok(Self { base, token, pool: Pool::builder(TokioExecutor::new()).build(connector) })
    }

    /// The whole system at a glance.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.get("/api/v1/status").await
    }

    /// What a release file is read against.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn site(&self) -> Result<SiteView, ClientError> {
        self.get("/api/v1/site").await
    }

    /// All routes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn routes(&self) -> Result<Vec<RouteView>, ClientError> {
        self.get("/api/v1/routes").await
    }

    /// One route.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn route(&self, route: &str) -> Result<RouteView, ClientError> {
        self.get(&format!("/api/v1/routes/{}", segment(route))).await
    }

    /// One version, by id or by the first digits of its hash.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn version(&self, id: &str) -> Result<VersionView, ClientError> {
        self.get(&format!("/api/v1/versions/{}", segment(id))).await
    }

    /// What becomes of a release at the route's traffic, before it is created.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, question: &PlanQuestion) -> Result<Outlook, ClientError> {
        self.call(Method::POST, "/api/v1/plan", Some(question)).await
    }

    /// Creates a release in `draft`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create(&self, new: &NewRelease) -> Result<ReleaseView, ClientError> {
        self.call(Method::POST, "/api/v1/releases", Some(new)).await
    }

    /// All releases, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn releases(&self) -> Result<Vec<ReleaseSummary>, ClientError> {
        self.get("/api/v1/releases").await
    }

    /// One release as it is now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn release(&self, id: &str) -> Result<ReleaseView, ClientError> {
        self.get(&format!("/api/v1/releases/{}", segment(id))).await
    }

    /// Everything about its last decision.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn explain(&self, id: &str) -> Result<ExplainView, ClientError> {
        self.get(&format!("/api/v1/releases/{}/explain", segment(id))).await
    }

    /// What is kept of its evidence.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn evidence(&self, id: &str) -> Result<RecordingView, ClientError> {
        self.get(&format!("/api/v1/releases/{}/evidence", segment(id))).await
    }

    /// Whether its journal replays to the same decisions.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn replay(&self, id: &str) -> Result<ReplayView, ClientError> {
        self.get(&format!("/api/v1/releases/{}/replay", segment(id))).await
    }

    /// A command: `start`, `pause`, `resume`, `approve`, `advance`, `promote`, `rollback`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn command(&self, id: &str, verb: &str, body: &CommandBody) -> Result<CommandOutcome, ClientError> {
        self.call(Method::POST, &format!("/api/v1/releases/{}/{verb}", segment(id)), Some(body)).await
    }

    /// Puts one question to one version of a route.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn probe(&self, route: &str, body: &ProbeBody) -> Result<ProbeView, ClientError> {
        let path = format!("/api/v1/routes/{}/probe", segment(route));
        self.call_within(PROBE_PATIENCE, Method::POST, &path, Some(body)).await
    }

    /// Judges one answer by hand.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn judge(&self, question: &JudgeQuestion) -> Result<JudgedView, ClientError> {
        self.call_within(PROBE_PATIENCE, Method::POST, "/api/v1/judge", Some(question)).await
    }

    /// Answers of a release that wait for a label, and those that have one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn labels(&self, release: &str) -> Result<Vec<LabelView>, ClientError> {
        self.get(&format!("/api/v1/releases/{}/labels", segment(release))).await
    }

    /// Labels one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn label(&self, release: &str, body: &LabelBody) -> Result<Vec<LabelView>, ClientError> {
        self.call(Method::POST, &format!("/api/v1/releases/{}/labels", segment(release)), Some(body)).await
    }

    /// What is captured of a release, without its texts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn captures(&self, release: &str) -> Result<CapturesView, ClientError> {
        self.get(&format!("/api/v1/releases/{}/captures", segment(release))).await
    }

    /// What is captured of a route without a release, without its texts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn captures_of_route(&self, route: &str) -> Result<CapturesView, ClientError> {
        self.get(&format!("/api/v1/routes/{}/captures", segment(route))).await
    }

    /// Answers of both arms to like prompts.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn capture_pairs(&self, release: &str, most: usize) -> Result<SideBySideView, ClientError> {
        self.get(&format!("/api/v1/releases/{}/captures/pairs?limit={most}", segment(release))).await
    }

    /// One captured answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn capture(&self, id: &str) -> Result<CaptureTextView, ClientError> {
        self.get(&format!("/api/v1/captures/{}", segment(id))).await
    }

    /// Who read and deleted captured answers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn capture_uses(&self) -> Result<Vec<CaptureUseView>, ClientError> {
        self.get("/api/v1/captures/uses").await
    }

    /// Deletes one captured answer; how many it were.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_capture(&self, id: &str) -> Result<u64, ClientError> {
        self.call::<(), _>(Method::DELETE, &format!("/api/v1/captures/{}", segment(id)), None).await
    }

    /// Deletes all captured answers of a release; how many it were.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_captures(&self, release: &str) -> Result<u64, ClientError> {
        self.call::<(), _>(Method::DELETE, &format!("/api/v1/releases/{}/captures", segment(release)), None).await
    }

    /// Deletes all captured answers of a route without a release; how many.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_captures_of_route(&self, route: &str) -> Result<u64, ClientError> {
        self.call::<(), _>(Method::DELETE, &format!("/api/v1/routes/{}/captures", segment(route)), None).await
    }

    /// All client keys, by name.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn keys(&self) -> Result<Vec<KeyView>, ClientError> {
        self.get("/api/v1/keys").await
    }

    /// One client key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn key(&self, name: &str) -> Result<KeyView, ClientError> {
        self.get(&format!("/api/v1/keys/{}", segment(name))).await
    }

    /// Makes a key; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_key(&self, new: &NewKeyBody) -> Result<IssuedView, ClientError> {
        self.call(Method::POST, "/api/v1/keys", Some(new)).await
    }

    /// Gives a key another secret.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rotate_key(&self, name: &str, body: &RotateBody) -> Result<IssuedView, ClientError> {
        self.call(Method::POST, &format!("/api/v1/keys/{}/rotate", segment(name)), Some(body)).await
    }

    /// Gives a key another quota.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn limit_key(&self, name: &str, quota: &QuotaView) -> Result<KeyView, ClientError> {
        self.call(Method::PUT, &format!("/api/v1/keys/{}/quota", segment(name)), Some(quota)).await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke_key(&self, name: &str) -> Result<KeyView, ClientError> {
        self.call::<(), _>(Method::POST, &format!("/api/v1/keys/{}/revoke", segment(name)), None).await
    }

    /// Incidents, those that are open first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn incidents(&self) -> Result<Vec<IncidentView>, ClientError> {
        self.get("/api/v1/incidents").await
    }

    /// One incident.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn incident(&self, id: &str) -> Result<IncidentView, ClientError> {
        self.get(&format!("/api/v1/incidents/{}", segment(id))).await
    }

    /// Says that somebody knows of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn acknowledge_incident(&self, id: &str, body: &IncidentBody) -> Result<IncidentView, ClientError> {
        self.call(Method::POST, &format!("/api/v1/incidents/{}/ack", segment(id)), Some(body)).await
    }

    /// Says that it is over.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn close_incident(&self, id: &str, body: &IncidentBody) -> Result<IncidentView, ClientError> {
        self.call(Method::POST, &format!("/api/v1/incidents/{}/close", segment(id)), Some(body)).await
    }

    /// Rolls back every release that can be.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rollback_all(&self, body: &CommandBody) -> Result<Vec<CommandOutcome>, ClientError> {
        self.call(Method::POST, "/api/v1/rollback-all", Some(body)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call::<(), T>(Method::GET, path, None).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        self.call_within(PATIENCE, method, path, body).await
    }

    async fn call_within<B: Serialize, T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let no_answer =
            |source: Box<dyn std::error::Error + Send + Sync>| ClientError::NoAnswer { url: self.base.clone(), source };
        let foreign = |what: String| ClientError::Foreign { url: self.base.clone(), what };
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|e| foreign(e.to_string()))?),
            None => Bytes::new(),
        };
        let mut request = Request::builder().method(method).uri(&url).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(bytes)).map_err(|_| ClientError::Address { url: url.clone() })?;
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|e| no_answer(e.into()))?;
            let (parts, body) = response.into_parts();
            let bytes = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(no_answer)?.to_bytes();
            Ok::<_, ClientError>((parts.status, bytes))
        };
        let (status, bytes) = tokio::time::timeout(patience, exchange).await.map_err(|e| no_answer(e.into()))??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| foreign(e.to_string()));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Refused { status, problem }),
            Err(_) => Err(foreign(format!("it answers {status} and no problem document"))),
        }
    }
}

/// A path segment with everything but unreserved characters percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Client, ClientError, segment};

    #[test]
    fn a_path_segment_cannot_leave_its_place() {
        assert_eq!(segment("support-agent-7"), "support-agent-7");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
    }

    #[test]
    fn an_address_without_a_scheme_is_named() {
        let error = Client::new("127.0.0.1:8080", None).unwrap_err();
        assert!(matches!(&error, ClientError::Address { .. }), "{error}");
    }
}
