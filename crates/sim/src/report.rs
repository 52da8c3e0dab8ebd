//! What became of a release in a world.

use crate::naive::Without;
use crate::sentinels::Asked;
use coalmine_core::release::state::RollbackCause;
use std::collections::BTreeMap;
use std::fmt;

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct SimOutcome {
    /// How it ended.
    pub ended: Ended,
    /// From the start of the release to its end (or the world's), in minutes.
    pub minutes: u64,
    /// The index of the last stage that was served.
    pub stage: usize,
    /// Canary sessions exposed.
    pub canary_sessions: u64,
    /// Control sessions beside them.
    pub control_sessions: u64,
    /// Canary sessions with a bad turn that stable would have answered well, or a task that it would have solved.
    pub harmed: u64,
    /// Turns answered in all.
    pub turns: u64,
    /// Sessions that a rollback moved to stable.
    pub moved: u64,
    /// What was mirrored in the shadow.
    pub mirrored: Copied,
    /// How often each judge was asked.
    pub asked: BTreeMap<String, Asked>,
    /// What was decided on the way, a line each.
    pub story: Vec<String>,
    /// What would have been found with a rule left out, where the scenario asks for that.
    pub without: Option<Without>,
    /// Laws that were broken; there must be none.
    pub broken: Vec<String>,
}

/// What a shadow has mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Sessions that were drawn.
    pub sessions: u64,
    /// Copies of their requests.
    pub copies: u64,
    /// Requests of which no copy was made.
    pub lost: u64,
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The canary is stable.
    Promoted,
    /// It is not.
    RolledBack {
        /// Why.
        why: RollbackCause,
    },
    /// The world ended first.
    Open {
        /// The state that it was in.
        state: &'static str,
        /// What it waited for.
        headline: String,
    },
}

/// As golden files hold it.
impl fmt::Display for SimOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "{line}")?;
        }
        let ended = match &self.ended {
            Ended::Promoted => "promoted".to_owned(),
            Ended::RolledBack { .. } => "rolled back".to_owned(),
            Ended::Open { state, headline } => format!("open, {state}: {headline}"),
        };
        writeln!(f, "end: {ended} after {} min, at stage {}", self.minutes, self.stage + 1)?;
        writeln!(
            f,
            "canary sessions {}, control {}, harmed {}, moved by rollback {}, turns {}",
            self.canary_sessions, self.control_sessions, self.harmed, self.moved, self.turns
        )?;
        if self.mirrored != Copied::default() {
            let Copied { sessions, copies, lost } = self.mirrored;
            writeln!(f, "shadow: {sessions} sessions mirrored in {copies} copies, {lost} requests without one")?;
        }
        for (judge, Asked { times, usd }) in &self.asked {
            writeln!(f, "judge {judge}: asked {times} times for ${usd:.2}")?;
        }
        if let Some(without) = &self.without {
            writeln!(f, "{without}")?;
        }
        self.broken.iter().try_for_each(|law| writeln!(f, "BROKEN: {law}"))
    }
}
