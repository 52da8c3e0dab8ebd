//! A threshold checked every interval, with a limit of failures: what rollout controllers ship.

/// Counts failed checks; trips beyond its limit and stays tripped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalRule {
    threshold: f64,
    limit: u32,
    failures: u32,
}

impl IntervalRule {
    /// An interval fails when the canary's mean lies above `threshold`; more than `limit` failures trip it.
    #[must_use]
    pub fn new(threshold: f64, limit: u32) -> Self {
        Self { threshold, limit, failures: 0 }
    }

    /// Checks one interval; whether the rule has tripped.
    pub fn check(&mut self, mean: f64) -> bool {
        self.failures += u32::from(mean > self.threshold);
        self.failures > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_beyond_its_limit_and_stays_tripped() {
        let mut rule = IntervalRule::new(0.01, 2);
        let trips: Vec<bool> = [0.02, 0.0, 0.02, 0.02, 0.0].into_iter().map(|mean| rule.check(mean)).collect();
        assert_eq!(trips, [false, false, false, true, true]);
    }
}
