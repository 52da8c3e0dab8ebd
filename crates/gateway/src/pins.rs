//! Pins in memory, written behind through a [`PinLog`]: sharded maps with compact entries, so that
//! a million live sessions stay well below 200 MiB and no request waits for the disk.

use crate::behind::{Behind, Room};
use crate::ports::{Boxed, LivePins, PinCounts, PinError, PinLog, PinStore};
use crate::spread::SpreadMap;
use crate::sync::lock;
use arc_swap::ArcSwap;
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Followed, Membership, Pin, PinRecord, Stratum};
use coalmine_core::version::VersionId;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Of a million pins a shard has four thousand: a map that grows moves all that is in it, and whoever asks for the shard
/// waits for that.
const SHARDS: usize = 256;
/// Shards that one sweep goes through, each for itself.
const SWEPT: usize = 4;
/// Records per append when everything is written anew.
const REWRITE_BATCH: usize = 4_096;

/// How long and how many.
#[derive(Debug, Clone, Copy)]
pub struct PinLimits {
    /// A pin idle for longer is gone.
    pub idle: SpanMs,
    /// The most pins held; beyond it the least recently used of a sample gives way, and is counted.
    pub count: usize,
}

impl Default for PinLimits {
    fn default() -> Self {
        Self { idle: SpanMs::hours(24), count: 2_000_000 }
    }
}

/// The pins of one process.
#[derive(Debug)]
pub struct MemoryPins {
    shards: Box<[Mutex<Shard>]>,
    kinds: Kinds,
    log: Arc<dyn PinLog>,
    behind: Behind<PinRecord>,
    limits: PinLimits,
    /// An append failed: the log misses records until everything has been written anew.
    unlogged: AtomicBool,
    evicted: AtomicU64,
    append_failures: AtomicU64,
    next_sweep: AtomicUsize,
}

type Shard = SpreadMap<Key, Entry>;

/// The unit in two halves, which keeps the entry's alignment, and so its size, small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(u64, u64);

#[derive(Debug, Clone, Copy)]
struct Entry {
    exposed_at: UnixMs,
    last_seen_s: u32,
    logged_s: u32,
    kind: u32,
}

impl Key {
    fn of(unit: UnitKey) -> Self {
        Self((unit.0 >> 64) as u64, unit.0 as u64)
    }

    fn unit(self) -> UnitKey {
        UnitKey(u128::from(self.0) << 64 | u128::from(self.1))
    }
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

impl MemoryPins {
    /// No pins yet, over `log`.
    #[must_use]
    pub fn new(limits: PinLimits, log: Arc<dyn PinLog>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            kinds: Kinds::default(),
            log,
            behind: Behind::default(),
            limits,
            unlogged: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
            append_failures: AtomicU64::new(0),
            next_sweep: AtomicUsize::new(0),
        }
    }

    /// Takes over what an earlier process wrote, in its order: a later record of a unit wins.
    /// Idle ones are left out. Returns how many pins are held afterwards.
    pub fn restore(&self, records: impl IntoIterator<Item = PinRecord>, now: UnixMs) -> usize {
        for record in records {
            if now.since(record.pin.last_seen) <= self.limits.idle {
                let entry = self.entry(&record.pin);
                self.insert(record.unit, entry);
            } else {
                self.shard(record.unit).remove(&Key::of(record.unit));
            }
        }
        self.len()
    }

    /// How many pins are held, idle ones that were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands every live pin to `take`, shard by shard: what a compaction of the log writes.
    pub fn for_each(&self, now: UnixMs, mut take: impl FnMut(PinRecord)) {
        let kinds = self.kinds.list.load();
        for shard in &self.shards {
            let copy: Vec<(Key, Entry)> = lock(shard).iter().map(|(key, entry)| (*key, *entry)).collect();
            for (key, entry) in copy {
                if let (true, Some(kind)) = (self.is_live(&entry, now), kinds.get(entry.kind as usize)) {
                    take(PinRecord { unit: key.unit(), pin: kind.pin(&entry) });
                }
            }
        }
    }

