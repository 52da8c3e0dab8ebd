//! A contract that a client sends is compiled and held against in time and memory that are bounded, whatever it asks for.

use super::cut;
use coalmine_wire::openai::ResponseFormat;
use coalmine_wire::outcome::{SchemaChecker, ToolChecker, Validity};

/// Of any schema, and any text that is held against it. Time is bounded by whoever calls: a target by its own limit.
pub fn hold(schema: &[u8], text: &str) {
    cut::within(schema.len() + text.len(), 4 << 20, 4096, || {
        let checker = SchemaChecker::compile(ResponseFormat::JsonSchema(schema)).expect("a schema asks for JSON");
        let verdict = checker.check(text);
        assert!(verdict != Validity::NotChecked && verdict == checker.check(text));
        let tools = [br#"[{"type":"function","function":{"name":"f","parameters":"#, schema, b"}}]"].concat();
        let _ = ToolChecker::compile(&tools).check("f", text);
        let _ = ToolChecker::compile(schema).check("f", text);
    });
}
