//! Sessions as the table of counting rules needs them: turns with their beginnings, lengths and badness.

use coalmine_sim::luck::Luck;

/// A request has failed when it has no answer after this.
pub(crate) const DEADLINE_MS: f64 = 60_000.0;
/// Share of a session's turns that repeat its own luck: a correlation of 0.2 between two of its turns.
const CLUSTER: f64 = 0.45;
const THINK_MS: f64 = 45_000.0;
const LATENCY_MS: f64 = 4_000.0;

/// What is true of one arm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    /// The chance that a turn is bad …
    pub(crate) bad: f64,
    /// … that one of the first two is …
    pub(crate) early: f64,
    /// … and that the first is.
    pub(crate) first: f64,
    /// The chance that a turn hangs until its deadline, and is bad.
    pub(crate) hang: f64,
    /// The chance that a user leaves after a bad turn.
    pub(crate) leave: f64,
    /// Latency, in times of the usual one.
    pub(crate) slow: f64,
    /// Latency of a bad turn, in times of the usual one; `None` as any other.
    pub(crate) bad_slow: Option<f64>,
    /// Turns, geometric.
    pub(crate) turns: f64,
}

impl Arm {
    pub(crate) const fn of(bad: f64) -> Self {
        Self { bad, early: bad, first: bad, hang: 0.0, leave: 0.0, slow: 1.0, bad_slow: None, turns: 4.0 }
    }
}

/// One turn, in milliseconds since the session's first one began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) begins: f64,
    pub(crate) ends: f64,
    pub(crate) bad: bool,
}

/// Fills `turns` with the turns of one session.
pub(crate) fn session(arm: &Arm, luck: &mut Luck, turns: &mut Vec<Turn>) {
    turns.clear();
    let own = luck.uniform();
    let mut begins = 0.0;
    for number in 0..luck.geometric(arm.turns) {
        let fresh = luck.uniform();
        let draw = if luck.uniform() < CLUSTER { own } else { fresh };
        let chance = match number {
            0 => arm.first,
            1 => arm.early,
            _ => arm.bad,
        };
        let hangs = arm.hang > 0.0 && luck.uniform() < arm.hang;
        let bad = draw < chance || hangs;
        let slow = if bad { arm.bad_slow.unwrap_or(arm.slow) } else { arm.slow };
        let latency = if hangs { DEADLINE_MS } else { luck.lognormal(LATENCY_MS * slow, 0.6).min(DEADLINE_MS) };
        turns.push(Turn { begins, ends: begins + latency, bad });
        if bad && arm.leave > 0.0 && luck.uniform() < arm.leave {
            return;
        }
        begins += latency + luck.lognormal(THINK_MS, 0.8);
    }
}
