//! Events of realtime sessions: which turn they belong to, what they say, and a version among them.

use super::*;
use crate::dialect::Dialect;
use crate::openai::{Ending, Expect, Finish, Observer, Progress, PromptMode, Seen, ToolsMode};
use crate::outcome::Validity;
use serde_json::{Value, json};

fn patch() -> Patch {
    Patch::new(Dialect::Realtime)
        .with_model("gpt-realtime-2")
        .with_prompt(PromptMode::Prepend, "Be brief.")
        .unwrap()
        .with_tools(ToolsMode::Merge, r#"[{"type":"function","function":{"name":"refund","parameters":{}}}]"#)
        .unwrap()
        .with_param("max_tokens", "400")
        .unwrap()
}

fn patched(update: &str, fill: Fill) -> Option<Value> {
    let Asks::Settings(at) = ClientEvent::read(update.as_bytes()).unwrap().asks else { panic!("no settings") };
    Some(serde_json::from_slice(&with_version(update.as_bytes(), at, &patch(), fill)?).unwrap())
}

#[test]
fn a_version_stands_in_the_settings_of_a_session() {
    let update = r#"{"event_id":"e1","type":"session.update","session":{"type":"realtime","model":"support","instructions":"Help.","tools":[{"type":"function","name":"look"}],"audio":{"output":{"voice":"marin"}}},"x":null}"#;
    let session = &patched(update, Fill::All).unwrap()["session"];
    assert_eq!(session["model"], "gpt-realtime-2");
    assert_eq!(session["instructions"], "Be brief.\n\nHelp.");
    assert_eq!(session["audio"]["output"]["voice"], "marin");
    assert_eq!(session["max_output_tokens"], 400);
    let names: Vec<_> = session["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names, ["refund", "look"]);
}

#[test]
fn later_settings_leave_alone_what_they_do_not_say() {
    let update = r#"{"type":"session.update","session":{"type":"realtime","turn_detection":null}}"#;
    assert_eq!(patched(update, Fill::Present), None);
    let full = &patched(update, Fill::All).unwrap()["session"];
    assert_eq!((&full["instructions"], &full["model"]), (&json!("Be brief."), &Value::Null));
}

#[test]
fn a_version_speaks_for_itself_where_it_sets_something() {
    let own: Value = serde_json::from_slice(&own_settings(&patch()).unwrap()).unwrap();
    assert_eq!((&own["type"], &own["session"]["type"]), (&json!("session.update"), &json!("realtime")));
    assert_eq!((&own["session"]["instructions"], &own["session"]["model"]), (&json!("Be brief."), &Value::Null));
    assert_eq!(own_settings(&Patch::new(Dialect::Realtime).with_model("m")), None);
}

#[test]
fn events_say_which_turn_they_belong_to() {
    let read = |text: &'static str| ServerEvent::read(text.as_bytes()).unwrap();
    let done =
        read(r#"{"type":"response.done","response":{"id":"resp_1","status":"cancelled","output":[{"id":"x"}]}}"#);
    assert_eq!((done.what, done.response.as_deref()), (Happened::Interrupted, Some("resp_1")));
    let delta = read(r#"{"type":"response.output_audio.delta","response_id":"resp_1","delta":"AAAA"}"#);
    assert_eq!((delta.what, delta.response.as_deref()), (Happened::Part, Some("resp_1")));
    let error = read(r#"{"type":"error","event_id":"s1","error":{"type":"invalid_request_error","event_id":"c1"}}"#);
    assert_eq!((error.what, error.caused_by.as_deref()), (Happened::Refused, Some("c1")));
    assert_eq!(read(r#"{"type":"error","status":500,"error":{"type":"server_error"}}"#).what, Happened::Failed);
    assert_eq!(read(r#"{"type":"response.completed","stream_id":"b","response":{"id":"r"}}"#).lane.unwrap(), "b");
    assert_eq!(read(r#"{"type":"rate_limits.updated"}"#).what, Happened::Other);
    assert!(ServerEvent::read(b"[]").is_err() && ServerEvent::read(b"{\"type\":").is_err());
    let asked = ClientEvent::read(br#"{"type":"response.create","event_id":"c1","response":{}}"#).unwrap();
    assert_eq!((asked.asks, asked.id.as_deref()), (Asks::Response, Some("c1")));
}

fn seen(events: &[Value]) -> (Seen, usize) {
    let mut observer = Observer::new(Expect { dialect: Dialect::Realtime, stream: true, ..Expect::default() });
    let progress = events.iter().map(|event| observer.feed_message(event.to_string().as_bytes()));
    let contents = progress.filter(|progress| *progress == Progress::Content).count();
    (observer.finish(), contents)
}

#[test]
fn a_spoken_response_is_read_to_its_usage() {
    let (seen, contents) = seen(&[
        json!({"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime-2"}}),
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
        json!({"type": "response.output_audio_transcript.delta", "response_id": "resp_1", "delta": "Hello"}),
        json!({"type": "response.output_audio.delta", "response_id": "resp_1", "delta": "AAAA"}),
        json!({"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": {
            "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
            "input_token_details": {"text_tokens": 20, "audio_tokens": 80, "cached_tokens": 10},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 40}}}}),
    ]);
    assert_eq!((seen.ending, contents, seen.empty), (Ending::Whole, 2, false));
    assert_eq!((seen.model.as_deref(), seen.response_id.as_deref()), (Some("gpt-realtime-2"), Some("resp_1")));
    let usage = seen.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_tokens), (Some(100), Some(50), Some(10)));
    assert_eq!((usage.input_media.audio_tokens, usage.output_media.audio_tokens), (80, 40));
}

/// Sound that nobody puts into words is known by how long it lasts; that of chat completions too.
#[test]
fn sound_without_words_is_reckoned_by_its_time() {
    let second = |bytes: usize| "A".repeat(bytes / 3 * 4);
    for (session, bytes) in [
        (json!({}), 48_000),
        (json!({"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24_000}}}}), 48_000),
        (
            json!({"audio": {"input": {"format": {"type": "audio/pcma"}}, "output": {"format": {"type": "audio/pcmu"}}}}),
            8_001,
        ),
        (json!({"output_audio_format": "g711_ulaw"}), 8_001),
    ] {
        let delta = json!({"type": "response.output_audio.delta", "response_id": "r", "delta": second(bytes)});
        let begun = json!({"type": "response.created", "response": {"id": "r"}});
        let (seen, _) = seen(&[json!({"type": "session.created", "session": session}), begun, delta.clone(), delta]);
        assert_eq!((seen.sound_tokens, seen.said_bytes, seen.usage), (40, 0, None), "{session}");
    }
    let mut observer = Observer::new(Expect { dialect: Dialect::Chat, stream: true, ..Expect::default() });
    for audio in [json!({"id": "a", "data": second(48_000)}), json!({"transcript": "four"}), json!({"expires_at": 1})] {
        let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"audio": audio}}]});
        assert_eq!(observer.feed(format!("data: {chunk}\n\n").as_bytes()), Progress::Content);
    }
    let seen = observer.finish();
    assert_eq!((seen.sound_tokens, seen.said_bytes), (20, 4));
}

#[test]
fn calls_cuts_and_failures_are_told_apart() {
    let done = |status: &str, details: Value| json!({"type": "response.done", "response": {"id": "r", "status": status, "status_details": details}});
    let begun = json!({"type": "response.created", "response": {"id": "r"}});
    let (call, contents) = seen(&[
        begun.clone(),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call", "call_id": "c", "name": "look"}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}),
        done("completed", Value::Null),
    ]);
    assert_eq!((call.tool_calls, contents, &call.finishes[..]), (1, 2, &[Some(Finish::ToolCalls)][..]));
    assert_eq!(call.tools, Validity::NotChecked);
    let (cut, _) = seen(&[begun.clone(), done("incomplete", json!({"reason": "max_output_tokens"}))]);
    assert_eq!((cut.ending, cut.finishes[0]), (Ending::Whole, Some(Finish::Length)));
    let (failed, _) = seen(&[begun.clone(), done("failed", json!({"error": {"type": "server_error", "code": "x"}}))]);
    assert_eq!((failed.ending, failed.error.unwrap().code.as_deref()), (Ending::Failed, Some("x")));
    let (open, _) = seen(&[begun]);
    assert_eq!(open.ending, Ending::Truncated);
}
