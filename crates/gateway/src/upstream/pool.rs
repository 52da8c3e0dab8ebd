//! Connections to one provider: pooled, without Nagle's delay, TLS where the address says so.

use crate::config::{
    Betas, CapacityCheck, Config, HealthCheck, HedgePolicy, Provider, ProviderKind, REGIONS_MAX, RetryPolicy,
    StreamUsage, Timeouts, UPSTREAMS_MAX, Warm, WarmUp,
};
use crate::metrics::{Metrics, ProviderSeries};
use crate::ports::Clock;
use crate::upstream::address::Address;
use crate::upstream::asked::{self, Asked};
use crate::upstream::breaker::Felt;
use crate::upstream::capacity::Readings;
use crate::upstream::choice::{As, Choice, Going, Picked};
use crate::upstream::connections::{Connections, ProviderBody};
use crate::upstream::credential::Authorization;
use crate::upstream::fault::Fault;
use crate::upstream::rescue::RescueBudget;
use crate::upstream::retry;
use crate::upstream::series::UpstreamSeries;
use crate::upstream::under_way::UnderWay;
use coalmine_core::id::ProviderName;
use coalmine_core::origin::Region;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::translate::{LimitName, Terms};
use http::{HeaderName, Response, StatusCode};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// Where Anthropic's dialect has the key.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// `max_tokens` of messages, where neither client nor version says: they must have one.
const MAX_TOKENS: u32 = 8_192;

/// A request that tries an address waits for it alone no less than this,
const PATIENCE_LEAST: Duration = Duration::from_millis(500);
/// and so long where it is not known how long an answer takes.
const PATIENCE_UNKNOWN: Duration = Duration::from_secs(2);

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

/// When a second address is asked for want of an answer.
#[derive(Debug)]
pub(crate) struct Hedge {
    pub(crate) after: Duration,
    /// A purse as that of rescues: the first is free, and after that a share of the requests.
    pub(crate) budget: RescueBudget,
}

impl Hedge {
    fn new(policy: HedgePolicy) -> Self {
        Self { after: policy.after, budget: RescueBudget::new(policy.max_share) }
    }
}

/// One provider's connections and manners.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: ProviderName,
    pub(crate) manners: Manners,
    /// Who answers at all.
    kind: ProviderKind,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    /// Only where there is a second address.
    pub(crate) hedge: Option<Hedge>,
    pub(crate) stream_usage: StreamUsage,
    pub(crate) series: Arc<ProviderSeries>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) choice: Choice,
    /// By address.
    pub(crate) upstreams: Vec<UpstreamSeries>,
    pub(crate) health: Option<HealthCheck>,
    /// By address.
    pub(crate) warm: Vec<Option<Warm>>,
    pub(crate) warm_up: Option<WarmUp>,
    pub(crate) capacity: Option<CapacityCheck>,
    /// By address.
    pub(crate) readings: Vec<Readings>,
    pub(crate) connections: Connections,
    /// Where requests run, each with connections of its own.
    pub(crate) places: Vec<Handle>,
    pub(crate) clock: Arc<dyn Clock>,
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
    /// More than can be chosen among.
    #[error("provider `{0}` has too many upstreams; write at most {UPSTREAMS_MAX}, in at most {REGIONS_MAX} regions")]
    TooManyUpstreams(ProviderName),
    /// A path that is none.
    #[error("provider `{provider}`: `{path}` is no path such as /health")]
    BadPath {
        /// Which provider.
        provider: ProviderName,
        /// As written.
        path: String,
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
    places: &[Handle],
) -> Result<HashMap<ProviderName, Arc<Pool>>, ProviderError> {
    if let Some(name) = config.default_provider.as_ref().filter(|name| !config.providers.contains_key(*name)) {
        return Err(ProviderError::UnknownDefault(name.clone()));
    }
    let pool = |(name, provider): (&ProviderName, &Provider)| {
        let series = metrics.provider(name);
        let pool = Pool::new(name, provider, config.region.as_ref(), clock.clone(), series, places.to_vec())?;
        Ok((name.clone(), Arc::new(pool)))
    };
    config.providers.iter().map(pool).collect()
}

