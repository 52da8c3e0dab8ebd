//! Requests.

use crate::dialect::Dialect;
use crate::json;
use crate::openai::{AskUsage, ChatRequest, Patch, PromptMode};
use crate::translate::{LimitName, Terms, ToolsOf, request};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(super) const TERMS: Terms = Terms { max_tokens: 4096, limit: LimitName::MaxCompletionTokens };

pub(super) fn translate(dialect: Dialect, body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let read = ChatRequest::read_as(dialect, body.as_bytes()).unwrap();
    let written = request(&read, TERMS, ToolsOf::Client).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&written.whole()).unwrap())
}

pub(super) fn chat(rest: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body
}

pub(super) fn messages(rest: Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body
}

fn full_chat() -> Value {
    chat(json!({
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "Look é \"q\""},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO/+==", "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}},
            ]},
            {"role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{\"n\": 1.50, \"s\": \"é\"}"}},
                {"id": "call_b", "type": "function", "function": {"name": "f", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call_a", "content": "one"},
            {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}, "strict": true}}],
        "tool_choice": "required", "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.9, "stop": "END",
        "max_completion_tokens": 77, "stream": true, "stream_options": {"include_usage": true}, "user": "u-1",
        "metadata": {"session_id": "s"}, "n": 1, "frequency_penalty": 0, "logit_bias": {}, "seed": null, "store": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "additionalProperties": false}, "strict": true}},
    }))
}

fn full_messages() -> Value {
    messages(json!({
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look é \"q\""},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO/+=="}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.jpg"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {"n": 1.5}},
                {"type": "tool_use", "id": "toolu_b", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "toolu_b", "content": [{"type": "text", "text": "two"}], "is_error": true},
                {"type": "text", "text": "And?"},
            ]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"], "stream": true,
        "metadata": {"user_id": "u-1"}, "thinking": {"type": "disabled"}, "service_tier": "auto",
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": false}}},
    }))
}

#[test]
fn chat_completions_become_messages() {
    insta::assert_json_snapshot!(translate(Dialect::Chat, &full_chat()).unwrap());
}

#[test]
fn messages_become_chat_completions() {
    insta::assert_json_snapshot!(translate(Dialect::Messages, &full_messages()).unwrap());
}

#[test]
fn what_goes_over_and_back_says_the_same() {
    let there = translate(Dialect::Messages, &full_messages()).unwrap();
    let back = translate(Dialect::Chat, &there).unwrap();
    let again = translate(Dialect::Messages, &back).unwrap();
    assert_eq!(there, again);
}

#[test]
fn the_limit_of_tokens_has_two_names_and_a_default() {
    assert_eq!(translate(Dialect::Chat, &chat(json!({}))).unwrap()["max_tokens"], 4096);
    assert_eq!(translate(Dialect::Chat, &chat(json!({"max_tokens": 5}))).unwrap()["max_tokens"], 5);
    assert_eq!(translate(Dialect::Messages, &messages(json!({}))).unwrap()["max_completion_tokens"], 9);
    let body = messages(json!({})).to_string();
    let read = ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap();
    let older = request(&read, Terms { limit: LimitName::MaxTokens, ..TERMS }, ToolsOf::Client).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&older.whole()).unwrap()["max_tokens"], 9);
}

