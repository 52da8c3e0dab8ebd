//! Plays scenario files with many seeds, on all cores: `simulate RUNS SCENARIO.txt…`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use coalmine_sim::{Scenario, many};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let runs: u64 = args.next().ok_or("how often? simulate RUNS SCENARIO.txt…")?.parse()?;
    for path in args {
        let scenario = Scenario::parse(&std::fs::read_to_string(&path)?).map_err(|error| format!("{path}: {error}"))?;
        let began = Instant::now();
        let played = many::play(&scenario, 1..1 + runs, &|_| {})?;
        if let [(_, outcome)] = played.outcomes.as_slice() {
            print!("{outcome}");
        }
        println!("{path}: {runs} runs in {:.1} s\n{played}", began.elapsed().as_secs_f64());
    }
    Ok(())
}
