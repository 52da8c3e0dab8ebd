//! What must hold of every file of configuration, whatever is written in it: what is refused is told with its place and its
//! mend, briefly and without a secret; what is read can be written, and is then read as the same. The fuzz targets `config` and
//! `release` hold these laws over what they make up; `make test` over the golden files broken off anywhere.

use crate::config::export::export;
use crate::config::fault::{FAULTS_MAX, Faults};
use crate::config::judge::parse_judge;
use crate::config::process::unread;
use crate::config::secret::Surroundings;
use crate::config::suite::{Purpose, parse_suite};
use crate::config::{Background, parse_process, parse_release};
use coalmine_core::time::UnixMs;
use coalmine_core::version::template::check as check_prompt;
use coalmine_wire::probe::Probe;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

/// Stands in every secret that is found.
const HUSH: &str = "hush";
/// So long is what is told of one fault at the most, its path aside.
const FAULT_BYTES_MAX: usize = 4 << 10;

static BACKGROUND: LazyLock<Background> = LazyLock::new(|| {
    let golden = parse_process(include_str!("golden/process.yaml"), Path::new("etc/coalmine.yaml"), &Everything);
    golden.map(|process| process.background()).unwrap_or_default()
});

/// A machine on which every file is there, every variable, and what every command prints.
#[derive(Debug)]
struct Everything;

impl Surroundings for Everything {
    fn file(&self, path: &Path) -> io::Result<String> {
        let is_below = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
        let text = if path.extension().is_some_and(|extension| extension == "json") {
            include_str!("golden/tools.json")
        } else if is_below("sentinels") || is_below("evals") {
            include_str!("golden/suite.yaml")
        } else if path.file_stem().is_some_and(|name| name == "anchors") {
            include_str!("golden/anchors.yaml")
        } else if is_below("judges") {
            include_str!("golden/judge.yaml")
        } else {
            "https://hush.example/hush\n"
        };
        Ok(text.to_owned())
    }

    fn env(&self, name: &str) -> Option<String> {
        let url = || name.ends_with("_URL").then(|| format!("https://{HUSH}.example/v1"));
        let key = || name.ends_with("CAPTURE_KEY").then(|| "5a".repeat(32));
        url().or_else(key).or_else(|| Some(format!("{HUSH}-{name}")))
    }

    fn command(&self, line: &str) -> io::Result<String> {
        Ok(format!("{HUSH}-{}\n", line.len()))
    }

    fn now(&self) -> UnixMs {
        UnixMs(1_750_000_000_000)
    }
}

/// Of any text as `coalmine.yaml`.
pub fn process(text: &str) {
    let read = |text: &str| parse_process(text, Path::new("etc/coalmine.yaml"), &Everything);
    match read(text) {
        Err(faults) => refused(text, &faults),
        Ok(process) => {
            let written = export(&process, &BTreeMap::new(), Path::new("etc"));
            let again = read(&written).map_err(|faults| faults.to_string());
            assert_eq!(again, Ok(process), "what is written is read as the same:\n{written}");
        }
    }
}

/// Of any text as a release file.
pub fn release(text: &str) {
    match parse_release(text, Path::new("etc/releases/support.yaml"), &BACKGROUND, &Everything) {
        Err(faults) => refused(text, &faults),
        Ok(spec) => {
            assert_eq!(coalmine_core::release::check::check(&spec.plan, &spec.policy), [], "what is read may start");
            if let Some(prompt) = &spec.canary.prompt {
                assert_eq!(check_prompt(&prompt.text, &prompt.variables), Ok(()), "and its prompt is whole");
            }
            comes_back(&spec);
        }
    }
}

/// Of any text as a suite of sentinels.
pub fn suite(text: &str) {
    match parse_suite(text, Path::new("etc/sentinels/support.yaml"), &Everything) {
        Err(faults) => refused(text, &faults),
        Ok(suite) => {
            for (case, sentinel) in suite.cases.iter().zip(suite.sentinels(Purpose::Sentinels)) {
                assert!((1..=sentinel.runs).contains(&sentinel.need) && (0.0..=1.0).contains(&sentinel.flaky));
                let probe = serde_json::from_str::<Probe>(&sentinel.probe.0);
                assert_eq!(probe.map_err(|error| error.to_string()).as_ref(), Ok(&case.probe));
            }
        }
    }
}

/// Of any text as a judge.
pub fn judge(text: &str) {
    let providers = BTreeSet::from(["openai".into(), "anthropic".into()]);
    match parse_judge("helpful", text, Path::new("etc/judges/helpful.yaml"), &providers, &Everything) {
        Err(faults) => refused(text, &faults),
        Ok(judge) => comes_back(&judge),
    }
}

/// Written and read again it is the same.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let written = serde_json::to_string(value).unwrap_or_default();
    let again = serde_json::from_str::<T>(&written).map_err(|error| error.to_string());
    assert_eq!(again.as_ref(), Ok(value), "{written}");
}

/// Every place lies inside the file, what is said says something, and no secret.
fn refused(text: &str, faults: &Faults) {
    assert!((1..=FAULTS_MAX + 1).contains(&faults.faults.len()), "{} faults", faults.faults.len());
    // a carriage return ends a line, too
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count() + 1;
    for fault in &faults.faults {
        assert!((1..=lines).contains(&fault.at.line) && fault.at.column >= 1, "{fault:?}");
        assert!(!fault.what.is_empty() && !fault.mend.is_empty() && fault.what != unread().what, "{fault:?}");
        assert!(!fault.key.contains(char::is_control), "{fault:?}");
        assert!(fault.what.len() + fault.mend.len() <= FAULT_BYTES_MAX, "{fault:?}");
    }
    assert!(text.contains(HUSH) || !faults.to_string().contains(HUSH), "{faults}");
}
