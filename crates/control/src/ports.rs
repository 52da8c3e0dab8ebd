//! What the control plane needs of the world. The app wires it; nothing here serves HTTP or reads
//! randomness by itself.

use async_trait::async_trait;
use coalmine_core::analysis::Readiness;
use coalmine_core::id::{Actor, KeyName, ReleaseId};
use coalmine_core::key::Revocation;
use coalmine_core::release::event::Event;
use coalmine_core::release::report::Step;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::weight::Salt;
use coalmine_core::version::{Version, VersionId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The outside, in one place.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Where salts come from.
    pub random: Arc<dyn RandomSource>,
    /// Lowers exposure without store and table.
    pub brake: Arc<dyn Brake>,
    /// Counts live pins.
    pub pins: Arc<dyn PinCensus>,
    /// Delivers webhooks.
    pub post: Arc<dyn Post>,
    /// Puts the sentinels' questions to versions.
    pub prober: Arc<dyn Prober>,
    /// Makes upstreams ready.
    pub readier: Arc<dyn Readier>,
    /// Asks others about an answer.
    pub assessors: Arc<dyn Assessors>,
    /// Tells machines what was decided.
    pub herald: Arc<dyn Herald>,
}

/// Random bytes.
pub trait RandomSource: Send + Sync + fmt::Debug + 'static {
    /// A new salt.
    fn salt(&self) -> Salt;
    /// The bytes of a secret that nobody else may know.
    fn secret(&self) -> [u8; 32];
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn salt(&self) -> Salt {
        Salt(rand::random())
    }

    fn secret(&self) -> [u8; 32] {
        rand::random()
    }
}

/// A rollback that may not be committed yet: enough to commit it after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Which release is held at no exposure.
    pub release: ReleaseId,
    /// What the rollback answers to: an operator's command or a look.
    pub event: Event,
    /// Who.
    pub actor: Actor,
    /// Since when.
    pub at: UnixMs,
}

/// Exposure can always be lowered at once, with the store full, locked or gone: first on the gateways
/// that this process reaches, then in a local file that survives restarts.
#[async_trait]
pub trait Brake: Send + Sync + fmt::Debug + 'static {
    /// Gives no new session to the canary of this release from now on. Idempotent.
    async fn lower(&self, held: &Held) -> Result<(), BrakeError>;
    /// A committed table names the release as over: the ceiling is no longer needed. Idempotent.
    async fn lift(&self, release: &ReleaseId) -> Result<(), BrakeError>;
    /// What the file holds down, read once at the start.
    async fn held(&self) -> Result<Vec<Held>, BrakeError>;
    /// Keeps a revocation that the store may not have yet, so that a restart does not bring the key back. Idempotent.
    async fn keep_revocation(&self, key: &KeyName, end: &Revocation) -> Result<(), BrakeError>;
    /// The store has it. Idempotent.
    async fn drop_revocation(&self, key: &KeyName) -> Result<(), BrakeError>;
    /// What is kept of revocations, read once at the start.
    async fn revocations(&self) -> Result<Vec<(KeyName, Revocation)>, BrakeError>;
}

/// Exposure was lowered on the gateways, and the file could not be written (or the other way round).
#[derive(Debug, thiserror::Error)]
#[error("the brake: {0}")]
pub struct BrakeError(pub String);

/// A brake without gateways and without a file: the table alone lowers exposure.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableBrake;

#[async_trait]
impl Brake for TableBrake {
    async fn lower(&self, _held: &Held) -> Result<(), BrakeError> {
        Ok(())
    }
    async fn lift(&self, _release: &ReleaseId) -> Result<(), BrakeError> {
        Ok(())
    }
    async fn held(&self) -> Result<Vec<Held>, BrakeError> {
        Ok(Vec::new())
    }
    async fn keep_revocation(&self, _key: &KeyName, _end: &Revocation) -> Result<(), BrakeError> {
        Ok(())
    }
    async fn drop_revocation(&self, _key: &KeyName) -> Result<(), BrakeError> {
        Ok(())
    }
    async fn revocations(&self) -> Result<Vec<(KeyName, Revocation)>, BrakeError> {
        Ok(Vec::new())
    }
}

/// Counts the sessions that are pinned and not idle for too long.
pub trait PinCensus: Send + Sync + fmt::Debug + 'static {
    /// Per release and version, how many.
    fn live(&self, now: UnixMs) -> Vec<LivePins>;
}

/// How many live sessions are held where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePins {
    /// The release that they take part in, if any.
    pub release: Option<ReleaseId>,
    /// The version that answers them.
    pub version: VersionId,
    /// Sessions.
    pub sessions: u64,
}

/// No gateway is near enough to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCensus;

impl PinCensus for NoCensus {
    fn live(&self, _now: UnixMs) -> Vec<LivePins> {
        Vec::new()
    }
}

/// One webhook call, signed and ready.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where to; may hold a secret in its path.
    pub url: String,
    /// Headers beside `content-type: application/json`.
    pub headers: Vec<(&'static str, String)>,
    /// A JSON document.
    pub body: String,
}

