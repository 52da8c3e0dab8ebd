//! The release machine: plan, policy, state, events, effects, and the one function that decides.
//!
//! [`decide`] is the map of (state, event). What a transition does is in `moves`; what a look finds
//! is read by `causes` (what rolls back), `conditions` (what is wrong and lasts) and `forward` (what
//! is missing for the next move forward), put in order by `look`.

mod causes;
pub mod check;
mod conditions;
pub mod decide;
pub mod defaults;
pub mod effect;
pub mod event;
#[cfg(test)]
pub(crate) mod example;
pub(crate) mod forward;
pub mod freeze;
mod look;
mod moves;
pub mod plan;
pub mod policy;
mod preflight;
mod ramp;
pub mod report;
mod shadow;
pub mod state;
pub mod words;
