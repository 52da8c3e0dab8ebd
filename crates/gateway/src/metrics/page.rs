//! The text formats of `/metrics`: Prometheus' own (0.0.4), and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), which has units and exemplars.

use super::histogram::{BOUNDS_MS, Example, Histogram};
use std::fmt::Write as _;

/// In which format counters are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text, 0.0.4.
    Text,
    /// OpenMetrics text, 1.0.0, without its last line: others may add families of theirs.
    OpenMetrics,
}

/// A page that grows. Writing to a `String` cannot fail.
#[derive(Debug)]
pub(crate) struct Page {
    exposition: Exposition,
    text: String,
}

/// Millionths, written as a decimal fraction.
pub(super) struct Micro(pub(super) u64);

impl std::fmt::Display for Micro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl Page {
    pub(super) fn new(exposition: Exposition) -> Self {
        Self { exposition, text: String::new() }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        match self.exposition {
            Exposition::Text => {
                let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            Exposition::OpenMetrics => {
                // a counter's family is named without the end that its samples have
                let family = if kind == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name };
                let _ = writeln!(self.text, "# TYPE {family} {kind}");
                if let Some(unit) = ["seconds", "usd"].into_iter().find(|unit| family.ends_with(&format!("_{unit}"))) {
                    let _ = writeln!(self.text, "# UNIT {family} {unit}");
                }
                let _ = writeln!(self.text, "# HELP {family} {help}");
            }
        }
    }

    pub(super) fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.begin(name, labels, value);
        self.text.push('\n');
    }

    fn begin(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        self.labels(labels);
        let _ = write!(self.text, " {value}");
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (n, (label, value)) in labels.iter().enumerate() {
            self.text.push(if n == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let reading = histogram.read();
        let mut below = 0;
        let bounds = BOUNDS_MS.iter().map(|ms| self.bound(ms / 1e3)).chain(["+Inf".to_owned()]);
        let bounds: Vec<String> = bounds.collect();
        for ((bound, class), example) in bounds.iter().zip(reading.classes).zip(reading.examples) {
            below += class;
            let mut labels = labels.to_vec();
            labels.push(("le", bound.as_str()));
            self.begin(&format!("{name}_bucket"), &labels, below);
            if let (Some(example), Exposition::OpenMetrics) = (example, self.exposition) {
                self.example(&example);
            }
            self.text.push('\n');
        }
        self.sample(&format!("{name}_sum"), labels, Micro(reading.sum_us));
        self.sample(&format!("{name}_count"), labels, below);
    }

    /// OpenMetrics wants `1.0` where others want `1`.
    fn bound(&self, seconds: f64) -> String {
        match self.exposition {
            Exposition::Text => seconds.to_string(),
            Exposition::OpenMetrics => format!("{seconds:?}"),
        }
    }

    fn example(&mut self, example: &Example) {
        let Example { trace, span, ms, at } = example;
        let _ = write!(self.text, " # {{trace_id=\"{trace}\"");
        if let Some(span) = span {
            let _ = write!(self.text, ",span_id=\"{span}\"");
        }
        let _ = write!(self.text, "}} {} {}.{:03}", ms / 1e3, at.0 / 1_000, at.0 % 1_000);
    }
}
