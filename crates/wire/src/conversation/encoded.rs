//! What is told of messages on its way into a hash. What is short is gathered, for one long update is cheaper than many
//! short ones; what is long, a picture say, is taken from where it stands.

use super::Keyed;

/// What is this long is not gathered.
const LONG_BYTES: usize = 4 << 10;

/// Where a message is encoded to.
pub(super) trait Out {
    /// Takes a byte.
    fn push(&mut self, byte: u8);
    /// Takes some.
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A hash, and what it has yet to take.
pub(super) struct Encoded {
    into: Keyed,
    waiting: Vec<u8>,
}

impl Encoded {
    pub(super) fn new(into: Keyed) -> Self {
        Self { into, waiting: Vec::new() }
    }

    /// The hash of all that came.
    pub(super) fn hasher(&mut self) -> &mut Keyed {
        if !self.waiting.is_empty() {
            self.into.update(&self.waiting);
            self.waiting.clear();
        }
        &mut self.into
    }

    /// The same, and nothing follows.
    pub(super) fn into_hasher(mut self) -> Keyed {
        self.hasher();
        self.into
    }
}

impl Out for Encoded {
    fn push(&mut self, byte: u8) {
        self.waiting.push(byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() >= LONG_BYTES {
            return self.hasher().update(bytes);
        }
        if self.waiting.len() >= LONG_BYTES {
            self.hasher();
        }
        self.waiting.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Chain, Key};
    use crate::dialect::Dialect;
    use crate::openai::ChatRequest;
    use serde_json::{Value, json};

    fn asked(dialect: Dialect, body: &str) -> u128 {
        let request = ChatRequest::read_as(dialect, body.as_bytes()).unwrap();
        Chain::new(&Key::new(&[9; 32]), b"scope").follow(&request).asked().0
    }

    #[test]
    fn where_a_text_begins_to_be_long_plays_no_part() {
        let turns = |content: Value| {
            let turn = |content| json!({"role": "user", "content": content});
            json!({"model": "m", "messages": [turn(json!("before")), turn(content), turn(json!("behind"))]}).to_string()
        };
        for letters in (LONG_BYTES - 40..LONG_BYTES + 40).chain([0, 1, 3 * LONG_BYTES + 1]) {
            let (text, half) = ("y".repeat(letters), letters / 2);
            let plain = asked(Dialect::Chat, &turns(json!(text)));
            let part = |text: &str| json!({"type": "text", "text": text});
            for parts in [json!([part(&text)]), json!([part(&text[..half]), part(&text[half..])])] {
                assert_eq!(asked(Dialect::Chat, &turns(parts)), plain, "{letters}");
            }
            let escaped = turns(json!([part(&text)])).replacen('y', "\\u0079", 1);
            assert_eq!(asked(Dialect::Chat, &escaped), plain, "{letters}");
        }
    }

    #[test]
    fn a_picture_is_hashed_where_it_stands() {
        let data = "iVBO".repeat(1 << 20);
        let url = format!("data:image/png;base64,{data}");
        let user = |content: Value| json!([{"role": "user", "content": content}]);
        let chat = user(json!([{"type": "image_url", "image_url": {"url": url}}]));
        let source = json!({"type": "base64", "media_type": "image/png", "data": data});
        let messages = user(json!([{"type": "text", "text": "See."}, {"type": "image", "source": source}]));
        let result =
            json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": source}]}]);
        let input = user(json!([{"type": "input_image", "image_url": url}]));
        for (dialect, member, value) in [
            (Dialect::Chat, "messages", chat),
            (Dialect::Messages, "messages", messages),
            (Dialect::Messages, "messages", user(result)),
            (Dialect::Responses, "input", input),
            (Dialect::Responses, "input", json!(data)),
            (Dialect::Completions, "prompt", json!(data)),
            (Dialect::Embeddings, "input", json!([data])),
        ] {
            let body = json!({"model": "m", "max_tokens": 9, member: value}).to_string();
            let (mut one, mut other) = (0, 0);
            let cost = allocation_counter::measure(|| one = asked(dialect, &body));
            assert!(cost.bytes_total < 64 << 10, "{dialect:?}: {} bytes", cost.bytes_total);
            let last = body.rfind("iVBO").unwrap();
            let body = [&body[..last], "iVBP", &body[last + 4..]].concat();
            allocation_counter::measure(|| other = asked(dialect, &body));
            assert!(one != other || matches!(dialect, Dialect::Completions | Dialect::Embeddings), "{dialect:?}");
        }
    }
}
