//! A question with a known answer: what is asked, and what is asserted of what comes back.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the probe as it is kept, and its judgement |
//! | `answer` | a chat completion, read as a whole |
//! | `question` | the question in another dialect |
//! | `checks` | one assertion against an answer |
//! | `overlap` | words shared with a text |
//! | [`appeal`] | what a judge, an embeddings endpoint or a webhook is asked, and what they say |
//!
//! Assertions mean what promptfoo's of the same name mean; a judgement never repeats the answer's text.

mod answer;
pub mod appeal;
mod checks;
mod overlap;
mod question;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Call};
pub use appeal::{Appeal, Grading, Pinned, Ruling, Rulings};
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
    /// So many tools were called.
    StepCount {
        /// Those whose names are so, `*` standing for anything and `?` for one character; without it all.
        pattern: Option<String>,
        /// At least.
        min: Option<usize>,
        /// At most.
        max: Option<usize>,
    },
    /// So much of a text's words is in it.
    RougeN {
        /// The text.
        value: String,
        /// The least share, 0 to 1.
        threshold: f64,
    },
    /// It says so precisely what one of these says.
    Bleu {
        /// These.
        values: Vec<String>,
        /// The least score, 0 to 1.
        threshold: f64,
    },
    /// Somebody else says whether it holds.
    Appeal(Appeal),
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
    pub verdict: Verdict,
    /// What was not met, in the words of the suite and without the answer's; of an unknown one, why it is.
    pub faults: Vec<String>,
}

/// Whether an answer passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Passed,
    /// It did not.
    Failed,
    /// That depends on somebody who could not be asked.
    Unknown,
}

/// What one assertion says of an answer.
enum Found {
    Met,
    Fault(String),
    Unknown(String),
}

impl Probe {
    /// The request: a chat completion that is not streamed. `model` is what the gateway is asked for.
    #[must_use]
    pub fn request(&self, model: &str) -> String {
        json!({ "model": model, "messages": self.messages }).to_string()
    }

    /// Judges an answer, with what was said by whoever had to be asked.
    #[must_use]
    pub fn judge(&self, answer: &Answer, around: Around<'_>, rulings: &Rulings) -> Judgement {
        let (mut met, mut open, mut all) = (0.0, 0.0, 0.0);
        let (mut faults, mut unknown) = (Vec::new(), Vec::new());
        let mut spoilt = false;
        for (place, assertion) in self.assertions.iter().enumerate() {
            let weight = assertion.weight;
            all += weight;
            match assertion.found(answer, around, rulings.get(&place)) {
                Found::Met => met += weight,
                Found::Fault(fault) => {
                    faults.push(fault);
                    spoilt |= weight > 0.0;
                }
                Found::Unknown(why) => {
                    unknown.push(why);
                    open += weight;
                }
            }
        }
        let enough = |weight: f64, threshold: f64| all <= 0.0 || weight / all >= threshold - 1e-9;
        let verdict = match self.threshold {
            None if spoilt => Verdict::Failed,
            None if open > 0.0 => Verdict::Unknown,
            None => Verdict::Passed,
            Some(threshold) if enough(met, threshold) => Verdict::Passed,
            Some(threshold) if enough(met + open, threshold) => Verdict::Unknown,
            Some(_) => Verdict::Failed,
        };
        Judgement { verdict, faults: if verdict == Verdict::Unknown { unknown } else { faults } }
    }

    /// Whether a model may have to be asked about its answers: a judge, or one that embeds.
    #[must_use]
    pub fn asks_models(&self) -> bool {
        let of_model = |appeal: &Appeal| match appeal {
            Appeal::Graded { .. } | Appeal::Similar { .. } => true,
            Appeal::Webhook { .. } => false,
        };
        self.assertions.iter().filter_map(|assertion| assertion.check.appeal()).any(of_model)
    }

    /// Who must be asked about an answer, by the assertion's place; nobody where its own text decides.
    #[must_use]
    pub fn appeals(&self, answer: &Answer, around: Around<'_>) -> Vec<(usize, &Appeal)> {
        let is_settled = |assertion: &Assertion| assertion.weight > 0.0 && assertion.check.unknown(around).is_some();
        let verdict = self.judge(answer, around, &Rulings::new()).verdict;
        // What stays unknown whatever they say is not worth asking about, unless a threshold can do without it.
        if verdict != Verdict::Unknown || (self.threshold.is_none() && self.assertions.iter().any(is_settled)) {
            return Vec::new();
        }
        let weighed = self.assertions.iter().enumerate().filter(|(_, assertion)| assertion.weight > 0.0);
        weighed.filter_map(|(place, assertion)| Some((place, assertion.check.appeal()?))).collect()
    }
}

impl Assertion {
    /// That it must hold, counting fully.
    #[must_use]
    pub const fn that(check: Check) -> Self {
        Self { check, sense: Sense::Holds, weight: 1.0 }
    }

    fn found(&self, answer: &Answer, around: Around<'_>, ruling: Option<&Ruling>) -> Found {
        let name = self.check.name();
        if let Some(why) = self.check.unknown(around) {
            return Found::Unknown(format!("{name}: {why}"));
        }
        let holds = match (self.check.appeal(), ruling) {
            (None, _) => self.check.hold(answer, around),
            (Some(_), Some(Ruling::Holds)) => Ok(()),
            (Some(_), Some(Ruling::HoldsNot(why))) => Err(why.clone()),
            (Some(_), Some(Ruling::Unknown(why))) => return Found::Unknown(format!("{name}: {why}")),
            (Some(_), None) => return Found::Unknown(format!("{name}: nobody was asked")),
        };
        match (self.sense, holds) {
            (Sense::Holds, Ok(())) | (Sense::HoldsNot, Err(_)) => Found::Met,
            (Sense::Holds, Err(fault)) => Found::Fault(format!("{name}: {fault}")),
            (Sense::HoldsNot, Ok(())) => Found::Fault(format!("not-{name}: it does")),
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
            Self::StepCount { .. } => "step-count",
            Self::RougeN { .. } => "rouge-n",
            Self::Bleu { .. } => "bleu",
            Self::Appeal(appeal) => appeal.name(),
        }
    }

    /// Whom it asks, where its own text does not decide.
    #[must_use]
    pub const fn appeal(&self) -> Option<&Appeal> {
        if let Self::Appeal(appeal) = self { Some(appeal) } else { None }
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
            | Self::StepCount { .. }
            | Self::RougeN { .. }
            | Self::Bleu { .. }
            | Self::Appeal(_)
            | Self::IsValidToolsCall => Ok(()),
        }
    }
}
