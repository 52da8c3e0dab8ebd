//! The facade on a store that can fail, a clock that is moved by hand, and ports that remember.
#![expect(clippy::unwrap_used, reason = "a test")]

mod captures;
mod commands;
mod drift;
mod fixture;
mod graded;
mod isolation;
mod judges;
mod keys;
mod notices;
mod pairs;
mod promoted;
mod ready;
mod restart;
mod rollback;
mod sentinels;
mod sessions;
mod tries;
