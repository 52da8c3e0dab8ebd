//! Which sentinels are due: before the first stage, at every stage's start, and on a clock within stages.

use crate::release::state::{Release, State};
use crate::sentinel::record::{Outcome, Records};
use crate::sentinel::{Criticality, Sentinel};
use crate::time::{SpanMs, UnixMs};

/// A round that said nothing is tried again after this, or after the sentinel's own span where that is shorter.
pub(super) const AGAIN: SpanMs = SpanMs::minutes(1);

/// A sentinel that is to be asked now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due<'a> {
    /// Which.
    pub sentinel: &'a Sentinel,
    /// Of whom.
    pub arms: Arms,
}

/// Whom a sentinel is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arms {
    /// Stable, to qualify.
    Stable,
    /// Both, by turns.
    Both,
    /// The canary, for the offline gate.
    Canary,
    /// Stable alone, until it has passed or a failure is confirmed.
    Steady,
}

/// The sentinels that are due now, in the order of the suite.
#[must_use]
pub fn due<'a>(release: &'a Release, records: &Records, now: UnixMs) -> Vec<Due<'a>> {
    let (Some(suite), Some(place)) = (&release.policy.sentinels, Place::of(release)) else { return Vec::new() };
    let wanted = suite.sentinels.iter().filter_map(|sentinel| {
        let record = records.of.get(&sentinel.name);
        let arms = match sentinel.criticality {
            Criticality::Gate if place.is_before_exposure => Arms::Canary,
            Criticality::Gate => return None,
            Criticality::Critical | Criticality::Watched => {
                if record.is_some_and(|record| record.is_qualified(suite.qualify)) { Arms::Both } else { Arms::Stable }
            }
        };
        let Some(latest) = record.and_then(|record| record.latest.as_ref()) else {
            return Some(Due { sentinel, arms });
        };
        let pause = match latest.outcome {
            Outcome::StablePassed => SpanMs::ZERO,
            Outcome::StableFailed | Outcome::Passed | Outcome::CanaryFailed | Outcome::BothFailed => sentinel.every,
            Outcome::Unclear | Outcome::Unknown => sentinel.every.min(AGAIN),
        };
        let is_due = latest.began_at < place.since || now.since(latest.began_at) >= pause;
        is_due.then_some(Due { sentinel, arms })
    });
    wanted.collect()
}

/// Where a release is asked about.
struct Place {
    since: UnixMs,
    is_before_exposure: bool,
}

impl Place {
    fn of(release: &Release) -> Option<Self> {
        let within = |since| Some(Self { since, is_before_exposure: false });
        match &release.state {
            State::Preflight => Some(Self { since: UnixMs::default(), is_before_exposure: true }),
            State::Shadow { since } => within(*since),
            State::Running { entered_at, .. } | State::AwaitingApproval { entered_at, .. } => within(*entered_at),
            State::Paused { resume_to, .. } => within(resume_to.entered_at),
            State::Draft
            | State::Promoting { .. }
            | State::Promoted { .. }
            | State::RollingBack { .. }
            | State::RolledBack { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{self as ex, MONDAY, sentinel, tries};
    use crate::sentinel::record::{Round, Tried, Tries};

    fn release(state: State) -> Release {
        let all = vec![sentinel("refund", Criticality::Critical), sentinel("math", Criticality::Gate)];
        let mut release = Release { state, ..ex::release() };
        release.policy.sentinels = Some(ex::suite(all));
        release
    }

    fn arms(release: &Release, records: &Records, now: UnixMs) -> Vec<(String, Arms)> {
        due(release, records, now).iter().map(|due| (due.sentinel.name.clone(), due.arms)).collect()
    }

    fn absorb(records: &mut Records, release: &Release, at: UnixMs, stable: Tries, canary: Tries) {
        let tried = vec![Tried { sentinel: "refund".to_owned(), stable, canary, credit: None }];
        records.absorb(&release.policy, 0, &Round { began_at: at, tried, asked: crate::sentinel::Asked::default() });
    }

    #[test]
    fn before_exposure_stable_qualifies_and_then_both_are_asked() {
        let preflight = release(State::Preflight);
        let mut records = Records::default();
        let gate = ("math".to_owned(), Arms::Canary);
        assert_eq!(arms(&preflight, &records, MONDAY), [("refund".to_owned(), Arms::Stable), gate.clone()]);
        for _ in 0..3 {
            absorb(&mut records, &preflight, MONDAY, tries(1, 0), Tries::default());
        }
        assert_eq!(arms(&preflight, &records, MONDAY), [("refund".to_owned(), Arms::Both), gate.clone()]);
        absorb(&mut records, &preflight, MONDAY, tries(1, 0), tries(1, 0));
        assert_eq!(arms(&preflight, &records, MONDAY), [gate]);
    }

    #[test]
    fn each_stage_begins_with_a_round_and_goes_on_by_the_clock() {
        let running = release(State::Running { stage: 0, entered_at: MONDAY });
        let mut records = Records::default();
        for _ in 0..4 {
            absorb(&mut records, &running, MONDAY, tries(1, 0), tries(1, 0));
        }
        let due_at = |state: State, now| arms(&release(state), &records, now).len();
        let at = |minutes| MONDAY + SpanMs::minutes(minutes);
        assert_eq!(due_at(State::Running { stage: 0, entered_at: MONDAY }, at(9)), 0);
        assert_eq!(due_at(State::Running { stage: 0, entered_at: MONDAY }, at(10)), 1);
        assert_eq!(due_at(State::Running { stage: 1, entered_at: at(3) }, at(3)), 1);
        assert_eq!(due_at(State::Promoting { since: at(3) }, at(30)), 0);
    }
}
