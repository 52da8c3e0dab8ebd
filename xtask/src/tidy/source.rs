//! Rules for Rust sources.

use super::Finding;
use super::mask;

const MAX_FUNCTION_LINES: usize = 70;
const MAX_FILE_LINES: usize = 800;

/// Names of modules that say nothing.
const BANNED_MODULES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "shared"];
/// Ends of types' names that say nothing.
const BANNED_ENDS: [&str; 3] = ["Manager", "Helper", "Service"];
/// Words that the glossary replaces, as they would stand in a type's name.
const BANNED_WORDS: [(&str, &str); 15] = [
    ("Org", "Tenant"),
    ("Account", "Tenant"),
    ("Variant", "Version"),
    ("Backend", "Provider or Upstream"),
    ("Baseline", "Stable or Control"),
    ("Candidate", "Canary"),
    ("Deployment", "Release"),
    ("Experiment", "Release"),
    ("Rollout", "Release"),
    ("Subject", "Unit"),
    ("Impression", "Exposure"),
    ("Stickiness", "Pin"),
    ("Kpi", "Metric"),
    ("Grader", "Judge"),
    ("Revision", "Generation"),
];
/// What `core` and `stats` must not know.
const IMPURE: [&str; 9] =
    ["SystemTime", "Instant", "std::env", "println!", "eprintln!", "async", "await", "tokio", "tracing"];

/// Every rule over one source.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let code = mask::code(text);
    let mut findings: Vec<Finding> = module_doc(path, text).into_iter().collect();
    findings.extend(file_length(path, text));
    findings.extend(function_lengths(path, &code));
    findings.extend(names(path, &code));
    findings.extend(marks(path, text, &code));
    findings.extend(purity(path, &code));
    findings.extend(outside(path, &code));
    findings
}

fn finding(path: &str, line: usize, rule: &'static str, item: &str, what: String) -> Finding {
    Finding { path: path.to_owned(), line, rule, item: item.to_owned(), what }
}

fn module_doc(path: &str, text: &str) -> Option<Finding> {
    let opens = text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"));
    (!opens).then(|| finding(path, 1, "module-doc", "", "open the module with `//!` and what it is for".to_owned()))
}

fn file_length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let what = || format!("{lines} lines, more than {MAX_FILE_LINES}; split it where a reader would");
    (lines > MAX_FILE_LINES).then(|| finding(path, 0, "file-length", "", what()))
}

/// Functions from `fn` to the brace that closes them.
fn function_lengths(path: &str, code: &str) -> Vec<Finding> {
    let lines: Vec<&str> = code.lines().collect();
    let mut findings = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        for name in declared(line, "fn") {
            let length = body_lines(&lines[i..], name);
            if length > MAX_FUNCTION_LINES {
                let what = format!("`{name}` has {length} lines, more than {MAX_FUNCTION_LINES}; name its parts");
                findings.push(finding(path, i + 1, "function-length", name, what));
            }
        }
    }
    findings
}

/// Lines from the first to the one that closes the function `name`; 0 for one without a body.
fn body_lines(lines: &[&str], name: &str) -> usize {
    let (mut braces, mut others, mut opened) = (0_i64, 0_i64, false);
    for (i, line) in lines.iter().enumerate() {
        let from = if i == 0 { line.find(&format!("fn {name}")).unwrap_or(0) } else { 0 };
        for c in line[from..].chars() {
            match c {
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                '{' => {
                    braces += 1;
                    opened |= others == 0;
                }
                '}' => braces -= 1,
                ';' if !opened && others == 0 => return 0,
                _ => {}
            }
        }
        if opened && braces <= 0 {
            return i + 1;
        }
    }
    lines.len()
}

/// The names that a line declares with `keyword`.
fn declared<'l>(line: &'l str, keyword: &str) -> Vec<&'l str> {
    let mut names = Vec::new();
    let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        if word == keyword
            && let Some(name) = words.peek()
        {
            names.push(*name);
        }
    }
    names
}

fn names(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".rs")).unwrap_or("");
    let folders = path.split('/').rev().skip(1);
    for name in std::iter::once(stem).chain(folders).filter(|name| BANNED_MODULES.contains(name)) {
        let what = format!("`{name}` says nothing; name it after what it holds");
        findings.push(finding(path, 0, "empty-name", name, what));
    }
    for (i, line) in code.lines().enumerate() {
        for name in declared(line, "mod").into_iter().filter(|name| BANNED_MODULES.contains(name)) {
            let what = format!("module `{name}` says nothing; name it after what it holds");
            findings.push(finding(path, i + 1, "empty-name", name, what));
        }
        for name in ["struct", "enum", "trait", "type"].into_iter().flat_map(|keyword| declared(line, keyword)) {
            findings.extend(type_name(path, i + 1, name));
        }
    }
    findings
}

