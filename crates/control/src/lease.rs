//! One writer at a time: a small document in the store names the node that decides.
//!
//! The epoch grows with every takeover, and a node that reads a newer one stops deciding at once. The
//! lease only avoids needless work: what keeps two nodes apart is the generation that every commit names.

use crate::settings::Settings;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

const DOCUMENT: &str = "lease";

/// Whether this node decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Holder {
        /// Its epoch.
        epoch: u64,
    },
    /// Another node does; this one serves tables, answers, and rolls back when told.
    Follower {
        /// Which node decides.
        holder: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    holder: String,
    epoch: u64,
    renewed_at: UnixMs,
}

/// This node's side of the lease.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    epoch: Option<u64>,
}

impl Lease {
    /// Renews or takes the lease where that is allowed, and says where this node stands.
    ///
    /// # Errors
    /// When the store does not answer: a holder goes on (its commits are fenced anyway).
    pub(crate) async fn check(
        &mut self,
        store: &dyn Store,
        settings: &Settings,
        now: UnixMs,
        ttl: SpanMs,
    ) -> Result<Standing, StoreError> {
        let text = store.document(&settings.tenant, DOCUMENT).await?;
        // A document that cannot be read belongs to nobody: it is replaced.
        let found = text.and_then(|text| serde_json::from_str::<Mark>(&text).ok());
        let epoch = match (&found, self.epoch) {
            (Some(mark), Some(mine)) if mark.epoch == mine && mark.holder == settings.node => {
                if now.since(mark.renewed_at).0 < ttl.0 / 3 {
                    return Ok(Standing::Holder { epoch: mine });
                }
                mine
            }
            // Deposed: the newer epoch has the word until it falls silent.
            (Some(mark), _) if self.is_foreign(mark, settings) && now.since(mark.renewed_at) < ttl => {
                self.epoch = None;
                return Ok(Standing::Follower { holder: mark.holder.clone() });
            }
            (Some(mark), _) => mark.epoch + 1,
            (None, mine) => mine.unwrap_or(0) + 1,
        };
        let mark = Mark { holder: settings.node.clone(), epoch, renewed_at: now };
        let text = serde_json::to_string(&mark).map_err(|error| StoreError::Corrupt { what: error.to_string() })?;
        store.put_document(&settings.tenant, DOCUMENT, &text).await?;
        self.epoch = Some(epoch);
        Ok(Standing::Holder { epoch })
    }

    /// A node that starts under the name in the mark is that node, restarted. One that already held an
    /// epoch and finds a newer one under its own name was replaced.
    fn is_foreign(&self, mark: &Mark, settings: &Settings) -> bool {
        mark.holder != settings.node || self.epoch.is_some_and(|mine| mark.epoch > mine)
    }
}
