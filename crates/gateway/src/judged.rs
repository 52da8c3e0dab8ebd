//! Answers on their way to a judge, and to be captured. Which sessions are is drawn from their unit alone, before
//! anything is answered; the answer is read beside the stream as always, and its text goes on only after the request has
//! ended, in memory, and never to a log.

use crate::ports::{SampleSink, Wanted};
use bytes::Bytes;
use coalmine_core::capture::SteadySample;
use coalmine_core::id::{ReleaseId, RouteName, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Membership;
use coalmine_core::version::VersionId;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::judge::transcript;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Answers whose request is being read at once; further ones are lost, and counted.
const AT_ONCE: usize = 64;

/// What is kept of a request whose answer is wanted.
pub(crate) struct Kept {
    pub(crate) body: Bytes,
    pub(crate) dialect: Dialect,
    pub(crate) unit: UnitKey,
    pub(crate) started_at: UnixMs,
    pub(crate) of: Whose,
}

/// Whose answer is wanted.
pub(crate) enum Whose {
    /// One of a release's arms'.
    Compared { member: Membership, wanted: Wanted },
    /// That of a route without a release.
    Steady { route: Arc<RouteName>, version: VersionId },
}

/// Both answers to a request of a shadow.
pub(crate) struct Read {
    pub(crate) release: Arc<ReleaseId>,
    pub(crate) unit: UnitKey,
    pub(crate) started_at: UnixMs,
    pub(crate) dialect: Dialect,
    pub(crate) body: Bytes,
    pub(crate) stable: String,
    pub(crate) canary: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("unit", &self.unit).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// The way to those who want it.
#[derive(Debug, Default)]
pub(crate) struct Way {
    sink: OnceLock<Arc<dyn SampleSink>>,
    under_way: Arc<AtomicUsize>,
}

/// One that is under way, until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Way {
    /// Says where sampled answers go; the first word counts.
    pub(crate) fn lead_to(&self, sink: Arc<dyn SampleSink>) {
        let _ = self.sink.set(sink);
    }

    /// Whether it leads anywhere.
    pub(crate) fn is_open(&self) -> bool {
        self.sink.get().is_some()
    }

    /// Sends an answer on; its request is read beside whoever calls.
    pub(crate) fn send(&self, kept: Kept, answer: String, turn: u64, request_id: Option<String>) {
        let Some(sink) = self.sink.get().map(Arc::clone) else { return };
        let Some((runtime, under_way)) = self.set_out() else {
            return match kept.of {
                Whose::Compared { member, wanted } => sink.lost(kept.unit, &member, wanted),
                Whose::Steady { .. } => sink.lost_steady(),
            };
        };
        runtime.spawn_blocking(move || {
            let _under_way = under_way;
            let Kept { body, dialect, unit, started_at, of } = kept;
            let conversation = transcript::of_request(dialect, &body);
            let answer = transcript::of_answer(&answer);
            match of {
                Whose::Compared { member, wanted } => {
                    sink.offer(Sample { unit, member, turn, request_id, started_at, conversation, answer }, wanted);
                }
                Whose::Steady { route, version } => sink.offer_steady(SteadySample {
                    route,
                    version,
                    unit,
                    turn,
                    request_id,
                    started_at,
                    conversation,
                    answer,
                }),
            }
        });
    }

    /// Sends both answers to one request on.
    pub(crate) fn send_pair(&self, read: Read) {
        let Some(sink) = self.sink.get().map(Arc::clone) else { return };
        let Some((runtime, under_way)) = self.set_out() else { return sink.lost_pair(&read.release, read.unit) };
        runtime.spawn_blocking(move || {
            let _under_way = under_way;
            let Read { release, unit, started_at, dialect, body, stable, canary } = read;
            let conversation = transcript::of_request(dialect, &body);
            let [stable, canary] = [stable, canary].map(|answer| transcript::of_answer(&answer));
            sink.offer_pair(PairSample { release, unit, started_at, conversation, stable, canary });
        });
    }

    /// One more is under way, where there is room.
    fn set_out(&self) -> Option<(tokio::runtime::Handle, UnderWay)> {
        let at_once = self.under_way.fetch_add(1, Ordering::AcqRel);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        (at_once < AT_ONCE).then_some((runtime, under_way))
    }
}
