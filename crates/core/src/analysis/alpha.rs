//! How the bound on false rollbacks is spent: every cause that the bound covers has a share.

use crate::release::policy::{Guardrail, NoDataThen, OnUndecided, Policy, Role, Tripwire};
use crate::release::state::{CauseKind, Cover};
use crate::shadow::Criterion;
use serde::{Deserialize, Serialize};

/// The shares of `false_rollback_rate` in one attempt; they sum to `rate · 2^−attempt`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alpha {
    /// Of all guardrails together: they roll back when `max(w_i · E_i)` reaches one over this.
    pub guardrails: f64,
    /// Of all absolute limits together; each has an equal part.
    pub limits: f64,
    /// Of the sentinels.
    pub sentinels: f64,
    /// Of the shadow: it rolls back when `max(w_i · E_i)` of its pairs reaches one over this.
    pub shadow: f64,
    /// Parts that `limits` is cut into.
    pub limit_count: u32,
}

/// One cause of a rollback that a policy has, and its share of the bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Its kind.
    pub cause: CauseKind,
    /// The metric, the tripwire or the sentinels, in words; empty where there is but one of its kind.
    pub of: String,
    /// How it stands to the bound.
    pub cover: Cover,
    /// At most this chance of rolling a good version back by this cause, over the whole release, at any
    /// number of looks; `None`: outside of the bound.
    pub alpha: Option<f64>,
}

/// Share of the limits, where a policy sets any.
const LIMITS: f64 = 0.1;
/// Share of the critical sentinels, where there are any.
const SENTINELS: f64 = 0.1;
/// Share of the shadow, where there is one with a guardrail to compare.
const SHADOW: f64 = 0.1;

impl Alpha {
    /// The shares under `policy` in the `attempt`-th attempt, counted from 0. A cause that the policy
    /// does not have gets nothing; its share goes to the others before the start, so the sum holds.
    #[must_use]
    pub fn of(policy: &Policy, attempt: u32) -> Self {
        let whole = policy.false_rollback_rate * 0.5_f64.powi(i32::try_from(attempt).unwrap_or(i32::MAX));
        let compares = policy.guardrails.iter().any(|g| g.role == Role::Guardrail);
        let limit_count = policy.guardrails.iter().filter(|g| g.limit.is_some() && g.role == Role::Guardrail).count();
        let is_critical = policy.sentinels.as_ref().is_some_and(|sentinels| sentinels.critical().next().is_some());
        let sentinels = if is_critical { whole * SENTINELS } else { 0.0 };
        let is_paired = policy.criteria().any(|criterion| criterion.role == Role::Guardrail);
        let shadow = if is_paired { whole * SHADOW } else { 0.0 };
        let limits = match (limit_count, compares) {
            (0, _) => 0.0,
            (_, false) => whole - sentinels - shadow,
            (_, true) => whole * LIMITS,
        };
        Self {
            guardrails: whole - limits - sentinels - shadow,
            limits,
            sentinels,
            shadow,
            limit_count: u32::try_from(limit_count).unwrap_or(u32::MAX),
        }
    }

    /// The part of one guardrail by itself.
    #[must_use]
    pub fn guardrail_alpha(&self, policy: &Policy, guardrail: &Guardrail) -> f64 {
        self.guardrails * weight_share(policy, guardrail)
    }

    /// ln of the line of the guardrails together.
    #[must_use]
    pub fn guardrails_line(&self) -> f64 {
        -self.guardrails.ln()
    }

    /// ln of the line of the shadow's pairs together.
    #[must_use]
    pub fn shadow_line(&self) -> f64 {
        -self.shadow.ln()
    }

    /// ln of the line of each limit.
    #[must_use]
    pub fn limit_line(&self) -> f64 {
        f64::from(self.limit_count).ln() - self.limits.ln()
    }
}

/// Every cause that can roll a release of this policy back in its `attempt`-th attempt (from 0), with its
/// share. The shares of the covered ones sum to `false_rollback_rate · 2^−attempt`.
#[must_use]
pub fn shares(policy: &Policy, attempt: u32) -> Vec<Share> {
    let alpha = Alpha::of(policy, attempt);
    CauseKind::ALL.into_iter().flat_map(|cause| shares_of(cause, policy, &alpha)).collect()
}

fn shares_of(cause: CauseKind, policy: &Policy, alpha: &Alpha) -> Vec<Share> {
    let share = |of: String, alpha: Option<f64>| Share { cause, of, cover: cause.cover(), alpha };
    let guardrails = || policy.guardrails.iter().filter(|g| g.role == Role::Guardrail);
    match cause {
        CauseKind::Guardrail => {
            guardrails().map(|g| share(g.metric.to_string(), Some(alpha.guardrail_alpha(policy, g)))).collect()
        }
        CauseKind::Limit => {
            let part = alpha.limits / f64::from(alpha.limit_count.max(1));
            guardrails().filter(|g| g.limit.is_some()).map(|g| share(g.metric.to_string(), Some(part))).collect()
        }
        CauseKind::Sentinel if alpha.sentinels > 0.0 => {
            vec![share("critical sentinels together".to_owned(), Some(alpha.sentinels))]
        }
        CauseKind::Sentinel => Vec::new(),
        CauseKind::Shadow => {
            let criteria = policy.criteria().filter(|criterion| criterion.role == Role::Guardrail);
            let of = |criterion: &Criterion<'_>| alpha.shadow * policy.paired_share(criterion);
            criteria.map(|criterion| share(criterion.metric.to_string(), Some(of(&criterion)))).collect()
        }
        CauseKind::Tripwire => policy.tripwires.iter().map(|tripwire| share(tripwire.describe(), None)).collect(),
        CauseKind::NoData => {
            let rolls_back = guardrails().filter(|g| g.no_data.then == NoDataThen::Rollback);
            rolls_back.map(|g| share(g.metric.to_string(), None)).collect()
        }
        CauseKind::Undecided => match policy.on_undecided {
            OnUndecided::Rollback => vec![share(format!("after {}", policy.max_duration), None)],
            OnUndecided::Hold | OnUndecided::Ask | OnUndecided::Promote => Vec::new(),
        },
        CauseKind::Operator => vec![share(String::new(), None)],
    }
}

