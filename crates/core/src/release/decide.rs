//! The way of a decision, on one screen.

use crate::release::event::Event;
use crate::release::report::Step;
use crate::release::state::Release;
use crate::time::UnixMs;

/// A command that the state does not allow, or that lost against another operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not in this state; the message says which commands are legal in it.
    #[error("cannot {verb} a release that is {state}; legal now: {legal}")]
    NotNow {
        /// What was asked.
        verb: &'static str,
        /// Where the release stands.
        state: &'static str,
        /// What is legal.
        legal: String,
    },
}

/// Decides what becomes of `release` upon `event`. Pure: the same arguments give the same step.
pub fn decide(release: &Release, event: &Event, now: UnixMs) -> Result<Step, Refused> {
    let _ = (release, event, now);
    Err(Refused::NotNow { verb: "anything", state: release.state.word(), legal: String::new() })
}
