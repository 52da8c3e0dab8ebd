//! A stream is translated the same however it is cut, into one that its own dialect can read; and a request that can be said
//! in the other dialect is a request there.
#![no_main]

use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{ChatRequest, Ending, Expect, Observer};
use coalmine_wire::translate::{BodyEnd, LimitName, Terms, Told, Translator, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first byte says what it is, of which dialect, and how it is cut.
    let Some((how, text)) = input.split_first() else { return };
    let (from, to) = match how & 1 {
        0 => (Dialect::Chat, Dialect::Messages),
        _ => (Dialect::Messages, Dialect::Chat),
    };
    if how & 2 == 0 {
        let pieces: Vec<&[u8]> = text.chunks(usize::from(how >> 2).max(1)).collect();
        let whole = stream(from, &[text]);
        assert_eq!(stream(from, &pieces), whole);
        let mut observer = Observer::new(Expect { dialect: to, stream: true, ..Expect::default() });
        observer.feed(&whole);
        assert_ne!(observer.finish().ending, Ending::Unreadable);
        return;
    }
    let written = Translator::whole(from, text, 0);
    assert!(written.is_none_or(|written| coalmine_wire::json::check(&written).is_ok()));
    let Ok(asked) = ChatRequest::read_as(from, text) else { return };
    let terms = Terms { max_tokens: 1, limit: LimitName::MaxTokens };
    if let Ok(written) = request(&asked, terms) {
        let there = ChatRequest::read_as(to, &written).expect("a request of the other dialect");
        assert_eq!((there.model, there.stream), (asked.model, asked.stream));
    }
});

fn stream(from: Dialect, pieces: &[&[u8]]) -> Vec<u8> {
    let mut translator = Translator::stream(from, 0, Told::Yes);
    let mut out = Vec::new();
    for piece in pieces {
        translator.feed(piece, &mut out);
    }
    translator.finish(BodyEnd::Whole, &mut out);
    out
}
