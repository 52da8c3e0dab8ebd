//! The two-sample betting e-process.
//!
//! Every metric is turned into a *badness* in [0, 1]. Per sealed bucket and arm only the counts per class of badness
//! are kept. With κ = n_canary / n_control as realised in the bucket, a constant centre c and a bet λ (λ > 0 on
//! rollback, λ < 0 on promotion), one bucket multiplies the capital by
//!
//! ```text
//! ln e(λ) = Σ_x canary[x]·ln(1 + λ(x − m − r·c)) + Σ_x control[x]·ln(1 − κ·r·λ(x − c))
//! ```
//!
//! Under the null *mean(canary) ≤ r·mean(control) + m in this bucket* its expectation is at most 1 (by the inequality
//! of arithmetic and geometric means, given the counts n), whatever c is and however the common mean drifts; so the
//! product is a nonnegative supermartingale, and P(E ever ≥ 1/α) ≤ α over all looks (Ville). No minimum of samples, no
//! variance, no normal approximation.
//!
//! λ is not known, so the stake is split over a grid: λ_j = 0.9·U·2^−j, j = 0..7, each with weight 1/8; where an
//! effect is designed for, its growth-optimal bet has weight ½ and each of the grid 1/16. U is the largest bet that
//! cannot lose everything at the planned odds; where the odds have come to at least twice those (a later stage with a
//! larger share), the bets that do not fit are laid out anew below the U of the new ones. In each bucket |λ| is cut to
//! 0.98·U at the realised odds. Both depend on counts alone.
//!
//! Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2023), carried
//! to two samples; for yes/no data it is the block e-value of Turner, Ly and Grünwald (JSPI 230, 2024).

use serde::{Deserialize, Serialize};

use crate::grid::{self, Grid, Sizing};
use crate::restart::{Capital, MAX_BETS};
use crate::special::ln_1p;

pub use crate::restart::{Onset, stage_mass};

/// Which null is bet against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// H0: the canary's mean badness is at most `ratio` · control's + `shift`. Evidence rolls back.
    Rollback,
    /// H0: it is at least that. Evidence promotes.
    Promote,
}

/// Everything about one e-process that is fixed before the first bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// The side.
    pub side: Side,
    /// Control's mean badness as known before, in 0..=1; a wrong one costs power, never validity.
    pub centre: f64,
    /// `r` of the null, above 0; at least 1 for a margin, 1 for none.
    pub ratio: f64,
    /// `m` of the null, in −1..=1.
    pub shift: f64,
    /// Planned canary units per control unit (κ̄), above 0: those of the stage with the fewest.
    pub odds: f64,
    /// The size |λ| of a growth-optimal bet, where an effect is designed for: it gets half of the weight.
    pub hint: Option<f64>,
    /// Whether half of the stake waits for restarts.
    pub onset: Onset,
}

/// One sealed bucket: counts per class in both arms.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    /// The badness of each class, in 0..=1.
    pub values: &'a [f64],
    /// Control's count per class.
    pub control: &'a [u64],
    /// The canary's count per class.
    pub canary: &'a [u64],
}

/// A design that cannot be bet on, or a bucket that does not fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDesign(pub &'static str);

impl std::fmt::Display for BadDesign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadDesign {}

/// A running e-process: a pure function of its design, its restarts and the buckets in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    design: Design,
    sizing: Sizing,
    capital: Capital,
}

impl EProcess {
    /// Starts at E = 1.
    ///
    /// # Errors
    /// When a number of the design is not finite or out of its range.
    pub fn new(design: Design) -> Result<Self, BadDesign> {
        design.check()?;
        let capital = Capital::new(design.onset, grid::bets(design.hint));
        Ok(Self { sizing: Sizing::new(design.odds), design, capital })
    }

