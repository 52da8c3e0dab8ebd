//! Versions as files write them: a whole one for a route, what changes for a canary.

use crate::config::check::fits;
use crate::config::fault::{Complaint, nearest};
use crate::config::json;
use crate::config::key::Kind;
use crate::config::people;
use crate::config::prompt;
use crate::config::read::{Fields, Placed, scalar_text};
use crate::config::scalar;
use crate::config::secret::Surroundings;
use crate::config::tree::Value;
use coalmine_core::id::ProviderName;
use coalmine_core::version::{Fallback, JsonText, PEOPLE, PromptMode, Tools, ToolsMode, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The largest prompt or tools file, in bytes.
const MAX_FILE: usize = 4 << 20;

/// What a reader needs beside the tree.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Folder of the file.
    pub(crate) folder: &'a Path,
    /// The machine.
    pub(crate) around: &'a dyn Surroundings,
}

impl Place<'_> {
    /// The text of a file that is named relative to the folder.
    pub(crate) fn file(&self, named: &str) -> Result<String, Complaint> {
        let path = self.folder.join(named);
        let text = self.around.file(&path).map_err(|error| {
            let what = format!("{} cannot be read: {error}", scalar::shown(named));
            Complaint::new(what, "write a path relative to the folder of this file")
        })?;
        if text.len() > MAX_FILE {
            let what = format!("{} has {} bytes, more than {MAX_FILE}", scalar::shown(named), text.len());
            return Err(Complaint::new(what, "name a smaller file"));
        }
        Ok(text)
    }
}

/// Who may answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answering<'a> {
    pub(crate) providers: &'a BTreeSet<ProviderName>,
    /// The parameters that each takes, where that is known.
    pub(crate) params: &'a BTreeMap<ProviderName, BTreeSet<String>>,
}

/// A whole version.
pub(crate) fn whole(fields: &Fields<'_>, answering: &Answering<'_>, place: Place<'_>) -> Option<Version> {
    let model = model(fields, answering.providers);
    let prompt = prompt::read(fields, place, prompt_mode(fields).unwrap_or(PromptMode::Replace), None);
    let tools =
        tools_json(fields, place).map(|json| Tools { mode: tools_mode(fields).unwrap_or(ToolsMode::Replace), json });
    let mut params = BTreeMap::new();
    merge_params(fields, &mut params);
    for (mode, of, stands) in [("prompt_mode", "prompt", prompt.is_some()), ("tools_mode", "tools", tools.is_some())] {
        if fields.node(mode).is_some() && !stands && fields.node(of).is_none() {
            useless(fields, mode, of);
        }
    }
    let (provider, model) = model?;
    if provider.as_str() == PEOPLE {
        people::version(fields);
    }
    let fallbacks = fallbacks(fields, answering.providers);
    let version = Version { provider, model, prompt, tools, params, fallbacks };
    known_params(fields, &version, answering);
    Some(version)
}

/// `stable` with what the canary changes.
pub(crate) fn changed(
    fields: &Fields<'_>,
    stable: &Version,
    answering: &Answering<'_>,
    place: Place<'_>,
) -> Option<Version> {
    let mut canary = stable.clone();
    if fields.node("model").is_some() {
        (canary.provider, canary.model) = model(fields, answering.providers)?;
    }
    match fields.node("prompt") {
        None => {}
        Some(node) if node.value.is_null() => canary.prompt = None,
        Some(_) => {
            let mode = canary.prompt.as_ref().map_or(PromptMode::Replace, |prompt| prompt.mode);
            canary.prompt = Some(prompt::read(fields, place, mode, stable.prompt.as_ref())?);
        }
    }
    match fields.node("tools") {
        None => {}
        Some(node) if node.value.is_null() => canary.tools = None,
        Some(_) => {
            let mode = canary.tools.as_ref().map_or(ToolsMode::Replace, |tools| tools.mode);
            canary.tools = Some(Tools { mode, json: tools_json(fields, place)? });
        }
    }
    match (prompt_mode(fields), &mut canary.prompt) {
        (Some(mode), Some(prompt)) => prompt.mode = mode,
        (Some(_), None) => useless(fields, "prompt_mode", "prompt"),
        (None, _) => {}
    }
    match (tools_mode(fields), &mut canary.tools) {
        (Some(mode), Some(tools)) => tools.mode = mode,
        (Some(_), None) => useless(fields, "tools_mode", "tools"),
        (None, _) => {}
    }
    merge_params(fields, &mut canary.params);
    match fields.node("fallbacks") {
        None => {}
        Some(node) if node.value.is_null() => canary.fallbacks.clear(),
        Some(_) => canary.fallbacks = fallbacks(fields, answering.providers),
    }
    known_params(fields, &canary, answering);
    Some(canary)
}

