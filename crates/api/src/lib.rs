//! The management API: types, handlers, the OpenAPI document, and a typed client.
//!
//! The CLI and every other face of Coalmine use nothing but this.

pub mod client;
pub mod handlers;
pub mod openapi;
pub mod types;
pub mod when;
