//! Where the rows of a ledger's sessions are in the store's log, as far as the ledger has to know it.
//!
//! The store appends what a call of `take_changes` hands out, and never reads it back while the release runs: what of the
//! log is worth keeping is known here, where the sessions are. Rows whose sessions have all posted their last number go by
//! themselves. What long sessions leave behind, a row for each time they changed, goes by *laps*: once the log is long
//! beside what lives, every live session is written once more, some with each call, and then all that was written
//! before the lap may go. A row is written about once for each change, and at most half as often again for the laps.

use crate::evidence::Session;
use crate::evidence::ledger::sessions::Sessions;
use crate::id::UnitKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many lines for each live session are a long log.
const LINES_PER_LIVE: u64 = 3;
/// A row with fewer lines is short.
const LINES_FEW: u64 = 64;
/// Sessions that a lap writes for each that changed, at most.
const PACE: usize = 4;

/// What is not worth a lap, and how small its steps are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limits {
    /// A log of fewer lines beside what lives is left as it is.
    lines_min: u64,
    /// Rows, where they are short.
    rows_max: u64,
    /// Sessions that a lap writes with one call at least.
    pace_min: usize,
}

const LIMITS: Limits = Limits { lines_min: 8_192, rows_max: 4_096, pace_min: 2_048 };

/// What the log holds, by lap and by the last exposure bucket in its rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Log {
    limits: Limits,
    lap: u64,
    /// Every live session has a row of this lap or a later one.
    whole_from: u64,
    /// The first part of the sessions that the present lap has still to write; `None` between laps.
    ahead: Option<usize>,
    /// Rows of before are there, and nobody counted them.
    is_unknown: bool,
    held: BTreeMap<(u64, u64), Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Held {
    rows: u64,
    lines: u64,
}

impl Log {
    /// Goes on behind rows of this lap and of earlier ones.
    pub(super) fn behind(lap: u64) -> Self {
        Self { lap, is_unknown: true, ..Self::new() }
    }

    /// Nothing was ever written.
    pub(super) fn new() -> Self {
        Self { limits: LIMITS, lap: 0, whole_from: 0, ahead: None, is_unknown: false, held: BTreeMap::new() }
    }

    /// The lap of what is written now.
    pub(super) fn lap(&self) -> u64 {
        self.lap
    }

    /// Every live session has a row of this lap or a later one.
    pub(super) fn whole_from(&self) -> u64 {
        self.whole_from
    }

    /// The rows of the sessions that changed, and of those whose turn it is in the lap. `over_to` is the first bucket that
    /// owes a number; `bucket_of` tells a session's.
    pub(super) fn write(
        &mut self,
        sessions: &Sessions,
        changed: &[UnitKey],
        over_to: u64,
        bucket_of: impl Fn(&Session) -> u64,
    ) -> Vec<(UnitKey, Arc<Session>)> {
        self.held.retain(|(_, newest), _| *newest >= over_to);
        if self.ahead.is_none() && self.is_long(sessions.len() as u64) {
            self.lap += 1;
            self.is_unknown = false;
            self.ahead = Some(0);
        }
        let mut rows = Vec::with_capacity(changed.len());
        rows.extend(changed.iter().filter_map(|unit| sessions.get(*unit).map(|session| (*unit, Arc::clone(session)))));
        if let Some(ahead) = self.ahead {
            let pace = self.limits.pace_min.max(rows.len().saturating_mul(PACE));
            self.ahead = walk(sessions, ahead, pace, &mut rows);
        }
        if let Some(newest) = rows.iter().map(|(_, session)| bucket_of(session)).max() {
            let held = self.held.entry((self.lap, newest)).or_default();
            held.rows += 1;
            held.lines += rows.len() as u64;
        }
        if self.ahead.is_none() {
            self.whole_from = self.lap;
            self.held.retain(|(lap, _), _| *lap == self.lap);
        }
        rows
    }

    fn is_long(&self, live: u64) -> bool {
        let (rows, lines) =
            self.held.values().fold((0, 0), |(rows, lines), held| (rows + held.rows, lines + held.lines));
        self.is_unknown
            || lines > live.saturating_mul(LINES_PER_LIVE).saturating_add(self.limits.lines_min)
            || (rows > self.limits.rows_max && lines < rows * LINES_FEW)
    }
}

