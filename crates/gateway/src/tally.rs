//! What is learnt of requests, from their beginning to the delta that carries it away: the register
//! of requests in flight, the bounded queue of judged turns, and the sweep that judges a turn by what
//! is known of it at its age.

use crate::spread::SpreadMap;
use crate::sync::lock;
use crate::workers::here;
use coalmine_core::id::{CustomerId, GatewayId, Generation, ReleaseId, RouteName, UnitKey};
use coalmine_core::origin::Origin;
use coalmine_core::tally::{
    AnsweredAs, Cause, Check, Delta, Detected, Dropped, Ending, Feedback, Outcome, Presence, ServedBy, Turn, TurnPart,
    Usage,
};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_core::version::VersionId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A power of two. A thread of requests keeps to one, which up to so many threads need not share for what sets out and lands.
const SHARDS: u64 = 16;

/// One request in flight: what its turn will say of it, and what is known so far.
#[derive(Debug)]
pub(crate) struct Flight {
    serial: u64,
    pub(crate) route: Arc<RouteName>,
    pub(crate) unit: Option<UnitKey>,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) version: VersionId,
    pub(crate) member: Option<Membership>,
    pub(crate) origin: Origin,
    pub(crate) started_at: UnixMs,
    judged_after: SpanMs,
    known: Mutex<Known>,
}

/// What a flight begins with.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) route: Arc<RouteName>,
    pub(crate) unit: Option<UnitKey>,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) version: VersionId,
    pub(crate) member: Option<Membership>,
    pub(crate) origin: Origin,
    pub(crate) started_at: UnixMs,
    pub(crate) judged_after: SpanMs,
    pub(crate) tools_declared: Presence,
}

/// What is known of a request that is not over.
#[derive(Debug, Clone, Copy)]
struct Known {
    status: u16,
    /// When the first content byte came.
    content_at: Option<UnixMs>,
    /// When the version failed, and by what.
    failed: Option<(Cause, UnixMs)>,
    retries: u16,
    served_by: ServedBy,
    tools_declared: Presence,
}

impl Flight {
    fn of(from: Departure, serial: u64) -> Self {
        let known = Known {
            status: 0,
            content_at: None,
            failed: None,
            retries: 0,
            served_by: ServedBy::Assigned,
            tools_declared: from.tools_declared,
        };
        Self {
            serial,
            route: from.route,
            unit: from.unit,
            customer: from.customer,
            version: from.version,
            member: from.member,
            origin: from.origin,
            started_at: from.started_at,
            judged_after: from.judged_after,
            known: Mutex::new(known),
        }
    }

    /// Tells its turn from others of the same session.
    pub(crate) fn turn_number(&self) -> u64 {
        self.serial
    }

    /// The version's own answer has this status.
    pub(crate) fn note_status(&self, status: u16) {
        lock(&self.known).status = status;
    }

    /// One more attempt.
    pub(crate) fn note_retry(&self) {
        let mut known = lock(&self.known);
        known.retries = known.retries.saturating_add(1);
    }

    /// The first content byte came.
    pub(crate) fn note_content(&self, at: UnixMs) {
        lock(&self.known).content_at.get_or_insert(at);
    }

    /// The version failed; somebody may still take over.
    pub(crate) fn note_failure(&self, cause: Cause, at: UnixMs) {
        lock(&self.known).failed.get_or_insert((cause, at));
    }

    /// Stable answers in its place.
    pub(crate) fn note_rescued(&self) {
        lock(&self.known).served_by = ServedBy::Rescue;
    }

    /// One of its fallbacks answers in its place.
    pub(crate) fn note_fallback(&self) {
        lock(&self.known).served_by = ServedBy::Fallback;
    }

    /// Who answers in the end.
    pub(crate) fn served_by(&self) -> ServedBy {
        lock(&self.known).served_by
    }

    /// The outcome in so far as the register knows it; the rest is for whoever observed the answer.
    pub(crate) fn outcome(&self, ending: Ending, now: UnixMs) -> Outcome {
        let known = *lock(&self.known);
        self.as_known(known, ending, now)
    }

