//! Confidence sequences: what the evidence has excluded, by inversion of the same processes that decide.
//!
//! For the difference *mean(canary) − r·mean(control)* every shift m is a null of its own. The lower bound is the
//! largest m that the rollback process would have rejected, the upper bound the smallest that the promotion process
//! would have:
//!
//! ```text
//! lower = sup { m : ln E_m(rollback) ≥ line }
//! upper = inf { m : ln E_m(promote)  ≥ line }          line = ln(1/(w·α))
//! ```
//!
//! Grid, weights, restarts and line are the decision's, so that the picture cannot contradict it: the grid is held at
//! the design's own shift (with a grid that moved with m, E would not be monotone in m) and only the cut of each
//! bucket follows m. Each bound is wrong at *any* time with probability at most w·α. The running maximum of the lower
//! bound (and minimum of the upper) is a confidence sequence too; the lower one is what a latched rollback corresponds
//! to.
//!
//! ```
//! use coalmine_stats::betting::{Bucket, Design, Onset, Side};
//! use coalmine_stats::interval::{Band, Opening, Step};
//!
//! let design = |side| Design {
//!     side, centre: 0.02, ratio: 1.0, shift: 0.0, odds: 1.0 / 19.0, hint: None, onset: Onset::FromStart,
//! };
//! let bucket = Bucket { values: &[0.0, 1.0], control: &[931, 19], canary: &[46, 4] };
//! let steps = vec![Step { opening: Opening::Plain, bucket }; 20];
//! let line = 20f64.ln();
//! let lower = Band::new(&design(Side::Rollback), &steps)?.bound(line);
//! let upper = Band::new(&design(Side::Promote), &steps)?.bound(line);
//! assert!(0.01 < lower && lower < 0.06 && 0.06 < upper && upper < 0.11);
//! # Ok::<(), coalmine_stats::betting::BadDesign>(())
//! ```

use crate::betting::{BadDesign, Bucket, Design, Side, add, total};
use crate::grid::{self, Grid};
use crate::limit::{self, Bound};
use crate::restart::{Capital, MAX_BETS};
use crate::special::{bracket, ln_1p};

/// How near a bound comes to the crossing, as a share of all that is possible.
const PRECISION: f64 = 1e-9;
/// The first step from the estimate toward a bound, as a share of all that is possible.
const FIRST_STEP: f64 = 1.0 / 512.0;

/// What happened just before a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Opening {
    /// Nothing.
    Plain,
    /// Late-onset mass γ was laid out, as by [`crate::betting::EProcess::restart`].
    Restart {
        /// The share of the insurance half.
        gamma: f64,
    },
    /// Promotion evidence gave up its gains, as by [`crate::betting::EProcess::give_up_gains`]. Rollback evidence does
    /// not.
    Drift,
}

impl Opening {
    pub(crate) fn apply(self, side: Side, capital: &mut Capital) {
        match (self, side) {
            (Self::Plain, _) | (Self::Drift, Side::Rollback) => {}
            (Self::Restart { gamma }, _) => capital.restart(gamma),
            (Self::Drift, Side::Promote) => capital.give_up_gains(),
        }
    }
}

/// One sealed bucket in the order of sealing.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What happened just before.
    pub opening: Opening,
    /// The bucket. All of a band have the same classes.
    pub bucket: Bucket<'a>,
}

/// The e-processes of one side for all shifts at once, over stored buckets.
///
/// Building it costs about one replay of the buckets; each look at another shift mostly costs a few buckets' worth,
/// since what does not depend on the shift is kept summed.
#[derive(Debug)]
pub struct Band<'a> {
    design: &'a Design,
    grid: Grid,
    values: &'a [f64],
    segments: Vec<Segment<'a>>,
    /// The pooled difference: where the search for a bound starts.
    estimate: f64,
}

/// The buckets between two openings.
#[derive(Debug)]
struct Segment<'a> {
    opening: Opening,
    buckets: Vec<Sealed<'a>>,
    /// Control's ln e per bet, where only the realised odds cut the bet.
    control: [f64; MAX_BETS],
    /// The canary's counts per class over the buckets in which the odds do not cut the bet.
    uncut: [Vec<u64>; MAX_BETS],
}

#[derive(Debug)]
struct Sealed<'a> {
    odds: f64,
    /// The cut that the odds make, whatever the shift.
    cut: f64,
    bucket: Bucket<'a>,
}

