//! One recorded request: a JSON object on a line of its own.
//!
//! Numbers and labels only. There is no field for a prompt or an answer, and an unknown key is refused, so that
//! neither can be handed over by mistake.

use coalmine_core::metric::is_feedback_name;
use coalmine_core::tally::{
    AnsweredAs, CancelPoint, Cause, Check, Detected, Ending, Opening, Outcome, Presence, ServedBy, Usage,
};
use serde_json::{Map, Value};

/// A key of a line: its name, the form of its value, and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// As written.
    pub name: &'static str,
    /// What its value looks like.
    pub form: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn field(name: &'static str, form: &'static str, meaning: &'static str) -> Field {
    Field { name, form, meaning }
}

/// Every key that a line may have, in the order in which they are listed to people.
pub const FIELDS: [Field; 28] = [
    field("version", "text", "which version was assigned; the only key that every line needs"),
    field(
        "session",
        "text",
        "the session; lines with the same one and the same version belong together (default: its own)",
    ),
    field("pair", "text", "the same request in both versions; one session of each version may name it"),
    field("at", "seconds", "when the request began, from any origin"),
    field("customer", "text", "the customer, for plans with cohorts"),
    field(
        "error",
        "true, false or a cause",
        "whether it failed by the version's fault; causes: connect, broken, server, rate_limited, rejected, in_band, malformed, deadline",
    ),
    field("cancelled", "before_first_byte or mid_answer", "when the client left; absent: it stayed"),
    field("ttft_ms", "milliseconds", "from the request to the first content of the answer"),
    field("latency_ms", "milliseconds", "from the request to the end of the answer"),
    field("input_tokens", "count", "tokens read"),
    field("cached_tokens", "count", "of those read, from the provider's cache"),
    field("output_tokens", "count", "tokens written"),
    field("cost_usd", "dollars", "what the request cost"),
    field("refusal", "true or false", "whether the answer refuses"),
    field("empty", "true or false", "whether it has neither text nor a tool call"),
    field("truncated", "true or false", "whether it was cut off"),
    field("tool_calls", "count", "tool calls made; the key alone says that tools were declared"),
    field("tool_calls_bad", "count", "of those, calls of unknown tools or with arguments that do not fit"),
    field("schema_broken", "true or false", "whether the answer breaks the JSON Schema that was asked for"),
    field("fenced_json", "true or false", "whether the answer has the JSON that was asked for in a fence"),
    field("repeated_call", "true or false", "whether the answer calls a tool as it was called already"),
    field("repetition", "true or false", "whether the answer's text goes round in circles"),
    field("other_language", "true or false", "whether the answer is in another language than the user's"),
    field("chars", "count", "length of the answer's text in characters, of answers without tool calls"),
    field("opening", "text", "how the answer begins, as a label: the same one for the same words"),
    field("judged", "{name: 0..1}", "what judges said of the answer (`judge.NAME` in a policy); 1 is good"),
    field("scores", "{name: 0..1}", "scores that came back (`feedback.NAME` in a policy); 1 is good"),
    field("score_after_s", "seconds", "how long after the request they came back (default: 60)"),
];

/// Scores come this long after their request where the line does not say.
const SCORED_AFTER_S: f64 = 60.0;
/// Seconds that an instant may have: beyond any clock.
const MOST_SECONDS: f64 = 1e12;

/// An example line, as the help shows it.
pub const EXAMPLE: &str = r#"{"version":"stable","session":"s-17","at":12.5,"ttft_ms":420,"latency_ms":2900,"error":false,"refusal":false,"output_tokens":230,"cost_usd":0.0123,"scores":{"correct":1}}"#;

/// One recorded request.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The version's label.
    pub version: String,
    /// The session's label.
    pub session: Option<String>,
    /// The label of the request that both versions answered.
    pub pair: Option<String>,
    /// When it began, in milliseconds from the recording's own origin.
    pub at_ms: Option<f64>,
    /// The customer.
    pub customer: Option<String>,
    /// What became of it. What the line does not say is unknown.
    pub outcome: Outcome,
    /// Scores by name, 0..=1.
    pub scores: Vec<(String, f64)>,
    /// What judges said of it, by their names, 0..=1.
    pub judged: Vec<(String, f64)>,
    /// How long after the request they came, in milliseconds.
    pub score_after_ms: f64,
}