    fn as_known(&self, known: Known, ending: Ending, now: UnixMs) -> Outcome {
        Outcome {
            ending,
            status: known.status,
            ttft_ms: known.content_at.map(|at| ms(at.since(self.started_at))),
            latency_ms: ms(now.since(self.started_at)),
            gap_max_ms: None,
            usage: Usage::default(),
            cost_usd: None,
            refusal: Check::Unknown,
            empty: Check::Unknown,
            truncated: Check::Unknown,
            tools_declared: known.tools_declared,
            tool_calls: 0,
            tool_calls_bad: 0,
            schema_broken: Check::Unknown,
            detected: Detected::UNKNOWN,
            opening: None,
            served_by: known.served_by,
            answered_as: AnsweredAs::default(),
            retries: known.retries,
        }
    }

    fn due_at(&self) -> UnixMs {
        self.started_at + self.judged_after
    }

    /// What was known at the judging age, whenever one comes to look.
    fn judged(&self) -> Outcome {
        let mut known = *lock(&self.known);
        let due = self.due_at();
        known.content_at = known.content_at.filter(|at| *at <= due);
        known.failed = known.failed.filter(|(_, at)| *at <= due);
        if known.failed.is_none() {
            known.served_by = ServedBy::Assigned;
        }
        let ending = match (known.failed, known.content_at) {
            (Some((cause, _)), _) => Ending::Failed(cause),
            (None, Some(_)) => Ending::Running,
            (None, None) => Ending::Failed(Cause::Deadline),
        };
        self.as_known(known, ending, due)
    }

    fn turn(&self, part: TurnPart, outcome: Outcome) -> Turn {
        Turn {
            route: self.route.clone(),
            unit: self.unit,
            customer: self.customer.clone(),
            version: self.version,
            member: self.member.clone(),
            origin: Some(self.origin.clone()),
            started_at: self.started_at,
            part,
            outcome,
        }
    }
}

fn ms(span: SpanMs) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a span beyond 2^53 ms is 285,000 years")]
    let ms = span.0 as f64;
    ms
}

/// Requests in flight and what waits for the sink.
#[derive(Debug)]
pub(crate) struct Tally {
    shards: Box<[Mutex<Shard>]>,
    feedback: Mutex<Vec<Feedback>>,
    waiting: AtomicUsize,
    /// Whether what runs is counted as lost already.
    given_up: AtomicBool,
    dropped_total: AtomicU64,
    turns_max: usize,
    feedback_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    /// Of its next flight. What it leaves divided by [`SHARDS`] is the shard's own number, so that no two shards give the same.
    serial: u64,
    /// Not judged yet.
    open: SpreadMap<u64, Arc<Flight>>,
    turns: Vec<Turn>,
    dropped: BTreeMap<(Option<Arc<ReleaseId>>, Arm), u64>,
}

/// What was taken out of the tally for one delta.
#[derive(Debug)]
pub(crate) struct Taken {
    complete_to: UnixMs,
    turns: Vec<Turn>,
    feedback: Vec<Feedback>,
    dropped: Vec<Dropped>,
}

/// Whether something found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It waits for the sink.
    Taken,
    /// The queue is full.
    Full,
}

impl Shard {
    fn next_serial(&mut self) -> u64 {
        let serial = self.serial;
        self.serial = serial.wrapping_add(SHARDS);
        serial
    }
}

impl Tally {
    pub(crate) fn new(turns_max: usize, feedback_max: usize) -> Self {
        // not from 0: a serial tells turns apart over restarts
        let first = rand::random::<u64>() & !(SHARDS - 1);
        let shard = |serial| Mutex::new(Shard { serial, ..Shard::default() });
        Self {
            shards: (first..=(first | (SHARDS - 1))).map(shard).collect(),
            feedback: Mutex::default(),
            waiting: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            dropped_total: AtomicU64::new(0),
            turns_max,
            feedback_max,
        }
    }

