//! Answers: whole ones, streams cut everywhere, errors.

use crate::dialect::Dialect;
use crate::openai::{Ending, Expect, Observer};
use crate::translate::{BodyEnd, Told, Translator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn golden(folder: &str, ending: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).join("tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| path.extension().is_some_and(|found| found == ending));
    wanted.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn stream(from: Dialect, pieces: &[&[u8]]) -> String {
    let mut translator = Translator::stream(from, 1_700_000_000, Told::Yes);
    let mut out = Vec::new();
    for piece in pieces {
        translator.feed(piece, &mut out);
    }
    translator.finish(BodyEnd::Whole, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn each_stream(check: impl Fn(Dialect, &str, &[u8])) {
    for (name, bytes) in golden("anthropic", "sse") {
        check(Dialect::Messages, &name, &bytes);
    }
    for (name, bytes) in golden("openai", "sse") {
        check(Dialect::Chat, &name, &bytes);
    }
}

#[test]
fn a_stream_is_translated() {
    each_stream(|from, name, bytes| {
        let whole = stream(from, &[bytes]);
        insta::assert_snapshot!(format!("{name}-from-{}", from.as_str().replace(' ', "-")), whole);
    });
}

#[test]
fn a_translated_stream_says_what_the_stream_said() {
    let observe = |dialect, bytes: &[u8]| {
        let mut observer = Observer::new(Expect { dialect, stream: true, ..Expect::default() });
        observer.feed(bytes);
        observer.finish()
    };
    each_stream(|from, name, bytes| {
        let to = if from == Dialect::Chat { Dialect::Messages } else { Dialect::Chat };
        let (was, is) = (observe(from, bytes), observe(to, stream(from, &[bytes]).as_bytes()));
        // Chat completions may carry several answers, and old forms of calls and of sound; messages have one.
        if was.ending != Ending::Whole || matches!(name, "two-choices" | "function-call") {
            return;
        }
        assert_eq!(is.ending, Ending::Whole, "{name}");
        assert_eq!(is.tool_calls, was.tool_calls, "{name}");
        assert_eq!(is.refusal.is_some(), was.refusal.is_some(), "{name}");
        let tokens = |seen: &crate::openai::Seen| seen.usage.map(|u| (u.input_tokens, u.output_tokens));
        if was.usage.is_some() {
            assert_eq!(tokens(&is), tokens(&was), "{name}");
        }
    });
}

#[test]
fn t15_a_stream_that_breaks_off_does_not_look_whole() {
    each_stream(|from, name, bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let Some(end) = text.find("stop_reason\":\"").or_else(|| text.find("finish_reason\":\"")) else { return };
        let half = stream(from, &[&bytes[..end]]);
        assert!(!half.contains("[DONE]") && !half.contains("message_stop"), "{name}: {half}");
        assert!(half.contains("\"error\""), "{name}: {half}");
    });
}

#[test]
fn whole_answers_are_translated() {
    for (from, folder) in [(Dialect::Messages, "anthropic"), (Dialect::Chat, "openai")] {
        for (name, bytes) in golden(folder, "json") {
            let written = Translator::whole(from, &bytes, 1_700_000_000);
            let written = written.map_or(json!("cannot be said"), |written| serde_json::from_slice(&written).unwrap());
            insta::assert_json_snapshot!(format!("{name}-whole-from-{}", from.as_str().replace(' ', "-")), written);
        }
    }
}

fn messages_stream(blocks: &[&str], end: &str) -> String {
    let event = |data: &str| format!("data: {data}\n\n");
    let start = r#"{"type":"message_start","message":{"id":"m","model":"M","usage":{"input_tokens":3}}}"#;
    let events = blocks.iter().map(|data| event(data)).collect::<String>();
    event(start) + &events + end
}

/// The calls of a stream of chunks, each with its arguments.
fn calls(written: &str) -> BTreeMap<u64, (String, String)> {
    let mut calls: BTreeMap<u64, (String, String)> = BTreeMap::new();
    for data in written.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let (name, arguments) = calls.entry(call["index"].as_u64().unwrap()).or_default();
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
    }
    calls
}

#[test]
fn t17_arguments_find_their_call_however_a_server_tells_its_blocks() {
    let block = |index: u64, name: &str, input: &str| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"{name}","name":"{name}","input":{input}}}}}"#
        )
    };
    let piece = |index: u64, json: &str| {
        json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": json}})
            .to_string()
    };
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index}).to_string();
    let reason = r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}"#;
    let end = format!("data: {reason}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
    let (one, two) = (r#"{"a": 1.0}"#, r#"{"b":"é"}"#);
    for (what, blocks, told) in [
        (
            "as it should be",
            vec![block(0, "f", "{}"), piece(0, one), stop(0), block(1, "g", "{}"), piece(1, two), stop(1)],
            [one, two],
        ),
        ("all at once", vec![block(0, "f", one), stop(0), block(1, "g", two), stop(1)], [one, two]),
        (
            "one index for all",
            vec![block(0, "f", "{}"), piece(0, one), stop(0), block(0, "g", "{}"), piece(0, two), stop(0)],
            [one, two],
        ),
        ("no end of a block", vec![block(0, "f", "{}"), block(1, "g", two)], ["{}", two]),
        ("no input", vec![block(0, "f", "null"), stop(0), block(1, "g", "{}"), stop(1)], ["{}", "{}"]),
    ] {
        let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
        let written = stream(Dialect::Messages, &[messages_stream(&blocks, &end).as_bytes()]);
        let call = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        let expected = BTreeMap::from([(0, call("f", told[0])), (1, call("g", told[1]))]);
        assert_eq!(calls(&written), expected, "{what}: {written}");
        assert!(written.ends_with("data: [DONE]\n\n"), "{written}");
    }
}

/// Events that servers put in, and ends that they put on, neither break what was said nor hide that it broke.
#[test]
fn t15_only_what_has_told_its_reason_ends_well() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let reason = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let unnamed = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let stop = "data: {\"type\":\"message_stop\"}\n\n";
    for (end, whole) in [
        (reason.to_owned() + stop, true),
        (unnamed.to_owned() + "event: message_stop\ndata: {}\n\n", true),
        (reason.to_owned() + "data: [DONE]\n\n", true),
        ("event: ping\ndata:\n\n".to_owned() + reason + stop, true),
        (stop.to_owned(), false),
        ("data: [DONE]\n\n".to_owned(), false),
    ] {
        let said = messages_stream(&[text], &end);
        let written = stream(Dialect::Messages, &[said.as_bytes()]);
        let seen = [written.contains("data: [DONE]"), !written.contains("\"error\":{")];
        assert!(written.contains("\"content\":\"a\"") && seen == [whole; 2], "{end}{written}");
        // and whoever reads beside agrees
        let mut observer = Observer::new(Expect { dialect: Dialect::Messages, stream: true, ..Expect::default() });
        observer.feed(said.as_bytes());
        assert_eq!(observer.finish().ending == Ending::Whole, whole, "{end}");
    }
}

