//! What has come of an answer, and when.

use coalmine_core::time::UnixMs;

/// What has come of the answer.
#[derive(Debug, Default)]
pub(super) struct Contents {
    last_at: Option<UnixMs>,
    pub(super) gap_max_ms: Option<u64>,
    /// What the next event would be numbered, once all of it was read.
    pub(super) next_number: u64,
}

impl Contents {
    /// Content came; whether it was the first.
    pub(super) fn came(&mut self, now: UnixMs) -> bool {
        let last = self.last_at.replace(now);
        if let Some(last) = last {
            let gap = now.since(last).0;
            self.gap_max_ms = Some(self.gap_max_ms.map_or(gap, |max| max.max(gap)));
        }
        last.is_none()
    }

    pub(super) fn begun(&self) -> bool {
        self.last_at.is_some()
    }
}
