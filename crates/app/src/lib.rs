//! The product's one process. The binary is thin; everything that can be tested is here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `coalmine.yaml` and `releases/*.yaml` |
//! | [`generate`] | what is generated from code and checked in |

pub mod config;
pub mod generate;
