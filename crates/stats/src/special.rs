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
}
