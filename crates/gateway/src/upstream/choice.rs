//! Which of a provider's addresses is asked: the nearest region that is well, and in it the address that its session
//! knows. Choosing takes no lock and allocates nothing; locks are for the moments at which an address goes or comes.
//!
//! # Who is put aside
//! An address is put aside (ejected) for its own failures ([`Breaker`]), or for being worse than its siblings, and
//! only where that helps: when a sibling does better (a version that fails everywhere is no address's fault), and for
//! no more than `max_ejected` of them at a time; one that hangs, for what its siblings answer meanwhile ([`silence`]). What cannot be reached serves nobody and is not counted among those;
//! nor is what a look at its health finds unwell. With everybody away, all are asked as if nobody were.
//!
//! After a pause **one** request shows how it is: its first attempt, where somebody else can answer it, or any where nobody
//! else is well. What may be put to nobody else (a [`Tries::Late`]) does so only where no other has come for long. A nearer region is returned to when it has been well for a while.

pub(crate) mod aside;
pub(crate) mod silence;

use crate::config::{ChoicePolicy, Nearest, Spread, Upstream};
use crate::sync::lock;
use crate::upstream::breaker::{Breaker, Felt, Why};
use crate::upstream::retry::Next;
use aside::{Found, Remembered, Times};
use coalmine_core::id::UnitKey;
use coalmine_core::origin::Region;
use coalmine_core::time::{SpanMs, UnixMs};
use silence::{Silence, Waits};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A challenger for the place of the nearest region must be so much nearer,
const NEARER: f64 = 0.8;
/// and by at least so many milliseconds: less is noise.
const NEARER_MS: f64 = 2.0;
/// A time must be longer than its siblings' by so many milliseconds to be called slow.
const SLOWER_MS: f64 = 100.0;
/// Weight of the newest measurement of how far an address is.
const NEWEST: f64 = 0.2;

/// Where a request goes, over all its attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Going {
    /// Its session, where known.
    key: Option<u64>,
    tried: Tried,
    mark: Mark,
    tries: Tries,
}

/// The addresses that a request was at, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tried(u64);

/// How soon a request may be the one that shows how an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tries {
    /// As soon as the pause is over: should the address hang, a sibling answers it.
    Soon,
    /// After the longest pause more: should the address hang, it hangs.
    #[default]
    Late,
}

/// Whether what an attempt comes to says something of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mark {
    /// It does.
    #[default]
    Left,
    /// It leaves none, and probes nobody: a copy must not put an address aside that others are served by.
    None,
}

/// An address that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picked {
    /// Its place in the list.
    pub(crate) at: usize,
    /// Whether it was in service then.
    pub(crate) as_: As,
    /// Where its wait tells of the address.
    waits: Option<Waits>,
}

/// As what an address was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// One in service.
    InService,
    /// The one request that shows how it is.
    Probe,
    /// For want of anybody better.
    LastResort,
    /// For a copy: what becomes of that is told of nobody.
    Copy,
}

/// An address, or the nearest region, is another from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Put aside.
    Ejected(usize, Why, SpanMs),
    /// Back in service.
    Back(usize),
    /// A look found it unwell.
    Unwell(usize),
    /// A look found it well again.
    Well(usize),
    /// Another region answers soonest; this is one of its addresses.
    Nearest(usize),
}

/// How an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is asked.
    InService,
    /// Put aside.
    Ejected,
    /// Put aside, and one request is under way.
    Probed,
    /// Found unwell by a look.
    Unwell,
}

