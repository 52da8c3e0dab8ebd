//! Stable's traffic in short: shares, logarithmic histograms, amounts per session. Sums only, so two
//! summaries merge by addition.

use crate::evidence::badness::{Reading, amount, reading, stated_amount, went};
use crate::evidence::row::Row;
use crate::evidence::{ByMetric, LastSeen, Went};
use crate::id::UnitKey;
use crate::metric::{Kind, Metric};
use crate::origin::{Origin, Origins};
use crate::tally::{Feedback, Outcome, Turn, TurnPart};
use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::LazyLock;

/// Two neighbouring classes of a [`LogHistogram`] differ by 3 %.
const LN_STEP: f64 = 0.03;
/// Feedback names that one summary tells apart at most.
const NAMES: usize = 64;
/// Sessions that are followed at most; beyond, every second one by its hash, and so on.
const OPEN: usize = 4_096;
/// A session is summed up this long after its first request.
const SESSION: SpanMs = SpanMs::minutes(30);

/// The rates among the built-in metrics that a request by itself tells, in their order.
static RATES: LazyLock<Vec<Metric>> = LazyLock::new(|| {
    let tells =
        |metric: &Metric| metric.tail_of().is_none() && metric.length_quantile().is_none() && !metric.is_of_session();
    of_kind(Kind::Rate).into_iter().filter(tells).collect()
});
/// The amounts.
static AMOUNTS: LazyLock<Vec<Metric>> = LazyLock::new(|| of_kind(Kind::Amount));

fn of_kind(kind: Kind) -> Vec<Metric> {
    let mut all: Vec<Metric> = Metric::BUILT_IN.into_iter().filter(|metric| metric.kind() == kind).collect();
    all.sort_unstable();
    all
}

/// Requests, sessions and what they showed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Requests.
    pub requests: u64,
    /// Sessions that were followed to their age (a fixed share of all, where there are very many).
    pub sessions: u64,
    /// Sessions that began, followed or not (an estimate where only a share is followed).
    #[serde(default)]
    pub arrivals: u64,
    /// Badness per metric, over requests (scores: over scores).
    pub rates: ByMetric<Share>,
    /// Milliseconds to the first content.
    pub ttft_ms: LogHistogram,
    /// Milliseconds to the end.
    pub latency_ms: LogHistogram,
    /// Characters of answers in text, where the detectors were on.
    #[serde(default, skip_serializing_if = "LogHistogram::is_empty")]
    pub chars: LogHistogram,
    /// Amounts per session, where all of a session's are known.
    pub amounts: ByMetric<Amounts>,
    /// Requests by where they come from, where that was noted.
    #[serde(default, skip_serializing_if = "Origins::is_empty")]
    pub origins: Origins,
}

/// A sum of badness and how many went into it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Badness, summed.
    pub bad: f64,
    /// Known readings.
    pub known: u64,
}

/// Amounts of sessions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Summed, in their unit.
    pub sum: f64,
    /// Their distribution.
    pub histogram: LogHistogram,
}

/// Counts of positive numbers in classes of 3 %; zero has its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogHistogram {
    /// How many were 0.
    pub zeros: u64,
    /// How many lie in e^(0.03·k) … e^(0.03·(k+1)), by k.
    pub classes: Row,
}

impl Share {
    fn add(&mut self, bad: f64) {
        self.bad += bad;
        self.known += 1;
    }

    /// The mean, drawn slightly to one half so that it is never quite 0 or 1; `None` without readings.
    #[must_use]
    pub fn mean(self) -> Option<f64> {
        (self.known > 0).then(|| (self.bad + 0.5) / (self.known as f64 + 1.0))
    }
}

