//! What holds for every input: no panic, no silence, no secret.

use super::good::{FULL, RELEASE};
use super::suite::SUPPORT;
use super::{JUDGE, process, release};
use crate::config::export::export;
use crate::config::laws;
use coalmine_core::time::SpanMs;
use coalmine_core::version::{Prompt, PromptMode};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Cuts, doubles and replaces pieces of a good file.
fn mutated(base: &'static str) -> impl Strategy<Value = String> {
    let piece = (0..base.len(), 0..40_usize, prop_oneof![Just(String::new()), "[ -~\\n]{0,8}", any::<String>()]);
    prop::collection::vec(piece, 1..4).prop_map(move |pieces| {
        let mut text = base.to_owned();
        for (start, len, with) in pieces {
            let boundary = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let (from, to) = (boundary(start), boundary(start + len));
            text.replace_range(from..to, &with);
        }
        text
    })
}

/// `text` broken off behind every character.
fn broken_off(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[..at]).chain([text])
}

#[test]
fn process_files_keep_the_laws_wherever_they_break_off() {
    for text in [super::good::SMALLEST, super::good::FULL, include_str!("../../../../../examples/coalmine.yaml")] {
        broken_off(text).for_each(laws::process);
    }
}

#[test]
fn release_files_keep_the_laws_wherever_they_break_off() {
    for text in [super::good::RELEASE, include_str!("../../../../../examples/release.yaml")] {
        broken_off(text).for_each(laws::release);
    }
}

#[test]
fn suites_and_judges_keep_the_laws_wherever_they_break_off() {
    broken_off(super::suite::SUPPORT).for_each(laws::suite);
    broken_off(super::JUDGE).for_each(laws::judge);
}

/// Made up by fuzzing: lines end with a carriage return too, and no tab is meant by what is not printable.
#[test]
fn what_fuzzing_found_keeps_the_laws() {
    laws::process("\r{");
    laws::suite("\rodel A relea/pgt\r4\0\0");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        laws::process(&text);
        laws::suite(&text);
        laws::judge(&text);
        laws::release(&text);
    }

    #[test]
    fn yaml_like_text_is_read_or_refused(text in "[\\[\\]{}:,#&*!|>'\"%@`?$ \\n\\t~a-c0-3-]{0,60}") {
        prop_assert!(process(&text).is_err() && release(&text).is_err());
    }

    #[test]
    fn a_mutated_process_is_read_or_refused(text in mutated(FULL)) {
        laws::process(&text);
    }

    #[test]
    fn a_mutated_release_is_read_or_refused(text in mutated(RELEASE)) {
        laws::release(&text);
    }

    #[test]
    fn a_mutated_suite_is_read_or_refused(text in mutated(SUPPORT)) {
        laws::suite(&text);
    }

    #[test]
    fn a_mutated_judge_is_read_or_refused(text in mutated(JUDGE)) {
        laws::judge(&text);
    }
}

/// Prompts of every kind: one line, several, odd spaces, quotes, references, letters of everywhere.
fn prompt() -> impl Strategy<Value = String> {
    let line = prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", Just("${NAME}".to_owned()), Just("---".to_owned())];
    prop::collection::vec(line, 1..5).prop_map(|lines| format!("x{}", lines.join("\n").trim_end_matches(['\n', '\r'])))
}

/// A prompt with a place for each of these, and none beside where there are any.
fn templated(text: &str, values: &BTreeMap<String, String>) -> Prompt {
    let text = if values.is_empty() { text.to_owned() } else { text.replace('{', "(") };
    let places: String = values.keys().map(|name| format!("{{{{{name}}}}}.")).collect();
    Prompt { variables: values.clone(), ..Prompt::new(PromptMode::Prepend, format!("{places}{text}")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_exported_reads_back_the_same(
        text in prop_oneof![prompt(), any::<String>().prop_map(|s| format!("x{s}y"))],
        values in prop::collection::btree_map("[a-z][a-z0-9_]{0,9}", prop_oneof![prompt(), any::<String>()], 0..3),
        (body, scale) in (1..4_usize << 30, 1..10_000_000_u32),
        span in 1..100_000_000_u64,
    ) {
        let mut present = process(FULL).unwrap();
        present.limits.body_bytes = body;
        present.limits.bodies_bytes = body.max(present.limits.bodies_bytes);
        present.limits.drain = SpanMs(span);
        present.time_scale = f64::from(scale) / 1_000.0;
        let mut stables = BTreeMap::new();
        for (name, route) in &mut present.routes {
            route.stable.prompt = Some(templated(&text, &values));
            stables.insert(name.clone(), route.stable.clone());
        }
        let written = export(&process(FULL).unwrap(), &stables, Path::new("etc"));
        let mut expected = process(FULL).unwrap();
        for (name, stable) in stables {
            expected.routes.get_mut(&name).unwrap().stable = stable;
        }
        prop_assert_eq!(process(&written).map_err(|e| e.to_string()), Ok(expected));
        let written = export(&present, &BTreeMap::new(), Path::new("etc"));
        prop_assert_eq!(process(&written).map_err(|e| e.to_string()), Ok(present));
    }
}
