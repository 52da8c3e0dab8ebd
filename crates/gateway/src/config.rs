//! What a gateway is told at its start: plain values, built and checked by the app.

use crate::client_address::TrustedProxies;
use crate::ports::KeySource;
use coalmine_core::id::{CustomerId, GatewayId, ProviderName, RouteName, TenantId};
use coalmine_core::key::Quota;
use coalmine_core::origin::Region;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_wire::dialect::{Dialect, Family};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything a gateway is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name in deltas.
    pub gateway: GatewayId,
    /// Its start, as a number that grows from one start to the next.
    pub epoch: u64,
    /// Where it stands: sessions of different regions are compared apart.
    pub region: Option<Region>,
    /// Whose routes it serves.
    pub tenant: TenantId,
    /// Keys unit hashes, content following and request ids; the same for every gateway of a site and
    /// kept over restarts, for with another one every session is a stranger.
    pub secret: SiteSecret,
    /// Who answers.
    pub providers: BTreeMap<ProviderName, Provider>,
    /// Who answers a model that names no route, unchanged and uncounted; without it that is a 404.
    pub default_provider: Option<ProviderName>,
    /// Settings by route; a route without an entry has the default ones.
    pub routes: BTreeMap<RouteName, RouteSettings>,
    /// Keys that clients may use, beside those that the control plane tells of.
    pub client_keys: Vec<ClientKey>,
    /// Whether a request needs a key while there is none.
    pub key_need: KeyNeed,
    /// What everybody together may use of this gateway.
    pub quota: Quota,
    /// What all keys of a customer together may use.
    pub customer_quotas: BTreeMap<CustomerId, Quota>,
    /// Whose word on a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// Bounds.
    pub limits: Limits,
    /// Whether answers carry `x-coalmine-*` headers.
    pub answer_headers: AnswerHeaders,
    /// Whether `x-coalmine-override` is obeyed.
    pub overrides: Overrides,
    /// What tokens cost.
    pub prices: coalmine_wire::prices::Prices,
    /// A turn outside of any release is judged at this age.
    pub judged_after: SpanMs,
    /// How often a delta leaves, of the wall's time.
    pub report_every: Duration,
    /// What is told of requests beside.
    pub telemetry: Telemetry,
}

impl Config {
    /// Defaults for everything but the names, the secret and the providers.
    #[must_use]
    pub fn new(gateway: GatewayId, secret: SiteSecret, providers: BTreeMap<ProviderName, Provider>) -> Self {
        Self {
            gateway,
            epoch: 0,
            region: None,
            tenant: TenantId::default(),
            secret,
            providers,
            default_provider: None,
            routes: BTreeMap::new(),
            client_keys: Vec::new(),
            key_need: KeyNeed::OnceThereIsOne,
            quota: Quota::default(),
            customer_quotas: BTreeMap::new(),
            trusted_proxies: TrustedProxies::default(),
            limits: Limits::default(),
            answer_headers: AnswerHeaders::On,
            overrides: Overrides::Refused,
            prices: coalmine_wire::prices::Prices::default(),
            judged_after: SpanMs::secs(60),
            report_every: Duration::from_secs(1),
            telemetry: Telemetry::default(),
        }
    }

    /// What no request takes longer than, whoever answers it.
    pub(crate) fn longest(&self) -> Duration {
        let total = self.providers.values().map(|provider| provider.timeouts.total).max();
        self.limits.body_time + total.unwrap_or(Timeouts::default().total) + self.limits.end_time
    }
}

/// 32 random bytes of the site. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SiteSecret(pub [u8; 32]);

impl fmt::Debug for SiteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteSecret(..)")
    }
}

/// A text that is never shown, such as a provider's API key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of sight.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is told of requests beside the counters; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// Where the access log goes.
    pub access_log: Option<LogTarget>,
    /// Who is told of spans, metrics and decisions.
    pub otlp: Option<Otlp>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// The process's standard error.
    Stderr,
    /// A file, which is added to; one that was moved away is begun anew.
    File(PathBuf),
}

/// A collector of OpenTelemetry, spoken to by OTLP over HTTP in JSON.
#[derive(Debug, Clone)]
pub struct Otlp {
    /// Where spans are posted, path included; `None`: nowhere.
    pub traces: Option<String>,
    /// Where metrics are posted, path included; `None`: nowhere.
    pub metrics: Option<String>,
    /// Where decisions on releases are posted as events, path included; `None`: nowhere.
    pub decisions: Option<String>,
    /// Sent with every message.
    pub headers: Vec<(String, Secret)>,
    /// The share of the requests without a `traceparent` that begin a trace, 0 to 1; those with one do as it says.
    pub sample: f64,
    /// How often metrics are posted, of the wall's time.
    pub metrics_every: Duration,
    /// The collector's time to answer.
    pub timeout: Duration,
    /// What is said of this process beside its name and version.
    pub resource: Vec<(String, String)>,
    /// Tells this gateway from others.
    pub instance: String,
}

