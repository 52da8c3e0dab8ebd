//! The two ways to ask for a turn of a conversation that are known here.

/// How a client asks, or a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// OpenAI's chat completions: `POST /v1/chat/completions`.
    #[default]
    Chat,
    /// Anthropic's messages: `POST /v1/messages`.
    Messages,
}

impl Dialect {
    /// As written in messages for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat completions",
            Self::Messages => "messages",
        }
    }
}
