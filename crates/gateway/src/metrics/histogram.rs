//! A distribution of times, with an example of each class whose trace was sampled.

use crate::sync::lock;
use crate::telemetry::trace::{SpanId, Trace, TraceId};
use coalmine_core::time::UnixMs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the classes, in milliseconds.
pub(super) const BOUNDS_MS: [f64; 14] =
    [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5];
const CLASSES: usize = BOUNDS_MS.len() + 1;

/// A distribution of times.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    classes: [AtomicU64; CLASSES],
    sum_us: AtomicU64,
    /// Written only where a trace is sampled.
    examples: Mutex<[Option<Example>; CLASSES]>,
}

/// One request of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example {
    pub(super) trace: TraceId,
    pub(super) span: Option<SpanId>,
    pub(super) ms: f64,
    pub(super) at: UnixMs,
}

/// What it holds now.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) classes: [u64; CLASSES],
    pub(super) sum_us: u64,
    pub(super) examples: [Option<Example>; CLASSES],
}

impl Histogram {
    pub(super) fn observe(&self, ms: f64, trace: Option<&Trace>, now: UnixMs) {
        let class = BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        self.sum_us.fetch_add((ms * 1e3) as u64, Ordering::Relaxed);
        if let Some(trace) = trace.filter(|trace| trace.is_sampled()) {
            let example = Example { trace: trace.id, span: trace.span.or(trace.parent), ms, at: now };
            lock(&self.examples)[class] = Some(example);
        }
    }

    pub(super) fn read(&self) -> Reading {
        Reading {
            classes: std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            examples: *lock(&self.examples),
        }
    }
}