    /// Opens a restart: late-onset insurance mass γ is bet from the next bucket on (`γ_k =` [`stage_mass`]`(k)` for
    /// the k-th stage of a release, the first included). γ is a share of the insurance half of the stake; what goes
    /// beyond the cash that is left of it is not bet, and neither is a γ that is not above 0. Without effect where the
    /// design's onset is [`Onset::FromStart`].
    pub fn restart(&mut self, gamma: f64) {
        self.capital.restart(gamma);
    }

    /// Folds one sealed bucket in. A bucket with an empty arm is refused: merge it forward.
    ///
    /// # Errors
    /// When the bucket's lengths differ, a value lies outside 0..=1, or an arm is empty. Nothing has changed then.
    pub fn seal(&mut self, bucket: &Bucket<'_>) -> Result<(), BadDesign> {
        let odds = bucket.odds()?;
        self.sizing.note(total(bucket.control), total(bucket.canary));
        let (grid, cap) = (self.design.grid_at(self.sizing.odds()), self.design.cap(odds));
        let mut lambdas = [0.0; MAX_BETS];
        for (lambda, stake) in lambdas.iter_mut().zip(grid.stakes) {
            *lambda = self.design.side.signed(stake.min(cap));
        }
        let gains = self.design.gains(bucket, odds, &lambdas[..grid.len]);
        self.capital.fold(&gains, &grid.weights);
        Ok(())
    }

    /// At a drift epoch: promotion evidence becomes min(E, 1) and is gathered anew. Gains are given up, losses are not
    /// forgiven. (A plain reset would be one more try at each epoch.) Rollback evidence is not touched inside a
    /// release.
    pub fn give_up_gains(&mut self) {
        self.capital.give_up_gains();
    }

    /// ln E now.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.capital.log_e()
    }

    /// The largest ln E so far (the latch for rollback; promotion evidence must stand at its line *now*).
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.capital.peak()
    }

    /// What was fixed before the first bucket.
    #[must_use]
    pub fn design(&self) -> &Design {
        &self.design
    }
}

impl Side {
    pub(crate) fn signed(self, size: f64) -> f64 {
        match self {
            Self::Rollback => size,
            Self::Promote => -size,
        }
    }
}

impl Design {
    pub(crate) fn check(&self) -> Result<(), BadDesign> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !(0.0..=1.0).contains(&self.centre) {
            return Err(BadDesign("the centre is not within 0 and 1"));
        }
        if !positive(self.ratio) {
            return Err(BadDesign("the ratio is not a number above 0"));
        }
        if !(-1.0..=1.0).contains(&self.shift) {
            return Err(BadDesign("the shift is not within -1 and 1"));
        }
        if !positive(self.odds) {
            return Err(BadDesign("the planned odds are not a number above 0"));
        }
        if self.hint.is_some_and(|hint| !positive(hint)) {
            return Err(BadDesign("the hinted bet is not a number above 0"));
        }
        Ok(())
    }

    /// U: the largest |λ| at which no outcome can lose the whole capital, at the odds κ.
    pub(crate) fn largest(&self, odds: f64) -> f64 {
        self.largest_for_canary(self.shift + self.ratio * self.centre).min(self.largest_for_control(odds))
    }

    /// U as far as the canary's factor limits it, with m + r·c as given.
    pub(crate) fn largest_for_canary(&self, line: f64) -> f64 {
        match self.side {
            Side::Rollback => grid::inverse(line),
            Side::Promote => grid::inverse(1.0 - line),
        }
    }

    /// U as far as control's factor limits it.
    pub(crate) fn largest_for_control(&self, odds: f64) -> f64 {
        let room = match self.side {
            Side::Rollback => 1.0 - self.centre,
            Side::Promote => self.centre,
        };
        grid::inverse(room) / (odds * self.ratio)
    }

    /// The most that is bet in a bucket with odds κ.
    pub(crate) fn cap(&self, odds: f64) -> f64 {
        grid::cut(self.largest(odds))
    }

    /// The most that is bet with odds κ, as far as control's factor limits it.
    pub(crate) fn cut_by(&self, odds: f64) -> f64 {
        grid::cut(self.largest_for_control(odds))
    }

    /// What a bet λ is multiplied by in the factor of a unit of control.
    pub(crate) fn control_distance(&self, odds: f64, x: f64) -> f64 {
        -odds * self.ratio * (x - self.centre)
    }

    /// The bets as planned.
    pub(crate) fn grid(&self) -> Grid {
        Grid::new(self.largest(self.odds), self.hint)
    }

    /// The bets where the odds are others than planned.
    pub(crate) fn grid_at(&self, odds: f64) -> Grid {
        if odds == self.odds { self.grid() } else { self.grid().within(self.largest(odds)) }
    }

    /// ln e of one bucket for one signed bet λ, uncut: the factor that all else here is made of.
    ///
    /// # Errors
    /// When the bucket does not fit, or λ could lose more than everything in it.
    pub fn log_factor(&self, bucket: &Bucket<'_>, lambda: f64) -> Result<f64, BadDesign> {
        let odds = bucket.odds()?;
        let gain = self.gains(bucket, odds, &[lambda])[0];
        if gain.is_finite() { Ok(gain) } else { Err(BadDesign("the bet can lose more than everything")) }
    }

    /// ln e of one bucket for each signed bet.
    pub(crate) fn gains(&self, bucket: &Bucket<'_>, odds: f64, lambdas: &[f64]) -> [f64; MAX_BETS] {
        let line = self.shift + self.ratio * self.centre;
        let mut gains = [0.0; MAX_BETS];
        for ((&x, &control), &canary) in bucket.values.iter().zip(bucket.control).zip(bucket.canary) {
            if canary > 0 {
                add(&mut gains, lambdas, canary, x - line);
            }
            if control > 0 {
                add(&mut gains, lambdas, control, self.control_distance(odds, x));
            }
        }
        gains
    }
}

