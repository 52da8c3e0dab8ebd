//! The same request answered by both versions: the one-sample test that shadow pairs are judged by, on recorded
//! pairs ([`coalmine_stats::paired`]).
//!
//! With d = canary − r · control of a session's badness, x = (d + r)/(1 + r) lies in 0..=1, and the null *canary ≤
//! r · control + m* is *mean x ≤ (m + r)/(1 + r)*. Per guardrail one process bets against the rollback margin and
//! one against the promotion margin; weights, margins and lines are the policy's own. Nobody is exposed: the
//! canary's answers of pairs are not delivered.

use crate::backtest::BacktestError;
use crate::backtest::bench::{Bench, Draw};
use crate::backtest::data::Session;
use crate::backtest::many::many;
use crate::backtest::outcome::Spread;
use crate::luck::Luck;
use coalmine_core::analysis::Alpha;
use coalmine_core::metric::{Kind, Metric};
use coalmine_core::release::policy::{Guardrail, Margin, Role};
use coalmine_stats::betting::Side;
use coalmine_stats::limit::{Bound, Limit};
use coalmine_stats::paired::bound;

/// What the pairs of one run said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairedEnd {
    /// The canary is proven worse than a rollback margin.
    Worse,
    /// The canary is proven within every promotion margin.
    Within,
    /// The pairs were over first.
    Undecided,
}

/// One run over the pairs in one order.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedRun {
    /// What they said.
    pub end: PairedEnd,
    /// Pairs that were needed.
    pub pairs: u64,
    /// The guardrail that was proven worse.
    pub by: Option<Metric>,
}

/// What the two versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairedCase {
    /// Stable and canary as recorded.
    Recorded,
    /// Which is which is thrown anew for every pair, so that there is no difference: every proof of one is false.
    Swapped,
}

/// Many runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedOutcome {
    /// What the two versions were.
    pub case: PairedCase,
    /// The runs, in the order of their seeds.
    pub runs: Vec<PairedRun>,
}

impl Bench<'_> {
    /// Runs the pairs in `runs` random orders.
    ///
    /// # Errors
    /// When the observations hold no pair.
    pub fn run_pairs(
        &self,
        case: PairedCase,
        runs: u64,
        seed: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<PairedOutcome, BacktestError> {
        if self.data.pairs.is_empty() {
            return Err(BacktestError::data(
                "there are no pairs in the observations",
                "give the same `pair` to the line of each version that answered the same request",
            ));
        }
        let runs = many(runs, seed, progress, |seed| self.pairs(case, Luck::new(seed)))?;
        Ok(PairedOutcome { case, runs })
    }

    fn pairs(&self, case: PairedCase, mut luck: Luck) -> Result<PairedRun, BacktestError> {
        let mut watches = self.watches()?;
        let policy = &self.policed.policy;
        let (rollback_line, promote_line) = (Alpha::of(policy, 0).guardrails_line(), -policy.false_promotion_rate.ln());
        let pairs = &self.data.pairs;
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        let count = match self.draw {
            Draw::Once => order.len(),
            Draw::WithReplacement(count) => count,
        };
        for number in 0..count {
            let place = match self.draw {
                Draw::Once => {
                    let other = number + (luck.uniform() * (order.len() - number) as f64) as usize;
                    order.swap(number, other);
                    order[number]
                }
                Draw::WithReplacement(_) => (luck.uniform() * pairs.len() as f64) as usize,
            };
            let (stable, canary) = pairs[place];
            let (stable, canary) = (&self.data.stable[stable], &self.data.canary[canary]);
            let swaps = case == PairedCase::Swapped && luck.uniform() < 0.5;
            let (control, canary) = if swaps { (canary, stable) } else { (stable, canary) };
            for watch in &mut watches {
                watch.fold(control, canary)?;
            }
            let used = number as u64 + 1;
            if let Some(watch) = watches.iter().find(|watch| watch.ln_weight + watch.rollback.peak() >= rollback_line) {
                return Ok(PairedRun { end: PairedEnd::Worse, pairs: used, by: Some(watch.metric.clone()) });
            }
            if watches.iter().all(|watch| watch.promote.log_e() >= promote_line) {
                return Ok(PairedRun { end: PairedEnd::Within, pairs: used, by: None });
            }
        }
        Ok(PairedRun { end: PairedEnd::Undecided, pairs: count as u64, by: None })
    }

    fn watches(&self) -> Result<Vec<Watch>, BacktestError> {
        let sharing = || self.policed.policy.guardrails.iter().filter(|guardrail| guardrail.role == Role::Guardrail);
        let total: f64 = sharing().map(|guardrail| guardrail.weight).sum();
        let even = 1.0 / sharing().count().max(1) as f64;
        let share = |guardrail: &Guardrail| if total > 0.0 { guardrail.weight / total } else { even };
        sharing()
            .map(|guardrail| {
                let metric = guardrail.metric.clone();
                let fail = |bad| BacktestError::Release(format!("{metric} cannot be tested in pairs: {bad}"));
                Ok(Watch {
                    rollback: side(Side::Rollback, &metric, guardrail.rollback).map_err(fail)?,
                    promote: side(Side::Promote, &metric, guardrail.promote).map_err(fail)?,
                    margins: [guardrail.rollback, guardrail.promote],
                    tau_ms: self.yardstick.tau_ms.get(&metric).copied(),
                    cap: self.yardstick.cap.get(&metric).copied(),
                    ln_weight: share(guardrail).ln(),
                    metric,
                })
            })
            .collect()
    }
}

