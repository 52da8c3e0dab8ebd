//! How the bound on false rollbacks is spent: every cause that the bound covers has a share.

use crate::release::policy::{Policy, Role};

/// The shares of `false_rollback_rate` in one attempt; they sum to `rate · 2^−attempt`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alpha {
    /// Of all guardrails together: they roll back when `max(w_i · E_i)` reaches one over this.
    pub guardrails: f64,
    /// Of all absolute limits together; each has an equal part.
    pub limits: f64,
    /// Of the sentinels.
    pub sentinels: f64,
    /// Parts that `limits` is cut into.
    pub limit_count: u32,
}

/// Share of the limits, where a policy sets any.
const LIMITS: f64 = 0.1;
/// Share of the critical sentinels, where there are any.
const SENTINELS: f64 = 0.1;

impl Alpha {
    /// The shares under `policy` in the `attempt`-th attempt, counted from 0. A cause that the policy
    /// does not have gets nothing; its share goes to the others before the start, so the sum holds.
    #[must_use]
    pub fn of(policy: &Policy, attempt: u32) -> Self {
        let whole = policy.false_rollback_rate * 0.5_f64.powi(i32::try_from(attempt).unwrap_or(i32::MAX));
        let compares = policy.guardrails.iter().any(|g| g.role == Role::Guardrail);
        let limit_count = policy.guardrails.iter().filter(|g| g.limit.is_some() && g.role != Role::DryRun).count();
        let is_critical = policy.sentinels.as_ref().is_some_and(|sentinels| sentinels.critical().next().is_some());
        let sentinels = if is_critical { whole * SENTINELS } else { 0.0 };
        let limits = match (limit_count, compares) {
            (0, _) => 0.0,
            (_, false) => whole - sentinels,
            (_, true) => whole * LIMITS,
        };
        Self {
            guardrails: whole - limits - sentinels,
            limits,
            sentinels,
            limit_count: u32::try_from(limit_count).unwrap_or(u32::MAX),
        }
    }

    /// ln of the line of the guardrails together.
    #[must_use]
    pub fn guardrails_line(&self) -> f64 {
        -self.guardrails.ln()
    }

    /// ln of the line of each limit.
    #[must_use]
    pub fn limit_line(&self) -> f64 {
        f64::from(self.limit_count).ln() - self.limits.ln()
    }
}
