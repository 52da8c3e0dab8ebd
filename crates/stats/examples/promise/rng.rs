//! A small deterministic generator (xoshiro256++ by Blackman and Vigna, seeded by SplitMix64), and draws by alias
//! tables (Vose).

/// Random bits that depend on the seed alone.
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of a run: every run of every world has one of its own.
    pub(crate) fn new(seed: u64) -> Self {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c2, d2) = (c ^ a, d ^ b);
        self.state = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        out
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A distribution over 0..n, drawn from in constant time.
pub(crate) struct Alias {
    keep: Vec<f64>,
    other: Vec<usize>,
}

impl Alias {
    /// From chances that sum to 1.
    pub(crate) fn new(chances: &[f64]) -> Self {
        let n = chances.len();
        let mut keep: Vec<f64> = chances.iter().map(|p| p * n as f64).collect();
        let mut other: Vec<usize> = (0..n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| keep[*i] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            other[low] = high;
            keep[high] -= 1.0 - keep[low];
            if keep[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { keep, other }
    }

    /// The number of bad units among `n` at rate `p`.
    pub(crate) fn binomial(n: u64, p: f64) -> Self {
        let step = |k: u64| libm::lgamma(k as f64 + 1.0);
        let ln_chance = |k: u64| {
            let (bad, good) = (k as f64, (n - k) as f64);
            step(n) - step(k) - step(n - k) + bad * p.ln() + good * (-p).ln_1p()
        };
        let raw: Vec<f64> = (0..=n).map(|k| ln_chance(k).exp()).collect();
        let sum: f64 = raw.iter().sum();
        Self::new(&raw.iter().map(|chance| chance / sum).collect::<Vec<_>>())
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let slot = ((rng.uniform() * self.keep.len() as f64) as usize).min(self.keep.len() - 1);
        if rng.uniform() < self.keep[slot] { slot } else { self.other[slot] }
    }
}
