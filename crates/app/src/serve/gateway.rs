//! The configuration in the gateway's own words.

use super::provider_key;
use crate::config::{self, CustomerSource, Process, SessionSource};
use coalmine_api::types::{AsideView, FaultView, LoadView, TrafficView, UpstreamView, WarmView};
use coalmine_core::id::GatewayId;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::config::{
    AnswerHeaders, Betas, ClientKey, Config, Credential, KeyNeed, Limits, LogTarget, Otlp, Overrides, Provider,
    ProviderKind, RetryPolicy, RouteSettings, Secret, SiteSecret, StreamUsage, Telemetry, Timeouts, Upstream,
};
use coalmine_gateway::{Exposition, Traffic, UpstreamState};
use coalmine_wire::prices::Prices;
use std::time::Duration;

/// The name of the one gateway of this process.
pub(super) fn name() -> GatewayId {
    GatewayId::from("gateway-1")
}

/// The API's format in the gateway's own word.
pub(super) const fn exposition(asked: coalmine_api::handlers::Exposition) -> Exposition {
    match asked {
        coalmine_api::handlers::Exposition::Text => Exposition::Text,
        coalmine_api::handlers::Exposition::OpenMetrics => Exposition::OpenMetrics,
    }
}

/// How a route fared, in the API's words.
pub(super) fn traffic(counted: Traffic) -> TrafficView {
    let assigned = counted.assigned.into_iter().filter(|(_, count)| *count > 0);
    TrafficView {
        assigned: assigned.map(|(reason, count)| (reason.as_str().to_owned(), count)).collect(),
        rescued: counted.rescued,
        rescue_refused: counted.rescue_refused,
        unproven: counted.unproven,
    }
}

/// How an address stands, in the API's words.
pub(super) fn upstream_view(state: UpstreamState) -> UpstreamView {
    UpstreamView {
        provider: state.provider,
        upstream: state.upstream,
        region: state.region,
        standing: state.standing.to_owned(),
        serving: state.serving,
        aside: state.aside.map(|aside| AsideView {
            why: aside.why.to_owned(),
            since_ms: aside.since.0,
            failures: aside.failures,
            answers: aside.answers,
            own_ms: aside.times_ms.map(|(own_ms, _)| own_ms),
            siblings_ms: aside.times_ms.map(|(_, siblings_ms)| siblings_ms),
            last: aside.last,
            tries: aside.tries,
            again_ms: aside.again.map(|at| at.0),
        }),
        last_fault: state.last_fault.map(|fault| FaultView { what: fault.what, at_ms: fault.at.0 }),
        answers: state.answers,
        failures: state.failures,
        head_ms: state.head_ms,
        distance_ms: state.distance_ms,
        warm: state.warm.map(|warm| WarmView { open: warm.open, wanted: warm.wanted }),
        load: state.load.map(|load| LoadView {
            running: load.running,
            waiting: load.waiting,
            cache_used: load.cache_used,
            trouble: load.trouble.map(str::to_owned),
        }),
    }
}

/// What the gateway of this process is told.
pub(super) fn config(process: &Process, secret: SiteSecret, started: UnixMs) -> Config {
    let providers = process.providers.iter().map(|(name, p)| (name.clone(), provider(p, &process.limits))).collect();
    let mut told = Config::new(name(), secret, providers);
    told.epoch = started.0;
    told.region.clone_from(&process.region);
    told.default_provider.clone_from(&process.default_provider);
    told.routes = process.routes.iter().map(|(name, route)| (name.clone(), settings(route))).collect();
    told.client_keys = client_keys(process);
    told.key_need = if process.require_key { KeyNeed::Always } else { KeyNeed::OnceThereIsOne };
    told.quota = process.quota;
    told.customer_quotas = process.customers.iter().map(|(name, customer)| (name.clone(), customer.quota)).collect();
    told.trusted_proxies.clone_from(&process.trusted_proxies);
    told.limits = limits(&process.limits);
    told.answer_headers = if process.answer_headers { AnswerHeaders::On } else { AnswerHeaders::Off };
    told.overrides = if process.override_header { Overrides::Accepted } else { Overrides::Refused };
    told.prices = prices(process);
    told.report_every = super::site::beat(process);
    told.telemetry = telemetry(process);
    told
}

fn telemetry(process: &Process) -> Telemetry {
    let otlp = process.telemetry.otlp.as_ref().map(|written| Otlp {
        traces: written.traces_url(),
        metrics: written.metrics_url(),
        decisions: written.decisions_url(),
        headers: written.headers().into_iter().map(|(name, value)| (name, Secret::new(value.expose()))).collect(),
        sample: written.sample(),
        metrics_every: Duration::from_millis(written.metrics_every().0),
        timeout: Duration::from_millis(written.timeout().0),
        resource: written.resource().to_vec(),
        instance: name().to_string(),
    });
    let access_log = process.telemetry.access_log.as_ref().map(|target| match target {
        config::AccessLog::Stderr => LogTarget::Stderr,
        config::AccessLog::File(path) => LogTarget::File(path.clone()),
    });
    Telemetry { access_log, otlp }
}

