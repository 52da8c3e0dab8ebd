//! Sequential tests that stay valid at every look. Numbers in, numbers out.

pub mod betting;
pub mod restart;
pub mod special;
