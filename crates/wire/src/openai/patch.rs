//! Putting a version into a request, by splicing: whatever is not patched goes through byte for byte.

use super::request::{ChatRequest, Member, members};
use crate::anthropic::tools;
use crate::dialect::Dialect;
use crate::json::{self, Kind, ScanError, Scanner, Span};
use crate::params::{self, Place};
use crate::responses;
use crate::translate::{Around, Laid, ToolsOf};
use std::borrow::Cow;
use std::fmt;

/// What a version sets in every request, prepared once.
#[derive(Clone, Default)]
pub struct Patch {
    dialect: Dialect,
    /// The model as a JSON string.
    model: Option<Vec<u8>>,
    prompt: Option<Prompt>,
    tools: Option<Tools>,
    params: Vec<Param>,
    /// Members of members.
    nested: Vec<Nested>,
}

/// How a prompt meets the client's leading system (or developer) message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptMode {
    /// In its place.
    Replace,
    /// Before its text, an empty line between.
    Prepend,
    /// Behind its text, an empty line between.
    Append,
}

/// How tools meet the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolsMode {
    /// In their place.
    Replace,
    /// Before the client's tools of other names.
    Merge,
}

/// Whether to ask the provider for usage in a stream whose client did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskUsage {
    /// Ask; the chunk that comes of it is for a [`super::UsageStripper`].
    Inject,
    /// Leave the request as it is: the provider refuses the option.
    Leave,
}

/// Which settings of a session are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// All that the version sets.
    All,
    /// Those that stand there: the others hold already.
    Present,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Patched {
    /// The new body; `None` where nothing changed, and the old one is to be sent.
    pub body: Option<Vec<u8>>,
    /// Whether usage is asked for that the client did not ask for.
    pub usage_injected: bool,
}

/// A version that cannot be put into requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The value of a parameter is not JSON.
    #[error("the value of the parameter '{name}' is {source}")]
    Param {
        /// Its name.
        name: String,
        /// Where it stops to be JSON.
        source: ScanError,
    },
    /// A parameter that is set in another way, or that is the client's to choose.
    #[error(
        "'{0}' cannot be set as a parameter: model, messages, prompt and tools have their own keys, and how the answer is sent is the client's choice"
    )]
    Reserved(String),
    /// The dialect has no place for it.
    #[error("{what} cannot be said in {dialect}")]
    Unsaid {
        /// What.
        what: String,
        /// The dialect.
        dialect: &'static str,
    },
    /// The tools are not JSON.
    #[error("the tools are {0}")]
    Tools(#[from] ScanError),
    /// The tools are no array, or an empty one, which providers refuse.
    #[error("the tools must be a JSON array with at least one tool")]
    NoTools,
}

#[derive(Clone)]
struct Prompt {
    mode: PromptMode,
    /// The text as it stands between the quotes of a JSON string.
    escaped: Vec<u8>,
    quoted: Vec<u8>,
    /// `{"type":"text","text":"…"}`
    part: Vec<u8>,
    /// `{"role":"system","content":"…"}`
    message: Vec<u8>,
    /// `"content":"…"`
    content: Vec<u8>,
    /// `[{"type":"text","text":"…","cache_control":`
    cached: Vec<u8>,
}

#[derive(Clone)]
struct Tools {
    mode: ToolsMode,
    json: Vec<u8>,
    names: Vec<String>,
}

#[derive(Clone)]
struct Param {
    name: String,
    /// The name as a JSON string.
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Parameters that stand within a member of the body.
#[derive(Clone)]
struct Nested {
    name: &'static str,
    /// The name as a JSON string.
    key: Vec<u8>,
    fields: Vec<Param>,
    /// All fields as an object, for where there is none.
    whole: Vec<u8>,
}

/// A member of the body that is set.
struct Target<'p> {
    name: &'p str,
    /// The name as a JSON string.
    key: &'p [u8],
    set: Set<'p>,
}

