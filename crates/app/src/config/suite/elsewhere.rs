//! What a suite says to a runner that has programs, graders and datasets of its own. None of it is skipped silently:
//! what would change which answers are right is refused by its name.

use super::{Map, Reader};
use crate::config::fault::{Complaint, dot, index};
use crate::config::json;
use crate::config::scalar::shown;
use crate::config::tree::{self, Node, Value};
use serde_json::Value as Json;

/// Endings of files that are run, not read.
const PROGRAMS: [&str; 12] = ["js", "cjs", "mjs", "ts", "cts", "mts", "py", "rb", "go", "sh", "bat", "exe"];
/// Endings of files that are no text, or that become one only by being converted.
const NO_TEXT: [&str; 16] = [
    "pdf", "png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "mp3", "mp4", "wav", "webm", "docx", "xlsx", "csv",
    "jsonl",
];
/// Keys whose value is a program that puts something else in an answer's place.
const TRANSFORMS: [&str; 5] =
    ["transform", "postprocess", "contextTransform", "transformVars", "assertScoringFunction"];
/// Keys that say who grades.
const GRADERS: [&str; 3] = ["provider", "rubricPrompt", "factuality"];

const NO_PROGRAM: &str = "no program of a suite is run";

/// Why `key` of a test, of its options or of an assertion is refused, where it is known to the runner.
pub(super) fn refusal(key: &str) -> Option<Complaint> {
    let (what, mend) = if TRANSFORMS.contains(&key) {
        (
            format!("{} is a program, and {NO_PROGRAM}", shown(key)),
            "remove it, and assert of the answer as it comes: contains, regex, contains-json with a schema, tool-used",
        )
    } else if GRADERS.contains(&key) {
        (
            format!("{} says who grades, and that stands elsewhere here", shown(key)),
            "remove it, and write `metadata: { canary: { judge: …, embeddings: … } }`, in `defaultTest` for all tests",
        )
    } else if key == "$ref" {
        ("`$ref` is not followed".to_owned(), "write the assertion out")
    } else {
        return None;
    };
    Some(Complaint::new(what, mend))
}

/// The ending of a file's name, without the name of a function behind it: `py` of `a/b.py:score`.
pub(super) fn ending(file: &str) -> Option<&str> {
    let name = file.rsplit(['/', '\\']).next()?;
    let name = name.rsplit_once(':').map_or(name, |(name, _function)| name);
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// A mapping or a list written as YAML or JSON, as JSON.
pub(super) fn structured(text: &str) -> Option<Json> {
    if let Ok(json) = serde_json::from_str(text) {
        return Some(json);
    }
    let (Some(node), faults) = tree::parse(text) else { return None };
    if !faults.is_empty() || matches!(node.value, Value::Scalar { .. }) {
        return None;
    }
    serde_json::from_str(&json::text(&node).ok()?).ok()
}

impl Reader<'_> {
    /// The text of a file that a suite names behind `file://`.
    pub(super) fn words_of(&self, file: &str) -> Result<String, Complaint> {
        let is_of = |endings: &[&str]| ending(file).is_some_and(|ending| endings.contains(&ending));
        if is_of(&PROGRAMS) {
            let what = format!("{} is a program, and {NO_PROGRAM}", shown(file));
            return Err(Complaint::new(what, "write out what it gives"));
        }
        if is_of(&NO_TEXT) {
            let what = format!("{} is no plain text", shown(file));
            return Err(Complaint::new(what, "name a .txt, .md, .json or .yaml file, or write the text out"));
        }
        if file.contains('*') {
            let what = format!("{} stands for several files, which are not looked for", shown(file));
            return Err(Complaint::new(what, "write one test for each"));
        }
        self.place.file(file)
    }

    /// `options` of a test: every key of it is promptfoo's alone, and most change what is asserted of.
    pub(super) fn refuse_options(&self, test: &Map<'_>) {
        let Some((node, path)) = test.get("options") else { return };
        let Some(options) = self.map(node, &path) else { return };
        self.known(&options, &["runSerially"]);
    }

    /// A provider that changes answers before anything is asserted of them.
    pub(super) fn refuse_transforms(&self, top: &Map<'_>) {
        for key in ["providers", "targets"] {
            let Some((Node { value: Value::List(providers), .. }, path)) = top.get(key) else { continue };
            for (i, provider) in providers.iter().enumerate() {
                self.refuse_transform(provider, &index(&path, i), 0);
            }
        }
    }

    /// Of one provider, or of one written as `{ name: { … } }`.
    fn refuse_transform(&self, provider: &Node, path: &str, depth: u8) {
        let Value::Map(entries) = &provider.value else { return };
        for entry in entries {
            let path = dot(path, &entry.key);
            if entry.key == "transform" {
                let what =
                    "the assertions are about what `transform` makes of an answer, and no program of a suite is run";
                let mend = "remove it, and assert of the answer as it comes";
                self.fault(entry.at, &path, what, mend);
            } else if depth == 0 && entry.key != "config" {
                self.refuse_transform(&entry.value, &path, depth + 1);
            }
        }
    }

    /// Tests that stand in another file or come from a dataset.
    pub(super) fn refuse_elsewhere(&self, node: &Node, path: &str, text: &str) {
        let what = format!("tests are not fetched from {}", shown(text));
        self.fault(node.at, path, what, "write them into this file, a list of mappings with `vars` and `assert`");
    }
}
