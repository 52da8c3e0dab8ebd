//! What a release file is read against: the routes as they are now, and the names it may use.

use coalmine_core::id::{CustomerId, ProviderName, RouteName};
use coalmine_core::version::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// The site's names. `coalmine start` turns a release file into a `NewRelease` with them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// The routes.
    #[schema(value_type = Object)]
    pub routes: BTreeMap<RouteName, SiteRoute>,
    /// The configured providers.
    #[schema(value_type = Vec<String>)]
    pub providers: BTreeSet<ProviderName>,
    /// The parameters that versions may set, by provider.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: BTreeMap<ProviderName, BTreeSet<String>>,
    /// The customers that the configuration names: those with tags, keys or a quota.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub customers: BTreeSet<CustomerId>,
    /// Named sets of customers.
    #[schema(value_type = Object)]
    pub cohorts: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Customers by tag.
    #[schema(value_type = Object)]
    pub tags: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Models that the configuration prices, over the shipped prices.
    #[serde(default)]
    pub priced: BTreeSet<String>,
    /// Webhooks that suites may name.
    #[serde(default)]
    pub assessors: BTreeSet<String>,
}

/// One route of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteRoute {
    /// The version in service.
    #[schema(value_type = Object)]
    pub stable: Version,
    /// The scores that the application sends back; empty: any.
    pub feedback: BTreeSet<String>,
}
