//! Which of a provider's addresses are worth trying. A breaker only puts its address behind its
//! siblings: with nobody better, it is tried all the same, for refusing could not help anybody.

use coalmine_core::time::{SpanMs, UnixMs};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Failures in a row that open it.
const OPENS_AFTER: u32 = 3;
/// How long it stays open at first; doubled with every further failure.
const FIRST_PAUSE: SpanMs = SpanMs::secs(1);
/// The longest pause.
const LONGEST_PAUSE: SpanMs = SpanMs::secs(30);

/// The state of one address.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: AtomicU32,
    open_until: AtomicU64,
}

impl Breaker {
    /// Whether its address is worth trying now.
    pub(crate) fn is_closed(&self, now: UnixMs) -> bool {
        self.open_until.load(Ordering::Relaxed) <= now.0
    }

    /// An answer came (of whatever status).
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(0, Ordering::Relaxed);
        }
    }

    /// No connection, or one that broke before an answer.
    pub(crate) fn failed(&self, now: UnixMs) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if let Some(beyond) = failures.checked_sub(OPENS_AFTER) {
            let pause = FIRST_PAUSE.0.saturating_mul(1 << beyond.min(16)).min(LONGEST_PAUSE.0);
            self.open_until.store(now.0 + pause, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_three_in_a_row_and_for_longer_each_time() {
        let breaker = Breaker::default();
        let now = UnixMs(1_000_000);
        breaker.failed(now);
        breaker.failed(now);
        assert!(breaker.is_closed(now));
        breaker.failed(now);
        assert!(!breaker.is_closed(now) && breaker.is_closed(now + SpanMs::secs(1)));
        breaker.failed(now);
        assert!(!breaker.is_closed(now + SpanMs::secs(1)) && breaker.is_closed(now + SpanMs::secs(2)));
        (0..100).for_each(|_| breaker.failed(now));
        assert!(breaker.is_closed(now + SpanMs::secs(30)));
        breaker.succeeded();
        assert!(breaker.is_closed(now));
    }
}
