//! One route, one release, and what they need of the world.

use crate::ready::Told;
use crate::sentinels::Scripted;
use async_trait::async_trait;
use coalmine_control::Control;
use coalmine_control::captures::CaptureSettings;
use coalmine_control::clock::{Clock, ManualClock};
use coalmine_control::ports::{
    Brake, BrakeError, Held, Letter, NoCensus, NoHerald, Ports, Post, PostError, RandomSource,
};
use coalmine_control::settings::{Form, Secret, Settings, Webhook};
use coalmine_control::view::NewRelease;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{Actor, Generation, KeyName, ReleaseId, RouteName};
use coalmine_core::key::Revocation;
use coalmine_core::metric::Metric;
use coalmine_core::release::event::Command;
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{
    Ages, Budget, ControlArm, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Policy, Role, Unit,
};
use coalmine_core::sentinel::Sentinels;
use coalmine_core::tally::Delta;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::Version;
use coalmine_store::Store;
use coalmine_store::memory::MemoryStore;
use coalmine_wire::prices::Prices;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub(crate) const ROUTE: &str = "support";

/// The routes' own sentinels, and what is captured.
type Watched = (BTreeMap<RouteName, Sentinels>, Option<CaptureSettings>);

pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) brake: Arc<FileBrake>,
    pub(crate) post: Arc<Postbox>,
    pub(crate) prober: Arc<Scripted>,
    pub(crate) readier: Arc<Told>,
    pub(crate) control: Arc<Control>,
    watched: Watched,
}

impl Fixture {
    /// A route with its stable version, on a fresh store.
    pub(crate) async fn new() -> Self {
        Self::watching(None).await
    }

    /// The same with sentinels of its own.
    pub(crate) async fn watching(suite: Option<Sentinels>) -> Self {
        Self::with((suite.into_iter().map(|suite| (route(), suite)).collect(), None)).await
    }

    /// The same, where answers are captured.
    pub(crate) async fn capturing(captures: Option<CaptureSettings>) -> Self {
        Self::with((BTreeMap::new(), captures)).await
    }

    async fn with(watched: Watched) -> Self {
        let store = MemoryStore::new();
        let clock = Arc::new(ManualClock::at(UnixMs(1_767_571_200_000)));
        let brake = Arc::new(FileBrake::default());
        let post = Arc::new(Postbox::default());
        let prober = Arc::new(Scripted::default());
        let readier = Arc::new(Told::default());
        let control = open_with(Arc::new(store.clone()), &clock, &brake, &post, &prober, &readier, &watched).await;
        control.seed_route(&route(), &version("stable-model")).await.unwrap();
        Self { store, clock, brake, post, prober, readier, control, watched }
    }

    /// The same process, started again after a kill -9.
    pub(crate) async fn restart(self) -> Self {
        let Self { store, clock, brake, post, prober, readier, watched, .. } = &self;
        let control = open_with(Arc::new(store.clone()), clock, brake, post, prober, readier, watched).await;
        Self { control, ..self }
    }

    /// Another process on the same store, whose price list is this.
    pub(crate) async fn with_prices(self, prices: Prices) -> Self {
        let Self { store, clock, brake, post, prober, readier, .. } = &self;
        let settings = Settings { prices: Some(Arc::new(prices)), ..settings(&self.watched) };
        let ports = ports(brake, post, prober, readier);
        let clock = Arc::<ManualClock>::clone(clock);
        let control = Control::open(Arc::new(store.clone()), clock, settings, ports).await.unwrap();
        Self { control, ..self }
    }

    /// A release that exposes its first stage.
    pub(crate) async fn started(&self) -> ReleaseId {
        let id = self.created("canary-model").await;
        self.control.command(&id, Command::Start, alice(), None).await.unwrap();
        id
    }

    pub(crate) async fn created(&self, canary: &str) -> ReleaseId {
        self.control.create_release(new_release(canary), alice()).await.unwrap().release.id
    }

