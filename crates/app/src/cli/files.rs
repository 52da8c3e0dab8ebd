//! Commands about files: checking, describing, exporting.

use super::Exit;
use super::args::ExportArgs;
use super::paint::Paint;
use super::{connect, say, shutdowns};
use crate::config::{self, Machine};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Checks the process file, and release files against it. Every mistake is printed.
///
/// # Errors
/// When a file cannot be read at all.
pub fn check(default: &Path, files: &[PathBuf]) -> Result<Exit> {
    let mut releases = Vec::new();
    let mut process = default;
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        if text.lines().any(|line| line.starts_with("release:")) {
            releases.push(file);
        } else {
            process = file;
        }
    }
    let text = std::fs::read_to_string(process).with_context(|| format!("reading {}", process.display()))?;
    let mut exit = Exit::Done;
    let background = match config::parse_process(&text, process, &Machine) {
        Ok(read) => {
            say(&format!(
                "{}: fine ({} providers, {} routes)\n",
                process.display(),
                read.providers.len(),
                read.routes.len()
            ));
            let stables =
                read.routes.iter().map(|(name, route)| (format!("route {name}"), route.stable.model.as_str()));
            say(&shutdowns::told(stables, shutdowns::today(), Paint::detect()));
            Some(read.background())
        }
        Err(faults) => {
            say(&format!("{faults}\n"));
            exit = Exit::Usage;
            None
        }
    };
    for file in releases {
        let Some(background) = &background else {
            say(&format!("{}: not checked, since {} is wrong\n", file.display(), process.display()));
            continue;
        };
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        match config::parse_release(&text, file, background, &Machine) {
            Ok(spec) => {
                let (stages, guardrails) = (spec.plan.stages.len(), spec.policy.guardrails.len());
                say(&format!("{}: fine ({stages} stages, {guardrails} guardrails)\n", file.display()));
                say(&shutdowns::told(super::plan::models(&spec), shutdowns::today(), Paint::detect()));
            }
            Err(faults) => {
                say(&format!("{faults}\n"));
                exit = Exit::Usage;
            }
        }
    }
    Ok(exit)
}

/// Every key with its type, default and meaning.
#[must_use]
pub fn keys() -> Exit {
    say(&config::reference::listing());
    Exit::Done
}

/// A JSON Schema for editors.
#[must_use]
pub fn schema(kind: &str) -> Exit {
    say(&config::schema::schema(if kind == "release" {
        &config::table::release::RELEASE
    } else {
        &config::table::process::PROCESS
    }));
    Exit::Done
}

/// The API's own document.
#[must_use]
pub fn openapi() -> Exit {
    say(&coalmine_api::openapi::document());
    Exit::Done
}

/// The present as a `coalmine.yaml`: the file's settings with the store's stable versions.
///
/// # Errors
/// When the file is wrong, or the server does not answer.
pub async fn export(args: &ExportArgs) -> Result<Exit> {
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("reading {}", args.config.display()))?;
    let process = config::parse_process(&text, &args.config, &Machine)?;
    let site = connect::client(&args.remote)?.site().await?;
    let stables = site.routes.into_iter().map(|(name, route)| (name, route.stable)).collect();
    let folder = args.config.parent().unwrap_or(Path::new(""));
    say(&config::export::export(&process, &stables, folder));
    Ok(Exit::Done)
}
