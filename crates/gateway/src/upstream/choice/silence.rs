//! Whether an address hangs, told by those who wait at it: long before the first of them has waited for all of its time.
//!
//! # What tells it
//! How long an answer may take to begin nobody knows: a model may think for minutes. But sessions are spread by a hash,
//! so whatever they ask for, they are the same mixture at each address of a region. In a *round* all its addresses are
//! asked from the same moment on. Where nothing at all came from one since then, the sessions that asked it are compared
//! with those that asked its siblings in the same time: were it as they are, those of which an answer has begun would lie
//! anywhere among them, and the chance that none is at this address is `C(n, m) / C(n + k, m)`, with `k` sessions here and
//! `m` of `n` there answered (Fisher's exact test). Below [`CHANCE`] it is suspected; it hangs if nothing comes for
//! [`slower`](crate::config::OutlierPolicy::slower) times as long as that took, while its siblings go on answering.
//!
//! A model that thinks does so everywhere, and then `m` is small. One session that asks much counts once, for all it asks
//! may be alike. Whoever has been elsewhere before is not counted. A round begins anew whenever an address goes or comes,
//! for only those that were asked from the same moment on compare; and when all have been heard.

use super::{bit, bits};
use crate::sync::lock;
use crate::upstream::breaker::Felt;
use coalmine_core::time::{SpanMs, UnixMs};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Nobody hangs who is silent for less: a pause of its memory or of its network may be as long.
pub(crate) const SILENT_LEAST: Duration = Duration::from_secs(2);
/// How improbable a silence is that is believed.
const CHANCE: f64 = 1e-4;
/// A round in which nobody is suspected ends then; whoever's siblings take longer is not judged by those who wait.
const ROUND_MAX: SpanMs = SpanMs::minutes(2);
/// Sessions are told apart by so many groups: for more there is no room in a word beside the round's number.
const GROUPS: u64 = 48;

/// A request whose answer is waited for: in which round it was sent, and of which group of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    round: u64,
    group: u64,
}

/// What is waited for at all addresses of a provider.
#[derive(Debug)]
pub(super) struct Silence {
    round: AtomicU64,
    seats: Vec<Heard>,
    open: Mutex<Round>,
}

/// What was asked of one address, and heard.
#[derive(Debug, Default)]
struct Heard {
    asked: Groups,
    begun: Groups,
    last_at: AtomicU64,
    hangs: AtomicBool,
    found: Notify,
}

/// Groups of sessions in a round, a bit each below the round's number.
#[derive(Debug, Default)]
struct Groups(AtomicU64);

#[derive(Debug)]
struct Round {
    began: UnixMs,
    /// By address: since when its silence is improbable.
    suspected: Vec<Option<UnixMs>>,
}

impl Silence {
    pub(super) fn of(addresses: usize) -> Self {
        let seats = (0..addresses).map(|_| Heard::default()).collect();
        let open = Round { began: UnixMs(0), suspected: vec![None; addresses] };
        Self { round: AtomicU64::new(1), seats, open: Mutex::new(open) }
    }

    /// A session, whose hash is `mixed`, asks an address first.
    pub(super) fn asked(&self, at: usize, mixed: u64) -> Waits {
        let waits = Waits { round: self.round.load(Ordering::Relaxed), group: mixed % GROUPS };
        self.seats[at].asked.add(waits);
        waits
    }

    /// Something came from an address, for that request if it is one of those that are counted.
    pub(super) fn heard(&self, at: usize, waits: Option<Waits>, felt: Felt, now: UnixMs) {
        match felt {
            Felt::Lost | Felt::Unreachable => return,
            Felt::Badly => {}
            Felt::Well(_) | Felt::Neither => {
                if let Some(waits) = waits {
                    self.seats[at].begun.add(waits);
                }
            }
        }
        if self.seats[at].last_at.load(Ordering::Relaxed) < now.0 {
            self.seats[at].last_at.store(now.0, Ordering::Relaxed);
        }
    }

