//! Whether the journal of a release, decided anew, gives the same decisions.

use crate::control::policy_hash;
use coalmine_core::id::Generation;
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::Event;
use coalmine_core::release::report::{Decision, JournalRow};
use coalmine_core::release::state::{Release, State};
use std::collections::BTreeSet;

/// What a replay found.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Rows decided anew.
    pub rows: usize,
    /// The rows that came out otherwise; empty when every decision is reproduced.
    pub differences: Vec<Difference>,
}

/// A row that came out otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The generation that the row made.
    pub generation: Generation,
    /// What the journal says.
    pub written: Decision,
    /// What is decided now, or why it is refused.
    pub replayed: String,
}

/// Folds the journal from the draft: each event is decided upon at the instant of its row, on the state
/// that the replay itself has reached.
#[must_use]
pub fn replay(release: &Release, journal: &[JournalRow]) -> Replay {
    let mut state = as_created(release);
    let mut found = Replay { rows: 0, differences: Vec::new() };
    for row in journal {
        if row.event == Event::Created {
            continue;
        }
        found.rows += 1;
        let differs = match decide(&state, &row.event, row.at) {
            Ok(step) => {
                let same = step.decision == row.decision && step.next.generation == row.generation;
                state = step.next;
                (!same).then(|| format!("{:?}, generation {}", step.decision, state.generation))
            }
            Err(refused) => Some(refused.to_string()),
        };
        if let Some(replayed) = differs {
            found.differences.push(Difference { generation: row.generation, written: row.decision.clone(), replayed });
        }
    }
    let criteria = policy_hash(&release.plan, &release.policy);
    if !release.policy_hash.is_empty() && criteria != release.policy_hash {
        found.differences.push(Difference {
            generation: release.generation,
            written: Decision::Create,
            replayed: "the criteria do not have the hash that was frozen at the creation: they were changed".to_owned(),
        });
    }
    if found.differences.is_empty() && found.rows > 0 && state != *release {
        found.differences.push(Difference {
            generation: release.generation,
            written: Decision::Hold,
            replayed: format!(
                "the fold of the journal is {}, the release is {}",
                state.state.word(),
                release.state.word()
            ),
        });
    }
    found
}

/// The release as its first row left it.
fn as_created(release: &Release) -> Release {
    Release {
        state: State::Draft,
        generation: Generation(0),
        started_at: None,
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        open: BTreeSet::new(),
        ..release.clone()
    }
}