/// All addresses of a provider.
#[derive(Debug)]
pub(crate) struct Choice {
    policy: ChoicePolicy,
    seats: Vec<Seat>,
    regions: Vec<Place>,
    /// The addresses that are not asked, a bit each.
    away: AtomicU64,
    /// Those among them that looks find unwell.
    unwell: AtomicU64,
    /// The regions by how near they are, four bits each, the nearest lowest.
    order: AtomicU64,
    next: AtomicUsize,
    silence: Silence,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Seat {
    breaker: Breaker,
    region: usize,
    seed: u64,
}

/// The addresses of one region.
#[derive(Debug)]
struct Place {
    name: Option<Region>,
    all: u64,
}

/// What only those moments need at which something changes.
#[derive(Debug)]
struct Changing {
    /// The addresses put aside for a reason other than that they cannot be reached.
    bounded: u64,
    /// Put aside for any reason.
    ejected: u64,
    unwell: u64,
    /// Looks in a row that contradict what is held of an address.
    looks: Vec<u32>,
    /// How far each is, in milliseconds.
    far: Vec<Option<f64>>,
    /// Regions, the nearest first.
    nearest: Vec<usize>,
    /// A region that has been nearer than the first since then.
    challenger: Option<(usize, UnixMs)>,
    /// Since when each region has somebody in service; `None`: it has nobody.
    well_since: Vec<Option<UnixMs>>,
    compared_at: UnixMs,
    /// What people are told of each that is aside.
    remembered: Vec<Remembered>,
}

impl Going {
    /// Of a session's request.
    pub(crate) fn of(unit: Option<UnitKey>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "half of a keyed hash is a hash")]
        Self { key: unit.map(|unit| unit.0 as u64), ..Self::default() }
    }

    /// Of the copy of a session's request.
    pub(crate) fn aside(unit: Option<UnitKey>) -> Self {
        Self { mark: Mark::None, ..Self::of(unit) }
    }

    /// The same, trying addresses like this.
    pub(crate) const fn trying(self, tries: Tries) -> Self {
        Self { tries, ..self }
    }

    /// The same, having been at these.
    pub(crate) const fn been(self, tried: Tried) -> Self {
        Self { tried, ..self }
    }

    /// Where it was.
    pub(crate) const fn tried(&self) -> Tried {
        self.tried
    }

    /// Whether its attempts are told of.
    pub(crate) fn leaves_a_mark(&self) -> bool {
        self.mark == Mark::Left
    }
}

impl Picked {
    /// An address, of which no wait tells.
    pub(crate) const fn of(at: usize, as_: As) -> Self {
        Self { at, as_, waits: None }
    }
}

impl Choice {
    /// Of these addresses, for a gateway in `own` region.
    pub(crate) fn new(policy: ChoicePolicy, own: Option<&Region>, upstreams: &[Upstream]) -> Self {
        let mut regions: Vec<Place> = Vec::new();
        let mut seats = Vec::with_capacity(upstreams.len());
        for (at, upstream) in upstreams.iter().enumerate() {
            let name = upstream.region.as_ref().or(own);
            let known = regions.iter().position(|place| place.name.as_ref() == name);
            let region = known.unwrap_or_else(|| {
                regions.push(Place { name: name.cloned(), all: 0 });
                regions.len() - 1
            });
            regions[region].all |= bit(at);
            let seed = blake3::hash(upstream.url.as_bytes());
            let seed = seed.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            seats.push(Seat { breaker: Breaker::default(), region, seed });
        }
        let mut nearest: Vec<usize> = (0..regions.len()).collect();
        nearest.sort_by_key(|region| regions[*region].name.as_ref() != own);
        let changing = Changing {
            bounded: 0,
            ejected: 0,
            unwell: 0,
            looks: vec![0; seats.len()],
            far: vec![None; seats.len()],
            challenger: None,
            well_since: vec![Some(UnixMs(0)); regions.len()],
            compared_at: UnixMs(0),
            remembered: vec![Remembered::default(); seats.len()],
            nearest,
        };
        let order = AtomicU64::new(packed(&changing.nearest));
        let (away, unwell, next) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        let silence = Silence::of(seats.len());
        Self { policy, seats, regions, away, unwell, order, next, silence, changing: Mutex::new(changing) }
    }

