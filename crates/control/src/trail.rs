//! How each guardrail went: its evidence, its estimate with the band, and n, at most [`POINTS_MAX`] points over the
//! whole release, thinned as it grows. The band is the one last drawn, which covers all but the last tenth of the
//! sessions; nothing is drawn for a point.

use coalmine_core::analysis::{Analysis, ArmCounts, Evidence, Interval};
use coalmine_core::metric::Metric;
use coalmine_core::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most points that are kept per guardrail.
pub const POINTS_MAX: usize = 256;

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrailPoint {
    /// When.
    pub at: UnixMs,
    /// The evidence for a rollback and its line.
    pub rollback: Evidence,
    /// The evidence for promotion and its line.
    pub promote: Evidence,
    /// The badness difference canary − control with its confidence sequence; `None` before both arms were seen, and
    /// in points written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Interval>,
    /// Sessions with a number, per arm; nothing in points written before it was kept.
    #[serde(default, skip_serializing_if = "is_none")]
    pub n: ArmCounts,
}

/// The points of every guardrail, oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trail {
    /// By metric.
    pub points: BTreeMap<Metric, Vec<TrailPoint>>,
    spacing_ms: u64,
    last_at: UnixMs,
}

fn is_none(n: &ArmCounts) -> bool {
    *n == ArmCounts::default()
}

impl Trail {
    /// Adds a look, unless the last one is nearer than the present spacing.
    pub(crate) fn add(&mut self, analysis: &Analysis) {
        if !self.points.is_empty() && analysis.at.since(self.last_at) < SpanMs(self.spacing_ms) {
            return;
        }
        self.last_at = analysis.at;
        for finding in &analysis.findings {
            let point = TrailPoint {
                at: analysis.at,
                rollback: finding.rollback,
                promote: finding.promote,
                difference: finding.difference,
                n: finding.n,
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As an earlier form wrote it, and as this one does.
    const OLD: &str = r#"{"points":{"error_rate":[{"at":1000,"rollback":{"log":-0.5,"line":4.5},"promote":{"log":1.25,"line":3.0}}]},"spacing_ms":0,"last_at":1000}"#;
    const NOW: &str = r#"{"points":{"error_rate":[{"at":1000,"rollback":{"log":-0.5,"line":4.5},"promote":{"log":1.25,"line":3.0},"difference":{"low":-0.5,"point":0.25,"high":1.0},"n":{"control":190,"canary":10}}]},"spacing_ms":0,"last_at":1000}"#;

    fn point(at: u64) -> TrailPoint {
        TrailPoint {
            at: UnixMs(at),
            rollback: Evidence { log: -0.5, line: 4.5 },
            promote: Evidence { log: 1.25, line: 3.0 },
            difference: Some(Interval { low: -0.5, point: 0.25, high: 1.0 }),
            n: ArmCounts { control: 190, canary: 10 },
        }
    }

    fn trail(point: TrailPoint) -> Trail {
        Trail { points: BTreeMap::from([(Metric::ErrorRate, vec![point])]), spacing_ms: 0, last_at: UnixMs(1_000) }
    }

    #[test]
    fn every_stored_form_is_read() {
        let now = trail(point(1_000));
        assert_eq!(serde_json::to_string(&now).unwrap(), NOW, "the written form has changed");
        assert_eq!(serde_json::from_str::<Trail>(NOW).unwrap(), now);
        let old = trail(TrailPoint { difference: None, n: ArmCounts::default(), ..point(1_000) });
        assert_eq!(serde_json::from_str::<Trail>(OLD).unwrap(), old);
        assert_eq!(serde_json::to_string(&old).unwrap(), OLD);
    }

    #[test]
    fn a_long_release_keeps_its_whole_course_in_few_points() {
        let mut trail = trail(point(0));
        for minute in 1..10_000 {
            let at = UnixMs(minute * 60_000);
            if at.since(trail.last_at) >= SpanMs(trail.spacing_ms) {
                trail.last_at = at;
                let points = trail.points.entry(Metric::ErrorRate).or_default();
                points.push(point(at.0));
                if points.len() >= POINTS_MAX {
                    trail.thin();
                }
            }
        }
        let points = &trail.points[&Metric::ErrorRate];
        assert!((POINTS_MAX / 4..POINTS_MAX).contains(&points.len()), "{}", points.len());
        assert_eq!(points[0].at, UnixMs(0));
        assert!(points.last().unwrap().at.0 > 9_000 * 60_000);
    }
}
