//! Plays a scenario with many seeds: `simulate SCENARIO.txt [SEEDS] [FIRST]`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use coalmine_sim::{Ended, Scenario, SimError};

fn median(mut numbers: Vec<u64>) -> String {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).map_or("-".to_owned(), u64::to_string)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("which scenario? simulate SCENARIO.txt [SEEDS] [FIRST]")?;
    let seeds: u64 = args.next().map_or(Ok(1), |n| n.parse())?;
    let first: u64 = args.next().map_or(Ok(1), |n| n.parse())?;
    let scenario = Scenario::parse(&std::fs::read_to_string(&path)?)?;
    let mut outcomes = Vec::new();
    for seed in first..first + seeds {
        let outcome = scenario.run(seed).await.map_err(|error: SimError| error)?;
        if seeds == 1 {
            print!("{outcome}");
        }
        if !outcome.broken.is_empty() {
            println!("seed {seed}: {:?}", outcome.broken);
        }
        outcomes.push(outcome);
    }
    let of = |is: fn(&Ended) -> bool| outcomes.iter().filter(move |outcome| is(&outcome.ended));
    let rolled_back = |ended: &Ended| matches!(ended, Ended::RolledBack { .. });
    let promoted = |ended: &Ended| matches!(ended, Ended::Promoted);
    for (word, is) in [("rolled back", rolled_back as fn(&Ended) -> bool), ("promoted", promoted)] {
        println!(
            "{word}: {} of {seeds}; medians: {} min, {} canary sessions, {} harmed",
            of(is).count(),
            median(of(is).map(|o| o.minutes).collect()),
            median(of(is).map(|o| o.canary_sessions).collect()),
            median(of(is).map(|o| o.harmed).collect()),
        );
    }
    Ok(())
}
