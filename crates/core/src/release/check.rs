//! Whether a plan and a policy can be kept to. Each fault names the key of the release file, what is
//! wrong and how to mend it; all faults are found at once.

use crate::cohort::Cohort;
use crate::judge::{ANCHORS_MAX, Judge, Scale};
use crate::metric::{Kind, Metric, is_feedback_name};
use crate::release::freeze::WEEK_MINUTES;
use crate::release::plan::{Gate, Plan, Stage};
use crate::release::policy::{Guardrail, Margin, NoDataThen, Policy, Role, Tripwire};
use crate::release::words;
use crate::sentinel::{Criticality, SENTINELS_MAX, Sentinel, TRIES_MAX, tries_at_last};
use crate::shadow::preferences::Preferring;
use crate::time::SpanMs;
use crate::traffic::weight::WeightBp;
use std::collections::BTreeSet;
use std::fmt;

/// What is wrong at one key of a release.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key}: {fault}")]
pub struct Misfit {
    /// The path in the release file: `stages[1].weight`, `guardrails[0].margin`. Signals count apart.
    pub key: String,
    /// What is wrong there.
    #[source]
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// No stages.
    #[error("there is no stage; add one, such as `weight: 5%` with `bake: 24h`")]
    NoStage,
    /// More stages than evidence can be kept apart for.
    #[error("{0} stages are too many; {MAX_STAGES} are enough for any plan")]
    TooManyStages(usize),
    /// Weight 0.
    #[error("a weight of 0 exposes nobody; raise it, or remove the stage")]
    NoWeight,
    /// A stage that lowers what an earlier one gave, or adds nothing to it.
    #[error(
        "{stage} adds nothing after {earlier}: a cohort's weight grows from stage to stage; raise it above {least}, or remove the stage"
    )]
    AddsNothing {
        /// The stage.
        stage: String,
        /// The one that covers it.
        earlier: String,
        /// The earlier weight.
        least: WeightBp,
    },
    /// The last stage has no control.
    #[error(
        "the last stage leaves nothing to compare with; promotion is decided before 100 % and goes there by itself, so remove the stage or lower its weight"
    )]
    LastStageWithoutControl,
    /// A cohort of nobody.
    #[error("the cohort `{0}` has no customer; name some, or remove the stage")]
    EmptyCohort(String),
    /// The first stage asks for approval.
    #[error("the first stage is opened by `start`, which is a person's word already; remove the approval")]
    FirstStageAsksApproval,
    /// An error rate outside of (0, 0.5].
    #[error("{0} is no error rate; write more than 0 % and at most 50 %, such as 1%")]
    Rate(f64),
    /// No guardrail could prove anything.
    #[error("there is no guardrail, so nothing could be proven and nothing promoted; add one, such as error_rate")]
    NoGuardrail,
    /// A metric watched twice.
    #[error("{0} is watched twice; keep one of them")]
    Twice(Metric),
    /// A margin that is no number in its range.
    #[error("a margin of ratio {ratio} and shift {shift} is no tolerance; write a share of at least 0 and below 100 %")]
    Margin {
        /// As given.
        ratio: f64,
        /// As given.
        shift: f64,
    },
    /// A promotion margin of nothing.
    #[error("with a margin of 0 an equal version could never be proven good enough; write the tolerance, such as {0}")]
    NoTolerance(&'static str),
    /// The rollback margin is wider than the margin.
    #[error(
        "the rollback margin is wider than the margin, so what is proven too bad to promote would not roll back; lower it"
    )]
    RollbackWider,
    /// A limit that can never be exceeded or is always.
    #[error("a limit of {0} can never trip, or always does; write a {1}")]
    Limit(f64, &'static str),
    /// A limit that could not act.
    #[error("a limit rolls back, and a signal holds and never rolls back; make it a guardrail, or remove the bound")]
    SignalLimit,
    /// A ramp that is not the last stage.
    #[error("a ramp ends the plan, and stage {0} comes after it; put it last")]
    RampNotLast(usize),
    /// A harm that is no positive number.
    #[error("a harm of {0} a minute is no allowance; write more than 0, such as 5/min")]
    Harm(f64),
    /// A hold-back that is not small.
    #[error("a hold-back of {0} is not between 1 % and 5 %; write such a share, or remove the key")]
    HoldBack(WeightBp),
    /// A weight that is no positive number.
    #[error("a weight of {0} is no share; write a number above 0")]
    Weight(f64),
    /// An age of its own where nothing arrives late.
    #[error("{0} is known when its session is; only feedback has an age of its own, so remove the key")]
    AgeOfOwn(Metric),
    /// A share of sessions where nothing is sampled.
    #[error("{0} sees every request; only a judge has a sample, so remove the key")]
    SampleOfAll(Metric),
    /// A judge that sees nobody in one arm.
    #[error("a judge that sees none of an arm compares nothing; write more than 0 % for both")]
    SampleOfNone,
    /// A judge that is not there.
    #[error("no judge is called `{0}`; write judges/{0}.yaml, or name its file under `judges`")]
    NoJudge(String),
    /// Two judges of a name.
    #[error("two judges are called `{0}`; keep one of them")]
    JudgeTwice(String),
    /// A judge whose silence would roll back.
    #[error("that a judge does not answer says nothing of the canary, so it never rolls back; write `hold` or `warn`")]
    JudgeRollsBack,
    /// A judge of pairs where sessions are scored.
    #[error(
        "judge {0} compares pairs, which only a shadow has; name it under `pairs` of the shadow's stage, or give it another scale"
    )]
    ComparesPairs(String),
    /// A judge of single answers where pairs are compared.
    #[error("judge {0} scores one answer at a time; write `scale: pairs` in its file, or name it under `guardrails`")]
    ScoresAnswers(String),
    /// A judge of pairs that sees none.
    #[error("a judge that sees no session compares nothing; write more than 0 %")]
    PairsOfNone,
    /// A margin that leaves nothing to prove.
    #[error("a margin of {0} of the pairs is no tolerance; write at least 0pp and less than 100pp, such as 10pp")]
    PairMargin(f64),
    /// A cosine that every answer has, or none.
    #[error("{0} is no cosine to ask for; write more than -1 and at most 1, such as 0.8")]
    Cosine(f64),
    /// A bar that everything clears.
    #[error("a bar that no session must clear says nothing; write a share such as 90%, or remove `min` and `share`")]
    BarOfNone,
    /// A judge that can never score.
    #[error("judge {name}: {what}")]
    Judge {
        /// Which.
        name: String,
        /// What is wrong, and how to mend it.
        what: &'static str,
    },
    /// An age of its own that no release waits for.
    #[error("an age of {age} is not between 1s and 7d, and shorter than max_duration; write one, such as 2h")]
    Age {
        /// As given.
        age: SpanMs,
    },
    /// A signal that would roll back.
    #[error("a signal holds and never rolls back; make it a guardrail, or write `hold` or `warn`")]
    SignalRollsBack,
    /// A tripwire that trips by chance.
    #[error("{0} failures in a row happen by chance; write at least 2")]
    Tripwire(u32),
    /// A bucket of no length, or longer than the first age.
    #[error(
        "an exposure bucket of {bucket} is not between 1s and {first}, the age of a session's first number; 30s to 60s are usual"
    )]
    Bucket {
        /// As given.
        bucket: SpanMs,
        /// The first age.
        first: SpanMs,
    },
    /// Ages out of order.
    #[error(
        "the ages are not in order: a session's first number at {first}, the session's at {session}, the whole at {whole}; each must be at least the one before, and the first above 0"
    )]
    Ages {
        /// As given.
        first: SpanMs,
        /// As given.
        session: SpanMs,
        /// As given.
        whole: SpanMs,
    },
    /// `max_duration` shorter than the plan.
    #[error("{max_duration} is over before the stages have baked for {bake}; write more, or shorten the stages")]
    TooShort {
        /// As given.
        max_duration: SpanMs,
        /// All bakes together.
        bake: SpanMs,
    },
    /// A budget of nothing.
    #[error("a budget of {0} is used up at once; write more than 0, or remove the key")]
    Budget(f64),
    /// A freeze window that is none.
    #[error(
        "a freeze from minute {from} to minute {to} of the week is empty or outside of it; write a begin and another end"
    )]
    Freeze {
        /// As given.
        from: u16,
        /// As given.
        to: u16,
    },
    /// More sentinels than a round can ask.
    #[error("{0} sentinels are too many for a round; {SENTINELS_MAX} are enough, so keep those that matter")]
    TooManySentinels(usize),
    /// A sentinel of no name or of another's.
    #[error("two sentinels are called `{0}`, or one has no name; give each a `description` of its own")]
    SentinelName(String),
    /// A try that cannot be passed, or cannot fail.
    #[error("sentinel {name} needs {need} of {runs} answers; need at least 1 and at most `runs`, which is at most 20")]
    SentinelTry {
        /// Which.
        name: String,
        /// As given.
        need: u32,
        /// As given.
        runs: u32,
    },
    /// A sentinel whose failure could never be confirmed within its share of the bound.
    #[error(
        "sentinel {name} fails so often on a good version ({chance} of its tries) that {TRIES_MAX} failures in a row would not confirm one within the sentinels' share of the bound; lower `need` against `runs`, lower `flaky`, or write `critical: false`"
    )]
    SentinelFlaky {
        /// Which.
        name: String,
        /// The chance that one try fails, in words.
        chance: String,
    },
    /// A bar that nothing or everything clears.
    #[error("a bar of {0} is no share that a canary could miss; write more than 0 % and at most 100 %, such as 90%")]
    Bar(f64),
    /// The whole week is frozen.
    #[error("the whole week is frozen, so nothing could ever advance; leave an hour")]
    FrozenAlways,
}

