//! A version put into requests of responses, embeddings and completions of old.

use crate::dialect::Dialect;
use crate::openai::{AskUsage, ChatRequest, Patch, PatchError, PromptMode, ToolsMode};

fn apply(patch: &Patch, dialect: Dialect, body: &str) -> String {
    let request = ChatRequest::read_as(dialect, body.as_bytes()).unwrap();
    let patched = patch.apply(&request, AskUsage::Inject).body;
    patched.map_or_else(|| body.to_owned(), |body| String::from_utf8(body).unwrap())
}

fn responses() -> Patch {
    Patch::new(Dialect::Responses).with_model("m-2")
}

#[test]
fn the_prompt_takes_the_place_of_the_instructions() {
    let put = |mode, body: &str| apply(&responses().with_prompt(mode, "Be\nkind.").unwrap(), Dialect::Responses, body);
    let rest = r#" "x": [1.0, null] , "stream": true}"#;
    assert_eq!(
        put(PromptMode::Replace, &format!(r#"{{"model":"m","instructions":"Old.",{rest}"#)),
        format!(r#"{{"model":"m-2","instructions":"Be\nkind.",{rest}"#),
        "everything else byte for byte, and no usage is asked for"
    );
    assert_eq!(
        put(PromptMode::Append, r#"{"model":"m","instructions":"Old."}"#),
        r#"{"model":"m-2","instructions":"Old.\n\nBe\nkind."}"#
    );
    assert_eq!(
        put(PromptMode::Replace, r#"{"model":"m","instructions":null}"#),
        r#"{"model":"m-2","instructions":"Be\nkind."}"#
    );
    assert_eq!(
        put(PromptMode::Prepend, r#"{"model":"m","input":"Hi"}"#),
        r#"{"model":"m-2","input":"Hi","instructions":"Be\nkind."}"#
    );
    let developer = |text: &str| {
        format!(
            r#"{{"input":[{{"role":"developer","content":{text}}},{{"role":"user","content":"Hi"}}],"model":"m-2"}}"#
        )
    };
    assert_eq!(
        put(PromptMode::Replace, &developer(r#""Old.""#).replace("m-2", "m")),
        developer(r#""Be\nkind.""#),
        "where the client has its prompt in the input, that is the one"
    );
    assert_eq!(
        put(PromptMode::Append, &developer(r#"[{"type":"input_text","text":"Old."}]"#).replace("m-2", "m")),
        developer(r#"[{"type":"input_text","text":"Old."},{"type":"input_text","text":"Be\nkind."}]"#)
    );
}

#[test]
fn tools_are_written_as_responses_have_them() {
    let tools = r#"[{"type":"function","function":{"name":"f","description":"d","parameters":{"a": 1}}},{"type":"function","function":{"name":"g","strict":true}},{"type":"custom","custom":{"name":"c","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}}},{"type":"web_search"}]"#;
    let patch = responses().with_tools(ToolsMode::Merge, tools).unwrap();
    insta::assert_snapshot!(
        apply(&patch, Dialect::Responses, r#"{"model":"m","tools":[{"type":"function","name":"f"},{"type":"function","name":"own"}]}"#),
        @r#"{"model":"m-2","tools":[{"type":"function","name":"f","description":"d","parameters":{"a": 1},"strict":false},{"type":"function","name":"g","parameters":{"type":"object","properties":{}},"strict":true},{"type":"custom","name":"c","format":{"type":"grammar","syntax":"lark","definition":"x"}},{"type":"web_search"},{"type":"function","name":"own"}]}"#
    );
}

#[test]
fn parameters_of_chat_find_their_place() {
    let mut patch = responses();
    for (name, json) in [
        ("temperature", "0.2"),
        ("max_completion_tokens", "500"),
        ("reasoning_effort", r#""high""#),
        ("verbosity", r#""low""#),
        ("response_format", r#"{"type":"json_schema","json_schema":{"name":"a","schema":{}}}"#),
        ("tool_choice", r#"{"type":"function","function":{"name":"f"}}"#),
        ("min_p", "0.1"),
    ] {
        patch = patch.with_param(name, json).unwrap();
    }
    insta::assert_snapshot!(apply(&patch, Dialect::Responses, r#"{"model":"m"}"#), @r#"{"model":"m-2","temperature":0.2,"max_output_tokens":500,"tool_choice":{"type":"function","name":"f"},"min_p":0.1,"reasoning":{"effort":"high"},"text":{"verbosity":"low","format":{"type":"json_schema","name":"a","schema":{}}}}"#);
    insta::assert_snapshot!(
        apply(&patch, Dialect::Responses, r#"{"text":{"a":1,"format":{"type":"text"},"b":2},"reasoning":{"summary":"auto"},"temperature":1,"max_output_tokens":1,"tool_choice":"auto","min_p":0,"model":"m"}"#),
        @r#"{"text":{"verbosity":"low","a":1,"format":{"type":"json_schema","name":"a","schema":{}},"b":2},"reasoning":{"effort":"high","summary":"auto"},"temperature":0.2,"max_output_tokens":500,"tool_choice":{"type":"function","name":"f"},"min_p":0.1,"model":"m-2"}"#
    );
    for empty in ["{}", "null", "{ }"] {
        let body = format!(r#"{{"model":"m","reasoning":{empty}}}"#);
        assert!(apply(&patch, Dialect::Responses, &body).contains(r#""reasoning":{"effort":"high"}"#), "{empty}");
    }
}

#[test]
fn what_a_surface_has_no_place_for_is_said_when_the_version_is_prepared() {
    let unsaid = |result: Result<Patch, PatchError>| result.unwrap_err().to_string();
    let new = Patch::new;
    assert_eq!(unsaid(responses().with_param("seed", "7")), "the parameter 'seed' cannot be said in responses");
    assert_eq!(
        unsaid(new(Dialect::Chat).with_param("max_output_tokens", "7")),
        "the parameter 'max_output_tokens' cannot be said in chat completions"
    );
    assert_eq!(
        unsaid(new(Dialect::Embeddings).with_param("temperature", "0")),
        "the parameter 'temperature' cannot be said in embeddings"
    );
    assert_eq!(
        unsaid(new(Dialect::Embeddings).with_prompt(PromptMode::Append, "x")),
        "a prompt cannot be said in embeddings"
    );
    assert_eq!(
        unsaid(new(Dialect::Completions).with_tools(ToolsMode::Merge, "[]")),
        "tools cannot be said in completions"
    );
    assert!(matches!(responses().with_param("instructions", "\"x\""), Err(PatchError::Reserved(_))));
}

#[test]
fn embeddings_and_completions_are_patched_by_splicing() {
    let patch = Patch::new(Dialect::Embeddings).with_model("e-2").with_param("dimensions", "256").unwrap();
    let body = r#"{ "input": ["a" , "b"],"encoding_format":null, "model":"e"}"#;
    assert_eq!(
        apply(&patch, Dialect::Embeddings, body),
        r#"{ "input": ["a" , "b"],"encoding_format":null, "model":"e-2","dimensions":256}"#
    );
    let patch = Patch::new(Dialect::Completions).with_model("c-2").with_param("max_completion_tokens", "9").unwrap();
    insta::assert_snapshot!(
        apply(&patch, Dialect::Completions, r#"{"model":"c","prompt":"Once","stream":true}"#),
        @r#"{"model":"c-2","prompt":"Once","stream":true,"max_tokens":9,"stream_options":{"include_usage":true}}"#
    );
}