impl<'a> Band<'a> {
    /// Sums what does not depend on the shift.
    ///
    /// # Errors
    /// When the design is not one, or a bucket does not fit or has other classes than the first.
    pub fn new(design: &'a Design, steps: &[Step<'a>]) -> Result<Self, BadDesign> {
        design.check()?;
        let values = steps.first().map_or(&[][..], |step| step.bucket.values);
        let estimate = pooled_difference(design.ratio, steps);
        let mut band = Self { design, grid: design.grid(), values, segments: Vec::new(), estimate };
        for step in steps {
            if step.bucket.values != values {
                return Err(BadDesign("the buckets of a band have not the same classes"));
            }
            let opens = match (step.opening, design.side) {
                (Opening::Plain, _) | (Opening::Drift, Side::Rollback) => band.segments.is_empty(),
                (Opening::Restart { .. }, _) | (Opening::Drift, Side::Promote) => true,
            };
            if opens {
                band.segments.push(Segment::new(step.opening, values.len()));
            }
            let sealed = Sealed { odds: step.bucket.odds()?, cut: 0.0, bucket: step.bucket };
            if let Some(segment) = band.segments.last_mut() {
                segment.push(design, &band.grid, sealed);
            }
        }
        Ok(band)
    }

    /// ln E against the null with this shift.
    #[must_use]
    pub fn log_e(&self, shift: f64) -> f64 {
        let mut capital = Capital::new(self.design.onset, self.grid.len);
        for segment in &self.segments {
            segment.opening.apply(self.design.side, &mut capital);
            capital.fold(&segment.gains(self, shift), &self.grid.weights);
        }
        capital.log_e()
    }

    /// The bound at `line` = ln(1/(w·α)): lower for the rollback side, upper for promotion, in units of badness. Where
    /// nothing is excluded it is the end of what is possible, −r or 1.
    #[must_use]
    pub fn bound(&self, line: f64) -> f64 {
        edge(self.design.side, -self.design.ratio, 1.0, self.estimate, |shift| self.log_e(shift) - line)
    }
}

/// The bound on a mean by inversion of the one-sample process: lower for the rollback side, upper for promotion. Each
/// segment holds the counts per class, summed from its opening to the next.
///
/// # Errors
/// When the bound is not one, or counts do not fit the values.
pub fn mean_bound(bound: &Bound, values: &[f64], segments: &[(Opening, &[u64])], line: f64) -> Result<f64, BadDesign> {
    bound.check()?;
    for (_, counts) in segments {
        limit::check(values, counts)?;
    }
    let grid = bound.grid();
    let weighed = segments.iter().flat_map(|(_, counts)| values.iter().zip(*counts));
    Ok(edge(bound.side, 0.0, 1.0, mean(weighed), |mean| {
        let null = Bound { mean, ..bound.clone() };
        let mut capital = Capital::new(bound.onset, grid.len);
        for (opening, counts) in segments.iter().filter(|(_, counts)| total(counts) > 0) {
            opening.apply(bound.side, &mut capital);
            capital.fold(&null.gains(values, counts, &grid), &grid.weights);
        }
        capital.log_e() - line
    }))
}

/// The last excluded point seen from the side's own end, `low` for rollback and `high` for promotion; `excess` is
/// ln E − line. From `guess`, which is mostly not excluded, steps double until one is.
pub(crate) fn edge(side: Side, low: f64, high: f64, guess: f64, mut excess: impl FnMut(f64) -> f64) -> f64 {
    let (end, other) = match side {
        Side::Rollback => (low, high),
        Side::Promote => (high, low),
    };
    let start = guess.clamp(low, high);
    let excluded = excess(start) >= 0.0;
    let toward = if excluded { other } else { end };
    if start == toward {
        return toward;
    }
    let mut step = FIRST_STEP * (high - low) * (toward - start).signum();
    let mut near = start;
    loop {
        let far = (near + step).clamp(low, high);
        if (excess(far) >= 0.0) != excluded {
            let found = bracket(near.min(far), near.max(far), PRECISION * (high - low), excess);
            return match (side, found) {
                (Side::Rollback, Some((outer, _))) | (Side::Promote, Some((_, outer))) => outer,
                (_, None) => end,
            };
        }
        if far == toward {
            return toward;
        }
        (near, step) = (far, 2.0 * step);
    }
}

impl<'a> Segment<'a> {
    fn new(opening: Opening, classes: usize) -> Self {
        let uncut = std::array::from_fn(|_| vec![0; classes]);
        Self { opening, buckets: Vec::new(), control: [0.0; MAX_BETS], uncut }
    }

    fn push(&mut self, design: &Design, grid: &Grid, mut sealed: Sealed<'a>) {
        sealed.cut = grid::cut(design.largest_for_control(sealed.odds));
        let lambdas = grid.stakes.map(|stake| design.side.signed(stake.min(sealed.cut)));
        add_control(&mut self.control, design, &sealed, &lambdas[..grid.len]);
        for (uncut, stake) in self.uncut.iter_mut().zip(grid.stakes).take(grid.len) {
            if stake <= sealed.cut {
                for (sum, count) in uncut.iter_mut().zip(sealed.bucket.canary) {
                    *sum += count;
                }
            }
        }
        self.buckets.push(sealed);
    }

