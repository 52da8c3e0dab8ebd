//! What the facade answers. The API turns these into its own JSON types.

use crate::gateways::{GatewayStatus, Propagation};
use crate::lease::Standing;
use crate::prices::FrozenPrices;
use coalmine_core::analysis::Analysis;
use coalmine_core::evidence::{SealedBucket, Yardstick};
use coalmine_core::id::{Actor, Generation, ReleaseId, RouteName};
use coalmine_core::release::plan::Plan;
use coalmine_core::release::policy::Policy;
use coalmine_core::release::report::{Decision, JournalRow, Report};
use coalmine_core::release::state::Release;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::table::Exposure;
use coalmine_core::version::{Version, VersionDiff, VersionId};
use coalmine_store::{RouteRow, Seeded};
use std::sync::Arc;

/// What a new release is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRelease {
    /// The route.
    pub route: RouteName,
    /// The version on trial.
    pub canary: Version,
    /// The stages.
    pub plan: Plan,
    /// The criteria.
    pub policy: Policy,
}

/// A release that was created.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// It, in `Draft`.
    pub release: Release,
    /// What it changes.
    pub diff: VersionDiff,
}

/// A route that was seeded.
#[derive(Debug, Clone, PartialEq)]
pub struct SeededRoute {
    /// The route as the store has it.
    pub row: RouteRow,
    /// Whether the seed was taken.
    pub seeded: Seeded,
    /// What differs between the seed and the version in service; empty where nothing does.
    pub differs: VersionDiff,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The release afterwards. With a pending commit: as it will be once committed.
    pub release: Release,
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub report: Report,
    /// Whether it is written down.
    pub commit: Commit,
    /// In words, for the one who asked.
    pub message: String,
}

/// Whether a decision is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// It is.
    Done,
    /// Exposure is down; the store does not answer, and the loop goes on trying.
    Pending {
        /// Why.
        why: String,
    },
}

/// What the last look at a release found and decided.
#[derive(Debug, Clone, PartialEq)]
pub struct LastLook {
    /// What it found.
    pub analysis: Arc<Analysis>,
    /// Why the release did, or did not, move.
    pub report: Report,
}

/// A release that is held down and whose rollback is not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRollback {
    /// Who.
    pub actor: Actor,
    /// Since when.
    pub since: UnixMs,
    /// Why it is not committed.
    pub why: String,
}

/// Everything that `status` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseStatus {
    /// The release as committed.
    pub release: Release,
    /// The version in service when it was created.
    pub stable: Option<Arc<Version>>,
    /// The version on trial.
    pub canary: Option<Arc<Version>>,
    /// What is served now: empty when the canary gets no new session.
    pub exposures: Vec<Exposure>,
    /// The last look of this process.
    pub look: Option<LastLook>,
    /// Why the release did, or did not, move.
    pub report: Report,
    /// A rollback that waits for the store.
    pub pending: Option<PendingRollback>,
    /// Live sessions that are still answered by the canary for this release.
    pub live_on_canary: u64,
    /// How far the route's last table has come.
    pub propagation: Option<Propagation>,
    /// All gateways.
    pub gateways: Vec<GatewayStatus>,
    /// Whether the store answers.
    pub store: StoreHealth,
    /// When the loop last looked at it; a loop that stands still is seen here.
    pub looked_at: Option<UnixMs>,
    /// What its versions cost in it, where it keeps that.
    pub prices: Option<FrozenPrices>,
    /// Now, by the process clock.
    pub now: UnixMs,
}

/// The record behind the last decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The release as committed.
    pub release: Release,
    /// The last analysis: of this process, or of the journal.
    pub analysis: Option<Arc<Analysis>>,
    /// Why the release did, or did not, move.
    pub report: Report,
    /// The journal, oldest first.
    pub journal: Vec<JournalRow>,
}

/// What is kept of a release's evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The release as committed.
    pub release: Release,
    /// What it was measured by; `None` before the warm-up was over.
    pub yardstick: Option<Yardstick>,
    /// Its sealed buckets, in the order of sealing.
    pub sealed: Vec<SealedBucket>,
}

/// Whether the store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Answers,
    /// It does not: nothing is advanced or promoted, everything goes on being answered.
    Silent {
        /// Since when.
        since: UnixMs,
        /// What it said.
        why: String,
    },
}

