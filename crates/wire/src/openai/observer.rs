//! Reading an answer beside the stream: what it says about itself, in bounded memory and one pass.

use super::answer::{Answer, Unseen};
use super::past::EarlierCalls;
use crate::conversation::{Answering, ConversationHash};
use crate::dialect::Dialect;
use crate::embeddings::Slimmer;
use crate::outcome::{FirstWords, Refusal, SchemaChecker, Spoken, ToolChecker, Validity};
use crate::sse::Splitter;
use crate::usage::Usage;
use std::fmt;
use std::sync::Arc;

/// A body that is no stream is kept up to this length; a longer one is [`Ending::Unseen`].
pub const BODY_MAX_BYTES: usize = 16 << 20;

/// What is to be expected of an answer.
#[derive(Debug, Default)]
pub struct Expect {
    /// The dialect of the provider, which the answer is written in.
    pub dialect: Dialect,
    /// The answer is a stream of events (by its content type), not one JSON body.
    pub stream: bool,
    /// The tools that the provider was given.
    pub tools: Option<Arc<ToolChecker>>,
    /// What the text has to be.
    pub schema: Option<Arc<SchemaChecker>>,
    /// The conversation that the answer continues, if it is to be followed by content.
    pub conversation: Option<Answering>,
    /// Whether to look for what only evidence needs: repetition, fences, calls made before, language, opening.
    pub detect: Detect,
    /// Whether the answer's text is handed out at its end.
    pub text: KeepText,
}

/// Whether the detectors run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Detect {
    /// They do not: nobody counts what they would find.
    #[default]
    Off,
    /// They do.
    On {
        /// The calls that were made since the user last spoke, which this answer's are held against.
        earlier: EarlierCalls,
        /// The language that the user speaks, which the answer's is held against.
        asked_in: Option<Spoken>,
    },
}

/// Whether an answer's text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepText {
    /// Not, but where something else asks for it.
    #[default]
    No,
    /// For whoever judges it.
    Yes,
}

/// Reads one answer.
pub struct Observer {
    stream: bool,
    splitter: Splitter,
    body: Vec<u8>,
    /// Takes vectors out of what is kept.
    slimmer: Option<Slimmer>,
    body_overflowed: bool,
    answer: Answer,
}

/// What the last piece brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing by which the answer gets on: comments, pings, roles, empty pieces, half an event. A stream may go on so for
    /// ever, and is as good as silent.
    Nothing,
    /// Nothing that a person would see, and yet a part of the answer: where a part begins or ends, a reason, usage.
    Step,
    /// Content: text, reasoning, a refusal, a tool call, sound. The first one is what TTFT means.
    Content,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As the protocol wants it.
    Whole,
    /// It broke off: a stream without a `finish_reason`, or half a body.
    Truncated,
    /// The provider reported an error inside it; see [`Seen::error`].
    Failed,
    /// It is no answer of its dialect; a client library cannot read it.
    Unreadable,
    /// It was too long to be looked at.
    Unseen,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// `stop`; of messages `end_turn`, `stop_sequence`, `pause_turn`.
    Stop,
    /// `length`, `max_tokens`, `model_context_window_exceeded`: a limit of tokens was reached.
    Length,
    /// `tool_calls`, or `function_call` of old; `tool_use`.
    ToolCalls,
    /// `content_filter`, `refusal`
    ContentFilter,
    /// Any other word.
    Other,
}

/// An error that came with status 200. Its message is not kept: it may repeat the prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct InBandError {
    /// `type`
    pub kind: Option<String>,
    /// `code`, a number as it is written.
    pub code: Option<String>,
}

