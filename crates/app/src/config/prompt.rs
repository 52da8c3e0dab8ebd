//! Prompts as files write them: a path, a text, or either of them with variables.

use crate::config::fault::{Complaint, nearest};
use crate::config::read::{Fields, Placed, scalar_text};
use crate::config::scalar;
use crate::config::tree::Value;
use crate::config::version::Place;
use coalmine_core::version::template::{NAME_MAX, PLACES_MAX, VALUE_MAX_BYTES, VARIABLES_MAX, is_name, placeholders};
use coalmine_core::version::{Prompt, PromptMode};
use std::collections::BTreeMap;

/// The prompt of a version, without the newlines at its end, which editors add. A canary's comes in the place of
/// `stable`'s.
pub(super) fn read(fields: &Fields<'_>, place: Place<'_>, mode: PromptMode, stable: Option<&Prompt>) -> Option<Prompt> {
    let node = fields.node("prompt")?;
    let (text, inner) = match &node.value.value {
        Value::Scalar { .. } => {
            let path = scalar_text(node)?.value;
            (place.file(path).map_err(|complaint| fields.fault("prompt", complaint, None)).ok()?, None)
        }
        Value::Map(_) => {
            let inner = fields.section("prompt")?;
            (text_of(fields, &inner, place)?, Some(inner))
        }
        Value::List(_) => return None,
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() {
        let complaint = Complaint::new("the prompt is empty", "write one, or remove the key to leave the client's own");
        fields.fault("prompt", complaint, None);
    }
    let variables = inner.as_ref().map(|inner| variables(inner, text)).unwrap_or_default();
    let prompt = Prompt { mode, text: text.to_owned(), variables };
    // where it declares something itself, each of its places is looked at already
    if let Some(stable) = stable.filter(|_| prompt.variables.is_empty()) {
        left_open(fields, inner.as_ref(), &prompt, stable);
    }
    Some(prompt)
}

/// A canary that keeps a place of stable's and not its variable would show its provider the braces.
fn left_open(fields: &Fields<'_>, inner: Option<&Fields<'_>>, prompt: &Prompt, stable: &Prompt) {
    let Some(place) = prompt.left_open(stable) else { return };
    let (name, line) = (place.name, line_of(&prompt.text, place.start));
    let what = format!(
        "line {line} of the prompt has a place for {}, which stable declares and this prompt does not: the provider would read the braces",
        scalar::shown(name)
    );
    let declare = match inner {
        Some(_) => format!("declare it with a default: `variables: {{ {name}: … }}`"),
        None => format!("declare it with a default: `prompt: {{ file: …, variables: {{ {name}: … }} }}`"),
    };
    let mend = format!("{declare}; braces that are meant as text are a default too: `{name}: \"{{{{{name}}}}}\"`");
    let complaint = Complaint::new(what, mend);
    match inner {
        Some(inner) => inner.fault(source(inner), complaint, None),
        None => fields.fault("prompt", complaint, None),
    }
}

/// The key that a mapping has its text from.
fn source(inner: &Fields<'_>) -> &'static str {
    if inner.node("file").is_some() { "file" } else { "text" }
}

/// The line of a place in bytes, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// The text of a mapping: its own, or a file's.
fn text_of(fields: &Fields<'_>, inner: &Fields<'_>, place: Place<'_>) -> Option<String> {
    match (inner.node("text"), inner.node("file")) {
        (Some(text), None) => scalar_text(text).map(|text| text.value.to_owned()),
        (None, Some(file)) => {
            let path = scalar_text(file)?.value;
            place.file(path).map_err(|complaint| inner.fault("file", complaint, None)).ok()
        }
        (Some(_), Some(_)) => {
            inner.fault("file", Complaint::new("`text` stands beside it", "keep one of the two"), None);
            None
        }
        (None, None) => {
            let complaint = Complaint::new("neither `text` nor `file` stands", "write one of the two");
            fields.fault("prompt", complaint, None);
            None
        }
    }
}

/// The variables with their defaults: each has its place in the text, and each place its variable.
fn variables(inner: &Fields<'_>, text: &str) -> BTreeMap<String, String> {
    let entries = inner.entries("variables");
    let mut declared = BTreeMap::new();
    for (name, Placed { value, at, path }) in &entries {
        if !is_name(name) {
            let what = format!("{} is no name of a variable", scalar::shown(name));
            let mend = format!("write 1 to {NAME_MAX} small letters, digits and `_`, a letter first{}", likely(name));
            inner.reading.fault(*at, path, Complaint::new(what, mend), None);
        }
        let placed = Placed { value: *value, at: *at, path: path.clone() };
        let default = scalar_text(placed).map_or_else(String::new, |default| default.value.to_owned());
        if default.len() > VALUE_MAX_BYTES {
            let what = format!("the default has {} bytes, more than {VALUE_MAX_BYTES}", default.len());
            let complaint = Complaint::new(what, "shorten it, or write it into the text itself");
            inner.reading.fault(*at, path, complaint, None);
        }
        declared.insert((*name).to_owned(), default);
    }
    if declared.len() > VARIABLES_MAX {
        let what = format!("there are {} variables, more than {VARIABLES_MAX}", declared.len());
        inner.fault("variables", Complaint::new(what, "write the rest into the text itself"), None);
    }
    if !declared.is_empty() {
        places(inner, text, &declared);
        for (name, Placed { at, path, .. }) in &entries {
            if is_name(name) && !placeholders(text).any(|place| place.name == *name) {
                let mend = format!("write `{{{{{name}}}}}` where it is to stand, or remove it");
                inner.reading.fault(*at, path, Complaint::new("the text does not use it", mend), None);
            }
        }
    }
    declared
}

/// The places of the text.
fn places(inner: &Fields<'_>, text: &str, declared: &BTreeMap<String, String>) {
    let fault = |what: String, mend: &str, near| inner.fault(source(inner), Complaint::new(what, mend), near);
    let mut own = String::new();
    let mut behind = 0;
    for place in placeholders(text) {
        own.push_str(&text[behind..place.start]);
        behind = place.end;
        if !declared.contains_key(place.name) {
            let line = line_of(text, place.start);
            let what = format!(
                "line {line} of the prompt has a place for {}, and no variable of that name is declared",
                scalar::shown(place.name)
            );
            let mend = "declare it under `variables` with a default, or correct it; braces that are meant as text can be the default of a variable";
            fault(what, mend, nearest(place.name, declared.keys().map(String::as_str)));
        }
    }
    own.push_str(&text[behind..]);
    if own.trim().is_empty() && !text.trim().is_empty() {
        let what = "the prompt is nothing but variables: a request could make it empty".to_owned();
        fault(what, "write something of the version's own beside them", None);
    }
    let n = placeholders(text).count();
    if n > PLACES_MAX {
        fault(
            format!("the prompt has {n} places, more than {PLACES_MAX}"),
            "write a variable out where it stands often",
            None,
        );
    }
}

/// What may have been meant.
fn likely(name: &str) -> String {
    let name = name.to_lowercase().replace(['-', ' ', '.'], "_");
    if is_name(&name) { format!(": `{name}`") } else { String::new() }
}
