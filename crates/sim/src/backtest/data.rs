//! The recorded sessions in memory, read in one stream.
//!
//! Memory is bounded: beyond [`MOST_REQUESTS`] every second session is dropped, by the hash of its label (of its
//! pair's, so that pairs stay whole), then every second one of the rest, and so on; [`Data::thinned`] tells it.

use crate::backtest::BacktestError;
use crate::backtest::record::{Observation, Wrong};
use coalmine_core::evidence::Went;
use coalmine_core::evidence::badness::{Reading, reading, stated_amount, went};
use coalmine_core::id::CustomerId;
use coalmine_core::metric::{Kind, Metric};
use coalmine_core::tally::{Outcome, Presence};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;

/// Requests that are held at most: about 250 MB.
pub const MOST_REQUESTS: usize = 1_000_000;
/// Bytes that a line may have.
const LONGEST_LINE: usize = 64 * 1024;
/// Requests that a session may have, as everything that is kept of one is bounded.
const LONGEST_SESSION: usize = 10_000;
/// Versions that are told apart.
const MOST_VERSIONS: usize = 64;

/// What the two versions are called in the observations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The stable version's; `stable` where it is not said.
    pub stable: Option<String>,
    /// The canary's; `canary` where it is not said.
    pub canary: Option<String>,
}

/// Recorded sessions of a stable version and, where there is one, of a canary.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// The stable version's sessions, in the order in which they begin.
    pub stable: Vec<Session>,
    /// The canary's.
    pub canary: Vec<Session>,
    /// Indices of stable's and the canary's session of each pair.
    pub pairs: Vec<(usize, usize)>,
    /// Whether the lines say when requests began.
    pub timed: bool,
    /// Lines read.
    pub lines: u64,
    /// Requests of versions that are neither.
    pub other_requests: u64,
    /// Sessions that were kept: one in 2^this.
    pub thinned: u32,
}

/// One recorded session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// When it began, in milliseconds from the first session; 0 where the lines do not say.
    pub at_ms: f64,
    /// Its customer.
    pub customer: Option<CustomerId>,
    /// Its requests, in order.
    pub turns: Vec<Turn>,
    /// Its scores.
    pub scores: Vec<Score>,
}

/// One request of a recorded session.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// From the session's beginning to its own, in milliseconds.
    pub after_ms: f64,
    /// What became of it.
    pub outcome: Outcome,
}

/// One score of a recorded session.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The name, without `feedback.` or `judge.`.
    pub name: String,
    /// Whose word it is.
    pub by: By,
    /// 0..=1.
    pub value: f64,
    /// From the session's beginning, in milliseconds.
    pub after_ms: f64,
}

/// Who has scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The application, or its users.
    Application,
    /// A judge, of the request of this number in its session, from 0.
    Judge(u32),
}

impl Data {
    /// Reads observations, a line a request.
    ///
    /// # Errors
    /// The first line that is not of the form, with its number; or observations that do not hold a stable version.
    pub fn read(lines: impl BufRead, labels: &Labels) -> Result<Self, BacktestError> {
        Self::read_at_most(lines, labels, MOST_REQUESTS)
    }

    fn read_at_most(mut lines: impl BufRead, labels: &Labels, most: usize) -> Result<Self, BacktestError> {
        let mut reader = Reader::new(labels, most);
        let mut text = Vec::new();
        loop {
            text.clear();
            let line = reader.lines + 1;
            let read = std::io::Read::take(&mut lines, LONGEST_LINE as u64 + 1)
                .read_until(b'\n', &mut text)
                .map_err(|source| BacktestError::Read { line: reader.lines, source })?;
            if read == 0 {
                return reader.finish();
            }
            reader.lines = line;
            let wrong = |Wrong { what, mend }| BacktestError::Line { line, what, mend };
            if text.len() > LONGEST_LINE {
                let (what, mend) = ("it is longer than 64 KiB".to_owned(), "write one request a line".to_owned());
                return Err(wrong(Wrong { what, mend }));
            }
            let Ok(said) = std::str::from_utf8(&text) else {
                let (what, mend) = ("it is not UTF-8".to_owned(), "write the file as UTF-8".to_owned());
                return Err(wrong(Wrong { what, mend }));
            };
            if !said.trim().is_empty() {
                reader.take(Observation::parse(said.trim()).map_err(wrong)?).map_err(wrong)?;
            }
        }
    }

