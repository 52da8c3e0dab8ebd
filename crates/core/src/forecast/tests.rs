//! Forecasts of small plans: what is told, and in which direction it moves.

use super::*;
use crate::cohort::Cohort;
use crate::evidence::RouteHistory;
use crate::evidence::sample::{guardrail, outcome, release, stable_version, turn};
use crate::id::UnitKey;
use crate::release::plan::{Gate, Plan, Stage};
use crate::release::policy::{Acknowledged, Budget, FreezeWindow, Policy};
use crate::time::UnixMs;
use crate::traffic::weight::WeightBp;

const MONDAY: UnixMs = UnixMs(4 * 86_400_000);

fn plan(stages: &[(u16, u64)]) -> Plan {
    let stage = |(weight_bp, hours): &(u16, u64)| Stage {
        cohort: Cohort::All,
        weight: WeightBp::new(*weight_bp).unwrap(),
        bake: SpanMs::hours(*hours),
        min_sessions: 100,
        gate: Gate::Automatic,
    };
    Plan { stages: stages.iter().map(stage).collect() }
}

fn policy() -> Policy {
    let refusal = guardrail(Metric::RefusalRate, 0.02);
    release(500, vec![guardrail(Metric::ErrorRate, 0.01), refusal]).policy
}

fn at(per_hour: f64, plan: &Plan, policy: &Policy) -> Outlook {
    let stated = Assumptions { sessions_per_hour: Some(per_hour), turns: Some(1.0), ..Assumptions::default() };
    foresee(plan, policy, &Traffic::of(None, &stated, MONDAY).unwrap(), 0, MONDAY)
}

fn keys(outlook: &Outlook, severity: Severity) -> Vec<&str> {
    outlook.hazards.iter().filter(|h| h.severity == severity).map(|h| h.key.as_str()).collect()
}

#[test]
fn a_busy_route_decides_and_a_quiet_one_is_refused_until_that_is_known() {
    let (plan, mut policy) = (plan(&[(500, 24), (2_500, 24)]), policy());
    let busy = at(20_000.0, &plan, &policy);
    assert_eq!(busy.refusals().count(), 0, "{:?}", busy.hazards);
    assert!(busy.advice.is_empty());
    assert_eq!(busy.promotion.typical, Some(SpanMs::hours(48)), "the bakes are longer than the proofs");
    let quiet = at(30.0, &plan, &policy);
    assert!(keys(&quiet, Severity::Error).contains(&"guardrails[0]"), "{:?}", quiet.hazards);
    for part in ["weight: 50%", "margin: ", "shadow pairs", "sentinels need no traffic"] {
        assert!(quiet.advice.iter().any(|line| line.contains(part)), "{part}: {:?}", quiet.advice);
    }
    policy.acknowledged.insert(Acknowledged::Undecidable);
    let known = at(30.0, &plan, &policy);
    assert_eq!(known.refusals().count(), 0);
    assert_eq!(keys(&known, Severity::Acknowledged), keys(&quiet, Severity::Error));
}

#[test]
fn more_traffic_and_larger_regressions_are_faster_and_harm_is_of_the_sessions_not_of_the_share() {
    let (plan, policy) = (plan(&[(500, 24)]), policy());
    let (slow, fast) = (at(4_000.0, &plan, &policy), at(8_000.0, &plan, &policy));
    let found = |outlook: &Outlook, times: f64| {
        let one = |h: &&Harm| h.metric == Some(Metric::RefusalRate) && h.regression == Regression::Times(times);
        outlook.harm.iter().find(one).cloned().unwrap()
    };
    let (two, four) = (found(&slow, 2.0), found(&slow, 4.0));
    assert!(two.found.typical > four.found.typical && two.found.slow > two.found.typical);
    let twice = found(&fast, 2.0);
    assert!(twice.found.typical < two.found.typical);
    let ratio = twice.harmed.unwrap() / two.harmed.unwrap();
    assert!((0.8..1.25).contains(&ratio), "the sessions needed decide the harm: {ratio}");
    let outage = slow.harm.last().unwrap();
    assert!(outage.metric.is_none() && outage.harmed.unwrap() <= 5.0 + 1e-9, "the tripwire is at five: {outage:?}");
}

