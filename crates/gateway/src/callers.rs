//! Which turn called a tool: the results that a later request brings are scored to the turn that called, by the id of the
//! call alone. In memory, bounded, and of releases only; what is not found here is counted and scored to nobody.

use crate::ages::Ages;
use crate::sync::lock;
use coalmine_core::id::UnitKey;
use coalmine_core::traffic::pin::Membership;
use std::sync::Mutex;

const SHARDS: usize = 16;
/// The most in one age of one shard: some 65,000 calls in all.
const EACH: usize = 2_048;

/// Calls whose results may still come.
#[derive(Debug)]
pub(crate) struct Callers {
    shards: Box<[Mutex<Shard>]>,
}

type Shard = Ages<(UnitKey, u64), Membership, EACH>;

impl Default for Callers {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Callers {
    /// A turn of `unit` has called tools; `calls` are keys of the calls' ids.
    pub(crate) fn note(&self, unit: UnitKey, calls: &[u64], member: &Membership) {
        if calls.is_empty() {
            return;
        }
        let mut ages = lock(self.shard(unit));
        for call in calls {
            ages.put((unit, *call), member.clone());
        }
    }

    /// As whose part in a release a call was made.
    pub(crate) fn find(&self, unit: UnitKey, call: u64) -> Option<Membership> {
        lock(self.shard(unit)).get(&(unit, call)).cloned()
    }

    fn shard(&self, unit: UnitKey) -> &Mutex<Shard> {
        &self.shards[unit.0 as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::id::ReleaseId;
    use coalmine_core::time::UnixMs;
    use coalmine_core::traffic::pin::{Arm, Stratum};
    use std::sync::Arc;

    #[test]
    fn a_call_is_found_by_session_and_id_and_the_number_is_bounded() {
        let release = Arc::new(ReleaseId::from("support-1"));
        let member = Membership { release, arm: Arm::Canary, stratum: Stratum(0), exposed_at: UnixMs(1) };
        let callers = Callers::default();
        callers.note(UnitKey(1), &[7, 8], &member);
        assert_eq!(callers.find(UnitKey(1), 8), Some(member.clone()));
        assert_eq!((callers.find(UnitKey(1), 9), callers.find(UnitKey(2), 7)), (None, None));
        for call in 0..3 * EACH as u64 {
            callers.note(UnitKey(16), &[call], &member);
        }
        assert_eq!(callers.find(UnitKey(16), 0), None, "the oldest are forgotten");
        assert!(callers.find(UnitKey(16), 3 * EACH as u64 - 1).is_some());
    }
}