fn type_name(path: &str, line: usize, name: &str) -> Option<Finding> {
    if let Some(end) = BANNED_ENDS.iter().find(|end| name.ends_with(**end)) {
        let what = format!("`{name}`: `{end}` says nothing; name it after what it is");
        return Some(finding(path, line, "empty-name", name, what));
    }
    let words = camel_words(name);
    let (word, instead) = BANNED_WORDS.iter().find(|(word, _)| words.iter().any(|own| own == word))?;
    let what = format!("`{name}`: the glossary's word for `{word}` is {instead}");
    Some(finding(path, line, "glossary", name, what))
}

fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            Some(_) | None => words.push(c.to_string()),
        }
    }
    words
}

/// Marks of unfinished or silenced work.
fn marks(path: &str, text: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let tight: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let attribute = |name: &str| tight.contains(&format!("#[{name}")) || tight.contains(&format!("#![{name}"));
        if attribute("ignore") {
            findings.push(finding(path, i + 1, "ignored-test", "", "mend the test or remove it".to_owned()));
        }
        if attribute("allow(") {
            let what = "write `#[expect(…, reason = \"…\")]`, which ends with its cause".to_owned();
            findings.push(finding(path, i + 1, "allow", "", what));
        }
        if tight.contains("todo!(") || tight.contains("unimplemented!(") {
            findings.push(finding(path, i + 1, "unfinished", "", "finish it, or refuse it by name".to_owned()));
        }
        if let Some(comment) = comment_of(line, code)
            && ["TODO", "FIXME", "XXX"].iter().any(|mark| comment.contains(mark))
        {
            findings.push(finding(path, i + 1, "unfinished", "", "do it, or write an issue".to_owned()));
        }
    }
    findings
}

/// The comment of a line: what follows `//` where the code is blank.
fn comment_of<'l>(line: &'l str, code: &str) -> Option<&'l str> {
    let blank = code.trim_end().chars().count();
    let start = line.char_indices().nth(blank).map(|(at, _)| at)?;
    line[start..].find("//").map(|at| &line[start + at..])
}