impl LogHistogram {
    /// Counts one number; what is negative or no number is ignored.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() || value < 0.0 {
            return;
        }
        if value < 1e-12 {
            self.zeros += 1;
            return;
        }
        let place = value.min(1e12).ln() / LN_STEP;
        let towards_zero = place as i16;
        self.classes.add(if f64::from(towards_zero) > place { towards_zero - 1 } else { towards_zero }, 1);
    }

    /// How many were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.zeros + self.classes.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number below which a share `q` of all lie, within 3 %; `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all = self.len();
        if all == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * all as f64;
        let mut below = self.zeros as f64;
        if below >= rank && self.zeros > 0 {
            return Some(0.0);
        }
        let mut last = 0.0;
        for (class, count) in self.classes.iter() {
            let inside = (rank - below) / count as f64;
            last = ((f64::from(class) + inside.clamp(0.0, 1.0)) * LN_STEP).exp();
            below += count as f64;
            if below >= rank {
                return Some(last);
            }
        }
        Some(last)
    }

    /// The middle of every class above 0 and its count, ascending.
    pub fn middles(&self) -> impl Iterator<Item = (f64, u64)> {
        self.classes.iter().map(|(class, count)| (((f64::from(class) + 0.5) * LN_STEP).exp(), count))
    }

    /// The share of all that lie above `value`, within one class; 0 when empty.
    #[must_use]
    pub fn share_above(&self, value: f64) -> f64 {
        let all = self.len();
        if all == 0 || value.is_nan() {
            return 0.0;
        }
        let place = if value > 0.0 { value.ln() / LN_STEP } else { f64::NEG_INFINITY };
        let above = |(class, count): (i16, u64)| (f64::from(class) + 1.0 - place).clamp(0.0, 1.0) * count as f64;
        let zeros = if value < 0.0 { self.zeros as f64 } else { 0.0 };
        (zeros + self.classes.iter().map(above).sum::<f64>()) / all as f64
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        other.classes.iter().for_each(|(class, count)| self.classes.add(class, count));
    }
}

impl Summary {
    /// Counts one request: not its amounts, which belong to sessions ([`Following`]).
    pub fn add_request(&mut self, outcome: &Outcome, origin: Option<&Origin>) {
        self.requests += 1;
        origin.into_iter().for_each(|origin| self.origins.count(origin));
        self.add_rates(outcome);
        if let Some(ttft_ms) = outcome.ttft_ms {
            self.ttft_ms.add(ttft_ms);
        }
        self.latency_ms.add(outcome.latency_ms);
        if let Some(chars) = outcome.detected.chars {
            self.chars.add(chars as f64);
        }
    }

    /// Counts one late score; what is not within 0 and 1 is ignored.
    pub fn add_score(&mut self, feedback: &Feedback) {
        let metric = feedback.metric();
        let room = self.rates.len() < NAMES || self.rates.contains_key(&metric);
        if room && (0.0..=1.0).contains(&feedback.value) {
            self.rates.get_or_default(&metric).add(1.0 - feedback.value);
        }
    }

    /// Counts one session that has reached its age.
    pub fn add_session(&mut self, session: &Followed) {
        self.sessions += 1;
        if let Some(last) = session.last {
            self.rates.get_or_default(&Metric::Abandoned).add(f64::from(u8::from(last.went == Went::Wrong)));
            self.rates.get_or_default(&Metric::NotContinued).add(f64::from(u8::from(session.requests == 1)));
        }
        let mut mine = self.amounts.walk();
        for (metric, sum) in session.sums.iter() {
            if let Some(sum) = sum {
                let amounts = mine.get_or(metric, Amounts::default);
                amounts.sum += sum;
                amounts.histogram.add(*sum);
            }
        }
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sessions += other.sessions;
        self.arrivals += other.arrivals;
        for (metric, share) in other.rates.iter() {
            let mine = self.rates.get_or_default(metric);
            mine.bad += share.bad;
            mine.known += share.known;
        }
        self.ttft_ms.merge(&other.ttft_ms);
        self.latency_ms.merge(&other.latency_ms);
        self.chars.merge(&other.chars);
        for (metric, amounts) in other.amounts.iter() {
            let mine = self.amounts.get_or_default(metric);
            mine.sum += amounts.sum;
            mine.histogram.merge(&amounts.histogram);
        }
        self.origins.merge(&other.origins);
    }

