//! The domain of Coalmine, pure: no clock, no randomness, no I/O. Time and random bytes are arguments.
//!
//! # Map
//! | module | what it holds |
//! |---|---|
//! | [`id`], [`time`], [`float`] | names of things, instants and spans, floats that survive JSON |
//! | [`version`] | the immutable, content-hashed bundle that is released, and its diff |
//! | [`capture`] | captured answers: whose are kept, and what is known of one beside its text |
//! | [`price`] | what versions cost, as a release keeps it |
//! | [`cohort`] | which customers a stage is cut to |
//! | [`traffic`] | weights, slots, pins, the routing table, and [`traffic::assign`] |
//! | [`metric`] | what is measured: name, kind, direction, unit |
//! | [`judge`] | the model that scores sampled answers: what is pinned, what it has shown |
//! | [`key`] | client keys, their quotas, and what was spent under them |
//! | [`tally`] | what gateways report: turns, feedback, deltas |
//! | [`drift`] | what answers behind a version, and whether it changed |
//! | [`incident`] | what is wrong with a route outside of any release |
//! | [`evidence`] | turns reduced to session numbers, sealed into exposure buckets |
//! | [`analysis`] | sealed buckets to verdicts; cannot express traffic |
//! | [`forecast`] | before the start: when the evidence will be there, what is harmed, what cannot be decided |
//! | [`sentinel`] | known-answer prompts: the suite, its rounds, its schedule |
//! | [`shadow`] | copies of requests put to the canary before anybody is exposed: what pairs of answers show |
//! | [`release`] | plan, policy, state, events, effects, and [`release::decide`] |
//! | [`invariant`] | the laws that tests and the simulator check after every step |
//!
//! The way of a decision is [`release::decide::decide`], on one screen.

pub mod analysis;
pub mod capture;
pub mod cohort;
pub mod drift;
pub mod evidence;
pub mod float;
pub mod forecast;
pub mod id;
pub mod incident;
pub mod invariant;
pub mod judge;
pub mod key;
pub mod metric;
pub mod origin;
pub mod price;
pub mod release;
pub mod sentinel;
pub mod shadow;
pub mod tally;
pub mod time;
pub mod traffic;
pub mod version;
