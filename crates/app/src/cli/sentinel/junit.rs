//! A run in the XML that CI servers read.

use super::{Outcome, Row, Verdict};
use std::fmt::Write as _;

/// One `testsuite`; what could not be told is an `error`, not a failure. What does not count toward the exit code, for it is
/// only watched, is `skipped`: servers fail a build by this file too.
pub(super) fn report(outcome: &Outcome<'_>) -> String {
    let tag = |row: &Row| match row.verdict {
        Verdict::Passed => None,
        Verdict::Failed | Verdict::Unknown if !row.critical && !outcome.strict => Some("skipped"),
        Verdict::Failed => Some("failure"),
        Verdict::Unknown => Some("error"),
    };
    let count = |of: &str| outcome.sentinels.iter().filter(|row| tag(row) == Some(of)).count();
    let seconds: f64 = outcome.sentinels.iter().map(|row| row.seconds).sum();
    let name = escaped(&format!("{} on {} of {}", outcome.suite, outcome.version, outcome.route));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n",
        outcome.sentinels.len(),
        count("failure"),
        count("error"),
        count("skipped")
    );
    for row in outcome.sentinels {
        let case = escaped(&row.name);
        let class = escaped(outcome.route);
        let _ = write!(text, "    <testcase classname=\"{class}\" name=\"{case}\" time=\"{:.3}\"", row.seconds);
        let Some(tag) = tag(row) else {
            text.push_str("/>\n");
            continue;
        };
        let message = escaped(&row.faults.join("; "));
        let kind = if tag == "skipped" { "" } else { " type=\"sentinel\"" };
        let _ = writeln!(text, ">\n      <{tag}{kind} message=\"{message}\"/>\n    </testcase>");
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