/// What an answer says about itself: the same for the same answer, streamed or not, however it was
/// cut into pieces.
#[derive(Clone, PartialEq)]
pub struct Seen {
    /// How it ended.
    pub ending: Ending,
    /// Why each choice ended, by index; `None` for one that did not say.
    pub finishes: Vec<Option<Finish>>,
    /// Tokens; `None` where the provider told nothing.
    pub usage: Option<Usage>,
    /// The model that the provider says it served.
    pub model: Option<String>,
    /// The id that a later request may name this response by (`previous_response_id`).
    pub response_id: Option<String>,
    /// `system_fingerprint`
    pub system_fingerprint: Option<String>,
    /// `service_tier`, as it was served; of messages `usage.service_tier`.
    pub service_tier: Option<String>,
    /// The error inside the answer.
    pub error: Option<InBandError>,
    /// Whether `[DONE]` came, or `message_stop`, or the event that ends a response.
    pub done: bool,
    /// Neither text nor refusal, tool call or sound in any choice.
    pub empty: bool,
    /// Whether the first choice refuses.
    pub refusal: Option<Refusal>,
    /// Length of the text of all choices, in bytes of UTF-8.
    pub text_bytes: u64,
    /// About the length of all that was written: text, thoughts, calls of tools. Only this differs between a stream and a body.
    pub said_bytes: u64,
    /// Tokens that the sound that came is taken for, by how long it lasts.
    pub sound_tokens: u64,
    /// Tool calls in all choices.
    pub tool_calls: u32,
    /// Whether all tool calls are valid.
    pub tools: Validity,
    /// Whether the text of all choices is what `response_format` asks for.
    pub schema: Validity,
    /// What the detectors say; `None` where they were off, or the answer was not seen whole.
    pub detected: Option<Detected>,
    /// How the first choice begins; `None` where the detectors were off, or it has no words.
    pub opening: Option<FirstWords>,
    /// Hashes of the ids of all tool calls; none where the detectors were off.
    pub calls: Vec<u64>,
    /// What the next request of this conversation will be found by; `None` where that was not asked
    /// for, or the answer cannot be continued (it broke off, or was not seen whole).
    pub conversation: Option<ConversationHash>,
    /// What the first choice says, and which tools it calls, where it was asked for and seen whole.
    pub text: Option<String>,
    /// Events that were too long to be looked at.
    pub overflowed_events: u64,
}

/// What the detectors say of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected {
    /// The text was to be JSON, and has it in a fence.
    pub fenced: bool,
    /// A tool is called with arguments that it was called with in this answer already, or since the user last spoke.
    pub repeated_call: bool,
    /// The text of a choice goes round in circles. Not looked for where it was to be JSON.
    pub repetition: bool,
    /// The first choice is in another language than the user's; `None` where that cannot be told of the user's.
    pub other_language: Option<bool>,
    /// Length of the text of the first choice, in characters.
    pub chars: u64,
}

impl Observer {
    /// Begins.
    #[must_use]
    pub fn new(expect: Expect) -> Self {
        let Expect { dialect, stream, tools, schema, conversation, detect, text } = expect;
        Self {
            stream,
            splitter: Splitter::default(),
            body: Vec::new(),
            slimmer: (dialect == Dialect::Embeddings).then(Slimmer::default),
            body_overflowed: false,
            answer: Answer::new(dialect, tools, schema, conversation, detect, text),
        }
    }

    /// Takes the next piece of the body. Of a body that is no stream the first bytes count as content.
    pub fn feed(&mut self, piece: &[u8]) -> Progress {
        if self.stream {
            let before = self.answer.contents;
            self.events(piece);
            return if self.answer.contents > before { Progress::Content } else { self.step() };
        }
        let length = if self.slimmer.is_some() { 0 } else { piece.len() };
        if self.body.len() + length > BODY_MAX_BYTES {
            self.body = Vec::new();
            self.body_overflowed = true;
        }
        match &mut self.slimmer {
            _ if self.body_overflowed => {}
            Some(slimmer) => slimmer.feed(piece, &mut self.body),
            None => self.body.extend_from_slice(piece),
        }
        if piece.is_empty() { Progress::Nothing } else { Progress::Content }
    }

