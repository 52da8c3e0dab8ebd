//! Whatever a provider sends, what is kept of it has a bound, and beyond the bound the verdict is that
//! nothing is known.

use super::*;
use crate::outcome::{SchemaChecker, ToolChecker, Validity};
use crate::sse::EVENT_MAX_BYTES;
use bytes::Bytes;
use std::sync::Arc;

fn chunk(delta: &str, finish: &str) -> Vec<u8> {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n").into_bytes()
}

fn observer() -> Observer {
    let tools = Some(Arc::new(ToolChecker::compile(br#"[{"function":{"name":"f"}}]"#)));
    let schema = SchemaChecker::compile(ResponseFormat::JsonObject).map(Arc::new);
    Observer::new(Expect { stream: true, tools, schema, ..Expect::default() })
}

#[test]
fn arguments_without_end_are_not_judged() {
    let mut observer = observer();
    observer.feed(&chunk(r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"["}}]}"#, "null"));
    let piece = format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{}"}}}}]}}"#, "1,".repeat(5000));
    for _ in 0..30 {
        observer.feed(&chunk(&piece, "null"));
    }
    observer.feed(&chunk("{}", "\"tool_calls\""));
    let seen = observer.finish();
    assert_eq!((seen.tools, seen.tool_calls, seen.ending), (Validity::Unknown, 1, Ending::Whole));
}

#[test]
fn a_text_without_end_is_counted_and_not_judged() {
    let mut observer = observer();
    let piece = format!(r#"{{"content":"{}"}}"#, "x".repeat(100_000));
    for _ in 0..12 {
        observer.feed(&chunk(&piece, "null"));
    }
    observer.feed(&chunk("{}", "\"stop\""));
    let seen = observer.finish();
    assert_eq!((seen.schema, seen.text_bytes), (Validity::Unknown, 1_200_000));
}

#[test]
fn an_event_that_was_not_seen_makes_the_verdict_unknown() {
    let mut observer = observer();
    observer.feed(&chunk(r#"{"content":"{}"}"#, "null"));
    observer.feed(&chunk(&format!(r#"{{"content":"{}"}}"#, "x".repeat(EVENT_MAX_BYTES)), "null"));
    observer.feed(&chunk("{}", "\"stop\""));
    let seen = observer.finish();
    assert_eq!((seen.schema, seen.overflowed_events, seen.ending), (Validity::Unknown, 1, Ending::Whole));
}

#[test]
fn choices_and_calls_beyond_what_can_be_asked_for_are_let_go() {
    let mut observer = observer();
    for index in [0, 127, 128, u64::MAX] {
        let choice = format!(
            "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
        );
        observer.feed(choice.as_bytes());
    }
    for index in 0..300 {
        let call = format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"name":"f","arguments":"{{}}"}}}}]}}"#);
        observer.feed(&chunk(&call, "null"));
    }
    let seen = observer.finish();
    assert_eq!((seen.finishes.len(), seen.tools), (128, Validity::Unknown));
    assert!(seen.tool_calls <= 256);
}

#[test]
fn a_body_that_is_too_long_is_unseen() {
    let mut observer = Observer::new(Expect::default());
    let piece = vec![b' '; BODY_MAX_BYTES / 4];
    for _ in 0..5 {
        observer.feed(&piece);
    }
    assert_eq!(observer.finish().ending, Ending::Unseen);
}

#[test]
fn what_passes_the_stripper_is_what_came() {
    let (a, b) = (chunk(r#"{"content":"a"}"#, "null"), chunk(r#"{"content":"b"}"#, "null"));
    let usage = b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n".to_vec();
    let whole = Bytes::from([&a[..], &b, &usage, &a, b"data: half"].concat());
    let mut passed = Vec::new();
    let mut stripper = UsageStripper::default();
    stripper.feed(whole.clone(), |bytes| passed.push(bytes));
    assert_eq!(passed, [[&a[..], &b].concat(), a.clone()], "whole events, and not the half one");
    assert_eq!(passed[0].as_ptr(), whole.as_ptr(), "slices, not copies");
    assert_eq!(stripper.dropped(), 1);
}

#[test]
fn an_event_that_is_too_long_to_hold_passes() {
    let long = format!("data: {{\"choices\":[],\"usage\":{{}},\"x\":\"{}\"}}\n\n", "x".repeat(HOLD_MAX_BYTES));
    for size in [100, 50_000, usize::MAX] {
        let mut passed = Vec::new();
        let mut stripper = UsageStripper::default();
        for piece in long.as_bytes().chunks(size.min(long.len())) {
            stripper.feed(Bytes::copy_from_slice(piece), |bytes| passed.extend_from_slice(&bytes));
        }
        assert_eq!(passed.len(), long.len(), "nothing is held at the end of an event");
    }
}

#[test]
fn an_error_is_not_taken_out() {
    let event = b"data: {\"choices\":[],\"usage\":{},\"error\":{\"message\":\"m\"}}\n\n";
    let mut passed = Vec::new();
    UsageStripper::default().feed(Bytes::from_static(event), |bytes| passed.extend_from_slice(&bytes));
    assert_eq!(passed, event);
}
