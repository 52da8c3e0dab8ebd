//! Traps that one wire format shows as well as another: on every surface, and where the provider speaks the other dialect.

use super::meaning::stream_of;
use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Ending, ServedBy};
use coalmine_gateway::config::ProviderKind::{self, Anthropic, OpenAi};
use coalmine_gateway::config::StreamUsage;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const ASK_RESPONSE: &str = r#"{"model":"support","stream":true,"input":"Hi"}"#;
/// So many requests are sent while a world's clock shows one second.
const IN_A_SECOND: usize = 900;

async fn world_of(kind: ProviderKind, scripts: Vec<Vec<Step>>) -> World {
    let world = World::with(scripts, vec![], |config| {
        for provider in config.providers.values_mut() {
            (provider.kind, provider.stream_usage) = (kind, StreamUsage::Leave);
        }
    })
    .await;
    world.release(0).await;
    world
}

async fn ask(world: &World, path: &str, body: impl Into<String>) -> Answer {
    Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body.into())).await).await
}

fn chatted() -> String {
    [role(), delta("日本 🐤"), finish(), done()].concat()
}

fn talked() -> String {
    [messages::start(), messages::ping(), messages::opened(), messages::text("日本 🐤"), messages::end().concat()]
        .concat()
}

fn called(name: &str, data: &str) -> String {
    messages::named(name, data)
}

/// A stream of messages that calls a tool, with signs of several bytes in its arguments.
fn calling() -> String {
    let start = called(
        "content_block_start",
        r#","index":0,"content_block":{"type":"tool_use","id":"t","name":"find","input":{}}"#,
    );
    let piece = |json: &str| {
        let json = serde_json::to_string(json).unwrap();
        called(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"input_json_delta","partial_json":{json}}}"#),
        )
    };
    let [stop, reason, last] = messages::end();
    let pieces = piece("{\"city\":\"東") + &piece("京🗼\"}");
    [messages::start(), start, pieces, stop, reason.replace("end_turn", "tool_use"), last].concat()
}

#[tokio::test]
async fn t01_every_cut_of_a_stream_is_the_same_stream_on_every_surface() {
    let tools = r#"{"model":"support","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"find","input_schema":{"type":"object","properties":{"city":{"enum":["東京🗼"]}},"required":["city"]}}]}"#;
    let responded = surfaces::events("resp_1", &["日本 🐤"]).concat();
    for (kind, path, body, said, calls) in [
        (Anthropic, MESSAGES, tools, calling(), 1),
        (OpenAi, RESPONSES, ASK_RESPONSE, responded.replace('\n', "\r\n"), 0),
    ] {
        let cuts: Vec<usize> = (1..said.len()).collect();
        for cuts in cuts.chunks(IN_A_SECOND) {
            let scripts = cuts.iter().map(|at| {
                let (a, b) = said.as_bytes().split_at(*at);
                vec![write(STREAM_HEAD), write(chunk(a)), write(chunk(b)), write(STREAM_END)]
            });
            let world = world_of(kind, scripts.collect()).await;
            for at in cuts {
                assert_eq!(ask(&world, path, body).await.text(), said, "{path} cut at {at}");
            }
            for turn in world.turns(cuts.len()).await {
                let outcome = turn.outcome;
                let seen = (outcome.ending, outcome.tool_calls, outcome.tool_calls_bad, outcome.usage.input);
                assert_eq!(seen, (Ending::Complete, calls, 0, Some(10)), "{path}");
            }
        }
    }
}

