//! What a large picture costs: one copy of the body and no more, whatever a version sets, in its own dialect or in the other.

use super::requests::TERMS;
use crate::dialect::Dialect;
use crate::openai::{AskUsage, ChatRequest, Patch, PromptMode, ToolsMode};
use crate::translate::{ToolsOf, request};
use serde_json::{Value, json};

const PICTURE_BYTES: usize = 9 << 20;
/// What the rest of a request may take: its members, its text once over, the version's own.
const REST_BYTES: u64 = 64 << 10;
const TOOLS: &str = r#"[{"type":"function","function":{"name":"own","parameters":{"type":"object"}}}]"#;

/// A picture between two texts, as a client of this dialect sends it.
fn asked(dialect: Dialect, data: &str) -> String {
    let url = format!("data:image/png;base64,{data}");
    let text = |kind: &str, text: &str| json!({"type": kind, "text": text});
    let around = |kind: &str, picture: Value| json!([text(kind, "See \"é\""), picture, text(kind, "And?")]);
    let asked = match dialect {
        Dialect::Responses => {
            let content = around("input_text", json!({"type": "input_image", "image_url": url}));
            json!({"model": "m", "stream": true, "instructions": "Mine.", "input": [{"role": "user", "content": content}]})
        }
        Dialect::Messages => {
            let source = json!({"type": "base64", "media_type": "image/png", "data": data});
            let content = around("text", json!({"type": "image", "source": source}));
            json!({"model": "m", "max_tokens": 9, "stream": true, "system": "Mine.", "messages": [{"role": "user", "content": content}]})
        }
        Dialect::Chat | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
            let content = around("text", json!({"type": "image_url", "image_url": {"url": url}}));
            json!({"model": "m", "stream": true, "messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": content}]})
        }
    };
    asked.to_string()
}

/// Versions that set nothing but a model, and everything that can be set.
fn versions(dialect: Dialect) -> Vec<Patch> {
    let bare = Patch::new(dialect).with_model("another");
    let modes = [PromptMode::Replace, PromptMode::Prepend, PromptMode::Append];
    let full = modes.map(|mode| {
        let full = bare.clone().with_prompt(mode, "Be kind.").unwrap().with_tools(ToolsMode::Merge, TOOLS).unwrap();
        full.with_param("temperature", "0.5").unwrap()
    });
    [bare].into_iter().chain(full).collect()
}

fn lightest_and_heaviest(dialect: Dialect) -> [Patch; 2] {
    let [bare, .., full] = &versions(dialect)[..] else { panic!("there are more") };
    [bare.clone(), full.clone()]
}

/// What is written, the bytes that were allocated for it, and the most that was held at once.
fn weighed(write: impl FnOnce() -> Vec<u8>) -> (Vec<u8>, u64, u64) {
    let mut written = Vec::new();
    let cost = allocation_counter::measure(|| written = write());
    (written, cost.bytes_total, cost.bytes_max)
}

#[test]
fn a_picture_of_nine_mebibytes_is_copied_once_into_its_own_dialect() {
    let data = "iVBO".repeat(PICTURE_BYTES / 4);
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
        let body = asked(dialect, &data);
        for version in lightest_and_heaviest(dialect) {
            let (written, total, most) = weighed(|| {
                let read = ChatRequest::read_as(dialect, body.as_bytes()).unwrap();
                version.apply(&read, AskUsage::Inject).body.unwrap()
            });
            let room = written.len() as u64 + REST_BYTES;
            assert!(
                total <= room && most <= room,
                "{dialect:?}: {total} allocated, {most} held, for {}",
                written.len()
            );
            assert!(written.capacity() == written.len() && memchr::memmem::find(&written, data.as_bytes()).is_some());
        }
    }
}

#[test]
fn a_picture_of_nine_mebibytes_is_copied_once_into_the_other_dialect() {
    let data = "iVBO".repeat(PICTURE_BYTES / 4);
    for (from, to) in [(Dialect::Chat, Dialect::Messages), (Dialect::Messages, Dialect::Chat)] {
        let body = asked(from, &data);
        for version in lightest_and_heaviest(to) {
            let (written, total, most) = weighed(|| {
                let read = ChatRequest::read_as(from, body.as_bytes()).unwrap();
                request(&read, TERMS, ToolsOf::Client).unwrap().patched(to, &version, AskUsage::Inject)
            });
            let room = written.len() as u64 + REST_BYTES;
            assert!(total <= room && most <= room, "{to:?}: {total} allocated, {most} held, for {}", written.len());
            assert_eq!(written.capacity(), written.len());
        }
        // whether it can be said is asked of every session that begins, and copies nothing
        let (_, total, _) = weighed(|| {
            let read = ChatRequest::read_as(from, body.as_bytes()).unwrap();
            assert!(request(&read, TERMS, ToolsOf::Client).is_ok());
            Vec::new()
        });
        assert!(total <= REST_BYTES, "{total}");
    }
}

/// Whatever a version sets, the picture stands where it would if there were nothing else to be said, and the rest around it.
#[test]
fn what_is_laid_in_stands_in_its_place_whatever_a_version_sets() {
    for (from, to) in [(Dialect::Chat, Dialect::Messages), (Dialect::Messages, Dialect::Chat)] {
        let (data, other) = (r"iVBO\/w==", "R0lGOD");
        let body = asked(from, "DATA").replace("DATA", data);
        // a second picture behind the first
        let picture = |data: &str| match from {
            Dialect::Messages => {
                format!(r#"{{"source":{{"data":"{data}","media_type":"image/png","type":"base64"}},"type":"image"}}"#)
            }
            Dialect::Chat | Dialect::Responses | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => {
                format!(r#"{{"image_url":{{"url":"data:image/png;base64,{data}"}},"type":"image_url"}}"#)
            }
        };
        let body = body.replacen(&picture(data), &[picture(data), picture(other)].join(","), 1);
        let read = ChatRequest::read_as(from, body.as_bytes()).unwrap();
        let written = request(&read, TERMS, ToolsOf::Client).unwrap();
        let pictures = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let turns = body["messages"].as_array().unwrap().clone();
            let content = turns.last().unwrap()["content"].as_array().unwrap().clone();
            content
                .iter()
                .map(|part| {
                    let data = part.pointer("/source/data").or_else(|| part.pointer("/image_url/url"));
                    data.or_else(|| part.get("text"))
                        .unwrap()
                        .as_str()
                        .unwrap()
                        .trim_start_matches("data:image/png;base64,")
                        .to_owned()
                })
                .collect::<Vec<_>>()
        };
        let said = ["See \"é\"", "iVBO/w==", other, "And?"];
        assert_eq!(pictures(&written.whole()), said);
        for version in versions(to) {
            let patched = written.patched(to, &version, AskUsage::Inject);
            assert_eq!(pictures(&patched), said);
            // as if the version had been put into the whole
            let whole = written.whole();
            let read = ChatRequest::read_as(to, &whole).unwrap();
            assert_eq!(Some(patched), version.apply(&read, AskUsage::Inject).body);
        }
    }
}
