//! The confidence sequence of a guardrail's difference, by inversion of the processes that decide.
//! Both bounds are of the same difference: where a quantile metric rolls back at a threshold of its own,
//! the band is of promotion's.
//!
//! The search for a bound goes over the evidence many times, so a band is drawn anew only when a tenth more canary
//! sessions are there than at the last one. When that is depends on the buckets alone, so a restart draws the same
//! band; and releases and their guardrails take turns, so that no look draws many at once. It is also drawn where evidence
//! comes to its line.

use crate::analysis::Interval;
use crate::analysis::gauging::{Line, known};
use crate::evidence::TwoArms;
use crate::traffic::weight::Salt;
use coalmine_stats::betting::Design;
use coalmine_stats::interval::{Difference, Opening};
use coalmine_stats::special::ln;

/// Growth of the canary's sessions at which the band is drawn anew.
const GROWTH: f64 = 1.1;
/// Guardrails over which the turns of a release are spread.
const SPREAD: f64 = 12.0;
/// The places of the two designs.
const ROLLBACK: usize = Decides::Rollback as usize;
const PROMOTE: usize = Decides::Promotion as usize;

/// Whose evidence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decides {
    /// Of a regression.
    Rollback,
    /// Of being within the margin.
    Promotion,
}

/// One band.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Band {
    /// By the rollback's design, then by promotion's where it can be tested.
    difference: Option<Difference>,
    /// The ratios of the two nulls, and the lines that their evidence stands against.
    ratios: [f64; 2],
    lines: [f64; 2],
    /// Its turn, as a part of one growth.
    turn: f64,
    sessions: u64,
    /// How often the sessions had grown when it was drawn.
    drawn_at: Option<u64>,
    bounds: (f64, f64),
    /// Whether each design's evidence stood at its line.
    reached: [bool; 2],
}

/// When within a growth the bands of the guardrail at `index` are drawn: evenly spread over a release's, and by its
/// salt over releases that began together.
pub(super) fn turn(salt: &Salt, index: usize) -> f64 {
    let of_release = f64::from(u16::from_be_bytes([salt.0[0], salt.0[1]])) / 65_536.0;
    (of_release + index as f64 / SPREAD).fract()
}

impl Band {
    /// `turn` is when within a growth it is drawn, from 0 to 1; `share` is ln of the number's share of its weight.
    pub(super) fn new(turn: f64, rollback: &Design, promote: Option<&Design>, lines: Line, share: f64) -> Self {
        let designs: Vec<Design> = std::iter::once(rollback).chain(promote).cloned().collect();
        Self {
            difference: Difference::new(&designs).ok(),
            ratios: [rollback.ratio, promote.map_or(1.0, |design| design.ratio)],
            lines: [lines.rollback - lines.weight - share, lines.promote],
            turn,
            sessions: 0,
            drawn_at: None,
            bounds: (-1.0, 1.0),
            reached: [false; 2],
        }
    }

    /// Promotion gives up its gains: the band is drawn anew with the next bucket.
    pub(super) fn give_up_gains(&mut self) {
        self.difference.iter_mut().for_each(Difference::give_up_gains);
        self.drawn_at = None;
    }

    /// Takes in a bucket; `mass` is what was laid out before it. One in which an arm is unknown says nothing.
    pub(super) fn push(&mut self, mass: Option<f64>, values: &'static [f64], arms: &TwoArms) {
        let Some((difference, bucket)) = self.difference.as_mut().zip(known(values, &arms.control, &arms.canary))
        else {
            return;
        };
        // Mass is laid out by processes that restart only; to the others a restart is nothing.
        let opening = mass.map_or(Opening::Plain, |gamma| Opening::Restart { gamma });
        if difference.push(opening, &bucket).is_err() {
            // Not drawn from there on: the processes that decide name the fault.
            self.difference = None;
            return;
        }
        self.sessions += bucket.canary.iter().sum::<u64>();
        let growths = (ln(self.sessions as f64) / ln(GROWTH) + self.turn).floor() as u64;
        if self.drawn_at != Some(growths) {
            self.drawn_at = Some(growths);
            self.draw();
        }
    }

