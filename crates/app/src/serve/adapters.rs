//! The walls between the crates, bridged: each adapter is one crate's port over another's type.

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use coalmine_control::Control;
use coalmine_control::clock::Clock;
use coalmine_control::ports::{Brake, BrakeError, Held, LivePins, PinCensus};
use coalmine_core::capture::SteadySample;
use coalmine_core::id::{Actor, GatewayId, Generation, KeyName, ReleaseId, RouteName, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::key::{KeyTable, Revocation};
use coalmine_core::release::event::{Command, Event};
use coalmine_core::tally::Delta;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Followed, Membership, PinRecord};
use coalmine_core::traffic::table::RoutingTable;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::listen::{Coming, Side};
use coalmine_gateway::pins::MemoryPins;
use coalmine_gateway::ports::{
    Boxed, PinError, PinLog, PinStore, SampleSink, SinkError, TableSource, TallySink, Wanted,
};
use coalmine_gateway::{BoxError, Gateway};
use coalmine_store::ceiling::{CeilingError, Ceilings};
use coalmine_store::pins::EmbeddedPins;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// The control plane's clock, as the gateway reads it.
#[derive(Debug)]
pub(super) struct GatewayClock(pub(super) Arc<dyn Clock>);

impl coalmine_gateway::ports::Clock for GatewayClock {
    fn now(&self) -> UnixMs {
        self.0.now()
    }

    fn scale(&self) -> f64 {
        self.0.scale()
    }
}

/// The control plane's tables, as the gateway follows them.
pub(super) struct Tables {
    control: Arc<Control>,
    gateway: GatewayId,
    newest: Mutex<watch::Receiver<Arc<RoutingTable>>>,
    keys: Mutex<watch::Receiver<Arc<KeyTable>>>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Tables {
    pub(super) fn new(control: Arc<Control>, gateway: GatewayId) -> Self {
        let mut receiver = control.table();
        receiver.mark_changed();
        let mut keys = control.key_table();
        keys.mark_changed();
        Self { control, gateway, newest: Mutex::new(receiver), keys: Mutex::new(keys) }
    }
}

impl TableSource for Tables {
    fn next(&self) -> Boxed<'_, Arc<RoutingTable>> {
        Box::pin(next(&self.newest))
    }

    fn next_keys(&self) -> Boxed<'_, Arc<KeyTable>> {
        Box::pin(next(&self.keys))
    }

    fn served(&self, serving: BTreeMap<RouteName, Generation>) {
        self.control.acknowledge(&self.gateway, &serving);
    }

    fn served_keys(&self, generation: Generation) {
        self.control.acknowledge_keys(generation);
    }
}

async fn next<T>(newest: &Mutex<watch::Receiver<Arc<T>>>) -> Arc<T> {
    let mut receiver = newest.lock().await;
    if receiver.changed().await.is_err() {
        // The control plane is gone: the last table goes on serving.
        std::future::pending::<()>().await;
    }
    receiver.borrow_and_update().clone()
}

/// The control plane's intake, as the gateway reports to it.
pub(super) struct Takes {
    control: Arc<Control>,
}

impl fmt::Debug for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takes")
    }
}

impl Takes {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }
}

impl TallySink for Takes {
    fn deliver(&self, delta: Arc<Delta>) -> Boxed<'_, Result<(), SinkError>> {
        let taken = self.control.intake(delta).map_err(|error| SinkError(error.to_string()));
        Box::pin(std::future::ready(taken))
    }
}

/// The judges' bench and the rack of captures, as the gateway hands sampled answers to them.
pub(super) struct Samples {
    control: Arc<Control>,
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Samples")
    }
}

impl Samples {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }
}

impl SampleSink for Samples {
    fn offer(&self, sample: Sample, wanted: Wanted) {
        match wanted {
            Wanted::ToJudge => self.control.offer_sample(sample),
            Wanted::ToCapture => self.control.offer_capture(sample),
            Wanted::ForBoth => {
                self.control.offer_capture(sample.clone());
                self.control.offer_sample(sample);
            }
        }
    }

