//! OpenAI chat completions (`/v1/chat/completions`), as OpenAI and the servers that speak like it send
//! and take them.
//!
//! What both dialects share is here too: a request and a patch know their [`crate::dialect::Dialect`],
//! and an observer is told the one of the provider. [`ChatRequest`] reads a body, [`Patch`] splices a version into it, [`Observer`] reads the answer
//! beside the stream, [`UsageStripper`] takes out of the stream what only the gateway asked for, and
//! [`errors`] writes what the gateway itself has to say.

mod acts;
mod alike;
pub(crate) mod answer;
pub(crate) mod calls;
pub mod errors;
mod observer;
mod past;
mod patch;
pub(crate) mod request;
mod strip;
#[cfg(test)]
mod tests;

pub use acts::{has_provider_act, has_tools_run};
pub use observer::{
    BODY_MAX_BYTES, Detect, Detected, Ending, Expect, Finish, InBandError, KeepText, Observer, Progress, Seen,
};
pub use past::{EarlierCalls, Past, ToolResult};
pub(crate) use patch::items;
pub use patch::{AskUsage, Fill, Patch, PatchError, Patched, PromptMode, ToolsMode};
pub use request::{ChatRequest, Message, Opening, ProviderState, ReadError, ResponseFormat, asks_to_think};
pub use strip::{HOLD_MAX_BYTES, UsageStripper};
