//! The loop: load, observe, decide, commit, apply.

use crate::control::Control;
use crate::error::{ControlError, chain};
use crate::lease::{Lease, Standing};
use crate::observe::Saved;
use crate::view::LastLook;
use crate::watched::{Unsaved, Watched};
use coalmine_core::analysis::{Analysis, Reporting};
use coalmine_core::drift::StableNames;
use coalmine_core::evidence::RouteHistory;
use coalmine_core::id::{Actor, GatewayId, Generation, ReleaseId, RouteName};
use coalmine_core::key::{Day, Payer};
use coalmine_core::release::event::Event;
use coalmine_core::release::report::{Decision, Report};
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What only the loop touches.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) lease: Lease,
    pub(crate) watched: BTreeMap<ReleaseId, Watched>,
    pub(crate) histories: BTreeMap<RouteName, RouteHistory>,
    pub(crate) histories_read: bool,
    /// The names behind the routes' stable versions.
    pub(crate) names: BTreeMap<RouteName, StableNames>,
    /// Whether what an earlier process knew of names and sentinels is read.
    pub(crate) watch_read: bool,
    /// When announced ends were last looked at.
    pub(crate) shutdowns_at: Option<UnixMs>,
    pub(crate) complete_to: UnixMs,
    pub(crate) counted: Vec<(GatewayId, u64, u64)>,
    pub(crate) unsaved: BTreeMap<ReleaseId, Unsaved>,
    /// Days of payers that changed and are not stored yet.
    pub(crate) spent: BTreeSet<(Payer, Day)>,
    /// The release's generation for which gateways were waited for.
    pub(crate) settled: BTreeMap<ReleaseId, Generation>,
    pub(crate) documents_at: UnixMs,
    pub(crate) retention_at: UnixMs,
    /// Finished releases whose trail is written to its end.
    pub(crate) drawn: BTreeSet<ReleaseId>,
    /// Finished releases whose sessions are forgotten.
    pub(crate) forgotten: BTreeSet<ReleaseId>,
}

