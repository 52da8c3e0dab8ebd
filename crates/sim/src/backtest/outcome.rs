//! Many runs in short: counts with exact intervals, medians, who found it.

use crate::backtest::BacktestError;
use crate::backtest::bench::{Bench, Case};
use crate::backtest::many::many;
use crate::backtest::play::play;
use crate::report::Ended;
use coalmine_core::release::state::{Cover, RollbackCause};
use coalmine_core::time::SpanMs;
use coalmine_stats::special::{exp, ln, ln_1p, ln_gamma};
use std::collections::BTreeMap;

/// What became of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// How it ended; open: the recording was over first.
    pub ended: Ended,
    /// From the start of the release to its end.
    pub after: SpanMs,
    /// Canary sessions exposed by then.
    pub canary_sessions: u64,
    /// Control sessions beside them.
    pub control_sessions: u64,
    /// Canary sessions that were worse than on stable, in sessions, by the worst guardrail; never below 0.
    pub harmed: f64,
}

/// Many runs of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseOutcome {
    /// What was on the canary.
    pub case: Case,
    /// The runs, in the order of their seeds.
    pub runs: Vec<RunOutcome>,
}

/// A median and the number that nine in ten do not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half are at most this.
    pub median: f64,
    /// Nine in ten are at most this.
    pub p90: f64,
}

impl Bench<'_> {
    /// Runs a case with `runs` seeds made from `seed`, on all cores; `progress` is told how many are done.
    ///
    /// # Errors
    /// When the observations do not hold the case: no canary, or nothing to inject into.
    pub fn run(
        &self,
        case: &Case,
        runs: u64,
        seed: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<CaseOutcome, BacktestError> {
        let dose = match case {
            Case::SameVersion => None,
            Case::Injected(injection) => Some(injection.dose(self.data)?),
            Case::Recorded if self.data.canary.is_empty() => {
                return Err(BacktestError::data(
                    "there is no canary in the observations",
                    "name it with --canary NAME",
                ));
            }
            Case::Recorded => None,
        };
        let runs = many(runs, seed, progress, |seed| play(self, case, dose, seed))?;
        Ok(CaseOutcome { case: case.clone(), runs })
    }
}

impl CaseOutcome {
    /// Runs that were rolled back.
    #[must_use]
    pub fn rolled_back(&self) -> u64 {
        self.count(|ended| matches!(ended, Ended::RolledBack { .. }))
    }

    /// Runs that were rolled back by what the bound on false rollbacks covers.
    #[must_use]
    pub fn rolled_back_by_evidence(&self) -> u64 {
        self.count(|ended| matches!(ended, Ended::RolledBack { why } if why.cover() != Cover::NotCovered))
    }

    /// Runs that were promoted.
    #[must_use]
    pub fn promoted(&self) -> u64 {
        self.count(|ended| matches!(ended, Ended::Promoted))
    }

    /// Runs that were not decided when the recording was over.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        self.count(|ended| matches!(ended, Ended::Open { .. }))
    }

    /// Minutes from the start to the rollback, over the runs that were rolled back.
    #[must_use]
    pub fn minutes_to_rollback(&self) -> Option<Spread> {
        let found = self.runs.iter().filter(|run| matches!(run.ended, Ended::RolledBack { .. }));
        Spread::of(found.map(|run| run.after.0 as f64 / 60_000.0))
    }

    /// Minutes from the start to the promotion, over the runs that were promoted.
    #[must_use]
    pub fn minutes_to_promotion(&self) -> Option<Spread> {
        let promoted = self.runs.iter().filter(|run| matches!(run.ended, Ended::Promoted));
        Spread::of(promoted.map(|run| run.after.0 as f64 / 60_000.0))
    }

    /// Canary sessions by the end, over all runs.
    #[must_use]
    pub fn exposed(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.canary_sessions as f64))
    }

    /// Sessions harmed by the end, over all runs.
    #[must_use]
    pub fn harmed(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.harmed))
    }

    /// Minutes that an undecided run lasted, at most.
    #[must_use]
    pub fn minutes_recorded(&self) -> u64 {
        self.runs.iter().map(|run| run.after.0.div_ceil(60_000)).max().unwrap_or(0)
    }

    /// What rolled back, with how many runs each, the most first.
    #[must_use]
    pub fn found_by(&self) -> Vec<(String, u64)> {
        let mut by: BTreeMap<String, u64> = BTreeMap::new();
        for run in &self.runs {
            if let Ended::RolledBack { why } = &run.ended {
                *by.entry(cause(why)).or_insert(0) += 1;
            }
        }
        let mut by: Vec<(String, u64)> = by.into_iter().collect();
        by.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        by
    }

    /// What an undecided run waited for in the end, of the one that waited longest.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        let waiting = self.runs.iter().filter_map(|run| match &run.ended {
            Ended::Open { headline, .. } => Some((run.after, headline.as_str())),
            Ended::Promoted | Ended::RolledBack { .. } => None,
        });
        waiting.max_by_key(|(after, _)| *after).map(|(_, headline)| headline)
    }

    fn count(&self, is: impl Fn(&Ended) -> bool) -> u64 {
        self.runs.iter().filter(|run| is(&run.ended)).count() as u64
    }
}

