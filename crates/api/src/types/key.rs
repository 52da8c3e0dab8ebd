//! Client keys: what is asked for, what is shown, and the one answer with a secret in it.

use coalmine_control::keys::KeyStatus;
use coalmine_core::key::{Key, KeySecret, Quota, Standing, Usd, Used};
use coalmine_core::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    /// Its name: letters, digits, `.`, `_`, `-`; taken once, also by keys that were revoked.
    pub name: String,
    /// Whose requests these will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Whether the customer is meant to stand nowhere in the configuration, and so to have no quota and no tag; without it,
    /// a name that is not among those under `customers` is refused, where there are any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted_customer: bool,
    /// The routes that it may use; absent: all, and what is passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// Its life, from now on; absent: it does not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// What may be used.
    #[serde(default)]
    pub quota: QuotaView,
}

/// How a key is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How long the present secret stays good.
    pub grace_ms: u64,
}

/// What may be used; absent is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaView {
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
    /// US dollars of a day of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
    /// US dollars of a month of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<f64>,
}

/// One key, without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Its name.
    pub name: String,
    /// `good`, `expired` or `revoked`.
    pub state: String,
    /// Its secrets by their first characters, the present one last.
    pub secrets: Vec<SecretView>,
    /// Whose requests these are.
    pub customer: Option<String>,
    /// The routes that it may use; `null`: all.
    pub routes: Option<Vec<String>>,
    /// When it ends, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What may be used.
    pub quota: QuotaView,
    /// What was used today.
    pub today: UsedView,
    /// What was used this month.
    pub month: UsedView,
    /// When it was made.
    pub created_at_ms: u64,
    /// By whom.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
    /// By whom.
    pub revoked_by: Option<String>,
    /// Whether its last change is in the store; a revocation holds without.
    pub committed: bool,
}

/// One secret, by what is shown of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub issued_at_ms: u64,
    /// The end of its grace.
    pub valid_until_ms: Option<u64>,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct UsedView {
    /// Requests admitted.
    pub requests: u64,
    /// Tokens, as far as providers told.
    pub tokens: u64,
    /// US dollars, as far as prices are known.
    pub usd: f64,
}

/// A key with its new secret, which is in this answer and nowhere else.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IssuedView {
    /// The key.
    pub key: KeyView,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for IssuedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedView").field("key", &self.key).finish_non_exhaustive()
    }
}

impl From<QuotaView> for Quota {
    fn from(view: QuotaView) -> Self {
        Self {
            requests_per_minute: view.requests_per_minute,
            tokens_per_minute: view.tokens_per_minute,
            concurrent: view.concurrent,
            per_day: view.usd_per_day.map(Usd::from_dollars),
            per_month: view.usd_per_month.map(Usd::from_dollars),
        }
    }
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> Self {
        Self {
            requests_per_minute: quota.requests_per_minute,
            tokens_per_minute: quota.tokens_per_minute,
            concurrent: quota.concurrent,
            usd_per_day: quota.per_day.map(Usd::dollars),
            usd_per_month: quota.per_month.map(Usd::dollars),
        }
    }
}

impl From<Used> for UsedView {
    fn from(used: Used) -> Self {
        Self { requests: used.requests, tokens: used.tokens, usd: used.cost.dollars() }
    }
}

impl From<&KeySecret> for SecretView {
    fn from(secret: &KeySecret) -> Self {
        Self {
            prefix: secret.prefix.clone(),
            issued_at_ms: secret.issued_at.0,
            valid_until_ms: secret.valid_until.map(|at| at.0),
        }
    }
}

impl KeyView {
    /// A key as it is at `now`; secrets that are good no more are left out.
    #[must_use]
    pub fn of(status: &KeyStatus, now: UnixMs) -> Self {
        let Key { name, secrets, customer, routes, expires_at, quota, created_at, created_by, revoked, .. } =
            &status.key;
        let state = match status.key.standing(now) {
            Standing::Good | Standing::Replaced => "good",
            Standing::Expired => "expired",
            Standing::Revoked => "revoked",
        };
        let shown = secrets.iter().filter(|secret| secret.standing(&status.key, now) != Standing::Replaced);
        Self {
            name: name.to_string(),
            state: state.to_owned(),
            secrets: shown.map(SecretView::from).collect(),
            customer: customer.as_ref().map(ToString::to_string),
            routes: routes.as_ref().map(|routes| routes.iter().map(ToString::to_string).collect()),
            expires_at_ms: expires_at.map(|at| at.0),
            quota: (*quota).into(),
            today: status.spent.of_day.into(),
            month: status.spent.of_month.into(),
            created_at_ms: created_at.0,
            created_by: created_by.to_string(),
            revoked_at_ms: revoked.as_ref().map(|end| end.at.0),
            revoked_by: revoked.as_ref().map(|end| end.by.to_string()),
            committed: status.committed,
        }
    }
}
