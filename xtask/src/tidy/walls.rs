//! The walls between crates, checked against what Cargo knows.

use super::Finding;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// What each of ours may depend on among ours, in code and in tests.
const MAY: [(&str, &[&str]); 11] = [
    ("coalmine-stats", &[]),
    ("coalmine-wire", &[]),
    ("coalmine-core", &["coalmine-stats"]),
    ("coalmine-store", &["coalmine-core"]),
    ("coalmine-gateway", &["coalmine-core", "coalmine-wire"]),
    ("coalmine-control", &["coalmine-core", "coalmine-stats", "coalmine-store", "coalmine-wire"]),
    ("coalmine-api", &["coalmine-core", "coalmine-store", "coalmine-control"]),
    ("coalmine-sim", &["coalmine-core", "coalmine-stats", "coalmine-control", "coalmine-store"]),
    ("xtask", &[]),
    ("outside", &[]),
    (
        "coalmine",
        &[
            "coalmine-stats",
            "coalmine-wire",
            "coalmine-core",
            "coalmine-store",
            "coalmine-gateway",
            "coalmine-control",
            "coalmine-api",
            "coalmine-sim",
        ],
    ),
];

/// All that the pure crates may depend on outside of tests, besides the above.
const PURE: [(&str, &[&str]); 2] =
    [("coalmine-core", &["serde", "blake3", "thiserror"]), ("coalmine-stats", &["serde", "sketches-ddsketch", "libm"])];

/// A package and what it depends on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// The packages of the workspace.
pub(crate) fn packages(root: &Path) -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    Ok(metadata.packages)
}

/// Every dependency that a wall forbids, and every package without a rule.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let finding = |item: &str, what: String| Finding {
            path: "Cargo.toml".to_owned(),
            line: 0,
            rule: "wall",
            item: format!("{}->{item}", package.name),
            what,
        };
        let Some((_, may)) = MAY.iter().find(|(name, _)| *name == package.name) else {
            let what =
                format!("package {} has no rule; say in xtask/src/tidy/walls.rs what it may depend on", package.name);
            findings.push(finding("", what));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.path.is_some();
            if ours && !may.contains(&dependency.name.as_str()) {
                let what = format!("{} must not depend on {}", package.name, dependency.name);
                findings.push(finding(&dependency.name, what));
            }
            let pure = PURE.iter().find(|(name, _)| *name == package.name);
            if let Some((_, only)) = pure
                && !ours
                && dependency.kind.is_none()
                && !only.contains(&dependency.name.as_str())
            {
                let what = format!(
                    "{} is pure and depends on {} only, not on {}",
                    package.name,
                    only.join(", "),
                    dependency.name
                );
                findings.push(finding(&dependency.name, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, on: &str, ours: bool, kind: Option<&str>) -> Package {
        let path = ours.then(|| "crates/x".to_owned());
        let dependency = Dependency { name: on.to_owned(), kind: kind.map(str::to_owned), path };
        Package { name: name.to_owned(), dependencies: vec![dependency] }
    }

    #[test]
    fn what_the_walls_allow_passes() {
        assert_eq!(check(&[package("coalmine-gateway", "coalmine-core", true, None)]), []);
        assert_eq!(check(&[package("coalmine-core", "serde", false, None)]), []);
        assert_eq!(check(&[package("coalmine-core", "proptest", false, Some("dev"))]), []);
    }

    #[test]
    fn what_they_forbid_fires() {
        for (name, on) in [
            ("coalmine-gateway", "coalmine-store"),
            ("coalmine-gateway", "coalmine-control"),
            ("coalmine-gateway", "coalmine-stats"),
            ("coalmine-gateway", "coalmine-api"),
            ("coalmine-core", "coalmine-store"),
            ("coalmine-stats", "coalmine-core"),
            ("coalmine-wire", "coalmine-core"),
            ("coalmine-control", "coalmine-gateway"),
            ("coalmine-api", "coalmine-gateway"),
            ("coalmine-api", "coalmine"),
            ("outside", "coalmine-core"),
            ("xtask", "coalmine"),
        ] {
            assert_eq!(check(&[package(name, on, true, None)]).len(), 1, "{name} on {on}");
            assert_eq!(check(&[package(name, on, true, Some("dev"))]).len(), 1, "{name} on {on} in tests");
        }
    }

    #[test]
    fn pure_crates_link_nothing_that_acts() {
        for on in ["tokio", "tracing", "rusqlite", "hyper", "rand", "chrono"] {
            assert_eq!(check(&[package("coalmine-core", on, false, None)]).len(), 1, "{on}");
            assert_eq!(check(&[package("coalmine-stats", on, false, None)]).len(), 1, "{on}");
        }
    }

    #[test]
    fn a_package_without_a_rule_fires() {
        assert_eq!(check(&[package("coalmine-new", "serde", false, None)]).len(), 1);
    }
}
