//! Judge scores corrected by human labels.
//!
//! A judge's scores f are many and biased, human labels y few and right. Prediction-powered inference takes the
//! judge's mean over all units and corrects it by what the labelled ones show, per arm, with a weight λ tuned to the
//! judge's worth:
//!
//! ```text
//! θ = mean_labelled(y − λf) + λ·mean_unlabelled(f)      λ* = cov(y, f) / ((1 + n/N)·var(f))      cut to [0, 1]
//! var θ = var(y − λf)/n + λ²·var(f)/N
//! ```
//!
//! λ = 0 is the labels alone. **"This judge adds nothing" is a result** ([`Estimate::gain`] near 1): then spend on
//! labels, or on another judge.
//!
//! [`estimate`] is asymptotic: it is shown, and stands outside the error bound. Inside it, [`Rectifier`] makes one
//! bounded number per unit whose mean is the labels' mean, whatever the judge does, and that is bet on like any other.
//!
//! Source: Angelopoulos, Duchi and Zrnic, "PPI++: efficient prediction-powered inference" (2023).

use crate::betting::BadDesign;
use crate::special::normal_quantile;

/// A corrected mean of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// θ, in units of the labels.
    pub mean: f64,
    /// The standard error of θ.
    pub error: f64,
    /// λ, the judge's weight: 0 is none.
    pub weight: f64,
    /// How many labels one label is worth with this judge: var(labels alone) over var θ, at least 1.
    pub gain: f64,
}

impl Estimate {
    /// The two-sided interval at level 1 − α, by the normal approximation: (lower, upper).
    #[must_use]
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        let reach = normal_quantile(1.0 - alpha / 2.0) * self.error;
        (self.mean - reach, self.mean + reach)
    }
}

/// The judge's scores of units without a label, as sums.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// How many.
    pub n: f64,
    /// Summed.
    pub sum: f64,
    /// Their squares, summed.
    pub squares: f64,
}

impl Scores {
    /// Of so many scores.
    #[must_use]
    pub fn of(scores: &[f64]) -> Self {
        scores.iter().fold(Self::default(), |mut all, score| {
            all.n += 1.0;
            all.sum += score;
            all.squares += score * score;
            all
        })
    }

    /// Takes out the score of a unit that got a label.
    pub fn take_away(&mut self, score: f64) {
        self.n -= 1.0;
        self.sum -= score;
        self.squares -= score * score;
    }

    fn with(mut self, scores: impl Iterator<Item = f64>) -> Self {
        for score in scores {
            self.n += 1.0;
            self.sum += score;
            self.squares += score * score;
        }
        self
    }

    fn mean(self) -> f64 {
        self.sum / self.n
    }

    fn variance(self) -> f64 {
        if self.n > 1.0 { ((self.squares - self.sum * self.sum / self.n) / (self.n - 1.0)).max(0.0) } else { 0.0 }
    }
}

/// The corrected mean of one arm from pairs (human label, judge score) and the scores of units without a label.
///
/// # Errors
/// With fewer than 2 labels, or a number that is not finite.
pub fn estimate(labelled: &[(f64, f64)], unlabelled: &[f64]) -> Result<Estimate, BadDesign> {
    estimate_from(labelled, &Scores::of(unlabelled))
}

/// The same from the sums of the scores without a label.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_from(labelled: &[(f64, f64)], unlabelled: &Scores) -> Result<Estimate, BadDesign> {
    if labelled.len() < 2 {
        return Err(BadDesign("there are fewer than two labels"));
    }
    let finite = unlabelled.sum.is_finite() && unlabelled.squares.is_finite();
    if !labelled.iter().all(|(y, f)| y.is_finite() && f.is_finite()) || !finite {
        return Err(BadDesign("a label or a score is not a finite number"));
    }
    let n = labelled.len() as f64;
    let labels = || labelled.iter().map(|(y, _)| *y);
    let alone = variance(labels()) / n;
    let weight = if unlabelled.n < 0.5 { 0.0 } else { tuned(labelled, unlabelled) };
    let residual = || labelled.iter().map(|(y, f)| y - weight * f);
    let scores = if weight > 0.0 { weight * unlabelled.mean() } else { 0.0 };
    let spread = if weight > 0.0 { weight * weight * unlabelled.variance() / unlabelled.n } else { 0.0 };
    let corrected = variance(residual()) / n + spread;
    let gain = if corrected > 0.0 { (alone / corrected).max(1.0) } else { 1.0 };
    Ok(Estimate { mean: mean(residual()) + scores, error: corrected.sqrt(), weight, gain })
}

/// One arm's mean less another's, from independent estimates; weight and gain are the smaller ones.
#[must_use]
pub fn difference(one: &Estimate, other: &Estimate) -> Estimate {
    Estimate {
        mean: one.mean - other.mean,
        error: one.error.hypot(other.error),
        weight: one.weight.min(other.weight),
        gain: one.gain.min(other.gain),
    }
}

/// λ*, cut to [0, 1].
fn tuned(labelled: &[(f64, f64)], unlabelled: &Scores) -> f64 {
    let n = labelled.len() as f64;
    let (mean_y, mean_f) = (mean(labelled.iter().map(|(y, _)| *y)), mean(labelled.iter().map(|(_, f)| *f)));
    let covariance = labelled.iter().map(|(y, f)| (y - mean_y) * (f - mean_f)).sum::<f64>() / (n - 1.0);
    let spread = unlabelled.with(labelled.iter().map(|(_, f)| *f)).variance();
    // A spread that is rounding error is none.
    if spread < 1e-12 {
        return 0.0;
    }
    let weight = covariance / ((1.0 + n / unlabelled.n) * spread);
    if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 }
}

