//! The promise, measured: false rollback of a healthy canary over a day of looks, false promotion of one that sits
//! exactly on its margin, and how soon a regression is caught, beside the rules that other tools decide by.
//!
//! ```text
//! cargo run -p coalmine-stats --release --example promise -- [quick|full] [--only WORLD] [--json]
//! ```
//!
//! The same seeds give the same numbers. Exits with 1 where a number breaks the promise, with 2 on an unknown
//! argument.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints its table")]

mod measure;
mod report;
mod rng;
mod rules;
mod world;

use std::process::ExitCode;

use coalmine_stats::betting::BadDesign;

use measure::Effort;
use report::Report;
use world::Split;

fn main() -> ExitCode {
    let (mut effort, mut json, mut only) = (Effort::QUICK, false, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "quick" => effort = Effort::QUICK,
            "full" => effort = Effort::FULL,
            "--json" => json = true,
            "--only" => only = arguments.next().unwrap_or_default(),
            unknown => {
                eprintln!("{unknown:?} is not known: promise [quick|full] [--only WORLD] [--json]");
                return ExitCode::from(2);
            }
        }
    }
    match simulate(effort, &only) {
        Ok(report) if report.is_empty() => {
            eprintln!("no world has {only:?} in its name");
            ExitCode::from(2)
        }
        Ok(report) => {
            println!("{}", if json { report.json() } else { report.text() });
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// All worlds whose name contains `only`. Each has seeds of its own, so its numbers do not depend on the others.
fn simulate(effort: Effort, only: &str) -> Result<Report, BadDesign> {
    let (regressions, margins) = (world::regressions(), world::margins());
    let (mut rows, mut margin_rows) = (Vec::new(), Vec::new());
    for (s, split) in (0u64..).zip(Split::ALL) {
        for (k, metric) in (1u64..).zip(&regressions).filter(|(_, metric)| metric.name.contains(only)) {
            rows.push(measure::row(metric, split, effort, 100 * s + k)?);
        }
        for (k, margin) in (51u64..).zip(&margins).filter(|(_, margin)| margin.metric.name.contains(only)) {
            margin_rows.push(measure::margin_row(margin, split, effort, 100 * s + k)?);
        }
    }
    Ok(Report::new(effort, rows, margin_rows))
}
