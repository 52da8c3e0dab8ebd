//! What waits for a judge, what is known of it, and what is to be counted. In memory only: a restart loses what waits,
//! blind to what it says, and those sessions are missing.

use crate::observe::Judged;
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::judge::{Happened, Judge, JudgeId, JudgeRecord, JudgeRecords, PairSample, Sample};
use coalmine_core::shadow::preferences::Preferred;
use coalmine_core::tally::Feedback;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Arm;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Answers that wait.
const WAITING_MAX: usize = 2_000;
/// Bytes of their texts.
const WAITING_MAX_BYTES: usize = 64 << 20;
/// Scores remembered by what was judged.
const REMEMBERED_MAX: usize = 10_000;
/// Sessions whose turns are counted, and request ids kept for labelling.
const FOLLOWED_MAX: usize = 20_000;

/// What a judge reads.
#[derive(Debug, Clone)]
pub(crate) enum Matter {
    /// One answer.
    Answer(Arc<Sample>),
    /// Two answers to the same request.
    Pair(Arc<PairSample>),
}

/// One answer, or one pair, before its judge.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) release: ReleaseId,
    pub(crate) judge: Arc<Judge>,
    pub(crate) matter: Matter,
    pub(crate) not_before: UnixMs,
    pub(crate) tries: u32,
    /// By which it gives way where there is no room.
    rank: u64,
}

/// Values by key, of which the oldest give way.
#[derive(Debug)]
struct Bounded<K, V> {
    of: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

/// The bench.
#[derive(Debug)]
pub(crate) struct Bench {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    records: BTreeMap<ReleaseId, JudgeRecords>,
    happened: Vec<(ReleaseId, String, Happened, UnixMs)>,
    scores: Vec<Feedback>,
    preferred: Vec<Preferred>,
    remembered: Bounded<[u8; 32], f64>,
    turns: Bounded<(UnitKey, JudgeId), u32>,
    requests: Bounded<u64, String>,
    at_anchors: BTreeSet<(ReleaseId, String)>,
    anchors_tried: BTreeMap<(ReleaseId, String), UnixMs>,
}

impl<K: Clone + Eq + std::hash::Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self { of: HashMap::new(), order: VecDeque::new(), most }
    }

    fn put(&mut self, key: K, value: V) {
        if self.of.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}

impl Matter {
    fn unit(&self) -> UnitKey {
        match self {
            Self::Answer(sample) => sample.unit,
            Self::Pair(pair) => pair.unit,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Answer(sample) => sample.bytes(),
            Self::Pair(pair) => pair.bytes(),
        }
    }

    /// In whose counts it is; a pair is the canary's.
    pub(crate) fn arm(&self) -> Arm {
        match self {
            Self::Answer(sample) => sample.member.arm,
            Self::Pair(_) => Arm::Canary,
        }
    }

    /// A hash of judge and texts.
    fn content(&self, judge: &Judge) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&judge.id().0);
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        match self {
            Self::Answer(sample) => [&sample.conversation, &sample.answer].into_iter().for_each(|text| add(text)),
            Self::Pair(pair) => [&pair.conversation, &pair.stable, &pair.canary].into_iter().for_each(|text| add(text)),
        }
        *hasher.finalize().as_bytes()
    }
}

impl Waiting {
    pub(crate) fn new(release: ReleaseId, judge: Arc<Judge>, matter: Matter, now: UnixMs) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&matter.unit().0.to_le_bytes()).update(judge.name.as_bytes());
        let mut low = [0; 8];
        low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self { release, judge, matter, not_before: now, tries: 0, rank: u64::from_le_bytes(low) }
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            records: BTreeMap::new(),
            happened: Vec::new(),
            scores: Vec::new(),
            preferred: Vec::new(),
            remembered: Bounded::new(REMEMBERED_MAX),
            turns: Bounded::new(FOLLOWED_MAX),
            requests: Bounded::new(FOLLOWED_MAX),
            at_anchors: BTreeSet::new(),
            anchors_tried: BTreeMap::new(),
        }
    }
}

impl Bench {
    /// Whether this is one of the turns that the judge sees of a session.
    pub(crate) fn is_turn(&mut self, sample: &Sample, judge: &Judge) -> bool {
        if judge.turns == 1 {
            return sample.started_at == sample.member.exposed_at;
        }
        self.is_one_of_the_first(sample.unit, judge)
    }

    /// Whether the judge has seen fewer turns of a session than it may; then this is one of them.
    pub(crate) fn is_one_of_the_first(&mut self, unit: UnitKey, judge: &Judge) -> bool {
        let key = (unit, judge.id());
        let seen = self.turns.of.get(&key).copied().unwrap_or(0);
        if seen < judge.turns {
            self.turns.put(key, seen + 1);
        }
        seen < judge.turns
    }