/// Makes one number in [0, 1] of a unit's judge score and, where there is one, its label; the number's mean is a fixed
/// stretch of the labels' mean.
///
/// ```text
/// z = λf + 1{labelled}/π·(y − λf)          x = (z − low)/(high − low)     low = −λ(1 − π)/π,  high = 1/π
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rectifier {
    weight: f64,
    label_chance: f64,
}

impl Rectifier {
    /// With λ and the chance π that a unit is labelled, both fixed before the first bucket; π is blind to content and
    /// arm.
    ///
    /// # Errors
    /// Unless 0 ≤ λ ≤ 1 and 0 < π ≤ 1.
    pub fn new(weight: f64, label_chance: f64) -> Result<Self, BadDesign> {
        if (0.0..=1.0).contains(&weight) && label_chance > 0.0 && label_chance <= 1.0 {
            Ok(Self { weight, label_chance })
        } else {
            Err(BadDesign("the judge's weight is not within 0 and 1, or the chance of a label is not above 0"))
        }
    }

    /// x of a unit, from its judge badness and its labelled badness, each in 0..=1; `None` where one is not.
    #[must_use]
    pub fn value(&self, judge: f64, label: Option<f64>) -> Option<f64> {
        let fits = |x: f64| (0.0..=1.0).contains(&x);
        if !fits(judge) || label.is_some_and(|label| !fits(label)) {
            return None;
        }
        let prediction = self.weight * judge;
        let z = label.map_or(prediction, |label| prediction + (label - prediction) / self.label_chance);
        Some(((z - self.low()) / self.stretch()).clamp(0.0, 1.0))
    }

    /// The m of a design on x that stands for the null *mean(canary) ≤ r·mean(control) + m* on labels.
    #[must_use]
    pub fn shift(&self, ratio: f64, shift: f64) -> f64 {
        (shift + (ratio - 1.0) * self.low()) / self.stretch()
    }

    fn low(&self) -> f64 {
        -self.weight * (1.0 - self.label_chance) / self.label_chance
    }

    fn stretch(&self) -> f64 {
        1.0 / self.label_chance - self.low()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / n
}

fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let mean = mean(values.clone());
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + (value - mean).powi(2), n + 1.0));
    if n > 1.0 { sum / (n - 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels 0, 1, 1, 0, …: half are bad.
    fn label(k: u32) -> f64 {
        f64::from(k % 4 == 1 || k % 4 == 2)
    }

    #[test]
    fn a_biased_but_informative_judge_is_corrected_and_worth_its_weight() {
        let judge = |k: u32| 0.3 + 0.6 * label(k);
        let labelled: Vec<_> = (0..40).map(|k| (label(k), judge(k))).collect();
        let unlabelled: Vec<_> = (40..2040).map(judge).collect();
        let estimate = estimate(&labelled, &unlabelled).unwrap();
        assert!((estimate.mean - 0.5).abs() < 1e-9, "{estimate:?}");
        assert!(estimate.weight > 0.9 && estimate.gain > 5.0, "{estimate:?}");
        let (low, high) = estimate.interval(0.05);
        assert!(low < 0.5 && 0.5 < high);
    }

    #[test]
    fn a_judge_that_knows_nothing_adds_nothing() {
        let labelled: Vec<_> = (0..40).map(|k| (label(k), f64::from(k % 2))).collect();
        let unlabelled: Vec<_> = (0..2000).map(|k| f64::from(k % 2)).collect();
        let with = estimate(&labelled, &unlabelled).unwrap();
        assert!(with.weight < 1e-9 && (with.gain - 1.0).abs() < 1e-9, "{with:?}");
        let constant: Vec<_> = labelled.iter().map(|(y, _)| (*y, 0.7)).collect();
        assert_eq!(estimate(&constant, &[0.7; 50]).unwrap().weight, 0.0);
    }

    #[test]
    fn labels_alone_are_enough_and_too_few_are_told() {
        let labelled: Vec<_> = (0..40).map(|k| (label(k), 0.2)).collect();
        assert!((estimate(&labelled, &[]).unwrap().mean - 0.5).abs() < 1e-12);
        assert!(estimate(&labelled[..1], &[]).is_err());
        assert!(estimate(&[(f64::NAN, 0.0), (1.0, 1.0)], &[]).is_err());
    }

    #[test]
    fn a_rectified_score_keeps_the_labels_mean_whatever_the_judge_says() {
        let rectifier = Rectifier::new(0.6, 0.2).unwrap();
        for judge in [0.0, 0.4, 1.0] {
            for label in [0.0, 1.0] {
                let mean =
                    0.2 * rectifier.value(judge, Some(label)).unwrap() + 0.8 * rectifier.value(judge, None).unwrap();
                let back = mean * rectifier.stretch() + rectifier.low();
                assert!((back - label).abs() < 1e-12, "{judge} {label} {back}");
            }
        }
        assert_eq!(rectifier.value(0.5, Some(1.5)), None);
        assert_eq!(rectifier.value(f64::NAN, None), None);
        assert!(Rectifier::new(0.5, 0.0).is_err());
    }

    #[test]
    fn a_margin_on_labels_is_a_margin_on_rectified_scores() {
        let rectifier = Rectifier::new(0.6, 0.2).unwrap();
        let x = |mean: f64| (mean - rectifier.low()) / rectifier.stretch();
        let (control, ratio, shift) = (0.1, 1.5, 0.02);
        let at_null = x(ratio * control + shift) - ratio * x(control);
        assert!((at_null - rectifier.shift(ratio, shift)).abs() < 1e-12);
    }
}
