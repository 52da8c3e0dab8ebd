//! One assertion of a suite. Every type that promptfoo knows is in one of two lists: those that are run here, and those
//! that need something that does not run here.

use super::elsewhere::{ending, structured};
use super::prompts::{Vars, render};
use super::{Map, Reader};
use crate::config::fault::{Complaint, nearest};
use crate::config::scalar::shown;
use crate::config::tree::{Node, Value};
use coalmine_wire::probe::{Appeal, ArgsMode, Assertion, Case, Check, Quota, Sense, SequenceMode};
use serde_json::Value as Json;

/// The types that are run here.
pub const BUILT: [&str; 39] = [
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
    "trajectory:step-count",
    "step-count",
    "rouge-n",
    "bleu",
    "similar",
    "similar:cosine",
    "llm-rubric",
    "model-graded-closedqa",
    "g-eval",
    "factuality",
    "webhook",
];

/// Use what words decide.
const WORDS: &str = "use icontains-any, regex or levenshtein";
/// Use a judge.
const JUDGED: &str = "use llm-rubric, with a rubric that says what is meant";
/// Use a pattern.
const PATTERN: &str = "use regex";

/// The types that need what does not run here, and what to use instead.
const ELSEWHERE: [(&str, &str); 37] = [
    ("javascript", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("python", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("ruby", "use contains, regex, is-json with a schema, or metadata.canary.numeric"),
    ("assert-set", "write its assertions one by one, with `weight` and the test's `threshold`"),
    ("answer-relevance", JUDGED),
    ("classifier", WORDS),
    ("contains-html", PATTERN),
    ("contains-sql", PATTERN),
    ("contains-xml", PATTERN),
    ("context-faithfulness", JUDGED),
    ("context-recall", JUDGED),
    ("context-relevance", JUDGED),
    ("conversation-relevance", JUDGED),
    ("gleu", "use bleu"),
    ("guardrails", "use is-refusal and finish-reason"),
    ("is-html", PATTERN),
    ("is-sql", PATTERN),
    ("is-xml", PATTERN),
    ("meteor", "use rouge-n or bleu"),
    ("model-graded-factuality", "use factuality"),
    ("moderation", "use is-refusal and finish-reason"),
    ("perplexity", WORDS),
    ("perplexity-score", WORDS),
    ("pi", JUDGED),
    ("search-rubric", JUDGED),
    ("agent-rubric", JUDGED),
    ("select-best", WORDS),
    ("max-score", WORDS),
    ("human", "send a person's verdict as feedback"),
    ("skill-used", "use trajectory:tool-used"),
    ("tool-call-f1", "use trajectory:tool-used or trajectory:tool-sequence"),
    ("trace-error-spans", "guard error_rate"),
    ("trace-span-count", "use trajectory:tool-used"),
    ("trace-span-duration", "use latency"),
    ("trajectory:goal-success", JUDGED),
    ("similar:dot", "use similar, which takes the cosine"),
    ("similar:euclidean", "use similar, which takes the cosine"),
];

/// Thresholds where a suite writes none: promptfoo's own.
const ROUGE_LEAST: f64 = 0.75;
const BLEU_LEAST: f64 = 0.5;

/// Keys that an assertion may have; `metric` only names a row in promptfoo's own report.
const KEYS: [&str; 6] = ["type", "value", "threshold", "weight", "metric", "description"];

/// One assertion, being read.
pub(super) struct Written<'a> {
    pub(super) node: &'a Node,
    pub(super) map: Map<'a>,
    path: &'a str,
    pub(super) name: &'a str,
}

impl Reader<'_> {
    pub(super) fn assertion(&self, node: &Node, path: &str) -> Option<Assertion> {
        let map = self.map(node, path)?;
        let Some((kind, kind_path)) = map.get("type") else {
            if map.get("$ref").is_some() {
                self.known(&map, &KEYS);
                return None;
            }
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
        let complaint = if let Some((_, mend)) = ELSEWHERE.iter().find(|(one, _)| *one == name) {
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
            "finish-reason" => Some(Check::FinishReason { value: finish_reason(&self.string(read)?) }),
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
            "step-count" | "trajectory:step-count" => self.step_count(read),
            "rouge-n" => {
                let threshold = self.share_or(read, ROUGE_LEAST)?;
                Some(Check::RougeN { value: self.string(read)?, threshold })
            }
            "bleu" => {
                let threshold = self.share_or(read, BLEU_LEAST)?;
                Some(Check::Bleu { values: self.parts(read)?, threshold })
            }
            "similar"
            | "similar:cosine"
            | "llm-rubric"
            | "model-graded-closedqa"
            | "g-eval"
            | "factuality"
            | "webhook" => self.appeal(read).map(Check::Appeal),
            _ => Some(Check::IsValidToolsCall),
        }
    }

    /// The value under `value`; a text that names a file stands for what is in it.
    pub(super) fn value(&self, read: &Written<'_>) -> Option<Json> {
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
            let is_yaml = matches!(ending(file), Some("yaml" | "yml"));
            let parsed = |text: String| match serde_json::from_str(&text) {
                Ok(json) => json,
                Err(_) if is_yaml => structured(&text).unwrap_or(Json::String(text)),
                Err(_) => Json::String(text),
            };
            return match self.words_of(file) {
                Ok(text) => Some(parsed(text)),
                Err(complaint) => {
                    self.reading.fault(node.at, &path, complaint, None);
                    None
                }
            };
        }
        self.json(node, &path)
    }

    pub(super) fn string(&self, read: &Written<'_>) -> Option<String> {
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
            Json::String(text) if many => parted(&text),
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
            Json::String(text) => match structured(&text) {
                Some(schema @ Json::Object(_)) => Some(Some(schema)),
                Some(_) | None => self.misshapen(read, "write a JSON Schema, or `file://schema.json`"),
            },
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
                self.misshapen(read, "write a JSON Schema, or `file://schema.json`")
            }
        }
    }

    pub(super) fn threshold(&self, read: &Written<'_>) -> Option<f64> {
        let Some((node, path)) = read.map.get("threshold") else {
            self.fault(read.node.at, read.path, format!("{} has no `threshold`", read.name), "write a number");
            return None;
        };
        self.number(node, &path)
    }

    /// A threshold within 0 and 1, or what stands where none is written.
    pub(super) fn share_or(&self, read: &Written<'_>, otherwise: f64) -> Option<f64> {
        match read.map.get("threshold") {
            Some((node, path)) => self.share(node, &path),
            None => Some(otherwise),
        }
    }

    fn step_count(&self, read: &Written<'_>) -> Option<Check> {
        let form = "write `{ type: tool, min: 1, max: 3 }`, with a `pattern` such as `get_*` for some of them";
        let Json::Object(value) = self.value(read)? else { return self.misshapen(read, form) };
        let is_tool = value.get("type").is_none_or(|kind| kind.as_str() == Some("tool"));
        let strange = value.keys().any(|key| !["type", "pattern", "min", "max"].contains(&key.as_str()));
        let of = |key| value.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let (min, max) = (of("min"), of("max"));
        if !is_tool || strange || (min.is_none() && max.is_none()) {
            return self.misshapen(read, form);
        }
        let pattern = value.get("pattern").and_then(Json::as_str).map(str::to_owned);
        Some(Check::StepCount { pattern, min, max })
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

    pub(super) fn misshapen<T>(&self, read: &Written<'_>, mend: &str) -> Option<T> {
        let at = read.map.get("value").map_or(read.node.at, |(node, _)| node.at);
        self.fault(at, read.path, format!("the `value` of {} has another form", read.name), mend);
        None
    }
}

/// The parts of a text between commas; what stands in quotes keeps its commas.
fn parted(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' if is_quoted || part.trim().is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// How an answer ended, in the words of a chat completion, whoever's words the suite has.
fn finish_reason(written: &str) -> String {
    let lower = written.trim().to_lowercase();
    let known = match lower.as_str() {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    };
    known.to_owned()
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
        Check::Equals { value }
        | Check::StartsWith { value }
        | Check::Levenshtein { value, .. }
        | Check::RougeN { value, .. } => {
            *value = render(value, vars)?;
        }
        Check::Appeal(Appeal::Webhook { vars: told, .. }) => told.clone_from(vars),
        Check::Contains { values, .. }
        | Check::Bleu { values, .. }
        | Check::Appeal(Appeal::Similar { values, .. } | Appeal::Graded { criteria: values, .. }) => {
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
        | Check::StepCount { .. }
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
