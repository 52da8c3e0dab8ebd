//! Who gets what: weights, slots, pins, the routing table, and the assignment.

pub mod assign;
pub mod pin;
pub mod table;
pub mod weight;
