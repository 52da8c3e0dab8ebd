//! What a gateway does with a turn, without sockets: assign, pin, judge, report.

use crate::copies::{Copies, Original};
use crate::luck::Luck;
use crate::naive::{Naive, Sight};
use crate::upstream::{Answer, Asking, Upstream};
use crate::users::{Arrivals, CONSTANT_ID, Visit};
use crate::world::{Fault, Side, Truth, Who, World};
use coalmine_core::id::{CustomerId, GatewayId, RouteName, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::metric::noticed;
use coalmine_core::origin::{Origin, Region, Transport};
use coalmine_core::tally::{Delta, Detected, Ending, Feedback, Outcome, Turn, TurnPart};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::assign::{Asked, Eligibility, Identity, Opening, PinChange, Reason, assign};
use coalmine_core::traffic::pin::{Arm, Membership, Pin};
use coalmine_core::traffic::table::{RouteTable, RoutingTable};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::VersionId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Where no release says when a request is judged.
const JUDGED_AFTER: SpanMs = SpanMs::secs(60);

/// One gateway with its users.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    world: &'a World,
    route: Arc<RouteName>,
    started_at: UnixMs,
    canary: VersionId,
    upstream: Upstream<'a>,
    /// The customer of each crowd.
    customers: Vec<Option<CustomerId>>,
    /// What is compared beside, with a rule left out.
    pub(crate) naive: Option<Naive<'a>>,
    arrivals: Arrivals,
    visits: BTreeMap<u64, Visit>,
    /// The next turns, by time.
    due: BinaryHeap<Reverse<(UnixMs, u64)>>,
    visit_count: u64,
    pins: BTreeMap<UnitKey, Pin>,
    /// Judged turns and scores by the instant at which they are known.
    turns: BTreeMap<(UnixMs, u64), Turn>,
    scores: BTreeMap<(UnixMs, u64), Feedback>,
    /// Answers that a judge may want, by the instant at which they are there.
    samples: BTreeMap<(UnixMs, u64), Sample>,
    pub(crate) copies: Copies,
    reports: u64,
    sequence: u64,
    /// Deltas that were not taken yet.
    outbound: Vec<Arc<Delta>>,
    pub(crate) counts: Counts,
}

/// What happened to the users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) turns: u64,
    pub(crate) canary: BTreeSet<UnitKey>,
    pub(crate) control: u64,
    /// Canary sessions with a bad turn that stable would have answered well, or a task that it would have solved.
    pub(crate) harmed: BTreeSet<UnitKey>,
    pub(crate) moved: u64,
    /// Sessions that changed version otherwise: there must be none.
    pub(crate) strayed: u64,
}