    /// What says which region is nearest; with one region, nothing need.
    pub(crate) fn nearest(&self) -> Nearest {
        if self.regions.len() > 1 { self.policy.nearest } else { Nearest::Listed }
    }

    /// Where there is nothing to choose, nothing need be noted.
    pub(crate) fn is_free(&self) -> bool {
        self.seats.len() > 1
    }

    /// Whom to ask next. Whoever is picked must be told of by [`Choice::felt`] or [`Choice::unfelt`].
    pub(crate) fn pick(&self, going: &mut Going, now: impl FnOnce() -> UnixMs) -> Picked {
        if self.seats.len() == 1 {
            return Picked::of(0, As::InService);
        }
        let picked = self.pick_among(*going, now);
        let is_first = going.tried == Tried::default();
        going.tried.0 |= bit(picked.at);
        if !going.leaves_a_mark() {
            return Picked { as_: As::Copy, ..picked };
        }
        let key = going.key.filter(|_| is_first && picked.as_ == As::InService);
        Picked { waits: key.map(|key| self.silence.asked(picked.at, mixed(key))), ..picked }
    }

    /// Whether a further attempt goes to an address in service that its request was not at.
    pub(crate) fn next(&self, going: Going) -> Next {
        let left = self.all() & !self.away.load(Ordering::Relaxed) & !going.tried.0;
        if left == 0 || !self.is_free() { Next::Same } else { Next::Another }
    }

    fn pick_among(&self, going: Going, now: impl FnOnce() -> UnixMs) -> Picked {
        let (away, tried) = (self.away.load(Ordering::Relaxed), going.tried.0);
        let (all, order) = (self.all(), self.order.load(Ordering::Relaxed));
        let fresh = all & !away & !tried;
        // who was failed by one address is not to try another while a sibling is well
        let may_try = going.leaves_a_mark() && (tried == 0 || fresh == 0);
        if away != 0
            && may_try
            && let Some(at) = self.probe(away & !tried, going.tries, now())
        {
            return Picked::of(at, As::Probe);
        }
        if let Some(at) = self.near(fresh, order, going.key) {
            return Picked::of(at, As::InService);
        }
        // A second attempt at one that is well is better than a first at one that is not.
        let as_ = if all & !away == 0 { As::LastResort } else { As::InService };
        let left = [all & !away, all & !tried, all].into_iter().find(|left| *left != 0).unwrap_or(all);
        Picked::of(self.near(left, order, going.key).unwrap_or(0), as_)
    }

    /// One that was put aside and whose pause is over. What looks find unwell, looks take back.
    fn probe(&self, away: u64, tries: Tries, now: UnixMs) -> Option<usize> {
        let since = match tries {
            Tries::Soon => now,
            Tries::Late => UnixMs(now.0.saturating_sub(self.policy.breaker.pause_max.0)),
        };
        let unwell = self.unwell.load(Ordering::Relaxed);
        bits(away & !unwell).find(|at| self.seats[*at].breaker.claim_probe(since))
    }

    fn near(&self, among: u64, order: u64, key: Option<u64>) -> Option<usize> {
        let here = self.here(among, order)?;
        if here.is_power_of_two() {
            return bits(here).next();
        }
        match key.filter(|_| self.policy.spread == Spread::Sessions) {
            // The highest of the hashes (rendezvous hashing, Thaler and Ravishankar 1998): whoever goes takes only
            // his own sessions with him.
            Some(key) => bits(here).max_by_key(|at| mixed(key ^ self.seats[*at].seed)),
            None => {
                let nth = self.next.fetch_add(1, Ordering::Relaxed) % here.count_ones() as usize;
                bits(here).nth(nth)
            }
        }
    }

