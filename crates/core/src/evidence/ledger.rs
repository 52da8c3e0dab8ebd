//! The ledger of one release: turns in, sealed buckets out.

use crate::evidence::badness::stated_amount;
use crate::evidence::gauge::{Gauge, gauges};
use crate::evidence::history::RouteHistory;
use crate::evidence::openings::Words;
use crate::evidence::runs::Alongside;
use crate::evidence::seal::{self, Comparison, NUMBERS, Posting};
use crate::evidence::totals::{Totals, count};
use crate::evidence::yardstick::{Source, freeze, is_enough, watched};
use crate::evidence::{SealedBucket, Session, Yardstick};
use crate::id::{ReleaseId, UnitKey};
use crate::judge::{Happened, Judge, Sampling};
use crate::metric::{Metric, Number, TASK_DONE};
use crate::release::policy::{Ages, ControlArm, Policy, Unit};
use crate::release::state::Release;
use crate::sentinel::Round;
use crate::shadow::pair::Mirrored;
use crate::shadow::preferences::{Preferred, Preferring};
use crate::shadow::young::{MirroredSession, Young};
use crate::tally::{Dropped, Ending, Feedback, ServedBy, Turn, TurnPart};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::{Arm, Membership, Stratum};
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::VersionId;
use log::Log;
use one::{Whence, Windows};
use sessions::Sessions;
use std::collections::BTreeMap;
use std::sync::Arc;

mod log;
mod one;
mod sessions;

/// Without a history the warm-up ends after this, or after [`WARM_UP_SESSIONS`], whichever is first …
const WARM_UP: SpanMs = SpanMs::minutes(5);
/// Canary sessions that a warm-up costs at most.
const WARM_UP_SESSIONS: usize = 20;
/// … but not before stable has shown this many requests to measure by.
const WARM_UP_REQUESTS: u64 = 30;
/// Scores of one session that are counted at most.
const SCORES: usize = 64;
/// So many changes of sessions are not looked through for those named twice.
const CHANGED_MIN: usize = 65_536;

/// The sessions of one release until their last number is posted. Sealing depends on what was absorbed
/// and on `complete_to` alone, never on the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    release: ReleaseId,
    stable: VersionId,
    policy: Policy,
    weights: Vec<WeightBp>,
    salt: Salt,
    /// Exposure buckets are counted from here.
    origin: UnixMs,
    yardstick: Option<Yardstick>,
    gauges: Vec<Gauge>,
    sessions: Sessions,
    /// In no order until they are sealed.
    by_bucket: BTreeMap<u64, Vec<UnitKey>>,
    /// Buckets below this owe nothing more.
    over_to: u64,
    totals: Totals,
    /// Of openings that are too rare to be kept.
    words: Words,
    young: Young,
    unsaved: Unsaved,
    log: Log,
}

/// What changed and was not yet taken.
#[derive(Debug, Clone, PartialEq, Default)]
struct Unsaved {
    yardstick: Option<Yardstick>,
    /// In the order of change, some more than once.
    sessions: Vec<UnitKey>,
    sealed: Vec<SealedBucket>,
    totals: Option<()>,
}

/// What the store kept of a ledger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// The yardstick, once frozen.
    pub yardstick: Option<Yardstick>,
    /// Sessions that still owe a number.
    pub sessions: Vec<(UnitKey, Arc<Session>)>,
    /// The lap of the rows that they were written in last.
    pub lap: u64,
    /// Mirrored sessions, young or counted.
    pub mirrored: Vec<(UnitKey, MirroredSession)>,
    /// The totals; `None` when nothing was ever kept.
    pub totals: Option<Totals>,
}