/// What is wrong with a line, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Observation {
    /// Reads one line.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(line: &str) -> Result<Self, Wrong> {
        let object: Map<String, Value> = serde_json::from_str(line)
            .map_err(|error| wrong(format!("it is no JSON object ({error})"), format!("write one like {EXAMPLE}")))?;
        if let Some(unknown) = object.keys().find(|key| !is_known(key)) {
            return Err(unknown_key(unknown));
        }
        let line = Line(&object);
        let version =
            line.text("version")?.ok_or_else(|| wrong("`version` is missing", "say which version answered"))?;
        let (scores, judged) = (line.scores("scores")?, line.scores("judged")?);
        Ok(Self {
            version,
            session: line.text("session")?,
            pair: line.text("pair")?,
            at_ms: line.number("at", -MOST_SECONDS, MOST_SECONDS)?.map(|s| s * 1_000.0),
            customer: line.text("customer")?,
            outcome: line.outcome()?,
            scores,
            judged,
            score_after_ms: line.amount("score_after_s")?.unwrap_or(SCORED_AFTER_S) * 1_000.0,
        })
    }
}

/// The listing of `coalmine backtest --fields`.
#[must_use]
pub fn listing() -> String {
    let mut text = String::from("one JSON object a line, one line a request:\n\n");
    for Field { name, form, meaning } in FIELDS {
        text.push_str(&format!("  {name:<15} {form:<31} {meaning}\n"));
    }
    text.push_str(&format!("\nexample:\n  {EXAMPLE}\n"));
    text
}

struct Line<'a>(&'a Map<String, Value>);

impl Line<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>, Wrong> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= 256 => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(of_form(key, "a text of 1 to 256 bytes")),
        }
    }

    fn number(&self, key: &str, from: f64, to: f64) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (from..=to).contains(number));
        number.map(Some).ok_or_else(|| of_form(key, &format!("a number within {from} and {to}")))
    }

    fn amount(&self, key: &str) -> Result<Option<f64>, Wrong> {
        self.number(key, 0.0, 1e9)
    }

    fn count(&self, key: &str) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract().abs() < 1e-9 && *n >= 0.0).map(|n| n as u64));
        whole.filter(|n| *n < 1 << 40).map(Some).ok_or_else(|| of_form(key, "a whole number, at least 0"))
    }

    fn switch(&self, key: &str) -> Result<Option<bool>, Wrong> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(is)) => Ok(Some(*is)),
            Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(false)),
            Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(Some(true)),
            Some(_) => Err(of_form(key, "true or false")),
        }
    }

    fn check(&self, key: &str, absent: Check) -> Result<Check, Wrong> {
        Ok(self.switch(key)?.map_or(absent, |is| if is { Check::Yes } else { Check::No }))
    }

    fn outcome(&self) -> Result<Outcome, Wrong> {
        let calls = self.count("tool_calls")?;
        let bad = self.count("tool_calls_bad")?.unwrap_or(0);
        if bad > calls.unwrap_or(0) {
            return Err(wrong("`tool_calls_bad` is more than `tool_calls`", "count the bad ones among all"));
        }
        let ending = self.ending()?;
        let latency_ms = self.amount("latency_ms")?;
        Ok(Outcome {
            status: if matches!(ending, Ending::Failed(_)) { 500 } else { 200 },
            ending,
            ttft_ms: self.amount("ttft_ms")?,
            latency_ms: latency_ms.unwrap_or(f64::NAN),
            gap_max_ms: None,
            usage: Usage {
                input: self.count("input_tokens")?,
                output: self.count("output_tokens")?,
                cached: self.count("cached_tokens")?,
                reasoning: None,
            },
            cost_usd: self.amount("cost_usd")?,
            refusal: self.check("refusal", Check::Unknown)?,
            empty: self.check("empty", Check::Unknown)?,
            truncated: self.check("truncated", Check::Unknown)?,
            tools_declared: if calls.is_some() { Presence::Present } else { Presence::Absent },
            tool_calls: u32::try_from(calls.unwrap_or(0)).unwrap_or(u32::MAX),
            tool_calls_bad: u32::try_from(bad).unwrap_or(u32::MAX),
            schema_broken: self.check("schema_broken", Check::NotApplicable)?,
            detected: Detected {
                fenced_json: self.check("fenced_json", Check::NotApplicable)?,
                repeated_call: self.check("repeated_call", Check::NotApplicable)?,
                repetition: self.check("repetition", Check::NotApplicable)?,
                other_language: self.check("other_language", Check::NotApplicable)?,
                chars: self.count("chars")?,
            },
            opening: self.text("opening")?.map(|label| opening(&label)),
            served_by: ServedBy::Assigned,
            answered_as: AnsweredAs::default(),
            retries: 0,
        })
    }

    fn ending(&self) -> Result<Ending, Wrong> {
        let failed = match self.get("error") {
            Some(Value::String(word)) => Some(cause(word)?),
            Some(_) | None => self.switch("error")?.unwrap_or(false).then_some(Cause::Server),
        };
        let left = match self.get("cancelled").map(Value::as_str) {
            None => None,
            Some(Some("before_first_byte")) => Some(CancelPoint::BeforeFirstByte),
            Some(Some("mid_answer")) => Some(CancelPoint::MidAnswer),
            Some(_) => return Err(of_form("cancelled", "before_first_byte or mid_answer")),
        };
        match (failed, left) {
            (Some(cause), None) => Ok(Ending::Failed(cause)),
            (None, Some(point)) => Ok(Ending::Cancelled(point)),
            (None, None) => Ok(Ending::Complete),
            (Some(_), Some(_)) => {
                Err(wrong("it both failed and was cancelled", "say which came first and leave the other out"))
            }
        }
    }

    fn scores(&self, key: &str) -> Result<Vec<(String, f64)>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let form = "an object of names (a-z 0-9 _ . -) and numbers within 0 and 1";
        let object = value.as_object().ok_or_else(|| of_form(key, form))?;
        let mut scores = Vec::with_capacity(object.len());
        for (name, value) in object {
            let value = value.as_f64().filter(|value| (0.0..=1.0).contains(value) && is_feedback_name(name));
            scores.push((name.clone(), value.ok_or_else(|| of_form(key, form))?));
        }
        Ok(scores)
    }
}

