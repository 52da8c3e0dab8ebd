//! What stands under `telemetry`, with the standard environment variables of OpenTelemetry
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>) where the file says nothing.

use crate::config::fault::Complaint;
use crate::config::read::{Fields, scalar_text};
use crate::config::scalar;
use crate::config::secret::{Origin, Secret, Surroundings};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is told of requests beside `/metrics`; by default nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Telemetry {
    /// Where the access log goes.
    pub access_log: Option<AccessLog>,
    /// Who is told of spans, metrics and decisions.
    pub otlp: Option<Otlp>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard error.
    Stderr,
    /// A file, joined to the folder of `coalmine.yaml`.
    File(PathBuf),
}

/// A collector of OpenTelemetry: what is written of it, and what the environment says of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// Its base.
    pub endpoint: Option<String>,
    /// Sent with every message.
    pub headers: BTreeMap<String, Secret>,
    /// Whether spans are told.
    pub traces: bool,
    /// Whether metrics are told.
    pub metrics: bool,
    /// Whether decisions on releases are told.
    pub decisions: bool,
    /// The share of the requests without a `traceparent` that begin a trace.
    pub sample: Option<WeightBp>,
    /// How often metrics are posted.
    pub metrics_every: Option<SpanMs>,
    /// The collector's time to answer.
    pub timeout: Option<SpanMs>,
    /// What holds where nothing is written.
    pub environment: Environment,
}

/// What the standard variables say.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Where spans are posted, path included.
    traces: String,
    /// Where metrics are posted, path included.
    metrics: String,
    /// Where records of logs are posted, path included.
    logs: String,
    headers: Vec<(String, Secret)>,
    sample: f64,
    metrics_every: SpanMs,
    timeout: SpanMs,
    /// What is said of this process.
    resource: Vec<(String, String)>,
}

impl Otlp {
    /// Where spans are posted.
    #[must_use]
    pub fn traces_url(&self) -> Option<String> {
        self.traces.then(|| self.url("/v1/traces", &self.environment.traces))
    }

    /// Where metrics are posted.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics.then(|| self.url("/v1/metrics", &self.environment.metrics))
    }

    /// Where decisions are posted.
    #[must_use]
    pub fn decisions_url(&self) -> Option<String> {
        self.decisions.then(|| self.url("/v1/logs", &self.environment.logs))
    }

    fn url(&self, path: &str, or: &str) -> String {
        self.endpoint.as_ref().map_or_else(|| or.to_owned(), |base| format!("{}{path}", base.trim_end_matches('/')))
    }

    /// What is sent with every message.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, Secret)> {
        if self.headers.is_empty() {
            self.environment.headers.clone()
        } else {
            self.headers.clone().into_iter().collect()
        }
    }

    /// The share of the requests without a `traceparent` that begin a trace, 0 to 1.
    #[must_use]
    pub fn sample(&self) -> f64 {
        self.sample.map_or(self.environment.sample, |share| f64::from(share.bp()) / 1e4)
    }

    /// How often metrics are posted.
    #[must_use]
    pub fn metrics_every(&self) -> SpanMs {
        self.metrics_every.unwrap_or(self.environment.metrics_every)
    }

    /// The collector's time to answer.
    #[must_use]
    pub fn timeout(&self) -> SpanMs {
        self.timeout.unwrap_or(self.environment.timeout)
    }

    /// What is said of this process.
    #[must_use]
    pub fn resource(&self) -> &[(String, String)] {
        &self.environment.resource
    }
}

pub(super) fn access_log(fields: &Fields<'_>, folder: &Path) -> Option<AccessLog> {
    match fields.text("access_log")?.value {
        "off" => None,
        "stderr" => Some(AccessLog::Stderr),
        path => Some(AccessLog::File(folder.join(path))),
    }
}

