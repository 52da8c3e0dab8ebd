//! How the evidence of one guardrail will grow: the bets, stakes, restarts and lines of the processes that
//! decide ([`crate::analysis`]), walked over the schedule by their mean and their variance.

use crate::analysis::design::{self, Planned};
use crate::analysis::gauging::Line;
use crate::evidence::{Yardstick, classes};
use crate::forecast::regression::Regression;
use crate::forecast::schedule::{Flow, Schedule, hours};
use crate::forecast::shape::{Shapes, shapes};
use crate::forecast::traffic::Traffic;
use crate::metric::Number;
use crate::release::policy::{Guardrail, Margin, Policy};
use coalmine_stats::betting::{Onset, stage_mass};
use coalmine_stats::plan::{Bet, Forecast, bets, bets_alone, reached};

/// A forecast is read to within this part of its time.
const FINE: f64 = 0.005;
/// Canary sessions in a bucket from which on its odds are as planned.
const MANY: f64 = 60.0;
/// Places at which the odds of smaller buckets are taken.
const PLACES: u32 = 7;
const HORIZON_HOURS: f64 = 24.0 * 90.0;

/// All that the evidence of one guardrail depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track<'a> {
    pub(super) guardrail: &'a Guardrail,
    pub(super) policy: &'a Policy,
    pub(super) planned: Planned,
    pub(super) lines: Line,
    pub(super) traffic: &'a Traffic,
    pub(super) yardstick: &'a Yardstick,
}

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Against "no worse than the rollback margin".
    Rollback,
    /// Against "not within the promotion margin".
    Promote,
    /// Against the absolute limit.
    Limit,
}

/// From when the fault is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// From the first session on.
    Start,
    /// From the k-th stage on, counted from 1, on that stage's evidence alone.
    Stage(u32),
}

/// The walks of one process: per number one piece per stretch of the schedule.
#[derive(Debug, Clone)]
pub(super) struct Course {
    walks: Vec<Walk>,
}

/// One number's walk.
#[derive(Debug, Clone)]
struct Walk {
    /// ln of the line that the unweighted evidence of this number must reach.
    line: f64,
    /// Hours from a session's exposure to its number being counted.
    delay: f64,
    stretches: Vec<Stretch>,
}

/// Known numbers per hour between two times, each with the bets on them.
#[derive(Debug, Clone)]
struct Stretch {
    from: f64,
    to: f64,
    per_hour: f64,
    bets: Vec<Bet>,
}

impl Track<'_> {
    /// The evidence that this process gathers over the schedule.
    pub(super) fn over(&self, schedule: &Schedule, asked: Asked, worse: Regression) -> Course {
        let segments: Vec<(f64, f64, &[Flow])> = schedule.segments().collect();
        self.course(&segments, asked, worse, Since::Start)
    }

    /// The evidence that it gathers in one stage, were that to go on.
    pub(super) fn within(&self, flows: &[Flow], stage: usize, worse: Regression) -> Course {
        let k = u32::try_from(stage + 1).unwrap_or(u32::MAX);
        let since = if k == 1 { Since::Start } else { Since::Stage(k) };
        self.course(&[(0.0, HORIZON_HOURS, flows)], Asked::Rollback, worse, since)
    }

    fn course(&self, segments: &[(f64, f64, &[Flow])], asked: Asked, worse: Regression, since: Since) -> Course {
        let numbers = self.guardrail.metric.numbers();
        let last = numbers.len().saturating_sub(1);
        let asked_of = |index: usize| asked != Asked::Promote || index == last;
        let walks =
            numbers.iter().enumerate().filter(|(index, _)| asked_of(*index)).filter_map(|(_, (number, share))| {
                let shapes = self.shapes(asked, *number, worse)?;
                let stretches = segments.iter().flat_map(|(from, to, flows)| {
                    flows
                        .iter()
                        .filter_map(|flow| self.stretch(asked, &shapes, *flow, (*from, *to)))
                        .collect::<Vec<_>>()
                });
                Some(Walk {
                    line: self.line(asked, *share, since),
                    delay: hours(self.policy.age(&self.guardrail.metric, *number)) + hours(self.policy.bucket),
                    stretches: stretches.collect(),
                })
            });
        Course { walks: walks.collect() }
    }

    fn shapes(&self, asked: Asked, number: Number, worse: Regression) -> Option<Shapes> {
        let margin = match asked {
            Asked::Rollback => self.guardrail.rollback,
            Asked::Promote => self.guardrail.promote,
            Asked::Limit => self.limit_as_margin(),
        };
        let worse = worse.of(self.guardrail, margin, self.traffic, self.yardstick);
        shapes(self.traffic, self.yardstick, &self.guardrail.metric, number, &worse)
    }

    /// A limit in time has a threshold of its own.
    fn limit_as_margin(&self) -> Margin {
        let tau = self.yardstick.tau_ms.get(&self.guardrail.metric);
        let ratio = self.guardrail.limit.zip(tau).map_or(1.0, |(limit, tau)| limit / tau);
        Margin { ratio, ..Margin::NONE }
    }

    fn stretch(&self, asked: Asked, shapes: &Shapes, flow: Flow, (from, to): (f64, f64)) -> Option<Stretch> {
        let values = classes::values(self.guardrail.metric.kind());
        let flow = self.traffic.judged.get(&self.guardrail.metric).map_or(flow, |sampling| flow.judged(*sampling));
        let bets = match asked {
            Asked::Limit => {
                let bound = design::limit(self.guardrail, self.yardstick)?.ok()?;
                bets_alone(&bound, values, &shapes.canary).ok()?
            }
            Asked::Rollback | Asked::Promote => {
                let centre = self.yardstick.centre.get(&self.guardrail.metric).copied().unwrap_or(0.5);
                let design = match asked {
                    Asked::Promote => design::promote(self.guardrail, &self.planned, centre).ok()?,
                    Asked::Rollback | Asked::Limit => design::rollback(self.guardrail, &self.planned, centre),
                };
                let forecast = Forecast::new(values, &shapes.control, &shapes.canary).ok()?;
                let odds = realised(flow, hours(self.policy.bucket) * shapes.present)?;
                let settled = flow.odds()?;
                let each = odds.into_iter().map(|odds| bets(&design, &forecast, settled, odds).ok());
                mixed(each.collect::<Option<_>>()?)
            }
        };
        let per_hour = flow.canary_per_hour * shapes.present;
        (per_hour > 0.0).then_some(Stretch { from, to, per_hour, bets })
    }

    /// The line over all that a number's evidence is weighted by: the guardrail, the number, the part of the
    /// stake that is bet.
    fn line(&self, asked: Asked, share: f64, since: Since) -> f64 {
        let insured = match (self.planned.onset(), since) {
            (Onset::FromStart, _) => 1.0,
            (Onset::StageRestarts, Since::Start) => 0.5 + 0.5 * stage_mass(1),
            (Onset::StageRestarts, Since::Stage(k)) => 0.5 * stage_mass(k),
        };
        match asked {
            Asked::Rollback => self.lines.rollback - self.lines.weight - share.ln() - insured.ln(),
            Asked::Limit => self.lines.limit - share.ln(),
            Asked::Promote => self.lines.promote,
        }
    }
}

