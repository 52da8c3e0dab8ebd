//! One assertion of a suite. Every type that promptfoo knows is in one of three lists: those that are run here,
//! those that are not built yet, and those that need something that does not run here.

use super::prompts::{Vars, render};
use super::{Map, Reader};
use crate::config::fault::{Complaint, nearest};
use crate::config::scalar::shown;
use crate::config::tree::{Node, Value};
use coalmine_wire::probe::{ArgsMode, Assertion, Case, Check, Quota, Sense, SequenceMode};
use serde_json::Value as Json;

/// The types that are run here.
pub const BUILT: [&str; 28] = [
    "equals",
    "contains",
    "contains-all",
    "contains-any",
    "icontains",
    "icontains-all",
    "icontains-any",
    "starts-with",
    "regex",
    "is-json",
    "contains-json",
    "is-refusal",
    "finish-reason",
    "latency",
    "cost",
    "levenshtein",
    "word-count",
    "numeric",
    "is-valid-function-call",
    "is-valid-openai-function-call",
    "is-valid-openai-tools-call",
    "trajectory:tool-used",
    "trajectory:tool-args-match",
    "trajectory:tool-sequence",
    "tool-used",
    "tool-args-match",
    "tool-sequence",
    "tool-called",
];

/// A type that belongs to the format and is not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYet {
    /// As written.
    pub name: &'static str,
    /// What it would do.
    pub doc: &'static str,
    /// What to write instead.
    pub mend: &'static str,
}

/// Use what words decide.
const WORDS: &str = "use icontains-any, regex or levenshtein";
/// Use a pattern.
const PATTERN: &str = "use regex";

/// The types that are not built yet.
pub const NOT_YET: [NotYet; 9] = [
    NotYet { name: "similar", doc: "Similarity by an embeddings endpoint.", mend: WORDS },
    NotYet { name: "llm-rubric", doc: "A rubric judged by a pinned model.", mend: WORDS },
    NotYet { name: "factuality", doc: "Facts judged by a pinned model.", mend: WORDS },
    NotYet { name: "model-graded-closedqa", doc: "A criterion judged by a pinned model.", mend: WORDS },
    NotYet { name: "g-eval", doc: "Criteria judged by a pinned model.", mend: WORDS },
    NotYet {
        name: "webhook",
        doc: "The answer judged by an endpoint of yours.",
        mend: "send your own verdict as feedback",
    },
    NotYet { name: "rouge-n", doc: "Overlap of words with a reference.", mend: WORDS },
    NotYet { name: "bleu", doc: "Overlap of word sequences with a reference.", mend: WORDS },
    NotYet { name: "trajectory:step-count", doc: "How many tool calls there are.", mend: "use trajectory:tool-used" },
];

