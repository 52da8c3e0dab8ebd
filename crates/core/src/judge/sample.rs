//! One answer on its way to the judge. It lives in memory only: it has no stored form, and shows nothing of its texts.

use crate::id::UnitKey;
use crate::time::UnixMs;
use crate::traffic::pin::Membership;
use std::fmt;

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
