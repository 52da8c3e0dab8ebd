//! Sequential tests that stay valid at every look. Numbers in, numbers out.

pub mod betting;
pub mod counts;
mod grid;
pub mod histogram;
pub mod interval;
pub mod limit;
pub mod paired;
pub mod restart;
pub mod special;
pub mod srm;
