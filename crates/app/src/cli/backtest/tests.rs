//! The report as people read it, of outcomes made by hand.

use super::*;
use crate::cli::args::{Cli, Verb};
use crate::config::ReleaseSpec;
use clap::Parser;
use coalmine_core::release::state::RollbackCause;
use coalmine_core::time::SpanMs;
use coalmine_sim::Ended;
use coalmine_sim::backtest::RunOutcome;
use coalmine_sim::backtest::paired::{PairedEnd, PairedOutcome, PairedRun};

fn parsed(line: &str) -> BacktestArgs {
    let Ok(Cli { verb: Verb::Backtest(args) }) = Cli::try_parse_from(line.split_whitespace()) else {
        panic!("{line} is no backtest");
    };
    args
}

fn observations() -> Data {
    let line = |version: &str, n: u32| {
        let at = n * 6;
        format!("{{\"version\":\"{version}\",\"pair\":\"{n}\",\"at\":{at},\"scores\":{{\"correct\":1}}}}\n")
    };
    let text: String = (0..1_200).map(|n| line("stable", n) + &line("canary", n)).collect();
    Data::read(text.as_bytes(), &Labels::default()).unwrap()
}

fn run(ended: Ended, minutes: u64, canary_sessions: u64, harmed: f64) -> RunOutcome {
    RunOutcome { ended, after: SpanMs::minutes(minutes), canary_sessions, control_sessions: canary_sessions, harmed }
}

fn rolled_back(minutes: u64, harmed: f64) -> RunOutcome {
    let why = RollbackCause::Guardrail {
        metrics: vec!["error_rate".to_owned()],
        log_evidence: 5.0,
        log_line: 4.6,
        found: String::new(),
    };
    run(Ended::RolledBack { why }, minutes, minutes * 5, harmed)
}

fn open(minutes: u64) -> RunOutcome {
    let headline = format!("stage 1 of 1 (all 50 %) waits for error_rate ({})", "and more ".repeat(30));
    run(Ended::Open { state: "running", headline }, minutes, 600, 0.0)
}

fn outcomes() -> Vec<CaseOutcome> {
    let injected = |change: &str| Case::Injected(Injection::parse(change).unwrap());
    let promoted = || run(Ended::Promoted, 50, 410, 1.26);
    vec![
        CaseOutcome { case: Case::SameVersion, runs: vec![open(70), open(71), promoted(), promoted()] },
        CaseOutcome { case: Case::Recorded, runs: (1..=4).map(|n| rolled_back(n * 7, n as f64 * 1.7)).collect() },
        CaseOutcome { case: injected("errors +1pp"), runs: vec![rolled_back(55, 3.0), open(70), open(70), promoted()] },
        CaseOutcome { case: injected("errors x0.5"), runs: vec![promoted(), promoted(), promoted(), promoted()] },
    ]
}

#[test]
fn the_report_says_what_the_policy_is_worth() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/backtest");
    let (spec, stable) = offline::release(&folder.join("release.yaml"), &folder.join("coalmine.yaml")).unwrap();
    let data = observations();
    let ReleaseSpec { route, canary, plan, mut policy, .. } = spec;
    policy.guardrails[0].metric = coalmine_core::metric::Metric::RefusalRate;
    let allowed = policy.false_rollback_rate;
    let policed = Policed { route, stable, canary, plan, policy };
    let bench = Bench::new(policed, &data, Arrivals::Recorded, Draw::Once).unwrap();
    let args = parsed("coalmine backtest release.yaml --data day.jsonl --runs 4");
    let (file, observations) = (Path::new("release.yaml"), Path::new("day.jsonl"));
    let head = report::Head::of_data(file, observations, &args, allowed, &bench);
    let outcomes = outcomes();
    insta::assert_snapshot!("report", report::for_people(&head, &outcomes));
    insta::assert_json_snapshot!("document", report::for_machines(&head, &outcomes[..2]));
    let paired = |end, pairs| PairedRun { end, pairs, by: None };
    let paired = [PairedCase::Swapped, PairedCase::Recorded].map(|case| PairedOutcome {
        case,
        runs: vec![paired(PairedEnd::Worse, 37), paired(PairedEnd::Undecided, 50), paired(PairedEnd::Within, 44)],
    });
    insta::assert_snapshot!("pairs", report::pairs_for_people(&head, &paired));
}

#[test]
fn a_policy_that_rolls_back_more_than_it_allows_fails() {
    let outcomes = outcomes();
    assert!(!breaks_the_promise(&outcomes, 0.01), "no false rollback, and true ones are none");
    let runs = (0..20).map(|n| if n < 4 { rolled_back(9, 0.0) } else { open(70) }).collect();
    let many = CaseOutcome { case: Case::SameVersion, runs };
    assert!(breaks_the_promise(&[many], 0.01), "4 of 20 are no chance at 1 %");
    let one = CaseOutcome { case: Case::SameVersion, runs: vec![rolled_back(9, 0.0), open(70)] };
    assert!(breaks_the_promise(&[one], 0.01), "1 of 2: between 1.3 % and 98.7 %");
}

#[test]
fn a_rate_is_read_strictly() {
    assert!(per_hour("1000/h").is_ok_and(|rate| (rate - 1_000.0).abs() < 1e-9));
    for wrong in ["1000", "0/h", "-1/h", "NaN/h", "fast"] {
        assert!(per_hour(wrong).unwrap_err().to_string().ends_with("write `--traffic 1000/h`"), "{wrong}");
    }
}
