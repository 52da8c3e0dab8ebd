//! The immutable bundle that is released: model and provider, prompt, tools, parameters.

pub mod template;

use crate::id::ProviderName;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What answers. Two equal bundles are the same version: the id is a hash of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Who answers.
    pub provider: ProviderName,
    /// The provider's own name of the model, put into the request body.
    pub model: String,
    /// The system prompt of the version; `None` leaves the client's own.
    pub prompt: Option<Prompt>,
    /// The tools of the version; `None` leaves the client's own.
    pub tools: Option<Tools>,
    /// Parameters set over the client's (`temperature`, …); values are JSON texts.
    pub params: BTreeMap<String, JsonText>,
    /// Who is asked in its place, one after the other, where it failed and nothing was delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
}

/// The provider of versions that are people.
pub const PEOPLE: &str = "people";

/// Somebody else who can answer as the version would: with its prompt, tools and parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Who answers.
    pub provider: ProviderName,
    /// That provider's own name of the model; `None`: the version's.
    pub model: Option<String>,
}

/// A system prompt and how it meets the client's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// How it meets the client's own system message.
    pub mode: PromptMode,
    /// The text; where variables are declared, with their places.
    pub text: String,
    /// What its variables say where a request does not: without any, braces in the text are braces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
}

/// How a version's prompt meets the client's system message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptMode {
    /// The client's leading system message is replaced; one is added where there is none.
    Replace,
    /// Put before the client's.
    Prepend,
    /// Put after the client's.
    Append,
}

/// The tools of a version: a JSON array text in the OpenAI form, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// How they meet the client's own.
    pub mode: ToolsMode,
    /// The JSON array.
    pub json: JsonText,
}

/// How a version's tools meet the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolsMode {
    /// The client's tools are replaced.
    Replace,
    /// The version's tools come first, then the client's of other names.
    Merge,
}

/// A JSON value as text, valid by construction of whoever read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(pub String);

/// The content hash of a [`Version`]: 32 bytes of BLAKE3, shown as `v_` and 12 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub [u8; 32]);

impl Version {
    /// Whether people answer: then there is no copy, time, token, price or tool call of it.
    #[must_use]
    pub fn is_people(&self) -> bool {
        self.provider.as_str() == PEOPLE
    }

    /// The content hash. Every field is length-prefixed, so no two bundles share an encoding.
    #[must_use]
    pub fn id(&self) -> VersionId {
        let mut hasher = blake3::Hasher::new_derive_key("coalmine version 1");
        let mut put = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        put(self.provider.as_str());
        put(&self.model);
        match &self.prompt {
            None => put("no prompt"),
            Some(prompt) => {
                put(match prompt.mode {
                    PromptMode::Replace => "replace prompt",
                    PromptMode::Prepend => "prepend prompt",
                    PromptMode::Append => "append prompt",
                });
                put(&prompt.text);
            }
        }
        match &self.tools {
            None => put("no tools"),
            Some(tools) => {
                put(match tools.mode {
                    ToolsMode::Replace => "replace tools",
                    ToolsMode::Merge => "merge tools",
                });
                put(&tools.json.0);
            }
        }
        for (name, value) in &self.params {
            put(name);
            put(&value.0);
        }
        let mut id = *hasher.finalize().as_bytes();
        if let Some(prompt) = self.prompt.as_ref().filter(|prompt| !prompt.variables.is_empty()) {
            id = with_variables(&id, &prompt.variables);
        }
        VersionId(if self.fallbacks.is_empty() { id } else { with_fallbacks(&id, &self.fallbacks) })
    }

    /// What a fallback of it is: the same with another model, and nobody behind it.
    #[must_use]
    pub fn by(&self, fallback: &Fallback) -> Self {
        Self {
            provider: fallback.provider.clone(),
            model: fallback.model.clone().unwrap_or_else(|| self.model.clone()),
            fallbacks: Vec::new(),
            ..self.clone()
        }
    }
}

impl Prompt {
    /// A prompt without variables.
    #[must_use]
    pub fn new(mode: PromptMode, text: impl Into<String>) -> Self {
        Self { mode, text: text.into(), variables: BTreeMap::new() }
    }