#[test]
fn the_first_numbers_of_the_calculator_are_met() {
    // Error 0.5 → 2 % at 5 %, one number, no margin: 314 sessions on average with a hint, 350 without.
    let mut policy = policy();
    policy.guardrails.truncate(1);
    policy.guardrails[0].rollback = crate::release::policy::Margin::NONE;
    let outlook = at(60_000.0, &plan(&[(500, 24)]), &policy);
    let errors = outlook.harm.iter().find(|h| h.regression == Regression::Times(4.0)).unwrap();
    // Beside the bet of 350 sessions: the share of 0.7 or 0.3 of the number, and the quarter of an hour it waits.
    let waited = 60_000.0 * 0.05 * 16.0 / 60.0;
    let by_first = errors.exposed.unwrap();
    assert!(by_first < 350.0 * 1.6 + waited, "{by_first}");
}

#[test]
fn unsafe_configurations_are_told_each_at_its_key() {
    let warned = |plan: &Plan, policy: &Policy, per_hour: f64| {
        let outlook = at(per_hour, plan, policy);
        outlook.hazards.iter().map(|h| (h.key.clone(), h.what.clone())).collect::<Vec<_>>()
    };
    let tells = |all: &[(String, String)], key: &str, part: &str| {
        assert!(all.iter().any(|(k, what)| k == key && what.contains(part)), "{key}: {part}: {all:#?}");
    };
    let busy = 20_000.0;
    let mut spoilt = policy();
    spoilt.guardrails[0].limit = Some(0.004);
    spoilt.budget = Budget { harmed: Some(1), extra_cost_usd: None };
    spoilt.freeze = vec![FreezeWindow { from: 60, to: 3 * 1_440, zone: None }];
    spoilt.ages.session = SpanMs::hours(2);
    spoilt.ages.whole = SpanMs::hours(2);
    let told = warned(&plan(&[(500, 1), (2_500, 24)]), &spoilt, busy);
    tells(&told, "guardrails[0].max", "stable itself exceeds at most 0.4 %");
    tells(&told, "budget.harmed", "more than the budget of 1");
    tells(&told, "stages[0].bake", "shorter than a session's numbers need");
    tells(&told, "stages[0].bake", "a freeze holds the stage");
    let mut far = policy();
    far.guardrails[0].limit = Some(0.45);
    let whole = plan(&[(10_000, 24), (500, 24)]);
    tells(&warned(&whole, &far, busy), "stages[0].weight", "nothing is left to compare with");
    tells(&warned(&plan(&[(500, 24)]), &far, 2.0), "guardrails[0].max", "can hardly trip");
    tells(&warned(&plan(&[(500, 24)]), &far, 2.0), "stages[0]", "is not over before");
    let mut scored = policy();
    scored.guardrails.push(guardrail(Metric::Feedback("ok".to_owned()), 0.05));
    let stated = Assumptions {
        sessions_per_hour: Some(busy),
        sampled: [(Metric::Feedback("ok".to_owned()), 0.01)].into(),
        badness: [(Metric::ErrorRate, 0.4)].into(),
        ..Assumptions::default()
    };
    let traffic = Traffic::of(None, &stated, MONDAY).unwrap();
    let thin = foresee(&plan(&[(500, 24)]), &scored, &traffic, 0, MONDAY);
    assert!(thin.hazards.iter().any(|h| h.key == "guardrails[2]" && h.what.contains("only 1 %")), "{thin:?}");
    assert!(keys(&thin, Severity::Warning).contains(&"tripwires.consecutive_failures"), "five in a row at 40 %");
}

