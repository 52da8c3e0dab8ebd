//! How much room model servers have, by what they say of it themselves; and that a canary is not given more than fits.
//!
//! Numbers are means over the last minute. What is borne is taken to grow as the canary's share does: for servers that
//! bear other traffic too, that is too much and never too little.

use crate::config::CapacityCheck;
use crate::sync::lock;
use crate::upstream::pool::Pool;
use coalmine_wire::exposition::Load;
use http::Method;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Readings are kept for so long,
const KEPT_FOR: Duration = Duration::from_mins(1);
/// and so many of them.
const KEPT: usize = 64;

/// What one address has said of its load.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    last: VecDeque<(Instant, Load)>,
    /// Why the newest look brought nothing.
    trouble: Option<&'static str>,
}

/// The mean of what an address said lately.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Mean {
    pub(crate) running: Option<f64>,
    pub(crate) waiting: Option<f64>,
    pub(crate) cache_used: Option<f64>,
}

impl Readings {
    fn take(&self, read: Result<Load, &'static str>, now: Instant) {
        let mut heard = lock(&self.0);
        heard.trouble = read.err();
        if let Ok(load) = read {
            heard.last.push_back((now, load));
        }
        while heard.last.len() > KEPT || heard.last.front().is_some_and(|(at, _)| now - *at > KEPT_FOR) {
            heard.last.pop_front();
        }
    }

    /// What was said lately, if the newest of it is no older than `fresh`.
    pub(crate) fn mean(&self, fresh: Duration) -> Result<Mean, &'static str> {
        self.mean_at(fresh, Instant::now())
    }

    fn mean_at(&self, fresh: Duration, now: Instant) -> Result<Mean, &'static str> {
        let heard = lock(&self.0);
        let is_fresh = heard.last.back().is_some_and(|(at, _)| now - *at <= fresh);
        if !is_fresh {
            return Err(heard.trouble.unwrap_or("nothing was heard yet"));
        }
        let mean = |of: fn(&Load) -> Option<f64>| {
            let known: Vec<f64> = heard.last.iter().filter_map(|(_, load)| of(load)).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Ok(Mean {
            running: mean(|load| load.running),
            waiting: mean(|load| load.waiting),
            cache_used: mean(|load| load.cache_used),
        })
    }
}

impl CapacityCheck {
    /// A reading that is older says nothing of now.
    pub(crate) fn fresh(&self) -> Duration {
        3 * self.every + self.within
    }
}

impl Pool {
    /// Asks one address for its load, for ever.
    pub(crate) async fn read_load(self: Arc<Self>, at: usize, check: CapacityCheck) {
        // the path was tried when the pool was built
        let Some(uri) = self.addresses[at].at_root(&check.path) else { return };
        loop {
            let read = match timeout(check.within, self.fetch(at, Method::GET, &uri, None)).await {
                Err(_elapsed) => Err("no answer in time"),
                Ok(Err(_)) => Err("no answer"),
                Ok(Ok((status, _))) if !status.is_success() => Err("its answer is an error"),
                Ok(Ok((_, page))) => Load::read(&page).ok_or("its page says nothing of load"),
            };
            self.readings[at].take(read, Instant::now());
            sleep(super::watch::about(check.every)).await;
        }
    }

    /// Why the addresses in service cannot bear `growth` times what they bear now; `None` where they can, or say
    /// nothing by configuration.
    pub(crate) fn lacks_room(&self, growth: Option<f64>) -> Option<String> {
        let check = self.capacity.as_ref()?;
        let (mut means, mut silent) = (Vec::new(), Vec::new());
        // a region that waits for the nearer one's end bears nothing of what is asked now
        for at in self.choice.serving() {
            match self.readings[at].mean(check.fresh()) {
                Ok(mean) => means.push(mean),
                Err(why) => silent.push(format!("{}: {why}", self.addresses[at].label())),
            }
        }
        let why = if !silent.is_empty() {
            format!("says nothing of its load at `{}` ({})", check.path, silent.join("; "))
        } else if means.is_empty() {
            "has no address in service".to_owned()
        } else {
            exceeds(check, &means, growth.unwrap_or(1.0))?
        };
        Some(format!("{} {why}", self.name))
    }
}

