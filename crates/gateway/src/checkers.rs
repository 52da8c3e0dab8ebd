//! Compiled schemas of declared tools and of structured answers, kept by their content: clients send
//! the same ones with every request, and compiling costs more than everything else together.

use crate::phase::observe::Schema;
use crate::sync::lock;
use coalmine_wire::openai::ResponseFormat;
use coalmine_wire::outcome::{SchemaChecker, ToolChecker};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The most of each kind in one age.
const EACH: usize = 256;

/// The checkers of one process.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    tools: Mutex<Ages<ToolChecker>>,
    schemas: Mutex<Ages<SchemaChecker>>,
}

/// What is used moves into the young age; a full one becomes the old one, which is then forgotten.
#[derive(Debug)]
struct Ages<T> {
    young: HashMap<[u8; 32], Arc<T>>,
    old: HashMap<[u8; 32], Arc<T>>,
}

impl<T> Default for Ages<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

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
        if let Some(found) = lock(&self.schemas).find(&key) {
            return Some(found);
        }
        let compiled = Arc::new(SchemaChecker::compile(format)?);
        lock(&self.schemas).keep(key, compiled.clone());
        Some(compiled)
    }
}

/// Compiles outside of the lock: a large schema must not hold other requests up.
fn kept<T>(ages: &Mutex<Ages<T>>, key: [u8; 32], compile: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = lock(ages).find(&key) {
        return found;
    }
    let compiled = Arc::new(compile());
    lock(ages).keep(key, compiled.clone());
    compiled
}

impl<T> Ages<T> {
    fn find(&mut self, key: &[u8; 32]) -> Option<Arc<T>> {
        if let Some(found) = self.young.get(key) {
            return Some(found.clone());
        }
        let found = self.old.remove(key)?;
        self.keep(*key, found.clone());
        Some(found)
    }

    fn keep(&mut self, key: [u8; 32], checker: Arc<T>) {
        if self.young.len() >= EACH {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, checker);
    }
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
        let ages = lock(&all.tools);
        assert!(ages.young.len() + ages.old.len() <= 2 * EACH);
    }
}
