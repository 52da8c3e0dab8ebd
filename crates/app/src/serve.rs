//! `coalmine serve`: the gateway, the control loop and the management API in one process, wired together.

mod adapters;
mod assessors;
mod certificate;
mod gateway;
mod handover;
mod post;
mod prober;
mod provider_key;
mod readier;
mod site;

use crate::cli::Exit;
use crate::cli::args::ServeArgs;
use crate::config::{self, Machine, Process, StoreAddress};
use adapters::{Census, FileBrake, GatewayClock, LogOfPins, Samples, Tables, Takes};
use anyhow::{Context, Result, bail};
use assessors::SiteAssessors;
use coalmine_api::handlers::{Api, Operators};
use coalmine_control::Control;
use coalmine_control::clock::Clock;
use coalmine_control::ports::{Ports, SystemRandom};
use coalmine_control::settings::Settings;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Followed;
use coalmine_gateway::listen;
use coalmine_gateway::pins::{MemoryPins, PinLimits};
use coalmine_gateway::{Gateway, Running, Workers};
use coalmine_store::Store;
use coalmine_store::ceiling::Ceilings;
use coalmine_store::conversations;
use coalmine_store::memory::MemoryStore;
use coalmine_store::pins::EmbeddedPins;
use coalmine_store::sqlite::SqliteStore;
use handover::{Heir, Inherited, Offer, Succession};
use prober::GatewayProber;
use readier::{GatewayHerald, GatewayReadier};
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running Coalmine.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    /// Which has one owner at a time.
    log: Arc<LogOfPins>,
    running: Running,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Serves the management API where it has an address of its own.
    admin: Option<JoinHandle<()>>,
    looks: std::thread::JoinHandle<()>,
    drain: Duration,
    /// Its listeners once more, for whoever takes them over.
    sockets: Vec<OwnedFd>,
}

/// Reads the configuration and serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the configuration is wrong, or something that it names cannot be had.
pub async fn run(args: &ServeArgs) -> Result<Exit> {
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("reading {}; `--config FILE` names another file", args.config.display()))?;
    let process = config::parse_process(&text, &args.config, &Machine)?;
    let scheme = if process.tls.is_some() { "https" } else { "http" };
    let folder = process.data_dir.clone();
    let managed = Inherited::from_manager()?;
    let served: Vec<SocketAddr> = [process.listen].into_iter().chain(process.admin_listen).collect();
    managed.must_be_at(&served)?;
    let inherited = if args.take_over {
        // what is wrong with it should be told before anybody lets go of anything
        certificate::load(&process)?;
        handover::take(&folder).await?.or(managed)
    } else {
        managed
    };
    let mut server = Server::start_with(process.clone(), inherited).await?;
    tracing::info!(address = %server.address, "serving; point an OpenAI SDK's base_url at {scheme}://{}/v1", server.address);
    let mut earlier = Vec::new();
    loop {
        let LeftBehind { gateway, sockets, turns } = match serve_on(&folder, server).await? {
            Next::Ended(drain) => {
                drain_all(&earlier, drain).await;
                return Ok(Exit::Done);
            }
            Next::TakenBack(left) => left,
        };
        earlier.push(gateway);
        server = begin_anew(&process, sockets, turns).await?;
        tracing::warn!(address = %server.address, "the process that took over ended before it served; this one serves again");
    }
}

/// What comes after a server.
enum Next {
    /// Nothing: it was told to stop, or another process serves. How long requests may still run.
    Ended(Duration),
    /// Another: whoever took over is gone.
    TakenBack(LeftBehind),
}

/// What a server leaves that let go of store and logs.
struct LeftBehind {
    /// Its requests still run.
    gateway: Arc<Gateway>,
    sockets: Vec<OwnedFd>,
    /// Those of them that nobody hears of.
    turns: u64,
}