    /// Whether stable's sessions hold a number of this metric at all.
    #[must_use]
    pub fn records(&self, metric: &Metric) -> bool {
        let mut turns = self.stable.iter().flat_map(|session| &session.turns).map(|turn| &turn.outcome);
        match metric {
            Metric::Judge(name) => {
                self.stable.iter().flat_map(|s| &s.scores).any(|score| score.is_judged() && score.name == *name)
            }
            Metric::LongAnswer | Metric::ShortAnswer => turns.any(|outcome| outcome.detected.chars.is_some()),
            Metric::NewOpening => turns.any(|outcome| outcome.opening.is_some()),
            // Where every session is one request, the recording does not say who went on.
            Metric::Abandoned | Metric::NotContinued => self.stable.iter().any(|session| session.turns.len() > 1),
            Metric::Feedback(name) | Metric::ThumbsDown(name) => {
                self.stable.iter().flat_map(|s| &s.scores).any(|score| !score.is_judged() && score.name == *name)
            }
            Metric::TtftP50 | Metric::TtftP95 | Metric::TtftP99 => turns.any(|outcome| outcome.ttft_ms.is_some()),
            Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
                turns.any(|outcome| outcome.latency_ms.is_finite())
            }
            // Absent is "not cancelled" and "not failed": these are always known.
            Metric::ErrorRate | Metric::CancelBeforeFirstByte | Metric::ClientAbort => true,
            Metric::ToolCallValid => turns.any(|outcome| outcome.tools_declared == Presence::Present),
            Metric::RefusalRate
            | Metric::EmptyRate
            | Metric::TruncatedRate
            | Metric::SchemaValid
            | Metric::FencedJson
            | Metric::RepeatedCall
            | Metric::Repetition
            | Metric::LanguageMismatch
            | Metric::CacheHit => turns.any(|outcome| matches!(reading(metric, outcome, None), Reading::Is(_))),
            // What a recording is mixed from has no tasks, and pairs of sums are not laid on each other.
            Metric::CostPerRequest | Metric::CostPerTask => false,
            Metric::CostPerSession | Metric::OutputTokens | Metric::InputTokens | Metric::ToolCalls => {
                turns.any(|outcome| stated_amount(metric, outcome).is_some())
            }
            Metric::CostAboveCap
            | Metric::OutputTokensAboveCap
            | Metric::InputTokensAboveCap
            | Metric::ToolCallsAboveCap => metric.tail_of().is_some_and(|amount| self.records(&amount)),
        }
    }

    /// Requests of both versions.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.stable.iter().chain(&self.canary).map(|session| session.turns.len()).sum()
    }

    /// Sessions of stable in an hour, as recorded; `None` where no times were.
    #[must_use]
    pub fn stable_per_hour(&self) -> Option<f64> {
        let span_ms = self.stable.last()?.at_ms - self.stable.first()?.at_ms;
        (self.timed && span_ms > 0.0).then(|| (self.stable.len() - 1) as f64 / span_ms * 3_600_000.0)
    }
}

