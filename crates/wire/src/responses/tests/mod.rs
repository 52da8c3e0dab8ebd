//! Answers, requests and conversations of responses.

mod conversation;
mod golden;
mod patching;
