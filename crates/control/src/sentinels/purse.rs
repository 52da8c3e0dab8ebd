//! What a round may still ask of whoever judges.

use coalmine_core::sentinel::{Asked, Judging, Spent};
use coalmine_core::time::UnixMs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The rest of a day's budget, shared by all that a round asks at once.
#[derive(Debug)]
pub(crate) struct Purse {
    judging: Judging,
    /// When the round began: it is of that day.
    at: UnixMs,
    spending: Mutex<Spending>,
}

#[derive(Debug)]
struct Spending {
    /// The day, this round included.
    day: Spent,
    round: Asked,
}

impl Purse {
    /// With what the day has spent already.
    pub(crate) fn of(judging: Judging, spent: Spent, at: UnixMs) -> Self {
        Self { judging, at, spending: Mutex::new(Spending { day: spent, round: Asked::default() }) }
    }

    /// For what a person asks by hand.
    pub(crate) fn unbounded() -> Self {
        Self::of(Judging::default(), Spent::default(), UnixMs::default())
    }

    /// Why no more may be asked.
    pub(crate) fn empty(&self) -> Option<String> {
        self.judging.over(&self.spending().day, self.at)
    }

    /// Takes the place of one question, or says why there is none.
    pub(crate) fn take(&self) -> Result<(), String> {
        let mut spending = self.spending();
        match self.judging.over(&spending.day, self.at) {
            Some(why) => Err(why),
            None => {
                spending.add(&Asked { calls: 1, ..Asked::default() }, self.at);
                Ok(())
            }
        }
    }

    /// What a question that was answered has cost.
    pub(crate) fn pay(&self, usd: Option<f64>) {
        let unpriced = u64::from(usd.is_none());
        self.spending().add(&Asked { calls: 0, usd: usd.unwrap_or(0.0), unpriced }, self.at);
    }

    /// What the round has asked so far.
    pub(crate) fn asked(&self) -> Asked {
        self.spending().round
    }

    fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spending {
    fn add(&mut self, more: &Asked, at: UnixMs) {
        self.day.add(more, at);
        self.round.calls += more.calls;
        self.round.usd += more.usd;
        self.round.unpriced += more.unpriced;
    }
}
