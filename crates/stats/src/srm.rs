//! Sample-ratio mismatch: do the arms get the shares that were asked for?
//!
//! A Dirichlet–multinomial mixture against the planned shares θ0, with α0 = k·θ0 and counts n per arm:
//!
//! ```text
//! ln E = ln B(α0 + n) − ln B(α0) − Σ_i n_i·ln θ0_i          B(a) = Π Γ(a_i) / Γ(Σ a_i)
//! ```
//!
//! Valid at every look (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022). Each
//! stage of a release assigns by shares of its own, so it is a *stratum* of its own, and strata multiply. Count a unit
//! in the stratum in which it was assigned, at assignment. The usual line is E ≥ 1000. A mismatch voids the evidence,
//! so it blocks advance and promotion; it never blocks a rollback, since a crashing canary is what causes it.
//!
//! ```
//! use coalmine_stats::srm::Srm;
//!
//! let mut srm = Srm::new(1000.0)?;
//! let five_percent = srm.open(&[0.95, 0.05])?;
//! srm.add(five_percent, &[94_500, 5_500])?;
//! assert!(srm.log_e() > 1000f64.ln());
//! # Ok::<(), coalmine_stats::betting::BadDesign>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::betting::BadDesign;
use crate::special::{ln, ln_gamma};

/// The e-process over all strata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Srm {
    concentration: f64,
    strata: Vec<Stratum>,
    peak: f64,
}

/// Which stratum, in the order of [`Srm::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StratumIndex(pub usize);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stratum {
    shares: Vec<f64>,
    counts: Vec<u64>,
    log_e: f64,
}

impl Srm {
    /// Starts at E = 1. The concentration k (100 to 1000) says how near to the plan a mismatch is expected to lie:
    /// larger finds smaller ones, with more units.
    ///
    /// # Errors
    /// When k is not a number above 0.
    pub fn new(concentration: f64) -> Result<Self, BadDesign> {
        if !(concentration.is_finite() && concentration > 0.0) {
            return Err(BadDesign("the concentration is not a number above 0"));
        }
        Ok(Self { concentration, strata: Vec::new(), peak: 0.0 })
    }

    /// Opens a stratum with its planned shares, one per arm.
    ///
    /// # Errors
    /// When a share is not above 0, or they do not sum to 1.
    pub fn open(&mut self, shares: &[f64]) -> Result<StratumIndex, BadDesign> {
        check(shares)?;
        self.strata.push(Stratum { shares: shares.to_vec(), counts: vec![0; shares.len()], log_e: 0.0 });
        Ok(StratumIndex(self.strata.len() - 1))
    }

    /// Adds newly assigned units per arm to a stratum.
    ///
    /// # Errors
    /// When the stratum does not exist or has another number of arms. Nothing has changed then.
    pub fn add(&mut self, stratum: StratumIndex, counts: &[u64]) -> Result<(), BadDesign> {
        let Some(found) = self.strata.get_mut(stratum.0) else {
            return Err(BadDesign("the stratum was not opened"));
        };
        if found.counts.len() != counts.len() {
            return Err(BadDesign("the stratum has another number of arms"));
        }
        for (sum, count) in found.counts.iter_mut().zip(counts) {
            *sum = sum.saturating_add(*count);
        }
        found.log_e = dirichlet(&found.counts, &found.shares, self.concentration);
        self.peak = self.peak.max(self.log_e());
        Ok(())
    }

    /// ln E now: the sum over strata.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.strata.iter().map(|stratum| stratum.log_e).sum()
    }

    /// The largest ln E so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak
    }
}

/// ln E of one stratum from its cumulative counts.
///
/// # Errors
/// When there is not one share per count, a share is not above 0, they do not sum to 1, or k is not a number above 0.
pub fn log_e(counts: &[u64], shares: &[f64], concentration: f64) -> Result<f64, BadDesign> {
    check(shares)?;
    if counts.len() != shares.len() || !(concentration.is_finite() && concentration > 0.0) {
        return Err(BadDesign("there is not one share per count, or the concentration is not above 0"));
    }
    Ok(dirichlet(counts, shares, concentration))
}

fn check(shares: &[f64]) -> Result<(), BadDesign> {
    if shares.len() < 2 || !shares.iter().all(|share| *share > 0.0 && *share < 1.0) {
        return Err(BadDesign("the shares are not at least two numbers between 0 and 1"));
    }
    if (shares.iter().sum::<f64>() - 1.0).abs() > 1e-9 {
        return Err(BadDesign("the shares do not sum to 1"));
    }
    Ok(())
}

fn dirichlet(counts: &[u64], shares: &[f64], concentration: f64) -> f64 {
    let arms = counts.iter().zip(shares).map(|(count, share)| {
        let (count, prior) = (*count as f64, concentration * share);
        ln_gamma(prior + count) - ln_gamma(prior) - count * ln(*share)
    });
    let total: f64 = counts.iter().map(|count| *count as f64).sum();
    arms.sum::<f64>() - ln_gamma(concentration + total) + ln_gamma(concentration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_multiply_and_each_keeps_its_own_shares() {
        let mut srm = Srm::new(100.0).unwrap();
        let one = srm.open(&[0.99, 0.01]).unwrap();
        let two = srm.open(&[0.5, 0.5]).unwrap();
        srm.add(one, &[9_900, 100]).unwrap();
        srm.add(two, &[5_100, 4_900]).unwrap();
        let sum =
            log_e(&[9_900, 100], &[0.99, 0.01], 100.0).unwrap() + log_e(&[5_100, 4_900], &[0.5, 0.5], 100.0).unwrap();
        assert!((srm.log_e() - sum).abs() < 1e-9);
        assert!(srm.log_e() < 0.0, "a right split is no mismatch");
    }

    #[test]
    fn adding_in_parts_or_at_once_is_the_same() {
        let (mut parts, mut once) = (Srm::new(1000.0).unwrap(), Srm::new(1000.0).unwrap());
        let (a, b) = (parts.open(&[0.95, 0.05]).unwrap(), once.open(&[0.95, 0.05]).unwrap());
        for _ in 0..10 {
            parts.add(a, &[94, 6]).unwrap();
        }
        once.add(b, &[940, 60]).unwrap();
        assert_eq!(parts.log_e().to_bits(), once.log_e().to_bits());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Srm::new(0.0).is_err());
        let mut srm = Srm::new(100.0).unwrap();
        assert!(srm.open(&[1.0]).is_err());
        assert!(srm.open(&[0.9, 0.2]).is_err());
        assert!(srm.open(&[f64::NAN, 0.5]).is_err());
        let stratum = srm.open(&[0.9, 0.1]).unwrap();
        assert!(srm.add(stratum, &[1]).is_err());
        assert!(srm.add(StratumIndex(7), &[1, 1]).is_err());
        assert!(srm.log_e().abs() < 1e-12);
    }
}
