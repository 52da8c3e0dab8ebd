//! Releases over made-up recordings: what must be found is found, and the same seed gives the same runs.

use super::*;
use crate::report::Ended;
use crate::script::Scenario;
use coalmine_core::analysis::Alpha;
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::Policy;
use coalmine_core::version::Version;
use std::collections::BTreeMap;
use std::fmt::Write as _;

fn version(model: &str) -> Version {
    Version {
        provider: "recorded".into(),
        model: model.to_owned(),
        prompt: None,
        tools: None,
        params: BTreeMap::new(),
        fallbacks: Vec::new(),
    }
}

fn policed(script: &str) -> Policed {
    let Scenario { plan, policy, .. } = Scenario::parse(script).unwrap();
    Policed { route: "support".into(), stable: version("stable"), canary: version("canary"), plan, policy }
}

const HALF: &str = "stage 50% bake 10m min 50\nguard error_rate margin 1pp\nguard feedback.ok margin 5pp\n";

/// Sessions of two requests, ten a minute; `errors` of the second ones in a hundred fail.
fn recorded(version: &str, sessions: usize, errors: usize) -> String {
    let mut text = String::new();
    for n in 0..sessions {
        for turn in 0..2 {
            let failed = turn == 1 && n * 37 % 100 < errors;
            writeln!(
                text,
                "{{\"version\":\"{version}\",\"session\":\"{n}\",\"at\":{},\"error\":{failed},\"latency_ms\":900,\
                 \"cost_usd\":0.01,\"scores\":{{\"ok\":{}}}}}",
                n * 6 + turn * 30,
                u8::from(n % 4 > 0)
            )
            .unwrap();
        }
    }
    text
}

fn data(text: &str) -> Data {
    Data::read(text.as_bytes(), &Labels::default()).unwrap()
}

fn bench<'a>(script: &str, data: &'a Data) -> Bench<'a> {
    Bench::new(policed(script), data, Arrivals::Recorded, Draw::Once).unwrap()
}

#[test]
fn a_recorded_regression_is_rolled_back_and_stable_against_itself_is_not() {
    let data = data(&(recorded("stable", 600, 1) + &recorded("canary", 600, 40)));
    let bench = bench(HALF, &data);
    let found = bench.run(&Case::Recorded, 6, 1, &|_| ()).unwrap();
    assert_eq!(found.rolled_back(), 6);
    assert_eq!(found.found_by(), [("error_rate".to_owned(), 6)]);
    let (exposed, harmed) = (found.exposed().unwrap(), found.harmed().unwrap());
    assert!(exposed.median < 300.0, "it does not take every session: {exposed:?}");
    let share = harmed.median / exposed.median;
    assert!((share - 0.195).abs() < 0.08, "a request in five beyond stable's: {share}");
    let same = bench.run(&Case::SameVersion, 6, 1, &|_| ()).unwrap();
    assert_eq!((same.rolled_back(), same.harmed().unwrap().p90), (0, 0.0));
}

#[test]
fn an_injected_regression_is_found_and_its_harm_is_counted() {
    let data = data(&recorded("stable", 900, 0));
    let bench = bench(HALF, &data);
    let run = |change: &str| {
        let case = Case::Injected(Injection::parse(change).unwrap());
        bench.run(&case, 6, 3, &|_| ()).unwrap()
    };
    let bad = run("error_rate +20pp");
    assert_eq!(bad.rolled_back(), 6);
    let harmed = bad.runs.iter().map(|run| run.harmed).sum::<f64>();
    let exposed = bad.runs.iter().map(|run| run.canary_sessions as f64).sum::<f64>();
    assert!((harmed / exposed - 0.2).abs() < 0.04, "{harmed} of {exposed}");
    let better = run("feedback.ok +20pp");
    assert_eq!((better.rolled_back(), better.harmed().unwrap().p90), (0, 0.0));
}

#[test]
fn the_same_seed_gives_the_same_runs_and_another_seed_others() {
    let data = data(&recorded("stable", 300, 5));
    let bench = bench(HALF, &data);
    let run = |seed| bench.run(&Case::SameVersion, 4, seed, &|_| ()).unwrap();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let splits: Vec<u64> = run(1).runs.iter().map(|run| run.canary_sessions).collect();
    assert!(splits.iter().any(|split| *split != splits[0]), "every run splits anew: {splits:?}");
}

