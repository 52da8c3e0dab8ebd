//! What was said lately on a realtime session: a response is asked for without what was said before it, so that is kept
//! here, in bounds and in the form of responses, for whoever reads what a turn tells of those before.

use crate::json;
use std::collections::VecDeque;
use std::fmt;

/// So many items are kept,
const ITEMS_MAX: usize = 64;
/// of so many bytes together.
const BYTES_MAX: usize = 64 << 10;
/// Of a longer one only what it is.
const ITEM_MAX_BYTES: usize = 8 << 10;

/// The last items of a session. They hold what people say: nothing shows them.
#[derive(Default)]
pub struct Lately {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The tools of the session, by the latest word: what went to the provider, or what it then told.
    tools: Option<Vec<u8>>,
}

impl Lately {
    /// A client's event has gone on, in this form.
    pub fn of_client(&mut self, event: &[u8]) {
        match kind(event).as_deref() {
            Some("session.update") => self.settings(event),
            Some("conversation.item.create") => self.item(json::member(event, "item")),
            _ => {}
        }
    }

    /// The session's settings are told.
    pub fn settings(&mut self, event: &[u8]) {
        if let Some(tools) = tools("session", event) {
            self.tools = Some(tools.to_vec());
        }
    }

    /// The provider has ended an item of a response.
    pub fn of_provider(&mut self, event: &[u8]) {
        self.item(json::member(event, "item"));
    }

    /// Somebody has spoken.
    pub fn spoke(&mut self) {
        self.keep(br#"{"type":"message","role":"user"}"#.to_vec());
    }

    /// The tools that a response may call: its own, or those of the session; `None` where nothing says which.
    #[must_use]
    pub fn tools(&self, create: Option<&[u8]>) -> Option<Vec<u8>> {
        let own = create.and_then(|event| tools("response", event)).map(<[u8]>::to_vec);
        own.or_else(|| self.tools.clone())
    }

    /// A turn as a request would say it: with `tools`, and with what was said before.
    #[must_use]
    pub fn asked(&self, model: &str, tools: Option<&[u8]>) -> Vec<u8> {
        let mut body = br#"{"model":"#.to_vec();
        body.extend_from_slice(serde_json::Value::from(model).to_string().as_bytes());
        body.extend_from_slice(br#","stream":true"#);
        if let Some(tools) = tools {
            body.extend_from_slice(br#","tools":"#);
            body.extend_from_slice(tools);
        }
        body.extend_from_slice(br#","input":["#);
        for (place, item) in self.items.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item);
        }
        body.extend_from_slice(b"]}");
        body
    }

    fn item(&mut self, item: Option<&[u8]>) {
        let Some(item) = item.filter(|item| json::check(item).is_ok()) else { return };
        if item.len() <= ITEM_MAX_BYTES {
            return self.keep(item.to_vec());
        }
        // what is long is sound, a picture or a large result: that it was there is enough
        let mut bare = Vec::from(b"{");
        for key in ["type", "role", "call_id"] {
            let Some(value) = json::member(item, key).filter(|value| value.len() <= 256) else { continue };
            if bare.len() > 1 {
                bare.push(b',');
            }
            bare.extend_from_slice(format!("\"{key}\":").as_bytes());
            bare.extend_from_slice(value);
        }
        bare.push(b'}');
        self.keep(bare);
    }

    fn keep(&mut self, item: Vec<u8>) {
        self.bytes += item.len();
        self.items.push_back(item);
        while self.items.len() > ITEMS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.items.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
}

impl fmt::Debug for Lately {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lately").field("items", &self.items.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Tools, where they are said and are a list of a length that is looked at.
fn tools<'a>(of: &str, event: &'a [u8]) -> Option<&'a [u8]> {
    let tools = json::member(json::member(event, of)?, "tools")?;
    (tools.starts_with(b"[") && tools.len() <= BYTES_MAX && json::check(tools).is_ok()).then_some(tools)
}

fn kind(event: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    json::text(json::member(event, "type")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::openai::{ChatRequest, Past};
    use serde_json::{Value, json};

    fn past(lately: &Lately) -> Past {
        let asked = lately.asked("sup\"port", None);
        Past::read(&ChatRequest::read_as(Dialect::Realtime, &asked).unwrap())
    }

    fn client(lately: &mut Lately, item: &Value) {
        lately.of_client(json!({"type": "conversation.item.create", "item": item}).to_string().as_bytes());
    }

    fn provider(lately: &mut Lately, item: &Value) {
        lately.of_provider(json!({"type": "response.output_item.done", "item": item}).to_string().as_bytes());
    }

    #[test]
    fn what_was_called_and_what_came_of_it_is_known_until_somebody_speaks() {
        let mut lately = Lately::default();
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{\"a\":1}"});
        client(
            &mut lately,
            &json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}),
        );
        provider(&mut lately, &call("one"));
        client(&mut lately, &json!({"type": "function_call_output", "call_id": "one", "output": "Error: gone"}));
        let before = past(&lately);
        assert_eq!(before.results.iter().map(|result| result.failed).collect::<Vec<_>>(), [true]);
        assert_ne!(before.calls, past(&Lately::default()).calls);
        lately.spoke();
        assert_eq!(past(&lately), past(&Lately::default()));
    }

    #[test]
    fn the_tools_are_the_responses_own_or_those_of_the_latest_settings() {
        let mut lately = Lately::default();
        assert_eq!(lately.tools(None), None);
        lately.of_client(br#"{"type":"session.update","session":{"tools":[1]}}"#);
        assert_eq!(lately.tools(None).unwrap(), b"[1]");
        lately.settings(br#"{"type":"session.updated","session":{"tools":[2]}}"#);
        lately.settings(br#"{"type":"session.updated","session":{"instructions":"x"}}"#);
        assert_eq!(lately.tools(Some(br#"{"type":"response.create","response":{}}"#)).unwrap(), b"[2]");
        assert_eq!(lately.tools(Some(br#"{"type":"response.create","response":{"tools":[]}}"#)).unwrap(), b"[]");
        lately.settings(br#"{"session":{"tools":"none"}}"#);
        assert_eq!(lately.tools(None).unwrap(), b"[2]", "what is no list says nothing");
    }

    #[test]
    fn it_is_bounded_and_shows_nothing() {
        let mut lately = Lately::default();
        for _ in 0..1_000 {
            client(&mut lately, &json!({"type": "message", "role": "user", "content": "secret ".repeat(500)}));
        }
        assert!(lately.bytes <= BYTES_MAX && lately.items.len() <= ITEMS_MAX);
        let sound = json!([{"type": "input_audio", "audio": "A".repeat(1 << 20)}]);
        client(&mut lately, &json!({"type": "message", "role": "user", "content": sound}));
        assert_eq!(lately.items.back().unwrap(), br#"{"type":"message","role":"user"}"#);
        assert!(!format!("{lately:?}").contains("115"), "no byte of it: {lately:?}");
        assert!(ChatRequest::read_as(Dialect::Realtime, &lately.asked("m", Some(b"[]"))).is_ok());
    }
}