/// What is set for one member of the body.
enum Set<'p> {
    Value(&'p [u8]),
    Messages(&'p Prompt),
    /// The prompt, and of how many of the blocks that stand there it takes the place; `None`: of all.
    System(&'p Prompt, Option<usize>),
    StreamOptions,
    Within(&'p Nested),
}

/// The changes to a body, in the order of their places.
struct Splice<'p> {
    body: &'p [u8],
    edits: Vec<(Span, &'p [u8])>,
}

const RESERVED: [&str; 10] = [
    "model",
    "messages",
    "tools",
    "stream",
    "stream_options",
    "input",
    "instructions",
    "previous_response_id",
    "conversation",
    "prompt",
];
/// The parameters that counting tokens takes, beside what is asked.
const COUNTED: [&str; 6] =
    ["thinking", "tool_choice", "output_config", "context_management", "parallel_tool_calls", "truncation"];

impl Patch {
    /// For requests of one dialect, which is the provider's.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, ..Self::default() }
    }

    /// The same for a request that counts tokens, which takes few parameters.
    #[must_use]
    pub fn for_counting(&self) -> Self {
        let mut counting = self.clone();
        counting.params.retain(|param| COUNTED.contains(&param.name.as_str()));
        counting
    }

    /// The same for a request that makes what was said shorter, which takes nothing but model and prompt.
    #[must_use]
    pub fn for_compacting(&self) -> Self {
        Self { tools: None, params: Vec::new(), nested: Vec::new(), ..self.clone() }
    }

    /// Sets the model.
    #[must_use]
    pub fn with_model(mut self, model: &str) -> Self {
        self.model = Some(quoted(model));
        self
    }

    /// Sets the system prompt.
    ///
    /// # Errors
    /// Where the dialect has no place for one.
    pub fn with_prompt(mut self, mode: PromptMode, text: &str) -> Result<Self, PatchError> {
        self.has_turns("a prompt")?;
        let quoted = quoted(text);
        let part: &[u8] = match self.dialect {
            Dialect::Responses => br#"{"type":"input_text","text":"#,
            Dialect::Chat | Dialect::Messages | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
                br#"{"type":"text","text":"#
            }
        };
        self.prompt = Some(Prompt {
            mode,
            escaped: quoted[1..quoted.len() - 1].to_vec(),
            part: [part, &quoted[..], b"}"].concat(),
            message: [br#"{"role":"system","content":"#, &quoted[..], b"}"].concat(),
            content: [br#""content":"#, &quoted[..]].concat(),
            cached: [br#"[{"type":"text","text":"#, &quoted[..], br#","cache_control":"#].concat(),
            quoted,
        });
        Ok(self)
    }

    /// Embeddings and completions of old are asked with a text alone.
    fn has_turns(&self, what: &str) -> Result<(), PatchError> {
        match self.dialect {
            Dialect::Chat | Dialect::Messages | Dialect::Responses | Dialect::Realtime => Ok(()),
            Dialect::Embeddings | Dialect::Completions => {
                Err(PatchError::Unsaid { what: what.to_owned(), dialect: self.dialect.as_str() })
            }
        }
    }

    /// Sets the tools: a JSON array in OpenAI's form, written in the dialect's own.
    pub fn with_tools(mut self, mode: ToolsMode, json: &str) -> Result<Self, PatchError> {
        self.has_turns("tools")?;
        let json = json::check(json.as_bytes())?.of(json.as_bytes());
        let json = match self.dialect {
            Dialect::Messages => tools::from_functions(json),
            Dialect::Responses | Dialect::Realtime => responses::tools::flattened(json),
            Dialect::Chat | Dialect::Embeddings | Dialect::Completions => json.to_vec(),
        };
        let items = items(&json);
        if items.is_empty() {
            return Err(PatchError::NoTools);
        }
        let names = items.iter().filter_map(|item| tool_name(item)).map(Cow::into_owned).collect();
        self.tools = Some(Tools { mode, json, names });
        Ok(self)
    }

    /// Sets one parameter to a JSON value, over the client's or where there is none.
    pub fn with_param(mut self, name: &str, json: &str) -> Result<Self, PatchError> {
        if RESERVED.contains(&name) || (self.dialect == Dialect::Messages && name == "system") {
            return Err(PatchError::Reserved(name.to_owned()));
        }
        let value = json::check(json.as_bytes())
            .map_err(|source| PatchError::Param { name: name.to_owned(), source })?
            .of(json.as_bytes())
            .to_vec();
        match params::place(self.dialect, name) {
            Place::Member("tool_choice") if matches!(self.dialect, Dialect::Responses | Dialect::Realtime) => {
                self.set("tool_choice", responses::tools::choice(&value));
            }
            Place::Member(name) => self.set(name, value),
            Place::Foreign => self.set(name, value),
            Place::Within(parent, field) => {
                let value = if field == "format" { format_of(&value) } else { value };
                self.nest(parent, Param { name: field.to_owned(), key: quoted(field), value });
            }
            Place::Unsaid => {
                let what = format!("the parameter '{name}'");
                return Err(PatchError::Unsaid { what, dialect: self.dialect.as_str() });
            }
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) {
        self.params.retain(|param| param.name != name);
        self.params.push(Param { name: name.to_owned(), key: quoted(name), value });
    }

    fn nest(&mut self, name: &'static str, field: Param) {
        let at = self.nested.iter().position(|nested| nested.name == name).unwrap_or_else(|| {
            self.nested.push(Nested { name, key: quoted(name), fields: Vec::new(), whole: Vec::new() });
            self.nested.len() - 1
        });
        let Some(nested) = self.nested.get_mut(at) else { return };
        nested.fields.retain(|known| known.name != field.name);
        nested.fields.push(field);
        let fields = nested.fields.iter().map(|field| [&field.key[..], b":", &field.value].concat());
        let fields = fields.collect::<Vec<_>>().join(&b',');
        nested.whole = [&b"{"[..], &fields, b"}"].concat();
    }

    /// Applies the patch.
    #[must_use]
    pub fn apply(&self, request: &ChatRequest<'_>, usage: AskUsage) -> Patched {
        let usage_injected = usage == AskUsage::Inject && request.stream && !request.asks_usage();
        Patched { body: self.spliced(request, usage_injected, Around::default(), |_| true), usage_injected }
    }

    /// Applies it to what was written of a request that was translated, and lays in what goes into that: all in one copy.
    /// `None` where nothing changes and nothing is laid in.
    pub(crate) fn apply_around(
        &self,
        request: &ChatRequest<'_>,
        usage: AskUsage,
        around: Around<'_>,
    ) -> Option<Vec<u8>> {
        let usage_injected = usage == AskUsage::Inject && request.stream && !request.asks_usage();
        self.spliced(request, usage_injected, around, |_| true)
    }

    /// Puts it into the settings of a realtime session; `None` where nothing changes. The model is put in the place of
    /// another, and never beside: a session has the one that it began with.
    #[must_use]
    pub fn apply_to_session(&self, session: &ChatRequest<'_>, fill: Fill) -> Option<Vec<u8>> {
        let has = |name: &str| session.value(name).is_some();
        self.spliced(session, false, Around::default(), |name| has(name) || (fill == Fill::All && name != "model"))
    }

    /// Whether it sets more than the model.
    #[must_use]
    pub fn sets_more_than_a_model(&self) -> bool {
        self.prompt.is_some() || self.tools.is_some() || !self.params.is_empty() || !self.nested.is_empty()
    }

    fn spliced(
        &self,
        request: &ChatRequest<'_>,
        usage_injected: bool,
        around: Around<'_>,
        is_set: impl Fn(&str) -> bool,
    ) -> Option<Vec<u8>> {
        let tools = self.tools_for(request);
        let mut splice = Splice { body: request.body, edits: Vec::with_capacity(8 + 2 * self.params.len()) };
        let mut targets: Vec<Target<'_>> = Vec::with_capacity(4 + self.params.len());
        let mut target = |name, key, set| targets.push(Target { name, key, set });
        if let Some(model) = &self.model {
            target("model", br#""model""#, Set::Value(model));
        }
        match (&self.prompt, self.dialect) {
            (Some(prompt), Dialect::Messages) => {
                target("system", br#""system""#, Set::System(prompt, around.prompt_blocks))
            }
            (Some(prompt), Dialect::Responses) if request.input_begins_with_a_prompt() => {
                target("input", br#""input""#, Set::Messages(prompt));
            }
            (Some(prompt), Dialect::Responses | Dialect::Realtime) => {
                target("instructions", br#""instructions""#, Set::System(prompt, None));
            }
            (Some(prompt), _) => target("messages", br#""messages""#, Set::Messages(prompt)),
            (None, _) => {}
        }
        if let (Some(_), Some(tools)) = (&self.tools, &tools) {
            target("tools", br#""tools""#, Set::Value(tools));
        }
        for param in &self.params {
            target(&param.name, &param.key, Set::Value(&param.value));
        }
        for nested in &self.nested {
            target(nested.name, &nested.key, Set::Within(nested));
        }
        if usage_injected {
            target("stream_options", br#""stream_options""#, Set::StreamOptions);
        }
        targets.retain(|target| is_set(target.name));
        splice.members(&request.members, &targets);
        splice.lay(around.laid);
        splice.done()
    }

    /// Whether the provider will see any tools.
    #[must_use]
    pub fn declares_tools(&self, request: &ChatRequest<'_>) -> bool {
        self.tools.is_some() || request.tools().is_some()
    }

    /// Whose word on tools the provider will see.
    #[must_use]
    pub fn tools_of(&self) -> ToolsOf {
        let chooses = self.params.iter().any(|param| param.name == "tool_choice");
        if chooses || self.tools.is_some() { ToolsOf::Version } else { ToolsOf::Client }
    }

    /// The tools that the provider will see, if any: what tool calls are to be checked against.
    #[must_use]
    pub fn tools_for<'p>(&'p self, request: &ChatRequest<'p>) -> Option<Cow<'p, [u8]>> {
        let theirs = request.tools();
        match (&self.tools, theirs) {
            (None, theirs) => theirs.map(Cow::Borrowed),
            (Some(Tools { mode: ToolsMode::Merge, json, names }), Some(theirs)) => {
                Some(Cow::Owned(merge(json, names, theirs)))
            }
            (Some(tools), _) => Some(Cow::Borrowed(&tools.json)),
        }
    }
}

impl<'p> Splice<'p> {
    /// Sets members of the body, replacing the last of duplicates and removing the others, and adding
    /// what is not there behind the last one.
    fn members(&mut self, members: &[Member<'p>], targets: &[Target<'p>]) {
        for (place, member) in members.iter().enumerate() {
            let Some(target) = targets.iter().find(|target| member.key.is(target.name)) else { continue };
            match members.get(place + 1) {
                Some(next) if members[place + 1..].iter().any(|later| later.key.is(target.name)) => {
                    self.edit(Span { start: member.key.at, end: next.key.at }, b"");
                }
                _ => self.set(member.value, &target.set),
            }
        }
        let Some(end) = members.last().map(|last| last.value.end) else { return };
        for target in targets.iter().filter(|target| !members.iter().any(|member| member.key.is(target.name))) {
            let value: &[u8] = match target.set {
                Set::Value(value) => value,
                Set::System(prompt, _) => &prompt.quoted,
                Set::StreamOptions => br#"{"include_usage":true}"#,
                Set::Within(nested) => &nested.whole,
                // Without messages there is nothing that a prompt could stand before.
                Set::Messages(_) => continue,
            };
            for piece in [b",", target.key, b":", value] {
                self.insert(end, piece);
            }
        }
    }

    fn set(&mut self, value: Span, set: &Set<'p>) {
        match set {
            Set::Value(new) => self.replace(value, new),
            Set::Messages(prompt) => self.prompt(value, prompt),
            Set::System(prompt, None) => self.system(value, prompt),
            Set::System(prompt, Some(own)) => self.leading_blocks(value, prompt, *own),
            Set::StreamOptions => self.stream_options(value),
            Set::Within(nested) => self.within(value, nested),
        }
    }

    fn stream_options(&mut self, value: Span) {
        match Scanner::within(self.body, value).peek() {
            Ok(Kind::Object) => {}
            Ok(Kind::Null) => return self.replace(value, br#"{"include_usage":true}"#),
            // The provider will refuse this; it is not mended here.
            _ => return,
        }
        let inner = members(self.body, value);
        match self.last_of(&inner, "include_usage") {
            Some(old) => self.replace(old, b"true"),
            None if inner.is_empty() => self.replace(value, br#"{"include_usage":true}"#),
            None => self.insert(value.start + 1, br#""include_usage":true,"#),
        }
    }

    /// Sets members of a member. What is no object is the provider's to refuse, but for null.
    fn within(&mut self, value: Span, nested: &'p Nested) {
        match Scanner::within(self.body, value).peek() {
            Ok(Kind::Object) => {}
            Ok(Kind::Null) => return self.replace(value, &nested.whole),
            _ => return,
        }
        let inner = members(self.body, value);
        if inner.is_empty() {
            return self.replace(value, &nested.whole);
        }
        let first = self.edits.len();
        for field in &nested.fields {
            match self.last_of(&inner, &field.name) {
                Some(old) => self.replace(old, &field.value),
                None => {
                    for piece in [&field.key[..], b":", &field.value, b","] {
                        self.insert(value.start + 1, piece);
                    }
                }
            }
        }
        // Fields come in their own order, and edits go in that of their places.
        self.edits[first..].sort_by_key(|(span, _)| span.start);
    }

    /// Puts a prompt into the array of messages.
    fn prompt(&mut self, messages: Span, prompt: &'p Prompt) {
        let mut scanner = Scanner::within(self.body, messages);
        if scanner.enter_array().is_err() {
            return;
        }
        let Ok(true) = scanner.next_item() else {
            return self.insert(messages.start + 1, &prompt.message);
        };
        let Ok(first) = scanner.skip() else { return };
        let inner = members(self.body, first);
        let role = inner.iter().rev().find(|member| member.key.is("role")).map(|member| member.value.of(self.body));
        if !role.and_then(json::text).is_some_and(|role| role == "system" || role == "developer") {
            self.insert(first.start, &prompt.message);
            return self.insert(first.start, b",");
        }
        match self.last_of(&inner, "content") {
            Some(content) => self.content(content, prompt),
            None => {
                self.insert(first.start + 1, &prompt.content);
                self.insert(first.start + 1, b",");
            }
        }
    }

    /// Puts a prompt into the place of `system`. Where the client marked its own for the provider's
    /// cache, the new one is marked alike.
    fn system(&mut self, system: Span, prompt: &'p Prompt) {
        let blocks = items(system.of(self.body));
        let mark = blocks.iter().rev().find_map(|block| json::member(block, "cache_control"));
        match (prompt.mode, mark) {
            (PromptMode::Replace, Some(mark)) if mark != b"null" => {
                self.edit(system, &prompt.cached);
                self.insert(system.end, mark);
                self.insert(system.end, b"}]");
            }
            _ => self.content(system, prompt),
        }
    }

    /// The same for the first blocks of an array: the others stay, behind it.
    fn leading_blocks(&mut self, system: Span, prompt: &'p Prompt, count: usize) {
        let blocks: Vec<Span> = item_spans(self.body, system).collect();
        if count >= blocks.len() {
            return self.system(system, prompt);
        }
        let own = &blocks[..count];
        match (prompt.mode, own.first().zip(own.last())) {
            (PromptMode::Prepend, _) | (_, None) => {
                self.insert(blocks[0].start, &prompt.part);
                self.insert(blocks[0].start, b",");
            }
            (PromptMode::Append, Some((_, last))) => {
                self.insert(last.end, b",");
                self.insert(last.end, &prompt.part);
            }
            (PromptMode::Replace, Some((first, last))) => {
                let mark = own.iter().rev().find_map(|block| json::member(block.of(self.body), "cache_control"));
                let pieces: [&[u8]; 3] = match mark.filter(|mark| *mark != b"null") {
                    // without the bracket that begins an array
                    Some(mark) => [&prompt.cached[1..], mark, b"}"],
                    None => [&prompt.part, b"", b""],
                };
                self.edit(Span { start: first.start, end: last.end }, b"");
                pieces.into_iter().for_each(|piece| self.insert(last.end, piece));
            }
        }
    }

    fn content(&mut self, content: Span, prompt: &'p Prompt) {
        let kind = Scanner::within(self.body, content).peek();
        let (inside_start, inside_end) = (content.start + 1, content.end - 1);
        match (prompt.mode, kind) {
            (PromptMode::Prepend, Ok(Kind::String)) => {
                self.insert(inside_start, &prompt.escaped);
                self.insert(inside_start, if inside_start < inside_end { br"\n\n" } else { b"" });
            }
            (PromptMode::Append, Ok(Kind::String)) => {
                self.insert(inside_end, if inside_start < inside_end { br"\n\n" } else { b"" });
                self.insert(inside_end, &prompt.escaped);
            }
            (PromptMode::Prepend, Ok(Kind::Array)) => {
                let empty = items(content.of(self.body)).is_empty();
                self.insert(inside_start, &prompt.part);
                self.insert(inside_start, if empty { b"" } else { b"," });
            }
            (PromptMode::Append, Ok(Kind::Array)) => {
                let empty = items(content.of(self.body)).is_empty();
                self.insert(inside_end, if empty { b"" } else { b"," });
                self.insert(inside_end, &prompt.part);
            }
            (PromptMode::Replace, _) | (_, _) => self.replace(content, &prompt.quoted),
        }
    }

    /// The value of the last member of this name; the earlier ones are removed.
    fn last_of(&mut self, members: &[Member<'p>], name: &str) -> Option<Span> {
        let last = members.iter().rposition(|member| member.key.is(name))?;
        for (place, member) in members[..last].iter().enumerate().filter(|(_, member)| member.key.is(name)) {
            self.edit(Span { start: member.key.at, end: members[place + 1].key.at }, b"");
        }
        Some(members[last].value)
    }

    fn replace(&mut self, span: Span, new: &'p [u8]) {
        if span.of(self.body) != new {
            self.edit(span, new);
        }
    }

    fn insert(&mut self, at: usize, new: &'p [u8]) {
        if !new.is_empty() {
            self.edit(Span { start: at, end: at }, new);
        }
    }

    fn edit(&mut self, span: Span, new: &'p [u8]) {
        self.edits.push((span, new));
    }

    /// Inserts what is laid in, but where it would stand in what is replaced.
    fn lay(&mut self, laid: &[Laid<'p>]) {
        let changed = self.edits.len();
        for Laid { at, data } in laid {
            let is_replaced = self.edits[..changed].iter().any(|(span, _)| span.start < *at && *at < span.end);
            if !is_replaced {
                self.insert(*at, data);
            }
        }
        if self.edits.len() > changed {
            self.edits.sort_by_key(|(span, _)| span.start);
        }
    }

    /// The new body, in one allocation of its exact size; `None` without edits.
    fn done(self) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        let grown: usize = self.edits.iter().map(|(_, new)| new.len()).sum();
        let cut: usize = self.edits.iter().map(|(span, _)| span.end - span.start).sum();
        let mut out = Vec::with_capacity(self.body.len() + grown - cut);
        let mut at = 0;
        for (span, new) in &self.edits {
            out.extend_from_slice(&self.body[at..span.start]);
            out.extend_from_slice(new);
            at = span.end;
        }
        out.extend_from_slice(&self.body[at..]);
        Some(out)
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch").field("params", &self.params.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body.as_ref().map(Vec::len);
        f.debug_struct("Patched").field("bytes", &bytes).field("usage_injected", &self.usage_injected).finish()
    }
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    json::quote(text, &mut out);
    out
}

/// The items of an array; empty where there is no array.
pub(crate) fn items(array: &[u8]) -> Vec<&[u8]> {
    item_spans(array, Span { start: 0, end: array.len() }).map(|item| item.of(array)).collect()
}

/// Where the items of an array stand in a body.
fn item_spans(body: &[u8], array: Span) -> impl Iterator<Item = Span> {
    let mut scanner = Scanner::within(body, array);
    let is_array = scanner.enter_array().is_ok();
    std::iter::from_fn(move || match is_array && scanner.next_item() == Ok(true) {
        true => scanner.skip().ok(),
        false => None,
    })
}

/// A form of chat completions, as responses have it: what stands inside `json_schema` stands beside `type`.
fn format_of(format: &[u8]) -> Vec<u8> {
    match json::member(format, "json_schema").filter(|inside| inside.starts_with(b"{")) {
        Some(inside) => [br#"{"type":"json_schema","#, &inside[1..]].concat(),
        None => format.to_vec(),
    }
}

/// The name of a tool: of its function, or of what else its type says it is, or its own.
fn tool_name(tool: &[u8]) -> Option<Cow<'_, str>> {
    let named = |tool| json::text(json::member(tool, "name")?);
    ["function", "custom"].iter().find_map(|kind| named(json::member(tool, kind)?)).or_else(|| named(tool))
}

/// `ours` and then those of `theirs` that bear other names.
fn merge(ours: &[u8], names: &[String], theirs: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    out.extend_from_slice(ours.trim_ascii_end().strip_suffix(b"]").unwrap_or(ours));
    for tool in items(theirs) {
        if !tool_name(tool).is_some_and(|name| names.iter().any(|ours| *ours == name)) {
            out.push(b',');
            out.extend_from_slice(tool);
        }
    }
    out.push(b']');
    out
}