#[test]
fn arguments_and_pictures_go_over_byte_for_byte() {
    let body = r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"b\":12345678901234567890.10, \"a\":1e400}"}}]},{"role":"tool","tool_call_id":"a","content":""},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/webp;base64,AA\/+"}}]}]}"#;
    let read = ChatRequest::read(body.as_bytes()).unwrap();
    let there = String::from_utf8(request(&read, TERMS, ToolsOf::Client).unwrap().whole()).unwrap();
    assert!(there.contains(r#""input":{"b":12345678901234567890.10, "a":1e400}"#), "{there}");
    assert!(there.contains(r#"{"type":"base64","media_type":"image/webp","data":"AA\/+"}"#), "{there}");
    let read = ChatRequest::read_as(Dialect::Messages, there.as_bytes()).unwrap();
    let back = String::from_utf8(request(&read, TERMS, ToolsOf::Client).unwrap().whole()).unwrap();
    assert!(back.contains(r#""arguments":"{\"b\":12345678901234567890.10, \"a\":1e400}""#), "{back}");
    assert!(back.contains(r#""url":"data:image/webp;base64,AA\/+""#), "{back}");
}

#[test]
fn what_messages_cannot_say_is_refused_by_name() {
    let user = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let call = |arguments: &str, id: &str| {
        json!({"messages": [
            {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": id, "content": "x"},
        ]})
    };
    let cases = [
        json!({"n": 2}),
        json!({"seed": 1}),
        json!({"temperature": 1.5}),
        json!({"frequency_penalty": 0.1}),
        json!({"logprobs": true}),
        json!({"reasoning_effort": "low"}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
        json!({"tool_choice": "required"}),
        json!({"store": true}),
        json!({"web_search_options": {}}),
        json!({"messages": []}),
        json!({"messages": [{"role": "system", "content": "only"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "late"}, {"role": "user", "content": "b"}]}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        json!({"messages": [{"role": "user", "content": "a", "name": "Ann"}]}),
        json!({"messages": [{"role": "user", "content": ""}]}),
        user(json!({"type": "input_audio", "input_audio": {}})),
        user(json!({"type": "file", "file": {"file_id": "f"}})),
        user(json!({"type": "image_url", "image_url": {"url": "x", "detail": "low"}})),
        user(json!({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}})),
        call("[1]", "a"),
        call("{", "a"),
        call("{}", "a.b"),
        json!({"stop": "\n"}),
        json!({"stop": ["END", " \t"]}),
        json!({"messages": [{"role": "user", "content": " \n"}]}),
        user(json!({"type": "text", "text": "\u{3000}"})),
        json!({"messages": [
            {"role": "assistant", "content": "\n\n", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ]}),
        json!({"tools": [{"type": "function", "function": {"name": "files.read"}}]}),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|case| format!("{case}\n    {}", translate(Dialect::Chat, &chat(case.clone())).unwrap_err()))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// Many write `image/jpg`, which messages do not know; a name of a media type has no case.
#[test]
fn a_picture_has_the_media_type_that_messages_know() {
    let url = |url: &str| {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        translate(Dialect::Chat, &chat(json!({"messages": [{"role": "user", "content": [part]}]})))
    };
    for (written, known) in [
        ("image/jpg", "image/jpeg"),
        ("IMAGE/JPG", "image/jpeg"),
        ("image/PNG", "image/png"),
        ("image/webp", "image/webp"),
    ] {
        let there = url(&format!("data:{written};base64,AA==")).unwrap();
        let source = &there["messages"][0]["content"][0]["source"];
        assert_eq!(source, &json!({"type": "base64", "media_type": known, "data": "AA=="}));
    }
    assert!(url("data:image/jpgx;base64,AA==").is_err());
    // messages fetch over TLS alone
    assert!(url("HTTPS://example.org/a.jpg").is_ok());
    assert!(url("http://example.org/a.jpg").unwrap_err().contains("`https`"));
}

#[test]
fn a_part_that_refuses_is_what_the_assistant_said() {
    let said = |content: Value| {
        let turns = [("user", json!("Hi")), ("assistant", content), ("user", json!("And?"))];
        let turns = turns.map(|(role, content)| json!({"role": role, "content": content}));
        Ok::<_, String>(translate(Dialect::Chat, &chat(json!({"messages": turns})))?["messages"][1]["content"].take())
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let refusal = json!({"type": "refusal", "refusal": "I cannot."});
    assert_eq!(said(json!([refusal])).unwrap(), json!([text("I cannot.")]));
    assert_eq!(said(json!([text("Well."), refusal])).unwrap(), json!([text("Well."), text("I cannot.")]));
    assert!(said(json!([{"type": "input_audio", "input_audio": {}}])).is_err());
    let user = json!({"messages": [{"role": "user", "content": [refusal]}]});
    assert!(translate(Dialect::Chat, &chat(user)).is_err(), "only the assistant refuses");
}

/// A model is told what the answer is for; messages have no place for that but the schema's own.
#[test]
fn what_an_answer_is_for_is_said_in_its_schema() {
    let form = |described: Value| {
        let form = json!({"type": "json_schema", "json_schema": described});
        let there = translate(Dialect::Chat, &chat(json!({"response_format": form})))?;
        Ok::<_, String>(there["output_config"]["format"]["schema"].clone())
    };
    let schema = |description: Option<&str>| {
        let mut schema = json!({"type": "object", "additionalProperties": false});
        if let Some(description) = description {
            schema["description"] = json!(description);
        }
        schema
    };
    let named = |description: &str, own| json!({"name": "x", "description": description, "schema": schema(own)});
    for (description, own, told) in [
        ("what for", None, Some("what for")),
        ("", None, None),
        ("same", Some("same"), Some("same")),
        ("", Some("a"), Some("a")),
    ] {
        assert_eq!(form(named(description, own)).unwrap(), schema(told), "{description}");
    }
    assert_eq!(form(json!({"name": "x", "description": "d", "schema": {}})).unwrap(), json!({"description": "d"}));
    assert!(form(named("one", Some("another"))).unwrap_err().contains("description"));
    assert!(form(json!({"name": "x", "schema": schema(None), "grammar": "g"})).is_err());
    let format = json!({"type": "json_schema", "schema": schema(None), "grammar": "g"});
    assert!(translate(Dialect::Messages, &messages(json!({"output_config": {"format": format}}))).is_err());
}

#[test]
fn what_chat_completions_cannot_say_is_refused_by_name() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let cases = [
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        json!({"top_k": 5}),
        json!({"container": "c"}),
        json!({"output_config": {"effort": "low"}}),
        json!({"stop_sequences": ["a", "b", "c", "d", "e"]}),
        json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        json!({"system": [{"type": "image"}]}),
        json!({"messages": []}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "prefill"}]}),
        user(json!({"type": "document", "source": {}})),
        user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        user(json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]})),
        user(json!({"type": "text", "text": "x", "citations": [1]})),
        json!({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}, {"role": "user", "content": "b"}]}),
        json!({"tools": [{"name": "n".repeat(65), "input_schema": {}}]}),
        called(&"i".repeat(41), "f"),
        called("i", &"n".repeat(65)),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|case| format!("{case}\n    {}", translate(Dialect::Messages, &messages(case.clone())).unwrap_err()))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// What is not of the shape that a dialect has is refused there. Some servers take it all the same, and it is not lost on the way.
#[test]
fn what_has_another_shape_than_it_should_is_not_left_out() {
    let said = |role: &str, content: Value| {
        let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        json!({"messages": [
            {"role": "system", "content": if role == "system" { content.clone() } else { json!("Be kind.") }},
            {"role": "user", "content": if role == "user" { content.clone() } else { json!("Hi") }},
            {"role": "assistant", "content": if role == "assistant" { content.clone() } else { json!("So:") }, "tool_calls": call},
            {"role": "tool", "tool_call_id": "a", "content": if role == "tool" { content } else { json!("x") }},
        ]})
    };
    let odd = [json!({"a": 1}), json!(5), json!([{"type": "text"}]), json!([{"type": "text", "text": 5}])];
    for role in ["system", "user", "assistant", "tool"] {
        assert!(translate(Dialect::Chat, &chat(said(role, json!("well")))).is_ok(), "{role}");
        for content in &odd {
            let body = chat(said(role, content.clone()));
            assert!(translate(Dialect::Chat, &body).is_err(), "{body}");
        }
    }
    for body in [
        json!({"tools": {"type": "function"}}),
        json!({"response_format": "json_object"}),
        json!({"parallel_tool_calls": "false"}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": {}}, {"role": "user", "content": "c"}]}),
    ] {
        assert!(translate(Dialect::Chat, &chat(body.clone())).is_err(), "{body}");
    }
    let result = |content: &Value| {
        json!({"messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": content}]},
        ]})
    };
    let turn = |role: &str, content: &Value| json!({"messages": [{"role": role, "content": content}, {"role": "user", "content": "b"}]});
    for content in &odd {
        for body in [json!({"system": content}), result(content), turn("user", content), turn("assistant", content)] {
            assert!(translate(Dialect::Messages, &messages(body.clone())).is_err(), "{body}");
        }
    }
    for body in [
        json!({"tools": {"name": "f"}}),
        json!({"stop_sequences": "END"}),
        json!({"tool_choice": "auto"}),
        json!({"output_config": "json"}),
        json!({"output_format": []}),
    ] {
        assert!(translate(Dialect::Messages, &messages(body.clone())).is_err(), "{body}");
    }
}

/// A turn that has called a tool, and goes on.
#[test]
fn a_schema_that_the_other_would_refuse_is_not_sent() {
    let schema = |property: Value, required: Value| json!({"type": "object", "properties": {"n": property}, "required": required, "additionalProperties": false});
    let (plain, bounded) = (json!({"type": "integer"}), json!({"type": "integer", "minimum": 1}));
    let open = json!({"type": "object", "properties": {}});

    let answer = |schema: &Value| {
        chat(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}))
    };
    let tool = |schema: &Value, strict: bool| {
        chat(
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}]}),
        )
    };
    let to_messages = |body: Value| translate(Dialect::Chat, &body).err().unwrap_or_default();
    assert_eq!(to_messages(answer(&schema(plain.clone(), json!(["n"])))), "");
    assert_eq!(to_messages(answer(&schema(plain.clone(), json!([])))), "");
    assert_eq!(
        to_messages(answer(&schema(bounded.clone(), json!(["n"])))),
        "`minimum` of a schema cannot be said in messages"
    );
    assert!(to_messages(answer(&open)).contains("additionalProperties"));
    assert!(to_messages(tool(&open, true)).contains("additionalProperties"));
    assert_eq!(to_messages(tool(&open, false)), "", "what is no more than told is not held to");

    let answer =
        |schema: &Value| messages(json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
    let tool = |schema: &Value| messages(json!({"tools": [{"name": "f", "input_schema": schema, "strict": true}]}));
    let optional = schema(plain, json!([]));
    for body in [answer(&optional), tool(&optional)] {
        let refused = translate(Dialect::Messages, &body).unwrap_err();
        assert!(refused.contains("not `required`"), "{refused}");
        let body = body.to_string();
        let read = ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap();
        assert!(
            request(&read, Terms { limit: LimitName::MaxTokens, ..TERMS }, ToolsOf::Client).is_ok(),
            "others have no such bounds"
        );
    }
    assert!(translate(Dialect::Messages, &answer(&schema(bounded, json!(["n"])))).is_ok());
}

