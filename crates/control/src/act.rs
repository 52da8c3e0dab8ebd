//! Decide, commit, apply: the way of every event that is not a rollback.

use crate::control::Control;
use crate::error::{ControlError, chain};
use crate::view::{Commit, Outcome};
use coalmine_core::id::{Actor, Generation, ReleaseId};
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::Event;
use coalmine_core::release::report::{Decision, JournalRow, Step};
use coalmine_core::release::state::Release;
use coalmine_core::time::UnixMs;
use coalmine_store::StoreError;

/// How often a decision is made again after the loop was faster.
const TRIES: usize = 5;

impl Control {
    /// Decides upon `event` and commits what was decided. A loser against the loop looks and decides
    /// again; a loser against another operator is told who was faster.
    pub(crate) async fn act(
        &self,
        id: &ReleaseId,
        event: Event,
        actor: Actor,
        expected: Option<Generation>,
    ) -> Result<Outcome, ControlError> {
        self.act_with(&[], id, event, actor, expected).await
    }

    /// The same, with what is to be said beside the decision.
    pub(crate) async fn act_with(
        &self,
        warnings: &[String],
        id: &ReleaseId,
        event: Event,
        actor: Actor,
        expected: Option<Generation>,
    ) -> Result<Outcome, ControlError> {
        let mut lost = None;
        for _ in 0..TRIES {
            if self.known().stale.contains(id) {
                self.reload(id).await?;
            }
            let seen = self.seen(id, expected)?;
            let now = self.clock.now();
            let mut step = decide(&seen, &event, now)?;
            step.report.warnings.extend_from_slice(warnings);
            match self.commit(&seen, &step, &event, &actor, now).await {
                Ok(()) => {
                    self.apply().await;
                    return Ok(outcome(step, Commit::Done));
                }
                Err(StoreError::Conflict { release, by, found, expected }) => {
                    let by_the_loop = by == Actor::coalmine();
                    lost = Some(ControlError::Conflict { release, by, found, expected });
                    if !by_the_loop {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(lost.unwrap_or_else(|| ControlError::UnknownRelease(id.clone())))
    }

    /// The committed release, if it still is as the operator saw it.
    pub(crate) fn seen(&self, id: &ReleaseId, expected: Option<Generation>) -> Result<Release, ControlError> {
        let known = self.known();
        let found = known.releases.get(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        let generation = found.release.generation;
        match expected {
            Some(expected) if expected != generation => Err(ControlError::Conflict {
                release: id.clone(),
                by: found.last_actor.clone(),
                found: generation,
                expected,
            }),
            Some(_) | None => Ok(found.release.clone()),
        }
    }

    /// Writes a step: state, journal and outbox in one transaction. A hold writes nothing.
    pub(crate) async fn commit(
        &self,
        seen: &Release,
        step: &Step,
        event: &Event,
        actor: &Actor,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        if step.decision == Decision::Hold {
            if let Some(known) = self.known().releases.get_mut(&seen.id) {
                known.report = step.report.clone();
            }
            return Ok(());
        }
        let row = JournalRow {
            release: seen.id.clone(),
            generation: step.next.generation,
            at: now,
            actor: actor.clone(),
            event: event.clone(),
            decision: step.decision.clone(),
            report: step.report.clone(),
        };
        let call = self.store.commit_step(seen.generation, &step.next, &row, &step.effects);
        if let Err(error) = self.ask("committing a decision", call).await {
            // Somebody else wrote, or this was written and the answer was lost.
            self.known().stale.insert(seen.id.clone());
            return Err(error);
        }
        tracing::info!(
            release = %seen.id, generation = %step.next.generation, state = step.next.state.word(), by = %actor,
            "{}", step.report.headline
        );
        self.ports.herald.decided(step, actor, now);
        self.known().put(step.next.clone(), actor.clone(), step.report.clone());
        Ok(())
    }
}

pub(crate) fn outcome(step: Step, commit: Commit) -> Outcome {
    let message = match &commit {
        Commit::Done => step.report.headline.clone(),
        Commit::Pending { why } => format!("exposure is down; the commit is pending: {why}"),
    };
    Outcome { release: step.next, decision: step.decision, report: step.report, commit, message }
}

/// Why a commit waits, for people.
pub(crate) fn why_pending(error: &StoreError) -> String {
    chain(error)
}
