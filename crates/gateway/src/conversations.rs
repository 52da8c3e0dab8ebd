//! Conversations followed by content: which unit an answer was given to. Bounded in number and time.
//! Written behind with the pins, in one call, so that a restart finds a conversation under way again.

use crate::behind::{Behind, Room};
use crate::ports::PinStore;
use crate::spread::SpreadMap;
use crate::sync::lock;
use coalmine_core::id::UnitKey;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Followed;
use coalmine_core::version::VersionId;
use coalmine_wire::conversation::ConversationHash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Of a million conversations a shard has a few thousand: a map that grows moves all that is in it, and whoever asks for
/// the shard waits for that. A power of two.
const SHARDS: usize = 256;

/// Who was answered how.
#[derive(Debug)]
pub(crate) struct Conversations {
    shards: Box<[Mutex<Ages>]>,
    /// The most in one age of one shard.
    each: usize,
    idle: SpanMs,
    pins: Arc<dyn PinStore>,
    behind: Behind<Followed>,
    append_failures: AtomicU64,
}

/// What a continued conversation is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The unit that was answered so, and by which version.
    Unit(UnitKey, VersionMark),
    /// Units on different versions got the same answer to the same words: nobody can tell which it is.
    Ambiguous,
    /// Nobody was answered so: an edited or a cut history, or one that is too old.
    Unknown,
}

/// Two ages: what is used moves into the young one, and the old one is forgotten as a whole.
#[derive(Debug, Default)]
struct Ages {
    young: SpreadMap<u128, Entry>,
    old: SpreadMap<u128, Entry>,
    since: UnixMs,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// `None` once it is ambiguous.
    unit: Option<UnitKey>,
    version: VersionMark,
}

/// As much of a version's id as tells it from the others of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionMark(u64);

impl VersionMark {
    pub(crate) fn of(version: VersionId) -> Self {
        let mut low = [0; 8];
        low.copy_from_slice(&version.0[..8]);
        Self(u64::from_le_bytes(low))
    }
}

