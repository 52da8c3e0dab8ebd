//! The list of exceptions: one `rule path item` a line. An entry that excuses nothing any more is a
//! breach itself, so the list only shrinks.

use super::Finding;

/// Where the list is.
pub(crate) const FILE: &str = "xtask/tidy-allow.txt";

/// The exceptions.
#[derive(Debug)]
pub(crate) struct Allowed {
    entries: Vec<(usize, String)>,
}

impl Allowed {
    /// Reads the list; `#` begins a comment.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.split('#').next().unwrap_or("").trim()));
        Self { entries: lines.filter(|(_, line)| !line.is_empty()).map(|(i, line)| (i, line.to_owned())).collect() }
    }

    /// What is left, and the entries that excuse nothing.
    pub(crate) fn apply(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let name = |finding: &Finding| format!("{} {} {}", finding.rule, finding.path, finding.item).trim().to_owned();
        let stale = self.entries.iter().filter(|(_, entry)| !findings.iter().any(|finding| name(finding) == *entry));
        let stale: Vec<Finding> = stale
            .map(|(line, entry)| Finding {
                path: FILE.to_owned(),
                line: *line,
                rule: "stale-exception",
                item: String::new(),
                what: format!("`{entry}` excuses nothing; remove the line"),
            })
            .collect();
        let excused = |finding: &Finding| self.entries.iter().any(|(_, entry)| name(finding) == *entry);
        findings.into_iter().filter(|finding| !excused(finding)).chain(stale).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(item: &str) -> Finding {
        let (path, item) = ("a.rs".to_owned(), item.to_owned());
        Finding { path, line: 3, rule: "function-length", item, what: "long".to_owned() }
    }

    #[test]
    fn an_entry_excuses_its_own_breach_only() {
        let allowed = Allowed::parse("# why\nfunction-length a.rs big # because\n");
        assert_eq!(allowed.apply(vec![finding("big"), finding("other")]), [finding("other")]);
    }

    #[test]
    fn an_entry_that_excuses_nothing_is_a_breach() {
        let left = Allowed::parse("\nfunction-length a.rs big").apply(vec![]);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].rule, left[0].line), ("stale-exception", 2));
    }
}
