//! Spans and metrics to an OpenTelemetry collector (OTLP over HTTP, in JSON), by the conventions for generative AI,
//! with the arm of a release as the result of a feature flag; and the decisions on releases, as events.
//!
//! One thread of its own gathers what is over, sums it, and posts. A collector that is slow or away fills a bounded
//! queue, and what finds no room is counted; requests never wait for it.

mod decisions;
mod encode;
mod post;
mod spans;
mod sums;

use crate::config;
use crate::metrics::Counter;
use crate::sync::lock;
use crate::telemetry::basket::Basket;
use crate::telemetry::decided::Decided;
use crate::telemetry::finished::Finished;
use coalmine_core::time::UnixMs;
use decisions::{Decisions, Posted, post_as_they_come};
use encode::{KeyValue, Resource};
use http::Uri;
use post::{Courier, Patience, Standing};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sums::Sums;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Requests that wait to be gathered: what a busy gateway ends in [`GATHER_EVERY`], many times over.
const WAITING_MAX: usize = 16_384;
const GATHER_EVERY: Duration = Duration::from_millis(250);
/// Spans that wait to be posted.
const SPANS_MAX: usize = 4_096;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How long spans wait for company.
const SPANS_EVERY: Duration = Duration::from_secs(1);
/// What is left to be told when the gateway ends has so long.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// What waits to be told to a collector, and what came of it.
#[derive(Debug)]
pub(crate) struct Otlp {
    config: config::Otlp,
    started: UnixMs,
    basket: Basket<Arc<Finished>>,
    sums: Mutex<Sums>,
    spans: Mutex<VecDeque<Arc<Finished>>>,
    spans_came: Notify,
    decisions: Decisions,
    pub(crate) counts: Counts,
    spans_standing: Standing,
    metrics_standing: Standing,
    decisions_standing: Standing,
}

/// What is shown of it at `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) spans: Counter,
    pub(crate) spans_dropped: Counter,
    pub(crate) failures: Counter,
}

/// The thread that gathers and posts.
#[derive(Debug)]
pub(crate) struct Exporter {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Otlp {
    pub(crate) fn new(config: config::Otlp, started: UnixMs) -> Self {
        Self {
            started,
            basket: Basket::new(WAITING_MAX),
            sums: Mutex::default(),
            spans: Mutex::default(),
            spans_came: Notify::new(),
            decisions: Decisions::default(),
            counts: Counts::default(),
            spans_standing: Standing::of("spans"),
            metrics_standing: Standing::of("metrics"),
            decisions_standing: Standing::of("decisions"),
            config,
        }
    }

    /// Lays a turn down.
    pub(crate) fn note(&self, finished: Arc<Finished>) {
        let sampled = finished.trace.is_some_and(|trace| trace.span.is_some());
        if sampled || self.config.metrics.is_some() {
            self.basket.lay(finished);
        }
    }

    /// Lays down what was decided of a release.
    pub(crate) fn note_decided(&self, decided: Decided) {
        if self.config.decisions.is_some() {
            self.decisions.lay(decided);
        }
    }

    /// Decisions that the collector took, and those that were lost.
    pub(crate) fn decisions(&self) -> (u64, u64) {
        (self.decisions.taken.get(), self.decisions.dropped.get())
    }

    /// Turns that found no room: neither in the metrics nor among the spans.
    pub(crate) fn dropped(&self) -> u64 {
        self.basket.dropped()
    }

    fn gather(&self, waiting: &mut Vec<Arc<Finished>>) {
        self.basket.take(waiting);
        if waiting.is_empty() {
            return;
        }
        if self.config.metrics.is_some() {
            let mut sums = lock(&self.sums);
            waiting.iter().for_each(|finished| sums.add(finished));
        }
        if self.config.traces.is_some() {
            let mut spans = lock(&self.spans);
            for finished in waiting.drain(..).filter(|one| one.trace.is_some_and(|trace| trace.span.is_some())) {
                if spans.len() < SPANS_MAX {
                    spans.push_back(finished);
                } else {
                    self.counts.spans_dropped.add(1);
                }
            }
            if spans.len() >= BATCH_MAX {
                self.spans_came.notify_one();
            }
        }
        waiting.clear();
    }

    fn next_batch(&self) -> Vec<Arc<Finished>> {
        let mut spans = lock(&self.spans);
        let count = spans.len().min(BATCH_MAX);
        spans.drain(..count).collect()
    }

    fn resource(&self) -> Resource {
        let given = self.config.resource.iter();
        let mut attributes: Vec<KeyValue> =
            given.map(|(name, value)| KeyValue::text(name.clone(), value.as_str())).collect();
        let mut or = |name: &'static str, value: &str| {
            if !attributes.iter().any(|one| one.key == name) {
                attributes.push(KeyValue::text(name, value));
            }
        };
        or("service.name", "coalmine");
        or("service.version", env!("CARGO_PKG_VERSION"));
        or("service.instance.id", &format!("{}-{}", self.config.instance, self.started.0));
        Resource { attributes }
    }
}

