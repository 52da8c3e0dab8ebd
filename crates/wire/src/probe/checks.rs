//! One assertion against one answer. A fault is in the suite's words and in numbers, never in the answer's words.

use super::overlap;
use super::{Answer, ArgsMode, Around, Call, Case, Check, Quota, SequenceMode};
use crate::outcome::compile;
use crate::outcome::{ToolChecker, Validity};

use serde_json::Value;

/// More of a text is not compared edit by edit.
const EDITS_MAX_CHARS: usize = 20_000;
/// Places in a text where JSON is looked for.
const JSON_STARTS: usize = 64;
/// The most memory that an expression may take once compiled, in bytes.
const REGEX_MAX_BYTES: usize = 1 << 20;
/// The longest part of a suite that a fault repeats, in characters.
const SHOWN: usize = 60;

/// Why nothing can be said of what an answer cost.
const COST_UNKNOWN: &str = "the cost is not known: the model has no price, or its answer no usage";

impl Check {
    /// Why nothing can be said of an answer, whatever it says. That is no failure of whoever answered.
    pub(super) fn unknown(&self, around: Around<'_>) -> Option<&'static str> {
        (matches!(self, Self::Cost { .. }) && around.cost_usd.is_none()).then_some(COST_UNKNOWN)
    }

    pub(super) fn hold(&self, answer: &Answer, around: Around<'_>) -> Result<(), String> {
        let asserted = answer.asserted();
        let text = asserted.as_ref();
        match self {
            Self::Equals { value } => {
                met(text.trim() == value.trim(), || format!("the answer is not {}", shown(value)))
            }
            Self::EqualsJson { value } => {
                let equal = serde_json::from_str::<Value>(text).is_ok_and(|found| same(&found, value));
                met(equal, || format!("the answer is not the JSON {}", shown(&value.to_string())))
            }
            Self::Contains { values, quota, case } => contains(text, values, *quota, *case),
            Self::StartsWith { value } => {
                met(text.starts_with(value.as_str()), || format!("the answer does not begin with {}", shown(value)))
            }
            Self::Regex { pattern } => {
                let found = regex(pattern)?.is_match(text);
                met(found, || format!("{} is not in the answer", shown(pattern)))
            }
            Self::IsJson { schema } => is_json(text, schema.as_ref()),
            Self::ContainsJson { schema } => contains_json(text, schema.as_ref()),
            Self::IsRefusal => met(answer.refuses || answer.is_empty(), || "the answer does not refuse".to_owned()),
            Self::FinishReason { value } => {
                let found = answer.finish_reason.as_deref();
                met(found.is_some_and(|found| found.eq_ignore_ascii_case(value)), || {
                    format!("it ended by {}, not by {value}", found.unwrap_or("nothing"))
                })
            }
            Self::Latency { threshold_ms } => met(around.latency_ms <= *threshold_ms, || {
                format!("{:.0} ms is over {threshold_ms:.0} ms", around.latency_ms)
            }),
            Self::Cost { threshold_usd } => match around.cost_usd {
                Some(cost) => met(cost <= *threshold_usd, || format!("${cost} is over ${threshold_usd}")),
                None => Err(COST_UNKNOWN.to_owned()),
            },
            Self::Levenshtein { value, threshold } => levenshtein(text, value, *threshold),
            Self::WordCount { min, max } => within("words", text.split_whitespace().count(), *min, *max),
            Self::Numeric { path, expected, abs, rel } => numeric(&answer.text, path.as_deref(), *expected, *abs, *rel),
            Self::ToolUsed { name, min, max } => {
                let calls = answer.calls.iter().filter(|call| call.name == *name).count();
                within(&format!("calls of {name}"), calls, Some(*min), *max)
            }
            Self::ToolArgsMatch { name, args, mode } => args_match(&answer.calls, name, args, *mode),
            Self::ToolSequence { steps, mode } => sequence(&answer.calls, steps, *mode),
            Self::IsValidToolsCall => valid_calls(&answer.calls, around.tools),
            Self::StepCount { pattern, min, max } => {
                let is_meant = |call: &&Call| pattern.as_ref().is_none_or(|pattern| is_like(&call.name, pattern));
                within("tool calls", answer.calls.iter().filter(is_meant).count(), *min, *max)
            }
            Self::RougeN { value, threshold } => overlaps(overlap::rouge_1(text, value), *threshold),
            Self::Bleu { values, threshold } => overlaps(overlap::bleu(text, values), *threshold),
            Self::Appeal(_) => Err("nobody was asked".to_owned()),
        }
    }
}

/// Compiles an expression; matching takes linear time.
pub(super) fn regex(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_MAX_BYTES).build();
    built.map_err(|_| format!("{} does not compile; look-around and back-references are not known", shown(pattern)))
}

