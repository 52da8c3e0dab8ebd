//! One release from start to end over recorded sessions, on the shipped assignment, ledger, books, analysis and
//! release machine. A look is made at the end of every exposure bucket: evidence changes at no other instant.

use crate::backtest::BacktestError;
use crate::backtest::bench::{Arrivals, Bench, Case, Draw, ORIGIN, Policed};
use crate::backtest::data::{By, Score, Session};
use crate::backtest::inject::Dose;
use crate::backtest::outcome::RunOutcome;
use crate::luck::Luck;
use crate::report::Ended;
use coalmine_core::analysis::{Books, Reporting, analyse};
use coalmine_core::evidence::Ledger;
use coalmine_core::id::{Actor, Generation, ReleaseId, TenantId, UnitKey};
use coalmine_core::judge::{Judge, JudgeId, Sampling};
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::report::Step;
use coalmine_core::release::state::{Release, RollbackCause, State};
use coalmine_core::tally::{Check, Detected, Ending, Feedback, Outcome, Turn, TurnPart};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::assign::{Asked, Eligibility, Identity, Opening, assign};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_core::traffic::table::{RouteFacts, RouteTable, build};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Looks of one run at most, where sessions never end: beyond any policy's `max_duration` of minutes.
const MOST_LOOKS: u64 = 1_000_000;

/// Runs one release of `case` under this seed. The same arguments give the same outcome.
pub(crate) fn play(
    bench: &Bench<'_>,
    case: &Case,
    dose: Option<Dose<'_>>,
    seed: u64,
) -> Result<RunOutcome, BacktestError> {
    let mut run = Run::begin(bench, case, dose, seed)?;
    let step = bench.policed.policy.bucket;
    let mut now = ORIGIN;
    for _ in 0..MOST_LOOKS {
        now = now + step;
        run.arrive(now)?;
        run.look(now)?;
        if run.is_over(now) {
            break;
        }
    }
    Ok(run.outcome(now))
}

struct Run<'a, 'd> {
    bench: &'a Bench<'d>,
    dose: Option<Dose<'a>>,
    luck: Luck,
    release: Release,
    table: RouteTable,
    ledger: Ledger,
    books: Option<Books>,
    reporting: SpanMs,
    deck: Deck,
    times: Times,
    /// When the next session comes; `None` when the recording is over.
    next_at: Option<UnixMs>,
    last_at: UnixMs,
    /// What becomes known, and when.
    known: BTreeMap<(UnixMs, u64), Known>,
    events: u64,
    canary_sessions: u64,
    control_sessions: u64,
    /// Excess badness over stable's, per metric of the bench.
    excess: Vec<f64>,
    headline: String,
}

/// Whose score it is.
enum Heard {
    No,
    Application,
    Judge(JudgeId),
}

enum Known {
    Turn(Box<Turn>),
    Score(Feedback),
}

impl<'a, 'd> Run<'a, 'd> {
    fn begin(bench: &'a Bench<'d>, case: &'a Case, dose: Option<Dose<'a>>, seed: u64) -> Result<Self, BacktestError> {
        let mut luck = Luck::new(seed);
        let release = start(draft(&bench.policed, ORIGIN, &mut luck), ORIGIN)?;
        let table = table_of(bench, &release)?;
        let deck = Deck::new(bench, case, &mut luck);
        let mut times = Times::new(bench, case);
        let next_at = (deck.left > 0).then(|| times.next(&mut luck));
        let mut ledger = Ledger::new(&release);
        let books = ledger.calibrate(Some(&bench.history), ORIGIN).map(|yardstick| Books::new(&release, yardstick));
        Ok(Self {
            ledger,
            books,
            reporting: Reporting::stale_after(release.policy.bucket, SpanMs::secs(1)),
            bench,
            dose,
            release,
            table,
            deck,
            times,
            next_at,
            last_at: ORIGIN,
            known: BTreeMap::new(),
            events: 0,
            canary_sessions: 0,
            control_sessions: 0,
            excess: vec![0.0; bench.known.len()],
            headline: String::new(),
            luck,
        })
    }

