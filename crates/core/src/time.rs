//! Instants and spans, in milliseconds. The process that reads a clock is elsewhere.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, of the clock that the process runs on
/// (which may be scaled in demos and tests).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpanMs(pub u64);

impl UnixMs {
    /// The span from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> SpanMs {
        SpanMs(self.0.saturating_sub(earlier.0))
    }
}

impl SpanMs {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(n * 1_000)
    }
    /// `n` minutes.
    #[must_use]
    pub const fn minutes(n: u64) -> Self {
        Self(n * 60_000)
    }
    /// `n` hours.
    #[must_use]
    pub const fn hours(n: u64) -> Self {
        Self(n * 3_600_000)
    }

    /// For people, to the two largest units, rounded up: `3d 4h`, `12m 30s`, `1s`.
    #[must_use]
    pub fn rounded(self) -> String {
        let secs = self.0.div_ceil(1_000);
        let parts = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "m"), (secs % 60, "s")];
        let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
        let shown = parts.iter().skip(first).take(2).enumerate();
        let shown: Vec<String> =
            shown.filter(|(i, (n, _))| *i == 0 || *n > 0).map(|(_, (n, unit))| format!("{n}{unit}")).collect();
        shown.join(" ")
    }
}

impl Add<SpanMs> for UnixMs {
    type Output = Self;
    fn add(self, rhs: SpanMs) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<SpanMs> for UnixMs {
    type Output = Self;
    fn sub(self, rhs: SpanMs) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Add for SpanMs {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

/// Written as people write it: `90s`, `15m`, `24h`, `3d`; the largest unit that divides it.
impl fmt::Display for SpanMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if ms >= unit_ms && ms.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", ms / unit_ms);
            }
        }
        write!(f, "{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_people_write_them() {
        let told: Vec<String> =
            [0, 5, 90_000, 60_000, 3_600_000, 86_400_000, 90_000_000].map(|ms| SpanMs(ms).to_string()).into();
        assert_eq!(told, ["0ms", "5ms", "90s", "1m", "1h", "1d", "25h"]);
    }

    #[test]
    fn a_rounded_span_has_its_two_largest_units() {
        let told: Vec<String> = [0, 1, 60_000, 61_000, 3_605_000, 90_061_000].map(|ms| SpanMs(ms).rounded()).into();
        assert_eq!(told, ["0s", "1s", "1m", "1m 1s", "1h", "1d 1h"]);
    }

    #[test]
    fn time_neither_wraps_nor_runs_backwards() {
        assert_eq!(UnixMs(1).since(UnixMs(2)), SpanMs::ZERO);
        assert_eq!(UnixMs(u64::MAX) + SpanMs(1), UnixMs(u64::MAX));
        assert_eq!(UnixMs(1) - SpanMs(2), UnixMs(0));
    }
}
