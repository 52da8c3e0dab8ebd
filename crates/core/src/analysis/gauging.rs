//! One guardrail under watch: its processes, what both arms have shown, and the band between them.

use crate::analysis::alpha::weight_share;
use crate::analysis::band::{Band, Decides};
use crate::analysis::design::{self, Planned};
use crate::analysis::epochs::{Epochs, GiveUp};
use crate::analysis::proof::{Proof, by_bucket};
use crate::analysis::{Alpha, ArmCounts, Evidence, Interval};
use crate::evidence::{SealedBucket, TwoArms, Yardstick, classes};
use crate::metric::{Metric, Number, Per, TASK_DONE};
use crate::origin::Slice;
use crate::release::policy::{Guardrail, Policy, Role, Unit};
use crate::release::state::Drift;
use crate::time::UnixMs;
use crate::traffic::pin::Stratum;
use coalmine_stats::betting::{BadDesign, Bucket, Design, EProcess, Side, stage_mass};
use coalmine_stats::bucket_mean::BucketMean;
use coalmine_stats::limit::Limit;
use coalmine_stats::ramp::Ladder;
use coalmine_stats::self_check::SelfCheck;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of one guardrail, as logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// Against which the weighted rollback evidence stands.
    pub(crate) rollback: f64,
    /// Against which its limit stands.
    pub(crate) limit: f64,
    /// Against which promotion stands.
    pub(crate) promote: f64,
    /// ln of the guardrail's weight.
    pub(crate) weight: f64,
}

impl Line {
    /// A guardrail shares in alpha; a signal and a dry run have lines of their own and roll nothing back.
    pub(crate) fn of(guardrail: &Guardrail, alpha: &Alpha, policy: &Policy) -> Self {
        let own = -policy.false_rollback_rate.ln();
        let (rollback, limit, weight) = match guardrail.role {
            Role::Guardrail => (alpha.guardrails_line(), alpha.limit_line(), weight_share(policy, guardrail)),
            Role::Signal | Role::DryRun => (own, own, 1.0),
        };
        Self { rollback, limit, promote: -policy.false_promotion_rate.ln(), weight: weight.ln() }
    }
}

/// Control is not what it is taken for at E = 1000 between its halves.
const SELF_CHECK_LINE: f64 = 1_000.0;

/// One guardrail under watch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watch {
    metric: Metric,
    role: Role,
    pub(super) lines: Line,
    pub(super) numbers: Vec<Watched>,
    promote: Option<EProcess>,
    /// Where the bucket is the unit, what promotion needs beside that: a mean of clipped differences alone could hide
    /// rare buckets that are very bad.
    promote_by_bucket: Option<BucketMean>,
    /// Control against itself.
    self_check: Option<SelfCheck>,
    /// log of the promotion evidence of earlier tries of the same canary.
    carried: f64,
    /// The same for `promote_by_bucket`.
    carried_by_bucket: f64,
    /// Drifts, at which gains toward promotion are given up.
    epochs: Epochs,
    /// What a ramp may rise by, where the plan has one.
    ladder: Option<Ladder>,
    signal: Option<Signal>,
    /// Whether sessions are kept apart by origin.
    apart: bool,
    fault: Option<String>,
}

/// One number of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    pub(super) number: Number,
    /// ln of its share of the guardrail's weight.
    share: f64,
    rollback: Option<Proof>,
    limit: Option<Limit>,
    /// Control against the same limit.
    control_limit: Option<Limit>,
    /// Stages seen. All slices of one share its late-onset mass: they are one release, told apart.
    strata: BTreeSet<Stratum>,
    pub(super) seen: Seen,
    /// The same per slice, where there is more than the rest.
    pub(super) slices: BTreeMap<Slice, Seen>,
    pub(super) band: Band,
}

/// What both arms have shown in one number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Seen {
    /// Sessions with a known number.
    pub(super) known: ArmCounts,
    /// Sessions without.
    pub(super) missing: ArmCounts,
    /// The canary's badness, summed.
    pub(super) bad: f64,
    /// What it would have been at control's rate, bucket by bucket.
    pub(super) expected: f64,
    /// Canary sessions in buckets that had a control.
    pub(super) compared: u64,
    /// When the last exposure bucket that said something ended.
    pub(super) last: Option<UnixMs>,
}

/// A signal that was proven worse holds until it is proven well again, on evidence from then on.
#[derive(Debug, Clone, PartialEq)]
struct Signal {
    /// As they began, one per number.
    rollback: Vec<Option<Proof>>,
    recovering: Option<EProcess>,
}

