//! When stable may answer in the canary's place: a budget, and what stable said of the requests that
//! the canary refused.

use coalmine_core::traffic::weight::WeightBp;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The price of one rescue; every canary request pays in its weight in basis points.
const RESCUE: u64 = 10_000;
/// The most rescues that can be saved up for a bad moment.
const SAVED_MAX: u64 = 50;
/// How many proofs are remembered.
const PROOFS: u32 = 8;

/// A canary's rescues: a share of its requests, kept as tokens. The first failure of a release can
/// be rescued; after that, `share` of the requests in the long run.
#[derive(Debug)]
pub(crate) struct RescueBudget {
    share: AtomicU64,
    tokens: AtomicU64,
    proofs: Proofs,
}

impl RescueBudget {
    /// A new release's.
    pub(crate) fn new(share: WeightBp) -> Self {
        let first = if share == WeightBp::ZERO { 0 } else { RESCUE };
        let share = AtomicU64::new(u64::from(share.bp()));
        Self { share, tokens: AtomicU64::new(first), proofs: Proofs::default() }
    }

    /// The table changed the share.
    pub(crate) fn set_share(&self, share: WeightBp) {
        self.share.store(u64::from(share.bp()), Ordering::Relaxed);
    }

    /// A canary request began.
    pub(crate) fn pay_in(&self) {
        let share = self.share.load(Ordering::Relaxed);
        let add = |tokens: u64| Some((tokens + share).min(SAVED_MAX * RESCUE));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one rescue, if there is one.
    pub(crate) fn take(&self) -> bool {
        let take = |tokens: u64| tokens.checked_sub(RESCUE);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Stable was asked what the canary had refused.
    pub(crate) fn note_proof(&self, stable: Proof) {
        self.proofs.note(stable);
    }

    /// Whether stable accepted most of what the canary refused lately. A refusal that cannot be
    /// proven for want of budget is then the version's fault; when the two versions are alike it
    /// never is, since stable then refuses the same requests.
    pub(crate) fn stable_mostly_accepts(&self) -> bool {
        self.proofs.mostly_accepted()
    }
}

/// What stable made of a request that the canary refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It answered.
    Accepted,
    /// It refused it too.
    Refused,
}

/// The last eight proofs: below, one bit each; above, how many there are.
#[derive(Debug, Default)]
struct Proofs(AtomicU32);

impl Proofs {
    fn note(&self, stable: Proof) {
        let shift = |state: u32| {
            let bits = (state << 1 | u32::from(stable == Proof::Accepted)) & 0xFF;
            Some(((state >> 8) + 1).min(PROOFS) << 8 | bits)
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shift);
    }

    fn mostly_accepted(&self) -> bool {
        let state = self.0.load(Ordering::Relaxed);
        (state & 0xFF).count_ones() * 2 > state >> 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_canary_is_rescued_for_its_share_only() {
        let budget = RescueBudget::new(WeightBp::new(500).unwrap());
        let rescued = (0..10_000).filter(|_| {
            budget.pay_in();
            budget.take()
        });
        let rescued = rescued.count();
        assert!((500..=501).contains(&rescued), "{rescued}");
    }

    #[test]
    fn no_share_means_no_rescue_and_savings_are_bounded() {
        let none = RescueBudget::new(WeightBp::ZERO);
        none.pay_in();
        assert!(!none.take());
        let budget = RescueBudget::new(WeightBp::FULL);
        (0..1_000).for_each(|_| budget.pay_in());
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 50);
    }

    #[test]
    fn unproven_refusals_follow_the_last_eight_proofs() {
        let budget = RescueBudget::new(WeightBp::FULL);
        assert!(!budget.stable_mostly_accepts(), "without a proof nothing is held against the version");
        budget.note_proof(Proof::Accepted);
        assert!(budget.stable_mostly_accepts());
        budget.note_proof(Proof::Refused);
        assert!(!budget.stable_mostly_accepts(), "half is not most");
        (0..8).for_each(|_| budget.note_proof(Proof::Refused));
        (0..4).for_each(|_| budget.note_proof(Proof::Accepted));
        assert!(!budget.stable_mostly_accepts());
        budget.note_proof(Proof::Accepted);
        assert!(budget.stable_mostly_accepts());
    }
}
