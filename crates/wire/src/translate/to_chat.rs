//! A request of messages as chat completions.

use super::object::Object;
use super::schema::{self, Taker};
use super::{LimitName, Terms, Untranslatable, Written, put};
use crate::dialect::Dialect;
use crate::json;
use crate::openai::{ChatRequest, items};

const TO: Dialect = Dialect::Chat;
/// As many stop sequences as chat completions take.
const STOPS_MAX: usize = 4;
/// A person's name that is longer is taken nowhere.
const USER_MAX: usize = 64;
/// The longest name of a tool, and the longest id of a call, that OpenAI itself takes.
const NAME_MAX: usize = 64;
const ID_MAX: usize = 40;
/// As many tools as OpenAI itself takes.
const TOOLS_MAX: usize = 128;

type Result<T> = std::result::Result<T, Untranslatable>;

pub(super) fn request<'a>(messages: &ChatRequest<'a>, terms: Terms) -> Result<Written<'a>> {
    let top = Object::read(messages.body());
    for (name, value) in top.members() {
        check(&name, value)?;
    }
    let mut out = Written::default();
    out.put(&[br#"{"model":"#, top.get("model").unwrap_or(br#""""#), br#","messages":["#]);
    let mut written: Vec<Written<'a>> = Vec::new();
    if let Some(system) = top.get("system") {
        let parts = text_parts(system)?;
        if !parts.is_empty() {
            written.push(message("system", &parts).into());
        }
    }
    let turns = top.get("messages").filter(|turns| turns.starts_with(b"[")).map(items).unwrap_or_default();
    for turn in &turns {
        let turn = Object::read(turn);
        known(&turn, &["role", "content"])?;
        match turn.text("role").as_deref() {
            Some("user") => user(&turn, &mut written)?,
            Some("assistant") => written.push(assistant(&turn, terms)?.into()),
            Some("system") => {
                written.push(message("system", &text_parts(turn.get("content").unwrap_or(b"[]"))?).into())
            }
            _ => return Err(refuse("a message of another role")),
        }
    }
    match turns.last().map(|turn| Object::read(turn).is("role", "assistant")) {
        Some(false) => {}
        Some(true) => return Err(refuse("the beginning of an answer, to go on with")),
        None => return Err(refuse("a request without messages")),
    }
    out.add(&Written::list(&written));
    out.put(&[b"]"]);
    parameters(&top, terms, &mut out.text)?;
    declarations(&top, terms, &mut out.text)?;
    out.put(&[b"}"]);
    Ok(out)
}

fn refuse(what: &'static str) -> Untranslatable {
    Untranslatable::new(TO, what)
}

fn known(object: &Object<'_>, members: &[&str]) -> Result<()> {
    object.other_than(members).map_or(Ok(()), |name| Err(Untranslatable::member(TO, &name)))
}

/// Whether a member can be said at all; those that can be said are written elsewhere.
fn check(name: &str, value: &[u8]) -> Result<()> {
    let fits = match name {
        "model" | "messages" | "system" | "max_tokens" | "temperature" | "top_p" | "stream" | "metadata" => true,
        "stop_sequences" | "tools" => value.starts_with(b"["),
        "tool_choice" | "output_config" | "output_format" => value.starts_with(b"{"),
        "service_tier" => matches!(value, br#""auto""# | br#""standard_only""#),
        "thinking" => Object::read(value).is("type", "disabled"),
        // A mark for the whole of what is said; the provider keeps a cache of its own.
        "cache_control" => true,
        "mcp_servers" => items(value).is_empty(),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Untranslatable::member(TO, name)) }
}

/// The texts of a content that holds nothing but text, as strings in their quotes.
fn text_parts(content: &[u8]) -> Result<Vec<&[u8]>> {
    if content.starts_with(b"\"") {
        return Ok(if content == br#""""# { Vec::new() } else { vec![content] });
    }
    let mut parts = Vec::new();
    for block in blocks(content)? {
        let block = Object::read(block);
        if !block.is("type", "text") {
            return Err(refuse("a content that is no text, where only text can stand"));
        }
        parts.push(text_block(&block)?);
    }
    Ok(parts)
}

/// The blocks of a content that is no text by itself.
fn blocks(content: &[u8]) -> Result<Vec<&[u8]>> {
    if content.starts_with(b"[") {
        Ok(items(content))
    } else {
        Err(refuse("a content that is neither text nor blocks"))
    }
}

fn text_block<'a>(block: &Object<'a>) -> Result<&'a [u8]> {
    known(block, &["type", "text", "cache_control", "citations"])?;
    if block.get("citations").is_some_and(|citations| !items(citations).is_empty()) {
        return Err(Untranslatable::member(TO, "citations"));
    }
    block.string("text").ok_or_else(|| refuse("a text block without a text"))
}

