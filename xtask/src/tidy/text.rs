//! Rules for every tracked text, and for `ARCHITECTURE.md`.

use super::Finding;
use std::collections::BTreeSet;

const MAX_ARCHITECTURE_LINES: usize = 250;
/// Beginnings of paths that are a machine's own, in two parts so that this file does not break its rule.
const MACHINE_PATHS: [(&str, &str); 5] =
    [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/t", "mp/")];
/// Hosts of package registries, in two parts likewise.
const REGISTRIES: [(&str, &str); 6] = [
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("registry.npm", "js.org"),
    ("py", "pi.org"),
    ("files.python", "hosted.org"),
    ("registry.yarn", "pkg.com"),
];
/// The one source of crates that a lock file may name.
const CRATES: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Machine paths and registry hosts.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    if path.ends_with("Cargo.lock") {
        return lock(path, text);
    }
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for (a, b) in MACHINE_PATHS {
            let word = format!("{a}{b}");
            if starts_path(line, &word) {
                let what =
                    format!("`{word}…` is a path of one machine; take it as an argument, or make a temporary folder");
                findings.push(Finding { path: path.to_owned(), line: i + 1, rule: "machine-path", item: word, what });
            }
        }
        for (a, b) in REGISTRIES {
            let word = format!("{a}{b}");
            if line.contains(&word) {
                let what = format!(
                    "`{word}` is a registry's host; packages come by name, from wherever the user's tools look"
                );
                findings.push(Finding { path: path.to_owned(), line: i + 1, rule: "registry-host", item: word, what });
            }
        }
    }
    findings
}

/// Whether a path of the machine begins here: not in the middle of a longer one.
fn starts_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '~' | '*')))
    })
}

fn lock(path: &str, text: &str) -> Vec<Finding> {
    let foreign = text.lines().enumerate().filter(|(_, line)| line.starts_with("source = ") && !line.contains(CRATES));
    let finding = |(i, line): (usize, &str)| Finding {
        path: path.to_owned(),
        line: i + 1,
        rule: "registry-host",
        item: line.to_owned(),
        what: "a crate comes from elsewhere than crates.io".to_owned(),
    };
    foreign.map(finding).collect()
}

/// The map: short, and every crate, folder and file that it names exists.
pub(crate) fn architecture(text: &str, files: &BTreeSet<String>) -> Vec<Finding> {
    let finding = |line: usize, item: &str, what: String| Finding {
        path: "ARCHITECTURE.md".to_owned(),
        line,
        rule: "architecture",
        item: item.to_owned(),
        what,
    };
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_ARCHITECTURE_LINES {
        findings.push(finding(0, "", format!("{lines} lines, more than {MAX_ARCHITECTURE_LINES}")));
    }
    for (i, line) in text.lines().enumerate() {
        for word in line.split('`').skip(1).step_by(2).filter(|word| !exists(word, files)) {
            findings.push(finding(i + 1, word, format!("`{word}` does not exist")));
        }
    }
    findings
}

/// Words that look like a path of the repository or a crate of ours must be one.
fn exists(word: &str, files: &BTreeSet<String>) -> bool {
    if let Some(name) = word.strip_prefix("coalmine-") {
        return files.contains(&format!("crates/{name}/Cargo.toml"));
    }
    // `core/src/…` is short for `crates/core/src/…`.
    let short = word.split_once('/').filter(|(name, _)| files.contains(&format!("crates/{name}/Cargo.toml")));
    if short.is_some_and(|(_, rest)| !rest.is_empty()) {
        return exists(&format!("crates/{word}"), files);
    }
    let roots = ["crates/", "xtask/", "tests/", "fuzz/", "benches/", "docs/", "schema/", "scripts/", ".ci/", ".cargo/"];
    if !roots.iter().any(|root| word.starts_with(root)) {
        return true;
    }
    let folder = word.trim_end_matches('/');
    files.contains(folder)
        || files.range(format!("{folder}/")..).next().is_some_and(|file| file.starts_with(&format!("{folder}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_fire_and_others_do_not() {
        for (a, b) in MACHINE_PATHS {
            let found = check("a.md", &format!("see {a}{b}x\n"));
            assert_eq!(found.len(), 1, "{a}{b}");
            assert_eq!((found[0].rule, found[0].line), ("machine-path", 1));
            assert_eq!(check("a.md", &format!("see docs{a}{b}x ${{X}}{a}{b}\n")), []);
        }
    }

    #[test]
    fn hosts_of_registries_fire() {
        for (a, b) in REGISTRIES {
            assert_eq!(check("package-lock.json", &format!("https://{a}{b}/x"))[0].rule, "registry-host", "{a}{b}");
        }
    }

    #[test]
    fn a_lock_file_names_one_source() {
        let good = format!("source = \"{CRATES}\"\n");
        assert_eq!(check("Cargo.lock", &good), []);
        assert_eq!(check("Cargo.lock", "source = \"git+https://example/x\"\n")[0].rule, "registry-host");
    }

    #[test]
    fn the_map_is_short_and_true() {
        let files = BTreeSet::from(["crates/core/Cargo.toml".to_owned(), "crates/core/src/id.rs".to_owned()]);
        let good = "`coalmine-core` in `crates/core/` has `crates/core/src/id.rs`, `core/src/id.rs`; `core::id` and `x-y` are other words\n";
        assert_eq!(architecture(good, &files), []);
        for bad in ["`coalmine-gone`", "`crates/core/src/gone.rs`", "`crates/cor/`", "`core/src/gone.rs`"] {
            assert_eq!(architecture(bad, &files).len(), 1, "{bad}");
        }
        assert_eq!(architecture(&"x\n".repeat(250), &files), []);
        assert_eq!(architecture(&"x\n".repeat(251), &files).len(), 1);
    }
}
