//! The promise, measured: false rollback of a healthy canary over a day of looks, false promotion of one that sits
//! exactly on its margin, and how soon a regression is caught, beside the rules that other tools decide by.
//!
//! ```text
//! cargo run -p coalmine-stats --release --example promise -- [quick|full] [--json]
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
    let (mut effort, mut json) = (Effort::QUICK, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "quick" => effort = Effort::QUICK,
            "full" => effort = Effort::FULL,
            "--json" => json = true,
            unknown => {
                eprintln!("{unknown:?} is not known: promise [quick|full] [--json]");
                return ExitCode::from(2);
            }
        }
    }
    match simulate(effort) {
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

fn simulate(effort: Effort) -> Result<Report, BadDesign> {
    let (regressions, margins) = (world::regressions(), world::margins());
    let worlds = || (0u64..).zip(Split::ALL);
    let (mut rows, mut margin_rows) = (Vec::new(), Vec::new());
    for (s, split) in worlds() {
        for (k, metric) in (0u64..).zip(&regressions) {
            rows.push(measure::row(metric, split, effort, 100 * s + k + 1)?);
        }
        for (k, margin) in (0u64..).zip(&margins) {
            margin_rows.push(measure::margin_row(margin, split, effort, 100 * s + k + 51)?);
        }
    }
    Ok(Report::new(effort, rows, margin_rows))
}
