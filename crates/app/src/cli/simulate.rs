//! `coalmine simulate`: worlds of known truth in virtual time, on the shipped decision loop.

use super::args::SimulateArgs;
use super::{Exit, connect, offline, say};
use anyhow::{Context, Result, bail};
use coalmine_sim::many::{self, End, Runs};
use coalmine_sim::script::Versions;
use coalmine_sim::shipped::{self, GROUPS};
use coalmine_sim::{Ended, Scenario, SimOutcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

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
    /// When it would have been rolled back with a rule left out; absent where no rule is, null where never.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_rolled_back_minutes: Option<Option<u64>>,
    /// Sessions that the shadow has mirrored, the copies of their requests, and the requests without one.
    mirrored_sessions: u64,
    copies: u64,
    copies_lost: u64,
    /// Questions to judges, by their names, and what they cost.
    judges_asked: BTreeMap<String, u64>,
    judges_usd: f64,
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
    let (scenario, minded) = scenario(args, named)?;
    let good = scenario.is_of_a_good_canary();
    if !args.json {
        minded.iter().for_each(|line| say(&format!("mind: {line}\n")));
    }
    let seeds = args.seed..args.seed.saturating_add(args.runs);
    let told = named.clone();
    let play = move || {
        let progress = Progress::of(seeds.end - seeds.start);
        many::play(&scenario, seeds, &|done| progress.tell(done)).with_context(|| told)
    };
    let runs = tokio::task::spawn_blocking(play).await??;
    if args.json {
        connect::print_json(&runs.outcomes.iter().map(|(seed, outcome)| played(*seed, outcome)).collect::<Vec<_>>())?;
        // The document is a list of runs; what is to be minded goes beside it.
        minded.iter().for_each(|line| drop(writeln!(std::io::stderr(), "mind: {line}")));
    } else if let [(_, outcome)] = runs.outcomes.as_slice() {
        say(&outcome.to_string());
    } else {
        say(&summary(named, &runs));
        if good {
            say("  the canary is as good as stable: each rollback is false\n");
        }
    }
    Ok(if runs.broken().next().is_some() { Exit::Failed } else { Exit::Done })
}

/// The world, with a release file's plan and criteria where one is named, and what is to be minded.
fn scenario(args: &SimulateArgs, named: &str) -> Result<(Scenario, Vec<String>)> {
    let world = Scenario::parse(&text_of(named)?).with_context(|| format!("in scenario {named}"))?;
    let (scenario, mut told) = match &args.release {
        None => (world, Vec::new()),
        Some(file) => {
            let (spec, stable) = offline::release(file, &args.config)?;
            let versions = Versions { route: spec.route, stable, canary: spec.canary };
            let placed = world.with_release(versions, spec.plan, spec.policy);
            placed.with_context(|| format!("{} cannot be played in {named}", file.display()))?
        }
    };
    let unheard = scenario.unheard().into_iter();
    told.extend(unheard.map(|(metric, mend)| format!("{metric}: this world has nothing of it; write `{mend}`")));
    Ok((scenario, told))
}

fn list() {
    say("coalmine simulate NAME plays a world once; --runs 200 plays it with 200 seeds; a path plays your own.\n\
        --release FILE plays a release file's plan and criteria in it.\n");
    for group in GROUPS {
        say(&format!("\n{}\n", group.title));
        for (name, text) in group.scenarios {
            say(&format!("  {name:<28} {}\n", shipped::about(text)));
        }
    }
}

fn text_of(named: &str) -> Result<String> {
    if let Some(text) = shipped::named(named) {
        return Ok(text.to_owned());
    }
    if !Path::new(named).exists() {
        bail!("`{named}` is neither a file nor a shipped scenario; `coalmine simulate` lists those");
    }
    std::fs::read_to_string(named).with_context(|| format!("reading {named}"))
}

/// A line on standard error that is drawn over, where a person waits for many runs.
struct Progress {
    runs: u64,
    told_at: Mutex<Instant>,
}

impl Progress {
    fn of(runs: u64) -> Self {
        Self { runs, told_at: Mutex::new(Instant::now()) }
    }

    fn tell(&self, done: u64) {
        let mut out = std::io::stderr();
        if self.runs < 2 || !out.is_terminal() {
            return;
        }
        let Ok(mut told_at) = self.told_at.lock() else { return };
        let line = if done == self.runs {
            format!("\r{:<40}\r", "")
        } else if told_at.elapsed() >= Duration::from_millis(200) {
            format!("\rrun {done} of {}", self.runs)
        } else {
            return;
        };
        *told_at = Instant::now();
        let _ = out.write_all(line.as_bytes());
    }
}

fn played(seed: u64, outcome: &SimOutcome) -> Played {
    let without = outcome.without.as_ref();
    Played {
        seed,
        ended: match End::of(&outcome.ended) {
            End::RolledBack => "rolled_back",
            End::Promoted => "promoted",
            End::Undecided => "open",
        },
        why: match &outcome.ended {
            Ended::Promoted => String::new(),
            Ended::RolledBack { why } => why.describe(),
            Ended::Open { headline, .. } => headline.clone(),
        },
        virtual_minutes: outcome.minutes,
        canary_sessions: outcome.canary_sessions,
        control_sessions: outcome.control_sessions,
        harmed_sessions: outcome.harmed,
        without_rolled_back_minutes: without.map(|without| without.rolled_back.as_ref().map(|(minutes, _)| *minutes)),
        mirrored_sessions: outcome.mirrored.sessions,
        copies: outcome.mirrored.copies,
        copies_lost: outcome.mirrored.lost,
        judges_asked: outcome.asked.iter().map(|(judge, asked)| (judge.clone(), asked.times)).collect(),
        judges_usd: outcome.asked.values().map(|asked| asked.usd).sum(),
        broken_laws: outcome.broken.clone(),
    }
}

fn summary(named: &str, runs: &Runs) -> String {
    let about = shipped::named(named).map_or(String::new(), |text| format!("{}\n", shipped::about(text)));
    format!("{named}: {} runs\n{about}{runs}", runs.outcomes.len())
}
