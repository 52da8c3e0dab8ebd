//! Runs the generators: the app's example `generate` prints every generated file with its path,
//! so that nothing depends on the app. Paths are the app's; texts are compared or written here.

use crate::say;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

#[derive(Debug, Deserialize)]
struct Generated {
    path: String,
    text: String,
}

/// Writes what differs.
pub(crate) fn write(root: &Path) -> anyhow::Result<ExitCode> {
    for file in differing(root)? {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, &file.text).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("wrote {}\n", file.path));
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails where a file differs.
pub(crate) fn check(root: &Path) -> anyhow::Result<ExitCode> {
    let stale = differing(root)?;
    for file in &stale {
        say(&format!("{}: is not what the code generates; run `cargo xtask codegen`\n", file.path));
    }
    Ok(if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn differing(root: &Path) -> anyhow::Result<Vec<Generated>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--package", "coalmine", "--example", "generate"])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run the generators")?;
    if !output.status.success() {
        bail!("the generators failed");
    }
    let files: Vec<Generated> = serde_json::from_slice(&output.stdout).context("the generators printed no JSON")?;
    Ok(files.into_iter().filter(|file| differs(root, file)).collect())
}

fn differs(root: &Path, file: &Generated) -> bool {
    fs::read_to_string(root.join(&file.path)).ok().as_deref() != Some(file.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_changed_file_differ_and_an_equal_one_does_not() {
        let folder = std::env::temp_dir().join(format!("coalmine-codegen-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("same"), "a").unwrap();
        fs::write(folder.join("changed"), "b").unwrap();
        let file = |path: &str| Generated { path: path.to_owned(), text: "a".to_owned() };
        assert!(!differs(&folder, &file("same")));
        assert!(differs(&folder, &file("changed")));
        assert!(differs(&folder, &file("missing")));
        fs::remove_dir_all(&folder).unwrap();
    }
}
