//! Embeddings (`/v1/embeddings`): the answer, read without its vectors, which may be hundreds of megabytes.

use crate::json::{Kind, ScanError, Scanner};
use crate::openai::answer::{Answer, name};
use crate::openai::{Finish, InBandError};
use crate::usage::Usage;

/// A vector stands at this depth: `{` 1, `data: [` 2, an item `{` 3, `embedding: [` 4.
const VECTOR_DEPTH: u32 = 4;
/// As much of a string is kept: enough for names, and a small part of a vector in base64.
const TEXT_MAX_BYTES: usize = 256;

/// Takes an answer in pieces and keeps what is left without its vectors: of each the first byte, so that an
/// empty one can be told, and of long strings the beginning. What is left of JSON is JSON.
#[derive(Debug, Default)]
pub(crate) struct Slimmer {
    depth: u32,
    /// Bytes of the string under way; `None` outside of one.
    string: Option<usize>,
    escaped: bool,
    /// The vector under way is an object.
    braces: bool,
    /// A byte of the vector under way was kept.
    begun: bool,
}

impl Slimmer {
    /// Takes the next piece; what is left of it goes to the end of `out`.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            at += if self.string.is_some() {
                self.in_string(rest, out)
            } else if self.depth >= VECTOR_DEPTH {
                self.in_vector(rest, out)
            } else {
                self.outside(rest[0], out);
                1
            };
        }
    }

    /// Up to the string's end, or one escape; how many bytes were taken.
    fn in_string(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let length = self.string.unwrap_or_default();
        let keeps = length < TEXT_MAX_BYTES && self.depth < VECTOR_DEPTH;
        if std::mem::take(&mut self.escaped) {
            self.string = Some(length + 1);
            if keeps {
                out.push(rest[0]);
            }
            return 1;
        }
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if keeps {
            out.extend_from_slice(&rest[..plain.min(TEXT_MAX_BYTES - length)]);
        }
        self.string = Some(length + plain);
        match rest.get(plain) {
            None => plain,
            Some(b'"') => {
                self.string = None;
                if self.depth < VECTOR_DEPTH {
                    out.push(b'"');
                }
                plain + 1
            }
            Some(_) => {
                self.escaped = true;
                // An escape is up to twelve bytes long, and none is cut.
                let fits = keeps && length + plain + 12 <= TEXT_MAX_BYTES;
                self.string = Some(if fits { length + plain } else { TEXT_MAX_BYTES });
                if fits {
                    out.push(b'\\');
                }
                plain + 1
            }
        }
    }

    /// What else stands in a vector than its own brackets and strings is of no matter.
    fn in_vector(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let (open, close) = if self.braces { (b'{', b'}') } else { (b'[', b']') };
        let skipped = memchr::memchr3(open, close, b'"', rest).unwrap_or(rest.len());
        let found = rest.get(skipped).copied();
        let said = || rest[..skipped].iter().any(|byte| !byte.is_ascii_whitespace());
        if !self.begun && (found.is_some_and(|byte| byte != close) || said()) {
            self.begun = true;
            out.push(b'0');
        }
        match found {
            None => return skipped,
            Some(b'"') => self.string = Some(0),
            Some(byte) if byte == open => self.depth += 1,
            Some(byte) => {
                self.depth -= 1;
                if self.depth < VECTOR_DEPTH {
                    out.push(byte);
                }
            }
        }
        skipped + 1
    }

    fn outside(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.push(byte);
        match byte {
            b'"' => self.string = Some(0),
            b'[' | b'{' => {
                self.depth += 1;
                // An object is left as an empty one.
                self.braces = byte == b'{';
                self.begun = self.braces;
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

impl Answer {
    /// Reads what is left of a body.
    pub(crate) fn embeddings_body(&mut self, body: &[u8]) -> Result<(), ScanError> {
        let mut scanner = Scanner::new(body);
        let mut vectors = None;
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            match key.raw {
                b"data" if scanner.peek()? == Kind::Array => vectors = Some(vectors_of(&mut scanner)?),
                b"usage" => self.usage = Usage::scan(&mut scanner)?.or(self.usage),
                b"model" => name(&mut scanner, &mut self.model)?,
                b"error" if scanner.peek()? != Kind::Null => {
                    scanner.skip()?;
                    self.error.get_or_insert_with(InBandError::default);
                }
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        let Some(vectors) = vectors else { return Ok(()) };
        self.readable = true;
        if let Some(usage) = &mut self.usage {
            // Nothing is written: that is no unknown number.
            usage.output_tokens = usage.output_tokens.or(Some(0));
        }
        let choice = self.only();
        choice.finish = Some(Finish::Stop);
        choice.sound = vectors == Vectors::All;
        Ok(())
    }
}

/// What became of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vectors {
    /// Each has one.
    All,
    /// There is none, or an empty one.
    Lacking,
}

fn vectors_of(scanner: &mut Scanner<'_>) -> Result<Vectors, ScanError> {
    let mut count = 0_u32;
    let mut full = 0_u32;
    scanner.enter_array()?;
    while scanner.next_item()? {
        count += 1;
        if scanner.peek()? != Kind::Object {
            scanner.skip()?;
            continue;
        }
        scanner.enter_object()?;
        while let Some(key) = scanner.next_member()? {
            let value = scanner.value()?;
            if key.is("embedding") && !matches!(value, b"[]" | b"\"\"" | b"null") {
                full += 1;
            }
        }
    }
    Ok(if count > 0 && full == count { Vectors::All } else { Vectors::Lacking })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::openai::{Ending, Expect, Observer, Seen};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn slim(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut slimmer, mut out) = (Slimmer::default(), Vec::new());
        for piece in pieces {
            slimmer.feed(piece, &mut out);
        }
        out
    }

    fn seen(body: &[u8]) -> Seen {
        let mut observer = Observer::new(Expect { dialect: Dialect::Embeddings, ..Expect::default() });
        for piece in body.chunks(7) {
            observer.feed(piece);
        }
        observer.finish()
    }

    fn answer(vectors: &[Value]) -> Vec<u8> {
        let data: Vec<Value> = vectors
            .iter()
            .enumerate()
            .map(|(index, embedding)| json!({"object": "embedding", "index": index, "embedding": embedding}))
            .collect();
        json!({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}).to_string().into_bytes()
    }

    #[test]
    fn vectors_are_seen_and_not_kept() {
        let vector = json!(vec![0.123_456_789; 3_000]);
        let body = answer(&[vector.clone(), json!("AAAA".repeat(5_000))]);
        let seen = seen(&body);
        assert_eq!((seen.ending, seen.empty), (Ending::Whole, false));
        let usage = seen.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(8), Some(0)));
        assert_eq!(seen.model.as_deref(), Some("text-embedding-3-small"));
        assert!(slim(&[&body]).len() < 800, "{}", slim(&[&body]).len());
    }

    #[test]
    fn what_is_missing_is_empty_and_what_is_broken_is_told() {
        for vectors in [vec![], vec![json!([])], vec![json!([0.1]), json!("")], vec![json!(null)]] {
            assert_eq!(
                (seen(&answer(&vectors)).ending, seen(&answer(&vectors)).empty),
                (Ending::Whole, true),
                "{vectors:?}"
            );
        }
        let body = answer(&[json!([0.1, 0.2])]);
        assert_eq!(seen(&body[..body.len() - 3]).ending, Ending::Truncated);
        assert_eq!(seen(&body[..90]).ending, Ending::Truncated);
        assert_eq!(seen(br#"{"error":{"message":"no"}}"#).ending, Ending::Failed);
        assert_eq!(seen(b"<html>").ending, Ending::Unreadable);
    }

    proptest! {
        #[test]
        fn what_is_left_is_json_of_the_same_shape_however_it_is_cut(
            texts in prop::collection::vec("[a-z\"\\\\\u{e9}\n]{0,300}", 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let body = json!({"data": [{"embedding": [0.5, [1, {"x": "]"}], texts[0]]}, {"embedding": [], "meta": {"a": [1, {"b": "}"}]}}], "model": texts[0], "list": texts}).to_string().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut at = 0;
            for cut in cuts {
                pieces.push(&body[at..cut]);
                at = cut;
            }
            pieces.push(&body[at..]);
            let whole = slim(&[&body]);
            prop_assert_eq!(&slim(&pieces), &whole);
            // a cut string may end inside a sign
            prop_assert!(crate::json::check(&whole).is_ok(), "{}", String::from_utf8_lossy(&whole));
        }
    }
}