/// The URL is left out: with several services its path is the secret.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Delivers a letter by HTTP POST. Anything but a 2xx is an error, and is tried again later.
#[async_trait]
pub trait Post: Send + Sync + fmt::Debug + 'static {
    /// Delivers one letter.
    async fn deliver(&self, letter: &Letter) -> Result<(), PostError>;
}

/// The letter did not arrive. The text must not hold the URL or a header.
#[derive(Debug, thiserror::Error)]
#[error("the webhook was not delivered: {0}")]
pub struct PostError(pub String);

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPost;

#[async_trait]
impl Post for NoPost {
    async fn deliver(&self, _letter: &Letter) -> Result<(), PostError> {
        Ok(())
    }
}

/// Puts a question to one version, through the gateway's own rewrite, provider and key, and outside of all traffic.
#[async_trait]
pub trait Prober: Send + Sync + fmt::Debug + 'static {
    /// Asks once.
    async fn ask(&self, question: &Question) -> Result<Probed, ProbeTrouble>;
}

/// A question to one version.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who is to answer.
    pub version: Arc<Version>,
    /// A chat completion, not streamed.
    pub body: String,
    /// How long the answer may take, by the wall.
    pub wall_limit: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// The body of an answer of status 2xx.
    pub body: Vec<u8>,
    /// To its last byte.
    pub latency_ms: f64,
    /// What it cost in US dollars, where that is known.
    pub cost_usd: Option<f64>,
}

/// There is no answer. The texts hold neither keys nor what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeTrouble {
    /// The version itself is at fault: its model or key is not known to the provider.
    #[error("{0}")]
    Version(String),
    /// The provider was overloaded, failing, late or away, which says nothing of the version.
    #[error("{0}")]
    Provider(String),
}

/// Nobody can be asked: everything is unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProber;

#[async_trait]
impl Prober for NoProber {
    async fn ask(&self, _question: &Question) -> Result<Probed, ProbeTrouble> {
        Err(ProbeTrouble::Provider("no gateway is near enough to ask".to_owned()))
    }
}

/// Makes the canary's upstreams ready before more is given to them, and says how far that is. Nothing of it is
/// evidence. No call waits.
pub trait Readier: Send + Sync + fmt::Debug + 'static {
    /// Whether a version's upstreams have anything to be made ready before it is shown to anybody.
    fn prepares(&self, version: &Version) -> bool;
    /// What they say to being given more. The first call for a raise begins to make them ready.
    fn readiness(&self, raise: &Raise) -> Readiness;
}

/// More for the canary: all else that it needs is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Raise {
    /// Of which release.
    pub release: ReleaseId,
    /// Its canary.
    pub version: Arc<Version>,
    /// What is raised.
    pub to: RaisedTo,
    /// So many times what its upstreams bear now they will bear then; `None` where nothing says so: nobody is
    /// exposed yet, or to other customers.
    pub growth: Option<f64>,
}

/// What the canary is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaisedTo {
    /// A stage begins: by its index.
    Stage(usize),
    /// More of what is served: a rung of a ramp by its index, or everybody (one beyond the last).
    More(usize),
}

/// There is nothing to be made ready.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysReady;

impl Readier for AlwaysReady {
    fn prepares(&self, _version: &Version) -> bool {
        false
    }

    fn readiness(&self, _raise: &Raise) -> Readiness {
        Readiness::default()
    }
}

/// Asks about an answer where no model does it: an embeddings endpoint, or an endpoint of the user's own.
#[async_trait]
pub trait Assessors: Send + Sync + fmt::Debug + 'static {
    /// Posts a request for embeddings to a configured provider; the body of its answer of status 2xx.
    async fn embed(&self, provider: &str, body: String, wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble>;
    /// Posts a document to a configured webhook, by its name or its address; the body of its answer of status 2xx.
    async fn call(&self, to: &str, body: String, wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble>;
}

/// There is no answer, which says nothing of any version. The text holds neither key nor address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AssessorTrouble(pub String);

/// Nobody is there: everything is unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAssessors;

#[async_trait]
impl Assessors for NoAssessors {
    async fn embed(&self, _provider: &str, _body: String, _wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        Err(AssessorTrouble("no gateway is near enough to ask".to_owned()))
    }

    async fn call(&self, _to: &str, _body: String, _wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        Err(AssessorTrouble("no gateway is near enough to ask".to_owned()))
    }
}

/// Hears of every step of a release once it is committed, beside the journal; no call waits.
pub trait Herald: Send + Sync + fmt::Debug + 'static {
    /// This was committed.
    fn decided(&self, step: &Step, by: &Actor, at: UnixMs);
}

/// Nobody hears of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHerald;

impl Herald for NoHerald {
    fn decided(&self, _step: &Step, _by: &Actor, _at: UnixMs) {}
}

impl Ports {
    /// Without gateways, files and webhooks: what the simulator and most tests need.
    #[must_use]
    pub fn alone(random: Arc<dyn RandomSource>) -> Self {
        Self {
            random,
            brake: Arc::new(TableBrake),
            pins: Arc::new(NoCensus),
            post: Arc::new(NoPost),
            prober: Arc::new(NoProber),
            readier: Arc::new(AlwaysReady),
            assessors: Arc::new(NoAssessors),
            herald: Arc::new(NoHerald),
        }
    }
}
