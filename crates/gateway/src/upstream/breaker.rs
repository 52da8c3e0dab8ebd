//! What is known of one address: how its last answers went, whether it is put aside, and until when. No clock, no
//! lock: the time is an argument, and numbers are atomics. Whether putting it aside helps is for [`super::choice`]
//! to say, which sees its siblings.

use crate::config::BreakerPolicy;
use crate::upstream::pool::Trouble;
use coalmine_core::time::{SpanMs, UnixMs};
use http::StatusCode;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How many pauses are doubled at most.
const DOUBLINGS_MAX: u32 = 16;
/// Fractions of a doubling in which times are summed up.
const FINE: f32 = 256.0;
/// Where the number of times stands above their sum.
const COUNT_AT: u32 = 44;

/// What one attempt came to, as far as its address is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Felt {
    /// An answer, so many milliseconds after the request.
    Well(u64),
    /// An answer that says nothing about the address: whoever asks it too often is refused anywhere.
    Neither,
    /// An error of the server.
    Badly,
    /// Nothing in time, or nothing that could be read.
    Lost,
    /// It cannot be reached at all.
    Unreachable,
}

/// Why an address is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// No connection, or none that holds.
    Unreachable,
    /// Errors and timeouts in a row.
    InARow,
    /// A large share of errors and timeouts.
    Share,
    /// Answers in a row that ended before their end.
    CutShort,
    /// More errors than its siblings have.
    MoreErrors,
    /// Slower than its siblings.
    Slower,
    /// Outrun in a row by a sibling that was asked later.
    Outrun,
    /// Silent while its siblings answer.
    Hangs,
}

/// One address.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    in_a_row: AtomicU32,
    unreachable: AtomicU32,
    /// Answers in a row that ended before their end. Their heads were well, and are no good answers between.
    cut: AtomicU32,
    /// Requests in a row that a second address answered before this one had begun to.
    outrun: AtomicU32,
    window: Window,
    times: AtomicU64,
    /// When it wants to be asked again, as it says; 0: it says nothing, or has answered since.
    wanted_at: AtomicU64,
    /// 0: in service.
    out_until: AtomicU64,
    probed: AtomicBool,
    /// Pauses without a long good time between.
    trips: AtomicU32,
    back_at: AtomicU64,
}

/// Answers and bad ones among them; halved with every step of time, so that what is old fades. In one word: the step
/// (24 bits), all (20), bad (20).
#[derive(Debug, Default)]
struct Window(AtomicU64);

impl Felt {
    /// Of an answer's status.
    pub(crate) fn answer(status: StatusCode, took_ms: u64) -> Self {
        match status.as_u16() {
            429 => Self::Neither,
            500.. => Self::Badly,
            _ => Self::Well(took_ms),
        }
    }

    /// Of none.
    pub(crate) const fn trouble(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Connect => Self::Unreachable,
            Trouble::Broken | Trouble::Malformed | Trouble::FirstByte => Self::Lost,
        }
    }

    const fn is_bad(self) -> bool {
        match self {
            Self::Badly | Self::Lost | Self::Unreachable => true,
            Self::Well(_) | Self::Neither => false,
        }
    }
}

impl Why {
    pub(crate) const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::InARow,
        Self::Share,
        Self::CutShort,
        Self::MoreErrors,
        Self::Slower,
        Self::Outrun,
        Self::Hangs,
    ];

    /// As written in metrics and in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::InARow => "failures_in_a_row",
            Self::Share => "error_share",
            Self::CutShort => "answers_cut_short",
            Self::MoreErrors => "more_errors_than_siblings",
            Self::Slower => "slower_than_siblings",
            Self::Outrun => "outrun_by_siblings",
            Self::Hangs => "silent_while_siblings_answer",
        }
    }

    /// Whether it serves nobody anyhow, so that putting it aside burdens no sibling more.
    pub(crate) const fn serves_nobody(self) -> bool {
        matches!(self, Self::Unreachable)
    }
}

