//! What judging answers for sentinels may cost in a day, and what it has cost.

use crate::key::Day;
use crate::release::words::number;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// How a sentinel's unknown begins where the money is spent, and not a provider in trouble.
pub const INSUFFICIENT: &str = "insufficient data";

/// What models may be asked about answers on a day of UTC; without a bound, as much as the suite asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Judging {
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
    /// Questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u64>,
}

/// What one round has asked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// Questions.
    pub calls: u64,
    /// US dollars, where known.
    pub usd: f64,
    /// Questions whose price is not known.
    pub unpriced: u64,
}

/// What a day has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Which day.
    pub day: Day,
    /// What was asked on it.
    pub asked: Asked,
}

impl Judging {
    /// No bound at all.
    #[must_use]
    pub const fn is_unbounded(&self) -> bool {
        self.usd_per_day.is_none() && self.calls_per_day.is_none()
    }

    /// Why no more may be asked at `now`; `None` while there is room.
    #[must_use]
    pub fn over(&self, spent: &Spent, now: UnixMs) -> Option<String> {
        let asked = spent.on(now);
        let why = match (self.usd_per_day, self.calls_per_day) {
            (Some(_), _) if asked.unpriced > 0 => {
                "a model that judges has no known price, so its budget cannot be kept; add one under `prices`"
                    .to_owned()
            }
            (Some(usd), _) if asked.usd >= usd => {
                format!("the day's budget for judging, ${}, is spent until 00:00 UTC", number(usd))
            }
            (_, Some(calls)) if asked.calls >= calls => {
                format!("the day's {calls} questions to whoever judges are used up until 00:00 UTC")
            }
            (_, _) => return None,
        };
        Some(format!("{INSUFFICIENT}: {why}"))
    }
}

impl Asked {
    /// Whether nobody was asked.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.calls == 0
    }
}

impl Spent {
    /// What was asked on the day of `now`.
    #[must_use]
    pub fn on(&self, now: UnixMs) -> Asked {
        if self.day == Day::of(now) { self.asked } else { Asked::default() }
    }

    /// Adds what a round has asked.
    pub fn add(&mut self, more: &Asked, now: UnixMs) {
        // Nothing leaves no mark, for it is not written either. What a call costs is told apart from the call.
        if *more == Asked::default() {
            return;
        }
        let asked = self.on(now);
        *self = Self {
            day: Day::of(now),
            asked: Asked {
                calls: asked.calls + more.calls,
                usd: asked.usd + more.usd,
                unpriced: asked.unpriced + more.unpriced,
            },
        };
    }

    /// Whether nothing was ever asked.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn what_a_call_costs_is_added_when_it_is_known_and_nothing_leaves_no_mark() {
        let at = UnixMs(3 * DAY);
        let mut spent = Spent::default();
        spent.add(&Asked::default(), at);
        assert_eq!(spent, Spent::default());
        spent.add(&Asked { calls: 1, ..Asked::default() }, at);
        spent.add(&Asked { usd: 0.25, ..Asked::default() }, at);
        assert_eq!(spent.on(at), Asked { calls: 1, usd: 0.25, unpriced: 0 });
    }

    #[test]
    fn a_day_ends_at_its_bound_and_the_next_begins_with_nothing() {
        let judging = Judging { usd_per_day: Some(0.05), calls_per_day: Some(3) };
        let mut spent = Spent::default();
        let at = UnixMs(DAY + 5);
        let one = |usd| Asked { calls: 1, usd, unpriced: 0 };
        spent.add(&one(0.01), at);
        assert_eq!(judging.over(&spent, at), None);
        spent.add(&one(0.04), at);
        assert!(judging.over(&spent, at).unwrap().contains("budget for judging, $0.05, is spent"));
        assert_eq!(judging.over(&spent, UnixMs(2 * DAY)), None, "a new day");
        spent.add(&one(0.01), UnixMs(2 * DAY));
        assert_eq!(spent.on(UnixMs(2 * DAY)).calls, 1);
        spent.add(&Asked { calls: 2, ..Asked::default() }, UnixMs(2 * DAY));
        assert!(judging.over(&spent, UnixMs(2 * DAY)).unwrap().starts_with("insufficient data: the day's 3 questions"));
        assert_eq!(Judging::default().over(&spent, UnixMs(2 * DAY)), None);
    }

    #[test]
    fn without_a_price_a_budget_of_money_is_no_budget() {
        let mut spent = Spent::default();
        spent.add(&Asked { calls: 1, usd: 0.0, unpriced: 1 }, UnixMs(1));
        let money = Judging { usd_per_day: Some(5.0), ..Judging::default() };
        assert!(money.over(&spent, UnixMs(1)).unwrap().contains("no known price"));
        assert_eq!(Judging { calls_per_day: Some(9), ..Judging::default() }.over(&spent, UnixMs(1)), None);
    }
}
