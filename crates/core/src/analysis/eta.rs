//! When evidence is likely to reach its line, from how it went lately.

use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};

/// Points that a slope is read from at least.
const POINTS: usize = 4;
/// Later than this is not said.
const FARTHEST: SpanMs = SpanMs::hours(24 * 30);

/// When a line is likely to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "eta")]
pub enum Eta {
    /// It stands at the line.
    Reached,
    /// About then, if it goes on as it did.
    About {
        /// When.
        at: UnixMs,
    },
    /// It does not grow, or not within thirty days.
    NotAtThisRate,
    /// Too little was seen to say.
    TooEarly,
}

/// Reads the later half of a track, oldest first: the evidence of a stage is gathered at that stage's rate.
#[must_use]
pub fn eta(points: &[(UnixMs, f64)], line: f64, now: UnixMs) -> Eta {
    let known: Vec<(UnixMs, f64)> = points.iter().copied().filter(|(_, log)| log.is_finite()).collect();
    let Some((_, last)) = known.last().copied() else { return Eta::TooEarly };
    if last >= line {
        return Eta::Reached;
    }
    let late = &known[known.len() / 2..];
    if late.len() < POINTS || !line.is_finite() {
        return Eta::TooEarly;
    }
    let per_ms = slope(late);
    if per_ms <= 0.0 {
        return Eta::NotAtThisRate;
    }
    let left = (line - last) / per_ms;
    if left > FARTHEST.0 as f64 { Eta::NotAtThisRate } else { Eta::About { at: now + SpanMs(left as u64) } }
}

/// The slope of least squares, per millisecond.
fn slope(points: &[(UnixMs, f64)]) -> f64 {
    let n = points.len() as f64;
    let origin = points.first().map_or(UnixMs(0), |(at, _)| *at);
    let x = |at: UnixMs| at.since(origin).0 as f64;
    let mean_x = points.iter().map(|(at, _)| x(*at)).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, log)| log).sum::<f64>() / n;
    let cross: f64 = points.iter().map(|(at, log)| (x(*at) - mean_x) * (log - mean_y)).sum();
    let square: f64 = points.iter().map(|(at, _)| (x(*at) - mean_x).powi(2)).sum();
    if square > 0.0 { cross / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(per_minute: f64, minutes: u64) -> Vec<(UnixMs, f64)> {
        (0..minutes).map(|m| (UnixMs(m * 60_000), per_minute * m as f64)).collect()
    }

    #[test]
    fn a_steady_track_reaches_its_line_when_its_slope_says() {
        let now = UnixMs(20 * 60_000);
        let Eta::About { at } = eta(&track(0.1, 20), 3.0, now) else { panic!("no time") };
        let minutes = at.since(now).0 as f64 / 60_000.0;
        assert!((minutes - 11.0).abs() < 0.1, "{minutes}");
        assert_eq!(eta(&track(0.1, 20), 1.0, now), Eta::Reached);
        assert_eq!(eta(&track(-0.1, 20), 1.0, now), Eta::NotAtThisRate);
        assert_eq!(eta(&track(1e-6, 20), 10.0, now), Eta::NotAtThisRate);
        assert_eq!(eta(&track(0.1, 5), 10.0, now), Eta::TooEarly);
        assert_eq!(eta(&[(UnixMs(0), f64::NEG_INFINITY)], 1.0, now), Eta::TooEarly);
    }
}
