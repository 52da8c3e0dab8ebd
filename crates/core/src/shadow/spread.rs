//! How the paired differences of sessions are spread, and what is excluded of their mean: an interval that holds at any
//! number of looks.
//!
//! A session's difference is laid into 0..=1 and counted in classes, rounded at random so that its mean is kept
//! (`coalmine_stats::histogram`). The interval inverts the one-sample betting process from both sides
//! (`coalmine_stats::interval::mean_bound`), each at half of the error.

use crate::analysis::Interval;
use crate::id::UnitKey;
use crate::metric::{Kind, Metric};
use coalmine_stats::betting::Side;
use coalmine_stats::histogram::{FRACTION_CLASSES, fraction_class, fraction_values};
use coalmine_stats::interval::{Opening, mean_bound};
use coalmine_stats::limit::Bound;
use serde::{Deserialize, Serialize};

/// A ratio is held within 1/8 and 8 before its mean is taken: so many doublings to either side.
const DOUBLINGS: f64 = 3.0;
/// The chance that the interval misses the mean at any look.
const MISSES: f64 = 0.05;

/// What is told of a paired difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// By how much the canary's share is above stable's.
    Share,
    /// How many times as long or as much: the geometric mean over the sessions, each held within 1/8 and 8.
    Ratio,
    /// By how much the share of the pairs that the canary loses is above the share that it wins.
    Losses,
}

/// A paired difference with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedInterval {
    /// What it measures.
    pub measure: Measure,
    /// In its unit; 95 % at any number of looks, each interval by itself.
    pub interval: Interval,
}

/// Sessions per class of their difference; empty before the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spread(Vec<u64>);

impl Measure {
    /// What is told of a metric's pairs.
    #[must_use]
    pub const fn of(metric: &Metric) -> Self {
        if matches!(metric, Metric::Judge(_)) {
            return Self::Losses;
        }
        match metric.kind() {
            Kind::Rate | Kind::Score => Self::Share,
            Kind::Exceedance | Kind::Amount | Kind::Ratio => Self::Ratio,
        }
    }

    /// A session's place in 0..=1, by its means of stable and canary.
    fn place(self, stable: f64, canary: f64) -> Option<f64> {
        match self {
            Self::Share | Self::Losses => Some(f64::midpoint(canary - stable, 1.0)),
            Self::Ratio if stable < 0.0 || canary < 0.0 => None,
            // Nothing against nothing is the same.
            Self::Ratio if stable == canary => Some(0.5),
            Self::Ratio => {
                let doublings = (canary / stable).log2().clamp(-DOUBLINGS, DOUBLINGS);
                Some((doublings + DOUBLINGS) / (2.0 * DOUBLINGS))
            }
        }
    }

    /// What a mean place says.
    fn told(self, place: f64) -> f64 {
        match self {
            Self::Share | Self::Losses => 2.0 * place - 1.0,
            Self::Ratio => (2.0 * DOUBLINGS * place - DOUBLINGS).exp2(),
        }
    }
}

impl Spread {
    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a session by its means.
    pub fn add(&mut self, metric: &Metric, unit: UnitKey, stable: f64, canary: f64) {
        if let Some(place) = Measure::of(metric).place(stable, canary) {
            self.add_place(metric, unit, place);
        }
    }

    /// Adds a session by a number that lies within 0 and 1 already.
    pub fn add_place(&mut self, metric: &Metric, unit: UnitKey, place: f64) {
        if let Some(class) = fraction_class(place, draw(metric, unit)) {
            self.0.resize(FRACTION_CLASSES, 0);
            self.0[class] += 1;
        }
    }