fn purity(path: &str, code: &str) -> Vec<Finding> {
    if !["crates/core/src/", "crates/stats/src/"].iter().any(|pure| path.starts_with(pure)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (i, line) in code.lines().enumerate() {
        for word in IMPURE.into_iter().filter(|word| has_word(line, word)) {
            let what = format!("`{word}` in a pure crate; take it as an argument, or do it in another crate");
            findings.push(finding(path, i + 1, "purity", word, what));
        }
    }
    findings
}

/// What stands for the outside imports nothing of ours.
fn outside(path: &str, code: &str) -> Vec<Finding> {
    if !path.starts_with("tests/") {
        return Vec::new();
    }
    let ours = [
        "coalmine_stats",
        "coalmine_wire",
        "coalmine_core",
        "coalmine_store",
        "coalmine_gateway",
        "coalmine_control",
        "coalmine_api",
        "coalmine_sim",
        "coalmine::",
    ];
    let line_has = |(i, line): (usize, &str)| {
        let word = ours.iter().find(|word| has_word(line, word.trim_end_matches(':')) && line.contains(**word))?;
        let what = format!("`{word}`: what stands for the outside imports no crate of Coalmine");
        Some(finding(path, i + 1, "outside", word, what))
    };
    code.lines().enumerate().filter_map(line_has).collect()
}

/// Whether the line has the word by itself.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && (!after || word.ends_with('!'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let mut rules: Vec<&'static str> = check(path, text).into_iter().map(|finding| finding.rule).collect();
        rules.dedup();
        rules
    }

    fn function(lines: usize) -> String {
        format!("//! Doc.\nfn long() -> [u8; 2] {{\n{}}}\n", "    x();\n".repeat(lines - 2))
    }

    #[test]
    fn clean_code_passes() {
        let text =
            "//! Doc.\n\n/// `TODO` in a string is text.\nstruct Versions;\nfn f() { let t = \"TODO #[ignore]\"; }\n";
        assert_eq!(rules("crates/app/src/a.rs", &text.replace("`TODO` in", "Marks in")), [""; 0]);
    }

    #[test]
    fn a_function_may_have_70_lines_and_not_71() {
        assert_eq!(rules("a.rs", &function(70)), [""; 0]);
        assert_eq!(rules("a.rs", &function(71)), ["function-length"]);
    }

    #[test]
    fn a_declaration_without_a_body_has_no_length() {
        let trait_ = format!("//! Doc.\ntrait T {{\n    fn f(a: [u8; 2]);\n{}}}\n", "    const A: u8;\n".repeat(100));
        assert_eq!(rules("a.rs", &trait_), [""; 0]);
    }

    #[test]
    fn a_file_may_have_800_lines_and_not_801() {
        let file = |lines: usize| format!("//! Doc.\n{}", "x\n".repeat(lines - 1));
        assert_eq!(rules("a.rs", &file(800)), [""; 0]);
        assert_eq!(rules("a.rs", &file(801)), ["file-length"]);
    }

    #[test]
    fn a_module_opens_with_its_doc() {
        assert_eq!(rules("a.rs", "use x;\n"), ["module-doc"]);
        assert_eq!(rules("a.rs", ""), ["module-doc"]);
    }

    #[test]
    fn empty_names_fire() {
        assert_eq!(rules("crates/x/src/utils.rs", "//! D.\n"), ["empty-name"]);
        assert_eq!(rules("crates/x/src/common/a.rs", "//! D.\n"), ["empty-name"]);
        assert_eq!(rules("a.rs", "//! D.\nmod helpers;\n"), ["empty-name"]);
        for end in BANNED_ENDS {
            assert_eq!(rules("a.rs", &format!("//! D.\npub struct Pin{end} {{}}\n")), ["empty-name"], "{end}");
        }
    }

    #[test]
    fn the_glossarys_other_words_fire_as_whole_words_of_a_type() {
        for (word, _) in BANNED_WORDS {
            assert_eq!(rules("a.rs", &format!("//! D.\nenum My{word}State {{}}\n")), ["glossary"], "{word}");
        }
        assert_eq!(rules("a.rs", "//! D.\nstruct Organ;\nstruct Accountable;\n"), [""; 0]);
    }

    #[test]
    fn marks_of_unfinished_or_silenced_work_fire() {
        assert_eq!(rules("a.rs", "//! D.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"), ["ignored-test"]);
        assert_eq!(rules("a.rs", "//! D.\n#[allow(dead_code)]\nfn f() {}\n"), ["allow"]);
        assert_eq!(rules("a.rs", "//! D.\n#![allow(dead_code)]\n"), ["allow"]);
        assert_eq!(rules("a.rs", "//! D.\nfn f() { todo!() }\n"), ["unfinished"]);
        assert_eq!(rules("a.rs", "//! D.\nfn f() { unimplemented!(\"x\") }\n"), ["unfinished"]);
        for mark in ["TODO", "FIXME", "XXX"] {
            assert_eq!(rules("a.rs", &format!("//! D.\nfn f() {{}} // {mark}: later\n")), ["unfinished"], "{mark}");
        }
    }

    #[test]
    fn core_and_stats_know_no_time_environment_print_or_async() {
        for word in IMPURE {
            let text = format!("//! D.\nfn f() {{ {word} (x) }}\n");
            assert_eq!(rules("crates/core/src/a.rs", &text), ["purity"], "{word}");
            assert_eq!(rules("crates/stats/src/a.rs", &text), ["purity"], "{word}");
            assert_eq!(rules("crates/app/src/a.rs", &text), [""; 0], "{word}");
        }
        assert_eq!(
            rules("crates/core/src/a.rs", "//! D.\n/// Instant of time.\nfn instantly(asynchronous: u8) {}\n"),
            [""; 0]
        );
    }

    #[test]
    fn the_outside_imports_nothing_of_ours() {
        assert_eq!(rules("tests/outside/src/a.rs", "//! D.\nuse coalmine_core::id;\n"), ["outside"]);
        assert_eq!(rules("tests/outside/src/a.rs", "//! D.\nuse coalmine::config;\n"), ["outside"]);
        assert_eq!(rules("tests/outside/src/a.rs", "//! D.\nlet coalmine = process();\n"), [""; 0]);
        assert_eq!(rules("crates/app/src/a.rs", "//! D.\nuse coalmine_core::id;\n"), [""; 0]);
    }
}
