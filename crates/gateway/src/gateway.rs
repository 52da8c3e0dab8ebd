//! One gateway: what it is made of, and what the app asks of it.

use crate::admission::Admission;
use crate::answer::AnswerBody;
use crate::callers::Callers;
use crate::checkers::Checkers;
use crate::config::Config;
use crate::conversations::Conversations;
use crate::customers::Customers;
use crate::end::End;
use crate::judged::Way;
use crate::metrics::{Exposition, Gauge, Metrics, Traffic};
use crate::people::People;
use crate::phase::admit;
use crate::phase::body::Bodies;
use crate::ports::{Clock, PinError, PinStore, SampleSink, TableSource, TallySink};
use crate::shadow::Shadows;
use crate::table::{Offered, Tables};
use crate::tally::Tally;
use crate::telemetry::{Telemetry, Tellers};
use crate::upstream::pool::{self, Pool, ProviderError};
use crate::upstream::warming::WarmUps;
use crate::upstream::{series, watch};
use crate::workers::Workers;
use crate::{proxy, sink};
use coalmine_core::id::{Generation, ProviderName, ReleaseId, RouteName};
use coalmine_core::key::KeyTable;
use coalmine_core::traffic::pin::Followed;
use coalmine_core::traffic::table::RoutingTable;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_wire::conversation;
use http::{Request, Response};
use hyper::body::Incoming;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, watch as told};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often one of the pins' shards is swept.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Records come thick where they come within so many microseconds of one another.
const THICK_US: u64 = 200;
/// The longest pause between two tries to make pins durable for a raise that waits.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The data plane of one process.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pins: Arc<dyn PinStore>,
    pub(crate) tables: Tables,
    pub(crate) tally: Tally,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) telemetry: Telemetry,
    pub(crate) conversations: Conversations,
    pub(crate) callers: Callers,
    pub(crate) customers: Customers,
    pub(crate) checkers: Checkers,
    pub(crate) keys: Keys,
    pub(crate) admission: Admission,
    pub(crate) bodies: Bodies,
    pub(crate) pools: HashMap<ProviderName, Arc<Pool>>,
    pub(crate) judged: Way,
    pub(crate) shadows: Arc<Shadows>,
    pub(crate) people: People,
    pub(crate) drained: Notify,
    /// When a gateway that drains ends, whatever still runs.
    pub(crate) ends: told::Sender<Option<Instant>>,
    /// That it has come.
    pub(crate) end: Arc<End>,
    /// Connections on which clients have asked something: one closes, in a drain, behind the last byte of its answer.
    pub(crate) clients: Arc<Gauge>,
    pub(crate) warm_ups: WarmUps,
    /// Where requests run, and what goes on beside them.
    pub(crate) workers: Workers,
    draining: AtomicBool,
    /// In milliseconds.
    linger: AtomicU64,
    began: Instant,
    /// When records came last, in microseconds since it began.
    came_at: AtomicU64,
}

/// What is cut off at the end is told of it within this.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// One key for each use of the site's secret.
pub(crate) struct Keys {
    pub(crate) unit: [u8; 32],
    pub(crate) conversation: conversation::Key,
    pub(crate) request_id: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// The tasks of a gateway; see [`Gateway::start`].
#[derive(Debug)]
pub struct Running {
    gateway: Arc<Gateway>,
    stop: told::Sender<bool>,
    report: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
    tellers: Tellers,
}

impl Gateway {
    /// Builds a gateway, whose connections are served by `workers`. It serves no route before a table came.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        pins: Arc<dyn PinStore>,
        workers: Workers,
    ) -> Result<Arc<Self>, ProviderError> {
        let metrics = Arc::new(Metrics::default());
        let pools = pool::pools(&config, &clock, &metrics, &workers.places())?;
        let key = |of| blake3::derive_key(of, &config.secret.0);
        let keys = Keys {
            unit: key("coalmine 1 unit"),
            conversation: conversation::Key::new(&key("coalmine 1 conversation")),
            request_id: key("coalmine 1 request id"),
        };
        Ok(Arc::new(Self {
            tables: Tables::new(&config, pools.clone(), metrics.clone()),
            tally: Tally::new(config.limits.turns, config.limits.feedback),
            conversations: Conversations::new(
                config.limits.conversations,
                config.limits.conversation_idle,
                pins.clone(),
            ),
            callers: Callers::default(),
            customers: Customers::default(),
            checkers: Checkers::default(),
            judged: Way::default(),
            shadows: Arc::new(Shadows::new(config.limits.turns)),
            people: People::default(),
            keys,
            admission: Admission::new(&config),
            bodies: Bodies::new(config.limits.bodies, config.limits.bodies_wait),
            telemetry: Telemetry::new(&config.telemetry, clock.now()),
            pools,
            metrics,
            drained: Notify::new(),
            ends: told::Sender::new(None),
            end: Arc::default(),
            clients: Arc::default(),
            warm_ups: WarmUps::default(),
            workers,
            draining: AtomicBool::new(false),
            linger: AtomicU64::new(0),
            began: Instant::now(),
            came_at: AtomicU64::new(0),
            config,
            clock,
            pins,
        }))
    }

