//! What has been read of an answer so far: the state behind the observer.

use super::alike::Alike;
use super::calls::Calls;
use super::observer::{Detect, Detected, Ending, Finish, InBandError, KeepText, Progress, Seen};
use crate::anthropic::usage::Told;
use crate::conversation::Answering;
use crate::dialect::Dialect;
use crate::json::{self, Kind, ScanError, Scanner, Text, Unescape};
use crate::outcome::{
    FirstWords, HEAD_MAX_BYTES, Refusal, Repetition, SchemaChecker, Spoken, ToolChecker, Validity, inside_fence,
    reads_as_refusal,
};
use crate::realtime::Rate;
use crate::sse::Event;
use crate::usage::Usage;
use std::fmt;
use std::sync::Arc;

/// As many choices as a request may ask for (`n`).
const CHOICES_MAX: usize = 128;
/// The text of an answer is kept up to this length, and only where a schema is to be checked.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// Names that a provider gives (model, fingerprint, error type) are kept up to this length.
const NAME_MAX_BYTES: usize = 256;

/// The state.
pub(crate) struct Answer {
    dialect: Dialect,
    /// How many times content has come.
    pub(crate) contents: u64,
    /// Whether, since that was last asked, something came that is no content and a part of the answer.
    pub(crate) stepped: bool,
    pub(crate) unseen: Unseen,
    /// What the next event would be numbered, where events are.
    pub(crate) next_number: u64,
    tools: Option<Arc<ToolChecker>>,
    pub(crate) schema: Option<Arc<SchemaChecker>>,
    pub(crate) conversation: Option<Answering>,
    detect: Detect,
    keep: KeepText,
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Option<Usage>,
    /// Tokens as messages tell them.
    pub(crate) told: Told,
    pub(crate) model: Option<String>,
    /// The id that a later request may name this response by.
    pub(crate) response_id: Option<String>,
    system_fingerprint: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) error: Option<InBandError>,
    pub(crate) done: bool,
    /// A chunk, or the body, was read.
    pub(crate) readable: bool,
    /// An event was no JSON.
    unreadable: bool,
    /// The last event broke off.
    cut: bool,
    /// More choices than are kept.
    overflowed: bool,
    /// The event before, for those that are like it.
    pub(crate) alike: Alike,
    /// How long sound lasts.
    pub(crate) sound_rate: Rate,
}

/// What an answer says that it does, of which no word may come for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unseen {
    No,
    /// It thinks, until it says that it has thought.
    Thinks,
    /// A tool of the provider's own runs, until what it found comes.
    Runs,
}

/// One choice.
#[derive(Default)]
pub(crate) struct Choice {
    pub(crate) finish: Option<Finish>,
    unescape: Unescape,
    text: Kept,
    pub(crate) refused: bool,
    /// Content of another kind has come: sound, or what a provider's own tool found.
    pub(crate) sound: bool,
    /// Length of what it thought aloud.
    pub(crate) thought_bytes: u64,
    /// Length of the sound that came, in base64.
    pub(crate) sound_bytes: u64,
    pub(crate) calls: Calls,
}

/// The text of a choice.
#[derive(Default)]
struct Kept {
    bytes: u64,
    chars: u64,
    /// Its start in UTF-8, for refusals, language and opening.
    head: Vec<u8>,
    head_full: bool,
    /// All of it in UTF-8, where a schema is to be checked.
    whole: Vec<u8>,
    overflowed: bool,
    /// Looks for repetition, where nothing is kept.
    rounds: Option<Box<Repetition>>,
}

/// What is done with the text of an answer besides keeping its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing.
    Head,
    /// It is looked at for repetition.
    Rounds,
    /// All of it is kept, for a schema or a judge.
    Whole,
    /// Both: a session that a judge sees is looked at like any other.
    Both,
}

/// Which of the two shapes a choice's content has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `delta`: a piece of what a stream brings.
    Piece,
    /// `message`: all of it.
    Message,
    /// `text`: what completions of old bring, in pieces or whole.
    Text,
}

