//! The promise on the shipped loop: many releases of known truth with every path to a rollback switched on,
//! counted by cause against the rates that their policy states.

use crate::report::{Ended, SimOutcome};
use crate::script::{Scenario, ScriptError};
use coalmine_core::release::policy::NoDataThen;
use coalmine_core::release::state::{CauseKind, Cover};
use coalmine_stats::rivals::fixed_sample::{clopper_pearson, wilson};
use std::collections::BTreeMap;

/// The same version twice, at the hardest: any proven harm rolls back, and two limits sit on or just above the truth.
const HEALTHY: &str = "
sessions 300/h
turns 4
cluster 30%
swing 50%
stable error 0.5% refusal 2%
stage 5% bake 30m min 20
stage 25% bake 30m min 50
stage 50% bake 30m min 100
guard error_rate rollback_margin 0pp max 0.5%
guard refusal_rate rollback_margin 0pp max 2.1%
guard tool_call_valid rollback_margin 0pp
guard empty_rate rollback_margin 0pp
guard truncated_rate rollback_margin 0pp
guard cancel_before_first_byte rollback_margin 0pp
guard schema_valid rollback_margin 0pp
guard ttft_p95 rollback_margin 0pp
guard latency_p95 rollback_margin 0pp
guard cost_per_session rollback_margin 0pp
guard output_tokens rollback_margin 0pp
guard feedback.solved rollback_margin 0pp
sentinels 6 stable 98% canary 98%
tripwire 5
rates 5% 5%
undecided hold
max_duration 23h
history 2h
until 24h
";

/// The same version twice under judges, a shadow with pairs and every detector: any proven harm rolls back. The judges err,
/// are away for two hours, and one of them is spent on most days.
const JUDGED: &str = "
sessions 300/h
turns 4
cluster 30%
swing 50%
tools 50%
schemas 30%
leave 30%
stable error 0.5% refusal 2% good 80% truncated 1% other_language 1% repetition 1% fenced 2% repeated_call 2%
stable reask 2% tool_fail 3% quits 10% cached 50%
judge helpful false_pass 20% false_fail 10% turns 2 anchors 20 calls 1000
judge graded scale 1-5
judge better scale pairs by_place 20%
shadow 30% for 2h min 30
pairs better margin 0pp
from 7h to 9h judges down
stage 5% bake 30m min 20
stage 25% bake 30m min 50
stage 50% bake 30m min 100
guard error_rate rollback_margin 0pp
guard judge.helpful rollback_margin 0pp sample 60% control 20%
guard judge.graded rollback_margin 0pp sample 100% control 20%
guard language_mismatch_rate rollback_margin 0pp
guard long_answer_rate rollback_margin 0pp
guard short_answer_rate rollback_margin 0pp
guard new_opening_rate rollback_margin 0pp
guard cache_hit_share rollback_margin 0pp
guard abandoned_rate rollback_margin 0pp
guard not_continued_rate rollback_margin 0pp
guard repetition_rate rollback_margin 0pp
guard fenced_json_rate rollback_margin 0pp
guard repeated_call_rate rollback_margin 0pp
guard thumbs_down.reask rollback_margin 0pp
guard feedback.tool_use rollback_margin 0pp
rates 5% 5%
undecided hold
max_duration 23h
history 2h
until 24h
";

/// A canary exactly on the margin of its error rate; the other guardrail is soon proven.
const ON_THE_MARGIN: &str = "
sessions 1000/h
turns 4
cluster 30%
swing 50%
stable error 0.5%
canary error 1%
stage 5% bake 30m min 20
stage 25% bake 30m min 50
stage 50% bake 30m min 100
guard error_rate margin 0.5pp rollback_margin 0.5pp
guard refusal_rate margin 3pp rollback_margin 3pp
rates 5% 5%
undecided hold
history 2h
until 12h
";

