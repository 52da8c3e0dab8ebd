//! The sessions of a ledger. A node has up to a million, each turn asks for one, and so does each of its postings: they
//! are found by hash, in parts so small that none of them grows for long.

use crate::evidence::Session;
use crate::id::UnitKey;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A part is a byte of the unit.
const PARTS: usize = 256;
/// Room in a part that is not given back.
const ROOM_MIN: usize = 64;

/// The sessions by their unit. They are shared with whoever writes them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sessions {
    parts: Vec<Part>,
    len: usize,
}

type Part = HashMap<UnitKey, Arc<Session>, BuildHasherDefault<ByUnit>>;

/// A unit is a keyed hash already, which nobody outside can choose: its bits need no more than to be spread.
#[derive(Debug, Default)]
struct ByUnit(u64);

impl Hasher for ByUnit {
    fn write_u128(&mut self, unit: u128) {
        self.0 = ((unit >> 8) as u64 ^ (unit >> 72) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Sessions {
    /// Of nobody.
    pub(super) fn new() -> Self {
        Self { parts: vec![Part::default(); PARTS], len: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, unit: UnitKey) -> Option<&Arc<Session>> {
        self.parts[place(unit)].get(&unit)
    }

    pub(super) fn get_mut(&mut self, unit: UnitKey) -> Option<&mut Arc<Session>> {
        self.parts[place(unit)].get_mut(&unit)
    }

    pub(super) fn insert(&mut self, unit: UnitKey, session: Arc<Session>) {
        let before = self.parts[place(unit)].insert(unit, session);
        self.len += usize::from(before.is_none());
    }

    pub(super) fn remove(&mut self, unit: UnitKey) -> Option<Arc<Session>> {
        let part = &mut self.parts[place(unit)];
        let removed = part.remove(&unit);
        self.len -= usize::from(removed.is_some());
        // What was busy once does not keep its room for days.
        if part.capacity() > ROOM_MIN && part.len() < part.capacity() / 8 {
            part.shrink_to(part.len() * 2);
        }
        removed
    }

    /// The sessions of one part, in no order; `None` behind the last one.
    pub(super) fn part(&self, part: usize) -> Option<impl ExactSizeIterator<Item = (UnitKey, &Arc<Session>)>> {
        self.parts.get(part).map(|part| part.iter().map(|(unit, session)| (*unit, session)))
    }
}

fn place(unit: UnitKey) -> usize {
    unit.0 as usize % PARTS
}

#[cfg(test)]
impl Sessions {
    pub(super) fn retain(&mut self, keep: impl Fn(&Session) -> bool) {
        self.parts.iter_mut().for_each(|part| part.retain(|_, session| keep(session)));
        self.len = self.parts.iter().map(HashMap::len).sum();
    }
}

#[cfg(test)]
impl FromIterator<(UnitKey, Arc<Session>)> for Sessions {
    fn from_iter<I: IntoIterator<Item = (UnitKey, Arc<Session>)>>(rows: I) -> Self {
        let mut sessions = Self::new();
        rows.into_iter().for_each(|(unit, session)| sessions.insert(unit, session));
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::member;
    use crate::time::UnixMs;
    use crate::traffic::pin::Arm;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Units that differ in one byte only are told apart as well as others.
        #[test]
        fn they_are_what_a_tree_of_them_is(steps in prop::collection::vec((0_u32..16, any::<u8>(), any::<bool>()), 0..2_000)) {
            let (mut sessions, mut tree) = (Sessions::new(), BTreeMap::new());
            for (at, (byte, value, comes)) in steps.into_iter().enumerate() {
                let unit = UnitKey(u128::from(value) << (8 * byte));
                if comes {
                    let session = Arc::new(Session::begun(&member(Arm::Control, UnixMs(at as u64))));
                    sessions.insert(unit, Arc::clone(&session));
                    tree.insert(unit, session);
                } else {
                    prop_assert_eq!(sessions.remove(unit), tree.remove(&unit));
                }
                prop_assert_eq!(sessions.get(unit), tree.get(&unit));
                prop_assert_eq!(sessions.len(), tree.len());
            }
            let all: BTreeMap<_, _> = (0..).map_while(|part| sessions.part(part)).flatten().map(|(unit, session)| (unit, Arc::clone(session))).collect();
            prop_assert_eq!(all, tree);
        }
    }

    #[test]
    fn the_room_of_a_busy_hour_is_given_back() {
        let session = Arc::new(Session::begun(&member(Arm::Control, UnixMs(0))));
        let mut sessions: Sessions = (0..200_000_u128).map(|unit| (UnitKey(unit), Arc::clone(&session))).collect();
        let room = |sessions: &Sessions| sessions.parts.iter().map(HashMap::capacity).sum::<usize>();
        assert!(room(&sessions) >= 200_000);
        (0..199_000).for_each(|unit| drop(sessions.remove(UnitKey(unit))));
        assert_eq!(sessions.len(), 1_000);
        assert!(room(&sessions) <= PARTS * 2 * ROOM_MIN, "{}", room(&sessions));
    }
}
