//! The asymptotic confidence sequence for a difference of means.
//!
//! Half-width after n units with variance σ² per unit, tightest at N units:
//!
//! ```text
//! two-sided  σ·sqrt( 2(nρ² + 1)/(nρ)² · ln( sqrt(nρ² + 1)/α ) )          ρ² = ( −2 ln α' + ln(1 − 2 ln α') ) / N
//! one-sided  σ·sqrt( 2(nρ² + 1)/(nρ)² · ln( 1 + sqrt(nρ² + 1)/(2α) ) )   α' = α, or 2α for one side
//! ```
//!
//! Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
//! confidence sequences" (Annals of Statistics 2024), as configured by GrowthBook (N = 5000).

use crate::boundary::Sides;
use crate::special::{ln, ln_1p};

/// ρ for a level and a planned number of units.
#[must_use]
pub fn rho(alpha: f64, planned: f64, sides: Sides) -> f64 {
    let level = match sides {
        Sides::One => 2.0 * alpha,
        Sides::Two => alpha,
    };
    let log = -2.0 * ln(level);
    ((log + ln_1p(log)) / planned).sqrt()
}

/// The half-width after `n` units of variance `variance` each.
#[must_use]
pub fn half_width(variance: f64, n: f64, planned: f64, alpha: f64, sides: Sides) -> f64 {
    let rho = rho(alpha, planned, sides);
    let scale = n * rho * rho + 1.0;
    let level = match sides {
        Sides::One => ln_1p(scale.sqrt() / (2.0 * alpha)),
        Sides::Two => ln(scale.sqrt() / alpha),
    };
    (variance * 2.0 * scale / (n * rho).powi(2) * level).sqrt()
}