/// More stages than this are a mistake; strata are kept apart in the evidence.
pub const MAX_STAGES: usize = 50;
/// More answers than this in one try are no try.
const RUNS_MAX: u32 = 20;
/// Bytes of a rubric.
const RUBRIC_MAX: usize = 16 << 10;

/// Everything wrong with a plan and its policy, together.
#[must_use]
pub fn check(plan: &Plan, policy: &Policy) -> Vec<Misfit> {
    let mut misfits = plan.check();
    misfits.extend(policy.check());
    let whole = plan.stages.iter().filter(|stage| !matches!(stage.gate, Gate::Ramp(_)));
    let bake = whole.fold(SpanMs::ZERO, |sum, stage| sum + stage.bake);
    if policy.max_duration <= bake {
        note(&mut misfits, "max_duration", Fault::TooShort { max_duration: policy.max_duration, bake });
    }
    misfits
}

impl Plan {
    /// Everything wrong with the stages.
    #[must_use]
    pub fn check(&self) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        if self.stages.is_empty() {
            note(&mut misfits, "stages", Fault::NoStage);
        }
        if self.stages.len() > MAX_STAGES {
            note(&mut misfits, "stages", Fault::TooManyStages(self.stages.len()));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let at = |key: &str| format!("stages[{index}].{key}");
            if let Gate::Ramp(ramp) = &stage.gate
                && !is_positive(ramp.harm_per_minute)
            {
                note(&mut misfits, at("harm"), Fault::Harm(ramp.harm_per_minute));
            }
            let after_ramp = index > 0 && !matches!(stage.gate, Gate::Ramp(_)) && self.ramp(index - 1).is_some();
            if after_ramp {
                note(&mut misfits, at("weight"), Fault::RampNotLast(self.place(index).0));
            }
            if stage.weight == WeightBp::ZERO {
                note(&mut misfits, at("weight"), Fault::NoWeight);
            }
            if let Cohort::Named { name, customers } = &stage.cohort
                && customers.is_empty()
            {
                note(&mut misfits, at("cohort"), Fault::EmptyCohort(name.clone()));
            }
            if let Some(fault) = adds_nothing(stage, self.stages.iter().take(index)) {
                note(&mut misfits, at("weight"), fault);
            }
            if index + 1 == self.stages.len() && !stage.leaves_control() {
                note(&mut misfits, at("weight"), Fault::LastStageWithoutControl);
            }
        }
        match self.stages.first().map(|stage| &stage.gate) {
            Some(Gate::Approval(_)) => note(&mut misfits, "stages[0].approval", Fault::FirstStageAsksApproval),
            Some(Gate::Automatic | Gate::Ramp(_)) | None => {}
        }
        misfits
    }
}