    /// Those that hang, with how many sessions wait in vain (groups of them). `regions` are the addresses in service, by region.
    pub(super) fn look(&self, regions: impl Iterator<Item = u64>, slower: f64, now: UnixMs) -> Vec<(usize, u64)> {
        let mut open = lock(&self.open);
        let number = self.round.load(Ordering::Relaxed);
        let age = now.since(open.began);
        let sum = |groups: fn(&Heard) -> &Groups, among: u64| -> u64 {
            bits(among).map(|at| u64::from(groups(&self.seats[at]).of(number).count_ones())).sum()
        };
        let mut hanging = Vec::new();
        for here in regions {
            for at in bits(here) {
                let others = here & !bit(at);
                let asked = sum(|seat| &seat.asked, bit(at));
                if self.last_at(at) >= open.began {
                    open.suspected[at] = None;
                } else if let Some(since) = open.suspected[at] {
                    let took_ms = since.since(open.began).0 as f64;
                    let long = age.0 as f64 >= (took_ms * slower).max(SILENT_LEAST.as_secs_f64() * 1e3);
                    if long && bits(others).any(|other| self.last_at(other) > since) {
                        hanging.push((at, asked));
                    }
                } else if improbable(asked, sum(|seat| &seat.begun, others), sum(|seat| &seat.asked, others)) {
                    open.suspected[at] = Some(now);
                }
            }
        }
        let waited_for = |at: &usize| self.seats[*at].asked.of(number) != 0 && self.last_at(*at) < open.began;
        let suspects = open.suspected.iter().any(Option::is_some);
        let most_ms = if suspects { ROUND_MAX.0 as f64 * slower } else { ROUND_MAX.0 as f64 };
        if age.0 as f64 > most_ms || !(0..self.seats.len()).any(|at| waited_for(&at)) {
            self.begin_anew(&mut open, now);
        }
        hanging
    }

    /// An address went or came.
    pub(super) fn changed(&self, now: UnixMs) {
        self.begin_anew(&mut lock(&self.open), now);
    }

    fn begin_anew(&self, open: &mut Round, now: UnixMs) {
        open.began = now;
        open.suspected.fill(None);
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    fn last_at(&self, at: usize) -> UnixMs {
        UnixMs(self.seats[at].last_at.load(Ordering::Relaxed))
    }

    /// It is put aside because it hangs: whoever waits at it hears of it.
    pub(super) fn found_hanging(&self, at: usize) {
        self.seats[at].hangs.store(true, Ordering::Release);
        self.seats[at].found.notify_waiters();
    }

    pub(super) fn back(&self, at: usize) {
        self.seats[at].hangs.store(false, Ordering::Release);
    }

    /// Until an address is found to hang.
    pub(super) async fn until_hanging(&self, at: usize) {
        let found = self.seats[at].found.notified();
        if !self.seats[at].hangs.load(Ordering::Acquire) {
            found.await;
        }
    }
}

impl Groups {
    fn add(&self, Waits { round, group }: Waits) {
        let word = self.0.load(Ordering::Relaxed);
        if word >> GROUPS == round & 0xFFFF && word & 1 << group != 0 {
            return;
        }
        let add = |word: u64| {
            let same = word >> GROUPS == round & 0xFFFF;
            Some(if same { word | 1 << group } else { (round & 0xFFFF) << GROUPS | 1 << group })
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn of(&self, round: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        if word >> GROUPS == round & 0xFFFF { word & ((1 << GROUPS) - 1) } else { 0 }
    }
}

/// Whether chance alone leaves none of `begun` at an address that `asked` sessions asked, when `of` asked its siblings.
fn improbable(asked: u64, begun: u64, of: u64) -> bool {
    let each = (0..begun.min(of)).map(|nth| (of - nth) as f64 / (of + asked - nth) as f64);
    asked > 0 && each.product::<f64>() < CHANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_that_of_fishers_exact_test() {
        // C(8, 8) / C(16, 8) is 1 in 12870; of seven each, 1 in 3432
        assert!(improbable(8, 8, 8) && !improbable(7, 7, 7));
        // with more siblings fewer need wait: C(20, 5) is 15504
        assert!(improbable(5, 15, 15) && !improbable(4, 12, 12));
        assert!(!improbable(48, 10, 48 * 7), "few were answered anywhere");
        assert!(!improbable(0, 48, 48) && !improbable(8, 0, 8) && !improbable(48, 0, 0));
    }

    #[test]
    fn a_word_holds_one_round() {
        let groups = Groups::default();
        groups.add(Waits { round: 70_000, group: 3 });
        groups.add(Waits { round: 70_000, group: 47 });
        assert_eq!((groups.of(70_000), groups.of(70_001)), (1 << 3 | 1 << 47, 0));
        groups.add(Waits { round: 70_001, group: 0 });
        assert_eq!((groups.of(70_000), groups.of(70_001)), (0, 1));
    }
}
