//! A release file in a world: its plan and its criteria are what is played, and the world says what is true.
//!
//! What a world has nothing of is told, and what would make it say another thing than the file is refused.

use crate::judges;
use crate::script::{Scenario, Versions};
use crate::world::{Truth, Who};
use coalmine_core::metric::{Metric, noticed};
use coalmine_core::release::plan::{Gate, Plan};
use coalmine_core::release::policy::Policy;
use coalmine_core::time::SpanMs;

/// What of a release file cannot be played, each with how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unplayable(pub Vec<String>);

impl Scenario {
    /// This world, with the plan and the criteria of a release in place of its own. The second is what is otherwise than
    /// the file says, a sentence each.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn with_release(
        mut self,
        versions: Versions,
        plan: Plan,
        policy: Policy,
    ) -> Result<(Self, Vec<String>), Unplayable> {
        let mut told = Vec::new();
        let own = std::mem::replace(&mut self.policy, policy);
        (self.plan, self.versions) = (plan, Some(versions));
        let strangers = self.strangers();
        if !strangers.is_empty() {
            return Err(Unplayable(strangers));
        }
        if let Some(left) = std::mem::replace(&mut self.policy.sentinels, own.sentinels) {
            let instead =
                if self.policy.sentinels.is_some() { "the world's are asked instead" } else { "none is asked" };
            told.push(format!(
                "the sentinels of {} are left out, for no world knows their answers; {instead} (`sentinel NAME canary 98%`)",
                left.suite
            ));
        }
        if let Some(shadow) = &mut self.policy.shadow
            && shadow.similarity.take().is_some()
        {
            told.push(
                "how near the shadow's answers are is left out, for no world has embeddings; no bar is waited for"
                    .to_owned(),
            );
        }
        self.policy.judges = self.policy.judges.iter().map(judges::readable).collect();
        for judge in &self.policy.judges {
            let says = if self.world.judges.contains_key(&judge.name) { "as the world says" } else { "by default" };
            let errs = self.world.judges.get(&judge.name).copied().unwrap_or_default();
            told.push(format!(
                "judge {} errs {says}: it passes {} % of the poor answers, fails {} % of the good ones, and costs ${} a question \
                 (`judge {} false_pass 5% …`)",
                judge.name,
                100.0 * errs.false_pass,
                100.0 * errs.false_fail,
                errs.cost_usd,
                judge.name
            ));
        }
        self.score(&mut told);
        if self.plan.stages.iter().any(|stage| matches!(stage.gate, Gate::Approval(_))) {
            told.push("approvals are given at once".to_owned());
        }
        if !self.policy.rescue_budget.is_zero() {
            told.push("no request is rescued by stable; it would count as failed all the same".to_owned());
        }
        let least = self.plan.stages.iter().fold(SpanMs::ZERO, |sum, stage| sum + stage.bake);
        if self.world.until < least {
            told.push(format!(
                "the world ends after {} and the stages bake for {least}: it cannot be promoted here (`until {least}`)",
                self.world.until
            ));
        }
        Ok((self, told))
    }

    /// The cohorts that nobody of the world is in: their stages would wait for ever.
    fn strangers(&self) -> Vec<String> {
        let comes = |name: &str| {
            self.world.users.crowds.iter().any(|crowd| matches!(&crowd.who, Who::Customer(own) if own == name))
        };
        let alone = |stage: &&coalmine_core::release::plan::Stage| {
            let mut named = stage.cohort.customers().peekable();
            named.peek().is_some() && !named.any(|customer| comes(customer.as_str()))
        };
        let told = self.plan.stages.iter().filter(alone).map(|stage| {
            let name = stage.cohort.customers().next().map_or("", |customer| customer.as_str());
            format!("nobody in this world is in cohort `{}`; write `customer {name} 10%` into it", stage.cohort.label())
        });
        told.collect()
    }

    /// Scores that the release waits for come back, as the score of a session's task.
    fn score(&mut self, told: &mut Vec<String>) {
        let names = self.policy.guardrails.iter().filter_map(|watched| watched.metric.needs_feedback());
        let unknown: Vec<String> = names
            .filter(|name| !noticed::ALL.contains(name) && !self.world.users.scores.contains(*name))
            .map(str::to_owned)
            .collect();
        for name in unknown {
            told.push(format!("the score {name} is taken for that of a session's task (`solved`, `scored 5m`)"));
            self.world.users.scores.insert(name);
        }
    }

    /// The watched metrics of which this world has nothing, each with how to mend it: they would stay without data.
    #[must_use]
    pub fn unheard(&self) -> Vec<(Metric, String)> {
        let watched = self.policy.guardrails.iter().map(|watched| watched.metric.clone());
        watched.filter_map(|metric| self.lacks(&metric).map(|mend| (metric, mend))).collect()
    }

    fn lacks(&self, metric: &Metric) -> Option<String> {
        let users = &self.world.users;
        let nobody = |share: f64, mend: &str| (share <= 0.0).then(|| mend.to_owned());
        if [Metric::SchemaValid, Metric::FencedJson].contains(metric) {
            return nobody(users.schemas, "schemas 20%");
        }
        if [Metric::ToolCallValid, Metric::RepeatedCall].contains(metric) {
            return nobody(users.tools, "tools 30%");
        }
        if *metric == Metric::CacheHit {
            return self.world.stable.cached.is_none().then(|| "stable cached 50%".to_owned());
        }
        if let Some(name) = metric.judge() {
            return self.policy.judge(name).is_none().then(|| format!("judge {name} false_pass 10%"));
        }
        metric.needs_feedback().and_then(|name| self.unscored(name))
    }

    fn unscored(&self, name: &str) -> Option<String> {
        let either = |fact: fn(&Truth) -> f64| fact(&self.world.stable) > 0.0 || fact(&self.world.canary) > 0.0;
        let (is_there, mend) = match name {
            noticed::REASK => (either(|truth| truth.reask), "stable reask 2%".to_owned()),
            noticed::CLIENT_RETRY => (either(|truth| truth.retry), "stable retry 1%".to_owned()),
            noticed::TOOL_USE => (either(|truth| truth.tool_fail), "stable tool_fail 2%".to_owned()),
            name => (self.world.users.scores.contains(name), format!("scored_as {name}")),
        };
        (!is_there).then_some(mend)
    }

    /// Whether nothing that is true of the canary is not true of stable: each rollback is false then.
    #[must_use]
    pub fn is_of_a_good_canary(&self) -> bool {
        let sided = self.world.changes.iter().any(|change| change.side != crate::world::Side::Both);
        self.world.stable == self.world.canary && !sided && self.sentinels_are_alike()
    }

    fn sentinels_are_alike(&self) -> bool {
        let all = self.policy.sentinels.iter().flat_map(|of| of.sentinels.iter());
        all.map(|sentinel| sentinel.probe.0.as_str()).all(crate::sentinels::is_alike)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;
    use coalmine_core::cohort::Cohort;
    use coalmine_core::id::CustomerId;
    use coalmine_core::shadow::similarity::{Bar, Similarity};
    use coalmine_core::traffic::weight::WeightBp;
    use coalmine_core::version::Version;
    use std::collections::BTreeMap;

    /// A world in which a release of its own is played, altered as wanted.
    fn placed(world: &str, alter: impl FnOnce(&mut Plan, &mut Policy)) -> Result<(Scenario, Vec<String>), Unplayable> {
        let world = Scenario::parse(shipped::named(world).unwrap()).unwrap();
        let (mut plan, mut policy) = (world.plan.clone(), world.policy.clone());
        alter(&mut plan, &mut policy);
        let version = Version {
            provider: "simulated".into(),
            model: "release".to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        };
        let versions = Versions { route: "support".into(), stable: version.clone(), canary: version };
        world.with_release(versions, plan, policy)
    }

    #[test]
    fn what_no_world_has_is_left_out_and_told() {
        let measured = placed("shadow_pairs", |_, policy| {
            let bar = Some(Bar { min: 0.8, share: WeightBp::FULL });
            let version = policy.judges[0].version.clone();
            let similarity = Similarity { version, sample: WeightBp::FULL, baseline: WeightBp::ZERO, bar };
            policy.shadow.as_mut().unwrap().similarity = Some(Box::new(similarity));
        });
        let (scenario, told) = measured.unwrap();
        assert_eq!(scenario.policy.shadow.unwrap().similarity, None);
        assert!(told.iter().any(|line| line.starts_with("how near the shadow's answers are is left out")), "{told:?}");
        let (_, told) = placed("shadow_pairs", |_, _| ()).unwrap();
        assert!(!told.iter().any(|line| line.contains("embeddings")), "{told:?}");
    }

    #[test]
    fn a_cohort_that_nobody_is_in_is_refused_with_how_to_mend_it() {
        let refused = placed("healthy", |plan, _| {
            let customers = [CustomerId("acme".to_owned())].into();
            plan.stages[0].cohort = Cohort::Named { name: "pilots".to_owned(), customers };
        });
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("pilots") && said.contains("customer acme 10%"), "{said}");
    }
}
