//! Suites of sentinels: what is read as promptfoo reads it, and what is refused by name.

use super::{Made, made};
use crate::config::fault::Complaint;
use crate::config::suite::{Purpose, Suite, parse_suite};
use coalmine_core::sentinel::Criticality;
use coalmine_core::time::SpanMs;
use coalmine_wire::probe::{Appeal, Check, Probe, Sense};
use insta::assert_snapshot;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) const SUPPORT: &str = include_str!("../golden/suite.yaml");

fn read_in(text: &str, around: &Made) -> Result<Suite, String> {
    parse_suite(text, Path::new("etc/sentinels/support.yaml"), around).map_err(|faults| faults.to_string())
}

fn read(text: &str) -> Result<Suite, String> {
    read_in(text, &made())
}

fn refused(tests: &str) -> String {
    read(&format!("prompts: ['{{{{q}}}}']\ntests:\n{tests}\n")).unwrap_err()
}

#[test]
fn a_suite_is_read_as_promptfoo_reads_it() {
    let suite = read(SUPPORT).unwrap();
    assert_eq!(suite.unused, ["providers"]);
    let names: Vec<&str> = suite.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["refund window", "order lookup calls the tool", "test 3"]);
    let refund = &suite.cases[0];
    assert_eq!((refund.canary.need, refund.canary.runs, refund.canary.critical), (2, 3, true));
    assert_eq!((refund.canary.every, refund.canary.flaky), (SpanMs::minutes(5), 0.05));
    assert_eq!(refund.probe.messages[0].content, "How many days do I have to return shoes?");
    assert_eq!(refund.probe.assertions[0].sense, Sense::HoldsNot);
    assert!(matches!(&refund.probe.assertions[1].check, Check::Contains { values, .. } if values[0] == "30 days"));
    assert_eq!(suite.cases[1].canary.every, SpanMs::hours(1));
    assert!(matches!(suite.cases[2].probe.assertions[1].check, Check::Numeric { expected: 37.5, .. }));

    let sentinels = suite.sentinels(Purpose::Sentinels);
    let criticality: Vec<Criticality> = sentinels.iter().map(|sentinel| sentinel.criticality).collect();
    assert_eq!(criticality, [Criticality::Critical, Criticality::Watched, Criticality::Critical]);
    assert_eq!(serde_json::from_str::<Probe>(&sentinels[0].probe.0).unwrap(), refund.probe);
    let gate = suite.sentinels(Purpose::Gate);
    assert_eq!((gate[0].name.as_str(), gate[0].criticality), ("gate: refund window", Criticality::Gate));
}

#[test]
fn prompts_come_from_text_files_and_chats() {
    let mut around = made();
    let chat = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"{{q}} \"now\""}]"#;
    around.files.insert("etc/sentinels/chat.json".into(), chat.to_owned());
    around.files.insert("etc/sentinels/two.txt".into(), "One: {{q}}\n---\nTwo: {{q}}\n".to_owned());
    around.files.insert("etc/sentinels/q.md".into(), "a \"quoted\" question".to_owned());
    let suite = "prompts: [file://chat.json, file://two.txt, { raw: '{{q}}', label: plain }]
