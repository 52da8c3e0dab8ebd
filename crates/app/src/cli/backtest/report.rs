//! The verdict on a policy: a table for people, one document for machines.

use crate::cli::args::BacktestArgs;
use coalmine_sim::backtest::outcome::{Spread, interval};
use coalmine_sim::backtest::paired::{PairedCase, PairedEnd, PairedOutcome};
use coalmine_sim::backtest::{Bench, Case, CaseOutcome, Data, PastBench};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What the report is about.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) file: &'a Path,
    pub(super) args: &'a BacktestArgs,
    /// The policy's bound on false rollbacks.
    pub(super) allowed: f64,
    /// The observations' file, or the release.
    source: String,
    /// What there is, a sentence a line.
    holds: Vec<String>,
    left_out: Vec<String>,
    sessions_per_hour: f64,
    drawn: String,
    sizes: Sizes,
}

/// What there is, for a machine.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sizes {
    requests: usize,
    stable_sessions: u64,
    canary_sessions: u64,
    pairs: usize,
    kept_one_session_in: u64,
}

impl<'a> Head<'a> {
    /// Of a file with observations.
    pub(super) fn of_data(
        file: &'a Path,
        observations: &Path,
        args: &'a BacktestArgs,
        allowed: f64,
        bench: &Bench<'_>,
    ) -> Self {
        let data = bench.data();
        let drawn = match args.sessions {
            None => "each recorded one once, in random order".to_owned(),
            Some(n) => format!("{} drawn with replacement", grouped(n as f64)),
        };
        let sizes = Sizes {
            requests: data.requests(),
            stable_sessions: data.stable.len() as u64,
            canary_sessions: data.canary.len() as u64,
            pairs: data.pairs.len(),
            kept_one_session_in: 1 << data.thinned.min(63),
        };
        Self {
            file,
            args,
            allowed,
            source: observations.display().to_string(),
            holds: holds(data, &sizes),
            left_out: bench.left_out().to_vec(),
            sessions_per_hour: bench.sessions_per_hour(),
            drawn,
            sizes,
        }
    }

    /// Of what the store keeps of a release.
    pub(super) fn of_past(
        file: &'a Path,
        release: &str,
        args: &'a BacktestArgs,
        allowed: f64,
        bench: &PastBench<'_>,
    ) -> Self {
        let stable_sessions = bench.control_sessions();
        let sizes = Sizes { requests: 0, stable_sessions, canary_sessions: 0, pairs: 0, kept_one_session_in: 1 };
        Self {
            file,
            args,
            allowed,
            source: format!("the evidence of release {release}"),
            holds: vec![format!(
                "{} sessions of stable in sealed buckets, each metric split on its own; buckets and ages are the release's",
                grouped(stable_sessions as f64)
            )],
            left_out: bench.left_out().to_vec(),
            sessions_per_hour: bench.sessions_per_hour(),
            drawn: "in the recorded order".to_owned(),
            sizes,
        }
    }
}

fn holds(data: &Data, sizes: &Sizes) -> Vec<String> {
    let mut holds = vec![format!(
        "{} requests: {} stable and {} canary sessions, {} pairs; about {} MB in memory",
        grouped(sizes.requests as f64),
        grouped(sizes.stable_sessions as f64),
        grouped(sizes.canary_sessions as f64),
        grouped(sizes.pairs as f64),
        (sizes.requests * 256).div_ceil(1 << 20)
    )];
    if data.other_requests > 0 {
        holds.push(format!("{} requests of other versions are left out", grouped(data.other_requests as f64)));
    }
    if data.thinned > 0 {
        let kept = sizes.kept_one_session_in;
        holds.push(format!("one session in {kept} is kept, since there are more requests than fit"));
    }
    holds
}

