//! How the evidence of each guardrail went, for a sparkline: at most [`POINTS_MAX`] points over the
//! whole release, thinned as it grows.

use coalmine_core::analysis::{Analysis, Evidence};
use coalmine_core::metric::Metric;
use coalmine_core::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most points that are kept per guardrail.
pub const POINTS_MAX: usize = 512;

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrailPoint {
    /// When.
    pub at: UnixMs,
    /// The evidence for a rollback and its line.
    pub rollback: Evidence,
    /// The evidence for promotion and its line.
    pub promote: Evidence,
}

/// The points of every guardrail, oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trail {
    /// By metric.
    pub points: BTreeMap<Metric, Vec<TrailPoint>>,
    spacing_ms: u64,
    last_at: UnixMs,
}

impl Trail {
    /// Adds a look, unless the last one is nearer than the present spacing.
    pub(crate) fn add(&mut self, analysis: &Analysis) {
        if !self.points.is_empty() && analysis.at.since(self.last_at) < SpanMs(self.spacing_ms) {
            return;
        }
        self.last_at = analysis.at;
        for finding in &analysis.findings {
            let point = TrailPoint { at: analysis.at, rollback: finding.rollback, promote: finding.promote };
            self.points.entry(finding.metric.clone()).or_default().push(point);
        }
        if self.points.values().any(|points| points.len() >= POINTS_MAX) {
            self.thin();
        }
    }

    /// Keeps every second point, and doubles the distance of those to come.
    fn thin(&mut self) {
        for points in self.points.values_mut() {
            let kept = points.iter().step_by(2).copied().collect::<Vec<_>>();
            let spread = kept.last().zip(kept.first()).map_or(0, |(last, first)| last.at.since(first.at).0);
            self.spacing_ms = self.spacing_ms.max(spread / (POINTS_MAX as u64 / 2));
            *points = kept;
        }
    }
}

/// The name of the document that keeps a release's trail.
pub(crate) fn document_of(release: &coalmine_core::id::ReleaseId) -> String {
    format!("trail/{release}")
}