    /// A request sets out.
    pub(crate) fn depart(&self, from: Departure) -> Arc<Flight> {
        let mut shard = lock(self.shard(here() as u64));
        let flight = Arc::new(Flight::of(from, shard.next_serial()));
        shard.open.insert(flight.serial, flight.clone());
        flight
    }

    /// A request sets out of which no turn will tell.
    pub(crate) fn aside(&self, from: Departure) -> Arc<Flight> {
        let serial = lock(self.shard(here() as u64)).next_serial();
        Arc::new(Flight::of(from, serial))
    }

    /// It is over. One that outlived its judging age is reported as it was judged then, and its tail.
    pub(crate) fn land(&self, flight: &Flight, outcome: Outcome, now: UnixMs) {
        let mut shard = lock(self.shard(flight.serial));
        let unjudged = shard.open.remove(&flight.serial).is_some();
        if !unjudged && self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let late = now > flight.due_at();
        if unjudged && late {
            self.push(&mut shard, flight.turn(TurnPart::Judged, flight.judged()));
        }
        let part = if unjudged && !late { TurnPart::Whole } else { TurnPart::Tail };
        self.push(&mut shard, flight.turn(part, outcome));
    }

    /// It was none: unless it was judged meanwhile, nobody hears of it.
    pub(crate) fn forget(&self, flight: &Flight) {
        lock(self.shard(flight.serial)).open.remove(&flight.serial);
    }

    /// Keeps a late score for the next delta.
    pub(crate) fn keep_feedback(&self, feedback: Feedback) -> Room {
        let mut queue = lock(&self.feedback);
        if queue.len() >= self.feedback_max {
            return Room::Full;
        }
        queue.push(feedback);
        Room::Taken
    }

    /// How many requests are in flight and not judged.
    pub(crate) fn open(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).open.len()).sum()
    }

    /// How many turns wait for the sink.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many turns were dropped since the start.
    pub(crate) fn dropped_total(&self) -> u64 {
        self.dropped_total.load(Ordering::Relaxed)
    }

    /// Judges what is due, and takes everything that waits. `now` was read before the call: a turn
    /// whose judging age ended before it is in what is taken here or earlier, since a flight leaves
    /// the register and enters the queue under one lock.
    pub(crate) fn take(&self, now: UnixMs) -> Taken {
        let mut taken = Taken {
            complete_to: now,
            // more land while these are taken: a row of a second's turns is never moved to a larger place
            turns: Vec::with_capacity(self.waiting() / 8 * 9 + 64),
            feedback: std::mem::take(&mut *lock(&self.feedback)),
            dropped: Vec::new(),
        };
        for (at, shard) in self.shards.iter().enumerate() {
            if at > 0 {
                // a second's rows are megabytes, and whoever answers requests waits for the core meanwhile
                std::thread::yield_now();
            }
            let mut shard = lock(shard);
            let due: Vec<u64> =
                shard.open.iter().filter(|(_, flight)| flight.due_at() <= now).map(|(serial, _)| *serial).collect();
            for serial in due {
                if let Some(flight) = shard.open.remove(&serial) {
                    self.push(&mut shard, flight.turn(TurnPart::Judged, flight.judged()));
                }
            }
            self.waiting.fetch_sub(shard.turns.len(), Ordering::Relaxed);
            taken.turns.append(&mut shard.turns);
            let dropped = std::mem::take(&mut shard.dropped);
            taken.dropped.extend(dropped.into_iter().map(|((release, arm), count)| Dropped { release, arm, count }));
        }
        taken
    }

    /// Nobody will hear of what still runs: what of it is not judged is counted as lost, by release and arm. Returns
    /// how much that is.
    pub(crate) fn give_up(&self) -> u64 {
        self.given_up.store(true, Ordering::Relaxed);
        let mut lost = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            for flight in std::mem::take(&mut shard.open).into_values() {
                let of = flight.member.as_ref();
                let key = of.map_or((None, Arm::Stable), |member| (Some(member.release.clone()), member.arm));
                *shard.dropped.entry(key).or_default() += 1;
                lost += 1;
            }
        }
        self.dropped_total.fetch_add(lost, Ordering::Relaxed);
        lost
    }

    fn shard(&self, serial: u64) -> &Mutex<Shard> {
        &self.shards[(serial % SHARDS) as usize]
    }

    fn push(&self, shard: &mut Shard, turn: Turn) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.turns_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped_total.fetch_add(1, Ordering::Relaxed);
            let (release, arm) = turn.member.map_or((None, Arm::Stable), |member| (Some(member.release), member.arm));
            *shard.dropped.entry((release, arm)).or_default() += 1;
        } else {
            shard.turns.push(turn);
        }
    }
}