/// What rolled back, in a word or two.
pub(crate) fn cause(why: &RollbackCause) -> String {
    match why {
        RollbackCause::Guardrail { metrics, .. } => {
            metrics.first().cloned().unwrap_or_else(|| "the guardrails together".to_owned())
        }
        RollbackCause::Limit { metric, .. } => format!("the limit of {metric}"),
        RollbackCause::Sentinel { name, .. } => format!("sentinel {name}"),
        RollbackCause::Shadow { metrics, .. } => {
            format!("{} in the shadow", metrics.first().map_or("the pairs", String::as_str))
        }
        RollbackCause::Tripwire { .. } => "a tripwire (not covered)".to_owned(),
        RollbackCause::NoData { metric } => format!("silence of {metric} (not covered)"),
        RollbackCause::Undecided => "max_duration (not covered)".to_owned(),
        RollbackCause::Operator { .. } => "an operator".to_owned(),
    }
}

impl Spread {
    /// By the nearest rank; `None` of nothing.
    #[must_use]
    pub fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let at = |share: f64| numbers.get((share * numbers.len() as f64).ceil() as usize - 1).copied();
        if numbers.is_empty() {
            return None;
        }
        Some(Self { median: at(0.5)?, p90: at(0.9)? })
    }
}

/// The exact 95 % interval of a share seen `k` times in `n` (Clopper and Pearson, Biometrika 26, 1934).
#[must_use]
pub fn interval(k: u64, n: u64) -> (f64, f64) {
    let solve = |wanted: f64, tail: &dyn Fn(f64) -> f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if tail(middle) < wanted { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    };
    let low = if k == 0 { 0.0 } else { solve(0.025, &|p| 1.0 - at_most(k - 1, n, p)) };
    let high = if k >= n { 1.0 } else { solve(0.975, &|p| 1.0 - at_most(k, n, p)) };
    (low, high)
}

/// P(X ≤ k) of a binomial.
fn at_most(k: u64, n: u64, p: f64) -> f64 {
    let (n_f, ln_p, ln_q) = (n as f64, ln(p), ln_1p(-p));
    let term = |i: u64| {
        let i = i as f64;
        exp(ln_gamma(n_f + 1.0) - ln_gamma(i + 1.0) - ln_gamma(n_f - i + 1.0) + i * ln_p + (n_f - i) * ln_q)
    };
    (0..=k).map(term).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_the_exact_ones() {
        let near = |(low, high): (f64, f64), wanted: (f64, f64)| {
            assert!((low - wanted.0).abs() < 5e-4 && (high - wanted.1).abs() < 5e-4, "({low}, {high})");
        };
        // Tables of Clopper and Pearson: 0 and 10 of 200, 5 of 10.
        near(interval(0, 200), (0.0, 0.018_276));
        near(interval(10, 200), (0.024_236, 0.090_03));
        near(interval(5, 10), (0.187_09, 0.812_91));
        near(interval(7, 7), (0.590_38, 1.0));
    }

    #[test]
    fn a_spread_is_of_the_nearest_rank() {
        let spread = Spread::of((1..=10).map(f64::from)).unwrap();
        assert_eq!((spread.median, spread.p90), (5.0, 9.0));
        assert_eq!(Spread::of(std::iter::once(3.0)).map(|s| (s.median, s.p90)), Some((3.0, 3.0)));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
