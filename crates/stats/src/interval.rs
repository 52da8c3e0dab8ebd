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
//! use coalmine_stats::interval::{Difference, Opening};
//!
//! let design = |side| Design {
//!     side, centre: 0.02, ratio: 1.0, shift: 0.0, odds: 1.0 / 19.0, hint: None, onset: Onset::FromStart,
//! };
//! let mut difference = Difference::new(&[design(Side::Rollback), design(Side::Promote)])?;
//! for _ in 0..20 {
//!     let bucket = Bucket { values: &[0.0, 1.0], control: &[931, 19], canary: &[46, 4] };
//!     difference.push(Opening::Plain, &bucket)?;
//! }
//! let (lower, upper) = (difference.bound(0, 20f64.ln()), difference.bound(1, 20f64.ln()));
//! assert!(0.01 < lower && lower < 0.06 && 0.06 < upper && upper < 0.11);
//! # Ok::<(), coalmine_stats::betting::BadDesign>(())
//! ```

use crate::betting::{BadDesign, Bucket, Design, Side, add, total};
use crate::grid::{self, Grid, Sizing};
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

/// The e-processes of some designs for all shifts at once, over the same buckets.
///
/// A bucket costs about as much as in one process per design; a bound mostly costs a few buckets' worth however many
/// there are, since what does not depend on the shift is kept summed.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    kept: Kept,
    inversions: Vec<Inversion>,
}