#[test]
fn a_system_message_inside_a_conversation_of_messages_keeps_its_place() {
    let inside = json!([
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "And?"},
    ]);
    let there = translate(Dialect::Messages, &messages(json!({"system": "Be kind.", "messages": inside}))).unwrap();
    let said = |place: usize| (there["messages"][place]["role"].as_str(), there["messages"][place]["content"].as_str());
    assert_eq!(said(0), (Some("system"), Some("Be kind.")));
    assert_eq!(said(2), (Some("system"), Some("Be brief.")));
    assert_eq!(said(3), (Some("user"), Some("And?")));
}

fn called(id: &str, name: &str) -> Value {
    json!({"messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": name, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "x"}]},
    ]})
}

/// OpenAI's own bounds are not those of everybody who speaks like it.
#[test]
fn other_servers_take_longer_names() {
    let (id, name) = ("i".repeat(100), "n".repeat(100));
    let long = |text: &str| (text.matches(&id).count(), text.matches(&name).count());
    for case in [called(&id, "f"), called("i", &name), json!({"tools": [{"name": name, "input_schema": {}}]})] {
        let body = messages(case).to_string();
        let read = ChatRequest::read_as(Dialect::Messages, body.as_bytes()).unwrap();
        let there = request(&read, Terms { limit: LimitName::MaxTokens, ..TERMS }, ToolsOf::Client).unwrap();
        let there = String::from_utf8(there.whole()).unwrap();
        assert!(long(&there) == long(&body) && long(&body) != (0, 0), "{there}");
    }
}

