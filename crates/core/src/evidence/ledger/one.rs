//! What one turn adds to its session.

use crate::evidence::badness::{schema_asked, stated_amount};
use crate::evidence::gauge::{Gauge, Rank};
use crate::evidence::{ByMetric, FirstSeen, Half, LastSeen, Session, Sums, badness, openings};
use crate::metric::Kind;
use crate::origin::{Origin, Slice};
use crate::release::policy::Ages;
use crate::tally::{Presence, Turn, TurnPart};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::{Arm, Membership};
use crate::traffic::weight::Salt;
use std::collections::BTreeSet;

impl Session {
    pub(super) fn begun(member: &Membership) -> Self {
        Self {
            arm: member.arm,
            stratum: member.stratum,
            exposed_at: member.exposed_at,
            requests: 0,
            sums: ByMetric::default(),
            first_seen: FirstSeen::default(),
            owed: 0,
            scored: BTreeSet::new(),
            beyond: ByMetric::default(),
            openings: Vec::new(),
            last: None,
        }
    }

    pub(super) fn is_of(&self, member: &Membership) -> bool {
        self.arm == member.arm && self.stratum == member.stratum && self.exposed_at == member.exposed_at
    }

    /// Ranks a request against the earliest seen, and makes it the opening if it is.
    fn rank(&mut self, turn: &Turn, whence: &Whence<'_>) -> Rank {
        let (started_at, outcome) = (turn.started_at, &turn.outcome);
        let rank = match self.first_seen.started_at {
            None => Rank::Earlier,
            Some(first) if started_at < first => Rank::Earlier,
            Some(first) if started_at == first => Rank::Equal,
            Some(_) => Rank::Later,
        };
        let (tools, schema) = (Some(outcome.tools_declared), Some(schema_asked(outcome)));
        let slice = Slice::of(turn.origin.as_ref(), whence.apart);
        let customer = turn.customer.as_ref().filter(|_| self.arm == Arm::Control);
        let half = customer.map(|customer| Half::of(whence.salt, customer.as_str().as_bytes()));
        match rank {
            Rank::Earlier => {
                self.first_seen = FirstSeen { started_at: Some(started_at), tools, schema, slice, half };
            }
            Rank::Equal => {
                self.first_seen.slice = self.first_seen.slice.max(slice);
                self.first_seen.tools = either(self.first_seen.tools, tools);
                self.first_seen.schema = either(self.first_seen.schema, schema);
            }
            Rank::Later => {}
        }
        rank
    }
}

/// Of two requests sent at once: present if one of them has it.
fn either(one: Option<Presence>, other: Option<Presence>) -> Option<Presence> {
    if one == Some(Presence::Present) { one } else { other.or(one) }
}

/// By what sessions are told apart.
pub(super) struct Whence<'a> {
    pub(super) apart: &'a [Origin],
    pub(super) salt: &'a Salt,
}

/// Which numbers a turn belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// It may be the session's first request: it began in the session's own exposure bucket.
    pub(super) opening: bool,
    /// It began early enough to be judged by `ages.session`.
    pub(super) session: bool,
    /// It began early enough to be judged by `ages.whole`, and (a tail) ended by it.
    pub(super) whole: bool,
}

impl Windows {
    pub(super) fn of(turn: &Turn, member: &Membership, ages: Ages, bucket_end: UnixMs) -> Self {
        let began = turn.started_at.since(member.exposed_at);
        let before = |age: SpanMs| began <= SpanMs(age.0.saturating_sub(ages.first.0));
        match turn.part {
            TurnPart::Whole | TurnPart::Judged => {
                Self { opening: turn.started_at < bucket_end, session: before(ages.session), whole: before(ages.whole) }
            }
            TurnPart::Tail => {
                let lasted = turn.outcome.latency_ms.clamp(0.0, 1e15) as u64;
                let ended = SpanMs(began.0.saturating_add(lasted));
                Self { opening: false, session: false, whole: before(ages.whole) && ended <= ages.whole }
            }
        }
    }
}

pub(super) fn add(session: &mut Session, gauges: &[Gauge], turn: &Turn, windows: &Windows, whence: &Whence<'_>) {
    let outcome = &turn.outcome;
    session.requests += u64::from(turn.part != TurnPart::Tail);
    let rank = if windows.opening { session.rank(turn, whence) } else { Rank::Later };
    if windows.whole && turn.part != TurnPart::Tail {
        session.owed += 1;
        session.last = Some(LastSeen::later(session.last, turn.started_at, badness::went(outcome)));
    }
    if let Some(opening) = outcome.opening.as_ref().filter(|_| windows.session) {
        openings::note(&mut session.openings, opening.key);
    }
    let summed = || gauges.iter().filter(|gauge| gauge.of.is_none() && !gauge.metric.is_late());
    if session.sums.is_empty() {
        session.sums.reserve(summed().count());
    }
    // Gauges are in the order of their metrics.
    let mut all_sums = session.sums.walk();
    for gauge in summed() {
        let sums = all_sums.get_or(&gauge.metric, Sums::default);
        let is_summed = matches!(gauge.metric.kind(), Kind::Amount | Kind::Ratio);
        if windows.whole && is_summed {
            match turn.part {
                TurnPart::Judged => sums.whole += stated_amount(&gauge.metric, outcome).unwrap_or(0.0),
                TurnPart::Whole | TurnPart::Tail => {
                    if let Some(amount) = badness::amount(&gauge.metric, outcome) {
                        sums.whole += amount;
                        sums.whole_n += 1;
                    }
                }
            }
        }
        if turn.part == TurnPart::Tail || is_summed {
            continue;
        }
        let readings = gauge.read(session.arm, outcome);
        let add = |sums: &mut Sums, reading| {
            if windows.session {
                sums.add_to_session(reading);
            }
            sums.take_as_first(reading, rank);
        };
        add(sums, readings.main);
        if readings.rollback.is_some() || readings.limit.is_some() {
            let beyond = session.beyond.get_or_default(&gauge.metric);
            if let Some(reading) = readings.rollback {
                add(beyond.rollback.get_or_insert_default(), reading);
            }
            if let Some(reading) = readings.limit {
                add(beyond.limit.get_or_insert_default(), reading);
            }
        }
    }
}