impl Answer {
    pub(super) fn new(
        dialect: Dialect,
        tools: Option<Arc<ToolChecker>>,
        schema: Option<Arc<SchemaChecker>>,
        conversation: Option<Answering>,
        detect: Detect,
        text: KeepText,
    ) -> Self {
        Self {
            dialect,
            contents: 0,
            stepped: false,
            unseen: Unseen::No,
            next_number: 0,
            tools,
            schema,
            conversation,
            detect,
            keep: text,
            choices: Vec::new(),
            usage: None,
            told: Told::default(),
            model: None,
            response_id: None,
            system_fingerprint: None,
            service_tier: None,
            error: None,
            done: false,
            readable: false,
            unreadable: false,
            cut: false,
            overflowed: false,
            alike: Alike::default(),
            sound_rate: Rate::default(),
        }
    }

    /// Takes an event of a stream.
    pub(super) fn event(&mut self, event: Event<'_>) {
        self.unreadable |= self.read_event(event).is_err();
    }

    /// Takes the event at the end of a stream that no empty line ended.
    pub(super) fn last_event(&mut self, event: Event<'_>) {
        self.cut |= self.read_event(event).is_err();
    }

    /// Takes a body that is no stream.
    pub(super) fn body(&mut self, body: &[u8]) {
        // which clients' readers pass over
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let read = match self.dialect {
            Dialect::Chat | Dialect::Completions => self.object(body, false),
            Dialect::Messages => self.message_body(body),
            Dialect::Responses => self.response_body(body),
            Dialect::Embeddings => self.embeddings_body(body),
            Dialect::Realtime => self.realtime_event(body),
        };
        match read {
            Ok(()) => {}
            Err(error) if error.at >= body.trim_ascii_end().len() => self.cut = true,
            Err(_) => self.unreadable = true,
        }
    }

    /// Whether every choice that has begun has ended, or an error came.
    pub(super) fn said_all(&self) -> bool {
        let ended = self.choices.iter().all(|choice| choice.finish.is_some());
        self.done || self.error.is_some() || (ended && !self.choices.is_empty())
    }