fn provider(written: &config::Provider, limits: &config::Limits) -> Provider {
    let wall = |span: coalmine_core::time::SpanMs| Duration::from_millis(span.0);
    Provider {
        kind: match written.kind {
            config::ProviderKind::OpenAi => ProviderKind::OpenAi,
            config::ProviderKind::Anthropic => ProviderKind::Anthropic,
            config::ProviderKind::People => ProviderKind::People,
        },
        credential: match &written.api_key {
            Some(key) => Credential::Bearer(Secret::new(key.expose())),
            None if written.send_client_key => Credential::Client,
            None => Credential::None,
        },
        renewal: written.api_key.as_ref().and_then(|key| provider_key::renewal(key, written.api_key_refresh)),
        upstreams: written.upstreams.iter().map(upstream).collect(),
        choice: written.choice,
        health: written.health.clone(),
        warm_up: written.warm_up.clone(),
        capacity: written.capacity.clone(),
        timeouts: Timeouts {
            connect: wall(written.timeouts.connect.unwrap_or(limits.connect_timeout)),
            first_byte: wall(written.timeouts.first_byte.unwrap_or(limits.first_byte_timeout)),
            thinking: wall(written.timeouts.thinking.unwrap_or(limits.thinking_timeout)),
            idle: wall(written.timeouts.idle.unwrap_or(limits.idle_timeout)),
            total: wall(written.timeouts.total.unwrap_or(limits.total_timeout)),
            keep_alive: Some(wall(limits.keep_alive)).filter(|often| !often.is_zero()),
        },
        retry: RetryPolicy { retries: written.retries, ..RetryPolicy::default() },
        hedge: written.hedge,
        stream_usage: if written.stream_usage { StreamUsage::Ask } else { StreamUsage::Leave },
        betas: written.anthropic_beta.clone().map_or(Betas::All, Betas::Only),
    }
}

fn upstream(written: &config::Upstream) -> Upstream {
    Upstream { url: written.url.clone(), region: written.region.clone(), warm: written.warm }
}

fn settings(route: &config::Route) -> RouteSettings {
    let session = |source: &SessionSource| match source {
        SessionSource::Header(name) => coalmine_gateway::config::SessionSource::Header(name.clone()),
        SessionSource::Path => coalmine_gateway::config::SessionSource::Path,
        SessionSource::Body(path) => coalmine_gateway::config::SessionSource::Body(path.clone()),
        SessionSource::Conversation => coalmine_gateway::config::SessionSource::Conversation,
    };
    let customer = |source: &CustomerSource| match source {
        CustomerSource::Header(name) => coalmine_gateway::config::CustomerSource::Header(name.clone()),
        CustomerSource::Body(path) => coalmine_gateway::config::CustomerSource::Body(path.clone()),
    };
    RouteSettings {
        sessions: route.session.iter().map(session).collect(),
        customers: route.customer.iter().map(customer).collect(),
        feedback: route.feedback.clone(),
        capture: route.capture.map_or(WeightBp::ZERO, |rule| rule.sample),
    }
}

/// The keys of clients and of customers; a customer's key names its customer. Where there is any, no
/// other is admitted.
fn client_keys(process: &Process) -> Vec<ClientKey> {
    let hash = |secret: &config::Secret| *blake3::hash(secret.expose().as_bytes()).as_bytes();
    let clients = process.client_keys.values().map(|key| ClientKey { hash: hash(key), customer: None });
    let of_customers = process.customers.iter().flat_map(|(name, customer)| {
        customer.keys.iter().map(|key| ClientKey { hash: hash(key), customer: Some(name.clone()) })
    });
    clients.chain(of_customers).collect()
}

fn limits(written: &config::Limits) -> Limits {
    Limits {
        body: written.body_bytes,
        bodies: written.bodies_bytes,
        head_time: Duration::from_millis(written.header_timeout.0),
        body_time: Duration::from_millis(written.body_timeout.0),
        taking_time: Duration::from_millis(written.idle_timeout.0),
        connections: written.connections,
        conversation_idle: written.session_idle,
        rescue_hold: Duration::from_millis(written.rescue_hold.0),
        ..Limits::default()
    }
}

/// The shipped table, with the file's own prices over it.
pub(super) fn prices(process: &Process) -> Prices {
    process.prices.iter().fold(Prices::shipped(), |prices, (model, quote)| prices.with(model, quote.clone()))
}
