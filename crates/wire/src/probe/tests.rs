//! Probes as they are written and judged, dialect by dialect.

use super::*;

fn answer(text: &str) -> Answer {
    Answer { text: text.to_owned(), finish_reason: Some("stop".to_owned()), ..Answer::default() }
}

fn holds(check: Check, answer: &Answer) -> bool {
    let asserted = Probe { messages: Vec::new(), assertions: vec![Assertion::that(check.clone())], threshold: None };
    let denied = Assertion { sense: Sense::HoldsNot, ..Assertion::that(check) };
    let denied = Probe { assertions: vec![denied], ..asserted.clone() };
    let around = Around { latency_ms: 900.0, cost_usd: Some(0.002), tools: None };
    let judged = asserted.judge(answer, around, &Rulings::new());
    let denied = denied.judge(answer, around, &Rulings::new());
    assert_ne!(judged.verdict, denied.verdict, "not- turns it around");
    assert_eq!(judged.verdict == Verdict::Passed, judged.faults.is_empty());
    judged.verdict == Verdict::Passed
}

fn contains(values: &[&str], quota: Quota, case: Case) -> Check {
    Check::Contains { values: values.iter().map(|v| (*v).to_owned()).collect(), quota, case }
}

fn text(value: &str) -> String {
    value.to_owned()
}

#[test]
fn texts_are_compared() {
    let refund = answer("You have 30 Days to return shoes.\n");
    for (check, expected) in [
        (Check::Equals { value: text("You have 30 Days to return shoes.") }, true),
        (Check::Equals { value: text("you have 30 Days to return shoes.") }, false),
        (contains(&["30 Days"], Quota::All, Case::Counts), true),
        (contains(&["30 days"], Quota::All, Case::Counts), false),
        (contains(&["30 days", "SHOES"], Quota::All, Case::Ignored), true),
        (contains(&["thirty days", "30 days"], Quota::Any, Case::Ignored), true),
        (contains(&["thirty days", "fourteen"], Quota::Any, Case::Ignored), false),
        (Check::StartsWith { value: text("You have") }, true),
        (Check::StartsWith { value: text("have") }, false),
        (Check::Regex { pattern: text(r"\b30\s+[Dd]ays\b") }, true),
        (Check::Regex { pattern: text(r"(?=a)") }, false),
        (Check::Levenshtein { value: text("You have 30 days to return shoes."), threshold: 2 }, true),
        (Check::Levenshtein { value: text("You have 30 days to return shoes."), threshold: 1 }, false),
        (Check::WordCount { min: Some(7), max: Some(7) }, true),
        (Check::WordCount { min: None, max: Some(6) }, false),
        (Check::FinishReason { value: text("stop") }, true),
        (Check::FinishReason { value: text("length") }, false),
        (Check::Latency { threshold_ms: 900.0 }, true),
        (Check::Latency { threshold_ms: 899.0 }, false),
        (Check::Cost { threshold_usd: 0.002 }, true),
        (Check::Cost { threshold_usd: 0.001 }, false),
        (Check::IsRefusal, false),
    ] {
        assert_eq!(holds(check.clone(), &refund), expected, "{check:?}");
    }
    assert!(holds(Check::IsRefusal, &Answer { refuses: true, ..Answer::default() }));
}

#[test]
fn an_empty_answer_refuses_and_an_unknown_cost_says_nothing() {
    assert!(holds(Check::IsRefusal, &answer(" \n")));
    assert!(holds(Check::FinishReason { value: text("STOP") }, &answer("a")));
    let cost = |sense| {
        let cost = Assertion { sense, ..Assertion::that(Check::Cost { threshold_usd: 1.0 }) };
        let rubric =
            Appeal::Graded { grading: Grading::Rubric, criteria: vec![text("kind")], threshold: None, by: None };
        let assertions = vec![cost, Assertion::that(Check::Appeal(rubric))];
        Probe { messages: Vec::new(), assertions, threshold: None }
    };
    for sense in [Sense::Holds, Sense::HoldsNot] {
        let judged = cost(sense).judge(&answer("a"), Around::default(), &Rulings::new());
        assert_eq!(judged.verdict, Verdict::Unknown);
        assert!(judged.faults[0].starts_with("cost: the cost is not known"), "{:?}", judged.faults);
        assert!(cost(sense).appeals(&answer("a"), Around::default()).is_empty(), "nobody is asked in vain");
    }
    let one_of_two = Probe { threshold: Some(0.5), ..cost(Sense::Holds) };
    assert_eq!(one_of_two.appeals(&answer("a"), Around::default()).len(), 1, "one is enough, and that one may hold");
}