    fn lost(&self, unit: UnitKey, member: &Membership, wanted: Wanted) {
        if wanted.is_captured() {
            self.control.lose_capture();
        }
        if wanted.is_judged() {
            self.control.lose_sample(unit, member);
        }
    }

    fn offer_steady(&self, sample: SteadySample) {
        self.control.offer_steady_capture(sample);
    }

    fn lost_steady(&self) {
        self.control.lose_capture();
    }

    fn offer_pair(&self, pair: PairSample) {
        self.control.offer_pair(pair);
    }

    fn lost_pair(&self, release: &ReleaseId, unit: UnitKey) {
        self.control.lose_pair(release, unit);
    }
}

/// The embedded log of pins and conversations, as the gateway writes it, until another process has it.
#[derive(Debug)]
pub(super) struct LogOfPins(ArcSwapOption<EmbeddedPins>);

/// Another process goes on with the logs.
fn gone() -> PinError {
    PinError("another process has taken the logs over".to_owned())
}

impl LogOfPins {
    pub(super) fn new(log: EmbeddedPins) -> Self {
        Self(ArcSwapOption::from_pointee(log))
    }

    /// Lets go of it: nothing more is written, and its lock is free.
    pub(super) fn let_go(&self) {
        self.0.store(None);
    }
}

impl PinLog for LogOfPins {
    fn append(&self, pins: &[PinRecord], followed: &[Followed]) -> Result<(), PinError> {
        let log = self.0.load();
        log.as_ref().ok_or_else(gone)?.append_with(pins, followed).map_err(|error| PinError(error.to_string()))
    }

    fn sync(&self) -> Boxed<'_, Result<(), PinError>> {
        let log = self.0.load_full().ok_or_else(gone);
        Box::pin(async move { log?.sync().await.map_err(|error| PinError(error.to_string())) })
    }
}

/// The gateway's pins, as the control plane counts them.
#[derive(Debug)]
pub(super) struct Census(pub(super) Arc<MemoryPins>);

impl PinCensus for Census {
    fn live(&self, now: UnixMs) -> Vec<LivePins> {
        let live = self.0.live(now).into_iter();
        let told = live.map(|pins| LivePins {
            release: pins.release.map(|id| ReleaseId::clone(&id)),
            version: pins.version,
            sessions: pins.sessions,
        });
        told.collect()
    }
}

/// Lowers exposure on the gateway of this process, then in a file that survives restarts and that a full
/// disk cannot keep from being written. Why it was lowered is noted beside it, as far as the disk lets.
#[derive(Debug)]
pub(super) struct FileBrake {
    gateway: Arc<Gateway>,
    clock: Arc<dyn Clock>,
    ceilings: Arc<Ceilings>,
    folder: PathBuf,
}

impl FileBrake {
    pub(super) fn new(gateway: Arc<Gateway>, clock: Arc<dyn Clock>, ceilings: Ceilings, folder: &Path) -> Self {
        Self { gateway, clock, ceilings: Arc::new(ceilings), folder: folder.to_owned() }
    }

    fn note_of(&self, release: &ReleaseId) -> PathBuf {
        self.folder
            .join(format!("held-{}.json", blake3::hash(release.as_str().as_bytes()).to_hex().get(..16).unwrap_or("0")))
    }

    fn end_of(&self, key: &KeyName) -> PathBuf {
        self.folder.join(format!("revoked-{}.json", blake3::hash(key.as_str().as_bytes()).to_hex()))
    }

    /// What the note says; where it was lost, that much: exposure is held down, and why is not known.
    fn noted(&self, release: ReleaseId) -> Held {
        let note = std::fs::read_to_string(self.note_of(&release)).ok();
        let read =
            note.and_then(|text| serde_json::from_str::<Held>(&text).ok()).filter(|held| held.release == release);
        read.unwrap_or_else(|| {
            let reason = "its exposure was lowered before a restart; the note of why was lost".to_owned();
            let actor = Actor::coalmine();
            let event = Event::Operator { actor: actor.clone(), command: Command::Rollback { reason } };
            Held { release, event, actor, at: self.clock.now() }
        })
    }
}

