//! What the documentation shows can be read: every block of it that is a whole file, or a part of `coalmine.yaml`.

use super::made;
use crate::config::judge::parse_judge;
use crate::config::suite::parse_suite;
use crate::config::table::process::PROCESS;
use crate::config::{Background, Process, Surroundings, parse_process, parse_release};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// A machine on which every file and every variable that the documentation names is there.
#[derive(Debug)]
struct Ready;

impl Surroundings for Ready {
    fn file(&self, path: &Path) -> io::Result<String> {
        made().file(path).or_else(|_| {
            let json = path.extension().is_some_and(|extension| extension == "json");
            let suite = path.starts_with("etc/evals") || path.starts_with("etc/sentinels");
            let judged = path.ends_with("anchors/helpful.yaml");
            let text = if suite { super::suite::SUPPORT } else { "Be kind." };
            let text = if judged { super::ANCHORS } else { text };
            Ok(if json { super::TOOLS } else { text }.to_owned())
        })
    }

    fn env(&self, name: &str) -> Option<String> {
        Some(match name {
            name if name.ends_with("CAPTURE_KEY") => "5a".repeat(32),
            name if name.ends_with("_URL") => "https://hooks.example/".to_owned(),
            name => format!("secret-of-{name}"),
        })
    }
}

/// The blocks of YAML in the documentation, by their page, each with the keys at its left edge.
fn blocks() -> Vec<(String, String, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut found = Vec::new();
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap().to_owned();
            let outer = block.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
            let keys = outer.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
            let page = page.file_name().unwrap().to_string_lossy().into_owned();
            found.push((page, block, keys));
        }
    }
    found
}

fn has(keys: &[String], name: &str) -> bool {
    keys.iter().any(|key| key == name)
}

/// A part of `coalmine.yaml` with what else such a file must have.
fn whole(block: &str, keys: &[String]) -> String {
    let mut text = block.to_owned();
    if !has(keys, "providers") {
        text.push_str("\nproviders: { openai: { kind: openai } }\n");
    }
    if !has(keys, "routes") {
        let providers = block.split_once("providers:").map_or("openai", |(_, rest)| {
            let first = rest.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
            first.and_then(|line| line.split_once(':')).map_or("openai", |(name, _)| name)
        });
        text.push_str(&format!("\nroutes: {{ support: {{ stable: {{ model: {providers}/gpt-4.1 }} }} }}\n"));
    }
    text
}

fn process(text: &str) -> Process {
    let read = parse_process(text, Path::new("etc/coalmine.yaml"), &Ready);
    read.unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

fn background() -> Background {
    let routes =
        "providers: { openai: { kind: openai } }\nroutes: { support: { stable: { model: openai/gpt-4.1 } } }\n";
    process(routes).background()
}

#[test]
fn every_example_of_the_documentation_is_read() {
    let mut read: BTreeMap<&str, usize> = BTreeMap::new();
    let blocks = blocks();
    for (page, block, keys) in &blocks {
        let what = if has(keys, "tests") {
            parse_suite(block, Path::new("etc/sentinels/support.yaml"), &Ready)
                .unwrap_or_else(|e| panic!("{page}: {e}"));
            "suite"
        } else if has(keys, "rubric") {
            let providers = BTreeSet::from(["anthropic".into()]);
            let judge = parse_judge("helpful", block, Path::new("etc/judges/helpful.yaml"), &providers, &Ready);
            judge.unwrap_or_else(|faults| panic!("{page}: {faults}"));
            "judge"
        } else if has(keys, "release") {
            let release = parse_release(block, Path::new("etc/support.yaml"), &background(), &Ready);
            release.unwrap_or_else(|faults| panic!("{page}: {faults}"));
            "release"
        } else if !keys.is_empty() && keys.iter().all(|key| PROCESS.key(key).is_some()) {
            process(&whole(block, keys));
            page
        } else {
            continue;
        };
        *read.entry(what).or_default() += 1;
    }
    let least = BTreeMap::from([
        ("capture.md", 1),
        ("keys.md", 1),
        ("telemetry.md", 1),
        ("upstreams.md", 2),
        ("wire.md", 4),
        ("suite", 1),
        ("release", 1),
        ("judge", 1),
    ]);
    for (what, least) in least {
        assert!(read.get(what).is_some_and(|count| *count >= least), "{what}: {read:?}");
    }
}
