//! Secrets, and the machine around a file from which they and other files are read.

use coalmine_core::time::UnixMs;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A secret's value with the reference that it came from. Only the reference is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    reference: String,
    value: String,
}

/// What a configuration may read beside its own text; tests give a made-up one.
pub trait Surroundings {
    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// Now, by the machine's clock: from when on time zones are resolved.
    fn now(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(0))
    }
}

/// The machine that the process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Secret {
    /// A secret that comes from no file: of a demo, a test.
    #[must_use]
    pub fn given(value: impl Into<String>) -> Self {
        Self { reference: "${GIVEN}".to_owned(), value: value.into() }
    }

    /// A secret as found under its reference (`${NAME}`, `file:PATH`).
    pub(crate) fn found(reference: &str, value: String) -> Self {
        Self { reference: reference.to_owned(), value }
    }

    /// The value; for the place that sends or compares it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it came from, as written in the file.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference)
    }
}

impl Surroundings for Machine {
    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_its_reference_and_never_its_value() {
        let secret = Secret::found("${KEY}", "hush".to_owned());
        assert_eq!(format!("{secret:?} {secret}"), "Secret(${KEY}) ${KEY}");
        assert_eq!(secret.expose(), "hush");
    }
}
