//! Recorded observations through a policy: what it would have decided, on the shipped ledger, books, analysis and
//! release machine, in virtual time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`record`] | one recorded request: the documented form of a line |
//! | [`data`] | the recorded sessions in memory, read in one stream |
//! | [`inject`] | a regression of chosen size, laid on stable's own sessions |
//! | [`bench`](mod@bench) | the policy and the data put together, ready to be run |
//! | `play` | one release from start to end |
//! | [`paired`] | the same request answered by both versions: the one-sample test |
//! | [`past`] | the sealed buckets that the store keeps of an earlier release |
//! | [`outcome`] | many runs in short: counts, intervals, medians |
//!
//! What is measured is the policy, not the version: an A/A case splits stable's own sessions at random, so every
//! rollback in it is false; an injected case splits them too and spoils the canary's part by a known amount.

pub mod bench;
pub mod data;
pub mod inject;
mod many;
pub mod outcome;
pub mod paired;
pub mod past;
mod play;
pub mod record;
#[cfg(test)]
mod tests;

pub use bench::{Arrivals, Bench, Case, Draw, Policed};
pub use data::{Data, Labels};
pub use inject::Injection;
pub use outcome::{CaseOutcome, RunOutcome};
pub use paired::{PairedCase, PairedEnd, PairedOutcome};
pub use past::{Past, PastBench};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// A line is not of the documented form.
    #[error("line {line}: {what}; {mend}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// How to mend it.
        mend: String,
    },
    /// The file cannot be read on.
    #[error("the observations cannot be read after line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The observations do not hold what is asked of them.
    #[error("{what}; {mend}")]
    Data {
        /// What is missing.
        what: String,
        /// How to mend it.
        mend: String,
    },
    /// An injected regression that cannot be read, or cannot be laid on these observations.
    #[error("`{written}` cannot be injected: {what}")]
    Injection {
        /// As written.
        written: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The release cannot be built from this policy.
    #[error("the release cannot be run: {0}")]
    Release(String),
}

impl BacktestError {
    pub(crate) fn data(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Data { what: what.into(), mend: mend.into() }
    }
}
