//! Map to follow.