    /// Takes the events that a stream goes on with, as long as they are the last one with another text; what stands behind
    /// them.
    pub(super) fn pass_events_alike<'a>(&mut self, mut stream: &'a [u8]) -> &'a [u8] {
        // Clients stop reading where it is done, whatever follows.
        while !self.done
            && let Some(like) = self.alike.of(stream)
        {
            let keep = self.keep();
            let Some(choice) = self.choices.get_mut(like.choice) else { break };
            let conversation = self.conversation.as_mut().filter(|_| like.choice == 0);
            self.contents += u64::from(choice.text(like.text, keep, conversation));
            stream = &stream[like.len..];
        }
        stream
    }

    fn read_event(&mut self, event: Event<'_>) -> Result<(), ScanError> {
        // one that came in pieces
        if self.pass_events_alike(event.0).is_empty() {
            return Ok(());
        }
        let (kind, data) = event.read();
        data.map_or(Ok(()), |data| self.read_data(event, kind, &data))
    }

    /// Takes a message that is one event.
    pub(super) fn message_of_socket(&mut self, data: &[u8]) {
        self.unreadable |= self.read_data(Event(b""), b"", data).is_err();
    }

    fn read_data(&mut self, event: Event<'_>, kind: &[u8], data: &[u8]) -> Result<(), ScanError> {
        // Clients stop reading here, whatever follows.
        if self.done || data.is_empty() {
            return Ok(());
        }
        let is_done = data.trim_ascii() == b"[DONE]";
        let read = match self.dialect {
            // of a server that ends all its streams alike: it says nothing in these dialects
            Dialect::Messages | Dialect::Responses | Dialect::Realtime if is_done => Some(Ok(())),
            Dialect::Messages => Some(self.whole_event(event, data, |answer| answer.message_event(kind, data))),
            Dialect::Responses => Some(self.response_event(data)),
            Dialect::Realtime => Some(self.realtime_event(data)),
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => None,
        };
        if let Some(read) = read {
            if kind == b"error" {
                self.stepped = true;
                self.error.get_or_insert_default();
                return read.or(Ok(()));
            }
            return read;
        }
        if is_done {
            (self.done, self.stepped) = (true, true);
            return Ok(());
        }
        if kind == b"error" {
            // What it says may be no JSON; that it is an error is said already.
            let read = self.object(data, true);
            self.error.get_or_insert_default();
            return read.or(Ok(()));
        }
        self.whole_event(event, data, |answer| answer.object(data, false))
    }

    /// Reads an event from end to end, and keeps it for those that are like it.
    fn whole_event(
        &mut self,
        event: Event<'_>,
        data: &[u8],
        read: impl FnOnce(&mut Self) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        self.alike.begin();
        read(self)?;
        if self.error.is_none() {
            self.alike.end(event.0, data);
        }
        Ok(())
    }

    /// Reads a chunk of a stream, or a whole body: their shapes differ by `delta` and `message` only.
    /// An object that is `failed` tells an error; so does one that says so itself.
    fn object(&mut self, data: &[u8], mut failed: bool) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(data);
        let mut fault = InBandError::default();
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"choices" => self.choices(&mut scanner)?,
                b"usage" => {
                    let told = Usage::scan(&mut scanner)?.or(self.usage);
                    self.stepped |= told != self.usage;
                    self.usage = told;
                }
                b"model" => name(&mut scanner, &mut self.model)?,
                b"system_fingerprint" => name(&mut scanner, &mut self.system_fingerprint)?,
                b"service_tier" => name(&mut scanner, &mut self.service_tier)?,
                b"error" => self.error(&mut scanner)?,
                b"object" => failed |= scanner.string_or_skip()?.is_some_and(|object| object.is("error")),
                b"type" => name(&mut scanner, &mut fault.kind)?,
                b"code" => code(&mut scanner, &mut fault.code)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        if failed && self.error.is_none() {
            self.error = Some(fault);
        }
        Ok(())
    }

    /// `error`: an object, or a text.
    fn error(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        let mut error = InBandError::default();
        match scanner.peek()? {
            Kind::Null => return scanner.skip().map(|_| ()),
            Kind::Object => {
                scanner.enter_object()?;
                while let Some(key) = scanner.next_member()? {
                    match key.raw {
                        b"type" => name(scanner, &mut error.kind)?,
                        b"code" => code(scanner, &mut error.code)?,
                        _ => {
                            scanner.skip()?;
                        }
                    }
                }
            }
            Kind::Array | Kind::String | Kind::Number | Kind::Bool => {
                scanner.skip()?;
            }
        }
        self.stepped = true;
        self.error.get_or_insert(error);
        Ok(())
    }

    fn choices(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        if scanner.peek()? != Kind::Array {
            return scanner.skip().map(|_| ());
        }
        self.readable = true;
        scanner.enter_array()?;
        let mut place = 0;
        while scanner.next_item()? {
            if scanner.peek()? == Kind::Object {
                self.choice(scanner, place)?;
            } else {
                scanner.skip()?;
            }
            place += 1;
        }
        Ok(())
    }

    fn choice(&mut self, scanner: &mut Scanner<'_>, place: usize) -> Result<(), ScanError> {
        let mut index = None;
        let mut early = None;
        let mut finish = None;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let shape = match key.raw {
                b"index" => {
                    index = scanner.count()?.and_then(|index| usize::try_from(index).ok());
                    continue;
                }
                b"finish_reason" => {
                    let word = scanner.string_or_skip()?;
                    if word.is_some_and(|word| word.raw == b"error") {
                        self.error.get_or_insert_default();
                    }
                    // some servers write an empty word into every chunk but the last
                    finish = word.filter(|word| !word.raw.is_empty()).map(Finish::of);
                    continue;
                }
                b"delta" => Shape::Piece,
                b"message" => Shape::Message,
                b"text" if self.dialect == Dialect::Completions => Shape::Text,
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            match index {
                Some(index) => self.content(index, shape, scanner)?,
                // Content before its index: read once the index is known.
                None => early = Some((shape, scanner.value()?)),
            }
        }
        let index = index.unwrap_or(place);
        if let Some((shape, content)) = early {
            self.content(index, shape, &mut Scanner::new(content))?;
            self.alike.other();
        }
        match slot(&mut self.choices, index) {
            Some(choice) => {
                self.stepped |= finish.is_some() && choice.finish.is_none();
                choice.finish = finish.or(choice.finish);
            }
            None => self.overflowed = true,
        }
        Ok(())
    }

    fn content(&mut self, index: usize, shape: Shape, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        let keep = self.keep();
        let Some(choice) = slot(&mut self.choices, index) else {
            return scanner.skip().map(|_| ());
        };
        let conversation = self.conversation.as_mut().filter(|_| index == 0);
        let (came, text) = choice.read(shape, scanner, keep, conversation)?;
        match text {
            Some(text) => self.alike.text(index, text.at + 1, text.raw.len()),
            None => self.alike.other(),
        }
        self.contents += u64::from(came == Progress::Content);
        self.stepped |= came == Progress::Step;
        Ok(())
    }

    /// The verdict.
    pub(super) fn seen(mut self, overflowed_events: u64, stream: bool) -> Seen {
        let keep = self.keep();
        for (index, choice) in self.choices.iter_mut().enumerate() {
            choice.end(keep, self.conversation.as_mut().filter(|_| index == 0));
        }
        let mut ending = self.ending(stream);
        // The event that ends a response repeats all of it: too long to be looked at, it is no break.
        if ending == Ending::Truncated && overflowed_events > 0 && self.dialect == Dialect::Responses {
            ending = Ending::Unseen;
        }
        let whole = ending == Ending::Whole && overflowed_events == 0 && !self.overflowed;
        let first = self.choices.first();
        let head = first.map_or("", |choice| choice.text.head());
        let refusal = first.and_then(|choice| choice.refusal(head));
        let tools = self.choices.iter().map(|choice| choice.calls.validity(self.tools.as_deref(), whole));
        let schema = self.choices.iter().map(|choice| choice.schema(self.schema.as_deref(), whole));
        let detected = self.detected(head).filter(|_| whole);
        let calls = detected.iter().flat_map(|_| self.choices.iter().flat_map(|choice| choice.calls.keys())).collect();
        let opening = detected.and_then(|_| FirstWords::of(head));
        let text = first.filter(|_| whole && self.keep == KeepText::Yes).and_then(Choice::said);
        let conversation = self.conversation.filter(|_| whole).zip(first);
        Seen {
            ending,
            finishes: self.choices.iter().map(|choice| choice.finish).collect(),
            usage: self.usage.or_else(|| self.told.usage()),
            model: self.model,
            response_id: self.response_id,
            system_fingerprint: self.system_fingerprint,
            // What is asked for is no tier that served.
            service_tier: self.service_tier.filter(|tier| tier != "auto"),
            error: self.error,
            done: self.done,
            empty: self.choices.iter().all(Choice::is_empty),
            refusal,
            text_bytes: self.choices.iter().map(|choice| choice.text.bytes).sum(),
            said_bytes: self.choices.iter().map(Choice::said_bytes).sum(),
            sound_tokens: self.sound_rate.spoken_tokens(self.choices.iter().map(|choice| choice.sound_bytes).sum()),
            tool_calls: self.choices.iter().map(|choice| choice.calls.count()).sum(),
            tools: tools.fold(Validity::NotChecked, Validity::and),
            schema: schema.fold(Validity::NotChecked, Validity::and),
            detected,
            opening,
            calls,
            conversation: conversation.and_then(|(answering, choice)| Some(answering.end(choice.calls.said()?))),
            text,
            overflowed_events,
        }
    }

    /// The one choice of dialects that have but one, with what its text is kept for.
    pub(crate) fn parts(&mut self) -> (&mut Choice, Keep, Option<&mut Answering>) {
        let keep = self.keep();
        if self.choices.is_empty() {
            self.choices.push(Choice::default());
        }
        (&mut self.choices[0], keep, self.conversation.as_mut())
    }

    pub(crate) fn only(&mut self) -> &mut Choice {
        self.parts().0
    }

    /// What is kept of texts, and done with them.
    fn keep(&self) -> Keep {
        match (&self.schema, &self.detect, self.keep) {
            (Some(_), ..) | (None, Detect::Off, KeepText::Yes) => Keep::Whole,
            (None, Detect::On { .. }, KeepText::Yes) => Keep::Both,
            (None, Detect::On { .. }, KeepText::No) => Keep::Rounds,
            (None, Detect::Off, KeepText::No) => Keep::Head,
        }
    }

    fn detected(&self, head: &str) -> Option<Detected> {
        let Detect::On { earlier, asked_in } = &self.detect else { return None };
        let schema = self.schema.as_deref();
        Some(Detected {
            fenced: schema.is_some_and(|schema| self.choices.iter().any(|choice| choice.text.is_fenced(schema))),
            repeated_call: self.choices.iter().any(|choice| choice.calls.repeat(earlier)),
            repetition: self
                .choices
                .iter()
                .any(|choice| choice.text.rounds.as_ref().is_some_and(|rounds| rounds.found())),
            other_language: asked_in.map(|asked| Spoken::of(head).is_some_and(|said| said.differs(asked))),
            chars: self.choices.first().map_or(0, |choice| choice.text.chars),
        })
    }

    fn ending(&self, stream: bool) -> Ending {
        if self.error.is_some() {
            return Ending::Failed;
        }
        if self.unreadable || (!stream && !self.readable && !self.cut) {
            return Ending::Unreadable;
        }
        let ended = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some());
        if self.cut || (stream && !ended) { Ending::Truncated } else { Ending::Whole }
    }
}

