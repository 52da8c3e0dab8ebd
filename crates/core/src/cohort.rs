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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::named;

    #[test]
    fn a_session_without_a_customer_is_only_in_all() {
        let (internal, acme) = (named("internal", &["acme"]), CustomerId::from("acme"));
        assert!(internal.contains(Some(&acme)) && !internal.contains(None));
        assert!(Cohort::All.contains(Some(&acme)) && Cohort::All.contains(None));
    }

    #[test]
    fn a_cohort_is_within_those_that_hold_all_of_it() {
        let (one, two) = (named("one", &["a"]), named("two", &["a", "b"]));
        assert!(one.is_within(&two) && two.is_within(&Cohort::All));
        assert!(!two.is_within(&one) && !Cohort::All.is_within(&two));
    }
}
