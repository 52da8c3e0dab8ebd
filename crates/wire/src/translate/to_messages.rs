//! A chat completions request as messages.

use super::object::Object;
use super::schema::{self, Taker};
use super::{Terms, ToolsOf, Untranslatable, Written, put, tools_to_messages};
use crate::dialect::Dialect;
use crate::json;
use crate::openai::{ChatRequest, items};
use std::borrow::Cow;
use std::collections::BTreeSet;

const TO: Dialect = Dialect::Messages;
/// What pictures may be.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
/// A person's name that is longer is not taken.
const USER_MAX: usize = 256;

pub(super) type Result<T> = std::result::Result<T, Untranslatable>;

/// The turns as they are written: neighbours of one role become one, as the API itself would have it.
struct Turns<'a> {
    out: Written<'a>,
    open: Option<&'static str>,
    /// The open turn holds something beside results of tools.
    spoken: bool,
    /// The ids of calls so far.
    called: BTreeSet<&'a [u8]>,
}

pub(super) fn request<'a>(chat: &ChatRequest<'a>, terms: Terms, tools: ToolsOf) -> Result<Written<'a>> {
    let top = Object::read(chat.body());
    for (name, value) in top.members() {
        check(&name, value)?;
    }
    let messages = top.get("messages").filter(|messages| messages.starts_with(b"["));
    let messages = items(messages.ok_or_else(|| refuse("a request without messages"))?);
    let leading = messages.iter().take_while(|message| is_system(message)).count();
    let (system, turns) = messages.split_at(leading);

    let mut out = Written::default();
    out.put(&[br#"{"model":"#, top.get("model").unwrap_or(br#""""#), br#","max_tokens":"#]);
    match top.get("max_completion_tokens").or_else(|| top.get("max_tokens")) {
        Some(limit) => out.put(&[limit]),
        None => out.put(&[terms.max_tokens.to_string().as_bytes()]),
    }
    out.prompt_blocks = Some(system_prompt(system, &mut out.text)?);
    out.put(&[br#","messages":"#]);
    out.add(&conversation(turns)?);
    parameters(&top, &mut out.text)?;
    tools_to_messages::declare(&top, tools, &mut out.text)?;
    out.put(&[b"}"]);
    Ok(out)
}

pub(super) fn refuse(what: &'static str) -> Untranslatable {
    Untranslatable::new(TO, what)
}

/// Whether a member can be said at all; those that can be said are written elsewhere.
fn check(name: &str, value: &[u8]) -> Result<()> {
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok());
    let fits = match name {
        "model"
        | "messages"
        | "max_tokens"
        | "max_completion_tokens"
        | "top_p"
        | "stream"
        | "stream_options"
        | "tool_choice"
        | "user" => true,
        "tools" => value.starts_with(b"["),
        "response_format" => value.starts_with(b"{"),
        "parallel_tool_calls" => matches!(value, b"true" | b"false"),
        // It takes none that is empty or white.
        "stop" if value.starts_with(b"\"") => !is_blank(value),
        "stop" => !items(value).into_iter().any(is_blank),
        // Notes to the provider's books.
        "metadata" | "safety_identifier" | "prompt_cache_key" | "prompt_cache_retention" => true,
        "temperature" => number().is_some_and(|t| (0.0..=1.0).contains(&t)),
        "n" => value == b"1",
        "frequency_penalty" | "presence_penalty" => number() == Some(0.0),
        "store" | "logprobs" => value == b"false",
        "logit_bias" => Object::read(value).members().next().is_none(),
        "modalities" => items(value) == [br#""text""#],
        "service_tier" => matches!(value, br#""auto""# | br#""default""#),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Untranslatable::member(TO, name)) }
}

fn is_system(message: &[u8]) -> bool {
    json::member(message, "role").and_then(json::text).is_some_and(|role| role == "system" || role == "developer")
}

/// Writes the leading messages as blocks of one prompt, and tells how many of them are the first message's.
fn system_prompt(messages: &[&[u8]], out: &mut Vec<u8>) -> Result<usize> {
    let mut blocks = Vec::new();
    let mut first = None;
    for message in messages {
        let message = Object::read(message);
        known(&message, &["role", "content"])?;
        texts(message.get("content"), &mut blocks)?;
        first.get_or_insert(blocks.len());
    }
    if !blocks.is_empty() {
        put(out, &[br#","system":["#, &blocks.join(&b','), b"]"]);
    }
    Ok(first.unwrap_or(0))
}

/// Whether a string in its quotes has nothing but white space.
fn is_blank(string: &[u8]) -> bool {
    json::text(string).is_some_and(|text| text.trim().is_empty())
}

/// A text block. Messages take none that is empty or white: an empty one says nothing, and is not written.
fn text_block(text: &[u8]) -> Result<Option<Vec<u8>>> {
    match text {
        br#""""# => Ok(None),
        blank if is_blank(blank) => Err(refuse("a text of nothing but white space")),
        text => Ok(Some([br#"{"type":"text","text":"#, text, b"}"].concat())),
    }
}

/// Text blocks of a content that holds nothing but text.
fn texts(content: Option<&[u8]>, blocks: &mut Vec<Vec<u8>>) -> Result<()> {
    let Some(content) = content else { return Ok(()) };
    if content.starts_with(b"\"") {
        blocks.extend(text_block(content)?);
        return Ok(());
    }
    parts(content)?.into_iter().try_for_each(|part| text_only(&Object::read(part), blocks))
}

/// The parts of a content that is no text by itself.
fn parts(content: &[u8]) -> Result<Vec<&[u8]>> {
    if content.starts_with(b"[") { Ok(items(content)) } else { Err(refuse("a content that is neither text nor parts")) }
}

fn text_only(part: &Object<'_>, blocks: &mut Vec<Vec<u8>>) -> Result<()> {
    if !part.is("type", "text") {
        return Err(refuse("a content that is no text, where only text can stand"));
    }
    blocks.extend(text_part(part)?);
    Ok(())
}

fn text_part(part: &Object<'_>) -> Result<Option<Vec<u8>>> {
    known(part, &["type", "text", "cache_control"])?;
    let text = part.string("text").ok_or_else(|| refuse("a text part without a text"))?;
    let Some(mut block) = text_block(text)? else { return Ok(None) };
    if let Some(mark) = part.get("cache_control") {
        block.pop();
        put(&mut block, &[br#","cache_control":"#, mark, b"}"]);
    }
    Ok(Some(block))
}

pub(super) fn known(object: &Object<'_>, members: &[&str]) -> Result<()> {
    object.other_than(members).map_or(Ok(()), |name| Err(Untranslatable::member(TO, &name)))
}

fn conversation<'a>(messages: &[&'a [u8]]) -> Result<Written<'a>> {
    let mut turns = Turns { out: vec![b'['].into(), open: None, spoken: false, called: BTreeSet::new() };
    for message in messages {
        let message = Object::read(message);
        match message.text("role").as_deref() {
            Some("user") => user(&message, &mut turns)?,
            Some("assistant") => assistant(&message, &mut turns)?,
            Some("tool") => result(&message, &mut turns)?,
            Some("system" | "developer") => return Err(refuse("a system message inside the conversation")),
            _ => return Err(refuse("a message of another role")),
        }
    }
    match turns.open {
        Some("user") => Ok(turns.end()),
        Some(_) => Err(refuse("a last message of the assistant, which it would go on with")),
        None => Err(refuse("a request without messages")),
    }
}

fn user<'a>(message: &Object<'a>, turns: &mut Turns<'a>) -> Result<()> {
    known(message, &["role", "content"])?;
    let content = message.get("content").unwrap_or(b"[]");
    let mut blocks: Vec<Written<'a>> = Vec::new();
    let several = if content.starts_with(b"\"") {
        blocks.extend(text_block(content)?.map(Written::from));
        Vec::new()
    } else {
        parts(content)?
    };
    for part in several {
        let part = Object::read(part);
        match part.text("type").as_deref() {
            Some("text") => blocks.extend(text_part(&part)?.map(Written::from)),
            Some("image_url") => blocks.push(picture(&part)?),
            _ => return Err(refuse("a part that is neither text nor picture")),
        }
    }
    if blocks.is_empty() {
        return Err(refuse("an empty message"));
    }
    for block in &blocks {
        turns.add("user", block);
    }
    turns.spoken = true;
    Ok(())
}

fn picture<'a>(part: &Object<'a>) -> Result<Written<'a>> {
    known(part, &["type", "image_url", "cache_control"])?;
    let image = part.object("image_url").ok_or_else(|| refuse("a picture without `image_url`"))?;
    known(&image, &["url", "detail"])?;
    if image.is("detail", "low") {
        return Err(refuse("a picture of low detail"));
    }
    let url = image.string("url").unwrap_or(br#""""#);
    let (kind, data) = split_url(url);
    let mut out = Written::default();
    out.put(&[br#"{"type":"image","source":"#]);
    if let Some(kind) = kind.strip_prefix("data:") {
        let data = data.ok_or_else(|| refuse("a picture that is not base64"))?;
        let kind = media_type(kind).ok_or_else(|| refuse("a picture that is neither JPEG, PNG, GIF nor WebP"))?;
        out.put(&[br#"{"type":"base64","media_type":""#, kind.as_bytes(), br#"","data":""#]);
        out.lay(data);
        out.put(&[br#""}"#]);
    } else if kind.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        out.put(&[br#"{"type":"url","url":"#, url, b"}"]);
    } else {
        return Err(refuse("a picture at an address that is not `https`"));
    }
    if let Some(mark) = part.get("cache_control") {
        out.put(&[br#","cache_control":"#, mark]);
    }
    out.put(&[b"}"]);
    Ok(out)
}

/// The name that messages have for a kind of picture, however a client writes it.
fn media_type(kind: &str) -> Option<&'static str> {
    // No such name was ever given, and many write it.
    let kind = if kind.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { kind };
    PICTURES.into_iter().find(|known| known.eq_ignore_ascii_case(kind))
}

/// What stands in a URL before `;base64,`, or all of it, and what stands behind, as it is written.
fn split_url(quoted: &[u8]) -> (String, Option<&[u8]>) {
    const BETWEEN: &[u8] = b";base64,";
    let written = &quoted[1..quoted.len() - 1];
    let (head, data) = match memchr::memmem::find(written, BETWEEN) {
        Some(at) => (&written[..at], Some(&written[at + BETWEEN.len()..])),
        None => (written, None),
    };
    let head = [b"\"", head, b"\""].concat();
    (json::text(&head).unwrap_or_default().into_owned(), data)
}

fn assistant<'a>(message: &Object<'a>, turns: &mut Turns<'a>) -> Result<()> {
    // What it thought is sealed for its own provider, or is shown to people only.
    let thoughts = ["reasoning_content", "reasoning", "annotations"];
    known(message, &[&["role", "content", "refusal", "tool_calls"][..], &thoughts].concat())?;
    if message.get("annotations").is_some_and(|notes| !items(notes).is_empty()) {
        return Err(Untranslatable::member(TO, "annotations"));
    }
    let mut blocks = Vec::new();
    said(message.get("content"), &mut blocks)?;
    texts(message.string("refusal"), &mut blocks)?;
    let calls = message.get("tool_calls").unwrap_or(b"[]");
    if !calls.starts_with(b"[") {
        return Err(Untranslatable::member(TO, "tool_calls"));
    }
    for call in items(calls) {
        let call = Object::read(call);
        blocks.push(tool_use(&call)?);
        if !turns.called.insert(id(&call, "id")?) {
            return Err(refuse("the id of an earlier tool call, once more,"));
        }
    }
    if blocks.is_empty() {
        return Err(refuse("an empty message"));
    }
    for block in blocks {
        turns.add("assistant", &block.into());
    }
    Ok(())
}

/// What the assistant said, a refusal among it.
fn said(content: Option<&[u8]>, blocks: &mut Vec<Vec<u8>>) -> Result<()> {
    let several = content.filter(|content| content.starts_with(b"["));
    let Some(several) = several else { return texts(content, blocks) };
    for part in items(several) {
        let read = Object::read(part);
        if read.is("type", "refusal") {
            known(&read, &["type", "refusal"])?;
            texts(read.string("refusal"), blocks)?;
        } else {
            text_only(&read, blocks)?;
        }
    }
    Ok(())
}

fn tool_use(call: &Object<'_>) -> Result<Vec<u8>> {
    // Servers number calls in whole answers too, and clients send the number back.
    known(call, &["id", "type", "function", "index"])?;
    let function = call.object("function").ok_or_else(|| refuse("a call of a tool that is no function"))?;
    known(&function, &["name", "arguments"])?;
    let arguments = function.text("arguments").unwrap_or_default();
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
    if !arguments.starts_with('{') || json::check(arguments.as_bytes()).is_err() {
        return Err(refuse("arguments of a tool call that are no JSON object"));
    }
    let mut out = br#"{"type":"tool_use","id":"#.to_vec();
    out.extend_from_slice(id(call, "id")?);
    put(&mut out, &[br#","name":"#, function.string("name").unwrap_or(br#""""#)]);
    put(&mut out, &[br#","input":"#, arguments.as_bytes(), b"}"]);
    Ok(out)
}

/// The id of a call, of the letters that messages allow.
fn id<'a>(object: &Object<'a>, key: &str) -> Result<&'a [u8]> {
    let id = object.string(key).ok_or_else(|| refuse("a tool call without an id"))?;
    if is_of_their_letters(id) { Ok(id) } else { Err(refuse("the id of a tool call")) }
}

/// Whether an id or a name in its quotes is one that messages allow.
pub(super) fn is_of_their_letters(word: &[u8]) -> bool {
    let letters = &word[1..word.len() - 1];
    let fits = |letter: &u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
    !letters.is_empty() && letters.iter().all(fits)
}

fn result(message: &Object<'_>, turns: &mut Turns<'_>) -> Result<()> {
    known(message, &["role", "content", "tool_call_id", "name"])?;
    if turns.open == Some("user") && turns.spoken {
        return Err(refuse("a tool's result behind something else"));
    }
    let mut blocks = Vec::new();
    texts(message.get("content"), &mut blocks)?;
    let mut block = br#"{"type":"tool_result","tool_use_id":"#.to_vec();
    put(&mut block, &[id(message, "tool_call_id")?, br#","content":["#, &blocks.join(&b','), b"]}"]);
    turns.add("user", &block.into());
    Ok(())
}

fn parameters(top: &Object<'_>, out: &mut Vec<u8>) -> Result<()> {
    // Newer models take one of the two, and many clients send both: one of 1 says nothing.
    let is_one = |value: &&[u8]| std::str::from_utf8(value).is_ok_and(|text| text.parse() == Ok(1.0));
    let (temperature, top_p) = (top.get("temperature"), top.get("top_p"));
    let top_p = top_p.filter(|top_p| temperature.is_none() || !is_one(top_p));
    let temperature = temperature.filter(|temperature| top_p.is_none() || !is_one(temperature));
    for (name, value) in [("temperature", temperature), ("top_p", top_p), ("stream", top.get("stream"))] {
        if let Some(value) = value {
            put(out, &[b",\"", name.as_bytes(), b"\":", value]);
        }
    }
    match top.get("stop") {
        Some(one) if one.starts_with(b"\"") => put(out, &[br#","stop_sequences":["#, one, b"]"]),
        Some(many) => put(out, &[br#","stop_sequences":"#, many]),
        None => {}
    }
    // a note to the provider's books, which take so much
    let fits = |user: &&[u8]| json::text(user).is_some_and(|user| user.chars().count() <= USER_MAX);
    if let Some(user) = top.string("user").filter(fits) {
        put(out, &[br#","metadata":{"user_id":"#, user, b"}"]);
    }
    let Some(format) = top.object("response_format") else { return Ok(()) };
    match format.text("type").as_deref() {
        Some("text") => Ok(()),
        Some("json_schema") => {
            known(&format, &["type", "json_schema"])?;
            let described = format.object("json_schema").unwrap_or_else(|| Object::read(b"{}"));
            known(&described, &["name", "description", "schema", "strict"])?;
            let schema = described.get("schema").ok_or_else(|| refuse("a JSON answer without a schema"))?;
            within_bounds(schema)?;
            let schema = with_description(schema, described.string("description"))?;
            put(out, &[br#","output_config":{"format":{"type":"json_schema","schema":"#, &schema, b"}}"]);
            Ok(())
        }
        _ => Err(refuse("a JSON answer without a schema")),
    }
}

/// A schema that says what is said beside it of the answer: messages have no other place for that.
fn with_description<'a>(schema: &'a [u8], description: Option<&[u8]>) -> Result<Cow<'a, [u8]>> {
    let Some(description) = description.filter(|text| *text != br#""""#) else { return Ok(schema.into()) };
    let members = Object::read(schema);
    match (members.text("description"), schema) {
        (Some(own), _) if json::text(description).is_some_and(|text| text == own) => Ok(schema.into()),
        (None, [b'{', rest @ ..]) => {
            let comma: &[u8] = if rest.trim_ascii_start() == b"}" { b"" } else { b"," };
            Ok([br#"{"description":"#, description, comma, rest].concat().into())
        }
        _ => Err(refuse("a description of the answer beside that of its schema")),
    }
}

/// Of a schema that is held to, messages take a part only.
pub(super) fn within_bounds(schema: &[u8]) -> Result<()> {
    schema::refused(schema, Taker::Messages).map_or(Ok(()), |what| Err(Untranslatable::new(TO, what)))
}

impl<'a> Turns<'a> {
    fn add(&mut self, role: &'static str, block: &Written<'a>) {
        if self.open == Some(role) {
            self.out.put(&[b","]);
        } else {
            if self.open.is_some() {
                self.out.put(&[b"]},"]);
            }
            self.out.put(&[br#"{"role":""#, role.as_bytes(), br#"","content":["#]);
            self.open = Some(role);
            self.spoken = false;
        }
        self.out.add(block);
    }

    fn end(mut self) -> Written<'a> {
        self.out.put(&[b"]}]"]);
        self.out
    }
}