/// A healthy canary under a policy with comparisons on every metric, limits, flaky sentinels, a tripwire, silence that rolls back,
/// holds and warns, budgets, `undecided: hold`, and a ramp without approvals.
///
/// # Errors
/// None, unless the text here is wrong.
pub fn healthy() -> Result<Scenario, ScriptError> {
    let mut scenario = Scenario::parse(HEALTHY)?;
    let then = [NoDataThen::Rollback, NoDataThen::Hold];
    for (guardrail, then) in scenario.policy.guardrails.iter_mut().zip(then.into_iter().cycle()) {
        // What this world never has (a schema) is not waited for.
        if guardrail.no_data.then != NoDataThen::Warn {
            guardrail.no_data.then = then;
        }
    }
    scenario.policy.budget.harmed = Some(50);
    scenario.policy.budget.extra_cost_usd = Some(20.0);
    Ok(scenario)
}

/// A healthy canary that judges, a shadow with its pairs and every detector look at.
///
/// # Errors
/// None, unless the text here is wrong.
pub fn judged() -> Result<Scenario, ScriptError> {
    Scenario::parse(JUDGED)
}

/// A canary that stands on its margin, so that a promotion is wrong in the worst case.
///
/// # Errors
/// None, unless the text here is wrong.
pub fn on_the_margin() -> Result<Scenario, ScriptError> {
    Scenario::parse(ON_THE_MARGIN)
}

/// Of two hundred sentinels that either version gets wrong one time in fifty, asked for 24 hours, this share of healthy
/// canaries may be rolled back.
pub const FLAKY_BOUND: f64 = 0.005;

/// That world.
///
/// # Errors
/// None, unless the shipped text is wrong.
pub fn flaky_sentinels() -> Result<Scenario, ScriptError> {
    Scenario::parse(crate::shipped::named("sentinel_flaky").unwrap_or_default())
}

/// How many releases ended in which way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    /// All of them.
    pub releases: u64,
    /// Those whose canary became stable.
    pub promoted: u64,
    /// Those rolled back, by cause.
    pub rolled_back: BTreeMap<CauseKind, u64>,
    /// Those still open at the end, by state.
    pub open: BTreeMap<&'static str, u64>,
    /// Turns answered in all.
    pub turns: u64,
    /// Laws that were broken.
    pub broken: Vec<String>,
}

/// A share observed, and the rate that it is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// How many.
    pub count: u64,
    /// Of so many.
    pub releases: u64,
    /// The stated rate.
    pub rate: f64,
    /// The 95 % interval of the share (Wilson's, or Clopper's and Pearson's), one-sided bounds at 97.5 % each.
    pub interval: (f64, f64),
}

impl Held {
    fn new(count: u64, releases: u64, rate: f64) -> Self {
        Self { count, releases, rate, interval: wilson(count, releases, 0.05) }
    }

    /// Whether the whole interval lies above the rate: few releases prove nothing.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.interval.0 > self.rate
    }

    /// Whether the whole interval lies below the rate: so many releases show it.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.interval.1 < self.rate
    }

    /// The share.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.count as f64 / self.releases.max(1) as f64
    }
}

impl Count {
    /// One more.
    pub fn add(&mut self, outcome: &SimOutcome) {
        self.releases += 1;
        self.turns += outcome.turns;
        self.broken.extend(outcome.broken.iter().cloned());
        match &outcome.ended {
            Ended::Promoted => self.promoted += 1,
            Ended::RolledBack { why } => *self.rolled_back.entry(why.kind()).or_default() += 1,
            Ended::Open { state, .. } => *self.open.entry(state).or_default() += 1,
        }
    }

    /// Rolled back by what has a share of alpha, against `rate`.
    #[must_use]
    pub fn covered(&self, rate: f64) -> Held {
        let covered = self.rolled_back.iter().filter(|(kind, _)| kind.cover() != Cover::NotCovered);
        Held::new(covered.map(|(_, n)| n).sum(), self.releases, rate)
    }

    /// Rolled back by anything, against `rate`.
    #[must_use]
    pub fn by_anything(&self, rate: f64) -> Held {
        Held::new(self.rolled_back.values().sum(), self.releases, rate)
    }

