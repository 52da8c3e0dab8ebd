//! The project's own checks and generators: `cargo xtask tidy`, `cargo xtask codegen [--check]`.

mod codegen;
mod tidy;

use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "cargo xtask tidy               the rules of the house that no compiler checks\n\
                    cargo xtask codegen            writes everything that is generated from code\n\
                    cargo xtask codegen --check    fails where a generated file differs\n";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root()?;
    match args.as_slice() {
        ["tidy"] => tidy::run(&root),
        ["codegen"] => codegen::write(&root),
        ["codegen", "--check"] => codegen::check(&root),
        [] | ["help" | "--help" | "-h"] => {
            say(HELP);
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("unknown arguments {args:?}\n{HELP}"),
    }
}

/// The repository's root: the folder above this package's.
fn root() -> anyhow::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).context("xtask lies in no folder")
}

/// Writes to the terminal; a closed pipe is no error of ours.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