/// The buckets, without their empty classes.
#[derive(Debug, Clone, PartialEq, Default)]
struct Kept {
    values: Vec<f64>,
    counts: Vec<Count>,
    /// Where each bucket ends in `counts`.
    ends: Vec<u32>,
    /// Σ badness and units over all buckets, of control and of the canary.
    control: (f64, f64),
    canary: (f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Count {
    class: u16,
    control: u32,
    canary: u32,
}

/// One design.
#[derive(Debug, Clone, PartialEq)]
struct Inversion {
    design: Design,
    sizing: Sizing,
    segments: Vec<Segment>,
    /// Its gains are given up before the next bucket.
    gives_up: bool,
}

/// Buckets in a row with the same sizes of bets and no opening between them.
#[derive(Debug, Clone, PartialEq)]
struct Segment {
    opening: Opening,
    grid: Grid,
    /// The first bucket, and how many.
    first: usize,
    len: usize,
    /// Control's ln e per bet, where only the realised odds cut the bet.
    control: [f64; MAX_BETS],
    /// The canary's counts per class over the buckets in which the odds do not cut the bet.
    uncut: [Vec<u64>; MAX_BETS],
    /// The buckets in which they cut some bet, each with the most that is bet in it.
    cut: Vec<(usize, f64)>,
}

impl Opening {
    pub(crate) fn apply(self, side: Side, capital: &mut Capital) {
        match (self, side) {
            (Self::Plain, _) | (Self::Drift, Side::Rollback) => {}
            (Self::Restart { gamma }, _) => capital.restart(gamma),
            (Self::Drift, Side::Promote) => capital.give_up_gains(),
        }
    }

    fn opens(self, side: Side) -> bool {
        match (self, side) {
            (Self::Plain, _) | (Self::Drift, Side::Rollback) => false,
            (Self::Restart { .. }, _) | (Self::Drift, Side::Promote) => true,
        }
    }
}

impl Difference {
    /// No bucket yet.
    ///
    /// # Errors
    /// When a number of a design is not finite or out of its range.
    pub fn new(designs: &[Design]) -> Result<Self, BadDesign> {
        let inversion = |design: &Design| {
            design.check()?;
            Ok(Inversion {
                design: design.clone(),
                sizing: Sizing::new(design.odds),
                segments: Vec::new(),
                gives_up: false,
            })
        };
        Ok(Self { kept: Kept::default(), inversions: designs.iter().map(inversion).collect::<Result<_, _>>()? })
    }

    /// Takes in one bucket, in the order of sealing.
    ///
    /// # Errors
    /// When the bucket's lengths differ, a value lies outside 0..=1, an arm is empty, the classes are others than those
    /// of the first bucket, or a class has more than 4 billion units. Nothing has changed then.
    pub fn push(&mut self, opening: Opening, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        let odds = bucket.odds()?;
        let index = self.kept.push(bucket)?;
        for inversion in &mut self.inversions {
            inversion.push(opening, index, odds, bucket);
        }
        Ok(())
    }

    /// Promotion evidence gives up its gains before the next bucket, whose opening it then does not follow: as
    /// [`Opening::Drift`], for designs of one side beside restarts of the other.
    pub fn give_up_gains(&mut self) {
        for inversion in &mut self.inversions {
            inversion.gives_up = match inversion.design.side {
                Side::Promote => true,
                Side::Rollback => false,
            };
        }
    }

    /// ln E of the design at `index` against the null with this shift; 0 without such a design.
    #[must_use]
    pub fn log_e(&self, index: usize, shift: f64) -> f64 {
        self.inversions.get(index).map_or(0.0, |inversion| inversion.log_e(&self.kept, shift))
    }

    /// The bound of the design at `index` at `line` = ln(1/(w·α)): lower for the rollback side, upper for promotion, in
    /// units of badness. Where nothing is excluded it is the end of what is possible, −r or 1; NaN without such a
    /// design.
    #[must_use]
    pub fn bound(&self, index: usize, line: f64) -> f64 {
        let Some(inversion) = self.inversions.get(index) else { return f64::NAN };
        let Design { side, ratio, .. } = inversion.design;
        let guess = self.kept.difference(ratio);
        edge(side, -ratio, 1.0, guess, |shift| inversion.log_e(&self.kept, shift) - line)
    }
}

impl Kept {
    fn push(&mut self, bucket: &Bucket<'_>) -> Result<usize, BadDesign> {
        if self.ends.is_empty() {
            self.values = bucket.values.to_vec();
        } else if self.values != bucket.values {
            return Err(BadDesign("the buckets of a band have not the same classes"));
        }
        let arms = bucket.control.iter().zip(bucket.canary).enumerate();
        let filled = arms.filter(|(_, (control, canary))| **control > 0 || **canary > 0);
        let narrow = |(class, (control, canary)): (usize, (&u64, &u64))| {
            let count = Count {
                class: u16::try_from(class).ok()?,
                control: u32::try_from(*control).ok()?,
                canary: u32::try_from(*canary).ok()?,
            };
            Some(count)
        };
        let before = self.counts.len();
        for count in filled.map(narrow) {
            let Some(count) = count else {
                self.counts.truncate(before);
                return Err(BadDesign("a bucket has a class with more than 4 billion units"));
            };
            self.counts.push(count);
        }
        for count in &self.counts[before..] {
            let x = self.values[usize::from(count.class)];
            let add = |(sum, n): &mut (f64, f64), units: u32| {
                (*sum, *n) = (*sum + x * f64::from(units), *n + f64::from(units))
            };
            add(&mut self.control, count.control);
            add(&mut self.canary, count.canary);
        }
        self.ends.push(u32::try_from(self.counts.len()).map_err(|_| BadDesign("a band has too many buckets"))?);
        Ok(self.ends.len() - 1)
    }

    fn bucket(&self, index: usize) -> &[Count] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.counts[start..self.ends[index] as usize]
    }

    /// mean(canary) − r·mean(control) over all buckets, as if nothing had drifted.
    fn difference(&self, ratio: f64) -> f64 {
        let mean = |(sum, n): (f64, f64)| if n > 0.0 { sum / n } else { 0.0 };
        mean(self.canary) - ratio * mean(self.control)
    }
}

impl Inversion {
    fn push(&mut self, opening: Opening, index: usize, odds: f64, bucket: &Bucket<'_>) {
        self.sizing.note(total(bucket.control), total(bucket.canary));
        let opening = if std::mem::take(&mut self.gives_up) { Opening::Drift } else { opening };
        let grid = self.design.grid_at(self.sizing.odds());
        let goes_on = self.segments.last().is_some_and(|last| last.grid == grid);
        if !goes_on || opening.opens(self.design.side) {
            self.segments.push(Segment::new(opening, grid, index, bucket.values.len()));
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.push(&self.design, odds, bucket);
        }
    }

