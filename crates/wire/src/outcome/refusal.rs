//! Refusals: does the answer say that it will not answer.
//!
//! The provider's own flag comes first. Without one the opening of the answer is read: a refusal says
//! so in its first sentences, and says *what* it will not do (help, assist, comply). "I can't believe
//! how fast this is" does neither, so a phrase counts only at the start of a sentence, behind an
//! apology if there is one, and only with such a verb.

/// How much of the start of an answer is kept for this.
pub const HEAD_MAX_BYTES: usize = 1024;

/// How it is known that an answer is a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The provider gave it as one (`refusal`).
    Flagged,
    /// The provider's filter stopped it (`finish_reason: content_filter`).
    Filtered,
    /// It reads like one.
    Phrase,
}

/// Whether the opening of an answer reads as a refusal, in English, German, French, Spanish,
/// Portuguese, Italian, Chinese or Japanese.
#[must_use]
pub fn reads_as_refusal(head: &str) -> bool {
    let _ = head;
    false
}