tests: [{ description: t, vars: { q: file://q.md }, assert: [{ type: contains, value: x }] }]";
    let cases = read_in(suite, &around).unwrap().cases;
    let told: Vec<String> = cases
        .iter()
        .map(|case| {
            format!(
                "{}: {}",
                case.name,
                case.probe.messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join(" | ")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "t [prompt 1]: Be brief. | a \"quoted\" question \"now\"",
            "t [prompt 2]: One: a \"quoted\" question",
            "t [prompt 3]: Two: a \"quoted\" question",
            "t [plain]: a \"quoted\" question",
        ]
    );
}

#[test]
fn what_cannot_be_run_is_refused_by_name_with_its_place() {
    let told = refused(
        "  - vars: { q: a }
    assert:
      - { type: javascript, value: 'output.length < 5' }
      - { type: not-llm-rubric, value: is kind }
      - { type: 'similar:cosine', value: a, threshold: 0.8 }
      - { type: is-sql }
      - { type: icontain, value: a }
      - { type: regex, value: '(?<=a)b' }
      - { type: contains, value: a, transform: output.trim() }",
    );
    assert_snapshot!(told);
}

#[test]
fn what_would_be_ignored_is_refused() {
    for (tests, what) in [
        ("  - vars: { q: a }", "nothing is asserted"),
        ("  - { vars: { q: [a, b] }, assert: [{ type: is-json }] }", "a list of values"),
        ("  - { vars: {}, assert: [{ type: is-json }] }", "has no value in this test"),
        ("  - { vars: { q: a }, assert: [{ type: contains, value: '{{r}}' }] }", "`r` has no value"),
        ("  - { vars: { q: a }, assert: [{ type: contains, value: '' }] }", "has another form"),
        ("  - { vars: { q: a }, assert: [{ type: latency }] }", "latency has no `threshold`"),
        ("  - { vars: { q: a }, assert: [{ type: is-json }], options: { transform: x } }", "`transform` is a program"),
        (
            "  - { vars: { q: a }, assert: [{ type: is-json }], metadata: { canary: { retries: 3 } } }",
            "`retries` is not",
        ),
        ("  - { vars: { q: a }, assert: [{ type: is-json }], metadata: { canary: { runs: 0 } } }", "canary.runs"),
        (
            "  - { description: d, vars: { q: a }, assert: [{ type: is-json }] }\n  - { description: d, vars: { q: a }, assert: [{ type: is-json }] }",
            "two tests are called `d`",
        ),
    ] {
        let told = refused(tests);
        assert!(told.contains(what), "{tests}: {told}");
    }
    assert!(read("prompts: [file://ask.py]\ntests: []").unwrap_err().contains("ask.py"));
    assert!(read("prompts: ['{% if a %}']\ntests: [{ assert: [{ type: is-json }] }]").unwrap_err().contains("{%"));
    assert!(read("scenarios: []\nprompts: [a]\ntests: []").unwrap_err().contains("`scenarios` is not used"));
}

#[test]
fn what_would_change_which_answers_are_right_is_refused_by_its_name() {
    let mut around = made();
    for program in ["want.js", "ask.py"] {
        around.files.insert(format!("etc/sentinels/{program}").into(), "a program".to_owned());
    }
    let told = |head: &str, test: &str| {
        let suite = format!("{head}\ntests:\n  - {test}\n");
        read_in(&suite, &around).expect_err(&suite)
    };
    let plain = "prompts: ['{{q}}']";
    let json = "assert: [{ type: is-json }]";
    for (head, test, what) in [
        (plain, "{ vars: { q: a }, assert: [{ type: contains, value: 'file://want.js' }] }", "`want.js` is a program"),
        (
            plain,
            "{ vars: { q: a }, assert: [{ type: equals, value: 'file://ask.py:fn' }] }",
            "`ask.py:fn` is a program",
        ),
        (plain, "{ vars: { q: 'file://want.js' }, assert: [{ type: is-json }] }", "`want.js` is a program"),
        (plain, "{ vars: { q: 'file://all/*.txt' }, assert: [{ type: is-json }] }", "stands for several files"),
        (plain, "{ vars: { q: 'file://a.pdf' }, assert: [{ type: is-json }] }", "`a.pdf` is no plain text"),
        (plain, "{ vars: { q: a }, assert: [{ type: is-json, transform: 'output.x' }] }", "`transform` is a program"),
        (plain, "{ vars: { q: a }, assert: [{ type: is-json, provider: 'openai:x' }] }", "`provider` says who grades"),
        (plain, "{ vars: { q: a }, assert: [{ $ref: '#/x' }] }", "`$ref` is not followed"),
        (plain, "{ vars: { q: a }, threshold: 80, assert: [{ type: is-json }] }", "80 is not within 0 and 1"),
        (
            plain,
            "{ vars: { q: a }, options: { provider: x }, assert: [{ type: is-json }] }",
            "`provider` says who grades",
        ),
        (
            plain,
            "{ vars: { q: a }, assertScoringFunction: 'file://want.js', assert: [{ type: is-json }] }",
            "is a program",
        ),
        (plain, "file://more.yaml", "tests are not fetched from `file://more.yaml`"),
        ("prompts: ['exec: ./ask.sh']", "{ assert: [{ type: is-json }] }", "is run or kept elsewhere"),
        ("prompts: ['langfuse://support:3:chat']", "{ assert: [{ type: is-json }] }", "is run or kept elsewhere"),
        ("prompts: [ask.py]", "{ assert: [{ type: is-json }] }", "`ask.py` is a program"),
        ("prompts: [gone.txt]", "{ assert: [{ type: is-json }] }", "`gone.txt` cannot be read"),
        ("prompts: { a.txt: one }", "{ assert: [{ type: is-json }] }", "a mapping of files to labels"),
        (
            r#"prompts: ['[{"role": "user", "content": [{"type": "text", "text": "a"}]}]']"#,
            "{ assert: [{ type: is-json }] }",
            "more than a role and a text",
        ),
        (
            "prompts: [a]\nproviders: [{ id: x, transform: output.y }]",
            "{ assert: [{ type: is-json }] }",
            "providers[0].transform",
        ),
        (
            "prompts: [a]\nproviders: [{ 'openai:x': { transform: output.y } }]",
            "{ assert: [{ type: is-json }] }",
            "what `transform` makes of an answer",
        ),
    ] {
        let told = told(head, test);
        assert!(told.contains(what) && told.contains("mend: "), "{head} {test}: {told}");
    }
    let told =
        told("prompts: [a]\ndefaultTest: { assert: [{ type: javascript, value: x }] }", &format!("{{ {json} }}"));
    assert_eq!(told.matches("mend: ").count(), 1, "said once: {told}");
}

#[test]
fn what_only_names_a_runner_is_left_to_it_and_told() {
    let suite = "env: { KEY: x }
tracing: { enabled: true }
prompts: ['{{q}}']
tests: [{ vars: { q: a }, provider: 'openai:x', options: { runSerially: true }, assert: [{ type: is-json }] }]
derivedMetrics: []";
    let suite = read(suite).unwrap_or_else(|told| panic!("{told}"));
    assert_eq!(suite.unused, ["env", "tracing", "derivedMetrics", "provider of a test"]);
}

#[test]
fn values_are_read_as_promptfoo_reads_them() {
    let mut around = made();
    around.files.insert("etc/sentinels/q.txt".into(), "{{q}}\n".to_owned());
    around.files.insert("etc/sentinels/schema.yaml".into(), "type: object\nrequired: [a]\n".to_owned());
    let suite = "prompts: [q.txt]
tests:
  - vars: { q: a }
    assert:
      - { type: contains-any, value: '\"Paris, France\", Rome' }
      - { type: finish-reason, value: END_TURN }
      - { type: is-json, value: file://schema.yaml }
      - type: contains-json
        value: |
          type: object
          required: [a]
";
    let suite = read_in(suite, &around).unwrap_or_else(|told| panic!("{told}"));
    let checks: Vec<&Check> = suite.cases[0].probe.assertions.iter().map(|one| &one.check).collect();
    assert!(matches!(checks[0], Check::Contains { values, .. } if values == &["Paris, France", "Rome"]));
    assert!(matches!(checks[1], Check::FinishReason { value } if value == "stop"));
    for check in &checks[2..] {
        let (Check::IsJson { schema } | Check::ContainsJson { schema }) = check else { panic!("{check:?}") };
        assert_eq!(schema.as_ref().map(|schema| schema["required"][0].as_str()), Some(Some("a")));
    }
    assert_eq!(suite.cases[0].probe.messages[0].content, "a");
}

#[test]
fn whom_others_are_asked_by_stands_once_and_is_fixed_with_the_suite() {
    let suite = "prompts: ['{{q}}']
defaultTest:
  metadata: { canary: { judge: jury/m-1, embeddings: { model: jury/e-1, params: { dimensions: 64 } } } }
tests:
  - description: kind
    vars: { q: How long?, days: 30 days }
    assert:
      - { type: llm-rubric, value: 'It names {{days}}.' }
      - { type: factuality, value: 'It is {{days}}.' }
      - { type: not-model-graded-closedqa, value: It apologises. }
      - { type: g-eval, value: [It is short., It is kind.] }
      - { type: similar, value: ['{{days}}', a month], threshold: 0.8 }
      - { type: webhook, value: kindness }
      - { type: rouge-n, value: '{{days}}' }
      - { type: bleu, value: '{{days}}', threshold: 0.2 }
      - { type: 'trajectory:step-count', value: { type: tool, max: 0 } }
    metadata: { canary: { judge: { model: jury/m-2, params: {} } } }";
    let suite = read(suite).unwrap_or_else(|told| panic!("{told}"));
    let checks: Vec<&Check> = suite.cases[0].probe.assertions.iter().map(|one| &one.check).collect();
    assert_eq!(checks.len(), 9);
    let Check::Appeal(Appeal::Graded { criteria, threshold: None, by: Some(by), .. }) = checks[0] else {
        panic!("{:?}", checks[0])
    };
    assert_eq!((criteria[0].as_str(), by.model.as_str(), by.params.len()), ("It names 30 days.", "m-2", 0));
    assert!(matches!(checks[3], Check::Appeal(Appeal::Graded { threshold: Some(least), .. }) if *least == 0.7));
    let Check::Appeal(Appeal::Similar { values, by: Some(by), .. }) = checks[4] else { panic!("{:?}", checks[4]) };
    assert_eq!((values[0].as_str(), by.params["dimensions"].as_u64()), ("30 days", Some(64)));
    assert!(matches!(checks[5], Check::Appeal(Appeal::Webhook { vars, .. }) if vars["days"] == "30 days"));
    let (jury, hooks) = (["jury".into()].into(), ["kindness".to_owned()].into());
    assert!(suite.unknown_assessor(&jury, &hooks).is_none());
    let told = |complaint: Option<Complaint>| complaint.map(|complaint| complaint.what).unwrap_or_default();
    assert!(told(suite.unknown_assessor(&["openai".into()].into(), &hooks)).contains("no provider `jury`"));
    assert!(told(suite.unknown_assessor(&jury, &BTreeSet::new())).contains("no webhook `kindness`"));
}

#[test]
fn whom_to_ask_must_be_said_and_no_secret_stands_in_a_suite() {
    for (assertion, what) in [
        ("{ type: llm-rubric, value: kind }", "does not say which model is asked"),
        ("{ type: similar, value: kind }", "does not say which model is asked"),
        ("{ type: webhook, value: 'https://checks.example/kind?key=4711' }", "webhook has another form"),
        ("{ type: webhook, value: 'https://user:4711@checks.example/kind' }", "webhook has another form"),
        ("{ type: g-eval, value: [] }", "g-eval has another form"),
        ("{ type: similar, value: kind, threshold: 2 }", "2 is not within 0 and 1"),
        ("{ type: 'trajectory:step-count', value: { type: span, min: 1 } }", "step-count has another form"),
        ("{ type: step-count, value: { min: 1, of: x } }", "step-count has another form"),
    ] {
        let told = refused(&format!("  - {{ vars: {{ q: a }}, assert: [{assertion}] }}"));
        assert!(told.contains(what) && !told.contains("4711"), "{assertion}: {told}");
    }
}