/// The odds of canary to control that a session of the canary finds in its bucket, at equally likely places:
/// buckets of few sessions have odds that jump about the planned ones, and a bet is cut where they are high.
/// A bucket with an empty arm waits for the next.
fn realised(flow: Flow, per_bucket: f64) -> Option<Vec<f64>> {
    let planned = flow.odds()?;
    let (canary, control) = (flow.canary_per_hour * per_bucket, flow.control_per_hour * per_bucket);
    if canary > MANY || canary <= 0.0 {
        return Some(vec![planned]);
    }
    // A session's bucket has itself and a Poisson number of others; a merged one has control of all its parts.
    let merged = control / (1.0 - (-canary).exp());
    let places = (0..PLACES).map(|place| (f64::from(place) + 0.5) / f64::from(PLACES));
    Some(places.map(|place| (1.0 + poisson(canary, place)) / merged.max(1.0)).collect())
}

/// The number that a Poisson count with this mean stays below or at with chance `place`.
fn poisson(mean: f64, place: f64) -> f64 {
    let (mut count, mut chance) = (0.0, (-mean).exp());
    let mut below = chance;
    while below < place && count < 10.0 * (mean + 10.0) {
        count += 1.0;
        chance *= mean / count;
        below += chance;
    }
    count
}

/// The bets, averaged over odds.
fn mixed(all: Vec<Vec<Bet>>) -> Vec<Bet> {
    let parts = all.len() as f64;
    let mut all = all.into_iter();
    let Some(first) = all.next() else { return Vec::new() };
    let mut sums: Vec<(f64, f64, f64)> = first.iter().map(|bet| (bet.weight, bet.growth, bet.variance)).collect();
    for bets in all {
        for (sum, bet) in sums.iter_mut().zip(bets) {
            (sum.1, sum.2) = (sum.1 + bet.growth, sum.2 + bet.variance);
        }
    }
    sums.into_iter()
        .map(|(weight, growth, variance)| Bet { weight, growth: growth / parts, variance: variance / parts })
        .collect()
}

impl Course {
    /// The chance that the line has been reached by `at` hours: of the surest bet of the surest number.
    pub(super) fn chance_by(&self, at: f64) -> f64 {
        self.walks.iter().map(|walk| walk.chance_by(at)).fold(0.0, f64::max)
    }

    /// By when the line is reached with this chance, in hours; infinite when not within the horizon.
    pub(super) fn time_of(&self, chance: f64) -> f64 {
        if self.chance_by(HORIZON_HOURS) < chance {
            return f64::INFINITY;
        }
        let (mut low, mut high) = (0.0, HORIZON_HOURS);
        while high - low > FINE * high && high > 1e-4 {
            let middle = if low > 0.0 { (low * high).sqrt() } else { high / 16.0 };
            if self.chance_by(middle) >= chance { high = middle } else { low = middle }
        }
        high
    }

    /// Sessions with a known number by `at` hours, of the number with the fewest.
    pub(super) fn known_by(&self, at: f64) -> f64 {
        self.walks.iter().map(|walk| walk.known_by(at)).fold(f64::INFINITY, f64::min)
    }
}

impl Walk {
    fn chance_by(&self, at: f64) -> f64 {
        let at = at - self.delay;
        let bets = self.stretches.first().map_or(0, |stretch| stretch.bets.len());
        let mut best: f64 = 0.0;
        for j in 0..bets {
            let (mut mean, mut variance, mut weight) = (0.0, 0.0, 0.0);
            for stretch in &self.stretches {
                let units = stretch.per_hour * (at.min(stretch.to) - stretch.from).max(0.0);
                let Some(bet) = stretch.bets.get(j) else { continue };
                mean += units * bet.growth;
                variance += units * bet.variance;
                weight = bet.weight;
            }
            if weight > 0.0 && variance > 0.0 {
                best = best.max(reached(self.line - weight.ln(), mean, variance));
            }
        }
        best
    }

    fn known_by(&self, at: f64) -> f64 {
        let at = at - self.delay;
        self.stretches.iter().map(|s| s.per_hour * (at.min(s.to) - s.from).max(0.0)).sum()
    }
}
