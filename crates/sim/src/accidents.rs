//! What is decided where the evidence fails: every accident under every policy on silence, on the shipped loop.
//! Nothing may pass in any of them.

use crate::report::{Ended, SimOutcome};
use crate::run::SimError;
use crate::script::{Scenario, ScriptError};
use coalmine_core::release::policy::NoDataThen;
use coalmine_core::release::state::CauseKind;
use std::fmt;

/// A release that is promoted well before the end of its world if nothing happens to it.
const UNHARMED: &str = "
sessions 4000/h
stage 5% bake 1h min 50
stage 50% bake 1h min 100
guard error_rate margin 2pp max 2%
guard ttft_p95 margin 50%
guard cost_per_session margin 50%
rates 5% 5%
undecided hold
history 2h
until 6h
";

/// An accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accident {
    /// Its name in the table.
    pub name: &'static str,
    /// The lines of a scenario that make it happen.
    lines: &'static str,
}

/// All of them, in the order of the table.
pub const ACCIDENTS: [Accident; 11] = [
    Accident { name: "no traffic", lines: "from 0s reports empty" },
    Accident { name: "one arm silent", lines: "from 0s reports canary_unseen" },
    Accident { name: "NaN", lines: "from 0s reports not_numbers" },
    Accident { name: "metrics path down", lines: "from 0s reports lost" },
    Accident { name: "stale", lines: "from 0s reports stale" },
    Accident { name: "both arms bad", lines: "from 0s both error 30%" },
    Accident { name: "sample ratio mismatch", lines: "from 0s reports canary_thinned" },
    Accident { name: "all sentinels unknown", lines: "sentinel refund\nfrom 0s sentinels lost" },
    Accident { name: "sentinels unknown from mid-stage", lines: "sentinel refund\nfrom 10m sentinels lost" },
    Accident { name: "restarted mid-stage, then no reports", lines: "at 40m restart\nfrom 40m reports lost" },
    Accident {
        name: "looks after the end",
        lines: "from 0s canary error 30%\nfrom 1h canary error 0.5%\nafter_end 3h",
    },
];

/// The policies on silence, in the order of the table.
pub const POLICIES: [NoDataThen; 3] = [NoDataThen::Hold, NoDataThen::Rollback, NoDataThen::Warn];

/// An accident that could not be played.
#[derive(Debug, thiserror::Error)]
pub enum AccidentError {
    /// Its lines say nothing.
    #[error("the accident `{accident}` cannot be read")]
    Script {
        /// Which.
        accident: &'static str,
        /// Why.
        #[source]
        source: ScriptError,
    },
    /// Its world could not be run.
    #[error("the accident `{accident}` cannot be run")]
    Run {
        /// Which.
        accident: &'static str,
        /// Why.
        #[source]
        source: SimError,
    },
}

/// What was decided in one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Which accident.
    pub accident: &'static str,
    /// Under which policy on silence.
    pub then: NoDataThen,
    /// What was decided.
    pub decided: Decided,
    /// Why, in the words of the release.
    pub why: String,
    /// Minutes from the start to the decision, or to the end of the world.
    pub minutes: u64,
    /// Laws that were broken; there must be none.
    pub broken: Vec<String>,
}

/// What can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It stayed where it was.
    Held,
    /// It was rolled back.
    RolledBack(CauseKind),
    /// It went on to the next stage.
    Advanced,
    /// Its canary became stable.
    Promoted,
}

impl Decided {
    fn of(outcome: &SimOutcome) -> Self {
        match (&outcome.ended, outcome.stage) {
            (Ended::Promoted, _) => Self::Promoted,
            (Ended::RolledBack { .. } | Ended::Open { .. }, 1..) => Self::Advanced,
            (Ended::RolledBack { why }, 0) => Self::RolledBack(why.kind()),
            (Ended::Open { .. }, 0) => Self::Held,
        }
    }

    /// Whether the release got on: in an accident that is a pass without evidence.
    #[must_use]
    pub const fn is_pass(self) -> bool {
        match self {
            Self::Advanced | Self::Promoted => true,
            Self::Held | Self::RolledBack(_) => false,
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::RolledBack(kind) => write!(f, "rolled back ({})", kind.word()),
            Self::Advanced => f.write_str("ADVANCED"),
            Self::Promoted => f.write_str("PROMOTED"),
        }
    }
}

/// The word of a policy on silence.
#[must_use]
pub const fn word(then: NoDataThen) -> &'static str {
    match then {
        NoDataThen::Hold => "hold",
        NoDataThen::Rollback => "rollback",
        NoDataThen::Warn => "warn",
    }
}

/// Plays one cell.
///
/// # Errors
/// When the control plane refuses what the world needs.
pub async fn play(accident: &Accident, then: NoDataThen) -> Result<Cell, AccidentError> {
    let name = accident.name;
    let scenario = scenario(accident, then).map_err(|source| AccidentError::Script { accident: name, source })?;
    let outcome = Box::pin(scenario.run(1)).await.map_err(|source| AccidentError::Run { accident: name, source })?;
    let decided = Decided::of(&outcome);
    let why = match &outcome.ended {
        Ended::Open { headline, .. } => headline.clone(),
        Ended::RolledBack { why } => why.describe(),
        Ended::Promoted => outcome.story.last().cloned().unwrap_or_default(),
    };
    Ok(Cell { accident: name, then, decided, why, minutes: outcome.minutes, broken: outcome.broken })
}

/// Plays the whole matrix.
///
/// # Errors
/// The first cell that cannot be played.
pub async fn matrix() -> Result<Vec<Cell>, AccidentError> {
    let mut cells = Vec::new();
    for accident in &ACCIDENTS {
        for then in POLICIES {
            cells.push(play(accident, then).await?);
        }
    }
    Ok(cells)
}

fn scenario(accident: &Accident, then: NoDataThen) -> Result<Scenario, ScriptError> {
    let mut scenario = Scenario::parse(&format!("{UNHARMED}{}\n", accident.lines))?;
    for guardrail in &mut scenario.policy.guardrails {
        guardrail.no_data.then = then;
    }
    Ok(scenario)
}

/// The table for people.
#[must_use]
pub fn table(cells: &[Cell]) -> String {
    let mut out = String::new();
    for cell in cells {
        let what = format!(
            "{:<37}{:<10}{:<24}{:>4} min  ",
            cell.accident,
            word(cell.then),
            cell.decided.to_string(),
            cell.minutes
        );
        out.push_str(&format!("{what}{}\n", cell.why));
        for law in &cell.broken {
            out.push_str(&format!("    BROKEN LAW {law}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_passes_in_an_accident() {
        let cells = matrix().await.unwrap();
        insta::assert_snapshot!("accidents", table(&cells));
        let passed: Vec<&Cell> = cells.iter().filter(|cell| cell.decided.is_pass()).collect();
        assert!(passed.is_empty(), "{}", table(&cells));
        assert!(cells.iter().all(|cell| cell.broken.is_empty()), "{}", table(&cells));
        assert_eq!(cells.len(), 33);
    }

    /// What keeps the matrix able to fail: without the accident, or once it is over, the very same release passes.
    #[tokio::test]
    async fn without_its_accident_each_release_passes() {
        for lines in ["", "sentinel refund", "from 0s to 30m reports empty", "from 0s to 30m reports lost"] {
            for then in [NoDataThen::Hold, NoDataThen::Warn] {
                let cell = play(&Accident { name: "none", lines }, then).await.unwrap();
                assert!(cell.decided.is_pass(), "{lines} {then:?}: {}", cell.why);
            }
        }
    }
}
