//! One release from start to end, in virtual time.

use crate::gateway::Gateway;
use crate::laws::Laws;
use crate::luck::Luck;
use crate::meddling::Meddling;
use crate::naive::Naive;
use crate::report::{Copied, Ended, SimOutcome};
use crate::sentinels::Providers;
use crate::world::{Fault, World};
use coalmine_control::clock::{Clock, ManualClock};
use coalmine_control::ports::{Ports, RandomSource};
use coalmine_control::settings::Settings;
use coalmine_control::view::NewRelease;
use coalmine_control::{Control, ControlError};
use coalmine_core::id::{Actor, ReleaseId};
use coalmine_core::release::event::Command;
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::table::RoutingTable;
use coalmine_core::traffic::weight::Salt;
use coalmine_core::version::Version;
use coalmine_store::memory::MemoryStore;
use std::sync::{Arc, Mutex, PoisonError};

/// Monday 2026-01-05 00:00 UTC: the freeze windows of a policy have their weekdays.
const ORIGIN: UnixMs = UnixMs(1_767_571_200_000);

/// A world that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The control plane refused something that the world needs.
    #[error("the world cannot be run")]
    Control(#[from] ControlError),
}

/// Runs `release` (from `stable` to its canary) in `world`, looking every `step`. The same arguments give
/// the same outcome.
///
/// # Errors
/// When the control plane refuses the release.
pub async fn run(
    world: &World,
    stable: &Version,
    release: NewRelease,
    step: SpanMs,
    seed: u64,
) -> Result<SimOutcome, SimError> {
    let mut life = Life::begin(world, stable, &release, step, seed).await?;
    let started_at = ORIGIN + world.history;
    let naive = world.without.map(|rule| Naive::new(rule, world, &release.plan, &release.policy));
    let mut gateway = Gateway::new(world, release.route.clone(), release.canary.id(), seed, ORIGIN, started_at);
    gateway.naive = naive;
    while life.clock.now() < started_at {
        life.pass(&mut gateway, None).await;
    }
    let operator = Actor("sim".to_owned());
    let draft = life.control.create_release(release, operator.clone()).await?.release;
    let mut laws = Laws::of(&draft);
    life.control.command(&draft.id, Command::Start, operator, None).await?;
    let mut stage = 0;
    while life.clock.now().since(started_at) < world.until {
        life.pass(&mut gateway, Some(started_at)).await;
        if let Some(naive) = &mut gateway.naive {
            naive.look(life.clock.now(), started_at);
        }
        let Some(now) = life.control.release(&draft.id) else { break };
        stage = now.state.serving_stage().unwrap_or(stage);
        if now.generation != laws.checked()
            && let Ok(journal) = life.control.journal(&draft.id).await
        {
            laws.check(&journal);
        }
        if matches!(now.state, State::AwaitingApproval { .. }) {
            // Whoever is asked says yes at once: what is played is the evidence.
            let actor = Actor("sim".to_owned());
            let _ = life.control.command(&draft.id, Command::Approve, actor, None).await;
        }
        if !now.state.is_watched() {
            break;
        }
    }
    let ended_at = life.clock.now();
    while life.clock.now().since(ended_at) < world.after_end {
        life.pass(&mut gateway, Some(started_at)).await;
    }
    life.outcome(&draft.id, started_at, stage, gateway, laws).await
}

/// The control plane under test and what it lives on.
struct Life {
    store: MemoryStore,
    clock: Arc<StepClock>,
    settings: Settings,
    salts: Arc<Salts>,
    providers: Arc<Providers>,
    control: Arc<Control>,
    faults: Vec<Fault>,
    step: SpanMs,
    restarts_done: usize,
    route: coalmine_core::id::RouteName,
}

impl Life {
    async fn begin(
        world: &World,
        stable: &Version,
        release: &NewRelease,
        step: SpanMs,
        seed: u64,
    ) -> Result<Self, SimError> {
        let store = MemoryStore::new();
        let clock = Arc::new(StepClock { now: ManualClock::at(ORIGIN), step });
        let settings = Settings {
            // A call of the store in memory takes no time at all.
            wall_store_patience: SpanMs::minutes(1),
            ..Settings::default()
        };
        let salts = Arc::new(Salts(Mutex::new(Luck::part(seed, u64::MAX - 1))));
        let providers = Arc::new(Providers {
            world: world.clone(),
            clock: Arc::<StepClock>::clone(&clock),
            started_at: ORIGIN + world.history,
            luck: Mutex::new(Luck::part(seed, u64::MAX - 2)),
            stable: stable.clone(),
            judges: release.policy.judges.clone(),
            asked: Mutex::default(),
        });
        let control = open(&store, &clock, &settings, &salts, &providers).await?;
        control.seed_route(&release.route, stable).await?;
        let (faults, route) = (world.faults.clone(), release.route.clone());
        Ok(Self { store, clock, settings, salts, providers, control, faults, step, restarts_done: 0, route })
    }

    /// One step: users, reports, one round of the loop.
    async fn pass(&mut self, gateway: &mut Gateway<'_>, started_at: Option<UnixMs>) {
        let table: Arc<RoutingTable> = Arc::clone(&self.control.table().borrow());
        self.clock.now.pass(self.step);
        let now = self.clock.now();
        if let Some(route) = table.routes.get(&self.route) {
            gateway.serve(route, now);
        }
        let age = started_at.map(|at| now.since(at));
        self.break_things(age).await;
        let mut reported = gateway.report(&self.control.table().borrow(), now);
        for (how, began) in self.meddlings(started_at, now) {
            reported.iter_mut().for_each(|delta| *delta = how.falsify(delta, began));
        }
        if !self.reports_are_lost(age) && reported.into_iter().all(|delta| self.control.intake(delta).is_ok()) {
            gateway.taken();
        }
        self.control.tick().await;
        self.control.ask_sentinels().await;
        let (samples, pairs) = gateway.take_judged(now);
        samples.into_iter().for_each(|sample| self.control.offer_sample(sample));
        pairs.into_iter().for_each(|pair| self.control.offer_pair(pair));
        self.control.judge_waiting().await;
    }

