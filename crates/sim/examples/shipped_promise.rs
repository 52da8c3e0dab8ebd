//! The promise on the shipped loop: `shipped_promise [RELEASES] [--json]`. Exits with 1 where a rate is broken.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use coalmine_core::release::state::Cover;
use coalmine_sim::Scenario;
use coalmine_sim::many::play;
use coalmine_sim::promise::{Count, Held, healthy, judged, on_the_margin};
use std::process::ExitCode;

/// A canary on its margin takes four times the traffic, so it gets one release in so many.
const MARGIN_ONE_IN: u64 = 4;
/// One under judges and a shadow takes twice the time, so it gets one in so many.
const JUDGED_ONE_IN: u64 = 2;
/// Releases between two lines of progress.
const CHUNK: u64 = 20;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<ExitCode, Failed> {
    let (mut releases, mut json) = (100, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            number => releases = number.parse().map_err(|_| "shipped_promise [RELEASES] [--json]")?,
        }
    }
    let healthy = healthy()?;
    let margin = on_the_margin()?;
    let equal = count("healthy", &healthy, releases)?;
    if !json {
        print_count("healthy canary, every path to a rollback on, 24 h", &equal);
    }
    let read = count("judged", &judged()?, releases.div_ceil(JUDGED_ONE_IN))?;
    if !json {
        print_count("healthy canary under judges, a shadow and every detector, 24 h", &read);
    }
    let edge = count("on the margin", &margin, releases.div_ceil(MARGIN_ONE_IN))?;
    let rate = healthy.policy.false_rollback_rate;
    let held = [
        ("false rollback, causes with a share of alpha", equal.covered(rate)),
        ("false rollback under judges, a shadow and every detector", read.covered(rate)),
        ("false promotion at the margin", edge.promotions(margin.policy.false_promotion_rate)),
    ];
    let told = ("false rollback, whatever the cause (tripwire and silence are not covered)", equal.by_anything(rate));
    let laws: Vec<&String> = equal.broken.iter().chain(&read.broken).chain(&edge.broken).collect();
    let holds = laws.is_empty() && held.iter().all(|(_, held)| !held.is_broken());
    if json {
        println!("{}", as_json([&equal, &read, &edge], &held, told.1, holds));
    } else {
        print_count("canary on its error margin, 12 h", &edge);
        for (what, held) in held.iter().chain([&told]) {
            print_held(what, held);
        }
        for law in laws {
            println!("BROKEN LAW {law}");
        }
        println!("{}", if holds { "the promise holds" } else { "THE PROMISE IS BROKEN" });
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Seeds 1 to `releases`, on all cores, telling what came out so far.
fn count(name: &str, scenario: &Scenario, releases: u64) -> Result<Count, Failed> {
    let mut count = Count::default();
    while count.releases < releases {
        let first = count.releases + 1;
        let last = releases.min(first + CHUNK - 1);
        for (_, outcome) in &play(scenario, first..last + 1, &|_| {})?.outcomes {
            count.add(outcome);
        }
        let (back, promoted) = (&count.rolled_back, count.promoted);
        eprintln!("{name}: {last} of {releases} releases: promoted {promoted}, rolled back {back:?}");
    }
    Ok(count)
}

fn print_count(title: &str, count: &Count) {
    println!("{title}: {} releases, {} turns", count.releases, count.turns);
    println!("  promoted {}", count.promoted);
    for (kind, n) in &count.rolled_back {
        let cover = if kind.cover() == Cover::NotCovered { "not covered" } else { kind.cover().word() };
        println!("  rolled back by {} ({cover}) {n}", kind.word());
    }
    for (state, n) in &count.open {
        println!("  still {state} {n}");
    }
}

fn print_held(what: &str, held: &Held) {
    println!(
        "{what}: {} of {}, {:.2} % (95 % interval {:.2} to {:.2} %), stated {:.1} %",
        held.count,
        held.releases,
        100.0 * held.share(),
        100.0 * held.interval.0,
        100.0 * held.interval.1,
        100.0 * held.rate
    );
}

fn as_json([equal, read, edge]: [&Count; 3], held: &[(&str, Held)], told: Held, holds: bool) -> serde_json::Value {
    let of_count = |count: &Count| {
        let causes = count.rolled_back.iter().map(|(kind, n)| (kind.word().to_owned(), (*n).into()));
        serde_json::json!({
            "releases": count.releases,
            "turns": count.turns,
            "promoted": count.promoted,
            "rolled_back": causes.collect::<serde_json::Map<String, serde_json::Value>>(),
            "open": count.open,
            "broken_laws": count.broken,
        })
    };
    let of_held = |held: &Held| {
        serde_json::json!({
            "count": held.count, "releases": held.releases, "share": held.share(), "stated": held.rate,
            "lower": held.interval.0, "upper": held.interval.1, "broken": held.is_broken(),
        })
    };
    serde_json::json!({
        "healthy": of_count(equal),
        "judged": of_count(read),
        "on_the_margin": of_count(edge),
        "checks": held.iter().map(|(what, held)| (what.to_string(), of_held(held))).collect::<std::collections::BTreeMap<_, _>>(),
        "whatever_the_cause": of_held(&told),
        "holds": holds,
    })
}
