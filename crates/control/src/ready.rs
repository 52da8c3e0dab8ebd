//! Before the canary is given more, its upstreams are made ready: asked last, when all else is there, so that what is
//! warmed is used at once. What they say goes into the look's analysis, and the look is decided anew on it: a decision
//! in the journal is reproduced from its analysis alone. A step by hand waits at the door, before it is decided upon.

use crate::control::Control;
use crate::error::ControlError;
use crate::ports::{Raise, RaisedTo};
use coalmine_core::analysis::Analysis;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{Actor, Generation, ReleaseId};
use coalmine_core::release::decide::{Refused, decide};
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::plan::{Gate, Plan};
use coalmine_core::release::report::{Decision, Step};
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::weight::WeightBp;
use std::sync::Arc;

/// Whether a step by hand that gives the canary more waits for its upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// It is refused for as long as they are not ready, and makes them so.
    WhenReady,
    /// It is done whatever they say.
    Now,
}

/// A step by hand that was refused because the canary's upstreams are not ready.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    by: Actor,
    verb: &'static str,
    why: String,
    /// Whoever does not repeat it until then has given it up.
    until: UnixMs,
}

/// So long a step that is not repeated counts as wanted, by the wall.
const WALL_WISH: SpanMs = SpanMs::secs(15);

impl Wish {
    /// For the status, while somebody waits for it.
    pub(crate) fn told(&self, now: UnixMs) -> Option<String> {
        let Self { by, verb, why, until } = self;
        (now < *until).then(|| format!("{by} asked to {verb}, which waits for the canary's upstreams ({why})"))
    }
}

impl Control {
    /// What the canary's upstreams have against a step by hand; where it is done all the same, in words for the journal.
    pub(crate) fn awaited(
        &self,
        haste: Haste,
        id: &ReleaseId,
        event: &Event,
        expected: Option<Generation>,
    ) -> Result<Vec<String>, ControlError> {
        let Event::Operator { actor, command } = event else { return Ok(Vec::new()) };
        // who starts what waits in preflight says so a second time
        if *command == Command::Start {
            return Ok(Vec::new());
        }
        let (release, now) = (self.seen(id, expected)?, self.clock.now());
        let Ok(step) = decide(&release, event, now) else { return Ok(Vec::new()) };
        let Some(raise) = self.raise(&release, &step.decision) else { return Ok(Vec::new()) };
        let mut readiness = self.ports.readier.readiness(&raise);
        if readiness.holds.is_empty() {
            return Ok(readiness.notes);
        }
        let (verb, why) = (command.verb(), readiness.holds.join("; "));
        match haste {
            Haste::Now => {
                readiness.notes.push(format!("done by hand without waiting for the canary's upstreams ({why})"));
                Ok(readiness.notes)
            }
            Haste::WhenReady => {
                let until = now + self.clock.of_wall(WALL_WISH);
                if let Some(found) = self.known().releases.get_mut(id) {
                    found.wish = Some(Wish { by: actor.clone(), verb, why: why.clone(), until });
                }
                Err(ControlError::NotReady { verb, why })
            }
        }
    }

    /// A start waits where the canary's upstreams have something to be made ready.
    pub(crate) fn prepared(&self, id: &ReleaseId, command: Command) -> Command {
        if command != Command::Start {
            return command;
        }
        let canary = {
            let known = self.known();
            let draft = known.releases.get(id).filter(|found| found.release.state == State::Draft);
            draft.and_then(|found| known.versions.get(&found.release.canary)).cloned()
        };
        let prepares = canary.is_some_and(|canary| self.ports.readier.prepares(&canary));
        if prepares { Command::Prepare } else { Command::Start }
    }

