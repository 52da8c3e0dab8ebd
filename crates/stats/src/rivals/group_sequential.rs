//! O'Brien–Fleming bounds at planned, equally spaced looks, by spending α as Lan and DeMets do.
//!
//! The level spent by information time t is α(t) = 2 − 2Φ(z_{α/2}/√t); the bound of each look is found by integrating
//! the density of the statistic that has not crossed before (Armitage, McPherson and Rowe, JRSS A 1969).

use crate::special::{bracket, normal_cdf, normal_density, normal_quantile};

/// Points of the grid on which the density is kept.
const POINTS: usize = 801;
/// How far below 0 it reaches, in standard deviations of the last look.
const REACH: f64 = 7.0;

/// One-sided bounds for z at each of `looks` equally spaced looks, at level α in all.
#[must_use]
pub fn bounds(looks: u32, alpha: f64) -> Vec<f64> {
    let spent = |look: u32| {
        let time = f64::from(look) / f64::from(looks);
        2.0 - 2.0 * normal_cdf(normal_quantile(1.0 - alpha / 2.0) / time.sqrt())
    };
    let mut bounds: Vec<f64> = Vec::new();
    let mut density = Density::start();
    let mut before = 0.0;
    for look in 1..=looks {
        // The sum S = z·√k has unit variance per look.
        let root = f64::from(look).sqrt();
        let target = spent(look) - before;
        before = spent(look);
        let excess = |z: f64| density.crossing(z * root) - target;
        let bound = bracket(0.0, 9.0, 1e-9, excess).map_or(f64::INFINITY, |(low, _)| low);
        density = density.step(bound * root, REACH * f64::from(looks).sqrt());
        bounds.push(bound);
    }
    bounds
}

/// The density of the sum after some looks, on runs that have not crossed.
struct Density {
    low: f64,
    width: f64,
    /// Empty at the start: all mass at 0.
    heights: Vec<f64>,
}

impl Density {
    fn start() -> Self {
        Self { low: 0.0, width: 0.0, heights: Vec::new() }
    }

    /// ∫ density · f, by the trapezoidal rule.
    fn integrate(&self, f: impl Fn(f64) -> f64) -> f64 {
        let Some(last) = self.heights.len().checked_sub(1) else { return f(0.0) };
        let part = |(k, height): (usize, &f64)| {
            let end = if k == 0 || k == last { 0.5 } else { 1.0 };
            end * height * f(self.low + self.width * k as f64)
        };
        self.width * self.heights.iter().enumerate().map(part).sum::<f64>()
    }

    /// The chance that the next look's sum lies above `line`.
    fn crossing(&self, line: f64) -> f64 {
        self.integrate(|from| 1.0 - normal_cdf(line - from))
    }

    /// The density after the next look, below `line`.
    fn step(&self, line: f64, reach: f64) -> Self {
        let low = -reach;
        let width = (line - low) / (POINTS - 1) as f64;
        let height = |k: usize| self.integrate(|from| normal_density(low + width * k as f64 - from));
        Self { low, width, heights: (0..POINTS).map(height).collect() }
    }
}
