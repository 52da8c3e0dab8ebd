//! What a request has its provider do beside answering: tools that run at the provider's (a search, a sandbox, a
//! connector), which act again when the request is sent again.

use crate::dialect::Dialect;
use crate::json::{self, Scanner};
use crate::openai::ChatRequest;

/// Members of a request that have the provider act by themselves.
const ACTING: [&str; 3] = ["mcp_servers", "web_search_options", "background"];

/// Whether a parameter of this name has the provider act.
#[must_use]
pub fn has_provider_act(name: &str) -> bool {
    ACTING.contains(&name)
}

/// Whether a JSON array of tools holds one that the provider runs: any but functions and the client's own (`function`,
/// `custom`, and tools of Anthropic's dialect without a type). What is not known is taken for one.
#[must_use]
pub fn has_tools_run(tools: &[u8]) -> bool {
    let mut scanner = Scanner::new(tools);
    if scanner.enter_array().is_err() {
        return false;
    }
    while let Ok(true) = scanner.next_item() {
        let Ok(tool) = scanner.value() else { return true };
        let kind = json::member(tool, "type");
        let harmless = match kind.and_then(json::text) {
            None => kind.is_none_or(|kind| kind == b"null"),
            Some(kind) => matches!(&*kind, "function" | "custom"),
        };
        if !harmless {
            return true;
        }
    }
    false
}

impl ChatRequest<'_> {
    /// Whether it has the provider act: sent twice, it would act twice.
    #[must_use]
    pub fn has_tools_run(&self) -> bool {
        let idle = |value: &[u8]| matches!(value, b"null" | b"false" | b"[]" | b"{}");
        let acts = ACTING.iter().filter_map(|name| self.value(name)).any(|value| !idle(value));
        let of_prompt = self.dialect == Dialect::Responses && self.value("prompt").is_some_and(|value| !idle(value));
        acts || of_prompt || self.tools().is_some_and(has_tools_run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_the_clients_and_everything_else_may_act() {
        for tools in [
            r#"[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}]"#,
            r#"[{"name":"f","input_schema":{}},{"type":null,"name":"g"}]"#,
            "[]",
        ] {
            assert!(!has_tools_run(tools.as_bytes()), "{tools}");
        }
        for tools in [
            r#"[{"type":"function","name":"f"},{"type":"web_search"}]"#,
            r#"[{"type":"mcp","server_url":"https://x"}]"#,
            r#"[{"type":"bash_20250124","name":"bash"}]"#,
            r#"[{"type":7}]"#,
        ] {
            assert!(has_tools_run(tools.as_bytes()), "{tools}");
        }
    }

    #[test]
    fn what_a_request_has_its_provider_do() {
        let acts = |dialect, body: &str| ChatRequest::read_as(dialect, body.as_bytes()).unwrap().has_tools_run();
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"x"}]"#;
        assert!(!acts(Dialect::Chat, &format!("{chat}}}")));
        assert!(!acts(Dialect::Chat, &format!("{chat},\"web_search_options\":null}}")));
        assert!(acts(Dialect::Chat, &format!("{chat},\"web_search_options\":{{\"a\":1}}}}")));
        assert!(acts(Dialect::Messages, &format!("{chat},\"max_tokens\":9,\"mcp_servers\":[{{\"url\":\"x\"}}]}}")));
        assert!(acts(Dialect::Responses, r#"{"model":"m","input":"x","background":true}"#));
        assert!(acts(Dialect::Responses, r#"{"model":"m","input":"x","prompt":{"id":"pmpt_1"}}"#));
        assert!(!acts(Dialect::Responses, r#"{"model":"m","input":"x","background":false}"#));
    }
}
