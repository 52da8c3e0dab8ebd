//! Reading a request in any dialect: one pass over the bytes, two allocations.

use crate::dialect::Dialect;
use crate::encoding::Encoding;
use crate::json::{self, Kind, ScanError, Scanner, Span, Text};
use std::borrow::Cow;
use std::fmt;

/// What a request asks, as spans of its body. Unknown members and unexpected types are no errors.
/// Where a member comes twice, the last one counts, as with every parser that a provider uses.
#[derive(Clone)]
pub struct ChatRequest<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) members: Vec<Member<'a>>,
    /// Where each of its `messages` stands.
    messages: Vec<Span>,
    /// Those of them that are plain, in their order: what they say is long, and read but once.
    plain: Vec<PlainAt>,
    /// The dialect that it is written in.
    pub dialect: Dialect,
    /// The value of `model`: the name of a route.
    pub model: Cow<'a, str>,
    /// Whether the client asks for a stream (`stream: true`).
    pub stream: bool,
    /// Whether a conversation begins here, or goes on.
    pub opening: Opening,
    /// State that lives with the provider and that this request refers to.
    pub provider_state: Option<ProviderState>,
}

/// Where in its conversation a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It carries no turn of an assistant: a conversation begins.
    First,
    /// It carries turns of an assistant: this conversation is older.
    Continued,
}

/// State that only the provider that issued it can resolve: such a request cannot be answered by
/// another one.
///
/// Where a request refers to several, the one that binds it closest counts: what an earlier answer left
/// behind before what a client put there by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProviderState {
    /// A message refers to an uploaded file (`file.file_id`, `source.file_id`, `file_id`).
    File,
    /// `conversation`
    Conversation,
    /// It carries what only its maker can open: encrypted reasoning, signed thinking.
    Sealed,
    /// An assistant's message refers to its earlier spoken answer (`audio.id`).
    Audio,
    /// `container`
    Container,
    /// `previous_response_id`, or an item of an earlier response (`item_reference`).
    PreviousResponse,
}

impl ProviderState {
    /// Whether an earlier answer made it, and with it the version that gave that answer.
    #[must_use]
    pub const fn is_of_an_answer(self) -> bool {
        match self {
            Self::File | Self::Conversation => false,
            Self::Sealed | Self::Audio | Self::Container | Self::PreviousResponse => true,
        }
    }
}

/// What the client wants the answer's text to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFormat<'a> {
    /// Anything.
    Text,
    /// Any JSON object (`json_object`).
    JsonObject,
    /// JSON of this schema (`json_schema`); the bytes are the schema itself.
    JsonSchema(&'a [u8]),
}

/// One message of a request.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The whole message, an object in all but broken requests.
    pub json: &'a [u8],
    plain: Option<Plain<'a>>,
}

/// What a message says that is one text of one role, without calls, results or parts.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    /// Written without escapes.
    pub(crate) role: Text<'a>,
    pub(crate) content: Text<'a>,
}

/// Where a plain message stands, in few bytes: a body may hold very many.
#[derive(Clone, Copy)]
struct PlainAt {
    message: u32,
    role: (u32, u32),
    content: (u32, u32),
    escaped: bool,
}

impl PlainAt {
    /// `None` in a body of more than 4 GiB.
    fn new(message: usize, Plain { role, content }: Plain<'_>) -> Option<Self> {
        let at = |text: Text<'_>| Some((u32::try_from(text.at).ok()?, u32::try_from(text.raw.len()).ok()?));
        let message = u32::try_from(message).ok()?;
        Some(Self { message, role: at(role)?, content: at(content)?, escaped: content.escaped })
    }

    fn of(self, body: &[u8]) -> Plain<'_> {
        let text = |(at, len): (u32, u32), escaped| {
            let (at, len) = (at as usize, len as usize);
            Text { raw: Span { start: at + 1, end: at + 1 + len }.of(body), escaped, at }
        };
        Plain { role: text(self.role, false), content: text(self.content, self.escaped) }
    }
}

impl<'a> Message<'a> {
    /// The role; `None` where it is absent or no string.
    #[must_use]
    pub fn role(&self) -> Option<Cow<'a, str>> {
        match self.plain {
            Some(plain) => Some(plain.role.decode()),
            None => json::text(json::member(self.json, "role")?),
        }
    }

    /// What it says, where it is plain.
    pub(crate) fn plain(&self) -> Option<Plain<'a>> {
        self.plain
    }
}

