//! One round: tries by turns, until each sentinel has passed, is confirmed to fail, or cannot be told.

use super::purse::Purse;
use super::{Asked, First, Planned, grade};
use crate::ports::{Ports, ProbeTrouble, Question};
use coalmine_core::sentinel::schedule::Arms;
use coalmine_core::sentinel::{Round, Sentinel, Tried, Tries};
use coalmine_core::time::UnixMs;
use coalmine_core::version::Version;
use coalmine_wire::probe::{Answer, Around, Probe, Verdict};
use futures_util::StreamExt;
use futures_util::stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Sentinels asked at once: a provider's limits are the customers' too.
const AT_ONCE: usize = 4;
/// How long one answer may take, by the wall.
const WALL_ANSWER: Duration = Duration::from_secs(60);
/// How long a round may take, by the wall; what is not asked by then is unknown.
const WALL_ROUND: Duration = Duration::from_secs(240);
/// Tries of one arm in a round that may say nothing.
const UNKNOWN_MAX: u32 = 2;
/// Tries where no number of them confirms a failure.
const TRIES_UNCONFIRMED: u32 = 3;
/// The longest fault that is kept, in characters.
const FAULT_MAX: usize = 300;

/// What one try showed.
enum Try {
    Passed,
    Failed(String),
    Unknown(String),
}

/// Whom a try asks.
struct Arm<'a> {
    ports: &'a Ports,
    purse: &'a Purse,
    version: &'a Arc<Version>,
    until: Instant,
}

/// Runs a round to its end. It never fails: what cannot be told is unknown.
pub(super) async fn run(ports: &Ports, planned: &Planned, began_at: UnixMs) -> Round {
    let until = Instant::now() + WALL_ROUND;
    let mut asking = Vec::with_capacity(planned.asked.len());
    for asked in &planned.asked {
        let purse = &planned.purse;
        let stable = Arm { ports, purse, version: &planned.stable, until };
        let canary = Arm { ports, purse, version: &planned.canary, until };
        asking.push(ask(stable, canary, asked));
    }
    let tried = stream::iter(asking).buffered(AT_ONCE).collect().await;
    Round { began_at, tried, asked: planned.purse.asked() }
}

async fn ask(stable_arm: Arm<'_>, canary_arm: Arm<'_>, asked: &Asked) -> Tried {
    let sentinel = &asked.sentinel;
    let mut tried = Tried {
        sentinel: sentinel.name.clone(),
        stable: Tries::default(),
        canary: Tries::default(),
        credit: asked.credit,
    };
    let Ok(probe) = serde_json::from_str::<Probe>(&sentinel.probe.0) else {
        let arm = if asked.arms == Arms::Steady { &mut tried.stable } else { &mut tried.canary };
        note(arm, Try::Unknown("the sentinel cannot be read by this build".to_owned()));
        return tried;
    };
    match asked.arms {
        Arms::Stable => note(&mut tried.stable, stable_arm.attempt(sentinel, &probe).await),
        Arms::Canary => note(&mut tried.canary, canary_arm.attempt(sentinel, &probe).await),
        Arms::Steady => {
            while is_undecided(&tried.stable, asked.confirm) {
                note(&mut tried.stable, stable_arm.attempt(sentinel, &probe).await);
            }
        }
        Arms::Both => {
            while is_undecided(&tried.canary, asked.confirm) && tried.stable.unknown < UNKNOWN_MAX {
                if asked.canary_first == First::Canary {
                    note(&mut tried.canary, canary_arm.attempt(sentinel, &probe).await);
                    note(&mut tried.stable, stable_arm.attempt(sentinel, &probe).await);
                } else {
                    note(&mut tried.stable, stable_arm.attempt(sentinel, &probe).await);
                    note(&mut tried.canary, canary_arm.attempt(sentinel, &probe).await);
                }
            }
        }
    }
    tried
}

/// Whether another try could change what the round says of whoever is on trial.
fn is_undecided(tries: &Tries, confirm: Option<u32>) -> bool {
    let enough = confirm.unwrap_or(TRIES_UNCONFIRMED);
    !tries.mostly_passed() && tries.known() < enough && tries.unknown < UNKNOWN_MAX
}

fn note(tries: &mut Tries, tried: Try) {
    let fault = match tried {
        Try::Passed => {
            tries.passed += 1;
            return;
        }
        Try::Failed(fault) => {
            tries.failed += 1;
            fault
        }
        Try::Unknown(fault) => {
            tries.unknown += 1;
            fault
        }
    };
    // The first is told, but a failure before any trouble.
    if tries.fault.is_none() || tries.failed == 1 {
        tries.fault = Some(fault.chars().take(FAULT_MAX).collect());
    }
}

impl Arm<'_> {
    /// One try: answers until so many are right as are needed, or can no longer be.
    async fn attempt(&self, sentinel: &Sentinel, probe: &Probe) -> Try {
        let (mut right, mut wrong) = (0, 0);
        let mut first = None;
        loop {
            match self.answer(probe).await {
                Try::Passed => right += 1,
                Try::Failed(fault) => {
                    wrong += 1;
                    first = first.or(Some(fault));
                }
                unknown @ Try::Unknown(_) => return unknown,
            }
            if right >= sentinel.need {
                return Try::Passed;
            }
            if right + (sentinel.runs.saturating_sub(right + wrong)) < sentinel.need {
                return Try::Failed(first.unwrap_or_default());
            }
        }
    }

    async fn answer(&self, probe: &Probe) -> Try {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Try::Unknown(format!("the round took longer than {} s", WALL_ROUND.as_secs()));
        }
        // Nobody is asked for an answer that could not be judged.
        if let Some(why) = self.purse.empty().filter(|_| probe.asks_models()) {
            return Try::Unknown(why);
        }
        let question = Question {
            version: Arc::clone(self.version),
            body: probe.request("sentinel"),
            wall_limit: left.min(WALL_ANSWER),
        };
        match self.ports.prober.ask(&question).await {
            Ok(answered) => {
                let tools = self.version.tools.as_ref().map(|tools| tools.json.0.as_str());
                let around = Around { latency_ms: answered.latency_ms, cost_usd: answered.cost_usd, tools };
                let Some(answer) = Answer::read(&answered.body) else {
                    return Try::Failed("the answer is no chat completion".to_owned());
                };
                let left = self.until.saturating_duration_since(Instant::now());
                let rulings =
                    grade::rulings(self.ports, self.purse, probe, &answer, around, left.min(WALL_ANSWER)).await;
                let judged = probe.judge(&answer, around, &rulings);
                match judged.verdict {
                    Verdict::Passed => Try::Passed,
                    Verdict::Failed => Try::Failed(judged.faults.join("; ")),
                    Verdict::Unknown => Try::Unknown(judged.faults.join("; ")),
                }
            }
            Err(ProbeTrouble::Version(why)) => Try::Failed(why),
            Err(ProbeTrouble::Provider(why)) => Try::Unknown(why),
        }
    }
}
