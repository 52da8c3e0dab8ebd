//! The data plane: answers requests, and tells what it learnt. It cannot link the store: with the
//! store and the control plane gone, the last table goes on serving.
//!
//! The way of a request is `proxy.rs`, on one screen: admit, identify, assign, rewrite, send, relay,
//! observe.

pub mod ports;
