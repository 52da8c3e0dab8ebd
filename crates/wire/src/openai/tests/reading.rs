//! What a request asks.

use super::*;
use crate::dialect::Dialect;

fn read(body: &str) -> ChatRequest<'_> {
    ChatRequest::read(body.as_bytes()).unwrap()
}

#[test]
fn members_are_read_and_strange_ones_tolerated() {
    let request = read(
        r#"{"n":2,"user":"u1","metadata":{"session_id":"s\u002d1","deep":{"id":7,"no":null}},"model":"a\"b","stream":"yes","messages":[1,{"role":7},{"role":"user","content":[{"type":"text","text":"t"},3]}],"tools":[],"stream_options":[]}"#,
    );
    assert_eq!((request.model.as_ref(), request.stream, request.n()), ("a\"b", false, 2));
    assert_eq!(request.user().as_deref(), Some("u1"));
    assert_eq!(request.body_text("metadata.session_id").as_deref(), Some("s-1"));
    assert_eq!(request.body_text("metadata.deep.id").as_deref(), Some("7"));
    for path in ["metadata.deep.no", "metadata.deep", "metadata.none", "none", "", "user.x", "metadata..deep"] {
        assert_eq!(request.body_text(path), None, "{path}");
    }
    assert_eq!((request.tools(), request.asks_usage(), request.opening), (None, false, Opening::First));
    assert_eq!(request.messages().count(), 3);
}

