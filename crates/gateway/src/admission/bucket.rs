//! A rate, without a lock: the generic cell rate algorithm (ITU-T I.371, Annex A, "virtual scheduling"), of
//! which one number is kept, the time at which everything taken so far will have drained away.

use coalmine_core::time::UnixMs;
use std::sync::atomic::{AtomicU64, Ordering};

/// A rate is a number a minute, and as many may come at once.
const PERIOD_NS: u64 = 60_000_000_000;

/// What was taken of one rate.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Nanoseconds since 1970.
    drained_at: AtomicU64,
}

/// What a bucket says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// How many could be taken at once.
    pub(crate) left: u64,
    /// Until it is full again.
    pub(crate) full_in_ms: u64,
}

impl Bucket {
    /// Takes `n` of a rate of `limit` a minute, or says in how many milliseconds that may be tried again.
    /// More than the limit is never there: it is taken as the limit.
    pub(crate) fn take(&self, limit: u64, n: u64, now: UnixMs) -> Result<(), u64> {
        let now = nanos(now);
        let cost = cost(limit, n.min(limit.max(1)));
        let taken = self.drained_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |drained_at| {
            let next = from(drained_at, now).saturating_add(cost);
            (limit > 0 && next <= now.saturating_add(PERIOD_NS)).then_some(next)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(_) if limit == 0 => Err(PERIOD_NS / 1_000_000),
            Err(drained_at) => {
                let fits_at = from(drained_at, now).saturating_add(cost).saturating_sub(PERIOD_NS);
                Err(fits_at.saturating_sub(now).div_ceil(1_000_000).max(1))
            }
        }
    }

    /// Takes `n` whatever is there: what was used already. The debt is paid before anything else is taken.
    pub(crate) fn owe(&self, limit: u64, n: u64, now: UnixMs) {
        let (now, cost) = (nanos(now), cost(limit, n));
        let _ = self.drained_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |drained_at| {
            Some(from(drained_at, now).saturating_add(cost))
        });
    }

    /// Gives `n` back that were taken and not used.
    pub(crate) fn give_back(&self, limit: u64, n: u64) {
        let cost = cost(limit, n.min(limit.max(1)));
        let _ = self
            .drained_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |drained_at| Some(drained_at.saturating_sub(cost)));
    }

    /// How full it is.
    pub(crate) fn level(&self, limit: u64, now: UnixMs) -> Level {
        let now = nanos(now);
        let taken = from(self.drained_at.load(Ordering::Relaxed), now) - now;
        let room = u128::from(PERIOD_NS.saturating_sub(taken)) * u128::from(limit) / u128::from(PERIOD_NS);
        Level { left: u64::try_from(room).unwrap_or(limit), full_in_ms: taken.div_ceil(1_000_000) }
    }
}

/// When all that was taken has drained, seen from now. A clock that was set back does not make a bucket
/// wait for longer than its debt can be.
fn from(drained_at: u64, now: u64) -> u64 {
    const LONGEST_DEBT_NS: u64 = 60 * PERIOD_NS;
    if drained_at > now.saturating_add(LONGEST_DEBT_NS) { now } else { drained_at.max(now) }
}

fn nanos(at: UnixMs) -> u64 {
    at.0.saturating_mul(1_000_000)
}

fn cost(limit: u64, n: u64) -> u64 {
    let cost = u128::from(n) * u128::from(PERIOD_NS) / u128::from(limit.max(1));
    u64::try_from(cost).unwrap_or(u64::MAX).min(59 * PERIOD_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::time::SpanMs;
    use proptest::prelude::*;

    const NOW: UnixMs = UnixMs(1_767_571_200_000);

    #[test]
    fn a_minute_s_worth_at_once_and_then_as_it_drains() {
        let bucket = Bucket::default();
        for _ in 0..60 {
            assert_eq!(bucket.take(60, 1, NOW), Ok(()));
        }
        assert_eq!(bucket.take(60, 1, NOW), Err(1_000));
        assert_eq!(bucket.level(60, NOW), Level { left: 0, full_in_ms: 60_000 });
        assert_eq!(bucket.take(60, 1, NOW + SpanMs(999)), Err(1));
        assert_eq!(bucket.take(60, 1, NOW + SpanMs(1_000)), Ok(()));
        assert_eq!(bucket.level(60, NOW + SpanMs::minutes(5)), Level { left: 60, full_in_ms: 0 });
    }

    #[test]
    fn a_debt_is_paid_first_and_what_is_given_back_can_be_taken() {
        let bucket = Bucket::default();
        bucket.owe(100, 250, NOW);
        assert_eq!(bucket.take(100, 1, NOW), Err(90_600));
        assert_eq!(bucket.level(100, NOW).left, 0);
        bucket.give_back(100, 100);
        bucket.give_back(100, 100);
        assert_eq!(bucket.level(100, NOW).left, 50);
        assert_eq!(bucket.take(100, 50, NOW), Ok(()));
    }

    #[test]
    fn more_than_the_limit_is_taken_as_the_limit_and_a_limit_of_none_gives_none() {
        let bucket = Bucket::default();
        assert_eq!(bucket.take(10, 500, NOW), Ok(()));
        assert_eq!(bucket.take(10, 1, NOW), Err(6_000));
        assert!(Bucket::default().take(0, 1, NOW).is_err());
    }

    #[test]
    fn a_clock_set_back_for_hours_does_not_shut_it() {
        let bucket = Bucket::default();
        assert_eq!(bucket.take(1, 1, NOW), Ok(()));
        assert_eq!(bucket.take(1, 1, UnixMs(NOW.0 - 86_400_000)), Ok(()));
    }

    proptest! {
        /// In any span, no more than the rate allows plus one burst.
        #[test]
        fn never_more_than_the_rate_and_one_burst(
            limit in 1_u64..100_000,
            steps in proptest::collection::vec((0_u64..5_000, 1_u64..1_000), 1..200),
        ) {
            let bucket = Bucket::default();
            let (mut now, mut taken) = (NOW, 0_u128);
            for (pause, n) in steps {
                now = now + SpanMs(pause);
                let n = n.min(limit);
                match bucket.take(limit, n, now) {
                    Ok(()) => taken += u128::from(n),
                    Err(wait) => {
                        prop_assert!(wait >= 1);
                        prop_assert!(bucket.take(limit, n, now + SpanMs(wait)).is_ok(), "told to come back then");
                        now = now + SpanMs(wait);
                        taken += u128::from(n);
                    }
                }
                let allowed = u128::from(limit) * u128::from(60_000 + now.since(NOW).0) / 60_000 + 1;
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