    fn events(&mut self, mut piece: &[u8]) {
        let Self { splitter, answer, .. } = self;
        loop {
            if splitter.is_between_events() {
                piece = answer.pass_events_alike(piece);
            }
            match splitter.next(piece, |event| answer.event(event)) {
                Some(behind) => piece = behind,
                None => return,
            }
        }
    }

    /// Takes an event that came by itself, as a message of a websocket.
    pub fn feed_message(&mut self, data: &[u8]) -> Progress {
        let before = self.answer.contents;
        self.answer.message_of_socket(data);
        if self.answer.contents > before { Progress::Content } else { self.step() }
    }

    /// What a piece brought that had no content. The rest of an event that is longer than any ping is waited for.
    fn step(&mut self) -> Progress {
        let stepped = std::mem::take(&mut self.answer.stepped);
        if stepped || self.splitter.is_in_a_long_event() { Progress::Step } else { Progress::Nothing }
    }

    /// Whether the answer says that something is done of which no word may come for long: it thinks, or a tool of the
    /// provider's own runs.
    #[must_use]
    pub fn works_unseen(&self) -> bool {
        self.stream && self.answer.unseen != Unseen::No
    }

    /// Whether what is read is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.stream
    }

    /// Whether any content has come yet: until then nothing was delivered that a person has seen.
    #[must_use]
    pub fn content_begun(&self) -> bool {
        if self.stream { self.answer.contents > 0 } else { !self.body.is_empty() || self.body_overflowed }
    }

    /// Whether the answer itself has begun: what stands before all else of it has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.answer.readable
    }

    /// The id that a later request may name this response by, as soon as it is told.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        self.answer.response_id.as_deref()
    }

    /// What the next event of the stream would be numbered, where its dialect numbers them.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.answer.next_number
    }

    /// Whether the stream has ended by its own word (`[DONE]`, `message_stop`, the event that ends a response): whatever
    /// comes behind it nobody reads.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stream && self.answer.done
    }

    /// Whether the stream has said all and not its last word: every choice has told why it ended, without an error,
    /// and no end has come.
    #[must_use]
    pub fn lacks_end(&self) -> bool {
        self.stream && !self.answer.done && self.answer.error.is_none() && self.answer.said_all()
    }

    /// Whether the stream has said all: every choice has ended, or an error came. What still comes is
    /// usage and `[DONE]`.
    #[must_use]
    pub fn said_all(&self) -> bool {
        self.answer.said_all()
    }

    /// Ends with the body's end.
    #[must_use]
    pub fn finish(mut self) -> Seen {
        if self.stream {
            let answer = &mut self.answer;
            self.splitter.finish(|event| answer.last_event(event));
            let overflowed = self.splitter.overflowed();
            return self.answer.seen(overflowed, true);
        }
        if self.body_overflowed {
            let mut seen = self.answer.seen(1, false);
            seen.ending = Ending::Unseen;
            return seen;
        }
        self.answer.body(&self.body);
        self.answer.seen(0, false)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The answer's text is not shown.
        f.debug_struct("Seen")
            .field("ending", &self.ending)
            .field("finishes", &self.finishes)
            .field("usage", &self.usage)
            .field("model", &self.model)
            .field("response_id", &self.response_id)
            .field("system_fingerprint", &self.system_fingerprint)
            .field("service_tier", &self.service_tier)
            .field("error", &self.error)
            .field("done", &self.done)
            .field("empty", &self.empty)
            .field("refusal", &self.refusal)
            .field("text_bytes", &self.text_bytes)
            .field("tool_calls", &self.tool_calls)
            .field("tools", &self.tools)
            .field("schema", &self.schema)
            .field("detected", &self.detected)
            .field("conversation", &self.conversation)
            .field("overflowed_events", &self.overflowed_events)
            .finish()
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, splitter, body, answer, .. } = self;
        f.debug_struct("Observer")
            .field("stream", stream)
            .field("splitter", splitter)
            .field("body", &body.len())
            .field("answer", answer)
            .finish_non_exhaustive()
    }
}