impl Session {
    /// Its badness under a rate, a quantile metric (against `threshold_ms`) or a score; its amount under an amount.
    /// `None` where nothing of it is known.
    #[must_use]
    pub fn number(&self, metric: &Metric, threshold_ms: Option<f64>) -> Option<f64> {
        match metric.kind() {
            Kind::Rate if *metric == Metric::Abandoned => {
                self.turns.last().map(|turn| if went(&turn.outcome) == Went::Wrong { 1.0 } else { 0.0 })
            }
            Kind::Rate if *metric == Metric::NotContinued => Some(if self.turns.len() == 1 { 1.0 } else { 0.0 }),
            Kind::Rate | Kind::Exceedance => {
                mean(self.turns.iter().filter_map(|turn| reading(metric, &turn.outcome, threshold_ms).known()))
            }
            Kind::Amount => {
                let mut sum = 0.0;
                for turn in &self.turns {
                    sum += coalmine_core::evidence::badness::amount(metric, &turn.outcome)?;
                }
                Some(sum)
            }
            Kind::Ratio => None,
            Kind::Score => {
                let name = metric.judge().or(metric.feedback())?;
                let judged = metric.judge().is_some();
                let of = self.scores.iter().filter(|score| score.name == name && score.is_judged() == judged);
                mean(of.map(|score| 1.0 - score.value))
            }
        }
    }
}

