//! Answers as the provider sends them. That they are the same however they are cut is a law (`tests/laws.rs`).

use crate::conversation::{Chain, Key};
use crate::dialect::Dialect;
use crate::openai::{ChatRequest, Detect, EarlierCalls, Ending, Expect, Observer, Progress, Seen};
use crate::outcome::ToolChecker;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const TOOLS: &str = r#"[
  {"name":"get_weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}},
  {"type":"bash_20250124","name":"bash"}
]"#;

pub(super) fn golden(ending: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/anthropic/tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn observe(stream: bool, pieces: &[&[u8]]) -> Seen {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
    let request = ChatRequest::read_as(Dialect::Messages, body).unwrap();
    let mut observer = Observer::new(Expect {
        dialect: Dialect::Messages,
        stream,
        tools: Some(Arc::new(ToolChecker::compile(TOOLS.as_bytes()))),
        schema: None,
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
fn a_stream_is_seen() {
    for (name, stream) in golden("sse") {
        let seen = observe(true, &[&stream]);
        insta::assert_debug_snapshot!(format!("{name}-stream"), seen);
    }
}

#[test]
fn a_body_is_seen() {
    for (name, body) in golden("json") {
        let seen = observe(false, &[&body]);
        insta::assert_debug_snapshot!(format!("{name}-body"), seen);
    }
}

#[test]
fn an_answer_is_the_same_streamed_and_not() {
    let (streams, bodies) = (golden("sse"), golden("json"));
    for name in ["text", "tools", "thinking", "refusal"] {
        let mut streamed = observe(true, &[&streams[name]]);
        assert!(std::mem::take(&mut streamed.done), "{name}");
        let mut whole = observe(false, &[&bodies[name]]);
        // as it was written, which pieces and a body do differently
        (streamed.said_bytes, whole.said_bytes) = (0, 0);
        assert_eq!(streamed, whole, "{name}");
    }
}

#[test]
fn t15_a_stream_that_stops_before_its_reason_is_cut() {
    let stream = &golden("sse")["text"];
    let text = String::from_utf8(stream.clone()).unwrap();
    let end = text.find("event: message_delta").unwrap();
    assert_eq!(observe(true, &[&stream[..end]]).ending, Ending::Truncated);
    let stop = text.find("event: message_stop").unwrap();
    assert_eq!(observe(true, &[&stream[..stop]]).ending, Ending::Whole, "T20: the reason was given");
    assert_eq!(observe(true, &[b"data: {}\n\n"]).ending, Ending::Truncated);
    assert_eq!(observe(false, &[b"{\"a\":1}"]).ending, Ending::Unreadable);
}

#[test]
fn content_begins_with_what_a_person_sees() {
    let first = |name: &str| {
        let stream = &golden("sse")[name];
        let mut observer = Observer::new(Expect { dialect: Dialect::Messages, stream: true, ..Expect::default() });
        let mut lines = stream.split_inclusive(|byte| *byte == b'\n').filter(|line| line.starts_with(b"data"));
        lines
            .find(|line| observer.feed(&[*line, b"\n"].concat()) == Progress::Content)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .unwrap_or_default()
    };
    assert!(first("text").contains("text_delta"), "{}", first("text"));
    assert!(first("thinking").contains("thinking_delta"), "{}", first("thinking"));
    assert!(first("tools").contains("text_delta"), "{}", first("tools"));
    assert_eq!(first("overloaded"), "");
}
