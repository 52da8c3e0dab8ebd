//! The management API: types, handlers, the OpenAPI document, a typed client, and pages for people.
//!
//! The CLI and every other face of Coalmine use nothing but this.

pub mod client;
pub mod handlers;
pub mod openapi;
pub mod pages;
pub mod types;
pub mod when;
