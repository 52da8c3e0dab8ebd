//! Recorded generations of two model versions on the same prompts, with the score that the application gave each
//! answer, through `backtest`: every true regression must be rolled back, and nothing else.
//!
//! The recordings are not part of the source. They are looked for in `COALMINE_RECORDINGS`, else in
//! `../shared/data/replay` beside the checkout; without them the test says that it was skipped.
//! `BACKTEST_RUNS` says how many splits and orders (20; `make backtest` takes 200), `BACKTEST_WRITE` names a folder
//! for the observations in the documented form.

#![expect(clippy::print_stderr, reason = "the table is the test's report, and a skip must be seen")]
#![expect(clippy::unwrap_used, reason = "a test")]

use coalmine::config::{Surroundings, parse_process, parse_release};
use coalmine_sim::backtest::paired::{PairedCase, PairedEnd};
use coalmine_sim::backtest::{Arrivals, Bench, Case, CaseOutcome, Data, Draw, Labels, Policed};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
struct Scenario {
    scenario: String,
    file: String,
    stable: String,
    canary: String,
    expected: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    version: String,
    correct: Option<f64>,
    refusal: Option<f64>,
    latency_s: Option<f64>,
    tokens: Option<u64>,
    cost_usd: Option<f64>,
}

/// A secret that is not set stands for itself.
struct Made;

impl Surroundings for Made {
    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn env(&self, _name: &str) -> Option<String> {
        Some("made".to_owned())
    }
}

#[test]
fn recorded_regressions_are_found_and_nothing_else_is() {
    let Some(folder) = recordings() else {
        eprintln!("SKIPPED: no recordings; name their folder in COALMINE_RECORDINGS");
        return;
    };
    let runs: u64 = std::env::var("BACKTEST_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let scenarios: Vec<Scenario> = serde_json::from_str(&manifest).unwrap();
    let at_most_false = (runs / 20).max(1);
    eprintln!(
        "{:<15} {:<24} {:>11} {:>8} {:>9}  {:>14} {:>16} {:>16}",
        "scenario",
        "case",
        "rolled back",
        "promoted",
        "undecided",
        "min. (50, 90)",
        "exposed (50, 90)",
        "harmed (50, 90)"
    );
    for scenario in &scenarios {
        let lines = observations(&folder, scenario);
        let labels = Labels { stable: Some(scenario.stable.clone()), canary: Some(scenario.canary.clone()) };
        let data = Data::read(lines.as_bytes(), &labels).unwrap();
        let bench = Bench::new(policy(), &data, Arrivals::PerHour(1_000.0), Draw::Once).unwrap();
        let run = |case: &Case, runs| bench.run(case, runs, 1, &|_| ()).unwrap();
        let same = run(&Case::SameVersion, runs);
        told(scenario, "A/A", &same);
        assert!(same.rolled_back() <= at_most_false, "{}: {} of {runs}", scenario.scenario, same.rolled_back());
        if scenario.stable == scenario.canary {
            continue;
        }
        let recorded = run(&Case::Recorded, runs);
        told(scenario, "recorded canary, unpaired", &recorded);
        if data.pairs.len() < 100 {
            few_pairs(scenario, &bench, &run(&Case::Recorded, runs * 5), runs * 5);
        } else if scenario.expected == "rolled_back" {
            assert_eq!(recorded.rolled_back(), runs, "{}: every run must find it", scenario.scenario);
        } else {
            assert!(recorded.rolled_back() <= at_most_false, "{}: {}", scenario.scenario, recorded.rolled_back());
        }
    }
}

/// Too few for two samples: the same prompts in both versions decide it all the same.
fn few_pairs(scenario: &Scenario, bench: &Bench<'_>, unpaired: &CaseOutcome, orders: u64) {
    let pairs = bench.run_pairs(PairedCase::Recorded, orders, 1, &|_| ()).unwrap();
    let swapped = bench.run_pairs(PairedCase::Swapped, orders, 1, &|_| ()).unwrap();
    let worse = pairs.count(PairedEnd::Worse);
    let needed = pairs.pairs(PairedEnd::Worse).unwrap();
    eprintln!(
        "{:<15} {:<24} {worse:>11} of {orders} orders, after {:.0} pairs (90 %: {:.0}); false in {} with swapped sides; \
         unpaired {} of {orders}",
        scenario.scenario,
        "the same in pairs",
        needed.median,
        needed.p90,
        swapped.count(PairedEnd::Worse),
        unpaired.rolled_back()
    );
    assert_eq!(worse, orders, "{}: pairs must decide it in every order", scenario.scenario);
    assert!(unpaired.rolled_back() * 3 < orders, "{}: {} of {orders}", scenario.scenario, unpaired.rolled_back());
    assert!(swapped.count(PairedEnd::Worse) * 20 <= orders, "{}", scenario.scenario);
}

fn told(scenario: &Scenario, case: &str, outcome: &CaseOutcome) {
    let two = |spread: Option<coalmine_sim::backtest::outcome::Spread>| {
        spread.map_or("-".to_owned(), |spread| format!("{:.0}, {:.0}", spread.median, spread.p90))
    };
    eprintln!(
        "{:<15} {case:<24} {:>11} {:>8} {:>9}  {:>14} {:>16} {:>16}",
        scenario.scenario,
        format!("{} of {}", outcome.rolled_back(), outcome.runs.len()),
        outcome.promoted(),
        outcome.undecided(),
        two(outcome.minutes_to_rollback()),
        two(outcome.exposed()),
        two(outcome.harmed())
    );
}

fn policy() -> Policed {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/backtest");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let process = folder.join("coalmine.yaml");
    let background = parse_process(&read("coalmine.yaml"), &process, &Made).unwrap().background();
    let file = folder.join("release.yaml");
    let spec = parse_release(&read("release.yaml"), &file, &background, &Made).unwrap();
    let stable = background.routes[&spec.route].stable.clone();
    Policed { route: spec.route, stable, canary: spec.canary, plan: spec.plan, policy: spec.policy }
}

/// The rows of a scenario in the documented form of `coalmine backtest`.
fn observations(folder: &Path, scenario: &Scenario) -> String {
    let mut lines = String::new();
    for line in std::fs::read_to_string(folder.join(&scenario.file)).unwrap().lines() {
        let row: Row = serde_json::from_str(line).unwrap();
        let mut said = json!({ "version": row.version, "pair": row.id });
        let mut say = |key: &str, value: Value| {
            said[key] = value;
        };
        if let Some(refusal) = row.refusal {
            say("refusal", json!(refusal > 0.5));
        }
        if let Some(latency_s) = row.latency_s {
            say("latency_ms", json!(latency_s * 1_000.0));
        }
        if let Some(tokens) = row.tokens {
            say("output_tokens", json!(tokens));
        }
        if let Some(cost_usd) = row.cost_usd {
            say("cost_usd", json!(cost_usd));
        }
        if let Some(correct) = row.correct {
            say("scores", json!({ "correct": correct }));
        }
        lines.push_str(&said.to_string());
        lines.push('\n');
    }
    if let Some(folder) = std::env::var_os("BACKTEST_WRITE") {
        std::fs::write(Path::new(&folder).join(&scenario.file), &lines).unwrap();
    }
    lines
}

fn recordings() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/replay");
    let folder = std::env::var_os("COALMINE_RECORDINGS").map_or_else(beside, PathBuf::from);
    folder.join("manifest.json").is_file().then_some(folder)
}
