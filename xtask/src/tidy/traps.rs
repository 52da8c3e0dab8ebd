//! `docs/traps.md` names a test for each trap of the wire, and the tests exist.

use super::Finding;
use std::collections::BTreeSet;

/// The table.
pub(crate) const FILE: &str = "docs/traps.md";

/// The numbers that must have a row.
fn numbers() -> impl Iterator<Item = String> {
    (1..=40).map(|n| format!("T{n:02}")).chain((1..=10).map(|n| format!("S{n}")))
}

/// What the tests of a number begin with: `t01_`, `s1_`.
fn prefix(number: &str) -> String {
    format!("{}_", number.to_ascii_lowercase())
}

/// The functions of a Rust file that are named after a trap and follow a test attribute, or stand in a
/// macro that makes tests of them.
pub(crate) fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let prefixes: Vec<String> = numbers().map(|number| prefix(&number)).collect();
    let mut attribute = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let name = declared.and_then(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
        let is_test = attribute;
        attribute =
            line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (attribute && line.starts_with("#["));
        let name = name.filter(|name| is_test && prefixes.iter().any(|prefix| name.starts_with(prefix)))?;
        Some(name.to_owned())
    })
}

/// Every number has a row, every row a test of its own number, and every test that is named exists.
pub(crate) fn check(table: &str, tests: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut breach = |line: usize, item: &str, what: String| {
        findings.push(Finding { path: FILE.to_owned(), line, rule: "traps", item: item.to_owned(), what });
    };
    for number in numbers() {
        let start = format!("| {number} |");
        let Some((at, row)) = table.lines().enumerate().find(|(_, line)| line.starts_with(&start)) else {
            breach(0, &number, format!("{number} has no row"));
            continue;
        };
        let prefix = prefix(&number);
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|word| word.starts_with(&prefix)).collect();
        if named.is_empty() {
            breach(at + 1, &number, format!("{number} names no test that begins with `{prefix}`"));
        }
        for name in named.iter().filter(|name| !tests.contains(**name)) {
            breach(at + 1, name, format!("there is no test `{name}`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_their_attribute_and_name() {
        let text = "#[test]\nfn t01_a() {}\n    #[tokio::test]\n    async fn t02_b() {}\nfn t03_no_test() {}\n#[test]\n#[cfg(unix)]\nfn s1_c(x: u8) {}\n#[test]\nfn other() {}\n";
        assert_eq!(tests_in(text).collect::<Vec<_>>(), ["t01_a", "t02_b", "s1_c"]);
    }

    #[test]
    fn each_number_needs_a_row_and_a_test_that_exists() {
        let row = |number: &String| format!("| {number} | a trap | what is done | `{}x` |\n", prefix(number));
        let table: String = numbers().map(|number| row(&number)).collect();
        let tests: BTreeSet<String> = numbers().map(|number| prefix(&number) + "x").collect();
        assert_eq!(check(&table, &tests), []);
        let told =
            |table: &str, tests: &BTreeSet<String>| check(table, tests).into_iter().map(|f| f.what).collect::<Vec<_>>();
        assert_eq!(told(&table.replace("| T40 |", "| T41 |"), &tests), ["T40 has no row"]);
        assert_eq!(told(&table.replace("`t07_x`", "nothing"), &tests), ["T07 names no test that begins with `t07_`"]);
        let mut fewer = tests.clone();
        fewer.remove("s10_x");
        assert_eq!(told(&table, &fewer), ["there is no test `s10_x`"]);
    }
}
