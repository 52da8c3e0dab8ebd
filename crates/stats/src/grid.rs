//! The bets that a stake is split over, in all forms of the test.

use crate::restart::MAX_BETS;

/// Bets of the grid, each half of the one before.
const HALVINGS: usize = 8;
/// The grid's largest bet as a share of U as planned.
const LARGEST_BET: f64 = 0.9;
/// The most of U that is bet in one bucket as realised.
const MOST_OF_U: f64 = 0.98;
/// Below this a denominator of U counts as none.
const TINY: f64 = 1e-12;

/// Sizes |λ| and weights; the weights sum to 1.
#[derive(Debug, Clone, Copy)]
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
