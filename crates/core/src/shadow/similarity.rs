//! How near the canary's answers are to stable's, by embeddings: the cosine of the two vectors.
//!
//! It has no direction: an answer that differs may be better. So it tests nothing and rolls nothing back. It is told,
//! beside how near stable's own second answer is to its first, and a bar that the release declares keeps the first
//! stage waiting.

use crate::id::UnitKey;
use crate::judge::is_drawn;
use crate::time::UnixMs;
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By these names sessions are drawn.
const DRAW: &str = "similarity";
const DRAW_AGAIN: &str = "similarity again";
/// Classes between two whole cosines.
const CLASSES: f64 = 100.0;

/// Which pairs are held together by embeddings, and whose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Whose embeddings: a model of a configured provider, with its parameters.
    pub version: Version,
    /// The share of the mirrored sessions that are measured.
    pub sample: WeightBp,
    /// The share of these of which stable is asked a second time, to be measured against itself.
    pub baseline: WeightBp,
    /// What the first stage waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bar: Option<Bar>,
}

/// So many sessions must be so near.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The least cosine of a session, the mean over its pairs.
    pub min: f64,
    /// The share of the sessions that must have it.
    pub share: WeightBp,
}

/// What was measured of one pair, or could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likeness {
    /// The session.
    pub unit: UnitKey,
    /// When the request began.
    pub started_at: UnixMs,
    /// The canary's answer against stable's.
    pub canary: Cosine,
    /// Stable's second answer against its first, where it was asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Cosine>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cosine {
    /// So near, in -1..=1.
    Known(f64),
    /// Whoever was asked was in trouble, which says nothing of the answers.
    Unknown,
}

/// What is summed of a young session.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LikenessSums {
    /// The canary's answers against stable's.
    pub canary: CosineSum,
    /// Stable's second answers against its first.
    #[serde(default)]
    pub again: CosineSum,
}

/// Cosines, summed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CosineSum {
    /// So many.
    pub of: u32,
    /// Their sum.
    pub sum: f64,
}

/// What was measured of all sessions that are counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Likenesses {
    /// Pairs that were measured, of sessions counted or young.
    pub pairs: u64,
    /// Measurements that whoever was asked gave no number for.
    pub unknown: u64,
    /// Measurements that came when their session was counted already.
    #[serde(default)]
    pub late: u64,
    /// Sessions, by the mean of the canary's cosines.
    pub canary: Cosines,
    /// Sessions, by the mean of stable's own.
    #[serde(default)]
    pub again: Cosines,
    /// Sessions at the bar or nearer.
    #[serde(default)]
    pub met: u64,
}

/// How sessions' cosines are spread: in classes of a hundredth.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cosines {
    /// Sessions.
    pub sessions: u64,
    /// The sum of their means.
    pub sum: f64,
    /// By hundredths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<i16, u64>,
}

/// A spread, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Sessions.
    pub sessions: u64,
    /// The mean over them.
    pub mean: f64,
    /// A tenth of them is below, to a hundredth.
    pub p10: f64,
    /// Half of them.
    pub p50: f64,
    /// Nine tenths of them.
    pub p90: f64,
}

impl Similarity {
    /// Whether the pairs of a session are measured: by a hash of its unit under the release's salt.
    #[must_use]
    pub fn includes(&self, salt: &Salt, unit: UnitKey) -> bool {
        is_drawn(self.sample, salt, DRAW, unit)
    }

    /// Whether stable is asked a second time for them.
    #[must_use]
    pub fn asks_again(&self, salt: &Salt, unit: UnitKey) -> bool {
        self.includes(salt, unit) && is_drawn(self.baseline, salt, DRAW_AGAIN, unit)
    }

    /// So many measured sessions a bar of a shadow of `min_sessions` needs.
    #[must_use]
    pub fn need(&self, min_sessions: u64) -> u64 {
        let drawn = u128::from(min_sessions) * u128::from(self.sample.bp());
        u64::try_from(drawn.div_ceil(10_000)).unwrap_or(u64::MAX).max(1)
    }
}

impl Cosine {
    /// A number that is none, or lies outside, is unknown.
    #[must_use]
    pub fn of(cosine: Option<f64>) -> Self {
        match cosine.filter(|cosine| (-1.0 - 1e-6..=1.0 + 1e-6).contains(cosine)) {
            Some(cosine) => Self::Known(cosine.clamp(-1.0, 1.0)),
            None => Self::Unknown,
        }
    }

    /// The number.
    #[must_use]
    pub fn known(self) -> Option<f64> {
        match self {
            // What came over the wire is not taken at its word.
            Self::Known(cosine) => (-1.0..=1.0).contains(&cosine).then_some(cosine),
            Self::Unknown => None,
        }
    }
}

impl CosineSum {
    const fn add(&mut self, cosine: f64) {
        self.of += 1;
        self.sum += cosine;
    }

    /// `None` where there is none.
    #[must_use]
    pub fn mean(self) -> Option<f64> {
        (self.of > 0).then(|| (self.sum / f64::from(self.of)).clamp(-1.0, 1.0))
    }
}

