//! The tools of a chat completions request, and which of them may or must be called, as messages have them.

use super::object::Object;
use super::to_messages::{Result, is_of_their_letters, known, refuse, within_bounds};
use super::{ToolsOf, Untranslatable, put};
use crate::anthropic::tools::from_function;
use crate::dialect::Dialect;
use crate::openai::items;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Messages take no longer name of a tool.
const NAME_MAX: usize = 128;

/// The tools that alone may be called of those that are declared. Messages have no such list, so the others are not declared
/// there: either way a model that answers has these tools and no more.
struct Allowed<'a> {
    names: BTreeSet<Cow<'a, str>>,
    /// `auto` or `any`.
    mode: &'static [u8],
}

fn no_choice() -> Untranslatable {
    Untranslatable::member(Dialect::Messages, "tool_choice")
}

pub(super) fn declare(top: &Object<'_>, whose: ToolsOf, out: &mut Vec<u8>) -> Result<()> {
    let tools = top.get("tools").map(items).unwrap_or_default();
    let chosen = top.get("tool_choice");
    if tools.is_empty() {
        let says_nothing = chosen.is_none_or(|choice| matches!(choice, br#""auto""# | br#""none""#));
        return if says_nothing { Ok(()) } else { Err(no_choice()) };
    }
    let allowed = allowed(chosen, whose)?;
    let (mut names, mut written) = (BTreeSet::new(), Vec::with_capacity(tools.len()));
    for tool in tools {
        let tool = Object::read(tool);
        let name = tool.object("function").and_then(|function| function.text("name")).unwrap_or_default();
        if allowed.as_ref().is_some_and(|allowed| !allowed.names.contains(&name)) {
            continue;
        }
        written.push(function(&tool)?);
        if !names.insert(name) {
            return Err(refuse("a second tool of one name"));
        }
    }
    if allowed.as_ref().is_some_and(|allowed| allowed.names != names) {
        return Err(no_choice());
    }
    put(out, &[br#","tools":["#, &written.join(&b','), b"]"]);
    choose(chosen, allowed.as_ref(), top.get("parallel_tool_calls") == Some(b"false"), out)
}

fn function(tool: &Object<'_>) -> Result<Vec<u8>> {
    known(tool, &["type", "function"])?;
    let function = tool.get("function").ok_or_else(|| refuse("a tool that is no function"))?;
    let described = Object::read(function);
    known(&described, &["name", "description", "parameters", "strict"])?;
    let fits = |name: &[u8]| is_of_their_letters(name) && name.len() <= NAME_MAX + 2;
    if !described.string("name").is_some_and(fits) {
        return Err(refuse("the name of a tool"));
    }
    if described.get("strict") == Some(b"true") {
        within_bounds(described.get("parameters").unwrap_or(br#"{"type":"object"}"#))?;
    }
    let mut out = Vec::new();
    from_function(function, &mut out);
    Ok(out)
}

/// What a choice of `allowed_tools` says; `None` for any other choice. Where the version has a word on tools of its own, what
/// is left out here could come back.
fn allowed<'a>(chosen: Option<&'a [u8]>, whose: ToolsOf) -> Result<Option<Allowed<'a>>> {
    let chosen = Object::read(chosen.unwrap_or_default());
    if !chosen.is("type", "allowed_tools") {
        return Ok(None);
    }
    known(&chosen, &["type", "allowed_tools"])?;
    let list = chosen.object("allowed_tools").filter(|_| whose == ToolsOf::Client).ok_or_else(no_choice)?;
    known(&list, &["mode", "tools"])?;
    let mode: &[u8] = match list.text("mode").as_deref() {
        Some("auto") => b"auto",
        Some("required") => b"any",
        _ => return Err(no_choice()),
    };
    let function = |tool: &'a [u8]| Object::read(tool).object("function").and_then(|function| function.text("name"));
    let names: Option<BTreeSet<_>> =
        list.get("tools").map(items).unwrap_or_default().into_iter().map(function).collect();
    let names = names.filter(|names| !names.is_empty()).ok_or_else(no_choice)?;
    Ok(Some(Allowed { names, mode }))
}

fn choose(chosen: Option<&[u8]>, allowed: Option<&Allowed<'_>>, alone: bool, out: &mut Vec<u8>) -> Result<()> {
    let mut choice = match (chosen, allowed) {
        (_, Some(allowed)) => [br#"{"type":""#, allowed.mode, b"\""].concat(),
        (None, _) if !alone => return Ok(()),
        (None | Some(br#""auto""#), _) => br#"{"type":"auto""#.to_vec(),
        (Some(br#""none""#), _) => br#"{"type":"none""#.to_vec(),
        (Some(br#""required""#), _) => br#"{"type":"any""#.to_vec(),
        (Some(named), _) => {
            let function = Object::read(named).object("function").and_then(|function| function.string("name"));
            [br#"{"type":"tool","name":"#, function.ok_or_else(no_choice)?].concat()
        }
    };
    if alone && chosen != Some(br#""none""#) {
        choice.extend_from_slice(br#","disable_parallel_tool_use":true"#);
    }
    put(out, &[br#","tool_choice":"#, &choice, b"}"]);
    Ok(())
}