/// The body is not a request of its dialect. Nothing of it is repeated: it may hold a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON at all.
    #[error("the request body is {0}")]
    Json(#[from] ScanError),
    /// JSON perhaps, but in an encoding that JSON does not have.
    #[error("the request body {0}")]
    Encoding(Encoding),
    /// JSON, but no object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// There is no `model`.
    #[error("you must provide a model: the request body has no member 'model'")]
    NoModel,
    /// `model` is no string, or an empty one.
    #[error("'model' must be a string that is not empty")]
    BadModel,
}

/// A member of an object.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) key: Text<'a>,
    pub(crate) value: Span,
}

/// What one message says about the whole request.
#[derive(Default)]
struct Turns {
    assistant: bool,
    /// An assistant's message stands before the last message.
    earlier: bool,
    state: Option<ProviderState>,
}

/// The members of the object at `span` of `body`, in their order; empty where there is no object.
pub(crate) fn members(body: &[u8], span: Span) -> Vec<Member<'_>> {
    let mut scanner = Scanner::within(body, span);
    let mut members = Vec::with_capacity(4);
    if scanner.enter_object().is_err() {
        return members;
    }
    while let Ok(Some(key)) = scanner.next_member() {
        let Ok(value) = scanner.skip() else { break };
        members.push(Member { key, value });
    }
    members
}

/// Whether a parameter of this name and JSON text asks for reasoning or thinking.
#[must_use]
pub fn asks_to_think(name: &str, value: &[u8]) -> bool {
    let is = |value: &[u8], words: &[&str]| json::text(value).is_some_and(|text| words.contains(&&*text));
    match name {
        "reasoning_effort" => value != b"null" && !is(value, &["none", "minimal"]),
        "reasoning" => {
            let effort = json::member(value, "effort");
            value != b"null" && !effort.is_some_and(|effort| is(effort, &["none", "minimal"]))
        }
        "thinking" => json::member(value, "type").is_some_and(|kind| !is(kind, &["disabled"])),
        "enable_thinking" => value == b"true",
        "chat_template_kwargs" => {
            ["enable_thinking", "thinking"].iter().any(|name| json::member(value, name) == Some(b"true"))
        }
        _ => false,
    }
}

impl<'a> ChatRequest<'a> {
    /// Reads the body of a chat completion.
    pub fn read(body: &'a [u8]) -> Result<Self, ReadError> {
        Self::read_as(Dialect::Chat, body)
    }

    /// Reads a body in a dialect.
    pub fn read_as(dialect: Dialect, body: &'a [u8]) -> Result<Self, ReadError> {
        Self::scan(dialect, body).map_err(|error| match (error, Encoding::of(body)) {
            (ReadError::Json(_), Some(encoding)) => ReadError::Encoding(encoding),
            (error, _) => error,
        })
    }

