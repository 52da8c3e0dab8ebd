//! The ways to ask a model that are known here.

/// How a client asks, or a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// OpenAI's chat completions: `POST /v1/chat/completions`.
    #[default]
    Chat,
    /// Anthropic's messages: `POST /v1/messages`.
    Messages,
    /// OpenAI's responses: `POST /v1/responses`.
    Responses,
    /// OpenAI's embeddings: `POST /v1/embeddings`.
    Embeddings,
    /// OpenAI's completions of old: `POST /v1/completions`.
    Completions,
    /// OpenAI's realtime sessions: a websocket at `/v1/realtime`. What is patched is the session's own object.
    Realtime,
}

/// Whose servers speak a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// OpenAI, and whoever speaks like it.
    OpenAi,
    /// Anthropic, and whoever speaks like it.
    Anthropic,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Chat, Self::Messages, Self::Responses, Self::Embeddings, Self::Completions, Self::Realtime];

    /// As written in messages for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Completions => "completions",
            Self::Realtime => "realtime sessions",
        }
    }

    /// What follows `/v1`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Messages => "/messages",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Completions => "/completions",
            Self::Realtime => "/realtime",
        }
    }

    /// Whose servers speak it.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Chat | Self::Responses | Self::Embeddings | Self::Completions | Self::Realtime => Family::OpenAi,
            Self::Messages => Family::Anthropic,
        }
    }
}

impl Family {
    /// How its servers are asked for a turn of a conversation.
    #[must_use]
    pub const fn chat(self) -> Dialect {
        match self {
            Self::OpenAi => Dialect::Chat,
            Self::Anthropic => Dialect::Messages,
        }
    }
}