impl LikenessSums {
    pub(super) fn add(&mut self, likeness: &Likeness) {
        if let Some(cosine) = likeness.canary.known() {
            self.canary.add(cosine);
        }
        if let Some(cosine) = likeness.again.and_then(Cosine::known) {
            self.again.add(cosine);
        }
    }
}

impl Likenesses {
    /// Nothing was measured yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Counts what was measured of a pair.
    pub(super) fn note(&mut self, likeness: &Likeness) {
        let all = [Some(likeness.canary), likeness.again];
        self.unknown += all.into_iter().flatten().filter(|cosine| cosine.known().is_none()).count() as u64;
        self.pairs += u64::from(likeness.canary.known().is_some());
    }

    /// Counts a session.
    pub(super) fn post(&mut self, bar: Option<Bar>, sums: &LikenessSums) {
        if let Some(mean) = sums.canary.mean() {
            self.canary.add(mean);
            self.met += u64::from(bar.is_some_and(|bar| mean >= bar.min - 1e-9));
        }
        if let Some(mean) = sums.again.mean() {
            self.again.add(mean);
        }
    }
}

impl Cosines {
    fn add(&mut self, mean: f64) {
        self.sessions += 1;
        self.sum += mean;
        // Held within -100..=100 before.
        #[expect(clippy::cast_possible_truncation, reason = "a cosine in hundredths is between -100 and 100")]
        let class = (mean.clamp(-1.0, 1.0) * CLASSES).round() as i16;
        *self.classes.entry(class).or_default() += 1;
    }

    /// The least class that so many of a hundred sessions are within.
    fn quantile(&self, percent: u64) -> f64 {
        let rank = (self.sessions * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.classes.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        reached.map_or(0.0, |(class, _)| f64::from(*class) / CLASSES)
    }

    /// As it is told; `None` before the first session.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        (self.sessions > 0).then(|| Told {
            sessions: self.sessions,
            mean: self.sum / self.sessions as f64,
            p10: self.quantile(10),
            p50: self.quantile(50),
            p90: self.quantile(90),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread(cosines: &[f64]) -> Cosines {
        let mut spread = Cosines::default();
        cosines.iter().for_each(|cosine| spread.add(*cosine));
        spread
    }

    #[test]
    fn a_spread_is_told_by_its_mean_and_its_quantiles() {
        assert_eq!(Cosines::default().told(), None);
        let hundred: Vec<f64> = (1..=100).map(|n| f64::from(n) / 100.0).collect();
        let told = spread(&hundred).told().unwrap();
        assert!((told.mean - 0.505).abs() < 1e-9, "{told:?}");
        assert_eq!((told.sessions, told.p10, told.p50, told.p90), (100, 0.1, 0.5, 0.9));
        let one = spread(&[-0.25]).told().unwrap();
        assert_eq!((one.p10, one.p50, one.p90), (-0.25, -0.25, -0.25));
    }

    #[test]
    fn what_is_no_cosine_is_unknown() {
        assert_eq!(Cosine::of(Some(1.000_000_1)), Cosine::Known(1.0));
        for odd in [None, Some(f64::NAN), Some(1.5), Some(f64::NEG_INFINITY)] {
            assert_eq!(Cosine::of(odd), Cosine::Unknown);
        }
        assert_eq!(Cosine::Known(7.0).known(), None, "whatever a gateway says");
    }

    #[test]
    fn a_bar_counts_sessions_by_their_means() {
        let bar = Bar { min: 0.8, share: WeightBp::FULL };
        let mut all = Likenesses::default();
        for (of, sum) in [(2, 1.6), (2, 1.58), (1, 0.9), (0, 0.0)] {
            all.post(Some(bar), &LikenessSums { canary: CosineSum { of, sum }, again: CosineSum::default() });
        }
        assert_eq!((all.canary.sessions, all.met, all.again.sessions), (3, 2, 0));
    }

    proptest! {
        /// In whatever order sessions come, what is told is the same, in order and within -1..=1.
        #[test]
        fn a_spread_knows_no_order(mut cosines in prop::collection::vec(-1.0..=1.0_f64, 1..60)) {
            let told = spread(&cosines).told().unwrap();
            prop_assert!(-1.0 <= told.p10 && told.p10 <= told.p50 && told.p50 <= told.p90 && told.p90 <= 1.0);
            cosines.reverse();
            let again = spread(&cosines).told().unwrap();
            prop_assert_eq!((again.p10, again.p50, again.p90), (told.p10, told.p50, told.p90));
            prop_assert!((again.mean - told.mean).abs() < 1e-9);
        }

        /// Who is asked again is measured; both draws are blind to all but the unit.
        #[test]
        fn the_baseline_is_drawn_from_the_sample(unit: u128, sample in 0..=10_000_u16, baseline in 0..=10_000_u16) {
            let version = Version {
                provider: "p".into(), model: "e".to_owned(), prompt: None, tools: None,
                params: BTreeMap::new(), fallbacks: Vec::new(),
            };
            let of = |bp| WeightBp::new(bp).unwrap();
            let similarity = Similarity { version, sample: of(sample), baseline: of(baseline), bar: None };
            let (salt, unit) = (Salt([7; 32]), UnitKey(unit));
            prop_assert!(!similarity.asks_again(&salt, unit) || similarity.includes(&salt, unit));
        }
    }
}