    fn scan(dialect: Dialect, body: &'a [u8]) -> Result<Self, ReadError> {
        let mut scanner = Scanner::new(body);
        if scanner.peek()? != Kind::Object {
            json::check(body)?;
            return Err(ReadError::NotAnObject);
        }
        let mut members = Vec::with_capacity(16);
        let mut turns = Turns::default();
        let (mut spans, mut plain) = (Vec::new(), Vec::new());
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let kind = scanner.peek()?;
            let value_start = scanner.at();
            if dialect == Dialect::Responses && key.is("input") {
                turns = if kind == Kind::Array { turns_of_items(&mut scanner)? } else { Turns::default() };
            } else if key.is("messages") {
                spans.clear();
                plain.clear();
                turns = match kind {
                    Kind::Array => messages(&mut scanner, &mut spans, &mut plain)?,
                    Kind::Object | Kind::String | Kind::Number | Kind::Bool | Kind::Null => Turns::default(),
                };
            }
            if scanner.at() == value_start {
                scanner.skip()?;
            }
            let value = Span { start: value_start, end: scanner.at() };
            members.push(Member { key, value });
        }
        scanner.end()?;
        let mut request = Self::of(dialect, body, members, &turns)?;
        request.messages = spans;
        request.plain = plain;
        Ok(request)
    }

    /// Reads the settings of a realtime session, which need not name their model.
    pub fn read_session(body: &'a [u8]) -> Result<Self, ReadError> {
        let end = json::check(body)?.end;
        if Scanner::new(body).peek()? != Kind::Object {
            return Err(ReadError::NotAnObject);
        }
        let mut session = Self {
            body,
            members: members(body, Span { start: 0, end }),
            messages: Vec::new(),
            plain: Vec::new(),
            dialect: Dialect::Realtime,
            model: Cow::Borrowed(""),
            stream: true,
            opening: Opening::First,
            provider_state: None,
        };
        session.model = session.value("model").and_then(json::text).unwrap_or_default();
        Ok(session)
    }

    fn of(dialect: Dialect, body: &'a [u8], members: Vec<Member<'a>>, turns: &Turns) -> Result<Self, ReadError> {
        let begun = match dialect {
            Dialect::Chat | Dialect::Responses | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
                turns.assistant
            }
            // A last message of the assistant is the beginning of the answer that is asked for.
            Dialect::Messages => turns.earlier,
        };
        let [mut model, mut stream, mut previous, mut container, mut conversation] = [None; 5];
        for Member { key, value } in &members {
            let named = match &*key.name() {
                b"model" => &mut model,
                b"stream" => &mut stream,
                b"previous_response_id" => &mut previous,
                b"container" => &mut container,
                b"conversation" => &mut conversation,
                _ => continue,
            };
            *named = Some(value.of(body));
        }
        let model = json::text(model.ok_or(ReadError::NoModel)?);
        let present = |named: Option<&[u8]>| named.is_some_and(|value| value != b"null");
        let named = [
            (previous, ProviderState::PreviousResponse),
            (container, ProviderState::Container),
            (conversation, ProviderState::Conversation),
        ];
        let state = named.into_iter().filter(|(named, _)| present(*named)).map(|(_, state)| state).max();
        let resumed = present(previous) || (dialect == Dialect::Responses && present(conversation));
        Ok(Self {
            body,
            members,
            messages: Vec::new(),
            plain: Vec::new(),
            dialect,
            model: model.filter(|model| !model.is_empty()).ok_or(ReadError::BadModel)?,
            stream: stream == Some(b"true"),
            opening: if begun || resumed { Opening::Continued } else { Opening::First },
            provider_state: turns.state.max(state),
        })
    }

    /// The body that was read.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The JSON text of a member of the body; the last one of duplicates.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.members.iter().rev().find(|member| member.key.is(key)).map(|member| member.value.of(self.body))
    }

    /// The text at a path of member names with dots between them (`metadata.session_id`). A number is
    /// given as it is written; anything else is `None`, and so is an empty string.
    #[must_use]
    pub fn body_text(&self, path: &str) -> Option<Cow<'a, str>> {
        let mut names = path.split('.');
        let mut value = self.value(names.next()?)?;
        for name in names {
            value = json::member(value, name)?;
        }
        let found = match Scanner::new(value).peek().ok()? {
            Kind::String => json::text(value)?,
            Kind::Number => String::from_utf8_lossy(value),
            Kind::Object | Kind::Array | Kind::Bool | Kind::Null => return None,
        };
        Some(found).filter(|text| !text.is_empty())
    }

    /// The person that the client names (`user`).
    #[must_use]
    pub fn user(&self) -> Option<Cow<'a, str>> {
        self.body_text("user")
    }

    /// The response that this request goes on from (`previous_response_id`).
    #[must_use]
    pub fn previous_response(&self) -> Option<Cow<'a, str>> {
        self.body_text("previous_response_id")
    }

    /// Whether the provider keeps the answer, so that a later request may name it (`store`, true where
    /// nothing is said).
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.dialect == Dialect::Responses && self.value("store") != Some(b"false")
    }

    /// Whether two providers may be asked it, where one answer counts: nothing is kept under it with whoever answers,
    /// and no server of tools acts for it.
    #[must_use]
    pub fn may_be_asked_twice(&self) -> bool {
        self.dialect != Dialect::Responses
            && self.provider_state.is_none()
            && self.value("store") != Some(b"true")
            && self.value("mcp_servers").is_none()
    }

    /// Whether the client asks for reasoning or thinking, in any of its dialects' ways: an answer may then be
    /// long in coming.
    #[must_use]
    pub fn asks_to_think(&self) -> bool {
        self.members.iter().any(|member| {
            // what begins like none of them is not compared
            matches!(member.key.raw.first(), Some(b'r' | b't' | b'e' | b'c' | b'\\'))
                && asks_to_think(&member.key.decode(), member.value.of(self.body))
        })
    }

    /// How many answers are asked for (`n`); 1 where it does not say.
    #[must_use]
    pub fn n(&self) -> u32 {
        self.value("n").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(1)
    }

    /// The declared tools, a JSON array that is not empty.
    #[must_use]
    pub fn tools(&self) -> Option<&'a [u8]> {
        let tools = self.value("tools")?;
        let mut scanner = Scanner::new(tools);
        scanner.enter_array().ok()?;
        scanner.next_item().ok()?.then_some(tools)
    }

    /// What the answer's text has to be.
    #[must_use]
    pub fn response_format(&self) -> ResponseFormat<'a> {
        if self.dialect == Dialect::Messages {
            return self.output_format().map_or(ResponseFormat::Text, ResponseFormat::JsonSchema);
        }
        let format = match self.dialect {
            Dialect::Responses => self.value("text").and_then(|text| json::member(text, "format")),
            Dialect::Chat | Dialect::Messages | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
                self.value("response_format")
            }
        };
        let Some(format) = format else { return ResponseFormat::Text };
        match json::member(format, "type").and_then(json::text).as_deref() {
            Some("json_object") => ResponseFormat::JsonObject,
            Some("json_schema") => json::member(format, "json_schema")
                .or(Some(format).filter(|_| self.dialect == Dialect::Responses))
                .and_then(|described| json::member(described, "schema"))
                .map_or(ResponseFormat::JsonObject, ResponseFormat::JsonSchema),
            _ => ResponseFormat::Text,
        }
    }

    /// The JSON schema that messages ask for (`output_config.format`, or `output_format` of old).
    fn output_format(&self) -> Option<&'a [u8]> {
        let now = self.value("output_config").and_then(|config| json::member(config, "format"));
        let format = now.or_else(|| self.value("output_format"))?;
        json::member(format, "schema")
    }

    /// Whether the client itself asked for usage in the stream (`stream_options.include_usage: true`);
    /// others than chat completions and completions of old always tell it.
    #[must_use]
    pub fn asks_usage(&self) -> bool {
        matches!(self.dialect, Dialect::Messages | Dialect::Responses | Dialect::Embeddings | Dialect::Realtime)
            || self.value("stream_options").and_then(|options| json::member(options, "include_usage")) == Some(b"true")
    }

    /// Whether the input of a response begins with a message of the system or the developer, and there are
    /// no instructions beside it.
    pub(crate) fn input_begins_with_a_prompt(&self) -> bool {
        let first = self.value("input").and_then(|input| {
            let mut scanner = Scanner::new(input);
            scanner.enter_array().ok()?;
            scanner.next_item().ok()?.then(|| scanner.skip().ok())?.map(|item| item.of(input))
        });
        let role = first.and_then(|item| json::member(item, "role")).and_then(json::text);
        self.value("instructions").is_none_or(|text| text == b"null")
            && role.is_some_and(|role| role == "system" || role == "developer")
    }

    /// The messages in their order.
    pub fn messages(&self) -> impl Iterator<Item = Message<'a>> {
        let mut plain = self.plain.iter().peekable();
        self.messages.iter().enumerate().map(move |(at, span)| {
            let plain = plain.next_if(|plain| plain.message as usize == at);
            Message { json: span.of(self.body), plain: plain.map(|plain| plain.of(self.body)) }
        })
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("bytes", &self.json.len()).finish()
    }
}