/// The control plane's own state.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Whether the store answers.
    pub store: StoreHealth,
    /// When the loop last went round; `None` before its first time.
    pub looked_at: Option<UnixMs>,
    /// A loop that has not gone round for longer than this stands still (ten seconds of the wall).
    pub loop_patience: SpanMs,
    /// Now, by the process clock.
    pub now: UnixMs,
    /// Whether this node decides.
    pub standing: Option<Standing>,
    /// The gateways.
    pub gateways: Vec<GatewayStatus>,
    /// Turns waiting to be counted.
    pub queued_turns: usize,
    /// Deltas that were lost with a process.
    pub lost_deltas: u64,
    /// Releases whose rollback is not yet committed.
    pub pending_rollbacks: Vec<ReleaseId>,
    /// Effects still to be done.
    pub outbox: usize,
    /// Releases whose last look failed, and why.
    pub failing: Vec<(ReleaseId, String)>,
    /// Notices given up after too many tries.
    pub notices_lost: u64,
}

/// A version with the routes that it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownVersion {
    /// Its content hash.
    pub id: VersionId,
    /// It.
    pub version: Arc<Version>,
    /// The routes whose stable version it is.
    pub stable_of: Vec<RouteName>,
}

/// How one of a route's own sentinels stands on its stable version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteadyStatus {
    /// Its name.
    pub name: String,
    /// In a word.
    pub state: SteadyState,
    /// Rounds in a row that passed.
    pub passed_in_a_row: u32,
    /// When the newest round began.
    pub asked_at: Option<UnixMs>,
    /// What was not met in it, or what the trouble was.
    pub fault: Option<String>,
}

/// How a sentinel stands on a steady stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteadyState {
    /// It was not asked yet.
    Unasked,
    /// Its failure means nothing yet.
    Qualifying,
    /// Its failure would open an incident.
    Passing,
    /// Its failure was confirmed, and is not over.
    Failing,
}

impl SteadyState {
    /// A word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unasked => "unasked",
            Self::Qualifying => "qualifying",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

/// A route with its stable version and its unfinished release.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteStatus {
    /// The row.
    pub row: RouteRow,
    /// The version in service.
    pub stable: Option<Arc<Version>>,
    /// The release that is not over.
    pub release: Option<ReleaseId>,
    /// The generation of the table served.
    pub table_generation: Generation,
}

impl Health {
    /// Everything that is wrong with Coalmine itself, as sentences; empty when it is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if let StoreHealth::Silent { why, .. } = &self.store {
            troubles.push(format!("the store does not answer: {why}; requests go on, nothing is advanced or promoted"));
        }
        if let Some(looked_at) = self.looked_at
            && self.now.since(looked_at) > self.loop_patience
        {
            let since = self.now.since(looked_at).rounded();
            troubles.push(format!(
                "the control loop stands still since {since}; requests go on, nothing is advanced, promoted or rolled back by itself"
            ));
        }
        if let Some(Standing::Follower { holder }) = &self.standing {
            troubles.push(format!("node {holder} holds the lease: this one answers requests and does not decide"));
        }
        for (release, why) in &self.failing {
            troubles.push(format!("the last look at {release} failed: {why}"));
        }
        for release in &self.pending_rollbacks {
            troubles.push(format!("{release} is rolled back and its exposure is down; the commit is pending"));
        }
        troubles
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, StoreHealth};
    use coalmine_core::time::{SpanMs, UnixMs};

    fn looked(ago: SpanMs) -> Health {
        let now = UnixMs(1_000_000);
        Health {
            store: StoreHealth::Answers,
            looked_at: Some(now - ago),
            loop_patience: SpanMs::secs(10),
            now,
            standing: None,
            gateways: Vec::new(),
            queued_turns: 0,
            lost_deltas: 0,
            pending_rollbacks: Vec::new(),
            outbox: 0,
            failing: Vec::new(),
            notices_lost: 0,
        }
    }

    #[test]
    fn a_loop_that_stands_still_is_told_and_one_that_looks_is_not() {
        assert!(looked(SpanMs::secs(3)).troubles().is_empty());
        let told = looked(SpanMs::minutes(2)).troubles();
        assert!(told.len() == 1 && told[0].contains("stands still since 2m"), "{told:?}");
    }
}
