//! What the store keeps of a release, through another policy: sealed exposure buckets, class by class.
//!
//! No session is kept beyond its last number, so each metric and number is split on its own: every session of stable's
//! histogram goes to the canary by a throw of its own, which is the split that assignment makes, bucket by bucket in
//! the recorded order. What is lost is that one session is bad in two metrics at once; the bound on false rollbacks
//! does not rest on that. Books, analysis and release machine are the shipped ones.

use crate::backtest::BacktestError;
use crate::backtest::bench::{Case, Policed, leave_out};
use crate::backtest::inject::{Dose, Injection};
use crate::backtest::many::many;
use crate::backtest::outcome::{CaseOutcome, RunOutcome};
use crate::backtest::play::{draft, is_of_silence, operator, start, step};
use crate::luck::Luck;
use crate::report::Ended;
use coalmine_core::analysis::{Books, Reporting, analyse};
use coalmine_core::evidence::ledger::age;
use coalmine_core::evidence::{Kept, Ledger, SealedBucket, Totals, TwoArms, Yardstick, classes};
use coalmine_core::metric::{Kind, Metric, Number};
use coalmine_core::origin::Slice;
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::plan::Stage;
use coalmine_core::release::policy::{Ages, Role};
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::traffic::weight::WeightBp;
use std::collections::BTreeMap;

/// The recorded evidence of one release.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// When it was created: buckets are counted from here.
    pub created_at: UnixMs,
    /// When exposure began.
    pub started_at: UnixMs,
    /// The length of its buckets.
    pub bucket: SpanMs,
    /// The ages of its numbers.
    pub ages: Ages,
    /// The weights of its stages.
    pub weights: Vec<WeightBp>,
    /// What it was measured by.
    pub yardstick: Yardstick,
    /// Its buckets, in the order of sealing.
    pub sealed: Vec<SealedBucket>,
}

/// A policy and the evidence of an earlier release.
#[derive(Debug)]
pub struct PastBench<'a> {
    /// The policy on what was recorded.
    policed: Policed,
    /// The policy on splits of stable, which has no quantile metric.
    split: Policed,
    past: &'a Past,
    /// Buckets with the instant at which each was known, in that order.
    known: Vec<(UnixMs, &'a SealedBucket)>,
    left_out: Vec<String>,
    /// The number on which sessions are counted as exposed, and the one on which they are posted.
    exposed_by: Number,
    posted_by: Number,
}

impl<'a> PastBench<'a> {
    /// Puts them together. The buckets and ages of the policy become those that the past was counted in.
    ///
    /// # Errors
    /// When the policy cannot be served, or the past holds nothing of its guardrails.
    pub fn new(mut policed: Policed, past: &'a Past) -> Result<Self, BacktestError> {
        policed.policy.bucket = past.bucket;
        policed.policy.ages = past.ages;
        policed.check()?;
        let holds = |metric: &Metric| past.sealed.iter().any(|bucket| bucket.metrics.contains_key(metric));
        let mut split = policed.clone();
        let mut left_out = leave_out(&mut policed.policy, &holds)?;
        // Of stable's requests it is known whether they were later than stable's own threshold, and not whether they
        // were later than the wider one that a canary is held to.
        let all = leave_out(&mut split.policy, &|metric| metric.kind() != Kind::Exceedance && holds(metric))?;
        left_out.extend(
            all.into_iter()
                .filter(|name| !left_out.contains(name))
                .map(|name| format!("{name} (in splits)"))
                .collect::<Vec<_>>(),
        );
        for guardrail in &mut policed.policy.guardrails {
            // How late a request was is not kept, only whether it was later than the thresholds of its own release.
            if guardrail.metric.kind() == Kind::Exceedance {
                guardrail.limit = None;
            }
        }
        let end = |bucket: u64| past.created_at + SpanMs((bucket + 1).saturating_mul(past.bucket.0));
        let mut known: Vec<_> =
            past.sealed.iter().map(|bucket| (end(bucket.bucket) + age(past.ages, bucket.number), bucket)).collect();
        // Stable: what was sealed at one instant stays in the order of sealing.
        known.sort_by_key(|(at, _)| *at);
        let has = |number: Number| past.sealed.iter().any(|bucket| bucket.number == number);
        let exposed_by = if has(Number::First) { Number::First } else { Number::Whole };
        let posted_by = if has(Number::Session) { Number::Session } else { Number::Whole };
        Ok(Self { policed, split, past, known, left_out, exposed_by, posted_by })
    }

    /// What the past has no evidence of, and the sentinels.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Sessions of stable that were compared.
    #[must_use]
    pub fn control_sessions(&self) -> u64 {
        let of = |bucket: &SealedBucket| bucket.metrics.values().map(|arms| total(&arms.control)).max().unwrap_or(0);
        self.past.sealed.iter().filter(|bucket| bucket.number == self.exposed_by).map(of).sum()
    }

