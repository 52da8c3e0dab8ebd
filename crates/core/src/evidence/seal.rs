//! Sealing: sessions old enough post a number, class by class, into their exposure bucket.
//!
//! A bucket seals for a number once every gateway has reported past its end plus the number's age, so
//! nothing that could still arrive belongs into it, however slow or long a session is. A number is never
//! posted early, and each session posts each number once.

use crate::evidence::gauge::Gauge;
use crate::evidence::ledger::has_control;
use crate::evidence::openings::Words;
use crate::evidence::totals::{Totals, count};
use crate::evidence::{Half, SealedBucket, Session, Sums, TwoArms, classes};
use crate::id::UnitKey;
use crate::metric::{Kind, Metric, Number};
use crate::origin::Slice;
use crate::release::policy::ControlArm;
use crate::traffic::pin::{Arm, Stratum};
use crate::traffic::weight::{Salt, Slot, WeightBp};
use std::cell::LazyCell;
use std::collections::BTreeMap;

/// The numbers in the order in which they are posted.
pub(super) const NUMBERS: [Number; 3] = [Number::First, Number::Session, Number::Whole];

/// Who is compared with whom, as plan and salt say.
pub(super) struct Comparison<'a> {
    pub(super) weights: &'a [WeightBp],
    pub(super) salt: &'a Salt,
    pub(super) words: &'a Words,
}

impl Comparison<'_> {
    /// Whether a session of the control is in its matched part.
    pub(super) fn is_matched(&self, unit: UnitKey, stratum: Stratum) -> bool {
        let weight = self.weights.get(usize::from(stratum.0)).copied().unwrap_or(WeightBp::ZERO);
        Slot::of(self.salt, unit).is_matched(weight)
    }
}

/// What is posted at one age: a number of all metrics, or the whole number of one that has its own age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) number: Number,
    pub(super) own: Option<Metric>,
}

impl Posting {
    fn takes(&self, gauge: &Gauge) -> bool {
        let together = match (&self.own, gauge.age) {
            (None, None) => true,
            (Some(own), Some(_)) => *own == gauge.metric,
            (None, Some(_)) | (Some(_), None) => false,
        };
        together && gauge.has(self.number)
    }
}

/// Posts one number of one exposure bucket and seals what is complete.
pub(super) fn post<'a>(
    totals: &mut Totals,
    gauges: &[Gauge],
    posting: &Posting,
    bucket: u64,
    sessions: impl Iterator<Item = (UnitKey, &'a Session)>,
    comparison: &Comparison<'_>,
) -> Vec<SealedBucket> {
    let number = posting.number;
    let mut openings = std::mem::take(&mut totals.openings);
    let new = openings.new_ones();
    let mut begun: Vec<(Arm, &[u64])> = Vec::new();
    let taking: Vec<&Gauge> = gauges.iter().filter(|gauge| posting.takes(gauge)).collect();
    let matches = gauges.iter().any(|gauge| gauge.control == ControlArm::Matched);
    for (unit, session) in sessions {
        let is_matched = matches && session.arm == Arm::Control && comparison.is_matched(unit, session.stratum);
        if is_matched && number == Number::First {
            *totals.matched.entry(session.stratum).or_default() += 1;
        }
        match number {
            Number::First => count(totals.split.entry(session.stratum).or_default(), session.arm),
            Number::Session => count(totals.posted.entry(session.stratum).or_default(), session.arm),
            Number::Whole => {}
        }
        let slice = totals.waiting_mut(session.first_seen.slice);
        let waiting = slice.entry(number).or_default().entry(session.stratum).or_default();
        let counts = |gauge: &&&Gauge| match (gauge.control, session.arm) {
            (ControlArm::Matched, Arm::Control) => is_matched,
            (ControlArm::Matched, Arm::Canary | Arm::Stable) | (ControlArm::All, _) => true,
        };
        let alone = || Half::of(comparison.salt, &unit.0.to_le_bytes());
        let half = LazyCell::new(|| session.first_seen.half.unwrap_or_else(alone));
        for gauge in taking.iter().filter(|g| g.applies(unit, session, comparison.salt)).filter(counts) {
            let one = One { gauge, unit, session, number };
            let arms = waiting.entry(gauge.metric.clone()).or_default();
            one.add_to(arms, gauge.of_session(session, &new), || *half);
        }
        begun.push((session.arm, &session.openings));
    }
    if number == Number::Session && posting.own.is_none() {
        openings.fold(&begun, comparison.words);
    }
    totals.openings = openings;
    let mut sealed = Vec::new();
    let apart = totals.carried_apart.iter_mut().map(|(slice, waiting)| (*slice, waiting));
    for (slice, waiting) in std::iter::once((Slice::REST, &mut totals.carried)).chain(apart) {
        for (stratum, metrics) in waiting.get_mut(&number).into_iter().flatten() {
            let complete = take_complete(metrics, has_control(comparison.weights, *stratum));
            if !complete.is_empty() {
                sealed.push(SealedBucket {
                    number,
                    stratum: *stratum,
                    slice,
                    bucket,
                    own: posting.own.clone(),
                    metrics: complete,
                });
            }
        }
    }
    sealed
}