/// Compiles a schema.
pub(super) fn schema(schema: &Value) -> Result<jsonschema::Validator, String> {
    compile(schema.to_string().as_bytes())
        .ok_or_else(|| "the schema does not compile, or its checking has no bound".to_owned())
}

fn met(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

fn contains(text: &str, values: &[String], quota: Quota, case: Case) -> Result<(), String> {
    let folded = |text: &str| match case {
        Case::Counts => text.to_owned(),
        Case::Ignored => text.to_lowercase(),
    };
    let text = folded(text);
    let missing: Vec<String> =
        values.iter().filter(|value| !text.contains(&folded(value))).map(|value| shown(value)).collect();
    match quota {
        Quota::All => met(missing.is_empty(), || format!("{} is not in the answer", missing.join(", "))),
        Quota::Any => met(missing.len() < values.len(), || format!("none of {} is in the answer", missing.join(", "))),
    }
}

fn is_json(text: &str, wanted: Option<&Value>) -> Result<(), String> {
    let found: Value = serde_json::from_str(text).map_err(|_| "the answer is not JSON".to_owned())?;
    match wanted {
        None => Ok(()),
        Some(wanted) => met(schema(wanted)?.is_valid(&found), || "the answer's JSON is not of the schema".to_owned()),
    }
}

fn contains_json(text: &str, wanted: Option<&Value>) -> Result<(), String> {
    let validator = wanted.map(schema).transpose()?;
    let starts = text.char_indices().filter(|(_, c)| matches!(c, '{' | '[')).take(JSON_STARTS);
    let mut found = false;
    for (start, _) in starts {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { continue };
        found = true;
        if validator.as_ref().is_none_or(|validator| validator.is_valid(&value)) {
            return Ok(());
        }
    }
    Err(if found { "no JSON in the answer is of the schema" } else { "there is no JSON in the answer" }.to_owned())
}

fn levenshtein(text: &str, value: &str, threshold: usize) -> Result<(), String> {
    if text.chars().count().max(value.chars().count()) > EDITS_MAX_CHARS {
        return Err(format!("a text of more than {EDITS_MAX_CHARS} characters is not compared"));
    }
    let edits = strsim::levenshtein(text, value);
    met(edits <= threshold, || format!("{edits} edits from {}, at most {threshold} are borne", shown(value)))
}

fn within(what: &str, found: usize, min: Option<usize>, max: Option<usize>) -> Result<(), String> {
    let enough = min.is_none_or(|min| found >= min) && max.is_none_or(|max| found <= max);
    met(enough, || match (min, max) {
        (Some(min), Some(max)) if min == max => format!("{found} {what}, not {min}"),
        (Some(min), Some(max)) => format!("{found} {what}, not {min} to {max}"),
        (Some(min), None) => format!("{found} {what}, not at least {min}"),
        (None, Some(max)) => format!("{found} {what}, not at most {max}"),
        (None, None) => format!("{found} {what}"),
    })
}

fn overlaps(found: f64, threshold: f64) -> Result<(), String> {
    met(found >= threshold - 1e-9, || format!("{found:.2} of it, at least {threshold} is wanted"))
}

/// Whether a name is as a pattern with `*` and `?` says. Walks back to the last `*` alone, so its time is bounded by
/// the product of the lengths.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(place) {
            Some('*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(c) if *c == '?' || *c == name[at] => (at, place) = (at + 1, place + 1),
            Some(_) | None => match &mut star {
                Some((before, from)) => {
                    *from += 1;
                    (at, place) = (*from, *before + 1);
                }
                None => return false,
            },
        }
    }
    pattern[place..].iter().all(|c| *c == '*')
}

