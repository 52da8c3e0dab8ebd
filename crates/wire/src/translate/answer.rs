//! An answer in the other dialect, piece by piece as it comes; and errors.

use super::object::Object;
use super::stream_to_chat::ToChat;
use super::stream_to_messages::ToMessages;
use super::{from_chat, from_messages};
use crate::anthropic;
use crate::dialect::{Dialect, Family};
use crate::json;
use crate::openai::errors::{self, Problem};
use crate::sse::Splitter;
use std::fmt;

/// The body of an error is kept up to this length.
const ERROR_MAX_BYTES: usize = 64 << 10;

/// Turns one answer of a provider into the dialect of the client, where it comes in pieces: a stream, or
/// the body of an error. A whole answer is for [`Translator::whole`].
pub struct Translator(Kind);

enum Kind {
    Error { from: Dialect, status: u16, held: Vec<u8> },
    ToChat(Splitter, Box<ToChat>),
    ToMessages(Splitter, Box<ToMessages>),
}

/// How the provider's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// With its end.
    Whole,
    /// It broke.
    Broken,
}

/// Whether a client of chat completions is told the usage in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    /// It asked for it.
    Yes,
    /// It did not.
    #[default]
    No,
}

impl Translator {
    /// For a stream of events of the dialect `from`. `created_s`: now, in seconds since 1970.
    #[must_use]
    pub fn stream(from: Dialect, created_s: u64, usage: Told) -> Self {
        let splitter = Splitter::default();
        Self(match from.family() {
            Family::Anthropic => Kind::ToChat(splitter, Box::new(ToChat::new(created_s, usage))),
            // Of OpenAI's dialects chat completions alone are ever translated.
            Family::OpenAi => Kind::ToMessages(splitter, Box::default()),
        })
    }

    /// For the body of an answer that is an error by its status.
    #[must_use]
    pub fn error(from: Dialect, status: u16) -> Self {
        Self(Kind::Error { from, status, held: Vec::new() })
    }

    /// A whole answer of the dialect `from`, in the other; `None` where it is none, or says what the
    /// other cannot.
    #[must_use]
    pub fn whole(from: Dialect, body: &[u8], created_s: u64) -> Option<Vec<u8>> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        match from.family() {
            Family::Anthropic => from_messages::body(body, created_s),
            Family::OpenAi => from_chat::body(body),
        }
    }

    /// Takes the next piece; what it makes of it goes to the end of `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Error { held, .. } => {
                let room = ERROR_MAX_BYTES.saturating_sub(held.len());
                held.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            Kind::ToChat(splitter, stream) => {
                splitter.feed(piece, |event| {
                    let (kind, data) = event.read();
                    // An empty line by itself is no sign of life.
                    if data.is_some() || event.0.contains(&b':') {
                        stream.event(kind, data.as_deref(), out);
                    }
                });
                if splitter.overflowed() > 0 {
                    stream.finish(BodyEnd::Broken, out);
                }
            }
            Kind::ToMessages(splitter, stream) => {
                splitter.feed(piece, |event| {
                    let (kind, data) = event.read();
                    if data.is_some() || event.0.contains(&b':') {
                        stream.event(kind, data.as_deref(), out);
                    }
                });
                if splitter.overflowed() > 0 {
                    stream.finish(BodyEnd::Broken, out);
                }
            }
        }
    }

    /// Whether an event came that is too long to be told: the client has been told that its answer broke off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        match &self.0 {
            Kind::Error { .. } => false,
            Kind::ToChat(splitter, _) | Kind::ToMessages(splitter, _) => splitter.overflowed() > 0,
        }
    }

    /// Whether a first event has gone to the client, where its dialect has one that stands before all others.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        match &self.0 {
            Kind::Error { .. } | Kind::ToChat(..) => true,
            Kind::ToMessages(_, stream) => stream.has_begun(),
        }
    }

    /// Ends with the body.
    pub fn finish(&mut self, end: BodyEnd, out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Error { from, status, held } => out.extend_from_slice(&match from.family() {
                Family::Anthropic => error_to_chat(held),
                Family::OpenAi => error_to_messages(held, *status),
            }),
            Kind::ToChat(splitter, stream) => {
                splitter.finish(|event| {
                    let (kind, data) = event.read();
                    if data.as_deref().is_some_and(|data| json::check(data).is_ok()) {
                        stream.event(kind, data.as_deref(), out);
                    }
                });
                stream.finish(end, out);
            }
            Kind::ToMessages(splitter, stream) => {
                splitter.finish(|event| {
                    let (kind, data) = event.read();
                    let whole = |data: &[u8]| json::check(data).is_ok() || data.trim_ascii() == b"[DONE]";
                    if data.as_deref().is_some_and(whole) {
                        stream.event(kind, data.as_deref(), out);
                    }
                });
                stream.finish(end, out);
            }
        }
    }
}

impl fmt::Debug for Translator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held is an answer.
        f.debug_struct("Translator").finish_non_exhaustive()
    }
}

/// An error of messages, or of whatever stands before the provider, as chat completions have it.
pub(super) fn error_to_chat(body: &[u8]) -> Vec<u8> {
    let top = Object::read(body);
    let error = top.object("error").unwrap_or_else(|| Object::read(b"{}"));
    let told = error.text("message").or_else(|| top.text("error")).or_else(|| top.text("message"));
    let message =
        told.or_else(|| top.text("detail")).unwrap_or_else(|| "the provider gave no reason that can be read".into());
    let kind = error.text("type").unwrap_or_else(|| "server_error".into());
    let mut out = br#"{"error":{"message":"#.to_vec();
    json::quote(&message, &mut out);
    out.extend_from_slice(br#","type":"#);
    json::quote(&kind, &mut out);
    out.extend_from_slice(br#","param":null,"code":null}}"#);
    out
}

/// An error of chat completions as messages have it; the type is that of the status.
pub(super) fn error_to_messages(body: &[u8], status: u16) -> Vec<u8> {
    let top = Object::read(body);
    let error = top.object("error");
    let message =
        error.as_ref().unwrap_or(&top).text("message").or_else(|| top.text("error")).or_else(|| top.text("detail"));
    let message = message.unwrap_or_else(|| "the provider gave no reason that can be read".into());
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    anthropic::errors::written(kind, &message)
}

pub(super) fn broke_off_chat() -> Vec<u8> {
    errors::body(Problem::BadUpstream, "the provider's stream broke off", None)
}

pub(super) fn broke_off_messages() -> Vec<u8> {
    anthropic::errors::body(Problem::BadUpstream, "the provider's stream broke off")
}

pub(super) fn gave_up_messages() -> Vec<u8> {
    anthropic::errors::body(Problem::BadUpstream, "the provider ended its answer with an error, and did not say which")
}

pub(super) fn too_long() -> Vec<u8> {
    anthropic::errors::body(Problem::BadUpstream, "the provider called tools with more than can be held")
}

pub(super) fn of_old() -> Vec<u8> {
    anthropic::errors::body(Problem::BadUpstream, "the provider called a function in the form of old, which has no id")
}

pub(super) fn out_of_order() -> Vec<u8> {
    anthropic::errors::body(Problem::BadUpstream, "the provider went on with a tool call that had ended")
}