impl Taken {
    /// Gives it its place in the gateway's row of deltas.
    pub(crate) fn into_delta(
        self,
        gateway: GatewayId,
        epoch: u64,
        sequence: u64,
        serving: BTreeMap<RouteName, Generation>,
    ) -> Delta {
        let mut merged: BTreeMap<(Option<Arc<ReleaseId>>, Arm), u64> = BTreeMap::new();
        for lost in self.dropped {
            *merged.entry((lost.release, lost.arm)).or_default() += lost.count;
        }
        let dropped = merged.into_iter().map(|((release, arm), count)| Dropped { release, arm, count }).collect();
        Delta {
            gateway,
            epoch,
            sequence,
            complete_to: self.complete_to,
            turns: self.turns,
            feedback: self.feedback,
            dropped,
            serving,
            spending: Vec::new(),
            mirrored: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::origin::Transport;
    use coalmine_core::traffic::pin::Stratum;

    fn departure(at: u64) -> Departure {
        let member = Membership {
            release: Arc::new("r-1".into()),
            arm: Arm::Canary,
            stratum: Stratum(0),
            exposed_at: UnixMs(at),
        };
        Departure {
            route: Arc::new("r".into()),
            unit: Some(UnitKey(1)),
            customer: None,
            version: VersionId([1; 32]),
            member: Some(member),
            origin: Origin { transport: Transport::Body, region: None },
            started_at: UnixMs(at),
            judged_after: SpanMs::secs(60),
            tools_declared: Presence::Absent,
        }
    }

    fn land(tally: &Tally, flight: &Flight, now: u64) {
        let outcome = flight.outcome(Ending::Complete, UnixMs(now));
        tally.land(flight, outcome, UnixMs(now));
    }

    fn parts(turns: &[Turn]) -> Vec<(TurnPart, Ending)> {
        turns.iter().map(|turn| (turn.part, turn.outcome.ending)).collect()
    }

    #[test]
    fn no_two_flights_have_the_same_serial_whichever_thread_they_set_out_on() {
        let tally = Tally::new(10, 10);
        let mut serials: Vec<u64> = (0..SHARDS)
            .flat_map(|thread| (0..3).map(move |_| thread))
            .map(|thread| {
                let serial = lock(tally.shard(thread)).next_serial();
                assert!(std::ptr::eq(tally.shard(serial), tally.shard(thread)), "it lands where it set out");
                serial
            })
            .chain([tally.depart(departure(0)).turn_number(), tally.aside(departure(0)).turn_number()])
            .collect();
        let all = serials.len();
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), all);
    }

    #[test]
    fn what_runs_when_nobody_listens_any_more_is_counted_as_lost() {
        let tally = Tally::new(10, 10);
        let (done, running) = (tally.depart(departure(0)), tally.depart(departure(0)));
        land(&tally, &done, 5);
        assert_eq!((tally.give_up(), tally.open(), tally.dropped_total()), (1, 0, 1));
        land(&tally, &running, 9);
        let delta = tally.take(UnixMs(10)).into_delta("g".into(), 0, 1, BTreeMap::new());
        assert_eq!(parts(&delta.turns), [(TurnPart::Whole, Ending::Complete)], "no tail of a turn that was lost");
        assert_eq!((delta.dropped[0].arm, delta.dropped[0].count), (Arm::Canary, 1));
        assert_eq!(tally.give_up(), 0);
    }

