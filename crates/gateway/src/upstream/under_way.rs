//! How many work on a request: known, because it is paid for, where its client leaves before anything of an answer has come.

use std::sync::atomic::{AtomicU32, Ordering};

/// The attempts of a request that have gone out to somebody and were not seen to fail.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(AtomicU32);

impl UnderWay {
    /// All of the request has gone out to somebody.
    pub(crate) fn went_out(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One who had it does nothing with it.
    pub(crate) fn came_back(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    /// Nobody works on it any more.
    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_those_who_have_it() {
        let under_way = UnderWay::default();
        under_way.came_back();
        assert_eq!(under_way.count(), 0);
        under_way.went_out();
        under_way.went_out();
        under_way.came_back();
        assert_eq!(under_way.count(), 1);
        under_way.clear();
        assert_eq!(under_way.count(), 0);
    }
}