impl Choice {
    /// Reads a `delta` or a `message`, and says what it brought; with the text, where that was all.
    fn read<'a>(
        &mut self,
        shape: Shape,
        scanner: &mut Scanner<'a>,
        keep: Keep,
        mut conversation: Option<&mut Answering>,
    ) -> Result<(Progress, Option<Text<'a>>), ScanError> {
        let content = |came| if came { Progress::Content } else { Progress::Nothing };
        match (shape, scanner.peek()?) {
            (Shape::Text, Kind::String) => {
                let text = scanner.string()?;
                return Ok((content(self.text(text, keep, conversation)), Some(text)));
            }
            (Shape::Piece | Shape::Message, Kind::Object) => {}
            _ => return scanner.skip().map(|_| (Progress::Nothing, None)),
        }
        let (mut came, mut other, mut thought) = (false, false, 0);
        let (mut texts, mut only, mut more) = (0, None, false);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let kind = scanner.peek()?;
            match (key.raw, kind) {
                (b"content", Kind::String) => {
                    let text = scanner.string()?;
                    (texts, only) = (texts + 1, Some(text));
                    came |= self.text(text, keep, conversation.as_deref_mut());
                    continue;
                }
                (b"content", Kind::Array) => came |= self.parts(scanner, keep, conversation.as_deref_mut())?,
                (b"refusal", Kind::String) => {
                    let said = !scanner.string()?.raw.is_empty();
                    self.refused |= said;
                    came |= said;
                }
                (b"reasoning_content" | b"reasoning", Kind::String) => {
                    // some servers say it under both names
                    thought = scanner.string()?.raw.len().max(thought);
                }
                (b"tool_calls", Kind::Array) => came |= self.calls.read(shape, scanner)?,
                (b"function_call", Kind::Object) => came |= self.calls.read_function(scanner)?,
                (b"audio", Kind::Object) => {
                    let audio = scanner.value()?;
                    let length =
                        |name| json::member(audio, name).map_or(0, |value| value.len().saturating_sub(2) as u64);
                    (self.sound, self.sound_bytes) = (true, self.sound_bytes + length("data"));
                    self.thought_bytes += length("transcript");
                    came = true;
                }
                // of what is not known here, what holds something is a part of the answer
                (name, Kind::String | Kind::Array | Kind::Object) => {
                    other |= scanner.value()?.len() > 2 && name != b"role";
                    continue;
                }
                (_, Kind::Number | Kind::Bool | Kind::Null) => {
                    scanner.skip()?;
                    continue;
                }
            }
            more = true;
        }
        self.thought_bytes += thought as u64;
        came |= thought > 0;
        let progress = if other && !came { Progress::Step } else { content(came) };
        Ok((progress, only.filter(|_| texts == 1 && !more)))
    }

    /// Content as an array of parts, as some servers send it.
    fn parts(
        &mut self,
        scanner: &mut Scanner<'_>,
        keep: Keep,
        mut conversation: Option<&mut Answering>,
    ) -> Result<bool, ScanError> {
        let mut came = false;
        scanner.enter_array()?;
        while scanner.next_item()? {
            if scanner.peek()? != Kind::Object {
                scanner.skip()?;
                continue;
            }
            scanner.enter_object()?;
            while let Some(key) = scanner.next_member()? {
                match scanner.string_or_skip()? {
                    Some(text) if key.raw == b"text" => came |= self.text(text, keep, conversation.as_deref_mut()),
                    _ => {}
                }
            }
        }
        Ok(came)
    }

    pub(crate) fn text(&mut self, text: Text<'_>, keep: Keep, mut conversation: Option<&mut Answering>) -> bool {
        let kept = &mut self.text;
        self.unescape.feed_bytes(text, |piece| {
            kept.push(piece, keep);
            if let Some(conversation) = &mut conversation {
                conversation.text(piece);
            }
        });
        !text.raw.is_empty()
    }

    /// It thinks aloud; whether that is anything.
    pub(crate) fn thinks(&mut self, text: Text<'_>) -> bool {
        self.thought_bytes += text.raw.len() as u64;
        !text.raw.is_empty()
    }

    fn end(&mut self, keep: Keep, mut conversation: Option<&mut Answering>) {
        let kept = &mut self.text;
        self.unescape.finish(|piece| {
            kept.push(piece.as_bytes(), keep);
            if let Some(conversation) = &mut conversation {
                conversation.text(piece.as_bytes());
            }
        });
        self.calls.end();
    }

    fn is_empty(&self) -> bool {
        self.text.bytes == 0 && !self.refused && !self.sound && self.calls.count() == 0
    }

    fn said_bytes(&self) -> u64 {
        self.text.bytes + self.thought_bytes + self.calls.bytes()
    }

    /// Text and the names of the tools that are called.
    fn said(&self) -> Option<String> {
        if self.text.overflowed {
            return None;
        }
        let calls: Vec<&str> = self.calls.said()?.map(|(_, name, _)| name).collect();
        let calls = if calls.is_empty() { String::new() } else { format!("[calls {}]", calls.join(", ")) };
        Some(format!("{}{calls}", self.text.whole()))
    }

    fn refusal(&self, head: &str) -> Option<Refusal> {
        if self.refused {
            return Some(Refusal::Flagged);
        }
        if self.finish == Some(Finish::ContentFilter) {
            return Some(Refusal::Filtered);
        }
        (self.calls.count() == 0 && reads_as_refusal(head)).then_some(Refusal::Phrase)
    }

    /// A refusal is counted as what it is, and a turn that calls tools has its text still to come:
    /// neither is held against the schema.
    fn schema(&self, checker: Option<&SchemaChecker>, whole: bool) -> Validity {
        let Some(checker) = checker else { return Validity::NotChecked };
        if self.refused || self.finish == Some(Finish::ContentFilter) || self.calls.count() > 0 {
            return Validity::NotChecked;
        }
        if !whole || self.text.overflowed { Validity::Unknown } else { checker.check(self.text.whole()) }
    }
}

