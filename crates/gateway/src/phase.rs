//! The phases of a request, in their order.

pub(crate) mod admit;
pub(crate) mod assign;
pub(crate) mod body;
pub(crate) mod hedge;
pub(crate) mod identify;
pub(crate) mod notice;
pub(crate) mod observe;
pub(crate) mod relay;
pub(crate) mod rewrite;
pub(crate) mod send;
pub(crate) mod variables;