    /// What an attempt came to.
    pub(crate) fn felt(&self, picked: Picked, felt: Felt, now: UnixMs) -> Option<Change> {
        let Picked { at, as_, waits } = picked;
        if as_ == As::Copy {
            return None;
        }
        if self.is_free() {
            self.silence.heard(at, waits, felt, now);
        }
        let breaker = &self.seats[at].breaker;
        if as_ != As::InService {
            return self.felt_outside(picked, felt, now);
        }
        if breaker.is_out() {
            // sent before it was put aside: nothing new
            return None;
        }
        let why = breaker.note(&self.policy.breaker, felt, now)?;
        self.eject(at, why, now)
    }

    /// An answer of an address says when it wants to be asked again.
    pub(crate) fn asks_to_wait(&self, Picked { at, as_, .. }: Picked, wait: SpanMs, now: UnixMs) {
        if as_ != As::Copy {
            self.seats[at].breaker.asks_to_wait(&self.policy.breaker, wait, now);
        }
    }

    fn felt_outside(&self, Picked { at, as_, .. }: Picked, felt: Felt, now: UnixMs) -> Option<Change> {
        let breaker = &self.seats[at].breaker;
        match felt {
            Felt::Well(_) if breaker.is_out() => {
                let mut changing = lock(&self.changing);
                changing.ejected &= !bit(at);
                changing.bounded &= !bit(at);
                changing.remembered[at].back();
                breaker.take_back(now);
                self.silence.back(at);
                self.settle(&mut changing, now);
                Some(Change::Back(at))
            }
            Felt::Neither if as_ == As::Probe => {
                breaker.give_up_probe();
                None
            }
            Felt::Badly | Felt::Lost | Felt::Unreachable if as_ == As::Probe => {
                breaker.put_aside(&self.policy.breaker, now);
                lock(&self.changing).remembered[at].tried();
                None
            }
            Felt::Well(_) | Felt::Neither | Felt::Badly | Felt::Lost | Felt::Unreachable => None,
        }
    }

    /// An answer of which the head was felt ended before its end, and not because its client left.
    pub(crate) fn cut_short(&self, Picked { at, as_, .. }: Picked, now: UnixMs) -> Option<Change> {
        let breaker = &self.seats[at].breaker;
        if as_ == As::Copy || breaker.is_out() {
            return None;
        }
        let why = breaker.note_cut(&self.policy.breaker, now);
        // one that was to show how it is, and was taken back for its head, has shown it
        let why = if as_ == As::Probe { Some(Why::CutShort) } else { why };
        self.eject(at, why?, now)
    }

    /// A second address had content before this one had begun to answer, and it was sent away.
    pub(crate) fn outrun(&self, picked: Picked, now: UnixMs) -> Option<Change> {
        match picked.as_ {
            As::Copy | As::LastResort => None,
            As::Probe => self.felt_outside(picked, Felt::Lost, now),
            As::InService => {
                let breaker = &self.seats[picked.at].breaker;
                let why = breaker.note_outrun(&self.policy.breaker).filter(|_| !breaker.is_out())?;
                self.eject(picked.at, why, now)
            }
        }
    }

    /// An answer came to its end.
    pub(crate) fn came_whole(&self, picked: Picked) {
        if picked.as_ != As::Copy {
            self.seats[picked.at].breaker.note_whole();
        }
    }

    /// An attempt was given up before it came to anything: the client left.
    pub(crate) fn unfelt(&self, picked: Picked) {
        if picked.as_ == As::Probe {
            self.seats[picked.at].breaker.give_up_probe();
        }
    }

