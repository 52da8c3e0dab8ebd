//! What is said on the websockets of OpenAI's realtime sessions and of its responses: events, each a message of JSON.
//! Which turn an event belongs to, and how a version is put into the settings of a session.
//!
//! Of a realtime session the client's own settings come as `session.update`; a version's stand in each that it sends, and
//! in one before anything else where the client sends none. Names of the beta's events are known too.

mod answer;
mod lately;
mod reckoning;
mod transcribed;

use crate::json::{Kind, ScanError, Scanner, Span, Text};
use crate::openai::{ChatRequest, Fill, Patch};
pub use lately::Lately;
pub(crate) use reckoning::Rate;
pub use reckoning::{Reckoned, Reckoning};
use std::borrow::Cow;
pub use transcribed::{transcribed, transcriber};

/// An event of a server, as far as it says which turn it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent<'a> {
    /// What has happened.
    pub what: Happened,
    /// The response that it is about.
    pub response: Option<Cow<'a, str>>,
    /// The lane of a connection that carries several responses at a time (`stream_id`).
    pub lane: Option<Cow<'a, str>>,
    /// The client's event that an error answers.
    pub caused_by: Option<Cow<'a, str>>,
}

/// What a server's event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A session, with its settings.
    Session,
    /// Somebody begins to speak.
    Speaks,
    /// Somebody has stopped to speak: an answer is due from here.
    Heard,
    /// What was spoken is part of the conversation.
    Said,
    /// And is written down.
    Transcribed,
    /// An item of a response is whole.
    Item,
    /// A response begins.
    Begun,
    /// Something of a response.
    Part,
    /// A response is over.
    Over,
    /// It is over because it was interrupted, by the client or by somebody who speaks.
    Interrupted,
    /// A client's event was refused, by the client's own fault.
    Refused,
    /// Something has failed.
    Failed,
    /// Anything else.
    Other,
}

/// An event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent<'a> {
    /// What it asks.
    pub asks: Asks,
    /// Its id, which an error names.
    pub id: Option<Cow<'a, str>>,
    /// The lane of a connection that carries several responses at a time (`stream_id`).
    pub lane: Option<Cow<'a, str>>,
}

/// What a client's event asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// These settings for the session, at this place of the event.
    Settings(Span),
    /// A response.
    Response,
    /// That sound is heard, of so many bytes of base64.
    Hear(usize),
    /// Anything else.
    Other,
}

impl<'a> ServerEvent<'a> {
    /// Reads one.
    pub fn read(data: &'a [u8]) -> Result<Self, ScanError> {
        let (mut kind, mut named, mut lane) = (None, None, None);
        let (mut inside, mut failure) = (Inside::default(), Failure::default());
        let mut scanner = Scanner::new(data);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => kind = scanner.string_or_skip()?,
                b"response_id" => named = scanner.string_or_skip()?,
                b"stream_id" => lane = scanner.string_or_skip()?,
                b"response" => inside = Inside::read(&mut scanner)?,
                b"error" => failure = Failure::read(&mut scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        let is = |text: Option<Text<'_>>, word: &str| text.is_some_and(|text| text.is(word));
        let what = match kind.map_or(&b""[..], |kind| kind.raw) {
            b"session.created" | b"session.updated" => Happened::Session,
            b"input_audio_buffer.speech_started" => Happened::Speaks,
            b"input_audio_buffer.speech_stopped" => Happened::Heard,
            b"input_audio_buffer.committed" => Happened::Said,
            b"conversation.item.input_audio_transcription.completed" => Happened::Transcribed,
            b"response.output_item.done" => Happened::Item,
            b"response.created" => Happened::Begun,
            b"response.cancelled" => Happened::Interrupted,
            b"response.done" if is(inside.status, "cancelled") => Happened::Interrupted,
            b"response.done" | b"response.completed" | b"response.incomplete" | b"response.failed" => Happened::Over,
            b"error" if is(failure.kind, "invalid_request_error") => Happened::Refused,
            b"error" => Happened::Failed,
            other if other.starts_with(b"response.") => Happened::Part,
            _ => Happened::Other,
        };
        let text = |text: Option<Text<'a>>| text.map(|text| text.decode()).filter(|text| !text.is_empty());
        Ok(Self { what, response: text(inside.id.or(named)), lane: text(lane), caused_by: text(failure.caused_by) })
    }
}

/// What is read of `response`.
#[derive(Default)]
struct Inside<'a> {
    id: Option<Text<'a>>,
    status: Option<Text<'a>>,
}

impl<'a> Inside<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut inside = Self::default();
        if scanner.peek()? != Kind::Object {
            return scanner.skip().map(|_| inside);
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"id" => inside.id = scanner.string_or_skip()?,
                b"status" => inside.status = scanner.string_or_skip()?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(inside)
    }
}

/// What is read of `error`.
#[derive(Default)]
struct Failure<'a> {
    kind: Option<Text<'a>>,
    caused_by: Option<Text<'a>>,
}

impl<'a> Failure<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut failure = Self::default();
        if scanner.peek()? != Kind::Object {
            return scanner.skip().map(|_| failure);
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => failure.kind = scanner.string_or_skip()?,
                b"event_id" => failure.caused_by = scanner.string_or_skip()?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(failure)
    }
}

impl<'a> ClientEvent<'a> {
    /// Reads one.
    pub fn read(data: &'a [u8]) -> Result<Self, ScanError> {
        let (mut kind, mut id, mut lane, mut session, mut sound) = (None, None, None, None, None);
        let mut scanner = Scanner::new(data);
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"type" => kind = scanner.string_or_skip()?,
                b"event_id" => id = scanner.string_or_skip()?,
                b"stream_id" => lane = scanner.string_or_skip()?,
                b"audio" => sound = scanner.string_or_skip()?,
                b"session" if scanner.peek()? == Kind::Object => session = Some(scanner.skip()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        let asks = match (kind.map_or(&b""[..], |kind| kind.raw), session) {
            (b"session.update", Some(session)) => Asks::Settings(session),
            (b"response.create", _) => Asks::Response,
            (b"input_audio_buffer.append", _) => Asks::Hear(sound.map_or(0, |sound| sound.raw.len())),
            _ => Asks::Other,
        };
        let text = |text: Option<Text<'a>>| text.map(|text| text.decode()).filter(|text| !text.is_empty());
        Ok(Self { asks, id: text(id), lane: text(lane) })
    }
}

/// A client's `session.update` with the version in it; `None` where nothing changes.
#[must_use]
pub fn with_version(update: &[u8], settings: Span, patch: &Patch, fill: Fill) -> Option<Vec<u8>> {
    let session = ChatRequest::read_session(settings.of(update)).ok()?;
    let patched = patch.apply_to_session(&session, fill)?;
    Some([&update[..settings.start], &patched, &update[settings.end..]].concat())
}

/// The settings of a version as an event of their own; `None` where it has none.
#[must_use]
pub fn own_settings(patch: &Patch) -> Option<Vec<u8>> {
    let bare = br#"{"type":"session.update","session":{"type":"realtime"}}"#;
    let Asks::Settings(settings) = ClientEvent::read(bare).ok()?.asks else { return None };
    with_version(bare, settings, patch, Fill::All)
}

#[cfg(test)]
mod tests;