impl Kept {
    /// Takes the next piece, whole signs of UTF-8.
    fn push(&mut self, piece: &[u8], keep: Keep) {
        self.bytes += piece.len() as u64;
        self.chars += chars(piece);
        if !self.head_full {
            let mut fits = piece.len().min(HEAD_MAX_BYTES - self.head.len());
            while piece.get(fits).is_some_and(|byte| !begins_sign(*byte)) {
                fits -= 1;
            }
            self.head.extend_from_slice(&piece[..fits]);
            self.head_full = fits < piece.len();
        }
        match keep {
            Keep::Head => {}
            Keep::Rounds => self.rounds.get_or_insert_default().feed(piece),
            Keep::Whole => self.push_whole(piece),
            Keep::Both => {
                self.rounds.get_or_insert_default().feed(piece);
                self.push_whole(piece);
            }
        }
    }

    fn push_whole(&mut self, piece: &[u8]) {
        if self.overflowed {
            return;
        }
        if self.whole.len() + piece.len() > TEXT_MAX_BYTES {
            self.overflowed = true;
            self.whole = Vec::new();
        } else {
            self.whole.extend_from_slice(piece);
        }
    }

    fn head(&self) -> &str {
        std::str::from_utf8(&self.head).unwrap_or_default()
    }

    fn whole(&self) -> &str {
        std::str::from_utf8(&self.whole).unwrap_or_default()
    }