impl Bucket<'_> {
    /// The realised κ = n_canary / n_control.
    ///
    /// # Errors
    /// When the lengths differ, a value lies outside 0..=1, or an arm is empty.
    pub fn odds(&self) -> Result<f64, BadDesign> {
        if self.values.len() != self.control.len() || self.values.len() != self.canary.len() {
            return Err(BadDesign("the bucket's arms have not one count per class"));
        }
        if !self.values.iter().all(|value| (0.0..=1.0).contains(value)) {
            return Err(BadDesign("the bucket has a class whose badness is not within 0 and 1"));
        }
        let (control, canary) = (total(self.control), total(self.canary));
        if control == 0 || canary == 0 {
            return Err(BadDesign("the bucket has an empty arm: merge it into the next"));
        }
        Ok(canary as f64 / control as f64)
    }
}

/// Adds `count` factors 1 + λ·distance to each bet's ln e.
pub(crate) fn add(gains: &mut [f64; MAX_BETS], lambdas: &[f64], count: u64, distance: f64) {
    for (gain, lambda) in gains.iter_mut().zip(lambdas) {
        *gain += count as f64 * ln_1p(lambda * distance);
    }
}

pub(crate) fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES_NO: [f64; 2] = [0.0, 1.0];

    fn errors(side: Side, shift: f64, hint: Option<f64>) -> EProcess {
        let design = Design { side, centre: 0.005, ratio: 1.0, shift, odds: 1.0 / 19.0, hint, onset: Onset::FromStart };
        EProcess::new(design).unwrap()
    }

    fn seal(process: &mut EProcess, control: [u64; 2], canary: [u64; 2]) {
        process.seal(&Bucket { values: &YES_NO, control: &control, canary: &canary }).unwrap();
    }

    #[test]
    fn a_bad_canary_builds_evidence_to_roll_back_and_none_to_promote() {
        let (mut back, mut promote) = (errors(Side::Rollback, 0.0, None), errors(Side::Promote, 0.005, None));
        for _ in 0..20 {
            seal(&mut back, [945, 5], [49, 1]);
            seal(&mut promote, [945, 5], [49, 1]);
        }
        assert!(back.log_e() > 20f64.ln(), "{}", back.log_e());
        assert!(promote.log_e() < 0.0, "{}", promote.log_e());
    }

    #[test]
    fn a_healthy_canary_builds_evidence_to_promote_and_none_to_roll_back() {
        let (mut back, mut promote) = (errors(Side::Rollback, 0.0, None), errors(Side::Promote, 0.005, None));
        for _ in 0..120 {
            seal(&mut back, [9450, 50], [4975, 25]);
            seal(&mut promote, [9450, 50], [4975, 25]);
        }
        assert!(promote.log_e() > 20f64.ln(), "{}", promote.log_e());
        assert!(back.log_e() < 0.0, "{}", back.log_e());
    }

    #[test]
    fn a_hint_of_the_true_size_speeds_it_up() {
        let (mut plain, mut hinted) = (errors(Side::Rollback, 0.0, None), errors(Side::Rollback, 0.0, Some(2.5)));
        for _ in 0..6 {
            seal(&mut plain, [945, 5], [49, 1]);
            seal(&mut hinted, [945, 5], [49, 1]);
        }
        assert!(hinted.log_e() > plain.log_e());
    }

    /// A stage that gives a cohort 90 % after one at 5 % finds a fault about as fast as if it had been planned for.
    #[test]
    fn a_stage_with_a_much_larger_share_is_bet_on_at_its_own_odds() {
        let mut planned = errors(Side::Rollback, 0.0, None);
        let mut own = EProcess::new(Design { odds: 9.0, ..planned.design().clone() }).unwrap();
        for _ in 0..40 {
            seal(&mut planned, [99, 1], [864, 36]);
            seal(&mut own, [99, 1], [864, 36]);
        }
        assert!(own.log_e() > 20f64.ln(), "{}", own.log_e());
        assert!(planned.log_e() > 0.8 * own.log_e(), "{} of {}", planned.log_e(), own.log_e());
    }

    #[test]
    fn a_peak_stays_when_evidence_falls_back() {
        let mut process = errors(Side::Rollback, 0.0, None);
        seal(&mut process, [945, 5], [45, 5]);
        let top = process.log_e();
        for _ in 0..50 {
            seal(&mut process, [945, 5], [50, 0]);
        }
        assert!(process.log_e() < top);
        assert_eq!(process.peak().to_bits(), top.to_bits());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut process = errors(Side::Rollback, 0.0, None);
        seal(&mut process, [945, 5], [48, 2]);
        let before = process.clone();
        let refused: [(&[f64], &[u64], &[u64]); 4] = [
            (&YES_NO, &[0, 0], &[48, 2]),
            (&YES_NO, &[945, 5], &[0, 0]),
            (&YES_NO, &[945], &[48, 2]),
            (&[0.0, f64::NAN], &[945, 5], &[48, 2]),
        ];
        for (values, control, canary) in refused {
            assert!(process.seal(&Bucket { values, control, canary }).is_err());
        }
        assert_eq!(process, before);
        let good = before.design().clone();
        assert!(EProcess::new(Design { centre: f64::NAN, ..good.clone() }).is_err());
        assert!(EProcess::new(Design { odds: 0.0, ..good.clone() }).is_err());
        assert!(EProcess::new(Design { ratio: f64::INFINITY, ..good.clone() }).is_err());
        assert!(EProcess::new(Design { hint: Some(-1.0), ..good.clone() }).is_err());
        assert!(EProcess::new(Design { shift: 1.5, ..good }).is_err());
    }

    #[test]
    fn a_stored_process_goes_on_where_it_was() {
        let mut process = errors(Side::Rollback, 0.0, Some(2.5));
        process.restart(stage_mass(1));
        seal(&mut process, [945, 5], [48, 2]);
        let stored = serde_json::to_string(&process).unwrap();
        let mut read: EProcess = serde_json::from_str(&stored).unwrap();
        seal(&mut process, [941, 9], [49, 1]);
        seal(&mut read, [941, 9], [49, 1]);
        assert!((read.log_e() - process.log_e()).abs() < 1e-12);
    }
}
