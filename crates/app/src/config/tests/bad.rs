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

fn staged(stage: &str) -> String {
    format!(
        "release: support-agent\ncanary: {{ model: openai/gpt-5-mini }}\nstages: [{stage}]\nguardrails: [{{ metric: error_rate, margin: 0.5pp }}]\n"
    )
}

/// No share is rounded away: the smallest is kept, and a smaller one is refused.
#[test]
fn s1_a_weight_that_would_round_to_nothing_is_refused() {
    let kept = release(&staged("{ weight: 0.01%, bake: 24h }")).unwrap();
    assert_eq!(kept.plan.stages[0].weight.bp(), 1);
    for weight in ["0.001%", "0.009%", "0.015%", "1e-3%"] {
        let told = release(&staged(&format!("{{ weight: {weight}, bake: 24h }}"))).unwrap_err().to_string();
        assert!(told.contains("stages[0].weight") && told.contains("in steps of 0.01%"), "{told}");
    }
}

/// A weight that is not written is no weight at all: it is asked for.
#[test]
fn s4_a_stage_without_a_weight_is_refused() {
    let told = release(&staged("{ weight: 5%, bake: 1h }, { bake: 24h }")).unwrap_err().to_string();
    assert!(told.contains("stages[1]") && told.contains("weight"), "{told}");
}
