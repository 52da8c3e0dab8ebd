//! The forecast of a scenario beside what the shipped loop makes of it: `forecast [RUNS]`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use coalmine_core::forecast::{Assumptions, Outlook, Regression, Traffic, foresee};
use coalmine_core::metric::Metric;
use coalmine_core::time::UnixMs;
use coalmine_sim::{Ended, Scenario};

struct Case {
    name: &'static str,
    text: &'static str,
    metric: Metric,
    regression: Regression,
}

const BASE: &str = "sessions 4000/h\nstage 5% bake 2h min 100\nguard error_rate margin 1pp\n\
                    guard refusal_rate margin 2pp\nguard tool_call_valid margin 3pp\nuntil 40h\nmax_duration 39h\n";

fn cases() -> Vec<Case> {
    let refusal = "canary refusal 4%\n";
    let case = |name, text, metric, regression| Case { name, text, metric, regression };
    vec![
        case("refusal x2", refusal, Metric::RefusalRate, Regression::Times(2.0)),
        case("errors x4", "canary error 2%\n", Metric::ErrorRate, Regression::Times(4.0)),
        case("healthy", "", Metric::ErrorRate, Regression::None),
    ]
}

fn outlook(scenario: &Scenario) -> Result<Outlook, Box<dyn std::error::Error>> {
    let (users, stable) = (&scenario.world.users, &scenario.world.stable);
    let stated = Assumptions {
        sessions_per_hour: Some(users.sessions_per_hour),
        turns: Some(users.turns_mean),
        // A turn takes the session's own luck with this chance, so two of them share it with its square.
        cluster: Some(users.cluster * users.cluster),
        badness: [
            (Metric::ErrorRate, stable.error),
            (Metric::RefusalRate, stable.refusal),
            (Metric::ToolCallValid, stable.tool_bad),
        ]
        .into(),
        sampled: [(Metric::ToolCallValid, users.tools)].into(),
        ..Assumptions::default()
    };
    let now = UnixMs(0);
    Ok(foresee(&scenario.plan, &scenario.policy, &Traffic::of(None, &stated, now)?, 0, now))
}

fn place(sorted: &[u64], part: f64) -> u64 {
    let index = (part * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: u64 = std::env::args().nth(1).map_or(Ok(40), |n| n.parse())?;
    println!("{:<12} {:>22} {:>22} {:>18}", "", "forecast min (50/90 %)", "played min (50/90 %)", "harmed f / played");
    for case in cases() {
        let scenario = Scenario::parse(&format!("{BASE}{}", case.text))?;
        let outlook = outlook(&scenario)?;
        let (within, harmed) = if case.regression == Regression::None {
            (outlook.promotion, None)
        } else {
            let found = |harm: &&coalmine_core::forecast::Harm| {
                harm.metric.as_ref() == Some(&case.metric) && harm.regression == case.regression
            };
            let harm = outlook.harm.iter().find(found).ok_or("no such regression")?;
            (harm.found, harm.harmed)
        };
        let (mut minutes, mut hurt) = (Vec::new(), Vec::new());
        for seed in 1..=runs {
            let outcome = scenario.run(seed).await?;
            match (&outcome.ended, case.regression) {
                (Ended::Promoted, Regression::None) | (Ended::RolledBack { .. }, Regression::Times(_)) => {
                    minutes.push(outcome.minutes);
                    hurt.push(outcome.harmed);
                }
                (ended, _) => println!("{} seed {seed}: {ended:?}", case.name),
            }
        }
        minutes.sort_unstable();
        hurt.sort_unstable();
        let told =
            |at: Option<coalmine_core::time::SpanMs>| at.map_or("-".to_owned(), |at| (at.0 / 60_000).to_string());
        println!(
            "{:<12} {:>22} {:>22} {:>18}",
            case.name,
            format!("{} / {}", told(within.typical), told(within.slow)),
            format!("{} / {}", place(&minutes, 0.5), place(&minutes, 0.9)),
            format!("{:.0} / {}", harmed.unwrap_or(0.0), place(&hurt, 0.5)),
        );
    }
    Ok(())
}