    #[test]
    fn a_short_request_is_whole() {
        let tally = Tally::new(10, 10);
        let flight = tally.depart(departure(1_000));
        flight.note_content(UnixMs(1_200));
        land(&tally, &flight, 3_000);
        let taken = tally.take(UnixMs(100_000));
        assert_eq!(parts(&taken.turns), [(TurnPart::Whole, Ending::Complete)]);
        assert_eq!(taken.turns[0].outcome.ttft_ms, Some(200.0));
        assert_eq!(taken.turns[0].outcome.latency_ms, 2_000.0);
        assert_eq!((tally.open(), tally.waiting()), (0, 0));
    }

    #[test]
    fn a_long_one_is_judged_at_its_age_by_what_was_known_then() {
        let tally = Tally::new(10, 10);
        let (quick, silent) = (tally.depart(departure(1_000)), tally.depart(departure(1_000)));
        quick.note_content(UnixMs(2_000));
        assert!(tally.take(UnixMs(60_999)).turns.is_empty());
        let taken = tally.take(UnixMs(61_000));
        let mut endings = parts(&taken.turns);
        endings.sort_by_key(|(_, ending)| *ending);
        let deadline = (TurnPart::Judged, Ending::Failed(Cause::Deadline));
        assert_eq!(endings, [(TurnPart::Judged, Ending::Running), deadline]);
        silent.note_content(UnixMs(62_000));
        land(&tally, &silent, 70_000);
        land(&tally, &quick, 70_000);
        let tails = tally.take(UnixMs(80_000));
        assert_eq!(parts(&tails.turns), [(TurnPart::Tail, Ending::Complete); 2]);
    }

    /// However late the sweep comes, the turn is judged as of its age.
    #[test]
    fn a_late_sweep_judges_the_same() {
        let tally = Tally::new(10, 10);
        let (late, landed) = (tally.depart(departure(1_000)), tally.depart(departure(1_000)));
        late.note_content(UnixMs(61_001));
        landed.note_content(UnixMs(61_001));
        land(&tally, &landed, 62_000);
        let taken = tally.take(UnixMs(99_000));
        let judged: Vec<_> = taken.turns.iter().filter(|turn| turn.part == TurnPart::Judged).collect();
        assert_eq!(judged.len(), 2);
        for turn in judged {
            assert_eq!(turn.outcome.ending, Ending::Failed(Cause::Deadline));
            assert_eq!((turn.outcome.ttft_ms, turn.outcome.latency_ms), (None, 60_000.0));
        }
    }

    #[test]
    fn observed_is_tallied_and_dropped() {
        let tally = Tally::new(3, 10);
        for _ in 0..10 {
            land(&tally, &tally.depart(departure(1_000)), 2_000);
        }
        let delta = tally.take(UnixMs(3_000)).into_delta("g".into(), 1, 1, BTreeMap::new());
        assert_eq!(delta.turns.len(), 3);
        assert_eq!(delta.dropped.len(), 1);
        assert_eq!((delta.dropped[0].arm, delta.dropped[0].count), (Arm::Canary, 7));
        land(&tally, &tally.depart(departure(1_000)), 2_000);
        assert_eq!(tally.take(UnixMs(3_000)).turns.len(), 1, "there is room again");
    }

    #[test]
    fn a_rescued_request_is_judged_as_failed() {
        let tally = Tally::new(10, 10);
        let flight = tally.depart(departure(1_000));
        flight.note_failure(Cause::Server, UnixMs(1_500));
        flight.note_rescued();
        let taken = tally.take(UnixMs(90_000));
        assert_eq!(taken.turns[0].outcome.ending, Ending::Failed(Cause::Server));
        assert_eq!(taken.turns[0].outcome.served_by, ServedBy::Rescue);
    }
}