    /// Those in an hour.
    #[must_use]
    pub fn sessions_per_hour(&self) -> f64 {
        let ended_at = self.known.last().map_or(self.past.started_at, |(at, _)| *at);
        let hours = ended_at.since(self.past.started_at).0 as f64 / 3_600_000.0;
        if hours > 0.0 { self.control_sessions() as f64 / hours } else { 0.0 }
    }

    /// Runs a case. The recorded canary has but one order, and is run once.
    ///
    /// # Errors
    /// When the past does not hold what is injected into.
    pub fn run(
        &self,
        case: &Case,
        runs: u64,
        seed: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<CaseOutcome, BacktestError> {
        let change = match case {
            Case::SameVersion => Change::None,
            Case::Recorded => Change::AsRecorded,
            Case::Injected(injection) => self.change(injection)?,
        };
        let runs = if *case == Case::Recorded { 1 } else { runs };
        let runs = many(runs, seed, progress, |seed| Run::new(self, change, seed)?.play())?;
        Ok(CaseOutcome { case: case.clone(), runs })
    }

    fn change<'i>(&self, injection: &'i Injection) -> Result<Change<'i>, BacktestError> {
        let refuse = |what: &str| BacktestError::Injection { written: injection.to_string(), what: what.to_owned() };
        match injection.metric.kind() {
            Kind::Rate | Kind::Score => Ok(Change::Dose(injection.dose_on(self.mean(&injection.metric))?)),
            Kind::Amount => {
                let factor = injection.factor().ok_or_else(|| refuse("write `x1.2`"))?;
                Ok(Change::Dose(Dose::Scale(&injection.metric, factor, 0.0)))
            }
            Kind::Ratio => Err(refuse("no change of a ratio can be laid on what the store keeps")),
            Kind::Exceedance => Err(refuse("the store keeps how many requests were late, not how late they were")),
        }
    }

    /// Stable's mean badness in the metric's last number.
    fn mean(&self, metric: &Metric) -> Option<f64> {
        let last = metric.numbers().last()?.0;
        let values = classes::values(metric.kind());
        let (mut bad, mut n) = (0.0, 0);
        for bucket in self.past.sealed.iter().filter(|bucket| bucket.number == last) {
            let Some(arms) = bucket.metrics.get(metric) else { continue };
            for (value, count) in values.iter().zip(&arms.control) {
                bad += value * *count as f64;
                n += count;
            }
        }
        (n > 0).then(|| bad / n as f64)
    }
}

/// What is put on the canary.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    AsRecorded,
    None,
    Dose(Dose<'a>),
}

struct Run<'a, 'p> {
    bench: &'a PastBench<'p>,
    change: Change<'a>,
    luck: Luck,
    release: Release,
    books: Books,
    totals: Totals,
    /// Split sessions that wait for a bucket with both arms.
    waiting: BTreeMap<(Number, Stratum, Slice, Metric), TwoArms>,
    /// The stage that was served from each instant on.
    stages: Vec<(UnixMs, usize)>,
    harmed: BTreeMap<Metric, f64>,
    headline: String,
}