impl Pool {
    fn new(
        name: &ProviderName,
        provider: &Provider,
        region: Option<&Region>,
        clock: Arc<dyn Clock>,
        series: Arc<ProviderSeries>,
        places: Vec<Handle>,
    ) -> Result<Self, ProviderError> {
        let bad = |url: &str| ProviderError::BadUrl { provider: name.clone(), url: url.to_owned() };
        let addresses: Result<Vec<_>, _> =
            provider.upstreams.iter().map(|up| Address::parse(&up.url).ok_or_else(|| bad(&up.url))).collect();
        let addresses = addresses?;
        if addresses.is_empty() {
            return Err(ProviderError::NoUpstream(name.clone()));
        }
        let regions: BTreeSet<_> = provider.upstreams.iter().map(|up| up.region.as_ref().or(region)).collect();
        if addresses.len() > UPSTREAMS_MAX || regions.len() > REGIONS_MAX {
            return Err(ProviderError::TooManyUpstreams(name.clone()));
        }
        let paths = [provider.health.as_ref().map(|h| &h.path), provider.capacity.as_ref().map(|c| &c.path)];
        let bad = |path: &&String| !path.starts_with('/') || addresses[0].at_root(path).is_none();
        if let Some(path) = paths.into_iter().flatten().find(bad) {
            return Err(ProviderError::BadPath { provider: name.clone(), path: path.clone() });
        }
        let (family, renewal) = (provider.kind.family(), provider.renewal.as_ref());
        let authorization = Authorization::new(name, family, &provider.credential, renewal, &series)?;
        Ok(Self {
            name: name.clone(),
            manners: Manners {
                dialect: provider.kind.dialect(),
                betas: provider.betas.clone(),
                authorization,
                terms: terms(&addresses),
            },
            kind: provider.kind,
            timeouts: provider.timeouts,
            retry: provider.retry,
            hedge: provider.hedge.filter(|_| addresses.len() > 1).map(Hedge::new),
            stream_usage: provider.stream_usage,
            series,
            choice: Choice::new(provider.choice, region, &provider.upstreams),
            upstreams: addresses.iter().map(|_| UpstreamSeries::default()).collect(),
            health: provider.health.clone(),
            warm: provider.upstreams.iter().map(|upstream| upstream.warm).collect(),
            warm_up: provider.warm_up.clone(),
            capacity: provider.capacity.clone(),
            readings: addresses.iter().map(|_| Readings::default()).collect(),
            connections: Connections::new(&addresses, provider.timeouts.connect, places.len()),
            addresses,
            places,
            clock,
        })
    }

    /// Whether people answer, and nobody is asked over the wire.
    pub(crate) fn is_people(&self) -> bool {
        self.kind == ProviderKind::People
    }

    /// Sends one request to the address that is best for it, as [`Self::send_to`] does.
    pub(crate) async fn send(
        &self,
        request: Asked,
        path: &str,
        going: &mut Going,
        by: Instant,
    ) -> Result<Response<ProviderBody>, Trouble> {
        let picked = self.aim(going);
        self.send_to(picked, request, path, by, &UnderWay::default()).await
    }

    /// The same for an upgrade.
    pub(crate) async fn open_socket(
        &self,
        request: Asked,
        path: &str,
        going: &mut Going,
        by: Instant,
    ) -> Result<Response<ProviderBody>, Trouble> {
        let picked = self.aim(going);
        self.send_by(By::Socket, picked, request, path, by, &UnderWay::default()).await
    }

    /// Chooses the address that is asked next; `going` is the same for all attempts of a request, so that a further one goes
    /// elsewhere. Whoever does must [send](Self::send_to) to it, or say that it did not.
    pub(crate) fn aim(&self, going: &mut Going) -> Picked {
        self.choice.pick(going, || self.clock.now())
    }

    /// Sends one request to an address that was chosen; its answer's head must come by then. `path` is what follows `/v1`,
    /// query included. Where the provider refuses a key that has changed meanwhile, it is shown the new one. Dropping the
    /// future cancels the request upstream.
    pub(crate) fn send_to(
        &self,
        picked: Picked,
        request: Asked,
        path: &str,
        by: Instant,
        under_way: &UnderWay,
    ) -> impl Future<Output = Result<Response<ProviderBody>, Trouble>> {
        self.send_by(By::Kept, picked, request, path, by, under_way)
    }

    async fn send_by(
        &self,
        connection: By,
        picked: Picked,
        request: Asked,
        path: &str,
        by: Instant,
        under_way: &UnderWay,
    ) -> Result<Response<ProviderBody>, Trouble> {
        let renewed = self.manners.authorization.renewed().and_then(|key| Some((key, asked::again(&request)?)));
        let response = self.put(connection, picked, request, path, by, under_way).await?;
        let Some((key, mut again)) = renewed else { return Ok(response) };
        if response.status() == StatusCode::UNAUTHORIZED
            && timeout_at(by, Box::pin(key.is_another_than(again.headers()))).await == Ok(true)
        {
            drop(response);
            under_way.came_back();
            key.show(again.headers_mut());
            let as_ = if picked.as_ == As::Copy { As::Copy } else { As::InService };
            return Box::pin(self.put(connection, Picked::of(picked.at, as_), again, path, by, under_way)).await;
        }
        Ok(response)
    }

