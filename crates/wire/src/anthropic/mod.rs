//! Anthropic messages (`/v1/messages`), where they differ from chat completions: how an answer is read,
//! how tokens are told, how tools are declared, and how errors are written.

pub(crate) mod answer;
pub mod errors;
#[cfg(test)]
mod tests;
pub mod tools;
pub(crate) mod usage;