impl<'a, 'p> Run<'a, 'p> {
    fn new(bench: &'a PastBench<'p>, change: Change<'a>, seed: u64) -> Result<Self, BacktestError> {
        let mut luck = Luck::new(seed);
        let past = bench.past;
        let mut draft = match change {
            Change::AsRecorded => draft(&bench.policed, past.created_at, &mut luck),
            Change::None | Change::Dose(_) => draft(&bench.split, past.created_at, &mut luck),
        };
        if matches!(change, Change::AsRecorded) {
            draft.plan.stages = as_served(&draft.plan.stages, &past.weights);
        }
        let release = start(draft, past.started_at)?;
        let books = Books::new(&release, &past.yardstick);
        let stages = vec![(past.started_at, 0)];
        let (totals, waiting, harmed) = (Totals::default(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { bench, change, luck, release, books, totals, waiting, stages, harmed, headline: String::new() })
    }

    fn play(mut self) -> Result<RunOutcome, BacktestError> {
        let past = self.bench.past;
        let (mut next, mut now) = (0, past.started_at);
        let last_at = self.bench.known.last().map_or(now, |(at, _)| *at);
        let over_at = past.started_at + self.release.policy.max_duration + past.bucket;
        while now <= last_at.max(past.started_at + past.bucket) && now <= over_at {
            now = now + past.bucket;
            while let Some((_, bucket)) = self.bench.known.get(next).filter(|(at, _)| *at <= now) {
                self.fold(bucket);
                next += 1;
            }
            self.look(now)?;
            match &self.release.state {
                State::Promoting { .. }
                | State::Promoted { .. }
                | State::RollingBack { .. }
                | State::RolledBack { .. } => {
                    break;
                }
                State::Draft
                | State::Preflight
                | State::Shadow { .. }
                | State::Running { .. }
                | State::Paused { .. }
                | State::AwaitingApproval { .. } => {}
            }
        }
        Ok(self.outcome(now, last_at))
    }

    fn fold(&mut self, bucket: &SealedBucket) {
        let past = self.bench.past;
        let exposed_at = past.created_at + SpanMs(bucket.bucket.saturating_mul(past.bucket.0));
        let stratum = match self.change {
            Change::AsRecorded => bucket.stratum,
            Change::None | Change::Dose(_) => self.served_at(exposed_at),
        };
        let (mut complete, mut most) = (BTreeMap::new(), (0, 0));
        for (metric, arms) in &bucket.metrics {
            let split = self.split(metric, bucket.number, stratum, arms);
            most = (most.0.max(total(&split.control)), most.1.max(total(&split.canary)));
            let key = (bucket.number, stratum, bucket.slice, metric.clone());
            let waiting = merged(self.waiting.remove(&key), split);
            if is_known(&waiting.control) && is_known(&waiting.canary) {
                complete.insert(metric.clone(), waiting);
            } else {
                self.waiting.insert(key, waiting);
            }
        }
        self.count(bucket.number, stratum, most);
        if !complete.is_empty() {
            self.books.fold(&SealedBucket { stratum, metrics: complete, ..bucket.clone() });
        }
    }

    fn count(&mut self, number: Number, stratum: Stratum, (control, canary): (u64, u64)) {
        let mut places = Vec::new();
        if number == self.bench.exposed_by {
            places.push(self.totals.exposed.entry(stratum).or_default());
            places.push(self.totals.split.entry(stratum).or_default());
        }
        if number == self.bench.posted_by {
            places.push(self.totals.posted.entry(stratum).or_default());
        }
        for counts in places {
            counts.control += control;
            counts.canary += canary;
        }
    }

    /// One metric of one bucket in two arms.
    fn split(&mut self, metric: &Metric, number: Number, stratum: Stratum, arms: &TwoArms) -> TwoArms {
        if matches!(self.change, Change::AsRecorded) {
            return arms.clone();
        }
        let share = self.release.plan.stages.get(usize::from(stratum.0)).map_or(0.0, |stage| stage.weight.share());
        let mut canary: Vec<u64> = arms.control.iter().map(|count| some_of(*count, share, &mut self.luck)).collect();
        let control = arms.control.iter().zip(&canary).map(|(all, canary)| all - canary).collect();
        if let Change::Dose(dose) = self.change {
            let harmed = lay_on(dose, metric, &mut canary, &mut self.luck);
            // The number that is known first: a release may be over before there is another.
            if metric.numbers().first().is_some_and(|(first, _)| *first == number) {
                *self.harmed.entry(metric.clone()).or_insert(0.0) += harmed;
            }
        }
        TwoArms { control, canary, ..TwoArms::default() }
    }

    fn served_at(&self, at: UnixMs) -> Stratum {
        let served = self.stages.iter().rev().find(|(from, _)| *from <= at).or(self.stages.first());
        Stratum(u16::try_from(served.map_or(0, |(_, stage)| *stage)).unwrap_or(u16::MAX))
    }

    fn look(&mut self, now: UnixMs) -> Result<(), BacktestError> {
        let kept = Kept {
            yardstick: Some(self.bench.past.yardstick.clone()),
            sessions: Vec::new(),
            lap: 0,
            mirrored: Vec::new(),
            totals: Some(self.totals.clone()),
        };
        if matches!(self.change, Change::AsRecorded) {
            self.follow_the_past(now);
        }
        let ledger = Ledger::restore(&self.release, kept);
        let stale_after = Reporting::stale_after(self.release.policy.bucket, SpanMs::secs(1));
        let reporting = Reporting { complete_to: now, stale_after };
        let analysis = Box::new(analyse(&self.release, &ledger, Some(&self.books), &reporting, now));
        let next = step(&self.release, &Event::Look { analysis }, now)?;
        self.headline = next.report.headline;
        let forward = match (&self.change, &next.next.state) {
            // Where it went on is the past's own affair; only what ends it is asked.
            (Change::AsRecorded, State::Running { .. } | State::AwaitingApproval { .. } | State::Promoting { .. }) => {
                true
            }
            (Change::AsRecorded, _) | (Change::None | Change::Dose(_), _) => false,
        };
        if forward {
            self.release.open = next.next.open;
        } else {
            self.release = next.next;
        }
        if matches!(self.release.state, State::AwaitingApproval { .. }) {
            let event = Event::Operator { actor: operator(), command: Command::Approve };
            self.release = step(&self.release, &event, now)?.next;
        }
        if let Some(stage) = self.release.state.serving_stage()
            && self.stages.last().is_none_or(|(_, served)| *served != stage)
        {
            self.stages.push((now, stage));
        }
        Ok(())
    }

    /// The stage that the past had reached by the buckets known now.
    fn follow_the_past(&mut self, now: UnixMs) {
        let reached = self.totals.exposed.keys().next_back().map_or(0, |stratum| usize::from(stratum.0));
        if let State::Running { stage, .. } = self.release.state
            && reached > stage
        {
            self.release.state = State::Running { stage: reached, entered_at: now };
        }
    }

    fn outcome(self, now: UnixMs, last_at: UnixMs) -> RunOutcome {
        let ended = match &self.release.state {
            State::Promoting { .. } | State::Promoted { .. } => Ended::Promoted,
            State::RollingBack { why, .. } | State::RolledBack { why, .. }
                if !is_of_silence(why, Some(last_at), now) =>
            {
                Ended::RolledBack { why: why.clone() }
            }
            State::RollingBack { .. }
            | State::RolledBack { .. }
            | State::Draft
            | State::Preflight
            | State::Shadow { .. }
            | State::Running { .. }
            | State::Paused { .. }
            | State::AwaitingApproval { .. } => {
                Ended::Open { state: self.release.state.word(), headline: self.headline }
            }
        };
        let exposed = self.totals.exposed_in_all();
        let guarded = |metric: &Metric| {
            self.release.policy.guardrails.iter().any(|g| g.metric == *metric && g.role == Role::Guardrail)
        };
        let harmed = self.harmed.iter().filter(|(metric, _)| guarded(metric)).map(|(_, harmed)| *harmed);
        RunOutcome {
            ended,
            after: now.since(self.bench.past.started_at),
            canary_sessions: exposed.canary,
            control_sessions: exposed.control,
            harmed: harmed.fold(0.0, f64::max),
        }
    }
}

/// The stages as the past served them, with the gates and bakes of nobody.
fn as_served(stages: &[Stage], weights: &[WeightBp]) -> Vec<Stage> {
    let Some(first) = stages.first() else { return Vec::new() };
    weights.iter().map(|weight| Stage { weight: *weight, ..first.clone() }).collect()
}

/// Lays a dose on the canary's classes; says how much worse they became, in sessions.
fn lay_on(dose: Dose<'_>, metric: &Metric, canary: &mut Vec<u64>, luck: &mut Luck) -> f64 {
    let values = classes::values(metric.kind());
    let mean = |counts: &[u64]| values.iter().zip(counts).map(|(value, n)| value * *n as f64).sum::<f64>();
    let before = mean(canary);
    match dose {
        Dose::Spoil(of, chance) | Dose::Mend(of, chance) if of == metric => {
            let to = if matches!(dose, Dose::Spoil(..)) { values.len() - 1 } else { 0 };
            for class in 0..values.len().min(canary.len()) {
                let moved = some_of(canary[class], chance, luck);
                canary[class] -= moved;
                canary[to] += moved;
            }
            mean(canary) - before
        }
        Dose::Scale(of, times, _) if of == metric => {
            let mut scaled = vec![0; canary.len()];
            for (class, count) in canary.iter().enumerate() {
                for _ in 0..*count {
                    let value = values.get(class).map(|value| (value * times).min(1.0));
                    let dice = luck.uniform();
                    scaled[classes::class(metric.kind(), value, || dice)] += 1;
                }
            }
            *canary = scaled;
            // An amount harms no session.
            0.0
        }
        Dose::Spoil(..) | Dose::Mend(..) | Dose::Scale(..) => 0.0,
    }
}

/// Of `count` things each one with this chance, four throws of 16 bits at a time.
fn some_of(count: u64, chance: f64, luck: &mut Luck) -> u64 {
    let line = (chance.clamp(0.0, 1.0) * 65_536.0).round() as u64;
    let (mut some, mut bits) = (0, 0);
    for index in 0..count {
        if index % 4 == 0 {
            bits = luck.bits();
        }
        some += u64::from((bits & 0xffff) < line);
        bits >>= 16;
    }
    some
}

fn merged(waiting: Option<TwoArms>, mut more: TwoArms) -> TwoArms {
    let Some(waiting) = waiting else { return more };
    let add = |to: &mut Vec<u64>, from: Vec<u64>| {
        if to.len() < from.len() {
            to.resize(from.len(), 0);
        }
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    };
    add(&mut more.control, waiting.control);
    add(&mut more.canary, waiting.canary);
    add(&mut more.canary_rollback, waiting.canary_rollback);
    add(&mut more.canary_limit, waiting.canary_limit);
    more
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn is_known(counts: &[u64]) -> bool {
    counts.split_last().is_some_and(|(_, known)| known.iter().any(|count| *count > 0))
}
