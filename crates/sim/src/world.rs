//! What is true in a world: who comes, what each version does to them, and what breaks.

use crate::meddling::Meddling;
use crate::naive::Rule;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use std::collections::{BTreeMap, BTreeSet};

/// One world. Instants are counted from the release's start.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Who comes.
    pub users: Users,
    /// What the stable version does.
    pub stable: Truth,
    /// What the canary does.
    pub canary: Truth,
    /// What changes on the way; later ones lie on top of earlier ones.
    pub changes: Vec<Change>,
    /// When the provider of both versions put other models behind their names.
    pub swaps: Vec<SpanMs>,
    /// What breaks in Coalmine itself.
    pub faults: Vec<Fault>,
    /// Traffic on stable before the start, for the calibration.
    pub history: SpanMs,
    /// When the world ends if nothing was decided.
    pub until: SpanMs,
    /// How long the loop goes on looking after the end of the release.
    pub after_end: SpanMs,
    /// Noise that each arm has for itself: the spread (of the logarithm) of its rates from minute to minute.
    pub noise: f64,
    /// The cache in front of each version, where it matters.
    pub cache: Option<Cache>,
    /// A comparison that leaves this rule out, to stand beside the shipped verdict.
    pub without: Option<Rule>,
    /// How far each judge errs, by its name.
    pub judges: BTreeMap<String, Errs>,
}

/// How far a judge errs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errs {
    /// The share of the poor answers that it takes for good ones.
    pub false_pass: f64,
    /// The share of the good answers that it takes for poor ones.
    pub false_fail: f64,
    /// Of pairs: the share in which it goes by the place.
    pub by_place: f64,
    /// Of pairs of equally good answers: the share that it calls a tie.
    pub ties: f64,
    /// What asking once costs, in US dollars.
    pub cost_usd: f64,
}

impl Default for Errs {
    fn default() -> Self {
        Self { false_pass: 0.1, false_fail: 0.1, by_place: 0.1, ties: 0.5, cost_usd: 0.002 }
    }
}

/// A cache that is cold when a version is new.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// Requests after which 63 % of a version's next ones hit.
    pub warms: f64,
    /// How many times longer the first content takes at a miss.
    pub slower: f64,
    /// How many times more a miss costs.
    pub dearer: f64,
}

/// Who comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Users {
    /// New sessions in an hour (Poisson).
    pub sessions_per_hour: f64,
    /// How much that swings over a day: 0.5 is from half to one and a half.
    pub swing: f64,
    /// Turns of a session (geometric).
    pub turns_mean: f64,
    /// From an answer to the next turn (log-normal), in milliseconds.
    pub think_ms: f64,
    /// The share of a session's turns that repeat its own luck, 0 to 1: what clusters inside sessions.
    pub cluster: f64,
    /// The share of turns that declare tools and get a tool call.
    pub tools: f64,
    /// A user gives up before the first content after so long, in milliseconds; `None` waits for ever.
    pub patience_ms: Option<f64>,
    /// The share of sessions whose client sends one and the same session id.
    pub constant_id: f64,
    /// From a session's begin to its score.
    pub scored_after: SpanMs,
    /// Under which names the score of a session's task comes back.
    pub scores: BTreeSet<String>,
    /// The share of turns that ask for an answer in a JSON Schema.
    pub schemas: f64,
    /// Of what can go wrong with a copy of a request, the share that has the luck of its original.
    pub alike: f64,
    /// Sessions that are not like the others; a session is in one of them at most.
    pub crowds: Vec<Crowd>,
}

/// A part of the sessions with something in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Crowd {
    /// What.
    pub who: Who,
    /// Its share of all sessions.
    pub share: f64,
    /// What is otherwise for them, whichever version answers.
    pub facts: Vec<(Part, f64)>,
}

/// What the sessions of a crowd have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// They are one customer's.
    Customer(String),
    /// They begin with the same words.
    SameOpener,
    /// They come in by a gateway of this region.
    Region(String),
    /// They ask for streams.
    Streams,
}

