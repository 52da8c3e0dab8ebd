//! Many runs of one scenario, each with a seed of its own, on all cores; and what came out.

use crate::backtest::outcome::cause;
use crate::report::{Ended, SimOutcome};
use crate::run::SimError;
use crate::script::Scenario;
use coalmine_stats::rivals::fixed_sample::wilson;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The outcomes of many runs, in the order of their seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// Seed and outcome.
    pub outcomes: Vec<(u64, SimOutcome)>,
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The world could not be run.
    #[error("seed {seed}")]
    Run {
        /// Of which run.
        seed: u64,
        /// Why.
        #[source]
        source: SimError,
    },
    /// A thread's runtime did not begin.
    #[error("a thread could not be given a runtime")]
    Runtime(#[source] std::io::Error),
}

/// How a release ended, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Rolled back.
    RolledBack,
    /// Promoted.
    Promoted,
    /// Neither, when the world ended.
    Undecided,
}

/// Plays `scenario` once per seed, on as many threads as there are cores. `progress` hears how many are done.
/// The outcome depends on the seeds only. It blocks: call it from a thread that may.
///
/// # Errors
/// The first run that failed, by its seed.
pub fn play(scenario: &Scenario, seeds: Range<u64>, progress: &(dyn Fn(u64) + Sync)) -> Result<Runs, RunsError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(usize::try_from(seeds.end.saturating_sub(seeds.start)).unwrap_or(cores)).max(1);
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let results = Mutex::new(Vec::new());
    let work = || -> Result<(), RunsError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(RunsError::Runtime)?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            let outcome = runtime.block_on(scenario.run(seed)).map_err(|source| RunsError::Run { seed, source })?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((seed, outcome));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let mut outcomes = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_unstable_by_key(|(seed, _)| *seed);
    Ok(Runs { outcomes })
}

impl Runs {
    /// The outcomes that ended so.
    pub fn ended(&self, end: End) -> impl Iterator<Item = &SimOutcome> {
        self.outcomes.iter().map(|(_, outcome)| outcome).filter(move |outcome| End::of(&outcome.ended) == end)
    }

    /// Laws that were broken, by seed; there must be none.
    pub fn broken(&self) -> impl Iterator<Item = (u64, &[String])> {
        let broken = self.outcomes.iter().filter(|(_, outcome)| !outcome.broken.is_empty());
        broken.map(|(seed, outcome)| (*seed, outcome.broken.as_slice()))
    }
}

impl End {
    /// All, as they are listed.
    pub const ALL: [Self; 3] = [Self::RolledBack, Self::Promoted, Self::Undecided];

    /// Of an outcome.
    #[must_use]
    pub const fn of(ended: &Ended) -> Self {
        match ended {
            Ended::Promoted => Self::Promoted,
            Ended::RolledBack { .. } => Self::RolledBack,
            Ended::Open { .. } => Self::Undecided,
        }
    }

    /// As shown to people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled back",
            Self::Promoted => "promoted",
            Self::Undecided => "undecided",
        }
    }
}

/// Per ending its share with a 95 % interval, and the median and the 90 % quantile of what it took.
impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.outcomes.len();
        for end in End::ALL {
            let of: Vec<&SimOutcome> = self.ended(end).collect();
            if of.is_empty() {
                continue;
            }
            writeln!(
                f,
                "  {:<11} {}   minutes {}   canary sessions {}   harmed {}",
                end.as_str(),
                share(of.len(), all),
                spread(&of, |o| o.minutes),
                spread(&of, |o| o.canary_sessions),
                spread(&of, |o| o.harmed)
            )?;
        }
        self.write_found(f)?;
        self.write_without(f)?;
        self.broken().try_for_each(|(seed, laws)| writeln!(f, "  seed {seed} BROKE A LAW: {}", laws.join("; ")))
    }
}

impl Runs {
    /// What rolled back, the most frequent first.
    fn write_found(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by: BTreeMap<String, u64> = BTreeMap::new();
        for (_, outcome) in &self.outcomes {
            if let Ended::RolledBack { why } = &outcome.ended {
                *by.entry(cause(why)).or_default() += 1;
            }
        }
        let mut by: Vec<(String, u64)> = by.into_iter().collect();
        by.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let found: Vec<String> = by.into_iter().map(|(what, runs)| format!("{what} {runs}")).collect();
        if found.is_empty() { Ok(()) } else { writeln!(f, "  found by    {}", found.join(", ")) }
    }

    fn write_without(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beside: Vec<_> = self.outcomes.iter().filter_map(|(_, outcome)| outcome.without.as_ref()).collect();
        let Some(first) = beside.first() else { return Ok(()) };
        let found = beside.iter().filter(|without| without.rolled_back.is_some()).count();
        writeln!(f, "  without the rule ({}):", first.rule.left_out())?;
        writeln!(f, "  {:<11} {}", End::RolledBack.as_str(), share(found, beside.len()))
    }
}

/// `142 of 200 (71.0 %, 64.4 to 76.8)`: a share with Wilson's 95 % interval (1927).
fn share(part: usize, of: usize) -> String {
    let (low, high) = wilson(part as u64, of as u64, 0.05);
    let percent = 100.0 * part as f64 / of.max(1) as f64;
    format!("{part:>4} of {of} ({percent:.1} %, {:.1} to {:.1})", 100.0 * low, 100.0 * high)
}

/// `52 (90 %: 98)`.
fn spread(of: &[&SimOutcome], number: fn(&SimOutcome) -> u64) -> String {
    let mut numbers: Vec<u64> = of.iter().map(|outcome| number(outcome)).collect();
    numbers.sort_unstable();
    let at = |share: f64| {
        let rank = (share * numbers.len() as f64).ceil() as usize;
        numbers.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    format!("{} (90 %: {})", at(0.5), at(0.9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_same_on_any_number_of_threads() {
        let world =
            "sessions 600/h\ncanary error 60%\nstage 20% bake 1h min 10\nguard error_rate\nhistory 1h\nuntil 1h";
        let scenario = Scenario::parse(world).unwrap();
        let runs = play(&scenario, 1..4, &|_| {}).unwrap();
        let alone = play(&scenario, 2..3, &|_| {}).unwrap();
        assert_eq!(runs.outcomes[1], alone.outcomes[0]);
        assert_eq!(runs.ended(End::RolledBack).count(), 3);
        assert!(runs.to_string().starts_with("  rolled back    3 of 3 (100.0 %, 43.9 to 100.0)   minutes "), "{runs}");
    }
}
