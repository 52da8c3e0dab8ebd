//! Two hundred flaky sentinels over 24 hours on a healthy canary: `flaky_sentinels [RELEASES] [--json]`. Exits with 1 where
//! the share that is rolled back is not shown to lie below the bound, or is shown to lie above it where releases are few.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use coalmine_sim::many::play;
use coalmine_sim::promise::{Count, FLAKY_BOUND, flaky_sentinels};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Fewer releases than this can show nothing: then only a proven excess is a failure.
const ENOUGH: u64 = 738;
/// Seconds between two lines of progress.
const TELL_EVERY_S: u64 = 10;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<ExitCode, Failed> {
    let (mut releases, mut json) = (1_000, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            number => releases = number.parse().map_err(|_| "flaky_sentinels [RELEASES] [--json]")?,
        }
    }
    let (began, told) = (Instant::now(), AtomicU64::new(0));
    let progress = |done: u64| {
        let due = began.elapsed().as_secs() / TELL_EVERY_S;
        if told.fetch_max(due, Ordering::Relaxed) < due {
            eprintln!("flaky sentinels: {done} of {releases} releases, {} s", began.elapsed().as_secs());
        }
    };
    let mut count = Count::default();
    play(&flaky_sentinels()?, 1..releases + 1, &progress)?.outcomes.iter().for_each(|(_, outcome)| count.add(outcome));
    let held = count.by_sentinels(FLAKY_BOUND);
    let holds = count.broken.is_empty() && if releases < ENOUGH { !held.is_broken() } else { held.is_shown() };
    if json {
        let checks = serde_json::json!({
            "releases": count.releases, "rolled_back_by_sentinels": held.count, "lower": held.interval.0,
            "upper": held.interval.1, "bound": held.rate, "open": count.open, "promoted": count.promoted,
            "broken_laws": count.broken, "holds": holds,
        });
        println!("{checks}");
    } else {
        println!(
            "200 sentinels that either version gets wrong 1 time in 50, asked for 24 h: {} of {} healthy canaries rolled back \
             by them, exact 95 % interval {:.2} to {:.2} %, bound {:.1} %",
            held.count,
            held.releases,
            100.0 * held.interval.0,
            100.0 * held.interval.1,
            100.0 * held.rate
        );
        println!("  rolled back by anything else: {}", count.rolled_back.values().sum::<u64>() - held.count);
        count.broken.iter().for_each(|law| println!("BROKEN LAW {law}"));
        println!("{}", if holds { "the promise holds" } else { "THE PROMISE IS NOT SHOWN" });
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
