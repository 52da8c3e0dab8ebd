//! The three ways through the dialect, from one end to the other.

mod bounds;
mod detecting;
mod golden;
mod patching;
mod progress;
mod reading;

use super::*;
use bytes::Bytes;

const REQUEST: &str = r#"{"model":"support","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi"}],"stream":true,"temperature":1,"seed":null}"#;

#[test]
fn a_version_is_spliced_into_a_request() {
    let request = ChatRequest::read(REQUEST.as_bytes()).unwrap();
    assert_eq!((request.model.as_ref(), request.stream, request.opening), ("support", true, Opening::First));
    let patch = Patch::default()
        .with_model("gpt-5-mini")
        .with_prompt(PromptMode::Append, "Be brief.")
        .unwrap()
        .with_tools(ToolsMode::Replace, r#"[{"type":"function","function":{"name":"f"}}]"#)
        .unwrap()
        .with_param("temperature", "0.2")
        .unwrap();
    let patched = patch.apply(&request, AskUsage::Inject);
    assert!(patched.usage_injected);
    insta::assert_snapshot!(String::from_utf8(patched.body.unwrap()).unwrap(), @r#"{"model":"gpt-5-mini","messages":[{"role":"system","content":"Be kind.\n\nBe brief."},{"role":"user","content":"Hi"}],"stream":true,"temperature":0.2,"seed":null,"tools":[{"type":"function","function":{"name":"f"}}],"stream_options":{"include_usage":true}}"#);
}

#[test]
fn an_answer_is_observed_and_its_usage_chunk_taken_out() {
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n\
                data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
    let mut observer = Observer::new(Expect { stream: true, ..Expect::default() });
    let mut stripper = UsageStripper::default();
    let mut passed = Vec::new();
    for piece in [text, usage, "data: [DONE]\n\n"] {
        observer.feed(piece.as_bytes());
        stripper.feed(Bytes::from_static(piece.as_bytes()), |bytes| passed.extend_from_slice(&bytes));
    }
    stripper.finish(|bytes| passed.extend_from_slice(&bytes));
    assert_eq!(String::from_utf8(passed).unwrap(), format!("{text}data: [DONE]\n\n"));
    let seen = observer.finish();
    assert_eq!((seen.ending, seen.text_bytes, seen.done), (Ending::Whole, 5, true));
    assert_eq!(seen.finishes, [Some(Finish::Stop)]);
    assert_eq!((seen.model.as_deref(), seen.usage.unwrap().input_tokens), (Some("m-1"), Some(5)));
}