    fn shard(&self, unit: UnitKey) -> MutexGuard<'_, Shard> {
        // the high half picks the shard, the low half the place in it
        let index = (unit.0 >> 64) as usize % SHARDS;
        lock(&self.shards[index])
    }

    fn is_live(&self, entry: &Entry, now: UnixMs) -> bool {
        entry.last_seen_s >= seconds(now - self.limits.idle)
    }

    fn entry(&self, pin: &Pin) -> Entry {
        let last_seen_s = seconds(pin.last_seen);
        Entry {
            exposed_at: pin.member.as_ref().map_or(pin.last_seen, |member| member.exposed_at),
            last_seen_s,
            logged_s: last_seen_s,
            kind: self.kinds.intern(pin),
        }
    }

    fn insert(&self, unit: UnitKey, entry: Entry) {
        let mut shard = self.shard(unit);
        self.make_room(&mut shard);
        shard.insert(Key::of(unit), entry);
    }

    fn make_room(&self, shard: &mut Shard) {
        while shard.len() >= (self.limits.count / SHARDS).max(1) {
            let oldest = shard.iter().take(16).min_by_key(|(_, entry)| entry.last_seen_s).map(|(key, _)| *key);
            let Some(key) = oldest else { return };
            shard.remove(&key);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn append(&self, unit: UnitKey, pin: &Pin) {
        if self.behind.leave(PinRecord { unit, pin: pin.clone() }) == Room::Full {
            self.write_waiting();
        }
    }

    /// Writes what waits.
    fn write_waiting(&self) {
        self.behind.write(|records| {
            // what failed was noted
            let _ = self.log(records, &[]);
        });
    }

    fn log(&self, records: &[PinRecord], followed: &[Followed]) -> Result<(), PinError> {
        let logged = self.log.append(records, followed);
        if let (Err(error), false) = (&logged, records.is_empty()) {
            self.append_failures.fetch_add(records.len() as u64, Ordering::Relaxed);
            if !self.unlogged.swap(true, Ordering::AcqRel) {
                tracing::error!(%error, "pins are kept in memory only; no weight is raised until they can be written");
            }
        }
        logged
    }

    /// After a failed append the log has holes: everything is written anew before it counts as flushed.
    fn rewrite(&self) -> Result<(), PinError> {
        self.unlogged.store(false, Ordering::Release);
        let mut batch = Vec::with_capacity(REWRITE_BATCH);
        let mut outcome = Ok(());
        self.for_each(UnixMs(0), |record| {
            batch.push(record);
            if batch.len() == REWRITE_BATCH && outcome.is_ok() {
                outcome = self.log.append(&batch, &[]);
                batch.clear();
            }
        });
        let outcome = outcome.and_then(|()| self.log.append(&batch, &[]));
        if outcome.is_err() {
            self.unlogged.store(true, Ordering::Release);
        }
        outcome
    }
}

impl PinStore for MemoryPins {
    fn get(&self, unit: UnitKey, now: UnixMs) -> Option<Pin> {
        let entry = *self.shard(unit).get(&Key::of(unit))?;
        if !self.is_live(&entry, now) {
            return None;
        }
        self.kinds.list.load().get(entry.kind as usize).map(|kind| kind.pin(&entry))
    }

    fn create(&self, unit: UnitKey, pin: Pin) -> Pin {
        let entry = self.entry(&pin);
        let earlier = {
            let mut shard = self.shard(unit);
            let found = shard.get(&Key::of(unit)).copied().filter(|found| self.is_live(found, pin.last_seen));
            if found.is_none() {
                self.make_room(&mut shard);
                shard.insert(Key::of(unit), entry);
            }
            found
        };
        if let Some(earlier) = earlier
            && let Some(kind) = self.kinds.list.load().get(earlier.kind as usize)
        {
            return kind.pin(&earlier);
        }
        self.append(unit, &pin);
        pin
    }

    fn replace(&self, unit: UnitKey, pin: Pin) {
        let entry = self.entry(&pin);
        self.insert(unit, entry);
        self.append(unit, &pin);
    }

    fn touch(&self, unit: UnitKey, now: UnixMs) {
        let now_s = seconds(now);
        let due = {
            let mut shard = self.shard(unit);
            let Some(entry) = shard.get_mut(&Key::of(unit)) else { return };
            entry.last_seen_s = entry.last_seen_s.max(now_s);
            let due = u64::from(now_s.saturating_sub(entry.logged_s)) * 1_000 >= (self.limits.idle.0 / 4).max(1_000);
            if due {
                entry.logged_s = now_s;
            }
            due.then_some(*entry)
        };
        if let Some(entry) = due
            && let Some(kind) = self.kinds.list.load().get(entry.kind as usize)
        {
            self.append(unit, &kind.pin(&entry));
        }
    }

    fn live(&self, now: UnixMs) -> Vec<LivePins> {
        let kinds = self.kinds.list.load();
        let mut counts = vec![0_u64; kinds.len()];
        for shard in &self.shards {
            for entry in lock(shard).values().filter(|entry| self.is_live(entry, now)) {
                if let Some(count) = counts.get_mut(entry.kind as usize) {
                    *count += 1;
                }
            }
        }
        let mut live: BTreeMap<(Option<&Arc<ReleaseId>>, VersionId), u64> = BTreeMap::new();
        for (kind, count) in kinds.iter().zip(counts).filter(|(_, count)| *count > 0) {
            *live.entry((kind.member.as_ref().map(|m| &m.0), kind.version)).or_default() += count;
        }
        let report = |((release, version), sessions): ((Option<&Arc<ReleaseId>>, _), _)| LivePins {
            release: release.cloned(),
            version,
            sessions,
        };
        live.into_iter().map(report).collect()
    }

    fn left(&self) -> u64 {
        self.behind.left()
    }

    fn is_written(&self, through: u64) -> bool {
        self.behind.is_written(through)
    }

    fn write(&self) {
        self.write_waiting();
    }

    fn write_with(&self, followed: &[Followed]) -> Result<(), PinError> {
        self.behind.take(|records| self.log(records, followed))
    }

    fn flush(&self) -> Boxed<'_, Result<(), PinError>> {
        Box::pin(async move {
            self.write_waiting();
            if self.unlogged.load(Ordering::Acquire) {
                self.rewrite()?;
            }
            self.log.sync().await
        })
    }

    /// Sweeps the next few shards, so that no call takes long.
    fn sweep(&self, now: UnixMs) {
        let oldest = seconds(now - self.limits.idle);
        let next = self.next_sweep.fetch_add(SWEPT, Ordering::Relaxed);
        for shard in (next..next + SWEPT).filter_map(|shard| self.shards.get(shard % SHARDS)) {
            let mut shard = lock(shard);
            shard.retain(|_, entry| entry.last_seen_s >= oldest);
            if shard.capacity() > 4 * shard.len() + 64 {
                shard.shrink_to_fit();
            }
        }
    }

    fn counts(&self) -> PinCounts {
        PinCounts {
            held: self.len() as u64,
            evicted: self.evicted.load(Ordering::Relaxed),
            append_failures: self.append_failures.load(Ordering::Relaxed),
            waiting: self.behind.len() as u64,
        }
    }
}