/// A guardrail's share of all guardrails' weight.
pub(super) fn weight_share(policy: &Policy, guardrail: &Guardrail) -> f64 {
    let sharing = || policy.guardrails.iter().filter(|g| g.role == Role::Guardrail);
    let total: f64 = sharing().map(|g| g.weight).sum();
    if total > 0.0 { guardrail.weight / total } else { 1.0 / sharing().count().max(1) as f64 }
}

impl Tripwire {
    /// As people read it.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::ConsecutiveFailures(bound) => format!("{bound} canary requests in a row failed"),
        }
    }

    /// At most this chance of a false alarm within so many canary requests, where each fails with
    /// `failure_rate` by itself, as stable's do: the sum over where a run can begin. That the tripwire
    /// is ignored while control trips too makes it smaller; failures that come together make it larger.
    #[must_use]
    pub fn false_alarm(self, failure_rate: f64, requests: f64) -> f64 {
        match self {
            Self::ConsecutiveFailures(bound) => {
                let run = failure_rate.clamp(0.0, 1.0).powi(i32::try_from(bound).unwrap_or(i32::MAX));
                let later = (requests - f64::from(bound)).max(0.0) * (1.0 - failure_rate.clamp(0.0, 1.0));
                if requests < f64::from(bound) { 0.0 } else { (run * (1.0 + later)).min(1.0) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example as ex;
    use crate::sentinel::Criticality;

    fn limited(roles: [Role; 3]) -> Policy {
        let mut policy = ex::policy();
        for (guardrail, role) in policy.guardrails.iter_mut().zip(roles) {
            (guardrail.role, guardrail.limit) = (role, Some(0.02));
        }
        policy
    }

    fn watched() -> Policy {
        let suite = ex::suite(vec![ex::sentinel("refund", Criticality::Critical)]);
        Policy { sentinels: Some(suite), ..ex::policy() }
    }

    fn shadowed() -> Policy {
        Policy { shadow: Some(ex::shadow()), ..watched() }
    }

    #[test]
    fn covered_shares_sum_to_the_rate_of_the_attempt() {
        for attempt in 0..4 {
            for policy in [ex::policy(), watched(), limited([Role::Guardrail; 3]), shadowed()] {
                let shares = shares(&policy, attempt);
                let sum: f64 = shares.iter().filter_map(|share| share.alpha).sum();
                let whole = policy.false_rollback_rate * 0.5_f64.powi(attempt as i32);
                assert!((sum - whole).abs() < 1e-15, "{sum} of {whole}: {shares:?}");
                assert!(shares.iter().all(|s| s.alpha.is_some() == (s.cover != Cover::NotCovered)), "{shares:?}");
            }
        }
    }

    #[test]
    fn only_a_guardrails_limit_has_a_share_because_only_it_rolls_back() {
        let alpha = Alpha::of(&limited([Role::Guardrail, Role::Signal, Role::DryRun]), 0);
        assert_eq!(alpha.limit_count, 1);
        let one = Alpha::of(&limited([Role::Guardrail, Role::Guardrail, Role::DryRun]), 0);
        assert_eq!((one.limit_count, one.limits), (2, alpha.limits));
    }

    #[test]
    fn a_policy_lists_what_can_roll_it_back() {
        let mut policy = ex::policy();
        policy.on_undecided = OnUndecided::Rollback;
        let told: Vec<String> = shares(&policy, 1)
            .iter()
            .map(|s| format!("{} {}: {} {:?}", s.cause.word(), s.of, s.cover.word(), s.alpha))
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_tripwire_trips_by_chance_where_failures_are_common() {
        let ten = Tripwire::ConsecutiveFailures(10);
        assert!(ten.false_alarm(0.01, 1e6) < 1e-13);
        assert!((0.3..0.5).contains(&ten.false_alarm(0.3, 1e5)));
        assert_eq!((ten.false_alarm(0.9, 9.0), ten.false_alarm(1.0, 10.0)), (0.0, 1.0));
        // Exactly, by enumeration: a run of two in four requests at 0.5 has chance 8/16.
        let two = Tripwire::ConsecutiveFailures(2);
        assert!((0.5..=0.5 + 1e-12).contains(&two.false_alarm(0.5, 4.0)), "{}", two.false_alarm(0.5, 4.0));
    }
}