#[test]
fn t14_an_answer_that_ends_with_an_error_has_no_end_of_turn() {
    let half = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}"#;
    let failed = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#;
    let written = stream(Dialect::Chat, &[format!("data: {half}\n\ndata: {failed}\n\ndata: [DONE]\n\n").as_bytes()]);
    assert!(written.contains("half") && written.contains("event: error\n"), "{written}");
    assert!(!written.contains("stop_reason\":\"") && !written.contains("message_stop"), "{written}");
    let whole = r#"{"id":"c","choices":[{"index":0,"message":{"content":"half"},"finish_reason":"error"}]}"#;
    assert_eq!(Translator::whole(Dialect::Chat, whole.as_bytes(), 1), None);
    let limited = format!("data: {half}\n\ndata: {{\"error\":{{\"message\":\"slow\",\"code\":429}}}}\n\n");
    assert!(stream(Dialect::Chat, &[limited.as_bytes()]).contains(r#""type":"rate_limit_error","message":"slow""#));
}

/// The sign that some servers put before a body is no part of it.
#[test]
fn a_byte_order_mark_hides_no_answer() {
    let chat = r#"{"id":"c","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let talk = r#"{"type":"message","id":"m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}"#;
    for (from, body) in [(Dialect::Chat, chat), (Dialect::Messages, talk)] {
        let marked = format!("\u{feff}{body}");
        let whole = |body: &str| Translator::whole(from, body.as_bytes(), 1).unwrap();
        assert_eq!(whole(&marked), whole(body));
        let mut observer = Observer::new(Expect { dialect: from, ..Expect::default() });
        observer.feed(marked.as_bytes());
        let seen = observer.finish();
        assert_eq!((seen.ending, seen.text_bytes), (Ending::Whole, 1));
    }
}

/// What stopped an answer is the same whether it streams or not.
#[test]
fn a_sequence_that_stopped_an_answer_is_told() {
    for (reason, told) in
        [("\"END\"", "\"stop_sequence\",\"stop_sequence\":\"END\""), ("128009", "\"end_turn\",\"stop_sequence\":null")]
    {
        let tail = format!(r#""finish_reason":"stop","stop_reason":{reason}}}]}}"#);
        let whole = format!(r#"{{"id":"c","choices":[{{"index":0,"message":{{"content":"a"}},{tail}"#);
        let whole = String::from_utf8(Translator::whole(Dialect::Chat, whole.as_bytes(), 1).unwrap()).unwrap();
        let chunk = format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}},{tail}\n\ndata: [DONE]\n\n"
        );
        for written in [whole, stream(Dialect::Chat, &[chunk.as_bytes()])] {
            assert!(written.contains(&format!("\"stop_reason\":{told}")), "{written}");
        }
    }
}