    /// Decides a look; one that would give the canary more is decided on what its upstreams say to that.
    pub(crate) fn decide_ready(
        &self,
        release: &Release,
        mut analysis: Analysis,
        now: UnixMs,
    ) -> (Analysis, Event, Result<Step, Refused>) {
        let event = Event::Look { analysis: Box::new(analysis.clone()) };
        let step = decide(release, &event, now);
        let raise = step.as_ref().ok().and_then(|step| self.raise(release, &step.decision));
        let readiness = raise.map(|raise| self.ports.readier.readiness(&raise)).unwrap_or_default();
        if readiness.is_silent() {
            return (analysis, event, step);
        }
        analysis.readiness = readiness;
        let event = Event::Look { analysis: Box::new(analysis.clone()) };
        let step = decide(release, &event, now);
        (analysis, event, step)
    }

    /// What a decision gives the canary; `None` where that is nothing.
    fn raise(&self, release: &Release, decision: &Decision) -> Option<Raise> {
        let (to, next) = match decision {
            Decision::Start => (RaisedTo::Stage(0), Some(0)),
            Decision::Advance { stage } => (begun(release, *stage), Some(*stage)),
            Decision::AskApproval { stage } => (RaisedTo::Stage(*stage), Some(*stage)),
            Decision::Promote => (RaisedTo::More(release.plan.stages.len()), None),
            Decision::Create
            | Decision::Hold
            | Decision::Preflight
            | Decision::Shadow
            | Decision::Tell
            | Decision::Pause
            | Decision::Resume
            | Decision::Rollback { .. }
            | Decision::Settle => return None,
        };
        let known = self.known();
        let version = Arc::clone(known.versions.get(&release.canary)?);
        let stable = known.versions.get(&release.stable);
        let beside = stable.is_some_and(|stable| stable.provider == version.provider);
        // Where both arms are answered by the same upstreams, they bear what they bear whoever gets it.
        let growth = if beside { Some(1.0) } else { growth(&release.plan, release.state.serving_stage(), next) };
        Some(Raise { release: release.id.clone(), version, to, growth })
    }
}

/// A rung of a ramp is more of what is served already.
fn begun(release: &Release, stage: usize) -> RaisedTo {
    match release.plan.stages.get(stage).map(|opened| &opened.gate) {
        Some(Gate::Ramp(_)) => RaisedTo::More(stage),
        Some(Gate::Automatic | Gate::Approval(_)) | None => RaisedTo::Stage(stage),
    }
}

/// How many times as many sessions; `next` is the stage, or everybody. Shares of different cohorts are shares of
/// different people, and say nothing of each other.
fn growth(plan: &Plan, now: Option<usize>, next: Option<usize>) -> Option<f64> {
    let now = plan.stages.get(now?)?;
    let (cohort, weight) = match next {
        Some(next) => plan.stages.get(next).map(|stage| (&stage.cohort, stage.weight))?,
        None => (&Cohort::All, WeightBp::FULL),
    };
    (now.cohort == *cohort && !now.weight.is_zero()).then(|| weight.share() / now.weight.share())
}

#[cfg(test)]
mod tests {
    use super::growth;
    use coalmine_core::cohort::Cohort;
    use coalmine_core::release::plan::{Gate, Plan, Stage};
    use coalmine_core::time::SpanMs;
    use coalmine_core::traffic::weight::WeightBp;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_borne_grows_as_the_share_of_the_same_people_does() {
        let internal = Cohort::Named { name: "internal".to_owned(), customers: BTreeSet::new() };
        let stage = |cohort, bp: f64| Stage {
            cohort,
            weight: WeightBp::rounded(bp),
            bake: SpanMs::ZERO,
            min_sessions: 0,
            gate: Gate::Automatic,
        };
        let plan =
            Plan { stages: vec![stage(internal, 9_000.0), stage(Cohort::All, 500.0), stage(Cohort::All, 2_500.0)] };
        assert_eq!(growth(&plan, None, Some(0)), None, "nobody is exposed yet");
        assert_eq!(growth(&plan, Some(0), Some(1)), None, "other people");
        assert_eq!(growth(&plan, Some(1), Some(2)), Some(5.0));
        assert_eq!(growth(&plan, Some(2), None), Some(4.0), "everybody");
        assert_eq!(growth(&plan, Some(0), None), None);
    }
}
