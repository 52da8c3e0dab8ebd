//! One question put to one version, outside of all traffic: with the version's own rewrite, provider and key, and
//! without session, pin, turn, retry or rescue. It enters no user's metric and no tally.

use crate::gateway::Gateway;
use crate::phase::rewrite::{self, Outbound};
use crate::upstream::choice::Going;
use crate::upstream::pool::Pool;
use bytes::Bytes;
use coalmine_core::id::ProviderName;
use coalmine_core::version::{JsonText, Version};
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::openai::{AskUsage, ChatRequest, Expect, Observer, PatchError, ReadError};
use coalmine_wire::probe::appeal::{Pinned, cosines, embeddings_body};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use std::time::Duration;
use tokio::time::Instant;

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// The body, of status 2xx.
    pub body: Bytes,
    /// To its last byte, by the wall.
    pub latency_ms: f64,
    /// By the price table.
    pub cost_usd: Option<f64>,
}

/// How near texts are to each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nearness {
    /// The cosines of the first with each of the others.
    pub(crate) cosines: Vec<f64>,
    /// By the price table.
    pub(crate) cost_usd: Option<f64>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The version names a provider that is not configured.
    #[error("provider `{0}` is not configured; add it under `providers`")]
    NoProvider(String),
    /// The version cannot be put into requests.
    #[error("the version cannot be put into a request")]
    Version(#[source] PatchError),
    /// Embeddings are asked of a provider that makes none.
    #[error("provider `{0}` speaks a dialect without embeddings; name one that speaks OpenAI's")]
    NoEmbeddings(String),
    /// The version is people.
    #[error("people answer here, and cannot be asked by a machine")]
    People,
    /// The question is no chat completion.
    #[error("the question is no chat completion")]
    Question(#[source] ReadError),
    /// The provider refuses the version or its request: that is the version's own fault.
    #[error("the provider refused it with status {0}")]
    Refused(StatusCode),
    /// The provider is overloaded, failing, late or away: that says nothing about the version.
    #[error("the provider was in trouble: {0}")]
    Trouble(String),
}

impl Gateway {
    /// Puts a chat completion, not streamed, to `version` (in its provider's own dialect), within `limit` of the wall's time. Dropping the future
    /// cancels the request upstream.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn probe(&self, version: &Version, body: &Bytes, limit: Duration) -> Result<Probed, ProbeError> {
        let pool = self.pools.get(&version.provider);
        let pool = pool.ok_or_else(|| ProbeError::NoProvider(version.provider.to_string()))?;
        if pool.is_people() {
            return Err(ProbeError::People);
        }
        let dialect = pool.manners.dialect;
        let asked = match dialect.family() {
            Family::OpenAi => body.clone(),
            Family::Anthropic => coalmine_wire::probe::in_messages(body).map_or_else(Bytes::new, Bytes::from),
        };
        let chat = ChatRequest::read_as(dialect, &asked).map_err(ProbeError::Question)?;
        let patch = rewrite::prepare(version, dialect).map_err(ProbeError::Version)?;
        let patched = patch.apply(&chat, AskUsage::Leave).body.map_or_else(|| asked.clone(), Bytes::from);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let began = Instant::now();
        let body = exchange(pool, dialect, headers, patched, limit).await?;
        let latency_ms = began.elapsed().as_secs_f64() * 1_000.0;
        Ok(Probed { cost_usd: self.cost(version, dialect, &body), body, latency_ms })
    }

    /// Puts a request for embeddings to a provider as it stands, within `limit` of the wall's time: the answer's body.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn embed(&self, provider: &ProviderName, body: Bytes, limit: Duration) -> Result<Bytes, ProbeError> {
        let pool = self.pools.get(provider).ok_or_else(|| ProbeError::NoProvider(provider.to_string()))?;
        match pool.manners.dialect.family() {
            Family::OpenAi if pool.is_people() => return Err(ProbeError::People),
            Family::OpenAi => {}
            Family::Anthropic => return Err(ProbeError::NoEmbeddings(provider.to_string())),
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        exchange(pool, Dialect::Embeddings, headers, body, limit).await
    }

    /// Asks for the embeddings of some texts, of one model: how near the first is to each of the others.
    pub(crate) async fn nearness(&self, by: &Version, texts: &[&str], limit: Duration) -> Result<Nearness, ProbeError> {
        let json = |(name, json): (&String, &JsonText)| Some((name.clone(), serde_json::from_str(&json.0).ok()?));
        let params = by.params.iter().filter_map(json).collect();
        let pinned = Pinned { provider: by.provider.to_string(), model: by.model.clone(), params };
        let body = Bytes::from(embeddings_body(&pinned, texts));
        let said = self.embed(&by.provider, body, limit).await?;
        let unlike = || ProbeError::Trouble("its answer holds no embeddings that can be compared".to_owned());
        let cosines = cosines(&said, texts.len()).ok_or_else(unlike)?;
        Ok(Nearness { cosines, cost_usd: self.cost(by, Dialect::Embeddings, &said) })
    }

    fn cost(&self, version: &Version, dialect: Dialect, body: &Bytes) -> Option<f64> {
        let mut observer = Observer::new(Expect { dialect, ..Expect::default() });
        observer.feed(body);
        self.config.prices.cost_usd(&version.model, &observer.finish().usage?)
    }
}

/// One exchange, read whole.
async fn exchange(
    pool: &Pool,
    dialect: Dialect,
    headers: HeaderMap,
    body: Bytes,
    limit: Duration,
) -> Result<Bytes, ProbeError> {
    let request = Outbound::new(Method::POST, headers, Some(dialect)).request(&pool.manners, body);
    let began = Instant::now();
    let whole = async {
        let response = pool
            .send(request, dialect.path(), &mut Going::default(), began + limit)
            .await
            .map_err(|trouble| trouble.as_str().to_owned())?;
        let status = response.status();
        let read = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
        read.map(|body| (status, body.to_bytes())).map_err(|_| "the answer broke off, or is too long".to_owned())
    };
    let answered = tokio::time::timeout(limit, whole).await;
    let answered = answered.unwrap_or_else(|_late| Err(format!("no answer within {} s", limit.as_secs())));
    let (status, body) = answered.map_err(ProbeError::Trouble)?;
    match status.as_u16() {
        200..=299 => Ok(body),
        408 | 429 | 500.. => Err(ProbeError::Trouble(format!("status {}", status.as_u16()))),
        _ => Err(ProbeError::Refused(status)),
    }
}