/// The types that need what does not run here, and what to use instead.
const ELSEWHERE: [(&str, &str); 37] = [
    ("javascript", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("python", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("ruby", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("assert-set", "write its assertions one by one, with `weight` and the test's `threshold`"),
    ("answer-relevance", WORDS),
    ("classifier", WORDS),
    ("contains-html", PATTERN),
    ("contains-sql", PATTERN),
    ("contains-xml", PATTERN),
    ("context-faithfulness", WORDS),
    ("context-recall", WORDS),
    ("context-relevance", WORDS),
    ("conversation-relevance", WORDS),
    ("gleu", WORDS),
    ("guardrails", "use is-refusal and finish-reason"),
    ("is-html", PATTERN),
    ("is-sql", PATTERN),
    ("is-xml", PATTERN),
    ("meteor", WORDS),
    ("model-graded-factuality", WORDS),
    ("moderation", "use is-refusal and finish-reason"),
    ("perplexity", WORDS),
    ("perplexity-score", WORDS),
    ("pi", WORDS),
    ("search-rubric", WORDS),
    ("agent-rubric", WORDS),
    ("select-best", WORDS),
    ("max-score", WORDS),
    ("human", "send a person's verdict as feedback"),
    ("skill-used", "use trajectory:tool-used"),
    ("tool-call-f1", "use trajectory:tool-used or trajectory:tool-sequence"),
    ("trace-error-spans", "guard error_rate"),
    ("trace-span-count", "use trajectory:tool-used"),
    ("trace-span-duration", "use latency"),
    ("trajectory:goal-success", WORDS),
    ("similar:dot", WORDS),
    ("similar:euclidean", WORDS),
];

/// Keys that an assertion may have; `metric` only names a row in promptfoo's own report.
const KEYS: [&str; 6] = ["type", "value", "threshold", "weight", "metric", "description"];

/// One assertion, being read.
struct Written<'a> {
    node: &'a Node,
    map: Map<'a>,
    path: &'a str,
    name: &'a str,
}

impl Reader<'_> {
    pub(super) fn assertion(&self, node: &Node, path: &str) -> Option<Assertion> {
        let map = self.map(node, path)?;
        let Some((kind, kind_path)) = map.get("type") else {
            self.fault(node.at, path, "an assertion has no `type`", "write one, such as `type: icontains`");
            return None;
        };
        let written = self.text(kind, &kind_path)?;
        let (sense, name) = match written.strip_prefix("not-") {
            Some(name) => (Sense::HoldsNot, name),
            None => (Sense::Holds, written),
        };
        if !BUILT.contains(&name) {
            self.refuse(kind, &kind_path, written, name);
            return None;
        }
        self.known(&map, &KEYS);
        let weight = map.get("weight").map_or(Some(1.0), |(node, path)| self.number(node, &path))?;
        let read = Written { node, map, path, name };
        let check = self.check(&read)?;
        if let Err(why) = check.check() {
            self.fault(node.at, path, why, "mend it; the syntax is that of Rust's regex and of JSON Schema");
            return None;
        }
        Some(Assertion { check, sense, weight: weight.max(0.0) })
    }

    fn refuse(&self, node: &Node, path: &str, written: &str, name: &str) {
        let base = name.split(':').next().unwrap_or(name);
        let later = NOT_YET.iter().find(|one| one.name == name || (base == "similar" && one.name == base));
        let complaint = if let Some(later) = later {
            let doc = later.doc.trim_end_matches('.').to_lowercase();
            Complaint::new(format!("the assertion {} ({doc}) is not built yet", shown(written)), later.mend)
        } else if let Some((_, mend)) = ELSEWHERE.iter().find(|(one, _)| *one == name) {
            let what = match name {
                "javascript" | "python" | "ruby" => {
                    format!("the assertion {} is a program, and no program of a suite is run", shown(written))
                }
                _ => format!("the assertion {} cannot be run here", shown(written)),
            };
            Complaint::new(what, *mend)
        } else {
            let near = nearest(name, BUILT);
            let complaint = Complaint::new(
                format!("the assertion {} is not known", shown(written)),
                format!("use one of {}", BUILT.join(", ")),
            );
            return self.reading.fault(node.at, path, complaint, near);
        };
        self.reading.fault(node.at, path, complaint, None);
    }

    fn check(&self, read: &Written<'_>) -> Option<Check> {
        let contains = |quota, case| Some(Check::Contains { values: self.values(read)?, quota, case });
        match read.name {
            "equals" => match self.value(read)? {
                Json::String(value) => Some(Check::Equals { value }),
                value @ (Json::Object(_) | Json::Array(_)) => Some(Check::EqualsJson { value }),
                value @ (Json::Null | Json::Bool(_) | Json::Number(_)) => {
                    Some(Check::Equals { value: value.to_string() })
                }
            },
            "contains" | "contains-all" => contains(Quota::All, Case::Counts),
            "contains-any" => contains(Quota::Any, Case::Counts),
            "icontains" | "icontains-all" => contains(Quota::All, Case::Ignored),
            "icontains-any" => contains(Quota::Any, Case::Ignored),
            "starts-with" => Some(Check::StartsWith { value: self.string(read)? }),
            "regex" => Some(Check::Regex { pattern: self.string(read)? }),
            "is-json" => Some(Check::IsJson { schema: self.schema(read)? }),
            "contains-json" => Some(Check::ContainsJson { schema: self.schema(read)? }),
            "is-refusal" => Some(Check::IsRefusal),
            "finish-reason" => Some(Check::FinishReason { value: self.string(read)? }),
            "latency" => Some(Check::Latency { threshold_ms: self.threshold(read)? }),
            "cost" => Some(Check::Cost { threshold_usd: self.threshold(read)? }),
            "levenshtein" => {
                let threshold = if read.map.get("threshold").is_some() { self.threshold(read)? } else { 5.0 };
                Some(Check::Levenshtein { value: self.string(read)?, threshold: threshold.max(0.0) as usize })
            }
            "word-count" => self.word_count(read),
            "numeric" => self.numeric_value(read),
            "tool-used" | "tool-called" | "trajectory:tool-used" => self.tool_used(read),
            "tool-args-match" | "trajectory:tool-args-match" => self.tool_args(read),
            "tool-sequence" | "trajectory:tool-sequence" => self.tool_sequence(read),
            _ => Some(Check::IsValidToolsCall),
        }
    }

    /// The value under `value`; a text that names a file stands for what is in it.
    fn value(&self, read: &Written<'_>) -> Option<Json> {
        let Some((node, path)) = read.map.get("value") else {
            self.fault(
                read.node.at,
                read.path,
                format!("{} has no `value`", read.name),
                "write what it is held against",
            );
            return None;
        };
        // What is plain text in YAML is text to an assertion: `value: 42` is looked for as `42`.
        if let Value::Scalar { text, .. } = &node.value {
            let Some(file) = text.strip_prefix("file://") else { return Some(Json::String(text.clone())) };
            return match self.place.file(file) {
                Ok(text) => Some(serde_json::from_str(&text).unwrap_or(Json::String(text))),
                Err(complaint) => {
                    self.reading.fault(node.at, &path, complaint, None);
                    None
                }
            };
        }
        self.json(node, &path)
    }

    fn string(&self, read: &Written<'_>) -> Option<String> {
        match self.value(read)? {
            Json::String(text) => Some(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                self.misshapen(read, "write a single text")
            }
        }
    }

    /// One text or a list of them; in the lists' types a text with commas is a list.
    fn values(&self, read: &Written<'_>) -> Option<Vec<String>> {
        let many = read.name.ends_with("-all") || read.name.ends_with("-any");
        let values: Vec<String> = match self.value(read)? {
            Json::String(text) if many => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Json::String(text) => vec![text],
            Json::Array(items) if many => items.iter().map(plain).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                return self.misshapen(read, if many { "write a list of texts" } else { "write a single text" });
            }
        };
        if values.is_empty() || values.iter().any(String::is_empty) {
            return self.misshapen(read, "leave no text empty: every answer contains it");
        }
        Some(values)
    }

    fn schema(&self, read: &Written<'_>) -> Option<Option<Json>> {
        if read.map.get("value").is_none() {
            return Some(None);
        }
        match self.value(read)? {
            schema @ Json::Object(_) => Some(Some(schema)),
            Json::String(text) => match serde_json::from_str(&text) {
                Ok(schema @ Json::Object(_)) => Some(Some(schema)),
                Ok(_) | Err(_) => self.misshapen(read, "write a JSON Schema, or `file://schema.json`"),
            },
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                self.misshapen(read, "write a JSON Schema, or `file://schema.json`")
            }
        }
    }

    fn threshold(&self, read: &Written<'_>) -> Option<f64> {
        let Some((node, path)) = read.map.get("threshold") else {
            self.fault(read.node.at, read.path, format!("{} has no `threshold`", read.name), "write a number");
            return None;
        };
        self.number(node, &path)
    }

    fn word_count(&self, read: &Written<'_>) -> Option<Check> {
        let (min, max) = match self.value(read)? {
            Json::String(text) => {
                let Ok(count) = text.trim().parse() else { return self.misshapen(read, "write a number of words") };
                (Some(count), Some(count))
            }
            Json::Object(bounds) => {
                let of = |key| bounds.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
                (of("min"), of("max"))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => (None, None),
        };
        if min.is_none() && max.is_none() {
            return self.misshapen(read, "write a number of words, or `{ min: 5, max: 40 }`");
        }
        Some(Check::WordCount { min, max })
    }

    fn numeric_value(&self, read: &Written<'_>) -> Option<Check> {
        let (node, path) = read.map.get("value").or_else(|| {
            self.fault(read.node.at, read.path, "numeric has no `value`", "write `value: { expected: 42, rel: 0.01 }`");
            None
        })?;
        self.numeric(node, &path).map(|assertion| assertion.check)
    }

    fn tool_used(&self, read: &Written<'_>) -> Option<Check> {
        match self.value(read)? {
            Json::String(name) => Some(Check::ToolUsed { name, min: 1, max: None }),
            Json::Object(value) => {
                let of = |key| value.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
                let Some(name) = value.get("name").and_then(Json::as_str).map(str::to_owned) else {
                    return self.misshapen(read, "write `{ name: get_order, min: 1 }`");
                };
                let max = of("max");
                Some(Check::ToolUsed { name, min: of("min").unwrap_or(usize::from(max != Some(0))), max })
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                self.misshapen(read, "write the tool's name, or `{ name: get_order, min: 1 }`")
            }
        }
    }

    fn tool_args(&self, read: &Written<'_>) -> Option<Check> {
        let form = "write `{ name: get_order, args: { id: \"8812\" }, mode: partial }`";
        let value = self.value(read)?;
        let mode = match value.get("mode").and_then(Json::as_str) {
            None | Some("partial") => ArgsMode::Partial,
            Some("exact") => ArgsMode::Exact,
            Some(_) => return self.misshapen(read, "write `mode: partial` or `mode: exact`"),
        };
        let name = value.get("name").and_then(Json::as_str).map(str::to_owned);
        let args = value.get("args").or_else(|| value.get("arguments")).filter(|args| args.is_object()).cloned();
        match (name, args) {
            (Some(name), Some(args)) => Some(Check::ToolArgsMatch { name, args, mode }),
            (_, _) => self.misshapen(read, form),
        }
    }

    fn tool_sequence(&self, read: &Written<'_>) -> Option<Check> {
        let value = self.value(read)?;
        let (steps, mode) = match &value {
            Json::Array(steps) => (Some(steps), None),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
                (value.get("steps").and_then(Json::as_array), value.get("mode").and_then(Json::as_str))
            }
        };
        let mode = match mode {
            None | Some("in_order") => SequenceMode::InOrder,
            Some("exact") => SequenceMode::Exact,
            Some(_) => return self.misshapen(read, "write `mode: in_order` or `mode: exact`"),
        };
        let name = |step: &Json| step.as_str().or_else(|| step.get("name").and_then(Json::as_str)).map(str::to_owned);
        match steps.map(|steps| steps.iter().map(name).collect::<Option<Vec<String>>>()) {
            Some(Some(steps)) if !steps.is_empty() => Some(Check::ToolSequence { steps, mode }),
            Some(_) | None => self.misshapen(read, "write `{ steps: [find_order, refund], mode: in_order }`"),
        }
    }

    fn misshapen<T>(&self, read: &Written<'_>, mend: &str) -> Option<T> {
        let at = read.map.get("value").map_or(read.node.at, |(node, _)| node.at);
        self.fault(at, read.path, format!("the `value` of {} has another form", read.name), mend);
        None
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

/// Fills the variables of a test into what an assertion is held against.
pub(super) fn fill(check: &mut Check, vars: &Vars) -> Result<(), Complaint> {
    match check {
        Check::Equals { value } | Check::StartsWith { value } | Check::Levenshtein { value, .. } => {
            *value = render(value, vars)?;
        }
        Check::Contains { values, .. } => {
            for value in values {
                *value = render(value, vars)?;
            }
        }
        Check::EqualsJson { value } | Check::ToolArgsMatch { args: value, .. } => fill_json(value, vars)?,
        // An expression may have braces of its own.
        Check::Regex { pattern } if pattern.contains("{{") => *pattern = render(pattern, vars)?,
        Check::Regex { .. }
        | Check::IsJson { .. }
        | Check::ContainsJson { .. }
        | Check::IsRefusal
        | Check::FinishReason { .. }
        | Check::Latency { .. }
        | Check::Cost { .. }
        | Check::WordCount { .. }
        | Check::Numeric { .. }
        | Check::ToolUsed { .. }
        | Check::ToolSequence { .. }
        | Check::IsValidToolsCall => {}
    }
    Ok(())
}

fn fill_json(value: &mut Json, vars: &Vars) -> Result<(), Complaint> {
    match value {
        Json::String(text) => *text = render(text, vars)?,
        Json::Array(items) => items.iter_mut().try_for_each(|item| fill_json(item, vars))?,
        Json::Object(members) => members.values_mut().try_for_each(|member| fill_json(member, vars))?,
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
    Ok(())
}
