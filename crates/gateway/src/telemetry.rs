//! What leaves beside `/metrics`: the access log and OTLP. A request that is over is laid into bounded baskets
//! and nothing more, and so is what is decided of a release; lines, spans and sums are made of it on threads of their own.
//!
//! | module | what it holds |
//! |---|---|
//! | `trace` | the trace that a request is part of, and whether it is sampled |
//! | `finished` | what is laid down of a request |
//! | `decided` | what is laid down of a decision |
//! | `basket` | the bounded queue |
//! | `access_log` | one line of JSON per request, and who writes it |
//! | `otlp` | spans, metrics and events by the OpenTelemetry conventions, and who posts them |

pub(crate) mod access_log;
pub(crate) mod basket;
pub(crate) mod decided;
pub(crate) mod finished;
pub(crate) mod otlp;
pub(crate) mod trace;

use crate::config;
use crate::gateway::Gateway;
use crate::headers::Headers;
use access_log::AccessLog;
use coalmine_core::id::Actor;
use coalmine_core::release::report::Step;
use coalmine_core::time::UnixMs;
use decided::Decided;
use finished::{Finished, Passed, Refused};
use otlp::Otlp;
use std::sync::Arc;
use std::time::Duration;
use trace::{Sampler, Trace};

/// What one gateway tells of its requests, and to whom.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) log: Option<Arc<AccessLog>>,
    pub(crate) otlp: Option<Arc<Otlp>>,
    sampler: Sampler,
}

/// The threads that write and post; each ends when it is told.
#[derive(Debug, Default)]
pub(crate) struct Tellers {
    log: Option<access_log::Writer>,
    otlp: Option<otlp::Exporter>,
}

impl Telemetry {
    pub(crate) fn new(config: &config::Telemetry, started: UnixMs) -> Self {
        Self {
            log: config.access_log.clone().map(|target| Arc::new(AccessLog::new(target))),
            sampler: config.otlp.as_ref().map_or(Sampler::OFF, |otlp| Sampler::new(otlp.sample)),
            otlp: config.otlp.clone().map(|told| Arc::new(Otlp::new(told, started))),
        }
    }

    /// The trace that a request is part of: the client's, or a new one where it is sampled.
    pub(crate) fn trace<'a>(&self, headers: impl Into<Headers<'a>>) -> Option<Trace> {
        Trace::of(headers, self.sampler)
    }

    /// Whether anybody would hear of a request of this trace.
    pub(crate) fn is_heard(&self) -> bool {
        self.log.is_some() || self.otlp.is_some()
    }

    /// A turn is over.
    pub(crate) fn note(&self, finished: Finished) {
        match (&self.log, &self.otlp) {
            (Some(log), Some(otlp)) => {
                let finished = Arc::new(finished);
                otlp.note(finished.clone());
                log.note(access_log::Entry::Turn(finished));
            }
            (Some(log), None) => log.note(access_log::Entry::Turn(Arc::new(finished))),
            (None, Some(otlp)) => otlp.note(Arc::new(finished)),
            (None, None) => {}
        }
    }

    /// A request that was passed through is over.
    pub(crate) fn note_passed(&self, passed: impl FnOnce() -> Passed) {
        if let Some(log) = &self.log {
            log.note(access_log::Entry::Passed(passed()));
        }
    }

    /// A request was answered by the gateway itself.
    pub(crate) fn note_refused(&self, refused: impl FnOnce() -> Refused) {
        if let Some(log) = &self.log {
            log.note(access_log::Entry::Refused(refused()));
        }
    }

    /// What is shown of it at `/metrics`, where it is on.
    pub(crate) fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut counts = Vec::new();
        if let Some(log) = &self.log {
            counts.push(("coalmine_access_log_lost_total", "Lines of the access log not written.", log.lost()));
        }
        if let Some(otlp) = &self.otlp {
            let (turns, told) = (otlp.dropped(), &otlp.counts);
            let (taken, lost) = otlp.decisions();
            counts.extend([
                ("coalmine_otlp_turns_dropped_total", "Turns that a full queue kept from the collector.", turns),
                ("coalmine_otlp_spans_total", "Spans that the collector took.", told.spans.get()),
                ("coalmine_otlp_spans_dropped_total", "Spans lost: queue full or not taken.", told.spans_dropped.get()),
                ("coalmine_otlp_decisions_total", "Decisions that the collector took.", taken),
                ("coalmine_otlp_decisions_dropped_total", "Decisions lost: queue full or not taken.", lost),
                ("coalmine_otlp_failures_total", "Messages that the collector did not take.", told.failures.get()),
            ]);
        }
        counts
    }

    /// Starts what writes and posts.
    pub(crate) fn start(&self) -> Tellers {
        Tellers {
            log: self.log.clone().and_then(access_log::Writer::start),
            otlp: self.otlp.clone().and_then(otlp::Exporter::start),
        }
    }
}

impl Tellers {
    /// Tells what is left, for a few seconds at most.
    pub(crate) async fn stop(self) {
        // both are told before either is waited for
        let (log, otlp) = (self.log.map(access_log::Writer::end), self.otlp.map(otlp::Exporter::end));
        for ended in [log, otlp].into_iter().flatten() {
            let _ = tokio::time::timeout(Duration::from_secs(3), ended).await;
        }
    }
}

impl Gateway {
    /// A step of a release is committed: the collector is told, where there is one. Nothing waits for it.
    pub fn tell_decided(&self, step: &Step, by: &Actor, at: UnixMs) {
        if let Some(otlp) = &self.telemetry.otlp {
            Decided::of(step, by, at).into_iter().for_each(|decided| otlp.note_decided(decided));
        }
    }
}