    /// The canary's share that the table gives to anybody.
    pub(crate) fn share_bp(&self) -> u16 {
        let table = self.control.table();
        let table = table.borrow();
        let release = table.routes[&route()].release.as_ref();
        release.and_then(|release| release.governing(None)).map_or(0, |exposure| exposure.weight.bp())
    }

    pub(crate) fn generation(&self) -> Generation {
        self.control.table().borrow().routes[&route()].generation
    }

    /// A gateway that reports up to now and serves the newest table.
    pub(crate) fn report(&self, gateway: &str, sequence: u64) {
        self.report_serving(gateway, sequence, self.generation());
    }

    pub(crate) fn report_serving(&self, gateway: &str, sequence: u64, generation: Generation) {
        let delta = Delta {
            gateway: gateway.into(),
            epoch: 1,
            sequence,
            complete_to: self.clock.now(),
            turns: Vec::new(),
            feedback: Vec::new(),
            dropped: Vec::new(),
            serving: BTreeMap::from([(route(), generation)]),
            mirrored: Vec::new(),
            spending: Vec::new(),
        };
        self.control.intake(Arc::new(delta)).unwrap();
    }
}

pub(crate) async fn open(
    store: Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    brake: &Arc<FileBrake>,
    post: &Arc<Postbox>,
    prober: &Arc<Scripted>,
) -> Arc<Control> {
    open_with(store, clock, brake, post, prober, &Arc::default(), &(BTreeMap::new(), None)).await
}

async fn open_with(
    store: Arc<dyn Store>,
    clock: &Arc<ManualClock>,
    brake: &Arc<FileBrake>,
    post: &Arc<Postbox>,
    prober: &Arc<Scripted>,
    readier: &Arc<Told>,
    watched: &Watched,
) -> Arc<Control> {
    Control::open(store, Arc::<ManualClock>::clone(clock), settings(watched), ports(brake, post, prober, readier))
        .await
        .unwrap()
}

fn ports(brake: &Arc<FileBrake>, post: &Arc<Postbox>, prober: &Arc<Scripted>, readier: &Arc<Told>) -> Ports {
    Ports {
        random: Arc::new(Counting::default()),
        brake: Arc::<FileBrake>::clone(brake),
        pins: Arc::new(NoCensus),
        post: Arc::<Postbox>::clone(post),
        prober: Arc::<Scripted>::clone(prober),
        readier: Arc::<Told>::clone(readier),
        assessors: Arc::<Scripted>::clone(prober),
        herald: Arc::new(NoHerald),
    }
}

fn settings(watched: &Watched) -> Settings {
    let webhook = Webhook {
        url: Secret::new("https://hooks.example/T0/secret"),
        secret: Some(Secret::new("whsec")),
        form: Form::Fields,
        link_base: Some("https://coalmine.example/".to_owned()),
        on: BTreeSet::new(),
    };
    // The second one is told of nothing that happens here.
    let deaf = Webhook { on: BTreeSet::from(["approval_wanted".to_owned()]), ..webhook.clone() };
    Settings {
        webhooks: vec![webhook, deaf],
        sentinels: watched.0.clone(),
        captures: watched.1.clone(),
        ..Settings::default()
    }
}

pub(crate) fn route() -> RouteName {
    RouteName::from(ROUTE)
}

pub(crate) fn alice() -> Actor {
    Actor("alice".to_owned())
}

pub(crate) fn bob() -> Actor {
    Actor("bob".to_owned())
}

pub(crate) fn rollback(reason: &str) -> Command {
    Command::Rollback { reason: reason.to_owned() }
}

pub(crate) fn version(model: &str) -> Version {
    Version {
        provider: "openai".into(),
        model: model.to_owned(),
        prompt: None,
        tools: None,
        params: BTreeMap::new(),
        fallbacks: Vec::new(),
    }
}