    fn gains(&self, band: &Band<'_>, shift: f64) -> [f64; MAX_BETS] {
        let (design, grid) = (band.design, &band.grid);
        let line = shift + design.ratio * design.centre;
        let squeeze = grid::cut(design.largest_for_canary(line));
        let mut gains = self.control;
        for (j, stake) in grid.stakes.iter().enumerate().take(grid.len) {
            if *stake <= squeeze {
                gains[j] += sum(band.values, &self.uncut[j], design.side.signed(*stake), line);
            }
        }
        self.add_cut(&mut gains, band, line, squeeze);
        if grid.stakes[..grid.len].iter().any(|stake| *stake > squeeze) {
            let squeezed = self.squeezed(band, line, squeeze);
            for (gain, stake) in gains.iter_mut().zip(grid.stakes).take(grid.len) {
                if stake > squeeze {
                    *gain = squeezed;
                }
            }
        }
        gains
    }

    /// Adds the canary's part of the buckets in which the odds cut a bet that the shift does not.
    fn add_cut(&self, gains: &mut [f64; MAX_BETS], band: &Band<'_>, line: f64, squeeze: f64) {
        let stakes = &band.grid.stakes[..band.grid.len];
        for sealed in &self.buckets {
            let is_cut = |stake: f64| stake > sealed.cut && stake <= squeeze;
            if !stakes.iter().any(|stake| is_cut(*stake)) {
                continue;
            }
            let part = sum(band.values, sealed.bucket.canary, band.design.side.signed(sealed.cut), line);
            for (gain, _) in gains.iter_mut().zip(stakes).filter(|(_, stake)| is_cut(**stake)) {
                *gain += part;
            }
        }
    }

    /// ln e of the bets that the shift itself cuts: they are all the same bet.
    fn squeezed(&self, band: &Band<'_>, line: f64, squeeze: f64) -> f64 {
        let mut gains = [0.0; MAX_BETS];
        for sealed in &self.buckets {
            let lambda = band.design.side.signed(squeeze.min(sealed.cut));
            add_control(&mut gains, band.design, sealed, &[lambda]);
            gains[0] += sum(band.values, sealed.bucket.canary, lambda, line);
        }
        gains[0]
    }
}

fn add_control(gains: &mut [f64; MAX_BETS], design: &Design, sealed: &Sealed<'_>, lambdas: &[f64]) {
    for (x, count) in sealed.bucket.values.iter().zip(sealed.bucket.control).filter(|(_, count)| **count > 0) {
        add(gains, lambdas, *count, -sealed.odds * design.ratio * (x - design.centre));
    }
}

