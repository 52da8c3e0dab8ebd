//! Between chat completions and messages: a client asks in one, the provider is asked in the other, and the answer
//! comes back the same way. What one dialect cannot say is refused, never left out: whoever calls decides
//! what becomes of such a request. Left out are only notes to the provider's own books (`metadata`,
//! `service_tier: auto`, cache marks), and what an assistant thought, which is sealed for its own provider.
//!
//! | module | what it turns into what |
//! |---|---|
//! | `to_messages`, `to_chat` | requests |
//! | `tools_to_messages` | their tools, and which may be called |
//! | `schema` | what of a schema each API takes |
//! | `written` | what is written of them, and the pictures that are not copied |
//! | `from_messages`, `from_chat` | answers that are one body |
//! | `stream_to_chat`, `stream_to_messages` | answers that are streams, event by event |
//! | `answer` | the three of them, and errors, in pieces as they come |

mod answer;
mod from_chat;
mod from_messages;
mod object;
mod schema;
mod stream_to_chat;
mod stream_to_messages;
#[cfg(test)]
mod tests;
mod to_chat;
mod to_messages;
mod tools_to_messages;
mod written;

pub use answer::{BodyEnd, Told, Translator};
pub use written::Written;
pub(crate) use written::{Around, Laid};

use crate::dialect::Dialect;
use crate::openai::ChatRequest;
use std::borrow::Cow;

/// What a request says that the other dialect cannot. Names members, and never what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be said in {}", .to.as_str())]
pub struct Untranslatable {
    what: Cow<'static, str>,
    to: Dialect,
}

/// What a provider's dialect needs that the client's leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// `max_tokens` of messages, which must have it, where the client of chat completions gives none.
    pub max_tokens: u32,
    /// What the limit of tokens is called by a provider of chat completions.
    pub limit: LimitName,
}

impl Terms {
    /// Whether it is OpenAI itself, whose bounds others do not have.
    fn are_of_openai(self) -> bool {
        match self.limit {
            LimitName::MaxCompletionTokens => true,
            LimitName::MaxTokens => false,
        }
    }
}

/// What the limit of tokens is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitName {
    /// `max_completion_tokens`, as OpenAI itself wants it now.
    MaxCompletionTokens,
    /// `max_tokens`, which every server that speaks like it knows.
    MaxTokens,
}

/// Who says which tools there are, and which of them may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolsOf {
    /// The client alone.
    Client,
    /// The version has tools or a choice of its own, which meet the client's.
    Version,
}

/// The body of a request in the other dialect.
pub fn request<'a>(request: &ChatRequest<'a>, terms: Terms, tools: ToolsOf) -> Result<Written<'a>, Untranslatable> {
    match request.dialect {
        Dialect::Chat => to_messages::request(request, terms, tools),
        Dialect::Messages => to_chat::request(request, terms),
        Dialect::Responses | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
            Err(Untranslatable::new(Dialect::Messages, format!("what is asked as {}", request.dialect.as_str())))
        }
    }
}

impl Untranslatable {
    fn new(to: Dialect, what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), to }
    }

    /// A member that the other dialect does not have.
    fn member(to: Dialect, name: &str) -> Self {
        let name: String = name.chars().take(40).collect();
        Self::new(to, format!("the member `{name}`"))
    }
}

/// Writes pieces one behind the other.
fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}
