//! Special functions, from one portable implementation.
//!
//! Evidence is recomputed on other machines and must come out the same to the last bit, so nothing here calls the
//! platform's own mathematics library: `ln`, `exp`, `ln_1p` and `ln Γ` come from the `libm` crate, which is plain Rust.

/// Natural logarithm; −∞ at 0.
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `ln(1 + x)` without loss near 0.
#[must_use]
pub fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

/// `e^x`.
#[must_use]
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// `ln Γ(x)` for x > 0.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// `ln(e^a + e^b)` without overflow.
#[must_use]
pub fn ln_add_exp(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        return high;
    }
    high + ln_1p(exp(low - high))
}

/// `ln Σ e^{x_i}` without overflow; −∞ for no terms.
#[must_use]
pub fn ln_sum_exp(terms: &[f64]) -> f64 {
    let high = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !high.is_finite() {
        return high;
    }
    high + ln(terms.iter().map(|term| exp(term - high)).sum())
}

/// Where a function that changes sign between `low` and `high` crosses 0, as a bracket no wider than `width`.
///
/// Interpolate, truncate, project (Oliveira and Takahashi, ACM TOMS 2020): never more steps than bisection and one, and far
/// fewer on a smooth function. `None` where the ends have the same sign or are not numbers.
pub(crate) fn bracket(low: f64, high: f64, width: f64, mut f: impl FnMut(f64) -> f64) -> Option<(f64, f64)> {
    let (mut a, mut b, mut at_a, mut at_b) = (low, high, f(low), f(high));
    if !(at_a * at_b <= 0.0 && b > a && width > 0.0) {
        return None;
    }
    let mut slack = (libm::ceil(libm::log2((b - a) / width)) + 1.0).clamp(1.0, 1100.0);
    while b - a > width && slack >= 0.0 {
        let middle = f64::midpoint(a, b);
        let radius = 0.5 * (width * libm::exp2(slack) - (b - a));
        let secant = if at_b == at_a { middle } else { (at_b * a - at_a * b) / (at_b - at_a) };
        let toward = if middle >= secant { 1.0 } else { -1.0 };
        let nudge = 0.2 * (b - a) * (b - a) / (high - low);
        let truncated = if nudge <= (middle - secant).abs() { secant + toward * nudge } else { middle };
        let x = if (truncated - middle).abs() <= radius { truncated } else { middle - toward * radius };
        let y = f(x);
        if y * at_b > 0.0 || (y == 0.0 && at_b == 0.0) {
            (b, at_b) = (x, y)
        } else {
            (a, at_a) = (x, y)
        }
        slack -= 1.0;
    }
    Some((a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_exponentials_neither_overflow_nor_lose_small_terms() {
        assert!((ln_add_exp(1e5, 1e5) - (1e5 + 2f64.ln())).abs() < 1e-9);
        assert_eq!(ln_add_exp(f64::NEG_INFINITY, 3.0).to_bits(), 3f64.to_bits());
        assert!((ln_sum_exp(&[-1e5, -1e5, -1e5]) - (-1e5 + 3f64.ln())).abs() < 1e-9);
        assert_eq!(ln_sum_exp(&[]), f64::NEG_INFINITY);
    }

    #[test]
    fn a_crossing_is_bracketed_in_few_steps() {
        let mut calls = 0;
        let (low, high) = bracket(-1.0, 1.0, 1e-12, |x| {
            calls += 1;
            200.0 * (x - 0.3).tanh()
        })
        .unwrap();
        assert!(low <= 0.3 && 0.3 <= high && high - low <= 1e-12, "{low} {high}");
        assert!(calls <= 20, "{calls}");
        assert_eq!(bracket(0.0, 1.0, 1e-9, |x| x + 1.0), None);
        assert_eq!(bracket(0.0, 1.0, 1e-9, |_| f64::NAN), None);
    }

    #[test]
    fn a_step_is_bracketed_no_slower_than_by_halving() {
        let mut calls = 0;
        let (low, high) = bracket(0.0, 1.0, 1e-9, |x| {
            calls += 1;
            if x < 0.123_456 { 1e6 } else { -1.0 }
        })
        .unwrap();
        assert!(low <= 0.123_456 && 0.123_456 <= high && high - low <= 1e-9);
        assert!(calls <= 34, "{calls}");
    }
}
