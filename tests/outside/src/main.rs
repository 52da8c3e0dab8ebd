//! What stands outside of Coalmine in its black-box tests: clients, upstreams, truth. It imports no
//! Coalmine crate and knows only the binary, its HTTP surface and its files.

mod captures;
mod client;
mod drain;
mod drift;
mod faults;
mod handover;
mod judge;
mod keys;
mod pins;
mod plans;
mod process;
mod ready;
mod regions;
mod replay;
mod sentinels;
mod shadow;
mod split;
mod stuck;
mod upstream;
mod variables;

use clap::{Parser, Subcommand};

/// Drives the real binary from outside.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Releases on real recorded generations: rolled back, promoted, or left alone, as is true of them.
    Replay(replay::Args),
    /// Many sessions through ramp, restart and kill -9: no session may change its version.
    Pins(pins::Args),
    /// A rollback by hand, a dead provider, a locked or full store, two operators: what must hold then.
    Faults(faults::Args),
    /// Sentinels: a canary that answers one wrongly never meets a customer, or is taken back at its next round.
    Sentinels(process::Under),
    /// A judge: a canary that it finds worse is rolled back; one that it cannot be asked about is held.
    Judge(process::Under),
    /// A canary that is cold, and then busy: nobody meets it before it is warm and has room.
    Ready(process::Under),
    /// Captures: texts are redacted and sealed, read by readers alone, side by side, and labelled on a page.
    Captures(captures::Args),
    /// A shadow: a canary that answers nobody is rolled back, hangs without harm, or is let on.
    Shadow(process::Under),
    /// The drift watch: another model behind a steady stable, a sentinel that it fails, a swap behind both arms.
    Drift(process::Under),
    /// Client keys and quotas: revoked at once, bounded, budgets over a kill, secrets in no file.
    Keys(process::Under),
    /// Plans from what a route has served, and a start that its plan refuses.
    Plans(process::Under),
    /// The listener handed to another process under load: nothing is lost.
    Handover(process::Under),
    /// SIGTERM under many slow streams on a busy machine: what ends in time is whole, what does not is told.
    Drain(process::Under),
    /// Answers that get stuck: over in time, told in the wire format, counted, and answered by somebody else where that can be.
    Stuck(process::Under),
    /// Prompts with variables: read by the provider as given, written down nowhere, and never as braces.
    Variables(process::Under),
    /// Addresses in several regions: the nearest serves, the sick are left alone, and a busy one holds a canary's weight.
    Regions(process::Under),
    /// The smallest weight is somebody's, a missing one is refused, and silence holds.
    Split(process::Under),
    /// A fast OpenAI-compatible upstream of known behaviour, in the foreground.
    Upstream(upstream::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.job {
            Job::Replay(args) => replay::run(args).await,
            Job::Pins(args) => pins::run(args).await,
            Job::Faults(args) => faults::run(args).await,
            Job::Sentinels(args) => sentinels::run(args).await,
            Job::Judge(args) => judge::run(args).await,
            Job::Ready(args) => ready::run(args).await,
            Job::Captures(args) => captures::run(args).await,
            Job::Shadow(args) => shadow::run(args).await,
            Job::Drift(args) => drift::run(args).await,
            Job::Keys(args) => keys::run(args).await,
            Job::Plans(args) => plans::run(args).await,
            Job::Handover(args) => handover::run(args).await,
            Job::Drain(args) => drain::run(args).await,
            Job::Stuck(args) => stuck::run(args).await,
            Job::Variables(args) => variables::run(args).await,
            Job::Regions(args) => regions::run(args).await,
            Job::Split(args) => split::run(args).await,
            Job::Upstream(args) => upstream::run(args).await,
        }
    })
}
