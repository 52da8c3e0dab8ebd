//! Files that must be refused: what people read is kept as snapshots, one for each file of `corpus/`.

use super::{made, process, release};
use crate::config::parse_release;
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

#[test]
fn a_thousand_threads_are_not_started() {
    let limits = |threads: u32| {
        format!(
            "providers: {{ openai: {{ kind: openai }} }}\nroutes: {{ a: {{ stable: {{ model: openai/gpt-5-mini }} }} }}\nlimits: {{ threads: {threads} }}\n"
        )
    };
    assert!(process(&limits(256)).is_ok());
    let told = process(&limits(257)).unwrap_err().to_string();
    assert!(told.contains("limits.threads") && told.contains("write a number from 1 to 256"), "{told}");
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

/// Who cannot answer is told of where it is named, and what it does not take too.
#[test]
fn a_fallback_that_cannot_answer_is_refused() {
    let told = |fallbacks: &str| {
        let text = format!(
            "providers: {{ one: {{ kind: openai }}, other: {{ kind: anthropic }} }}\nroutes: {{ r: {{ stable: {{ model: one/m, params: {{ seed: 7 }}, fallbacks: {fallbacks} }} }} }}\n"
        );
        process(&text).unwrap_err().to_string()
    };
    assert!(told("[onne]").contains("there is no provider `onne`"), "{}", told("[onne]"));
    assert!(told("[one/]").contains("the model is empty"), "{}", told("[one/]"));
    assert!(told("[one/x, one/x]").contains("it stands twice"), "{}", told("[one/x, one/x]"));
    let foreign = told("[other/claude]");
    assert!(foreign.contains("`seed` is no parameter that provider `other` is known to take"), "{foreign}");
}

/// Variables are bounded, and so is what a request can make of a prompt.
#[test]
fn more_variables_or_longer_ones_than_are_sent_are_refused() {
    let told = |text: &str, variables: &str| {
        let text = format!(
            "providers: {{ o: {{ kind: openai }} }}\nroutes: {{ r: {{ stable: {{ model: o/m, prompt: {{ text: \"You {text}\", variables: {{ {variables} }} }} }} }} }}\n"
        );
        process(&text).map(|_| String::new()).unwrap_or_else(|faults| faults.to_string())
    };
    let many = |n: usize, each: &dyn Fn(usize) -> String| (0..n).map(each).collect::<Vec<_>>().join(", ");
    let (place, variable) = (|i: usize| format!("{{{{v{i}}}}}"), |i: usize| format!("v{i}: x"));
    assert_eq!(told(&many(32, &place), &many(32, &variable)), "");
    assert!(told(&many(33, &place), &many(33, &variable)).contains("there are 33 variables, more than 32"));
    assert_eq!(told("{{a}}", &format!("a: {}", "x".repeat(4_096))), "");
    let long = told("{{a}}", &format!("a: {}", "x".repeat(4_097)));
    assert!(long.contains("prompt.variables.a") && long.contains("the default has 4097 bytes"), "{long}");
    assert_eq!(told(&"{{a}}".repeat(256), "a: x"), "");
    assert!(told(&"{{a}}".repeat(257), "a: x").contains("the prompt has 257 places, more than 256"));
}

/// A canary that keeps stable's places and declares nothing is told where, and how to mend it.
#[test]
fn a_canary_that_would_show_its_provider_the_braces_is_refused() {
    let stable = "{ text: \"Help {{company}}, {{tone}}.\", variables: { company: Acme, tone: calm } }";
    let site = format!(
        "providers: {{ openai: {{ kind: openai }} }}\nroutes: {{ support-agent: {{ stable: {{ model: openai/gpt-5-mini, prompt: {stable} }} }} }}\n"
    );
    let background = process(&site).unwrap().background();
    let told = |canary: &str| {
        let text = format!(
            "release: support-agent\ncanary:\n  {canary}\nstages: [{{ weight: 5%, bake: 1h }}]\nguardrails: [{{ metric: error_rate, margin: 0.5pp }}]\n"
        );
        let read = parse_release(&text, Path::new("etc/support.yaml"), &background, &made());
        read.map(|_| String::new()).unwrap_or_else(|faults| faults.to_string())
    };
    insta::assert_snapshot!(told("prompt: { text: \"Be brief.\\n\\nHelp {{ tone }} {{company}}.\" }"));
    insta::assert_snapshot!(told("prompt: prompts/template.md"));
    let file = told("prompt: { file: prompts/template.md }");
    assert!(file.contains("canary.prompt.file\n  line 1 of the prompt has a place for `company`"), "{file}");
    let other = told("prompt: { text: \"Help {{company}}, {{tone}}.\", variables: { company: Globex } }");
    assert!(other.contains("has a place for `tone`, and no variable of that name is declared"), "{other}");
    for fine in [
        "params: { temperature: 0.2 }",
        "prompt: null",
        "prompt_mode: append",
        "prompt: { text: \"Help {{others}} and {company}.\" }",
        "prompt: { text: \"Help {{company}}.\", variables: { company: \"{{company}}\" } }",
    ] {
        assert_eq!(told(fine), "", "{fine}");
    }
}

/// What a provider does not take is told before a customer can find out.
#[test]
fn a_parameter_that_a_provider_does_not_take_is_refused() {
    let file = |kind: &str, more: &str, params: &str| {
        process(&format!(
            "providers: {{ p: {{ kind: {kind}{more} }} }}\nroutes: {{ r: {{ stable: {{ model: p/m, params: {params} }} }} }}\n"
        ))
    };
    let told = |kind, more, params| file(kind, more, params).unwrap_err().to_string();
    let misspelt = told("openai", "", "{ temprature: 0.2, max_completion_tokens: 9 }");
    assert!(misspelt.contains("`temprature` is no parameter that provider `p` is known to take"), "{misspelt}");
    assert!(misspelt.contains("temperature") && misspelt.contains("providers.p.extra_params"), "{misspelt}");
    assert!(!misspelt.contains("`max_completion_tokens`"), "{misspelt}");
    for (kind, params) in [("openai", "{ top_k: 5 }"), ("openai", "{ thinking: {} }"), ("anthropic", "{ seed: 7 }")] {
        assert!(told(kind, "", params).contains("is no parameter that provider"), "{kind} {params}");
    }
    for (kind, more, params) in [
        ("openai", "", "{ seed: 7, reasoning_effort: low }"),
        ("openai", "", "{ dimensions: 256 }"),
        ("openai", "", "{ max_output_tokens: 9 }"),
        ("openai", ", extra_params: [top_k]", "{ top_k: 5 }"),
        ("openai", ", base_url: \"http://vllm:8000/v1\"", "{ top_k: 5, min_p: 0.1 }"),
        ("anthropic", "", "{ top_k: 5, thinking: { type: enabled, budget_tokens: 2000 } }"),
    ] {
        assert!(file(kind, more, params).is_ok(), "{kind} {params}");
    }
}

/// A canary with another provider inherits what that one does not take.
#[test]
fn a_parameter_that_a_canary_inherits_is_told_too() {
    let yaml = "providers: { o: { kind: openai }, c: { kind: anthropic } }\nroutes: { r: { stable: { model: o/m, params: { seed: 7 } } } }\n";
    let background = process(yaml).unwrap().background();
    let read = |canary: &str| {
        let file = staged("{ weight: 5%, bake: 24h }")
            .replace("support-agent", "r")
            .replace("{ model: openai/gpt-5-mini }", canary);
        super::parse_release(&file, Path::new("etc/r.yaml"), &background, &super::made())
    };
    let told = read("{ model: c/claude }").unwrap_err().to_string();
    assert!(told.contains("comes from the stable version") && told.contains("params: { seed: null }"), "{told}");
    assert!(read("{ model: c/claude, params: { seed: null } }").is_ok());
}