/// What a version does.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The chance that a request fails.
    pub error: f64,
    /// The chance that a request hangs until its deadline.
    pub hang: f64,
    /// The chance that an answer refuses.
    pub refusal: f64,
    /// The chance that a tool call is wrong.
    pub tool_bad: f64,
    /// To the first content, median in milliseconds (log-normal).
    pub ttft_ms: f64,
    /// From the first content to the end, median in milliseconds (log-normal).
    pub answer_ms: f64,
    /// US dollars of a request, median (log-normal).
    pub cost_usd: f64,
    /// The chance that a session's task is solved; scored later.
    pub solved: f64,
    /// The chance that a session's first answer refuses, where it is another than that of later ones.
    pub first_refusal: Option<f64>,
    /// The chance that a user leaves after a bad turn.
    pub leave: f64,
    /// The chance that a user stops an answer that turns out bad.
    pub stop: f64,
    /// The chance that a session whose task is solved is scored.
    pub rate_solved: f64,
    /// The chance that one whose task is not solved is.
    pub rate_unsolved: f64,
    /// The chance that an answer is what a judge's rubric asks for.
    pub good: f64,
    /// The chance that an answer is empty.
    pub empty: f64,
    /// The chance that an answer is cut off by its token limit.
    pub truncated: f64,
    /// The chance that an answer breaks the schema that was asked for.
    pub schema_bad: f64,
    /// The chance that an answer that should be JSON has it in a fence.
    pub fenced: f64,
    /// The chance that an answer calls a tool as it was called already.
    pub repeated_call: f64,
    /// The chance that an answer goes round in circles.
    pub repetition: f64,
    /// The chance that an answer is in another language than the user's.
    pub other_language: f64,
    /// Length of an answer, median in characters (log-normal).
    pub chars: f64,
    /// The chance that an answer begins with words of the version's own, which no list knows.
    pub new_opening: f64,
    /// The chance that what is read comes from the provider's cache; `None`: the provider does not tell.
    pub cached: Option<f64>,
    /// The chance that a user does not go on after the first answer.
    pub quits: f64,
    /// The chance that a user asks the same again.
    pub reask: f64,
    /// The chance that a client's library repeats a request.
    pub retry: f64,
    /// The chance that a tool that was called reports an error.
    pub tool_fail: f64,
}

/// One number of a [`Truth`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// [`Truth::error`].
    Error,
    /// [`Truth::hang`].
    Hang,
    /// [`Truth::refusal`].
    Refusal,
    /// [`Truth::tool_bad`].
    ToolBad,
    /// [`Truth::ttft_ms`].
    Ttft,
    /// [`Truth::answer_ms`].
    Answer,
    /// [`Truth::cost_usd`].
    Cost,
    /// [`Truth::solved`].
    Solved,
    /// [`Truth::first_refusal`].
    FirstRefusal,
    /// [`Truth::leave`].
    Leave,
    /// [`Truth::stop`].
    Stop,
    /// [`Truth::rate_solved`].
    RateSolved,
    /// [`Truth::rate_unsolved`].
    RateUnsolved,
    /// [`Truth::good`].
    Good,
    /// [`Truth::empty`].
    Empty,
    /// [`Truth::truncated`].
    Truncated,
    /// [`Truth::schema_bad`].
    SchemaBad,
    /// [`Truth::fenced`].
    Fenced,
    /// [`Truth::repeated_call`].
    RepeatedCall,
    /// [`Truth::repetition`].
    Repetition,
    /// [`Truth::other_language`].
    OtherLanguage,
    /// [`Truth::chars`].
    Chars,
    /// [`Truth::new_opening`].
    NewOpening,
    /// [`Truth::cached`].
    Cached,
    /// [`Truth::quits`].
    Quits,
    /// [`Truth::reask`].
    Reask,
    /// [`Truth::retry`].
    Retry,
    /// [`Truth::tool_fail`].
    ToolFail,
}

/// Whom a change hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The stable version.
    Stable,
    /// The canary.
    Canary,
    /// Both alike.
    Both,
}

/// Something that is otherwise for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// From when.
    pub from: SpanMs,
    /// Until when.
    pub to: SpanMs,
    /// Whose.
    pub side: Side,
    /// What.
    pub part: Part,
    /// Its value meanwhile.
    pub value: f64,
    /// The value at the end, where it slides there evenly.
    pub slides_to: Option<f64>,
}

/// What breaks in Coalmine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store does not answer.
    StoreDown {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
    },
    /// The gateway's reports do not arrive; they are offered again afterwards.
    ReportsLost {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
    },
    /// Nobody scores: the judge is down, and what it would have said is never said.
    ScoresLost {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
    },
    /// No sentinel gets an answer from any provider: what it would have said is unknown.
    SentinelsLost {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
    },
    /// No judge gets an answer from its provider.
    JudgesDown {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
    },
    /// Judges are others than they were: they turn a share of their verdicts round.
    JudgesDrift {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
        /// How many.
        turned: WeightBp,
    },
    /// The gateway's reports arrive, and are not what was sent.
    Meddled {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
        /// What became of them.
        how: Meddling,
    },
    /// A ceiling lies on the canary at one region's gateway.
    Ceiling {
        /// From when.
        from: SpanMs,
        /// Until when.
        to: SpanMs,
        /// The crowd of the region.
        crowd: usize,
        /// The most that the canary gets there.
        at_most: WeightBp,
    },
    /// The control plane is killed and started again.
    Restart {
        /// When.
        at: SpanMs,
    },
}

