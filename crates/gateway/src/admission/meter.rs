//! What one payer has used: rates, requests at a time, money; and what of it is still to be told.

use super::bucket::Bucket;
use crate::sync::lock;
use coalmine_core::key::{Day, Payer, Quota, Spent, Usd, Used};
use coalmine_core::time::UnixMs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// An payer's bounds, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub(crate) payer: Payer,
    pub(crate) quota: Quota,
    pub(crate) readings: Arc<Readings>,
}

/// Where an payer stands in this gateway; its money in all of them.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    pub(crate) requests: Bucket,
    pub(crate) tokens: Bucket,
    in_flight: AtomicU64,
    pub(crate) purse: Purse,
    untold: Untold,
}

/// What an payer has spent of its money. Counted here as it is spent, and raised to what the control
/// plane has counted from all gateways.
#[derive(Debug, Default)]
pub(crate) struct Purse(Mutex<Purses>);

#[derive(Debug, Default)]
struct Purses {
    day: Day,
    of_day: Usd,
    of_month: Usd,
}

#[derive(Debug, Default)]
struct Untold {
    requests: AtomicU64,
    tokens: AtomicU64,
    cost: AtomicU64,
}

/// The bound that a request would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Requests,
    Tokens,
    Concurrent,
    PerDay,
    PerMonth,
}

impl Bound {
    pub(crate) const ALL: [Self; 5] = [Self::Requests, Self::Tokens, Self::Concurrent, Self::PerDay, Self::PerMonth];

    /// As written in metrics and in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
            Self::Concurrent => "concurrent",
            Self::PerDay => "per_day",
            Self::PerMonth => "per_month",
        }
    }
}

impl Meter {
    /// Takes one request and `tokens` of it, or says which bound is broken and in how many milliseconds it
    /// may be tried again; nothing is taken then.
    pub(crate) fn take(&self, tokens: u64, now: UnixMs) -> Result<(), (Bound, u64)> {
        let Quota { requests_per_minute, tokens_per_minute, concurrent, per_day, per_month } = self.quota;
        let readings = &*self.readings;
        if per_day.is_some() || per_month.is_some() {
            readings.purse.check(per_day, per_month, now)?;
        }
        // one comes and is counted, so that of many at once no more than the bound get in
        let in_flight = readings.in_flight.fetch_add(1, Ordering::Relaxed);
        let taken = if concurrent.is_some_and(|most| in_flight >= most) {
            Err((Bound::Concurrent, 1_000))
        } else {
            let requests = requests_per_minute.map_or(Ok(()), |limit| readings.requests.take(limit, 1, now));
            requests.map_err(|wait| (Bound::Requests, wait)).and_then(|()| {
                let tokens = tokens_per_minute.map_or(Ok(()), |limit| readings.tokens.take(limit, tokens.max(1), now));
                tokens.map_err(|wait| {
                    if let Some(limit) = requests_per_minute {
                        readings.requests.give_back(limit, 1);
                    }
                    (Bound::Tokens, wait)
                })
            })
        };
        if taken.is_err() {
            readings.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// The same for one more turn of what has its place already.
    pub(crate) fn more(&self, now: UnixMs) -> Result<(), (Bound, u64)> {
        let Quota { requests_per_minute, tokens_per_minute, per_day, per_month, concurrent: _ } = self.quota;
        let readings = &*self.readings;
        if per_day.is_some() || per_month.is_some() {
            readings.purse.check(per_day, per_month, now)?;
        }
        if let Some(limit) = tokens_per_minute {
            readings.tokens.take(limit, 1, now).map_err(|wait| (Bound::Tokens, wait))?;
            readings.tokens.give_back(limit, 1);
        }
        let requests = requests_per_minute.map_or(Ok(()), |limit| readings.requests.take(limit, 1, now));
        requests.map_err(|wait| (Bound::Requests, wait))
    }

    /// What such a turn used.
    pub(crate) fn pay(&self, used: Used, now: UnixMs) {
        let readings = &*self.readings;
        if let Some(limit) = self.quota.tokens_per_minute {
            readings.tokens.owe(limit, used.tokens, now);
        }
        readings.note(used, now);
    }

    /// Undoes a [`Self::take`]: another payer refused the request.
    pub(crate) fn put_back(&self, tokens: u64) {
        if let Some(limit) = self.quota.requests_per_minute {
            self.readings.requests.give_back(limit, 1);
        }
        if let Some(limit) = self.quota.tokens_per_minute {
            self.readings.tokens.give_back(limit, tokens.max(1));
        }
        self.readings.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The request is over: `held` tokens were taken for it, and this is what it used.
    pub(crate) fn settle(&self, held: u64, used: Used, now: UnixMs) {
        let readings = &*self.readings;
        readings.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(limit) = self.quota.tokens_per_minute {
            let held = held.max(1).min(limit.max(1));
            match used.tokens.checked_sub(held) {
                Some(more) => readings.tokens.owe(limit, more, now),
                None => readings.tokens.give_back(limit, held - used.tokens),
            }
        }
        readings.note(used, now);
    }
}

impl Readings {
    fn note(&self, used: Used, now: UnixMs) {
        if used.cost > Usd(0) {
            self.purse.pay(used.cost, now);
        }
        let Untold { requests, tokens, cost } = &self.untold;
        for (untold, used) in [(requests, used.requests), (tokens, used.tokens), (cost, used.cost.0)] {
            if used > 0 {
                untold.fetch_add(used, Ordering::Relaxed);
            }
        }
    }

    /// What was used since this was asked last.
    pub(crate) fn take(&self) -> Option<Used> {
        let Untold { requests, tokens, cost } = &self.untold;
        if requests.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Used {
            requests: requests.swap(0, Ordering::Relaxed),
            tokens: tokens.swap(0, Ordering::Relaxed),
            cost: Usd(cost.swap(0, Ordering::Relaxed)),
        })
    }
}

impl Purse {
    /// What the control plane has counted; what is known here already may be more.
    pub(crate) fn raise(&self, spent: &Spent) {
        let mut purses = lock(&self.0);
        purses.turn_to(spent.day);
        if spent.day == purses.day {
            purses.of_day = purses.of_day.max(spent.of_day.cost);
        }
        if spent.day.month() == purses.day.month() {
            purses.of_month = purses.of_month.max(spent.of_month.cost);
        }
    }

    fn check(&self, per_day: Option<Usd>, per_month: Option<Usd>, now: UnixMs) -> Result<(), (Bound, u64)> {
        let mut purses = lock(&self.0);
        purses.turn_to(Day::of(now));
        let wait = |until: Day| until.begins_at().since(now).0.max(1);
        if per_month.is_some_and(|most| purses.of_month >= most) {
            return Err((Bound::PerMonth, wait(purses.day.next_month())));
        }
        if per_day.is_some_and(|most| purses.of_day >= most) {
            return Err((Bound::PerDay, wait(purses.day.next())));
        }
        Ok(())
    }

    fn pay(&self, cost: Usd, now: UnixMs) {
        let mut purses = lock(&self.0);
        purses.turn_to(Day::of(now));
        purses.of_day += cost;
        purses.of_month += cost;
    }
}

impl Purses {
    fn turn_to(&mut self, today: Day) {
        if today <= self.day {
            return;
        }
        if today.month() != self.day.month() {
            self.of_month = Usd(0);
        }
        (self.day, self.of_day) = (today, Usd(0));
    }
}
