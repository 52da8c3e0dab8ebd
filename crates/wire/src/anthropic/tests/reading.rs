//! What a request of messages asks, and how its conversation is found again.

use crate::conversation::{Chain, Key, Trail};
use crate::dialect::Dialect;
use crate::openai::{ChatRequest, Expect, Observer, Opening, ProviderState, ResponseFormat};
use serde_json::{Value, json};

fn read(body: &str) -> ChatRequest<'_> {
    ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap()
}

fn follow(system: &Value, messages: &Value) -> Trail {
    let body = json!({"model": "m", "max_tokens": 9, "system": system, "messages": messages}).to_string();
    Chain::new(&Key::new(&[9; 32]), b"scope").follow(&read(&body))
}

#[test]
fn a_conversation_begins_without_a_finished_turn_of_the_assistant() {
    let opening = |messages: Value| {
        let body = json!({"model": "m", "messages": messages}).to_string();
        read(&body).opening
    };
    let (user, assistant) = (json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"}));
    assert_eq!(opening(json!([user])), Opening::First);
    assert_eq!(opening(json!([user, assistant])), Opening::First, "the beginning of the answer that is asked for");
    assert_eq!(opening(json!([user, assistant, user])), Opening::Continued);
    assert_eq!(opening(json!([user, assistant, user, assistant])), Opening::Continued);
}

#[test]
fn state_of_the_provider_is_seen() {
    let state = |rest: &str| read(&format!(r#"{{"model":"m",{rest}}}"#)).provider_state;
    assert_eq!(state(r#""container":"c-1""#), Some(ProviderState::Container));
    assert_eq!(state(r#""container":null"#), None);
    let file = r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]"#;
    assert_eq!(state(file), Some(ProviderState::File));
    let image = r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":""}}]}]"#;
    assert_eq!(state(image), None);
}

#[test]
fn the_schema_of_the_answer_is_found_in_both_places() {
    let schema = br#"{"type":"object"}"#;
    for body in [
        r#"{"model":"m","output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}"#,
        r#"{"model":"m","output_format":{"type":"json_schema","schema":{"type":"object"}}}"#,
    ] {
        assert_eq!(read(body).response_format(), ResponseFormat::JsonSchema(schema), "{body}");
    }
    assert_eq!(read(r#"{"model":"m","output_config":{"effort":"low"}}"#).response_format(), ResponseFormat::Text);
}

/// What the observer says of an answer that is streamed.
fn streamed(trail: Trail, blocks: &[Value]) -> crate::conversation::ConversationHash {
    let conversation = Some(trail.answering());
    let mut observer =
        Observer::new(Expect { dialect: Dialect::Messages, stream: true, conversation, ..Expect::default() });
    let mut send = |event: Value| {
        observer.feed(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).as_bytes());
    };
    send(
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "content": [], "stop_reason": null}}),
    );
    for (index, block) in blocks.iter().enumerate() {
        let (start, delta) = match block["type"].as_str().unwrap() {
            "text" => (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": block["text"]})),
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                json!({"type": "thinking_delta", "thinking": block["thinking"]}),
            ),
            _ => (
                json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}),
                json!({"type": "input_json_delta", "partial_json": block["input"].to_string().replace("{}", "")}),
            ),
        };
        send(json!({"type": "content_block_start", "index": index, "content_block": start}));
        send(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        send(json!({"type": "content_block_stop", "index": index}));
    }
    send(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}));
    send(json!({"type": "message_stop"}));
    observer.finish().conversation.unwrap()
}

#[test]
fn an_answer_is_found_in_the_next_request() {
    let system = json!("Be kind.");
    let asked = json!([{"role": "user", "content": "Hi"}]);
    let blocks = [
        json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
        json!({"type": "text", "text": "Let me see."}),
        json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, "é"]}}),
        json!({"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}}),
    ];
    let kept = streamed(follow(&system, &asked), &blocks);
    let result = json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "2"}]},
    ]});
    let next = |content: Value| json!([asked[0], {"role": "assistant", "content": content}, result]);
    assert_eq!(follow(&system, &next(json!(blocks))).continued, Some(kept));
    assert_eq!(follow(&system, &next(json!(blocks[1..]))).continued, Some(kept), "without what it thought");
    let cached = json!([{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(follow(&cached, &next(json!(blocks))).continued, Some(kept), "the same prompt as a block");
    assert_ne!(follow(&json!("Be rude."), &next(json!(blocks))).continued, Some(kept));
    assert_ne!(follow(&system, &next(json!(blocks[..3]))).continued, Some(kept));
}

#[test]
fn an_answer_that_the_client_began_is_found_as_one() {
    let asked = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "My name is"}]);
    let trail = follow(&Value::Null, &asked);
    assert_eq!(trail.continued, None);
    let kept = streamed(trail, &[json!({"type": "text", "text": " Claude."})]);
    let next = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "My name is Claude."},
        {"role": "user", "content": "And mine?"},
    ]);
    assert_eq!(follow(&Value::Null, &next).continued, Some(kept));
}