    /// A look at an address's health: `well`, and how long it took.
    pub(crate) fn looked(&self, at: usize, well: Look, now: UnixMs) -> Option<Change> {
        let mut changing = lock(&self.changing);
        let unwell = changing.unwell & bit(at) != 0;
        let (agrees, needed) = match well {
            Look::Well { healthy_after, .. } => (!unwell, healthy_after),
            Look::Unwell { unhealthy_after } => (unwell, unhealthy_after),
        };
        match well {
            Look::Well { took_ms, .. } => {
                changing.measured(at, took_ms);
                changing.remembered[at].looked_well();
            }
            Look::Unwell { .. } => changing.remembered[at].looked_bad(),
        }
        changing.looks[at] = if agrees { 0 } else { changing.looks[at].saturating_add(1) };
        if agrees || changing.looks[at] < needed {
            return None;
        }
        changing.looks[at] = 0;
        changing.unwell ^= bit(at);
        if unwell {
            changing.remembered[at].found_well()
        } else {
            changing.remembered[at].found_unwell(now)
        }
        self.settle(&mut changing, now);
        Some(if unwell { Change::Well(at) } else { Change::Unwell(at) })
    }

    /// How far an address is, measured by itself.
    pub(crate) fn measured(&self, at: usize, took_ms: f64) {
        lock(&self.changing).measured(at, took_ms);
    }

    /// Compares siblings, and says which region is nearest; to be called about once a second.
    pub(crate) fn reckon(&self, now: UnixMs) -> Vec<Change> {
        if !self.is_free() {
            return Vec::new();
        }
        let (due, nearest) = {
            let mut changing = lock(&self.changing);
            let before = changing.nearest[0];
            self.measure(&mut changing, now);
            self.settle(&mut changing, now);
            let due = now.since(changing.compared_at) >= self.policy.outliers.every;
            if due {
                changing.compared_at = now;
            }
            (due, Some(changing.nearest[0]).filter(|nearest| *nearest != before))
        };
        let nearest = nearest.and_then(|region| bits(self.regions[region].all).next()).map(Change::Nearest);
        let silent = self.listen(now);
        let compared = if due { self.compare(now) } else { Vec::new() };
        nearest.into_iter().chain(silent).chain(compared).collect()
    }

    /// Those that hang while their siblings answer.
    fn listen(&self, now: UnixMs) -> Vec<Change> {
        let slower = self.policy.outliers.slower;
        if slower <= 0.0 {
            return Vec::new();
        }
        let away = self.away.load(Ordering::Relaxed);
        let hanging = self.silence.look(self.regions.iter().map(|place| place.all & !away), slower, now);
        let found = |sessions| Found { why: Why::Hangs, failures: sessions, answers: None, times: None };
        hanging.into_iter().filter_map(|(at, sessions)| self.eject_for(at, found(sessions), now)).collect()
    }

    /// Until an address is put aside because it hangs.
    pub(crate) async fn until_hanging(&self, at: usize) {
        self.silence.until_hanging(at).await;
    }

    /// The addresses in service among which requests are spread now: those of the nearest region that has any.
    pub(crate) fn serving(&self) -> Vec<usize> {
        let among = self.all() & !self.away.load(Ordering::Relaxed);
        bits(self.here(among, self.order.load(Ordering::Relaxed)).unwrap_or(0)).collect()
    }

    /// Those of the nearest region that has any of these.
    fn here(&self, among: u64, order: u64) -> Option<u64> {
        let here = |place: usize| among & self.regions[(order >> (4 * place) & 0xF) as usize].all;
        (0..self.regions.len()).map(here).find(|here| *here != 0)
    }

    /// How an address stands.
    pub(crate) fn standing(&self, at: usize) -> Standing {
        let breaker = &self.seats[at].breaker;
        if lock(&self.changing).unwell & bit(at) != 0 {
            Standing::Unwell
        } else if breaker.is_probed() {
            Standing::Probed
        } else if breaker.is_out() {
            Standing::Ejected
        } else {
            Standing::InService
        }
    }

    /// Answers of late, and the failures among them; nothing is noted where there is nothing to choose.
    pub(crate) fn seen(&self, at: usize, now: UnixMs) -> (u64, u64) {
        self.seats[at].breaker.seen(&self.policy.breaker, now)
    }

    /// How far an address was when last measured, in milliseconds.
    pub(crate) fn far_ms(&self, at: usize) -> Option<f64> {
        lock(&self.changing).far[at]
    }

