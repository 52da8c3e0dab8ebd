//! What one thread keeps of the connections to one server.

use super::IDLE_TIME;
use super::single::Single;
use super::streams::{Shared, State, Stream};
use crate::sync::lock;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So many idle connections are looked at before the thread may use them again.
const AT_ONCE: usize = 32;
/// No server closes what was idle for less.
const SURE_FOR: Duration = Duration::from_secs(1);

/// Why no connection can be had: the same for all who wait for it.
pub(super) type NoConnection = Arc<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub(super) struct Shard {
    kept: Mutex<Kept>,
    idle_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// In the order in which they became idle; the last one is taken first.
    idle: Vec<Idle>,
    shared: Vec<Shared>,
    /// While a connection is made that may be shared: who waits for it. Dropped, they look again; told a reason, they
    /// give up.
    waiting: Option<Vec<oneshot::Sender<NoConnection>>>,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    single: Box<Single>,
}

/// How a request gets to the server.
pub(super) enum Way {
    /// By an idle one; since when, where that is so long ago that its server may be about to close it.
    Single(Box<Single>, Option<Instant>),
    Shared(Stream),
    /// By a connection that it has to make.
    Dial(Option<Dialing>),
    /// By one that another request is making.
    Wait(oneshot::Receiver<NoConnection>),
}

/// A connection that may be shared is being made. Until this is dropped, others wait for it.
#[derive(Debug)]
pub(super) struct Dialing(Weak<Shard>);

impl Shard {
    pub(super) fn new(idle_max: usize) -> Self {
        Self { kept: Mutex::default(), idle_max }
    }

    /// `may_share`: whether a new connection may be one of HTTP/2. A connection that refused the request is not asked again.
    pub(super) fn way(self: &Arc<Self>, may_share: bool, refused_by: Option<&Arc<State>>, now: Instant) -> Way {
        let mut kept = lock(&self.kept);
        if let Some(Idle { since, single }) = kept.idle.pop() {
            let idle_for = now.saturating_duration_since(since);
            if idle_for < IDLE_TIME {
                return Way::Single(single, Some(since).filter(|_| idle_for >= SURE_FOR));
            }
            // the others are older still; closing them takes no lock
            let old = std::mem::take(&mut kept.idle);
            drop(kept);
            drop((single, old));
            return self.way(may_share, refused_by, now);
        }
        if let Some(stream) = kept.shared.iter().find_map(|shared| shared.enter(refused_by)) {
            return Way::Shared(stream);
        }
        if !may_share {
            return Way::Dial(None);
        }
        if let Some(waiting) = &mut kept.waiting {
            let (told, made) = oneshot::channel();
            waiting.push(told);
            return Way::Wait(made);
        }
        kept.waiting = Some(Vec::new());
        Way::Dial(Some(Dialing(Arc::downgrade(self))))
    }

    /// Keeps an idle connection, if there is room.
    pub(super) fn keep(&self, single: Box<Single>) {
        let mut kept = lock(&self.kept);
        if kept.idle.len() < self.idle_max {
            kept.idle.push(Idle { since: Instant::now(), single });
        } else {
            drop(kept);
            drop(single);
        }
    }

    /// A connection that had been idle since then broke under a request, before any answer: as far as can be seen its server
    /// closed it at that moment. What has been idle for as long is about to be closed too, and a further try is not to meet it.
    pub(super) fn distrust(&self, since: Instant) {
        let mut kept = lock(&self.kept);
        let old = kept.idle.partition_point(|idle| idle.since <= since);
        let gone: Vec<Idle> = kept.idle.drain(..old).collect();
        drop(kept);
        drop(gone);
    }

    pub(super) fn share(&self, shared: Shared) {
        lock(&self.kept).shared.push(shared);
    }

    /// Closes what was idle for too long, and lets go of what the server has closed.
    pub(super) fn sweep(&self, now: Instant) {
        let mut kept = lock(&self.kept);
        let young = kept.idle.partition_point(|idle| now.saturating_duration_since(idle.since) >= IDLE_TIME);
        let mut gone: Vec<Idle> = kept.idle.drain(..young).collect();
        let spent: Vec<Shared> = kept.shared.extract_if(.., |shared| shared.is_over(now)).collect();
        drop(kept);
        drop(spent);
        let mut from = 0;
        loop {
            gone.clear();
            let mut kept = lock(&self.kept);
            let to = kept.idle.len().min(from + AT_ONCE);
            if from >= to {
                return;
            }
            gone.extend(kept.idle.extract_if(from..to, |idle| !idle.single.is_open()));
            from = to - gone.len();
        }
    }

    fn made(&self) -> Vec<oneshot::Sender<NoConnection>> {
        lock(&self.kept).waiting.take().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        lock(&self.kept).idle.len()
    }
}

impl Dialing {
    /// There is none to be had: those who wait for it hear why.
    pub(super) fn fail(mut self, why: &NoConnection) {
        let shard = std::mem::take(&mut self.0);
        let waiting = shard.upgrade().map(|shard| shard.made()).unwrap_or_default();
        for told in waiting {
            // one that does not wait any more has no use for it
            let _ = told.send(why.clone());
        }
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        drop(self.0.upgrade().map(|shard| shard.made()));
    }
}
