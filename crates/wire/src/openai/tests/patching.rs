//! Patching by splicing equals editing the tree, and what is not patched stays byte for byte.

use super::*;
use crate::dialect::Dialect;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn apply(patch: &Patch, body: &str, usage: AskUsage) -> Option<String> {
    let request = ChatRequest::read(body.as_bytes()).unwrap();
    let patched = patch.apply(&request, usage);
    patched.body.map(|body| {
        assert_eq!(body.capacity(), body.len(), "one allocation of the exact size");
        String::from_utf8(body).unwrap()
    })
}

fn leave(patch: &Patch, body: &str) -> Option<String> {
    apply(patch, body, AskUsage::Leave)
}

#[test]
fn a_request_that_says_it_already_is_not_copied() {
    let body = r#"{"model":"m", "messages":[], "temperature":0.5,"tools":[ {"function":{"name":"f"}}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let patch = Patch::default()
        .with_model("m")
        .with_param("temperature", " 0.5 ")
        .unwrap()
        .with_tools(ToolsMode::Replace, r#"[ {"function":{"name":"f"}}]"#)
        .unwrap();
    assert_eq!(apply(&patch, body, AskUsage::Inject), None);
    assert_eq!(leave(&Patch::default(), body), None);
}

#[test]
fn what_is_not_patched_stays_byte_for_byte() {
    let body = "{ \"x-vendor\" : {\"a\":[1, 2.50,1e3]},\t\"model\":\"r\",\"encoding_format\":null,\n\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\\/\"}] }\n";
    let patched = leave(&Patch::default().with_model("gpt"), body).unwrap();
    assert_eq!(patched, body.replace("\"r\"", "\"gpt\""));
}

#[test]
fn the_prompt_meets_the_system_message_of_the_client() {
    let patched = |mode, messages: &str| {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        let patched = leave(&Patch::default().with_prompt(mode, "NEW \"q\"").unwrap(), &body).unwrap();
        serde_json::from_str::<Value>(&patched).unwrap();
        let messages = crate::json::member(patched.as_bytes(), "messages").unwrap();
        String::from_utf8(messages.to_vec()).unwrap()
    };
    let cases = [
        r#"[]"#,
        r#"[{"role":"user","content":"u"}]"#,
        r#"[{"role":"system","content":"old"},{"role":"user","content":"u"}]"#,
        r#"[{"content":"","role":"developer","name":"n"}]"#,
        r#"[{"role":"system","content":[{"type":"text","text":"old"}]}]"#,
        r#"[{"role":"system","content":[]}]"#,
        r#"[{"role":"system","content":null}]"#,
        r#"[{"role":"system"}]"#,
        r#"[{"role":"user","content":"u"},{"role":"system","content":"late"}]"#,
        r#"[{"role":"system","content":"first","content":"last"}]"#,
        r#"["no message"]"#,
    ];
    let lines: Vec<String> = [PromptMode::Replace, PromptMode::Prepend, PromptMode::Append]
        .iter()
        .flat_map(|mode| cases.iter().map(move |case| format!("{mode:?} {case}\n     {}", patched(*mode, case))))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_request_without_messages_gets_no_prompt() {
    let patch = Patch::default().with_prompt(PromptMode::Replace, "p").unwrap();
    assert_eq!(leave(&patch, r#"{"model":"m"}"#), None);
    assert_eq!(leave(&patch, r#"{"model":"m","messages":"hello"}"#), None);
}

#[test]
fn tools_are_replaced_or_merged_by_name() {
    let ours = r#"[{"type":"function","function":{"name":"f","parameters":{}}}]"#;
    let theirs = r#"[{"type":"function","function":{"name":"f","old":1}}, {"type":"custom","custom":{"name":"g"}},{"type":"web_search"}]"#;
    let body = format!(r#"{{"model":"m","tools":{theirs}}}"#);
    let tools = |mode, body: &str| {
        let patch = Patch::default().with_tools(mode, ours).unwrap();
        let patched: Value = serde_json::from_str(&leave(&patch, body).unwrap()).unwrap();
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        let seen: Value = serde_json::from_slice(&patch.tools_for(&request).unwrap()).unwrap();
        assert_eq!(patched["tools"], seen);
        seen
    };
    assert_eq!(tools(ToolsMode::Replace, &body), ours.parse::<Value>().unwrap());
    assert_eq!(
        tools(ToolsMode::Merge, &body),
        r#"[{"function":{"name":"f","parameters":{}},"type":"function"},{"custom":{"name":"g"},"type":"custom"},{"type":"web_search"}]"#
            .parse::<Value>()
            .unwrap()
    );
    for none in [r#"{"model":"m"}"#, r#"{"model":"m","tools":null}"#, r#"{"model":"m","tools":[]}"#] {
        assert_eq!(tools(ToolsMode::Merge, none), tools(ToolsMode::Replace, none));
    }
}

#[test]
fn usage_is_asked_for_where_the_client_streams_and_did_not() {
    let asked = |rest: &str| {
        let body = format!(r#"{{"model":"m",{rest}}}"#);
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        let patched = Patch::default().apply(&request, AskUsage::Inject);
        let now: Option<Value> = patched.body.map(|body| serde_json::from_slice(&body).unwrap());
        (patched.usage_injected, now.map(|now| now["stream_options"].clone()))
    };
    let on = Some(json!({"include_usage": true}));
    assert_eq!(asked(r#""stream":true"#), (true, on.clone()));
    assert_eq!(asked(r#""stream":true,"stream_options":null"#), (true, on.clone()));
    assert_eq!(asked(r#""stream":true,"stream_options":{ }"#), (true, on.clone()));
    assert_eq!(asked(r#""stream":true,"stream_options":{"include_usage":false}"#), (true, on));
    let kept = Some(json!({"include_usage": true, "include_obfuscation": false}));
    assert_eq!(asked(r#""stream":true,"stream_options":{"include_obfuscation":false}"#), (true, kept));
    assert_eq!(asked(r#""stream":true,"stream_options":{"include_usage":true}"#), (false, None));
    assert_eq!(asked(r#""stream":false"#), (false, None));
    assert_eq!(asked(r#""n":1"#), (false, None));
}

#[test]
fn a_version_that_cannot_be_put_into_requests_is_refused() {
    let patch = Patch::default;
    assert_eq!(patch().with_param("stream", "true").unwrap_err(), PatchError::Reserved("stream".to_owned()));
    assert!(matches!(patch().with_param("temperature", "0,2").unwrap_err(), PatchError::Param { .. }));
    assert_eq!(patch().with_tools(ToolsMode::Merge, "[]").unwrap_err(), PatchError::NoTools);
    assert_eq!(patch().with_tools(ToolsMode::Merge, "{}").unwrap_err(), PatchError::NoTools);
    assert!(matches!(patch().with_tools(ToolsMode::Merge, "[1").unwrap_err(), PatchError::Tools(_)));
}

/// Members of a body, some of them twice, in any order.
fn members() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let member = prop::sample::select(vec![
        ("model", r#""a""#),
        ("model", r#""b""#),
        ("\\u006dodel", r#""c""#),
        ("messages", r#"[{"role":"system","content":"s"},{"role":"user","content":"u"}]"#),
        ("messages", "[]"),
        ("temperature", "1"),
        ("temperature", "null"),
        ("tools", "null"),
        ("tools", r#"[{"type":"function","function":{"name":"x"}}]"#),
        ("stream", "true"),
        ("stream_options", r#"{"a":{"include_usage":false}}"#),
        ("stream_options", r#"{"include_usage":false,"b":1}"#),
        ("seed", "7"),
        ("other", r#"{"model":"inner","temperature":[]}"#),
    ]);
    prop::collection::vec(member, 0..8).prop_map(|mut members| {
        members.push(("model", r#""last""#));
        members
    })
}

proptest! {
    #[test]
    fn splicing_is_editing_the_tree(
        members in members(),
        model in prop::option::of("[a-z\"é]{1,5}"),
        temperature in prop::option::of(prop::sample::select(vec!["0.5", "1", "null"])),
        prompt in any::<bool>(),
        tools in any::<bool>(),
        inject in any::<bool>(),
        space in prop::sample::select(vec!["", " ", "\n  "]),
    ) {
        let inner: Vec<String> =
            members.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}")).collect();
        let body = format!("{{{}}}", inner.join(","));
        let mut tree: Map<String, Value> = serde_json::from_str(&body).unwrap();
        let mut patch = Patch::default();
        if let Some(model) = &model {
            patch = patch.with_model(model);
            tree.insert("model".to_owned(), json!(model));
        }
        if let Some(temperature) = temperature {
            patch = patch.with_param("temperature", temperature).unwrap();
            tree.insert("temperature".to_owned(), serde_json::from_str(temperature).unwrap());
        }
        if prompt {
            patch = patch.with_prompt(PromptMode::Replace, "p\n").unwrap();
            if let Some(Value::Array(messages)) = tree.get_mut("messages") {
                match messages.first_mut() {
                    Some(system) => system["content"] = json!("p\n"),
                    None => messages.push(json!({"role": "system", "content": "p\n"})),
                }
            }
        }
        if tools {
            patch = patch.with_tools(ToolsMode::Replace, r#"[{"type":"web"}]"#).unwrap();
            tree.insert("tools".to_owned(), json!([{"type": "web"}]));
        }
        if inject && tree.get("stream") == Some(&json!(true)) {
            tree.entry("stream_options").or_insert_with(|| json!({}))["include_usage"] = json!(true);
        }
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        let patched = patch.apply(&request, if inject { AskUsage::Inject } else { AskUsage::Leave });
        let result = patched.body.unwrap_or_else(|| body.clone().into_bytes());
        prop_assert_eq!(&serde_json::from_slice::<Map<String, Value>>(&result).unwrap(), &tree);
        // Once patched, a request needs no patch.
        let again = ChatRequest::read(&result).unwrap();
        prop_assert_eq!(patch.apply(&again, AskUsage::Leave).body, None);
    }

    /// Whatever a prompt says, its provider reads just that: nothing in it ends its string or begins another member.
    #[test]
    fn a_prompt_is_read_as_it_is_written(
        text in prop_oneof![any::<String>(), "[\"\\\\{}:,u0-9\u{0}-\u{1f}\u{2028}é]{0,24}"],
        (dialect, place) in prop::sample::select(vec![
            (Dialect::Chat, "/messages/0/content"),
            (Dialect::Messages, "/system"),
            (Dialect::Responses, "/instructions"),
        ]),
        mode in prop::sample::select(vec![PromptMode::Replace, PromptMode::Prepend, PromptMode::Append]),
    ) {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"u"}],"input":"u"}"#;
        let request = ChatRequest::read_as(dialect, body.as_bytes()).unwrap();
        let patched = Patch::new(dialect).with_prompt(mode, &text).unwrap().apply(&request, AskUsage::Leave);
        let patched: Value = serde_json::from_slice(&patched.body.unwrap()).unwrap();
        prop_assert_eq!(patched.pointer(place), Some(&json!(text)));
        prop_assert_eq!(&patched["input"], &json!("u"));
        let before: Value = serde_json::from_str(body).unwrap();
        let members = |body: &Value| body.as_object().unwrap().len();
        prop_assert_eq!(members(&patched), members(&before) + usize::from(dialect != Dialect::Chat));
    }

    #[test]
    fn a_patched_key_is_there_once(members in members()) {
        let inner: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let body = format!("{{{}}}", inner.join(","));
        let patch = Patch::default().with_model("new").with_param("temperature", "0").unwrap();
        let result = leave(&patch, &body).unwrap();
        let request = ChatRequest::read(result.as_bytes()).unwrap();
        for key in ["model", "temperature"] {
            prop_assert_eq!(request.members.iter().filter(|member| member.key.is(key)).count(), 1);
        }
    }
}
