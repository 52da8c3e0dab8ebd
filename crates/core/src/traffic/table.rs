//! What the control plane tells gateways: per route, one immutable snapshot with a generation.

use crate::cohort::Cohort;
use crate::id::{CustomerId, Generation, ReleaseId, RouteName, UnitKey};
use crate::judge::Sampling;
use crate::price::PriceSnapshot;
use crate::release::policy::OnRollback;
use crate::release::state::{Release, State};
use crate::shadow::Shadow;
use crate::shadow::similarity::Similarity;
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::{Arm, Membership, Pin, Stratum};
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::{Version, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The release that mirrors requests before it exposes anybody, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowed>,
    /// What answers cost while one of the two releases is under way; `None`: by the list that the gateway has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Arc<PriceSnapshot>>,
}

/// A release in its shadow as a gateway sees it: whose requests are mirrored, and within which bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shadowed {
    /// Which.
    pub id: Arc<ReleaseId>,
    /// Who is asked beside stable.
    pub canary: VersionId,
    /// Its salt.
    pub salt: Salt,
    /// How much, how many at once, and for how much money.
    pub shadow: Shadow,
}

/// The running release as a gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposed {
    /// Which.
    pub id: Arc<ReleaseId>,
    /// Its canary.
    pub canary: VersionId,
    /// What its control is answered by, where that is not the route's stable: after a promotion, the old
    /// stable, for those held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<VersionId>,
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
    /// Whose answers the judges see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
}

/// The sessions whose answers one judge sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Its name.
    pub judge: String,
    /// How many of each arm.
    pub sampling: Sampling,
    /// So many turns of each, the first ones.
    pub turns: u32,
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

impl Shadowed {
    /// Whether the requests of a session are mirrored.
    #[must_use]
    pub fn includes(&self, unit: UnitKey) -> bool {
        Shadow::includes(self.shadow.share, &self.salt, unit)
    }

    /// Whether a judge reads the answers of a session's pairs.
    #[must_use]
    pub fn is_judged(&self, unit: UnitKey) -> bool {
        self.shadow.preferences.iter().any(|preferring| preferring.includes(&self.salt, unit))
    }

    /// By what the answers of a session's pairs are held together.
    #[must_use]
    pub fn likened(&self, unit: UnitKey) -> Option<&Similarity> {
        self.shadow.similarity.as_deref().filter(|similarity| similarity.includes(&self.salt, unit))
    }
}

impl Exposed {
    /// Whether a judge sees the answer to a request of this session that begins at `started_at`.
    #[must_use]
    pub fn is_judged(&self, unit: UnitKey, member: &Membership, started_at: UnixMs) -> bool {
        // Which turn of its session a later one is, the gateway does not know.
        let early = |judged: &Judged| judged.turns > 1 || member.exposed_at == started_at;
        let drawn = |judged: &&Judged| judged.sampling.includes(&self.salt, &judged.judge, unit, member.arm);
        *member.release == *self.id && self.judged.iter().filter(|judged| early(judged)).any(|judged| drawn(&judged))
    }

    /// The exposure that governs a session of this customer; `None` when no cohort holds it.
    #[must_use]
    pub fn governing(&self, customer: Option<&CustomerId>) -> Option<&Exposure> {
        governing(&self.exposures, customer)
    }
}

/// The exposure that governs a session of this customer: the largest weight among those whose cohort
/// holds it, the first of equals; `None` when no cohort does.
#[must_use]
pub fn governing<'a>(exposures: &'a [Exposure], customer: Option<&CustomerId>) -> Option<&'a Exposure> {
    let mut best: Option<&Exposure> = None;
    for exposure in exposures {
        if exposure.cohort.contains(customer) && best.is_none_or(|b| exposure.weight > b.weight) {
            best = Some(exposure);
        }
    }
    best
}

