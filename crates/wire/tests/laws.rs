//! The laws of the fuzz targets over every golden file, cut at every offset, and over every finding of a target.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "all of it is tests")]

#[path = "../../../fuzz/laws/mod.rs"]
#[expect(unreachable_pub, reason = "the laws are a library of the fuzz targets as well")]
mod laws;

use coalmine_wire::dialect::Dialect;
use coalmine_wire::websocket::{self, Frame, Sender};
use laws::observer::As;
use proptest::prelude::*;
use std::path::PathBuf;

/// Cut at every offset,
const EVERY: usize = usize::MAX;
/// or at some.
const SOME: usize = 8 * laws::cut::DRAWN;

/// The files of a folder of this crate, by their names' ending.
fn files(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    wanted.map(read).collect()
}

/// Golden answers of each dialect.
fn golden(ending: &str) -> Vec<(Dialect, String, Vec<u8>)> {
    let of = [(Dialect::Chat, "openai"), (Dialect::Messages, "anthropic"), (Dialect::Responses, "responses")];
    let all: Vec<_> = of
        .into_iter()
        .flat_map(|(dialect, folder)| {
            let files = files(&format!("src/{folder}/tests/golden"), ending);
            files.into_iter().map(move |(name, bytes)| (dialect, name, bytes))
        })
        .collect();
    assert!(all.len() > 10, "the golden files are gone");
    all
}

/// Findings of a target, least inputs that once broke a law.
fn findings(target: &str) -> Vec<(String, Vec<u8>)> {
    files(&format!("../../fuzz/findings/{target}"), "bin")
}

#[test]
fn streams_are_cut_into_the_same_events_and_stripped_the_same() {
    for (_, name, stream) in golden("sse") {
        println!("{name}");
        laws::sse::hold(&stream, EVERY);
    }
}

/// As each dialect reads it, its own or not: a provider may answer with anything.
fn seen_the_same(dialect: Dialect) {
    for (ending, how) in [("sse", As::Stream), ("json", As::Body)] {
        for (own, name, answer) in golden(ending) {
            println!("{name}");
            laws::observer::hold(dialect, how, &answer, if own == dialect { EVERY } else { SOME });
        }
    }
}

#[test]
fn chat_completions_are_seen_the_same_however_they_are_cut() {
    seen_the_same(Dialect::Chat);
    seen_the_same(Dialect::Completions);
}

#[test]
fn messages_are_seen_the_same_however_they_are_cut() {
    seen_the_same(Dialect::Messages);
}

#[test]
fn responses_are_seen_the_same_however_they_are_cut() {
    seen_the_same(Dialect::Responses);
    seen_the_same(Dialect::Embeddings);
}

#[test]
fn embeddings_and_completions_are_seen_the_same_however_they_are_cut() {
    let embeddings = br#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0},{"embedding":"AA\u0041=","index":1}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let stream = b"data: {\"choices\":[{\"text\":\"a\",\"index\":0,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3}}\r\n\r\ndata: [DONE]\r\n\r\n";
    let body = br#"{"choices":[{"text":"a \"b\"","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    laws::observer::hold(Dialect::Embeddings, As::Body, embeddings, EVERY);
    laws::observer::hold(Dialect::Completions, As::Stream, stream, EVERY);
    laws::observer::hold(Dialect::Completions, As::Body, body, EVERY);
}

#[test]
fn what_is_translated_is_the_same_however_it_is_cut() {
    for (from, name, stream) in golden("sse").into_iter().filter(|(from, ..)| *from != Dialect::Responses) {
        println!("{name}");
        laws::translate::stream(from, &stream, EVERY);
    }
    for (from, name, body) in golden("json").into_iter().filter(|(from, ..)| *from != Dialect::Responses) {
        println!("{name}");
        laws::translate::body(from, &body);
        laws::translate::error(from, 500, &body, EVERY);
    }
}

#[test]
fn requests_are_patched_as_a_tree_would_be_and_half_a_request_is_none() {
    let requests = files("src/openai/tests/golden/requests", "json");
    assert!(requests.len() > 4, "the golden requests are gone");
    for (name, body) in requests.into_iter().chain(golden("json").into_iter().map(|(_, name, body)| (name, body))) {
        println!("{name}");
        laws::patch::json(&body);
        laws::patch::hold(&body, EVERY);
    }
}

#[test]
fn frames_are_read_the_same_however_they_are_cut() {
    for (from, mask) in [(Sender::Server, None), (Sender::Client, Some([9, 8, 7, 6]))] {
        let mut bytes = Vec::new();
        for (frame, payload) in [
            (Frame::Text, &b"{\"type\":\"response.create\"}"[..]),
            (Frame::Ping, b"?"),
            (Frame::Binary, &[0; 300]),
            (Frame::Binary, &[1; 1100]),
            (Frame::Pong, b""),
            (Frame::Close, &websocket::close(1000, "over")),
        ] {
            websocket::write(frame, payload, mask, &mut bytes);
        }
        laws::websocket::frames(from, &bytes, EVERY);
        // a message in pieces, a ping between them
        let pieces: &[u8] =
            if mask.is_none() { b"\x01\x03Hel\x89\x01?\x80\x02lo" } else { b"\x01\x81\x01\0\0\0a\x80\x80\0\0\0\0" };
        laws::websocket::frames(from, pieces, EVERY);
    }
}