    /// Both lists are in the order of the metrics and are gone through side by side, for this is done with every request.
    fn add_rates(&mut self, outcome: &Outcome) {
        let mut shares = self.rates.walk();
        for metric in RATES.iter() {
            if let Reading::Is(bad) = reading(metric, outcome, None) {
                shares.get_or(metric, Share::default).add(bad);
            }
        }
    }
}

/// The amounts of sessions that are still young.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Following {
    open: BTreeMap<UnitKey, Followed>,
    /// Only units whose hash is a multiple of 2^this are followed.
    thinned: u32,
    swept_at: UnixMs,
}

/// One young session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Followed {
    /// When its first request began.
    pub began: UnixMs,
    /// Its amounts so far; `None` once one is unknown.
    pub sums: ByMetric<Option<f64>>,
    /// Its requests so far.
    #[serde(default)]
    pub requests: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastSeen>,
}

impl Following {
    /// Adds a turn's amounts to its session; tells how many sessions began with it, those that are not
    /// followed counted by the one that is.
    pub fn add(&mut self, turn: &Turn) -> u64 {
        let Some(unit) = turn.unit.filter(|unit| self.follows(*unit)) else { return 0 };
        let (session, began) = match self.open.entry(unit) {
            Entry::Occupied(known) => (known.into_mut(), 0),
            Entry::Vacant(place) => {
                let mut new = Followed { began: turn.started_at, ..Followed::default() };
                new.sums.reserve(AMOUNTS.len());
                (place.insert(new), 1_u64 << self.thinned.min(63))
            }
        };
        if turn.part != TurnPart::Tail {
            session.requests += 1;
            session.last = Some(LastSeen::later(session.last, turn.started_at, went(&turn.outcome)));
        }
        let mut sums = session.sums.walk();
        for metric in AMOUNTS.iter() {
            let more = match turn.part {
                // The rest of it follows with the tail.
                TurnPart::Judged => Some(stated_amount(metric, &turn.outcome).unwrap_or(0.0)),
                TurnPart::Whole | TurnPart::Tail => amount(metric, &turn.outcome),
            };
            let sum = sums.get_or(metric, || Some(0.0));
            *sum = sum.zip(more).map(|(sum, more)| sum + more);
        }
        while self.open.len() > OPEN {
            self.thinned += 1;
            let thinned = self.thinned;
            self.open.retain(|unit, _| is_kept(*unit, thinned));
        }
        began
    }

    /// Hands out the sessions that have reached their age by `now`; looks at most once a minute.
    pub fn grown(&mut self, now: UnixMs) -> Vec<Followed> {
        if now.since(self.swept_at) < SpanMs::minutes(1) {
            return Vec::new();
        }
        self.swept_at = now;
        let old: Vec<UnitKey> =
            self.open.iter().filter(|(_, s)| now.since(s.began) >= SESSION).map(|(unit, _)| *unit).collect();
        old.iter().filter_map(|unit| self.open.remove(unit)).collect()
    }

    /// The sessions followed now, however young.
    pub fn sessions(&self) -> impl Iterator<Item = &Followed> {
        self.open.values()
    }

    fn follows(&self, unit: UnitKey) -> bool {
        is_kept(unit, self.thinned)
    }
}