pub(crate) fn new_release(canary: &str) -> NewRelease {
    let stage = |bp, gate| Stage {
        cohort: Cohort::All,
        weight: WeightBp::new(bp).unwrap(),
        bake: SpanMs::minutes(30),
        min_sessions: 50,
        gate,
    };
    NewRelease {
        route: route(),
        canary: version(canary),
        plan: Plan { stages: vec![stage(500, Gate::Automatic), stage(2_500, Gate::Automatic)] },
        policy: policy(),
    }
}

fn policy() -> Policy {
    Policy {
        false_rollback_rate: 0.01,
        false_promotion_rate: 0.05,
        guardrails: vec![Guardrail {
            metric: Metric::ErrorRate,
            role: Role::Guardrail,
            promote: Margin { ratio: 1.0, shift: 0.01 },
            rollback: Margin { ratio: 1.0, shift: 0.005 },
            limit: None,
            weight: 0.3,
            no_data: NoData { then: NoDataThen::Hold, grace: SpanMs::minutes(10) },
            age: None,
            sample: None,
            control: ControlArm::default(),
            unit: Unit::Session,
        }],
        tripwires: Vec::new(),
        bucket: SpanMs::secs(60),
        ages: Ages::default(),
        max_duration: SpanMs::hours(72),
        on_undecided: OnUndecided::Hold,
        on_rollback: OnRollback::MoveNextTurn,
        keep: SpanMs::hours(48),
        hold_back: WeightBp::ZERO,
        rescue_budget: WeightBp::new(500).unwrap(),
        budget: Budget::default(),
        freeze: Vec::new(),
        sentinels: None,
        judges: Vec::new(),
        shadow: None,
        acknowledged: BTreeSet::new(),
    }
}

/// Salts that differ and repeat from run to run.
#[derive(Debug, Default)]
struct Counting(Mutex<u8>);

impl RandomSource for Counting {
    fn salt(&self) -> Salt {
        let mut next = self.0.lock().unwrap();
        *next = next.wrapping_add(1);
        Salt([*next; 32])
    }

    fn secret(&self) -> [u8; 32] {
        self.salt().0
    }
}

/// A ceiling file that outlives the process.
#[derive(Debug, Default)]
pub(crate) struct FileBrake {
    pub(crate) file: Mutex<BTreeMap<ReleaseId, Held>>,
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) revoked: Mutex<BTreeMap<KeyName, Revocation>>,
}

#[async_trait]
impl Brake for FileBrake {
    async fn lower(&self, held: &Held) -> Result<(), BrakeError> {
        self.log.lock().unwrap().push(format!("lower {}", held.release));
        self.file.lock().unwrap().insert(held.release.clone(), held.clone());
        Ok(())
    }
    async fn lift(&self, release: &ReleaseId) -> Result<(), BrakeError> {
        self.log.lock().unwrap().push(format!("lift {release}"));
        self.file.lock().unwrap().remove(release);
        Ok(())
    }
    async fn held(&self) -> Result<Vec<Held>, BrakeError> {
        Ok(self.file.lock().unwrap().values().cloned().collect())
    }
    async fn keep_revocation(&self, key: &KeyName, end: &Revocation) -> Result<(), BrakeError> {
        self.revoked.lock().unwrap().insert(key.clone(), end.clone());
        Ok(())
    }
    async fn drop_revocation(&self, key: &KeyName) -> Result<(), BrakeError> {
        self.revoked.lock().unwrap().remove(key);
        Ok(())
    }
    async fn revocations(&self) -> Result<Vec<(KeyName, Revocation)>, BrakeError> {
        Ok(self.revoked.lock().unwrap().clone().into_iter().collect())
    }
}

/// Letters that arrived; the next `refuse` are refused.
#[derive(Debug, Default)]
pub(crate) struct Postbox {
    pub(crate) letters: Mutex<Vec<Letter>>,
    pub(crate) refuse: Mutex<u32>,
}

#[async_trait]
impl Post for Postbox {
    async fn deliver(&self, letter: &Letter) -> Result<(), PostError> {
        let mut refuse = self.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return Err(PostError("status 503".to_owned()));
        }
        self.letters.lock().unwrap().push(letter.clone());
        Ok(())
    }
}