impl Control {
    /// Runs the loop until `shutdown` resolves. Requests go on being answered when it stands still. A
    /// round that panics is told, and the next one goes on.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.settings.wall_look_every.0.max(1)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let notices = tokio::spawn(Arc::clone(&self).run_notices());
        let sentinels = tokio::spawn(Arc::clone(&self).run_sentinels());
        let judges = tokio::spawn(Arc::clone(&self).run_judges());
        let captures = tokio::spawn(Arc::clone(&self).run_captures());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = pace.tick() => {
                    let this = Arc::clone(&self);
                    if let Err(error) = tokio::spawn(async move { this.tick().await }).await {
                        tracing::error!(%error, "a round of the loop failed; the next one goes on");
                    }
                }
            }
        }
        notices.abort();
        sentinels.abort();
        judges.abort();
        captures.abort();
    }

    /// One round: what `run` does once a second, and the simulator at each step.
    pub async fn tick(&self) {
        let mut desk = self.desk.lock().await;
        let now = self.clock.now();
        if !self.store_answers().await {
            // Evidence grows in memory; what it says may lower exposure, and nothing else.
            let saved = self.observe(&mut desk, now).await;
            self.look_at_all(&desk, saved, now).await;
        } else if self.stands_aside(&mut desk, now).await {
            self.follow().await;
        } else {
            self.reload_stale().await;
            self.publish_behind().await;
            self.retry_rollbacks().await;
            self.retry_revocations().await;
            self.read_documents(&mut desk).await;
            self.read_watch(&mut desk).await;
            let saved = self.observe(&mut desk, now).await;
            self.settle_served(&mut desk, now).await;
            self.look_at_all(&desk, saved, now).await;
            self.watch_stable(&mut desk, now).await;
            self.apply().await;
            self.keep_house(&mut desk, now).await;
        }
        self.known().looked_at = Some(now);
    }

    /// A silent store is asked once a round, so that a round does not wait for it many times.
    async fn store_answers(&self) -> bool {
        !self.is_silent() || self.ask("asking whether the store answers", self.store.ping()).await.is_ok()
    }

    async fn look_at_all(&self, desk: &Desk, saved: Saved, now: UnixMs) {
        for release in self.unfinished() {
            // One that is being rolled back needs no look.
            if !self.known().lowered.contains_key(&release.id) {
                self.look(desk, &release, saved, now).await;
            }
        }
    }

    /// Whether another node decides. While the store is silent a node stays what it was.
    async fn stands_aside(&self, desk: &mut Desk, now: UnixMs) -> bool {
        let ttl = self.clock.of_wall(self.settings.wall_lease);
        let check = desk.lease.check(self.store.as_ref(), &self.settings, now, ttl);
        match self.ask("renewing the lease", check).await {
            Ok(standing) => {
                let aside = matches!(standing, Standing::Follower { .. });
                let before = self.known().standing.replace(standing.clone());
                if before.as_ref() != Some(&standing) {
                    tracing::info!(?standing, "the lease");
                }
                if matches!(before, Some(Standing::Follower { .. })) && !aside {
                    // Whoever decided before may have changed anything.
                    desk.watched.clear();
                    desk.watch_read = false;
                    self.known().is_steady_read = false;
                    self.mark_all_stale();
                }
                aside
            }
            Err(_) => matches!(self.known().standing, Some(Standing::Follower { .. })),
        }
    }

    /// Another node decides: this one reads what was decided and serves it.
    async fn follow(&self) {
        if let Err(error) = self.load_all().await {
            tracing::warn!(error = %chain(&error), "what the other node decided was not read");
        }
        if let Err(error) = self.load_keys().await {
            tracing::warn!(error = %chain(&error), "the keys were not read");
        }
        self.publish_behind().await;
        self.retry_rollbacks().await;
        self.retry_revocations().await;
    }

    async fn retry_rollbacks(&self) {
        let waiting: Vec<ReleaseId> = self.known().lowered.keys().cloned().collect();
        for id in waiting {
            let _ = self.commit_lowered(&id).await;
        }
        let lifting: Vec<RouteName> = self.known().lifting.values().cloned().collect();
        for route in lifting {
            self.lift_ceilings(&route).await;
        }
    }

    /// Tells the releases that wait for it that every live gateway serves their last table.
    async fn settle_served(&self, desk: &mut Desk, now: UnixMs) {
        for release in self.unfinished() {
            if !matches!(release.state, State::Promoting { .. } | State::RollingBack { .. }) {
                continue;
            }
            let is_served = {
                let known = self.known();
                known.reflects.get(&release.id) == Some(&release.generation)
                    && known.gateways.settled(&release.route, now, self.patience()).is_some()
            };
            if !is_served || desk.settled.get(&release.id) == Some(&release.generation) {
                continue;
            }
            match self.act(&release.id, Event::Served, Actor::coalmine(), None).await {
                Ok(outcome) => {
                    desk.settled.insert(release.id.clone(), release.generation);
                    tracing::info!(release = %release.id, "{}", outcome.message);
                }
                Err(error) => tracing::warn!(release = %release.id, error = %chain(&error), "not settled yet"),
            }
        }
    }

    /// Nobody is held back for a promotion that a later release of the route builds on.
    async fn superseded(&self, release: &Release) -> bool {
        if release.state.hold_back().is_zero() {
            return false;
        }
        let later = {
            let known = self.known();
            let of_route = known.releases.values().filter(|found| found.release.route == release.route);
            let mut exposing = of_route.filter(|found| found.release.state.serving_stage().is_some());
            exposing.next().map(|found| found.release.id.clone())
        };
        let Some(by) = later else { return false };
        if let Err(error) = self.act(&release.id, Event::Superseded { by }, Actor::coalmine(), None).await {
            tracing::warn!(release = %release.id, error = %chain(&error), "its hold-back is not ended yet");
        }
        true
    }

    /// Another model answers than the evidence is about; the look goes on in the next round. Whether it was noted: what
    /// is too late for the release, or not committed, does not keep a look from rolling it back.
    async fn note_drift(&self, release: &Release, what: String) -> bool {
        match self.act(&release.id, Event::Drift { what }, Actor::coalmine(), None).await {
            Ok(outcome) => outcome.decision != Decision::Hold,
            Err(error) => {
                tracing::warn!(release = %release.id, error = %chain(&error), "a drift is not noted yet");
                false
            }
        }
    }

    /// Analyse and decide one release; what goes wrong in it stays in it.
    async fn look(&self, desk: &Desk, release: &Release, saved: Saved, now: UnixMs) {
        if self.superseded(release).await {
            return;
        }
        let unexposed = matches!(release.state, State::Preflight | State::Shadow { .. });
        let looked_at = release.state.serving_stage().is_some() || unexposed;
        if !looked_at && release.state.hold_back().is_zero() {
            return;
        }
        let Some(watched) = desk.watched.get(&release.id) else { return };
        if saved == Saved::Yes
            && let Some(what) = watched.drift(release)
            && self.note_drift(release, what).await
        {
            return;
        }
        let every = self.clock.of_wall(self.settings.wall_look_every);
        let stale_after = Reporting::stale_after(release.policy.bucket, every);
        let reporting = Reporting { complete_to: desk.complete_to, stale_after };
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let analysis = watched.look(release, &reporting, now);
            self.decide_ready(release, analysis, now)
        }));
        let (analysis, event, step) = match looked {
            Ok((analysis, event, Ok(step))) => (analysis, event, step),
            Ok((.., Err(refused))) => return self.fail(&release.id, refused.to_string()),
            Err(_) => return self.fail(&release.id, "its evidence could not be analysed".to_owned()),
        };
        self.note_look(&release.id, analysis, &step.report);
        let done = match (&step.decision, saved) {
            (Decision::Hold, _) => Ok(()),
            (Decision::Rollback { .. }, _) => self.roll_back(&release.id, event, Actor::coalmine()).await.map(|_| ()),
            (_, Saved::Yes) => self.act(&release.id, event, Actor::coalmine(), None).await.map(|_| ()),
            (_, Saved::NotYet) => {
                self.note_waiting(&release.id);
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(release = %release.id, error = %chain(&error), "the decision is not committed");
        }
    }

    fn note_look(&self, id: &ReleaseId, analysis: Analysis, report: &Report) {
        if let Some(found) = self.known().releases.get_mut(id) {
            found.failing = None;
            found.trail.add(&analysis);
            found.report = report.clone();
            found.look = Some(LastLook { analysis: Arc::new(analysis), report: report.clone() });
        }
    }

    fn note_waiting(&self, id: &ReleaseId) {
        if let Some(found) = self.known().releases.get_mut(id) {
            found.report.headline = "nothing moves forward while the store does not answer".to_owned();
        }
    }
}

impl Control {
    /// After a conflict, or a commit whose answer was lost.
    pub(crate) async fn reload_stale(&self) {
        let stale: Vec<ReleaseId> = self.known().stale.iter().cloned().collect();
        for id in stale {
            match self.reload(&id).await {
                Ok(()) | Err(ControlError::UnknownRelease(_)) => {}
                Err(error) => tracing::warn!(release = %id, error = %chain(&error), "not read again yet"),
            }
        }
    }

    fn mark_all_stale(&self) {
        let mut known = self.known();
        let all: Vec<ReleaseId> = known.releases.keys().cloned().collect();
        known.stale.extend(all);
    }
}
