//! Sessions and their turns. A session's luck is its own: it depends on the seed and its number only, never
//! on the version that answers.

use crate::luck::Luck;
use crate::world::Users;
use coalmine_core::id::UnitKey;
use coalmine_core::time::UnixMs;

/// What a client sends that sends the same session id always.
pub(crate) const CONSTANT_ID: UnitKey = UnitKey(1);

/// How much the luck of a turn decides: one number per thing that can go wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub(crate) error: f64,
    pub(crate) hang: f64,
    pub(crate) refusal: f64,
    pub(crate) tool_bad: f64,
    pub(crate) has_tools: f64,
    pub(crate) ttft: f64,
    pub(crate) answer: f64,
    pub(crate) cost: f64,
    pub(crate) stop: f64,
    /// Against the share of the cache that is cold.
    pub(crate) miss: f64,
}

/// One session under way.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) unit: UnitKey,
    pub(crate) turns_left: u32,
    pub(crate) turns_done: u32,
    pub(crate) luck: Luck,
    pub(crate) own: Draw,
    pub(crate) solved: f64,
    /// Against the chance that it is scored.
    pub(crate) rated: f64,
    /// Which crowd it is of, as an index.
    pub(crate) crowd: Option<usize>,
    /// When its first turn began.
    pub(crate) began_at: UnixMs,
}

/// Sessions in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Arrivals {
    seed: u64,
    count: u64,
    luck: Luck,
    origin: UnixMs,
    next_ms: f64,
}

impl Arrivals {
    pub(crate) fn new(seed: u64, origin: UnixMs, users: &Users) -> Self {
        let mut arrivals = Self { seed, count: 0, luck: Luck::part(seed, u64::MAX), origin, next_ms: 0.0 };
        arrivals.step(users);
        arrivals
    }

    /// The next session, if it arrives by `now`.
    pub(crate) fn next_by(&mut self, now: UnixMs, users: &Users) -> Option<(UnixMs, Visit)> {
        let at = UnixMs(self.origin.0 + self.next_ms as u64);
        if at > now {
            return None;
        }
        self.step(users);
        self.count += 1;
        Some((at, Visit::new(self.seed, self.count, users)))
    }

    fn step(&mut self, users: &Users) {
        let day = std::f64::consts::TAU * self.next_ms / 86_400_000.0;
        let rate = users.sessions_per_hour * (1.0 + users.swing * day.sin()).max(0.01);
        self.next_ms += self.luck.exponential(3_600_000.0 / rate.max(1e-9));
    }
}

impl Visit {
    fn new(seed: u64, number: u64, users: &Users) -> Self {
        let mut luck = Luck::part(seed, number);
        let mut unit = UnitKey((u128::from(luck.bits()) << 64) | u128::from(luck.bits()));
        let turns_left = luck.geometric(users.turns_mean);
        let own = Draw::new(&mut luck);
        let (solved, rated) = (luck.uniform(), luck.uniform());
        let crowd = users.crowd(luck.uniform());
        if luck.uniform() < users.constant_id {
            unit = CONSTANT_ID;
        }
        Self { unit, turns_left, turns_done: 0, luck, own, solved, rated, crowd, began_at: UnixMs(0) }
    }

    /// The luck of the next turn: the session's own, or fresh.
    pub(crate) fn draw(&mut self, users: &Users) -> Draw {
        let fresh = Draw::new(&mut self.luck);
        if self.luck.uniform() < users.cluster {
            Draw { error: self.own.error, refusal: self.own.refusal, tool_bad: self.own.tool_bad, ..fresh }
        } else {
            fresh
        }
    }
}

impl Users {
    /// The crowd of a session with this luck.
    fn crowd(&self, luck: f64) -> Option<usize> {
        let mut below = 0.0;
        self.crowds.iter().position(|crowd| {
            below += crowd.share;
            luck < below
        })
    }
}

impl Draw {
    fn new(luck: &mut Luck) -> Self {
        Self {
            error: luck.uniform(),
            hang: luck.uniform(),
            refusal: luck.uniform(),
            tool_bad: luck.uniform(),
            has_tools: luck.uniform(),
            ttft: luck.normal(),
            answer: luck.normal(),
            cost: luck.normal(),
            stop: luck.uniform(),
            miss: luck.uniform(),
        }
    }
}