/// Who answers in the version's place; each is known, and none stands twice.
fn fallbacks(fields: &Fields<'_>, providers: &BTreeSet<ProviderName>) -> Vec<Fallback> {
    let mut read: Vec<Fallback> = Vec::new();
    for Placed { value, at, path } in fields.words("fallbacks") {
        let fallback = match value.split_once('/') {
            Some((provider, model)) => Fallback { provider: provider.into(), model: Some(model.to_owned()) },
            None => Fallback { provider: value.into(), model: None },
        };
        let known: Vec<&str> = providers.iter().map(ProviderName::as_str).collect();
        let complaint = if !providers.contains(&fallback.provider) {
            let what = format!("there is no provider {}", scalar::shown(fallback.provider.as_str()));
            let mend = format!("name one of {}, or add it under `providers`", listed(&known));
            Some((Complaint::new(what, mend), nearest(fallback.provider.as_str(), known.iter().copied())))
        } else if fallback.model.as_ref().is_some_and(String::is_empty) {
            Some((Complaint::new("the model is empty", "write `provider` alone, or `provider/model`"), None))
        } else if read.contains(&fallback) {
            Some((Complaint::new("it stands twice", "remove one"), None))
        } else {
            None
        };
        match complaint {
            Some((complaint, near)) => fields.reading.fault(at, &path, complaint, near),
            None => read.push(fallback),
        }
    }
    read
}

/// Every parameter is one that whoever may answer takes.
fn known_params(fields: &Fields<'_>, version: &Version, answering: &Answering<'_>) {
    let mut providers = vec![&version.provider];
    for fallback in &version.fallbacks {
        if !providers.contains(&&fallback.provider) {
            providers.push(&fallback.provider);
        }
    }
    providers.into_iter().for_each(|provider| params_of(fields, provider, &version.params, answering));
}

/// Every parameter is one that the provider takes: it would refuse each request, or pass over what is
/// misspelt, and only customers would tell.
fn params_of(
    fields: &Fields<'_>,
    provider: &ProviderName,
    params: &BTreeMap<String, JsonText>,
    answering: &Answering<'_>,
) {
    let Some(known) = answering.params.get(provider) else { return };
    let written = fields.entries("params");
    for name in params.keys().filter(|name| !known.contains(*name)) {
        let what = format!("`{name}` is no parameter that provider `{provider}` is known to take");
        let list = format!("list it under `providers.{provider}.extra_params` if it takes it");
        match written.iter().find(|(own, _)| own == name) {
            Some((_, Placed { at, path, .. })) => {
                let complaint = Complaint::new(what, format!("correct it, or {list}"));
                let near = nearest(name, known.iter().map(String::as_str));
                fields.reading.fault(*at, path, complaint, near);
            }
            None => {
                let what = format!("{what}, and it comes from the stable version");
                let complaint = Complaint::new(what, format!("write `params: {{ {name}: null }}`, or {list}"));
                fields.fault("params", complaint, None);
            }
        }
    }
}

fn useless(fields: &Fields<'_>, mode: &'static str, of: &'static str) {
    let complaint = Complaint::new(format!("there is no `{of}` for it"), format!("add `{of}`, or remove `{mode}`"));
    fields.fault(mode, complaint, None);
}