    /// What is excluded of the mean; `None` before the first session.
    #[must_use]
    pub fn interval(&self, metric: &Metric) -> Option<PairedInterval> {
        let sessions: u64 = self.0.iter().sum();
        if sessions == 0 || self.0.len() != FRACTION_CLASSES {
            return None;
        }
        let values = fraction_values();
        let mean =
            values.iter().zip(&self.0).map(|(value, count)| value * *count as f64).sum::<f64>() / sessions as f64;
        let line = (2.0 / MISSES).ln();
        let bound = |side| {
            let bound = Bound { side, ..Bound::at_most(0.5) };
            mean_bound(&bound, &values, &[(Opening::Plain, &self.0[..])], line).ok()
        };
        let measure = Measure::of(metric);
        let told = |place| measure.told(place);
        let (low, high) = (bound(Side::Rollback)?, bound(Side::Promote)?);
        Some(PairedInterval { measure, interval: Interval { low: told(low), point: told(mean), high: told(high) } })
    }
}

/// The bits that a session's number is rounded by: the same in every replay.
fn draw(metric: &Metric, unit: UnitKey) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("coalmine paired spread 1");
    hasher.update(&unit.0.to_le_bytes()).update(metric.to_string().as_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::Dice;

    fn spread(metric: &Metric, pairs: impl Iterator<Item = (f64, f64)>) -> Spread {
        let mut spread = Spread::default();
        for (unit, (stable, canary)) in (0..).zip(pairs) {
            spread.add(metric, UnitKey(unit), stable, canary);
        }
        spread
    }

    fn interval(metric: &Metric, pairs: impl Iterator<Item = (f64, f64)>) -> Interval {
        spread(metric, pairs).interval(metric).unwrap().interval
    }

    #[test]
    fn an_interval_is_told_in_the_metrics_own_terms() {
        assert_eq!(Spread::default().interval(&Metric::ErrorRate), None);
        let errors = |n: u32| (0..n).map(|unit| (0.0, f64::from(u8::from(unit % 10 == 0))));
        let few = interval(&Metric::ErrorRate, errors(40));
        let many = interval(&Metric::ErrorRate, errors(4_000));
        assert!((many.point - 0.1).abs() < 0.001 && many.low > 0.07 && many.high < 0.13, "{many:?}");
        assert!(few.low < many.low && few.high > many.high, "{few:?}");
        let slower = interval(
            &Metric::LatencyP95,
            (0..500).map(|unit| (100.0 + f64::from(unit), 150.0 + 1.5 * f64::from(unit))),
        );
        assert!(slower.low > 1.3 && slower.point > 1.45 && slower.point < 1.55 && slower.high < 1.7, "{slower:?}");
        assert_eq!(Measure::of(&Metric::Judge("better".to_owned())), Measure::Losses);
    }

    /// What fails to be a number, and nothing against nothing, break nothing.
    #[test]
    fn odd_numbers_are_held_within_their_bounds() {
        let cost = Metric::CostPerSession;
        let odd = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::INFINITY), (-1.0, 1.0)];
        let counted = spread(&cost, odd.into_iter());
        assert_eq!(counted.0.iter().sum::<u64>(), 4);
        let told = counted.interval(&cost).unwrap().interval;
        assert!(told.low >= 0.125 && told.high <= 8.0, "{told:?}");
    }

    /// The stated coverage holds though one looks after every tenth session, and the truth is between the classes.
    #[test]
    fn it_misses_the_mean_seldom_however_often_one_looks() {
        let metric = Metric::RefusalRate;
        let mut rng = Dice(23);
        let (runs, mut missed) = (300_u32, 0_u32);
        for run in 0..runs {
            let mut spread = Spread::default();
            let mut outside = false;
            for unit in 0..80 {
                let of = |happens| if happens { 1.0 } else { 0.0 };
                let (stable, canary) = (of(rng.happens(0.21)), of(rng.happens(0.34)));
                // Two requests of a session: its means lie between the classes too.
                let canary = f64::midpoint(canary, of(rng.happens(0.34)));
                spread.add(&metric, UnitKey((u128::from(run) << 64) | unit), stable, canary);
                if unit % 10 == 9 {
                    let Interval { low, high, .. } = spread.interval(&metric).unwrap().interval;
                    outside |= low > 0.13 || high < 0.13;
                }
            }
            missed += u32::from(outside);
        }
        assert!(f64::from(missed) / f64::from(runs) <= MISSES, "{missed} of {runs}");
    }
}