/// What would be exceeded, in words.
fn exceeds(check: &CapacityCheck, means: &[Mean], growth: f64) -> Option<String> {
    let count = means.len() as f64;
    let sum = |of: fn(&Mean) -> Option<f64>| means.iter().filter_map(of).reduce(|sum, one| sum + one);
    let addresses = if means.len() == 1 { "1 address".to_owned() } else { format!("{} addresses", means.len()) };
    let (running, waiting) = (sum(|mean| mean.running), sum(|mean| mean.waiting));
    let most = check.most.share();
    let then = if growth > 1.0 { format!(", and {growth:.1} times as much is asked") } else { String::new() };
    if let Some(waiting) = waiting.filter(|waiting| *waiting >= count) {
        return Some(format!("is full: {waiting:.1} requests wait at {addresses}"));
    }
    let cache = means.iter().filter_map(|mean| mean.cache_used).reduce(f64::max);
    if let Some(cache) = cache.filter(|cache| cache * growth > most) {
        let (used, would) = (100.0 * cache, 100.0 * cache * growth);
        return Some(format!("has no room: {used:.0} % of its cache is used{then} ({would:.0} % of {})", check.most));
    }
    let slots = f64::from(check.slots?) * count;
    let busy = running? + waiting.unwrap_or(0.0);
    (busy * growth > most * slots).then(|| {
        let would = busy * growth;
        format!(
            "has no room: {busy:.1} requests at {addresses}{then} ({would:.1} of {} of {slots:.0} slots)",
            check.most
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::traffic::weight::WeightBp;
    use proptest::prelude::*;

    fn check(slots: Option<u32>) -> CapacityCheck {
        CapacityCheck { most: WeightBp::rounded(8_000.0), slots, ..CapacityCheck::default() }
    }

    fn mean(running: f64, waiting: f64, cache: f64) -> Mean {
        Mean { running: Some(running), waiting: Some(waiting), cache_used: Some(cache) }
    }

    #[test]
    fn what_would_not_fit_is_named_with_its_numbers() {
        let two = [mean(4.0, 0.0, 0.1), mean(2.0, 0.0, 0.2)];
        assert_eq!(exceeds(&check(None), &two, 4.0), None, "80 % of 80 % fits");
        assert_eq!(
            exceeds(&check(None), &two, 5.0).unwrap(),
            "has no room: 20 % of its cache is used, and 5.0 times as much is asked (100 % of 80 %)"
        );
        assert_eq!(
            exceeds(&check(Some(16)), &two, 4.5).unwrap(),
            "has no room: 20 % of its cache is used, and 4.5 times as much is asked (90 % of 80 %)"
        );
        let light = [mean(4.0, 0.0, 0.01), mean(2.0, 0.0, 0.01)];
        assert_eq!(exceeds(&check(Some(16)), &light, 4.0), None, "24 of 25.6");
        assert_eq!(
            exceeds(&check(Some(16)), &light, 5.0).unwrap(),
            "has no room: 6.0 requests at 2 addresses, and 5.0 times as much is asked (30.0 of 80 % of 32 slots)"
        );
        let queue = [mean(4.0, 3.0, 0.1), mean(2.0, 0.0, 0.1)];
        assert_eq!(exceeds(&check(None), &queue, 1.0).unwrap(), "is full: 3.0 requests wait at 2 addresses");
        assert_eq!(exceeds(&check(Some(16)), &[Mean::default()], 9.0), None, "what is not said cannot be held against");
    }

    #[test]
    fn readings_are_a_minutes_mean_and_old_ones_say_nothing() {
        let readings = Readings::default();
        let (fresh, began) = (Duration::from_secs(17), Instant::now());
        let after = |secs| began + Duration::from_secs(secs);
        let load = |running| Ok(Load { running: Some(running), ..Load::default() });
        assert_eq!(readings.mean_at(fresh, began), Err("nothing was heard yet"));
        readings.take(load(100.0), began);
        readings.take(load(2.0), after(61));
        readings.take(load(4.0), after(66));
        assert_eq!(readings.mean_at(fresh, after(66)).unwrap().running, Some(3.0), "the first is forgotten");
        readings.take(Err("no answer"), after(71));
        assert!(readings.mean_at(fresh, after(83)).is_ok(), "looks that fail are borne for a while");
        assert_eq!(readings.mean_at(fresh, after(84)), Err("no answer"));
        for _ in 0..200 {
            readings.take(load(1.0), after(84));
        }
        assert_eq!(lock(&readings.0).last.len(), KEPT);
    }

    proptest! {
        #[test]
        fn more_is_never_easier_to_bear(
            running in 0.0..100.0, waiting in 0.0..3.0, cache in 0.0..1.0, growth in 1.0..10.0, more in 1.0..10.0,
        ) {
            let means = [mean(running, waiting, cache)];
            if exceeds(&check(Some(64)), &means, growth).is_some() {
                prop_assert!(exceeds(&check(Some(64)), &means, growth * more).is_some());
            }
        }
    }
}