impl Watch {
    /// `turn` is when its bands are drawn, as a part of one growth.
    pub(super) fn new(
        turn: f64,
        guardrail: &Guardrail,
        lines: Line,
        plan: &Planned,
        yardstick: &Yardstick,
        carried: f64,
    ) -> Self {
        let metric = guardrail.metric.clone();
        let centre = yardstick.centre.get(&metric).copied();
        let mut fault = None;
        let centre = centre.unwrap_or(0.5);
        let back = design::rollback(guardrail, plan, centre);
        let forth = design::promote(guardrail, plan, centre);
        let promote = usable(&mut fault, "promotion cannot be tested", forth.clone().and_then(EProcess::new));
        let regression =
            usable(&mut fault, "a regression cannot be tested", Proof::of_regression(guardrail.unit, &back));
        let mut numbers = Vec::new();
        for (number, share) in metric.numbers() {
            let limit = design::limit(guardrail, yardstick).and_then(|bound| bound.and_then(Limit::new).ok());
            numbers.push(Watched {
                number: *number,
                share: share.ln(),
                rollback: regression.clone(),
                control_limit: limit.clone(),
                limit,
                strata: BTreeSet::new(),
                seen: Seen::default(),
                slices: BTreeMap::new(),
                band: Band::new(turn, &back, forth.as_ref().ok(), lines, share.ln()),
            });
        }
        if let Some(Err(bad)) = design::limit(guardrail, yardstick) {
            fault.get_or_insert(format!("its limit cannot be tested: {bad}"));
        }
        let signal = (guardrail.role == Role::Signal)
            .then(|| Signal { rollback: vec![regression; numbers.len()], recovering: None });
        let buckets = forth.as_ref().ok().filter(|_| guardrail.unit == Unit::BucketMean);
        let (ratio, shift) = design::halves(guardrail);
        Self {
            promote_by_bucket: buckets.and_then(|design| by_bucket(Side::Promote, design).ok()),
            self_check: SelfCheck::beyond(centre, ratio, shift).ok(),
            fault: fault.or_else(|| unmeasured(&metric, yardstick)),
            apart: !yardstick.apart.is_empty(),
            metric,
            role: guardrail.role,
            lines,
            numbers,
            promote,
            carried,
            carried_by_bucket: carried,
            epochs: Epochs::new(yardstick.frozen_at),
            ladder: ladder(guardrail, plan, forth.ok()),
            signal,
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.metric
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Folds what a sealed bucket has of this metric. Buckets of different slices are bets of their own in the same
    /// processes: the null is the same in each, so the evidence multiplies.
    pub(super) fn fold(&mut self, sealed: &SealedBucket, ended: UnixMs, arms: &TwoArms) {
        let number = sealed.number;
        let values = classes::values(self.metric.kind());
        let is_last = self.numbers.last().is_some_and(|last| last.number == number);
        let due = if is_last { self.epochs.meet((sealed.stratum, sealed.slice), ended) } else { GiveUp::No };
        if due == GiveUp::Before {
            self.give_up_gains();
        }
        let Some(watched) = self.numbers.iter_mut().find(|watched| watched.number == number) else { return };
        let mut result = watched.fold(values, sealed.stratum, ended, arms);
        if self.apart {
            watched.slices.entry(sealed.slice).or_default().add(values, arms, ended);
        }
        if is_last && let Some(bucket) = known(values, &arms.control, &arms.canary) {
            if let Some(ladder) = &mut self.ladder {
                result = result.and(ladder.seal(&bucket));
            }
            if let Some(process) = &mut self.promote_by_bucket {
                result = result.and(process.seal(&bucket));
            }
            for process in self.promote.iter_mut().chain(self.signal.as_mut().and_then(|s| s.recovering.as_mut())) {
                result = result.and(process.seal(&bucket));
            }
            if let Some((last, process)) = self.numbers.last_mut().zip(self.promote.as_ref()) {
                last.band.agree(Decides::Promotion, process.log_e());
            }
        }
        if is_last && let Some((check, (one, other))) = self.self_check.as_mut().zip(halves(values, arms)) {
            result = result.and(check.seal(values, &one, &other));
        }
        if due == GiveUp::After {
            self.give_up_gains();
        }
        if let Err(bad) = result {
            self.fault.get_or_insert(format!("a sealed bucket does not fit: {bad}"));
        }
        self.follow_signal();
    }

    /// At a drift: what was gained toward promotion is given up, what was lost is not forgiven.
    fn give_up_gains(&mut self) {
        if let Some(process) = &mut self.promote {
            let stands = (self.carried + process.log_e()).min(0.0);
            process.give_up_gains();
            self.carried = stands - process.log_e();
        }
        if let Some(process) = &mut self.promote_by_bucket {
            let stands = (self.carried_by_bucket + process.log_e()).min(0.0);
            process.give_up_gains();
            self.carried_by_bucket = stands - process.log_e();
        }
        if let Some(ladder) = &mut self.ladder {
            ladder.give_up_gains();
        }
        if let Some(recovering) = self.signal.as_mut().and_then(|signal| signal.recovering.as_mut()) {
            recovering.give_up_gains();
        }
        if let Some(last) = self.numbers.last_mut() {
            last.band.give_up_gains();
        }
    }

    /// Takes note of the release's drifts.
    pub(super) fn note_drifts(&mut self, drifts: &[Drift]) {
        self.epochs.note(drifts);
    }

    /// The last drift, where nothing from after it is sealed yet.
    pub(super) fn drifted_at(&self) -> Option<UnixMs> {
        self.epochs.last().filter(|_| self.epochs.is_awaited())
    }

    /// The weighted evidence of a regression, over all numbers: latched for a guardrail, as it stands
    /// since the last recovery for a signal.
    pub(super) fn rollback(&self) -> Evidence {
        let of = |watched: &Watched| {
            let process = watched.rollback.as_ref()?;
            Some(self.lines.weight + watched.share + process.peak())
        };
        Evidence { log: largest(self.numbers.iter().filter_map(of)), line: self.lines.rollback }
    }

    /// log of the same evidence as it stands now, without the latch.
    pub(super) fn standing(&self) -> f64 {
        let of = |watched: &Watched| Some(self.lines.weight + watched.share + watched.rollback.as_ref()?.log_e());
        largest(self.numbers.iter().filter_map(of))
    }

    /// The smallest excess that the evidence excludes now, 1 while none is; `None` where no ramp asks.
    pub(super) fn excluded(&self) -> Option<f64> {
        let stands = |ladder: &Ladder| ladder.excluded(self.lines.promote).filter(|_| !self.epochs.is_awaited());
        self.ladder.as_ref().map(|ladder| stands(ladder).unwrap_or(1.0))
    }

    /// log of the promotion evidence to carry to the next try of the same canary.
    pub(super) fn to_carry(&self) -> Option<f64> {
        Some(self.promote().log).filter(|log| log.is_finite())
    }

    /// The number that speaks loudest for a regression: the one that [`Self::rollback`] is about.
    pub(super) fn loudest(&self) -> Option<&Watched> {
        let weighted = |watched: &Watched| Some(watched.share + watched.rollback.as_ref()?.peak());
        let heard = self.numbers.iter().filter_map(|watched| Some((weighted(watched)?, watched)));
        heard.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, watched)| watched)
    }

