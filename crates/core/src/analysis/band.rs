//! The confidence sequence of a guardrail's difference, by inversion of the processes that decide.
//! Both bounds are of the same difference: where a quantile metric rolls back at a threshold of its own,
//! the band is of promotion's.
//!
//! An inversion replays the buckets, so it is made anew only when a tenth more canary sessions are there
//! than at the last one, and only when somebody reads it. Which buckets it covers depends on the buckets
//! alone, so a restart draws the same band.

use crate::analysis::Interval;
use crate::analysis::gauging::{Line, known};
use crate::evidence::TwoArms;
use coalmine_stats::betting::Design;
use coalmine_stats::interval::{Band as Inversion, Opening, Step};
use std::sync::OnceLock;

/// Growth of the canary's sessions at which the band is drawn anew.
const GROWTH: f64 = 1.1;

/// One band.
#[derive(Debug, Clone)]
pub(super) struct Band {
    rollback: Design,
    promote: Option<Design>,
    lines: Line,
    share: f64,
    values: &'static [f64],
    buckets: Vec<Kept>,
    sessions: u64,
    drawn: Drawn,
}

/// How much a band covers, and the band once somebody has read it.
#[derive(Debug, Clone, Default)]
struct Drawn {
    buckets: usize,
    sessions: u64,
    bounds: OnceLock<(f64, f64)>,
}

/// A bucket without its empty classes.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    mass: Option<f64>,
    control: Filled,
    canary: Filled,
}

/// (class, count) of the classes that are not empty.
type Filled = Box<[(u8, u32)]>;

/// The counts per class of a kept bucket.
struct Spread {
    mass: Option<f64>,
    control: Vec<u64>,
    canary: Vec<u64>,
}

/// What was read does not tell two bands apart: it follows from the rest.
impl PartialEq for Band {
    fn eq(&self, other: &Self) -> bool {
        self.rollback == other.rollback
            && self.promote == other.promote
            && self.lines == other.lines
            && self.buckets == other.buckets
            && (self.drawn.buckets, self.drawn.sessions) == (other.drawn.buckets, other.drawn.sessions)
    }
}

impl Band {
    pub(super) fn new(rollback: Design, promote: Option<Design>, lines: Line, share: f64) -> Self {
        Self { rollback, promote, lines, share, values: &[], buckets: Vec::new(), sessions: 0, drawn: Drawn::default() }
    }

    /// Keeps a bucket in which both arms are known; `mass` is what was laid out before it.
    pub(super) fn push(&mut self, mass: Option<f64>, values: &'static [f64], arms: &TwoArms) {
        self.values = values;
        self.sessions += arms.canary.iter().take(values.len()).sum::<u64>();
        let filled = |counts: &[u64]| counts.iter().take(values.len()).enumerate().filter_map(pair).collect();
        self.buckets.push(Kept { mass, control: filled(&arms.control), canary: filled(&arms.canary) });
        if self.sessions as f64 >= GROWTH * self.drawn.sessions as f64 {
            self.drawn = Drawn { buckets: self.buckets.len(), sessions: self.sessions, bounds: OnceLock::new() };
        }
    }

    /// The bounds of *canary − control* around `point`, in badness; `control` is control's mean.
    pub(super) fn around(&self, point: f64, control: f64) -> Interval {
        let (low, high) = *self.drawn.bounds.get_or_init(|| self.draw());
        // The processes bound canary − r · control.
        let low = low + (self.rollback.ratio - 1.0) * control;
        let high = high + (self.promote.as_ref().map_or(1.0, |design| design.ratio) - 1.0) * control;
        Interval { low: low.min(point), point, high: high.max(point) }
    }

    fn draw(&self) -> (f64, f64) {
        let line = self.lines.rollback - self.lines.weight - self.share;
        let low = self.bound(&self.rollback, line);
        let high = self.promote.as_ref().and_then(|design| self.bound(design, self.lines.promote));
        (low.unwrap_or(-1.0), high.unwrap_or(1.0))
    }

    fn bound(&self, design: &Design, line: f64) -> Option<f64> {
        let spread: Vec<Spread> = self.buckets[..self.drawn.buckets]
            .iter()
            .map(|kept| Spread {
                mass: kept.mass,
                control: self.spread(&kept.control),
                canary: self.spread(&kept.canary),
            })
            .collect();
        let steps: Vec<Step<'_>> = spread.iter().filter_map(|spread| spread.step(self.values)).collect();
        Inversion::new(design, &steps).ok().map(|band| band.bound(line))
    }

    fn spread(&self, filled: &Filled) -> Vec<u64> {
        let mut counts = vec![0; self.values.len()];
        for (class, count) in filled {
            if let Some(slot) = counts.get_mut(usize::from(*class)) {
                *slot = u64::from(*count);
            }
        }
        counts
    }
}

impl Spread {
    /// Mass is laid out by processes that restart only; to the others a restart is nothing.
    fn step(&self, values: &'static [f64]) -> Option<Step<'_>> {
        let opening = self.mass.map_or(Opening::Plain, |gamma| Opening::Restart { gamma });
        Some(Step { opening, bucket: known(values, &self.control, &self.canary)? })
    }
}

fn pair((class, count): (usize, &u64)) -> Option<(u8, u32)> {
    if *count == 0 {
        return None;
    }
    Some((u8::try_from(class).ok()?, u32::try_from(*count).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;
    use coalmine_stats::betting::{Onset, Side};

    const DAY: usize = 1_440;

    fn band() -> Band {
        let design = |side| Design {
            side,
            centre: 0.02,
            ratio: 1.0,
            shift: 0.0,
            odds: 1.0 / 19.0,
            hint: None,
            onset: Onset::FromStart,
        };
        let line = 20_f64.ln();
        let lines = Line { rollback: line, limit: line, promote: line, weight: 0.0 };
        Band::new(design(Side::Rollback), Some(design(Side::Promote)), lines, 0.0)
    }

    fn add_minute(band: &mut Band) {
        let values = crate::evidence::classes::values(Kind::Rate);
        let mut arms =
            TwoArms { control: vec![0; values.len() + 1], canary: vec![0; values.len() + 1], ..TwoArms::default() };
        (arms.control[0], arms.canary[0]) = (19, 1);
        band.push(None, values, &arms);
    }

    /// Work is counted, not timed: over a day of looks every minute, old buckets are replayed at a tenth more
    /// sessions and at no other look, and a look after one more bucket reads what is there.
    #[test]
    fn a_look_after_one_more_bucket_replays_none_of_the_day() {
        let (mut band, mut drawings) = (band(), 0);
        for _ in 0..DAY {
            add_minute(&mut band);
            drawings += usize::from(band.drawn.bounds.get().is_none());
            band.around(0.0, 0.0);
        }
        let most = 1 + ((DAY as f64).ln() / GROWTH.ln()).ceil() as usize;
        assert!((2..=most).contains(&drawings), "{drawings} drawings, at most {most}");
        let covered = band.drawn.buckets;
        add_minute(&mut band);
        assert!(
            band.drawn.bounds.get().is_some() || band.drawn.buckets > covered,
            "drawn anew only where it covers more"
        );
    }
}
