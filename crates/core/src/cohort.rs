//! Which customers a stage is cut to.

use crate::id::CustomerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The customers of one stage. Resolved to names when the table is built, so that the gateway
/// only looks a name up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cohort {
    /// Everybody, customers without a name included.
    All,
    /// These customers.
    Named {
        /// The cohort's own name (`internal`) or its selector as written (`tag: pilot`).
        name: String,
        /// Its members.
        customers: BTreeSet<CustomerId>,
    },
}

impl Cohort {
    /// Whether a session of this customer is in it; a session without a customer is only in [`Cohort::All`].
    #[must_use]
    pub fn contains(&self, customer: Option<&CustomerId>) -> bool {
        match self {
            Self::All => true,
            Self::Named { customers, .. } => customer.is_some_and(|name| customers.contains(name)),
        }
    }

    /// The customers that it names; none for everybody.
    pub fn customers(&self) -> impl Iterator<Item = &CustomerId> {
        let named = match self {
            Self::All => None,
            Self::Named { customers, .. } => Some(customers),
        };
        named.into_iter().flatten()
    }

    /// Whether every session of it is one of `other` too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All | Self::Named { .. }, Self::All) => true,
            (Self::All, Self::Named { .. }) => false,
            (Self::Named { customers, .. }, Self::Named { customers: wider, .. }) => customers.is_subset(wider),
        }
    }

    /// As shown to people.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Named { name, .. } => name,
        }
    }
}