    /// The text that is sent: with what a request gives for its variables, and their defaults for the rest.
    #[must_use]
    pub fn rendered(&self, given: &BTreeMap<String, String>) -> Cow<'_, str> {
        template::render(&self.text, &self.variables, given)
    }

    /// The first place for a variable that `before` declares and this prompt does not: whoever asks would be sent its
    /// braces, where they were sent a text.
    #[must_use]
    pub fn left_open(&self, before: &Self) -> Option<template::Placeholder<'_>> {
        let declared = |prompt: &Self, name: &str| prompt.variables.contains_key(name);
        template::placeholders(&self.text).find(|place| declared(before, place.name) && !declared(self, place.name))
    }

    /// For people: the text, and its variables under it.
    fn shown(&self) -> String {
        if self.variables.is_empty() {
            return self.text.clone();
        }
        let lines = self.variables.iter().map(|(name, value)| format!("\n  {name}: {value:?}"));
        format!("{}\nvariables:{}", self.text, lines.collect::<String>())
    }
}

/// The hash of a version whose prompt has variables; one without keeps the id that it had before there were any.
fn with_variables(id: &[u8; 32], variables: &BTreeMap<String, String>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("coalmine version 1 variables");
    hasher.update(id);
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The hash of a version with a chain; one without keeps the id that it had before there were chains.
fn with_fallbacks(id: &[u8; 32], fallbacks: &[Fallback]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("coalmine version 1 fallbacks");
    hasher.update(id);
    for fallback in fallbacks {
        for text in [Some(fallback.provider.as_str()), fallback.model.as_deref()] {
            hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.provider.as_str())?;
        self.model.as_ref().map_or(Ok(()), |model| write!(f, "/{model}"))
    }
}

/// Which of the parts differ between two versions; this decides the default checks of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDiff {
    /// The parts that differ, in the order of [`Part`].
    pub changed: Vec<Change>,
}

/// One part that differs, with both sides as text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What differs.
    pub part: Part,
    /// The stable side; empty when absent.
    pub from: String,
    /// The canary side; empty when absent.
    pub to: String,
}

/// A part of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Provider or model.
    Model,
    /// System prompt.
    Prompt,
    /// Tools.
    Tools,
    /// Parameters.
    Params,
    /// Who answers where the version fails.
    Fallbacks,
}