/// Everything that a route's table is made of: committed facts, and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct RouteFacts<'a> {
    /// Its name.
    pub route: &'a RouteName,
    /// The version in service, as the store has it.
    pub stable: VersionId,
    /// The route's releases, in any order.
    pub releases: &'a [Release],
    /// How long after its end a release's versions stay in the table, for the sessions pinned to
    /// them; at least as long as a pin lives idle.
    pub remember: SpanMs,
}

/// A version that the table needs and was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table of route {route} needs version {version}, which was not given; read it from the store first")]
pub struct MissingVersion {
    /// The route.
    pub route: RouteName,
    /// The version.
    pub version: VersionId,
}

/// The table of a route. Pure: the same facts give the same table, but for its generation.
///
/// Once promotion is decided the canary is the stable here, and once a rollback after it is decided the
/// old one is again, even while the store's own row lags behind.
///
/// # Errors
/// When `versions` lacks one of [`versions_needed`].
pub fn build(
    facts: &RouteFacts<'_>,
    versions: &BTreeMap<VersionId, Arc<Version>>,
    generation: Generation,
    now: UnixMs,
) -> Result<RouteTable, MissingVersion> {
    let missing = |version| MissingVersion { route: facts.route.clone(), version };
    let needed = versions_needed(facts, now).into_iter();
    let held = needed.map(|id| versions.get(&id).map(|v| (id, Arc::clone(v))).ok_or_else(|| missing(id)));
    let stable = stable_of(facts);
    let release = facts.releases.iter().find_map(exposed).or_else(|| held_back(facts, stable));
    let is_compared =
        |one: &&Release| release.as_ref().is_some_and(|exposed| *exposed.id == one.id) || is_shadowed(one);
    let compared = facts.releases.iter().find(is_compared);
    Ok(RouteTable {
        route: facts.route.clone(),
        generation,
        stable,
        versions: held.collect::<Result<_, _>>()?,
        release,
        shadow: facts.releases.iter().find_map(shadowed),
        prices: compared.and_then(|release| release.prices.clone()),
        revoked: facts
            .releases
            .iter()
            .filter(|r| r.canary != stable && is_remembered(r, facts, now))
            .filter_map(revoked)
            .collect(),
    })
}

/// The versions that answer now, or that a live session may be pinned to.
#[must_use]
pub fn versions_needed(facts: &RouteFacts<'_>, now: UnixMs) -> BTreeSet<VersionId> {
    let remembered = facts.releases.iter().filter(|r| is_remembered(r, facts, now));
    let mut needed: BTreeSet<VersionId> = remembered.flat_map(|r| [r.stable, r.canary]).collect();
    needed.extend([facts.stable, stable_of(facts)]);
    needed
}

/// The exposures that a release has reached, in the order of its plan; empty where it exposes nobody new.
/// Once promoted, everybody but those held back, where any are.
#[must_use]
pub fn exposures(release: &Release) -> Vec<Exposure> {
    let hold_back = match &release.state {
        State::Promoting { .. } => release.policy.hold_back,
        State::Promoted { hold_back, .. } => *hold_back,
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => WeightBp::ZERO,
    };
    let all = release.plan.stages.len();
    let reached = match release.state.serving_stage() {
        Some(serving) => serving + 1,
        None if hold_back.is_zero() => return Vec::new(),
        None => all,
    };
    let stages = release.plan.stages.iter().take(reached).enumerate();
    let mut exposures: Vec<Exposure> = stages
        .map(|(index, stage)| Exposure {
            stratum: Stratum(u16::try_from(index).unwrap_or(u16::MAX)),
            cohort: stage.cohort.clone(),
            weight: stage.weight,
        })
        .collect();
    if !hold_back.is_zero() {
        let (stratum, weight) = (release.held_back_stratum(), hold_back.rest());
        exposures.push(Exposure { stratum, cohort: Cohort::All, weight });
    }
    exposures
}

/// The release that a canary is exposed for.
fn exposed(release: &Release) -> Option<Exposed> {
    release.state.serving_stage()?;
    as_exposed(release)
}

