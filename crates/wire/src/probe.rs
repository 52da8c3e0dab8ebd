//! A question with a known answer: what is asked, and what is asserted of what comes back.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the probe as it is kept, and its judgement |
//! | `answer` | a chat completion, read as a whole |
//! | `question` | the question in another dialect |
//! | `checks` | one assertion against an answer |
//!
//! Assertions mean what promptfoo's of the same name mean; a judgement never repeats the answer's text.

mod answer;
mod checks;
mod question;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Call};
pub use question::in_messages;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A question and what is asserted of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// What must hold.
    pub assertions: Vec<Assertion>,
    /// The weighted share of the assertions that must hold; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// One assertion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assertion {
    /// What.
    pub check: Check,
    /// Whether it is asserted or denied (`not-`).
    #[serde(default)]
    pub sense: Sense,
    /// How much it counts where there is a threshold; at 0 it is told and decides nothing.
    pub weight: f64,
}

/// Whether something is asserted or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// It must hold.
    #[default]
    Holds,
    /// It must not.
    HoldsNot,
}

/// What can be asserted, by its name in a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Check {
    /// The text is this.
    Equals {
        /// This.
        value: String,
    },
    /// The text is JSON that equals this.
    EqualsJson {
        /// This.
        value: Value,
    },
    /// The text contains so many of these.
    Contains {
        /// These.
        values: Vec<String>,
        /// How many of them.
        quota: Quota,
        /// Whether the case counts.
        case: Case,
    },
    /// The text begins so.
    StartsWith {
        /// So.
        value: String,
    },
    /// The text matches somewhere.
    Regex {
        /// The expression, in the syntax of Rust's `regex`.
        pattern: String,
    },
    /// The whole text is JSON, of this schema where there is one.
    IsJson {
        /// A JSON Schema.
        schema: Option<Value>,
    },
    /// Somewhere in the text is an object or a list, of this schema where there is one.
    ContainsJson {
        /// A JSON Schema.
        schema: Option<Value>,
    },
    /// The answer refuses.
    IsRefusal,
    /// The answer ended so.
    FinishReason {
        /// `stop`, `length`, `tool_calls` or `content_filter`.
        value: String,
    },
    /// It was there within this.
    Latency {
        /// In milliseconds.
        threshold_ms: f64,
    },
    /// It cost at most this.
    Cost {
        /// In US dollars.
        threshold_usd: f64,
    },
    /// The text is this but for so many edits.
    Levenshtein {
        /// This.
        value: String,
        /// So many.
        threshold: usize,
    },
    /// The text has so many words.
    WordCount {
        /// At least.
        min: Option<usize>,
        /// At most.
        max: Option<usize>,
    },
    /// A number is this, within a tolerance.
    Numeric {
        /// Where in the answer's JSON, as `total.gross` or `items[0].price`; without it any number of the text.
        path: Option<String>,
        /// This.
        expected: f64,
        /// By so much at most.
        abs: f64,
        /// Or by this share of `expected`, whichever is more.
        rel: f64,
    },
    /// A tool was called so often.
    ToolUsed {
        /// Which.
        name: String,
        /// At least.
        min: usize,
        /// At most.
        max: Option<usize>,
    },
    /// A tool was called with these arguments.
    ToolArgsMatch {
        /// Which.
        name: String,
        /// These.
        args: Value,
        /// Whether it may have had more.
        mode: ArgsMode,
    },
    /// Tools were called in this order.
    ToolSequence {
        /// Their names.
        steps: Vec<String>,
        /// Whether others may stand between.
        mode: SequenceMode,
    },
    /// There is a tool call, and all are of declared tools with arguments of their schemas.
    IsValidToolsCall,
}

/// How many of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Every one.
    All,
    /// One at least.
    Any,
}

/// Whether capital letters count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// They do.
    Counts,
    /// They do not.
    Ignored,
}

/// Whether a call may have more arguments than are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgsMode {
    /// It may.
    Partial,
    /// It may not.
    Exact,
}

/// Whether other calls may stand between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceMode {
    /// They may.
    InOrder,
    /// They may not.
    Exact,
}

/// What an answer is judged by beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// What it cost in US dollars, where that is known.
    pub cost_usd: Option<f64>,
    /// The tools that the provider was given: a JSON array in OpenAI's form.
    pub tools: Option<&'a str>,
}