    /// Rolled back by sentinels, against the bound on that: with the exact interval, for none is expected.
    #[must_use]
    pub fn by_sentinels(&self, rate: f64) -> Held {
        let count = self.rolled_back.get(&CauseKind::Sentinel).copied().unwrap_or(0);
        Held { count, releases: self.releases, rate, interval: clopper_pearson(count, self.releases, 0.05) }
    }

    /// Promoted, against `rate`.
    #[must_use]
    pub fn promotions(&self, rate: f64) -> Held {
        Held::new(self.promoted, self.releases, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::metric::Metric;
    use coalmine_core::release::policy::Role;
    use coalmine_core::sentinel::Criticality;

    #[test]
    fn few_releases_prove_nothing_and_many_do() {
        assert!(!Held::new(6, 100, 0.05).is_broken());
        assert!(Held::new(12, 100, 0.05).is_broken());
        assert!(!Held::new(110, 2_000, 0.05).is_broken());
        assert!(Held::new(125, 2_000, 0.05).is_broken());
    }

    #[test]
    fn a_thousand_releases_without_a_rollback_show_half_a_percent_and_seven_hundred_do_not() {
        let none = |releases| Count { releases, ..Count::default() }.by_sentinels(FLAKY_BOUND);
        assert!(none(1_000).is_shown() && !none(700).is_shown() && !none(700).is_broken());
        let one =
            Count { releases: 1_000, rolled_back: BTreeMap::from([(CauseKind::Sentinel, 1)]), ..Count::default() };
        assert!(!one.by_sentinels(FLAKY_BOUND).is_shown());
        let sentinels = flaky_sentinels().unwrap().policy.sentinels.unwrap();
        assert_eq!(sentinels.critical().count(), 200);
        assert!(sentinels.critical().all(|sentinel| (sentinel.flaky - 0.02).abs() < 1e-12));
    }

    #[test]
    fn what_is_not_covered_is_counted_apart() {
        let rolled_back = BTreeMap::from([(CauseKind::Guardrail, 2), (CauseKind::Limit, 1), (CauseKind::Tripwire, 4)]);
        let count = Count { releases: 100, rolled_back, ..Count::default() };
        assert_eq!(count.covered(0.05).count, 3);
        assert_eq!(count.by_anything(0.05).count, 7);
    }

    /// Whatever a world can say, one of the two healthy ones says it, and of nothing watched there is nothing.
    #[test]
    fn judges_pairs_and_detectors_are_watched_where_the_canary_is_healthy() {
        let scenario = judged().unwrap();
        assert!(scenario.is_of_a_good_canary() && scenario.unheard().is_empty(), "{:?}", scenario.unheard());
        let policy = &scenario.policy;
        let guardrails = policy.criteria().filter(|of| of.role == Role::Guardrail).count();
        assert_eq!((policy.judges.len(), policy.preferring().count(), guardrails), (3, 1, 6));
        let watched = |metric: &Metric| policy.guardrails.iter().any(|guardrail| guardrail.metric == *metric);
        for metric in [
            Metric::LanguageMismatch,
            Metric::LongAnswer,
            Metric::ShortAnswer,
            Metric::NewOpening,
            Metric::CacheHit,
            Metric::Abandoned,
            Metric::NotContinued,
            Metric::Repetition,
            Metric::FencedJson,
            Metric::RepeatedCall,
        ] {
            assert!(watched(&metric), "{metric}");
        }
        assert!(policy.guardrails.iter().all(|guardrail| guardrail.rollback.shift < 1e-12));
    }

    #[test]
    fn every_path_to_a_rollback_is_switched_on() {
        let policy = healthy().unwrap().policy;
        assert_eq!(policy.guardrails.len(), 12);
        assert!(policy.guardrails.iter().any(|g| g.limit.is_some()));
        for then in [NoDataThen::Hold, NoDataThen::Rollback, NoDataThen::Warn] {
            assert!(policy.guardrails.iter().any(|g| g.no_data.then == then), "{then:?}");
        }
        assert!(policy.sentinels.is_some_and(|of| of.sentinels.iter().all(|s| s.criticality == Criticality::Critical)));
        assert!(!policy.tripwires.is_empty());
        assert!(policy.budget.harmed.is_some() && policy.budget.extra_cost_usd.is_some());
    }
}
