//! Connections to one provider: pooled, without Nagle's delay, TLS where the address says so.

use crate::config::{Betas, Config, Credential, Provider, RetryPolicy, StreamUsage, Timeouts};
use crate::metrics::{Metrics, ProviderSeries};
use crate::ports::Clock;
use crate::upstream::breaker::Breaker;
use bytes::Bytes;
use coalmine_core::id::ProviderName;
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::translate::{LimitName, Terms};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where Anthropic's dialect has the key.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// `max_tokens` of messages, where neither client nor version says: they must have one.
const MAX_TOKENS: u32 = 8_192;
const IDLE_PER_HOST: usize = 1_024;
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How a provider is spoken to.
#[derive(Debug)]
pub(crate) struct Manners {
    /// How it is asked for a turn of a conversation.
    pub(crate) dialect: Dialect,
    pub(crate) betas: Betas,
    pub(crate) authorization: Authorization,
    /// For requests that come in the other dialect.
    pub(crate) terms: Terms,
}

impl Manners {
    /// Whether a request in this dialect can be sent as it is.
    pub(crate) fn speak(&self, dialect: Dialect) -> bool {
        self.dialect.family() == dialect.family()
    }
}

/// One provider's connections and manners.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: ProviderName,
    pub(crate) manners: Manners,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) stream_usage: StreamUsage,
    pub(crate) series: Arc<ProviderSeries>,
    addresses: Vec<Address>,
    next: AtomicUsize,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    clock: Arc<dyn Clock>,
}

/// What goes out as authorization.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// This (marked sensitive), under this name.
    Own(HeaderName, HeaderValue),
    /// The client's.
    Client,
    /// Nothing.
    None,
}

#[derive(Debug)]
struct Address {
    scheme: Scheme,
    authority: Authority,
    path: String,
    /// The paths that nearly every request has, in the order of [`Dialect::ALL`].
    known: Vec<Uri>,
    breaker: Breaker,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection.
    Connect,
    /// The connection broke before the answer's head.
    Broken,
    /// What came is no HTTP.
    Malformed,
    /// Nothing came in time.
    FirstByte,
}

impl Trouble {
    /// As written in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::FirstByte => "first_byte_timeout",
        }
    }
}

/// A provider that cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No address.
    #[error("provider `{0}` has no upstream; give it a `url`")]
    NoUpstream(ProviderName),
    /// An address that is none.
    #[error("provider `{provider}`: `{url}` is not an http or https address such as https://api.openai.com/v1")]
    BadUrl {
        /// Which provider.
        provider: ProviderName,
        /// Its address as written.
        url: String,
    },
    /// A key that cannot stand in a header.
    #[error("provider `{0}`: its api_key has characters that no header may hold (a line break at its end?)")]
    BadKey(ProviderName),
    /// A default that is not there.
    #[error("default_provider `{0}` is not among the providers")]
    UnknownDefault(ProviderName),
}

/// The pools of all configured providers.
pub(crate) fn pools(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<HashMap<ProviderName, Arc<Pool>>, ProviderError> {
    if let Some(name) = config.default_provider.as_ref().filter(|name| !config.providers.contains_key(*name)) {
        return Err(ProviderError::UnknownDefault(name.clone()));
    }
    let pool = |(name, provider): (&ProviderName, &Provider)| {
        Ok((name.clone(), Arc::new(Pool::new(name, provider, clock.clone(), metrics.provider(name))?)))
    };
    config.providers.iter().map(pool).collect()
}

impl Pool {
    fn new(
        name: &ProviderName,
        provider: &Provider,
        clock: Arc<dyn Clock>,
        series: Arc<ProviderSeries>,
    ) -> Result<Self, ProviderError> {
        let bad = |url: &str| ProviderError::BadUrl { provider: name.clone(), url: url.to_owned() };
        let addresses: Result<Vec<_>, _> =
            provider.upstreams.iter().map(|up| Address::parse(&up.url).ok_or_else(|| bad(&up.url))).collect();
        let addresses = addresses?;
        if addresses.is_empty() {
            return Err(ProviderError::NoUpstream(name.clone()));
        }
        let http = connector(provider.timeouts.connect);
        let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_all_versions();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(tls.wrap_connector(http));
        let authorization = match &provider.credential {
            Credential::Bearer(key) => {
                let (header, text) = match provider.kind.family() {
                    Family::OpenAi => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
                    Family::Anthropic => (X_API_KEY, key.expose().to_owned()),
                };
                let mut value = HeaderValue::from_str(&text).map_err(|_| ProviderError::BadKey(name.clone()))?;
                value.set_sensitive(true);
                Authorization::Own(header, value)
            }
            Credential::Client => Authorization::Client,
            Credential::None => Authorization::None,
        };
        Ok(Self {
            name: name.clone(),
            manners: Manners {
                dialect: provider.kind.dialect(),
                betas: provider.betas.clone(),
                authorization,
                terms: terms(&addresses),
            },
            timeouts: provider.timeouts,
            retry: provider.retry,
            stream_usage: provider.stream_usage,
            series,
            addresses,
            next: AtomicUsize::new(0),
            client,
            clock,
        })
    }

    /// Sends one request to the next address that is worth trying. `path` is what follows `/v1`,
    /// query included. Dropping the future cancels the request upstream.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>, Trouble> {
        let address = self.address();
        *request.uri_mut() = address.uri(path).ok_or(Trouble::Malformed)?;
        let sent = tokio::time::timeout(self.timeouts.first_byte, self.client.request(request)).await;
        match sent {
            Ok(Ok(response)) => {
                address.breaker.succeeded();
                Ok(response)
            }
            Ok(Err(error)) => {
                address.breaker.failed(self.clock.now());
                let trouble = Trouble::of(&error);
                self.series.note(trouble);
                tracing::debug!(provider = %self.name, upstream = %address.authority, trouble = trouble.as_str(), %error, "no answer");
                Err(trouble)
            }
            Err(_elapsed) => {
                self.series.note(Trouble::FirstByte);
                tracing::debug!(provider = %self.name, upstream = %address.authority, "no answer's head in time");
                Err(Trouble::FirstByte)
            }
        }
    }

    fn address(&self) -> &Address {
        let count = self.addresses.len();
        if count == 1 {
            return &self.addresses[0];
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let closed = (0..count).map(|n| (first + n) % count).find(|n| self.addresses[*n].breaker.is_closed(now));
        &self.addresses[closed.unwrap_or(first % count)]
    }
}

/// Connects without Nagle's delay.
fn connector(within: Duration) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    http.set_connect_timeout(Some(within));
    http.set_keepalive(Some(IDLE_TIME));
    http
}

