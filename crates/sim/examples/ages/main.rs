//! When does a session count? The specification's table of counting rules, simulated again:
//! `ages [RUNS] [RUNS_OF_A_A]`. The same sessions are counted by every rule; 5 % of them are the canary's.
//! The line is 20 (alpha 5 %), without a margin, without restarts and without a design effect.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod rules;
mod sessions;

use coalmine_stats::betting::Onset;
use rules::{Found, Rule, Test, Traffic, centres, run};
use sessions::Arm;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A column: a fault, and the medians (minutes, canary sessions) that the specification states per rule.
type Fault = (&'static str, Arm, Arm, [&'static str; 8]);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let runs: u64 = args.next().map_or(Ok(100), |n| n.parse())?;
    let aa_runs: u64 = args.next().map_or(Ok(2 * runs), |n| n.parse())?;
    println!("median minutes / canary sessions until rollback, 1 000 sessions/h, {runs} runs of at most 24 h;");
    println!("± is the standard error of the median of sessions; in brackets the specification's figures");
    for (name, control, canary, stated) in faults() {
        println!("\n{name}");
        let traffic = Traffic { per_hour: 1_000.0, hours: 24.0, share: 0.05, control, canary };
        for ((_, rule), (found, stated)) in Rule::ALL.iter().zip(all(&traffic, &Test::PLAIN, runs).iter().zip(stated)) {
            println!("  {rule:<36} {:<34} ({stated})", detection(found));
        }
    }
    println!("\nrolled back though equal: A/A %, 1 000 sessions/h, 24 h, {aa_runs} runs ± standard error");
    for (name, arm) in [("error 0.5 %", Arm::of(0.005)), ("refusal 2 %", Arm::of(0.02))] {
        println!("{name}");
        shares(&Traffic { per_hour: 1_000.0, hours: 24.0, share: 0.05, control: arm, canary: arm }, aa_runs);
    }
    println!("\nwhat breaks them: canaries that are not worse, 4 000 sessions/h, 24 h, {runs} runs");
    for (name, control, canary) in harmless() {
        println!("{name}");
        shares(&Traffic { per_hour: 4_000.0, hours: 24.0, share: 0.05, control, canary }, runs);
    }
    settings(runs);
    Ok(())
}

/// From the specification's settings to those of a release, one at a time.
fn settings(runs: u64) {
    println!("\nrefusal 2 to 4 %, the default rule, under a release's own settings, {runs} runs");
    let traffic =
        Traffic { per_hour: 1_000.0, hours: 48.0, share: 0.05, control: Arm::of(0.02), canary: Arm::of(0.04) };
    let plain = Test::PLAIN;
    let alone = [
        ("as in the table: alpha 5 %, no margin", plain),
        ("alpha 1 %", Test { alpha: 0.01, ..plain }),
        ("rollback margin 0.5 pp", Test { margin: 0.005, ..plain }),
        ("two sevenths of alpha (three guardrails)", Test { weight: 2.0 / 7.0, ..plain }),
        ("half of the stake kept for later stages", Test { onset: Onset::StageRestarts, ..plain }),
        ("alpha 1 % and the margin", Test { alpha: 0.01, margin: 0.005, ..plain }),
        ("all four", Test { alpha: 0.01, margin: 0.005, weight: 2.0 / 7.0, onset: Onset::StageRestarts }),
    ];
    let default = Rule::ALL.iter().position(|(rule, _)| *rule == Rule::X1X2).unwrap_or_default();
    for (name, test) in alone {
        println!("  {name:<44} {}", detection(&all(&traffic, &test, runs)[default]));
    }
}

