//! Mann–Whitney's test, and the classifier that automated canary analysis builds on it.

use crate::special::{normal_cdf, normal_quantile};

/// U of the second sample (how often its values lie above the first's, ties by half) and the one-sided p-value of "the
/// second's are larger", by the normal approximation with corrections for ties and continuity.
#[must_use]
pub fn test(first: &[f64], second: &[f64]) -> (f64, f64) {
    let mut pooled: Vec<(f64, bool)> =
        first.iter().map(|x| (*x, false)).chain(second.iter().map(|x| (*x, true))).collect();
    pooled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (n1, n2) = (first.len() as f64, second.len() as f64);
    let (mut ranks, mut ties, mut at) = (0.0, 0.0, 0usize);
    for group in pooled.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        let rank = at as f64 + f64::midpoint(1.0, size);
        ranks += rank * group.iter().filter(|(_, second)| *second).count() as f64;
        ties += size * size * size - size;
        at += group.len();
    }
    let u = ranks - n2 * (n2 + 1.0) / 2.0;
    let n = n1 + n2;
    let deviation = (n1 * n2 / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)))).sqrt();
    let z = (u - n1 * n2 / 2.0 - 0.5) / deviation;
    (u, if deviation > 0.0 { normal_cdf(-z) } else { 1.0 })
}

/// Whether the canary's points are classified *high*: the 98 % interval of the Hodges–Lehmann shift lies wholly above
/// a quarter of the shift's own size. (The "25 % tolerance" is of the estimated shift, not of the baseline.)
#[must_use]
pub fn is_high(control: &[f64], canary: &[f64]) -> bool {
    let mut shifts: Vec<f64> = canary.iter().flat_map(|b| control.iter().map(move |a| b - a)).collect();
    if shifts.is_empty() {
        return false;
    }
    shifts.sort_by(f64::total_cmp);
    let pairs = shifts.len() as f64;
    let reach = (pairs * (control.len() + canary.len() + 1) as f64 / 12.0).sqrt();
    let rank = (pairs / 2.0 - normal_quantile(0.99) * reach).floor();
    if rank < 1.0 {
        return false;
    }
    let lower = shifts[(rank as usize).min(shifts.len()) - 1];
    let estimate = shifts[shifts.len() / 2];
    lower > 0.25 * estimate.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_shift_is_high_and_ties_are_not() {
        let control: Vec<f64> = (0..60).map(|k| f64::from(k % 7)).collect();
        let canary: Vec<f64> = control.iter().map(|x| x + 5.0).collect();
        assert!(is_high(&control, &canary));
        assert!(!is_high(&control, &control));
        assert!(!is_high(&[], &canary) && !is_high(&control[..2], &canary[..2]));
    }

    #[test]
    fn only_ties_are_no_evidence() {
        assert_eq!(test(&[1.0; 5], &[1.0; 5]), (12.5, 1.0));
        let (u, p) = test(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        assert!(u == 16.0 && p < 0.02, "{u} {p}");
    }
}
