//! The way of a rollback: exposure drops first, the commit follows and is retried.
//!
//! 1. The brake lowers exposure on the gateways and in the ceiling file.
//! 2. The route's table is published as the rollback leaves it: the canary is gone from it.
//! 3. The commit is tried. While the store is silent it waits, and the loop goes on trying.
//! 4. Once committed and published, the ceiling is lifted: the table says it all.

use crate::act::{outcome, why_pending};
use crate::control::Control;
use crate::error::ControlError;
use crate::known::Lowered;
use crate::ports::{BrakeError, Held};
use crate::view::{Commit, Outcome};
use coalmine_core::id::{Actor, ReleaseId, RouteName};
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::Event;
use coalmine_core::release::report::{Decision, Step};
use coalmine_core::release::state::{Release, State};
use coalmine_store::StoreError;
use std::time::Duration;

/// How often a rollback is decided again after somebody was faster.
const TRIES: usize = 5;

impl Control {
    /// Rolls back upon `event`. It is done for the customers when this returns, whatever the store says.
    ///
    /// # Errors
    /// When the release is unknown, or is not one that can be rolled back.
    pub(crate) async fn roll_back(&self, id: &ReleaseId, event: Event, actor: Actor) -> Result<Outcome, ControlError> {
        let (step, braked) = match self.lower(id, &event, &actor).await {
            Ok(lowered) => lowered,
            // Somebody else's rollback of the same release is committed, or on its way: it is done.
            Err(error @ ControlError::Refused(_)) => return self.decided_already(id).ok_or(error),
            Err(error) => return Err(error),
        };
        let commit = self.commit_lowered(id).await;
        let step = Step { next: self.as_served(id).unwrap_or(step.next), ..step };
        let mut outcome = outcome(step, commit);
        if let Err(error) = braked {
            outcome.report.warnings.push(format!("{error}; a restart before the commit would expose the canary again"));
        }
        Ok(outcome)
    }

    /// Steps 1 and 2: nothing here waits for the store.
    pub(crate) async fn lower(
        &self,
        id: &ReleaseId,
        event: &Event,
        actor: &Actor,
    ) -> Result<(Step, Result<(), BrakeError>), ControlError> {
        let now = self.clock.now();
        let seen = self.release(id).ok_or_else(|| ControlError::UnknownRelease(id.clone()))?;
        let step = decide(&seen, event, now)?;
        if !matches!(step.decision, Decision::Rollback { .. }) {
            return Err(ControlError::BadRelease(format!(
                "{id} does not roll back upon this: {}",
                step.report.headline
            )));
        }
        let held = Held { release: id.clone(), event: event.clone(), actor: actor.clone(), at: now };
        let fresh = Lowered { held: held.clone(), next: step.next.clone(), why_pending: "not yet tried".to_owned() };
        let is_new = {
            let mut known = self.known();
            let is_new = !known.lowered.contains_key(id);
            known.lowered.entry(id.clone()).or_insert(fresh);
            is_new
        };
        if is_new {
            self.publish_lowered(&seen.route);
        }
        let braked = self.brake(&held).await;
        if let Err(error) = &braked {
            tracing::error!(release = %id, %error, "the ceiling is not on disk");
        }
        Ok((step, braked))
    }

    async fn brake(&self, held: &Held) -> Result<(), BrakeError> {
        let patience = Duration::from_millis(self.settings.wall_store_patience.0);
        match tokio::time::timeout(patience, self.ports.brake.lower(held)).await {
            Ok(answer) => answer,
            Err(_) => Err(BrakeError("it did not answer in time".to_owned())),
        }
    }

