//! What a gateway does with a turn, without sockets: assign, pin, judge, report.

use crate::luck::Luck;
use crate::upstream::{Answer, answer};
use crate::users::{Arrivals, Visit};
use crate::world::{Side, World};
use coalmine_core::id::{GatewayId, RouteName, UnitKey};
use coalmine_core::tally::{Delta, Ending, Feedback, Outcome, Turn, TurnPart};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::assign::{Asked, Identity, Opening, PinChange, Reason, assign};
use coalmine_core::traffic::pin::{Arm, Membership, Pin};
use coalmine_core::traffic::table::{RouteTable, RoutingTable};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::VersionId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// From a session's begin to its score.
const SCORED_AFTER: SpanMs = SpanMs::minutes(5);
/// Where no release says when a request is judged.
const JUDGED_AFTER: SpanMs = SpanMs::secs(60);

/// One gateway with its users.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    world: &'a World,
    route: Arc<RouteName>,
    started_at: UnixMs,
    canary: VersionId,
    arrivals: Arrivals,
    visits: BTreeMap<u64, Visit>,
    /// The next turns, by time.
    due: BinaryHeap<Reverse<(UnixMs, u64)>>,
    visit_count: u64,
    pins: BTreeMap<UnitKey, Pin>,
    /// Judged turns and scores by the instant at which they are known.
    turns: BTreeMap<(UnixMs, u64), Turn>,
    scores: BTreeMap<(UnixMs, u64), Feedback>,
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
    /// Canary sessions with a bad turn that stable would have answered well.
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
            arrivals: Arrivals::new(seed, origin, &world.users),
            visits: BTreeMap::new(),
            due: BinaryHeap::new(),
            visit_count: 0,
            pins: BTreeMap::new(),
            turns: BTreeMap::new(),
            scores: BTreeMap::new(),
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
        }));
        self.outbound.clone()
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
            customer: None,
            opening: if first { Opening::First } else { Opening::Continued },
            pin: pin.as_ref(),
            forced: None,
            ceiling: WeightBp::FULL,
            now: at,
        };
        let assigned = assign(table, &asked);
        self.note_move(pin.as_ref(), assigned.version, assigned.reason);
        match assigned.pin {
            PinChange::Create(pin) | PinChange::Replace(pin) => {
                self.pins.insert(visit.unit, pin);
            }
            PinChange::Touch | PinChange::None => {}
        }
        let deadline = table.release.as_ref().map_or(JUDGED_AFTER, |release| release.judged_after);
        let draw = visit.draw(&self.world.users);
        let age = (at >= self.started_at).then(|| at.since(self.started_at));
        let on = if assigned.version == self.canary { Side::Canary } else { Side::Stable };
        let answered = answer(&self.world.truth(on, age), &draw, &self.world.users, deadline);
        self.counts.turns += 1;
        self.note_member(&visit, assigned.member.as_ref(), first);
        if on == Side::Canary && answered.bad {
            let stable = answer(&self.world.truth(Side::Stable, age), &draw, &self.world.users, deadline);
            if !stable.bad {
                self.counts.harmed.insert(visit.unit);
            }
        }
        self.judge(&visit, at, assigned.version, assigned.member.as_ref(), &answered, deadline);
        if first {
            self.score(&visit, at, assigned.member, on);
        }
        self.next_turn(visit, at, &answered)
    }

    fn next_turn(&mut self, mut visit: Visit, at: UnixMs, answered: &Answer) -> Option<(UnixMs, Visit)> {
        visit.turns_done += 1;
        visit.turns_left -= 1;
        let users = &self.world.users;
        let think_ms = visit.luck.lognormal(users.think_ms, 0.8);
        let leaves = answered.bad && visit.luck.uniform() < users.leave_after_bad;
        if visit.turns_left == 0 || leaves {
            self.pins.remove(&visit.unit);
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
            customer: None,
            version,
            member: member.cloned(),
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

    /// Every session's task is scored once, some minutes after it began.
    fn score(&mut self, visit: &Visit, at: UnixMs, member: Option<Membership>, on: Side) {
        let age = (at >= self.started_at).then(|| at.since(self.started_at));
        let solved = visit.solved < self.world.truth(on, age).solved;
        let received_at = at + SCORED_AFTER;
        self.reports += 1;
        let feedback = Feedback {
            route: (*self.route).clone(),
            unit: visit.unit,
            member,
            name: "solved".to_owned(),
            value: if solved { 1.0 } else { 0.0 },
            idempotency: Luck::new(self.reports).bits(),
            received_at,
        };
        self.scores.insert((received_at, self.reports), feedback);
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
            | Reason::OutsideCohorts
            | Reason::NoRelease
            | Reason::NoIdentity
            | Reason::Forced => self.counts.strayed += 1,
        }
    }
}