/// Serves until it is told to stop, or another process took over, or failed to.
async fn serve_on(folder: &Path, mut server: Server) -> Result<Next> {
    let drain = server.drain;
    let sockets = std::mem::take(&mut server.sockets);
    let kept: Vec<OwnedFd> = sockets.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>()?;
    let offer = Offer::open(folder, sockets);
    let offer = offer.inspect_err(
        |error| tracing::warn!(error = %format!("{error:#}"), "`serve --take-over` will find no process here"),
    );
    let taken = async {
        match &offer {
            Ok(offer) => offer.taken().await,
            Err(_) => std::future::pending().await,
        }
    };
    let heir = tokio::select! {
        told = until_told() => told.map(|()| None)?,
        heir = taken => Some(heir),
    };
    drop(offer);
    let Some(heir) = heir else {
        // with them the listener would go on taking connections that nobody accepts
        drop(kept);
        tracing::info!("stopping: running requests may finish");
        let began = Instant::now();
        server.stop().await;
        return Ok(Next::Ended(drain.saturating_sub(began.elapsed())));
    };
    tracing::info!("another process takes the listener over");
    let (gateway, began) = (Arc::clone(&server.gateway), Instant::now());
    let (succession, turns) = server.hand_over(heir).await?;
    if succession == Succession::Gone {
        return Ok(Next::TakenBack(LeftBehind { gateway, sockets: kept, turns }));
    }
    drop(kept);
    drain_all(&[gateway], drain.saturating_sub(began.elapsed())).await;
    Ok(Next::Ended(drain))
}

/// With its own sockets. Whoever took them may still be letting go of store and logs.
async fn begin_anew(process: &Process, sockets: Vec<OwnedFd>, left_behind: u64) -> Result<Server> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        let own: Vec<OwnedFd> = sockets.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>()?;
        match Server::start_with(process.clone(), Inherited::own(own, left_behind)).await {
            Ok(server) => return Ok(server),
            Err(error) => tracing::warn!(error = %format!("{error:#}"), "cannot serve again yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Server::start_with(process.clone(), Inherited::own(sockets, left_behind)).await
}

/// Lets what still runs go on to its end, within `limit`.
async fn drain_all(gateways: &[Arc<Gateway>], limit: Duration) {
    let until = Instant::now() + limit;
    for gateway in gateways {
        drain(gateway, until.saturating_duration_since(Instant::now())).await;
    }
}

/// What does not come to its end within `limit` is told that it does not.
async fn drain(gateway: &Gateway, limit: Duration) {
    let left = gateway.drain(limit).await;
    if left > 0 {
        tracing::warn!(left, "requests were cut off at the end of the drain");
    }
    gateway.cut_off().await;
}

async fn until_told() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => Ok(()),
        told = tokio::signal::ctrl_c() => Ok(told?),
    }
}

impl Server {
    /// Starts everything that `process` describes.
    ///
    /// # Errors
    /// When a port, the store or the data folder cannot be had.
    pub async fn start(process: Process) -> Result<Self> {
        Self::start_with(process, Inherited::default()).await
    }

    async fn start_with(process: Process, inherited: Inherited) -> Result<Self> {
        guard_open_api(&process)?;
        std::fs::create_dir_all(&process.data_dir).with_context(|| format!("making {}", process.data_dir.display()))?;
        let clock: Arc<dyn Clock> = Arc::new(site::clock(&process)?);
        let store = open_store(&process)?;
        let Opened { pins, log, followed } = open_pins(&process, clock.now())?;
        let ceilings = Ceilings::open(&process.data_dir.join("ceilings"))?;
        let secret = site::secret(&process.data_dir)?;
        let gateway_clock = Arc::new(GatewayClock(Arc::clone(&clock)));
        let config = gateway::config(&process, secret, clock.now());
        let workers = workers(process.limits.threads)?;
        let gateway = Gateway::new(config, gateway_clock, pins.clone(), workers)?;
        gateway.restore_conversations(followed);
        let ports = Ports {
            random: Arc::new(SystemRandom),
            brake: Arc::new(FileBrake::new(Arc::clone(&gateway), Arc::clone(&clock), ceilings, &process.data_dir)),
            pins: Arc::new(Census(pins)),
            post: Arc::new(post::HttpPost::new()),
            prober: Arc::new(GatewayProber::new(Arc::clone(&gateway))),
            readier: Arc::new(GatewayReadier(Arc::clone(&gateway))),
            herald: Arc::new(GatewayHerald(Arc::clone(&gateway))),
            assessors: Arc::new(SiteAssessors::new(Arc::clone(&gateway), &process.assessors)),
        };
        let control = Control::open(store, clock, settings(&process)?, ports).await.context("opening the store")?;
        seed(&process, &control).await?;
        let keys = control.key_table().borrow().clone();
        gateway.install_keys(&keys);
        control.acknowledge_keys(keys.generation);
        gateway.install(&control.table().borrow().clone()).await.context("serving the first table")?;
        Self::listen(process, gateway, control, log, inherited).await
    }