    /// Where an address stands.
    pub(crate) fn region(&self, at: usize) -> Option<&Region> {
        self.regions[self.seats[at].region].name.as_ref()
    }

    fn all(&self) -> u64 {
        u64::MAX >> (64 - self.seats.len().clamp(1, 64))
    }

    /// Puts an address aside, where that helps.
    fn eject(&self, at: usize, why: Why, now: UnixMs) -> Option<Change> {
        let found = self.found(at, why, now);
        self.eject_for(at, found, now)
    }

    fn found(&self, at: usize, why: Why, now: UnixMs) -> Found {
        let (failures, answers) = self.seats[at].breaker.counted(why, &self.policy.breaker, now);
        Found { why, failures, answers, times: None }
    }

    fn eject_for(&self, at: usize, found: Found, now: UnixMs) -> Option<Change> {
        let why = found.why;
        let mut changing = lock(&self.changing);
        if changing.ejected & bit(at) != 0 || !why.serves_nobody() && !self.helps(&changing, at, why, now) {
            return None;
        }
        changing.ejected |= bit(at);
        if !why.serves_nobody() {
            changing.bounded |= bit(at);
        }
        let breaker = &self.seats[at].breaker;
        changing.remembered[at].put_aside(found, now);
        let pause = breaker.put_aside(&self.policy.breaker, now);
        self.settle(&mut changing, now);
        if why == Why::Hangs {
            self.silence.found_hanging(at);
        }
        Some(Change::Ejected(at, why, pause))
    }

    /// There is a sibling in service that does better (or of which nothing is known), and not too many are aside.
    fn helps(&self, changing: &Changing, at: usize, why: Why, now: UnixMs) -> bool {
        let policy = &self.policy.breaker;
        let siblings = self.all() & !changing.ejected & !changing.unwell & !bit(at);
        let most = (f64::from(self.all().count_ones()) * self.policy.max_ejected.share()).max(1.0);
        if siblings == 0 || f64::from(changing.bounded.count_ones() + 1) > most {
            return false;
        }
        let (all, bad) = self.seats[at].breaker.seen(policy, now);
        bits(siblings).any(|other| {
            let (of, failed) = self.seats[other].breaker.seen(policy, now);
            // that it answers where the other is silent was seen; it is to do so mostly with what is no error
            let better = if why == Why::Hangs { 2 * failed <= of } else { 2 * failed * all.max(1) <= bad * of };
            of < u64::from(policy.least / 4).max(2) || better
        })
    }

    /// Worse than its siblings in their region, by errors or by times.
    fn compare(&self, now: UnixMs) -> Vec<Change> {
        let policy = &self.policy.outliers;
        let times: Vec<_> = self.seats.iter().map(|seat| seat.breaker.take_times()).collect();
        let away = self.away.load(Ordering::Relaxed);
        let mut changes = Vec::new();
        for place in &self.regions {
            let here = place.all & !away;
            for at in bits(here) {
                let others = here & !bit(at);
                if self.errs_more(at, others, now) {
                    changes.extend(self.eject(at, Why::MoreErrors, now));
                } else if policy.slower > 0.0
                    && let Some(times) = slow(at, others, &times, policy.least, policy.slower)
                {
                    let found = Found { times: Some(times), ..self.found(at, Why::Slower, now) };
                    changes.extend(self.eject_for(at, found, now));
                }
            }
        }
        changes
    }

    fn errs_more(&self, at: usize, others: u64, now: UnixMs) -> bool {
        let policy = &self.policy.outliers;
        let seen = |at: usize| self.seats[at].breaker.seen(&self.policy.breaker, now);
        let (all, bad) = seen(at);
        let (of, failed) = bits(others).map(seen).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let enough = all.min(of) >= u64::from(policy.least.max(1));
        enough && bad as f64 / all as f64 >= failed as f64 / of as f64 + policy.error_gap.share()
    }

