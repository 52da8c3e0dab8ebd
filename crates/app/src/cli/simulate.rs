//! `coalmine simulate`: worlds of known truth in virtual time, on the shipped decision loop.

use super::args::SimulateArgs;
use super::{Exit, connect, say};
use anyhow::{Context, Result, bail};
use coalmine_sim::shipped::SCENARIOS;
use coalmine_sim::{Ended, Scenario, SimOutcome};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::Path;

/// One run, for a machine.
#[derive(Debug, Serialize)]
struct Played {
    seed: u64,
    ended: &'static str,
    why: String,
    virtual_minutes: u64,
    canary_sessions: u64,
    control_sessions: u64,
    harmed_sessions: u64,
    broken_laws: Vec<String>,
}

/// Runs a scenario, or lists the shipped ones.
///
/// # Errors
/// When the scenario is not known or cannot be read.
pub async fn run(args: &SimulateArgs) -> Result<Exit> {
    let Some(named) = &args.scenario else {
        list();
        return Ok(Exit::Done);
    };
    let text = text_of(named)?;
    let scenario = Scenario::parse(&text).with_context(|| format!("in scenario {named}"))?;
    let mut outcomes = Vec::new();
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let outcome = scenario.run(seed).await.with_context(|| format!("{named}, seed {seed}"))?;
        if !args.json && args.runs == 1 {
            say(&outcome.to_string());
        }
        progress(args, seed);
        outcomes.push((seed, outcome));
    }
    if args.json {
        connect::print_json(&outcomes.iter().map(|(seed, outcome)| played(*seed, outcome)).collect::<Vec<_>>())?;
    } else if args.runs > 1 {
        say(&summary(named, &outcomes));
    }
    let broken = outcomes.iter().any(|(_, outcome)| !outcome.broken.is_empty());
    Ok(if broken { Exit::Failed } else { Exit::Done })
}

fn list() {
    say("scenarios that are shipped; `coalmine simulate NAME` plays one, a path plays your own:\n");
    for (name, text) in SCENARIOS {
        let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
        say(&format!("  {name:<22} {about}\n"));
    }
}

fn text_of(named: &str) -> Result<String> {
    if let Some((_, text)) = SCENARIOS.iter().find(|(name, _)| *name == named) {
        return Ok((*text).to_owned());
    }
    if !Path::new(named).exists() {
        bail!("`{named}` is neither a file nor a shipped scenario; `coalmine simulate` lists those");
    }
    std::fs::read_to_string(named).with_context(|| format!("reading {named}"))
}

/// A line that is drawn over, where a person waits for many runs.
fn progress(args: &SimulateArgs, seed: u64) {
    if args.runs > 1 && !args.json && std::io::stdout().is_terminal() {
        say(&format!("\rrun {} of {}", seed - args.seed + 1, args.runs));
    }
}

fn word(ended: &Ended) -> &'static str {
    match ended {
        Ended::Promoted => "promoted",
        Ended::RolledBack { .. } => "rolled_back",
        Ended::Open { .. } => "open",
    }
}

fn played(seed: u64, outcome: &SimOutcome) -> Played {
    Played {
        seed,
        ended: word(&outcome.ended),
        why: match &outcome.ended {
            Ended::Promoted => String::new(),
            Ended::RolledBack { why } => why.describe(),
            Ended::Open { headline, .. } => headline.clone(),
        },
        virtual_minutes: outcome.minutes,
        canary_sessions: outcome.canary_sessions,
        control_sessions: outcome.control_sessions,
        harmed_sessions: outcome.harmed,
        broken_laws: outcome.broken.clone(),
    }
}

/// Per ending: how many runs, and the medians of time, exposure and harm.
fn summary(named: &str, outcomes: &[(u64, SimOutcome)]) -> String {
    let mut text = format!("\r{named}: {} runs\n", outcomes.len());
    for ended in ["rolled_back", "promoted", "open"] {
        let of: Vec<&SimOutcome> = outcomes.iter().map(|(_, o)| o).filter(|o| word(&o.ended) == ended).collect();
        if of.is_empty() {
            continue;
        }
        let median = |number: fn(&SimOutcome) -> u64| {
            let mut numbers: Vec<u64> = of.iter().map(|o| number(o)).collect();
            numbers.sort_unstable();
            numbers.get(numbers.len() / 2).copied().unwrap_or_default()
        };
        text.push_str(&format!(
            "  {:<12} {:>5}   medians: {} virtual minutes, {} canary sessions, {} harmed\n",
            ended.replace('_', " "),
            of.len(),
            median(|o| o.minutes),
            median(|o| o.canary_sessions),
            median(|o| o.harmed)
        ));
    }
    for (seed, outcome) in outcomes.iter().filter(|(_, o)| !o.broken.is_empty()) {
        text.push_str(&format!("  seed {seed} broke a law: {}\n", outcome.broken.join("; ")));
    }
    text
}