/// In the client's own dialect as it came; in another, in its words.
#[tokio::test]
async fn t13_an_end_is_told_once_whatever_ends_the_lines() {
    let [.., stop] = messages::end();
    for (kind, path, body, said, own, end) in [
        (OpenAi, CHAT, ASK_STREAM, chatted(), true, "[DONE]"),
        (Anthropic, MESSAGES, messages::ASK_STREAM, talked(), true, "event: message_stop"),
        (Anthropic, CHAT, ASK_STREAM, talked(), false, "[DONE]"),
        (OpenAi, MESSAGES, messages::ASK_STREAM, chatted(), false, "event: message_stop"),
    ] {
        let forms = ["\n", "\r\n", "\r"].map(|line_end| said.replace('\n', line_end));
        let scripts: Vec<Vec<Step>> = forms
            .iter()
            .flat_map(|form| [form.len(), 1].map(|size| form.as_bytes().chunks(size).map(|piece| write(chunk(piece)))))
            .map(|pieces| [write(STREAM_HEAD)].into_iter().chain(pieces).chain([write(STREAM_END)]).collect())
            .collect();
        let world = world_of(kind, scripts).await;
        for form in forms.iter().flat_map(|form| [form; 2]) {
            let text = ask(&world, path, body).await.text();
            assert_eq!(text.matches(end).count(), 1, "{kind:?} {path}: {text:?}");
            assert!(if own { text == *form } else { !text.contains('\r') }, "{text:?}");
        }
        assert!(world.turns(forms.len() * 2).await.iter().all(|turn| turn.outcome.ending == Ending::Complete));
    }
    // a server that ends all its streams alike says nothing by it
    let [block, reason, _] = messages::end();
    let said = [messages::start(), messages::opened(), messages::text("a"), block, reason, done()].concat();
    let world = world_of(Anthropic, vec![stream_of(std::slice::from_ref(&said))]).await;
    assert_eq!(ask(&world, MESSAGES, messages::ASK_STREAM).await.text(), said + &stop);
    assert!(ask(&world, CHAT, ASK_STREAM).await.text().ends_with(&done()));
    assert!(world.turns(2).await.iter().all(|turn| turn.outcome.ending == Ending::Complete));
}

