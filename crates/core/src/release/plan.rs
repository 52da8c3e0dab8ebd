//! The ordered exposure levels of a release.

use crate::cohort::Cohort;
use crate::time::SpanMs;
use crate::traffic::weight::WeightBp;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The stages in order. Never empty; a later stage never lowers a cohort's weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<Stage>,
}

/// One exposure level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Who.
    pub cohort: Cohort,
    /// How much of them.
    pub weight: WeightBp,
    /// How long at least.
    pub bake: SpanMs,
    /// How many canary sessions at least, with their session number posted.
    pub min_sessions: u64,
    /// What opens the stage.
    pub gate: Gate,
}

/// What opens a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Evidence alone.
    Automatic,
    /// Evidence and a person; the text says whose word is awaited (`oncall`).
    Approval(String),
    /// The ramp that the stage before belongs to, as fast as what is not yet excluded can harm: this is
    /// one of its rungs. Bake and minimum are the ramp's, and are counted over all of its rungs.
    Ramp(Ramp),
}

/// How fast a ramp may rise (`statistics.md`, table T14).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// H: bad canary sessions beyond control's that a minute may bring, in the worst case that the
    /// evidence has not excluded.
    pub harm_per_minute: f64,
}

/// Two rungs of a ramp are about this far apart.
const STEP: f64 = 1.5;
/// So many weights a ramp has at most.
const RUNGS: usize = 24;

impl Plan {
    /// The stages that belong together with `stage`: all rungs of its ramp, or itself.
    #[must_use]
    pub fn rungs(&self, stage: usize) -> RangeInclusive<usize> {
        let is_rung = |at: usize| matches!(self.stages.get(at).map(|s| &s.gate), Some(Gate::Ramp(_)));
        let mut first = stage;
        while first > 0 && is_rung(first) {
            first -= 1;
        }
        let mut last = stage;
        while is_rung(last + 1) {
            last += 1;
        }
        first..=last
    }

    /// The ramp that `stage` is a rung of.
    #[must_use]
    pub fn ramp(&self, stage: usize) -> Option<Ramp> {
        let last = self.stages.get(*self.rungs(stage).end())?;
        match &last.gate {
            Gate::Ramp(ramp) => Some(*ramp),
            Gate::Automatic | Gate::Approval(_) => None,
        }
    }

    /// The plan with every ramp held at its floor: the slowest that it can go.
    #[must_use]
    pub fn unclimbed(&self) -> Self {
        let stages = self.stages.iter().filter(|stage| !matches!(stage.gate, Gate::Ramp(_)));
        Self { stages: stages.cloned().collect() }
    }

    /// The place of a stage for people, a ramp counted once: (which, of how many), from 1.
    #[must_use]
    pub fn place(&self, stage: usize) -> (usize, usize) {
        let whole = |stages: &[Stage]| stages.iter().filter(|s| !matches!(s.gate, Gate::Ramp(_))).count();
        (whole(self.stages.get(..=stage).unwrap_or(&self.stages)), whole(&self.stages))
    }
}

impl Stage {
    /// The rungs of a ramp from `floor` up to this stage's weight, this one's gate opening the first.
    #[must_use]
    pub fn climbed_from(self, floor: WeightBp, ramp: Ramp) -> Vec<Self> {
        let mut rungs = Vec::new();
        let mut bp = f64::from(floor.bp().max(1));
        let ceiling = f64::from(self.weight.bp());
        while bp * STEP.sqrt() < ceiling && rungs.len() + 1 < RUNGS {
            rungs.push(WeightBp::rounded(bp));
            bp = (bp * STEP).max(bp + 1.0);
        }
        rungs.push(self.weight);
        let gate = |nth: usize| if nth == 0 { self.gate.clone() } else { Gate::Ramp(ramp) };
        let rung = |(nth, weight)| Self { weight, gate: gate(nth), ..self.clone() };
        rungs.into_iter().enumerate().map(rung).collect()
    }
}

impl Stage {
    /// Whether sessions of its own cohort are left on stable to compare with. Without them the stage
    /// is judged by limits and tripwires only.
    #[must_use]
    pub fn leaves_control(&self) -> bool {
        self.weight < WeightBp::FULL
    }

    /// As shown to people: `all 5 %`, `internal 90 %`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.cohort.label(), self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{stage, weight};

    #[test]
    fn a_ramp_is_a_ladder_between_its_floor_and_its_ceiling() {
        let ramp = Ramp { harm_per_minute: 5.0 };
        let bps = |floor, ceiling| -> Vec<u16> {
            let whole = stage(Cohort::All, ceiling, Gate::Automatic);
            whole.climbed_from(weight(floor), ramp).iter().map(|rung| rung.weight.bp()).collect()
        };
        assert_eq!(bps(100, 5_000), [100, 150, 225, 338, 506, 759, 1_139, 1_709, 2_563, 3_844, 5_000]);
        assert_eq!(bps(100, 110), [110]);
        assert_eq!(bps(5_000, 5_000), [5_000]);
        let longest = bps(1, 10_000);
        assert!(longest.len() <= RUNGS && longest.is_sorted_by(|a, b| a < b), "{longest:?}");
    }

    #[test]
    fn a_ramp_is_one_place_of_a_plan() {
        let ramp = Ramp { harm_per_minute: 5.0 };
        let mut stages = vec![stage(Cohort::All, 50, Gate::Automatic)];
        stages.extend(stage(Cohort::All, 200, Gate::Automatic).climbed_from(weight(100), ramp));
        stages.push(stage(Cohort::All, 5_000, Gate::Automatic));
        let plan = Plan { stages };
        assert_eq!((plan.rungs(0), plan.rungs(1), plan.rungs(3), plan.rungs(4)), (0..=0, 1..=3, 1..=3, 4..=4));
        assert_eq!((plan.ramp(0), plan.ramp(1), plan.ramp(3), plan.ramp(4)), (None, Some(ramp), Some(ramp), None));
        let slowest: Vec<u16> = plan.unclimbed().stages.iter().map(|s| s.weight.bp()).collect();
        assert_eq!(slowest, [50, 100, 5_000]);
        assert_eq!((plan.place(0), plan.place(2), plan.place(4)), ((1, 3), (2, 3), (3, 3)));
    }
}
