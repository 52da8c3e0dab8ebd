//! Whatever is read as a request is JSON, patching it is what editing the tree would be, and a patched
//! request is one that needs no patch.
#![no_main]

use coalmine_wire::conversation::Chain;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{AskUsage, ChatRequest, Past, Patch, PromptMode, ToolsMode};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

fuzz_target!(|body: &[u8]| {
    for dialect in [Dialect::Responses, Dialect::Embeddings, Dialect::Completions] {
        other(dialect, body);
    }
    let Ok(request) = ChatRequest::read(body) else {
        // What is refused has no model, or is no JSON for others either.
        if let Ok(tree) = serde_json::from_slice::<Map<String, Value>>(body) {
            assert!(tree.get("model").and_then(Value::as_str).is_none_or(str::is_empty));
        }
        return;
    };
    let _ = (request.user(), request.n(), request.tools(), request.response_format(), request.body_text("metadata.id"));
    let _ = Chain::new(&[0; 32], b"").follow(&request).asked();
    let _ = Past::read(&request);
    let patch = Patch::default()
        .with_model("new")
        .with_prompt(PromptMode::Replace, "prompt")
        .expect("a prompt")
        .with_tools(ToolsMode::Merge, r#"[{"type":"function","function":{"name":"f"}}]"#)
        .and_then(|patch| patch.with_param("temperature", "0"))
        .expect("a patch that is valid");
    let patched = patch.apply(&request, AskUsage::Inject).body.unwrap_or_else(|| body.to_vec());
    let again = ChatRequest::read(&patched).expect("a patched request is a request");
    assert_eq!(again.model, "new");
    assert_eq!(again.messages().count().max(1), request.messages().count().max(1) + usize::from(added(&request)));
    // Lone surrogates and bytes that are no UTF-8 are passed on, and no tree holds them.
    let (Ok(mut before), Ok(after)) =
        (serde_json::from_slice::<Map<String, Value>>(body), serde_json::from_slice::<Map<String, Value>>(&patched))
    else {
        return;
    };
    before.insert("model".to_owned(), json!("new"));
    before.insert("temperature".to_owned(), json!(0));
    for edited in ["messages", "tools", "stream_options"] {
        before.remove(edited);
    }
    let mut after = after;
    for edited in ["messages", "tools", "stream_options"] {
        after.remove(edited);
    }
    assert_eq!(before, after);
});

/// In the other dialects too a patched request is a request, and one that a second patch leaves as it is.
fn other(dialect: Dialect, body: &[u8]) {
    let Ok(request) = ChatRequest::read_as(dialect, body) else { return };
    let _ = Chain::new(&[0; 32], b"").follow(&request).asked();
    let _ = Past::read(&request);
    let mut patch = Patch::new(dialect).with_model("new");
    if dialect == Dialect::Responses {
        patch = patch
            .with_prompt(PromptMode::Replace, "prompt")
            .and_then(|patch| patch.with_param("reasoning_effort", "\"low\""))
            .and_then(|patch| patch.with_param("verbosity", "\"low\""))
            .expect("a patch that is valid");
    }
    let patched = patch.apply(&request, AskUsage::Inject).body.unwrap_or_else(|| body.to_vec());
    let again = ChatRequest::read_as(dialect, &patched).expect("a patched request is a request");
    assert_eq!(again.model, "new");
    assert_eq!(patch.apply(&again, AskUsage::Inject).body.unwrap_or_else(|| patched.clone()), patched);
}

/// Whether a system message is added: there are messages, and none that leads them.
fn added(request: &ChatRequest<'_>) -> bool {
    let first = request.messages().next();
    first.is_some_and(|first| !first.role().is_some_and(|role| role == "system" || role == "developer"))
}