    /// Takes over the conversations that an earlier process followed, oldest first.
    pub fn restore_conversations(&self, records: impl IntoIterator<Item = Followed>) {
        self.conversations.restore(records);
    }

    /// Says where sampled answers go to be judged and captured. Without it none is kept.
    pub fn sample_to(&self, sink: Arc<dyn SampleSink>) {
        self.judged.lead_to(sink);
    }

    /// Starts what runs beside requests: following the table, reporting, sweeping.
    pub fn start(self: &Arc<Self>, source: Arc<dyn TableSource>, sink: Arc<dyn TallySink>) -> Running {
        let (stop, stopped) = told::channel(false);
        let follow_keys = tokio::spawn(Arc::clone(self).follow_keys(source.clone()));
        let follow = tokio::spawn(Arc::clone(self).follow(source));
        let sweep = tokio::spawn(Arc::clone(self).sweep());
        let report = tokio::spawn(sink::report(Arc::clone(self), sink, stopped));
        let mut others = vec![follow, follow_keys, sweep];
        others.extend(self.pools.values().flat_map(watch::start));
        Running { gateway: Arc::clone(self), stop, report, others, tellers: self.telemetry.start() }
    }

    /// Whether a path is answered here, and not by a neighbour on the same listener.
    #[must_use]
    pub fn owns(path: &str) -> bool {
        admit::is_ours(path)
    }

    /// Answers a request whose path it [owns](Self::owns); `peer` opened its connection.
    pub fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> impl Future<Output = Response<AnswerBody>> + Send + use<> {
        proxy::answer(self, request, peer)
    }

    /// Takes a table. What lowers exposure is served at once; what raises it, when every pin taken so
    /// far is on stable storage: an error says that it is not served yet, and may be tried again.
    pub async fn install(&self, table: &RoutingTable) -> Result<(), PinError> {
        match self.tables.offer(table) {
            Offered::Served => Ok(()),
            Offered::Waiting => self.settle().await,
        }
    }

    async fn settle(&self) -> Result<(), PinError> {
        let settled = self.tables.settle(&*self.pins).await;
        if settled.is_err() {
            self.metrics.pin_flush_failures.add(1);
        }
        settled
    }

    /// Takes a table of keys; requests that come from now on are admitted by it.
    pub fn install_keys(&self, table: &Arc<KeyTable>) {
        self.admission.install(table);
    }

    /// Holds the exposure of a release down to `weight` from now on: for sessions that have not begun.
    /// The caller keeps it over restarts.
    pub fn lower(&self, release: &ReleaseId, weight: WeightBp) {
        self.tables.lower(release, weight);
    }

    /// Takes a ceiling away again.
    pub fn lift(&self, release: &ReleaseId) {
        self.tables.lift(release);
    }

    /// The generation served per route.
    #[must_use]
    pub fn serving(&self) -> BTreeMap<RouteName, Generation> {
        self.tables.serving()
    }