/// One session's number under one metric.
struct One<'a> {
    gauge: &'a Gauge,
    unit: UnitKey,
    session: &'a Session,
    number: Number,
}

impl One<'_> {
    /// `own` is its number under a metric of sessions as a whole; `half` tells in which half of the control it is.
    fn add_to(&self, arms: &mut TwoArms, own: Option<Option<f64>>, half: impl Fn() -> Half) {
        let (gauge, session) = (self.gauge, self.session);
        let kind = gauge.metric.kind();
        let class = |sums: &Sums| self.class(own.unwrap_or_else(|| gauge.number(self.number, sums, session.owed)));
        let sums = session.sums.get(gauge.source()).copied().unwrap_or_default();
        if kind == Kind::Ratio {
            return self.add_ratio(arms, &sums, half);
        }
        match session.arm {
            Arm::Stable => {}
            Arm::Control => {
                let main = class(&sums);
                bump(&mut arms.control, kind, main);
                if half() == Half::One {
                    bump(&mut arms.control_half, kind, main);
                }
                if let Some(sums) = session.beyond.get(&gauge.metric).and_then(|beyond| beyond.limit) {
                    bump(&mut arms.control_limit, kind, class(&sums));
                }
            }
            Arm::Canary => {
                bump(&mut arms.canary, kind, class(&sums));
                let beyond = session.beyond.get(&gauge.metric).copied().unwrap_or_default();
                if let Some(sums) = beyond.rollback {
                    bump(&mut arms.canary_rollback, kind, class(&sums));
                }
                if let Some(sums) = beyond.limit {
                    bump(&mut arms.canary_limit, kind, class(&sums));
                }
            }
        }
    }

    /// Its classes under a ratio: against the price of the test, of rollback's own, and of the limit.
    fn add_ratio(&self, arms: &mut TwoArms, sums: &Sums, half: impl Fn() -> Half) {
        let nets = self.gauge.nets(self.session.arm, sums, self.session.owed);
        let [main, rollback, limit] = nets.map(|net| Some(self.class(net?)));
        let add = |counts: &mut Vec<u64>, class: Option<usize>| {
            if let Some(class) = class {
                bump(counts, Kind::Ratio, class);
            }
        };
        match self.session.arm {
            Arm::Stable => {}
            Arm::Control => {
                add(&mut arms.control, main);
                add(&mut arms.control_limit, limit);
                if half() == Half::One {
                    add(&mut arms.control_half, main);
                }
            }
            Arm::Canary => {
                add(&mut arms.canary, main);
                add(&mut arms.canary_rollback, rollback);
                add(&mut arms.canary_limit, limit);
            }
        }
    }

    fn class(&self, badness: Option<f64>) -> usize {
        let metric = &self.gauge.metric;
        classes::class(metric.kind(), badness, || classes::dice(self.unit, metric, self.number))
    }
}

fn bump(counts: &mut Vec<u64>, kind: Kind, class: usize) {
    if counts.is_empty() {
        counts.resize(classes::count(kind), 0);
    }
    if let Some(count) = counts.get_mut(class) {
        *count += 1;
    }
}

/// Takes the metrics that have a session with a known number in each arm (in the canary, where there is
/// no control); the others wait for the next bucket.
fn take_complete(metrics: &mut BTreeMap<Metric, TwoArms>, has_control: bool) -> BTreeMap<Metric, TwoArms> {
    let is_complete = |arms: &TwoArms| is_known(&arms.canary) && (!has_control || is_known(&arms.control));
    let mut complete = BTreeMap::new();
    metrics.retain(|metric, arms| {
        let done = is_complete(arms);
        if done {
            let mut arms = std::mem::take(arms);
            let classes = classes::count(metric.kind());
            arms.control.resize(classes, 0);
            complete.insert(metric.clone(), arms);
        }
        !done
    });
    complete
}

fn is_known(counts: &[u64]) -> bool {
    counts.split_last().is_some_and(|(_, known)| known.iter().any(|count| *count > 0))
}
