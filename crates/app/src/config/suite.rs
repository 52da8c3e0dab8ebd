//! Suites of sentinels, read straight from a declared part of `promptfooconfig.yaml`: prompts, tests with vars,
//! assertions that can be checked here, and `metadata.canary` for what Coalmine adds. What cannot be run fails
//! loading by name; nothing is skipped silently.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the suite and its tests |
//! | [`asserts`] | one assertion; the types that are known, not built, or of another tool |
//! | `appeals` | assertions that a judge, an embeddings endpoint or a webhook decides |
//! | `elsewhere` | what needs programs, graders or datasets of another tool, and is refused |
//! | `prompts` | prompts as messages, and the variables in them |

mod appeals;
pub mod asserts;
mod elsewhere;
mod prompts;

use crate::config::fault::{At, Complaint, Faults, dot, index, nearest};
use crate::config::json;
use crate::config::read::Reading;
use crate::config::scalar;
use crate::config::secret::Surroundings;
use crate::config::tree::{self, Entry, Node, Value};
use crate::config::version::Place;
use appeals::Assessors;
use coalmine_core::id::ProviderName;
use coalmine_core::sentinel::{Criticality, SENTINELS_MAX, Sentinel};
use coalmine_core::time::SpanMs;
use coalmine_core::version::JsonText;
use coalmine_wire::probe::{Assertion, Check, Probe};
use prompts::{Prompt, Vars};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A suite, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its cases, in the order of the file.
    pub cases: Vec<Case>,
    /// What the file says to promptfoo alone and Coalmine does not use, by key.
    pub unused: Vec<String>,
}

/// One known-answer prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where its test stands.
    pub at: At,
    /// The question and its assertions.
    pub probe: Probe,
    /// What `metadata.canary` says.
    pub canary: Canary,
}

/// `metadata.canary`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canary {
    /// Whether its failure rolls back.
    pub critical: bool,
    /// Answers asked for in one try.
    pub runs: u32,
    /// Of which so many must be right.
    pub need: u32,
    /// How often within a stage.
    pub every: SpanMs,
    /// The chance that a good version gets one answer wrong.
    pub flaky: f64,
    /// Whether somebody vouches for the answer; of an imported test, nobody does yet.
    pub confirmed: bool,
}

/// Keys of the top that speak to promptfoo alone.
const UNUSED: [&str; 13] = [
    "$schema",
    "env",
    "tracing",
    "derivedMetrics",
    "writeLatestResults",
    "providers",
    "targets",
    "outputPath",
    "sharing",
    "tags",
    "metadata",
    "commandLineOptions",
    "evaluateOptions",
];
const TOP: [&str; 4] = ["description", "prompts", "tests", "defaultTest"];
const TEST: [&str; 5] = ["description", "vars", "assert", "threshold", "metadata"];
const CANARY: [&str; 10] =
    ["critical", "runs", "need", "pass", "every", "flaky", "confirmed", "numeric", "judge", "embeddings"];
/// Those of them that are no single value.
const CANARY_PARTS: [&str; 3] = ["numeric", "judge", "embeddings"];

impl Default for Canary {
    fn default() -> Self {
        Self { critical: true, runs: 1, need: 1, every: SpanMs::minutes(10), flaky: 0.02, confirmed: true }
    }
}

impl Suite {
    /// The critical cases.
    pub fn critical(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.canary.critical)
    }

    /// The cases whose answer nobody has confirmed: no release takes them.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| !case.canary.confirmed)
    }

    /// As a policy keeps them; `gate` makes all of them part of the offline gate.
    #[must_use]
    pub fn sentinels(&self, purpose: Purpose) -> Vec<Sentinel> {
        let sentinel = |case: &Case| {
            let Canary { critical, runs, need, every, flaky, confirmed: _ } = case.canary;
            let criticality = match (purpose, critical) {
                (Purpose::Gate, _) => Criticality::Gate,
                (Purpose::Sentinels, true) => Criticality::Critical,
                (Purpose::Sentinels, false) => Criticality::Watched,
            };
            // A probe is plain data, which serialises.
            let probe = JsonText(serde_json::to_string(&case.probe).unwrap_or_default());
            let name = match purpose {
                Purpose::Sentinels => case.name.clone(),
                Purpose::Gate => format!("gate: {}", case.name),
            };
            Sentinel { name, criticality, runs, need, every, flaky, probe }
        };
        self.cases.iter().map(sentinel).collect()
    }
}

