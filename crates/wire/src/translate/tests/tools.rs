//! Tools: which of them there are, which may be called, and what was called.

use super::requests::{TERMS, chat, messages, translate};
use crate::dialect::Dialect;
use crate::openai::{ChatRequest, Patch, ToolsMode};
use crate::translate::{LimitName, Terms, Told, ToolsOf, Translator, request};
use serde_json::{Value, json};

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

fn of_three(choice: Value) -> Value {
    chat(json!({"tools": [tool("f"), tool("g"), tool("h")], "tool_choice": choice}))
}

fn allowed(mode: &str, names: &[&str]) -> Value {
    let tools: Vec<Value> = names.iter().map(|name| tool(name)).collect();
    json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
}

fn names(body: &Value) -> Vec<&str> {
    body["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect()
}

#[test]
fn tools_that_may_not_be_called_are_not_declared_to_messages() {
    for (mode, names_allowed, told) in [("auto", &["h", "f"][..], "auto"), ("required", &["g"], "any")] {
        let mut body = of_three(allowed(mode, names_allowed));
        let there = translate(Dialect::Chat, &body).unwrap();
        let mut sorted = names_allowed.to_vec();
        sorted.sort_unstable();
        assert_eq!(names(&there), sorted);
        assert_eq!(there["tool_choice"], json!({"type": told}));
        body["parallel_tool_calls"] = json!(false);
        let alone = translate(Dialect::Chat, &body).unwrap();
        assert_eq!(alone["tool_choice"], json!({"type": told, "disable_parallel_tool_use": true}));
    }
    // what was called before and may not be called now is told as it was
    let mut body = of_three(allowed("auto", &["g"]));
    body["messages"] = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]);
    assert_eq!(translate(Dialect::Chat, &body).unwrap()["messages"][1]["content"][0]["name"], "f");
}

#[test]
fn a_list_of_allowed_tools_that_cannot_be_held_to_is_refused() {
    let custom = json!({"type": "custom", "custom": {"name": "f"}});
    let with = |tools: Value| json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}});
    for choice in [
        allowed("auto", &[]),
        allowed("auto", &["f", "of nobody"]),
        allowed("sometimes", &["f"]),
        with(json!([custom])),
        with(json!([tool("f"), {"type": "mcp", "server_label": "x"}])),
        json!({"type": "allowed_tools", "mode": "auto", "tools": [tool("f")]}),
    ] {
        let refused = translate(Dialect::Chat, &of_three(choice.clone())).unwrap_err();
        assert!(refused.contains("`tool_choice`") || refused.contains("`mode`"), "{choice}: {refused}");
    }
}

/// Tools of the version's own would come beside those that alone are allowed, or in their place.
#[test]
fn allowed_tools_do_not_meet_tools_of_the_version() {
    let patch = || Patch::new(Dialect::Messages).with_model("m");
    let own = json!([tool("own")]).to_string();
    let versions = [
        patch().with_tools(ToolsMode::Replace, &own).unwrap(),
        patch().with_tools(ToolsMode::Merge, &own).unwrap(),
        patch().with_param("tool_choice", r#"{"type":"any"}"#).unwrap(),
    ];
    let asked = |body: Value, patch: &Patch| {
        let body = body.to_string();
        request(&ChatRequest::read(body.as_bytes()).unwrap(), TERMS, patch.tools_of()).is_ok()
    };
    for version in versions {
        assert!(!asked(of_three(allowed("auto", &["f"])), &version));
        assert!(asked(of_three(json!("auto")), &version));
    }
    assert!(asked(of_three(allowed("auto", &["f"])), &patch().with_param("temperature", "0.5").unwrap()));
}

/// What messages would refuse by itself makes no version look worse.
#[test]
fn names_and_ids_that_messages_refuse_are_refused() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let twice = |first: &str, second: &str| {
        let turns = [first, second].map(|id| [json!({"role": "assistant", "tool_calls": [call(id)]}), result(id)]);
        chat(json!({"messages": turns.concat()}))
    };
    assert!(translate(Dialect::Chat, &twice("call_0", "call_1")).is_ok());
    assert!(translate(Dialect::Chat, &twice("call_0", "call_0")).unwrap_err().contains("once more"));
    let of = |names: &[&str]| chat(json!({"tools": names.iter().map(|name| tool(name)).collect::<Vec<_>>()}));
    assert!(translate(Dialect::Chat, &of(&["f", &"n".repeat(128)])).is_ok());
    assert!(translate(Dialect::Chat, &of(&["f", &"n".repeat(129)])).is_err());
    assert!(translate(Dialect::Chat, &of(&["f", "f"])).unwrap_err().contains("one name"));
}

