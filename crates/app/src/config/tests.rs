//! The reader as a whole: the files of the documentation, and a corpus of bad ones.

mod bad;
mod docs;
mod good;
mod laws;
mod suite;
mod table;

use crate::config::{Background, Faults, Process, ReleaseSpec, Surroundings, parse_process, parse_release};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A made-up machine: files and variables by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    pub(crate) files: BTreeMap<PathBuf, String>,
    pub(crate) env: BTreeMap<String, String>,
}

impl Surroundings for Made {
    fn file(&self, path: &Path) -> io::Result<String> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        self.files.get(path).cloned().ok_or_else(missing)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

const JUDGE: &str = include_str!("golden/judge.yaml");
const ANCHORS: &str = include_str!("golden/anchors.yaml");
const TOOLS: &str = include_str!("golden/tools.json");

pub(crate) fn made() -> Made {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Made {
        files: BTreeMap::from([
            file("etc/prompts/support.md", "You are patient.\n"),
            file("etc/prompts/other.md", "You are brief.\n"),
            file("etc/prompts/empty.md", "\n"),
            file("etc/prompts/template.md", "You help {{company}}.\n\nBe {{tone}}, and say {{compny}}.\n"),
            file("etc/sentinels/support.yaml", suite::SUPPORT),
            file("etc/releases/sentinels/support.yaml", suite::SUPPORT),
            file("etc/tools/support.json", TOOLS),
            file("etc/judges/helpful.yaml", JUDGE),
            file("etc/judges/anchors.yaml", ANCHORS),
            file("etc/tools/broken.json", "[{]"),
            file("etc/tools/twice.json", &format!("[{0},{0}]", &TOOLS[1..TOOLS.len() - 1])),
            file("etc/tools/old.json", r#"[{"name":"look_up"}]"#),
            file("etc/secrets/hook", "https://hooks.example/T0/B0/hush\n"),
            file("etc/secrets/no-url", "hush\n"),
        ]),
        env: BTreeMap::from([
            var("OPENAI_API_KEY", "hush-openai"),
            var("ALICE_TOKEN", "hush-alice"),
            var("ACME_KEY", "hush-acme"),
            var("MOBILE_KEY", "hush-mobile"),
            var("VLLM_URL", "http://10.0.0.5:8000/v1/"),
            var("CAPTURE_KEY", &"5a".repeat(32)),
            var("EARLIER_CAPTURE_KEY", &"a5".repeat(32)),
            var("EMPTY", ""),
        ]),
    }
}

fn process(text: &str) -> Result<Process, Faults> {
    parse_process(text, Path::new("etc/coalmine.yaml"), &made())
}

fn background() -> Background {
    process(good::FULL).unwrap().background()
}

fn release(text: &str) -> Result<ReleaseSpec, Faults> {
    parse_release(text, Path::new("etc/support.yaml"), &background(), &made())
}