    /// The evidence of promotion as it stands now.
    pub(super) fn promote(&self) -> Evidence {
        let log = self.promote.as_ref().map_or(f64::NEG_INFINITY, |process| self.carried + process.log_e());
        let log =
            self.promote_by_bucket.as_ref().map_or(log, |process| log.min(self.carried_by_bucket + process.log_e()));
        // A NaN stays one.
        let log = if self.epochs.is_awaited() && log > 0.0 { 0.0 } else { log };
        Evidence { log, line: self.lines.promote }
    }

    /// The evidence against the limit, latched; `None` without a limit.
    pub(super) fn limit(&self) -> Option<Evidence> {
        self.against_limit(|watched| watched.limit.as_ref())
    }

    /// Control's own evidence against the same limit, latched.
    pub(super) fn control_limit(&self) -> Option<Evidence> {
        self.against_limit(|watched| watched.control_limit.as_ref())
    }

    fn against_limit(&self, limit: impl Fn(&Watched) -> Option<&Limit>) -> Option<Evidence> {
        let logs: Vec<f64> = self.numbers.iter().filter_map(|w| Some(w.share + limit(w)?.peak())).collect();
        (!logs.is_empty()).then(|| Evidence { log: largest(logs.into_iter()), line: self.lines.limit })
    }