/// mean(canary) − r·mean(control) over all buckets, as if nothing had drifted.
fn pooled_difference(ratio: f64, steps: &[Step<'_>]) -> f64 {
    let canary = steps.iter().flat_map(|step| step.bucket.values.iter().zip(step.bucket.canary));
    let control = steps.iter().flat_map(|step| step.bucket.values.iter().zip(step.bucket.control));
    mean(canary) - ratio * mean(control)
}

/// The mean of counted values; 0 without any.
fn mean<'a>(counted: impl Iterator<Item = (&'a f64, &'a u64)>) -> f64 {
    let (sum, n) = counted.fold((0.0, 0.0), |(sum, n), (x, count)| (sum + x * *count as f64, n + *count as f64));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// Σ counts·ln(1 + λ(x − line)).
fn sum(values: &[f64], counts: &[u64], lambda: f64, line: f64) -> f64 {
    let present = values.iter().zip(counts).filter(|(_, count)| **count > 0);
    present.map(|(x, count)| *count as f64 * ln_1p(lambda * (x - line))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::betting::{EProcess, Onset, stage_mass};
    use crate::limit::Limit;
    use proptest::prelude::*;

    fn design(side: Side, shift: f64, hint: Option<f64>) -> Design {
        Design { side, centre: 0.1, ratio: 1.0, shift, odds: 0.2, hint, onset: Onset::StageRestarts }
    }

    const VALUES: [f64; 3] = [0.0, 0.3, 1.0];

    fn tables() -> impl Strategy<Value = Vec<([u64; 3], [u64; 3])>> {
        let arm = |most: u64| [1..most, 0..most / 4, 0..most / 4];
        prop::collection::vec((arm(60), arm(30)), 1..30)
    }

    fn steps(tables: &[([u64; 3], [u64; 3])]) -> Vec<Step<'_>> {
        let opening = |t: usize| match t {
            0 => Opening::Restart { gamma: stage_mass(1) },
            7 => Opening::Restart { gamma: stage_mass(2) },
            11 => Opening::Drift,
            _ => Opening::Plain,
        };
        tables
            .iter()
            .enumerate()
            .map(|(t, (control, canary))| Step {
                opening: opening(t),
                bucket: Bucket { values: &VALUES, control, canary },
            })
            .collect()
    }

    proptest! {
        #[test]
        fn at_its_own_shift_a_band_is_the_process_that_decides(
            tables in tables(), shift in -0.05f64..0.3, hint in prop::option::of(0.1f64..20.0), promote: bool,
        ) {
            let side = if promote { Side::Promote } else { Side::Rollback };
            let design = design(side, shift, hint);
            let steps = steps(&tables);
            let mut process = EProcess::new(design.clone()).unwrap();
            for step in &steps {
                match step.opening {
                    Opening::Restart { gamma } => process.restart(gamma),
                    Opening::Drift if promote => process.give_up_gains(),
                    Opening::Drift | Opening::Plain => {}
                }
                process.seal(&step.bucket).unwrap();
            }
            let band = Band::new(&design, &steps).unwrap();
            prop_assert!((band.log_e(shift) - process.log_e()).abs() < 1e-9);
        }

        #[test]
        fn a_larger_shift_is_harder_to_reject_as_too_small(tables in tables(), promote: bool) {
            let side = if promote { Side::Promote } else { Side::Rollback };
            let design = design(side, 0.0, None);
            let steps = steps(&tables);
            let band = Band::new(&design, &steps).unwrap();
            let rising: Vec<f64> = (-20..=20).map(|k| band.log_e(f64::from(k) / 20.0)).collect();
            let ordered = |pair: &[f64]| if promote { pair[0] <= pair[1] + 1e-9 } else { pair[0] + 1e-9 >= pair[1] };
            prop_assert!(rising.windows(2).all(ordered), "{rising:?}");
            let bound = band.bound(20f64.ln());
            prop_assert!((-1.0..=1.0).contains(&bound));
        }
    }

    #[test]
    fn bounds_of_a_mean_enclose_it_and_agree_with_the_limit_that_decides() {
        let counts = [900u64, 0, 100];
        let back = mean_bound(&Bound::at_most(0.05), &VALUES, &[(Opening::Plain, &counts)], 20f64.ln()).unwrap();
        let side = Bound { side: Side::Promote, ..Bound::at_most(0.2) };
        let promote = mean_bound(&side, &VALUES, &[(Opening::Plain, &counts)], 20f64.ln()).unwrap();
        assert!(0.05 < back && back < 0.1 && 0.1 < promote && promote < 0.2, "{back} {promote}");
        let mut limit = Limit::new(Bound::at_most(back)).unwrap();
        limit.seal(&VALUES, &counts).unwrap();
        assert!(limit.log_e() > 1.0, "the bound is near the line of a limit placed there: {}", limit.log_e());
    }

    #[test]
    fn without_buckets_nothing_is_excluded() {
        let (back, promote) = (design(Side::Rollback, 0.0, None), design(Side::Promote, 0.0, None));
        assert_eq!(Band::new(&back, &[]).unwrap().bound(3.0), -1.0);
        assert_eq!(Band::new(&promote, &[]).unwrap().bound(3.0), 1.0);
    }

    #[test]
    fn an_estimate_at_the_end_of_what_is_possible_ends_the_search() {
        let (back, promote) = (design(Side::Rollback, 0.0, None), design(Side::Promote, 0.0, None));
        for (control, canary) in [([0, 0, 500], [500, 0, 0]), ([500, 0, 0], [0, 0, 500])] {
            let bucket = Bucket { values: &VALUES, control: &control, canary: &canary };
            let steps = [Step { opening: Opening::Plain, bucket }; 3];
            let lower = Band::new(&back, &steps).unwrap().bound(20f64.ln());
            let upper = Band::new(&promote, &steps).unwrap().bound(20f64.ln());
            assert!((-1.0..=1.0).contains(&lower) && lower < upper && upper <= 1.0, "{lower} {upper}");
        }
    }

    #[test]
    fn buckets_with_other_classes_are_refused() {
        let design = design(Side::Rollback, 0.0, None);
        let first = Bucket { values: &VALUES, control: &[1, 1, 1], canary: &[1, 1, 1] };
        let other = Bucket { values: &[0.0, 0.4, 1.0], ..first };
        let steps = [first, other].map(|bucket| Step { opening: Opening::Plain, bucket });
        assert!(Band::new(&design, &steps).is_err());
    }
}
