//! A run in the XML that CI servers read.

use super::{Outcome, Verdict};
use std::fmt::Write as _;

/// One `testsuite`; what could not be told is an `error`, not a failure.
pub(super) fn report(outcome: &Outcome<'_>) -> String {
    let seconds: f64 = outcome.sentinels.iter().map(|row| row.seconds).sum();
    let name = escaped(&format!("{} on {} of {}", outcome.suite, outcome.version, outcome.route));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{seconds:.3}\">\n",
        outcome.sentinels.len(),
        outcome.failed,
        outcome.unknown
    );
    for row in outcome.sentinels {
        let case = escaped(&row.name);
        let class = escaped(outcome.route);
        let _ = write!(text, "    <testcase classname=\"{class}\" name=\"{case}\" time=\"{:.3}\"", row.seconds);
        let tag = match row.verdict {
            Verdict::Passed => {
                text.push_str("/>\n");
                continue;
            }
            Verdict::Failed => "failure",
            Verdict::Unknown => "error",
        };
        let message = escaped(&row.faults.join("; "));
        let _ = writeln!(text, ">\n      <{tag} message=\"{message}\"/>\n    </testcase>");
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