/// So many kinds are looked through for the one of a new pin, which is there most often; more are found under the lock.
const LOOKED_THROUGH: usize = 16;

/// Versions and memberships are few, pins are many: a pin holds the number of its kind.
#[derive(Debug, Default)]
struct Kinds {
    list: ArcSwap<Vec<Kind>>,
    numbers: Mutex<SpreadMap<Kind, u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    version: VersionId,
    member: Option<(Arc<ReleaseId>, Arm, Stratum)>,
}

/// By its version, which is a hash, and its part in a release.
impl std::hash::Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let part = self.member.as_ref().map_or(0, |(_, arm, stratum)| 1 + *arm as u64 + (u64::from(stratum.0) << 8));
        state.write_u64(part);
        state.write(&self.version.0[..8]);
    }
}

impl Kind {
    fn is_of(&self, pin: &Pin) -> bool {
        let member = pin.member.as_ref().map(|member| (&member.release, member.arm, member.stratum));
        self.version == pin.version && self.member.as_ref().map(|(id, arm, stratum)| (id, *arm, *stratum)) == member
    }

    fn pin(&self, entry: &Entry) -> Pin {
        let member = self.member.as_ref().map(|(release, arm, stratum)| Membership {
            release: release.clone(),
            arm: *arm,
            stratum: *stratum,
            exposed_at: entry.exposed_at,
        });
        Pin { version: self.version, member, last_seen: UnixMs(u64::from(entry.last_seen_s) * 1_000) }
    }
}

