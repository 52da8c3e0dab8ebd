//! Did the answer keep the contract: refusals, tool calls, structured answers.

mod ascii;
mod block;
mod bounded;
mod fence;
mod language;
mod letter;
mod opening;
mod refusal;
mod repetition;
mod schema;
mod tools;

pub(crate) use fence::inside_fence;
pub use language::Spoken;
pub use opening::FirstWords;
pub use refusal::{HEAD_MAX_BYTES, Refusal, reads_as_refusal};
pub(crate) use repetition::Repetition;
pub use schema::SchemaChecker;
pub(crate) use schema::compile;
pub use tools::ToolChecker;

/// Whether an answer keeps a contract that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Validity {
    /// There was nothing to check: no tool was called, or no schema asked for.
    NotChecked,
    /// It keeps it.
    Valid,
    /// It breaks it.
    Invalid(Broken),
    /// It cannot be told: the contract does not compile, or the answer is too long to be kept.
    Unknown,
}

/// How a contract was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// A tool was called that is not declared.
    UnknownTool,
    /// The arguments, or the answer, are not JSON.
    NotJson,
    /// They are JSON, and not of the schema.
    NotOfSchema,
}

impl Validity {
    /// Whether a contract is broken.
    pub(crate) const fn is_invalid(self) -> bool {
        matches!(self, Self::Invalid(_))
    }

    /// The verdict over several parts: broken if any is, else unknown if any is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid(how), _) | (_, Self::Invalid(how)) => Self::Invalid(how),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Valid, _) | (_, Self::Valid) => Self::Valid,
            (Self::NotChecked, Self::NotChecked) => Self::NotChecked,
        }
    }
}