    /// Every session that comes up to `now`.
    fn arrive(&mut self, now: UnixMs) -> Result<(), BacktestError> {
        while let Some(at) = self.next_at.filter(|at| *at <= now) {
            self.last_at = at;
            self.next_at = if self.session(at) { Some(self.times.next(&mut self.luck)) } else { None };
        }
        Ok(())
    }

    /// One session; says whether there may be another.
    fn session(&mut self, at: UnixMs) -> bool {
        let data = self.bench.data;
        let Some(drawn) = self.deck.draw(&mut self.luck) else { return false };
        let unit = UnitKey(u128::from(self.luck.bits()) << 64 | u128::from(self.luck.bits()));
        let asked = Asked {
            identity: Identity::Session(unit),
            customer: data.stable.get(drawn.stable).and_then(|session| session.customer.as_ref()),
            opening: Opening::First,
            eligibility: Eligibility::Eligible,
            bound: None,
            pin: None,
            forced: None,
            ceiling: WeightBp::FULL,
            now: at,
        };
        let assigned = assign(&self.table, &asked);
        let arm = assigned.member.as_ref().map_or(Arm::Stable, |member| member.arm);
        let session = match arm {
            Arm::Canary => {
                self.canary_sessions += 1;
                let on_canary = self.canary_session(&drawn);
                self.note_harm(&drawn, &on_canary);
                on_canary
            }
            Arm::Control | Arm::Stable => {
                self.control_sessions += u64::from(arm == Arm::Control);
                Cow::Borrowed(&data.stable[drawn.stable])
            }
        };
        self.deck.used(arm);
        if let Some(member) = assigned.member {
            self.record(unit, at, assigned.version, &member, &session);
        }
        true
    }

