//! Special functions, from one portable implementation.
//!
//! Evidence is recomputed on other machines and must come out the same to the last bit, so nothing here calls the
//! platform's own mathematics library: `ln`, `exp`, `ln_1p` and `ln Γ` come from the `libm` crate, which is plain
//! Rust.

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

/// `ln B(a, b)` for a, b > 0.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Φ(x), the standard normal distribution function.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// φ(x), the standard normal density.
#[must_use]
pub fn normal_density(x: f64) -> f64 {
    exp(-0.5 * x * x) / (std::f64::consts::TAU).sqrt()
}

/// z with Φ(z) = p, for 0 < p < 1 (−∞ and +∞ at the ends, NaN outside), to about 1e−13.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    // Newton on ln Φ, which is concave: from the left of the root it cannot overshoot by much.
    let mut z = -(-2.0 * ln(p)).sqrt();
    for _ in 0..60 {
        let cdf = normal_cdf(z);
        let step = (ln(cdf) - ln(p)) * cdf / normal_density(z);
        z -= step;
        if step.abs() < 1e-15 * (1.0 + z.abs()) {
            break;
        }
    }
    z
}

/// The regularised upper incomplete gamma function Q(a, x) for a > 0, x ≥ 0.
#[must_use]
pub fn gamma_q(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = exp(a * ln(x) - x - ln_gamma(a));
    if x < a + 1.0 { 1.0 - front * gamma_series(a, x) } else { front * gamma_fraction(a, x) }
}

/// Σ x^k / (a(a+1)…(a+k)).
fn gamma_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (1.0 / a, 1.0 / a, a);
    for _ in 0..10_000 {
        k += 1.0;
        term *= x / k;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// The continued fraction of Γ(a, x)·e^x·x^−a, by Lentz.
fn gamma_fraction(a: f64, x: f64) -> f64 {
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut fraction = d;
    for k in 1..10_000 {
        let k = f64::from(k);
        let numerator = -k * (k - a);
        b += 2.0;
        d = numerator * d + b;
        d = 1.0 / if d.abs() < tiny { tiny } else { d };
        c = b + numerator / c;
        c = if c.abs() < tiny { tiny } else { c };
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// Riemann's ζ(s) for s > 1, by Euler and Maclaurin.
#[must_use]
pub fn zeta(s: f64) -> f64 {
    let n = 20.0_f64;
    let head: f64 = (1..20).map(|k| libm::pow(f64::from(k), -s)).sum();
    let tail = libm::pow(n, -s) * (n / (s - 1.0) + 0.5);
    // B_2k/(2k)! · s(s+1)…(s+2k−2) · n^(1−s−2k)
    let bernoulli = [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30_240.0, -1.0 / 1_209_600.0, 1.0 / 47_900_160.0];
    let mut rising = s * libm::pow(n, -s - 1.0);
    let mut corrections = 0.0;
    for (k, coefficient) in bernoulli.iter().enumerate() {
        corrections += coefficient * rising;
        let at = s + 2.0 * k as f64 + 1.0;
        rising *= at * (at + 1.0) / (n * n);
    }
    head + tail + corrections
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

/// The least value of a function with one valley between `low` and `high`, and where it is, by golden section.
pub(crate) fn valley(low: f64, high: f64, width: f64, mut f: impl FnMut(f64) -> f64) -> (f64, f64) {
    let ratio = 0.5 * (5f64.sqrt() - 1.0);
    let (mut a, mut b) = (low, high);
    let (mut x, mut y) = (b - ratio * (b - a), a + ratio * (b - a));
    let (mut at_x, mut at_y) = (f(x), f(y));
    for _ in 0..400 {
        if b - a <= width {
            break;
        }
        if at_x <= at_y {
            (b, y, at_y) = (y, x, at_x);
            x = b - ratio * (b - a);
            at_x = f(x);
        } else {
            (a, x, at_x) = (x, y, at_y);
            y = a + ratio * (b - a);
            at_y = f(y);
        }
    }
    if at_x <= at_y { (x, at_x) } else { (y, at_y) }
}

/// Where a function that changes sign between `low` and `high` crosses 0, as a bracket no wider than `width`.
///
/// Interpolate, truncate, project (Oliveira and Takahashi, ACM TOMS 2020): never more steps than bisection and one,
/// and far fewer on a smooth function. `None` where the ends have the same sign or are not numbers.
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

    #[test]
    fn special_values() {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
        assert!(near(normal_quantile(0.975), 1.959_963_984_540_054));
        assert!(near(normal_quantile(1e-9), -5.997_807_015_007_686));
        assert!(near(normal_cdf(normal_quantile(0.3)), 0.3));
        assert!(normal_quantile(1.5).is_nan() && normal_quantile(0.0) == f64::NEG_INFINITY);
        assert!(near(gamma_q(1.0, 2.0), (-2f64).exp()));
        assert!(near(gamma_q(1.0, 0.3), (-0.3f64).exp()));
        assert!(near(gamma_q(5.0, 0.0), 1.0));
        assert!(near(zeta(2.0), std::f64::consts::PI.powi(2) / 6.0));
        assert!(near(zeta(1.4), 3.105_547_277_977_58));
        assert!(near(ln_beta(2.0, 3.0), (1.0f64 / 12.0).ln()));
    }

    #[test]
    fn a_valley_is_found() {
        let (x, least) = valley(0.0, 5.0, 1e-9, |x| (x - 1.2).powi(2) + 3.0);
        assert!((x - 1.2).abs() < 1e-6 && (least - 3.0).abs() < 1e-12);
    }
}