/// `headers` are those of the file, found already.
pub(super) fn otlp(fields: &Fields<'_>, headers: BTreeMap<String, Secret>, around: &dyn Surroundings) -> Option<Otlp> {
    let endpoint = fields.node("endpoint").and_then(scalar_text).map(|text| text.value.to_owned());
    let environment = Environment::read(around);
    let theirs = [&environment.traces, &environment.metrics, &environment.logs];
    if endpoint.is_none() && theirs.iter().any(|url| scalar::url(url).is_err()) {
        let what = "the collector's address, as the environment has it, is no http address";
        let mend = "write `endpoint` here, or mend OTEL_EXPORTER_OTLP_ENDPOINT";
        fields.fault("endpoint", Complaint::new(what, mend), None);
        return None;
    }
    Some(Otlp {
        endpoint,
        headers,
        traces: fields.switch("traces")?,
        metrics: fields.switch("metrics")?,
        decisions: fields.switch("decisions")?,
        sample: fields.share("sample"),
        metrics_every: fields.duration("metrics_every"),
        timeout: fields.duration("timeout"),
        environment,
    })
}

impl Environment {
    fn read(around: &dyn Surroundings) -> Self {
        let env = |name: &str| around.env(name).filter(|value| !value.trim().is_empty());
        let base = env("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| "http://localhost:4318".to_owned());
        let base = base.trim_end_matches('/');
        let span = |name: &str, ms| SpanMs(env(name).and_then(|text| text.trim().parse().ok()).unwrap_or(ms));
        Self {
            traces: env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").unwrap_or_else(|| format!("{base}/v1/traces")),
            metrics: env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").unwrap_or_else(|| format!("{base}/v1/metrics")),
            logs: env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT").unwrap_or_else(|| format!("{base}/v1/logs")),
            headers: headers_of(env("OTEL_EXPORTER_OTLP_HEADERS")),
            sample: share_of(env("OTEL_TRACES_SAMPLER").as_deref(), env("OTEL_TRACES_SAMPLER_ARG").as_deref()),
            metrics_every: span("OTEL_METRIC_EXPORT_INTERVAL", 60_000),
            timeout: span("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
            resource: resource(env("OTEL_SERVICE_NAME"), env("OTEL_RESOURCE_ATTRIBUTES")),
        }
    }
}

/// `key=value,key=value`, the values percent-encoded (W3C Baggage).
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())))
    };
    text.split(',').filter_map(pair).filter(|(key, _)| !key.is_empty()).collect()
}

/// A `%` without two hex digits stands for itself.
fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn headers_of(text: Option<String>) -> Vec<(String, Secret)> {
    let secret = |(name, value)| (name, Secret::found("${OTEL_EXPORTER_OTLP_HEADERS}", value, Origin::Fixed));
    pairs(&text.unwrap_or_default()).into_iter().map(secret).collect()
}

fn resource(service: Option<String>, attributes: Option<String>) -> Vec<(String, String)> {
    let mut found = pairs(&attributes.unwrap_or_default());
    if let Some(service) = service {
        found.retain(|(name, _)| name != "service.name");
        found.push(("service.name".to_owned(), service));
    }
    found
}

/// All, unless a sampler of the environment says otherwise.
fn share_of(sampler: Option<&str>, argument: Option<&str>) -> f64 {
    match sampler {
        Some("always_off" | "parentbased_always_off") => 0.0,
        Some("traceidratio" | "parentbased_traceidratio") => argument
            .and_then(|text| text.trim().parse::<f64>().ok())
            .filter(|share| (0.0..=1.0).contains(share))
            .unwrap_or(1.0),
        Some(_) | None => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_says_is_read_as_its_specification_has_it() {
        let shown = pairs("api-key=a%20b%3D, x = y=z ,broken,=no,pc=100%");
        let expected = [("api-key", "a b="), ("x", "y=z"), ("pc", "100%")];
        assert_eq!(shown, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(share_of(Some("parentbased_traceidratio"), Some("0.25")), 0.25);
        assert_eq!(share_of(Some("traceidratio"), Some("7")), 1.0);
        assert_eq!((share_of(Some("always_off"), None), share_of(None, Some("0.5"))), (0.0, 1.0));
        let named = resource(Some("mine".to_owned()), Some("service.name=theirs,team=a".to_owned()));
        assert_eq!(named, [("team", "a"), ("service.name", "mine")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