fn error(from: Dialect, status: u16, body: &str) -> Value {
    let mut translator = Translator::error(from, status);
    let mut out = Vec::new();
    for piece in body.as_bytes().chunks(3) {
        translator.feed(piece, &mut out);
    }
    assert!(out.is_empty());
    translator.finish(BodyEnd::Whole, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn errors_keep_their_words() {
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded é"}}"#;
    assert_eq!(
        error(Dialect::Messages, 529, anthropic),
        json!({"error": {"message": "Overloaded é", "type": "overloaded_error", "param": null, "code": null}})
    );
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (409, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
    ] {
        let openai = r#"{"error":{"message":"no","type":"x","param":null,"code":"c"}}"#;
        let told = json!({"type": "error", "error": {"type": kind, "message": "no"}});
        assert_eq!(error(Dialect::Chat, status, openai), told);
    }
    for (from, body) in [(Dialect::Chat, "<html>"), (Dialect::Messages, ""), (Dialect::Chat, "[]")] {
        assert!(error(from, 502, body)["error"]["message"].is_string());
    }
    for from in [Dialect::Chat, Dialect::Messages] {
        assert_eq!(error(from, 404, r#"{"detail":"Not Found"}"#)["error"]["message"], "Not Found");
        assert_eq!(error(from, 404, r#"{"error":"gone"}"#)["error"]["message"], "gone");
    }
    let vllm = r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#;
    assert_eq!(error(Dialect::Chat, 400, vllm)["error"]["message"], "too long");
}

#[test]
fn t17_interleaved_calls_become_blocks_one_after_the_other() {
    let piece = |index: u64, id: &str, name: &str, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if !id.is_empty() {
            call["id"] = json!(id);
            call["function"]["name"] = json!(name);
        }
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
    };
    let text = [
        piece(0, "call_a", "f", ""),
        piece(1, "call_b", "g", ""),
        piece(0, "", "", "{\"a\":"),
        piece(1, "", "", "{\"b\":"),
        piece(1, "", "", "\"é\"}"),
        piece(0, "", "", "1}"),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
            .to_owned(),
    ]
    .concat();
    let written = stream(Dialect::Chat, &[text.as_bytes()]);
    let mut observer = Observer::new(Expect { dialect: Dialect::Messages, stream: true, ..Expect::default() });
    observer.feed(written.as_bytes());
    assert_eq!(observer.finish().tool_calls, 2);
    insta::assert_snapshot!(written);
}

#[test]
fn tokens_of_thoughts_are_told_in_either_dialect() {
    let message = r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":90,"output_tokens_details":{"thinking_tokens":64}}}"#;
    let told: Value =
        serde_json::from_slice(&Translator::whole(Dialect::Messages, message.as_bytes(), 1).unwrap()).unwrap();
    assert_eq!(told["usage"]["completion_tokens_details"], json!({"reasoning_tokens": 64}));
    let completion = r#"{"choices":[{"message":{"content":"42"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":90,"completion_tokens_details":{"reasoning_tokens":64}}}"#;
    let told: Value =
        serde_json::from_slice(&Translator::whole(Dialect::Chat, completion.as_bytes(), 1).unwrap()).unwrap();
    assert_eq!(told["usage"]["output_tokens_details"], json!({"thinking_tokens": 64}));
}

#[test]
fn a_client_that_did_not_ask_is_told_no_usage() {
    let bytes = &golden("anthropic", "sse")["text"];
    let mut translator = Translator::stream(Dialect::Messages, 1, Told::No);
    let mut out = Vec::new();
    translator.feed(bytes, &mut out);
    translator.finish(BodyEnd::Whole, &mut out);
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("usage") && out.ends_with("data: [DONE]\n\n"), "T11: {out}");
    assert_eq!(out.matches("[DONE]").count(), 1, "T13");
}

/// A client of chat completions cannot go on with a turn that pauses; that it is finished is not said.
#[test]
fn a_turn_that_pauses_is_not_told_as_finished() {
    let whole = r#"{"id":"m","type":"message","model":"M","content":[{"type":"text","text":"Let me see."}],"stop_reason":"pause_turn"}"#;
    let whole = String::from_utf8(Translator::whole(Dialect::Messages, whole.as_bytes(), 1).unwrap()).unwrap();
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Let me see."}}"#;
    let end = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"pause_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    for written in [whole, stream(Dialect::Messages, &[messages_stream(&[text], end).as_bytes()])] {
        assert!(written.contains(r#""finish_reason":"length""#), "{written}");
    }
}

fn completion(id: &str, message: &Value, finish: &str) -> Option<Value> {
    let body = json!({"id": id, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).to_string();
    Some(serde_json::from_slice(&Translator::whole(Dialect::Chat, body.as_bytes(), 1)?).unwrap())
}

/// The limit of tokens cuts where it does. That is an answer, and no failure of the provider.
#[test]
fn a_call_that_the_limit_cut_is_told_as_cut() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let said = |calls: Value, finish: &str| completion("c", &json!({"content": "So:", "tool_calls": calls}), finish);
    let cut = said(json!([call("a", r#"{"n":1}"#), call("b", r#"{"n":"#)]), "length").unwrap();
    assert_eq!(cut["stop_reason"], "max_tokens");
    assert_eq!(cut["content"][1]["input"], json!({"n": 1}));
    assert_eq!(cut["content"][2], json!({"type": "tool_use", "id": "b", "name": "f", "input": {}}));
    assert_eq!(said(json!([call("a", r#"{"n":"#), call("b", "{}")]), "length"), None, "only the last can be cut");
    assert_eq!(said(json!([call("a", r#"{"n":"#)]), "tool_calls"), None);
}

/// Clients pair results with calls by the id alone, over all turns.
#[test]
fn a_call_without_an_id_gets_one_of_its_own() {
    let own = |answer: &str| {
        let call = json!({"type": "function", "function": {"name": "f", "arguments": "{}"}});
        let whole = completion(answer, &json!({"tool_calls": [call.clone(), call.clone()]}), "tool_calls").unwrap();
        let pieces = [0, 1].map(|index| {
            let mut piece = call.clone();
            piece["index"] = json!(index);
            format!("data: {}\n\n", json!({"id": answer, "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}))
        });
        let end =
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
        let streamed = stream(Dialect::Chat, &[pieces.concat().as_bytes(), end.as_bytes()]);
        let ids: Vec<String> = [0, 1].map(|place| whole["content"][place]["id"].as_str().unwrap().to_owned()).into();
        assert!(ids.iter().all(|id| streamed.contains(&format!("\"id\":\"{id}\""))), "{ids:?} {streamed}");
        ids
    };
    let all = [own("chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"), own("chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeH"), own("")]
        .concat();
    let different: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    assert!(all.iter().all(|id| id.len() <= 40 && id.chars().all(fits)), "{all:?}");
}

/// A call of old has no id by which its result could come back. It is not left out of a turn that says it calls a tool.
#[test]
fn a_call_of_old_is_no_answer_to_a_client_of_messages() {
    let call = json!({"name": "f", "arguments": "{}"});
    assert_eq!(completion("c", &json!({"content": null, "function_call": call}), "function_call"), None);
    let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"function_call": call}}]});
    let written = stream(Dialect::Chat, &[format!("data: {chunk}\n\n").as_bytes()]);
    assert!(written.contains("event: error") && !written.contains("message_stop"), "{written}");
}
