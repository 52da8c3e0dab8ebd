//! The judges at work: sampled answers wait, are put to their release's judge, and their scores go the way of feedback.
//!
//! | module | what it holds |
//! |---|---|
//! | here | what a judge may be asked now, and what becomes of its answer |
//! | `bench` | what waits, what is known, and what is to be counted; in memory only |
//! | [`ask`] | one question to a judge, and its anchors |
//! | [`labels`] | answers that wait for a human label |
//!
//! All of it has a pace of its own beside the loop: no decision and no request waits for a judge. The question never
//! says which version answered. A judge that is away, spent or drifted gives no scores; then its metric has no data,
//! which holds and never rolls back.

pub mod ask;
pub(crate) mod bench;
pub mod labels;

use crate::control::Control;
use crate::lease::Standing as Lease;
use crate::observe::Judged;
use ask::{Answered, Said, Unanswered};
use bench::{Bench, Matter, Waiting};
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::judge::{Happened, Judge, JudgeRecord, PairSample, Sample, Standing, wants_label};
use coalmine_core::metric::{Metric, Number};
use coalmine_core::release::state::{Release, State};
use coalmine_core::shadow::preferences::{PairVerdict, Preferred};
use coalmine_core::tally::Feedback;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_wire::judge::transcript;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions to judges under way at once: a provider's limits are the customers' too.
const AT_ONCE: usize = 8;
/// Times that one answer is put to a judge whose provider is in trouble.
const TRIES: u32 = 4;
/// The pause before the second of them; doubled each time.
const PAUSE: SpanMs = SpanMs::secs(5);
/// How long an answer waits where the judge is not proven yet.
const UNPROVEN_PAUSE: SpanMs = SpanMs::secs(5);
/// The pause between two runs of anchors, where the first came to nothing.
const ANCHORS_PAUSE: SpanMs = SpanMs::minutes(1);

impl Control {
    /// Takes a sampled answer. It waits in bounded memory; where there is no room the sessions with the highest hashes
    /// give way, which says nothing of what they say or when they came. Never waits for anything but a lock.
    pub fn offer_sample(&self, sample: Sample) {
        let drawn = self.drawn(sample.unit, &sample.member);
        let (sample, now) = (Arc::new(sample), self.clock.now());
        let mut bench = self.bench();
        for (release, judge) in drawn {
            if bench.is_turn(&sample, &judge) {
                let waiting = Waiting::new(release, judge, Matter::Answer(Arc::clone(&sample)), now);
                bench.wait(waiting, now);
            }
        }
        drop(bench);
        self.judge_bell.notify_one();
    }

    /// Takes a pair of answers of a shadow; it waits as a sampled answer does.
    pub fn offer_pair(&self, pair: PairSample) {
        self.capture_pair(&pair);
        let judges = self.comparing(&pair.release, pair.unit);
        let (pair, now) = (Arc::new(pair), self.clock.now());
        let mut bench = self.bench();
        for judge in judges {
            if bench.is_one_of_the_first(pair.unit, &judge) {
                let release = ReleaseId::clone(&pair.release);
                bench.wait(Waiting::new(release, judge, Matter::Pair(Arc::clone(&pair)), now), now);
            }
        }
        drop(bench);
        self.judge_bell.notify_one();
    }

    /// Counts a pair that was lost on its way here.
    pub fn lose_pair(&self, release: &ReleaseId, unit: UnitKey) {
        self.lose_captured_pair(release, unit);
        let now = self.clock.now();
        for judge in self.comparing(release, unit) {
            self.bench().note(release, &judge, Happened::Dropped { arm: Arm::Canary, count: 1 }, now);
        }
    }

    /// The judges of a shadow that see the pairs of this session.
    fn comparing(&self, release: &ReleaseId, unit: UnitKey) -> Vec<Arc<Judge>> {
        let known = self.known();
        let Some(found) = known.releases.get(release) else { return Vec::new() };
        let Release { policy, salt, .. } = &found.release;
        let drawn = policy.preferring().filter(|(_, preferring)| preferring.includes(salt, unit));
        drawn.map(|(judge, _)| Arc::new(judge.clone())).collect()
    }

    /// Counts a sampled answer that was lost on its way here.
    pub fn lose_sample(&self, unit: UnitKey, member: &Membership) {
        let now = self.clock.now();
        for (release, judge) in self.drawn(unit, member) {
            self.bench().note(&release, &judge, Happened::Dropped { arm: member.arm, count: 1 }, now);
        }
    }

    /// The judges of its release that see this session.
    fn drawn(&self, unit: UnitKey, member: &Membership) -> Vec<(ReleaseId, Arc<Judge>)> {
        let known = self.known();
        let Some(found) = known.releases.get(&*member.release) else { return Vec::new() };
        let Release { id, policy, salt, .. } = &found.release;
        let judged = policy.judged();
        let drawn = judged.filter(|(judge, sampling)| sampling.includes(salt, &judge.name, unit, member.arm));
        drawn.map(|(judge, _)| (id.clone(), Arc::new(judge.clone()))).collect()
    }

