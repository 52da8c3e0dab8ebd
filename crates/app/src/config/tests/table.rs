//! The table of keys against those who live by it: the readers, the schemas, the shipped examples.

use super::good::{FULL, RELEASE, with_pairs};
use super::{Made, process, release};
use crate::config::key::{Kind, Scalar, Section};
use crate::config::read::asked;
use crate::config::scalar;
use crate::config::schema::schema;
use crate::config::table::{self, FILES};
use crate::config::tree::{self, Node, Value};
use crate::config::{Faults, ReleaseSpec, parse_process, parse_release};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;

/// Every section of a file, itself first.
fn sections(section: &'static Section) -> Vec<&'static Section> {
    fn below(kind: &'static Kind, found: &mut Vec<&'static Section>) {
        match kind {
            Kind::Section(section) => found.extend(sections(section)),
            Kind::List(of) | Kind::Map(_, of) => below(of, found),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| below(kind, found)),
            Kind::Scalar(_) | Kind::Null | Kind::Json => {}
        }
    }
    let mut found = vec![section];
    section.keys.iter().for_each(|key| below(&key.kind, &mut found));
    found
}

#[test]
fn every_key_that_is_accepted_is_read() {
    process(FULL).unwrap();
    release(RELEASE).unwrap();
    judged(RELEASE).unwrap();
    with_pairs("pairs", "{ judge: better, margin: 5pp, sample: 50%, role: signal, weight: 2 }", "error_rate").unwrap();
    for section in FILES.iter().flat_map(|(_, section, _)| sections(section)) {
        // A selector is read with its cohort; the others have one answer so far, which the check holds them to.
        let alone = [("coalmine.yaml", "pins"), ("releases/*.yaml", "unit"), ("on_undecided", "promote")];
        let apart = |key: &str| (section.name, key) == ("selector", "tag") || alone.contains(&(section.name, key));
        for key in section.keys.iter().filter(|key| key.is_built() && !apart(key.name)) {
            assert!(asked::is(section.name, key.name), "{} of {} is never read", key.name, section.name);
        }
    }
}

/// The release with a judge beside its guardrails.
fn judged(text: &str) -> Result<ReleaseSpec, Faults> {
    let sample = "{ control: 2%, canary: 40% }";
    let judge = format!("guardrails:\n  - {{ metric: judge.helpful, margin: 2pp, age: 1h, sample: {sample} }}\n");
    let text = text.replacen("guardrails:\n", &judge, 1);
    release(&format!("{text}\njudges: {{ helpful: judges/helpful.yaml }}\n"))
}

#[test]
fn a_judge_is_pinned_with_its_release() {
    let spec = judged(RELEASE).unwrap();
    let judge = spec.policy.judge("helpful").unwrap();
    assert_eq!(judge.anchors.as_ref().unwrap().set.len(), 2);
    let watched = spec.policy.judged().next().unwrap();
    assert_eq!((watched.1.control.bp(), watched.1.canary.bp()), (200, 4_000));
    let told = |more: &str| release(&RELEASE.replacen("guardrails:\n", &format!("guardrails:\n{more}\n"), 1));
    let none = told("  - { metric: judge.kind }").unwrap_err().to_string();
    assert!(none.contains("judges/kind.yaml"), "{none}");
    let all = told("  - { metric: empty_rate, sample: 5% }").unwrap_err().to_string();
    assert!(all.contains("sees every request"), "{all}");
}

#[test]
fn every_default_has_the_form_of_its_key() {
    for (_, section, _) in FILES {
        for listed in table::keys(section) {
            let crate::config::key::Need::Default(default) = listed.key.need else { continue };
            let words = default.trim_matches(['[', ']']).split(',').map(str::trim);
            let forms: Vec<Scalar> = match &listed.key.kind {
                Kind::Scalar(form) | Kind::List(Kind::Scalar(form)) => vec![*form],
                Kind::Either(kinds) => kinds
                    .iter()
                    .filter_map(|kind| if let Kind::Scalar(form) = kind { Some(*form) } else { None })
                    .collect(),
                Kind::Null | Kind::Section(_) | Kind::List(_) | Kind::Map(..) | Kind::Json => {
                    panic!("{}: only single values and lists of them have defaults", listed.path)
                }
            };
            for word in words {
                assert!(forms.iter().any(|form| form.check(word).is_ok()), "{}: `{word}`", listed.path);
            }
        }
    }
}

/// The tree as an editor's YAML reader sees it.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar { text, plain } if *plain => serde_json::from_str(text)
            .ok()
            .filter(|v: &Json| !v.is_object())
            .unwrap_or_else(|| Json::from(text.as_str())),
        Value::Scalar { text, .. } => Json::from(text.as_str()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
    }
}

fn fits_schema(text: &str, section: &Section) -> Result<(), String> {
    let schema: Json = serde_json::from_str(&schema(section)).unwrap();
    let node = tree::parse(text).0.unwrap();
    jsonschema::validate(&schema, &json(&node)).map_err(|error| format!("{error} at {}", error.instance_path()))
}

#[test]
fn the_schemas_accept_what_the_readers_accept_and_not_what_is_not_built() {
    let [(_, process, _), (_, release, _), ..] = FILES;
    assert_eq!(fits_schema(FULL, process), Ok(()));
    assert_eq!(fits_schema(RELEASE, release), Ok(()));
    let corpus = |name: &str| fs::read_to_string(root().join("crates/app/src/config/tests/corpus").join(name)).unwrap();
    assert!(fits_schema(&corpus("process-typos.yaml"), process).is_err());
    assert!(fits_schema(&corpus("process-not-built.yaml"), process).is_err());
    assert!(fits_schema(&corpus("release-not-built.yaml"), release).is_err());
    assert!(fits_schema(&RELEASE.replace("unit: session", "unit: request"), release).is_err());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

#[test]
fn the_shipped_examples_are_read() {
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let mut around = Made::default();
    for (at, line) in text("examples/coalmine.yaml").match_indices("${") {
        let name = &text("examples/coalmine.yaml")[at + line.len()..];
        let name = name.split('}').next().unwrap().to_owned();
        around.env.insert(name, "a-secret".to_owned());
    }
    let process = parse_process(&text("examples/coalmine.yaml"), Path::new("coalmine.yaml"), &around).unwrap();
    parse_release(&text("examples/release.yaml"), Path::new("release.yaml"), &process.background(), &around).unwrap();
}

#[test]
fn what_is_not_built_is_listed_with_its_mend() {
    let listed = table::not_built();
    assert!(listed.iter().all(|one| !one.mend.is_empty() && !one.doc.is_empty()));
    for key in ["unit: customer", "store: postgres://"] {
        assert!(listed.iter().any(|one| one.key == key), "{key}");
    }
    assert!(scalar::store("postgres://db").is_err());
}