impl PairedOutcome {
    /// Runs that ended so.
    #[must_use]
    pub fn count(&self, end: PairedEnd) -> u64 {
        self.runs.iter().filter(|run| run.end == end).count() as u64
    }

    /// Pairs needed by the runs that ended so.
    #[must_use]
    pub fn pairs(&self, end: PairedEnd) -> Option<Spread> {
        Spread::of(self.runs.iter().filter(|run| run.end == end).map(|run| run.pairs as f64))
    }
}

/// One guardrail in pairs.
struct Watch {
    metric: Metric,
    margins: [Margin; 2],
    tau_ms: Option<f64>,
    cap: Option<f64>,
    ln_weight: f64,
    rollback: Limit,
    promote: Limit,
}

impl Watch {
    fn fold(&mut self, control: &Session, canary: &Session) -> Result<(), BacktestError> {
        let [rollback, promote] = self.margins.map(|margin| self.x(margin, control, canary));
        for (process, x) in [(&mut self.rollback, rollback), (&mut self.promote, promote)] {
            // A pair of which one number is unknown says nothing.
            if let Some(x) = x {
                process.seal(&[x], &[1]).map_err(|bad| BacktestError::Release(bad.to_string()))?;
            }
        }
        Ok(())
    }

    fn x(&self, margin: Margin, control: &Session, canary: &Session) -> Option<f64> {
        let of = |session: &Session, widened: f64| {
            let number = session.number(&self.metric, self.tau_ms.map(|tau| tau * widened))?;
            match self.metric.kind() {
                Kind::Amount => Some((number / self.cap?).min(1.0)),
                Kind::Rate | Kind::Exceedance | Kind::Score | Kind::Ratio => Some(number),
            }
        };
        let (widened, ratio, _) = null(&self.metric, margin);
        let d = of(canary, widened)? - ratio * of(control, 1.0)?;
        Some(((d + ratio) / (1.0 + ratio)).clamp(0.0, 1.0))
    }
}

/// The canary's threshold in τ, and r and m of the null: a quantile metric is compared at ratio 1 and shift 0.
fn null(metric: &Metric, margin: Margin) -> (f64, f64, f64) {
    match metric.kind() {
        Kind::Exceedance | Kind::Ratio => (margin.ratio, 1.0, 0.0),
        Kind::Rate | Kind::Score | Kind::Amount => (1.0, margin.ratio, margin.shift),
    }
}

fn side(side: Side, metric: &Metric, margin: Margin) -> Result<Limit, coalmine_stats::betting::BadDesign> {
    let (_, ratio, shift) = null(metric, margin);
    let mean = ((shift + ratio) / (1.0 + ratio)).clamp(0.0, 1.0);
    Limit::new(Bound { mean, ..bound(side, 0.0) })
}
