//! The commands that change a release.

use super::Exit;
use super::args::{CommandArgs, ReleaseArgs, RollbackArgs, StartArgs, StepArgs};
use super::paint::{Paint, Tone};
use super::{connect, say};
use crate::config::{self, Background, Machine, ReleaseSpec, RouteBackground};
use anyhow::{Context, Result};
use coalmine_api::client::{Client, ClientError};
use coalmine_api::types::{CommandBody, CommandOutcome, NewRelease, ReleaseView, SiteRoute};
use coalmine_core::release::policy::Acknowledged;
use std::path::Path;
use std::time::Duration;

/// Creates the release of a file, and begins it.
///
/// # Errors
/// When the file is wrong, or the server refuses.
pub async fn start(args: &StartArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let mut spec = read_release(&client, &args.file).await?;
    if args.acknowledge {
        spec.policy.acknowledged.insert(Acknowledged::Undecidable);
    }
    let new = NewRelease { route: spec.route.to_string(), canary: spec.canary, plan: spec.plan, policy: spec.policy };
    let created = client.create(&new).await?;
    if !args.draft {
        client.command(&created.id, "start", &CommandBody::default()).await?;
    }
    let now = once_served(&client, &created.id).await?;
    if args.remote.json {
        connect::print_json(&now)?;
    } else {
        say(&super::status::release_text(&now, Paint::detect()));
        say(&format!("follow it with: coalmine watch {}\n", now.id));
    }
    Ok(Exit::Done)
}

/// The release once every live gateway serves it, or after three seconds as it is then.
async fn once_served(client: &Client, id: &str) -> Result<ReleaseView> {
    for _ in 0..60 {
        let now = client.release(id).await?;
        if now.served {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(client.release(id).await?)
}

/// Reads a release file against the routes as the server has them now.
///
/// # Errors
/// When the file is wrong, or the server does not answer.
pub async fn read_release(client: &Client, file: &Path) -> Result<ReleaseSpec> {
    let site = client.site().await?;
    let route =
        |(name, route): (_, SiteRoute)| (name, RouteBackground { stable: route.stable, feedback: route.feedback });
    let background = Background {
        routes: site.routes.into_iter().map(route).collect(),
        providers: site.providers,
        params: site.params,
        cohorts: site.cohorts,
        tags: site.tags,
        priced: site.priced,
        assessors: site.assessors,
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(config::parse_release(&text, file, &background, &Machine)?)
}

/// Pause, resume, drift.
///
/// # Errors
/// When the server refuses.
pub async fn command(verb: &str, args: &CommandArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let found = connect::find(&client, &args.release).await?;
    let outcome = client.command(&found.id, verb, &body(args)).await?;
    tell(&[outcome], args.remote.json)
}

fn body(args: &CommandArgs) -> CommandBody {
    CommandBody { reason: args.reason.clone(), expected_generation: args.expect, now: false }
}

/// Approve, advance, promote: asked again for as long as the canary's upstreams are made ready.
///
/// # Errors
/// When the server refuses.
#[expect(clippy::print_stderr, reason = "what is waited for is no part of the result")]
pub async fn step(verb: &str, args: &StepArgs) -> Result<Exit> {
    let StepArgs { command, now } = args;
    let client = connect::client(&command.remote)?;
    let found = connect::find(&client, &command.release).await?;
    let body = CommandBody { now: *now, ..body(command) };
    let mut told = String::new();
    loop {
        match client.command(&found.id, verb, &body).await {
            Ok(outcome) => return tell(&[outcome], command.remote.json),
            Err(ClientError::Refused { problem, .. }) if problem.code == "not_ready" => {
                if told != problem.message {
                    eprintln!("{}: {}", found.id, problem.message);
                    told = problem.message;
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// A step that waits for upstreams is asked for again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Rollback of one release, or of all.
///
/// # Errors
/// When the server refuses.
pub async fn rollback(args: &RollbackArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let body = CommandBody { reason: args.reason.clone(), expected_generation: None, now: false };
    let outcomes = if args.all {
        client.rollback_all(&body).await?
    } else {
        let named = args.release.as_deref().context("name a release, or say --all")?;
        let found = connect::find(&client, named).await?;
        vec![client.command(&found.id, "rollback", &body).await?]
    };
    tell(&outcomes, args.remote.json)
}

/// In what the canary of a release differs from stable.
///
/// # Errors
/// When the server does not know the release.
pub async fn diff(args: &ReleaseArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let found = connect::find(&client, &args.release).await?;
    let release = client.release(&found.id).await?;
    if args.remote.json {
        connect::print_json(&release.diff)?;
        return Ok(Exit::Done);
    }
    let paint = Paint::detect();
    for change in &release.diff {
        say(&format!("{}\n", paint.tone(Tone::Strong, &change.part)));
        for line in change.from.lines() {
            say(&format!("{}\n", paint.tone(Tone::Bad, &format!("- {line}"))));
        }
        for line in change.to.lines() {
            say(&format!("{}\n", paint.tone(Tone::Good, &format!("+ {line}"))));
        }
    }
    Ok(Exit::Done)
}

fn tell(outcomes: &[CommandOutcome], json: bool) -> Result<Exit> {
    if json {
        match outcomes {
            [one] => connect::print_json(one)?,
            several => connect::print_json(&several)?,
        }
    } else {
        for outcome in outcomes {
            say(&format!("{}: {} — {}\n", outcome.id, outcome.state.is.replace('_', " "), outcome.message));
        }
        if outcomes.is_empty() {
            say("nothing to do: no release is running\n");
        }
    }
    Ok(if outcomes.iter().all(|o| o.committed) { Exit::Done } else { Exit::Pending })
}
