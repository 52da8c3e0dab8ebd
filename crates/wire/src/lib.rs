//! LLM dialects: what a request asks, how it is patched, and what an answer says. Bytes in, bytes
//! out: no sockets, no clock, and none of the words of releases.
//!
//! | module | what it knows |
//! |---|---|
//! | [`json`] | a one-pass scanner that yields spans of JSON bytes, and never builds a tree |
//! | [`sse`] | where server-sent events begin and end, whatever the chunks are |
//! | [`openai`] | chat completions: read and patch requests, observe answers, write errors; what all dialects share |
//! | [`anthropic`] | messages: where they differ from that |
//! | `responses`, `embeddings` | how those are answered, and where they differ |
//! | [`realtime`] | sessions over a websocket: their events, and how a version is put into them |
//! | [`websocket`] | frames of websockets, read in any pieces and written |
//! | [`params`] | which parameters each dialect knows |
//! | [`translate`] | between the two: requests, answers, streams, errors |
//! | [`conversation`] | the keyed hash that finds a conversation by its content |
//! | [`outcome`] | refusals, tool calls and structured answers: did the answer keep the contract |
//! | [`probe`] | a question with known answers: what is asked, and what is asserted of the answer |
//! | [`judge`] | what a judge is asked, and how its answer is read |
//! | [`usage`], [`prices`] | tokens, and what they cost |
//! | [`shutdowns`] | when models end, as their makers have said |
//! | [`exposition`] | what a model server says of its own load |
//! | [`variables`] | what a client gives for the variables of a prompt |
//! | [`encoding`] | in which encodings JSON is not written |
//! | [`headers`] | which headers belong to one hop only |
//!
//! A [`dialect::Dialect`] says in which of them a request or an answer is written.

pub mod anthropic;
pub mod conversation;
pub mod dialect;
mod embeddings;
pub mod encoding;
pub mod exposition;
pub mod headers;
pub mod json;
pub mod judge;
pub mod multipart;
pub mod openai;
pub mod outcome;
pub mod params;
pub mod prices;
pub mod probe;
pub mod realtime;
mod responses;
pub mod shutdowns;
mod sixteen;
pub mod sse;
pub mod translate;
pub mod usage;
pub mod variables;
pub mod websocket;
