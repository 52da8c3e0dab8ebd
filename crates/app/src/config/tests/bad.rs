//! Files that must be refused: what people read is kept as snapshots, one for each file of `corpus/`.

use super::{process, release};
use std::fs;
use std::path::Path;

#[test]
fn every_bad_file_is_told_in_full() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/corpus");
    let mut names: Vec<String> = fs::read_dir(corpus.clone())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        let text = fs::read_to_string(corpus.join(&name)).unwrap();
        let faults = match name.starts_with("process-") {
            true => process(&text).unwrap_err(),
            false => release(&text).unwrap_err(),
        };
        let told = faults.to_string();
        assert!(!told.contains("hush"), "a secret in the errors of {name}: {told}");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.trim_end_matches(".yaml"), told);
        });
    }
}

#[test]
fn a_machine_reads_the_same() {
    let faults = process("providers: { openai: { kind: openai } }\nrutes: {}\n").unwrap_err();
    insta::assert_json_snapshot!(faults);
}