    /// Whether it answers: a table came, and it does not drain.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && !self.serving().is_empty()
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.metrics.active.get()
    }

    /// What an answer rests on so far: the records left for the logs.
    pub(crate) fn records(&self) -> Records {
        Records { pins: self.pins.left(), conversations: self.conversations.left() }
    }

    /// Writes what is not written of these.
    pub(crate) fn write(&self, records: Records) {
        if !self.conversations.is_written(records.conversations) {
            // and the pins with them
            self.conversations.write();
        }
        if !self.pins.is_written(records.pins) {
            self.pins.write();
        }
    }

    /// Resolves when these are written. Where records come thick, others that are ready to go on leave theirs first, so that
    /// one call writes them all; where they do not, giving way would cost more than it saves: it wakes another thread.
    pub(crate) async fn written(&self, records: Records) {
        if self.is_written(records) {
            return;
        }
        if self.come_thick() {
            tokio::task::yield_now().await;
        }
        self.write(records);
    }

    /// The same for whoever is polled.
    pub(crate) fn poll_written(&self, owed: &mut Owed, cx: &Context<'_>) -> Poll<()> {
        if self.is_written(owed.records) {
            return Poll::Ready(());
        }
        if !owed.gave_way && self.come_thick() {
            owed.gave_way = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.write(owed.records);
        Poll::Ready(())
    }

    fn is_written(&self, records: Records) -> bool {
        self.pins.is_written(records.pins) && self.conversations.is_written(records.conversations)
    }

    /// Asked once for each that come.
    fn come_thick(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let before = self.came_at.load(Ordering::Relaxed);
        self.came_at.store(now, Ordering::Relaxed);
        now.saturating_sub(before) < THICK_US
    }

    /// How the requests of a route fared since this process began.
    #[must_use]
    pub fn traffic(&self, route: &RouteName) -> Traffic {
        self.metrics.traffic(route)
    }

    /// Its counters in a text format of Prometheus.
    #[must_use]
    pub fn render_metrics(&self, exposition: Exposition) -> String {
        let pins = self.pins.counts();
        let mut all = vec![
            ("coalmine_pins", "Sessions pinned.", pins.held),
            ("coalmine_pins_evicted_total", "Pins that gave way to the bound.", pins.evicted),
            ("coalmine_pin_append_failures_total", "Pins that could not be written.", pins.append_failures),
            (
                "coalmine_records_waiting",
                "Pins and conversations that wait to be written behind: what a kill would lose.",
                pins.waiting + self.conversations.waiting() as u64,
            ),
            ("coalmine_conversations", "Conversations followed by content.", self.conversations.len() as u64),
            (
                "coalmine_conversation_append_failures_total",
                "Conversations not written.",
                self.conversations.append_failures(),
            ),
            (
                "coalmine_bodies_to_come",
                "Requests of which the rest of a body is waited for.",
                self.metrics.bodies_to_come.get(),
            ),
            ("coalmine_body_bytes", "Bytes of request bodies held, in blocks of 16 KiB.", self.bodies.held()),
            ("coalmine_unjudged_requests", "Requests in flight and not judged.", self.tally.open() as u64),
            ("coalmine_shadow_under_way", "Copies of requests under way.", self.shadows.under_way()),
            ("coalmine_sockets", "Websockets that are open.", self.metrics.sockets.get()),
            ("coalmine_sockets_cut_total", "Websockets that the gateway ended.", self.metrics.sockets_cut.get()),
            ("coalmine_turns_waiting", "Turns that wait for the sink.", self.tally.waiting() as u64),
            ("coalmine_turns_dropped_total", "Turns lost to a full queue.", self.tally.dropped_total()),
        ];
        all.extend(self.telemetry.counts());
        let mut page = self.metrics.render(exposition, &all);
        series::render(self.pools.values(), &mut page);
        page.into_text()
    }

    /// Stops accepting, and waits until nothing is in flight and all that was answered has left, or `limit` is over. Returns
    /// how many requests are left, those among them whose bodies were still to come.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let until = Instant::now() + limit;
        self.ends.send_replace(Some(until));
        loop {
            let left = self.drain_lingering(until.saturating_duration_since(Instant::now()), Duration::ZERO).await;
            let linger = self.linger();
            if left > 0 {
                return left + self.metrics.bodies_to_come.get();
            }
            if linger.is_zero() {
                self.all_has_left(until).await;
                return self.metrics.bodies_to_come.get();
            }
            // a client whose answer is just over may ask again, once, for it is told to close then
            tokio::time::sleep(linger + Duration::from_millis(100)).await;
            if self.active() == 0 {
                self.all_has_left(until).await;
                return self.metrics.bodies_to_come.get();
            }
        }
    }

    /// An answer is over before its last bytes are with its client, whose connection is closed behind them.
    async fn all_has_left(&self, until: Instant) {
        while self.clients.get() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Cuts off what a drain has left, and leaves a moment for it to be told: a stream by an error in its own dialect, a request
    /// without an answer by 503. None of it is a version's fault, or an address's.
    pub async fn cut_off(&self) {
        self.end.tell();
        self.all_has_left(Instant::now() + TOLD_WITHIN).await;
    }

    /// The same, but connections stay open for `linger` after their last answer: whoever asks something on one
    /// meanwhile is answered, and told to close it. A drain that follows leaves them that time.
    pub async fn drain_lingering(&self, limit: Duration, linger: Duration) -> u64 {
        self.linger.fetch_max(u64::try_from(linger.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
        self.draining.store(true, Ordering::Release);
        self.drained.notify_waiters();
        let until = Instant::now() + limit;
        tokio::time::sleep(linger.min(limit)).await;
        while self.active() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.active()
    }

    /// Another process goes on in this one's place: turns that run here and are not judged are told of as lost.
    /// Returns how many.
    pub fn give_up_open(&self) -> u64 {
        self.tally.give_up()
    }

    /// The process before this one went on with so many turns that nobody hears of.
    pub fn note_left_behind(&self, turns: u64) {
        self.metrics.handover_lost.add(turns);
    }

    /// How long connections stay open that are idle.
    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger.load(Ordering::Acquire))
    }

    pub(crate) async fn until_it_drains(&self) {
        let notified = self.drained.notified();
        // a drain that began just before would not be told again
        if !self.is_draining() {
            notified.await;
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    async fn follow(self: Arc<Self>, source: Arc<dyn TableSource>) {
        let mut pause = Duration::from_millis(100);
        let mut waiting = Offered::Served;
        loop {
            tokio::select! {
                table = source.next() => {
                    pause = Duration::from_millis(100);
                    waiting = self.tables.offer(&table);
                    source.served(self.serving());
                }
                () = tokio::time::sleep(pause), if waiting == Offered::Waiting => {
                    pause = (pause * 2).min(SETTLE_PAUSE_MAX);
                }
            }
            if waiting == Offered::Waiting {
                match self.settle().await {
                    Ok(()) => {
                        waiting = Offered::Served;
                        source.served(self.serving());
                    }
                    Err(error) => tracing::warn!(%error, "a raised weight waits for the pins to be durable"),
                }
            }
        }
    }

    async fn follow_keys(self: Arc<Self>, source: Arc<dyn TableSource>) {
        loop {
            let table = source.next_keys().await;
            self.admission.install(&table);
            source.served_keys(table.generation);
        }
    }

    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.pins.sweep(self.clock.now());
        }
    }
}

/// How far the logs of pins and conversations must be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records {
    pins: u64,
    conversations: u64,
}

/// Records that an answer rests on, which does not go on before they are written.
#[derive(Debug)]
pub(crate) struct Owed {
    records: Records,
    /// Whether others were let leave theirs.
    gave_way: bool,
}

impl From<Records> for Owed {
    fn from(records: Records) -> Self {
        Self { records, gave_way: false }
    }
}

impl Running {
    /// Stops the tasks; what was learnt is offered until it is taken or `limit` is over.
    pub async fn stop(self, limit: Duration) {
        self.stop.send_replace(true);
        for task in &self.others {
            task.abort();
        }
        let mut report = self.report;
        if tokio::time::timeout(limit, &mut report).await.is_err() {
            tracing::warn!("stopped before everything that was learnt had been taken");
            report.abort();
        }
        self.gateway.conversations.write();
        if let Err(error) = self.gateway.pins.flush().await {
            tracing::warn!(%error, "stopped with pins that could not be written");
        }
        self.tellers.stop().await;
    }
}
