//! What this process holds in memory: everything that an answer needs while the store is silent.

use crate::gateways::Gateways;
use crate::intake::Intake;
use crate::keys::KeyBook;
use crate::lease::Standing;
use crate::ports::Held;
use crate::ready::Wish;
use crate::trail::Trail;
use crate::view::{LastLook, StoreHealth};
use coalmine_core::id::{Actor, Generation, IncidentId, ReleaseId, RouteName};
use coalmine_core::incident::Incident;
use coalmine_core::release::report::Report;
use coalmine_core::release::state::{Release, State};
use coalmine_core::sentinel::{Records, Round, Steady};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::version::{Version, VersionId};
use coalmine_store::RouteRow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The committed state as last read or written, and what is above it in this process only.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) routes: BTreeMap<RouteName, RouteRow>,
    pub(crate) versions: BTreeMap<VersionId, Arc<Version>>,
    pub(crate) releases: BTreeMap<ReleaseId, KnownRelease>,
    /// Rollbacks that are decided and served, and not yet committed.
    pub(crate) lowered: BTreeMap<ReleaseId, Lowered>,
    /// Committed rollbacks whose ceiling is still to be lifted.
    pub(crate) lifting: BTreeMap<ReleaseId, RouteName>,
    /// The generation last given to the gateways, per route.
    pub(crate) published: BTreeMap<RouteName, Generation>,
    /// The generation of each release that its route's last table was built from.
    pub(crate) reflects: BTreeMap<ReleaseId, Generation>,
    /// Releases that may have changed in the store since they were read.
    pub(crate) stale: BTreeSet<ReleaseId>,
    pub(crate) keys: KeyBook,
    pub(crate) gateways: Gateways,
    pub(crate) intake: Intake,
    pub(crate) store: StoreHealth,
    pub(crate) looked_at: Option<UnixMs>,
    pub(crate) standing: Option<Standing>,
    pub(crate) outbox: usize,
    pub(crate) notices_lost: u64,
    /// Rounds of sentinels that ended and are not counted yet.
    pub(crate) rounds: Vec<(ReleaseId, Round)>,
    /// Releases whose sentinels are being asked.
    pub(crate) asking: BTreeSet<ReleaseId>,
    /// Incidents, open and of late.
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    /// How the routes' own sentinels stand; nothing of a route before it was read.
    pub(crate) steady: BTreeMap<RouteName, Steady>,
    pub(crate) is_steady_read: bool,
    /// Rounds of them that ended and are not counted yet, with the stable version that was asked.
    pub(crate) steady_rounds: Vec<(RouteName, VersionId, Round)>,
    /// Routes whose own sentinels are being asked.
    pub(crate) steady_asking: BTreeSet<RouteName>,
}

/// A committed release and what is known around it.
#[derive(Debug, Clone)]
pub(crate) struct KnownRelease {
    pub(crate) release: Release,
    pub(crate) last_actor: Actor,
    pub(crate) report: Report,
    pub(crate) look: Option<LastLook>,
    pub(crate) trail: Trail,
    /// What rounds of its sentinels have shown; `None` before its evidence was read, or without sentinels.
    pub(crate) sentinels: Option<Records>,
    /// Why its last look failed.
    pub(crate) failing: Option<String>,
    /// A step by hand that waits for the canary's upstreams.
    pub(crate) wish: Option<Wish>,
}

/// A rollback that is served before it is committed. It can only lower exposure.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    pub(crate) held: Held,
    pub(crate) next: Release,
    pub(crate) why_pending: String,
}

impl Known {
    pub(crate) fn new(intake: Intake) -> Self {
        Self {
            routes: BTreeMap::new(),
            versions: BTreeMap::new(),
            releases: BTreeMap::new(),
            lowered: BTreeMap::new(),
            lifting: BTreeMap::new(),
            published: BTreeMap::new(),
            reflects: BTreeMap::new(),
            stale: BTreeSet::new(),
            keys: KeyBook::default(),
            gateways: Gateways::default(),
            intake,
            store: StoreHealth::Answers,
            looked_at: None,
            standing: None,
            outbox: 0,
            notices_lost: 0,
            rounds: Vec::new(),
            asking: BTreeSet::new(),
            incidents: BTreeMap::new(),
            steady: BTreeMap::new(),
            is_steady_read: false,
            steady_rounds: Vec::new(),
            steady_asking: BTreeSet::new(),
        }
    }

    /// Replaces the committed state of a release, keeping what is known around it.
    pub(crate) fn put(&mut self, release: Release, actor: Actor, report: Report) {
        match self.releases.get_mut(&release.id) {
            Some(known) => {
                // What was asked for is over once the release has gone anywhere; what else is noted of it leaves it waiting.
                if known.release.state != release.state {
                    known.wish = None;
                }
                known.release = release;
                known.last_actor = actor;
                known.report = report;
            }
            None => {
                let id = release.id.clone();
                self.releases.insert(id, KnownRelease::new(release, actor, report));
            }
        }
    }

    /// The releases of a route as they are served: a lowered one as its rollback leaves it. Those that
    /// ended longer ago than `remember` are left out.
    pub(crate) fn served(&self, route: &RouteName, remember: SpanMs, now: UnixMs) -> Vec<Release> {
        let of_route = self.releases.values().filter(|found| found.release.route == *route);
        let near = of_route.filter(|found| ended_at(&found.release).is_none_or(|at| now.since(at) < remember));
        near.map(|found| self.lowered.get(&found.release.id).map_or(&found.release, |low| &low.next)).cloned().collect()
    }
}

/// When it was over, and the old stable no longer kept.
fn ended_at(release: &Release) -> Option<UnixMs> {
    match &release.state {
        State::Promoted { at, keep_until, .. } => Some(*at.max(keep_until)),
        State::RolledBack { at, .. } => Some(*at),
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::RollingBack { .. } => None,
    }
}

impl KnownRelease {
    pub(crate) fn new(release: Release, last_actor: Actor, report: Report) -> Self {
        Self {
            release,
            last_actor,
            report,
            look: None,
            trail: Trail::default(),
            sentinels: None,
            failing: None,
            wish: None,
        }
    }

    /// What is said of it now: of its last decision, and of who waits for its upstreams.
    pub(crate) fn told(&self, now: UnixMs) -> Report {
        let mut report = self.report.clone();
        report.warnings.extend(self.wish.as_ref().and_then(|wish| wish.told(now)));
        report
    }
}