impl<'a> Gateway<'a> {
    /// Users come from `origin` on; the release starts at `started_at`.
    pub(crate) fn new(
        world: &'a World,
        route: RouteName,
        canary: VersionId,
        seed: u64,
        origin: UnixMs,
        started_at: UnixMs,
    ) -> Self {
        Self {
            world,
            route: Arc::new(route),
            started_at,
            canary,
            upstream: Upstream::new(world, seed),
            customers: world.users.crowds.iter().map(|crowd| customer_of(&crowd.who)).collect(),
            naive: None,
            arrivals: Arrivals::new(seed, origin, &world.users),
            visits: BTreeMap::new(),
            due: BinaryHeap::new(),
            visit_count: 0,
            pins: BTreeMap::new(),
            turns: BTreeMap::new(),
            scores: BTreeMap::new(),
            samples: BTreeMap::new(),
            copies: Copies::new(seed),
            reports: 0,
            sequence: 0,
            outbound: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Everything that happens up to `now` under this table.
    pub(crate) fn serve(&mut self, table: &RouteTable, now: UnixMs) {
        while let Some((at, visit)) = self.arrivals.next_by(now, &self.world.users) {
            self.visit_count += 1;
            self.visits.insert(self.visit_count, visit);
            self.due.push(Reverse((at, self.visit_count)));
        }
        while let Some(&Reverse((at, number))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(visit) = self.visits.remove(&number) else { continue };
            if let Some((next_at, visit)) = self.turn(table, visit, at) {
                self.visits.insert(number, visit);
                self.due.push(Reverse((next_at, number)));
            }
        }
    }

    /// What is to be reported by `now`, older refusals first.
    pub(crate) fn report(&mut self, table: &RoutingTable, now: UnixMs) -> Vec<Arc<Delta>> {
        self.sequence += 1;
        let later = (now + SpanMs(1), 0);
        let rest = self.turns.split_off(&later);
        let turns = std::mem::replace(&mut self.turns, rest).into_values().collect();
        let rest = self.scores.split_off(&later);
        let feedback = std::mem::replace(&mut self.scores, rest).into_values().collect();
        let serving = table.routes.iter().map(|(route, of)| (route.clone(), of.generation)).collect();
        self.outbound.push(Arc::new(Delta {
            gateway: GatewayId::from("sim"),
            epoch: 1,
            sequence: self.sequence,
            complete_to: now,
            turns,
            feedback,
            dropped: Vec::new(),
            serving,
            mirrored: self.copies.report(later),
            spending: Vec::new(),
        }));
        self.outbound.clone()
    }

    /// The answers and the pairs that are to be judged by `now`.
    pub(crate) fn take_judged(&mut self, now: UnixMs) -> (Vec<Sample>, Vec<PairSample>) {
        let later = (now + SpanMs(1), 0);
        let rest = self.samples.split_off(&later);
        let samples = std::mem::replace(&mut self.samples, rest).into_values().collect();
        (samples, self.copies.take_read(later))
    }

    /// The deltas up to this one were taken.
    pub(crate) fn taken(&mut self) {
        self.outbound.clear();
    }

    /// One turn; the session's next one, if it comes.
    fn turn(&mut self, table: &RouteTable, mut visit: Visit, at: UnixMs) -> Option<(UnixMs, Visit)> {
        let first = visit.turns_done == 0;
        let pin = self.pins.get(&visit.unit).cloned();
        let asked = Asked {
            identity: Identity::Session(visit.unit),
            customer: self.customer(&visit),
            opening: if first { Opening::First } else { Opening::Continued },
            eligibility: Eligibility::Eligible,
            bound: None,
            pin: pin.as_ref(),
            forced: None,
            ceiling: self.ceiling(&visit, at),
            now: at,
        };
        let assigned = assign(table, &asked);
        self.note_move(pin.as_ref(), assigned.version, assigned.reason);
        self.put(visit.unit, assigned.pin);
        let member = assigned.member;
        let draw = visit.draw(&self.world.users);
        let asking = Asking {
            age: self.age(at),
            draw: &draw,
            crowd: visit.crowd,
            is_first: first,
            deadline: table.release.as_ref().map_or(JUDGED_AFTER, |release| release.judged_after),
        };
        let on = if assigned.version == self.canary { Side::Canary } else { Side::Stable };
        let mut answered = self.upstream.answer(on, &asking);
        self.note_member(&visit, member.as_ref(), first);
        if on == Side::Canary && answered.is_worse_than(&self.upstream.answer(Side::Stable, &asking)) {
            self.counts.harmed.insert(visit.unit);
        }
        self.upstream.serve(on);
        if on == Side::Stable {
            self.mirror(table, visit.unit, at, &asking, &answered);
        }
        if member.is_none() {
            // Outside of a release the detectors are off.
            (answered.outcome.detected, answered.outcome.opening) = (Detected::NOT_APPLICABLE, None);
        }
        self.offer(table, &visit, at, member.as_ref(), &answered);
        self.counts.turns += 1;
        if first {
            visit.began_at = at;
        }
        let sight = Sight {
            age: asking.age,
            takes: answered.takes,
            is_first: first,
            began_inside: visit.began_at >= self.started_at,
            on,
            member: member.as_ref(),
            crowd: visit.crowd,
            outcome: &answered.outcome,
        };
        self.see_naively(table, &sight);
        self.judge(&visit, at, assigned.version, member.as_ref(), &answered, asking.deadline);
        let truth = self.upstream.truth(on, &asking);
        if first {
            let could = visit.solved < self.upstream.truth(Side::Stable, &asking).solved;
            if on == Side::Canary && could && visit.solved >= truth.solved {
                self.counts.harmed.insert(visit.unit);
            }
            self.score(&visit, at, member.as_ref(), &truth);
        }
        self.notice(&visit, at, member.as_ref(), &asking, &truth);
        self.next_turn(visit, at, &answered, &truth)
    }

    fn put(&mut self, unit: UnitKey, change: PinChange) {
        match change {
            PinChange::Create(pin) | PinChange::Replace(pin) => {
                self.pins.insert(unit, pin);
            }
            PinChange::Touch | PinChange::None => {}
        }
    }

    /// Puts a copy of what stable has served to a canary in its shadow.
    fn mirror(&mut self, table: &RouteTable, unit: UnitKey, at: UnixMs, asking: &Asking<'_>, answered: &Answer) {
        let Some(shadowed) = &table.shadow else { return };
        let original = Original { unit, at, asking, answered, alike: self.world.users.alike };
        self.copies.mirror(shadowed, &mut self.upstream, &original);
    }

    /// Who looks on beside, with a rule left out.
    fn see_naively(&mut self, table: &RouteTable, sight: &Sight<'_>) {
        if let Some(naive) = &mut self.naive {
            naive.see(table, sight);
        }
    }

    fn customer(&self, visit: &Visit) -> Option<&CustomerId> {
        visit.crowd.and_then(|crowd| self.customers.get(crowd)).and_then(Option::as_ref)
    }

    fn crowd(&self, visit: &Visit) -> Option<&Who> {
        visit.crowd.and_then(|crowd| self.world.users.crowds.get(crowd)).map(|crowd| &crowd.who)
    }

    /// How a session's requests want their answers, and where they come in.
    fn origin(&self, visit: &Visit) -> Origin {
        let (transport, region) = match self.crowd(visit) {
            Some(Who::Streams) => (Transport::Stream, None),
            Some(Who::Region(name)) => (Transport::Body, Some(Region(Arc::from(name.as_str())))),
            Some(Who::Customer(_) | Who::SameOpener) | None => (Transport::Body, None),
        };
        Origin { transport, region }
    }

    /// The most that the canary gets where a session comes in.
    fn ceiling(&self, visit: &Visit, at: UnixMs) -> WeightBp {
        let Some(age) = self.age(at) else { return WeightBp::FULL };
        let on = self.world.faults.iter().filter(|fault| fault.is_on(age)).filter_map(|fault| match fault {
            Fault::Ceiling { crowd, at_most, .. } => (visit.crowd == Some(*crowd)).then_some(*at_most),
            Fault::StoreDown { .. }
            | Fault::ReportsLost { .. }
            | Fault::ScoresLost { .. }
            | Fault::SentinelsLost { .. }
            | Fault::JudgesDown { .. }
            | Fault::JudgesDrift { .. }
            | Fault::Meddled { .. }
            | Fault::Restart { .. } => None,
        });
        on.min().unwrap_or(WeightBp::FULL)
    }

    /// Since the start of the release.
    fn age(&self, at: UnixMs) -> Option<SpanMs> {
        (at >= self.started_at).then(|| at.since(self.started_at))
    }

    fn next_turn(&mut self, mut visit: Visit, at: UnixMs, answered: &Answer, truth: &Truth) -> Option<(UnixMs, Visit)> {
        visit.turns_done += 1;
        visit.turns_left -= 1;
        let users = &self.world.users;
        let think_ms = visit.luck.lognormal(users.think_ms, 0.8);
        let leaves = answered.bad && visit.luck.uniform() < truth.leave;
        let quits = visit.turns_done == 1 && visit.fine.uniform() < truth.quits;
        if visit.turns_left == 0 || leaves || quits {
            if visit.unit != CONSTANT_ID {
                self.pins.remove(&visit.unit);
            }
            return None;
        }
        Some((at + answered.takes + SpanMs(think_ms as u64), visit))
    }

    /// A turn is known at its end, or at its judging age with the rest to follow.
    fn judge(
        &mut self,
        visit: &Visit,
        at: UnixMs,
        version: VersionId,
        member: Option<&Membership>,
        answered: &Answer,
        deadline: SpanMs,
    ) {
        let turn = |part, outcome| Turn {
            route: Arc::clone(&self.route),
            unit: Some(visit.unit),
            customer: self.customer(visit).cloned(),
            version,
            member: member.cloned(),
            origin: Some(self.origin(visit)),
            started_at: at,
            part,
            outcome,
        };
        let parts = if answered.takes <= deadline {
            vec![(at + answered.takes, turn(TurnPart::Whole, answered.outcome.clone()))]
        } else {
            let running = Outcome { ending: Ending::Running, cost_usd: None, ..answered.outcome.clone() };
            vec![
                (at + deadline, turn(TurnPart::Judged, running)),
                (at + answered.takes, turn(TurnPart::Tail, answered.outcome.clone())),
            ]
        };
        for (known_at, turn) in parts {
            self.reports += 1;
            self.turns.insert((known_at, self.reports), turn);
        }
    }

    /// An answer that its judge may want: drawn as a gateway draws it, and whole.
    fn offer(&mut self, table: &RouteTable, visit: &Visit, at: UnixMs, member: Option<&Membership>, answered: &Answer) {
        let Some((release, member)) = table.release.as_ref().zip(member) else { return };
        if answered.outcome.ending != Ending::Complete || !release.is_judged(visit.unit, member, at) {
            return;
        }
        self.reports += 1;
        let sample = Sample {
            unit: visit.unit,
            member: member.clone(),
            turn: self.reports,
            request_id: None,
            started_at: at,
            conversation: "[]".to_owned(),
            answer: answered.text(),
        };
        self.samples.insert((at + answered.takes, self.reports), sample);
    }

    /// A session's task is scored once, some minutes after it began, if anybody scores.
    fn score(&mut self, visit: &Visit, at: UnixMs, member: Option<&Membership>, truth: &Truth) {
        let solved = visit.solved < truth.solved;
        let received_at = at + self.world.users.scored_after;
        let rate = if solved { truth.rate_solved } else { truth.rate_unsolved };
        if visit.rated >= rate || self.scores_are_lost(received_at) {
            return;
        }
        for name in &self.world.users.scores {
            self.tell(visit, received_at, member, name, if solved { 1.0 } else { 0.0 });
        }
    }

    /// What a request tells of the turns before it, as a gateway notices it.
    fn notice(&mut self, visit: &Visit, at: UnixMs, member: Option<&Membership>, asking: &Asking<'_>, truth: &Truth) {
        if member.is_none() || visit.turns_done == 0 {
            return;
        }
        let fine = &asking.draw.fine;
        if fine.reask < truth.reask {
            self.tell(visit, at, member, noticed::REASK, 0.0);
        }
        if fine.retry < truth.retry {
            self.tell(visit, at, member, noticed::CLIENT_RETRY, 0.0);
        }
        if asking.draw.has_tools < self.world.users.tools && truth.tool_fail > 0.0 {
            let value = if fine.tool_fail < truth.tool_fail { 0.0 } else { 1.0 };
            self.tell(visit, at, member, noticed::TOOL_USE, value);
        }
    }

    fn tell(&mut self, visit: &Visit, received_at: UnixMs, member: Option<&Membership>, name: &str, value: f64) {
        self.reports += 1;
        let feedback = Feedback {
            route: (*self.route).clone(),
            unit: visit.unit,
            member: member.cloned(),
            name: name.to_owned(),
            value,
            judge: None,
            idempotency: Luck::new(self.reports).bits(),
            received_at,
        };
        self.scores.insert((received_at, self.reports), feedback);
    }

    fn scores_are_lost(&self, at: UnixMs) -> bool {
        let Some(age) = self.age(at) else { return false };
        self.world.faults.iter().any(|fault| matches!(fault, Fault::ScoresLost { .. }) && fault.is_on(age))
    }

    fn note_member(&mut self, visit: &Visit, member: Option<&Membership>, first: bool) {
        match member.map(|member| member.arm) {
            Some(Arm::Canary) => {
                self.counts.canary.insert(visit.unit);
            }
            Some(Arm::Control) if first => self.counts.control += 1,
            Some(Arm::Control | Arm::Stable) | None => {}
        }
    }

    fn note_move(&mut self, pin: Option<&Pin>, version: VersionId, reason: Reason) {
        if pin.is_none_or(|pin| pin.version == version) {
            return;
        }
        match reason {
            Reason::MovedByRollback => self.counts.moved += 1,
            Reason::Pinned
            | Reason::VersionGone
            | Reason::Slot
            | Reason::Ceiling
            | Reason::OlderThanRelease
            | Reason::Ineligible
            | Reason::OutsideCohorts
            | Reason::NoRelease
            | Reason::NoIdentity
            | Reason::Bound
            | Reason::Forced => self.counts.strayed += 1,
        }
    }
}

fn customer_of(who: &Who) -> Option<CustomerId> {
    match who {
        Who::Customer(name) => Some(CustomerId::from(name.as_str())),
        Who::SameOpener | Who::Region(_) | Who::Streams => None,
    }
}