/// The table and what it means.
pub(super) fn for_people(head: &Head<'_>, outcomes: &[CaseOutcome]) -> String {
    let mut text = opening(head);
    text.push_str(&format!("traffic: {} sessions an hour, {}\n\n", grouped(head.sessions_per_hour), head.drawn));
    text.push_str(&format!(
        "{:<34} {:>11} {:>9} {:>9}   {:<17} {:<17} {}\n",
        "", "", "", "", "min. to rollback", "canary sessions", "sessions harmed"
    ));
    text.push_str(&format!(
        "{:<34} {:>11} {:>9} {:>9}   {:<8} {:<8} {:<8} {:<8} {:<8} {}\n",
        "case", "rolled back", "promoted", "undecided", "median", "90 %", "median", "90 %", "median", "90 %"
    ));
    for outcome in outcomes {
        text.push_str(&row(outcome));
    }
    text.push_str("\nverdict\n");
    for outcome in outcomes {
        let lines = verdict(head, outcome);
        text.push_str(&format!("- {}\n", lines.join("\n  - ")));
    }
    text
}

/// The same for pairs.
pub(super) fn pairs_for_people(head: &Head<'_>, outcomes: &[PairedOutcome]) -> String {
    let mut text = opening(head);
    text.push_str(&format!("pairs: {}, {}\n\n", grouped(head.sizes.pairs as f64), head.drawn));
    text.push_str(&format!(
        "{:<34} {:>12} {:>13} {:>9}   {}\n",
        "case", "proven worse", "proven within", "undecided", "pairs to the proof (median, 90 %)"
    ));
    for outcome in outcomes {
        let [worse, within, open] =
            [PairedEnd::Worse, PairedEnd::Within, PairedEnd::Undecided].map(|end| outcome.count(end));
        let pairs = outcome.pairs(PairedEnd::Worse).or_else(|| outcome.pairs(PairedEnd::Within));
        let pairs = pairs.map_or("-".to_owned(), |pairs| format!("{:.0}, {:.0}", pairs.median, pairs.p90));
        text.push_str(&format!("{:<34} {worse:>12} {within:>13} {open:>9}   {pairs}\n", paired_label(outcome.case)));
    }
    text.push_str("\nverdict\n");
    for outcome in outcomes {
        let runs = outcome.runs.len() as u64;
        let worse = outcome.count(PairedEnd::Worse);
        match outcome.case {
            PairedCase::Swapped => text.push_str(&format!(
                "- false alarms: {worse} of {runs} {}; the policy allows {}\n",
                between(worse, runs),
                percent(head.allowed)
            )),
            PairedCase::Recorded => text.push_str(&format!(
                "- in pairs the canary is proven worse in {worse} of {runs} orders and within every margin in {}; nobody \
                 is exposed to it\n",
                outcome.count(PairedEnd::Within)
            )),
        }
    }
    text
}

fn opening(head: &Head<'_>) -> String {
    let mut text = format!("{} on {}\n", head.file.display(), head.source);
    for line in &head.holds {
        text.push_str(&format!("{line}\n"));
    }
    if !head.left_out.is_empty() {
        text.push_str(&format!(
            "not recorded, and left out: {}; the others keep their own shares of false_rollback_rate\n",
            head.left_out.join(", ")
        ));
    }
    text
}

fn row(outcome: &CaseOutcome) -> String {
    let spread = |spread: Option<Spread>| match spread {
        None => ("-".to_owned(), "-".to_owned()),
        Some(spread) => (grouped(spread.median), grouped(spread.p90)),
    };
    let (minutes, exposed, harmed) =
        (spread(outcome.minutes_to_rollback()), spread(outcome.exposed()), spread(outcome.harmed()));
    let line = format!(
        "{:<34} {:>11} {:>9} {:>9}   {:<8} {:<8} {:<8} {:<8} {:<8} {:<8}",
        outcome.case.label(),
        outcome.rolled_back(),
        outcome.promoted(),
        outcome.undecided(),
        minutes.0,
        minutes.1,
        exposed.0,
        exposed.1,
        harmed.0,
        harmed.1
    );
    format!("{}\n", line.trim_end())
}