    async fn listen(
        process: Process,
        gateway: Arc<Gateway>,
        control: Arc<Control>,
        log: Arc<LogOfPins>,
        mut inherited: Inherited,
    ) -> Result<Self> {
        gateway.sample_to(Arc::new(Samples::new(Arc::clone(&control))));
        let running = gateway.start(
            Arc::new(Tables::new(Arc::clone(&control), gateway::name())),
            Arc::new(Takes::new(Arc::clone(&control))),
        );
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        let looks = look_beside(Arc::clone(&control), stopped)?;
        let api = coalmine_api::handlers::router(Api {
            control,
            operators: Arc::new(operators(&process)),
            site: Arc::new(site::view(&process)),
            counters: {
                let gateway = Arc::clone(&gateway);
                Arc::new(move |exposition| gateway.render_metrics(gateway::exposition(exposition)))
            },
            traffic: {
                let gateway = Arc::clone(&gateway);
                Arc::new(move |route| gateway::traffic(gateway.traffic(route)))
            },
            upstreams: {
                let gateway = Arc::clone(&gateway);
                Arc::new(move || gateway.upstreams().into_iter().map(gateway::upstream_view).collect())
            },
            pages: Arc::new(site::pages(&process)),
            serving: {
                let gateway = Arc::clone(&gateway);
                Arc::new(move || gateway.is_ready())
            },
        });
        let side = adapters::side(api);
        let nothing = adapters::side(coalmine_api::handlers::elsewhere(process.admin_listen));
        let listener = bind(process.listen, &mut inherited).await?;
        let mut sockets = vec![listener.as_fd().try_clone_to_owned()?];
        let address = listener.local_addr()?;
        let beside = if process.admin_listen.is_some() { nothing } else { Arc::clone(&side) };
        match certificate::load(&process)? {
            Some(tls) => {
                tasks.push(tokio::spawn(certificate::watch(Arc::clone(&tls), stop.subscribe())));
                tasks.push(tokio::spawn(listen::serve_tls(Arc::clone(&gateway), listener, beside, tls)));
            }
            None => tasks.push(tokio::spawn(listen::serve(Arc::clone(&gateway), listener, beside))),
        }
        let mut admin_side = None;
        if let Some(admin) = process.admin_listen {
            let listener = bind(admin, &mut inherited).await?;
            sockets.push(listener.as_fd().try_clone_to_owned()?);
            admin_side = Some(tokio::spawn(listen::serve_beside(Arc::clone(&gateway), listener, side)));
        }
        gateway.note_left_behind(inherited.left_behind);
        inherited.tell_served();
        let drain = Duration::from_millis(process.limits.drain.0);
        Ok(Self { address, gateway, log, running, stop, tasks, admin: admin_side, looks, drain, sockets })
    }

    /// Where the data plane listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets running requests finish, hands over what was learnt, and ends.
    pub async fn stop(mut self) {
        self.sockets.clear();
        drain(&self.gateway, self.drain).await;
        self.end().await;
    }

    /// The same, where another process goes on: it gets store and logs as soon as most requests are over, and the
    /// others go on here. Returns what became of it, and of how many turns nobody hears.
    async fn hand_over(self, heir: Heir) -> Result<(Succession, u64)> {
        let gateway = Arc::clone(&self.gateway);
        let (drain, log) = (self.drain, self.log.clone());
        gateway.drain_lingering(drain.min(handover::PATIENCE), handover::LINGER).await;
        let left = gateway.give_up_open();
        if left > 0 {
            tracing::info!(left, "requests go on here to their end, and are not counted");
        }
        self.end().await;
        log.let_go();
        let succession = tokio::select! {
            succession = heir.release(left, handover::HEIR_MAX) => succession,
            // whoever tells this process to end knows that another is there
            told = until_told() => told.map(|()| Succession::Serves)?,
        };
        Ok((succession, left))
    }