impl Breaker {
    /// Takes note of an attempt on an address in service, and says why it should be put aside, if so.
    pub(crate) fn note(&self, policy: &BreakerPolicy, felt: Felt, now: UnixMs) -> Option<Why> {
        if felt == Felt::Neither {
            return None;
        }
        self.window.note(step(policy, now), felt.is_bad());
        if !felt.is_bad() {
            clear(&self.in_a_row);
            clear(&self.unreachable);
            clear(&self.outrun);
            if self.wanted_at.load(Ordering::Relaxed) != 0 {
                self.wanted_at.store(0, Ordering::Relaxed);
            }
            if let Felt::Well(ms) = felt {
                self.times.fetch_add(time_of(ms), Ordering::Relaxed);
            }
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if felt == Felt::Unreachable {
            let unreachable = self.unreachable.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            return (unreachable >= policy.unreachable).then_some(Why::Unreachable);
        }
        if in_a_row >= policy.failures {
            return Some(Why::InARow);
        }
        self.bad_share(policy, now)
    }

    /// An answer whose head was noted as well ended before its end, and is a bad one after all.
    pub(crate) fn note_cut(&self, policy: &BreakerPolicy, now: UnixMs) -> Option<Why> {
        self.window.spoil(step(policy, now));
        let in_a_row = self.cut.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if in_a_row >= policy.failures { Some(Why::CutShort) } else { self.bad_share(policy, now) }
    }

    /// It was sent away before it had begun to answer, because a sibling that was asked later had content. Once says little;
    /// many times in a row, that it hangs.
    pub(crate) fn note_outrun(&self, policy: &BreakerPolicy) -> Option<Why> {
        let in_a_row = self.outrun.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        (in_a_row >= policy.failures).then_some(Why::Outrun)
    }

    /// An answer came to its end.
    pub(crate) fn note_whole(&self) {
        clear(&self.cut);
    }

    fn bad_share(&self, policy: &BreakerPolicy, now: UnixMs) -> Option<Why> {
        let (all, bad) = self.seen(policy, now);
        let much = bad * 10_000 >= all * u64::from(policy.error_share.bp());
        (all >= u64::from(policy.least) && much).then_some(Why::Share)
    }

    /// Answers of late, and the bad ones among them.
    pub(crate) fn seen(&self, policy: &BreakerPolicy, now: UnixMs) -> (u64, u64) {
        self.window.read(step(policy, now))
    }

    /// What there is of a reason to put it aside: so many in a row, or so many among answers.
    pub(crate) fn counted(&self, why: Why, policy: &BreakerPolicy, now: UnixMs) -> (u64, Option<u64>) {
        let in_a_row = |counter: &AtomicU32| (u64::from(counter.load(Ordering::Relaxed)), None);
        match why {
            Why::Unreachable => in_a_row(&self.unreachable),
            Why::InARow => in_a_row(&self.in_a_row),
            Why::CutShort => in_a_row(&self.cut),
            Why::Outrun => in_a_row(&self.outrun),
            Why::Share | Why::MoreErrors | Why::Slower | Why::Hangs => {
                let (all, bad) = self.seen(policy, now);
                (bad, Some(all))
            }
        }
    }

    /// When it may be asked again; `None`: it is in service.
    pub(crate) fn again_at(&self) -> Option<UnixMs> {
        Some(UnixMs(self.out_until.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// How many good answers came since the last call, and the geometric mean of their times in milliseconds: a few
    /// long thoughts weigh little in it.
    pub(crate) fn take_times(&self) -> Option<(u64, f64)> {
        let taken = self.times.swap(0, Ordering::Relaxed);
        let (count, sum) = (taken >> COUNT_AT, taken & ((1 << COUNT_AT) - 1));
        (count > 0).then(|| (count, (sum as f64 / count as f64 / f64::from(FINE)).exp2()))
    }

    /// Puts it aside; the pause, which doubles for as long as it does not stay well.
    pub(crate) fn put_aside(&self, policy: &BreakerPolicy, now: UnixMs) -> SpanMs {
        let well_for = now.since(UnixMs(self.back_at.load(Ordering::Relaxed)));
        if self.out_until.load(Ordering::Relaxed) == 0 && well_for > policy.pause_max {
            self.trips.store(0, Ordering::Relaxed);
        }
        let trips = self.trips.fetch_add(1, Ordering::Relaxed).min(DOUBLINGS_MAX);
        let pause = SpanMs(policy.pause.0.saturating_mul(1 << trips).min(policy.pause_max.0));
        let wanted_at = UnixMs(self.wanted_at.load(Ordering::Relaxed)).min(now + policy.pause_max);
        let until = (now + pause).max(wanted_at);
        self.out_until.store(until.0.max(1), Ordering::Relaxed);
        self.probed.store(false, Ordering::Release);
        until.since(now)
    }

    /// It says when it wants to be asked again: no sooner, should it be put aside, or be so already, and no later than the longest
    /// pause allows.
    pub(crate) fn asks_to_wait(&self, policy: &BreakerPolicy, wait: SpanMs, now: UnixMs) {
        let wanted_at = (now + SpanMs(wait.0.min(policy.pause_max.0))).0;
        self.wanted_at.fetch_max(wanted_at, Ordering::Relaxed);
        let later = |until: u64| Some(until.max(wanted_at)).filter(|_| until != 0);
        let _ = self.out_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Takes it back into service, as one of whom nothing is known.
    pub(crate) fn take_back(&self, now: UnixMs) {
        self.in_a_row.store(0, Ordering::Relaxed);
        self.unreachable.store(0, Ordering::Relaxed);
        self.cut.store(0, Ordering::Relaxed);
        self.outrun.store(0, Ordering::Relaxed);
        self.wanted_at.store(0, Ordering::Relaxed);
        self.window.0.store(0, Ordering::Relaxed);
        self.times.store(0, Ordering::Relaxed);
        self.back_at.store(now.0, Ordering::Relaxed);
        self.out_until.store(0, Ordering::Relaxed);
        self.probed.store(false, Ordering::Release);
    }

    /// Whether it is put aside.
    pub(crate) fn is_out(&self) -> bool {
        self.out_until.load(Ordering::Relaxed) != 0
    }

    /// Whether one request is under way that shows how it is.
    pub(crate) fn is_probed(&self) -> bool {
        self.probed.load(Ordering::Relaxed)
    }

    /// Its pause is over and nobody has asked it since: the caller may, alone.
    pub(crate) fn claim_probe(&self, now: UnixMs) -> bool {
        let until = self.out_until.load(Ordering::Relaxed);
        until != 0
            && until <= now.0
            && self.probed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The probe was given up (a client left): somebody else may ask.
    pub(crate) fn give_up_probe(&self) {
        self.probed.store(false, Ordering::Release);
    }
}

impl Window {
    fn note(&self, step: u64, bad: bool) {
        let add = |word: u64| {
            let (all, bads) = Self::faded(word, step);
            Some(Self::word(step, all + 1, bads + u64::from(bad)))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// One that was noted as good is bad; where it has faded since, it is counted anew.
    fn spoil(&self, step: u64) {
        let spoilt = |word: u64| {
            let (all, bads) = Self::faded(word, step);
            Some(Self::word(step, all.max(bads + 1), bads + 1))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spoilt);
    }

    fn read(&self, step: u64) -> (u64, u64) {
        Self::faded(self.0.load(Ordering::Relaxed), step)
    }

    fn word(step: u64, all: u64, bad: u64) -> u64 {
        (step & 0xFF_FFFF) << 40 | all.min(0xF_FFFF) << 20 | bad.min(0xF_FFFF)
    }

    fn faded(word: u64, step: u64) -> (u64, u64) {
        let steps = step.wrapping_sub(word >> 40) & 0xFF_FFFF;
        // a clock that is a little behind sees the numbers as they are
        let behind = if steps > 0x7F_FFFF { 0 } else { steps.min(63) };
        ((word >> 20 & 0xF_FFFF) >> behind, (word & 0xF_FFFF) >> behind)
    }
}

fn step(policy: &BreakerPolicy, now: UnixMs) -> u64 {
    now.0 / policy.window.0.max(1)
}

/// Most of the time it is zero already, and then nobody's cache is disturbed.
fn clear(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

fn time_of(ms: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "log2 of 1 and more, times 256")]
    let fine = ((ms.max(1) as f32).log2() * FINE) as u64;
    1 << COUNT_AT | fine
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::traffic::weight::WeightBp;
    use proptest::prelude::*;

    const T: UnixMs = UnixMs(1_000_000);

    fn policy() -> BreakerPolicy {
        BreakerPolicy::default()
    }

    fn many(breaker: &Breaker, felt: Felt, times: usize) -> Option<Why> {
        (0..times).map(|_| breaker.note(&policy(), felt, T)).last().flatten()
    }

    #[test]
    fn three_times_unreachable_or_five_failures_in_a_row() {
        let breaker = Breaker::default();
        assert_eq!(many(&breaker, Felt::Unreachable, 2), None);
        assert_eq!(many(&breaker, Felt::Unreachable, 1), Some(Why::Unreachable));
        let breaker = Breaker::default();
        assert_eq!(many(&breaker, Felt::Badly, 4), None);
        assert_eq!(many(&breaker, Felt::Well(5), 1), None);
        assert_eq!(many(&breaker, Felt::Badly, 2).or(many(&breaker, Felt::Lost, 2)), None, "a good answer between");
        assert_eq!(many(&breaker, Felt::Lost, 1), Some(Why::InARow));
    }

    #[test]
    fn half_of_twenty_is_too_much_and_of_nineteen_is_not_seen_yet() {
        let breaker = Breaker::default();
        let pairs = |n| (0..n).map(|_| many(&breaker, Felt::Well(5), 1).or(many(&breaker, Felt::Badly, 1))).last();
        assert_eq!(pairs(9), Some(None));
        assert_eq!(pairs(1), Some(Some(Why::Share)));
        assert_eq!(many(&breaker, Felt::Neither, 100), None, "too many requests is no fault of an address");
        assert_eq!(breaker.seen(&policy(), T), (20, 10));
        assert_eq!(breaker.seen(&policy(), T + policy().window), (10, 5));
        assert_eq!(breaker.seen(&policy(), T + SpanMs::hours(1)), (0, 0));
        assert_eq!(breaker.seen(&policy(), UnixMs(T.0 - policy().window.0)), (20, 10), "a clock that is behind");
    }

    /// Each answer's head was well, and clears nothing: the answer was cut short behind it.
    #[test]
    fn answers_cut_short_count_though_their_heads_were_well() {
        let breaker = Breaker::default();
        let cut = || {
            assert_eq!(breaker.note(&policy(), Felt::Well(5), T), None);
            breaker.note_cut(&policy(), T)
        };
        assert_eq!([cut(), cut(), cut(), cut()], [None; 4]);
        assert_eq!(breaker.seen(&policy(), T), (4, 4), "each counts once");
        breaker.note_whole();
        assert_eq!([cut(), cut(), cut(), cut(), cut()], [None, None, None, None, Some(Why::CutShort)]);
        let breaker = Breaker::default();
        let pairs = (0..10).map(|_| {
            breaker.note(&policy(), Felt::Well(5), T);
            breaker.note_whole();
            breaker.note(&policy(), Felt::Well(5), T);
            breaker.note_cut(&policy(), T)
        });
        assert_eq!(pairs.last(), Some(Some(Why::Share)), "half of twenty");
        assert_eq!(breaker.seen(&policy(), T), (20, 10));
        assert_eq!(breaker.note_cut(&policy(), T + SpanMs::hours(1)), None);
        assert_eq!(breaker.seen(&policy(), T + SpanMs::hours(1)), (1, 1), "its head has faded");
    }

    #[test]
    fn five_times_outrun_in_a_row_and_an_answer_between_counts_anew() {
        let breaker = Breaker::default();
        let outrun = || breaker.note_outrun(&policy());
        assert_eq!([outrun(), outrun(), outrun(), outrun()], [None; 4]);
        assert_eq!(many(&breaker, Felt::Well(5), 1), None);
        assert_eq!([outrun(), outrun(), outrun(), outrun(), outrun()], [None, None, None, None, Some(Why::Outrun)]);
        assert_eq!(breaker.seen(&policy(), T), (1, 0), "it is no answer");
    }

    #[test]
    fn the_pause_doubles_until_it_stays_well() {
        let breaker = Breaker::default();
        let policy = policy();
        let pauses: Vec<u64> = (0..7).map(|_| breaker.put_aside(&policy, T).0).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        breaker.take_back(T);
        assert!(!breaker.is_out());
        assert_eq!(breaker.put_aside(&policy, T + SpanMs::secs(20)).0, 30_000, "back for a moment only");
        breaker.take_back(T + SpanMs::secs(60));
        assert_eq!(breaker.put_aside(&policy, T + SpanMs::secs(100)).0, 1_000);
    }

    #[test]
    fn one_probe_at_a_time_and_only_when_the_pause_is_over() {
        let breaker = Breaker::default();
        assert!(!breaker.claim_probe(T), "it is in service");
        breaker.put_aside(&policy(), T);
        let later = T + SpanMs::secs(1);
        assert_eq!(
            (breaker.claim_probe(T), breaker.claim_probe(later), breaker.claim_probe(later)),
            (false, true, false)
        );
        breaker.give_up_probe();
        assert!(breaker.claim_probe(later));
    }

    #[test]
    fn the_mean_of_times_is_that_of_their_logarithms() {
        let breaker = Breaker::default();
        for ms in [100, 100, 100, 800] {
            breaker.note(&policy(), Felt::Well(ms), T);
        }
        let (count, mean) = breaker.take_times().unwrap();
        assert!(count == 4 && (mean - 168.2).abs() < 1.0, "{mean}");
        assert_eq!(breaker.take_times(), None);
    }

    proptest! {
        #[test]
        fn the_window_never_has_more_bad_than_all(steps in prop::collection::vec((0_u64..40, any::<bool>()), 1..200)) {
            let window = Window::default();
            for (step, bad) in steps {
                window.note(step, bad);
                let (all, bads) = window.read(step);
                prop_assert!(bads <= all && all <= 200);
            }
        }

        #[test]
        fn errors_below_the_share_never_trip_it(share in 1_u16..=10_000, least in 1_u32..50) {
            let policy = BreakerPolicy { error_share: WeightBp::new(share).unwrap(), least, ..policy() };
            let breaker = Breaker::default();
            prop_assert_eq!((0..1_000).find_map(|_| breaker.note(&policy, Felt::Well(1), T)), None);
        }
    }
}
