//! What the control plane tells gateways: per route, one immutable snapshot with a generation.

use crate::cohort::Cohort;
use crate::id::{CustomerId, Generation, ReleaseId, RouteName};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::Stratum;
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::{Version, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a gateway needs to answer; replaced route by route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoutingTable {
    /// The routes by name.
    pub routes: BTreeMap<RouteName, Arc<RouteTable>>,
}

/// One route's snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its name.
    pub route: RouteName,
    /// Strictly increasing; an older one is refused.
    pub generation: Generation,
    /// The version in service.
    pub stable: VersionId,
    /// Every version that a live session may be pinned to, the stable and the canary included.
    pub versions: BTreeMap<VersionId, Arc<Version>>,
    /// The running release, if one exposes anybody.
    pub release: Option<Exposed>,
    /// Releases that were rolled back and whose canary sessions may still be live.
    pub revoked: Vec<Revoked>,
}

/// The running release as a gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposed {
    /// Which.
    pub id: Arc<ReleaseId>,
    /// Its canary.
    pub canary: VersionId,
    /// Its salt.
    pub salt: Salt,
    /// When it started; only sessions that begin later take part.
    pub started_at: UnixMs,
    /// The exposures reached so far, in the order of the plan. A unit is governed by the one with
    /// the largest weight among those whose cohort holds its customer (the first of equals), so a
    /// cohort's weight never falls while the rest begins lower.
    pub exposures: Vec<Exposure>,
    /// After this age of a request it is judged by what is known of it (`statistics.md`, section 7).
    pub judged_after: SpanMs,
    /// Share of the canary's requests that stable may rescue, in basis points.
    pub rescue_budget: WeightBp,
}

/// One exposure: who, and how much of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// The index of its stage in the plan.
    pub stratum: Stratum,
    /// Who.
    pub cohort: Cohort,
    /// How much of them.
    pub weight: WeightBp,
}

/// Which sessions a rollback takes off a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Those of the release's canary arm.
    CanaryArm,
    /// Those, and the ones that began on the version while it was the route's stable: the release
    /// had been promoted.
    EverySession,
}

/// A canary that was rolled back, and what becomes of the sessions pinned to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The release.
    pub release: Arc<ReleaseId>,
    /// The version that they are pinned to.
    pub version: VersionId,
    /// Which of the sessions on it.
    pub reach: Reach,
    /// When they leave it for stable: at once for `move_next_turn`, at the drain's end for `finish_on_canary`.
    pub moves_at: UnixMs,
}

impl Exposed {
    /// The exposure that governs a session of this customer; `None` when no cohort holds it.
    #[must_use]
    pub fn governing(&self, customer: Option<&CustomerId>) -> Option<&Exposure> {
        let mut best: Option<&Exposure> = None;
        for exposure in &self.exposures {
            if exposure.cohort.contains(customer) && best.is_none_or(|b| exposure.weight > b.weight) {
                best = Some(exposure);
            }
        }
        best
    }
}