fn opening(label: &str) -> Opening {
    let mut low = [0; 8];
    low.copy_from_slice(&blake3::hash(label.as_bytes()).as_bytes()[..8]);
    Opening { key: u64::from_le_bytes(low), words: label.into() }
}

fn cause(word: &str) -> Result<Cause, Wrong> {
    let known = [
        ("connect", Cause::Connect),
        ("broken", Cause::Broken),
        ("server", Cause::Server),
        ("rate_limited", Cause::RateLimited),
        ("rejected", Cause::Rejected),
        ("in_band", Cause::InBand),
        ("malformed", Cause::Malformed),
        ("deadline", Cause::Deadline),
    ];
    let found = known.iter().find(|(name, _)| *name == word);
    found.map(|(_, cause)| *cause).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        of_form("error", &format!("true, false or one of {}", names.join(", ")))
    })
}

fn is_known(key: &str) -> bool {
    FIELDS.iter().any(|field| field.name == key)
}

fn unknown_key(key: &str) -> Wrong {
    let shown: String = key.chars().take(40).collect();
    let names = FIELDS.iter().map(|field| field.name);
    // What is long was not meant as any of ours.
    let scored = names.map(|name| (if key.len() > 64 { 0.0 } else { strsim::jaro_winkler(key, name) }, name));
    let mend = match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, name)) if likeness >= 0.75 => format!("did you mean `{name}`?"),
        Some(_) | None => "leave it out, or see `coalmine backtest --fields`".to_owned(),
    };
    wrong(format!("there is no key `{shown}`"), mend)
}

fn of_form(key: &str, form: &str) -> Wrong {
    wrong(format!("`{key}` is not {form}"), format!("write `{key}` as {form}"))
}

fn wrong(what: impl Into<String>, mend: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), mend: mend.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_of_the_form() {
        let read = Observation::parse(EXAMPLE).unwrap();
        assert_eq!(read.session.as_deref(), Some("s-17"));
        assert_eq!(read.at_ms, Some(12_500.0));
        assert_eq!(read.scores, [("correct".to_owned(), 1.0)]);
        assert_eq!(read.outcome.refusal, Check::No);
        assert_eq!(read.outcome.empty, Check::Unknown, "what a line does not say is unknown");
    }

    #[test]
    fn a_wrong_line_is_told_with_its_mend() {
        let told = |line: &str| {
            let Wrong { what, mend } = Observation::parse(line).unwrap_err();
            format!("{what}; {mend}")
        };
        assert_eq!(told(r#"{"version":"a","refusel":true}"#), "there is no key `refusel`; did you mean `refusal`?");
        assert!(told(r#"{"version":"a","prompt":"hello"}"#).starts_with("there is no key `prompt`; leave it out"));
        assert_eq!(told(r#"{"session":"a"}"#), "`version` is missing; say which version answered");
        assert!(told(r#"{"version":"a","ttft_ms":-1}"#).starts_with("`ttft_ms` is not a number within 0"));
        assert!(told(r#"{"version":"a","scores":{"ok":2}}"#).contains("numbers within 0 and 1"));
        assert!(told(r#"{"version":"a","tool_calls":1,"tool_calls_bad":2}"#).contains("more than `tool_calls`"));
        assert!(told(r#"{"version":"a","error":"oops"}"#).contains("one of connect, broken"));
        assert!(told("[1]").starts_with("it is no JSON object"));
    }

    #[test]
    fn every_listed_key_can_be_written() {
        for Field { name, form, .. } in FIELDS {
            let value = match form {
                "text" => "\"a\"",
                "true or false" | "true, false or a cause" => "true",
                "{name: 0..1}" => "{\"ok\":0.5}",
                "before_first_byte or mid_answer" => "\"mid_answer\"",
                _ => "0",
            };
            let line = format!("{{\"version\":\"v\",\"{name}\":{value}}}");
            assert!(name == "version" || Observation::parse(&line).is_ok(), "{line}");
        }
    }
}
