//! Talking to the server, and telling what went wrong.

use super::Exit;
use super::args::Remote;
use anyhow::{Context, Result, bail};
use coalmine_api::client::{Client, ClientError};
use coalmine_api::types::ReleaseSummary;
use serde::Serialize;

/// A client of the server that was named.
///
/// # Errors
/// When the address is none.
pub fn client(remote: &Remote) -> Result<Client> {
    Ok(Client::new(&remote.url, remote.token.clone())?)
}

/// The exit code that tells a program what kind of failure it was.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<crate::config::Faults>() {
        return Exit::Usage;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::NoAnswer { .. } | ClientError::Foreign { .. }) => Exit::NoServer,
        Some(ClientError::Address { .. }) => Exit::Usage,
        Some(ClientError::Refused { problem, .. }) => match problem.code.as_str() {
            "refused" | "conflict" => Exit::Refused,
            "invalid" => Exit::Usage,
            _ => Exit::Failed,
        },
        None => Exit::Failed,
    }
}

/// What to print under an error.
#[must_use]
pub fn details_of(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { problem, .. }) => problem.details.clone(),
        Some(_) | None => Vec::new(),
    }
}

/// Finds a release by its own name, or by its route: the one that is not over, else the newest.
///
/// # Errors
/// When there is none, or the server does not answer.
pub async fn find(client: &Client, named: &str) -> Result<ReleaseSummary> {
    let all = client.releases().await?;
    if let Some(exact) = all.iter().find(|r| r.id == named) {
        return Ok(exact.clone());
    }
    let of_route: Vec<&ReleaseSummary> = all.iter().filter(|r| r.route == named).collect();
    let live = of_route.iter().find(|r| !is_over(&r.state.is));
    match live.or_else(|| of_route.first()) {
        Some(release) => Ok((**release).clone()),
        None => {
            let known: Vec<&str> = all.iter().take(8).map(|r| r.id.as_str()).collect();
            let known =
                if known.is_empty() { "there are none yet".to_owned() } else { format!("known: {}", known.join(", ")) };
            bail!("no release and no route with a release is named `{named}` ({known})")
        }
    }
}

/// The only release that is not over, else the newest.
///
/// # Errors
/// When there is none, or several run.
pub async fn find_default(client: &Client) -> Result<ReleaseSummary> {
    let all = client.releases().await?;
    let live: Vec<&ReleaseSummary> = all.iter().filter(|r| !is_over(&r.state.is)).collect();
    match live.as_slice() {
        [one] => Ok((*one).clone()),
        [] => all.into_iter().next().context("there is no release yet; `coalmine start FILE` begins one"),
        several => {
            let names: Vec<&str> = several.iter().map(|r| r.id.as_str()).collect();
            bail!("several releases run; name one: {}", names.join(", "))
        }
    }
}

/// Whether a state's word is a final one.
#[must_use]
pub fn is_over(word: &str) -> bool {
    matches!(word, "promoted" | "rolled_back")
}

/// Prints a document for a machine.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    super::say(&format!("{}\n", serde_json::to_string_pretty(document)?));
    Ok(())
}