fn faults() -> [Fault; 5] {
    let refusal = Arm::of(0.02);
    let leaving = |bad| Arm { leave: 0.5, ..Arm::of(bad) };
    [
        (
            "error 0.5 to 2 %",
            Arm::of(0.005),
            Arm::of(0.02),
            ["220/182", "188/157", "432/366", "360/312", "236/200", "195/162", "211/177", "invalid"],
        ),
        (
            "refusal 2 to 4 %",
            refusal,
            Arm::of(0.04),
            ["331/266", "264/218", "575/470", "500/423", "385/325", "303/244", "323/269", "invalid"],
        ),
        (
            "turns from the third on 2 to 8 %",
            refusal,
            Arm { bad: 0.08, ..refusal },
            ["257/220", "131/110", "missed 99 %", "missed 98 %", "missed 76 %", "238/200", "258/212", "invalid"],
        ),
        (
            "refusal 2 to 4 %, half of the users leave after a bad turn",
            leaving(0.02),
            leaving(0.04),
            ["275/230", "209/175", "649/548", "623/512", "367/301", "256/215", "270/226", "invalid"],
        ),
        (
            "1.5 % of requests hang, error 0.5 %",
            Arm::of(0.005),
            Arm { hang: 0.015, ..Arm::of(0.005) },
            ["194/165", "139/119", "395/336", "2 % found", "288/239", "178/155", "191/161", "invalid"],
        ),
    ]
}

fn harmless() -> [(&'static str, Arm, Arm); 3] {
    let refusal = Arm::of(0.02);
    let worse_first = Arm { first: 0.08, ..refusal };
    [
        (
            "its sessions have eight turns rather than four (specification: any bad 99 %)",
            refusal,
            Arm { turns: 8.0, ..refusal },
        ),
        (
            "it is six times slower, its failures as fast as stable's (specification, at three times: by 30 s 67 %)",
            refusal,
            Arm { slow: 6.0, bad_slow: Some(1.0), ..refusal },
        ),
        (
            "it is three times slower, first turns 8 %, later 2 % in both (specification: by 2 min 27 %)",
            worse_first,
            Arm { slow: 3.0, ..worse_first },
        ),
    ]
}

/// Per rule what each run found.
fn all(traffic: &Traffic, test: &Test, runs: u64) -> Vec<Vec<Option<Found>>> {
    let rules = Rule::ALL.map(|(rule, _)| rule);
    let centres = centres(&traffic.control, &rules);
    let (next, results) = (AtomicU64::new(1), Mutex::new(vec![Vec::new(); rules.len()]));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > runs {
            return;
        }
        let found = run(traffic, test, &rules, &centres, seed);
        if let Ok(mut results) = results.lock() {
            results.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    results.into_inner().unwrap_or_default()
}

/// Per rule the share of runs that rolled back.
fn shares(traffic: &Traffic, runs: u64) {
    for ((_, rule), found) in Rule::ALL.iter().zip(all(traffic, &Test::PLAIN, runs)) {
        let (n, back) = (found.len() as f64, found.iter().flatten().count() as f64);
        let share = back / n;
        println!("  {rule:<36} {:>5.1} ± {:.1}", 100.0 * share, 100.0 * (share * (1.0 - share) / n).sqrt());
    }
}

/// `323 / 269 ± 9`, or how many runs missed it.
fn detection(found: &[Option<Found>]) -> String {
    let missed = found.iter().filter(|found| found.is_none()).count();
    if 2 * missed >= found.len() {
        return format!("missed {:.0} %", 100.0 * missed as f64 / found.len() as f64);
    }
    let sorted = |number: fn(&Found) -> f64| {
        let mut numbers: Vec<f64> = found.iter().map(|found| found.as_ref().map_or(f64::INFINITY, number)).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    let (minutes, sessions) = (sorted(|found| found.minutes), sorted(|found| found.sessions));
    let at = |numbers: &[f64], share: f64| numbers[((share * numbers.len() as f64) as usize).min(numbers.len() - 1)];
    // Half of the distance between the ranks one standard deviation beside the median.
    let spread = 0.5 / (found.len() as f64).sqrt();
    let error = (at(&sessions, 0.5 + spread) - at(&sessions, (0.5 - spread).max(0.0))) / 2.0;
    format!("{:.0} / {:.0} ± {error:.0}", at(&minutes, 0.5), at(&sessions, 0.5))
}
