//! Who answers: pools of connections to providers, which address is asked, when an attempt is repeated, and when
//! stable may take over from the canary.

pub(crate) mod address;
pub(crate) mod asked;
pub(crate) mod breaker;
pub(crate) mod capacity;
pub(crate) mod choice;
pub(crate) mod connections;
pub(crate) mod credential;
pub(crate) mod fault;
pub(crate) mod pool;
pub(crate) mod rescue;
pub(crate) mod retry;
pub(crate) mod series;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod under_way;
pub(crate) mod warming;
pub(crate) mod watch;