#[test]
fn an_answer_of_calls_alone_is_read_as_their_json() {
    let calls = vec![Call { name: text("get_order"), arguments: text(r#"{"id":8812}"#) }];
    let called = Answer { calls, ..Answer::default() };
    assert!(holds(Check::IsJson { schema: Some(json!({ "type": "array" })) }, &called));
    assert!(holds(contains(&["get_order"], Quota::All, Case::Counts), &called));
    assert!(!holds(Check::IsRefusal, &called));
    let spoken = Answer { text: text("I look."), ..called };
    assert!(!holds(Check::IsJson { schema: None }, &spoken));
}

#[test]
fn json_is_compared_as_json() {
    let schema = || Some(json!({ "type": "object", "required": ["total"] }));
    let bare = answer(r#" {"total": 12, "items": [{"price": "1,299.50"}]} "#);
    let wrapped = answer("Sure: {} and then\n```json\n{\"total\": 12}\n```");
    let is = |schema| Check::IsJson { schema };
    let has = |schema| Check::ContainsJson { schema };
    assert!(holds(is(None), &bare) && holds(is(schema()), &bare) && holds(has(schema()), &bare));
    assert!(!holds(is(None), &wrapped) && holds(has(schema()), &wrapped));
    assert!(!holds(has(Some(json!({ "type": "array" }))), &wrapped));
    assert!(!holds(has(None), &answer("no { json [ here")));
    assert!(holds(Check::EqualsJson { value: json!({ "total": 12.0 }) }, &answer("{\"total\":12}")));
    let numeric = |path: Option<&str>, expected, abs, rel| Check::Numeric { path: path.map(text), expected, abs, rel };
    assert!(holds(numeric(Some("total"), 12.4, 0.5, 0.0), &bare));
    assert!(holds(numeric(Some("items[0].price"), 1300.0, 0.0, 0.01), &bare));
    assert!(!holds(numeric(Some("items[1].price"), 1300.0, 0.0, 0.01), &bare));
    assert!(holds(numeric(None, -3.5, 0.0, 0.0), &answer("It is -3.5 °C, not 1,200.")));
    assert!(holds(numeric(None, 1200.0, 0.0, 0.0), &answer("It is -3.5 °C, not 1,200.")));
    assert!(!holds(numeric(None, 200.0, 0.0, 0.0), &answer("It is -3.5 °C, not 1,200.")));
}

#[test]
fn tool_calls_are_compared() {
    let call = |name: &str, arguments: &str| Call { name: text(name), arguments: text(arguments) };
    let calls = vec![call("find", "{\"q\":\"x\"}"), call("get_order", r#"{"id":"8812","full":true}"#)];
    let called = Answer { calls, ..Answer::default() };
    let args = |args, mode| Check::ToolArgsMatch { name: text("get_order"), args, mode };
    assert!(holds(args(json!({ "id": "8812" }), ArgsMode::Partial), &called));
    assert!(!holds(args(json!({ "id": "8812" }), ArgsMode::Exact), &called));
    assert!(holds(args(json!({ "full": true, "id": "8812" }), ArgsMode::Exact), &called));
    assert!(!holds(args(json!({ "id": 8812 }), ArgsMode::Partial), &called));
    let steps = |names: &[&str], mode| Check::ToolSequence { steps: names.iter().map(|n| text(n)).collect(), mode };
    assert!(holds(steps(&["get_order"], SequenceMode::InOrder), &called));
    assert!(!holds(steps(&["get_order", "find"], SequenceMode::InOrder), &called));
    assert!(!holds(steps(&["get_order"], SequenceMode::Exact), &called));
    assert!(holds(steps(&["find", "get_order"], SequenceMode::Exact), &called));
    assert!(holds(Check::ToolUsed { name: text("find"), min: 1, max: Some(1) }, &called));
    assert!(!holds(Check::ToolUsed { name: text("find"), min: 2, max: None }, &called));

    let tools = r#"[{"type":"function","function":{"name":"find","parameters":{"type":"object"}}},
        {"type":"function","function":{"name":"get_order","parameters":{"type":"object","required":["id"]}}}]"#;
    let probe =
        Probe { messages: Vec::new(), assertions: vec![Assertion::that(Check::IsValidToolsCall)], threshold: None };
    let judge = |answer: &Answer, tools| {
        probe.judge(answer, Around { tools, ..Around::default() }, &Rulings::new()).verdict == Verdict::Passed
    };
    assert!(judge(&called, Some(tools)));
    assert!(!judge(&called, None) && !judge(&Answer::default(), Some(tools)));
    assert!(!judge(&called, Some(r#"[{"type":"function","function":{"name":"find"}}]"#)));
}

#[test]
fn weights_and_a_threshold_let_an_answer_pass_in_part() {
    let of =
        |value: &str, weight| Assertion { weight, ..Assertion::that(contains(&[value], Quota::All, Case::Counts)) };
    let judge = |assertions, threshold| {
        let probe = Probe { messages: Vec::new(), assertions, threshold };
        probe.judge(&answer("a"), Around::default(), &Rulings::new()).verdict == Verdict::Passed
    };
    assert!(judge(vec![of("a", 3.0), of("b", 1.0)], Some(0.75)));
    assert!(!judge(vec![of("a", 3.0), of("b", 1.0)], Some(0.8)));
    assert!(!judge(vec![of("a", 3.0), of("b", 1.0)], None));
    assert!(judge(vec![of("a", 1.0), of("b", 0.0)], None), "at weight 0 it decides nothing");
}

#[test]
fn an_answer_is_read_whole_and_its_words_are_never_repeated() {
    let body = br#"{"choices":[{"finish_reason":"tool_calls","message":{"content":[{"type":"text","text":"Let me "},
        {"type":"text","text":"look."}],"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}"#;
    let read = Answer::read(body).unwrap();
    assert_eq!((read.text.as_str(), read.calls.len()), ("Let me look.", 1));
    assert_eq!(read.finish_reason.as_deref(), Some("tool_calls"));
    for body in [&b"<html>"[..], b"{}", br#"{"choices":[]}"#, br#"{"error":{"message":"x"}}"#] {
        assert_eq!(Answer::read(body), None);
    }
    let secret = answer("the secret 4711");
    for check in [
        contains(&["x"], Quota::All, Case::Ignored),
        Check::Equals { value: text("x") },
        Check::Levenshtein { value: text("x"), threshold: 1 },
        Check::Numeric { path: None, expected: 3.0, abs: 0.0, rel: 0.0 },
        Check::IsJson { schema: None },
    ] {
        let probe = Probe { messages: Vec::new(), assertions: vec![Assertion::that(check)], threshold: None };
        let faults = probe.judge(&secret, Around::default(), &Rulings::new()).faults.join(" ");
        assert!(!faults.contains("secret") && !faults.contains("4711"), "{faults}");
    }
}

#[test]
fn a_probe_is_kept_and_asked() {
    let message = Message { role: text("user"), content: text("2 + 2?") };
    let assertions = vec![Assertion::that(Check::IsRefusal), Assertion::that(Check::Regex { pattern: text("4") })];
    let probe = Probe { messages: vec![message], assertions, threshold: Some(0.5) };
    let kept = serde_json::to_string(&probe).unwrap();
    assert_eq!(serde_json::from_str::<Probe>(&kept).unwrap(), probe);
    insta::assert_snapshot!(probe.request("support"), @r#"{"messages":[{"content":"2 + 2?","role":"user"}],"model":"support"}"#);
    assert!(Check::Regex { pattern: text("(?<!a)b") }.check().is_err());
    assert!(Check::IsJson { schema: Some(json!({ "type": "strin" })) }.check().is_err());
}

#[test]
fn a_question_and_its_answer_go_through_the_other_dialect() {
    let messages = [("system", "Be brief."), ("user", "Where is it?")]
        .map(|(role, content)| Message { role: text(role), content: text(content) });
    let probe = Probe { messages: messages.into(), assertions: Vec::new(), threshold: None };
    let asked: Value = serde_json::from_slice(&in_messages(probe.request("support").as_bytes()).unwrap()).unwrap();
    assert_eq!(asked["system"], "Be brief.");
    assert_eq!(asked["messages"], json!([{ "role": "user", "content": "Where is it?" }]));
    assert!(asked["max_tokens"].is_number());
    let body = br#"{"type":"message","stop_reason":"tool_use","content":[{"type":"text","text":"Looking."},
        {"type":"tool_use","id":"t","name":"get_order","input":{"id":"8812"}}]}"#;
    let read = Answer::read(body).unwrap();
    assert_eq!((read.text.as_str(), read.finish_reason.as_deref()), ("Looking.", Some("tool_calls")));
    assert_eq!(read.calls, [Call { name: text("get_order"), arguments: text(r#"{"id":"8812"}"#) }]);
}

#[test]
fn overlap_and_steps_are_held_against_a_bound() {
    let said = answer("The refund is paid within 30 days.");
    let rouge = |threshold| Check::RougeN { value: text("paid within 30 days"), threshold };
    assert!(holds(rouge(1.0), &said) && !holds(rouge(1.0), &answer("paid in 30 days")));
    let bleu =
        |threshold| Check::Bleu { values: vec![text("no"), text("the refund is paid within 30 days")], threshold };
    assert!(holds(bleu(0.99), &said) && !holds(bleu(0.5), &answer("Ask somebody else, please.")));
    let calls = ["find_order", "find_user", "refund"].map(|name| Call { name: text(name), arguments: text("{}") });
    let called = Answer { calls: calls.into(), ..Answer::default() };
    let steps = |pattern: Option<&str>, min, max| Check::StepCount { pattern: pattern.map(text), min, max };
    assert!(holds(steps(None, Some(3), Some(3)), &called) && !holds(steps(None, None, Some(2)), &called));
    assert!(holds(steps(Some("find_*"), Some(2), Some(2)), &called));
    assert!(
        holds(steps(Some("re?un*d"), Some(1), None), &called) && !holds(steps(Some("re?n*"), Some(1), None), &called)
    );
}

/// Of a judge, and of `a`, which the text itself decides.
#[test]
fn what_nobody_could_say_is_unknown_only_where_it_decides() {
    let graded = Appeal::Graded { grading: Grading::Rubric, criteria: vec![text("kind")], threshold: None, by: None };
    let of = |sense, threshold, own: &str| Probe {
        messages: Vec::new(),
        assertions: vec![
            Assertion { sense, ..Assertion::that(Check::Appeal(graded.clone())) },
            Assertion::that(contains(&[own], Quota::All, Case::Counts)),
        ],
        threshold,
    };
    let judged = |probe: &Probe, ruling: Option<Ruling>| {
        let rulings = ruling.map(|ruling| (0, ruling)).into_iter().collect();
        probe.judge(&answer("a"), Around::default(), &rulings).verdict
    };
    let unknown = || Some(Ruling::Unknown(text("status 503")));
    let whole = of(Sense::Holds, None, "a");
    assert_eq!(judged(&whole, Some(Ruling::Holds)), Verdict::Passed);
    assert_eq!(judged(&whole, Some(Ruling::HoldsNot(text("no")))), Verdict::Failed);
    assert_eq!([judged(&whole, unknown()), judged(&whole, None)], [Verdict::Unknown; 2]);
    assert_eq!(judged(&of(Sense::HoldsNot, None, "a"), unknown()), Verdict::Unknown, "not- of the unknown is unknown");
    assert_eq!(judged(&of(Sense::HoldsNot, None, "a"), Some(Ruling::HoldsNot(text("no")))), Verdict::Passed);
    // What its own text decides, nobody is asked about.
    let asked = |probe: &Probe| probe.appeals(&answer("a"), Around::default()).len();
    assert_eq!([asked(&whole), asked(&of(Sense::Holds, None, "b"))], [1, 0]);
    assert_eq!(judged(&of(Sense::Holds, None, "b"), unknown()), Verdict::Failed);
    assert_eq!([asked(&of(Sense::Holds, Some(0.5), "a")), asked(&of(Sense::Holds, Some(0.5), "b"))], [0, 1]);
    assert_eq!(judged(&of(Sense::Holds, Some(0.5), "a"), unknown()), Verdict::Passed);
    assert_eq!(judged(&of(Sense::Holds, Some(0.5), "b"), unknown()), Verdict::Unknown);
    let kept = serde_json::to_string(&whole).unwrap();
    assert_eq!(serde_json::from_str::<Probe>(&kept).unwrap(), whole);
}