    async fn break_things(&mut self, age: Option<SpanMs>) {
        let Some(age) = age else { return };
        let down = self.faults.iter().any(|fault| matches!(fault, Fault::StoreDown { .. }) && fault.is_on(age));
        let due = |fault: &&Fault| matches!(fault, Fault::Restart { at } if *at <= age);
        let restarts = self.faults.iter().filter(due).count();
        if down {
            self.store.set_unavailable();
        } else {
            self.store.set_available();
        }
        // With the store down a new process cannot begin: it is started when the store is back.
        if restarts > self.restarts_done
            && let Ok(control) = open(&self.store, &self.clock, &self.settings, &self.salts, &self.providers).await
        {
            self.control = control;
            self.restarts_done = restarts;
        }
    }

    fn reports_are_lost(&self, age: Option<SpanMs>) -> bool {
        let Some(age) = age else { return false };
        self.faults.iter().any(|fault| matches!(fault, Fault::ReportsLost { .. }) && fault.is_on(age))
    }

    /// What falsifies the reports now, and since when.
    fn meddlings(&self, started_at: Option<UnixMs>, now: UnixMs) -> Vec<(Meddling, UnixMs)> {
        let Some(started_at) = started_at else { return Vec::new() };
        let age = now.since(started_at);
        let meddled = self.faults.iter().filter(|fault| fault.is_on(age)).filter_map(|fault| match fault {
            Fault::Meddled { from, how, .. } => Some((*how, started_at + *from)),
            Fault::StoreDown { .. }
            | Fault::ReportsLost { .. }
            | Fault::ScoresLost { .. }
            | Fault::SentinelsLost { .. }
            | Fault::Ceiling { .. }
            | Fault::JudgesDown { .. }
            | Fault::JudgesDrift { .. }
            | Fault::Restart { .. } => None,
        });
        meddled.collect()
    }

    async fn outcome(
        &self,
        id: &ReleaseId,
        started_at: UnixMs,
        stage: usize,
        gateway: Gateway<'_>,
        mut laws: Laws,
    ) -> Result<SimOutcome, SimError> {
        self.store.set_available();
        let journal = self.control.journal(id).await?;
        laws.check(&journal);
        let release = self.control.release(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        laws.check_end(&release);
        let mut broken = laws.broken;
        if gateway.counts.strayed > 0 {
            broken.push(format!("{} sessions changed their version without a rollback", gateway.counts.strayed));
        }
        let headline = self.control.status(id).map(|status| status.report.headline).unwrap_or_default();
        let decided_at = decided_at(&release).unwrap_or(self.clock.now());
        let story = journal.iter().skip(1).map(|row| {
            let minutes = row.at.since(started_at).0 / 60_000;
            format!("{minutes:>5} min  {:<9} {}", row.actor.as_str(), row.report.headline)
        });
        Ok(SimOutcome {
            ended: ended(&release, headline),
            minutes: decided_at.since(started_at).0 / 60_000,
            stage,
            canary_sessions: gateway.counts.canary.len() as u64,
            control_sessions: gateway.counts.control,
            harmed: gateway.counts.harmed.len() as u64,
            turns: gateway.counts.turns,
            moved: gateway.counts.moved,
            mirrored: Copied {
                sessions: gateway.copies.sessions.len() as u64,
                copies: gateway.copies.made,
                lost: gateway.copies.lost_in_all,
            },
            asked: self.providers.asked.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            story: story.collect(),
            without: gateway.naive.map(Naive::outcome),
            broken,
        })
    }
}

async fn open(
    store: &MemoryStore,
    clock: &Arc<StepClock>,
    settings: &Settings,
    salts: &Arc<Salts>,
    providers: &Arc<Providers>,
) -> Result<Arc<Control>, ControlError> {
    let random: Arc<dyn RandomSource> = Arc::<Salts>::clone(salts);
    let clock: Arc<dyn Clock> = Arc::<StepClock>::clone(clock);
    let ports = Ports { prober: Arc::<Providers>::clone(providers), ..Ports::alone(random) };
    Control::open(Arc::new(store.clone()), clock, settings.clone(), ports).await
}

fn decided_at(release: &Release) -> Option<UnixMs> {
    release.revoked_at.or(release.promoted_at)
}

fn ended(release: &Release, headline: String) -> Ended {
    match &release.state {
        State::Promoting { .. } | State::Promoted { .. } => Ended::Promoted,
        State::RollingBack { why, .. } | State::RolledBack { why, .. } => Ended::RolledBack { why: why.clone() },
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::AwaitingApproval { .. } => Ended::Open { state: release.state.word(), headline },
    }
}

/// One step of the world is what one second is to the loop.
#[derive(Debug)]
struct StepClock {
    now: ManualClock,
    step: SpanMs,
}

impl Clock for StepClock {
    fn now(&self) -> UnixMs {
        self.now.now()
    }

    fn scale(&self) -> f64 {
        self.step.0 as f64 / 1_000.0
    }
}

/// Salts of one seed.
#[derive(Debug)]
struct Salts(Mutex<Luck>);

impl RandomSource for Salts {
    fn salt(&self) -> Salt {
        let mut luck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&luck.bits().to_le_bytes());
        }
        Salt(bytes)
    }

    fn secret(&self) -> [u8; 32] {
        self.salt().0
    }
}