impl Policy {
    /// Everything wrong with the criteria.
    #[must_use]
    pub fn check(&self) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        for (key, rate) in
            [("false_rollback_rate", self.false_rollback_rate), ("false_promotion_rate", self.false_promotion_rate)]
        {
            if !(rate > 0.0 && rate <= 0.5) {
                note(&mut misfits, key, Fault::Rate(rate));
            }
        }
        self.check_metrics(&mut misfits);
        for tripwire in &self.tripwires {
            match tripwire {
                Tripwire::ConsecutiveFailures(n) if *n < 2 => {
                    note(&mut misfits, "tripwires.consecutive_failures", Fault::Tripwire(*n));
                }
                Tripwire::ConsecutiveFailures(_) => {}
            }
        }
        self.check_times(&mut misfits);
        self.check_sentinels(&mut misfits);
        self.check_judges(&mut misfits);
        self.check_preferences(&mut misfits);
        self.check_similarity(&mut misfits);
        if !self.hold_back.is_zero() && !(100..=500).contains(&self.hold_back.bp()) {
            note(&mut misfits, "hold_back", Fault::HoldBack(self.hold_back));
        }
        if self.budget.harmed == Some(0) {
            note(&mut misfits, "budget.harmed", Fault::Budget(0.0));
        }
        if let Some(usd) = self.budget.extra_cost_usd.filter(|usd| !is_positive(*usd)) {
            note(&mut misfits, "budget.extra_cost", Fault::Budget(usd));
        }
        misfits
    }

    fn check_metrics(&self, misfits: &mut Vec<Misfit>) {
        if !self.guardrails.iter().any(|g| g.role == Role::Guardrail) {
            note(misfits, "guardrails", Fault::NoGuardrail);
        }
        let (mut guardrails, mut signals) = (0, 0);
        let mut seen = BTreeSet::new();
        for watched in &self.guardrails {
            let (list, count) = match watched.role {
                Role::Guardrail | Role::DryRun => ("guardrails", &mut guardrails),
                Role::Signal => ("signals", &mut signals),
            };
            let path = format!("{list}[{count}]");
            *count += 1;
            if !seen.insert(&watched.metric) {
                note(misfits, format!("{path}.metric"), Fault::Twice(watched.metric.clone()));
            }
            watched.check(&path, misfits);
            self.check_judged(watched, &path, misfits);
            if let Some(age) = watched.age {
                let longest = SpanMs::hours(7 * 24).min(self.max_duration);
                if !watched.metric.is_late() {
                    note(misfits, format!("{path}.age"), Fault::AgeOfOwn(watched.metric.clone()));
                } else if age < SpanMs::secs(1) || age >= longest {
                    note(misfits, format!("{path}.age"), Fault::Age { age });
                }
            }
        }
    }

    fn check_judges(&self, misfits: &mut Vec<Misfit>) {
        let mut names = BTreeSet::new();
        for judge in &self.judges {
            if !names.insert(&judge.name) {
                note(misfits, "judges", Fault::JudgeTwice(judge.name.clone()));
            }
            if let Some(what) = unfit(judge) {
                note(misfits, "judges", Fault::Judge { name: judge.name.clone(), what });
            }
        }
    }

    /// Of one watched metric, what its judge asks for.
    fn check_judged(&self, watched: &Guardrail, path: &str, misfits: &mut Vec<Misfit>) {
        let Some(name) = watched.metric.judge() else {
            if watched.sample.is_some() {
                note(misfits, format!("{path}.sample"), Fault::SampleOfAll(watched.metric.clone()));
            }
            return;
        };
        match self.judge(name).map(|judge| judge.scale) {
            None => note(misfits, format!("{path}.metric"), Fault::NoJudge(name.to_owned())),
            Some(Scale::Pairs) => note(misfits, format!("{path}.metric"), Fault::ComparesPairs(name.to_owned())),
            Some(Scale::Binary | Scale::Five) => {}
        }
        if watched.sample.is_none_or(|sample| sample.control.is_zero() || sample.canary.is_zero()) {
            note(misfits, format!("{path}.sample"), Fault::SampleOfNone);
        }
        if watched.no_data.then == NoDataThen::Rollback {
            note(misfits, format!("{path}.no_data"), Fault::JudgeRollsBack);
        }
    }

    /// The judges of pairs that a shadow names.
    fn check_preferences(&self, misfits: &mut Vec<Misfit>) {
        let mut seen = BTreeSet::new();
        let preferences = self.shadow.iter().flat_map(|shadow| &shadow.preferences);
        for (index, Preferring { judge, margin, weight, sample, .. }) in preferences.enumerate() {
            let at = |key: &str| format!("pairs[{index}].{key}");
            match self.judge(judge).map(|judge| judge.scale) {
                None => note(misfits, at("judge"), Fault::NoJudge(judge.clone())),
                Some(Scale::Binary | Scale::Five) => note(misfits, at("judge"), Fault::ScoresAnswers(judge.clone())),
                Some(Scale::Pairs) => {}
            }
            if !seen.insert(judge) {
                note(misfits, at("judge"), Fault::JudgeTwice(judge.clone()));
            }
            if !(0.0..1.0).contains(margin) {
                note(misfits, at("margin"), Fault::PairMargin(*margin));
            }
            if !is_positive(*weight) {
                note(misfits, at("weight"), Fault::Weight(*weight));
            }
            if sample.is_zero() {
                note(misfits, at("sample"), Fault::PairsOfNone);
            }
        }
    }

    /// The embeddings by which a shadow holds answers together.
    fn check_similarity(&self, misfits: &mut Vec<Misfit>) {
        let Some(similarity) = self.shadow.as_ref().and_then(|shadow| shadow.similarity.as_deref()) else { return };
        if similarity.sample.is_zero() {
            note(misfits, "similarity.sample", Fault::PairsOfNone);
        }
        if let Some(bar) = similarity.bar {
            if !(bar.min > -1.0 && bar.min <= 1.0) {
                note(misfits, "similarity.min", Fault::Cosine(bar.min));
            }
            if bar.share.is_zero() {
                note(misfits, "similarity.share", Fault::BarOfNone);
            }
        }
    }

    fn check_sentinels(&self, misfits: &mut Vec<Misfit>) {
        let Some(suite) = &self.sentinels else { return };
        let of_gate = |sentinel: &Sentinel| sentinel.criticality == Criticality::Gate;
        let key = |sentinel: &Sentinel| if of_gate(sentinel) { "gate.suite" } else { "sentinels" };
        if suite.sentinels.len() > SENTINELS_MAX {
            note(misfits, "sentinels", Fault::TooManySentinels(suite.sentinels.len()));
        }
        if let Some(gate) = suite.gate.as_ref().filter(|gate| !(gate.pass_share > 0.0 && gate.pass_share <= 1.0)) {
            note(misfits, "gate.pass", Fault::Bar(gate.pass_share));
        }
        let mut seen = BTreeSet::new();
        for sentinel in suite.sentinels.iter() {
            let Sentinel { name, need, runs, .. } = sentinel;
            if name.is_empty() || !seen.insert(name) {
                note(misfits, key(sentinel), Fault::SentinelName(name.clone()));
            }
            if *need == 0 || need > runs || *runs > RUNS_MAX {
                note(misfits, key(sentinel), Fault::SentinelTry { name: name.clone(), need: *need, runs: *runs });
            } else if sentinel.criticality == Criticality::Critical && tries_at_last(self, sentinel).is_none() {
                let chance = words::percent(sentinel.stated());
                note(misfits, key(sentinel), Fault::SentinelFlaky { name: name.clone(), chance });
            }
        }
    }

    fn check_times(&self, misfits: &mut Vec<Misfit>) {
        let ages = self.ages;
        if ages.first == SpanMs::ZERO || ages.first > ages.session || ages.session > ages.whole {
            note(misfits, "ages", Fault::Ages { first: ages.first, session: ages.session, whole: ages.whole });
        }
        if self.bucket < SpanMs::secs(1) || self.bucket > ages.first {
            note(misfits, "bucket", Fault::Bucket { bucket: self.bucket, first: ages.first });
        }
        let mut valid = true;
        for (index, window) in self.freeze.iter().enumerate() {
            if window.from == window.to || window.from >= WEEK_MINUTES || window.to >= WEEK_MINUTES {
                note(misfits, format!("freeze[{index}]"), Fault::Freeze { from: window.from, to: window.to });
                valid = false;
            }
        }
        let thaws = (0..WEEK_MINUTES).any(|m| self.freeze.iter().all(|window| window.minutes_left(m).is_none()));
        // Windows of several clocks shift against each other twice a year.
        let one_clock = self.freeze.windows(2).all(|pair| pair[0].zone == pair[1].zone);
        if valid && one_clock && !thaws {
            note(misfits, "freeze", Fault::FrozenAlways);
        }
    }
}