/// The provider and the model, where the provider is known.
pub(crate) fn model(fields: &Fields<'_>, providers: &BTreeSet<ProviderName>) -> Option<(ProviderName, String)> {
    let (provider, model) = scalar::model(fields.text("model")?.value).ok()?;
    let provider = ProviderName::from(provider);
    if !providers.contains(&provider) {
        let known: Vec<&str> = providers.iter().map(ProviderName::as_str).collect();
        let near = nearest(provider.as_str(), known.iter().copied());
        let mend = format!("name one of {}, or add it under `providers`", listed(&known));
        let what = format!("there is no provider {}", scalar::shown(provider.as_str()));
        fields.fault("model", Complaint::new(what, mend), near);
    }
    Some((provider, model.to_owned()))
}

/// Names for people; says so when there are none.
pub(crate) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "those there are (there are none)".to_owned() } else { names.join(", ") }
}

/// The text of a file, or of the inline form under `inner`.
fn file_or_inline(fields: &Fields<'_>, name: &'static str, inner: &'static str, place: Place<'_>) -> Option<String> {
    let node = fields.node(name)?;
    match &node.value.value {
        Value::Scalar { .. } => {
            let path = scalar_text(node)?.value;
            place.file(path).map_err(|complaint| fields.fault(name, complaint, None)).ok()
        }
        Value::Map(_) => fields.section(name)?.text(inner).map(|text| text.value.to_owned()),
        Value::List(_) => None,
    }
}

fn tools_json(fields: &Fields<'_>, place: Place<'_>) -> Option<JsonText> {
    let text = file_or_inline(fields, "tools", "json", place)?;
    let text = text.trim();
    match check_tools(text) {
        Ok(()) => Some(JsonText(text.to_owned())),
        Err(what) => {
            let mend = r#"write a JSON array of {"type":"function","function":{"name":…,"parameters":{…}}}"#;
            fields.fault("tools", Complaint::new(what, mend), None);
            None
        }
    }
}

/// Whether the text is a JSON array of tools in OpenAI's form, each name once.
fn check_tools(text: &str) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("the tools are not JSON: line {line}, column {column} of them")
    })?;
    let tools = value.as_array().ok_or("the tools are not a JSON array")?;
    let mut names = BTreeSet::new();
    for (i, tool) in tools.iter().enumerate() {
        if tool.get("type").and_then(|kind| kind.as_str()) != Some("function") {
            return Err(format!("tool {i} has no `\"type\": \"function\"`"));
        }
        let function = tool.get("function").ok_or_else(|| format!("tool {i} has no `function`"))?;
        let name = function.get("name").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("tool {i} has no `function.name`"))?;
        if function.get("parameters").is_some_and(|parameters| !parameters.is_object()) {
            return Err(format!("the `parameters` of tool `{name}` are not a JSON Schema object"));
        }
        if !names.insert(name) {
            return Err(format!("the tool `{name}` stands twice"));
        }
    }
    Ok(())
}

fn prompt_mode(fields: &Fields<'_>) -> Option<PromptMode> {
    Some(match fields.node("prompt_mode").and_then(scalar_text)?.value {
        "replace" => PromptMode::Replace,
        "prepend" => PromptMode::Prepend,
        "append" => PromptMode::Append,
        _ => return None,
    })
}

fn tools_mode(fields: &Fields<'_>) -> Option<ToolsMode> {
    Some(match fields.node("tools_mode").and_then(scalar_text)?.value {
        "replace" => ToolsMode::Replace,
        "merge" => ToolsMode::Merge,
        _ => return None,
    })
}

/// Sets parameters; `null` takes one away. What decides the route or the form of the answer is
/// the client's and cannot be set.
pub(crate) fn merge_params(fields: &Fields<'_>, params: &mut BTreeMap<String, JsonText>) {
    const NOT_PARAMS: [&str; 5] = ["model", "messages", "tools", "stream", "functions"];
    for (name, Placed { value, at, path }) in fields.entries("params") {
        if NOT_PARAMS.contains(&name) {
            let what = format!("`{name}` is not a parameter of a version");
            let mend = "remove it; model, prompt and tools have keys of their own, the rest is the client's";
            fields.reading.fault(at, &path, Complaint::new(what, mend), None);
        } else if fits(value, &Kind::Null) {
            params.remove(name);
        } else if let Ok(json) = json::text(value) {
            params.insert(name.to_owned(), JsonText(json));
        }
    }
}
