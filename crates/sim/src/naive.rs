//! What a comparison would say that leaves one rule out. It is the simulator's own and stands beside the
//! shipped verdict: nothing in core or control can leave a rule out.
//!
//! The test is the shipped one (the betting e-process, the guardrail's rollback margin, its share of alpha);
//! what is left out is said by [`Rule`]. To keep the two apart from the counting at ages, a session counts by its
//! first turn, except where the rule is about the others.

use crate::world::{Side, Who, World};
use coalmine_core::evidence::badness::reading;
use coalmine_core::id::UnitKey;
use coalmine_core::metric::{Kind, Metric};
use coalmine_core::release::plan::Plan;
use coalmine_core::release::policy::{Margin, Policy, Role};
use coalmine_core::tally::Outcome;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_core::traffic::table::RouteTable;
use coalmine_core::traffic::weight::{Slot, WeightBp};
use coalmine_stats::betting::{BadDesign, Bucket, Design, EProcess, Onset, Side as Null};
use coalmine_stats::limit::{Bound, Limit};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Evidence of different weights is kept apart: without it, all sessions so far are one sample.
    Weights,
    /// The control is the same population: without it, everybody on stable.
    Cohort,
    /// Only sessions that began inside the release count: without it, every turn that stable serves.
    Start,
    /// A session that begins with another's words is another session: without it, the words are the id.
    Openers,
    /// A request that has no answer at its deadline has failed: without it, what is answered by then counts.
    Deadline,
    /// A session is one unit: without it, every request.
    Sessions,
    /// The control is served at the same time: without it, stable's past.
    Control,
    /// Sessions of different regions and transports are kept apart: without it, they are one sample.
    Origins,
    /// Where an arm has noise of its own a bucket is one unit: without it, every session.
    Buckets,
}

/// Bets of one look at most are made on what began before this.
const SETTLED_AFTER: SpanMs = SpanMs::secs(60);
/// "Finished by", where no deadline makes a pending request bad.
const FINISHED_BY: SpanMs = SpanMs::secs(30);
/// Two classes: well, and bad.
const CLASSES: [f64; 2] = [0.0, 1.0];

/// What was found without the rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Without {
    /// The rule.
    pub rule: Rule,
    /// After how many minutes it would have rolled back, if it would, and over which metric.
    pub rolled_back: Option<(u64, Metric)>,
    /// Per metric: bad and all, of the canary and of what was its control.
    pub seen: Vec<(Metric, [u64; 2], [u64; 2])>,
}

/// A turn, as much of it as a comparison may see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight<'a> {
    /// Since the start of the release; `None` before it.
    pub(crate) age: Option<SpanMs>,
    pub(crate) takes: SpanMs,
    pub(crate) is_first: bool,
    /// Whether its session began inside the release.
    pub(crate) began_inside: bool,
    pub(crate) on: Side,
    pub(crate) member: Option<&'a Membership>,
    pub(crate) crowd: Option<usize>,
    pub(crate) outcome: &'a Outcome,
}

/// The comparison.
#[derive(Debug)]
pub(crate) struct Naive<'a> {
    rule: Rule,
    world: &'a World,
    guards: Vec<Guard>,
    rolled_back: Option<(u64, Metric)>,
}

#[derive(Debug)]
struct Guard {
    metric: Metric,
    margin: Margin,
    /// ln of what E must reach.
    line: f64,
    /// Planned canary units per control unit.
    odds: f64,
    past: [u64; 2],
    /// Well and bad, per minute: of the canary and of its control.
    minutes: BTreeMap<u64, [[u64; 2]; 2]>,
    total: [[u64; 2]; 2],
    bets: Option<Bets>,
}

#[derive(Debug)]
enum Bets {
    PerMinute(Box<EProcess>),
    Pooled(Design),
    AgainstThePast(Box<Limit>),
}

