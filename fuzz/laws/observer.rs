//! An answer is seen the same however it is cut, its usage above all, and nothing that it holds brings the observer down.

use super::cut;
use coalmine_wire::conversation::{Chain, Key};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{
    ChatRequest, Detect, EarlierCalls, Ending, Expect, KeepText, Observer, ResponseFormat, Seen,
};
use coalmine_wire::outcome::{SchemaChecker, Spoken, ToolChecker};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// How an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// As events.
    Stream,
    /// As one body.
    Body,
}

/// What is known before the end: content has begun, all is said, it is done, and the response's id.
type Begun = (bool, bool, bool, Option<String>);

/// Of any bytes that come as an answer.
pub fn hold(dialect: Dialect, how: As, answer: &[u8], cuts: usize) {
    let contracts = &*CONTRACTS;
    let seen = cut::within(answer.len(), 256 << 10, 96, || contracts.observe(dialect, how, &[answer]).1);
    let (_, whole) = cut::everywhere(answer, cuts, |pieces| contracts.observe(dialect, how, pieces));
    assert_eq!(seen, whole, "the same twice");
    if how == As::Stream {
        let (_, spaced) = contracts.observe(dialect, how, &[&spaced(answer)]);
        assert_eq!(spaced, whole, "each event read whole");
    }
    assert!(whole.text_bytes <= answer.len() as u64 * 3, "text is made of nothing");
    if how == As::Body && dialect == Dialect::Chat && whole.ending == Ending::Whole {
        counted(answer, &whole);
    }
}

/// The same stream with one space or two before all data, in turn, so that no event begins like the one before.
fn spaced(answer: &[u8]) -> Vec<u8> {
    let lines = answer.split_inclusive(|byte| matches!(byte, b'\n' | b'\r'));
    let mut out = Vec::with_capacity(answer.len() * 2);
    let mut spaces = [&b" "[..], b"  "].into_iter().cycle();
    for line in lines {
        match line.strip_prefix(b"data:") {
            Some(data) if !data.trim_ascii().is_empty() => {
                out.extend_from_slice(b"data:");
                out.extend_from_slice(spaces.next().unwrap_or_default());
                out.extend_from_slice(data);
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

/// What a tree says of usage, the observer says.
fn counted(answer: &[u8], seen: &Seen) {
    let Ok(tree) = serde_json::from_slice::<Value>(answer) else { return };
    let told = |name: &str| tree["usage"][name].as_u64();
    let (input, output) = (told("prompt_tokens"), told("completion_tokens"));
    let usage = seen.usage.unwrap_or_default();
    assert!(input.is_none_or(|input| usage.input_tokens == Some(input)), "{usage:?}");
    assert!(output.is_none_or(|output| usage.output_tokens == Some(output)), "{usage:?}");
}

static CONTRACTS: LazyLock<Contracts> = LazyLock::new(Contracts::compile);

/// What a request asked for, compiled once.
struct Contracts {
    tools: Arc<ToolChecker>,
    schema: Option<Arc<SchemaChecker>>,
}

impl Contracts {
    fn compile() -> Self {
        let tools = br#"[{"function":{"name":"get_weather","parameters":{"required":["city"]}}}]"#;
        Self {
            tools: Arc::new(ToolChecker::compile(tools)),
            schema: SchemaChecker::compile(ResponseFormat::JsonObject).map(Arc::new),
        }
    }

    fn observe(&self, dialect: Dialect, how: As, pieces: &[&[u8]]) -> (Begun, Seen) {
        let request = ChatRequest::read(br#"{"model":"m","messages":[]}"#).expect("a request");
        let asked_in = Spoken::of("What is this and what can you do for me?");
        let mut observer = Observer::new(Expect {
            dialect,
            stream: how == As::Stream,
            tools: Some(Arc::clone(&self.tools)),
            schema: self.schema.clone(),
            conversation: Some(Chain::new(&Key::new(&[0; 32]), b"").follow(&request).answering()),
            detect: Detect::On { earlier: EarlierCalls::default(), asked_in },
            text: KeepText::Yes,
        });
        for piece in pieces {
            observer.feed(piece);
        }
        let id = observer.response_id().map(str::to_owned);
        ((observer.content_begun(), observer.said_all(), observer.is_done(), id), observer.finish())
    }
}