/// What a probe says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it passed.
    pub passed: bool,
    /// What was not met, in the words of the suite and without the answer's.
    pub faults: Vec<String>,
}

impl Probe {
    /// The request: a chat completion that is not streamed. `model` is what the gateway is asked for.
    #[must_use]
    pub fn request(&self, model: &str) -> String {
        json!({ "model": model, "messages": self.messages }).to_string()
    }

    /// Judges an answer.
    #[must_use]
    pub fn judge(&self, answer: &Answer, around: Around<'_>) -> Judgement {
        let (mut met, mut all) = (0.0, 0.0);
        let mut faults = Vec::new();
        let mut spoilt = false;
        for assertion in &self.assertions {
            all += assertion.weight;
            match assertion.fault(answer, around) {
                None => met += assertion.weight,
                Some(fault) => {
                    faults.push(fault);
                    spoilt |= assertion.weight > 0.0;
                }
            }
        }
        let passed = match self.threshold {
            None => !spoilt,
            Some(threshold) => all <= 0.0 || met / all >= threshold - 1e-9,
        };
        Judgement { passed, faults }
    }
}

impl Assertion {
    /// That it must hold, counting fully.
    #[must_use]
    pub const fn that(check: Check) -> Self {
        Self { check, sense: Sense::Holds, weight: 1.0 }
    }

    fn fault(&self, answer: &Answer, around: Around<'_>) -> Option<String> {
        let holds = self.check.hold(answer, around);
        match (self.sense, holds) {
            (Sense::Holds, Ok(())) | (Sense::HoldsNot, Err(_)) => None,
            (Sense::Holds, Err(fault)) => Some(format!("{}: {fault}", self.check.name())),
            (Sense::HoldsNot, Ok(())) => Some(format!("not-{}: it does", self.check.name())),
        }
    }
}

impl Check {
    /// Its name in a suite.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Equals { .. } | Self::EqualsJson { .. } => "equals",
            Self::Contains { quota: Quota::All, case: Case::Counts, .. } => "contains-all",
            Self::Contains { quota: Quota::Any, case: Case::Counts, .. } => "contains-any",
            Self::Contains { quota: Quota::All, case: Case::Ignored, .. } => "icontains-all",
            Self::Contains { quota: Quota::Any, case: Case::Ignored, .. } => "icontains-any",
            Self::StartsWith { .. } => "starts-with",
            Self::Regex { .. } => "regex",
            Self::IsJson { .. } => "is-json",
            Self::ContainsJson { .. } => "contains-json",
            Self::IsRefusal => "is-refusal",
            Self::FinishReason { .. } => "finish-reason",
            Self::Latency { .. } => "latency",
            Self::Cost { .. } => "cost",
            Self::Levenshtein { .. } => "levenshtein",
            Self::WordCount { .. } => "word-count",
            Self::Numeric { .. } => "numeric",
            Self::ToolUsed { .. } => "tool-used",
            Self::ToolArgsMatch { .. } => "tool-args-match",
            Self::ToolSequence { .. } => "tool-sequence",
            Self::IsValidToolsCall => "is-valid-openai-tools-call",
        }
    }

    /// Whether it can be checked at all.
    ///
    /// # Errors
    /// In words, when its expression or its schema does not compile.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Regex { pattern } => checks::regex(pattern).map(|_| ()),
            Self::IsJson { schema: Some(schema) } | Self::ContainsJson { schema: Some(schema) } => {
                checks::schema(schema).map(|_| ())
            }
            Self::Equals { .. }
            | Self::EqualsJson { .. }
            | Self::Contains { .. }
            | Self::StartsWith { .. }
            | Self::IsJson { schema: None }
            | Self::ContainsJson { schema: None }
            | Self::IsRefusal
            | Self::FinishReason { .. }
            | Self::Latency { .. }
            | Self::Cost { .. }
            | Self::Levenshtein { .. }
            | Self::WordCount { .. }
            | Self::Numeric { .. }
            | Self::ToolUsed { .. }
            | Self::ToolArgsMatch { .. }
            | Self::ToolSequence { .. }
            | Self::IsValidToolsCall => Ok(()),
        }
    }
}