impl<'a> Naive<'a> {
    pub(crate) fn new(rule: Rule, world: &'a World, plan: &Plan, policy: &Policy) -> Self {
        let least = plan.stages.iter().map(|stage| stage.weight).filter(|weight| *weight < WeightBp::FULL).min();
        let share = least.map_or(0.5, WeightBp::share);
        let of_alpha = || policy.guardrails.iter().filter(|guardrail| guardrail.role == Role::Guardrail);
        let weights: f64 = of_alpha().map(|guardrail| guardrail.weight).sum();
        let rates = of_alpha().filter(|guardrail| guardrail.metric.kind() == Kind::Rate);
        let guards = rates.map(|guardrail| Guard {
            metric: guardrail.metric.clone(),
            margin: guardrail.rollback,
            line: -(policy.false_rollback_rate * guardrail.weight / weights).ln(),
            odds: share / (1.0 - share),
            past: [0; 2],
            minutes: BTreeMap::new(),
            total: [[0; 2]; 2],
            bets: None,
        });
        Self { rule, world, guards: guards.collect(), rolled_back: None }
    }

    /// One turn.
    pub(crate) fn see(&mut self, table: &RouteTable, sight: &Sight<'_>) {
        let arm = self.arm(table, sight);
        for guard in &mut self.guards {
            let Some(badness) = reading(&guard.metric, sight.outcome, None).known() else { continue };
            let class = usize::from(badness > 0.5);
            match (sight.age, arm) {
                (None, _) => guard.past[class] += u64::from(sight.is_first),
                (Some(age), Some(arm)) => guard.minutes.entry(age.0 / 60_000).or_default()[arm][class] += 1,
                (Some(_), None) => {}
            }
        }
    }

    /// Bets on every minute that is settled, and looks whether that is enough.
    pub(crate) fn look(&mut self, now: UnixMs, started_at: UnixMs) {
        let settled = now.since(started_at + SETTLED_AFTER).0 / 60_000;
        for guard in &mut self.guards {
            let log_e = guard.bet(self.rule, settled).unwrap_or_default();
            if log_e >= guard.line && self.rolled_back.is_none() {
                self.rolled_back = Some((now.since(started_at).0 / 60_000, guard.metric.clone()));
            }
        }
    }

    pub(crate) fn outcome(self) -> Without {
        let seen = |guard: Guard| {
            let [canary, control] = guard.total.map(|[well, bad]| [bad, well + bad]);
            (guard.metric, canary, control)
        };
        Without { rule: self.rule, rolled_back: self.rolled_back, seen: self.guards.into_iter().map(seen).collect() }
    }

    /// 0 of the canary, 1 of the control, by the rule that is left.
    fn arm(&self, table: &RouteTable, sight: &Sight<'_>) -> Option<usize> {
        let on_canary = sight.on == Side::Canary;
        let randomised = || match sight.member?.arm {
            Arm::Canary => Some(0),
            Arm::Control => Some(1),
            Arm::Stable => None,
        };
        match self.rule {
            Rule::Sessions => randomised(),
            Rule::Start => Some(usize::from(!on_canary)),
            _ if !sight.is_first => None,
            Rule::Deadline if sight.takes > FINISHED_BY => None,
            Rule::Weights | Rule::Deadline | Rule::Control | Rule::Origins | Rule::Buckets => randomised(),
            Rule::Cohort if !sight.began_inside => None,
            Rule::Cohort => Some(usize::from(!on_canary)),
            Rule::Openers => match sight.crowd.and_then(|index| self.world.users.crowds.get(index)) {
                Some(crowd) if crowd.who == Who::SameOpener => {
                    let release = table.release.as_ref()?;
                    let exposure = release.governing(None)?;
                    Some(usize::from(!Slot::of(&release.salt, UnitKey(7)).is_below(exposure.weight)))
                }
                Some(_) | None => randomised(),
            },
        }
    }
}

