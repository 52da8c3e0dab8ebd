//! What the gateway needs of the world. The app wires it: in process on one node, over the network
//! where gateways run apart.

use crate::config::Secret;
use coalmine_core::capture::SteadySample;
use coalmine_core::id::{Generation, ReleaseId, RouteName, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::key::KeyTable;
use coalmine_core::tally::Delta;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Followed, Membership, Pin, PinRecord};
use coalmine_core::traffic::table::RoutingTable;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin as BoxPin;
use std::sync::Arc;

/// A boxed future, for traits that are used as objects.
pub type Boxed<'a, T> = BoxPin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time. Scaled in demos and tests, so nothing here reads the system clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now.
    fn now(&self) -> UnixMs;
    /// How many milliseconds of this clock pass in one millisecond of the wall's.
    fn scale(&self) -> f64 {
        1.0
    }
}

/// The newest routing table.
pub trait TableSource: Send + Sync + fmt::Debug + 'static {
    /// Resolves when a table newer than the last one returned is there.
    fn next(&self) -> Boxed<'_, Arc<RoutingTable>>;
    /// Resolves when a table of keys newer than the last one returned is there; by default never.
    fn next_keys(&self) -> Boxed<'_, Arc<KeyTable>> {
        Box::pin(std::future::pending())
    }
    /// What this gateway serves from now on; told at once, before the next delta says it too.
    fn served(&self, _serving: BTreeMap<RouteName, Generation>) {}
    /// By which keys this gateway admits from now on.
    fn served_keys(&self, _generation: Generation) {}
}

/// Where a provider's key is read anew.
pub trait KeySource: Send + Sync + fmt::Debug + 'static {
    /// Reads it.
    fn read(&self) -> Boxed<'_, Result<Secret, KeyUnread>>;
}

/// A key could not be read. It is written into the log: nothing of the key may stand in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyUnread(pub String);

/// Where deltas go. A refusal is retried with the same sequence.
pub trait TallySink: Send + Sync + fmt::Debug + 'static {
    /// Takes one delta.
    fn deliver(&self, delta: Arc<Delta>) -> Boxed<'_, Result<(), SinkError>>;
}

/// Where sampled answers go to be judged and captured. No call may wait: all come from the end of a request.
pub trait SampleSink: Send + Sync + fmt::Debug + 'static {
    /// Takes one answer.
    fn offer(&self, sample: Sample, wanted: Wanted);
    /// One answer of this session found no room on its way.
    fn lost(&self, unit: UnitKey, member: &Membership, wanted: Wanted);
    /// Takes one answer of a route without a release, to be captured.
    fn offer_steady(&self, sample: SteadySample);
    /// One of these found no room on its way.
    fn lost_steady(&self);
    /// Takes both answers to one request of a shadow.
    fn offer_pair(&self, pair: PairSample);
    /// One pair of this session found no room on its way.
    fn lost_pair(&self, release: &ReleaseId, unit: UnitKey);
}

/// What a sampled answer is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A judge.
    ToJudge,
    /// Whoever reads answers side by side.
    ToCapture,
    /// Both.
    ForBoth,
}

impl Wanted {
    /// By whether a judge wants it, and whether it is captured; `None`: by nobody.
    #[must_use]
    pub const fn of(judged: bool, captured: bool) -> Option<Self> {
        match (judged, captured) {
            (true, true) => Some(Self::ForBoth),
            (true, false) => Some(Self::ToJudge),
            (false, true) => Some(Self::ToCapture),
            (false, false) => None,
        }
    }

    /// Whether a judge wants it.
    #[must_use]
    pub const fn is_judged(self) -> bool {
        matches!(self, Self::ToJudge | Self::ForBoth)
    }

    /// Whether it is captured.
    #[must_use]
    pub const fn is_captured(self) -> bool {
        matches!(self, Self::ToCapture | Self::ForBoth)
    }
}

/// The delta was not taken; it will be offered again.
#[derive(Debug, thiserror::Error)]
#[error("the delta was not taken: {0}")]
pub struct SinkError(pub String);

/// Pins: in memory on the hot path, durable behind it.
pub trait PinStore: Send + Sync + fmt::Debug + 'static {
    /// The pin of a unit that is not idle for too long.
    fn get(&self, unit: UnitKey, now: UnixMs) -> Option<Pin>;
    /// Pins a unit; whoever was first wins, and the winner's pin is returned.
    fn create(&self, unit: UnitKey, pin: Pin) -> Pin;
    /// Replaces a pin (a rollback moved the session).
    fn replace(&self, unit: UnitKey, pin: Pin);
    /// Marks the time of last use.
    fn touch(&self, unit: UnitKey, now: UnixMs);
    /// How many records of changed pins were left to be written behind so far.
    fn left(&self) -> u64;
    /// Whether so many of them are written.
    fn is_written(&self, through: u64) -> bool;
    /// Writes those that wait. No answer leaves before its own is written.
    fn write(&self);
    /// The same, and these ends of conversations with them, in one call.
    fn write_with(&self, followed: &[Followed]) -> Result<(), PinError>;
    /// How many live pins hold each (release, arm) still.
    fn live(&self, now: UnixMs) -> Vec<LivePins>;
    /// Resolves once every pin created so far is on stable storage. A raised weight waits for it.
    fn flush(&self) -> Boxed<'_, Result<(), PinError>>;
    /// Forgets some of the idle pins; called every few seconds.
    fn sweep(&self, _now: UnixMs) {}
    /// What is shown of it in metrics.
    fn counts(&self) -> PinCounts {
        PinCounts::default()
    }
}

/// What a pin store counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinCounts {
    /// Pins held.
    pub held: u64,
    /// Pins that gave way to the bound.
    pub evicted: u64,
    /// Pins that could not be written behind.
    pub append_failures: u64,
    /// Records that wait to be written behind: what a kill would lose.
    pub waiting: u64,
}

/// How many live sessions are held where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePins {
    /// The release, if any.
    pub release: Option<Arc<coalmine_core::id::ReleaseId>>,
    /// The version.
    pub version: coalmine_core::version::VersionId,
    /// Sessions.
    pub sessions: u64,
}

/// Where pins are written behind, and the ends of conversations that are followed by content. `append` runs beside the
/// hot path, on the threads of the requests: it must not wait for the disk (a write into the page cache survives a kill;
/// `sync` makes it survive a crash), and takes all that it is given in one call of the system.
pub trait PinLog: Send + Sync + fmt::Debug + 'static {
    /// Appends records, each kind in its order.
    fn append(&self, pins: &[PinRecord], followed: &[Followed]) -> Result<(), PinError>;
    /// Waits until everything appended is on stable storage.
    fn sync(&self) -> Boxed<'_, Result<(), PinError>>;
}

/// Pins and conversations are kept in memory only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPinLog;

impl PinLog for NoPinLog {
    fn append(&self, _pins: &[PinRecord], _followed: &[Followed]) -> Result<(), PinError> {
        Ok(())
    }
    fn sync(&self) -> Boxed<'_, Result<(), PinError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Pins could not be written: assignments go on in memory, weights are not raised.
#[derive(Debug, thiserror::Error)]
#[error("pins cannot be written: {0}")]
pub struct PinError(pub String);