impl Fault {
    /// Whether it is at work at an instant; a restart takes none.
    pub(crate) fn is_on(&self, at: SpanMs) -> bool {
        match self {
            Self::StoreDown { from, to }
            | Self::ReportsLost { from, to }
            | Self::Meddled { from, to, .. }
            | Self::ScoresLost { from, to }
            | Self::Ceiling { from, to, .. }
            | Self::JudgesDown { from, to }
            | Self::JudgesDrift { from, to, .. }
            | Self::SentinelsLost { from, to } => *from <= at && at < *to,
            Self::Restart { .. } => false,
        }
    }
}

impl Truth {
    pub(crate) fn set(&mut self, part: Part, value: f64) {
        let place = match part {
            Part::Error => &mut self.error,
            Part::Hang => &mut self.hang,
            Part::Refusal => &mut self.refusal,
            Part::ToolBad => &mut self.tool_bad,
            Part::Ttft => &mut self.ttft_ms,
            Part::Answer => &mut self.answer_ms,
            Part::Cost => &mut self.cost_usd,
            Part::Solved => &mut self.solved,
            Part::FirstRefusal => self.first_refusal.insert(value),
            Part::Leave => &mut self.leave,
            Part::Stop => &mut self.stop,
            Part::RateSolved => &mut self.rate_solved,
            Part::RateUnsolved => &mut self.rate_unsolved,
            Part::Good => &mut self.good,
            Part::Empty => &mut self.empty,
            Part::Truncated => &mut self.truncated,
            Part::SchemaBad => &mut self.schema_bad,
            Part::Fenced => &mut self.fenced,
            Part::RepeatedCall => &mut self.repeated_call,
            Part::Repetition => &mut self.repetition,
            Part::OtherLanguage => &mut self.other_language,
            Part::Chars => &mut self.chars,
            Part::NewOpening => &mut self.new_opening,
            Part::Cached => self.cached.insert(value),
            Part::Quits => &mut self.quits,
            Part::Reask => &mut self.reask,
            Part::Retry => &mut self.retry,
            Part::ToolFail => &mut self.tool_fail,
        };
        *place = value;
    }
}

impl Change {
    fn value_at(&self, at: SpanMs) -> f64 {
        let Some(end) = self.slides_to else { return self.value };
        let gone = at.0.saturating_sub(self.from.0) as f64 / self.to.0.saturating_sub(self.from.0).max(1) as f64;
        self.value + gone * (end - self.value)
    }
}

impl World {
    /// What is true of a version at an instant; before the start there are no changes.
    #[must_use]
    pub fn truth(&self, side: Side, at: Option<SpanMs>) -> Truth {
        let mut truth = match side {
            Side::Stable | Side::Both => self.stable.clone(),
            Side::Canary => self.canary.clone(),
        };
        let Some(at) = at else { return truth };
        for change in &self.changes {
            let hits = change.side == Side::Both || change.side == side;
            if hits && change.from <= at && at < change.to {
                truth.set(change.part, change.value_at(at));
            }
        }
        truth
    }
}

impl Default for Users {
    fn default() -> Self {
        Self {
            sessions_per_hour: 1_000.0,
            swing: 0.0,
            turns_mean: 4.0,
            think_ms: 45_000.0,
            cluster: 0.3,
            tools: 0.3,
            patience_ms: None,
            constant_id: 0.0,
            scored_after: SpanMs::minutes(5),
            scores: BTreeSet::from(["solved".to_owned()]),
            schemas: 0.0,
            alike: 0.6,
            crowds: Vec::new(),
        }
    }
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            error: 0.005,
            hang: 0.0,
            refusal: 0.02,
            tool_bad: 0.01,
            ttft_ms: 500.0,
            answer_ms: 3_000.0,
            cost_usd: 0.01,
            solved: 0.8,
            first_refusal: None,
            leave: 0.0,
            stop: 0.0,
            rate_solved: 1.0,
            rate_unsolved: 1.0,
            good: 0.8,
            empty: 0.0,
            truncated: 0.0,
            schema_bad: 0.0,
            fenced: 0.0,
            repeated_call: 0.0,
            repetition: 0.0,
            other_language: 0.0,
            chars: 600.0,
            new_opening: 0.0,
            cached: None,
            quits: 0.0,
            reask: 0.0,
            retry: 0.0,
            tool_fail: 0.0,
        }
    }
}