impl fmt::Debug for ChatRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither prompt nor parameters: this reaches logs.
        f.debug_struct("ChatRequest")
            .field("model", &self.model)
            .field("stream", &self.stream)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

/// Walks the array of messages, the scanner standing before it, and notes where each stands.
fn messages(scanner: &mut Scanner<'_>, spans: &mut Vec<Span>, plain: &mut Vec<PlainAt>) -> Result<Turns, ScanError> {
    let mut turns = Turns::default();
    scanner.enter_array()?;
    while scanner.next_item()? {
        turns.earlier = turns.assistant;
        let kind = scanner.peek()?;
        let start = scanner.at();
        if kind == Kind::Object {
            let said = message(scanner, &mut turns)?;
            plain.extend(said.and_then(|said| PlainAt::new(spans.len(), said)));
        } else {
            scanner.skip()?;
        }
        spans.push(Span { start, end: scanner.at() });
    }
    Ok(turns)
}

/// Walks one message; what it says, where it is plain.
fn message<'a>(scanner: &mut Scanner<'a>, turns: &mut Turns) -> Result<Option<Plain<'a>>, ScanError> {
    let (mut said, mut text, mut plain) = (None, None, true);
    scanner.enter_object()?;
    while let Some(key) = scanner.next_member()? {
        let kind = scanner.peek()?;
        if key.is("role") {
            said = scanner.string_or_skip()?;
            turns.assistant |= said.is_some_and(|role| role.is("assistant"));
            plain &= said.is_some_and(|role| !role.escaped);
        } else if key.is("content") {
            match kind {
                Kind::String => text = Some(scanner.string()?),
                Kind::Array => {
                    parts(scanner, turns)?;
                    plain = false;
                }
                Kind::Object | Kind::Number | Kind::Bool | Kind::Null => {
                    scanner.skip()?;
                    plain = false;
                }
            }
        } else if kind == Kind::Array && ["thinking_blocks", "reasoning_details"].iter().any(|name| key.is(name)) {
            // how servers that speak like OpenAI hand on what another model thought
            parts(scanner, turns)?;
        } else {
            if kind == Kind::Object && key.is("audio") {
                turns.refer(ProviderState::Audio);
            }
            plain &= !key.escaped && !matches!(key.raw, b"tool_calls" | b"function_call" | b"tool_call_id");
            scanner.skip()?;
        }
    }
    Ok(said.zip(text).filter(|_| plain).map(|(role, content)| Plain { role, content }))
}