/// However an answer fails behind its status, a client of the other dialect is told that it failed, and of no end.
#[tokio::test]
async fn t14_an_error_after_200_survives_translation() {
    let talk = [messages::named("error", r#","error":{"type":"overloaded_error","message":"boom"}"#)];
    let opened = [messages::start(), messages::opened(), messages::text("half")].concat();
    let of_chat = errors_after_200()
        .map(|failed| (OpenAi, MESSAGES, messages::ASK_STREAM, [delta("half"), failed, done()].concat()));
    let of_talk = talk.map(|failed| (Anthropic, CHAT, ASK_STREAM, opened.clone() + &failed));
    for (kind, path, body, said) in of_chat.into_iter().chain(of_talk) {
        let world = world_of(kind, vec![stream_of(std::slice::from_ref(&said))]).await;
        let text = ask(&world, path, body).await.text();
        assert!(text.contains("half"), "{said}{text}");
        for end in ["message_stop", "[DONE]", r#""stop_reason":""#, r#""finish_reason":""#] {
            assert!(!text.contains(end), "{said}{text}");
        }
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        assert!(last.contains(r#""error":{"#), "{said}{text}");
        assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::InBand), "{said}");
    }
}

/// The first content is that of the provider's dialect, whichever the client speaks.
#[tokio::test]
async fn t16_stable_takes_over_before_the_first_content_in_every_dialect() {
    let opened = messages::start() + &messages::ping() + &messages::opened();
    let responded = surfaces::events("resp_1", &["half"]);
    let whole = surfaces::events("resp_2", &["fine"]);
    for (kind, path, body, before, half, fine) in [
        (
            Anthropic,
            MESSAGES,
            messages::ASK_STREAM,
            opened.clone(),
            messages::text("half"),
            messages::streamed(&["fine"]),
        ),
        (Anthropic, CHAT, ASK_STREAM, opened, messages::text("half"), messages::streamed(&["fine"])),
        (OpenAi, MESSAGES, messages::ASK_STREAM, role(), delta("half"), streamed(&["fine"])),
        (OpenAi, RESPONSES, ASK_RESPONSE, responded[..2].concat(), responded[2].clone(), stream_of(&whole)),
    ] {
        let broken = |said: &str| vec![write(STREAM_HEAD), write(chunk(said)), Step::Close];
        let canary = vec![broken(&before), broken(&(before.clone() + &half))];
        let world = World::with(vec![fine], canary, |config| {
            config.providers.values_mut().for_each(|provider| provider.kind = kind);
        })
        .await;
        world.release(10_000).await;
        let answers = [ask(&world, path, body).await, ask(&world, path, body).await];
        let says = |text: &str| answers.each_ref().map(|answer| answer.text().contains(text));
        assert_eq!((says("fine"), says("half")), ([true, false], [false, true]), "{kind:?} {path}");
        let starts = ["event: message_start", r#""role":"assistant""#, "event: response.created"];
        let begun = starts.map(|start| answers[0].text().matches(start).count());
        assert!(begun.contains(&1) && begun.iter().all(|count| *count <= 1), "one answer: {}", answers[0].text());
        let broken = Ending::Failed(Cause::Broken);
        let served: Vec<_> =
            world.turns(2).await.iter().map(|turn| (turn.outcome.served_by, turn.outcome.ending)).collect();
        assert_eq!(served, [(ServedBy::Rescue, broken), (ServedBy::Assigned, broken)], "{kind:?} {path}");
    }
}

/// Usage beside a choice, or behind one that has ended, reaches a client of messages.
#[tokio::test]
async fn t12_usage_beside_a_choice_survives_translation() {
    let beside = |choice: &str| {
        event(&format!(r#"{{"choices":[{choice}],"usage":{{"prompt_tokens":3,"completion_tokens":4}}}}"#))
    };
    for last in [
        [beside(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#), done()],
        [finish() + &beside(r#"{"index":0,"delta":{}}"#), done()],
    ] {
        let world = world_of(OpenAi, vec![stream_of(&[delta("a"), last.concat()])]).await;
        let text = ask(&world, MESSAGES, messages::ASK_STREAM).await.text();
        let [_, told] = text.split("event: message_delta").collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(told.contains(r#""input_tokens":3"#) && told.contains(r#""output_tokens":4"#), "{text}");
        assert_eq!(world.turns(1).await[0].outcome.usage.output, Some(4));
    }
}

/// What is packed though nobody asked for it cannot be told in another dialect, and says so; its errors lose the encoding.
#[tokio::test]
async fn t05_t06_what_is_packed_is_told_in_clear_words_in_the_other_dialect() {
    let body = [0x1f, 0x8b, 8, 0, 1, 2, 3];
    let packed = |status: u16, kind: &str| {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: 7\r\n\r\n"
        );
        vec![write(head), write(body)]
    };
    for (kind, path, bodies) in
        [(Anthropic, CHAT, [ASK, ASK_STREAM]), (OpenAi, MESSAGES, [messages::ASK, messages::ASK_STREAM])]
    {
        for (body, form) in bodies.into_iter().zip(["application/json", "text/event-stream"]) {
            let world = world_of(kind, vec![packed(200, form), packed(400, form)]).await;
            let unread = ask(&world, path, body).await;
            assert_eq!((unread.status, unread.header("content-encoding")), (502, ""), "{path}");
            let told = unread.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(told.contains("provider 'one'") && told.contains("packed"), "{told}");
            let refused = ask(&world, path, body).await;
            let headers = (refused.header("content-encoding"), refused.header("content-type"));
            assert_eq!((refused.status, headers), (400, ("", "application/json")), "{path}");
            assert!(refused.json()["error"]["message"].is_string());
        }
    }
}

/// What no version changes goes out byte for byte on every surface: nulls, members that nobody knows, numbers as they are written.
#[tokio::test]
async fn t30_every_surface_goes_through_byte_for_byte() {
    for (kind, path, content) in [
        (OpenAi, CHAT, r#""messages":[{"role":"user","content":"\u00e9","x":null}],"stop":null"#),
        (OpenAi, RESPONSES, r#""input":[{"role":"user","content":"\/"}],"x":[1.50,null],"tools":[]"#),
        (OpenAi, "/v1/embeddings", r#""input":["a"], "encoding_format":null,"dimensions":1e2"#),
        (OpenAi, "/v1/completions", r#""prompt" : "a","logit_bias":{"50256":-1e2},"suffix":null"#),
        (
            Anthropic,
            MESSAGES,
            r#""max_tokens":5,"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"\u2026","signature":"a+\/="}]},{"role":"user","content":"b"}],"x":{"y":[-0.0]}"#,
        ),
        (Anthropic, "/v1/messages/count_tokens", r#""messages":[{"role":"user","content":"\u0061"}],"x":null"#),
    ] {
        let world = world_of(kind, vec![json_answer(200, "", "{}")]).await;
        let asked = |model: &str| format!("\r\n{{\t{content} ,\"model\" : \"{model}\" }}\n ");
        ask(&world, path, asked("support")).await;
        assert_eq!(String::from_utf8(world.stable.received()[0].body.clone()).unwrap(), asked("model-s"), "{path}");
    }
}