/// What changed since the last call of [`Ledger::take_changes`]; belongs into one transaction with the
/// marks of the deltas that it came from, and must be stored before any later one. Field by field what
/// the store's `ReleaseEvidence` holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The yardstick, when it was frozen since.
    pub yardstick: Option<Yardstick>,
    /// Sessions that are new or changed, and those whose turn it is, whole; shared, since they pass through several hands.
    pub sessions: Vec<(UnitKey, Arc<Session>)>,
    /// The lap that these rows belong to.
    pub lap: u64,
    /// Every session that lives has a row of this lap or a later one.
    pub whole_from: u64,
    /// Sessions exposed earlier have posted their last number.
    pub live_from: UnixMs,
    /// Mirrored sessions that are new or changed, whole.
    pub mirrored: Vec<(UnitKey, Arc<MirroredSession>)>,
    /// Mirrored sessions that are not remembered any longer.
    pub unmirrored: Vec<UnitKey>,
    /// Buckets sealed since, in the order of sealing.
    pub sealed: Vec<SealedBucket>,
    /// The totals as they are now.
    pub totals: Totals,
}

/// What became of something that was offered to a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// It counts.
    Counted,
    /// It is no part of this release's evidence (another release, no unit, not compared).
    NotOurs,
    /// Its session began before the yardstick was frozen.
    WarmUp,
    /// It is beyond the ages at which its session is judged: in the totals only.
    BeyondAges,
    /// The numbers that it belongs to are already posted: counted as late, in the totals only.
    Late,
    /// It contradicts what is known of its session (arm, stratum or exposure): counted, ignored.
    Contradicts,
    /// It was counted before (feedback under a known idempotency key).
    Repeated,
    /// It cannot be used (a score that is not within 0 and 1).
    Unusable,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(release: &Release) -> Self {
        Self::restore(release, Kept::default())
    }

    /// Goes on from what was kept.
    #[must_use]
    pub fn restore(release: &Release, kept: Kept) -> Self {
        let mut ledger = Self {
            release: release.id.clone(),
            stable: release.stable,
            policy: release.policy.clone(),
            weights: release.plan.stages.iter().map(|stage| stage.weight).collect(),
            salt: release.salt,
            origin: release.created_at,
            gauges: kept.yardstick.as_ref().map(|yardstick| gauges(&release.policy, yardstick)).unwrap_or_default(),
            yardstick: kept.yardstick,
            sessions: Sessions::new(),
            by_bucket: BTreeMap::new(),
            over_to: 0,
            log: if kept.totals.is_none() { Log::new() } else { Log::behind(kept.lap) },
            totals: kept.totals.unwrap_or_default(),
            words: Words::default(),
            young: Young::restore(kept.mirrored),
            unsaved: Unsaved::default(),
        };
        for (unit, session) in kept.sessions {
            ledger.by_bucket.entry(ledger.bucket_of(session.exposed_at)).or_default().push(unit);
            ledger.sessions.insert(unit, session);
        }
        ledger.over_to = ledger.posted_whole();
        ledger
    }

    /// Takes one turn. Deltas are counted once by intake, so a turn comes once.
    pub fn absorb(&mut self, turn: &Turn) -> Absorbed {
        let Some((unit, member)) = turn.unit.zip(turn.member.as_ref()).filter(|(_, member)| self.is_ours(member))
        else {
            return Absorbed::NotOurs;
        };
        self.unsaved.totals = Some(());
        self.count_request(turn, member);
        self.count_matched(turn, unit, member);
        let (became, requests) = self.absorb_into_session(turn, unit, member);
        if turn.part != TurnPart::Tail {
            self.count_unit(unit, requests);
        }
        became
    }

    /// Takes one late score; harmless when repeated under the same idempotency key.
    pub fn absorb_feedback(&mut self, feedback: &Feedback) -> Absorbed {
        self.count_task(feedback);
        let watched = self.watched_of(feedback);
        let ours = |member: &&Membership| !watched.is_empty() && self.is_ours(member);
        let Some(member) = feedback.member.as_ref().filter(ours) else {
            return Absorbed::NotOurs;
        };
        self.unsaved.totals = Some(());
        if !(0.0..=1.0).contains(&feedback.value) {
            self.totals.unusable_feedback += 1;
            return Absorbed::Unusable;
        }
        if feedback.judge.is_none() {
            let heard = self.totals.heard.entry(feedback.name.clone()).or_default();
            *heard = feedback.received_at.max(*heard);
        }
        if self.is_warm_up(member) {
            if feedback.judge.is_some() && self.yardstick.is_none() && member.arm == Arm::Control {
                self.totals.warm_up.summary.add_score(feedback);
            }
            return Absorbed::WarmUp;
        }
        let in_time: Vec<Metric> =
            watched.into_iter().filter(|metric| self.is_in_time(feedback, member, metric)).collect();
        if in_time.is_empty() {
            self.totals.late_feedback += 1;
            return Absorbed::Late;
        }
        if let Err(refused) = self.begin(feedback.unit, member) {
            return refused;
        }
        let Some(session) = self.sessions.get_mut(feedback.unit).map(Arc::make_mut) else { return Absorbed::Late };
        let key = feedback.idempotency ^ name_hash(&feedback.name);
        if session.scored.contains(&key) || session.scored.len() >= SCORES {
            return Absorbed::Repeated;
        }
        session.scored.insert(key);
        for metric in in_time {
            let is_thumbs_down = matches!(metric, Metric::ThumbsDown(_));
            let sums = session.sums.get_or_default(&metric);
            if metric.per().is_some() {
                sums.session += feedback.value;
                sums.session_n += 1;
                continue;
            }
            sums.whole += if is_thumbs_down { f64::from(u8::from(feedback.value < 0.5)) } else { feedback.value };
            sums.whole_n += 1;
        }
        self.note_changed(feedback.unit);
        Absorbed::Counted
    }

    /// Counts a task of the release's sessions, watched or not.
    fn count_task(&mut self, feedback: &Feedback) {
        let member = feedback.member.as_ref().filter(|member| self.is_ours(member));
        if feedback.judge.is_none()
            && feedback.name == TASK_DONE
            && (0.0..=1.0).contains(&feedback.value)
            && let Some(arm) = member.and_then(|member| self.totals.arm_mut(member.arm))
        {
            arm.tasks_done += feedback.value;
            self.unsaved.totals = Some(());
        }
    }

    /// Counts turns of this release that a gateway threw away.
    pub fn absorb_dropped(&mut self, dropped: &Dropped) {
        if dropped.release.as_deref() == Some(&self.release)
            && let Some(arm) = self.totals.arm_mut(dropped.arm)
        {
            arm.dropped += dropped.count;
            self.unsaved.totals = Some(());
        }
    }

    /// Counts one round of the sentinels.
    pub fn absorb_round(&mut self, release: &Release, round: &Round) {
        self.totals.sentinels.absorb(&release.policy, release.attempt, round);
        self.unsaved.totals = Some(());
    }

    /// Counts what a gateway mirrored for this release.
    pub fn absorb_mirrored(&mut self, mirrored: &Mirrored) {
        if *mirrored.release == self.release {
            self.totals.shadow.absorb(&mut self.young, &self.policy, mirrored);
            self.unsaved.totals = Some(());
        }
    }

    /// Counts what a judge said of a pair, where that very judge is the shadow's and sees the session.
    pub fn absorb_preference(&mut self, preferred: &Preferred) {
        let sees = |(judge, preferring): (&Judge, &Preferring)| {
            judge.name == preferred.judge
                && judge.id() == preferred.by
                && preferring.includes(&self.salt, preferred.unit)
        };
        if *preferred.release == self.release && self.policy.preferring().any(sees) {
            self.totals.shadow.absorb_preference(&mut self.young, preferred);
            self.unsaved.totals = Some(());
        }
    }

    /// Counts the mirrored sessions that have reached the age of a session's number.
    pub fn post_mirrored(&mut self, complete_to: UnixMs) {
        let age = self.policy.ages.session;
        if self.totals.shadow.post(&mut self.young, &self.policy, age, complete_to) {
            self.unsaved.totals = Some(());
        }
    }

    /// Counts what happened to one of the release's judges.
    pub fn absorb_judge(&mut self, judge: &Judge, happened: &Happened, now: UnixMs) {
        self.totals.judges.absorb(judge, happened, now);
        self.unsaved.totals = Some(());
    }

    /// Freezes the yardstick once that is possible: at once from a history with enough of stable's last
    /// 24 hours, else at the end of the warm-up. Call it at every look from the start of exposure on;
    /// returns the yardstick once there is one (build the [`crate::analysis::Books`] then).
    pub fn calibrate(&mut self, history: Option<&RouteHistory>, now: UnixMs) -> Option<&Yardstick> {
        if self.yardstick.is_none()
            && let Some(yardstick) = self.measure(history, now).map(|yardstick| self.parted(yardstick))
        {
            self.gauges = gauges(&self.policy, &yardstick);
            self.totals.warm_up.close();
            self.unsaved.totals = Some(());
            self.unsaved.yardstick = Some(yardstick.clone());
            self.yardstick = Some(yardstick);
        }
        self.yardstick.as_ref()
    }

    /// Seals every exposure bucket whose age has passed by `complete_to`; fold each into the books, in
    /// this order. They are also in the next [`Ledger::take_changes`].
    pub fn seal(&mut self, complete_to: UnixMs) -> Vec<SealedBucket> {
        let mut sealed = Vec::new();
        for posting in self.postings() {
            let due = self.due(&posting, complete_to);
            let next = self.posted_to(&posting);
            if due <= next {
                continue;
            }
            let comparison = Comparison { weights: &self.weights, salt: &self.salt, words: &self.words };
            for (bucket, units) in self.by_bucket.range_mut(next..due) {
                units.sort_unstable();
                let sessions =
                    units.iter().filter_map(|unit| self.sessions.get(*unit).map(|session| (*unit, &**session)));
                sealed.extend(seal::post(&mut self.totals, &self.gauges, &posting, *bucket, sessions, &comparison));
            }
            match posting.own {
                Some(metric) => self.totals.own_posted_to.insert(metric, due),
                None => self.totals.posted_to.insert(posting.number, due),
            };
            self.unsaved.totals = Some(());
        }
        self.forget();
        self.unsaved.sealed.extend(sealed.iter().cloned());
        sealed
    }

    /// What changed since the last call; `None` when nothing did.
    pub fn take_changes(&mut self) -> Option<Changes> {
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved == Unsaved::default() {
            return None;
        }
        let (mirrored, unmirrored) = self.young.take_changes();
        let changed = each_once(unsaved.sessions);
        let bucket_of = |session: &Session| bucket_of(self.origin, &self.policy, session.exposed_at);
        let sessions = self.log.write(&self.sessions, &changed, self.over_to, bucket_of);
        Some(Changes {
            yardstick: unsaved.yardstick,
            sessions,
            lap: self.log.lap(),
            whole_from: self.log.whole_from(),
            live_from: if self.over_to == 0 { UnixMs(0) } else { self.end_of(self.over_to - 1) },
            mirrored,
            unmirrored,
            sealed: unsaved.sealed,
            totals: self.totals.clone(),
        })
    }

    /// The yardstick, once frozen.
    #[must_use]
    pub fn yardstick(&self) -> Option<&Yardstick> {
        self.yardstick.as_ref()
    }

    /// The totals.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Sessions that still owe a number.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The watched metrics that a score belongs to. One of a judge counts only where that very judge is the release's,
    /// and draws the session.
    fn watched_of(&self, feedback: &Feedback) -> Vec<Metric> {
        let named = |made: fn(String) -> Metric| made(feedback.name.clone());
        let made = match feedback.judge {
            None if feedback.name == TASK_DONE => {
                vec![named(Metric::Feedback), named(Metric::ThumbsDown), Metric::CostPerTask]
            }
            None => vec![named(Metric::Feedback), named(Metric::ThumbsDown)],
            Some(id) => {
                let arm = feedback.member.as_ref().map_or(Arm::Stable, |member| member.arm);
                let draws = |(judge, sampling): &(&Judge, Sampling)| {
                    judge.name == feedback.name
                        && judge.id() == id
                        && sampling.includes(&self.salt, &judge.name, feedback.unit, arm)
                };
                if self.policy.judged().any(|judged| draws(&judged)) { vec![named(Metric::Judge)] } else { Vec::new() }
            }
        };
        let is_watched = |metric: &Metric| self.policy.guardrails.iter().any(|guardrail| guardrail.metric == *metric);
        made.into_iter().filter(is_watched).collect()
    }

    fn is_ours(&self, member: &Membership) -> bool {
        let compared = match member.arm {
            Arm::Stable => false,
            Arm::Control | Arm::Canary => true,
        };
        compared && *member.release == self.release
    }

    fn is_warm_up(&self, member: &Membership) -> bool {
        self.yardstick.as_ref().is_none_or(|yardstick| member.exposed_at < yardstick.frozen_at)
    }

    fn bucket_of(&self, exposed_at: UnixMs) -> u64 {
        bucket_of(self.origin, &self.policy, exposed_at)
    }

    fn end_of(&self, bucket: u64) -> UnixMs {
        self.origin + SpanMs((bucket + 1).saturating_mul(self.policy.bucket.0.max(1)))
    }

    /// All that is posted of a session, in the order of posting.
    fn postings(&self) -> Vec<Posting> {
        let together = NUMBERS.into_iter().map(|number| Posting { number, own: None });
        let late = self.policy.guardrails.iter().filter(|guardrail| guardrail.age.is_some());
        let alone = late.map(|guardrail| Posting { number: Number::Whole, own: Some(guardrail.metric.clone()) });
        together.chain(alone).collect()
    }

    /// The first bucket that is not due for a posting.
    fn due(&self, posting: &Posting, complete_to: UnixMs) -> u64 {
        let own = posting.own.as_ref().and_then(|metric| self.policy.own_age(metric));
        let age = own.unwrap_or_else(|| age(self.policy.ages, posting.number));
        (complete_to - age).since(self.origin).0 / self.policy.bucket.0.max(1)
    }

    /// The first bucket that is not yet posted.
    fn posted_to(&self, posting: &Posting) -> u64 {
        let next = match &posting.own {
            Some(metric) => self.totals.own_posted_to.get(metric),
            None => self.totals.posted_to.get(&posting.number),
        };
        next.copied().unwrap_or(0)
    }

    fn is_posted(&self, number: Number, bucket: u64) -> bool {
        self.totals.posted_to.get(&number).is_some_and(|next| bucket < *next)
    }

    /// Buckets below this have posted all their numbers.
    fn posted_whole(&self) -> u64 {
        self.postings().iter().map(|posting| self.posted_to(posting)).min().unwrap_or(0)
    }

    /// Whether a score comes within the age of a metric, and before that was posted.
    fn is_in_time(&self, feedback: &Feedback, member: &Membership, metric: &Metric) -> bool {
        let own = self.policy.own_age(metric).map(|_| metric.clone());
        let posted_to = self.posted_to(&Posting { number: Number::Whole, own });
        feedback.received_at.since(member.exposed_at) <= self.policy.age(metric, Number::Whole)
            && self.bucket_of(member.exposed_at) >= posted_to
    }

    /// Begins the session of a unit if it is new and still owes a number.
    fn begin(&mut self, unit: UnitKey, member: &Membership) -> Result<(), Absorbed> {
        if self.is_warm_up(member) {
            return Err(Absorbed::WarmUp);
        }
        if let Some(session) = self.sessions.get(unit) {
            if session.is_of(member) {
                return Ok(());
            }
            self.totals.contradictions += 1;
            return Err(Absorbed::Contradicts);
        }
        if self.bucket_of(member.exposed_at) < self.over_to {
            return Err(Absorbed::Late);
        }
        self.insert(unit, member, Session::begun(member));
        Ok(())
    }

    fn insert(&mut self, unit: UnitKey, member: &Membership, session: Session) {
        self.sessions.insert(unit, Arc::new(session));
        self.by_bucket.entry(self.bucket_of(member.exposed_at)).or_default().push(unit);
        count(self.totals.exposed.entry(member.stratum).or_default(), member.arm);
    }

    /// What became of it, and the requests of its unit's session.
    fn absorb_into_session(&mut self, turn: &Turn, unit: UnitKey, member: &Membership) -> (Absorbed, Option<u64>) {
        if self.yardstick.is_none() {
            self.totals.warm_up.absorb(turn, unit, member);
        }
        if self.is_warm_up(member) {
            return (Absorbed::WarmUp, self.sessions.get(unit).map(|session| session.requests));
        }
        let bucket = self.bucket_of(member.exposed_at);
        let windows = Windows::of(turn, member, self.policy.ages, self.end_of(bucket));
        let posted = |number| self.is_posted(number, bucket);
        let wanted = [
            (windows.opening, posted(Number::First)),
            (windows.session, posted(Number::Session)),
            (windows.whole, posted(Number::Whole)),
        ];
        let owes = wanted.iter().any(|(inside, posted)| *inside && !posted);
        let late = wanted.iter().any(|(inside, posted)| *inside && *posted);
        let apart = self.yardstick.as_ref().map_or(&[][..], |yardstick| &yardstick.apart);
        let whence = Whence { apart, salt: &self.salt };
        let requests = match self.sessions.get_mut(unit) {
            Some(session) if !session.is_of(member) => {
                self.totals.contradictions += 1;
                return (Absorbed::Contradicts, Some(session.requests));
            }
            Some(session) => {
                let session = Arc::make_mut(session);
                one::add(session, &self.gauges, turn, &windows, &whence);
                session.requests
            }
            None if !owes => {
                self.totals.late_turns += u64::from(late);
                return (if late { Absorbed::Late } else { Absorbed::BeyondAges }, None);
            }
            None if bucket < self.over_to => return (Absorbed::Late, None),
            None => {
                let mut session = Session::begun(member);
                one::add(&mut session, &self.gauges, turn, &windows, &whence);
                let requests = session.requests;
                self.insert(unit, member, session);
                requests
            }
        };
        if let Some(opening) = turn.outcome.opening.as_ref().filter(|_| windows.session) {
            self.words.hear(opening);
        }
        self.note_changed(unit);
        self.totals.late_turns += u64::from(late);
        let became = match (owes, late) {
            (true, _) => Absorbed::Counted,
            (false, true) => Absorbed::Late,
            (false, false) => Absorbed::BeyondAges,
        };
        (became, Some(requests))
    }

    /// A session that changes with every turn is named once for each; not more often than there are sessions.
    fn note_changed(&mut self, unit: UnitKey) {
        let changed = &mut self.unsaved.sessions;
        if changed.last() == Some(&unit) {
            return;
        }
        changed.push(unit);
        if changed.len() > CHANGED_MIN.max(self.sessions.len().saturating_mul(2)) {
            *changed = each_once(std::mem::take(changed));
        }
    }

    fn count_request(&mut self, turn: &Turn, member: &Membership) {
        let cost = stated_amount(&Metric::CostPerSession, &turn.outcome);
        let alongside = if has_control(&self.weights, member.stratum) { Alongside::Control } else { Alongside::Nobody };
        self.totals.names.note(member.arm, &turn.outcome, turn.started_at);
        let Some(arm) = self.totals.arm_mut(member.arm) else { return };
        arm.cost_usd += cost.unwrap_or(0.0);
        if turn.part == TurnPart::Tail {
            return;
        }
        let outcome = &turn.outcome;
        arm.requests += 1;
        arm.cost_unknown += u64::from(cost.is_none() && turn.part == TurnPart::Whole);
        arm.rescued += u64::from(outcome.served_by == ServedBy::Rescue);
        match outcome.ending {
            Ending::Failed(_) => arm.failed += 1,
            Ending::Cancelled(_) => arm.cancelled += 1,
            Ending::Complete | Ending::Running | Ending::ClientError | Ending::GatewayError => {}
        }
        if let Some(ttft_ms) = outcome.ttft_ms {
            arm.ttft_ms.add(ttft_ms);
        }
        arm.latency_ms.add(outcome.latency_ms);
        self.totals.runs.add(member.arm, outcome.ending.blame(), turn.started_at, alongside);
    }

    /// Keeps the times of the matched control, where something is compared with it.
    fn count_matched(&mut self, turn: &Turn, unit: UnitKey, member: &Membership) {
        let matches = || self.policy.guardrails.iter().any(|guardrail| guardrail.control == ControlArm::Matched);
        if member.arm != Arm::Control || turn.part == TurnPart::Tail || !matches() {
            return;
        }
        if (Comparison { weights: &self.weights, salt: &self.salt, words: &self.words })
            .is_matched(unit, member.stratum)
        {
            let times = self.totals.matched_times.get_or_insert_default();
            if let Some(ttft_ms) = turn.outcome.ttft_ms {
                times.ttft_ms.add(ttft_ms);
            }
            times.latency_ms.add(turn.outcome.latency_ms);
        }
    }

    /// Keeps the largest number of requests of one unit.
    fn count_unit(&mut self, unit: UnitKey, of_session: Option<u64>) {
        let requests = match of_session {
            Some(requests) => requests + self.totals.heavy.count(unit),
            None => self.totals.heavy.add(unit, 1),
        };
        self.totals.heaviest_requests = self.totals.heaviest_requests.max(requests);
    }

    fn forget(&mut self) {
        self.over_to = self.posted_whole();
        let rest = self.by_bucket.split_off(&self.over_to);
        for unit in std::mem::replace(&mut self.by_bucket, rest).into_values().flatten() {
            let Some(session) = self.sessions.remove(unit) else { continue };
            // One that may grow to 1 % of all requests is remembered.
            if session.requests >= 10 && session.requests * 500 >= self.totals.requests() {
                self.totals.heavy.add(unit, session.requests);
            }
        }
    }

    /// Evidence of which a bucket is one unit cannot be parted: the noise of an arm is in all parts of its bucket.
    fn parted(&self, yardstick: Yardstick) -> Yardstick {
        let by_bucket = self.policy.guardrails.iter().any(|guardrail| guardrail.unit == Unit::BucketMean);
        if by_bucket { Yardstick { apart: Vec::new(), ..yardstick } } else { yardstick }
    }

    fn measure(&self, history: Option<&RouteHistory>, now: UnixMs) -> Option<Yardstick> {
        let watched = watched(&self.policy);
        let warm_up = &self.totals.warm_up;
        // A session seen already began before: no clock of another gateway is trusted to be exact.
        let frozen_at =
            if warm_up.first_exposed_at.is_none() { now } else { now.max(warm_up.last_exposed_at + SpanMs(1)) };
        let day = history.filter(|history| history.version() == Some(self.stable));
        if let Some(day) = day.map(|history| history.last(SpanMs::hours(24), now))
            && is_enough(&day, &watched)
        {
            return Some(freeze(&day, Source::History, &watched, frozen_at));
        }
        let age = now.since(warm_up.first_exposed_at?);
        let over = age >= WARM_UP || warm_up.canary.len() >= WARM_UP_SESSIONS;
        let alone = warm_up.summary.requests == 0 && !has_control(&self.weights, Stratum(0));
        let measured = alone || warm_up.summary.requests >= WARM_UP_REQUESTS;
        (over && measured).then(|| freeze(&warm_up.measured(), Source::WarmUp, &watched, frozen_at))
    }
}

fn bucket_of(origin: UnixMs, policy: &Policy, exposed_at: UnixMs) -> u64 {
    exposed_at.since(origin).0 / policy.bucket.0.max(1)
}

fn each_once(mut units: Vec<UnitKey>) -> Vec<UnitKey> {
    units.sort_unstable();
    units.dedup();
    units
}

/// The age at which a number is posted.
#[must_use]
pub fn age(ages: Ages, number: Number) -> SpanMs {
    match number {
        Number::First => ages.first,
        Number::Session => ages.session,
        Number::Whole => ages.whole,
    }
}

/// Whether a stratum leaves anybody on stable to compare with.
#[must_use]
pub fn has_control(weights: &[WeightBp], stratum: Stratum) -> bool {
    weights.get(usize::from(stratum.0)).is_none_or(|weight| *weight < WeightBp::FULL)
}

fn name_hash(name: &str) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(low)
}

#[cfg(test)]
mod tests;