fn is_shadowed(release: &Release) -> bool {
    matches!(&release.state, State::Shadow { .. })
}

/// The release that is in its shadow.
fn shadowed(release: &Release) -> Option<Shadowed> {
    if !is_shadowed(release) {
        return None;
    }
    let (id, canary, salt) = (Arc::new(release.id.clone()), release.canary, release.salt);
    release.policy.shadow.clone().map(|shadow| Shadowed { id, canary, salt, shadow })
}

/// The release that brought the route's stable, while some of the new sessions stay on the old one.
fn held_back(facts: &RouteFacts<'_>, stable: VersionId) -> Option<Exposed> {
    let brought = facts.releases.iter().filter(|release| release.canary == stable && !exposures(release).is_empty());
    let release = brought.max_by_key(|release| release.promoted_at)?;
    let exposed = as_exposed(release)?;
    // Its own stable is the canary's version: it has nothing to rescue by.
    Some(Exposed { control: Some(release.stable), rescue_budget: WeightBp::ZERO, ..exposed })
}

fn as_exposed(release: &Release) -> Option<Exposed> {
    let exposures = exposures(release);
    if exposures.is_empty() {
        return None;
    }
    Some(Exposed {
        id: Arc::new(release.id.clone()),
        canary: release.canary,
        control: None,
        salt: release.salt,
        started_at: release.started_at.unwrap_or(release.created_at),
        exposures,
        judged_after: release.policy.ages.first,
        rescue_budget: release.policy.rescue_budget,
        judged: release
            .policy
            .judged()
            .map(|(judge, sampling)| Judged { judge: judge.name.clone(), sampling, turns: judge.turns })
            .collect(),
    })
}

/// The store's stable, but for a release whose decision it does not show yet.
fn stable_of(facts: &RouteFacts<'_>) -> VersionId {
    let decided = facts.releases.iter().find_map(|release| match &release.state {
        State::Promoting { .. } => Some(release.canary),
        State::RollingBack { .. } => release.promoted_at.map(|_| release.stable),
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoted { .. }
        | State::RolledBack { .. } => None,
    });
    decided.unwrap_or(facts.stable)
}

/// Whether sessions pinned to a version of this release may be live.
fn is_remembered(release: &Release, facts: &RouteFacts<'_>, now: UnixMs) -> bool {
    let drain = match release.policy.on_rollback {
        OnRollback::MoveNextTurn => SpanMs::ZERO,
        OnRollback::FinishOnCanary { drain } => drain,
    };
    match &release.state {
        State::Draft | State::Preflight => false,
        State::Shadow { .. } => true,
        State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::RollingBack { .. } => true,
        State::Promoted { at, keep_until, .. } => now < (*at + facts.remember).max(*keep_until),
        State::RolledBack { at, .. } => release.started_at.is_some() && now < *at + facts.remember + drain,
    }
}

fn revoked(release: &Release) -> Option<Revoked> {
    let revoked_at = release.revoked_at?;
    release.started_at?;
    let moves_at = match release.policy.on_rollback {
        OnRollback::MoveNextTurn => revoked_at,
        OnRollback::FinishOnCanary { drain } => revoked_at + drain,
    };
    let reach = if release.promoted_at.is_some() { Reach::EverySession } else { Reach::CanaryArm };
    Some(Revoked { release: Arc::new(release.id.clone()), version: release.canary, reach, moves_at })
}

impl Revoked {
    /// Whether it takes this pin off its version at `now`.
    #[must_use]
    pub fn moves(&self, pin: &Pin, now: UnixMs) -> bool {
        let member = pin.member.as_ref();
        let within_reach = match self.reach {
            Reach::CanaryArm => member.is_some_and(|m| m.release == self.release && m.arm == Arm::Canary),
            Reach::EverySession => member.is_none_or(|m| m.release == self.release && m.arm == Arm::Canary),
        };
        within_reach && self.version == pin.version && self.moves_at <= now
    }
}

#[cfg(test)]
mod tests;
