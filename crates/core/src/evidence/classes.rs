//! The classes that sessions are counted in, per kind of metric, and the rounding between them.
//!
//! A value between two classes goes to one of them at random with the probability that keeps its mean,
//! keyed by the session, so that the mean of the counts is the mean of the values, and a replay gives
//! the same counts (`statistics.md`, section 9, rule 9).

use crate::id::UnitKey;
use crate::metric::{Kind, Metric, Number};
use coalmine_stats::special::{exp, ln};
use std::sync::LazyLock;

/// Classes of a share or a score: 0, 1/40, …, 1.
const SHARES: usize = 41;
/// Classes of an amount: 0, and 63 geometric ones up to the cap.
const AMOUNTS: usize = 64;
/// The smallest amount above 0 that has a class, as a share of the cap (0.02 × mean at a cap of 8 × mean).
const LEAST: f64 = 1.0 / 400.0;

static SHARE_VALUES: LazyLock<Vec<f64>> =
    LazyLock::new(|| (0..SHARES).map(|class| class as f64 / (SHARES - 1) as f64).collect());

static AMOUNT_VALUES: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let steps = (AMOUNTS - 2) as f64;
    let geometric = (0..AMOUNTS - 1).map(|step| exp((1.0 - step as f64 / steps) * ln(LEAST)));
    std::iter::once(0.0).chain(geometric).collect()
});

/// The badness of each class but the last, which is *missing*; ascending from 0 to 1.
#[must_use]
pub fn values(kind: Kind) -> &'static [f64] {
    match kind {
        Kind::Rate | Kind::Exceedance | Kind::Score | Kind::Ratio => &SHARE_VALUES,
        Kind::Amount => &AMOUNT_VALUES,
    }
}

/// How many classes there are, *missing* included.
#[must_use]
pub fn count(kind: Kind) -> usize {
    values(kind).len() + 1
}

/// The class of a session's number; `None` is *missing*, and so is what is no number. The dice are thrown only for a
/// number that lies between two classes.
#[must_use]
pub fn class(kind: Kind, badness: Option<f64>, dice: impl FnOnce() -> f64) -> usize {
    let values = values(kind);
    let Some(badness) = badness.filter(|b| !b.is_nan()) else {
        return values.len();
    };
    let badness = badness.clamp(0.0, 1.0);
    let above = values.partition_point(|value| *value < badness).min(values.len() - 1);
    let below = above.saturating_sub(1);
    let (low, high) = (values[below], values[above]);
    if above == below || badness >= high {
        return above;
    }
    if dice() * (high - low) < badness - low { above } else { below }
}

/// The session's own number in 0..1 for one metric and number, from its keyed hash.
#[must_use]
pub fn dice(unit: UnitKey, metric: &Metric, number: Number) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&unit.0.to_le_bytes());
    hasher.update(number.as_str().as_bytes());
    hasher.update(metric.to_string().as_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(low) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Counts, most of which are 0, as `[length, [class, count], …]`.
pub mod sparse {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// The most classes that are read back.
    const BOUND: usize = 4_096;

    /// Writes the counts that are not 0.
    pub fn serialize<S: Serializer>(counts: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let filled: Vec<(usize, u64)> =
            counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(class, count)| (class, *count)).collect();
        (counts.len(), filled).serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let (length, filled) = <(usize, Vec<(usize, u64)>)>::deserialize(deserializer)?;
        if length > BOUND {
            return Err(D::Error::custom(format!("{length} classes are more than {BOUND}")));
        }
        let mut counts = vec![0; length];
        for (class, count) in filled {
            let slot = counts.get_mut(class);
            *slot.ok_or_else(|| D::Error::custom(format!("class {class} of {length}")))? = count;
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::TwoArms;
    use proptest::prelude::*;

    #[test]
    fn classes_ascend_from_nothing_to_everything() {
        for kind in [Kind::Rate, Kind::Exceedance, Kind::Score, Kind::Amount, Kind::Ratio] {
            let values = values(kind);
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?}");
            assert_eq!(values.first().copied().unwrap().to_bits(), 0.0_f64.to_bits());
            assert_eq!(values.last().copied().unwrap().to_bits(), 1.0_f64.to_bits());
            assert_eq!(count(kind), values.len() + 1);
        }
        assert_eq!(count(Kind::Rate), 42);
        assert_eq!(count(Kind::Amount), 65);
    }

    #[test]
    fn yes_and_no_are_exact_and_no_number_is_missing() {
        assert_eq!(class(Kind::Rate, Some(0.0), || 0.999), 0);
        assert_eq!(class(Kind::Rate, Some(1.0), || 0.0), 40);
        assert_eq!(class(Kind::Rate, None, || 0.5), 41);
        assert_eq!(class(Kind::Amount, Some(f64::NAN), || 0.5), 64);
        assert_eq!(class(Kind::Amount, Some(f64::INFINITY), || 0.5), 63, "beyond the cap is at the cap");
    }

    #[test]
    fn dice_differ_by_metric_and_number_and_repeat() {
        let unit = UnitKey(7);
        let throw = dice(unit, &Metric::ErrorRate, Number::First);
        assert_eq!(throw.to_bits(), dice(unit, &Metric::ErrorRate, Number::First).to_bits());
        assert_ne!(throw.to_bits(), dice(unit, &Metric::ErrorRate, Number::Session).to_bits());
        assert_ne!(throw.to_bits(), dice(unit, &Metric::RefusalRate, Number::First).to_bits());
        let mean = (0..4_000).map(|unit| dice(UnitKey(unit), &Metric::ErrorRate, Number::First)).sum::<f64>() / 4_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    proptest! {
        #[test]
        fn rounding_keeps_the_mean(badness in 0.0..=1.0_f64, amount in any::<bool>()) {
            let kind = if amount { Kind::Amount } else { Kind::Rate };
            let throws = 2_000_u32;
            let mean = (0..throws)
                .map(|i| values(kind)[class(kind, Some(badness), || (f64::from(i) + 0.5) / f64::from(throws))])
                .sum::<f64>() / f64::from(throws);
            prop_assert!((mean - badness).abs() < 1e-3, "{badness} became {mean}");
        }

        #[test]
        fn counts_survive_their_sparse_form(control in prop::collection::vec(0_u64..3, 0..66)) {
            let arms = TwoArms { control, ..TwoArms::default() };
            let text = serde_json::to_string(&arms).unwrap();
            prop_assert_eq!(serde_json::from_str::<TwoArms>(&text).unwrap(), arms);
        }
    }
}