impl Score {
    /// Whether a judge has given it.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        matches!(self.by, By::Judge(_))
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = numbers.fold((0.0, 0_u32), |(sum, n), number| (sum + number, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// What is gathered while lines come.
struct Reader {
    stable: String,
    canary: String,
    most: usize,
    lines: u64,
    requests: usize,
    untimed: bool,
    other: BTreeMap<String, u64>,
    other_requests: u64,
    thinned: u32,
    drafts: Vec<Draft>,
    places: HashMap<u64, usize>,
}

/// A session whose lines are still coming.
struct Draft {
    key: u64,
    canary: bool,
    pair: Option<u64>,
    hash: u64,
    customer: Option<CustomerId>,
    requests: Vec<(Option<f64>, Observation)>,
}

impl Reader {
    fn new(labels: &Labels, most: usize) -> Self {
        Self {
            stable: labels.stable.clone().unwrap_or_else(|| "stable".to_owned()),
            canary: labels.canary.clone().unwrap_or_else(|| "canary".to_owned()),
            most,
            lines: 0,
            requests: 0,
            untimed: false,
            other: BTreeMap::new(),
            other_requests: 0,
            thinned: 0,
            drafts: Vec::new(),
            places: HashMap::new(),
        }
    }

    fn take(&mut self, mut observation: Observation) -> Result<(), Wrong> {
        let canary = observation.version == self.canary && observation.version != self.stable;
        if !canary && observation.version != self.stable {
            self.other_requests += 1;
            if self.other.len() < MOST_VERSIONS || self.other.contains_key(&observation.version) {
                *self.other.entry(observation.version).or_insert(0) += 1;
            }
            return Ok(());
        }
        self.untimed |= observation.at_ms.is_none();
        let own = format!("line {}", self.lines);
        let label = observation.session.take().or_else(|| observation.pair.clone()).unwrap_or(own);
        let pair = observation.pair.take();
        let hash = hash_of(&[pair.as_deref().unwrap_or(&label)]);
        if !self.keeps(hash) {
            return Ok(());
        }
        let key = hash_of(&[&observation.version, &label]);
        let place = *self.places.entry(key).or_insert(self.drafts.len());
        if place == self.drafts.len() {
            let customer = observation.customer.as_deref().map(CustomerId::from);
            let pair = pair.as_deref().map(|pair| hash_of(&[pair]));
            self.drafts.push(Draft { key, canary, pair, hash, customer, requests: Vec::new() });
        }
        let draft = &mut self.drafts[place];
        if draft.requests.len() >= LONGEST_SESSION {
            return Err(Wrong {
                what: format!("session `{label}` has more than {LONGEST_SESSION} requests"),
                mend: "is it a constant? write one label per conversation".to_owned(),
            });
        }
        observation.version = String::new();
        draft.requests.push((observation.at_ms, observation));
        self.requests += 1;
        while self.requests > self.most {
            self.thin();
        }
        Ok(())
    }

    fn keeps(&self, hash: u64) -> bool {
        self.thinned == 0 || hash.trailing_zeros() >= self.thinned
    }

    fn thin(&mut self) {
        self.thinned += 1;
        let thinned = self.thinned;
        self.drafts.retain(|draft| draft.hash.trailing_zeros() >= thinned);
        self.requests = self.drafts.iter().map(|draft| draft.requests.len()).sum();
        self.places = self.drafts.iter().enumerate().map(|(place, draft)| (draft.key, place)).collect();
    }

    fn finish(self) -> Result<Data, BacktestError> {
        let timed = !self.untimed;
        let mut sides: [Vec<(Session, Option<u64>)>; 2] = [Vec::new(), Vec::new()];
        for draft in self.drafts {
            let side = usize::from(draft.canary);
            let pair = draft.pair;
            sides[side].push((draft.session(timed), pair));
        }
        if sides[0].is_empty() {
            return Err(no_stable(&self.stable, &sides[1], &self.canary, &self.other));
        }
        let origin = sides.iter().flatten().map(|(session, _)| session.at_ms).fold(f64::INFINITY, f64::min);
        for side in &mut sides {
            for (session, _) in side.iter_mut() {
                session.at_ms -= origin;
            }
            // Stable: sessions without times stay in the order of their lines.
            side.sort_by(|(a, _), (b, _)| a.at_ms.total_cmp(&b.at_ms));
        }
        let pairs = pairs_of(&sides)?;
        let [stable, canary] = sides.map(|side| side.into_iter().map(|(session, _)| session).collect());
        let (lines, other_requests, thinned) = (self.lines, self.other_requests, self.thinned);
        Ok(Data { stable, canary, pairs, timed, lines, other_requests, thinned })
    }
}

impl Draft {
    /// Puts the requests in order; without times each begins when the one before has ended.
    fn session(mut self, timed: bool) -> Session {
        if timed {
            self.requests.sort_by(|(a, _), (b, _)| a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0)));
        }
        let at_ms = if timed { self.requests.first().and_then(|(at, _)| *at).unwrap_or(0.0) } else { 0.0 };
        let (mut turns, mut scores) = (Vec::with_capacity(self.requests.len()), Vec::new());
        let mut ended_ms = 0.0;
        for (request_at, observation) in self.requests {
            let after_ms = if timed { request_at.unwrap_or(at_ms) - at_ms } else { ended_ms };
            let latency_ms = observation.outcome.latency_ms;
            ended_ms = after_ms + if latency_ms.is_finite() { latency_ms } else { 0.0 };
            let number = u32::try_from(turns.len()).unwrap_or(u32::MAX);
            let own = observation.scores.into_iter().map(|score| (By::Application, score));
            let judged = observation.judged.into_iter().map(|score| (By::Judge(number), score));
            for (by, (name, value)) in own.chain(judged) {
                scores.push(Score { name, by, value, after_ms: after_ms + observation.score_after_ms });
            }
            turns.push(Turn { after_ms, outcome: observation.outcome });
        }
        Session { at_ms, customer: self.customer, turns, scores }
    }
}

fn pairs_of(sides: &[Vec<(Session, Option<u64>)>; 2]) -> Result<Vec<(usize, usize)>, BacktestError> {
    let mut places = HashMap::new();
    let mut twice = BTreeSet::new();
    for (side, sessions) in sides.iter().enumerate() {
        for (place, (_, pair)) in sessions.iter().enumerate() {
            if let Some(pair) = pair {
                let of_pair: &mut [Option<usize>; 2] = places.entry(*pair).or_default();
                if of_pair[side].replace(place).is_some() {
                    twice.insert(side);
                }
            }
        }
    }
    if let Some(side) = twice.first() {
        let version = if *side == 0 { "stable" } else { "canary" };
        return Err(BacktestError::data(
            format!("a `pair` is named by two sessions of the {version} version"),
            "name each pair once per version, or give both lines the same `session`",
        ));
    }
    let mut pairs: Vec<(usize, usize)> =
        places.into_values().filter_map(|[stable, canary]| stable.zip(canary)).collect();
    pairs.sort_unstable();
    Ok(pairs)
}

fn no_stable(
    stable: &str,
    canary: &[(Session, Option<u64>)],
    canary_label: &str,
    other: &BTreeMap<String, u64>,
) -> BacktestError {
    if canary.is_empty() && other.is_empty() {
        return BacktestError::data("there are no observations", "write one request a line; see docs/backtest.md");
    }
    let mut found: Vec<String> = other.keys().take(8).map(|version| format!("`{version}`")).collect();
    if !canary.is_empty() {
        found.push(format!("`{canary_label}`"));
    }
    BacktestError::data(
        format!("no line is of version `{stable}`, and there are lines of {}", found.join(", ")),
        "say which is which with --stable NAME and --canary NAME",
    )
}

fn hash_of(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Data, BacktestError> {
        Data::read(text.as_bytes(), &Labels::default())
    }

    #[test]
    fn lines_become_sessions_in_order() {
        let data = read(
            "{\"version\":\"stable\",\"session\":\"b\",\"at\":20}\n\n\
             {\"version\":\"stable\",\"session\":\"a\",\"at\":15,\"error\":true}\n\
             {\"version\":\"stable\",\"session\":\"a\",\"at\":10,\"scores\":{\"ok\":1},\"score_after_s\":2}\n\
             {\"version\":\"other\",\"session\":\"a\",\"at\":11}\n",
        )
        .unwrap();
        assert_eq!((data.stable.len(), data.canary.len(), data.other_requests, data.lines), (2, 0, 1, 5));
        let first = &data.stable[0];
        assert_eq!((first.at_ms, first.turns.len(), first.turns[1].after_ms), (0.0, 2, 5_000.0));
        assert_eq!(first.scores[0].after_ms, 2_000.0);
        assert_eq!(first.number(&Metric::ErrorRate, None), Some(0.5));
        assert_eq!(first.number(&Metric::Feedback("ok".to_owned()), None), Some(0.0));
        assert_eq!(first.number(&Metric::CostPerSession, None), None, "an unknown cost is never 0");
        assert_eq!(data.stable[1].at_ms, 10_000.0);
    }

    #[test]
    fn pairs_are_found_and_named_once() {
        let pair = |version: &str, pair: u32| format!("{{\"version\":\"{version}\",\"pair\":\"p{pair}\"}}\n");
        let text = pair("stable", 1) + &pair("canary", 1) + &pair("stable", 2);
        assert_eq!(read(&text).unwrap().pairs, [(0, 0)]);
        let twice = "{\"version\":\"stable\",\"pair\":\"p\",\"session\":\"a\"}\n\
                     {\"version\":\"stable\",\"pair\":\"p\",\"session\":\"b\"}\n";
        assert!(read(twice).unwrap_err().to_string().contains("two sessions of the stable version"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let told = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            told("{\"version\":\"stable\"}\n{\"version\":\"stable\",\"eror\":true}\n"),
            "line 2: there is no key `eror`; did you mean `error`?"
        );
        assert!(told("").starts_with("there are no observations"));
        let foreign = told("{\"version\":\"gpt-4-0314\"}\n{\"version\":\"canary\"}\n");
        assert!(foreign.contains("there are lines of `gpt-4-0314`, `canary`"), "{foreign}");
        assert!(told(&format!("{{\"version\":\"{}\"}}", "x".repeat(70_000))).starts_with("line 1: it is longer"));
    }

    #[test]
    fn memory_is_bounded_by_whole_sessions() {
        let mut text = String::new();
        for session in 0..200 {
            for _ in 0..3 {
                text.push_str(&format!("{{\"version\":\"stable\",\"session\":\"{session}\"}}\n"));
            }
        }
        let data = Data::read_at_most(text.as_bytes(), &Labels::default(), 100).unwrap();
        assert!(data.thinned >= 2 && data.requests() <= 100, "{} at {}", data.requests(), data.thinned);
        assert!(data.stable.iter().all(|session| session.turns.len() == 3), "a kept session is whole");
    }
}
