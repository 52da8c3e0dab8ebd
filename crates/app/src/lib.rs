//! The product's one process. The binary is thin; everything that can be tested is here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | `coalmine.yaml` and `releases/*.yaml` |

pub mod config;
