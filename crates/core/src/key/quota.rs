//! How much may be asked: rates, requests at a time, and money.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;

/// What a payer may use; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Requests a minute, with bursts of up to as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, read and written, with bursts of up to as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
    /// Money of a day of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<Usd>,
    /// Money of a month of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_month: Option<Usd>,
}

impl Quota {
    /// Whether it bounds nothing.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    /// The first bound that lets nothing through, in words; under it a client would be told to come again for ever.
    #[must_use]
    pub fn closed_by(&self) -> Option<&'static str> {
        let bounds = [
            ("requests a minute", self.requests_per_minute),
            ("tokens a minute", self.tokens_per_minute),
            ("requests at a time", self.concurrent),
            ("money of a day", self.per_day.map(|usd| usd.0)),
            ("money of a month", self.per_month.map(|usd| usd.0)),
        ];
        bounds.into_iter().find_map(|(what, bound)| (bound == Some(0)).then_some(what))
    }
}

/// US dollars in whole billionths: sums are exact in whatever order they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub u64);

impl Usd {
    const NANOS: f64 = 1e9;

    /// Of an amount in dollars; negative ones and those that are no number are nothing.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let nanos = (dollars * Self::NANOS).round() as u64;
        Self(nanos)
    }

    /// In dollars.
    #[must_use]
    pub fn dollars(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people and thresholds")]
        let nanos = self.0 as f64;
        nanos / Self::NANOS
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, more: Self) {
        self.0 = self.0.saturating_add(more.0);
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 > 0 && self.0 < 10_000_000 { 4 } else { 2 };
        write!(f, "${:.digits$}", self.dollars())
    }
}
