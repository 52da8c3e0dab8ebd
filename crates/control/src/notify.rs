//! Tells people, by signed webhooks.

pub mod sign;
