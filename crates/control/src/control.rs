//! The facade: one [`Control`], shared by the management API, the app and the loop.

use crate::captures::Rack;
use crate::clock::Clock;
use crate::error::ControlError;
use crate::gateways::Patience;
use crate::intake::{Intake, IntakeError, Taken};
use crate::judges::bench::Bench;
use crate::known::{Known, KnownRelease};
use crate::notify::Errands;
use crate::ports::Ports;
use crate::prices;
use crate::ready::Haste;
use crate::reconcile::Desk;
use crate::replay::{Replay, replay};
use crate::settings::Settings;
use crate::trail::Trail;
use crate::view::{
    Created, Explanation, Health, KnownVersion, NewRelease, Outcome, PendingRollback, Recording, ReleaseStatus,
    RouteStatus, SeededRoute, StoreHealth,
};
use crate::watched::Watched;
use coalmine_core::id::{Actor, GatewayId, Generation, ReleaseId, RouteName};
use coalmine_core::key::KeyTable;
use coalmine_core::metric::Metric;
use coalmine_core::price::PriceSnapshot;
use coalmine_core::release::check::check;
use coalmine_core::release::decide::permit;
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::plan::Plan;
use coalmine_core::release::policy::Policy;
use coalmine_core::release::report::{Decision, JournalRow, Report};
use coalmine_core::release::state::{Release, State};
use coalmine_core::tally::Delta;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::table::RoutingTable;
use coalmine_core::version::{Prompt, Version, VersionDiff, VersionId, template};
use coalmine_store::{Seeded, Store, StoreError};
use coalmine_wire::prices::Prices;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The control plane of one tenant.
#[derive(Debug)]
pub struct Control {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    /// Held for moments, never over an await.
    pub(crate) known: Mutex<Known>,
    /// The loop's own; nobody else waits for it.
    pub(crate) desk: tokio::sync::Mutex<Desk>,
    /// The notices' own.
    pub(crate) errands: tokio::sync::Mutex<Errands>,
    /// What waits for judges; held for moments, never over an await.
    pub(crate) bench: Mutex<Bench>,
    /// Rung when something waits, or a judge is free.
    pub(crate) judge_bell: Notify,
    /// What waits to be captured; held for moments, never over an await.
    pub(crate) rack: Mutex<Rack>,
    /// Rung when something waits there.
    pub(crate) capture_bell: Notify,
    pub(crate) table: watch::Sender<Arc<RoutingTable>>,
    pub(crate) key_table: watch::Sender<Arc<KeyTable>>,
    /// By which of them the gateway of this process admits; the generation of none where there is no gateway in it.
    pub(crate) keys_served: watch::Sender<Generation>,
}

/// A loop that has not gone round for this long, of the wall's time, stands still.
const LOOP_PATIENCE: SpanMs = SpanMs::secs(10);

