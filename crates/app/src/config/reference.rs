//! Reference pages from the table of keys: `docs/configuration.md`, `docs/not-built-yet.md`, and
//! the listing of `coalmine config keys`.

use crate::config::check::expects;
use crate::config::key::{Choice, Key, Kind, Need, Scalar, Section};
use crate::config::table::{FILES, Listed, keys, not_built};
use std::fmt::Write as _;

/// `docs/configuration.md`.
#[must_use]
pub fn configuration() -> String {
    let mut out = String::from(
        "# Configuration\n\nGenerated from the table of keys (`crates/app/src/config/table/`) by `cargo xtask codegen`.\n\n\
         Unknown keys are errors. All errors of a file are told together, each with line, column, key and how to mend \
         it: `coalmine config check FILE…`. Durations are `90s 15m 24h 3d`, shares `5%`, margins `0.5pp` or `10%`, \
         money `$40`. Secrets are references, `${NAME}`, `file:PATH` or `command:LINE` (what that line of shell prints within ten seconds), and relative paths start at the folder of the \
         file. Editors complete keys when a file begins with `# yaml-language-server: $schema=` and the path of its \
         schema in `schema/`.\n",
    );
    for (file, section, schema) in FILES {
        let _ = write!(out, "\n## `{file}`\n\n{} Schema: `{schema}`.\n", section.doc);
        table(&mut out, section);
        for (path, inner) in sections(section) {
            let _ = write!(out, "\n### `{path}`\n\n{}\n", inner.doc);
            table(&mut out, inner);
        }
    }
    out
}

/// `docs/not-built-yet.md`.
#[must_use]
pub fn not_built_yet() -> String {
    let mut out = String::from(
        "# Not built yet\n\nGenerated from the table of keys by `cargo xtask codegen`. These keys and words belong to \
         the format; what is behind them does not exist yet. They are refused by name, never ignored.\n\n\
         | file | key | what it is | until then |\n|---|---|---|---|\n",
    );
    for one in not_built() {
        let _ = writeln!(out, "| `{}` | `{}` | {} | {} |", one.file, one.key, cell(one.doc), cell(one.mend));
    }
    out
}

/// All keys as plain text, one a line: what `coalmine config keys` prints.
#[must_use]
pub fn listing() -> String {
    let mut out = String::new();
    for (file, section, _) in FILES {
        let _ = writeln!(out, "{file}");
        for Listed { path, key } in keys(section) {
            let state = match key.need {
                Need::Required => "required".to_owned(),
                Need::Optional => String::new(),
                Need::Default(default) => format!("default {default}"),
                Need::NotBuilt(_) => "not built yet".to_owned(),
            };
            let state = if state.is_empty() { state } else { format!(" [{state}]") };
            let _ = writeln!(out, "  {path}{state}: {}", key.doc);
        }
        let words = not_built().into_iter().filter(|one| one.file == file && one.key.contains(": "));
        for one in words {
            let _ = writeln!(out, "  {} [not built yet]: {}", one.key, one.doc);
        }
    }
    out
}

/// The sections below a section with their paths, in the order of the keys.
fn sections(section: &'static Section) -> Vec<(String, &'static Section)> {
    let mut found = Vec::new();
    for Listed { path, key } in keys(section) {
        found.extend(direct(&path, &key.kind));
    }
    found
}

fn direct(path: &str, kind: &'static Kind) -> Vec<(String, &'static Section)> {
    match kind {
        Kind::Section(section) => vec![(path.to_owned(), *section)],
        Kind::List(of) => direct(&format!("{path}[]"), of),
        Kind::Map(name, of) => direct(&format!("{path}.{name}"), of),
        Kind::Either(kinds) => kinds.iter().flat_map(|kind| direct(path, kind)).collect(),
        Kind::Scalar(_) | Kind::Null | Kind::Json => Vec::new(),
    }
}

fn table(out: &mut String, section: &'static Section) {
    out.push_str("\n| key | value | without it | meaning |\n|---|---|---|---|\n");
    for key in section.keys {
        let (value, without) = match key.need {
            Need::Required => (expects(&key.kind), "must stand".to_owned()),
            Need::Optional => (expects(&key.kind), "–".to_owned()),
            Need::Default(default) => (expects(&key.kind), format!("`{default}`")),
            Need::NotBuilt(_) => ("not built yet".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(out, "| `{}` | {} | {without} | {} |", key.name, cell(&value), cell(&meaning(key)));
    }
}

/// The meaning, with that of each word where there are several.
fn meaning(key: &'static Key) -> String {
    let mut text = key.doc.to_owned();
    let of: Vec<&Choice> = choices(&key.kind).iter().filter(|choice| choice.not_built.is_none()).collect();
    if of.len() > 1 {
        for choice in of {
            let _ = write!(text, " `{}`: {}.", choice.word, choice.doc);
        }
    }
    text
}

fn choices(kind: &'static Kind) -> &'static [Choice] {
    match kind {
        Kind::Scalar(Scalar::OneOf(choices)) => choices,
        Kind::List(of) => choices(of),
        Kind::Either(kinds) => kinds.first().map_or(&[], choices),
        Kind::Scalar(_) | Kind::Null | Kind::Section(_) | Kind::Map(..) | Kind::Json => &[],
    }
}

/// Text that keeps a table's cell whole.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