    /// Step 3: commits the rollback that is served, or says why it waits.
    pub(crate) async fn commit_lowered(&self, id: &ReleaseId) -> Commit {
        let mut why = "others keep changing the release".to_owned();
        for _ in 0..TRIES {
            let Some((seen, held)) = self.to_commit(id) else { return Commit::Done };
            // The drain of live sessions counts from when exposure dropped, not from when the store came back.
            let now = held.at;
            let step = match decide(&seen, &held.event, now) {
                Ok(step) if step.decision != Decision::Hold => step,
                // It was rolled back by somebody else, or is past being rolled back.
                Ok(_) | Err(_) => {
                    self.settle_lowered(id, &seen.route).await;
                    return Commit::Done;
                }
            };
            match self.commit(&seen, &step, &held.event, &held.actor, now).await {
                Ok(()) => {
                    self.settle_lowered(id, &seen.route).await;
                    return Commit::Done;
                }
                Err(StoreError::Conflict { .. }) => {
                    if let Err(error) = self.reload(id).await {
                        why = crate::error::chain(&error);
                        break;
                    }
                }
                Err(error) => {
                    why = why_pending(&error);
                    break;
                }
            }
        }
        if let Some(lowered) = self.known().lowered.get_mut(id) {
            lowered.why_pending.clone_from(&why);
        }
        Commit::Pending { why }
    }

    fn to_commit(&self, id: &ReleaseId) -> Option<(Release, Held)> {
        let known = self.known();
        let held = known.lowered.get(id)?.held.clone();
        Some((known.releases.get(id)?.release.clone(), held))
    }

    /// Committed: the outbox publishes the table, and the ceiling is lifted after it.
    async fn settle_lowered(&self, id: &ReleaseId, route: &RouteName) {
        {
            let mut known = self.known();
            known.lowered.remove(id);
            known.lifting.insert(id.clone(), route.clone());
        }
        self.apply().await;
    }

    /// Step 4, for the ceilings of a route whose committed table was just published.
    pub(crate) async fn lift_ceilings(&self, route: &RouteName) {
        let due: Vec<ReleaseId> = {
            let known = self.known();
            known.lifting.iter().filter(|(_, of)| *of == route).map(|(id, _)| id.clone()).collect()
        };
        for id in due {
            match self.ports.brake.lift(&id).await {
                Ok(()) => {
                    self.known().lifting.remove(&id);
                }
                Err(error) => tracing::warn!(release = %id, %error, "the ceiling is not lifted yet"),
            }
        }
    }

    /// At the start: what the ceiling file holds down stays down until its rollback is committed.
    pub(crate) async fn load_ceiling(&self) -> Result<(), ControlError> {
        for held in self.ports.brake.held().await.map_err(ControlError::Ceiling)? {
            let id = held.release.clone();
            let Some(seen) = self.release(&id) else {
                tracing::warn!(release = %id, "the ceiling file names a release that the store does not know");
                continue;
            };
            let step = decide(&seen, &held.event, held.at);
            let mut known = self.known();
            match step {
                Ok(step) if matches!(step.decision, Decision::Rollback { .. }) => {
                    let why_pending = "it was pending when the process ended".to_owned();
                    known.lowered.insert(id, Lowered { held, next: step.next, why_pending });
                }
                Ok(_) | Err(_) => {
                    known.lifting.insert(id, seen.route);
                }
            }
        }
        Ok(())
    }

    fn decided_already(&self, id: &ReleaseId) -> Option<Outcome> {
        let known = self.known();
        let found = known.releases.get(id)?;
        if !matches!(found.release.state, State::RollingBack { .. } | State::RolledBack { .. }) {
            return None;
        }
        let message = format!("rolled back already by {}: {}", found.last_actor, found.report.headline);
        Some(Outcome {
            release: found.release.clone(),
            decision: Decision::Hold,
            report: found.report.clone(),
            commit: Commit::Done,
            message,
        })
    }

    fn as_served(&self, id: &ReleaseId) -> Option<Release> {
        let known = self.known();
        let lowered = known.lowered.get(id).map(|lowered| lowered.next.clone());
        lowered.or_else(|| known.releases.get(id).map(|found| found.release.clone()))
    }
}
