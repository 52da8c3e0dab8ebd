//! What the detectors say, whole and streamed, however the stream is cut.

use crate::openai::{ChatRequest, Detect, Detected, EarlierCalls, Expect, Observer, Past, ResponseFormat};
use crate::outcome::{FirstWords, SchemaChecker, Spoken};
use serde_json::{Value, json};
use std::sync::Arc;

const NOTHING: Detected =
    Detected { fenced: false, repeated_call: false, repetition: false, other_language: None, chars: 0 };

fn observe(expect: Expect, body: &[u8], size: usize) -> Option<(Detected, Option<FirstWords>)> {
    let mut observer = Observer::new(expect);
    body.chunks(size.max(1)).for_each(|piece| {
        observer.feed(piece);
    });
    let seen = observer.finish();
    seen.detected.map(|detected| (detected, seen.opening))
}

/// What is on, with nothing to hold the answer against but earlier calls.
fn on(earlier: &EarlierCalls) -> Detect {
    Detect::On { earlier: earlier.clone(), asked_in: None }
}

/// The verdict on a message, the same in every form that it comes in.
fn verdict(message: &Value, format: ResponseFormat<'_>, detect: &Detect) -> Option<(Detected, Option<FirstWords>)> {
    let schema = SchemaChecker::compile(format).map(Arc::new);
    let expect = |stream| Expect { stream, schema: schema.clone(), detect: detect.clone(), ..Expect::default() };
    let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string();
    let verdict = observe(expect(false), whole.as_bytes(), usize::MAX);
    let mut delta = message.clone();
    for (index, call) in delta["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
        call["index"] = json!(index);
    }
    let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]});
    let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    for size in [1, 2, 3, 7, stream.len()] {
        assert_eq!(observe(expect(true), stream.as_bytes(), size), verdict, "{message} by {size}");
    }
    for cut in 0..stream.len() {
        let mut observer = Observer::new(expect(true));
        let (one, other) = stream.as_bytes().split_at(cut);
        [one, other].into_iter().for_each(|piece| {
            observer.feed(piece);
        });
        let seen = observer.finish();
        assert_eq!(seen.detected.map(|detected| (detected, seen.opening)), verdict, "{message} cut at {cut}");
    }
    verdict
}

/// The same without length and opening.
fn detected(message: &Value, format: ResponseFormat<'_>, earlier: &EarlierCalls) -> Option<Detected> {
    verdict(message, format, &on(earlier)).map(|(detected, _)| Detected { chars: 0, ..detected })
}

fn call(arguments: &str) -> Value {
    json!({"id": "one", "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn json_in_a_fence_is_seen_where_json_was_asked_for() {
    let fenced = json!({"content": "Here you are:\n```json\n{\"a\": 1}\n```"});
    let none = EarlierCalls::default();
    let schema = br#"{"type":"object","required":["a"]}"#;
    for format in [ResponseFormat::JsonObject, ResponseFormat::JsonSchema(schema)] {
        assert_eq!(detected(&fenced, format, &none), Some(Detected { fenced: true, ..NOTHING }));
    }
    for other in ["{\"a\": \"```\\n{}```\"}", "no JSON at all", "```json\n[]\n```"] {
        assert_eq!(detected(&json!({"content": other}), ResponseFormat::JsonObject, &none), Some(NOTHING), "{other}");
    }
    assert_eq!(detected(&fenced, ResponseFormat::Text, &none), Some(NOTHING), "nobody asked for JSON");
}

#[test]
fn a_call_made_twice_is_seen_in_one_answer_and_over_several() {
    let none = EarlierCalls::default();
    let calls = |calls: &[Value]| json!({"content": null, "tool_calls": calls});
    let twice =
        calls(&[call(r#"{"a":1}"#), json!({"id": "two", "function": {"name": "f", "arguments": r#"{"a":1}"#}})]);
    let other =
        calls(&[call(r#"{"a":1}"#), json!({"id": "two", "function": {"name": "f", "arguments": r#"{"a":2}"#}})]);
    assert_eq!(detected(&twice, ResponseFormat::Text, &none), Some(Detected { repeated_call: true, ..NOTHING }));
    assert_eq!(detected(&other, ResponseFormat::Text, &none), Some(NOTHING));
    let before = json!({"model": "m", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call(r#"{"a": 2}"#)]},
        {"role": "tool", "tool_call_id": "one", "content": "nothing"}]})
    .to_string();
    let past = Past::read(&ChatRequest::read(before.as_bytes()).unwrap());
    assert_eq!(detected(&other, ResponseFormat::Text, &past.calls), Some(Detected { repeated_call: true, ..NOTHING }));
}

#[test]
fn a_text_that_goes_round_is_seen() {
    let said = |text: &str| detected(&json!({"content": text}), ResponseFormat::Text, &EarlierCalls::default());
    assert_eq!(said(&"I am sorry about that. ".repeat(9)), Some(Detected { repetition: true, ..NOTHING }));
    assert_eq!(said("I am sorry about that."), Some(NOTHING));
}

#[test]
fn language_length_and_opening_are_seen_however_it_is_cut() {
    let asked_in = Spoken::of("Wo ist meine Bestellung? Sie ist noch nicht bei mir, und ich warte auf das Paket.");
    let german =
        "Sie ist unterwegs und wird am Montag für Sie da sein; das ist nicht mehr weit, und ich bin bei Ihnen.";
    let english = "It is on the way and will be with you on Monday, and that is all that I can say of it for now. 🙂";
    for (text, differs, begins) in [(german, false, "sie ist unterwegs und wird"), (english, true, "it is on the way")]
    {
        let asked = Detect::On { earlier: EarlierCalls::default(), asked_in };
        let (found, opening) = verdict(&json!({"content": text}), ResponseFormat::Text, &asked).unwrap();
        let chars = text.chars().count() as u64;
        assert_eq!(found, Detected { other_language: Some(differs), chars, ..NOTHING });
        assert_eq!(opening.unwrap().words, begins);
    }
    let none = EarlierCalls::default();
    let calls = json!({"content": null, "tool_calls": [call("{}")]});
    let body = json!({"choices": [{"index": 0, "message": calls, "finish_reason": "tool_calls"}]}).to_string();
    let mut observer = Observer::new(Expect { detect: on(&none), ..Expect::default() });
    observer.feed(body.as_bytes());
    let asked = json!({"model": "m", "messages": [calls, {"role": "tool", "tool_call_id": "one", "content": "21"},
        {"role": "tool", "content": "of no call"}]})
    .to_string();
    let results = Past::read(&ChatRequest::read(asked.as_bytes()).unwrap()).results;
    assert_eq!(observer.finish().calls, results.iter().map(|result| result.call).collect::<Vec<_>>());
    assert_eq!(results.len(), 1);
    assert_eq!(verdict(&calls, ResponseFormat::Text, &on(&none)), Some((NOTHING, None)));
}

#[test]
fn nothing_is_said_where_nobody_looks_or_the_answer_broke_off() {
    let stream = br#"data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#;
    let on = Expect { stream: true, detect: on(&EarlierCalls::default()), ..Expect::default() };
    assert_eq!(observe(on, stream, 7), None);
    let body = br#"{"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;
    assert_eq!(observe(Expect::default(), body, 100), None);
}