impl Conversations {
    pub(crate) fn new(count: usize, idle: SpanMs, pins: Arc<dyn PinStore>) -> Self {
        let shards = 1 << (count / 2).clamp(1, SHARDS).ilog2();
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            each: (count / shards / 2).max(1),
            idle,
            pins,
            behind: Behind::default(),
            append_failures: AtomicU64::new(0),
        }
    }

    /// Whose conversation this is.
    pub(crate) fn find(&self, hash: ConversationHash, now: UnixMs) -> Found {
        let mut ages = lock(self.shard(hash));
        self.turn(&mut ages, now);
        let Some(entry) = ages.young.get(&hash.0).or_else(|| ages.old.get(&hash.0)).copied() else {
            return Found::Unknown;
        };
        ages.young.insert(hash.0, entry);
        entry.unit.map_or(Found::Ambiguous, |unit| Found::Unit(unit, entry.version))
    }

    /// An answer to `unit`, given by `version`, has ended. It is to be written before its last bytes leave.
    pub(crate) fn keep(&self, hash: ConversationHash, unit: UnitKey, version: VersionId, now: UnixMs) {
        self.put(hash, unit, version, now);
        if self.behind.leave(Followed { conversation: hash.0, unit, version, at: now }) == Room::Full {
            self.write();
        }
    }

    /// How many records were left so far.
    pub(crate) fn left(&self) -> u64 {
        self.behind.left()
    }

    /// Whether so many of them are written.
    pub(crate) fn is_written(&self, through: u64) -> bool {
        self.behind.is_written(through)
    }

    /// Writes what waits, and the pins that wait with it.
    pub(crate) fn write(&self) {
        self.behind.write(|records| {
            if self.pins.write_with(records).is_err() {
                self.append_failures.fetch_add(records.len() as u64, Ordering::Relaxed);
            }
        });
    }

    /// Answers that wait to be written behind.
    pub(crate) fn waiting(&self) -> usize {
        self.behind.len()
    }

    /// Takes over what an earlier process wrote, oldest first.
    pub(crate) fn restore(&self, records: impl IntoIterator<Item = Followed>) {
        for followed in records {
            self.put(ConversationHash(followed.conversation), followed.unit, followed.version, followed.at);
        }
    }

    /// Answers that could not be written behind.
    pub(crate) fn append_failures(&self) -> u64 {
        self.append_failures.load(Ordering::Relaxed)
    }

    fn put(&self, hash: ConversationHash, unit: UnitKey, version: VersionId, now: UnixMs) {
        let version = VersionMark::of(version);
        let mut ages = lock(self.shard(hash));
        self.turn(&mut ages, now);
        let known = ages.young.get(&hash.0).or_else(|| ages.old.get(&hash.0)).copied();
        let twin =
            known.is_some_and(|known| known.unit != Some(unit) && (known.unit.is_none() || known.version != version));
        ages.young.insert(hash.0, Entry { unit: (!twin).then_some(unit), version });
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard)).map(|ages| ages.young.len() + ages.old.len()).sum()
    }

    fn shard(&self, hash: ConversationHash) -> &Mutex<Ages> {
        &self.shards[(hash.0 >> 64) as usize & (self.shards.len() - 1)]
    }

    fn turn(&self, ages: &mut Ages, now: UnixMs) {
        let aged = now.since(ages.since) > self.idle;
        if ages.young.len() < self.each && !aged {
            return;
        }
        // an age that began two idle times ago holds nothing that is not idle
        let stale = now.since(ages.since) > self.idle + self.idle;
        let young = std::mem::take(&mut ages.young);
        ages.old = if stale { SpreadMap::default() } else { young };
        ages.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::{MemoryPins, PinLimits};
    use crate::ports::NoPinLog;

    const A: VersionId = VersionId([1; 32]);
    const B: VersionId = VersionId([2; 32]);

    fn no_log() -> Arc<MemoryPins> {
        Arc::new(MemoryPins::new(PinLimits::default(), Arc::new(NoPinLog)))
    }

    fn hash(n: u128) -> ConversationHash {
        ConversationHash(n << 64 | n)
    }

    #[test]
    fn finds_who_was_answered_and_nobody_else() {
        let all = Conversations::new(1_000, SpanMs::hours(1), no_log());
        all.keep(hash(1), UnitKey(7), A, UnixMs(1_000));
        assert_eq!(all.find(hash(1), UnixMs(2_000)), Found::Unit(UnitKey(7), VersionMark::of(A)));
        assert_eq!(all.find(hash(2), UnixMs(2_000)), Found::Unknown);
    }

    #[test]
    fn twins_on_one_version_go_on_and_twins_on_two_are_ambiguous() {
        let all = Conversations::new(1_000, SpanMs::hours(1), no_log());
        all.keep(hash(1), UnitKey(7), A, UnixMs(0));
        all.keep(hash(1), UnitKey(8), A, UnixMs(0));
        assert_eq!(all.find(hash(1), UnixMs(0)), Found::Unit(UnitKey(8), VersionMark::of(A)));
        all.keep(hash(1), UnitKey(9), B, UnixMs(0));
        assert_eq!(all.find(hash(1), UnixMs(0)), Found::Ambiguous);
        all.keep(hash(1), UnitKey(9), B, UnixMs(0));
        assert_eq!(all.find(hash(1), UnixMs(0)), Found::Ambiguous);
    }

    #[test]
    fn is_bounded_and_forgets_the_idle() {
        let all = Conversations::new(320, SpanMs::secs(10), no_log());
        for n in 0..10_000 {
            all.keep(hash(n), UnitKey(n), A, UnixMs(1_000));
        }
        assert!(all.len() <= 320, "{}", all.len());
        assert_eq!(all.find(hash(9_999), UnixMs(2_000)), Found::Unit(UnitKey(9_999), VersionMark::of(A)));
        assert_eq!(all.find(hash(9_999), UnixMs(90_000)), Found::Unknown);
    }

    #[test]
    fn what_is_used_lives_on() {
        let all = Conversations::new(1_000, SpanMs::secs(10), no_log());
        all.keep(hash(1), UnitKey(7), A, UnixMs(0));
        for second in 1..60 {
            assert_eq!(
                all.find(hash(1), UnixMs(second * 1_000)),
                Found::Unit(UnitKey(7), VersionMark::of(A)),
                "{second}"
            );
        }
    }
}