#[async_trait]
impl Brake for FileBrake {
    async fn lower(&self, held: &Held) -> Result<(), BrakeError> {
        self.gateway.lower(&held.release, WeightBp::ZERO);
        let (ceilings, release, path) = (Arc::clone(&self.ceilings), held.release.clone(), self.note_of(&held.release));
        let note = serde_json::to_vec(held).map_err(|error| BrakeError(error.to_string()))?;
        on_disk(move || {
            ceilings.lower(&release, WeightBp::ZERO, Generation::default())?;
            if let Err(error) = std::fs::write(&path, note) {
                tracing::warn!(%release, %error, "exposure is down, and why could not be noted beside the ceiling file");
            }
            Ok::<(), CeilingError>(())
        })
        .await
    }

    async fn lift(&self, release: &ReleaseId) -> Result<(), BrakeError> {
        let (ceilings, id, path) = (Arc::clone(&self.ceilings), release.clone(), self.note_of(release));
        on_disk(move || {
            ceilings.lift(&id)?;
            let _ = std::fs::remove_file(path);
            Ok::<(), CeilingError>(())
        })
        .await?;
        self.gateway.lift(release);
        Ok(())
    }

    async fn held(&self) -> Result<Vec<Held>, BrakeError> {
        let ceilings = self.ceilings.all();
        for (release, ceiling) in &ceilings {
            self.gateway.lower(release, ceiling.weight);
        }
        Ok(ceilings.into_keys().map(|release| self.noted(release)).collect())
    }

    async fn keep_revocation(&self, key: &KeyName, end: &Revocation) -> Result<(), BrakeError> {
        let path = self.end_of(key);
        let note = serde_json::to_vec(&(key, end)).map_err(|error| BrakeError(error.to_string()))?;
        on_disk(move || {
            // whole or not at all: half a note would be none
            let fresh = path.with_extension("new");
            let mut file = std::fs::File::create(&fresh)?;
            file.write_all(&note)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        })
        .await
    }

    async fn drop_revocation(&self, key: &KeyName) -> Result<(), BrakeError> {
        let path = self.end_of(key);
        on_disk(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        })
        .await
    }

    async fn revocations(&self) -> Result<Vec<(KeyName, Revocation)>, BrakeError> {
        let folder = std::fs::read_dir(&self.folder).map_err(|error| BrakeError(error.to_string()))?;
        let mut found = Vec::new();
        for path in folder.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if name.starts_with("revoked-") && name.ends_with(".json") {
                let read = std::fs::read(&path).ok().and_then(|note| serde_json::from_slice(&note).ok());
                match read {
                    Some(note) => found.push(note),
                    None => {
                        tracing::error!(file = %path.display(), "the note of a revocation cannot be read; see `coalmine key list`")
                    }
                }
            }
        }
        Ok(found)
    }
}

async fn on_disk<E: fmt::Display + Send + 'static>(
    write: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), BrakeError> {
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| BrakeError(error.to_string())),
        Err(error) => Err(BrakeError(error.to_string())),
    }
}

/// The management API, as the gateway's neighbour on the same listener.
pub(super) fn side(api: axum::Router) -> Side {
    Arc::new(move |request: Request<Coming<Incoming>>| {
        let api = api.clone();
        Box::pin(async move {
            let response: Response<axum::body::Body> = match tower_call(api, request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        })
    })
}

async fn tower_call(
    mut api: axum::Router,
    request: Request<Coming<Incoming>>,
) -> Result<Response<axum::body::Body>, Infallible> {
    tower_service::Service::call(&mut api, request.map(axum::body::Body::new)).await
}
