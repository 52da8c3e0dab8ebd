//! A release file read without a server, and without a secret: for whatever plays it in virtual time.

use crate::config::{self, Machine, ReleaseSpec, Surroundings};
use anyhow::{Context, Result};
use coalmine_core::version::Version;
use std::path::Path;

/// The release file, and the stable version that it is written against.
pub(super) fn release(file: &Path, process: &Path) -> Result<(ReleaseSpec, Version)> {
    let text = std::fs::read_to_string(process)
        .with_context(|| format!("reading {}; name the process file with --config", process.display()))?;
    let background = config::parse_process(&text, process, &WithoutSecrets)?.background();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let spec = config::parse_release(&text, file, &background, &WithoutSecrets)?;
    let route = background.routes.get(&spec.route).context("the release's route is not in the process file")?;
    Ok((spec, route.stable.clone()))
}

/// The machine, where a secret that is not set stands for itself: nothing is sent anywhere.
struct WithoutSecrets;

impl Surroundings for WithoutSecrets {
    fn file(&self, path: &Path) -> std::io::Result<String> {
        Machine.file(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        Some(Machine.env(name).unwrap_or_else(|| "not set, and not needed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_needed() {
        assert!(WithoutSecrets.env("SURELY_NOT_SET_ANYWHERE").is_some());
    }
}
