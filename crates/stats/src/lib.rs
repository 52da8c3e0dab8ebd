//! Sequential tests that stay valid at every look. Numbers in, numbers out.

pub mod betting;
pub mod boundary;
pub mod bucket_mean;
pub mod centre;
pub mod counts;
mod grid;
pub mod histogram;
pub mod interval;
pub mod limit;
pub mod merge;
pub mod paired;
pub mod plan;
pub mod ppi;
pub mod quantile;
pub mod ramp;
pub mod restart;
pub mod rivals;
pub mod self_check;
pub mod sentinel;
pub mod sketch;
pub mod special;
pub mod srm;