fn numeric(text: &str, path: Option<&str>, expected: f64, abs: f64, rel: f64) -> Result<(), String> {
    let borne = abs.max(rel * expected.abs()).max(f64::EPSILON * expected.abs());
    let is_near = |found: f64| (found - expected).abs() <= borne;
    let Some(path) = path else {
        return met(numbers(text).into_iter().any(is_near), || format!("no number within {borne} of {expected}"));
    };
    let found: Value = serde_json::from_str(text).map_err(|_| "the answer is not JSON".to_owned())?;
    let number = at(&found, path).and_then(|value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => numbers(text).first().copied(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let number = number.ok_or_else(|| format!("there is no number at {path}"))?;
    met(is_near(number), || format!("{path} is {number}, not {expected} within {borne}"))
}

/// `a.b[0].c` in a value.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()).try_fold(
        value,
        |inner, step| match inner {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            Value::Object(_) => inner.get(step),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
    )
}

/// The numbers in a text, with commas between thousands read over.
fn numbers(text: &str) -> Vec<f64> {
    let mut found = Vec::new();
    let mut digits = String::new();
    let mut before = ' ';
    for (i, c) in text.char_indices() {
        let follows_digit = || text[i + c.len_utf8()..].starts_with(|next: char| next.is_ascii_digit());
        match c {
            '0'..='9' => {
                if digits.is_empty() && before == '-' {
                    digits.push('-');
                }
                digits.push(c);
            }
            '.' if !digits.is_empty() && !digits.contains('.') && follows_digit() => digits.push(c),
            ',' if !digits.is_empty() && follows_digit() => {}
            _ => {
                found.extend(digits.parse::<f64>());
                digits.clear();
            }
        }
        before = c;
    }
    found.extend(digits.parse::<f64>());
    found
}

fn args_match(calls: &[Call], name: &str, args: &Value, mode: ArgsMode) -> Result<(), String> {
    let mut called = calls.iter().filter(|call| call.name == name).peekable();
    if called.peek().is_none() {
        return Err(format!("{name} was not called"));
    }
    let is_met = called.any(|call| {
        serde_json::from_str::<Value>(&call.arguments).is_ok_and(|given| match mode {
            ArgsMode::Exact => same(&given, args),
            ArgsMode::Partial => covers(&given, args),
        })
    });
    met(is_met, || format!("{name} was called with other arguments than {}", shown(&args.to_string())))
}

/// Whether `given` has at least what `wanted` names, in objects at any depth.
fn covers(given: &Value, wanted: &Value) -> bool {
    match (given, wanted) {
        (Value::Object(given), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| given.get(key).is_some_and(|given| covers(given, wanted)))
        }
        _ => same(given, wanted),
    }
}

/// Equal, with 1 and 1.0 the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

fn sequence(calls: &[Call], steps: &[String], mode: SequenceMode) -> Result<(), String> {
    let mut names = calls.iter().map(|call| call.name.as_str());
    let is_met = match mode {
        SequenceMode::Exact => names.eq(steps.iter().map(String::as_str)),
        SequenceMode::InOrder => steps.iter().all(|step| names.by_ref().any(|name| name == step)),
    };
    met(is_met, || format!("the tools were not called as {}", steps.join(", ")))
}

fn valid_calls(calls: &[Call], tools: Option<&str>) -> Result<(), String> {
    if calls.is_empty() {
        return Err("no tool was called".to_owned());
    }
    let Some(tools) = tools else {
        return Err("the version declares no tools, so no call can be valid".to_owned());
    };
    let checker = ToolChecker::compile(tools.as_bytes());
    let of = |call: &&Call| checker.check(&call.name, &call.arguments) != Validity::Valid;
    match calls.iter().find(of) {
        None => Ok(()),
        Some(_) => Err("a call is of no declared tool, or its arguments are not of the tool's schema".to_owned()),
    }
}