    /// Lets an answer wait; where there is no room, whatever has the highest rank gives way.
    pub(crate) fn wait(&mut self, waiting: Waiting, now: UnixMs) {
        self.bytes += waiting.matter.bytes();
        self.waiting.push_back(waiting);
        while self.waiting.len() > WAITING_MAX || self.bytes > WAITING_MAX_BYTES {
            let highest = self.waiting.iter().enumerate().max_by_key(|(_, waiting)| waiting.rank);
            let Some(out) = highest.map(|(at, _)| at).and_then(|at| self.waiting.remove(at)) else { break };
            self.bytes -= out.matter.bytes();
            let happened = Happened::Dropped { arm: out.matter.arm(), count: 1 };
            self.note(&out.release, &out.judge, happened, now);
        }
    }

    /// The first answer that may be judged now.
    pub(crate) fn next(&mut self, now: UnixMs) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.not_before <= now)?;
        let next = self.waiting.remove(at)?;
        self.bytes -= next.matter.bytes();
        Some(next)
    }

    /// Another node decides: nothing is judged here.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Takes up what the store kept of a release, where nothing newer is known here.
    pub(crate) fn take_up(&mut self, release: &ReleaseId, records: &JudgeRecords) {
        self.records.entry(release.clone()).or_insert_with(|| records.clone());
    }

    /// Lets go of releases that are over.
    pub(crate) fn retain(&mut self, goes_on: impl Fn(&ReleaseId) -> bool) {
        self.records.retain(|release, _| goes_on(release));
        self.anchors_tried.retain(|(release, _), _| goes_on(release));
        self.waiting.retain(|waiting| goes_on(&waiting.release));
        self.bytes = self.waiting.iter().map(|waiting| waiting.matter.bytes()).sum();
    }

    /// The record of a judge as it is now; `None` before its release was taken up.
    pub(crate) fn record(&self, release: &ReleaseId, judge: &Judge) -> Option<JudgeRecord> {
        Some(self.records.get(release)?.get(judge).cloned().unwrap_or_default())
    }

    /// Counts here at once, and in the release's evidence with the next round of the loop.
    pub(crate) fn note(&mut self, release: &ReleaseId, judge: &Judge, happened: Happened, now: UnixMs) {
        let Some(records) = self.records.get_mut(release) else { return };
        records.absorb(judge, &happened, now);
        self.happened.push((release.clone(), judge.name.clone(), happened, now));
    }

    /// Keeps a score for the next round of the loop.
    pub(crate) fn keep(&mut self, score: Feedback) {
        self.scores.push(score);
    }

    /// Keeps a verdict on a pair for the next round of the loop.
    pub(crate) fn keep_preferred(&mut self, preferred: Preferred) {
        self.preferred.push(preferred);
    }

    pub(crate) fn take(&mut self) -> Judged {
        Judged {
            happened: std::mem::take(&mut self.happened),
            scores: std::mem::take(&mut self.scores),
            preferred: std::mem::take(&mut self.preferred),
        }
    }

    /// The score of the same answer to the same conversation, by the same judge; of two equal answers neither is better.
    pub(crate) fn cached(&self, judge: &Judge, matter: &Matter) -> Option<f64> {
        match matter {
            Matter::Pair(pair) if pair.stable == pair.canary => Some(0.5),
            Matter::Pair(_) | Matter::Answer(_) => self.remembered.of.get(&matter.content(judge)).copied(),
        }
    }

    /// Remembers a score by what was judged.
    pub(crate) fn remember(&mut self, judge: &Judge, matter: &Matter, value: f64) {
        self.remembered.put(matter.content(judge), value);
    }

    /// Marks that a judge's anchors are being scored; not where they are already, or just came to nothing.
    pub(crate) fn begin_anchors(&mut self, release: &ReleaseId, judge: &str, now: UnixMs, pause: SpanMs) -> bool {
        let key = (release.clone(), judge.to_owned());
        let tried = self.anchors_tried.get(&key).is_some_and(|at| now.since(*at) < pause);
        if tried || !self.at_anchors.insert(key.clone()) {
            return false;
        }
        self.anchors_tried.insert(key, now);
        true
    }

    pub(crate) fn end_anchors(&mut self, release: &ReleaseId, judge: &str) {
        self.at_anchors.remove(&(release.clone(), judge.to_owned()));
    }

    /// Keeps the request's id of an answer that waits for a label, so that a person finds it.
    pub(crate) fn keep_request(&mut self, item: u64, id: &str) {
        self.requests.put(item, id.to_owned());
    }

    pub(crate) fn request(&self, item: u64) -> Option<&str> {
        self.requests.of.get(&item).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::judge::{FORM, Scale};
    use coalmine_core::traffic::pin::{Membership, Stratum};
    use coalmine_core::traffic::weight::WeightBp;
    use coalmine_core::version::Version;

    fn judge(turns: u32) -> Arc<Judge> {
        let version = Version {
            provider: "p".into(),
            model: "m".to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        };
        Arc::new(Judge {
            name: "helpful".to_owned(),
            version,
            rubric: "r".to_owned(),
            scale: Scale::Binary,
            form: FORM,
            turns,
            usd_per_day: None,
            calls_per_day: None,
            labels: WeightBp::ZERO,
            anchors: None,
        })
    }

    fn sample(unit: u128, answer: &str, at: u64) -> Arc<Sample> {
        let member = Membership {
            release: Arc::new("r-1".into()),
            arm: if unit.is_multiple_of(2) { Arm::Canary } else { Arm::Control },
            stratum: Stratum(0),
            exposed_at: UnixMs(10),
        };
        Arc::new(Sample {
            unit: UnitKey(unit),
            member,
            turn: 1,
            request_id: None,
            started_at: UnixMs(at),
            conversation: "[]".to_owned(),
            answer: answer.to_owned(),
        })
    }

    fn answer(unit: u128, answer: &str) -> Matter {
        Matter::Answer(sample(unit, answer, 10))
    }

    fn pair(stable: &str, canary: &str) -> Matter {
        Matter::Pair(Arc::new(PairSample {
            release: Arc::new("r-1".into()),
            unit: UnitKey(1),
            started_at: UnixMs(10),
            conversation: "[]".to_owned(),
            stable: stable.to_owned(),
            canary: canary.to_owned(),
        }))
    }

    fn bench() -> Bench {
        let mut bench = Bench::default();
        bench.take_up(&"r-1".into(), &JudgeRecords::default());
        bench
    }

    /// Whoever comes in whatever order, the same sessions stay: drops are blind to time and content.
    #[test]
    fn who_gives_way_is_decided_by_the_hash_and_not_by_the_order() {
        let fill = |units: &mut dyn Iterator<Item = u128>| {
            let mut bench = bench();
            for unit in units {
                bench.wait(Waiting::new("r-1".into(), judge(1), answer(unit, "a"), UnixMs(0)), UnixMs(0));
            }
            let record = bench.record(&"r-1".into(), &judge(1)).unwrap();
            assert_eq!(record.control.dropped + record.canary.dropped, 100);
            bench.waiting.iter().map(|waiting| waiting.matter.unit()).collect::<BTreeSet<_>>()
        };
        let many = WAITING_MAX as u128 + 100;
        assert_eq!(fill(&mut (0..many)), fill(&mut (0..many).rev()));
    }

    #[test]
    fn the_texts_that_wait_are_bounded() {
        let mut bench = bench();
        let long = "x".repeat(WAITING_MAX_BYTES / 4);
        for unit in 0..8 {
            bench.wait(Waiting::new("r-1".into(), judge(1), answer(unit, &long), UnixMs(0)), UnixMs(0));
        }
        assert_eq!(bench.waiting.len(), 3);
        assert!(bench.bytes <= WAITING_MAX_BYTES);
    }

    #[test]
    fn so_many_turns_of_a_session_are_judged_and_the_first_alone_is_known_by_its_time() {
        let mut bench = bench();
        assert!(bench.is_turn(&sample(1, "a", 10), &judge(1)));
        assert!(!bench.is_turn(&sample(1, "a", 11), &judge(1)));
        let turns: Vec<bool> = (0..4).map(|at| bench.is_turn(&sample(1, "a", 10 + at), &judge(2))).collect();
        assert_eq!(turns, [true, true, false, false]);
    }

    #[test]
    fn the_same_answer_is_remembered_for_the_same_judge_only() {
        let mut bench = bench();
        bench.remember(&judge(1), &answer(1, "a"), 1.0);
        assert_eq!(bench.cached(&judge(1), &answer(2, "a")), Some(1.0));
        assert_eq!(bench.cached(&judge(1), &answer(1, "b")), None);
        let other = Judge { rubric: "another".to_owned(), ..Judge::clone(&judge(1)) };
        assert_eq!(bench.cached(&other, &answer(1, "a")), None);
    }

    /// Whose answer stood where is part of what is remembered, and two equal answers need no judge.
    #[test]
    fn a_pair_is_remembered_by_both_answers_in_their_order() {
        let mut bench = bench();
        bench.remember(&judge(1), &pair("a", "bc"), 1.0);
        assert_eq!(bench.cached(&judge(1), &pair("a", "bc")), Some(1.0));
        assert_eq!(bench.cached(&judge(1), &pair("bc", "a")), None);
        assert_eq!(bench.cached(&judge(1), &pair("ab", "c")), None);
        assert_eq!(bench.cached(&judge(1), &pair("a", "a")), Some(0.5));
    }
}
