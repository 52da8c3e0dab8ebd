//! OpenAI chat completions (`/v1/chat/completions`), as OpenAI and the servers that speak like it send
//! and take them.
//!
//! [`ChatRequest`] reads a body, [`Patch`] splices a version into it, [`Observer`] reads the answer
//! beside the stream, [`UsageStripper`] takes out of the stream what only the gateway asked for, and
//! [`errors`] writes what the gateway itself has to say.

mod answer;
mod calls;
pub mod errors;
mod observer;
mod patch;
mod request;
mod strip;
#[cfg(test)]
mod tests;

pub use observer::{BODY_MAX_BYTES, Ending, Expect, Finish, InBandError, Observer, Progress, Seen};
pub use patch::{AskUsage, Patch, PatchError, Patched, PromptMode, ToolsMode};
pub use request::{ChatRequest, Message, Opening, ProviderState, ReadError, ResponseFormat};
pub use strip::{HOLD_MAX_BYTES, UsageStripper};
