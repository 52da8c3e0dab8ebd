//! Every golden answer, observed: one account of it. That it is the same however it is cut is a law (`tests/laws.rs`).

use super::*;
use crate::conversation::{Chain, Key};
use crate::outcome::ToolChecker;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const TOOLS: &str = r#"[
  {"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]}},"required":["city"],"additionalProperties":false}}},
  {"type":"function","function":{"name":"get_time","parameters":{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}}}
]"#;

fn golden(ending: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/openai/tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn expect(stream: bool, tools: &Arc<ToolChecker>) -> Expect {
    let request = ChatRequest::read(br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#).unwrap();
    let conversation = Chain::new(&Key::new(&[7; 32]), b"scope").follow(&request).answering();
    Expect {
        stream,
        tools: Some(Arc::clone(tools)),
        conversation: Some(conversation),
        detect: Detect::On { earlier: EarlierCalls::default(), asked_in: None },
        ..Expect::default()
    }
}

fn observe(expect: Expect, pieces: &[&[u8]]) -> Seen {
    let mut observer = Observer::new(expect);
    for piece in pieces {
        observer.feed(piece);
    }
    observer.finish()
}

fn strip(pieces: &[&[u8]]) -> Vec<u8> {
    let mut stripper = UsageStripper::default();
    let mut passed = Vec::new();
    for piece in pieces {
        stripper.feed(Bytes::copy_from_slice(piece), |bytes| passed.extend_from_slice(&bytes));
    }
    stripper.finish(|bytes| passed.extend_from_slice(&bytes));
    passed
}

#[test]
fn a_stream_is_seen() {
    let tools = Arc::new(ToolChecker::compile(TOOLS.as_bytes()));
    for (name, stream) in golden("sse") {
        let seen = observe(expect(true, &tools), &[&stream]);
        insta::assert_debug_snapshot!(format!("{name}-stream"), seen);
    }
}

#[test]
fn a_body_is_seen() {
    let tools = Arc::new(ToolChecker::compile(TOOLS.as_bytes()));
    for (name, body) in golden("json") {
        let seen = observe(expect(false, &tools), &[&body]);
        insta::assert_debug_snapshot!(format!("{name}-body"), seen);
    }
}

#[test]
fn an_answer_is_the_same_streamed_and_not() {
    let tools = Arc::new(ToolChecker::compile(TOOLS.as_bytes()));
    let (streams, bodies) = (golden("sse"), golden("json"));
    for name in ["text", "tools", "refusal", "empty"] {
        let mut streamed = observe(expect(true, &tools), &[&streams[name]]);
        assert!(std::mem::take(&mut streamed.done), "{name}");
        let mut whole = observe(expect(false, &tools), &[&bodies[name]]);
        // as it was written, which pieces and a body do differently
        (streamed.said_bytes, whole.said_bytes) = (0, 0);
        assert_eq!(streamed, whole, "{name}");
    }
}

#[test]
fn a_stream_loses_one_event_and_nothing_else() {
    for (name, stream) in golden("sse") {
        let stripped = strip(&[&stream]);
        let lost = stream.len() - stripped.len();
        // What is lost is one event, and the rest is untouched.
        let injected = ["text", "tools", "refusal", "empty", "cr-only", "reasoning", "lines", "usage-everywhere"];
        assert_eq!(lost > 0, injected.contains(&name.as_str()), "{name}");
        let kept = stream.iter().zip(&stripped).take_while(|(before, after)| before == after).count();
        let kept = kept.min(stripped.len());
        let gone =
            (0..=kept).rev().find(|at| stream[at + lost..] == stripped[*at..] && stream[..*at] == stripped[..*at]);
        assert!(gone.is_some(), "{name}: more than one stretch is gone");
    }
}

#[test]
fn content_begins_with_what_a_person_sees() {
    let first = |name: &str| {
        let stream = &golden("sse")[name];
        let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
        let mut events = stream.split_inclusive(|byte| *byte == b'\n').filter(|line| line.starts_with(b"data"));
        let at = events.position(|line| observer.feed(&[line, b"\n"].concat()) == Progress::Content);
        assert_eq!(observer.content_begun(), at.is_some());
        at
    };
    assert_eq!(first("text"), Some(1), "behind the role");
    assert_eq!(first("tools"), Some(1), "a tool's name");
    assert_eq!(first("refusal"), Some(1));
    assert_eq!(first("reasoning"), Some(0), "reasoning is shown");
    assert_eq!(first("azure-filtered"), Some(2));
    assert_eq!(first("empty"), None);
}
