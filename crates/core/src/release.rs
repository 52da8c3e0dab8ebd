//! The release machine: plan, policy, state, events, effects, and the one function that decides.

pub mod decide;
pub mod effect;
pub mod event;
pub mod plan;
pub mod policy;
pub mod report;
pub mod state;