    /// Control against itself, latched.
    pub(super) fn self_check(&self) -> Option<Evidence> {
        self.self_check.as_ref().map(|check| Evidence { log: check.peak(), line: SELF_CHECK_LINE.ln() })
    }

    /// Whether it is proven worse: for good in a guardrail, until recovery in a signal.
    pub(super) fn is_regressed(&self) -> bool {
        match &self.signal {
            Some(signal) => signal.recovering.is_some(),
            None => self.rollback().reached(),
        }
    }

    /// The proof of recovery that a regressed signal has gathered so far.
    pub(super) fn recovery(&self) -> Option<Evidence> {
        let recovering = self.signal.as_ref()?.recovering.as_ref()?;
        let log = recovering.log_e();
        let log = if self.epochs.is_awaited() && log > 0.0 { 0.0 } else { log };
        Some(Evidence { log, line: self.lines.promote })
    }

    /// Why its numbers cannot be used.
    pub(super) fn fault(&self) -> Option<String> {
        let logs = [self.rollback().log, self.promote().log, self.limit().map_or(0.0, |limit| limit.log)];
        let broken = logs.iter().any(|log| log.is_nan() || *log == f64::INFINITY);
        self.fault.clone().or_else(|| broken.then(|| "its evidence is no number".to_owned()))
    }

    /// The number that is shown and that promotion must prove.
    pub(super) fn last(&self) -> Option<&Watched> {
        self.numbers.last()
    }

    fn follow_signal(&mut self) {
        let reached = self.rollback().reached();
        let recovered = self.recovery().is_some_and(Evidence::reached);
        let Some(signal) = &mut self.signal else { return };
        match &signal.recovering {
            None if reached => {
                let fresh = self.promote.as_ref().map(|process| EProcess::new(process.design().clone()));
                signal.recovering = fresh.and_then(Result::ok);
            }
            Some(_) if recovered => {
                signal.recovering = None;
                for (watched, fresh) in self.numbers.iter_mut().zip(&signal.rollback) {
                    watched.rollback.clone_from(fresh);
                }
            }
            None | Some(_) => {}
        }
    }
}

impl Watched {
    fn fold(
        &mut self,
        values: &'static [f64],
        stratum: Stratum,
        ended: UnixMs,
        arms: &TwoArms,
    ) -> Result<(), BadDesign> {
        let mut result = Ok(());
        let canary = if arms.canary_rollback.is_empty() { &arms.canary } else { &arms.canary_rollback };
        if let Some(bucket) = known(values, &arms.control, canary) {
            let is_new = self.strata.insert(stratum);
            let mass = is_new.then(|| stage_mass(u32::try_from(self.strata.len()).unwrap_or(u32::MAX)));
            if let Some(process) = &mut self.rollback {
                mass.into_iter().for_each(|mass| process.restart(mass));
                result = process.seal(&bucket);
            }
            self.band.push(mass, values, arms);
            if let Some(process) = &self.rollback {
                self.band.agree(Decides::Rollback, process.peak());
            }
        }
        let own = |limit: &'_ Vec<u64>, all: &'_ Vec<u64>| if limit.is_empty() { all.clone() } else { limit.clone() };
        let canary = own(&arms.canary_limit, &arms.canary);
        let control = own(&arms.control_limit, &arms.control);
        for (limit, counts) in [(&mut self.limit, canary), (&mut self.control_limit, control)] {
            if let Some((limit, (counts, _))) = limit.as_mut().zip(counts.split_at_checked(values.len()))
                && counts.iter().any(|count| *count > 0)
            {
                result = result.and(limit.seal(values, counts));
            }
        }
        self.seen.add(values, arms, ended);
        result
    }
}

impl Watched {
    /// The canary's excess over control's rate with its bounds, in sessions times `unit`; `None` before
    /// both arms were seen in one bucket.
    pub(super) fn excess(&self, unit: f64) -> Option<Interval> {
        let (canary, control) = self.seen.means()?;
        let n = unit * self.seen.compared as f64;
        let Interval { low, point, high } = self.band.around(canary - control, control);
        Some(Interval { low: n * low, point: n * point, high: n * high })
    }
}

