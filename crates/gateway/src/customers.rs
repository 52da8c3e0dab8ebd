//! Which session of a customer was answered last, for feedback that names the customer alone. In memory and bounded;
//! what is not found here is refused, and where the customer's sessions were on more than one version of late, nobody can
//! say which of them is meant.

use crate::ages::Ages;
use crate::phase::identify::Identified;
use crate::sync::lock;
use coalmine_core::id::{RouteName, UnitKey};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::assign::Identity;
use coalmine_core::traffic::pin::Membership;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

const SHARDS: usize = 16;
/// The most in one age of one shard: some 130,000 customers in all.
const EACH: usize = 4_096;
/// A session that was answered longer ago is nobody's last.
const LATE: SpanMs = SpanMs::hours(24);
/// So long after a session on another version nobody can say which of the two is meant.
const MIXED: SpanMs = SpanMs::hours(1);

/// Customers and their last sessions.
#[derive(Debug)]
pub(crate) struct Customers {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

type Shard = Ages<u64, Latest, EACH>;

#[derive(Debug, Clone)]
struct Latest {
    unit: UnitKey,
    member: Option<Membership>,
    at: UnixMs,
    /// When another session, of another part in a release, was answered last.
    other_at: Option<UnixMs>,
}

/// What is known of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Last {
    /// His last session, and its part in a release.
    Session(UnitKey, Option<Membership>),
    /// His sessions of late had several parts.
    Mixed,
    /// Nothing.
    Unknown,
}

impl Default for Customers {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Customers {
    /// A request under an API key's scope, where it names a session and a customer.
    pub(crate) fn note(
        &self,
        route: &RouteName,
        scope: &[u8; 32],
        whose: &Identified,
        member: Option<&Membership>,
        now: UnixMs,
    ) {
        if let (Identity::Session(unit), Some(customer)) = (whose.identity, &whose.customer) {
            self.note_last(self.key(route, scope, customer.as_str()), unit, member, now);
        }
    }

    fn note_last(&self, key: u64, unit: UnitKey, member: Option<&Membership>, now: UnixMs) {
        let mut ages = lock(self.shard(key));
        let other_at = ages.get(&key).and_then(|before| {
            let other = before.unit != unit && part(before.member.as_ref()) != part(member);
            if other { Some(before.at) } else { before.other_at }
        });
        ages.put(key, Latest { unit, member: member.cloned(), at: now, other_at });
    }

    /// The session that a customer's feedback is about.
    pub(crate) fn last(&self, route: &RouteName, scope: &[u8; 32], customer: &str, now: UnixMs) -> Last {
        self.last_of(self.key(route, scope, customer), now)
    }

    fn last_of(&self, key: u64, now: UnixMs) -> Last {
        let ages = lock(self.shard(key));
        let found = ages.get(&key).filter(|latest| now.since(latest.at) < LATE);
        let Some(latest) = found else { return Last::Unknown };
        if latest.other_at.is_some_and(|other_at| now.since(other_at) < MIXED) {
            return Last::Mixed;
        }
        Last::Session(latest.unit, latest.member.clone())
    }

    fn key(&self, route: &RouteName, scope: &[u8; 32], customer: &str) -> u64 {
        self.hasher.hash_one((route.as_str(), scope, customer))
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[key as usize % SHARDS]
    }
}

/// A session's part in a release, as far as feedback on it is counted by it.
fn part(member: Option<&Membership>) -> Option<(&str, usize)> {
    member.map(|member| (member.release.as_str(), member.arm as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::id::ReleaseId;
    use coalmine_core::traffic::pin::{Arm, Stratum};
    use std::sync::Arc;

    fn member(arm: Arm) -> Membership {
        Membership { release: Arc::new(ReleaseId::from("support-1")), arm, stratum: Stratum(0), exposed_at: UnixMs(1) }
    }

    fn minutes(minutes: u64) -> UnixMs {
        UnixMs(minutes * 60_000)
    }

    #[test]
    fn the_last_session_is_found_by_route_key_and_customer() {
        let customers = Customers::default();
        let (support, other) = (RouteName::from("support"), RouteName::from("other"));
        let key = customers.key(&support, &[1; 32], "acme");
        customers.note_last(key, UnitKey(1), None, minutes(0));
        customers.note_last(key, UnitKey(2), Some(&member(Arm::Canary)), minutes(100));
        let found = customers.last(&support, &[1; 32], "acme", minutes(101));
        assert_eq!(found, Last::Session(UnitKey(2), Some(member(Arm::Canary))));
        for (route, scope, customer) in
            [(&other, [1; 32], "acme"), (&support, [2; 32], "acme"), (&support, [1; 32], "acm")]
        {
            assert_eq!(customers.last(route, &scope, customer, minutes(101)), Last::Unknown);
        }
        assert_eq!(customers.last(&support, &[1; 32], "acme", minutes(100 + 24 * 60)), Last::Unknown, "it is too old");
    }

    #[test]
    fn sessions_on_several_versions_of_late_are_nobodys_last() {
        let customers = Customers::default();
        let note = |unit, arm, at| customers.note_last(7, UnitKey(unit), Some(&member(arm)), minutes(at));
        note(1, Arm::Canary, 0);
        note(2, Arm::Canary, 1);
        assert!(matches!(customers.last_of(7, minutes(2)), Last::Session(..)), "two of one arm are of one kind");
        note(3, Arm::Control, 10);
        assert_eq!(customers.last_of(7, minutes(11)), Last::Mixed);
        note(3, Arm::Control, 50);
        assert_eq!(customers.last_of(7, minutes(60)), Last::Mixed, "it is an hour from the other's last answer");
        assert_eq!(customers.last_of(7, minutes(61)), Last::Session(UnitKey(3), Some(member(Arm::Control))));
    }

    #[test]
    fn their_number_is_bounded() {
        let customers = Customers::default();
        for key in 0..3 * EACH as u64 {
            customers.note_last(key * SHARDS as u64, UnitKey(1), None, minutes(0));
        }
        assert_eq!(customers.last_of(0, minutes(0)), Last::Unknown, "the oldest are forgotten");
        assert!(matches!(customers.last_of((3 * EACH as u64 - 1) * SHARDS as u64, minutes(0)), Last::Session(..)));
    }
}