/// One provider.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its dialect.
    pub kind: ProviderKind,
    /// What it is shown as authorization.
    pub credential: Credential,
    /// Where its key is read anew; `None`: it stays what it is.
    pub renewal: Option<KeyRenewal>,
    /// Its addresses: at least one, at most [`UPSTREAMS_MAX`].
    pub upstreams: Vec<Upstream>,
    /// Which of several is asked.
    pub choice: ChoicePolicy,
    /// Whether its addresses are looked at by themselves.
    pub health: Option<HealthCheck>,
    /// Whether its model is warmed before a stage begins.
    pub warm_up: Option<WarmUp>,
    /// Whether its addresses are asked for their load, so that they are not given more than they bear.
    pub capacity: Option<CapacityCheck>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// When a second address is asked beside the first; `None`: never.
    pub hedge: Option<HedgePolicy>,
    /// Whether it takes `stream_options.include_usage`.
    pub stream_usage: StreamUsage,
    /// Which `anthropic-beta` flags it is told.
    pub betas: Betas,
}

impl Provider {
    /// An OpenAI-compatible provider at one address, with default timeouts.
    #[must_use]
    pub fn openai(url: impl Into<String>, credential: Credential) -> Self {
        Self {
            kind: ProviderKind::OpenAi,
            credential,
            renewal: None,
            upstreams: vec![Upstream::at(url)],
            choice: ChoicePolicy::default(),
            health: None,
            warm_up: None,
            capacity: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            hedge: None,
            stream_usage: StreamUsage::Ask,
            betas: Betas::All,
        }
    }

    /// People. Their address leads nowhere (RFC 6761), whoever should ask it.
    #[must_use]
    pub fn people() -> Self {
        let nowhere = Self::openai("http://people.invalid/v1", Credential::None);
        Self { kind: ProviderKind::People, ..nowhere }
    }

    /// The same of Anthropic's dialect.
    #[must_use]
    pub fn anthropic(url: impl Into<String>, credential: Credential) -> Self {
        Self { kind: ProviderKind::Anthropic, ..Self::openai(url, credential) }
    }
}

/// A provider's key that may change while the process runs.
#[derive(Debug, Clone)]
pub struct KeyRenewal {
    /// Where it is read: in the interval, and at once where the provider refuses it with 401.
    pub source: Arc<dyn KeySource>,
    /// How often, of the wall's time; zero: only where it was refused.
    pub every: Duration,
}

/// A provider's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI, and whatever speaks like it.
    OpenAi,
    /// Anthropic, and whatever speaks like it.
    Anthropic,
    /// Nobody who is asked over the wire: people answer, and the client brings what they said.
    People,
}

impl ProviderKind {
    /// Whose dialects it speaks.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::OpenAi | Self::People => Family::OpenAi,
            Self::Anthropic => Family::Anthropic,
        }
    }

    /// How it is asked for a turn of a conversation.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        self.family().chat()
    }
}

/// Which of the client's `anthropic-beta` flags a provider is told: some refuse what they do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Betas {
    /// All.
    All,
    /// These.
    Only(BTreeSet<String>),
}

/// The most addresses of one provider.
pub const UPSTREAMS_MAX: usize = 64;
/// The most regions that they stand in.
pub const REGIONS_MAX: usize = 16;

/// One address of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its base, `https://api.openai.com/v1`: what stands for our own `/v1`.
    pub url: String,
    /// Where it stands; `None`: where the gateway does.
    pub region: Option<Region>,
    /// Connections kept open ahead of need.
    pub warm: Option<Warm>,
}

impl Upstream {
    /// One beside the gateway, with nothing kept ready.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), region: None, warm: None }
    }
}

/// Connections kept open ahead of need, of the wall's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    /// How many; over HTTP/2 one carries everything.
    pub connections: usize,
    /// How often each is used, so that nobody on the way closes it.
    pub every: Duration,
}

/// How a model is warmed before a stage of a release begins, of the wall's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// What it is asked.
    pub prompt: String,
    /// The most answers of one address that are waited for.
    pub tries: u32,
    /// How long all of it may take.
    pub within: Duration,
    /// What becomes of a stage whose upstreams did not get warm.
    pub then: Unwarmed,
}

/// What becomes of a stage whose upstreams did not get warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwarmed {
    /// It begins, and that is noted.
    Go,
    /// It waits, and they are warmed again.
    Hold,
}

