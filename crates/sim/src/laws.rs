//! The laws of a release, checked on every row that its journal gains.

use coalmine_core::id::Generation;
use coalmine_core::invariant;
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::Event;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;

/// The fold of a journal so far, and what it broke.
#[derive(Debug)]
pub(crate) struct Laws {
    folded: Release,
    rows: usize,
    pub(crate) broken: Vec<String>,
}

impl Laws {
    /// From the draft on.
    pub(crate) fn of(draft: &Release) -> Self {
        Self { folded: draft.clone(), rows: 0, broken: Vec::new() }
    }

    /// The generation that was checked up to.
    pub(crate) fn checked(&self) -> Generation {
        self.folded.generation
    }

    /// Decides the new rows anew on the fold, and holds each step against the laws.
    pub(crate) fn check(&mut self, journal: &[JournalRow]) {
        for row in journal.iter().skip(self.rows) {
            self.rows += 1;
            if row.event == Event::Created {
                continue;
            }
            let step = match decide(&self.folded, &row.event, row.at) {
                Ok(step) => step,
                Err(refused) => {
                    self.broken.push(format!("generation {}: the journal cannot be folded: {refused}", row.generation));
                    continue;
                }
            };
            if step.decision != row.decision || step.next.generation != row.generation {
                self.broken.push(format!(
                    "generation {}: written {:?}, replayed {:?}",
                    row.generation, row.decision, step.decision
                ));
            }
            let violations = invariant::check(&self.folded, &row.event, &step, row.at);
            self.broken.extend(violations.iter().map(|law| format!("generation {}: {law}", row.generation)));
            self.folded = step.next;
        }
    }

    /// The fold is the state.
    pub(crate) fn check_end(&mut self, release: &Release) {
        if self.folded != *release {
            self.broken.push(format!("the fold is {}, the release {}", self.folded.state.word(), release.state.word()));
        }
    }
}