    /// Hands over what was learnt, and ends everything but the requests that still run.
    async fn end(self) {
        self.running.stop(Duration::from_secs(3)).await;
        self.stop.send_replace(true);
        if let Some(admin) = self.admin {
            admin.abort();
        }
        for mut task in self.tasks {
            if tokio::time::timeout(Duration::from_secs(3), &mut task).await.is_err() {
                task.abort();
            }
        }
        let looks = tokio::task::spawn_blocking(move || self.looks.join());
        if !matches!(tokio::time::timeout(Duration::from_secs(3), looks).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the control loop did not end in time");
        }
    }
}

/// The control loop on a thread of its own: a look reduces what a second has brought in one go, and no
/// request waits behind that.
fn look_beside(control: Arc<Control>, mut stopped: watch::Receiver<bool>) -> Result<std::thread::JoinHandle<()>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the control loop")?;
    let looks = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(control.run(async move { drop(stopped.wait_for(|told| *told).await) }));
    });
    looks.context("starting the control loop")
}

/// The threads that serve connections.
fn workers(asked: Option<usize>) -> Result<Workers> {
    let threads = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    Workers::start(threads).with_context(|| format!("starting {threads} threads for connections (`limits.threads`)"))
}

async fn bind(address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener> {
    if let Some(listener) = inherited.take(address) {
        listener.set_nonblocking(true)?;
        return Ok(TcpListener::from_std(listener)?);
    }
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; is another process there? `listen` in coalmine.yaml names another")
    })
}

/// Without tokens everybody who reaches the port may roll back and promote: only this machine may.
fn guard_open_api(process: &Process) -> Result<()> {
    let exposed = process.admin_listen.unwrap_or(process.listen);
    if process.api_tokens.is_empty() && !exposed.ip().is_loopback() {
        bail!(
            "the management API would be open to everybody on {exposed}: add `api: {{ tokens: {{ NAME: ${{TOKEN}} }} }}` to \
             coalmine.yaml, or give the API an address of this machine with `admin_listen: 127.0.0.1:8081`"
        );
    }
    Ok(())
}

fn open_store(process: &Process) -> Result<Arc<dyn Store>> {
    Ok(match &process.store {
        StoreAddress::Memory => Arc::new(MemoryStore::default()),
        StoreAddress::Sqlite(path) => {
            let opened = SqliteStore::open(path);
            Arc::new(opened.with_context(|| format!("opening the store at {}", path.display()))?)
        }
    })
}

/// What earlier runs left, with the log that what is new goes to.
struct Opened {
    pins: Arc<MemoryPins>,
    log: Arc<LogOfPins>,
    /// Oldest first.
    followed: Vec<Followed>,
}

fn open_pins(process: &Process, now: UnixMs) -> Result<Opened> {
    let folder: &Path = &process.data_dir;
    let idle = process.limits.session_idle;
    let (log, records) =
        EmbeddedPins::open(folder, idle, now).with_context(|| format!("opening the pins in {}", folder.display()))?;
    let mut followed = conversations::move_into(&log, folder, idle, now)?;
    followed.extend(log.take_followed());
    let log = Arc::new(LogOfPins::new(log));
    let pins = MemoryPins::new(PinLimits { idle, ..PinLimits::default() }, log.clone());
    pins.restore(records, now);
    Ok(Opened { pins: Arc::new(pins), log, followed })
}

fn settings(process: &Process) -> Result<Settings> {
    Ok(Settings {
        pin_idle: process.limits.session_idle,
        webhooks: site::webhooks(process),
        sentinels: site::sentinels(process),
        prices: Some(Arc::new(gateway::prices(process))),
        wall_look_every: SpanMs(u64::try_from(site::beat(process).as_millis()).unwrap_or(1_000)),
        captures: site::captures(process)?,
        ..Settings::default()
    })
}

fn operators(process: &Process) -> Operators {
    Operators::new(process.api_tokens.iter().map(|(actor, secret)| (actor.as_str(), secret.expose())))
}

/// Seeds routes that the store does not know, and says where it knows better than the file.
async fn seed(process: &Process, control: &Control) -> Result<()> {
    for (route, written) in &process.routes {
        let seeded =
            control.seed_route(route, &written.stable).await.with_context(|| format!("seeding route {route}"))?;
        for change in &seeded.differs.changed {
            tracing::warn!(
                route = %route, part = ?change.part, in_service = %change.from, in_file = %change.to,
                "the store's stable version is served; the file's `stable` only seeds a new route (`coalmine export` writes what is)"
            );
        }
    }
    Ok(())
}
