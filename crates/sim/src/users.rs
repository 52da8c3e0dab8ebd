//! Sessions and their turns. A session's luck is its own: it depends on the seed and its number only, never
//! on the version that answers.

use crate::luck::Luck;
use crate::world::Users;
use coalmine_core::id::UnitKey;
use coalmine_core::time::UnixMs;

/// What a client sends that sends the same session id always.
pub(crate) const CONSTANT_ID: UnitKey = UnitKey(1);
/// The stream of [`Fine`].
const FINE: u64 = 0x0066_696e_6520_6c75;

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
    pub(crate) fine: Fine,
}

/// The luck of what judges and detectors see of a turn. It comes from a stream of its own, so that a world without
/// them is what it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fine {
    /// Tells this answer from any other.
    pub(crate) id: u64,
    pub(crate) good: f64,
    /// How good a good answer is, and how poor a poor one.
    pub(crate) grade: f64,
    pub(crate) empty: f64,
    pub(crate) truncated: f64,
    pub(crate) schema_asked: f64,
    pub(crate) schema_bad: f64,
    pub(crate) fenced: f64,
    pub(crate) repeated_call: f64,
    pub(crate) repetition: f64,
    pub(crate) other_language: f64,
    pub(crate) chars: f64,
    /// Which of the usual openings it has.
    pub(crate) opening: f64,
    pub(crate) new_opening: f64,
    pub(crate) cached: f64,
    pub(crate) reask: f64,
    pub(crate) retry: f64,
    pub(crate) tool_fail: f64,
}

/// One session under way.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) unit: UnitKey,
    pub(crate) turns_left: u32,
    pub(crate) turns_done: u32,
    pub(crate) luck: Luck,
    /// The luck of what is seen besides.
    pub(crate) fine: Luck,
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
        let mut fine = Luck::part(seed ^ FINE, number);
        let own = Draw::new(&mut luck, &mut fine);
        let (solved, rated) = (luck.uniform(), luck.uniform());
        let crowd = users.crowd(luck.uniform());
        if luck.uniform() < users.constant_id {
            unit = CONSTANT_ID;
        }
        Self { unit, turns_left, turns_done: 0, luck, fine, own, solved, rated, crowd, began_at: UnixMs(0) }
    }

    /// The luck of the next turn: the session's own, or fresh.
    pub(crate) fn draw(&mut self, users: &Users) -> Draw {
        let fresh = Draw::new(&mut self.luck, &mut self.fine);
        if self.luck.uniform() < users.cluster {
            let fine = fresh.fine.clustered(&self.own.fine);
            Draw { error: self.own.error, refusal: self.own.refusal, tool_bad: self.own.tool_bad, fine, ..fresh }
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
    fn new(luck: &mut Luck, fine: &mut Luck) -> Self {
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
            fine: Fine::new(fine),
        }
    }

    /// The luck of a copy of the same request: what it asks for stays, and of the rest each has its original's luck by the
    /// chance `alike`.
    pub(crate) fn of_copy(&self, luck: &mut Luck, alike: f64) -> Self {
        let mut other = luck.clone();
        let fresh = Self::new(luck, &mut other);
        let mut of = |own: f64, fresh: f64| if luck.uniform() < alike { own } else { fresh };
        Self {
            error: of(self.error, fresh.error),
            hang: of(self.hang, fresh.hang),
            refusal: of(self.refusal, fresh.refusal),
            tool_bad: of(self.tool_bad, fresh.tool_bad),
            has_tools: self.has_tools,
            ttft: of(self.ttft, fresh.ttft),
            answer: of(self.answer, fresh.answer),
            cost: of(self.cost, fresh.cost),
            // Nobody waits for a copy, or stops it.
            stop: 1.0,
            miss: of(self.miss, fresh.miss),
            fine: Fine {
                id: fresh.fine.id,
                schema_asked: self.fine.schema_asked,
                good: of(self.fine.good, fresh.fine.good),
                grade: of(self.fine.grade, fresh.fine.grade),
                empty: of(self.fine.empty, fresh.fine.empty),
                truncated: of(self.fine.truncated, fresh.fine.truncated),
                schema_bad: of(self.fine.schema_bad, fresh.fine.schema_bad),
                fenced: of(self.fine.fenced, fresh.fine.fenced),
                repeated_call: of(self.fine.repeated_call, fresh.fine.repeated_call),
                repetition: of(self.fine.repetition, fresh.fine.repetition),
                other_language: of(self.fine.other_language, fresh.fine.other_language),
                chars: of(self.fine.chars, fresh.fine.chars),
                ..fresh.fine
            },
        }
    }
}

impl Fine {
    fn new(luck: &mut Luck) -> Self {
        Self {
            id: luck.bits(),
            good: luck.uniform(),
            grade: luck.uniform(),
            empty: luck.uniform(),
            truncated: luck.uniform(),
            schema_asked: luck.uniform(),
            schema_bad: luck.uniform(),
            fenced: luck.uniform(),
            repeated_call: luck.uniform(),
            repetition: luck.uniform(),
            other_language: luck.uniform(),
            chars: luck.normal(),
            opening: luck.uniform(),
            new_opening: luck.uniform(),
            cached: luck.uniform(),
            reask: luck.uniform(),
            retry: luck.uniform(),
            tool_fail: luck.uniform(),
        }
    }

    /// As a turn has it that shares its session's luck.
    fn clustered(&self, own: &Self) -> Self {
        Self { id: self.id, opening: self.opening, schema_asked: self.schema_asked, chars: self.chars, ..*own }
    }
}