/// How addresses are asked for their load, of the wall's time: a page of Prometheus' text, as vLLM has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityCheck {
    /// From the root of the address's host: `/metrics`.
    pub path: String,
    /// How often.
    pub every: Duration,
    /// How long an answer may take.
    pub within: Duration,
    /// The share of cache and slots that may be used.
    pub most: WeightBp,
    /// Requests that one address works on at most, where that is known.
    pub slots: Option<u32>,
}

impl Default for CapacityCheck {
    fn default() -> Self {
        Self {
            path: "/metrics".to_owned(),
            every: Duration::from_secs(5),
            within: Duration::from_secs(2),
            most: WeightBp::rounded(8_500.0),
            slots: None,
        }
    }
}

/// Which of several addresses is asked. Spans are those of the gateway's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChoicePolicy {
    /// Who of those that are equally near is asked.
    pub spread: Spread,
    /// Which region is nearest.
    pub nearest: Nearest,
    /// A nearer region must have been well for so long before it is asked again.
    pub return_after: SpanMs,
    /// Of the addresses that answer at all, the share that may be put aside at a time; one always may.
    pub max_ejected: WeightBp,
    /// When an address is put aside by its own answers.
    pub breaker: BreakerPolicy,
    /// When, by comparison with its siblings.
    pub outliers: OutlierPolicy,
}

impl Default for ChoicePolicy {
    fn default() -> Self {
        Self {
            spread: Spread::Sessions,
            nearest: Nearest::Listed,
            return_after: SpanMs::secs(10),
            max_ejected: WeightBp::rounded(5_000.0),
            breaker: BreakerPolicy::default(),
            outliers: OutlierPolicy::default(),
        }
    }
}

/// Who of those that are equally near is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// A session stays with one address, where its beginning is cached, for as long as that is well.
    Sessions,
    /// Each in its turn.
    Turns,
}

/// Which region is nearest: always the gateway's own, then these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearest {
    /// In the order in which they are listed.
    Listed,
    /// By the time that a connection, or the look at their health, takes; the gateway's own has no precedence.
    Measured,
}

/// When an address is put aside by its own answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// Connections in a row that could not be had.
    pub unreachable: u32,
    /// Failures in a row: errors of the server, broken connections, no first byte in time.
    pub failures: u32,
    /// The share of failures,
    pub error_share: WeightBp,
    /// of at least so many answers,
    pub least: u32,
    /// within about so long.
    pub window: SpanMs,
    /// How long it is put aside at first; then one request shows whether it is well again. Doubled with every failure.
    pub pause: SpanMs,
    /// The longest pause.
    pub pause_max: SpanMs,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            unreachable: 3,
            failures: 5,
            error_share: WeightBp::rounded(5_000.0),
            least: 20,
            window: SpanMs::secs(10),
            pause: SpanMs::secs(1),
            pause_max: SpanMs::secs(30),
        }
    }
}

/// When an address is put aside for being worse than its siblings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierPolicy {
    /// How often they are compared.
    pub every: SpanMs,
    /// Answers that each must have had since.
    pub least: u32,
    /// Its share of failures is above its siblings' by so much.
    pub error_gap: WeightBp,
    /// Its times are so many times those of its siblings; 0: times are not compared.
    pub slower: f64,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self { every: SpanMs::secs(10), least: 20, error_gap: WeightBp::rounded(2_000.0), slower: 3.0 }
    }
}

/// How addresses are looked at by themselves, of the wall's time. 2xx is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// From the root of the address's host: `/health`.
    pub path: String,
    /// How often.
    pub every: Duration,
    /// How long an answer may take.
    pub within: Duration,
    /// So many bad looks in a row, and it is not asked.
    pub unhealthy_after: u32,
    /// So many good ones, and it is again.
    pub healthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            every: Duration::from_secs(5),
            within: Duration::from_secs(2),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

/// What a provider is shown as authorization. The client's own is never sent by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// This key, in the header that its dialect wants: `authorization: Bearer`, or `x-api-key`.
    Bearer(Secret),
    /// The client's own key, for a site where clients hold the provider's keys.
    Client,
    /// Nothing.
    None,
}

/// Whether a stream is asked for its usage where the client did not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// Ask, and take the chunk out of the answer again.
    Ask,
    /// The provider refuses the option: leave the request alone; usage is then unknown.
    Leave,
}

