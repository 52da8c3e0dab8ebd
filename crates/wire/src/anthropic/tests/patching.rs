//! A version spliced into messages.

use crate::dialect::Dialect;
use crate::openai::{AskUsage, ChatRequest, Patch, PatchError, PromptMode, ToolsMode};
use serde_json::Value;

fn apply(patch: &Patch, body: &str) -> Option<String> {
    let request = ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap();
    let patched = patch.apply(&request, AskUsage::Inject);
    assert!(!patched.usage_injected, "messages tell their usage unasked");
    patched.body.map(|body| String::from_utf8(body).unwrap())
}

fn patch() -> Patch {
    Patch::new(Dialect::Messages)
}

#[test]
fn the_prompt_meets_the_system_prompt_of_the_client() {
    let cases = [
        "",
        r#","system":"old""#,
        r#","system":"""#,
        r#","system":null"#,
        r#","system":[]"#,
        r#","system":[{"type":"text","text":"old"}]"#,
        r#","system":[{"type":"text","text":"old","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#,
        r#","system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}]"#,
    ];
    let lines: Vec<String> = [PromptMode::Replace, PromptMode::Prepend, PromptMode::Append]
        .iter()
        .flat_map(|mode| {
            cases.iter().map(move |case| {
                let body = format!(r#"{{"model":"m"{case},"messages":[]}}"#);
                let patched = apply(&patch().with_prompt(*mode, "NEW \"q\"").unwrap(), &body).unwrap();
                patched.parse::<Value>().unwrap();
                format!("{mode:?} {case}\n     {patched}")
            })
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_not_patched_stays_byte_for_byte() {
    let body = "{ \"x-new\" : {\"a\":[1, 2.50,1e3]},\t\"model\":\"r\",\"thinking\":null,\n\"max_tokens\":5,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"\\u00e9\",\"signature\":\"EqQB+/=\"}]}] }\n";
    assert_eq!(apply(&patch().with_model("claude"), body).unwrap(), body.replace("\"r\"", "\"claude\""));
    assert_eq!(apply(&patch().with_model("r"), body), None);
}

#[test]
fn parameters_are_set_and_some_are_not_theirs() {
    let set =
        patch().with_param("max_tokens", "100").unwrap().with_param("thinking", r#"{"type":"disabled"}"#).unwrap();
    let body = r#"{"model":"m","max_tokens":5,"messages":[]}"#;
    let all = r#"{"model":"m","max_tokens":100,"messages":[],"thinking":{"type":"disabled"}}"#;
    assert_eq!(apply(&set, body).unwrap(), all);
    let counted = r#"{"model":"m","max_tokens":5,"messages":[],"thinking":{"type":"disabled"}}"#;
    assert_eq!(apply(&set.for_counting(), body).unwrap(), counted, "counting takes no `max_tokens` of ours");
    for reserved in ["system", "messages", "stream"] {
        assert_eq!(patch().with_param(reserved, "1").unwrap_err(), PatchError::Reserved(reserved.to_owned()));
    }
}

#[test]
fn tools_of_openais_form_are_written_in_the_dialects_own() {
    let ours = r#"[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"g"}}]"#;
    let body = r#"{"model":"m","messages":[],"tools":[{"name":"g","input_schema":{"old":1}}, {"name":"h","input_schema":{},"cache_control":{"type":"ephemeral"}}]}"#;
    let tools = |mode| {
        let patched = apply(&patch().with_tools(mode, ours).unwrap(), body).unwrap();
        String::from_utf8(crate::json::member(patched.as_bytes(), "tools").unwrap().to_vec()).unwrap()
    };
    insta::assert_snapshot!(tools(ToolsMode::Replace), @r#"[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true},{"name":"g","input_schema":{"type":"object","properties":{}}}]"#);
    insta::assert_snapshot!(tools(ToolsMode::Merge), @r#"[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true},{"name":"g","input_schema":{"type":"object","properties":{}}},{"name":"h","input_schema":{},"cache_control":{"type":"ephemeral"}}]"#);
}
