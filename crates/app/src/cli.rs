//! The command line: arguments, and one module per kind of command.

pub mod args;
pub mod backtest;
pub mod captures;
pub mod connect;
pub mod explain;
pub mod files;
pub mod incidents;
pub mod judge;
pub mod key;
mod offline;
pub mod operate;
pub mod paint;
pub mod picture;
pub mod plan;
mod plan_text;
mod prices;
pub mod sentinel;
pub mod shutdowns;
pub mod simulate;
pub mod status;
mod upstreams;
pub mod watch;

use std::io::Write;
use std::process::ExitCode;

/// What a command ends with. Documented in `coalmine --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// It failed; the reason was printed.
    Failed,
    /// The command line or a file is wrong (clap's own code for usage errors too).
    Usage,
    /// The server refused: not legal in this state, or somebody else was faster.
    Refused,
    /// Nobody answers at the address.
    NoServer,
    /// Done, but the commit is pending because the store is away (rollback only).
    Pending,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::NoServer => 4,
            Exit::Pending => 5,
        })
    }
}

/// Prints to standard output. A reader that has seen enough (`coalmine status | head -1`) is no error.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
