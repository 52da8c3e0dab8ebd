//! Many runs of each world, counted.

use coalmine_stats::betting::{BadDesign, Design, EProcess, Side};
use coalmine_stats::rivals::moments::Comparison;
use serde::Serialize;

use crate::rng::Rng;
use crate::rules::{ALPHA, PLANNED_UNITS, RULES, Setup};
use crate::world::{CANARY_UNITS, Counts, Margin, Metric, Source, Split};

/// One look a minute for 24 hours.
pub(crate) const DAY: usize = 1440;
/// Detection is watched for 10 hours.
const TEN_HOURS: usize = 600;
/// Few canary units: 1,000 of them.
const FEW_BUCKETS: usize = 20;
/// Mann–Whitney sorts all pairs, so it gets one run in so many.
const RANKS_ONE_IN: usize = 20;

/// How much is simulated.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) name: &'static str,
    pub(crate) healthy_runs: usize,
    pub(crate) regressed_runs: usize,
    pub(crate) margin_runs: usize,
}

impl Effort {
    pub(crate) const QUICK: Self = Self { name: "quick", healthy_runs: 200, regressed_runs: 400, margin_runs: 200 };
    pub(crate) const FULL: Self = Self { name: "full", healthy_runs: 2000, regressed_runs: 2000, margin_runs: 2000 };
}

/// One cell of Table A.
#[derive(Serialize)]
pub(crate) struct Cell {
    pub(crate) rule: &'static str,
    /// Healthy canaries rolled back within 24 hours, as a share.
    pub(crate) false_rollback: f64,
    /// Canary units until half of the regressed canaries are caught; none where fewer than half are.
    pub(crate) median_units: Option<f64>,
    /// Regressed canaries not caught within 1,000 canary units, as a share.
    pub(crate) missed_1000: f64,
    /// The same within 10 hours.
    pub(crate) missed_10h: f64,
}

/// One row of Table A.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) metric: &'static str,
    pub(crate) split: &'static str,
    pub(crate) stated_median: f64,
    pub(crate) cells: Vec<Cell>,
}

/// A canary exactly on its margin: shares of runs decided wrongly within 24 hours.
#[derive(Serialize)]
pub(crate) struct MarginRow {
    pub(crate) metric: &'static str,
    pub(crate) split: &'static str,
    pub(crate) false_rollback: f64,
    pub(crate) false_promotion: f64,
    /// What the asymptotic sequence's upper bound would have promoted, from 500 canary units on.
    pub(crate) asymptotic_false_promotion: f64,
}

/// One row of Table A.
pub(crate) fn row(metric: &Metric, split: Split, effort: Effort, seed: u64) -> Result<Row, BadDesign> {
    let healthy = trips(metric, split, &metric.healthy, DAY, effort.healthy_runs, seed)?;
    let regressed = trips(metric, split, &metric.worse, TEN_HOURS, effort.regressed_runs, seed ^ 0xbad)?;
    let cell = |(rule, name): (usize, &&'static str)| {
        let (fine, bad) = (of_rule(&healthy, rule), of_rule(&regressed, rule));
        Cell {
            rule: name,
            false_rollback: share(&fine, |trip| trip.is_some()),
            median_units: median(&bad).map(|bucket| bucket as f64 * CANARY_UNITS as f64),
            missed_1000: share(&bad, |trip| trip.is_none_or(|bucket| bucket > FEW_BUCKETS)),
            missed_10h: share(&bad, |trip| trip.is_none()),
        }
    };
    Ok(Row {
        metric: metric.name,
        split: split.name(),
        stated_median: metric.stated_median(split),
        cells: RULES.iter().enumerate().map(cell).collect(),
    })
}

type Trips = Vec<([Option<usize>; 8], bool)>;

fn trips(
    metric: &Metric,
    split: Split,
    canary: &[f64],
    buckets: usize,
    runs: usize,
    seed: u64,
) -> Result<Trips, BadDesign> {
    let (setup, source) = (Setup::new(metric, split, buckets), Source::new(metric, split, canary));
    let run = |k: usize| {
        let ranks = k.is_multiple_of(RANKS_ONE_IN);
        Ok((setup.run(&source, Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(k as u64)), ranks)?, ranks))
    };
    in_parallel(runs, run)
}

/// The first trips of one rule, of the runs in which it watched.
fn of_rule(trips: &Trips, rule: usize) -> Vec<Option<usize>> {
    trips.iter().filter(|(_, ranks)| *ranks || rule + 1 < RULES.len()).map(|(first, _)| first[rule]).collect()
}

/// Both sides of a canary that sits on its margin.
pub(crate) fn margin_row(margin: &Margin, split: Split, effort: Effort, seed: u64) -> Result<MarginRow, BadDesign> {
    let metric = &margin.metric;
    let source = Source::new(metric, split, &metric.worse);
    let design = |side| Design { side, ratio: margin.ratio, shift: margin.shift, ..metric.design(split) };
    let back = design(Side::Rollback);
    let promote = metric.hinted(design(Side::Promote), &metric.healthy);
    let run = |k: usize| {
        let mut rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(k as u64));
        let (mut back, mut promote) = (EProcess::new(back.clone())?, EProcess::new(promote.clone())?);
        let (mut sums, mut counts, mut asymptotic) = (Comparison::default(), Counts::default(), false);
        for bucket in 1..=DAY {
            let drawn = source.draw(&mut rng, &mut counts);
            back.seal(&drawn)?;
            promote.seal(&drawn)?;
            for ((x, a), b) in drawn.values.iter().zip(drawn.control).zip(drawn.canary) {
                sums.control.add(margin.ratio * x, *a as f64);
                sums.canary.add(*x, *b as f64);
            }
            asymptotic |= bucket >= 10 && sums.asymptotic(PLANNED_UNITS, ALPHA).1 < margin.shift;
        }
        let line = (1.0 / ALPHA).ln();
        Ok([back.peak() >= line, promote.peak() >= line, asymptotic])
    };
    let wrong = in_parallel(effort.margin_runs, run)?;
    Ok(MarginRow {
        metric: metric.name,
        split: split.name(),
        false_rollback: share(&wrong, |run| run[0]),
        false_promotion: share(&wrong, |run| run[1]),
        asymptotic_false_promotion: share(&wrong, |run| run[2]),
    })
}

/// All runs, in order; each has a seed of its own, so the number of threads does not matter.
fn in_parallel<T: Send>(runs: usize, run: impl Fn(usize) -> Result<T, BadDesign> + Sync) -> Result<Vec<T>, BadDesign> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(runs.max(1));
    let part = runs.div_ceil(threads);
    std::thread::scope(|scope| {
        let run = &run;
        let spans = (0..threads).map(|t| t * part..runs.min((t + 1) * part));
        let handles: Vec<_> = spans.map(|span| scope.spawn(move || span.map(run).collect::<Vec<_>>())).collect();
        let lost = |_| vec![Err(BadDesign("a thread of the benchmark was lost"))];
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_else(lost)).collect()
    })
}

fn share<T>(runs: &[T], of: impl Fn(&T) -> bool) -> f64 {
    runs.iter().filter(|run| of(run)).count() as f64 / runs.len().max(1) as f64
}

/// The bucket by which half of the runs have tripped.
fn median(trips: &[Option<usize>]) -> Option<usize> {
    let mut sorted: Vec<usize> = trips.iter().map(|trip| trip.unwrap_or(usize::MAX)).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().filter(|bucket| *bucket < usize::MAX)
}