impl Seen {
    fn add(&mut self, values: &[f64], arms: &TwoArms, ended: UnixMs) {
        let (control, control_bad) = tally(values, &arms.control);
        let (canary, canary_bad) = tally(values, &arms.canary);
        self.known.control += control;
        self.known.canary += canary;
        self.missing.control += arms.control.get(values.len()).copied().unwrap_or(0);
        self.missing.canary += arms.canary.get(values.len()).copied().unwrap_or(0);
        if control > 0 && canary > 0 {
            self.bad += canary_bad;
            self.expected += canary as f64 * control_bad / control as f64;
            self.compared += canary;
        }
        if canary > 0 {
            self.last = Some(self.last.map_or(ended, |last| last.max(ended)));
        }
    }

    /// Mean badness of the canary, and of control at the canary's own hours and strata; `None` before
    /// any bucket had both arms.
    pub(super) fn means(&self) -> Option<(f64, f64)> {
        let n = self.compared as f64;
        (self.compared > 0).then(|| (self.bad / n, self.expected / n))
    }

    /// Canary badness beyond control's.
    pub(super) fn excess(&self) -> f64 {
        self.bad - self.expected
    }
}

/// The ladder of margins that a ramp rises by: of guardrails that count sessions.
fn ladder(guardrail: &Guardrail, plan: &Planned, promote: Option<Design>) -> Option<Ladder> {
    use crate::metric::Kind;
    let counts_sessions = match guardrail.metric.kind() {
        Kind::Rate | Kind::Exceedance | Kind::Score => true,
        Kind::Amount | Kind::Ratio => false,
    };
    let asked = plan.has_ramp() && guardrail.role == Role::Guardrail && counts_sessions;
    let design = promote.filter(|_| asked)?;
    Ladder::new(&Design { hint: None, ..design }).ok()
}

/// The process, or why there is none.
fn usable<T>(fault: &mut Option<String>, what: &str, result: Result<T, BadDesign>) -> Option<T> {
    match result {
        Ok(process) => Some(process),
        Err(bad) => {
            fault.get_or_insert(format!("{what}: {bad}"));
            None
        }
    }
}

/// Control's two halves by class; `None` where one has nobody, or where buckets of an older make do not say.
fn halves(values: &[f64], arms: &TwoArms) -> Option<(Vec<u64>, Vec<u64>)> {
    let one: Vec<u64> = (0..values.len()).map(|class| arms.control_half.get(class).copied().unwrap_or(0)).collect();
    let other: Vec<u64> = arms.control.iter().zip(&one).map(|(all, one)| all.saturating_sub(*one)).collect();
    let some = |counts: &[u64]| counts.iter().any(|count| *count > 0);
    (some(&one) && some(&other)).then_some((one, other))
}

/// The known classes of a bucket; `None` while an arm has none, which says nothing.
pub(super) fn known<'a>(values: &'a [f64], control: &'a [u64], canary: &'a [u64]) -> Option<Bucket<'a>> {
    let (control, canary) = (control.get(..values.len())?, canary.get(..values.len())?);
    let some = |counts: &[u64]| counts.iter().any(|count| *count > 0);
    (some(control) && some(canary)).then_some(Bucket { values, control, canary })
}

fn tally(values: &[f64], counts: &[u64]) -> (u64, f64) {
    values.iter().zip(counts).fold((0, 0.0), |(n, bad), (value, count)| (n + count, bad + value * *count as f64))
}

fn largest(logs: impl Iterator<Item = f64>) -> f64 {
    logs.fold(f64::NEG_INFINITY, |most, log| if log.is_nan() || most.is_nan() { f64::NAN } else { most.max(log) })
}

/// A metric that needs a measure of stable's and has none.
fn unmeasured(metric: &Metric, yardstick: &Yardstick) -> Option<String> {
    use crate::metric::Kind;
    match metric.kind() {
        Kind::Exceedance if !yardstick.tau_ms.contains_key(metric) => {
            Some("stable had shown no time to compare with when the yardstick was frozen".to_owned())
        }
        Kind::Amount if !yardstick.cap.contains_key(metric) => Some(
            "stable's amount was unknown when the yardstick was frozen (a price is missing, or usage is)".to_owned(),
        ),
        Kind::Ratio if !yardstick.price.contains_key(metric) => Some(match metric.per() {
            Some(Per::Task) => format!(
                "stable had shown no cost of a task when the yardstick was frozen: send feedback `{TASK_DONE}` for a day before, and see that its model has a price"
            ),
            Some(Per::Request) | None => {
                "stable's cost was unknown when the yardstick was frozen (a price is missing, or usage is)".to_owned()
            }
        }),
        Kind::Rate | Kind::Exceedance | Kind::Amount | Kind::Score | Kind::Ratio => None,
    }
}
