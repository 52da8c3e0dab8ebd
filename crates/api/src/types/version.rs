//! Versions and their differences.

use coalmine_core::version::{Change, Part, PromptMode, ToolsMode, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An immutable bundle: model, prompt, tools, parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// `v_` and 12 hex digits of the content hash.
    pub id: String,
    /// The whole content hash, 64 hex digits.
    pub hash: String,
    /// Provider and model, as `openai/gpt-5-mini`.
    pub model: String,
    /// The system prompt, if the version brings one.
    pub prompt: Option<String>,
    /// What the places `{{name}}` of the prompt say where a request gives nothing for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// How it meets the client's own: `replace`, `prepend`, `append`.
    pub prompt_mode: Option<String>,
    /// The tools, if the version brings them, as the JSON text that was registered.
    pub tools: Option<String>,
    /// How they meet the client's own: `replace`, `merge`.
    pub tools_mode: Option<String>,
    /// Parameters set over the client's, as JSON texts.
    pub params: BTreeMap<String, String>,
    /// Who is asked in its place where it failed, as `provider` or `provider/model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
}

/// One part in which two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// `model`, `prompt`, `tools`, `params`, `fallbacks`.
    pub part: String,
    /// The stable side.
    pub from: String,
    /// The canary side.
    pub to: String,
}

impl From<&Version> for VersionView {
    fn from(version: &Version) -> Self {
        let id = version.id();
        let prompt_mode = version.prompt.as_ref().map(|prompt| match prompt.mode {
            PromptMode::Replace => "replace",
            PromptMode::Prepend => "prepend",
            PromptMode::Append => "append",
        });
        let tools_mode = version.tools.as_ref().map(|tools| match tools.mode {
            ToolsMode::Replace => "replace",
            ToolsMode::Merge => "merge",
        });
        Self {
            id: id.to_string(),
            hash: id.to_hex(),
            model: format!("{}/{}", version.provider, version.model),
            prompt: version.prompt.as_ref().map(|prompt| prompt.text.clone()),
            variables: version.prompt.as_ref().map(|prompt| prompt.variables.clone()).unwrap_or_default(),
            prompt_mode: prompt_mode.map(str::to_owned),
            tools: version.tools.as_ref().map(|tools| tools.json.0.clone()),
            tools_mode: tools_mode.map(str::to_owned),
            params: version.params.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            fallbacks: version.fallbacks.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let part = match change.part {
            Part::Model => "model",
            Part::Prompt => "prompt",
            Part::Tools => "tools",
            Part::Params => "params",
            Part::Fallbacks => "fallbacks",
        };
        Self { part: part.to_owned(), from: change.from.clone(), to: change.to.clone() }
    }
}