    /// Whether it is no JSON of the schema, and has such JSON in a fence.
    fn is_fenced(&self, schema: &SchemaChecker) -> bool {
        let inside = inside_fence(self.whole());
        inside.is_some_and(|inside| !schema.check(inside).is_invalid() && schema.check(self.whole()).is_invalid())
    }
}

impl Finish {
    fn of(word: Text<'_>) -> Self {
        match word.raw {
            b"stop" => Self::Stop,
            b"length" => Self::Length,
            b"tool_calls" | b"function_call" => Self::ToolCalls,
            b"content_filter" => Self::ContentFilter,
            _ => Self::Other,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The answer's text is not shown.
        f.debug_struct("Answer").field("choices", &self.choices.len()).field("done", &self.done).finish_non_exhaustive()
    }
}

/// How many signs a piece of UTF-8 has.
fn chars(piece: &[u8]) -> u64 {
    if piece.is_ascii() {
        return piece.len() as u64;
    }
    piece.iter().filter(|byte| begins_sign(**byte)).count() as u64
}

/// Whether a byte of UTF-8 is the first of a sign.
fn begins_sign(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

/// The choice of an index, made where it is new; `None` beyond what a request may ask for.
fn slot(choices: &mut Vec<Choice>, index: usize) -> Option<&mut Choice> {
    if index >= CHOICES_MAX {
        return None;
    }
    if choices.len() <= index {
        choices.resize_with(index + 1, Choice::default);
    }
    choices.get_mut(index)
}

/// Keeps the first name that is not empty.
pub(crate) fn name(scanner: &mut Scanner<'_>, into: &mut Option<String>) -> Result<(), ScanError> {
    let Some(text) = scanner.string_or_skip()? else { return Ok(()) };
    if into.is_none() && !text.raw.is_empty() {
        let text = text.decode();
        *into = Some(text[..text.floor_char_boundary(NAME_MAX_BYTES)].to_owned());
    }
    Ok(())
}

/// Keeps a code, a number as it is written.
fn code(scanner: &mut Scanner<'_>, into: &mut Option<String>) -> Result<(), ScanError> {
    if scanner.peek()? == Kind::Number {
        let number = String::from_utf8_lossy(scanner.value()?).into_owned();
        *into = Some(number).filter(|number| number.len() <= NAME_MAX_BYTES);
        return Ok(());
    }
    name(scanner, into)
}