    /// Which region is nearest, by what was measured.
    fn measure(&self, changing: &mut Changing, now: UnixMs) {
        if self.policy.nearest != Nearest::Measured {
            return;
        }
        let far = |region: usize| {
            let known = bits(self.regions[region].all).filter_map(|at| changing.far[at]);
            known.fold(f64::INFINITY, f64::min)
        };
        let far: Vec<f64> = (0..self.regions.len()).map(far).collect();
        let first = changing.nearest[0];
        let best = (0..far.len()).min_by(|a, b| far[*a].total_cmp(&far[*b])).unwrap_or(first);
        let nearer = far[best] < far[first] * NEARER && far[first] - far[best] >= NEARER_MS;
        if best == first || !nearer {
            changing.challenger = None;
            let (_, rest) = changing.nearest.split_at_mut(1);
            rest.sort_by(|a, b| far[*a].total_cmp(&far[*b]));
            return;
        }
        match changing.challenger {
            Some((challenger, since)) if challenger == best => {
                if now.since(since) >= self.policy.return_after {
                    changing.challenger = None;
                    changing.nearest.sort_by(|a, b| far[*a].total_cmp(&far[*b]));
                }
            }
            Some(_) | None => changing.challenger = Some((best, now)),
        }
    }

    /// Says what was changed to whoever chooses.
    fn settle(&self, changing: &mut Changing, now: UnixMs) {
        let away = changing.ejected | changing.unwell;
        for (region, place) in self.regions.iter().enumerate() {
            let well = place.all & !away != 0;
            changing.well_since[region] = changing.well_since[region].or(Some(now)).filter(|_| well);
        }
        let lasting = |region: &usize| {
            changing.well_since[*region].is_some_and(|at| at.0 == 0 || now.since(at) >= self.policy.return_after)
        };
        let (mut order, rest): (Vec<usize>, Vec<usize>) = changing.nearest.iter().copied().partition(lasting);
        order.extend(rest);
        self.order.store(packed(&order), Ordering::Relaxed);
        self.unwell.store(changing.unwell, Ordering::Relaxed);
        if self.away.swap(away, Ordering::Relaxed) != away {
            self.silence.changed(now);
        }
    }
}

/// What a look at an address's health found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// Well, after so many milliseconds; so many in a row are believed.
    Well { took_ms: f64, healthy_after: u32 },
    /// Not; so many in a row are believed.
    Unwell { unhealthy_after: u32 },
}

impl Changing {
    fn measured(&mut self, at: usize, took_ms: f64) {
        let far = &mut self.far[at];
        *far = Some(far.map_or(took_ms, |before| before + NEWEST * (took_ms - before)));
    }
}

/// How slow an address is, where it is slower than the middle one of the others by a factor and by more than noise.
fn slow(at: usize, others: u64, times: &[Option<(u64, f64)>], least: u32, factor: f64) -> Option<Times> {
    let enough = |at: usize| times[at].filter(|(count, _)| *count >= u64::from(least)).map(|(_, mean_ms)| mean_ms);
    let own_ms = enough(at)?;
    let mut means: Vec<f64> = bits(others).filter_map(enough).collect();
    means.sort_by(f64::total_cmp);
    let middle_ms = *means.get(means.len() / 2)?;
    let slower = own_ms > middle_ms * factor && own_ms > middle_ms + SLOWER_MS;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of answers")]
    slower.then(|| Times { own_ms: own_ms.round() as u64, siblings_ms: middle_ms.round() as u64 })
}

const fn bit(at: usize) -> u64 {
    1 << at
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = mask.trailing_zeros();
        mask &= mask.checked_sub(1)?;
        Some(at as usize)
    })
}

fn packed(order: &[usize]) -> u64 {
    order.iter().rev().fold(0, |packed, region| packed << 4 | *region as u64 & 0xF)
}

/// Spreads a word's bits over all of it (the finalizer of `MurmurHash3`).
const fn mixed(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests;