impl Guardrail {
    fn check(&self, path: &str, misfits: &mut Vec<Misfit>) {
        let at = |key: &str| format!("{path}.{key}");
        for (key, margin) in [("margin", self.promote), ("rollback_margin", self.rollback)] {
            if !margin.is_a_tolerance() {
                note(misfits, at(key), Fault::Margin { ratio: margin.ratio, shift: margin.shift });
            }
        }
        if self.role == Role::Guardrail && self.promote == Margin::NONE {
            note(misfits, at("margin"), Fault::NoTolerance(usual_margin(&self.metric)));
        }
        if self.rollback.ratio > self.promote.ratio || self.rollback.shift > self.promote.shift {
            note(misfits, at("rollback_margin"), Fault::RollbackWider);
        }
        if let Some(limit) = self.limit {
            let share = matches!(self.metric.kind(), Kind::Rate | Kind::Score);
            if !is_positive(limit) || (share && limit >= 1.0) {
                let usual = if share { "share such as 2%" } else { "number above 0" };
                note(misfits, at("max"), Fault::Limit(limit, usual));
            }
        }
        if self.role == Role::Signal && self.limit.is_some() {
            note(misfits, at("max"), Fault::SignalLimit);
        }
        if !is_positive(self.weight) {
            note(misfits, at("weight"), Fault::Weight(self.weight));
        }
        if self.role == Role::Signal && self.no_data.then == NoDataThen::Rollback {
            note(misfits, at("no_data"), Fault::SignalRollsBack);
        }
    }
}