fn verdict(head: &Head<'_>, outcome: &CaseOutcome) -> Vec<String> {
    let runs = outcome.runs.len() as u64;
    let mut lines = match &outcome.case {
        Case::SameVersion => false_rollbacks(head, outcome),
        Case::Recorded => vec![finds(head, outcome, "the recorded canary is")],
        Case::Injected(injection) if injection.is_worse() => {
            vec![finds(head, outcome, &format!("`{injection}` is"))]
        }
        Case::Injected(injection) => vec![format!(
            "`{injection}` is an improvement: rolled back in {} of {runs}, promoted in {}",
            outcome.rolled_back(),
            outcome.promoted()
        )],
    };
    if let Some(after) = outcome.minutes_to_promotion() {
        let wrongly = match &outcome.case {
            Case::Injected(injection) if injection.is_worse() => "; a regression within the margins may be promoted",
            Case::SameVersion | Case::Recorded | Case::Injected(_) => "",
        };
        lines.push(format!(
            "promoted in {} of {runs}, after {} min (90 %: {} min){wrongly}",
            outcome.promoted(),
            grouped(after.median),
            grouped(after.p90)
        ));
    }
    if outcome.undecided() > 0 {
        lines.push(format!(
            "undecided in {} of {runs} when the {} sessions were over, after at most {} min: {}",
            outcome.undecided(),
            if head.args.sessions.is_some() { "drawn" } else { "recorded" },
            grouped(outcome.minutes_recorded() as f64),
            cut(outcome.waits_for().unwrap_or("it waited for nothing"))
        ));
    }
    lines
}

fn false_rollbacks(head: &Head<'_>, outcome: &CaseOutcome) -> Vec<String> {
    let runs = outcome.runs.len() as u64;
    let (covered, all) = (outcome.rolled_back_by_evidence(), outcome.rolled_back());
    let (low, _) = interval(covered, runs);
    let judged = if low > head.allowed {
        "which is more than chance explains: look for sessions that are not independent of each other"
    } else {
        "which these runs do not contradict"
    };
    let mut lines = vec![format!(
        "false rollbacks {covered} of {runs} {}; the policy allows {}, {judged}",
        between(covered, runs),
        percent(head.allowed)
    )];
    if all > covered {
        lines.push(format!("and {} of {runs} by what the bound does not cover: {}", all - covered, causes(outcome)));
    }
    lines
}

fn finds(head: &Head<'_>, outcome: &CaseOutcome, what: &str) -> String {
    let runs = outcome.runs.len() as u64;
    let found = outcome.rolled_back();
    let at = format!("at {} sessions an hour", grouped(head.sessions_per_hour));
    let Some(minutes) = outcome.minutes_to_rollback() else {
        return match runs {
            1 => format!("{at} {what} not rolled back"),
            _ => format!("{at} {what} never rolled back in {runs} runs {}", between(found, runs)),
        };
    };
    let often = if runs == 1 { String::new() } else { format!(" in {found} of {runs} {}", between(found, runs)) };
    let (exposed, harmed) = (outcome.exposed(), outcome.harmed());
    let of = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.median);
    format!(
        "{at} {what} rolled back{often}, after {} min (90 %: {} min); at the end {} sessions had been \
         on the canary and {} were harmed by it; found by {}",
        grouped(minutes.median),
        grouped(minutes.p90),
        grouped(of(exposed)),
        grouped(of(harmed)),
        causes(outcome)
    )
}

fn causes(outcome: &CaseOutcome) -> String {
    let named: Vec<String> = outcome.found_by().into_iter().map(|(what, n)| format!("{what} {n}")).collect();
    named.join(", ")
}

/// The beginning of a long sentence.
fn cut(text: &str) -> String {
    const MOST: usize = 160;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MOST).collect();
    format!("{}…", kept.trim_end())
}

fn between(k: u64, n: u64) -> String {
    let (low, high) = interval(k, n);
    format!("(95 % interval {} to {})", percent(low), percent(high))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent < 9.95 && percent > 0.0 { 1 } else { 0 };
    format!("{percent:.digits$} %")
}

/// A number for people: whole, with its thousands apart; below 10 with one digit where that says more.
fn grouped(number: f64) -> String {
    if number < 9.95 && (number - number.round()).abs() > 0.05 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn paired_label(case: PairedCase) -> &'static str {
    match case {
        PairedCase::Swapped => "A/A: sides swapped at random",
        PairedCase::Recorded => "the recorded canary",
    }
}

/// The report as one document.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    policy: String,
    observations: String,
    #[serde(flatten)]
    sizes: Sizes,
    sessions_per_hour: f64,
    left_out: Vec<String>,
    false_rollback_rate: f64,
    runs: u64,
    seed: u64,
    cases: Vec<CaseRow>,
}