#[test]
fn a_judge_is_planned_by_its_sample_and_told_when_it_cannot_keep_up() {
    use crate::judge::{Judge, Sampling};
    let metric = Metric::Judge("helpful".to_owned());
    let judged = |sample: Sampling, judge: Judge| {
        let mut policy = policy();
        let watched = crate::release::policy::Guardrail { sample: Some(sample), ..guardrail(metric.clone(), 0.05) };
        policy.guardrails.push(watched);
        policy.judges.push(judge);
        at(4_000.0, &plan(&[(500, 24)]), &policy)
    };
    let judge = crate::release::example::judge("helpful");
    let share = |bp| WeightBp::new(bp).unwrap();
    let some = Sampling { control: share(500), canary: share(5_000) };
    let (few, all) = (judged(some, judge.clone()), judged(Sampling::ALL, judge.clone()));
    let of = |outlook: &Outlook| outlook.guardrails.iter().find(|g| g.metric == metric).cloned().unwrap();
    let seen = of(&few).judged.unwrap();
    // 24 h of 4,000 sessions, a twentieth of them the canary's; one turn each.
    assert!((seen.control_sessions - 24.0 * 3_800.0 * 0.05).abs() < 1.0, "{seen:?}");
    assert!((seen.canary_sessions - 24.0 * 200.0 * 0.5).abs() < 1.0, "{seen:?}");
    assert!((seen.answers_per_day - seen.control_sessions - seen.canary_sessions).abs() < 1.0, "{seen:?}");
    assert!(of(&few).proven.typical.unwrap() > of(&all).proven.typical.unwrap(), "fewer scores prove later");
    assert!(
        few.traffic.assumed.iter().any(|line| line.contains("stable has 70 % by judge.helpful")),
        "{:?}",
        few.traffic
    );
    let short = judged(Sampling::ALL, Judge { calls_per_day: Some(1_000), ..judge });
    let told = short.hazards.iter().find(|hazard| hazard.what.contains("may be asked 1000 times"));
    assert!(told.is_some_and(|hazard| hazard.key == "guardrails[2]"), "{:?}", short.hazards);
}

#[test]
fn every_quantile_is_read_from_the_times_of_its_own_moment() {
    let stated = Assumptions { sessions_per_hour: Some(100.0), ..Assumptions::default() };
    let traffic = Traffic::of(None, &stated, MONDAY).unwrap();
    let same = |one: Metric, other: Metric| std::ptr::eq(traffic.times(&one), traffic.times(&other));
    assert!(same(Metric::TtftP50, Metric::TtftP95) && same(Metric::TtftP99, Metric::TtftP95));
    assert!(same(Metric::LatencyP50, Metric::LatencyP95) && !same(Metric::LatencyP95, Metric::TtftP95));
}

#[test]
fn a_history_is_planned_by_once_it_covers_enough() {
    let mut history = RouteHistory::default();
    let stated = Assumptions::default();
    for minute in 0..60_u64 {
        for one in 0..10_u64 {
            let mut seen = turn(UnitKey(u128::from(minute * 5 + one / 2)), UnixMs(minute * 60_000 + one));
            seen.outcome = outcome();
            history.absorb(&seen, stable_version());
        }
        if minute == 5 {
            assert!(Traffic::of(Some(&history), &stated, UnixMs(6 * 60_000)).is_err());
        }
    }
    let now = UnixMs(60 * 60_000);
    let outlook = foresee(&plan(&[(500, 24)]), &policy(), &Traffic::of(Some(&history), &stated, now).unwrap(), 0, now);
    assert!((outlook.traffic.sessions_per_hour - 300.0).abs() < 3.0, "{:?}", outlook.traffic);
    assert!((outlook.traffic.turns - 2.0).abs() < 0.05);
    assert!(matches!(outlook.traffic.origin, Origin::Measured { requests: 600, .. }));
    assert!(Traffic::of(None, &stated, now).is_err());
}