impl Kinds {
    fn intern(&self, pin: &Pin) -> u32 {
        let known = self.list.load().iter().take(LOOKED_THROUGH).position(|kind| kind.is_of(pin));
        if let Some(number) = known.and_then(|number| u32::try_from(number).ok()) {
            return number;
        }
        let member = pin.member.as_ref().map(|m| (m.release.clone(), m.arm, m.stratum));
        let kind = Kind { version: pin.version, member };
        let mut numbers = lock(&self.numbers);
        if let Some(number) = numbers.get(&kind) {
            return *number;
        }
        let mut list = Vec::clone(&self.list.load());
        let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(kind.clone());
        self.list.store(Arc::new(list));
        numbers.insert(kind, number);
        number
    }
}

fn seconds(at: UnixMs) -> u32 {
    u32::try_from(at.0 / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default)]
    struct Log {
        records: Mutex<Vec<PinRecord>>,
        broken: AtomicBool,
    }

    impl PinLog for Log {
        fn append(&self, records: &[PinRecord], _followed: &[Followed]) -> Result<(), PinError> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(PinError("disk full".to_owned()));
            }
            lock(&self.records).extend_from_slice(records);
            Ok(())
        }
        fn sync(&self) -> Boxed<'_, Result<(), PinError>> {
            let broken = self.broken.load(Ordering::Relaxed);
            Box::pin(async move { if broken { Err(PinError("disk full".to_owned())) } else { Ok(()) } })
        }
    }

    fn pin(version: u8, arm: Option<Arm>, at: u64) -> Pin {
        let member = arm.map(|arm| Membership {
            release: Arc::new(ReleaseId::from("r-1")),
            arm,
            stratum: Stratum(0),
            exposed_at: UnixMs(at),
        });
        Pin { version: VersionId([version; 32]), member, last_seen: UnixMs(at) }
    }

    fn pins(limits: PinLimits) -> (MemoryPins, Arc<Log>) {
        let log = Arc::new(Log::default());
        (MemoryPins::new(limits, log.clone()), log)
    }

    #[test]
    fn every_kind_keeps_its_number_however_many_there_are() {
        let (pins, _) = pins(PinLimits::default());
        let arms = [None, Some(Arm::Stable), Some(Arm::Control), Some(Arm::Canary)];
        let kinds: Vec<Pin> =
            (0..LOOKED_THROUGH as u8).flat_map(|version| arms.map(|arm| pin(version, arm, 1_000))).collect();
        let numbers: Vec<u32> = kinds.iter().map(|kind| pins.kinds.intern(kind)).collect();
        assert_eq!(numbers, (0..4 * LOOKED_THROUGH as u32).collect::<Vec<_>>());
        assert!(kinds.iter().map(|kind| pins.kinds.intern(kind)).eq(numbers), "found again, in the list or behind it");
    }

    #[test]
    fn whoever_is_first_wins_and_a_restart_keeps_it() {
        let (first, log) = pins(PinLimits::default());
        let winner = first.create(UnitKey(7), pin(1, Some(Arm::Canary), 5_000));
        let loser = first.create(UnitKey(7), pin(2, Some(Arm::Control), 6_000));
        assert_eq!(winner, loser);
        let (second, _) = pins(PinLimits::default());
        first.write();
        assert_eq!(second.restore(lock(&log.records).clone(), UnixMs(9_000)), 1);
        assert_eq!(second.get(UnitKey(7), UnixMs(9_000)), Some(winner));
    }

    /// A million pins: 256 maps of 8,192 places of 40 bytes and one of control are 86 MB.
    #[test]
    fn a_pin_takes_forty_bytes() {
        assert_eq!(size_of::<(Key, Entry)>(), 40);
    }

    #[test]
    fn idle_pins_expire_and_are_swept() {
        let (pins, _) = pins(PinLimits { idle: SpanMs::secs(10), count: 1_000 });
        pins.create(UnitKey(1), pin(1, None, 1_000));
        assert!(pins.get(UnitKey(1), UnixMs(11_000)).is_some());
        assert!(pins.get(UnitKey(1), UnixMs(12_000)).is_none());
        let again = pins.create(UnitKey(1), pin(2, None, 12_000));
        assert_eq!(again.version, VersionId([2; 32]), "an idle pin does not hold its unit");
        (0..SHARDS).for_each(|_| pins.sweep(UnixMs(40_000)));
        assert!(pins.is_empty());
    }

    #[test]
    fn the_bound_holds_and_evictions_are_counted() {
        let (pins, _) = pins(PinLimits { idle: SpanMs::hours(1), count: 640 });
        for n in 0..2_000_u64 {
            let unit = UnitKey(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64 | u128::from(n));
            pins.create(unit, pin(1, None, 1_000 + n));
        }
        assert!(pins.len() <= 640);
        assert_eq!(pins.counts().evicted as usize, 2_000 - pins.len());
    }

    #[test]
    fn a_touch_is_logged_at_most_every_quarter_of_the_idle_time() {
        let (pins, log) = pins(PinLimits { idle: SpanMs::secs(40), count: 1_000 });
        pins.create(UnitKey(1), pin(1, None, 1_000));
        (1..=20).for_each(|s| pins.touch(UnitKey(1), UnixMs(1_000 + s * 1_000)));
        pins.write();
        assert_eq!(lock(&log.records).len(), 3, "the creation and two touches");
        assert!(pins.get(UnitKey(1), UnixMs(60_000)).is_some());
    }

    #[tokio::test]
    async fn a_failed_append_fails_the_flush_until_everything_is_written_anew() {
        let (pins, log) = pins(PinLimits::default());
        log.broken.store(true, Ordering::Relaxed);
        pins.create(UnitKey(1), pin(1, Some(Arm::Canary), 1_000));
        assert!(pins.flush().await.is_err());
        log.broken.store(false, Ordering::Relaxed);
        pins.write();
        assert!(lock(&log.records).is_empty());
        pins.flush().await.unwrap();
        pins.write();
        assert_eq!(lock(&log.records).len(), 1);
    }

    #[test]
    fn live_counts_by_release_and_version() {
        let (pins, _) = pins(PinLimits::default());
        for n in 0..10_u128 {
            let arm = if n < 3 { Arm::Canary } else { Arm::Control };
            pins.create(UnitKey(n << 64 | n), pin(u8::from(n < 3), Some(arm), 1_000));
        }
        let counts: Vec<u64> = pins.live(UnixMs(2_000)).into_iter().map(|live| live.sessions).collect();
        assert_eq!(counts, [7, 3]);
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(unit: u128, version: u8, arm in 0..3_u8, stratum: u16, at in 0..u64::from(u32::MAX)) {
            let (pins, _) = pins(PinLimits::default());
            let arm = [Arm::Stable, Arm::Control, Arm::Canary][usize::from(arm)];
            let mut given = pin(version, Some(arm), at);
            if let Some(member) = &mut given.member { member.stratum = Stratum(stratum); }
            pins.create(UnitKey(unit), given.clone());
            let found = pins.get(UnitKey(unit), UnixMs(at)).unwrap();
            prop_assert_eq!(found.member, given.member);
            prop_assert_eq!(found.version, given.version);
            prop_assert_eq!(found.last_seen.0 / 1_000, given.last_seen.0 / 1_000);
        }
    }
}
