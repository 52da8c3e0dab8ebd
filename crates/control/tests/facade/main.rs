//! The facade on a store that can fail, a clock that is moved by hand, and ports that remember.

mod commands;
mod fixture;
mod notices;
mod restart;
mod rollback;