    /// ln E against the null with this shift.
    fn log_e(&self, kept: &Kept, shift: f64) -> f64 {
        let mut capital = Capital::new(self.design.onset, grid::bets(self.design.hint));
        for segment in &self.segments {
            segment.opening.apply(self.design.side, &mut capital);
            capital.fold(&segment.gains(&self.design, kept, shift), &segment.grid.weights);
        }
        capital.log_e()
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

impl Segment {
    fn new(opening: Opening, grid: Grid, first: usize, classes: usize) -> Self {
        let uncut = std::array::from_fn(|j| if j < grid.len { vec![0; classes] } else { Vec::new() });
        Self { opening, grid, first, len: 0, control: [0.0; MAX_BETS], uncut, cut: Vec::new() }
    }

    fn push(&mut self, design: &Design, odds: f64, bucket: &Bucket<'_>) {
        let (cut, stakes) = (design.cut_by(odds), &self.grid.stakes[..self.grid.len]);
        let mut lambdas = [0.0; MAX_BETS];
        for (lambda, stake) in lambdas.iter_mut().zip(stakes) {
            *lambda = design.side.signed(stake.min(cut));
        }
        for (x, count) in bucket.values.iter().zip(bucket.control).filter(|(_, count)| **count > 0) {
            add(&mut self.control, &lambdas[..self.grid.len], *count, design.control_distance(odds, *x));
        }
        for (uncut, _) in self.uncut.iter_mut().zip(stakes).filter(|(_, stake)| **stake <= cut) {
            for (sum, count) in uncut.iter_mut().zip(bucket.canary) {
                *sum += count;
            }
        }
        if stakes.iter().any(|stake| *stake > cut) {
            self.cut.push((self.first + self.len, cut));
        }
        self.len += 1;
    }

    fn gains(&self, design: &Design, kept: &Kept, shift: f64) -> [f64; MAX_BETS] {
        let line = shift + design.ratio * design.centre;
        let squeeze = grid::cut(design.largest_for_canary(line));
        let stakes = &self.grid.stakes[..self.grid.len];
        let mut gains = self.control;
        for (j, stake) in stakes.iter().enumerate().filter(|(_, stake)| **stake <= squeeze) {
            let counted = kept.values.iter().zip(&self.uncut[j]).map(|(x, count)| (*x, *count as f64));
            gains[j] += sum(counted, design.side.signed(*stake), line);
        }
        self.add_cut(&mut gains, design, kept, line, squeeze);
        if stakes.iter().any(|stake| *stake > squeeze) {
            let squeezed = self.squeezed(design, kept, line, squeeze);
            for (gain, _) in gains.iter_mut().zip(stakes).filter(|(_, stake)| **stake > squeeze) {
                *gain = squeezed;
            }
        }
        gains
    }

    /// Adds the canary's part of the buckets in which the odds cut a bet that the shift does not.
    fn add_cut(&self, gains: &mut [f64; MAX_BETS], design: &Design, kept: &Kept, line: f64, squeeze: f64) {
        let stakes = &self.grid.stakes[..self.grid.len];
        for (index, cut) in &self.cut {
            let is_cut = |stake: f64| stake > *cut && stake <= squeeze;
            if !stakes.iter().any(|stake| is_cut(*stake)) {
                continue;
            }
            let part = sum(kept.canary(kept.bucket(*index)), design.side.signed(*cut), line);
            for (gain, _) in gains.iter_mut().zip(stakes).filter(|(_, stake)| is_cut(**stake)) {
                *gain += part;
            }
        }
    }

    /// ln e of the bets that the shift itself cuts: they are all the same bet.
    fn squeezed(&self, design: &Design, kept: &Kept, line: f64, squeeze: f64) -> f64 {
        let of = |counts: &[Count]| {
            let odds = odds(counts);
            let lambda = design.side.signed(squeeze.min(design.cut_by(odds)));
            let control = counts.iter().filter(|count| count.control > 0).map(|count| {
                let x = kept.values[usize::from(count.class)];
                f64::from(count.control) * ln_1p(lambda * design.control_distance(odds, x))
            });
            control.sum::<f64>() + sum(kept.canary(counts), lambda, line)
        };
        self.buckets(kept).map(of).sum()
    }

    fn buckets<'a>(&self, kept: &'a Kept) -> impl Iterator<Item = &'a [Count]> {
        (self.first..self.first + self.len).map(|index| kept.bucket(index))
    }
}

impl Kept {
    /// (badness, units) of the canary in one bucket.
    fn canary<'a>(&'a self, counts: &'a [Count]) -> impl Iterator<Item = (f64, f64)> + 'a {
        counts.iter().map(|count| (self.values[usize::from(count.class)], f64::from(count.canary)))
    }
}

/// The realised κ of one bucket.
fn odds(counts: &[Count]) -> f64 {
    let (control, canary) = counts.iter().fold((0, 0), |(control, canary), count| {
        (control + u64::from(count.control), canary + u64::from(count.canary))
    });
    canary as f64 / control as f64
}

/// The mean of counted values; 0 without any.
fn mean<'a>(counted: impl Iterator<Item = (&'a f64, &'a u64)>) -> f64 {
    let (sum, n) = counted.fold((0.0, 0.0), |(sum, n), (x, count)| (sum + x * *count as f64, n + *count as f64));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// Σ units·ln(1 + λ(x − line)).
fn sum(counted: impl Iterator<Item = (f64, f64)>, lambda: f64, line: f64) -> f64 {
    counted.filter(|(_, units)| *units > 0.0).map(|(x, units)| units * ln_1p(lambda * (x - line))).sum()
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

    fn opening(t: usize) -> Opening {
        match t {
            0 => Opening::Restart { gamma: stage_mass(1) },
            7 => Opening::Restart { gamma: stage_mass(2) },
            11 => Opening::Drift,
            _ => Opening::Plain,
        }
    }

    fn band(design: &Design, tables: &[([u64; 3], [u64; 3])]) -> Difference {
        let mut band = Difference::new(std::slice::from_ref(design)).unwrap();
        for (t, (control, canary)) in tables.iter().enumerate() {
            band.push(opening(t), &Bucket { values: &VALUES, control, canary }).unwrap();
        }
        band
    }

    proptest! {
        #[test]
        fn at_its_own_shift_a_band_is_the_process_that_decides(
            tables in tables(), shift in -0.05f64..0.3, hint in prop::option::of(0.1f64..20.0), promote: bool,
        ) {
            let side = if promote { Side::Promote } else { Side::Rollback };
            let design = design(side, shift, hint);
            let mut process = EProcess::new(design.clone()).unwrap();
            for (t, (control, canary)) in tables.iter().enumerate() {
                match opening(t) {
                    Opening::Restart { gamma } => process.restart(gamma),
                    Opening::Drift if promote => process.give_up_gains(),
                    Opening::Drift | Opening::Plain => {}
                }
                process.seal(&Bucket { values: &VALUES, control, canary }).unwrap();
            }
            let band = band(&design, &tables);
            prop_assert!((band.log_e(0, shift) - process.log_e()).abs() < 1e-9);
        }

        #[test]
        fn a_larger_shift_is_harder_to_reject_as_too_small(tables in tables(), promote: bool) {
            let side = if promote { Side::Promote } else { Side::Rollback };
            let design = design(side, 0.0, None);
            let band = band(&design, &tables);
            let rising: Vec<f64> = (-20..=20).map(|k| band.log_e(0, f64::from(k) / 20.0)).collect();
            let ordered = |pair: &[f64]| if promote { pair[0] <= pair[1] + 1e-9 } else { pair[0] + 1e-9 >= pair[1] };
            prop_assert!(rising.windows(2).all(ordered), "{rising:?}");
            let bound = band.bound(0, 20f64.ln());
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

    /// A rollback's design and a promotion's.
    fn both() -> Difference {
        Difference::new(&[design(Side::Rollback, 0.0, None), design(Side::Promote, 0.0, None)]).unwrap()
    }

    #[test]
    fn without_buckets_nothing_is_excluded() {
        let band = both();
        assert_eq!((band.bound(0, 3.0), band.bound(1, 3.0)), (-1.0, 1.0));
        assert!(band.bound(2, 3.0).is_nan(), "no such design");
    }

    #[test]
    fn an_estimate_at_the_end_of_what_is_possible_ends_the_search() {
        for (control, canary) in [([0, 0, 500], [500, 0, 0]), ([500, 0, 0], [0, 0, 500])] {
            let mut band = both();
            for _ in 0..3 {
                band.push(Opening::Plain, &Bucket { values: &VALUES, control: &control, canary: &canary }).unwrap();
            }
            let (lower, upper) = (band.bound(0, 20f64.ln()), band.bound(1, 20f64.ln()));
            assert!((-1.0..=1.0).contains(&lower) && lower < upper && upper <= 1.0, "{lower} {upper}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut band = both();
        let first = Bucket { values: &VALUES, control: &[1, 1, 1], canary: &[1, 1, 1] };
        band.push(Opening::Plain, &first).unwrap();
        let before = band.clone();
        let wrong = [
            Bucket { values: &[0.0, 0.4, 1.0], ..first },
            Bucket { control: &[0, 0, 0], ..first },
            Bucket { canary: &[1, 1 << 40, 1], ..first },
        ];
        for bucket in wrong {
            assert!(band.push(Opening::Plain, &bucket).is_err(), "{bucket:?}");
        }
        assert_eq!(band, before);
    }
}