    fn canary_session(&mut self, drawn: &Drawn) -> Cow<'d, Session> {
        let data = self.bench.data;
        match (drawn.canary, self.dose) {
            (Some(place), _) => Cow::Borrowed(&data.canary[place]),
            (None, Some(dose)) => Cow::Owned(dose.lay_on(&data.stable[drawn.stable], &mut self.luck)),
            (None, None) => Cow::Borrowed(&data.stable[drawn.stable]),
        }
    }

    /// Beside what stable showed in the same session (its own, its pair's), else beside stable's mean.
    fn note_harm(&mut self, drawn: &Drawn, on_canary: &Session) {
        for (excess, known) in self.excess.iter_mut().zip(&self.bench.known) {
            let Some(bad) = on_canary.number(&known.metric, known.tau_ms) else { continue };
            let twin = if drawn.is_twin { known.of_stable.get(drawn.stable).copied().flatten() } else { None };
            *excess += bad - twin.unwrap_or(known.mean);
        }
    }

    /// A request is known at its end, or at its judging age with the rest to follow.
    fn record(
        &mut self,
        unit: UnitKey,
        at: UnixMs,
        version: coalmine_core::version::VersionId,
        member: &Membership,
        session: &Session,
    ) {
        let judged_after = self.release.policy.ages.first;
        let route = Arc::new(self.release.route.clone());
        for turn in &session.turns {
            let started_at = at + SpanMs(turn.after_ms as u64);
            let takes = span_of(turn.outcome.latency_ms.max(turn.outcome.ttft_ms.unwrap_or(0.0)));
            let of = |part, outcome| {
                let (route, member) = (Arc::clone(&route), Some(member.clone()));
                Known::Turn(Box::new(Turn {
                    route,
                    unit: Some(unit),
                    customer: None,
                    version,
                    member,
                    origin: None,
                    started_at,
                    part,
                    outcome,
                }))
            };
            if takes <= judged_after {
                let whole = of(TurnPart::Whole, turn.outcome.clone());
                self.push(started_at + takes, whole);
            } else {
                let judged = of(TurnPart::Judged, running(&turn.outcome, judged_after));
                let tail = of(TurnPart::Tail, turn.outcome.clone());
                self.push(started_at + judged_after, judged);
                self.push(started_at + takes, tail);
            }
        }
        for score in &session.scores {
            let judge = match self.heard(score, unit, member) {
                Heard::No => continue,
                Heard::Application => None,
                Heard::Judge(id) => Some(id),
            };
            let received_at = at + span_of(score.after_ms);
            let feedback = Feedback {
                route: self.release.route.clone(),
                unit,
                member: Some(member.clone()),
                name: score.name.clone(),
                value: score.value,
                judge,
                idempotency: self.events,
                received_at,
            };
            self.push(received_at, Known::Score(feedback));
        }
    }

    /// Whether a recorded score would have come: of a judge only where it sees the session, and so many of its turns.
    fn heard(&self, score: &Score, unit: UnitKey, member: &Membership) -> Heard {
        let By::Judge(turn) = score.by else { return Heard::Application };
        let Release { policy, salt, .. } = &self.release;
        let sees = |(judge, sampling): &(&Judge, Sampling)| {
            judge.name == score.name && turn < judge.turns && sampling.includes(salt, &judge.name, unit, member.arm)
        };
        policy.judged().find(sees).map_or(Heard::No, |(judge, _)| Heard::Judge(judge.id()))
    }

    fn push(&mut self, at: UnixMs, known: Known) {
        self.events += 1;
        self.known.insert((at, self.events), known);
    }

    fn look(&mut self, now: UnixMs) -> Result<(), BacktestError> {
        let later = self.known.split_off(&(now + SpanMs(1), 0));
        for known in std::mem::replace(&mut self.known, later).into_values() {
            let _ = match known {
                Known::Turn(turn) => self.ledger.absorb(&turn),
                Known::Score(feedback) => self.ledger.absorb_feedback(&feedback),
            };
        }
        for bucket in self.ledger.seal(now) {
            if let Some(books) = &mut self.books {
                books.fold(&bucket);
            }
        }
        // Nothing is stored here.
        let _ = self.ledger.take_changes();
        self.calibrate(now);
        let reporting = Reporting { complete_to: now, stale_after: self.reporting };
        let analysis = Box::new(analyse(&self.release, &self.ledger, self.books.as_ref(), &reporting, now));
        self.take(step(&self.release, &Event::Look { analysis }, now)?)?;
        // Whoever is asked says yes at once: what is measured is the evidence.
        if matches!(self.release.state, State::AwaitingApproval { .. }) {
            let event = Event::Operator { actor: operator(), command: Command::Approve };
            self.take(step(&self.release, &event, now)?)?;
        }
        Ok(())
    }

    fn calibrate(&mut self, now: UnixMs) {
        let yardstick = self.ledger.calibrate(Some(&self.bench.history), now);
        if self.books.is_none() {
            self.books = yardstick.map(|yardstick| Books::new(&self.release, yardstick));
        }
    }

    fn take(&mut self, step: Step) -> Result<(), BacktestError> {
        let moved = step.next.generation != self.release.generation;
        self.headline = step.report.headline;
        self.release = step.next;
        if moved {
            self.table = table_of(self.bench, &self.release)?;
        }
        Ok(())
    }

    fn is_over(&self, now: UnixMs) -> bool {
        match &self.release.state {
            State::Draft | State::Preflight | State::Shadow { .. } => false,
            State::Running { .. } | State::Paused { .. } | State::AwaitingApproval { .. } => self.is_silent(now),
            State::Promoting { .. } | State::Promoted { .. } | State::RollingBack { .. } | State::RolledBack { .. } => {
                true
            }
        }
    }

    /// The recording is over and all its numbers are posted, or the policy's own time is.
    fn is_silent(&self, now: UnixMs) -> bool {
        let policy = &self.release.policy;
        let posted_by = self.last_at + policy.ages.whole + policy.bucket + policy.bucket;
        let started_at = self.release.started_at.unwrap_or(ORIGIN);
        (self.next_at.is_none() && now >= posted_by) || now >= started_at + policy.max_duration + policy.bucket
    }

    fn outcome(self, now: UnixMs) -> RunOutcome {
        let over_at = self.next_at.is_none().then_some(self.last_at);
        let ended = match &self.release.state {
            State::Promoting { .. } | State::Promoted { .. } => Ended::Promoted,
            State::RollingBack { why, .. } | State::RolledBack { why, .. } if !is_of_silence(why, over_at, now) => {
                Ended::RolledBack { why: why.clone() }
            }
            State::RollingBack { .. }
            | State::RolledBack { .. }
            | State::Draft
            | State::Preflight
            | State::Shadow { .. }
            | State::Running { .. }
            | State::Paused { .. }
            | State::AwaitingApproval { .. } => {
                Ended::Open { state: self.release.state.word(), headline: self.headline }
            }
        };
        RunOutcome {
            ended,
            after: now.since(ORIGIN),
            canary_sessions: self.canary_sessions,
            control_sessions: self.control_sessions,
            harmed: self.excess.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// The end of a recording is no silence of a metric.
pub(crate) fn is_of_silence(why: &RollbackCause, over_at: Option<UnixMs>, now: UnixMs) -> bool {
    matches!(why, RollbackCause::NoData { .. }) && over_at.is_some_and(|at| now > at)
}

/// What is known of a request that still runs at its judging age.
fn running(outcome: &Outcome, judged_after: SpanMs) -> Outcome {
    let by_then = |ms: &f64| *ms <= judged_after.0 as f64;
    let unknown = |check| if check == Check::NotApplicable { check } else { Check::Unknown };
    let ttft_ms = outcome.ttft_ms.filter(by_then);
    Outcome {
        ending: Ending::Running,
        latency_ms: judged_after.0 as f64,
        ttft_ms,
        usage: coalmine_core::tally::Usage::default(),
        cost_usd: None,
        refusal: unknown(outcome.refusal),
        empty: if ttft_ms.is_some() && outcome.empty == Check::No { Check::No } else { unknown(outcome.empty) },
        truncated: unknown(outcome.truncated),
        schema_broken: unknown(outcome.schema_broken),
        detected: Detected {
            fenced_json: unknown(outcome.detected.fenced_json),
            repeated_call: unknown(outcome.detected.repeated_call),
            repetition: unknown(outcome.detected.repetition),
            other_language: unknown(outcome.detected.other_language),
            chars: None,
        },
        tool_calls: 0,
        tool_calls_bad: 0,
        ..outcome.clone()
    }
}

fn span_of(ms: f64) -> SpanMs {
    // What is no number takes no time: the line did not say how long.
    SpanMs(if ms.is_finite() && ms > 0.0 { ms as u64 } else { 0 })
}

pub(crate) fn operator() -> Actor {
    Actor("backtest".to_owned())
}

pub(crate) fn draft(policed: &Policed, created_at: UnixMs, luck: &mut Luck) -> Release {
    let mut salt = [0; 32];
    for chunk in salt.chunks_exact_mut(8) {
        chunk.copy_from_slice(&luck.bits().to_le_bytes());
    }
    Release {
        id: ReleaseId(format!("{}-backtest", policed.route)),
        tenant: TenantId::default(),
        route: policed.route.clone(),
        stable: policed.stable.id(),
        canary: policed.canary.id(),
        plan: policed.plan.clone(),
        policy: policed.policy.clone(),
        policy_hash: String::new(),
        salt: Salt(salt),
        attempt: 0,
        carried: BTreeMap::new(),
        created_at,
        started_at: None,
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        prices: None,
        open: BTreeSet::new(),
        state: State::Draft,
        generation: Generation(0),
    }
}

pub(crate) fn start(draft: Release, at: UnixMs) -> Result<Release, BacktestError> {
    let event = Event::Operator { actor: operator(), command: Command::Start };
    Ok(step(&draft, &event, at)?.next)
}

pub(crate) fn step(release: &Release, event: &Event, now: UnixMs) -> Result<Step, BacktestError> {
    decide(release, event, now).map_err(|refused| BacktestError::Release(refused.to_string()))
}

fn table_of(bench: &Bench<'_>, release: &Release) -> Result<RouteTable, BacktestError> {
    let facts = RouteFacts {
        route: &release.route,
        stable: release.stable,
        releases: std::slice::from_ref(release),
        remember: SpanMs::hours(24),
    };
    build(&facts, &bench.versions, release.generation, ORIGIN)
        .map_err(|missing| BacktestError::Release(missing.to_string()))
}

/// The sessions of one run, in the order in which they come.
struct Deck {
    stable: Vec<usize>,
    /// The canary's, where the case has its own recorded sessions …
    canary: Option<Vec<usize>>,
    /// … and in which it is the same request that both answered.
    pairs: Vec<(usize, usize)>,
    replace: bool,
    left: usize,
    next_stable: usize,
    next_canary: usize,
}

/// What the next session would be on either version.
struct Drawn {
    stable: usize,
    canary: Option<usize>,
    /// Whether stable's session tells what this very session would have been on stable.
    is_twin: bool,
}

impl Deck {
    fn new(bench: &Bench<'_>, case: &Case, luck: &mut Luck) -> Self {
        let data = bench.data;
        let recorded = *case == Case::Recorded;
        let pairs = if recorded { shuffled(data.pairs.clone(), luck) } else { Vec::new() };
        let alone = recorded && pairs.is_empty();
        let stable = if pairs.is_empty() { shuffled((0..data.stable.len()).collect(), luck) } else { Vec::new() };
        let canary = alone.then(|| shuffled((0..data.canary.len()).collect(), luck));
        let all = if pairs.is_empty() { stable.len() + canary.as_ref().map_or(0, Vec::len) } else { pairs.len() };
        let (replace, left) = match bench.draw {
            Draw::Once => (false, all),
            Draw::WithReplacement(count) => (true, count),
        };
        Self { stable, canary, pairs, replace, left, next_stable: 0, next_canary: 0 }
    }

    /// `None` once there is nothing left for one of the versions.
    fn draw(&mut self, luck: &mut Luck) -> Option<Drawn> {
        self.left = self.left.checked_sub(1)?;
        let replace = self.replace;
        let mut pick = |next: usize, len: usize| {
            let place = if replace { (luck.uniform() * len as f64) as usize } else { next };
            (place < len).then_some(place)
        };
        if !self.pairs.is_empty() {
            let (stable, canary) = self.pairs[pick(self.next_stable, self.pairs.len())?];
            return Some(Drawn { stable, canary: Some(canary), is_twin: true });
        }
        let stable = self.stable[pick(self.next_stable, self.stable.len())?];
        let Some(of_canary) = &self.canary else {
            return Some(Drawn { stable, canary: None, is_twin: true });
        };
        let canary = of_canary[pick(self.next_canary, of_canary.len())?];
        Some(Drawn { stable, canary: Some(canary), is_twin: false })
    }

    fn used(&mut self, arm: Arm) {
        match (arm, &self.canary) {
            (Arm::Canary, Some(_)) => self.next_canary += 1,
            (Arm::Canary, None) | (Arm::Control | Arm::Stable, _) => self.next_stable += 1,
        }
    }
}

/// When sessions come.
struct Times {
    recorded: Vec<f64>,
    /// From the first recorded session to where the recording begins anew.
    period_ms: f64,
    mean_gap_ms: f64,
    count: usize,
    at_ms: f64,
}

impl Times {
    fn new(bench: &Bench<'_>, case: &Case) -> Self {
        let (mut recorded, mut mean_gap_ms) = (Vec::new(), 0.0);
        match bench.arrivals {
            Arrivals::PerHour(rate) => mean_gap_ms = 3_600_000.0 / rate,
            Arrivals::Recorded => {
                recorded.extend(bench.data.stable.iter().map(|session| session.at_ms));
                if *case == Case::Recorded && bench.data.pairs.is_empty() {
                    recorded.extend(bench.data.canary.iter().map(|session| session.at_ms));
                }
                recorded.sort_by(f64::total_cmp);
                let first = recorded.first().copied().unwrap_or(0.0);
                recorded.iter_mut().for_each(|at| *at -= first);
            }
        }
        let last = recorded.last().copied().unwrap_or(0.0);
        let period_ms = last + last / recorded.len().saturating_sub(1).max(1) as f64;
        Self { recorded, period_ms, mean_gap_ms, count: 0, at_ms: 0.0 }
    }

    fn next(&mut self, luck: &mut Luck) -> UnixMs {
        if self.recorded.is_empty() {
            self.at_ms += luck.exponential(self.mean_gap_ms);
        } else {
            let (round, place) = (self.count / self.recorded.len(), self.count % self.recorded.len());
            self.at_ms = self.period_ms * round as f64 + self.recorded[place];
            self.count += 1;
        }
        // A session that begins with the release would be in its warm-up.
        ORIGIN + SpanMs(self.at_ms as u64 + 1)
    }
}

fn shuffled<T>(mut things: Vec<T>, luck: &mut Luck) -> Vec<T> {
    for last in (1..things.len()).rev() {
        things.swap(last, (luck.uniform() * (last + 1) as f64) as usize);
    }
    things
}
