//! Worlds of known truth: Table A's regressions, and canaries that sit exactly on their margin.

use coalmine_stats::betting::{Bucket, Design, Onset, Side};
use coalmine_stats::histogram::AmountScale;
use coalmine_stats::plan::{Forecast, optimum};
use coalmine_stats::special::normal_cdf;

use crate::rng::{Alias, Rng};

/// Canary units per bucket of one minute.
pub(crate) const CANARY_UNITS: u64 = 50;

/// How many control units a bucket has beside the 50 of the canary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    FiveToNinetyFive,
    OneToOne,
}

impl Split {
    pub(crate) const ALL: [Self; 2] = [Self::FiveToNinetyFive, Self::OneToOne];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FiveToNinetyFive => "5/95",
            Self::OneToOne => "1:1",
        }
    }

    pub(crate) fn control_units(self) -> u64 {
        match self {
            Self::FiveToNinetyFive => 950,
            Self::OneToOne => CANARY_UNITS,
        }
    }

    pub(crate) fn odds(self) -> f64 {
        CANARY_UNITS as f64 / self.control_units() as f64
    }

    fn pick<T: Copy>(self, of: [T; 2]) -> T {
        match self {
            Self::FiveToNinetyFive => of[0],
            Self::OneToOne => of[1],
        }
    }
}

/// A metric with two versions of it: healthy, and a canary's.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
    pub(crate) healthy: Vec<f64>,
    pub(crate) worse: Vec<f64>,
    /// Median canary units to detection that the specification states for 5/95 and 1:1, without a hint.
    stated: [f64; 2],
}

/// A canary exactly on its margin.
pub(crate) struct Margin {
    pub(crate) metric: Metric,
    pub(crate) ratio: f64,
    pub(crate) shift: f64,
}

impl Metric {
    fn yes_no(name: &'static str, healthy: f64, worse: f64, stated: [f64; 2]) -> Self {
        let arm = |rate: f64| vec![1.0 - rate, rate];
        Self { name, values: vec![0.0, 1.0], healthy: arm(healthy), worse: arm(worse), stated }
    }

    pub(crate) fn stated_median(&self, split: Split) -> f64 {
        split.pick(self.stated)
    }

    pub(crate) fn mean(&self, arm: &[f64]) -> f64 {
        self.values.iter().zip(arm).map(|(x, p)| x * p).sum()
    }

    /// The design without a hint: rollback at no margin.
    pub(crate) fn design(&self, split: Split) -> Design {
        Design {
            side: Side::Rollback,
            centre: self.mean(&self.healthy),
            ratio: 1.0,
            shift: 0.0,
            odds: split.odds(),
            hint: None,
            onset: Onset::FromStart,
        }
    }

    /// The same with the growth-optimal bet for a canary like `worse`.
    pub(crate) fn hinted(&self, design: Design, canary: &[f64]) -> Design {
        let forecast = Forecast::new(&self.values, &self.healthy, canary);
        let best = forecast.and_then(|forecast| optimum(&design, &forecast));
        let hint = best.map(|best| best.lambda.abs()).ok().filter(|lambda| *lambda > 0.0);
        Design { hint, ..design }
    }
}

/// Table A's eight regressions.
pub(crate) fn regressions() -> Vec<Metric> {
    vec![
        Metric::yes_no("error 0.5 -> 2 %", 0.005, 0.02, [350.0, 950.0]),
        Metric::yes_no("refusal 2 -> 4 %", 0.02, 0.04, [600.0, 1200.0]),
        Metric::yes_no("judge fail 8 -> 15 %", 0.08, 0.15, [200.0, 400.0]),
        Metric::yes_no("small: error 0.5 -> 0.75 %", 0.005, 0.0075, [7400.0, 14_650.0]),
        Metric::yes_no("small: refusal 2 -> 2.5 %", 0.02, 0.025, [6800.0, 13_100.0]),
        slow_tail(),
        cost(),
        score(),
    ]
}

/// The five margins of the specification's worst case: the truth is the null's edge.
pub(crate) fn margins() -> Vec<Margin> {
    let absolute = |name, healthy: f64, shift: f64| Margin {
        metric: Metric::yes_no(name, healthy, healthy + shift, [0.0; 2]),
        ratio: 1.0,
        shift,
    };
    vec![
        absolute("error 0.5 -> 1 %, margin 0.5 pp", 0.005, 0.005),
        absolute("error 0.1 -> 0.6 %, margin 0.5 pp", 0.001, 0.005),
        absolute("refusal 2 -> 3 %, margin 1 pp", 0.02, 0.01),
        absolute("judge fail 8 -> 10 %, margin 2 pp", 0.08, 0.02),
        Margin {
            metric: Metric::yes_no("p95 exceedance 5 -> 7.5 %, ratio 1.5", 0.05, 0.075, [0.0; 2]),
            ratio: 1.5,
            shift: 0.0,
        },
    ]
}

