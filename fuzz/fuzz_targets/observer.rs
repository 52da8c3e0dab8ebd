//! An answer is seen the same however it is cut, and nothing that it holds brings the observer down.
#![no_main]

use coalmine_wire::conversation::Chain;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{ChatRequest, Detect, EarlierCalls, Expect, Observer, ResponseFormat, Seen};
use coalmine_wire::outcome::{SchemaChecker, Spoken, ToolChecker};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|input: &[u8]| {
    // The first byte says whether it is a stream and how it is cut, the second of which dialect it is.
    let [how, dialect, answer @ ..] = input else { return };
    let stream = how & 1 == 0;
    let dialect = Dialect::ALL[usize::from(*dialect) % Dialect::ALL.len()];
    let pieces: Vec<&[u8]> = answer.chunks(usize::from(how >> 1).max(1)).collect();
    let whole = observe(dialect, stream, &[answer]);
    assert_eq!(observe(dialect, stream, &pieces), whole);
    assert!(whole.text_bytes <= answer.len() as u64 * 3, "text is made of nothing");
});

fn observe(dialect: Dialect, stream: bool, pieces: &[&[u8]]) -> Seen {
    let request = ChatRequest::read(br#"{"model":"m","messages":[]}"#).expect("a request");
    let tools = br#"[{"function":{"name":"get_weather","parameters":{"required":["city"]}}}]"#;
    let mut observer = Observer::new(Expect {
        dialect,
        stream,
        tools: Some(Arc::new(ToolChecker::compile(tools))),
        schema: SchemaChecker::compile(ResponseFormat::JsonObject).map(Arc::new),
        conversation: Some(Chain::new(&[0; 32], b"").follow(&request).answering()),
        detect: Detect::On { earlier: EarlierCalls::default(), asked_in: Spoken::of("What is this and what can you do for me?") },
        ..Expect::default()
    });
    for piece in pieces {
        observer.feed(piece);
    }
    observer.finish()
}