fn other_server(body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let read = ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap();
    let written = request(&read, Terms { limit: LimitName::MaxTokens, ..TERMS }, ToolsOf::Client);
    Ok(serde_json::from_slice(&written.map_err(|error| error.to_string())?.whole()).unwrap())
}

fn declared(schema: &Value) -> Value {
    messages(json!({"tools": [{"name": "f", "input_schema": schema}]}))
}

/// OpenAI refuses an object that leaves out that it has no properties.
#[test]
fn a_tool_without_arguments_says_so() {
    let parameters = |schema: Value| {
        translate(Dialect::Messages, &declared(&schema)).unwrap()["tools"][0]["function"]["parameters"].clone()
    };
    assert_eq!(parameters(json!({"type": "object"})), json!({"type": "object", "properties": {}}));
    let closed = json!({"type": "object", "properties": {"a": {"type": "object"}}});
    assert_eq!(parameters(closed.clone()), closed);
}

#[test]
fn what_openai_refuses_of_tools_is_refused_for_openai_alone() {
    let many = |count: u32| {
        let tools = (0..count).map(|n| json!({"name": format!("f{n}"), "input_schema": {"type": "object"}}));
        messages(json!({"tools": tools.collect::<Vec<_>>()}))
    };
    assert!(translate(Dialect::Messages, &many(128)).is_ok());
    let of_list = |list: Value| declared(&json!({"type": "object", "properties": {"a": list}}));
    let open = of_list(json!({"type": ["array", "null"], "prefixItems": [{"type": "string"}]}));
    for (body, named) in [(many(129), "128 tools"), (of_list(json!({"type": "array"})), "`items`"), (open, "`items`")] {
        let refused = translate(Dialect::Messages, &body).unwrap_err();
        assert!(refused.contains(named), "{refused}");
        assert!(other_server(&body).is_ok());
    }
    for list in [json!({"type": "array", "items": {}}), json!({"type": "string", "enum": ["array"]})] {
        assert!(translate(Dialect::Messages, &of_list(list)).is_ok());
    }
}

#[test]
fn a_choice_of_tools_without_tools_is_refused_both_ways() {
    for choice in ["any", "tool"] {
        let body = messages(json!({"tool_choice": {"type": choice, "name": "f"}}));
        assert!(translate(Dialect::Messages, &body).is_err());
    }
    let body = messages(json!({"tool_choice": {"type": "auto"}}));
    assert!(translate(Dialect::Messages, &body).unwrap().get("tool_choice").is_none());
}

/// The content of a tool's error says that it is one; an empty one would be taken for a success.
#[test]
fn an_error_of_a_tool_that_says_nothing_is_refused() {
    let failed = |content: Value| {
        messages(json!({"messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": content}]},
        ]}))
    };
    for nothing in [json!(null), json!(""), json!([]), json!([{"type": "text", "text": ""}])] {
        assert!(translate(Dialect::Messages, &failed(nothing)).unwrap_err().contains("says nothing"));
    }
    assert!(translate(Dialect::Messages, &failed(json!("down"))).is_ok());
}

/// In the order of the whole answer, though the first call has no arguments and never says more than its name.
#[test]
fn calls_of_a_stream_keep_their_order() {
    let piece = |index: u64, name: &str, arguments: &str| {
        let call =
            json!({"index": index, "id": format!("call_{index}"), "function": {"name": name, "arguments": arguments}});
        format!("data: {}\n\n", json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
    };
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
    let pieces = [piece(0, "f", ""), piece(1, "g", ""), piece(1, "", "{\"n\":"), piece(1, "", "1}"), end.to_owned()];
    let mut translator = Translator::stream(Dialect::Chat, 1, Told::No);
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| translator.feed(piece.as_bytes(), &mut out));
    let out = String::from_utf8(out).unwrap();
    let places = ["\"name\":\"f\"", "\"name\":\"g\""].map(|name| out.find(name).unwrap());
    assert!(places[0] < places[1] && out.ends_with("{\"type\":\"message_stop\"}\n\n"), "{out}");
}