fn is_kept(unit: UnitKey, thinned: u32) -> bool {
    unit.0.trailing_zeros() >= thinned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::{outcome, turn};
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_within_their_class() {
        let mut histogram = LogHistogram::default();
        for value in 1..=1_000 {
            histogram.add(f64::from(value));
        }
        for (q, truth) in [(0.5, 500.0), (0.95, 950.0), (0.999, 999.0)] {
            let found = histogram.quantile(q).unwrap();
            assert!((found / truth - 1.0).abs() < 0.031, "{q}: {found}");
        }
        for (value, truth) in [(950.0, 0.05), (500.0, 0.5), (5_000.0, 0.0), (0.0, 1.0)] {
            let found = histogram.share_above(value);
            assert!((found - truth).abs() < 0.02, "{value}: {found}");
        }
        histogram.add(f64::NAN);
        histogram.add(-1.0);
        assert_eq!(histogram.len(), 1_000);
        assert_eq!(LogHistogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_session_with_an_unknown_price_has_none() {
        let mut following = Following::default();
        let cost = Metric::CostPerSession;
        let mut priced = turn(UnitKey(1), UnixMs(0));
        priced.outcome.cost_usd = Some(0.5);
        following.add(&priced);
        following.add(&priced);
        let mut unpriced = turn(UnitKey(2), UnixMs(0));
        unpriced.outcome = Outcome { cost_usd: None, ..outcome() };
        following.add(&priced);
        following.add(&unpriced);
        let mut summary = Summary::default();
        for session in following.grown(UnixMs(31 * 60_000)) {
            summary.add_session(&session);
        }
        assert_eq!(summary.sessions, 2);
        assert_eq!(summary.amounts.get(&cost).unwrap().histogram.len(), 1);
        assert!((summary.amounts.get(&cost).unwrap().sum - 1.5).abs() < 1e-12);
    }

    #[test]
    fn many_sessions_are_thinned_and_stay_bounded() {
        let mut following = Following::default();
        let mut began = 0;
        for unit in 0..20_000 {
            began += following.add(&turn(UnitKey(unit), UnixMs(0)));
            began += following.add(&turn(UnitKey(unit), UnixMs(0)));
        }
        assert!((18_000..22_000).contains(&began), "{began}");
        assert!((1_000..=OPEN).contains(&following.open.len()), "{}", following.open.len());
    }

    #[test]
    fn what_is_left_out_of_the_rates_is_told_by_no_request_alone() {
        let mut answered = outcome();
        answered.detected.chars = Some(100);
        assert_eq!(RATES.len(), 13);
        for metric in of_kind(Kind::Rate).iter().filter(|metric| !RATES.contains(metric)) {
            assert!(!matches!(reading(metric, &answered, None), Reading::Is(_)), "{metric}");
        }
    }

    #[test]
    fn rates_are_counted_where_others_have_a_place_already() {
        let (mut summary, mut turn) = (Summary::default(), turn(UnitKey(1), UnixMs(0)));
        summary.rates.get_or_default(&Metric::Abandoned).add(1.0);
        summary.rates.get_or_default(&Metric::Feedback("a".to_owned())).add(1.0);
        summary.add_request(&turn.outcome, None);
        turn.outcome.detected.repetition = crate::tally::Check::Yes;
        turn.outcome.refusal = crate::tally::Check::Yes;
        summary.add_request(&turn.outcome, None);
        let share = |metric| *summary.rates.get(&metric).unwrap();
        assert_eq!(share(Metric::ErrorRate), Share { bad: 0.0, known: 2 });
        assert!(share(Metric::RefusalRate).bad > 0.0 && share(Metric::Repetition).bad > 0.0);
        assert_eq!((share(Metric::Abandoned).known, share(Metric::Feedback("a".to_owned())).known), (1, 1));
        let expected: BTreeMap<Metric, u64> = RATES
            .iter()
            .filter(|metric| matches!(reading(metric, &turn.outcome, None), Reading::Is(_)))
            .map(|metric| (metric.clone(), summary.rates.get(metric).unwrap().known))
            .collect();
        assert!(expected.values().all(|known| (1..=2).contains(known)), "{expected:?}");
    }

    proptest! {
        #[test]
        fn merging_is_counting_together(values in prop::collection::vec(0.0..1e6_f64, 0..50), cut in 0_usize..50) {
            let (mut whole, mut left, mut right) =
                (LogHistogram::default(), LogHistogram::default(), LogHistogram::default());
            for (i, value) in values.iter().enumerate() {
                whole.add(*value);
                if i < cut { left.add(*value) } else { right.add(*value) }
            }
            left.merge(&right);
            prop_assert_eq!(left, whole);
        }
    }
}
