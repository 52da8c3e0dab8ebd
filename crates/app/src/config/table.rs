//! The one table of all keys. The reader checks files against it, the nearest-key hints, the JSON
//! Schemas, `docs/configuration.md`, `docs/not-built-yet.md` and `coalmine config keys` are made
//! from it: a key is added, documented or given a default here and nowhere else.

pub mod capture;
pub mod judge;
pub mod price;
pub mod process;
pub mod release;
pub mod upstream;

use crate::config::key::{Choice, Key, Kind, Need, Scalar, Section};
use crate::config::scalar::STORES_NOT_BUILT;

/// The files: what each is called, its table, and where its schema is kept.
pub const FILES: [(&str, &Section, &str); 4] = [
    ("coalmine.yaml", &process::PROCESS, "schema/coalmine.schema.json"),
    ("releases/*.yaml", &release::RELEASE, "schema/release.schema.json"),
    ("judges/*.yaml", &judge::JUDGE, "schema/judge.schema.json"),
    ("anchors/*.yaml", &judge::ANCHOR_FILE, "schema/anchors.schema.json"),
];

/// One part of the format whose capability is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBuilt {
    /// The file.
    pub file: &'static str,
    /// The key's path (`stages[].shadow`), with the word where only a word under it is meant
    /// (`unit: customer`).
    pub key: String,
    /// What it would do.
    pub doc: &'static str,
    /// What to write instead.
    pub mend: &'static str,
}

/// One key with its path, for listings.
#[derive(Debug, Clone)]
pub struct Listed {
    /// `routes.NAME.stable.model`.
    pub path: String,
    /// The key.
    pub key: &'static Key,
}

/// Everything of the format that is refused by name.
#[must_use]
pub fn not_built() -> Vec<NotBuilt> {
    let mut found = Vec::new();
    for (file, section, _) in FILES {
        for Listed { path, key } in keys(section) {
            if let Need::NotBuilt(mend) = key.need {
                found.push(NotBuilt { file, key: path.clone(), doc: key.doc, mend });
            }
            for choice in words(&key.kind) {
                if let Some(mend) = choice.not_built {
                    found.push(NotBuilt { file, key: format!("{path}: {}", choice.word), doc: choice.doc, mend });
                }
            }
        }
    }
    found
}

/// The keys of a section and of all below it, in the order of the reference.
#[must_use]
pub fn keys(section: &'static Section) -> Vec<Listed> {
    let mut found = Vec::new();
    collect("", section, &mut found);
    found
}

fn collect(path: &str, section: &'static Section, found: &mut Vec<Listed>) {
    for key in section.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        found.push(Listed { path: path.clone(), key });
        descend(&path, &key.kind, found);
    }
}

fn descend(path: &str, kind: &'static Kind, found: &mut Vec<Listed>) {
    match kind {
        Kind::Scalar(_) | Kind::Null | Kind::Json => {}
        Kind::Section(section) => collect(path, section, found),
        Kind::List(of) => descend(&format!("{path}[]"), of, found),
        Kind::Map(name, of) => descend(&format!("{path}.{name}"), of, found),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| descend(path, kind, found)),
    }
}

/// The words directly under a key that are refused by name or listed; those of sections below it
/// belong to their own keys.
fn words(kind: &'static Kind) -> Vec<&'static Choice> {
    match kind {
        Kind::Scalar(Scalar::OneOf(choices)) => choices.iter().collect(),
        Kind::Scalar(Scalar::Store) => STORES_NOT_BUILT.iter().collect(),
        Kind::Scalar(_) | Kind::Null | Kind::Json | Kind::Section(_) => Vec::new(),
        Kind::List(of) | Kind::Map(_, of) => words(of),
        Kind::Either(kinds) => kinds.iter().flat_map(words).collect(),
    }
}

pub(crate) const TEXT: Kind = Kind::Scalar(Scalar::Text);
pub(crate) const NAME: Kind = Kind::Scalar(Scalar::Name);
pub(crate) const DURATION: Kind = Kind::Scalar(Scalar::Duration);
pub(crate) const SHARE: Kind = Kind::Scalar(Scalar::Share);
pub(crate) const SECRET: Kind = Kind::Scalar(Scalar::Secret);
pub(crate) const PATH: Kind = Kind::Scalar(Scalar::Path);
pub(crate) const MONEY: Kind = Kind::Scalar(Scalar::Money);
pub(crate) const SWITCH: Kind = Kind::Scalar(Scalar::Switch);
pub(crate) const COUNT: Kind = Kind::Scalar(Scalar::Integer(1));
