//! The rules of the house that no compiler checks. Each rule is a pure function over text, with a
//! test that it fires; this file runs them over everything that git tracks.
//!
//! | module | rules |
//! |---|---|
//! | [`source`] | lengths, module docs, names, banned marks, purity of `core` and `stats` |
//! | [`walls`] | who may depend on whom |
//! | [`text`] | paths of a machine, registry hosts, `ARCHITECTURE.md` |
//! | [`traps`] | `docs/traps.md` and the tests that it names |
//! | [`mask`] | Rust without its strings and comments |
//! | [`allow`] | the list of exceptions, which may only shrink |

mod allow;
mod mask;
mod source;
mod text;
mod traps;
mod walls;

use crate::say;
use allow::Allowed;
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the root on.
    pub(crate) path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// The rule's name, as in the list of exceptions.
    pub(crate) rule: &'static str,
    /// The function or word that is meant, as in the list of exceptions; may be empty.
    pub(crate) item: String,
    /// What is wrong and how to mend it.
    pub(crate) what: String,
}

/// Checks the whole tree.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let files = tracked(root)?;
    let names: BTreeSet<String> = files.iter().cloned().collect();
    let mut findings = Vec::new();
    let mut tests = BTreeSet::new();
    for path in &files {
        // A file that is deleted and not yet committed, and what is no text, is not ours to check.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        findings.extend(check_file(path, &text));
        if path.ends_with(".rs") {
            tests.extend(traps::tests_in(&text));
        }
        if path == "ARCHITECTURE.md" {
            findings.extend(text::architecture(&text, &names));
        }
    }
    findings.extend(traps::check(&fs::read_to_string(root.join(traps::FILE)).unwrap_or_default(), &tests));
    findings.extend(walls::check(&walls::packages(root)?));
    let list = fs::read_to_string(root.join(allow::FILE)).unwrap_or_default();
    let mut findings = Allowed::parse(&list).apply(findings);
    findings.sort();
    for Finding { path, line, rule, what, .. } in &findings {
        say(&format!("{path}:{line}: {rule}: {what}\n"));
    }
    if findings.is_empty() {
        say(&format!("tidy: {} files\n", files.len()));
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("tidy: {} breaches\n", findings.len()));
    Ok(ExitCode::FAILURE)
}

/// Every rule that looks at one file.
fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = text::check(path, text);
    if path.ends_with(".rs") {
        findings.extend(source::check(path, text));
    }
    findings
}

/// What git tracks, and what it would if asked.
fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!("git cannot list the files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("a path is not UTF-8")?;
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}
