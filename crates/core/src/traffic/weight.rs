//! Shares in basis points, and the slot of a unit.

use crate::id::UnitKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The canary's share of units in basis points: 500 is 5 %. Never above 10 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WeightBp(u16);

impl WeightBp {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// One in ten.
    pub const TENTH: Self = Self(1_000);
    /// Everybody.
    pub const FULL: Self = Self(10_000);

    /// A weight of `bp` basis points; `None` above 10 000.
    #[must_use]
    pub const fn new(bp: u16) -> Option<Self> {
        if bp <= 10_000 { Some(Self(bp)) } else { None }
    }

    /// The weight nearest to so many basis points, within nobody and everybody.
    #[must_use]
    pub fn rounded(bp: f64) -> Self {
        Self(bp.round().clamp(0.0, 10_000.0) as u16)
    }

    /// Everybody else.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(10_000 - self.0)
    }

    /// Whether it is nobody.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The basis points.
    #[must_use]
    pub const fn bp(self) -> u16 {
        self.0
    }

    /// As a share in 0..=1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for WeightBp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 100.0)
    }
}

/// The persisted random salt of a release: other releases put other units first.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// A unit's place 0..=9999 under a release's salt. The canary has the slots below its weight, so
/// raising the weight only ever moves units from stable to canary, and never a pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of `unit` under `salt`: 64 bits of a keyed BLAKE3, scaled to 10 000
    /// (the bias of the scaling is below 10⁻¹⁵).
    #[must_use]
    pub fn of(salt: &Salt, unit: UnitKey) -> Self {
        let hash = blake3::keyed_hash(&salt.0, &unit.0.to_le_bytes());
        let mut low = [0; 8];
        low.copy_from_slice(&hash.as_bytes()[..8]);
        let scaled = (u128::from(u64::from_le_bytes(low)) * 10_000) >> 64;
        Self(u16::try_from(scaled).unwrap_or(9_999))
    }

    /// The place, 0..=9999.
    #[must_use]
    pub const fn place(self) -> u16 {
        self.0
    }

    /// Whether the slot lies below the weight.
    #[must_use]
    pub fn is_below(self, weight: WeightBp) -> bool {
        self.0 < weight.bp()
    }

    /// Whether a unit of the control at this weight is in its matched part: as many slots from the top as
    /// the canary has from the bottom, all that are left above one half. Raising the weight up to one half
    /// never makes a canary of a matched unit, nor takes one out of the matched part.
    #[must_use]
    pub fn is_matched(self, weight: WeightBp) -> bool {
        let matched = weight.bp().min(WeightBp::FULL.bp() - weight.bp());
        self.0 >= WeightBp::FULL.bp() - matched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matched_part_has_the_canarys_size_and_never_meets_it() {
        for bp in [1, 500, 2_500, 5_000, 5_001, 9_000, 10_000] {
            let weight = WeightBp::new(bp).unwrap();
            let slots = || (0..10_000).map(Slot);
            let matched = slots().filter(|slot| slot.is_matched(weight)).count();
            assert_eq!(matched, usize::from(bp.min(10_000 - bp)), "{weight}");
            assert!(slots().all(|slot| !(slot.is_matched(weight) && slot.is_below(weight))), "{weight}");
        }
    }

    #[test]
    fn up_to_one_half_nobody_leaves_the_matched_part() {
        for bp in 1..5_000 {
            let (low, high) = (WeightBp::new(bp).unwrap(), WeightBp::new(bp + 1).unwrap());
            let first = Slot(WeightBp::FULL.bp() - bp);
            assert!(first.is_matched(low) && first.is_matched(high) && !first.is_below(WeightBp::new(5_000).unwrap()));
        }
    }
}
