//! Where an answer comes from, for whoever sees how it ends: an address that cuts its answers short is put aside like one that gives
//! none.

use crate::upstream::choice::{As, Picked};
use crate::upstream::fault::Fault;
use crate::upstream::pool::Pool;
use std::sync::Arc;

/// The address of an answer that has begun. Dropped, it says nothing: the client left.
#[derive(Debug)]
pub(crate) struct Source {
    pool: Arc<Pool>,
    picked: Picked,
}

impl Source {
    /// `None` where nothing is to be learnt: the address has no sibling, or it was asked for a copy.
    pub(crate) fn of(pool: &Arc<Pool>, picked: Picked) -> Option<Self> {
        let tells = pool.choice.is_free() && picked.as_ != As::Copy;
        tells.then(|| Self { pool: pool.clone(), picked })
    }

    /// It broke, stalled, or ended without what its dialect ends with.
    pub(crate) fn cut_short(self) {
        self.pool.cut_short(self.picked);
    }

    /// It came to its end.
    pub(crate) fn came_whole(self) {
        self.pool.choice.came_whole(self.picked);
    }
}

impl Pool {
    /// A sibling that was asked later had content before this address had begun to answer.
    pub(crate) fn outrun(&self, picked: Picked) {
        self.note(picked, Some(Fault::Outrun));
        if let Some(change) = self.choice.outrun(picked, self.clock.now()) {
            self.tell(change);
        }
    }

    /// An answer of this address ended before its end.
    pub(crate) fn cut_short(&self, picked: Picked) {
        self.note(picked, Some(Fault::CutShort));
        if !self.choice.is_free() {
            return;
        }
        if let Some(change) = self.choice.cut_short(picked, self.clock.now()) {
            self.tell(change);
        }
    }
}
