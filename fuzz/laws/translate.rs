//! A stream is translated the same however it is cut, into one that its own dialect can read; and a request that can be said
//! in the other dialect is a request there.

use super::cut;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::json;
use coalmine_wire::openai::{ChatRequest, Ending, Expect, Observer};
use coalmine_wire::sse::{Event, Splitter};
use coalmine_wire::translate::{BodyEnd, LimitName, Terms, Told, ToolsOf, Translator, request};

/// The dialect that is translated into.
pub fn other(from: Dialect) -> Dialect {
    if from == Dialect::Chat { Dialect::Messages } else { Dialect::Chat }
}

/// Of any bytes that come as a stream of the dialect `from`.
pub fn stream(from: Dialect, bytes: &[u8], cuts: usize) {
    for (told, end) in [(Told::Yes, BodyEnd::Whole), (Told::No, BodyEnd::Broken)] {
        cut::within(bytes.len(), 256 << 10, 512, || translated(from, told, end, &[bytes]));
        let whole = cut::everywhere(bytes, cuts, |pieces| translated(from, told, end, pieces));
        let mut observer = Observer::new(Expect { dialect: other(from), stream: true, ..Expect::default() });
        observer.feed(&whole);
        let seen = observer.finish();
        assert_ne!(seen.ending, Ending::Unreadable);
        each_event_is_json(&whole);
    }
}

fn translated(from: Dialect, told: Told, end: BodyEnd, pieces: &[&[u8]]) -> Vec<u8> {
    let mut translator = Translator::stream(from, 0, told);
    let mut out = Vec::new();
    for piece in pieces {
        translator.feed(piece, &mut out);
    }
    translator.finish(end, &mut out);
    out
}

/// Whatever came, what goes out has events that end, and each is JSON or the end itself.
fn each_event_is_json(written: &[u8]) {
    assert!(written.is_empty() || written.ends_with(b"\n\n"), "the last event has an end");
    let mut splitter = Splitter::default();
    splitter.feed(written, |event: Event<'_>| {
        let (_, data) = event.read();
        let is_whole = |data: &[u8]| data == b"[DONE]" || json::check(data).is_ok();
        assert!(data.as_deref().is_none_or(is_whole), "an event that is no JSON");
    });
}

/// Of any bytes that come as the body of an error.
pub fn error(from: Dialect, status: u16, bytes: &[u8], cuts: usize) {
    let written = cut::everywhere(bytes, cuts, |pieces| {
        let mut translator = Translator::error(from, status);
        let mut out = Vec::new();
        for piece in pieces {
            translator.feed(piece, &mut out);
        }
        translator.finish(BodyEnd::Whole, &mut out);
        out
    });
    assert!(json::check(&written).is_ok() && json::member(&written, "error").is_some());
}

/// Of any bytes that come as one body: an answer, or a request.
pub fn body(from: Dialect, text: &[u8]) {
    let written = cut::within(text.len(), 256 << 10, 256, || Translator::whole(from, text, 0));
    assert!(written.is_none_or(|written| json::check(&written).is_ok()));
    let Ok(asked) = ChatRequest::read_as(from, text) else { return };
    for limit in [LimitName::MaxTokens, LimitName::MaxCompletionTokens] {
        let Ok(written) = request(&asked, Terms { max_tokens: 1, limit }, ToolsOf::Client) else { continue };
        let written = written.whole();
        let there = ChatRequest::read_as(other(from), &written).expect("a request of the other dialect");
        assert_eq!((there.model, there.stream), (asked.model.clone(), asked.stream));
    }
}