    /// Draws anew where the evidence of one of the two has come to its line, or left it: the picture must not contradict
    /// what is decided.
    pub(super) fn agree(&mut self, decides: Decides, log_e: f64) {
        let reached = log_e >= self.lines[decides as usize];
        if self.reached[decides as usize] != reached {
            self.reached[decides as usize] = reached;
            self.draw();
        }
    }

    /// The bounds of *canary − control* around `point`, in badness; `control` is control's mean.
    pub(super) fn around(&self, point: f64, control: f64) -> Interval {
        let (low, high) = self.bounds;
        // The processes bound canary − r · control.
        let low = low + (self.ratios[ROLLBACK] - 1.0) * control;
        let high = high + (self.ratios[PROMOTE] - 1.0) * control;
        Interval { low: low.min(point), point, high: high.max(point) }
    }

    fn draw(&mut self) {
        let Some(difference) = &self.difference else { return };
        let high = difference.bound(PROMOTE, self.lines[PROMOTE]);
        self.bounds = (difference.bound(ROLLBACK, self.lines[ROLLBACK]), if high.is_nan() { 1.0 } else { high });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;
    use coalmine_stats::betting::{Onset, Side};

    const DAY: usize = 1_440;

    fn band(index: usize) -> Band {
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
        Band::new(turn(&Salt([7; 32]), index), &design(Side::Rollback), Some(&design(Side::Promote)), lines, 0.0)
    }

    fn add_minute(band: &mut Band) {
        let values = crate::evidence::classes::values(Kind::Rate);
        let mut arms =
            TwoArms { control: vec![0; values.len() + 1], canary: vec![0; values.len() + 1], ..TwoArms::default() };
        (arms.control[0], arms.canary[0]) = (19, 1);
        band.push(None, values, &arms);
    }

    /// Work is counted, not timed: over a day of minutes a band is searched for at a tenth more sessions and not
    /// in between, and not all in the same minute.
    #[test]
    fn a_day_of_minutes_draws_a_band_a_few_times_and_each_in_its_turn() {
        let mut bands: Vec<Band> = (0..12).map(band).collect();
        let (mut drawings, mut late, mut at_once) = (0, 0, 0);
        for minute in 0..DAY {
            let before: Vec<Option<u64>> = bands.iter().map(|band| band.drawn_at).collect();
            bands.iter_mut().for_each(add_minute);
            let drawn = bands.iter().zip(before).filter(|(band, before)| band.drawn_at != *before).count();
            drawings += drawn;
            if minute > DAY / 4 {
                (late, at_once) = (late + drawn, at_once.max(drawn));
            }
        }
        let most = 12 * (2 + ((DAY as f64).ln() / GROWTH.ln()).ceil() as usize);
        assert!((2..=most).contains(&drawings), "{drawings} drawings, at most {most}");
        assert!(late > 12 && at_once <= 2, "{at_once} of 12 bands in one minute");
    }

    #[test]
    fn a_band_is_drawn_where_its_evidence_comes_to_a_line() {
        let mut band = band(0);
        (0..500).for_each(|_| add_minute(&mut band));
        let drawn = band.bounds;
        add_minute(&mut band);
        assert_eq!(band.bounds, drawn, "one session more is no reason");
        band.agree(Decides::Promotion, band.lines[PROMOTE] + 0.1);
        let now = band.difference.as_ref().unwrap().bound(PROMOTE, band.lines[PROMOTE]);
        assert!(band.bounds.1 == now && now < drawn.1, "{now} after {drawn:?}");
        add_minute(&mut band);
        let kept = band.bounds;
        band.agree(Decides::Promotion, band.lines[PROMOTE] + 0.2);
        assert_eq!(band.bounds, kept, "it is there already");
    }

    #[test]
    fn a_band_without_a_promotion_design_is_open_above() {
        let mut band = band(0);
        band.difference = Difference::new(&[]).ok();
        add_minute(&mut band);
        assert_eq!(band.around(0.0, 0.0).high, 1.0);
    }
}
