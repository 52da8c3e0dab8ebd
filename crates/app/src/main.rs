//! The binary: reads the command line, runs it, and ends with the right code.

use clap::Parser;
use coalmine::cli::args::Cli;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    coalmine::run(Cli::parse()).into()
}
