//! The product's one process. The binary is thin; everything that can be tested is here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line, one module per kind of command |
//! | [`config`] | `coalmine.yaml` and `releases/*.yaml` |
//! | [`generate`] | what is generated from code and checked in |
//! | [`serve`] | gateway, control plane and API wired into one process |
//! | [`demo`] | the real thing with simulated providers and customers |

pub mod cli;
pub mod config;
pub mod demo;
pub mod generate;
pub mod serve;

use cli::Exit;
use cli::args::{Cli, ConfigVerb, Verb};
use cli::paint::{Paint, Tone};

/// Runs one command to its end.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    log_to_stderr(&cli.verb);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("starting the runtime")),
    };
    match runtime.block_on(Box::pin(dispatch(cli.verb))) {
        Ok(exit) => exit,
        Err(error) => failed(&error),
    }
}

async fn dispatch(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Serve(args) => serve::run(&args).await,
        Verb::Demo(args) => demo::run(&args).await,
        Verb::Plan(args) => cli::plan::run(&args).await,
        Verb::Start(args) => cli::operate::start(&args).await,
        Verb::Status(args) => cli::status::run(&args).await,
        Verb::Watch(args) => cli::watch::run(&args).await,
        Verb::Pause(args) => cli::operate::command("pause", &args).await,
        Verb::Resume(args) => cli::operate::command("resume", &args).await,
        Verb::Approve(args) => cli::operate::step("approve", &args).await,
        Verb::Advance(args) => cli::operate::step("advance", &args).await,
        Verb::Promote(args) => cli::operate::step("promote", &args).await,
        Verb::Drift(args) => cli::operate::command("drift", &args).await,
        Verb::Rollback(args) => cli::operate::rollback(&args).await,
        Verb::Diff(args) => cli::operate::diff(&args).await,
        Verb::Explain(args) => cli::explain::run(&args).await,
        Verb::Sentinel(args) => cli::sentinel::run(&args.what).await,
        Verb::Judge(args) => cli::judge::run(&args.what).await,
        Verb::Label(args) => cli::judge::label(&args.what).await,
        Verb::Incidents(args) => cli::incidents::run(&args.what).await,
        Verb::Captures(args) => cli::captures::run(&args.what).await,
        Verb::Key(args) => cli::key::run(&args.what).await,
        Verb::Simulate(args) => cli::simulate::run(&args).await,
        Verb::Backtest(args) => cli::backtest::run(&args).await,
        Verb::Export(args) => cli::files::export(&args).await,
        Verb::Config(args) => match args.what {
            ConfigVerb::Check { config, files } => cli::files::check(&config, &files),
            ConfigVerb::Keys => Ok(cli::files::keys()),
            ConfigVerb::Schema { kind } => Ok(cli::files::schema(&kind)),
        },
        Verb::Openapi => Ok(cli::files::openapi()),
    }
}

/// A server logs at `info` and says who did what; a command is quiet. `COALMINE_LOG` says otherwise
/// (`COALMINE_LOG=warn`), `COALMINE_LOG_FORMAT=json` makes the lines JSON. Requests are in the access log, which is
/// another thing (`telemetry.access_log`).
fn log_to_stderr(verb: &Verb) {
    let default = if matches!(verb, Verb::Serve(_)) { "info" } else { "error" };
    let filter = std::env::var("COALMINE_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::new(filter);
    // A line that cannot be written (the disk that takes the log is full) is lost; by default its loss would
    // be told on stderr with a macro that panics where that cannot be written either.
    let lines = tracing_subscriber::fmt().log_internal_errors(false);
    let lines = lines.with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    let json = std::env::var("COALMINE_LOG_FORMAT").is_ok_and(|format| format == "json");
    // Only fails where a logger is set already, as in tests.
    let _ = if json { lines.json().try_init() } else { lines.with_ansi(false).try_init() };
}

#[expect(clippy::print_stderr, reason = "an error is told to the person at the terminal")]
fn failed(error: &anyhow::Error) -> Exit {
    eprintln!("{} {error:#}", Paint::Plain.tone(Tone::Bad, "coalmine:"));
    for detail in cli::connect::details_of(error) {
        eprintln!("  {detail}");
    }
    cli::connect::exit_of(error)
}
