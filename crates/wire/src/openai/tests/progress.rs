//! What of a stream is content, what gets it on, and what only shows that somebody is there.

use crate::dialect::Dialect;
use crate::openai::{Expect, Observer, Progress};
use Progress::{Content, Nothing, Step};

fn reads(dialect: Dialect, events: &[(&str, Progress)]) -> Observer {
    let mut observer = Observer::new(Expect { dialect, stream: true, ..Expect::default() });
    for (data, progress) in events {
        let event = if data.starts_with(':') { format!("{data}\n\n") } else { format!("data: {data}\n\n") };
        assert_eq!(observer.feed(event.as_bytes()), *progress, "{data}");
    }
    observer
}

#[test]
fn a_chat_gets_on_by_what_it_brings() {
    let observer = reads(
        Dialect::Chat,
        &[
            (": OPENROUTER PROCESSING", Nothing),
            (r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#, Nothing),
            (r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#, Content),
            (r#"{"choices":[{"index":0,"delta":{"content":"","refusal":null,"tool_calls":[]}}]}"#, Nothing),
            (r#"{"choices":[{"index":0,"delta":{"content":"","reasoning_details":[{"data":"x"}]}}]}"#, Step),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#, Content),
            (r#"{"choices":[{"index":0,"delta":{"content":"b"}}]}"#, Content),
            (r#"{"choices":[{"index":0,"delta":{"content":""}}]}"#, Nothing),
            (
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}"#,
                Content,
            ),
            (r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}}]}"#, Nothing),
            (
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#,
                Content,
            ),
            (r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#, Step),
            (r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#, Nothing),
            (r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, Step),
            (r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, Nothing),
            ("[DONE]", Step),
        ],
    );
    assert!(!observer.works_unseen());
}

#[test]
fn thoughts_are_content_and_a_block_that_thinks_works_unseen() {
    let observer = reads(
        Dialect::Messages,
        &[
            (r#"{"type":"message_start","message":{"content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#, Step),
            (r#"{"type":"ping"}"#, Nothing),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#, Step),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#, Nothing),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#, Content),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#, Content),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#, Nothing),
            (r#"{"type":"content_block_stop","index":0}"#, Step),
            (r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":""}}"#, Step),
            (r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"hm"}}"#, Content),
            (r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":""}}"#, Nothing),
            (r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"x"}}"#, Step),
            (r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":1}}"#, Nothing),
            (r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":5}}"#, Step),
        ],
    );
    assert!(observer.works_unseen());
    for (kind, unseen) in [("server_tool_use", true), ("web_search_tool_result", false), ("tool_use", false)] {
        let start = format!(r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"{kind}"}}}}"#);
        let stop = r#"{"type":"content_block_stop","index":0}"#;
        let observer = reads(Dialect::Messages, &[(&start, Content), (stop, Step)]);
        assert_eq!(observer.works_unseen(), unseen, "{kind}");
    }
}

#[test]
fn a_response_gets_on_by_its_items_and_thinks_until_it_says_so() {
    let thinks = [
        (r#"{"type":"response.created","response":{"id":"r","object":"response"}}"#, Step),
        (r#"{"type":"response.in_progress","response":{"id":"r","object":"response"}}"#, Nothing),
        (r#"{"type":"keepalive","sequence_number":3}"#, Nothing),
        (r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning"}}"#, Step),
        (r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"hm"}"#, Content),
    ];
    assert!(reads(Dialect::Responses, &thinks).works_unseen());
    let says = [
        (r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning"}}"#, Step),
        (r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}"#, Step),
        (r#"{"type":"response.output_text.delta","output_index":1,"delta":""}"#, Nothing),
        (r#"{"type":"response.output_text.delta","output_index":1,"delta":"a"}"#, Content),
    ];
    assert!(!reads(Dialect::Responses, &[&thinks[..], &says].concat()).works_unseen());
    let runs = (r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"web_search_call"}}"#, Content);
    assert!(reads(Dialect::Responses, &[&thinks[..], &says, &[runs]].concat()).works_unseen());
}

/// Half an event is nothing yet, and half of one that no ping is as long as is a part of the answer.
#[test]
fn a_long_event_on_its_way_gets_the_stream_on_and_a_long_comment_does_not() {
    for (begins, progress) in [("data: {\"x\":\"", Step), (": ", Nothing)] {
        let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
        let piece = "y".repeat(3_000);
        let came = [begins, &piece, &piece, &piece].map(|piece| observer.feed(piece.as_bytes()));
        assert_eq!(came, [Nothing, Nothing, progress, progress]);
    }
}
