//! The adaptive ramp: raise the share as fast as what is not yet excluded can harm.
//!
//! ```text
//! share' = max( share, clip( H / (U·V), least, most ) )
//! ```
//!
//! H is how many bad answers more than control's are allowed per interval, V the units of the route in an interval,
//! and U the smallest margin on [`MARGINS`] that promotion evidence excludes now (1 while none is). The share follows
//! from past buckets alone, so the test stays exact. With several guardrails take the least share of all.

use serde::{Deserialize, Serialize};

use crate::betting::{BadDesign, Bucket, Design, EProcess, Side};

/// The margins that are tried, in badness: 0.25 to 64 percentage points.
pub const MARGINS: [f64; 9] = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64];

/// How fast a share may rise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// H: bad answers in excess of control's that an interval may bring, above 0.
    pub harm: f64,
    /// The least share, above 0.
    pub least: f64,
    /// The most that the ramp goes to, at most 1.
    pub most: f64,
}

/// Promotion evidence at every margin of the ladder, for one guardrail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    rungs: Vec<EProcess>,
}

impl Ramp {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Unless the harm is above 0 and 0 < least ≤ most ≤ 1.
    pub fn new(harm: f64, least: f64, most: f64) -> Result<Self, BadDesign> {
        if harm.is_finite() && harm > 0.0 && 0.0 < least && least <= most && most <= 1.0 {
            Ok(Self { harm, least, most })
        } else {
            Err(BadDesign("the ramp has not harm above 0 and shares 0 < least <= most <= 1"))
        }
    }

    /// The next interval's share. `excluded` is the smallest margin that is excluded now ([`Ladder::excluded`]),
    /// `units` is V. The share never falls; a number that is not one leaves it.
    #[must_use]
    pub fn next(&self, share: f64, excluded: Option<f64>, units: f64) -> f64 {
        let worst = excluded.unwrap_or(1.0);
        let allowed = (self.harm / (worst * units)).clamp(self.least, self.most);
        if allowed.is_nan() { share } else { share.max(allowed) }
    }
}

impl Ladder {
    /// Starts every rung at E = 1; `design` gives all but side and shift.
    ///
    /// # Errors
    /// When a number of the design is not finite or out of its range.
    pub fn new(design: &Design) -> Result<Self, BadDesign> {
        let rung = |shift: &f64| EProcess::new(Design { side: Side::Promote, shift: *shift, ..design.clone() });
        Ok(Self { rungs: MARGINS.iter().map(rung).collect::<Result<_, _>>()? })
    }

    /// Folds one sealed bucket in.
    ///
    /// # Errors
    /// As [`EProcess::seal`]. Nothing has changed then.
    pub fn seal(&mut self, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        self.rungs.iter_mut().try_for_each(|rung| rung.seal(bucket))
    }

    /// At a drift epoch, as [`EProcess::give_up_gains`].
    pub fn give_up_gains(&mut self) {
        self.rungs.iter_mut().for_each(EProcess::give_up_gains);
    }

    /// The smallest margin whose evidence stands at `line` = ln(1/β) now.
    #[must_use]
    pub fn excluded(&self, line: f64) -> Option<f64> {
        self.rungs.iter().find(|rung| rung.log_e() >= line).map(|rung| rung.design().shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::betting::Onset;

    #[test]
    fn a_healthy_canary_climbs_and_a_bad_one_stays() {
        let ramp = Ramp::new(5.0, 0.01, 0.5).unwrap();
        let design = Design {
            side: Side::Promote,
            centre: 0.005,
            ratio: 1.0,
            shift: 0.0,
            odds: 1.0 / 19.0,
            hint: None,
            onset: Onset::FromStart,
        };
        let run = |canary: [u64; 2]| {
            let (mut ladder, mut share) = (Ladder::new(&design).unwrap(), ramp.least);
            for _ in 0..30 {
                ladder.seal(&Bucket { values: &[0.0, 1.0], control: &[9950, 50], canary: &canary }).unwrap();
                share = ramp.next(share, ladder.excluded(20f64.ln()), 1000.0);
            }
            share
        };
        assert!(run([497, 3]) >= 0.4, "{}", run([497, 3]));
        assert!(run([350, 150]) < 0.02, "{}", run([350, 150]));
    }

    #[test]
    fn a_share_never_falls_and_never_leaves_its_range() {
        let ramp = Ramp::new(5.0, 0.01, 0.5).unwrap();
        assert_eq!(ramp.next(0.3, None, 1e9), 0.3);
        assert_eq!(ramp.next(0.0, Some(0.0025), 1.0), 0.5);
        assert_eq!(ramp.next(0.0, None, 1e9), 0.01);
        assert_eq!(ramp.next(0.2, None, f64::NAN), 0.2);
        assert!(Ramp::new(5.0, 0.6, 0.5).is_err());
        assert!(Ramp::new(0.0, 0.1, 0.5).is_err());
    }
}
