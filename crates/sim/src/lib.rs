//! Worlds of known truth in virtual time, driving the shipped core and control without sockets.
//!
//! # Map
//! | module | what it holds |
//! |---|---|
//! | [`world`] | what is true: users, versions, faults |
//! | [`script`] | a world and a release as a plain-text file |
//! | [`luck`] | repeatable random numbers |
//! | `users`, `upstream`, `gateway`, `copies` | sessions and their turns; what a version answers; assign, pin, report; mirror |
//! | `judges`, `sentinels` | what a judge says of an answer; who is asked beside the customers |
//! | [`spec`] | a release file in a world |
//! | [`naive`] | a comparison that leaves one rule out, beside the shipped verdict |
//! | [`many`] | many runs, on all cores, and their distribution |
//! | [`run()`] | one release from start to end, the laws checked on the way |
//! | [`backtest`] | recorded observations through a policy |
//! | [`shipped`] | the scenarios that come with the product |
//! | [`promise`] | many releases of known truth against the stated rates |
//! | [`accidents`], [`meddling`] | what is decided where the evidence fails; how reports are falsified |
//! | [`report`] | the outcome, for people and for golden files |
//!
//! Both arms of a world share their luck: a session that would fail under either version fails under both,
//! so the sessions harmed by a canary are counted and not estimated.

pub mod accidents;
pub mod backtest;
mod copies;
mod gateway;
mod judges;
mod laws;
pub mod luck;
pub mod many;
pub mod meddling;
pub mod naive;
pub mod promise;
pub mod report;
mod run;
pub mod script;
mod sentinels;
pub mod shipped;
pub mod spec;
mod upstream;
mod users;
pub mod world;

pub use report::{Copied, Ended, SimOutcome};
pub use run::{SimError, run};
pub use script::Scenario;
pub use sentinels::Asked;
pub use world::World;
