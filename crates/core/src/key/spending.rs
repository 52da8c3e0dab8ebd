//! What was used, by payer and day of UTC. Gateways report what is new, the control plane keeps sums.

use super::Usd;
use crate::id::{CustomerId, KeyName};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;

const DAY_MS: u64 = 86_400_000;

/// Who is charged. One request charges its key, the customer that the key is registered for, and the tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// One key.
    Key(KeyName),
    /// All keys of a customer.
    Customer(CustomerId),
    /// All traffic, with and without a key.
    Tenant,
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key {name}"),
            Self::Customer(name) => write!(f, "customer {name}"),
            Self::Tenant => f.write_str("tenant"),
        }
    }
}

/// A day of UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u64);

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Used {
    /// Requests admitted.
    pub requests: u64,
    /// Tokens read and written, as far as providers told.
    pub tokens: u64,
    /// Their price, as far as it is known.
    pub cost: Usd,
}

/// What an payer used on a day: in a delta what is new, in the store the whole day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// Who.
    pub payer: Payer,
    /// When.
    pub day: Day,
    /// How much.
    pub used: Used,
}

/// An payer's sums that quotas are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// The day that `of_day` is of; the month is the one that it lies in.
    pub day: Day,
    /// On that day.
    pub of_day: Used,
    /// In its month, that day included.
    pub of_month: Used,
}

impl Day {
    /// The day of an instant.
    #[must_use]
    pub fn of(at: UnixMs) -> Self {
        Self(at.0 / DAY_MS)
    }

    /// When it begins.
    #[must_use]
    pub fn begins_at(self) -> UnixMs {
        UnixMs(self.0 * DAY_MS)
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The first day of its month.
    #[must_use]
    pub fn month(self) -> Self {
        let (.., day_of_month) = self.civil();
        Self(self.0.saturating_sub(day_of_month - 1))
    }

    /// The first day of the month after.
    #[must_use]
    pub fn next_month(self) -> Self {
        // no month is longer than 31 days, and none shorter than 28
        Self(self.month().0 + 31).month()
    }

    /// Year, month, and day of the month from 1 on, of the Gregorian calendar (Hinnant, "chrono-compatible
    /// low-level date algorithms", `civil_from_days`).
    fn civil(self) -> (u64, u64, u64) {
        let days = self.0 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        (year + era * 400 + u64::from(month <= 2), month, day)
    }
}

/// `2026-11-24`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.tokens = self.tokens.saturating_add(more.tokens);
        self.cost += more.cost;
    }
}

/// One payer's sums on `day`, from its days in any order; those of other months and later ones are left out.
#[must_use]
pub fn spent<'a>(days: impl IntoIterator<Item = (Day, &'a Used)>, day: Day) -> Spent {
    let mut sums = Spent { day, ..Spent::default() };
    for (of, used) in days {
        if (day.month()..=day).contains(&of) {
            sums.of_month += *used;
        }
        if of == day {
            sums.of_day += *used;
        }
    }
    sums
}