impl Margin {
    /// No tolerance at all: any proven harm.
    pub const NONE: Self = Self { ratio: 1.0, shift: 0.0 };

    fn is_a_tolerance(self) -> bool {
        self.ratio.is_finite() && self.ratio >= 1.0 && (0.0..1.0).contains(&self.shift)
    }
}

fn usual_margin(metric: &Metric) -> &'static str {
    match metric.kind() {
        Kind::Rate | Kind::Score => "0.5pp or 1pp",
        Kind::Exceedance | Kind::Amount | Kind::Ratio => "10%",
    }
}

/// An earlier stage whose cohort covers this one's and gave it as much already.
fn adds_nothing<'a>(stage: &Stage, earlier: impl Iterator<Item = &'a Stage>) -> Option<Fault> {
    let covers = |before: &&Stage| stage.cohort.is_within(&before.cohort) && before.weight >= stage.weight;
    let most = earlier.filter(covers).max_by_key(|before| before.weight)?;
    Some(Fault::AddsNothing { stage: stage.label(), earlier: most.label(), least: most.weight })
}

/// What keeps a judge from scoring.
fn unfit(judge: &Judge) -> Option<&'static str> {
    if !is_feedback_name(&judge.name) {
        return Some("its name is not 1 to 64 of a-z 0-9 _ . -; call it something like `helpful`");
    }
    if judge.rubric.trim().is_empty() || judge.rubric.len() > RUBRIC_MAX {
        return Some("its rubric has no text, or more than 16 KB; write what a good answer is");
    }
    if judge.turns == 0 {
        return Some("of no turn there is no score; write `turns: 1` or more");
    }
    if judge.usd_per_day.is_some_and(|usd| !is_positive(usd)) || judge.calls_per_day == Some(0) {
        return Some("a budget of nothing is used up at once; write more, or remove the key");
    }
    let is_of_pairs = judge.scale == Scale::Pairs;
    if is_of_pairs && !judge.labels.is_zero() {
        return Some("people label single answers and not pairs; remove `labels`, and label some `anchors`");
    }
    let anchors = judge.anchors.as_ref()?;
    if anchors.set.iter().any(|anchor| anchor.other.is_some() != is_of_pairs) {
        return Some("an anchor has an `other` answer where its judge compares pairs, and else none");
    }
    if anchors.set.is_empty() || anchors.set.len() > ANCHORS_MAX {
        return Some("its anchors are none, or more than 200; label some dozens of answers");
    }
    let shares = (0.0..=1.0).contains(&anchors.agree) && (0.0..1.0).contains(&anchors.margin);
    let labels = anchors.set.iter().all(|anchor| (0.0..=1.0).contains(&anchor.label));
    if !shares || !labels || anchors.every < SpanMs::minutes(1) {
        return Some(
            "its anchors' shares and labels are not within 0 and 1, or they run more often than once a minute",
        );
    }
    None
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn note(misfits: &mut Vec<Misfit>, key: impl fmt::Display, fault: Fault) {
    misfits.push(Misfit { key: key.to_string(), fault });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{self as ex, named, stage};
    use crate::release::policy::{Ages, FreezeWindow};

    fn keys(misfits: &[Misfit]) -> Vec<&str> {
        misfits.iter().map(|m| m.key.as_str()).collect()
    }

    fn plan(stages: Vec<Stage>) -> Vec<Misfit> {
        Plan { stages }.check()
    }

    fn auto(cohort: Cohort, bp: u16) -> Stage {
        stage(cohort, bp, Gate::Automatic)
    }

    #[test]
    fn a_good_plan_and_policy_have_no_misfit() {
        assert_eq!(check(&ex::release().plan, &ex::policy()), []);
        let internal = || named("internal", &["acme"]);
        let waves = vec![auto(internal(), 10_000), auto(named("pilot", &["b", "c"]), 5_000), auto(Cohort::All, 500)];
        assert_eq!(plan(waves), []);
    }

    #[test]
    fn a_cohort_never_falls_and_each_stage_adds_something() {
        let internal = || named("internal", &["acme"]);
        assert_eq!(keys(&plan(vec![auto(Cohort::All, 500), auto(Cohort::All, 400)])), ["stages[1].weight"]);
        assert_eq!(keys(&plan(vec![auto(Cohort::All, 500), auto(Cohort::All, 500)])), ["stages[1].weight"]);
        assert_eq!(keys(&plan(vec![auto(Cohort::All, 500), auto(internal(), 400)])), ["stages[1].weight"]);
        let wider = named("wider", &["acme", "b"]);
        assert_eq!(
            keys(&plan(vec![auto(wider, 500), auto(internal(), 400), auto(Cohort::All, 100)])),
            ["stages[1].weight"]
        );
    }

    #[test]
    fn each_misfit_of_a_plan_names_its_key() {
        assert_eq!(keys(&plan(Vec::new())), ["stages"]);
        assert_eq!(keys(&plan(vec![auto(Cohort::All, 0)])), ["stages[0].weight"]);
        assert_eq!(keys(&plan(vec![auto(Cohort::All, 500), auto(Cohort::All, 10_000)])), ["stages[1].weight"]);
        assert_eq!(keys(&plan(vec![auto(named("none", &[]), 500)])), ["stages[0].cohort"]);
        let gated = stage(Cohort::All, 500, Gate::Approval("oncall".to_owned()));
        assert_eq!(keys(&plan(vec![gated])), ["stages[0].approval"]);
        let many: Vec<Stage> = (1..=51).map(|n| auto(Cohort::All, n)).collect();
        assert_eq!(keys(&plan(many)), ["stages"]);
    }

    #[test]
    fn each_misfit_of_a_policy_names_its_key() {
        let spoil = |spoil: &dyn Fn(&mut Policy)| {
            let mut policy = ex::policy();
            spoil(&mut policy);
            let misfits = policy.check();
            assert_eq!(misfits.len(), 1, "{misfits:?}");
            misfits[0].key.clone()
        };
        assert_eq!(spoil(&|p| p.false_rollback_rate = 0.0), "false_rollback_rate");
        assert_eq!(spoil(&|p| p.false_promotion_rate = f64::NAN), "false_promotion_rate");
        assert_eq!(spoil(&|p| p.guardrails[0].promote.shift = f64::NAN), "guardrails[0].margin");
        assert_eq!(spoil(&|p| p.guardrails[1].rollback.shift = 0.02), "guardrails[1].rollback_margin");
        assert_eq!(spoil(&|p| p.guardrails[2].rollback.ratio = 2.0), "signals[0].rollback_margin");
        assert_eq!(spoil(&|p| p.guardrails[0].limit = Some(1.0)), "guardrails[0].max");
        assert_eq!(spoil(&|p| p.guardrails[2].limit = Some(0.1)), "signals[0].max");
        assert_eq!(spoil(&|p| p.guardrails[1].weight = 0.0), "guardrails[1].weight");
        assert_eq!(spoil(&|p| p.guardrails[2].no_data.then = NoDataThen::Rollback), "signals[0].no_data");
        assert_eq!(spoil(&|p| p.guardrails[1].metric = Metric::ErrorRate), "guardrails[1].metric");
        assert_eq!(spoil(&|p| p.guardrails.retain(|g| g.role == Role::Signal)), "guardrails");
        assert_eq!(spoil(&|p| p.guardrails[0].age = Some(SpanMs::hours(2))), "guardrails[0].age");
        let late = |p: &mut Policy, age| {
            let rating = Guardrail::with_defaults(Metric::ThumbsDown("rating".to_owned()), Role::Guardrail);
            p.guardrails[0] = Guardrail { age: Some(age), ..rating };
        };
        assert_eq!(spoil(&|p| late(p, p.max_duration)), "guardrails[0].age");
        assert_eq!(spoil(&|p| late(p, SpanMs::ZERO)), "guardrails[0].age");
        assert_eq!(spoil(&|p| p.tripwires = vec![Tripwire::ConsecutiveFailures(1)]), "tripwires.consecutive_failures");
        assert_eq!(spoil(&|p| p.bucket = SpanMs::minutes(2)), "bucket");
        assert_eq!(spoil(&|p| p.ages = Ages { session: SpanMs::hours(1), ..Ages::default() }), "ages");
        assert_eq!(spoil(&|p| p.budget.harmed = Some(0)), "budget.harmed");
        assert_eq!(spoil(&|p| p.budget.extra_cost_usd = Some(-1.0)), "budget.extra_cost");
        assert_eq!(spoil(&|p| p.freeze = vec![FreezeWindow { from: 5, to: 5, zone: None }]), "freeze[0]");
        let halves = [FreezeWindow { from: 0, to: 5_000, zone: None }, FreezeWindow { from: 5_000, to: 0, zone: None }];
        assert_eq!(spoil(&|p| p.freeze = halves.to_vec()), "freeze");
        let zero = spoil(&|p| (p.guardrails[0].promote, p.guardrails[0].rollback) = (Margin::NONE, Margin::NONE));
        assert_eq!(zero, "guardrails[0].margin");
    }

    #[test]
    fn a_release_must_last_longer_than_its_bakes() {
        let mut policy = ex::policy();
        policy.max_duration = SpanMs::hours(3);
        let misfits = check(&ex::release().plan, &policy);
        let text = "max_duration: 3h is over before the stages have baked for 3h; write more, or shorten the stages";
        assert_eq!(misfits.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    }
}
