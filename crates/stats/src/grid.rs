//! The bets that a stake is split over, in all forms of the test.

use serde::{Deserialize, Serialize};

use crate::restart::MAX_BETS;
use crate::special::{exp, ln};

/// Bets of the grid, each half of the one before.
const HALVINGS: usize = 8;
/// The grid's largest bet as a share of U as planned.
const LARGEST_BET: f64 = 0.9;
/// The most of U that is bet in one bucket as realised.
const MOST_OF_U: f64 = 0.98;
/// Odds beyond this many times the planned ones get bets of their own size.
const OTHER_ODDS: f64 = 2.0;
/// ln √2.
const HALF_DOUBLING: f64 = std::f64::consts::LN_2 / 2.0;
/// Units of a bucket's thinner arm that weigh as much as all earlier buckets together.
const MEMORY: f64 = 50.0;
/// Below this a denominator of U counts as none.
const TINY: f64 = 1e-12;

/// The odds that the bets are sized for, from counts alone: as planned until the realised ones are at least twice that
/// for good, as in a later stage with a larger share.
///
/// A grid that is sized for the smallest planned odds would be cut to 0.98·U in all its parts where the odds are much
/// larger, and a bet near U loses nearly everything to one bad unit of control. Which size is bet follows from the counts
/// before and in the bucket, never from an outcome, so it costs nothing in validity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sizing {
    planned: f64,
    /// ln of the odds of late: an average over about the last [`MEMORY`] units of the thinner arm.
    late: f64,
}

impl Sizing {
    pub(crate) fn new(planned: f64) -> Self {
        Self { planned, late: ln(planned) }
    }

    /// Takes in one bucket's counts.
    pub(crate) fn note(&mut self, control: u64, canary: u64) {
        let thinner = control.min(canary) as f64;
        let realised = ln(canary as f64 / control as f64);
        self.late += (realised - self.late) * thinner / (thinner + MEMORY);
    }

    /// The odds to size bets for.
    pub(crate) fn odds(&self) -> f64 {
        sized(self.planned, exp(self.late))
    }
}

/// The odds that bets are sized for when the realised ones settle at `odds`: in steps of √2, so that a grid is kept
/// while they only jump about.
pub(crate) fn sized(planned: f64, odds: f64) -> f64 {
    let times = odds / planned;
    let steps = (ln(times) / HALF_DOUBLING).round();
    if times < OTHER_ODDS { planned } else { planned * exp(steps * HALF_DOUBLING) }
}

/// Sizes |λ| and weights; the weights sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    /// The sizes before the cut: halvings of 0.9·U, then the hint.
    pub(crate) stakes: [f64; MAX_BETS],
    /// 1/8 each; with a hint, ½ on it and 1/16 on each of the others.
    pub(crate) weights: [f64; MAX_BETS],
    /// How many bets are in play.
    pub(crate) len: usize,
}

impl Grid {
    pub(crate) fn new(largest: f64, hint: Option<f64>) -> Self {
        let (weight, hint_weight) = if hint.is_some() { (1.0 / 16.0, 0.5) } else { (1.0 / 8.0, 0.0) };
        let (mut stakes, mut weights) = ([0.0; MAX_BETS], [weight; MAX_BETS]);
        let mut size = LARGEST_BET * largest;
        for stake in &mut stakes[..HALVINGS] {
            *stake = size;
            size *= 0.5;
        }
        stakes[HALVINGS] = hint.unwrap_or(0.0);
        weights[HALVINGS] = hint_weight;
        Self { stakes, weights, len: bets(hint) }
    }

    /// The bets where U is another than planned. What fits stays: the best size follows from the fault, hardly from the
    /// odds, so a bet must be the same in all stages. What does not fit is laid out anew below 0.9·U, the nearest on top.
    pub(crate) fn within(mut self, largest: f64) -> Self {
        let most = LARGEST_BET * largest;
        let mut size = most;
        for stake in self.stakes[..HALVINGS].iter_mut().rev().filter(|stake| **stake > most) {
            *stake = size;
            size *= 0.5;
        }
        self.stakes[HALVINGS] = self.stakes[HALVINGS].min(most);
        self
    }
}

/// How many bets a mixture with or without a hint has.
pub(crate) fn bets(hint: Option<f64>) -> usize {
    HALVINGS + usize::from(hint.is_some())
}

/// 1/x, and a very large number for an x that is 0 or less.
pub(crate) fn inverse(x: f64) -> f64 {
    1.0 / x.max(TINY)
}

/// The most that is bet in one bucket whose largest possible bet is U.
pub(crate) fn cut(largest: f64) -> f64 {
    MOST_OF_U * largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_that_jump_about_the_planned_ones_keep_the_grid() {
        let mut sizing = Sizing::new(1.0 / 19.0);
        for canary in [1, 2, 5, 1, 3, 4, 1, 2, 6, 3].iter().cycle().take(500) {
            sizing.note(40, *canary);
            assert_eq!(sizing.odds(), 1.0 / 19.0);
        }
    }

    #[test]
    fn a_larger_share_is_sized_for_within_a_few_buckets() {
        let mut sizing = Sizing::new(1.0 / 19.0);
        sizing.note(950, 50);
        assert_eq!(sizing.odds(), 1.0 / 19.0);
        for _ in 0..6 {
            sizing.note(100, 900);
        }
        assert!((8.0..10.2).contains(&sizing.odds()), "{}", sizing.odds());
        sizing.note(9_500, 500);
        sizing.note(9_500, 500);
        assert_eq!(sizing.odds(), 1.0 / 19.0, "and back");
    }

    #[test]
    fn what_fits_other_odds_stays_and_the_rest_is_laid_out_below_their_largest() {
        let fitted = Grid::new(8.0, Some(3.0)).within(2.0);
        let expected = [0.9, 1.8, 1.8, 0.9, 0.45, 0.225, 0.1125, 0.05625];
        for (size, expected) in fitted.stakes.iter().zip(expected) {
            assert!((size - expected).abs() < 1e-12, "{:?}", fitted.stakes);
        }
        assert_eq!(fitted.stakes[HALVINGS], 1.8, "the hint is cut");
        assert_eq!(fitted.weights, Grid::new(8.0, Some(3.0)).weights);
    }

    #[test]
    fn sizes_go_in_steps() {
        assert_eq!(sized(0.5, 0.9), 0.5);
        assert!((sized(0.5, 1.0) - 1.0).abs() < 1e-12);
        assert!((sized(0.5, 1.1) - 1.0).abs() < 1e-12);
        assert!((sized(0.5, 1.5) - 0.5 * 8f64.sqrt()).abs() < 1e-12);
    }
}
