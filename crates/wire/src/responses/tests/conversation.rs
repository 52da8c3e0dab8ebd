//! Conversations of responses: what a request refers to, and how its next one finds it.

use crate::conversation::{Chain, Key, Trail};
use crate::dialect::Dialect;
use crate::openai::{ChatRequest, Expect, Observer, Opening, ProviderState};
use serde_json::{Value, json};

fn follow(body: &Value) -> Trail {
    let body = body.to_string();
    Chain::new(&Key::new(&[9; 32]), b"scope")
        .follow(&ChatRequest::read_as(Dialect::Responses, body.as_bytes()).unwrap())
}

#[test]
fn an_answer_is_found_in_the_next_request() {
    let output = json!([
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{\"a\": 1}"},
    ]);
    let body = json!({"object": "response", "id": "resp_1", "status": "completed", "output": output});
    for input in [
        json!("Hi"),
        json!([{"role": "user", "content": "Hi"}]),
        json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]),
    ] {
        let first = json!({"model": "m", "instructions": "Be kind.", "input": input});
        let mut observer = Observer::new(Expect {
            dialect: Dialect::Responses,
            conversation: Some(follow(&first).answering()),
            ..Expect::default()
        });
        observer.feed(body.to_string().as_bytes());
        let stored = observer.finish().conversation.unwrap();
        // What was thought may come back or not, and ids may be left out.
        let mut items = vec![json!({"role": "user", "content": "Hi"})];
        items.extend(output.as_array().unwrap().iter().cloned());
        items.push(json!({"type": "function_call_output", "call_id": "call_1", "output": "42"}));
        let next =
            |items: &[Value], instructions: &str| json!({"model": "m", "instructions": instructions, "input": items});
        assert_eq!(follow(&next(&items, "Be kind.")).continued, Some(stored), "{input}");
        let mut less = items.clone();
        less.remove(1);
        less[1].as_object_mut().unwrap().remove("id");
        assert_eq!(follow(&next(&less, "Be kind.")).continued, Some(stored), "{input}");
        assert_ne!(follow(&next(&items, "Be rude.")).continued, Some(stored));
        assert_ne!(follow(&next(&items[..2], "Be kind.")).continued, Some(stored));
        assert_eq!(follow(&first).continued, None);
    }
}

#[test]
fn requests_say_whether_they_go_on_and_what_they_refer_to() {
    let read = |body: Value| {
        let body = body.to_string();
        let request = ChatRequest::read_as(Dialect::Responses, body.as_bytes()).unwrap();
        (request.opening, request.provider_state)
    };
    let item = |item: Value| json!({"model": "m", "input": [{"role": "user", "content": "Hi"}, item]});
    use Opening::{Continued, First};
    assert_eq!(read(json!({"model": "m", "input": "Hi"})), (First, None));
    assert_eq!(read(json!({"model": "m", "input": "Hi", "previous_response_id": null})), (First, None));
    let previous = Some(ProviderState::PreviousResponse);
    assert_eq!(read(json!({"model": "m", "input": "Hi", "previous_response_id": "resp_1"})), (Continued, previous));
    let conversation = Some(ProviderState::Conversation);
    assert_eq!(read(json!({"model": "m", "input": "Hi", "conversation": {"id": "conv_1"}})), (Continued, conversation));
    assert_eq!(read(item(json!({"role": "assistant", "content": "Yes"}))), (Continued, None));
    assert_eq!(
        read(item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}))),
        (Continued, None)
    );
    assert_eq!(read(item(json!({"type": "function_call_output", "call_id": "c", "output": ""}))), (First, None));
    assert_eq!(read(item(json!({"type": "item_reference", "id": "rs_1"}))), (Continued, previous));
    let sealed = Some(ProviderState::Sealed);
    assert_eq!(read(item(json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}))), (Continued, sealed));
    assert_eq!(read(item(json!({"type": "reasoning", "id": "rs_1", "encrypted_content": null}))), (Continued, None));
    let file = Some(ProviderState::File);
    assert_eq!(read(item(json!({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}))), (First, file));
}

#[test]
fn signed_thinking_is_sealed_too() {
    let read = |block: Value| {
        let body = json!({"model": "m", "messages": [{"role": "assistant", "content": [block]}, {"role": "user", "content": "x"}]}).to_string();
        ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap().provider_state
    };
    assert_eq!(read(json!({"type": "thinking", "thinking": "x", "signature": "s"})), Some(ProviderState::Sealed));
    assert_eq!(read(json!({"type": "redacted_thinking", "data": "x"})), Some(ProviderState::Sealed));
    assert_eq!(read(json!({"type": "text", "text": "x"})), None);
}

#[test]
fn a_response_is_found_by_its_id_within_its_scope() {
    let key = |scope: &[u8], id| Chain::new(&Key::new(&[9; 32]), scope).responses().of(id);
    assert_eq!(key(b"a", "resp_1"), key(b"a", "resp_1"));
    assert_ne!(key(b"a", "resp_1"), key(b"a", "resp_2"));
    assert_ne!(key(b"a", "resp_1"), key(b"b", "resp_1"));
}
