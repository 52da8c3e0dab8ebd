//! Which unit sends most of a release's requests: a constant session id is one "session" with a large
//! share of the traffic, and makes the evidence one of a single customer.

use crate::evidence::Listed;
use crate::id::UnitKey;
use serde::{Deserialize, Serialize};

/// Units whose count is kept at most.
const KEPT: usize = 200;

/// Request counts of units whose session is closed (Misra and Gries, 1982): every count is too low by at
/// most 1/201 of all that was added, so a unit with a larger share is never lost and none is accused wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heavy(Listed<UnitKey, u64>);

impl Heavy {
    /// Adds requests of a unit; returns its count.
    pub fn add(&mut self, unit: UnitKey, requests: u64) -> u64 {
        if let Some(count) = self.0.get_mut(&unit) {
            *count += requests;
            return *count;
        }
        let mut left = requests;
        if self.0.len() >= KEPT {
            let least = self.0.values().copied().min().unwrap_or(0).min(left);
            left -= least;
            self.0.retain(|count| {
                *count -= least;
                *count > 0
            });
        }
        if left > 0 {
            self.0.insert(unit, left);
        }
        left
    }

    /// The count of a unit.
    #[must_use]
    pub fn count(&self, unit: UnitKey) -> u64 {
        self.0.get(&unit).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_with_two_percent_is_found_among_a_hundred_thousand() {
        let mut heavy = Heavy::default();
        for i in 0..100_000_u128 {
            heavy.add(if i % 50 == 0 { UnitKey(1) } else { UnitKey(1_000 + i) }, 1);
        }
        let count = heavy.count(UnitKey(1));
        assert!((1_500..=2_000).contains(&count), "{count}");
        assert!(heavy.0.len() <= KEPT);
    }
}