impl Control {
    /// Reads everything from the store and publishes the first tables. Exactly what was committed is
    /// taken up again; releases that the ceiling file holds down stay down.
    ///
    /// # Errors
    /// When the store does not answer or the ceiling file cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        ports: Ports,
    ) -> Result<Arc<Self>, ControlError> {
        let intake = Intake::resume(store.counted(&settings.tenant).await?);
        let control = Self {
            store,
            clock,
            ports,
            settings,
            known: Mutex::new(Known::new(intake)),
            desk: tokio::sync::Mutex::default(),
            errands: tokio::sync::Mutex::default(),
            bench: Mutex::default(),
            judge_bell: Notify::new(),
            rack: Mutex::default(),
            capture_bell: Notify::new(),
            table: watch::Sender::new(Arc::default()),
            key_table: watch::Sender::new(Arc::default()),
            keys_served: watch::Sender::default(),
        };
        control.load_all().await?;
        control.load_keys().await?;
        control.read_revocations().await;
        control.load_ceiling().await?;
        let routes: Vec<RouteName> = control.known().routes.keys().cloned().collect();
        for route in &routes {
            control.publish(route).await?;
        }
        Ok(Arc::new(control))
    }

    /// Seeds a route that the store does not know. A known one keeps its stable version; what differs
    /// from the seed is returned, for the start-up to print.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn seed_route(&self, route: &RouteName, stable: &Version) -> Result<SeededRoute, ControlError> {
        let (row, seeded) =
            self.ask("seeding a route", self.store.seed_route(&self.settings.tenant, route, stable)).await?;
        self.load_version(row.stable).await?;
        let differs = self.version_known(row.stable).map(|in_service| in_service.diff(stable));
        self.known().routes.insert(route.clone(), row.clone());
        if seeded == Seeded::New {
            self.publish(route).await?;
        }
        Ok(SeededRoute { row, seeded, differs: differs.unwrap_or(VersionDiff { changed: Vec::new() }) })
    }

    /// All routes, by name.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteStatus> {
        let known = self.known();
        let unfinished = |route: &RouteName| {
            let mut of_route = known.releases.values().filter(|k| k.release.route == *route);
            of_route.find(|k| !k.release.state.is_over()).map(|k| k.release.id.clone())
        };
        let shown = known.routes.values().map(|row| RouteStatus {
            row: row.clone(),
            stable: known.versions.get(&row.stable).cloned(),
            release: unfinished(&row.route),
            table_generation: known.published.get(&row.route).copied().unwrap_or_default(),
        });
        shown.collect()
    }

    /// Keeps a version.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn register_version(&self, version: Version) -> Result<VersionId, ControlError> {
        let id = self.ask("keeping a version", self.store.put_version(&self.settings.tenant, &version)).await?;
        self.known().versions.insert(id, Arc::new(version));
        Ok(id)
    }

    /// The versions that routes and releases name, and those registered since the start.
    #[must_use]
    pub fn versions(&self) -> Vec<KnownVersion> {
        let known = self.known();
        let stable_of = |id: &VersionId| {
            let routes = known.routes.values().filter(|row| row.stable == *id);
            routes.map(|row| row.route.clone()).collect()
        };
        let shown = known.versions.iter().map(|(id, version)| KnownVersion {
            id: *id,
            version: Arc::clone(version),
            stable_of: stable_of(id),
        });
        shown.collect()
    }

    /// One version.
    ///
    /// # Errors
    /// When it is not in memory and the store does not answer.
    pub async fn version(&self, id: VersionId) -> Result<Option<Arc<Version>>, ControlError> {
        self.load_version(id).await?;
        Ok(self.version_known(id))
    }

    /// Writes a release in `Draft`. Nothing is exposed before [`Command::Start`].
    ///
    /// # Errors
    /// When the canary is what the route serves already, the plan cannot be served, another release of
    /// the route is not over, or the store does not answer.
    pub async fn create_release(&self, new: NewRelease, actor: Actor) -> Result<Created, ControlError> {
        let row = self.known().routes.get(&new.route).cloned();
        let row = row.ok_or_else(|| ControlError::UnknownRoute(new.route.clone()))?;
        let stable = self.version(row.stable).await?.ok_or_else(|| ControlError::UnknownRoute(new.route.clone()))?;
        let canary = new.canary.id();
        if canary == row.stable {
            return Err(ControlError::SameVersion { route: new.route, version: canary });
        }
        let misfits = check(&new.plan, &new.policy);
        if !misfits.is_empty() {
            let all: Vec<String> = misfits.iter().map(ToString::to_string).collect();
            return Err(ControlError::BadRelease(all.join("; ")));
        }
        if let Some(prompt) = &new.canary.prompt {
            must_be_whole(prompt, stable.prompt.as_ref())?;
        }
        let diff = stable.diff(&new.canary);
        self.register_version(new.canary.clone()).await?;
        let taken = |list: &Arc<Prices>| Arc::new(prices::take(list, [&*stable, &new.canary], self.clock.now()));
        let prices = self.settings.prices.as_ref().map(taken);
        let carried = self.carried(&new, row.stable, canary, prices.as_deref()).await?;
        let release = Release { prices, ..self.draft(new, &row.stable, canary, row.releases, carried) };
        let report = Report { headline: format!("created by {actor}"), ..Report::default() };
        let first = JournalRow {
            release: release.id.clone(),
            generation: release.generation,
            at: release.created_at,
            actor: actor.clone(),
            event: Event::Created,
            decision: Decision::Create,
            report: report.clone(),
        };
        self.ask("creating a release", self.store.create_release(&release, &first)).await?;
        let mut known = self.known();
        if let Some(row) = known.routes.get_mut(&release.route) {
            row.releases += 1;
        }
        known.put(release.clone(), actor, report);
        Ok(Created { release, diff })
    }

    /// Does what an operator says. `expected` is the generation that the operator looked at: any other
    /// one is a conflict that names who was faster. A rollback ignores it, since it never loses a race,
    /// and works without the store.
    ///
    /// # Errors
    /// When the release is unknown, its state does not allow the command, somebody else was faster, or
    /// (but for a rollback) the store does not answer.
    pub async fn command(
        &self,
        id: &ReleaseId,
        command: Command,
        actor: Actor,
        expected: Option<Generation>,
    ) -> Result<Outcome, ControlError> {
        self.command_in(Haste::WhenReady, id, command, actor, expected).await
    }

    /// The same, where `haste` may say that nothing is waited for.
    ///
    /// # Errors
    /// Those of [`Self::command`].
    pub async fn command_in(
        &self,
        haste: Haste,
        id: &ReleaseId,
        command: Command,
        actor: Actor,
        expected: Option<Generation>,
    ) -> Result<Outcome, ControlError> {
        self.permit(id, &command)?;
        let command = self.prepared(id, command);
        let rollback = matches!(command, Command::Rollback { .. });
        let event = Event::Operator { actor: actor.clone(), command };
        if rollback {
            return self.roll_back(id, event, actor).await;
        }
        let warnings = self.awaited(haste, id, &event, expected)?;
        self.act_with(&warnings, id, event, actor, expected).await
    }

    /// What the route as a whole has against the command; an unknown release is told by what follows.
    fn permit(&self, id: &ReleaseId, command: &Command) -> Result<(), ControlError> {
        let known = self.known();
        let Some(release) = known.releases.get(id).map(|found| &found.release) else { return Ok(()) };
        let Some(row) = known.routes.get(&release.route) else { return Ok(()) };
        let of_route = known.releases.values().map(|found| &found.release).filter(|other| other.route == release.route);
        Ok(permit(release, command, row.stable, of_route)?)
    }

    /// Rolls back every release that exposes its canary; all exposure drops before the first commit.
    pub async fn rollback_all(&self, actor: &Actor, reason: &str) -> Vec<(ReleaseId, Result<Outcome, ControlError>)> {
        let exposing = |known: &&KnownRelease| match known.release.state {
            State::Preflight
            | State::Shadow { .. }
            | State::Running { .. }
            | State::Paused { .. }
            | State::AwaitingApproval { .. }
            | State::Promoting { .. } => true,
            State::Draft | State::Promoted { .. } | State::RollingBack { .. } | State::RolledBack { .. } => false,
        };
        let ids: Vec<ReleaseId> =
            self.known().releases.values().filter(exposing).map(|known| known.release.id.clone()).collect();
        let command = Command::Rollback { reason: reason.to_owned() };
        let event = Event::Operator { actor: actor.clone(), command };
        for id in &ids {
            // A refusal is reported below, by the rollback itself.
            let _ = self.lower(id, &event, actor).await;
        }
        let mut outcomes = Vec::with_capacity(ids.len());
        for id in ids {
            let outcome = self.roll_back(&id, event.clone(), actor.clone()).await;
            outcomes.push((id, outcome));
        }
        outcomes
    }

    /// All releases, newest first.
    #[must_use]
    pub fn releases(&self) -> Vec<Release> {
        let mut releases: Vec<Release> = self.known().releases.values().map(|k| k.release.clone()).collect();
        releases.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        releases
    }

    /// One release as committed.
    #[must_use]
    pub fn release(&self, id: &ReleaseId) -> Option<Release> {
        self.known().releases.get(id).map(|known| known.release.clone())
    }

    /// Everything about one release, from memory: it answers while the store is silent.
    #[must_use]
    pub fn status(&self, id: &ReleaseId) -> Option<ReleaseStatus> {
        let now = self.clock.now();
        let live = self.ports.pins.live(now);
        let exposures = self.exposures_served(id);
        let known = self.known();
        let found = known.releases.get(id)?;
        let patience = self.patience();
        let release = found.release.clone();
        let on_canary = live.iter().filter(|pins| pins.release.as_ref() == Some(id) && pins.version == release.canary);
        let pending = known.lowered.get(id).map(|lowered| PendingRollback {
            actor: lowered.held.actor.clone(),
            since: lowered.held.at,
            why: lowered.why_pending.clone(),
        });
        Some(ReleaseStatus {
            stable: known.versions.get(&release.stable).cloned(),
            canary: known.versions.get(&release.canary).cloned(),
            exposures,
            look: found.look.clone(),
            report: found.told(self.clock.now()),
            pending,
            live_on_canary: on_canary.map(|pins| pins.sessions).sum(),
            propagation: known.gateways.propagation(&release.route, now, patience),
            gateways: known.gateways.status(now, patience),
            store: known.store.clone(),
            looked_at: known.looked_at,
            prices: release.prices.as_ref().map(|kept| prices::beside(kept, self.settings.prices.as_deref())),
            now,
            release,
        })
    }

    /// The record behind the last decision: findings with number, bound, n and reason, and the journal.
    ///
    /// # Errors
    /// When the release is unknown or the store does not answer.
    pub async fn explain(&self, id: &ReleaseId) -> Result<Explanation, ControlError> {
        let journal = self.journal(id).await?;
        let known = self.known();
        let found = known.releases.get(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        let written = || journal.iter().rev().find_map(|row| row.analysis().cloned().map(Arc::new));
        let analysis = found.look.as_ref().map(|look| Arc::clone(&look.analysis)).or_else(written);
        Ok(Explanation { release: found.release.clone(), analysis, report: found.told(self.clock.now()), journal })
    }

    /// What is kept of a release's evidence: its sealed buckets, and what they were measured by.
    ///
    /// # Errors
    /// When the release is unknown or the store does not answer.
    pub async fn recording(&self, id: &ReleaseId) -> Result<Recording, ControlError> {
        let release = self.release(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        let evidence = self.ask("reading the evidence", self.store.evidence(&self.settings.tenant, id)).await?;
        Ok(Recording { release, yardstick: evidence.yardstick, sealed: evidence.sealed })
    }

    /// The journal of a release, oldest first.
    ///
    /// # Errors
    /// When the release is unknown or the store does not answer.
    pub async fn journal(&self, id: &ReleaseId) -> Result<Vec<JournalRow>, ControlError> {
        if self.release(id).is_none() {
            return Err(ControlError::UnknownRelease(id.clone()));
        }
        Ok(self.ask("reading the journal", self.store.journal(&self.settings.tenant, id)).await?)
    }

    /// Decides the journal anew: whether every decision is reproduced.
    ///
    /// # Errors
    /// When the release is unknown or the store does not answer.
    pub async fn replay(&self, id: &ReleaseId) -> Result<Replay, ControlError> {
        let journal = self.journal(id).await?;
        let release = self.release(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        Ok(replay(&release, &journal))
    }

    /// How the evidence of each guardrail went.
    #[must_use]
    pub fn evidence_history(&self, id: &ReleaseId) -> Option<Trail> {
        self.known().releases.get(id).map(|known| known.trail.clone())
    }

    /// The newest table; every change is seen by the receiver.
    #[must_use]
    pub fn table(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.table.subscribe()
    }

    /// Takes what a gateway learnt, once per (gateway, epoch, sequence). It is counted by the next look.
    ///
    /// # Errors
    /// When too much waits to be counted: the same delta must be offered again.
    pub fn intake(&self, delta: Arc<Delta>) -> Result<(), IntakeError> {
        let now = self.clock.now();
        let mut known = self.known();
        let taken = known.intake.take(Arc::clone(&delta), self.settings.queued_turns_max)?;
        match taken {
            Taken::New => known.gateways.hear(&delta, now),
            Taken::Known => {}
        }
        Ok(())
    }

    /// A gateway serves these generations, told before its next delta.
    pub fn acknowledge(&self, gateway: &GatewayId, serving: &BTreeMap<RouteName, Generation>) {
        let now = self.clock.now();
        self.known().gateways.acknowledge(gateway, serving, now);
    }

    /// The control plane's own state, from memory.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.clock.now();
        let known = self.known();
        let failing = known.releases.values().filter_map(|k| k.failing.clone().map(|why| (k.release.id.clone(), why)));
        Health {
            store: known.store.clone(),
            looked_at: known.looked_at,
            loop_patience: self.clock.of_wall(LOOP_PATIENCE),
            now,
            standing: known.standing.clone(),
            gateways: known.gateways.status(now, self.patience()),
            queued_turns: known.intake.queued(),
            lost_deltas: known.intake.lost_deltas(),
            pending_rollbacks: known.lowered.keys().cloned().collect(),
            outbox: known.outbox,
            failing: failing.collect(),
            notices_lost: known.notices_lost,
        }
    }

    /// Now, by the process clock.
    #[must_use]
    pub fn now(&self) -> coalmine_core::time::UnixMs {
        self.clock.now()
    }

    /// The earlier tries of a canary on a route.
    fn tries(&self, route: &RouteName, canary: VersionId) -> Vec<Release> {
        let known = self.known();
        let all = known.releases.values().map(|found| &found.release);
        let earlier = all.filter(|r| r.route == *route && r.canary == canary && r.started_at.is_some());
        earlier.cloned().collect()
    }

    /// The promotion evidence that the last try of the same canary left, from what the store kept of it.
    async fn carried(
        &self,
        new: &NewRelease,
        stable: VersionId,
        canary: VersionId,
        prices: Option<&PriceSnapshot>,
    ) -> Result<BTreeMap<Metric, f64>, ControlError> {
        let tries = self.tries(&new.route, canary);
        let Some(last) = tries.iter().max_by_key(|release| release.created_at) else { return Ok(BTreeMap::new()) };
        let call = self.store.evidence(&self.settings.tenant, &last.id);
        let evidence = self.ask("reading the evidence of the last try", call).await?;
        let mut carried = Watched::restore(last, evidence)?.carry(last, stable, &new.policy);
        if last.prices.as_deref().map(|last| &last.models) != prices.map(|now| &now.models) {
            // What was proven of other costs proves nothing here.
            carried.iter_mut().filter(|(metric, _)| metric.is_of_cost()).for_each(|(_, log)| *log = log.min(0.0));
        }
        Ok(carried)
    }

    fn draft(
        &self,
        new: NewRelease,
        stable: &VersionId,
        canary: VersionId,
        releases: u64,
        carried: BTreeMap<Metric, f64>,
    ) -> Release {
        Release {
            id: ReleaseId(format!("{}-{}", new.route, releases + 1)),
            tenant: self.settings.tenant.clone(),
            route: new.route.clone(),
            stable: *stable,
            canary,
            policy_hash: policy_hash(&new.plan, &new.policy),
            plan: new.plan,
            policy: new.policy,
            salt: self.ports.random.salt(),
            attempt: self.attempts(&new.route, canary),
            carried,
            created_at: self.clock.now(),
            started_at: None,
            promoted_at: None,
            revoked_at: None,
            prices: None,
            drifts: Vec::new(),
            open: BTreeSet::new(),
            state: State::Draft,
            generation: Generation(0),
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held left at worst one release's view behind; it is read anew at the next look.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience::of(&self.settings, self.clock.as_ref())
    }

    fn version_known(&self, id: VersionId) -> Option<Arc<Version>> {
        self.known().versions.get(&id).cloned()
    }

    /// One call of the store, for no longer than the settings bear; its health is noted.
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let patience = Duration::from_millis(self.settings.wall_store_patience.0);
        let answer = match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(StoreError::Unavailable { what: what.to_owned(), source: Box::new(elapsed) }),
        };
        self.note_store(&answer);
        answer
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.known().store != StoreHealth::Answers
    }

    fn note_store<T>(&self, answer: &Result<T, StoreError>) {
        let now = self.clock.now();
        let mut known = self.known();
        match answer {
            Err(error @ StoreError::Unavailable { .. }) => {
                if known.store == StoreHealth::Answers {
                    tracing::warn!(error = %crate::error::chain(error), "the store fell silent; nothing is advanced or promoted");
                    known.store = StoreHealth::Silent { since: now, why: crate::error::chain(error) };
                }
            }
            Ok(_) | Err(_) => {
                if known.store != StoreHealth::Answers {
                    tracing::info!("the store answers again");
                    known.store = StoreHealth::Answers;
                }
            }
        }
    }
}

/// A canary's prompt declares what it has places for, within bounds, and keeps no place of stable's without its variable.
fn must_be_whole(prompt: &Prompt, before: Option<&Prompt>) -> Result<(), ControlError> {
    template::check(&prompt.text, &prompt.variables)
        .map_err(|unfit| ControlError::BadRelease(format!("canary.prompt: {unfit}")))?;
    match before.and_then(|before| prompt.left_open(before)) {
        None => Ok(()),
        Some(place) => Err(ControlError::BadRelease(format!(
            "canary.prompt: it has a place for `{name}`, which stable declares and it does not, so that the provider \
             would read the braces; declare `{name}` with a default, which braces that are meant as text are too",
            name = place.name
        ))),
    }
}

/// BLAKE3 of the plan and the policy in their stored form.
pub(crate) fn policy_hash(plan: &Plan, policy: &Policy) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("coalmine release criteria 1");
    for text in [serde_json::to_vec(plan), serde_json::to_vec(policy)].into_iter().flatten() {
        hasher.update(&text);
    }
    hasher.finalize().to_hex().to_string()
}