/// What a suite is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sentinels of a release.
    Sentinels,
    /// Its offline gate.
    Gate,
}

/// Reads a suite. `file` names it in errors, and its folder is where `file://` paths start.
///
/// # Errors
/// Everything that is wrong with it, or cannot be run here, in the order of the file.
pub fn parse_suite(text: &str, file: &Path, around: &dyn Surroundings) -> Result<Suite, Faults> {
    let reading = Reading::default();
    let (node, faults) = tree::parse(text);
    let broken = !faults.is_empty();
    reading.extend(faults);
    let folder = file.parent().unwrap_or(Path::new(""));
    let reader = Reader { reading: &reading, place: Place { folder, around } };
    let suite = match &node {
        Some(node) => reader.suite(node),
        None if broken => None,
        None => {
            reader.fault(At { line: 1, column: 1 }, "", "the file is empty", "write at least `prompts` and `tests`");
            None
        }
    };
    let faults = reading.into_faults();
    match suite {
        Some(suite) if faults.is_empty() => Ok(suite),
        Some(_) | None => Err(Faults::new(file, faults)),
    }
}

/// Reads the suite that a file names, for whoever answers for it: each answer confirmed, everybody known who is asked
/// about one.
pub(crate) fn load(
    place: Place<'_>,
    named: &str,
    providers: &BTreeSet<ProviderName>,
    assessors: &BTreeSet<String>,
) -> Result<Suite, Complaint> {
    let text = place.file(named)?;
    let suite = parse_suite(&text, &place.folder.join(named), place.around).map_err(|faults| {
        let count = faults.faults.len();
        let noun = if count == 1 { "error" } else { "errors" };
        let first = faults.faults.first().map_or(String::new(), |fault| {
            format!(", the first in line {}: {}; {}", fault.at.line, fault.what, fault.mend)
        });
        let mend = format!("`coalmine sentinel check {named}` tells all");
        Complaint::new(format!("the suite {named} has {count} {noun}{first}"), mend)
    })?;
    let unconfirmed = suite.unconfirmed().count();
    if unconfirmed > 0 {
        let what = format!("{unconfirmed} tests of {named} have answers that nobody has confirmed");
        return Err(Complaint::new(what, "read them, mend what they assert, and remove `confirmed: no` of each"));
    }
    suite.unknown_assessor(providers, assessors).map_or(Ok(suite), Err)
}

/// Reads one file.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    reading: &'a Reading,
    place: Place<'a>,
}

/// A mapping, with its path.
pub(crate) struct Map<'a> {
    entries: &'a [Entry],
    path: String,
}

/// What a test says, or the test that all others begin from.
#[derive(Default, Clone)]
struct Test {
    name: Option<String>,
    vars: Vars,
    assertions: Vec<Assertion>,
    threshold: Option<f64>,
    canary: BTreeMap<&'static str, (At, String)>,
    assessors: Assessors,
}

