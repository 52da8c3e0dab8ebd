//! Decisions on releases as events: records of a log with a name, the route as the key of a feature flag and the release
//! as its set. They are few and each says something new, so they wait for a collector that is away for as long as there
//! is room; the journal has them all.

use super::encode::{KeyValue, Resource, Scope, nanos, written};
use super::post::{Courier, Patience, PostError};
use super::{Otlp, gives_up};
use crate::metrics::Counter;
use crate::sync::lock;
use crate::telemetry::decided::{Decided, Gravity, metrics};
use bytes::Bytes;
use coalmine_core::release::state::State;
use http::Uri;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Those that wait to be taken.
const WAITING_MAX: usize = 1_024;
/// In one message.
const BATCH_MAX: usize = 128;
/// After a collector was away for as long as it is asked.
const PAUSE: Duration = Duration::from_secs(10);

/// `SEVERITY_NUMBER_INFO` and `_WARN`.
const INFO: u8 = 9;
const WARN: u8 = 13;

/// What waits, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    waiting: Mutex<VecDeque<Arc<Decided>>>,
    came: Notify,
    pub(super) taken: Counter,
    pub(super) dropped: Counter,
}

impl Decisions {
    pub(super) fn lay(&self, decided: Decided) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            drop(waiting);
            self.dropped.add(1);
            return;
        }
        waiting.push_back(Arc::new(decided));
        drop(waiting);
        self.came.notify_one();
    }

    /// The oldest; they stay until they are [`Self::settle`]d.
    fn batch(&self) -> Vec<Arc<Decided>> {
        lock(&self.waiting).iter().take(BATCH_MAX).cloned().collect()
    }

    fn settle(&self, count: usize, dropped: u64) {
        let dropped = dropped.min(count as u64);
        lock(&self.waiting).drain(..count);
        self.taken.add(count as u64 - dropped);
        self.dropped.add(dropped);
    }
}

/// Posts what comes, until it is told to stop.
pub(super) async fn post_as_they_come(
    otlp: &Otlp,
    courier: &Courier,
    to: Option<&Uri>,
    mut stopped: watch::Receiver<bool>,
) {
    let Some(to) = to else { return };
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = otlp.decisions.came.notified() => {}
        }
        loop {
            let posted = tokio::select! {
                () = gives_up(&mut stopped) => return,
                posted = post(otlp, courier, to, Patience::Long) => posted,
            };
            match posted {
                Posted::Nothing => break,
                Posted::All | Posted::Away if *stopped.borrow() => return,
                Posted::All => {}
                Posted::Away => tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                    () = sleep(PAUSE) => {}
                },
            }
        }
    }
}

/// What a post came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Posted {
    /// There was nothing to post.
    Nothing,
    /// It was taken, or refused for good.
    All,
    /// Nobody took it; it waits.
    Away,
}

pub(super) async fn post(otlp: &Otlp, courier: &Courier, to: &Uri, patience: Patience) -> Posted {
    let batch = otlp.decisions.batch();
    if batch.is_empty() {
        return Posted::Nothing;
    }
    let body = encode(&batch, otlp.resource());
    match courier.deliver(to, body, patience).await {
        Ok(rejected) => {
            otlp.decisions.settle(batch.len(), rejected);
            otlp.decisions_standing.taken();
        }
        Err(error) => {
            otlp.counts.failures.add(1);
            otlp.decisions_standing.not_taken(&error);
            match error {
                PostError::Away => return Posted::Away,
                PostError::Refused(_) => otlp.decisions.settle(batch.len(), u64::MAX),
            }
        }
    }
    Posted::All
}

/// `ExportLogsServiceRequest`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Logs {
    resource_logs: [ResourceLogs; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    resource: Resource,
    scope_logs: [ScopeLogs; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<Record>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    time_unix_nano: super::encode::Text<u64>,
    observed_time_unix_nano: super::encode::Text<u64>,
    severity_number: u8,
    severity_text: &'static str,
    event_name: String,
    body: super::encode::Value,
    attributes: Vec<KeyValue>,
}

fn encode(batch: &[Arc<Decided>], resource: Resource) -> Bytes {
    let log_records = batch.iter().map(|decided| record(decided)).collect();
    let scope_logs = [ScopeLogs { scope: Scope::OURS, log_records }];
    written(&Logs { resource_logs: [ResourceLogs { resource, scope_logs }] })
}

fn record(decided: &Decided) -> Record {
    let (severity_number, severity_text) = match decided.gravity {
        Gravity::Info => (INFO, "INFO"),
        Gravity::Warn => (WARN, "WARN"),
    };
    Record {
        time_unix_nano: nanos(decided.at),
        observed_time_unix_nano: nanos(decided.at),
        severity_number,
        severity_text,
        event_name: format!("coalmine.release.{}", decided.what),
        body: super::encode::Value::Text(decided.why.clone()),
        attributes: attributes(decided),
    }
}

fn attributes(decided: &Decided) -> Vec<KeyValue> {
    let release = &decided.release;
    let mut all = vec![
        KeyValue::text("feature_flag.key", release.route.as_str()),
        KeyValue::text("feature_flag.provider.name", "coalmine"),
        KeyValue::text("feature_flag.set.id", release.id.as_str()),
        KeyValue::text("coalmine.release.state", release.state.word()),
        KeyValue::int("coalmine.release.generation", release.generation.0),
        KeyValue::text("coalmine.canary", release.canary.to_string()),
        KeyValue::text("coalmine.stable", release.stable.to_string()),
        KeyValue::text("coalmine.by", decided.by.to_string()),
    ];
    if let Some(stage) = release.state.serving_stage().and_then(|stage| release.plan.stages.get(stage)) {
        all.push(KeyValue::text("coalmine.release.stage", stage.label()));
        all.push(KeyValue::double("coalmine.release.weight", stage.weight.share()));
    }
    if let State::RollingBack { why, .. } | State::RolledBack { why, .. } = &release.state {
        all.push(KeyValue::text("coalmine.release.cause", why.kind().word()));
        all.extend(metrics(why).map(|names| KeyValue::text("coalmine.release.metric", names)));
    }
    all
}
