//! All rules, watching the same buckets.

use coalmine_stats::betting::{BadDesign, Bucket, Design, EProcess};
use coalmine_stats::rivals::interval_rule::IntervalRule;
use coalmine_stats::rivals::moments::Comparison;
use coalmine_stats::rivals::{group_sequential, mann_whitney};

use crate::rng::Rng;
use crate::world::{Counts, Metric, Source, Split};

/// The level of every rule.
pub(crate) const ALPHA: f64 = 0.05;
/// The asymptotic sequence is tightest here, as its vendor ships it.
pub(crate) const PLANNED_UNITS: f64 = 5000.0;
/// Failed checks that the interval rule tolerates.
const FAILURE_LIMIT: u32 = 3;
/// Looks that the group-sequential rule plans over the run.
const PLANNED_LOOKS: usize = 10;
/// Mann–Whitney is asked once an hour, for this many hours.
const HOURLY: usize = 60;
const RANK_HOURS: usize = 5;

/// In the order of the table.
pub(crate) const RULES: [&str; 8] = [
    "coalmine",
    "coalmine, hint",
    "interval threshold",
    "repeated z test",
    "mSPRT",
    "asymptotic CS",
    "O'Brien-Fleming",
    "Mann-Whitney",
];

/// What is the same for every run of a world.
pub(crate) struct Setup {
    plain: Design,
    hinted: Design,
    threshold: f64,
    tau: f64,
    bounds: Vec<f64>,
    buckets: usize,
}

impl Setup {
    /// Rules tuned for the regression of the metric, over so many buckets. The rivals are told the true effect.
    pub(crate) fn new(metric: &Metric, split: Split, buckets: usize) -> Self {
        let (healthy, worse) = (metric.mean(&metric.healthy), metric.mean(&metric.worse));
        let plain = metric.design(split);
        Self {
            hinted: metric.hinted(plain.clone(), &metric.worse),
            plain,
            threshold: f64::midpoint(healthy, worse),
            tau: worse - healthy,
            bounds: group_sequential::bounds(PLANNED_LOOKS as u32, ALPHA),
            buckets,
        }
    }

    /// The bucket, from 1, in which each rule trips first; Mann–Whitney is left out without `ranks`.
    pub(crate) fn run(&self, source: &Source, mut rng: Rng, ranks: bool) -> Result<[Option<usize>; 8], BadDesign> {
        let mut watch = Watch::new(self)?;
        let mut tripped = [None; 8];
        let mut counts = Counts::default();
        for bucket in 1..=self.buckets {
            let now = watch.look(self, &source.draw(&mut rng, &mut counts), bucket, ranks)?;
            for (first, now) in tripped.iter_mut().zip(now) {
                if now && first.is_none() {
                    *first = Some(bucket);
                }
            }
            let waiting = tripped.iter().take(7).any(Option::is_none);
            if !waiting && (!ranks || tripped[7].is_some() || bucket >= RANK_HOURS * HOURLY) {
                break;
            }
        }
        Ok(tripped)
    }
}

struct Watch {
    plain: EProcess,
    hinted: EProcess,
    interval: IntervalRule,
    sums: Comparison,
    control_points: Vec<f64>,
    canary_points: Vec<f64>,
}

impl Watch {
    fn new(setup: &Setup) -> Result<Self, BadDesign> {
        Ok(Self {
            plain: EProcess::new(setup.plain.clone())?,
            hinted: EProcess::new(setup.hinted.clone())?,
            interval: IntervalRule::new(setup.threshold, FAILURE_LIMIT),
            sums: Comparison::default(),
            control_points: Vec::new(),
            canary_points: Vec::new(),
        })
    }

    fn look(&mut self, setup: &Setup, bucket: &Bucket<'_>, at: usize, ranks: bool) -> Result<[bool; 8], BadDesign> {
        let line = (1.0 / ALPHA).ln();
        self.plain.seal(bucket)?;
        self.hinted.seal(bucket)?;
        let (mut control, mut canary) = (0.0, 0.0);
        let (mut control_units, mut canary_units) = (0.0, 0.0);
        for ((x, a), b) in bucket.values.iter().zip(bucket.control).zip(bucket.canary) {
            let (a, b) = (*a as f64, *b as f64);
            self.sums.control.add(*x, a);
            self.sums.canary.add(*x, b);
            (control, canary) = (control + x * a, canary + x * b);
            (control_units, canary_units) = (control_units + a, canary_units + b);
        }
        let canary_mean = canary / canary_units;
        if ranks {
            self.control_points.push(control / control_units);
            self.canary_points.push(canary_mean);
        }
        Ok([
            self.plain.log_e() >= line,
            self.hinted.log_e() >= line,
            self.interval.check(canary_mean),
            self.sums.z_test(ALPHA),
            self.sums.msprt(setup.tau, ALPHA),
            self.sums.asymptotic(PLANNED_UNITS, ALPHA).0 > 0.0,
            self.group_sequential(setup, at),
            ranks && self.ranks(at),
        ])
    }

    fn group_sequential(&self, setup: &Setup, at: usize) -> bool {
        let every = setup.buckets / PLANNED_LOOKS;
        at.is_multiple_of(every) && setup.bounds.get(at / every - 1).is_some_and(|bound| self.sums.z() >= *bound)
    }

    fn ranks(&self, at: usize) -> bool {
        at.is_multiple_of(HOURLY)
            && at <= RANK_HOURS * HOURLY
            && mann_whitney::is_high(&self.control_points, &self.canary_points)
    }
}