#[test]
fn a_form_says_one_thing_to_every_reader_and_half_a_form_nothing() {
    let part = |head: &str, text: &str| format!("--x7\r\ncontent-disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let file = part("name=\"file\"; filename=\"a\\\\b.wav\"", "R\0IFF\r\n--x\r\n\n");
    for body in [
        format!("{}{file}--x7--", part("name=\"model\"", "whisper")),
        format!("{file}{}--x7--", part("name=model", "whisper")),
        format!("{file}--x7--"),
    ] {
        for content_type in ["multipart/form-data; boundary=x7", "multipart/form-data; charset=utf-8; boundary=\"x7\""]
        {
            laws::form::hold(content_type, body.as_bytes());
            laws::form::halves(content_type, body.as_bytes());
        }
    }
}

#[test]
fn what_model_servers_and_judges_say_is_read_within_range() {
    for (_, page) in files("src/golden", "prom") {
        for at in 0..=page.len() {
            laws::replies::exposition(&page[..at]);
        }
    }
    for (_, _, body) in golden("json") {
        laws::replies::body(&body);
        laws::replies::shown(&body);
    }
    laws::replies::verdict(r#"{"reason":"x","verdict":"pass"} {"score": 4}"#);
}

#[test]
fn what_is_said_over_a_websocket_is_read() {
    let update = br#"{"type":"session.update","event_id":"e","session":{ "type":"realtime","model":"r","instructions":"Help.","x":[1.50]}} "#;
    let done = br#"{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":1}}}"#;
    for at in 0..=update.len() {
        laws::websocket::event_of_a_client(&update[..at]);
    }
    for at in 0..=done.len() {
        laws::websocket::event_of_a_server(&done[..at]);
    }
    laws::websocket::protocols("realtime, openai-insecure-api-key.k,a,,\nopenai-project.x");
}

proptest! {
    /// Streams of few frames and few texts, so that many an event is like the one before.
    #[test]
    fn events_like_the_one_before_are_read_as_any_other(
        messages: bool,
        events in prop::collection::vec((0..FRAMES.len(), prop::sample::select(TEXTS.to_vec())), 0..16),
    ) {
        let event = |(frame, text): &(usize, &str)| format!("data: {}\n\n", FRAMES[*frame].replace('@', text));
        let stream: String = events.iter().map(event).collect();
        let dialect = if messages { Dialect::Messages } else { Dialect::Chat };
        laws::observer::hold(dialect, As::Stream, stream.as_bytes(), SOME);
    }

    /// Forms of the pieces that readers differ about.
    #[test]
    fn no_form_says_two_things(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24), end in prop::bool::weighted(0.8)) {
        let head = "--x7\r\ncontent-disposition: form-data";
        let body = [head, &pieces.concat(), if end { "\r\n--x7--" } else { "" }].concat();
        laws::form::hold("multipart/form-data; boundary=x7", body.as_bytes());
    }
}

const TEXTS: [&str; 12] = [
    "Hello",
    " world",
    "",
    "é",
    r"\n",
    r"\ud83d",
    r"\ude00",
    r#"\"}"#,
    "\\",
    "\"",
    r#"a"},"delta":{"content":"b"#,
    "hm hm hm hm ",
];

const FRAMES: [&str; 14] = [
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"usage":null} "#,
    r#"{"choices":[{"index":1,"delta":{"content":"@"}}]}"#,
    r#"{"choices":[{"delta":{"content":"@"},"index":1}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"@","content":"x"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"@","reasoning":"hm"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"@","tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"@"}},{"index":1,"delta":{"content":"y"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"@"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
    r#"{"error":{"type":"overloaded"},"choices":[{"index":0,"delta":{"content":"@"}}]}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@"},"delta":{"type":"thinking_delta","thinking":"y"}}"#,
    r#"{"delta":{"text":"@","type":"text_delta","text":"z"},"index":0,"type":"content_block_delta"}"#,
    r#"{"type":"content_block_stop","index":0}"#,
];

const PIECES: [&str; 26] = [
    "--x7",
    "\r\n--x7\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\u{b}",
    "\u{a0}",
    ";",
    ":",
    "\"",
    "\\",
    "--",
    "a",
    "content-disposition: form-data",
    "; name=model",
    "; name=\"model\"",
    "; name=",
    "model",
    "; filename=\"",
    "; name*=",
    "\r\ncontent-type: text/plain",
    "\r\ncontent-transfer-encoding: 8bit",
    "=",
];

/// All that `fuzz/seed.sh` gives the targets to begin with, and all that they have found.
#[test]
fn no_finding_of_a_target_breaks_a_law_again() {
    let line = |input: &[u8]| input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    for (name, input) in findings("form") {
        println!("{name}");
        let at = line(&input);
        let content_type = std::str::from_utf8(&input[..at]).unwrap();
        laws::form::hold(content_type, input.get(at + 1..).unwrap_or_default());
    }
    for (name, input) in findings("schema") {
        println!("{name}");
        let at = line(&input);
        laws::schema::hold(&input[..at], &String::from_utf8_lossy(input.get(at + 1..).unwrap_or_default()));
    }
}
