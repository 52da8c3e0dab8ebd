//! Repeatable random numbers: SplitMix64 (Steele, Lea, Flood 2014), the same on every machine and in every
//! release, so that golden files stay golden.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Luck {
    state: u64,
}

impl Luck {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A stream of its own for the `index`-th part of what this seed makes.
    #[must_use]
    pub fn part(seed: u64, index: u64) -> Self {
        let mut luck = Self::new(seed ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let state = luck.bits();
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential of this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Log-normal of this median and spread.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Geometric, at least 1, of this mean.
    pub fn geometric(&mut self, mean: f64) -> u32 {
        let stop = 1.0 / mean.max(1.0);
        let mut n = 1;
        while n < 1_000 && self.uniform() >= stop {
            n += 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector of SplitMix64 for seed 1234567.
    #[test]
    fn it_is_splitmix64() {
        let mut luck = Luck::new(1_234_567);
        assert_eq!(luck.bits(), 6_457_827_717_110_365_317);
        assert_eq!(luck.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_means_are_right() {
        let mut luck = Luck::new(1);
        let n = 100_000;
        let mean = |total: f64| total / f64::from(n);
        assert!((mean((0..n).map(|_| luck.uniform()).sum()) - 0.5).abs() < 0.01);
        assert!((mean((0..n).map(|_| luck.exponential(3.0)).sum()) - 3.0).abs() < 0.05);
        assert!((mean((0..n).map(|_| f64::from(luck.geometric(4.0))).sum()) - 4.0).abs() < 0.05);
        assert!(mean((0..n).map(|_| luck.normal()).sum()).abs() < 0.02);
    }
}