impl<'a> Map<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<(&'a Node, String)> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some((&entry.value, dot(&self.path, key)))
    }

    /// The mapping under `key`, where there is one.
    fn inner(&self, key: &str) -> Option<Map<'a>> {
        match self.get(key)? {
            (Node { value: Value::Map(entries), .. }, path) => Some(Map { entries, path }),
            (Node { value: Value::Scalar { .. } | Value::List(_), .. }, _) => None,
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn fault(&self, at: At, key: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.reading.fault(at, key, Complaint::new(what, mend), None);
    }

    pub(crate) fn map<'n>(&self, node: &'n Node, path: &str) -> Option<Map<'n>> {
        match &node.value {
            Value::Map(entries) => Some(Map { entries, path: path.to_owned() }),
            Value::Scalar { .. } | Value::List(_) => {
                self.fault(node.at, path, format!("this is {}", node.shape()), "write a mapping of keys");
                None
            }
        }
    }

    pub(crate) fn text<'n>(&self, node: &'n Node, path: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => Some(text),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.fault(node.at, path, format!("this is {}", node.shape()), "write a single value");
                None
            }
        }
    }

    /// A value as JSON.
    pub(crate) fn json(&self, node: &Node, path: &str) -> Option<serde_json::Value> {
        match json::text(node) {
            Ok(text) => serde_json::from_str(&text).ok(),
            Err((at, complaint)) => {
                self.reading.fault(at, path, complaint, None);
                None
            }
        }
    }

    pub(crate) fn number(&self, node: &Node, path: &str) -> Option<f64> {
        let text = self.text(node, path)?;
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        if number.is_none() {
            self.fault(node.at, path, format!("{} is no number", scalar::shown(text)), "write a plain number");
        }
        number
    }

    /// A share, as it is written in promptfoo: a number within 0 and 1.
    pub(crate) fn share(&self, node: &Node, path: &str) -> Option<f64> {
        let share = self.number(node, path)?;
        if !(0.0..=1.0).contains(&share) {
            self.fault(node.at, path, format!("{share} is not within 0 and 1"), "write a share, such as 0.8");
            return None;
        }
        Some(share)
    }

    pub(crate) fn known(&self, map: &Map<'_>, known: &[&str]) {
        for entry in map.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let what = format!("{} is not used here, and would be ignored", scalar::shown(&entry.key));
            let mend = "remove it, or keep it in a file for promptfoo alone";
            let path = dot(&map.path, &entry.key);
            match elsewhere::refusal(&entry.key) {
                Some(complaint) => self.reading.fault(entry.at, &path, complaint, None),
                None => {
                    let near = nearest(&entry.key, known.iter().copied());
                    self.reading.fault(entry.at, &path, Complaint::new(what, mend), near);
                }
            }
        }
    }

    fn suite(&self, node: &'a Node) -> Option<Suite> {
        let top = self.map(node, "")?;
        let known: Vec<&str> = TOP.iter().chain(&UNUSED).copied().collect();
        self.known(&top, &known);
        self.refuse_transforms(&top);
        let prompts = match top.get("prompts") {
            Some((node, path)) => self.prompts(node, &path),
            None => {
                self.fault(node.at, "prompts", "there are no prompts", "write `prompts: [\"{{question}}\"]`");
                Vec::new()
            }
        };
        let common = top.get("defaultTest").map(|(node, path)| self.test(node, &path)).unwrap_or_default();
        let cases = match top.get("tests") {
            Some((Node { value: Value::List(tests), .. }, path)) => {
                let read = |(i, test): (usize, &Node)| self.cases(test, &index(&path, i), i, &common, &prompts);
                tests.iter().enumerate().flat_map(read).collect()
            }
            Some((node, path)) => {
                match &node.value {
                    Value::Scalar { text, .. } if !node.is_null() => self.refuse_elsewhere(node, &path, text),
                    Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                        let mend = "write the tests into this file, a list of mappings";
                        self.fault(node.at, &path, format!("this is {}", node.shape()), mend);
                    }
                }
                Vec::new()
            }
            None => {
                self.fault(node.at, "tests", "there are no tests", "write a list of tests with `vars` and `assert`");
                Vec::new()
            }
        };
        self.check_names(&cases, node.at);
        let mut unused: Vec<String> =
            UNUSED.iter().filter(|key| top.get(key).is_some()).map(|key| (*key).to_owned()).collect();
        unused.extend(chooses_provider(&top).then(|| "provider of a test".to_owned()));
        Some(Suite { cases, unused })
    }

    fn check_names(&self, cases: &[Case], at: At) {
        let mut seen = BTreeSet::new();
        for case in cases.iter().filter(|case| !seen.insert(case.name.as_str())) {
            let what = format!("two tests are called {}", scalar::shown(&case.name));
            self.fault(case.at, "tests", what, "give each a `description` of its own");
        }
        if cases.len() > SENTINELS_MAX {
            let what = format!("prompts times tests make {} cases, more than {SENTINELS_MAX}", cases.len());
            self.fault(at, "tests", what, "keep those that matter");
        }
    }

    /// One test with every prompt.
    fn cases(&self, node: &Node, path: &str, number: usize, common: &Test, prompts: &[Prompt]) -> Vec<Case> {
        if let Value::Scalar { text, .. } = &node.value
            && !node.is_null()
        {
            self.refuse_elsewhere(node, path, text);
            return Vec::new();
        }
        let own = self.test(node, path);
        let canary = self.canary(common, &own, path);
        let assessors = common.assessors.or(own.assessors.clone());
        let mut vars = common.vars.clone();
        vars.extend(own.vars);
        let mut assertions = common.assertions.clone();
        assertions.extend(own.assertions);
        if assertions.is_empty() && !self.reading.is_told(path) && !self.reading.is_told("defaultTest.assert") {
            let mend = "write under `assert` what a right answer has, such as `{ type: icontains, value: 30 days }`";
            self.fault(node.at, path, "nothing is asserted, so any answer would pass", mend);
        }
        for assertion in &mut assertions {
            let filled = asserts::fill(&mut assertion.check, &vars);
            if let Err(complaint) = filled.and_then(|()| assessors.pin(assertion)) {
                self.reading.fault(node.at, path, complaint, None);
            }
        }
        let threshold = own.threshold.or(common.threshold);
        let name = own.name.unwrap_or_else(|| format!("test {}", number + 1));
        let mut cases = Vec::new();
        for prompt in prompts {
            let name = if prompts.len() > 1 { format!("{name} [{}]", prompt.label) } else { name.clone() };
            match prompt.fill(&vars) {
                Ok(messages) => {
                    let probe = Probe { messages, assertions: assertions.clone(), threshold };
                    cases.push(Case { name, at: node.at, probe, canary });
                }
                Err(complaint) => self.reading.fault(node.at, path, complaint, None),
            }
        }
        cases
    }

    fn test(&self, node: &Node, path: &str) -> Test {
        let Some(map) = self.map(node, path) else { return Test::default() };
        let known: Vec<&str> = TEST.iter().copied().chain(["provider", "providers", "options"]).collect();
        self.known(&map, &known);
        self.refuse_options(&map);
        let name = map.get("description").and_then(|(node, path)| self.text(node, &path)).map(|name| {
            let short: String = name.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
            short
        });
        let mut assertions: Vec<Assertion> = match map.get("assert") {
            Some((Node { value: Value::List(items), .. }, path)) => {
                let read = |(i, item): (usize, &Node)| self.assertion(item, &index(&path, i));
                items.iter().enumerate().filter_map(read).collect()
            }
            Some((node, path)) => {
                self.fault(node.at, &path, format!("this is {}", node.shape()), "write a list of assertions");
                Vec::new()
            }
            None => Vec::new(),
        };
        assertions.extend(self.numerics(&map));
        Test {
            name,
            vars: map.get("vars").map(|(node, path)| self.vars(node, &path)).unwrap_or_default(),
            assertions,
            threshold: map.get("threshold").and_then(|(node, path)| self.share(node, &path)),
            canary: self.settings(&map),
            assessors: self.assessors(&map),
        }
    }

    /// The single values of `metadata.canary`, unread.
    fn settings(&self, test: &Map<'_>) -> BTreeMap<&'static str, (At, String)> {
        let mut settings = BTreeMap::new();
        let Some((metadata, path)) = test.get("metadata") else { return settings };
        let Some(metadata) = self.map(metadata, &path) else { return settings };
        let Some((canary, path)) = metadata.get("canary") else { return settings };
        let Some(canary) = self.map(canary, &path) else { return settings };
        self.known(&canary, &CANARY);
        for key in CANARY.into_iter().filter(|key| !CANARY_PARTS.contains(key)) {
            if let Some((node, path)) = canary.get(key)
                && let Some(text) = self.text(node, &path)
            {
                settings.insert(key, (node.at, text.to_owned()));
            }
        }
        settings
    }

    fn canary(&self, common: &Test, own: &Test, path: &str) -> Canary {
        let mut canary = Canary::default();
        let mut settings = common.canary.clone();
        settings.extend(own.canary.clone());
        for (key, (at, text)) in settings {
            if let Err(complaint) = set(&mut canary, key, &text) {
                self.reading.fault(at, &format!("{path}.metadata.canary.{key}"), complaint, None);
            }
        }
        canary
    }

    /// `metadata.canary.numeric`, which promptfoo has no assertion for; one or a list.
    fn numerics(&self, test: &Map<'_>) -> Vec<Assertion> {
        let Some(metadata) = test.inner("metadata") else { return Vec::new() };
        let Some(canary) = metadata.inner("canary") else { return Vec::new() };
        match canary.get("numeric") {
            Some((Node { value: Value::List(items), .. }, path)) => {
                let read = |(i, item): (usize, &Node)| self.numeric(item, &index(&path, i));
                items.iter().enumerate().filter_map(read).collect()
            }
            Some((node, path)) => self.numeric(node, &path).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn numeric(&self, node: &Node, path: &str) -> Option<Assertion> {
        let map = self.map(node, path)?;
        self.known(&map, &["path", "expected", "abs", "rel"]);
        let number = |key| map.get(key).and_then(|(node, path)| self.number(node, &path));
        let Some(expected) = number("expected") else {
            self.fault(node.at, path, "it does not say which number is expected", "write `expected: 42`");
            return None;
        };
        let at = map.get("path").and_then(|(node, path)| self.text(node, &path)).map(str::to_owned);
        let (abs, rel) = (number("abs").unwrap_or(0.0).max(0.0), number("rel").unwrap_or(0.0).max(0.0));
        Some(Assertion::that(Check::Numeric { path: at, expected, abs, rel }))
    }
}

/// Whether a test says which of promptfoo's providers it is for.
fn chooses_provider(top: &Map<'_>) -> bool {
    let of = |node: &Node| match &node.value {
        Value::Map(entries) => entries.iter().any(|entry| matches!(entry.key.as_str(), "provider" | "providers")),
        Value::Scalar { .. } | Value::List(_) => false,
    };
    let tests = match top.get("tests") {
        Some((Node { value: Value::List(tests), .. }, _)) => tests.as_slice(),
        Some(_) | None => &[],
    };
    top.get("defaultTest").is_some_and(|(node, _)| of(node)) || tests.iter().any(of)
}

fn truth(text: &str) -> Result<bool, Complaint> {
    match text {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        other => Err(Complaint::new(format!("{} is no truth value", scalar::shown(other)), "write true or false")),
    }
}

fn set(canary: &mut Canary, key: &str, text: &str) -> Result<(), Complaint> {
    let count = |text: &str| {
        let count = scalar::integer(text, 1)?;
        u32::try_from(count).map_err(|_| Complaint::new("the number is too large", "write one of at most 20"))
    };
    match key {
        "critical" => canary.critical = truth(text)?,
        "confirmed" => canary.confirmed = truth(text)?,
        "runs" => canary.runs = count(text)?,
        "need" => canary.need = count(text)?,
        "pass" => {
            let form = || Complaint::new(format!("{} is not `2-of-3`", scalar::shown(text)), "write `need-of-runs`");
            let (need, runs) = text.split_once("-of-").ok_or_else(form)?;
            (canary.need, canary.runs) = (count(need)?, count(runs)?);
        }
        "every" => canary.every = scalar::duration(text)?,
        "flaky" => canary.flaky = scalar::share(text)?.share(),
        _ => {}
    }
    if canary.need > canary.runs && key != "need" {
        canary.runs = canary.need;
    }
    Ok(())
}