    /// Judges for ever.
    pub(crate) async fn run_judges(self: Arc<Self>) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.settings.wall_look_every.0.max(1)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = self.judge_bell.notified() => {}
            }
            for (release, judge) in self.anchors_due() {
                let this = Arc::clone(&self);
                tokio::spawn(async move { this.run_anchors(&release, &judge).await });
            }
            while let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                let Some(waiting) = self.next_waiting() else { break };
                let this = Arc::clone(&self);
                tokio::spawn(async move {
                    this.judge(waiting).await;
                    drop(permit);
                    this.judge_bell.notify_one();
                });
            }
        }
    }

    /// Runs the anchors that are due and judges what may be judged now, to its end. `run` does it beside the loop; the
    /// simulator after each step. The next [`Control::tick`] counts it.
    pub async fn judge_waiting(&self) {
        for (release, judge) in self.anchors_due() {
            self.run_anchors(&release, &judge).await;
        }
        while let Some(waiting) = self.next_waiting() {
            self.judge(waiting).await;
        }
    }

    /// Puts one answer to a judge by hand, outside of all releases; no budget counts it.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn judge_once(
        &self,
        judge: &Judge,
        question: &str,
        answer: &str,
        other: Option<&str>,
    ) -> Result<Answered, Unanswered> {
        let said = Said { conversation: &transcript::of_question(question), answer };
        let cost = Mutex::new(Some(0.0));
        let asked = |usd: Option<f64>| {
            let mut cost = cost.lock().unwrap_or_else(PoisonError::into_inner);
            *cost = cost.zip(usd).map(|(cost, usd)| cost + usd);
        };
        let answered = ask::rated(&*self.ports.prober, judge, said, other, || self.tag(), asked).await?;
        Ok(Answered { usd: cost.into_inner().unwrap_or_else(PoisonError::into_inner), ..answered })
    }

    pub(crate) fn bench(&self) -> MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happened to judges, and their scores, since the last call.
    pub(crate) fn take_judged(&self) -> Judged {
        self.bench().take()
    }

    fn next_waiting(&self) -> Option<Waiting> {
        let now = self.clock.now();
        let follows = matches!(self.known().standing, Some(Lease::Follower { .. }));
        let mut bench = self.bench();
        if follows {
            bench.clear();
        }
        bench.next(now)
    }

    /// The judges whose anchors are to be scored now; each is marked as being at it.
    fn anchors_due(&self) -> Vec<(ReleaseId, Arc<Judge>)> {
        let now = self.clock.now();
        let mut due = Vec::new();
        for release in self.unfinished() {
            let unexposed = matches!(release.state, State::Preflight | State::Shadow { .. });
            let serves = release.state.serving_stage().is_some() || unexposed;
            for judge in release.policy.judges_at_work().filter(|_| serves) {
                let mut bench = self.bench();
                let Some(record) = bench.record(&release.id, judge) else { continue };
                let is_due =
                    record.anchors_due(judge).is_some_and(|at| at <= now) && record.spent(judge, now).is_none();
                if is_due && bench.begin_anchors(&release.id, &judge.name, now, ANCHORS_PAUSE) {
                    due.push((release.id.clone(), Arc::new(judge.clone())));
                }
            }
        }
        due
    }

    async fn run_anchors(&self, release: &ReleaseId, judge: &Judge) {
        let note = |happened| self.bench().note(release, judge, happened, self.clock.now());
        let came = ask::anchors(&*self.ports.prober, judge, || self.tag(), |usd| note(Happened::Asked { usd })).await;
        match came {
            Ok((agreed, of)) => note(Happened::Anchored { agreed, of }),
            Err(why) => note(Happened::Failed { arm: None, why }),
        }
        self.bench().end_anchors(release, &judge.name);
    }

    /// One answer: scored, put off, or given up.
    async fn judge(&self, waiting: Waiting) {
        let now = self.clock.now();
        let Waiting { release, judge, matter, .. } = &waiting;
        let arm = matter.arm();
        let note = |happened| self.bench().note(release, judge, happened, self.clock.now());
        let Some(until) = self.judged_until(release, judge, matter) else { return };
        let Some(record) = self.bench().record(release, judge) else {
            return self.put_off(waiting, now + UNPROVEN_PAUSE, until, None);
        };
        match record.standing(judge, now) {
            Standing::Unproven => return self.put_off(waiting, now + UNPROVEN_PAUSE, until, None),
            Standing::Drifted { .. } | Standing::Spent { .. } | Standing::Unpriced => {
                return note(Happened::Skipped { arm });
            }
            Standing::Scores | Standing::Away { .. } => {}
        }
        let cached = self.bench().cached(judge, matter);
        let answered = match cached {
            Some(value) => Ok(Answered { value, usd: None, reason: String::new() }),
            None => self.put_to(judge, matter, |usd| note(Happened::Asked { usd })).await,
        };
        match answered {
            Ok(Answered { value, .. }) => self.keep_score(&waiting, &record, value),
            Err(Unanswered::Trouble(why)) => {
                let next = now + SpanMs(PAUSE.0 << waiting.tries.min(10));
                self.put_off(waiting, next, until, Some(why));
            }
            Err(Unanswered::Unreadable { .. }) => {
                let why = "its answer holds no verdict".to_owned();
                if waiting.tries == 0 {
                    self.put_off(waiting, now, until, Some(why))
                } else {
                    self.give_up(&waiting, why)
                }
            }
            Err(Unanswered::Refused(why)) => self.give_up(&waiting, why),
        }
    }

    async fn put_to(
        &self,
        judge: &Judge,
        matter: &Matter,
        asked: impl Fn(Option<f64>),
    ) -> Result<Answered, Unanswered> {
        let (said, other) = match matter {
            Matter::Answer(sample) => (Said { conversation: &sample.conversation, answer: &sample.answer }, None),
            // The goodness of the canary's; both orders are asked.
            Matter::Pair(pair) => {
                (Said { conversation: &pair.conversation, answer: &pair.canary }, Some(pair.stable.as_str()))
            }
        };
        ask::rated(&*self.ports.prober, judge, said, other, || self.tag(), asked).await
    }

    fn give_up(&self, waiting: &Waiting, why: String) {
        let arm = Some(waiting.matter.arm());
        self.bench().note(&waiting.release, &waiting.judge, Happened::Failed { arm, why }, self.clock.now());
    }

    /// Puts an answer back, unless it would be scored too late, or too often was not.
    fn put_off(&self, mut waiting: Waiting, next: UnixMs, until: UnixMs, why: Option<String>) {
        let now = self.clock.now();
        let Some(why) = why else {
            if next < until {
                waiting.not_before = next;
                self.bench().wait(waiting, now);
            } else {
                let arm = waiting.matter.arm();
                self.bench().note(&waiting.release, &waiting.judge, Happened::Skipped { arm }, now);
            }
            return;
        };
        waiting.tries += 1;
        if waiting.tries >= TRIES || next >= until {
            return self.give_up(&waiting, why);
        }
        let mut bench = self.bench();
        bench.note(&waiting.release, &waiting.judge, Happened::Failed { arm: None, why }, now);
        waiting.not_before = next;
        bench.wait(waiting, now);
    }

    /// Until when a score of this session counts; `None` where the release or its judge is another by now.
    fn judged_until(&self, release: &ReleaseId, judge: &Judge, matter: &Matter) -> Option<UnixMs> {
        let known = self.known();
        let release = &known.releases.get(release).filter(|found| found.release.state.is_watched())?.release;
        release.policy.judge(&judge.name).filter(|own| own.id() == judge.id())?;
        Some(match matter {
            Matter::Answer(sample) => {
                sample.member.exposed_at + release.policy.age(&Metric::Judge(judge.name.clone()), Number::Whole)
            }
            Matter::Pair(pair) => pair.started_at + release.policy.ages.session,
        })
    }

    fn keep_score(&self, waiting: &Waiting, record: &JudgeRecord, value: f64) {
        let Waiting { release, judge, matter, .. } = waiting;
        let sample = match matter {
            Matter::Answer(sample) => sample,
            Matter::Pair(pair) => return self.keep_preferred(waiting, pair, value),
        };
        let Some((route, salt)) = self.known().releases.get(release).map(|k| (k.release.route.clone(), k.release.salt))
        else {
            return;
        };
        let (now, arm) = (self.clock.now(), sample.member.arm);
        let item = labels::item_of(sample.request_id.as_deref(), sample.turn);
        let item = Some(item).filter(|item| wants_label(&salt, judge, sample.unit) && record.item(*item).is_none());
        if item.is_some() {
            self.capture_to_label(sample);
        }
        let mut bench = self.bench();
        bench.remember(judge, matter, value);
        if let (Some(item), Some(id)) = (item, &sample.request_id) {
            bench.keep_request(item, id);
        }
        bench.note(release, judge, Happened::Scored { arm, value, item }, now);
        bench.keep(Feedback {
            route,
            unit: sample.unit,
            member: Some(sample.member.clone()),
            name: judge.name.clone(),
            value,
            idempotency: sample.turn,
            judge: Some(judge.id()),
            received_at: now,
        });
    }

    fn keep_preferred(&self, waiting: &Waiting, pair: &PairSample, value: f64) {
        let Waiting { release, judge, matter, .. } = waiting;
        let mut bench = self.bench();
        bench.remember(judge, matter, value);
        bench.note(release, judge, Happened::Scored { arm: Arm::Canary, value, item: None }, self.clock.now());
        bench.keep_preferred(Preferred {
            release: Arc::clone(&pair.release),
            unit: pair.unit,
            started_at: pair.started_at,
            judge: judge.name.clone(),
            by: judge.id(),
            verdict: PairVerdict::of_goodness(value),
        });
    }

    /// The marker of one question.
    fn tag(&self) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.ports.random.secret()[..8]);
        tag
    }
}
