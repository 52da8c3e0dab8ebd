//! What gateways report. A [`Delta`] leaves every gateway about once a second; intake counts each
//! (gateway, epoch, sequence) once, so sending one again is harmless.

use crate::id::{CustomerId, GatewayId, Generation, ReleaseId, RouteName, UnitKey};
use crate::judge::JudgeId;
use crate::key::Spending;
use crate::metric::Metric;
use crate::origin::Origin;
use crate::shadow::pair::Mirrored;
use crate::time::UnixMs;
use crate::traffic::pin::{Arm, Membership};
use crate::version::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that one gateway learnt since its last delta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which gateway.
    pub gateway: GatewayId,
    /// Its start, as a number: a restarted gateway counts anew.
    pub epoch: u64,
    /// 1, 2, 3, … within the epoch.
    pub sequence: u64,
    /// Every turn that was judged before this instant is in this or an earlier delta.
    pub complete_to: UnixMs,
    /// The turns.
    pub turns: Vec<Turn>,
    /// Late scores and ratings.
    pub feedback: Vec<Feedback>,
    /// Turns that were thrown away because the queue was full, by release and arm.
    pub dropped: Vec<Dropped>,
    /// The generation served per route.
    pub serving: BTreeMap<RouteName, Generation>,
    /// What was mirrored for releases in their shadow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrored: Vec<Mirrored>,
    /// What was used, by payer, of whatever route or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spending: Vec<Spending>,
}

/// Turns lost, shown beside every estimate: observed = tallied + dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The release; `None` for traffic outside of any.
    pub release: Option<Arc<ReleaseId>>,
    /// The arm.
    pub arm: Arm,
    /// How many.
    pub count: u64,
}

/// One request as judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The route.
    pub route: Arc<RouteName>,
    /// The unit; `None` when it had no identity.
    pub unit: Option<UnitKey>,
    /// Its customer, where known.
    pub customer: Option<CustomerId>,
    /// The version assigned (whoever answered in the end).
    pub version: VersionId,
    /// Its part in a release; `None` is not counted in any.
    pub member: Option<Membership>,
    /// How it wanted its answer and where it came in; `None` where that was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When it began.
    pub started_at: UnixMs,
    /// Which part of the truth this is.
    pub part: TurnPart,
    /// What became of it.
    pub outcome: Outcome,
}

/// A long answer is reported twice: as judged at its age, then its remaining cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnPart {
    /// It ended before it was due to be judged: everything is here.
    Whole,
    /// It is still running at its judging age; tokens and cost follow.
    Judged,
    /// The rest of a judged one: only tokens and cost count.
    Tail,
}

/// What became of one request. Times in milliseconds of the process clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended, and by whose fault.
    pub ending: Ending,
    /// The HTTP status of the version's own answer; 0 without one.
    pub status: u16,
    /// From the request's last byte to the first content byte of the answer.
    pub ttft_ms: Option<f64>,
    /// From the request's last byte to the end (of what was delivered).
    pub latency_ms: f64,
    /// The longest silence between two chunks.
    pub gap_max_ms: Option<f64>,
    /// Tokens.
    pub usage: Usage,
    /// US dollars by the price table; `None` when the price or the usage is unknown, never 0 for that.
    pub cost_usd: Option<f64>,
    /// Whether the answer refuses.
    pub refusal: Check,
    /// Whether it is empty.
    pub empty: Check,
    /// Whether it was cut off.
    pub truncated: Check,
    /// Tools were declared in the request that the version got.
    pub tools_declared: Presence,
    /// Tool calls made.
    pub tool_calls: u32,
    /// Tool calls whose name is unknown or whose arguments do not fit.
    pub tool_calls_bad: u32,
    /// Whether a JSON Schema asked for is broken; `NotApplicable` when none was asked for.
    pub schema_broken: Check,
    /// What the detectors say.
    #[serde(default)]
    pub detected: Detected,
    /// How it begins; `None` where nobody looked, or it has no words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Who answered in the end.
    pub served_by: ServedBy,
    /// As whom the provider says it answered.
    #[serde(default)]
    pub answered_as: AnsweredAs,
    /// Attempts beyond the first, before anything was delivered.
    pub retries: u16,
}

/// How a request ended, with the blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how", content = "cause")]
pub enum Ending {
    /// Answered to the end.
    Complete,
    /// Still running, with content delivered, when it was judged.
    Running,
    /// The version's fault.
    Failed(Cause),
    /// The client's fault: stable refuses the same request too.
    ClientError,
    /// The gateway's own fault.
    GatewayError,
    /// The client left.
    Cancelled(CancelPoint),
}

