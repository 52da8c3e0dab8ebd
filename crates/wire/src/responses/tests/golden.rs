//! Every golden answer, observed: one account of it. That it is the same however it is cut is a law (`tests/laws.rs`).

use crate::conversation::{Chain, Key};
use crate::dialect::Dialect;
use crate::openai::{ChatRequest, Detect, EarlierCalls, Ending, Expect, Finish, Observer, Progress, Seen};
use crate::outcome::{Refusal, ToolChecker, Validity};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const TOOLS: &str = r#"[
  {"type":"function","name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false},"strict":true},
  {"type":"custom","name":"shell"},
  {"type":"web_search"}
]"#;

fn golden(ending: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/responses/tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn observe(stream: bool, pieces: &[&[u8]]) -> Seen {
    let request = ChatRequest::read_as(Dialect::Responses, br#"{"model":"m","input":"Hi"}"#).unwrap();
    let mut observer = Observer::new(Expect {
        dialect: Dialect::Responses,
        stream,
        tools: Some(Arc::new(ToolChecker::compile(TOOLS.as_bytes()))),
        conversation: Some(Chain::new(&Key::new(&[7; 32]), b"scope").follow(&request).answering()),
        detect: Detect::On { earlier: EarlierCalls::default(), asked_in: None },
        ..Expect::default()
    });
    for piece in pieces {
        observer.feed(piece);
    }
    observer.finish()
}

#[test]
fn an_answer_is_seen() {
    for (ending, stream) in [("sse", true), ("json", false)] {
        for (name, answer) in golden(ending) {
            let seen = observe(stream, &[&answer]);
            insta::assert_debug_snapshot!(format!("{name}-{ending}"), seen);
        }
    }
}

#[test]
fn an_answer_is_the_same_streamed_and_not() {
    let (streams, bodies) = (golden("sse"), golden("json"));
    for name in ["text", "tools", "refusal", "reasoning", "incomplete", "call-at-once", "server-tool"] {
        let mut streamed = observe(true, &[&streams[name]]);
        assert!(std::mem::take(&mut streamed.done), "{name}");
        let mut whole = observe(false, &[&bodies[name]]);
        // as it was written, which pieces and a body do differently
        (streamed.said_bytes, whole.said_bytes) = (0, 0);
        assert_eq!(streamed, whole, "{name}");
    }
}

#[test]
fn what_answers_say_is_seen() {
    let streams = golden("sse");
    let of = |name: &str| observe(true, &[&streams[name]]);
    let text = of("text");
    assert_eq!((text.ending, &text.finishes[..], text.refusal), (Ending::Whole, &[Some(Finish::Stop)][..], None));
    assert_eq!(text.text_bytes, "Hello \"Ünï\" 🐤".len() as u64);
    let usage = text.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_tokens), (Some(20), Some(9), Some(4)));
    assert_eq!((text.response_id.as_deref(), text.model.as_deref()), (Some("resp_1"), Some("gpt-5-mini-2025-08-07")));
    let tools = of("tools");
    assert_eq!((tools.tool_calls, tools.tools, tools.finishes[0]), (2, Validity::Valid, Some(Finish::ToolCalls)));
    assert!(matches!(of("call-at-once").tools, Validity::Invalid(_)), "a number is no city");
    assert_eq!(of("server-tool").tools, Validity::Valid);
    assert_eq!(of("refusal").refusal, Some(Refusal::Flagged));
    assert_eq!(of("filtered").refusal, Some(Refusal::Filtered));
    assert_eq!(of("incomplete").finishes, [Some(Finish::Length)]);
    assert_eq!(of("reasoning").usage.unwrap().reasoning_tokens, Some(140));
    for name in ["failed", "error-event"] {
        assert_eq!(of(name).ending, Ending::Failed, "{name}");
        assert!(of(name).error.unwrap().code.is_some(), "{name}");
    }
    for name in ["truncated", "truncated-inside"] {
        assert_eq!(of(name).ending, Ending::Truncated, "{name}");
    }
    let at_once = of("no-deltas");
    assert_eq!((at_once.ending, at_once.tool_calls, at_once.empty), (Ending::Whole, 1, false));
    let queued = observe(false, &[&golden("json")["queued"]]);
    assert_eq!((queued.ending, queued.empty, queued.usage), (Ending::Whole, false, None));
}

/// An end that is too long to be looked at is no break.
#[test]
fn an_end_beyond_the_bound_is_unseen() {
    let start = &golden("sse")["truncated"];
    let end = format!("data: {{\"type\":\"response.completed\",\"x\":\"{}\"}}\n\n", "y".repeat(2 << 20));
    assert_eq!(observe(true, &[start, end.as_bytes()]).ending, Ending::Unseen);
}

#[test]
fn content_begins_with_what_a_person_sees() {
    let first = |name: &str| {
        let stream = String::from_utf8(golden("sse")[name].clone()).unwrap();
        let mut observer = Observer::new(Expect { dialect: Dialect::Responses, stream: true, ..Expect::default() });
        let mut events = stream.split_inclusive("\n\n");
        let event = events.find(|event| observer.feed(event.as_bytes()) == Progress::Content)?;
        event.strip_prefix("event: ")?.lines().next().map(str::to_owned)
    };
    assert_eq!(first("text").as_deref(), Some("response.output_text.delta"));
    assert_eq!(first("tools").as_deref(), Some("response.output_item.added"), "a tool's name");
    assert_eq!(first("refusal").as_deref(), Some("response.refusal.delta"));
    assert_eq!(first("reasoning").as_deref(), Some("response.reasoning_summary_text.delta"), "reasoning is shown");
    assert_eq!(first("filtered"), None);
}
