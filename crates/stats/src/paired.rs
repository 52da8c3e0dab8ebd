//! Pairs: the same request answered by both arms.
//!
//! A pair gives one number x: 0 where the canary was better, ½ for a tie, 1 where it was worse; or (d + 1)/2 for a
//! difference of badness d = canary − control in [−1, 1]. H0 is *mean x ≤ ½ + m*, a one-sample bound:
//!
//! ```text
//! ln e(λ) = Σ_x counts[x]·ln(1 + λ(x − ½ − m))
//! ```
//!
//! The request itself cancels, so pairs decide in a third of the units that two independent samples need, wherever a
//! request can be answered twice without side effects. m is in units of x: half of a difference of badness.
//!
//! ```
//! use coalmine_stats::betting::Side;
//! use coalmine_stats::limit::Limit;
//! use coalmine_stats::paired::{PREFERENCE, bound, preference};
//!
//! let mut pairs = Limit::new(bound(Side::Rollback, 0.0))?;
//! let mut counts = [0u64; 3];
//! for (control, canary) in [(0.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)] {
//!     counts[preference(control, canary)] += 1;
//! }
//! assert_eq!(counts, [1, 1, 2]);
//! pairs.seal(&PREFERENCE, &counts)?;
//! # Ok::<(), coalmine_stats::betting::BadDesign>(())
//! ```

use crate::betting::Side;
use crate::limit::Bound;

/// The values of the three classes of a preference: canary better, tie, canary worse.
pub const PREFERENCE: [f64; 3] = [0.0, 0.5, 1.0];

/// The one-sample bound of a paired comparison with margin m ≥ 0, in units of x, cut to what fits below 1.
#[must_use]
pub fn bound(side: Side, margin: f64) -> Bound {
    Bound { side, mean: (0.5 + margin).clamp(0.0, 1.0), ..Bound::at_most(0.5) }
}

/// The class of a pair by its two badnesses: 0 canary better, 1 tie, 2 canary worse. A badness that is not a number
/// makes a tie: no evidence either way.
#[must_use]
pub fn preference(control: f64, canary: f64) -> usize {
    if canary < control {
        0
    } else if canary > control {
        2
    } else {
        1
    }
}

/// x of a difference of badness, canary − control, each in 0..=1; `None` where it is not a number.
#[must_use]
pub fn difference(control: f64, canary: f64) -> Option<f64> {
    let x = f64::midpoint(canary - control, 1.0);
    (0.0..=1.0).contains(&x).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limit;

    #[test]
    fn a_worse_canary_is_found_in_few_pairs() {
        let mut pairs = Limit::new(bound(Side::Rollback, 0.0)).unwrap();
        for _ in 0..10 {
            pairs.seal(&PREFERENCE, &[1, 15, 4]).unwrap();
        }
        assert!(pairs.peak() > 20f64.ln(), "{}", pairs.peak());
    }

    #[test]
    fn differences_are_centred_on_one_half() {
        assert_eq!(difference(0.3, 0.3), Some(0.5));
        assert_eq!(difference(1.0, 0.0), Some(0.0));
        assert_eq!(difference(0.0, 1.0), Some(1.0));
        assert_eq!(difference(f64::NAN, 1.0), None);
        assert_eq!(difference(0.0, 2.0), None);
    }
}