/// How long a provider may take, of the wall's time. Long by default: a model may think for minutes.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// At each try, from the request's last byte to the answer's head, and of a stream to its first content.
    pub first_byte: Duration,
    /// The same where reasoning or thinking is asked for.
    pub thinking: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// For everything: every try, whoever answers in the end, and the answer to its last byte.
    pub total: Duration,
    /// After so long a silence inside a stream the client is sent a sign of life, so that neither it nor anybody
    /// between takes the connection for dead; `None`: never.
    pub keep_alive: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_mins(10),
            thinking: Duration::from_mins(30),
            idle: Duration::from_mins(5),
            total: Duration::from_hours(1),
            keep_alive: Some(Duration::from_secs(10)),
        }
    }
}

/// When a failed attempt is repeated on the same version. Only before anything was delivered.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts beyond the first.
    pub retries: u16,
    /// The pause before one is drawn from half of this to all of it, doubled each time.
    pub pause: Duration,
    /// A 429 is repeated only when its `retry-after` is no longer than this.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 1, pause: Duration::from_millis(100), retry_after_max: Duration::from_secs(1) }
    }
}

/// When a second address of a provider is asked what the first has not begun to answer; whoever has content first
/// answers. Only for what may be asked twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgePolicy {
    /// So long without content, of the wall's time.
    pub after: Duration,
    /// Of the provider's requests, the most that are asked twice.
    pub max_share: WeightBp,
}

/// One route's settings that are no part of a version.
#[derive(Debug, Clone)]
pub struct RouteSettings {
    /// Where a session's name is looked for; the first that is present serves.
    pub sessions: Vec<SessionSource>,
    /// Where a customer's name is looked for; then the client key's own.
    pub customers: Vec<CustomerSource>,
    /// Names that feedback may have; empty: any.
    pub feedback: BTreeSet<String>,
    /// The share of sessions whose answers are captured.
    pub capture: WeightBp,
}

impl Default for RouteSettings {
    fn default() -> Self {
        let header = SessionSource::Header("x-session-id".to_owned());
        let body = SessionSource::Body("metadata.session_id".to_owned());
        Self {
            sessions: vec![header, SessionSource::Path, body, SessionSource::Conversation],
            customers: Vec::new(),
            feedback: BTreeSet::new(),
            capture: WeightBp::ZERO,
        }
    }
}

/// Where a session's name is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionSource {
    /// A request header.
    Header(String),
    /// The path: `/s/{session}/v1/…`.
    Path,
    /// A text or a number in the request body, by its dotted path: `metadata.session_id`, `user`.
    Body(String),
    /// The content of the conversation itself.
    Conversation,
}

/// Where a customer's name is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerSource {
    /// A request header.
    Header(String),
    /// A text or a number in the request body, by its dotted path.
    Body(String),
}

/// A key that clients may use.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// BLAKE3 of the bearer text.
    pub hash: [u8; 32],
    /// Whose it is, where registered.
    pub customer: Option<CustomerId>,
}

/// Whether a request needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNeed {
    /// Once there is any key, be it a revoked one; before that everybody is admitted.
    OnceThereIsOne,
    /// From the start.
    Always,
}

/// Bounds of what one process takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// Bytes of all request bodies at once.
    pub bodies: usize,
    /// How long a request waits that finds no room there, of the wall's time; then it is refused.
    pub bodies_wait: Duration,
    /// Time for a request head.
    pub head_time: Duration,
    /// Time for a request body.
    pub body_time: Duration,
    /// A client that takes nothing of its answer for so long, or up to a quarter longer, is gone.
    pub taking_time: Duration,
    /// Open connections; further ones wait.
    pub connections: usize,
    /// Turns waiting for the sink; further ones are dropped and counted.
    pub turns: usize,
    /// Feedback waiting for the sink, and the most in one request.
    pub feedback: usize,
    /// Conversations followed by content.
    pub conversations: usize,
    /// A conversation that is idle for longer is forgotten.
    pub conversation_idle: SpanMs,
    /// How long a canary's answer is held back in the hope of a first content byte, so that stable
    /// can still take over; of the wall's time.
    pub rescue_hold: Duration,
    /// How long a stream that has said all may be kept open without its end, of the wall's time.
    pub end_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            bodies: 1 << 30,
            bodies_wait: Duration::from_secs(1),
            head_time: Duration::from_mins(2),
            body_time: Duration::from_mins(1),
            taking_time: Duration::from_mins(5),
            connections: 20_000,
            turns: 100_000,
            feedback: 10_000,
            conversations: 1_000_000,
            conversation_idle: SpanMs::hours(24),
            rescue_hold: Duration::from_secs(20),
            end_time: Duration::from_secs(3),
        }
    }
}

/// Whether answers carry `x-coalmine-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerHeaders {
    /// They do.
    On,
    /// They do not.
    Off,
}

/// Whether `x-coalmine-override` is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrides {
    /// It is ignored.
    Refused,
    /// `stable` and `canary` force the arm; such a request is never counted.
    Accepted,
}
