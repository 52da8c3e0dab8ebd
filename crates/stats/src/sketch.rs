//! Quantiles of what was measured, for the picture.
//!
//! **For display only.** A DDSketch with a relative accuracy of 1 %: any quantile comes back within 1 % of a true one,
//! in bounded memory, and sketches merge by addition. Source: Masson, Rim and Lee, "DDSketch" (VLDB 2019); the buckets
//! are those of the `sketches-ddsketch` crate.
//!
//! ```
//! use coalmine_stats::sketch::Sketch;
//!
//! let mut ttft_ms = Sketch::new();
//! for ms in 1..=1000 {
//!     ttft_ms.add(f64::from(ms));
//! }
//! let p95 = ttft_ms.quantile(0.95).unwrap();
//! assert!((p95 - 950.0).abs() <= 0.01 * 950.0 + 1.0);
//! ```

use sketches_ddsketch::{Config, DDSketch};

/// Relative accuracy.
const ACCURACY: f64 = 0.01;
/// The most classes that are kept; the smallest values are folded together beyond.
const MOST_BINS: u32 = 2048;
/// Smaller values count as 0.
const SMALLEST: f64 = 1e-9;

/// A mergeable sketch of values of at least 0.
#[derive(Clone)]
pub struct Sketch {
    inner: DDSketch,
}

impl Sketch {
    /// An empty sketch.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: DDSketch::new(config()) }
    }

    /// Adds a value; one that is negative or not finite is not added, and the answer is then `false`.
    pub fn add(&mut self, value: f64) -> bool {
        let fits = value.is_finite() && value >= 0.0;
        if fits {
            self.inner.add(value);
        }
        fits
    }

    /// Adds all that another sketch has seen.
    pub fn merge(&mut self, other: &Self) {
        // The only refusal is another configuration, and there is one.
        let merged = self.inner.merge(&other.inner);
        debug_assert!(merged.is_ok(), "all sketches have one configuration");
    }

    /// The value below which a share `q` lies, to 1 %; `None` where nothing was added or `q` is not within 0 and 1.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        self.inner.quantile(q).ok().flatten()
    }

    /// How many values were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.count() as u64
    }

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.inner.sum().unwrap_or(0.0)
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").field("count", &self.count()).field("median", &self.quantile(0.5)).finish()
    }
}

/// The class of a value above 0, counted as the literature counts: class k holds γ^(k−1) < value ≤ γ^k with γ = (1 +
/// a)/(1 − a).
#[must_use]
pub fn class(value: f64) -> i32 {
    config().log_gamma(value).ceil() as i32
}

/// The value that stands for a class: 2γ^k/(1 + γ).
#[must_use]
pub fn representative(class: i32) -> f64 {
    // The crate numbers its classes from the lower edge, one less.
    config().value(class - 1)
}

fn config() -> Config {
    Config::new(ACCURACY, MOST_BINS, SMALLEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_adding() {
        let (mut odd, mut even, mut all) = (Sketch::new(), Sketch::new(), Sketch::new());
        for k in 1..=2000 {
            let value = f64::from(k).powi(2);
            assert!(all.add(value) && if k % 2 == 0 { even.add(value) } else { odd.add(value) });
        }
        odd.merge(&even);
        for q in [0.0, 0.01, 0.5, 0.95, 0.999, 1.0] {
            assert_eq!(odd.quantile(q), all.quantile(q), "{q}");
        }
        assert_eq!(odd.count(), 2000);
    }

    #[test]
    fn what_is_no_amount_is_not_counted() {
        let mut sketch = Sketch::new();
        assert!(!sketch.add(f64::NAN) && !sketch.add(f64::INFINITY) && !sketch.add(-1.0));
        assert_eq!((sketch.count(), sketch.quantile(0.5)), (0, None));
        assert!(sketch.add(0.0));
        assert_eq!(sketch.quantile(2.0), None);
    }

    #[test]
    fn a_lone_value_is_shown_by_its_class() {
        for value in [0.004, 0.25, 3.7, 120.0] {
            let mut sketch = Sketch::new();
            sketch.add(value);
            sketch.add(value);
            let shown = sketch.quantile(0.5).unwrap();
            assert!((shown - representative(class(value))).abs() < 1e-9 * value, "{value}: {shown}");
            assert!((shown - value).abs() <= 0.0101 * value);
        }
    }
}