impl Turns {
    fn refer(&mut self, state: ProviderState) {
        self.state = self.state.max(Some(state));
    }
}

/// Walks the items of a response's input, the scanner standing before it.
fn turns_of_items(scanner: &mut Scanner<'_>) -> Result<Turns, ScanError> {
    let mut turns = Turns::default();
    scanner.enter_array()?;
    while scanner.next_item()? {
        if scanner.peek()? != Kind::Object {
            scanner.skip()?;
            continue;
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let kind = scanner.peek()?;
            if key.is("role") {
                turns.assistant |= scanner.string_or_skip()?.is_some_and(|role| role.is("assistant"));
            } else if key.is("type") {
                let named = scanner.string_or_skip()?.map_or(&b""[..], |named| named.raw);
                // What a model says, thinks and calls.
                turns.assistant |= named.ends_with(b"_call") || named == b"reasoning" || named == b"compaction";
                if named == b"item_reference" {
                    turns.assistant = true;
                    turns.refer(ProviderState::PreviousResponse);
                }
            } else if key.is("encrypted_content") && kind == Kind::String {
                scanner.skip()?;
                turns.refer(ProviderState::Sealed);
            } else if kind == Kind::Array && (key.is("content") || key.is("output")) {
                parts(scanner, &mut turns)?;
            } else {
                scanner.skip()?;
            }
        }
    }
    Ok(turns)
}

/// Walks the parts of a content, looking for uploaded files and for what is sealed.
fn parts(scanner: &mut Scanner<'_>, turns: &mut Turns) -> Result<(), ScanError> {
    scanner.enter_array()?;
    while scanner.next_item()? {
        if scanner.peek()? != Kind::Object {
            scanner.skip()?;
            continue;
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match scanner.peek()? {
                Kind::Object if key.is("file") || key.is("source") => file(scanner, turns)?,
                Kind::String if key.is("type") => {
                    let named = scanner.string()?;
                    if named.is("redacted_thinking") || named.is("reasoning.encrypted") {
                        turns.refer(ProviderState::Sealed);
                    }
                }
                Kind::String if key.is("file_id") => {
                    scanner.skip()?;
                    turns.refer(ProviderState::File);
                }
                Kind::String if key.is("signature") || key.is("encrypted_content") => {
                    scanner.skip()?;
                    turns.refer(ProviderState::Sealed);
                }
                Kind::Object | Kind::Array | Kind::String | Kind::Number | Kind::Bool | Kind::Null => {
                    scanner.skip()?;
                }
            }
        }
    }
    Ok(())
}

fn file(scanner: &mut Scanner<'_>, turns: &mut Turns) -> Result<(), ScanError> {
    scanner.enter_object()?;
    while let Some(key) = scanner.next_member()? {
        if scanner.string_or_skip()?.is_some() && key.is("file_id") {
            turns.refer(ProviderState::File);
        }
    }
    Ok(())
}