#[test]
fn drawing_with_replacement_goes_on_beyond_the_recording() {
    let data = data(&recorded("stable", 100, 0));
    let bench = Bench::new(policed(HALF), &data, Arrivals::Recorded, Draw::WithReplacement(1_500)).unwrap();
    let same = bench.run(&Case::SameVersion, 2, 1, &|_| ()).unwrap();
    assert!(same.runs.iter().all(|run| run.canary_sessions + run.control_sessions > 100));
    assert_eq!(same.rolled_back(), 0);
}

#[test]
fn what_is_not_recorded_is_left_out_and_the_rest_keeps_its_lines() {
    let data = data(&recorded("stable", 100, 0));
    let whole = policed(&format!("{HALF}guard refusal_rate\n"));
    let bench = Bench::new(whole.clone(), &data, Arrivals::Recorded, Draw::Once).unwrap();
    assert_eq!(bench.left_out(), ["refusal_rate"]);
    // The guardrail's evidence must reach 1 / (alpha · its share of the weights).
    let line = |policy: &Policy| {
        let total: f64 = policy.guardrails.iter().map(|guardrail| guardrail.weight).sum();
        Alpha::of(policy, 0).guardrails_line() - (policy.guardrails[0].weight / total).ln()
    };
    assert!((line(bench.policy()) - line(&whole.policy)).abs() < 1e-9);
    let nothing = policed("stage 50% bake 10m min 50\nguard refusal_rate\n");
    let refused = Bench::new(nothing, &data, Arrivals::Recorded, Draw::Once).unwrap_err().to_string();
    assert!(refused.starts_with("the observations record none of the policy's guardrails (refusal_rate)"), "{refused}");
}

#[test]
fn a_recording_without_times_needs_a_rate() {
    let data = data("{\"version\":\"stable\"}\n{\"version\":\"stable\"}\n");
    let refused = Bench::new(policed(HALF), &data, Arrivals::Recorded, Draw::Once).unwrap_err().to_string();
    assert!(refused.ends_with("say how many sessions come in an hour: --traffic 1000/h"), "{refused}");
    let bench = Bench::new(policed(HALF), &data, Arrivals::PerHour(100.0), Draw::Once).unwrap();
    let no_canary = bench.run(&Case::Recorded, 1, 1, &|_| ()).unwrap_err().to_string();
    assert!(no_canary.starts_with("there is no canary"), "{no_canary}");
}

#[test]
fn the_end_of_a_recording_is_no_silence() {
    let data = data(&recorded("stable", 80, 0));
    let mut silent = policed(HALF);
    for guardrail in &mut silent.policy.guardrails {
        guardrail.no_data.then = coalmine_core::release::policy::NoDataThen::Rollback;
        guardrail.no_data.grace = coalmine_core::time::SpanMs::minutes(10);
    }
    let bench = Bench::new(silent, &data, Arrivals::Recorded, Draw::Once).unwrap();
    let same = bench.run(&Case::SameVersion, 3, 1, &|_| ()).unwrap();
    assert!(same.runs.iter().all(|run| matches!(run.ended, Ended::Open { .. })), "{:?}", same.runs);
}

#[test]
fn pairs_decide_what_two_samples_cannot() {
    let pair = |version: &str, n: usize, bad: bool| {
        format!("{{\"version\":\"{version}\",\"pair\":\"{n}\",\"scores\":{{\"ok\":{}}}}}\n", u8::from(!bad))
    };
    let text: String =
        (0..50).map(|n| pair("stable", n, n % 2 == 0) + &pair("canary", n, n % 2 == 0 || n % 5 < 3)).collect();
    let data = data(&text);
    let bench = Bench::new(policed(HALF), &data, Arrivals::PerHour(500.0), Draw::Once).unwrap();
    let paired = bench.run_pairs(PairedCase::Recorded, 40, 1, &|_| ()).unwrap();
    assert_eq!(paired.count(PairedEnd::Worse), 40);
    assert_eq!(paired.runs[0].by, Some(Metric::Feedback("ok".to_owned())));
    let unpaired = bench.run(&Case::Recorded, 40, 1, &|_| ()).unwrap();
    assert!(unpaired.rolled_back() < 20, "{}", unpaired.rolled_back());
    let swapped = bench.run_pairs(PairedCase::Swapped, 200, 1, &|_| ()).unwrap();
    assert!(swapped.count(PairedEnd::Worse) <= 6, "{}", swapped.count(PairedEnd::Worse));
}

mod past;
