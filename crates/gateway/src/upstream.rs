//! Who answers: pools of connections to providers, when an attempt is repeated, and when stable may
//! take over from the canary.

pub(crate) mod breaker;
pub(crate) mod pool;
pub(crate) mod rescue;
pub(crate) mod retry;