impl Exporter {
    /// Starts the thread; without one, nothing is told and everything counts as dropped.
    pub(crate) fn start(otlp: Arc<Otlp>) -> Option<Self> {
        let (stop, stopped) = watch::channel(false);
        let (tell, ended) = oneshot::channel();
        let run = move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(export(&otlp, stopped)),
                Err(error) => tracing::error!(%error, "no runtime for telemetry; nothing is told to the collector"),
            }
            let _ = tell.send(());
        };
        match std::thread::Builder::new().name("telemetry".to_owned()).spawn(run) {
            Ok(_) => Some(Self { stop, ended }),
            Err(error) => {
                tracing::error!(%error, "no thread for telemetry; nothing is told to the collector");
                None
            }
        }
    }

    /// Lets the thread tell what is left; it says when it has.
    pub(crate) fn end(self) -> oneshot::Receiver<()> {
        self.stop.send_replace(true);
        self.ended
    }
}

async fn export(otlp: &Otlp, stopped: watch::Receiver<bool>) {
    let courier = Courier::new(&otlp.config);
    let (traces, metrics) = (uri(otlp.config.traces.as_deref()), uri(otlp.config.metrics.as_deref()));
    let decisions = uri(otlp.config.decisions.as_deref());
    tokio::join!(
        gather(otlp, stopped.clone()),
        post_spans(otlp, &courier, traces.as_ref(), stopped.clone()),
        post_metrics(otlp, &courier, metrics.as_ref(), stopped.clone()),
        post_as_they_come(otlp, &courier, decisions.as_ref(), stopped),
    );
    // what was over when the gateway ended
    otlp.gather(&mut Vec::new());
    let left = async {
        if let Some(decisions) = &decisions {
            while decisions::post(otlp, &courier, decisions, Patience::None).await == Posted::All {}
        }
        if let Some(traces) = &traces {
            while post_batch(otlp, &courier, traces, Patience::None).await == Batch::Posted {}
        }
        if let Some(metrics) = &metrics {
            post_sums(otlp, &courier, metrics).await;
        }
    };
    let _ = tokio::time::timeout(LAST_MOMENT, left).await;
}

fn uri(address: Option<&str>) -> Option<Uri> {
    let read = address?.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
    if read.is_none() {
        tracing::error!("an address of `telemetry.otlp` cannot be read; nothing is told there");
    }
    read
}

async fn gather(otlp: &Otlp, mut stopped: watch::Receiver<bool>) {
    let mut waiting = Vec::new();
    while !stops_within(&mut stopped, Instant::now() + GATHER_EVERY).await {
        otlp.gather(&mut waiting);
    }
}

/// Whether the end comes before `until`.
async fn stops_within(stopped: &mut watch::Receiver<bool>, until: Instant) -> bool {
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => true,
        () = sleep_until(until) => false,
    }
}

/// What is under way at the end has a moment left.
async fn gives_up(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(LAST_MOMENT).await;
}

/// Whether there was anything to post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    Posted,
    Empty,
}

async fn post_spans(otlp: &Otlp, courier: &Courier, to: Option<&Uri>, mut stopped: watch::Receiver<bool>) {
    let Some(to) = to else { return };
    loop {
        let until = Instant::now() + SPANS_EVERY;
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = otlp.spans_came.notified() => {}
            () = sleep_until(until) => {}
        }
        loop {
            tokio::select! {
                () = gives_up(&mut stopped) => return,
                posted = post_batch(otlp, courier, to, Patience::Long) => {
                    if posted == Batch::Empty || *stopped.borrow() {
                        break;
                    }
                }
            }
        }
    }
}

async fn post_batch(otlp: &Otlp, courier: &Courier, to: &Uri, patience: Patience) -> Batch {
    let batch = otlp.next_batch();
    if batch.is_empty() {
        return Batch::Empty;
    }
    let count = batch.len() as u64;
    let mut told = Told { counts: &otlp.counts, lost: count };
    let body = spans::encode(&batch, otlp.resource());
    drop(batch);
    match courier.deliver(to, body, patience).await {
        Ok(rejected) => {
            told.lost = rejected.min(count);
            otlp.counts.spans.add(count - told.lost);
            otlp.spans_standing.taken();
        }
        Err(error) => {
            otlp.counts.failures.add(1);
            otlp.spans_standing.not_taken(&error);
        }
    }
    Batch::Posted
}

/// Spans under way: given up by whoever waits, they are dropped and counted.
struct Told<'a> {
    counts: &'a Counts,
    lost: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.counts.spans_dropped.add(self.lost);
    }
}

async fn post_metrics(otlp: &Otlp, courier: &Courier, to: Option<&Uri>, mut stopped: watch::Receiver<bool>) {
    let Some(to) = to else { return };
    let every = otlp.config.metrics_every.max(Duration::from_millis(10));
    while !stops_within(&mut stopped, Instant::now() + every).await {
        tokio::select! {
            () = gives_up(&mut stopped) => return,
            () = post_sums(otlp, courier, to) => {}
        }
    }
}

/// The sums go on growing: what a collector did not take now is in what it is told next.
async fn post_sums(otlp: &Otlp, courier: &Courier, to: &Uri) {
    let body = {
        let mut sums = lock(&otlp.sums);
        sums.forget_idle();
        sums.encode(otlp.resource())
    };
    let Some(body) = body else { return };
    match courier.deliver(to, body, Patience::Short).await {
        Ok(_) => otlp.metrics_standing.taken(),
        Err(error) => {
            otlp.counts.failures.add(1);
            otlp.metrics_standing.not_taken(&error);
        }
    }
}