/// Time to first token, lognormal with sigma 0.6: 5 % of control lies beyond its p95; the canary takes 30 % longer.
fn slow_tail() -> Metric {
    let beyond = 1.0 - normal_cdf(1.644_853_626_951_472 - 1.3f64.ln() / 0.6);
    Metric::yes_no("p95 TTFT +30 % (exceeds tau)", 0.05, beyond, [150.0, 350.0])
}

/// Cost, lognormal with sigma 0.8, in the 64 classes of an amount; the canary costs 15 % more.
fn cost() -> Metric {
    let sigma: f64 = 0.8;
    let location = -0.5 * sigma * sigma;
    let p999 = (location + 3.090_232_306_167_813 * sigma).exp();
    let values = AmountScale::new(1.0, p999).map(|scale| scale.values().to_vec()).unwrap_or_default();
    let cap = p999.max(8.0);
    // Rounding at random spreads a value over its two neighbours; a fine sum over the distribution does the same.
    let arm = |mean: f64| {
        let mut chances = vec![0.0; values.len()];
        let steps = 200_000;
        for k in 0..steps {
            let p = (f64::from(k) + 0.5) / f64::from(steps);
            let amount = mean * (location + sigma * coalmine_stats::special::normal_quantile(p)).exp();
            let x = (amount / cap).min(1.0);
            let above = values.partition_point(|point| *point <= x).min(values.len() - 1);
            let up = ((x - values[above - 1]) / (values[above] - values[above - 1])).min(1.0);
            chances[above] += up / f64::from(steps);
            chances[above - 1] += (1.0 - up) / f64::from(steps);
        }
        chances
    };
    let (healthy, worse) = (arm(1.0), arm(1.15));
    Metric { name: "mean cost +15 %", values, healthy, worse, stated: [350.0, 800.0] }
}

/// A judge's score of 1 to 5, best first; the canary loses 0.2 points, 0.05 of badness. The duration calculator asks for
/// 202 and 394 units here, where the specification's own score has 192 and 396.
fn score() -> Metric {
    Metric {
        name: "judge score -0.2",
        values: vec![0.0, 0.25, 0.5, 0.75, 1.0],
        healthy: vec![0.45, 0.35, 0.13, 0.05, 0.02],
        worse: vec![0.38, 0.35, 0.16, 0.07, 0.04],
        stated: [250.0, 450.0],
    }
}

/// Draws the buckets of one metric and split.
pub(crate) struct Source {
    values: Vec<f64>,
    control: Arm,
    canary: Arm,
}

/// How an arm's counts are drawn.
enum Arm {
    /// Two classes: the bad ones at once.
    Bad { units: u64, table: Alias },
    /// Unit by unit.
    Each { units: u64, table: Alias },
}

/// The counts of one bucket, reused from bucket to bucket.
#[derive(Default)]
pub(crate) struct Counts {
    control: Vec<u64>,
    canary: Vec<u64>,
}

impl Source {
    pub(crate) fn new(metric: &Metric, split: Split, canary: &[f64]) -> Self {
        Self {
            values: metric.values.clone(),
            control: Arm::new(&metric.healthy, split.control_units()),
            canary: Arm::new(canary, CANARY_UNITS),
        }
    }

    pub(crate) fn draw<'a>(&'a self, rng: &mut Rng, counts: &'a mut Counts) -> Bucket<'a> {
        self.control.draw(rng, self.values.len(), &mut counts.control);
        self.canary.draw(rng, self.values.len(), &mut counts.canary);
        Bucket { values: &self.values, control: &counts.control, canary: &counts.canary }
    }
}

impl Arm {
    fn new(chances: &[f64], units: u64) -> Self {
        match chances {
            [_, bad] => Self::Bad { units, table: Alias::binomial(units, *bad) },
            _ => Self::Each { units, table: Alias::new(chances) },
        }
    }

    fn draw(&self, rng: &mut Rng, classes: usize, counts: &mut Vec<u64>) {
        counts.clear();
        counts.resize(classes, 0);
        match self {
            Self::Bad { units, table } => {
                let bad = table.draw(rng) as u64;
                counts.copy_from_slice(&[units - bad, bad]);
            }
            Self::Each { units, table } => {
                for _ in 0..*units {
                    counts[table.draw(rng)] += 1;
                }
            }
        }
    }
}