/// Writes the sessions from a part on: whole parts, one at least, and no more than `pace` rows of several. Returns the
/// first part that is left.
fn walk(sessions: &Sessions, mut ahead: usize, pace: usize, rows: &mut Vec<(UnitKey, Arc<Session>)>) -> Option<usize> {
    let begin = rows.len();
    let until = begin + pace;
    while let Some(part) = sessions.part(ahead) {
        let from = rows.len();
        if from + part.len() > until && from > begin {
            return Some(ahead);
        }
        rows.extend(part.map(|(unit, session)| (unit, Arc::clone(session))));
        // A map has another order after a restart; a row has not.
        rows[from..].sort_unstable_by_key(|(unit, _)| *unit);
        ahead += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{ByMetric, FirstSeen};
    use crate::time::UnixMs;
    use crate::traffic::pin::{Arm, Stratum};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The log as a store keeps it: rows are dropped by their lap, and by their newest session.
    #[derive(Default)]
    struct Stored(Vec<(u64, Lines)>);

    type Lines = Vec<(UnitKey, Arc<Session>)>;

    impl Stored {
        fn add(&mut self, log: &Log, over_to: u64, rows: Lines) {
            self.0.push((log.lap(), rows));
            let lives = |rows: &[(UnitKey, Arc<Session>)]| rows.iter().any(|(_, session)| bucket(session) >= over_to);
            self.0.retain(|(lap, rows)| *lap >= log.whole_from() && lives(rows));
        }

        fn live(&self, over_to: u64) -> Sessions {
            let lines = self.0.iter().flat_map(|(_, rows)| rows).filter(|(_, session)| bucket(session) >= over_to);
            lines.cloned().collect()
        }

        fn lines(&self) -> usize {
            self.0.iter().map(|(_, rows)| rows.len()).sum()
        }
    }

    fn bucket(session: &Session) -> u64 {
        session.exposed_at.0
    }

    fn session(bucket: u64, requests: u64) -> Arc<Session> {
        Arc::new(Session {
            arm: Arm::Control,
            stratum: Stratum(0),
            exposed_at: UnixMs(bucket),
            requests,
            sums: ByMetric::default(),
            first_seen: FirstSeen::default(),
            owed: 0,
            scored: BTreeSet::new(),
            beyond: ByMetric::default(),
            openings: Vec::new(),
            last: None,
        })
    }

    /// Sessions that go on changing, and those of a bucket that are over.
    #[derive(Debug, Clone)]
    struct Round {
        changed: Vec<u128>,
        is_over: bool,
        kill: bool,
    }

    fn rounds() -> impl Strategy<Value = Vec<Round>> {
        let changed = prop::collection::btree_set(0..40_u128, 0..8);
        let round = (changed, prop::bool::weighted(0.1), prop::bool::weighted(0.05));
        let round =
            round.prop_map(|(changed, is_over, kill)| Round { changed: changed.into_iter().collect(), is_over, kill });
        prop::collection::vec(round, 1..150)
    }

    const SMALL: Limits = Limits { lines_min: 6, rows_max: 30, pace_min: 3 };

    proptest! {
        /// Whatever changes, ends and is killed: the rows that are left hold each live session as it is.
        #[test]
        fn the_last_rows_are_the_sessions_that_live(rounds in rounds()) {
            let (mut log, mut sessions, mut stored) = (Log { limits: SMALL, ..Log::new() }, Sessions::new(), Stored::default());
            let (mut bucket_now, mut over_to) = (3, 0);
            for (at, round) in rounds.iter().enumerate() {
                if round.is_over {
                    (bucket_now, over_to) = (bucket_now + 1, over_to + 1);
                    sessions.retain(|session| bucket(session) >= over_to);
                }
                let changed: Vec<UnitKey> = round.changed.iter().copied().map(UnitKey).collect();
                for unit in &changed {
                    let known = sessions.get(*unit).map_or(bucket_now, |session| bucket(session));
                    sessions.insert(*unit, session(known, at as u64));
                }
                let rows = log.write(&sessions, &changed, over_to, bucket);
                stored.add(&log, over_to, rows);
                prop_assert_eq!(stored.live(over_to), sessions.clone());
                if round.kill {
                    sessions = stored.live(over_to);
                    log = Log { limits: SMALL, ..Log::behind(stored.0.iter().map(|(lap, _)| *lap).max().unwrap_or(log.lap())) };
                }
            }
        }
    }

    #[test]
    fn what_is_written_once_is_written_once() {
        let (mut log, mut sessions, mut stored) = (Log::new(), Sessions::new(), Stored::default());
        let mut written = 0;
        for minute in 0..60_u64 {
            let changed: Vec<UnitKey> = (0..1_000).map(|n| UnitKey(u128::from(minute * 1_000 + n))).collect();
            changed.iter().for_each(|unit| sessions.insert(*unit, session(minute, 1)));
            let over_to = minute.saturating_sub(30);
            sessions.retain(|session| bucket(session) >= over_to);
            let rows = log.write(&sessions, &changed, over_to, bucket);
            written += rows.len();
            stored.add(&log, over_to, rows);
        }
        assert_eq!((written, stored.lines(), sessions.len()), (60_000, 31_000, 31_000));
    }

    #[test]
    fn what_changes_all_the_time_is_written_half_as_often_again_and_leaves_a_short_log() {
        let (mut log, mut stored) = (Log::new(), Stored::default());
        let mut sessions: Sessions = (0..20_000).map(|unit| (UnitKey(unit), session(0, 1))).collect();
        let (mut written, mut changes, mut longest, mut most) = (0, 0, 0, 0);
        for look in 0..400_u128 {
            let mut changed: Vec<UnitKey> = (0..1_000).map(|n| UnitKey((look * 1_000 + n * 7) % 20_000)).collect();
            changed.sort_unstable();
            changed.iter().for_each(|unit| sessions.insert(*unit, session(0, 2)));
            let rows = log.write(&sessions, &changed, 0, bucket);
            (written, changes, most) = (written + rows.len(), changes + changed.len(), most.max(rows.len()));
            stored.add(&log, 0, rows);
            longest = longest.max(stored.lines());
        }
        assert!(written < changes * 3 / 2, "{written} lines for {changes} changes");
        // As long as starts a lap, and what the lap writes meanwhile.
        assert!(longest < 3 * 20_000 + 8_192 + 20_000 * 5 / 4 + 2_000, "{longest} lines");
        assert!(most <= 5_000, "{most} lines in one call");
    }

    #[test]
    fn many_short_rows_become_few() {
        let (mut log, mut sessions, mut stored) = (Log::new(), Sessions::new(), Stored::default());
        for unit in 0..10_000 {
            sessions.insert(UnitKey(unit), session(0, 1));
            let rows = log.write(&sessions, &[UnitKey(unit)], 0, bucket);
            stored.add(&log, 0, rows);
        }
        assert!(stored.0.len() < 4_200, "{} rows", stored.0.len());
    }
}