/// OpenAI itself, on its own or on Azure's machines, wants the limit of tokens under its newer name, which
/// other servers may not know.
fn terms(addresses: &[Address]) -> Terms {
    let newer = |host: &str| host == "api.openai.com" || host.ends_with(".azure.com");
    let newer = addresses.iter().all(|address| newer(address.authority.host()));
    let limit = if newer { LimitName::MaxCompletionTokens } else { LimitName::MaxTokens };
    Terms { max_tokens: MAX_TOKENS, limit }
}

impl Trouble {
    fn of(error: &Error) -> Self {
        if error.is_connect() {
            return Self::Connect;
        }
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            if let Some(hyper) = inner.downcast_ref::<hyper::Error>() {
                return if hyper.is_parse() { Self::Malformed } else { Self::Broken };
            }
            source = inner.source();
        }
        Self::Broken
    }
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.trim_end_matches('/').parse().ok()?;
        let scheme = uri.scheme().filter(|s| [Scheme::HTTP, Scheme::HTTPS].contains(s))?.clone();
        let authority = uri.authority()?.clone();
        if uri.query().is_some() || authority.as_str().contains('@') {
            return None;
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let mut address = Self { scheme, authority, path, known: Vec::new(), breaker: Breaker::default() };
        address.known = Dialect::ALL.into_iter().map(|dialect| address.uri(dialect.path())).collect::<Option<_>>()?;
        Some(address)
    }

    fn uri(&self, path: &str) -> Option<Uri> {
        let known = Dialect::ALL.iter().zip(&self.known).find(|(dialect, _)| dialect.path() == path);
        if let Some((_, uri)) = known {
            return Some(uri.clone());
        }
        let mut full = String::with_capacity(self.path.len() + path.len());
        full.push_str(&self.path);
        full.push_str(path);
        let builder = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        builder.path_and_query(PathAndQuery::try_from(full).ok()?).build().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn t34_a_connection_upstream_has_no_delay() {
        use tower_service::Service as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut connector = connector(Duration::from_secs(60));
        std::future::poll_fn(|cx| connector.poll_ready(cx)).await.unwrap();
        let connected = connector.call(uri).await.unwrap();
        assert!(connected.inner().nodelay().unwrap());
    }

    #[test]
    fn an_address_stands_for_v1() {
        let address = Address::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!(address.uri("/chat/completions").unwrap().to_string(), "https://api.openai.com/v1/chat/completions");
        assert_eq!(address.uri("/models?x=1").unwrap().to_string(), "https://api.openai.com/v1/models?x=1");
        let bare = Address::parse("http://127.0.0.1:9001").unwrap();
        assert_eq!(bare.uri("/chat/completions").unwrap().to_string(), "http://127.0.0.1:9001/chat/completions");
        assert_eq!(bare.uri("/messages").unwrap().to_string(), "http://127.0.0.1:9001/messages");
        for bad in ["", "api.openai.com/v1", "ftp://x/v1", "http://u:p@x/v1", "http://x/v1?k=v", "http://"] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }
}