impl Guard {
    fn bet(&mut self, rule: Rule, settled: u64) -> Result<f64, BadDesign> {
        let rest = self.minutes.split_off(&settled);
        let minutes = std::mem::replace(&mut self.minutes, rest);
        let mut bets = match self.bets.take() {
            Some(bets) => bets,
            None => self.begin(rule)?,
        };
        let mut log_e = f64::NEG_INFINITY;
        for [canary, control] in minutes.into_values() {
            for (total, counts) in self.total.iter_mut().zip([canary, control]) {
                total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
            }
            let bucket = Bucket { values: &CLASSES, control: &control, canary: &canary };
            match &mut bets {
                Bets::PerMinute(process) if bucket.odds().is_ok() => {
                    process.seal(&bucket)?;
                    log_e = process.peak();
                }
                Bets::AgainstThePast(limit) if canary != [0; 2] => {
                    limit.seal(&CLASSES, &canary)?;
                    log_e = limit.peak();
                }
                Bets::PerMinute(_) | Bets::AgainstThePast(_) | Bets::Pooled(_) => {}
            }
        }
        if let Bets::Pooled(design) = &bets {
            let [canary, control] = self.total;
            let all = Bucket { values: &CLASSES, control: &control, canary: &canary };
            if all.odds().is_ok() {
                let mut process = EProcess::new(design.clone())?;
                process.seal(&all)?;
                log_e = process.log_e();
            }
        }
        self.bets = Some(bets);
        Ok(log_e)
    }

    fn begin(&self, rule: Rule) -> Result<Bets, BadDesign> {
        let Margin { ratio, shift } = self.margin;
        let [well, bad] = self.past;
        let centre = if well + bad == 0 { 0.02 } else { (bad as f64 / (well + bad) as f64).clamp(1e-4, 1.0 - 1e-4) };
        let design =
            Design { side: Null::Rollback, centre, ratio, shift, odds: self.odds, hint: None, onset: Onset::FromStart };
        Ok(match rule {
            Rule::Weights => Bets::Pooled(design),
            Rule::Control => Bets::AgainstThePast(Box::new(Limit::new(Bound::at_most(ratio * centre + shift))?)),
            Rule::Cohort
            | Rule::Start
            | Rule::Openers
            | Rule::Deadline
            | Rule::Sessions
            | Rule::Origins
            | Rule::Buckets => Bets::PerMinute(Box::new(EProcess::new(design)?)),
        })
    }
}

impl Rule {
    /// Every rule with its word in a scenario.
    pub const ALL: [(&'static str, Self); 9] = [
        ("weights", Self::Weights),
        ("cohort", Self::Cohort),
        ("start", Self::Start),
        ("openers", Self::Openers),
        ("deadline", Self::Deadline),
        ("sessions", Self::Sessions),
        ("control", Self::Control),
        ("origins", Self::Origins),
        ("buckets", Self::Buckets),
    ];

    /// What is done without it.
    #[must_use]
    pub const fn left_out(self) -> &'static str {
        match self {
            Self::Weights => "sessions of all weights pooled into one sample",
            Self::Cohort => "everybody on stable taken as the control",
            Self::Start => "every turn on stable counted, of sessions older than the release too",
            Self::Openers => "sessions with the same first words taken for one",
            Self::Deadline => "what is answered within 30s counted, and what still hangs left out",
            Self::Sessions => "every request counted as a unit",
            Self::Control => "stable's past taken as the control",
            Self::Origins => "sessions of all regions and transports pooled into one sample",
            Self::Buckets => "sessions counted as units, where each arm has noise of its own",
        }
    }
}

impl FromStr for Rule {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == word);
        found.map(|(_, rule)| rule).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("`{word}` is no rule that can be left out; write one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "without the rule ({}): ", self.rule.left_out())?;
        match &self.rolled_back {
            Some((minutes, metric)) => write!(f, "rolled back by {metric} after {minutes} min")?,
            None => f.write_str("nothing found")?,
        }
        for (metric, [bad, all], [control_bad, control_all]) in &self.seen {
            write!(f, "; {metric} {bad} of {all} against {control_bad} of {control_all}")?;
        }
        Ok(())
    }
}
