//! What is wrong in a file: where, at which key, what, and how to mend it. All of a file together.

use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// So many faults of a file are told.
pub(crate) const FAULTS_MAX: usize = 200;
/// The longest key that a path repeats.
const KEY_SHOWN_MAX: usize = 128;

/// A place in a file; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong with a value and how to mend it, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

/// One thing wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where.
    #[serde(flatten)]
    pub at: At,
    /// The path of the key: `routes.support-agent.stable.model`; empty for the file as a whole.
    pub key: String,
    /// What is wrong. Never the value of a secret.
    pub what: String,
    /// The known key or name that is nearest to what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// How to mend it.
    pub mend: String,
}

/// Everything wrong in one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// The file as it was named.
    pub file: PathBuf,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl std::error::Error for Faults {}

impl Complaint {
    /// A complaint with its mend.
    pub(crate) fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

impl Faults {
    /// The faults of `file`, sorted by place; those said twice are said once, and of very many the first.
    pub(crate) fn new(file: &Path, mut faults: Vec<Fault>) -> Self {
        let more = faults.len() > FAULTS_MAX;
        faults.sort();
        faults.dedup();
        faults.truncate(FAULTS_MAX);
        if let Some(last) = faults.last().filter(|_| more) {
            let what = "more is wrong than is told".to_owned();
            let mend = "mend the others first, and check again".to_owned();
            faults.push(Fault { at: last.at, key: String::new(), what, nearest: None, mend });
        }
        Self { file: file.to_owned(), faults }
    }
}

/// Three lines a fault, and a closing line.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for fault in &self.faults {
            let At { line, column } = fault.at;
            let key = if fault.key.is_empty() { "the file" } else { &fault.key };
            writeln!(f, "{file}:{line}:{column}: {key}")?;
            match &fault.nearest {
                Some(nearest) => writeln!(f, "  {}; the nearest known one is `{nearest}`", fault.what)?,
                None => writeln!(f, "  {}", fault.what)?,
            }
            writeln!(f, "  mend: {}", fault.mend)?;
        }
        let n = self.faults.len();
        write!(f, "{n} {} in {file}", if n == 1 { "error" } else { "errors" })
    }
}

/// The nearest of `known` to `written`, if near enough to be meant.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Distances are quadratic: what is this long was not meant as any of ours.
    if written.len() > 64 {
        return None;
    }
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(written, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.75).then(|| best.1.to_owned())
}

/// Adds a fault, as long as there are not more than are told.
pub(crate) fn add(faults: &mut Vec<Fault>, fault: Fault) {
    if faults.len() <= FAULTS_MAX {
        faults.push(fault);
    }
}

/// The path of a key inside a mapping; one that is no name of anything is cut to what can be shown.
pub(crate) fn dot(path: &str, key: &str) -> String {
    let mut cut = String::new();
    let key = if key.len() > KEY_SHOWN_MAX || key.contains(char::is_control) {
        cut.extend(key.chars().filter(|c| !c.is_control()).take(KEY_SHOWN_MAX));
        cut.push('…');
        &cut
    } else {
        key
    };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The path of an item of a list, counted from 0.
pub(crate) fn index(path: &str, item: usize) -> String {
    format!("{path}[{item}]")
}
