//! Secrets, and the machine around a file from which they and other files are read.

use coalmine_core::time::UnixMs;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a command may take to print a secret.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// What is read of it.
const COMMAND_BYTES_MAX: u64 = 64 << 10;

/// A secret's value with the reference that it came from. Only the reference is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    reference: String,
    value: String,
    origin: Origin,
}

/// Where a secret's value is found.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It stays what it is while the process runs: an environment variable.
    Fixed,
    /// A file, joined to the folder of the file that names it.
    File(PathBuf),
    /// What this line of shell prints.
    Command(String),
}

/// Why there is no secret. What was found is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum SecretUnread {
    /// The file cannot be read.
    #[error("its file cannot be read: {0}")]
    File(#[source] io::Error),
    /// The command gave none.
    #[error("its command gave none: {0}")]
    Command(#[source] io::Error),
    /// What is there is not one line of text.
    #[error("it is empty or has control characters")]
    NoLine,
}

/// What a configuration may read beside its own text; tests give a made-up one.
pub trait Surroundings {
    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// What a line of shell prints, when it ends well; by default there is no shell.
    fn command(&self, _line: &str) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }
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
        Self { reference: "${GIVEN}".to_owned(), value: value.into(), origin: Origin::Fixed }
    }

    /// A secret as found under its reference (`${NAME}`, `file:PATH`, `command:LINE`).
    pub(crate) fn found(reference: &str, value: String, origin: Origin) -> Self {
        Self { reference: reference.to_owned(), value, origin }
    }

    /// Whether it can be another the next time it is read.
    #[must_use]
    pub fn may_change(&self) -> bool {
        self.origin != Origin::Fixed
    }

    /// Whether a program has to be run for it.
    #[must_use]
    pub fn is_of_a_command(&self) -> bool {
        matches!(self.origin, Origin::Command(_))
    }

    /// Reads it again from where it came.
    ///
    /// # Errors
    /// When nothing that may be a secret is there.
    pub fn read_again(&self, around: &dyn Surroundings) -> Result<Self, SecretUnread> {
        let text = match &self.origin {
            Origin::Fixed => return Ok(self.clone()),
            Origin::File(path) => around.file(path).map_err(SecretUnread::File)?,
            Origin::Command(line) => around.command(line).map_err(SecretUnread::Command)?,
        };
        let value = one_line(&text).ok_or(SecretUnread::NoLine)?.to_owned();
        Ok(Self { value, ..self.clone() })
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

    fn command(&self, line: &str) -> io::Result<String> {
        printed(line, COMMAND_PATIENCE)
    }
}

/// The one line that a secret is, without its end.
pub(crate) fn one_line(text: &str) -> Option<&str> {
    let line = text.trim_end_matches(['\n', '\r']);
    (!line.is_empty() && !line.chars().any(char::is_control)).then_some(line)
}

/// What `line` prints. Its errors are not taken: a secret may stand in them.
fn printed(line: &str, patience: Duration) -> io::Result<String> {
    let until = Instant::now() + patience;
    let mut shell = Command::new("/bin/sh");
    let mut child =
        shell.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (told, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        // whoever asked may have lost patience
        let _ = told.send(out.take(COMMAND_BYTES_MAX).read_to_string(&mut text).map(|_| text));
    });
    let text = read.recv_timeout(patience);
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if text.is_err() || Instant::now() >= until => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    match (status, text) {
        (Some(status), Ok(text)) if status.success() => text,
        (Some(status), _) => Err(io::Error::other(format!("it ended with {status}"))),
        (None, _) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_asked_for_what_it_prints_and_not_for_ever() {
        let patient = Duration::from_mins(1);
        assert_eq!(printed("printf 'sk-%s\\n' 7; echo no >&2", patient).unwrap(), "sk-7\n");
        let failed = printed("echo hush; exit 3", patient).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && !failed.contains("hush"), "{failed}");
        let late = printed("exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_secret_shows_its_reference_and_never_its_value() {
        let secret = Secret::found("${KEY}", "hush".to_owned(), Origin::Fixed);
        assert_eq!(format!("{secret:?} {secret}"), "Secret(${KEY}) ${KEY}");
        assert_eq!(secret.expose(), "hush");
    }

    #[test]
    fn a_secret_of_a_file_or_a_command_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let secret = Secret::found("file:key", "old".to_owned(), Origin::File(file.clone()));
        assert!(matches!(secret.read_again(&Machine), Err(SecretUnread::File(_))));
        for (text, value) in [("new\n", Some("new")), ("\n", None), ("two\nlines", None)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(secret.read_again(&Machine).ok().as_ref().map(Secret::expose), value, "{text:?}");
        }
        let line = |line: &str| Secret::found("command:…", "old".to_owned(), Origin::Command(line.to_owned()));
        assert_eq!(line("echo new").read_again(&Machine).unwrap().expose(), "new");
        let failed = line("echo hush; exit 1").read_again(&Machine).unwrap_err().to_string();
        assert!(!failed.contains("hush") && !failed.contains("echo"), "{failed}");
        let fixed = Secret::given("as it is");
        assert!(!fixed.may_change() && fixed.read_again(&Machine).unwrap() == fixed);
    }
}
