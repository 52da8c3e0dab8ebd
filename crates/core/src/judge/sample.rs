//! One answer, or one pair of answers, on its way to the judge. It lives in memory only: it has no stored form, and shows nothing of its texts.

use crate::id::{ReleaseId, UnitKey};
use crate::time::UnixMs;
use crate::traffic::pin::Membership;
use std::fmt;
use std::sync::Arc;

/// One answer to be scored.
#[derive(Clone, PartialEq)]
pub struct Sample {
    /// The session.
    pub unit: UnitKey,
    /// Its part in a release. The judge is not told.
    pub member: Membership,
    /// Tells turns of a session apart.
    pub turn: u64,
    /// What the client was told as the request's id, by which people find the answer in their own logs.
    pub request_id: Option<String>,
    /// When the request began.
    pub started_at: UnixMs,
    /// What was said before the answer, as the client sent it and not as a version made it: a JSON array of lines.
    pub conversation: String,
    /// The answer.
    pub answer: String,
}

/// Two answers to the same request.
#[derive(Clone, PartialEq)]
pub struct PairSample {
    /// The release that is in its shadow.
    pub release: Arc<ReleaseId>,
    /// The session.
    pub unit: UnitKey,
    /// When the request began.
    pub started_at: UnixMs,
    /// What was said before the answers, as of a [`Sample`].
    pub conversation: String,
    /// Stable's answer, which was served.
    pub stable: String,
    /// The canary's.
    pub canary: String,
}

impl PairSample {
    /// The bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.conversation.len() + self.stable.len() + self.canary.len()
    }
}

impl fmt::Debug for PairSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairSample").field("unit", &self.unit).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Sample {
    /// The bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.answer.len() + self.conversation.len()
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("unit", &self.unit).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
