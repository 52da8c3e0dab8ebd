//! What is generated from code and checked in: schemas, reference pages. `cargo xtask codegen`
//! writes it, and with `--check` fails where the files differ.

use crate::config::table::FILES;
use crate::config::{reference, schema};
use serde::Serialize;

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// Its path from the repository's root.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// Every generated file. Whoever adds a generator adds it here.
#[must_use]
pub fn all() -> Vec<Generated> {
    let mut files: Vec<Generated> = FILES
        .iter()
        .map(|(_, section, path)| Generated { path: (*path).to_owned(), text: schema::schema(section) })
        .collect();
    files.push(Generated { path: "docs/configuration.md".to_owned(), text: reference::configuration() });
    files.push(Generated { path: "docs/not-built-yet.md".to_owned(), text: reference::not_built_yet() });
    files.push(Generated { path: "schema/openapi.json".to_owned(), text: coalmine_api::openapi::document() });
    files
}