#[derive(Debug, Serialize)]
struct CaseRow {
    case: &'static str,
    injected: Option<String>,
    rolled_back: u64,
    rolled_back_interval: [f64; 2],
    /// Of the rolled back, by what the bound covers.
    covered: u64,
    promoted: u64,
    undecided: u64,
    minutes_to_rollback: Option<Numbers>,
    minutes_to_promotion: Option<Numbers>,
    canary_sessions: Option<Numbers>,
    harmed_sessions: Option<Numbers>,
    pairs: Option<Numbers>,
    found_by: BTreeMap<String, u64>,
    waits_for: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Numbers {
    median: f64,
    p90: f64,
}

/// For a machine.
pub(super) fn for_machines(head: &Head<'_>, outcomes: &[CaseOutcome]) -> Document {
    document(head, outcomes.iter().map(case_row).collect())
}

/// For a machine, of pairs.
pub(super) fn pairs_for_machines(head: &Head<'_>, outcomes: &[PairedOutcome]) -> Document {
    document(head, outcomes.iter().map(paired_row).collect())
}

fn document(head: &Head<'_>, cases: Vec<CaseRow>) -> Document {
    Document {
        policy: head.file.display().to_string(),
        observations: head.source.clone(),
        sizes: head.sizes,
        sessions_per_hour: head.sessions_per_hour,
        left_out: head.left_out.clone(),
        false_rollback_rate: head.allowed,
        runs: head.args.runs,
        seed: head.args.seed,
        cases,
    }
}

fn numbers(spread: Option<Spread>) -> Option<Numbers> {
    let rounded = |number: f64| (number * 1_000.0).round() / 1_000.0;
    spread.map(|Spread { median, p90 }| Numbers { median: rounded(median), p90: rounded(p90) })
}

fn case_row(outcome: &CaseOutcome) -> CaseRow {
    let (low, high) = interval(outcome.rolled_back(), outcome.runs.len() as u64);
    let (case, injected) = match &outcome.case {
        Case::SameVersion => ("same_version", None),
        Case::Recorded => ("recorded", None),
        Case::Injected(injection) => ("injected", Some(injection.to_string())),
    };
    CaseRow {
        case,
        injected,
        rolled_back: outcome.rolled_back(),
        rolled_back_interval: [low, high].map(|share| (share * 1e6).round() / 1e6),
        covered: outcome.rolled_back_by_evidence(),
        promoted: outcome.promoted(),
        undecided: outcome.undecided(),
        minutes_to_rollback: numbers(outcome.minutes_to_rollback()),
        minutes_to_promotion: numbers(outcome.minutes_to_promotion()),
        canary_sessions: numbers(outcome.exposed()),
        harmed_sessions: numbers(outcome.harmed()),
        pairs: None,
        found_by: outcome.found_by().into_iter().collect(),
        waits_for: outcome.waits_for().map(str::to_owned),
    }
}

fn paired_row(outcome: &PairedOutcome) -> CaseRow {
    let runs = outcome.runs.len() as u64;
    let worse = outcome.count(PairedEnd::Worse);
    let (low, high) = interval(worse, runs);
    let mut found_by = BTreeMap::new();
    for metric in outcome.runs.iter().filter_map(|run| run.by.as_ref()) {
        *found_by.entry(metric.to_string()).or_insert(0) += 1;
    }
    CaseRow {
        case: match outcome.case {
            PairedCase::Swapped => "pairs_swapped",
            PairedCase::Recorded => "pairs_recorded",
        },
        injected: None,
        rolled_back: worse,
        rolled_back_interval: [low, high].map(|share| (share * 1e6).round() / 1e6),
        covered: worse,
        promoted: outcome.count(PairedEnd::Within),
        undecided: outcome.count(PairedEnd::Undecided),
        minutes_to_rollback: None,
        minutes_to_promotion: None,
        canary_sessions: None,
        harmed_sessions: None,
        pairs: numbers(outcome.pairs(PairedEnd::Worse).or_else(|| outcome.pairs(PairedEnd::Within))),
        found_by,
        waits_for: None,
    }
}