    async fn put(
        &self,
        connection: By,
        picked: Picked,
        mut request: Asked,
        path: &str,
        by: Instant,
        under_way: &UnderWay,
    ) -> Result<Response<ProviderBody>, Trouble> {
        let mut asking = Asking { pool: self, picked, told: false };
        let address = &self.addresses[picked.at];
        *request.uri_mut() = address.uri(path).ok_or(Trouble::Malformed)?;
        // with one address there is nothing to learn
        let began = self.choice.is_free().then(|| self.clock.now());
        let sent_at = Instant::now();
        let sent = match connection {
            By::Kept => timeout_at(by, self.connections.send(picked.at, request, under_way, sent_at)).await,
            By::Socket => timeout_at(by, Box::pin(self.connections.open(picked.at, request))).await,
        };
        let trouble = match sent {
            // 101 to somebody who did not ask for another protocol is no answer
            Ok(Ok(response)) if response.status().is_informational() && connection == By::Kept => {
                self.note(picked, Some(Fault::Malformed));
                Trouble::Malformed
            }
            Ok(Ok(response)) => {
                self.upstreams[asking.picked.at].answered_in(sent_at.elapsed());
                self.note(picked, Fault::of_answer(response.status()));
                self.heed_retry_after(picked, &response);
                asking.felt(began, |took_ms| Felt::answer(response.status(), took_ms));
                return Ok(response);
            }
            Ok(Err(error)) => {
                let trouble = error.trouble();
                self.note(picked, Some(error.fault()));
                tracing::debug!(provider = %self.name, upstream = %address.label(), trouble = trouble.as_str(), %error, "no answer");
                trouble
            }
            Err(_elapsed) => {
                self.note(picked, Some(Fault::Silent));
                tracing::debug!(provider = %self.name, upstream = %address.label(), "no answer's head in time");
                Trouble::FirstByte
            }
        };
        self.series.note(trouble);
        asking.felt(began, |_| Felt::trouble(trouble));
        Err(trouble)
    }

    /// How long a request that tries this address waits for an answer's head alone: three times what those in service take.
    pub(crate) fn patience(&self, tried: Picked) -> Duration {
        let others = self.choice.serving().into_iter().filter(|at| *at != tried.at);
        let usual_ms = others.filter_map(|at| self.upstreams[at].head_ms()).reduce(f64::max);
        usual_ms.map_or(PATIENCE_UNKNOWN, |ms| Duration::from_secs_f64(3.0 * ms / 1e3).max(PATIENCE_LEAST))
    }

    /// An answer that says when to come again says so of its address.
    fn heed_retry_after<T>(&self, picked: Picked, response: &Response<T>) {
        if !matches!(response.status().as_u16(), 429 | 500..) || !self.choice.is_free() {
            return;
        }
        let now = self.clock.now();
        if let Some(wait) = retry::retry_after(response.headers(), now) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "of a wait; what is too long saturates"
            )]
            let wait_ms = (wait.as_secs_f64() * 1e3 * self.clock.scale()) as u64;
            self.choice.asks_to_wait(picked, SpanMs(wait_ms), now);
        }
    }

    /// Something went wrong at an address, if so; a copy's is told of nobody.
    pub(crate) fn note(&self, picked: Picked, fault: Option<Fault>) {
        if let Some(fault) = fault.filter(|_| picked.as_ != As::Copy) {
            self.upstreams[picked.at].fault.set(fault, self.clock.now());
        }
    }
}

/// Which connection a request goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// One that is kept for others after it.
    Kept,
    /// One of its own, for a socket.
    Socket,
}

/// An attempt under way. One that is dropped before it came to anything says nothing of its address.
struct Asking<'a> {
    pool: &'a Pool,
    picked: Picked,
    told: bool,
}

impl Asking<'_> {
    fn felt(&mut self, began: Option<UnixMs>, felt: impl FnOnce(u64) -> Felt) {
        self.told = true;
        let Some(began) = began else { return };
        let now = self.pool.clock.now();
        let change = self.pool.choice.felt(self.picked, felt(now.since(began).0), now);
        if let Some(change) = change {
            self.pool.tell(change);
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.pool.choice.unfelt(self.picked);
        }
    }
}

/// OpenAI itself, on its own or on Azure's machines, wants the limit of tokens under its newer name, which
/// other servers may not know.
fn terms(addresses: &[Address]) -> Terms {
    let newer = |host: &str| host == "api.openai.com" || host.ends_with(".azure.com");
    let newer = addresses.iter().all(|address| newer(address.host()));
    let limit = if newer { LimitName::MaxCompletionTokens } else { LimitName::MaxTokens };
    Terms { max_tokens: MAX_TOKENS, limit }
}