/// Newer models of messages take one of the two. A default says nothing, and many clients send it.
#[test]
fn of_temperature_and_top_p_the_one_that_says_nothing_is_left_out() {
    let one = |value: &str| format!(r#"{{"model":"m",{value},"messages":[{{"role":"user","content":"Hi"}}]}}"#);
    for (asked, told) in [
        (r#""temperature":0.20,"top_p":1.0"#, (Some("0.20"), None)),
        (r#""temperature":1,"top_p":0.9"#, (None, Some("0.9"))),
        (r#""temperature":1,"top_p":1"#, (Some("1"), None)),
        (r#""top_p":1"#, (None, Some("1"))),
        (r#""temperature":1"#, (Some("1"), None)),
        (r#""temperature":0.2,"top_p":0.9"#, (Some("0.2"), Some("0.9"))),
    ] {
        let body = one(asked);
        let there = request(&ChatRequest::read(body.as_bytes()).unwrap(), TERMS, ToolsOf::Client).unwrap();
        let text = String::from_utf8(there.whole()).unwrap();
        for (name, value) in [("temperature", told.0), ("top_p", told.1)] {
            let said = value.map(|value| text.contains(&format!("\"{name}\":{value}")));
            assert!(said.unwrap_or(!text.contains(name)), "{asked}: {text}");
        }
    }
}

/// Arguments are always an object; messages want it said.
#[test]
fn a_tool_that_leaves_its_schema_open_is_told_as_one_of_an_object() {
    let schema = |parameters: &str| {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],"tools":[{{"type":"function","function":{{"name":"f"{parameters}}}}}]}}"#
        );
        let there = request(&ChatRequest::read(body.as_bytes()).unwrap(), TERMS, ToolsOf::Client).unwrap();
        let there = String::from_utf8(there.whole()).unwrap();
        there.split_once("\"input_schema\":").unwrap().1.trim_end_matches("}]}").to_owned()
    };
    let none = r#"{"type":"object","properties":{}}"#;
    for (asked, told) in [
        ("", none),
        (r#","parameters":null"#, none),
        (r#","parameters":{ }"#, none),
        (
            r#","parameters":{ "properties":{"a":{"type":"integer", "x":1.50}}}"#,
            r#"{"type":"object", "properties":{"a":{"type":"integer", "x":1.50}}}"#,
        ),
        (r#","parameters":{"properties":{}, "type" : "object"}"#, r#"{"properties":{}, "type" : "object"}"#),
    ] {
        assert_eq!(schema(asked), told, "{asked}");
    }
}

/// Agents write what they know of a session into its user's name; no provider takes that much.
#[test]
fn a_name_of_a_user_that_is_too_long_is_left_out() {
    let named = |length: usize| messages(json!({"metadata": {"user_id": "é".repeat(length)}}));
    assert_eq!(translate(Dialect::Messages, &named(64)).unwrap()["user"], "é".repeat(64));
    assert_eq!(translate(Dialect::Messages, &named(65)).unwrap().get("user"), None);
    let named = |length: usize| chat(json!({"user": "é".repeat(length)}));
    assert_eq!(translate(Dialect::Chat, &named(256)).unwrap()["metadata"]["user_id"], "é".repeat(256));
    assert_eq!(translate(Dialect::Chat, &named(257)).unwrap().get("metadata"), None);
}

/// Turns of a conversation that both dialects can say: text, then perhaps calls with their results.
fn turns() -> impl Strategy<Value = Vec<Value>> {
    // nothing but white space cannot be said
    let text = "[\n ]{0,2}[a-zé漢😀\"\\\\][a-zé漢😀\"\\\\\n ]{0,9}";
    let calls = prop::collection::vec(("[a-z]{1,6}", 0_u32..9), 0..3);
    let turn = (text, text, calls).prop_map(|(asked, said, calls)| {
        let mut turn = vec![json!({"role": "user", "content": asked})];
        let mut answer = json!({"role": "assistant", "content": said});
        let named: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(at, (name, n))| json!({"id": format!("call_{at}"), "type": "function", "function": {"name": name, "arguments": format!("{{\"n\":{n}}}")}}))
            .collect();
        let results = (0..calls.len()).map(|at| json!({"role": "tool", "tool_call_id": format!("call_{at}"), "content": "r"}));
        if !calls.is_empty() {
            answer["tool_calls"] = json!(named);
        }
        turn.push(answer);
        turn.extend(results);
        turn
    });
    prop::collection::vec(turn, 0..4).prop_map(|turns| {
        let numbered = turns.iter().enumerate().map(|(at, turn)| {
            let text = json!(turn).to_string().replace(":\"call_", &format!(":\"call_{at}_"));
            serde_json::from_str::<Vec<Value>>(&text).unwrap()
        });
        numbered.collect::<Vec<_>>().concat()
    })
}

/// Leading messages, as clients write their prompts.
fn leading() -> impl Strategy<Value = Vec<Value>> {
    let part =
        prop::sample::select(vec!["", "a", "b\"", "{{c}}"]).prop_map(|text| json!({"type": "text", "text": text}));
    let content = prop_oneof![
        prop::sample::select(vec!["", "first", "second", "é"]).prop_map(|text| json!(text)),
        prop::collection::vec(part, 0..3).prop_map(|parts| json!(parts)),
        Just(Value::Null),
    ];
    let message = (prop::sample::select(vec!["system", "developer"]), content);
    prop::collection::vec(message.prop_map(|(role, content)| json!({"role": role, "content": content})), 0..4)
}

/// All that a prompt says, where its pieces stand one behind the other.
fn said(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value["text"].as_str().unwrap_or_default().to_owned();
    let blocks = body["system"].as_array().map(|blocks| blocks.iter().map(text).collect::<String>());
    let whole = body["system"].as_str().map(str::to_owned);
    whole.or(blocks).unwrap_or_default().replace("\n\n", "")
}

/// A version's prompt meets the first of the client's, whichever dialect its provider speaks; a mark of that one's for the
/// provider's cache stays.
#[test]
fn what_stands_beside_the_first_system_message_stays() {
    let body = chat(json!({"messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "developer", "content": "It is Monday."},
        {"role": "user", "content": "Hi"},
    ]}));
    let body = body.to_string();
    let there = request(&ChatRequest::read(body.as_bytes()).unwrap(), TERMS, ToolsOf::Client).unwrap();
    let system = |mode| {
        let patch = Patch::new(Dialect::Messages).with_prompt(mode, "NEW").unwrap();
        let patched = there.patched(Dialect::Messages, &patch, AskUsage::Leave);
        String::from_utf8(json::member(&patched, "system").unwrap().to_vec()).unwrap()
    };
    insta::assert_snapshot!(system(PromptMode::Replace), @r#"[{"type":"text","text":"NEW","cache_control":{"type":"ephemeral"}},{"type":"text","text":"It is Monday."}]"#);
    insta::assert_snapshot!(system(PromptMode::Prepend), @r#"[{"type":"text","text":"NEW"},{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}},{"type":"text","text":"It is Monday."}]"#);
    insta::assert_snapshot!(system(PromptMode::Append), @r#"[{"type":"text","text":"Be kind.","cache_control":{"type":"ephemeral"}},{"type":"text","text":"NEW"},{"type":"text","text":"It is Monday."}]"#);
}

proptest! {
    #[test]
    fn a_prompt_says_the_same_put_in_before_or_after_it_is_translated(
        leading in leading(),
        mode in prop::sample::select(vec![PromptMode::Replace, PromptMode::Prepend, PromptMode::Append]),
    ) {
        let turns = [leading, vec![json!({"role": "user", "content": "Hi"})]].concat();
        let body = json!({"model": "m", "messages": turns}).to_string();
        let asked = ChatRequest::read(body.as_bytes()).unwrap();

        let native = Patch::new(Dialect::Chat).with_prompt(mode, "NEW").unwrap();
        let patched = native.apply(&asked, AskUsage::Leave).body.unwrap();
        let before = request(&ChatRequest::read(&patched).unwrap(), TERMS, ToolsOf::Client).unwrap().whole();

        let there = request(&asked, TERMS, ToolsOf::Client).unwrap();
        let foreign = Patch::new(Dialect::Messages).with_prompt(mode, "NEW").unwrap();
        let after = there.patched(Dialect::Messages, &foreign, AskUsage::Leave);
        prop_assert_eq!(said(&after), said(&before));
    }

    #[test]
    fn a_conversation_comes_back_as_it_went(mut turns in turns()) {
        turns.push(json!({"role": "user", "content": "last"}));
        let body = json!({"model": "m", "max_completion_tokens": 5, "messages": turns});
        let there = translate(Dialect::Chat, &body).unwrap();
        let mut back = translate(Dialect::Messages, &there).unwrap();
        // A result alone in its list of blocks is a text again.
        prop_assert_eq!(back["messages"].take(), body["messages"].clone());
    }
}
