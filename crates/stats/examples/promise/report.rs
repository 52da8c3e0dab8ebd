//! The table, the checks, and whether the promise holds.

use std::fmt::Write as _;

use coalmine_stats::rivals::fixed_sample::wilson;
use serde::Serialize;

use crate::measure::{Cell, Effort, MarginRow, Row};
use crate::rules::ALPHA;
use crate::world::CANARY_UNITS;

/// How far a median may lie from the stated one.
const MEDIAN_TOLERANCE: f64 = 0.10;
/// A world in which the repeated z test raises fewer false alarms than this is too easy to show anything.
const Z_TEST_AT_LEAST: f64 = 0.15;

#[derive(Serialize)]
pub(crate) struct Report {
    effort: &'static str,
    healthy_runs: usize,
    regressed_runs: usize,
    margin_runs: usize,
    rows: Vec<Row>,
    margins: Vec<MarginRow>,
    checks: Vec<Check>,
    holds: bool,
}

#[derive(Serialize)]
struct Check {
    what: String,
    value: f64,
    limit: f64,
    holds: bool,
}

impl Report {
    pub(crate) fn new(effort: Effort, rows: Vec<Row>, margins: Vec<MarginRow>) -> Self {
        let mut checks = Vec::new();
        for row in &rows {
            for cell in row.cells.iter().take(2) {
                checks.push(at_most_alpha("false rollback", cell.rule, row, cell.false_rollback, effort.healthy_runs));
            }
            checks.push(median_as_stated(row));
            checks.push(hard_enough(row));
        }
        for row in &margins {
            let name = format!("false promotion at the margin: {} {}", row.split, row.metric);
            checks.push(share_at_most_alpha(name, row.false_promotion, effort.margin_runs));
            let name = format!("false rollback at the margin: {} {}", row.split, row.metric);
            checks.push(share_at_most_alpha(name, row.false_rollback, effort.margin_runs));
        }
        Self {
            effort: effort.name,
            healthy_runs: effort.healthy_runs,
            regressed_runs: effort.regressed_runs,
            margin_runs: effort.margin_runs,
            rows,
            margins,
            holds: checks.iter().all(|check| check.holds),
            checks,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} ({} healthy runs of 24 h and 1,440 looks, {} regressed runs of 10 h, alpha 5 %)\n\n\
             rolled back falsely / median canary units to detection / missed within 1,000 units / missed within 10 h\n\
             (50 canary units a minute; Mann-Whitney: one run in 20, its first 5 h)\n",
            self.effort, self.healthy_runs, self.regressed_runs
        );
        for row in &self.rows {
            let _ = writeln!(out, "{} {} (stated median {})", row.split, row.metric, row.stated_median);
            for cell in &row.cells {
                let _ = writeln!(out, "  {}", line(cell));
            }
        }
        let _ = writeln!(out, "\na canary exactly on its margin, {} runs of 24 h:\n", self.margin_runs);
        for row in &self.margins {
            let _ = writeln!(
                out,
                "{} {:<38} rollback {:>5}  promotion {:>5}  by the asymptotic CS {:>6}",
                row.split,
                row.metric,
                percent(row.false_rollback),
                percent(row.false_promotion),
                percent(row.asymptotic_false_promotion)
            );
        }
        let broken: Vec<&Check> = self.checks.iter().filter(|check| !check.holds).collect();
        let _ = writeln!(out, "\n{} of {} checks hold", self.checks.len() - broken.len(), self.checks.len());
        for check in broken {
            let _ = writeln!(out, "BROKEN {}: {:.4} against {:.4}", check.what, check.value, check.limit);
        }
        out
    }
}

fn line(cell: &Cell) -> String {
    let median = cell.median_units.map_or("> 30000".to_owned(), |units| format!("{units}"));
    format!(
        "{:<20} {:>7} / {:>7} / {:>6} / {:>6}",
        cell.rule,
        percent(cell.false_rollback),
        median,
        percent(cell.missed_1000),
        percent(cell.missed_10h)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn at_most_alpha(what: &str, rule: &str, row: &Row, value: f64, runs: usize) -> Check {
    share_at_most_alpha(format!("{what} by {rule}: {} {}", row.split, row.metric), value, runs)
}

/// Few runs cannot tell 4 % from 6 %: what breaks the promise is a share that is above α beyond doubt (99 %), or, with
/// at least 2,000 runs, above α at all.
fn share_at_most_alpha(what: String, value: f64, runs: usize) -> Check {
    let wrong = (value * runs as f64).round() as u64;
    let (proven, _) = wilson(wrong, runs as u64, 0.02);
    let holds = if runs >= 2000 { value <= ALPHA } else { proven <= ALPHA };
    Check { what, value, limit: ALPHA, holds }
}

fn median_as_stated(row: &Row) -> Check {
    let value = row.cells.first().and_then(|cell| cell.median_units).unwrap_or(f64::INFINITY);
    let off = (value - row.stated_median).abs();
    let limit = (MEDIAN_TOLERANCE * row.stated_median).max(CANARY_UNITS as f64);
    Check {
        what: format!("median units from the stated: {} {}", row.split, row.metric),
        value: off,
        limit,
        holds: off <= limit,
    }
}

fn hard_enough(row: &Row) -> Check {
    let value = row.cells.iter().find(|cell| cell.rule == "repeated z test").map_or(0.0, |cell| cell.false_rollback);
    Check {
        what: format!("a world in which peeking fails: {} {}", row.split, row.metric),
        value,
        limit: Z_TEST_AT_LEAST,
        holds: value >= Z_TEST_AT_LEAST,
    }
}
