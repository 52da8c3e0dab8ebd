//! Compiled schemas of declared tools and of structured answers, kept by their content: clients send
//! the same ones with every request, and compiling costs more than everything else together.

use crate::ages::Ages;
use crate::phase::observe::Schema;
use crate::sync::lock;
use coalmine_wire::openai::ResponseFormat;
use coalmine_wire::outcome::{SchemaChecker, ToolChecker};
use std::sync::{Arc, Mutex};

/// The most of each kind in one age.
const EACH: usize = 256;

/// The checkers of one process.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    tools: Mutex<Kept<ToolChecker>>,
    schemas: Mutex<Kept<SchemaChecker>>,
}

/// By the hash of what was compiled.
type Kept<T> = Ages<[u8; 32], Arc<T>, EACH>;

impl Checkers {
    /// The checker of a JSON array of tools.
    pub(crate) fn tools(&self, tools: &[u8]) -> Arc<ToolChecker> {
        kept(&self.tools, *blake3::hash(tools).as_bytes(), || ToolChecker::compile(tools))
    }

    /// The checker of what a request asks the answer to be; `None` when it asks for no JSON.
    pub(crate) fn schema(&self, format: ResponseFormat<'_>) -> Option<Schema> {
        let key = match format {
            ResponseFormat::Text => return None,
            ResponseFormat::JsonObject => [0; 32],
            ResponseFormat::JsonSchema(schema) => *blake3::hash(schema).as_bytes(),
        };
        if let Some(found) = lock(&self.schemas).used(key) {
            return Some(found);
        }
        let compiled = Arc::new(SchemaChecker::compile(format)?);
        lock(&self.schemas).put(key, compiled.clone());
        Some(compiled)
    }
}

/// Compiles outside of the lock: a large schema must not hold other requests up.
fn kept<T>(ages: &Mutex<Kept<T>>, key: [u8; 32], compile: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = lock(ages).used(key) {
        return found;
    }
    let compiled = Arc::new(compile());
    lock(ages).put(key, compiled.clone());
    compiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tools_are_compiled_once_and_the_number_is_bounded() {
        let all = Checkers::default();
        let tools = br#"[{"type":"function","function":{"name":"f"}}]"#;
        let first = all.tools(tools);
        assert!(Arc::ptr_eq(&first, &all.tools(tools)));
        for n in 0..2_000 {
            all.tools(format!(r#"[{{"type":"function","function":{{"name":"f{n}"}}}}]"#).as_bytes());
        }
        assert!(!Arc::ptr_eq(&first, &all.tools(tools)), "what is long unused is forgotten");
    }
}