/// A message with a text, or with parts where there are several.
fn message(role: &str, texts: &[&[u8]]) -> Vec<u8> {
    let mut out = [br#"{"role":""#, role.as_bytes(), br#"","content":"#].concat();
    content(texts, &mut out);
    out.push(b'}');
    out
}

fn content(texts: &[&[u8]], out: &mut Vec<u8>) {
    match texts {
        [] => out.extend_from_slice(br#""""#),
        [one] => out.extend_from_slice(one),
        many => {
            let parts: Vec<Vec<u8>> = many.iter().map(|text| part(text)).collect();
            put(out, &[b"[", &parts.join(&b','), b"]"]);
        }
    }
}

fn part(text: &[u8]) -> Vec<u8> {
    [br#"{"type":"text","text":"#, text, b"}"].concat()
}

/// A turn of the user: the results of tools, which are messages of their own, then all else.
fn user<'a>(turn: &Object<'a>, written: &mut Vec<Written<'a>>) -> Result<()> {
    let content = turn.get("content").unwrap_or(b"[]");
    if content.starts_with(b"\"") {
        written.push(message("user", &[content]).into());
        return Ok(());
    }
    let mut parts: Vec<Written<'a>> = Vec::new();
    let (mut results, mut only_text) = (0, None);
    for block in blocks(content)? {
        let block = Object::read(block);
        match block.text("type").as_deref() {
            Some("text") => {
                let text = text_block(&block)?;
                only_text = parts.is_empty().then_some(text);
                parts.push(part(text).into());
            }
            Some("image") => {
                only_text = None;
                parts.push(picture(&block)?);
            }
            Some("tool_result") if parts.is_empty() => {
                results += 1;
                written.push(result(&block)?.into());
            }
            Some("tool_result") => return Err(refuse("a tool's result behind something else")),
            _ => return Err(refuse("a block that is neither text, picture nor a tool's result")),
        }
    }
    match only_text {
        Some(text) => written.push(message("user", &[text]).into()),
        None if !parts.is_empty() => {
            let mut turn = Written::default();
            turn.put(&[br#"{"role":"user","content":["#]);
            turn.add(&Written::list(&parts));
            turn.put(&[b"]}"]);
            written.push(turn);
        }
        None if results == 0 => return Err(refuse("an empty message")),
        None => {}
    }
    Ok(())
}

fn picture<'a>(block: &Object<'a>) -> Result<Written<'a>> {
    known(block, &["type", "source", "cache_control"])?;
    let source = block.object("source").ok_or_else(|| refuse("a picture without a source"))?;
    known(&source, &["type", "media_type", "data", "url"])?;
    let empty: &[u8] = br#""""#;
    let mut out = Written::default();
    out.put(&[br#"{"type":"image_url","image_url":{"url":"#]);
    match source.text("type").as_deref() {
        Some("base64") => {
            out.put(&[br#""data:"#]);
            json::escape(&source.text("media_type").unwrap_or_default(), &mut out.text);
            out.put(&[b";base64,"]);
            let data = source.string("data").unwrap_or(empty);
            out.lay(&data[1..data.len() - 1]);
            out.put(&[b"\""]);
        }
        Some("url") => out.put(&[source.string("url").unwrap_or(empty)]),
        _ => return Err(refuse("a picture that the provider keeps")),
    }
    out.put(&[b"}}"]);
    Ok(out)
}

/// A tool's result. That it is an error its content says; chat completions have no other place for it.
fn result(block: &Object<'_>) -> Result<Vec<u8>> {
    known(block, &["type", "tool_use_id", "content", "is_error", "cache_control"])?;
    let id = block.string("tool_use_id").ok_or_else(|| refuse("a tool's result without an id"))?;
    let texts = block.get("content").map(text_parts).transpose()?.unwrap_or_default();
    if block.get("is_error") == Some(b"true") && texts.iter().all(|text| *text == br#""""#) {
        return Err(refuse("a tool's error that says nothing"));
    }
    let mut out = [br#"{"role":"tool","tool_call_id":"#, id, br#","content":"#].concat();
    content(&texts, &mut out);
    out.push(b'}');
    Ok(out)
}

/// A turn of the assistant: its text, then its calls. What it thought is sealed for its own provider.
fn assistant(turn: &Object<'_>, terms: Terms) -> Result<Vec<u8>> {
    let said = turn.get("content").unwrap_or(b"[]");
    if said.starts_with(b"\"") {
        return Ok(message("assistant", &[said]));
    }
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks(said)? {
        let block = Object::read(block);
        match block.text("type").as_deref() {
            Some("text") if calls.is_empty() => texts.push(text_block(&block)?),
            Some("text") => return Err(refuse("a text behind a tool call")),
            Some("thinking" | "redacted_thinking") => {}
            Some("tool_use") => calls.push(call(&block, terms)?),
            _ => return Err(refuse("a block that is neither text nor a tool call")),
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return Err(refuse("an empty message"));
    }
    let mut out = br#"{"role":"assistant","content":"#.to_vec();
    if texts.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        content(&texts, &mut out);
    }
    if !calls.is_empty() {
        put(&mut out, &[br#","tool_calls":["#, &calls.join(&b','), b"]"]);
    }
    out.push(b'}');
    Ok(out)
}

fn call(block: &Object<'_>, terms: Terms) -> Result<Vec<u8>> {
    known(block, &["type", "id", "name", "input", "cache_control", "caller"])?;
    let (Some(id), Some(name)) = (block.string("id"), block.string("name")) else {
        return Err(refuse("a tool call without id or name"));
    };
    if terms.are_of_openai() && (is_longer(id, ID_MAX) || is_longer(name, NAME_MAX)) {
        return Err(refuse("the id or the name of a tool call, for its length,"));
    }
    let mut out = [br#"{"id":"#, id, br#","type":"function","function":{"name":"#, name].concat();
    out.extend_from_slice(br#","arguments":"#);
    json::quote(&String::from_utf8_lossy(block.get("input").unwrap_or(b"{}")), &mut out);
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn parameters(top: &Object<'_>, terms: Terms, out: &mut Vec<u8>) -> Result<()> {
    if let Some(limit) = top.get("max_tokens") {
        let name: &[u8] = match terms.limit {
            LimitName::MaxCompletionTokens => b"max_completion_tokens",
            LimitName::MaxTokens => b"max_tokens",
        };
        put(out, &[b",\"", name, b"\":", limit]);
    }
    for name in ["temperature", "top_p", "stream"] {
        if let Some(value) = top.get(name) {
            put(out, &[b",\"", name.as_bytes(), b"\":", value]);
        }
    }
    if let Some(stops) = top.get("stop_sequences").filter(|stops| !items(stops).is_empty()) {
        if items(stops).len() > STOPS_MAX {
            return Err(refuse("more than four stop sequences"));
        }
        put(out, &[br#","stop":"#, stops]);
    }
    if let Some(metadata) = top.object("metadata") {
        known(&metadata, &["user_id"])?;
        // a note to the provider's books, and agents write much into it
        let fits = |user: &&[u8]| json::text(user).is_some_and(|user| user.chars().count() <= USER_MAX);
        if let Some(user) = metadata.string("user_id").filter(fits) {
            put(out, &[br#","user":"#, user]);
        }
    }
    let mut format = top.object("output_format");
    if let Some(config) = top.object("output_config") {
        known(&config, &["format"])?;
        format = config.object("format").or(format);
    }
    let Some(format) = format else { return Ok(()) };
    known(&format, &["type", "schema"])?;
    let schema = format.get("schema").filter(|_| format.is("type", "json_schema"));
    let schema = schema.ok_or_else(|| Untranslatable::member(TO, "format"))?;
    within_bounds(schema, terms)?;
    let head = br#","response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":"#;
    put(out, &[head, schema, b"}}"]);
    Ok(())
}

fn declarations(top: &Object<'_>, terms: Terms, out: &mut Vec<u8>) -> Result<()> {
    let tools = top.get("tools").map(items).unwrap_or_default();
    if tools.is_empty() {
        let says_nothing = |choice: Object<'_>| choice.is("type", "auto") || choice.is("type", "none");
        let fits = top.object("tool_choice").is_none_or(says_nothing);
        return if fits { Ok(()) } else { Err(Untranslatable::member(TO, "tool_choice")) };
    }
    if terms.are_of_openai() && tools.len() > TOOLS_MAX {
        return Err(refuse("more than 128 tools"));
    }
    let mut written: Vec<Vec<u8>> = Vec::with_capacity(tools.len());
    for tool in tools {
        written.push(function(&Object::read(tool), terms)?);
    }
    put(out, &[br#","tools":["#, &written.join(&b','), b"]"]);
    let Some(choice) = top.object("tool_choice") else { return Ok(()) };
    known(&choice, &["type", "name", "disable_parallel_tool_use"])?;
    match (choice.text("type").as_deref(), choice.string("name")) {
        (Some("auto"), _) => out.extend_from_slice(br#","tool_choice":"auto""#),
        (Some("any"), _) => out.extend_from_slice(br#","tool_choice":"required""#),
        (Some("none"), _) => out.extend_from_slice(br#","tool_choice":"none""#),
        (Some("tool"), Some(name)) => {
            put(out, &[br#","tool_choice":{"type":"function","function":{"name":"#, name, b"}}"]);
        }
        _ => return Err(Untranslatable::member(TO, "tool_choice")),
    }
    if choice.get("disable_parallel_tool_use") == Some(b"true") {
        out.extend_from_slice(br#","parallel_tool_calls":false"#);
    }
    Ok(())
}

/// Of a schema that is held to, OpenAI itself takes a part only; other servers that speak like it have no such bounds.
fn within_bounds(schema: &[u8], terms: Terms) -> Result<()> {
    let refused = if terms.are_of_openai() { schema::refused(schema, Taker::OpenAi) } else { None };
    refused.map_or(Ok(()), |what| Err(Untranslatable::new(TO, what)))
}

/// Whether a string in its quotes is longer than so many letters.
fn is_longer(string: &[u8], than: usize) -> bool {
    string.len() > than + 2
}

fn function(tool: &Object<'_>, terms: Terms) -> Result<Vec<u8>> {
    if !(tool.get("type").is_none() || tool.is("type", "custom")) {
        return Err(refuse("a tool of the provider's own"));
    }
    let known_members =
        ["type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"];
    known(tool, &known_members)?;
    let (Some(name), Some(schema)) = (tool.string("name"), tool.get("input_schema")) else {
        return Err(refuse("a tool without name or schema"));
    };
    if terms.are_of_openai() && is_longer(name, NAME_MAX) {
        return Err(refuse("a tool's name of more than 64 letters"));
    }
    let mut out = [br#"{"type":"function","function":{"name":"#, name].concat();
    if let Some(description) = tool.get("description") {
        put(&mut out, &[br#","description":"#, description]);
    }
    if let Some(what) = schema::unusable(schema).filter(|_| terms.are_of_openai()) {
        return Err(Untranslatable::new(TO, what));
    }
    put(&mut out, &[br#","parameters":"#, &schema::with_properties(schema)]);
    if tool.get("strict") == Some(b"true") {
        within_bounds(schema, terms)?;
        out.extend_from_slice(br#","strict":true"#);
    }
    out.extend_from_slice(b"}}");
    Ok(out)
}
