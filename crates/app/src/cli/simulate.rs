//! `coalmine simulate`: worlds of known truth in virtual time.

use super::Exit;
use super::args::SimulateArgs;
use anyhow::Result;

/// Runs a scenario, or lists the built-in ones.
///
/// # Errors
/// When the scenario is not known or cannot be read.
pub fn run(args: &SimulateArgs) -> Result<Exit> {
    let _ = args;
    Ok(Exit::Done)
}