#[test]
fn an_assistant_turn_makes_a_conversation_older() {
    assert_eq!(read(r#"{"model":"m","messages":[{"role":"assistant","content":null}]}"#).opening, Opening::Continued);
    assert_eq!(read(r#"{"model":"m","messages":[{"role":"user","content":"assistant"}]}"#).opening, Opening::First);
    let twice = r#"{"messages":[{"role":"assistant"}],"model":"m","messages":[{"role":"user"}]}"#;
    assert_eq!(read(twice).opening, Opening::First, "the last of duplicates counts");
}

#[test]
fn state_that_a_provider_holds_is_noticed() {
    let state = |rest: &str| read(&format!(r#"{{"model":"m",{rest}}}"#)).provider_state;
    assert_eq!(state(r#""previous_response_id":"resp_1""#), Some(ProviderState::PreviousResponse));
    assert_eq!(state(r#""previous_response_id":null"#), None);
    assert_eq!(state(r#""conversation":{"id":"conv_1"}"#), Some(ProviderState::Conversation));
    assert_eq!(state(r#""messages":[{"role":"assistant","audio":{"id":"audio_1"}}]"#), Some(ProviderState::Audio));
    assert_eq!(state(r#""messages":[{"role":"assistant","audio":null}]"#), None);
    assert_eq!(
        state(r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]"#),
        Some(ProviderState::File)
    );
    assert_eq!(state(r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"x"}}]}]"#), None);
}

#[test]
fn the_format_of_the_answer_is_read() {
    let text = |format: &str| format!(r#"{{"model":"m","response_format":{format}}}"#);
    assert_eq!(read(&text("null")).response_format(), ResponseFormat::Text);
    assert_eq!(read(&text(r#"{"type":"json_object"}"#)).response_format(), ResponseFormat::JsonObject);
    let schema = text(r#"{"json_schema":{"name":"n","schema":{"type":"object"}},"type":"json_schema"}"#);
    assert_eq!(read(&schema).response_format(), ResponseFormat::JsonSchema(br#"{"type":"object"}"#));
}

#[test]
fn what_is_no_request_is_refused_in_words() {
    let errors: Vec<String> = [
        "",
        "[]",
        "3",
        "{}",
        r#"{"model":null}"#,
        r#"{"model":""}"#,
        r#"{"model":"m"} x"#,
        r#"{"model":"m","messages":[{]}"#,
    ]
    .iter()
    .map(|body| format!("{body}: {}", ChatRequest::read(body.as_bytes()).unwrap_err()))
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn neither_prompt_nor_answer_is_shown_by_debug() {
    let request = read(r#"{"model":"m","messages":[{"role":"user","content":"secret"}],"user":"secret"}"#);
    let patch =
        Patch::default().with_prompt(PromptMode::Replace, "secret").unwrap().with_param("p", "\"secret\"").unwrap();
    let patched = patch.apply(&request, AskUsage::Leave);
    let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
    observer.feed(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"secret\"}}]}\n\ndata: {\"secret\"");
    let mut stripper = UsageStripper::default();
    stripper.feed(bytes::Bytes::from_static(b"data: secret"), |_| {});
    let messages: Vec<Message<'_>> = request.messages().collect();
    let text = crate::json::Scanner::new(br#""secret""#).string().unwrap();
    let shown = format!("{messages:?} {text:?} {request:?} {patch:?} {patched:?} {observer:?} {stripper:?}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
}

#[test]
fn t15_half_an_event_that_is_held_is_left_out_where_a_stream_breaks_off() {
    let cut = |came: &str| {
        let (mut stripper, mut passed) = (UsageStripper::default(), Vec::new());
        stripper.feed(bytes::Bytes::copy_from_slice(came.as_bytes()), |piece| passed.extend_from_slice(&piece));
        stripper.finish_cut(|piece| passed.extend_from_slice(&piece));
        String::from_utf8(passed).unwrap()
    };
    for half in ["data: {\"choi", "event: x", ": a comm", ""] {
        assert_eq!(cut(&format!("data: 1\n\n{half}")), "data: 1\n\n");
    }
    assert_eq!(cut("{\"no\":\"event\"}\n"), "{\"no\":\"event\"}\n", "what is no event passes");
}

#[test]
fn completions_of_old_are_read_as_answers_of_one_text() {
    let stream = "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"Once \",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"text\":\"up\\u00e9n\",\"index\":0,\"finish_reason\":\"length\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    let body = r#"{"object":"text_completion","choices":[{"text":"Once up\u00e9n","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let see = |stream: bool, pieces: &[&[u8]]| {
        let dialect = crate::dialect::Dialect::Completions;
        let mut observer = Observer::new(Expect { dialect, stream, ..Expect::default() });
        pieces.iter().for_each(|piece| {
            observer.feed(piece);
        });
        observer.finish()
    };
    let whole = see(false, &[body.as_bytes()]);
    assert_eq!((whole.ending, &whole.finishes[..], whole.text_bytes), (Ending::Whole, &[Some(Finish::Length)][..], 10));
    assert_eq!(whole.usage.unwrap().output_tokens, Some(2));
    for at in 0..=stream.len() {
        let (a, b) = stream.as_bytes().split_at(at);
        let mut streamed = see(true, &[a, b]);
        assert!(std::mem::take(&mut streamed.done), "cut at {at}");
        assert_eq!(streamed, whole, "cut at {at}");
    }
}

#[test]
fn what_leaves_something_behind_is_not_asked_twice() {
    let chat = |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}]{more}}}"#);
    for (dialect, body, may) in [
        (Dialect::Chat, chat(""), true),
        (Dialect::Chat, chat(r#","store":false"#), true),
        (Dialect::Chat, chat(r#","store":true"#), false),
        (Dialect::Messages, chat(r#","mcp_servers":[{"url":"x"}]"#), false),
        (Dialect::Messages, chat(r#","container":"c_1""#), false),
        (Dialect::Responses, r#"{"model":"m","input":"a","store":false}"#.to_owned(), false),
        (Dialect::Responses, r#"{"model":"m","input":"a","previous_response_id":"resp_1"}"#.to_owned(), false),
    ] {
        assert_eq!(ChatRequest::read_as(dialect, body.as_bytes()).unwrap().may_be_asked_twice(), may, "{body}");
    }
}