/// What made a version fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No connection.
    Connect,
    /// The connection broke before the answer ended.
    Broken,
    /// A status of 500 and above.
    Server,
    /// 429.
    RateLimited,
    /// A 4xx that stable does not give.
    Rejected,
    /// An error event inside a stream that began with 200.
    InBand,
    /// Not a sentence of the protocol.
    Malformed,
    /// No first content by the deadline.
    Deadline,
}

/// When the client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelPoint {
    /// Before the first content byte.
    BeforeFirstByte,
    /// In the middle of the answer.
    MidAnswer,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Nobody's: it did not fail.
    Nobody,
    /// The client's.
    Client,
    /// The gateway's.
    Gateway,
    /// The version's; only this counts against it.
    Upstream,
}

impl Ending {
    /// Whose failure it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Complete | Self::Running => Blame::Nobody,
            Self::Failed(_) => Blame::Upstream,
            Self::ClientError | Self::Cancelled(_) => Blame::Client,
            Self::GatewayError => Blame::Gateway,
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Looked, and it is so.
    Yes,
    /// Looked, and it is not so.
    No,
    /// Could not look (no answer, cancelled, beyond the bound).
    Unknown,
    /// There was nothing to look at by the request's own nature.
    NotApplicable,
}

/// What detectors say of an answer. Outside of a release they are off, and say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detected {
    /// It should be JSON, and has it in a fence; `NotApplicable` when no JSON was asked for.
    pub fenced_json: Check,
    /// It calls a tool with arguments that it was called with already; `NotApplicable` without tools.
    pub repeated_call: Check,
    /// Its text goes round in circles; `NotApplicable` where the text was to be JSON.
    pub repetition: Check,
    /// It is in another language than the user's; `NotApplicable` where that one cannot be told, or it was to be JSON.
    pub other_language: Check,
    /// Length of its text in characters; `None` where nobody looked, or it calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chars: Option<u64>,
}

/// How an answer begins. The words go no further than a release's evidence, and only where many sessions share them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// A hash of the words.
    pub key: u64,
    /// The words, in lower case and without numbers.
    pub words: Arc<str>,
}

impl Detected {
    /// Nobody could look.
    pub const UNKNOWN: Self = Self::all(Check::Unknown);
    /// There was nothing to look at.
    pub const NOT_APPLICABLE: Self = Self::all(Check::NotApplicable);

    /// The same of everything, and no length.
    #[must_use]
    pub const fn all(check: Check) -> Self {
        Self { fenced_json: check, repeated_call: check, repetition: check, other_language: check, chars: None }
    }
}

/// What an older gateway does not tell plays no part.
impl Default for Detected {
    fn default() -> Self {
        Self::NOT_APPLICABLE
    }
}

/// Whether the request carried something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It did.
    Present,
    /// It did not.
    Absent,
}

/// As whom a provider says it answered: the same model under other names is taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AnsweredAs {
    /// The model's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// `system_fingerprint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Arc<str>>,
    /// `service_tier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Arc<str>>,
}

/// Who answered in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServedBy {
    /// The version assigned.
    Assigned,
    /// Stable, after the canary failed before its first content byte.
    Rescue,
    /// One of the version's own fallbacks, after it failed before its first content byte.
    Fallback,
}

/// Tokens; `None` where the provider did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read, cached ones included.
    pub input: Option<u64>,
    /// Written, reasoning included.
    pub output: Option<u64>,
    /// Of those read, from the provider's cache.
    pub cached: Option<u64>,
    /// Of those written, reasoning.
    pub reasoning: Option<u64>,
}

/// A late score, already joined to its session by the authenticated request id or the session id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The route.
    pub route: RouteName,
    /// The session.
    pub unit: UnitKey,
    /// Its part in a release, as the request id or the pin says; never as the sender says.
    pub member: Option<Membership>,
    /// The metric's own name (`correct` for `feedback.correct`).
    pub name: String,
    /// 0 is bad, 1 is good.
    pub value: f64,
    /// Makes a repeated sending harmless: the same key counts once.
    pub idempotency: u64,
    /// When it arrived.
    pub received_at: UnixMs,
    /// The judge that gave it; without one it came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeId>,
}

impl Feedback {
    /// The metric of its scores.
    #[must_use]
    pub fn metric(&self) -> Metric {
        match self.judge {
            Some(_) => Metric::Judge(self.name.clone()),
            None => Metric::Feedback(self.name.clone()),
        }
    }
}