impl Version {
    /// What changes when `self` (stable) gives way to `to` (canary).
    #[must_use]
    pub fn diff(&self, to: &Self) -> VersionDiff {
        let model = |v: &Self| format!("{}/{}", v.provider, v.model);
        let prompt = |v: &Self| v.prompt.as_ref().map_or(String::new(), Prompt::shown);
        let tools = |v: &Self| v.tools.as_ref().map_or(String::new(), |t| t.json.0.clone());
        let params = |v: &Self| {
            let lines: Vec<String> = v.params.iter().map(|(name, value)| format!("{name}: {}", value.0)).collect();
            lines.join("\n")
        };
        let fallbacks = |v: &Self| v.fallbacks.iter().map(Fallback::to_string).collect::<Vec<_>>().join(", ");
        let mut changed = Vec::new();
        let mut note = |part, differs: bool, from: String, to: String| {
            if differs {
                changed.push(Change { part, from, to });
            }
        };
        let same_model = self.provider == to.provider && self.model == to.model;
        note(Part::Model, !same_model, model(self), model(to));
        note(Part::Prompt, self.prompt != to.prompt, prompt(self), prompt(to));
        note(Part::Tools, self.tools != to.tools, tools(self), tools(to));
        note(Part::Params, self.params != to.params, params(self), params(to));
        note(Part::Fallbacks, self.fallbacks != to.fallbacks, fallbacks(self), fallbacks(to));
        VersionDiff { changed }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v_")?;
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

impl VersionId {
    /// All 64 hex digits, the form that is stored.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads the 64 hex digits of [`Self::to_hex`].
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl Serialize for VersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for VersionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a version id is 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        proptest::sample::select(vec!["", "a", "b", "ab", "no prompt", "no tools", "replace prompt"])
            .prop_map(str::to_owned)
    }

    fn version() -> impl Strategy<Value = Version> {
        let mode = prop_oneof![Just(PromptMode::Replace), Just(PromptMode::Prepend), Just(PromptMode::Append)];
        let prompt = (mode, text(), proptest::collection::btree_map(text(), text(), 0..3));
        let tools = (prop_oneof![Just(ToolsMode::Replace), Just(ToolsMode::Merge)], text());
        let params = proptest::collection::btree_map(text(), text().prop_map(JsonText), 0..3);
        let fallback = (text(), proptest::option::of(text()));
        let fallback = fallback.prop_map(|(provider, model)| Fallback { provider: ProviderName(provider), model });
        let fallbacks = proptest::collection::vec(fallback, 0..3);
        (text(), text(), proptest::option::of(prompt), proptest::option::of(tools), params, fallbacks).prop_map(
            |(provider, model, prompt, tools, params, fallbacks)| Version {
                provider: ProviderName(provider),
                model,
                prompt: prompt.map(|(mode, text, variables)| Prompt { mode, text, variables }),
                tools: tools.map(|(mode, json)| Tools { mode, json: JsonText(json) }),
                params,
                fallbacks,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn two_bundles_share_an_id_only_when_they_are_equal(one in version(), other in version()) {
            prop_assert_eq!(one.id() == other.id(), one == other);
            prop_assert_eq!(one.diff(&other).changed.is_empty(), one == other);
        }

        #[test]
        fn an_id_is_read_back(bytes: [u8; 32]) {
            let id = VersionId(bytes);
            prop_assert_eq!(VersionId::from_hex(&id.to_hex()), Some(id));
        }
    }

    /// Ids are stored: a change of the hash would orphan every version.
    #[test]
    fn the_hash_is_the_one_that_is_stored() {
        let version = Version {
            provider: ProviderName::from("openai"),
            model: "gpt-4.1".to_owned(),
            prompt: Some(Prompt::new(PromptMode::Replace, "Be brief.")),
            tools: None,
            params: [("temperature".to_owned(), JsonText("0.2".to_owned()))].into(),
            fallbacks: Vec::new(),
        };
        insta::assert_snapshot!(version.id().to_hex(), @"895830be82548aab19dd61c23d22ed99187d69cac0f8b82fa6e85a7ab3dcec9c");
    }

    /// What was stored before there were variables is read, keeps its id, and is written as it was.
    #[test]
    fn variables_are_told_and_change_nothing_where_there_are_none() {
        let old = r#"{"mode":"replace","text":"Be {{kind}}."}"#;
        let plain: Prompt = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), old);
        assert_eq!(plain.rendered(&[("kind".to_owned(), "x".to_owned())].into()), "Be {{kind}}.");
        let with = |kind: &str| Version {
            provider: ProviderName::from("openai"),
            model: "gpt-4.1".to_owned(),
            prompt: Some(Prompt { variables: [("kind".to_owned(), kind.to_owned())].into(), ..plain.clone() }),
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        };
        let changed = with("calm").diff(&with("brief")).changed;
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].from, "Be {{kind}}.\nvariables:\n  kind: \"calm\"");
        assert_eq!(changed[0].to, "Be {{kind}}.\nvariables:\n  kind: \"brief\"");
        let stored = serde_json::to_string(&with("calm")).unwrap();
        assert_eq!(serde_json::from_str::<Version>(&stored).unwrap(), with("calm"));
    }

    #[test]
    fn a_place_is_left_open_where_its_variable_was_declared_and_is_no_more() {
        let prompt = |text: &str, declared: &[&str]| Prompt {
            variables: declared.iter().map(|name| ((*name).to_owned(), String::new())).collect(),
            ..Prompt::new(PromptMode::Replace, text)
        };
        let before = prompt("Help {{a}}, {{b}}.", &["a", "b"]);
        let open = |text, declared| prompt(text, declared).left_open(&before).map(|place| place.name.to_owned());
        assert_eq!(open("Help {{ b }} and {{a}}.", &[]).as_deref(), Some("b"));
        assert_eq!(open("Help {{a}} and {{b}}.", &["a"]).as_deref(), Some("b"));
        assert_eq!(open("Help {{a}} and {{b}}.", &["a", "b"]), None);
        assert_eq!(open("Help {{c}} and a, {b}.", &[]), None, "no variable of the other's: braces are text");
        assert_eq!(prompt("Help {{a}}.", &[]).left_open(&prompt("Help {{a}}.", &[])), None);
    }

    #[test]
    fn only_64_hex_digits_are_an_id() {
        for text in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(VersionId::from_hex(text), None, "{text}");
        }
    }
}
