//! T03, T04, T09 and T10 on the surfaces beside chat completions, and where the provider speaks the other dialect.

use super::meaning::stream_of;
use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Check, Ending};
use coalmine_gateway::config::ProviderKind::{self, Anthropic, OpenAi};
use coalmine_gateway::config::{Config, StreamUsage};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const ASK_RESPONSE: &str = r#"{"model":"support","stream":true,"input":"Hi"}"#;
const LINE_ENDS: [&str; 3] = ["\n", "\r\n", "\r"];

/// Who asks, and what the provider says for it, event by event: the content is the one that has `TEXT`.
struct Way {
    kind: ProviderKind,
    path: &'static str,
    body: &'static str,
    said: Vec<String>,
}

const TEXT: &str = "日本 🐤";

impl Way {
    /// The surfaces whose provider speaks as the client does.
    fn own() -> [Self; 2] {
        [
            Self { kind: Anthropic, path: MESSAGES, body: messages::ASK_STREAM, said: talked() },
            Self { kind: OpenAi, path: RESPONSES, body: ASK_RESPONSE, said: surfaces::events("resp_1", &[TEXT]) },
        ]
    }

    /// Those that are translated.
    fn translated() -> [Self; 2] {
        [
            Self { kind: Anthropic, path: CHAT, body: ASK_STREAM, said: talked() },
            Self { kind: OpenAi, path: MESSAGES, body: messages::ASK_STREAM, said: chatted() },
        ]
    }

    /// The place of the event that holds the text.
    fn content(&self) -> usize {
        self.said.iter().position(|event| event.contains(TEXT)).unwrap()
    }

    async fn world(&self, scripts: Vec<Vec<Step>>, change: impl FnOnce(&mut Config)) -> World {
        let world = World::with(scripts, vec![], |config| {
            for provider in config.providers.values_mut() {
                (provider.kind, provider.stream_usage) = (self.kind, StreamUsage::Leave);
            }
            change(config);
        })
        .await;
        world.release(0).await;
        world
    }

    async fn ask(&self, world: &World) -> Answer {
        let request = world.request(self.path, &[("x-session-id", "s")], self.body);
        Answer::of(world.send(request).await).await
    }

    /// What the client gets where the provider sends this in one piece, and how it was seen to end.
    async fn told(&self, said: &str) -> (Answer, coalmine_core::tally::Outcome) {
        let world = self.world(vec![stream_of(&[said.to_owned()])], |_| {}).await;
        let answer = self.ask(&world).await;
        (answer, world.turns(1).await.remove(0).outcome)
    }
}

fn talked() -> Vec<String> {
    let mut said = vec![messages::start(), messages::opened(), messages::text(TEXT)];
    said.extend(messages::end());
    said
}

fn chatted() -> Vec<String> {
    vec![role(), delta(TEXT), finish(), usage(), done()]
}

/// The text that a client of any dialect reads.
fn read(stream: &str) -> String {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.filter_map(|data| {
        let event: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        let text = event.pointer("/choices/0/delta/content").or_else(|| event.pointer("/delta/text"));
        text.and_then(Value::as_str).map(str::to_owned)
    })
    .collect()
}

/// The same event with its data in several lines: behind each comma between two members.
fn in_lines(event: &str) -> String {
    event
        .split_inclusive(",\"")
        .map(|part| part.strip_suffix('"').map_or(part.to_owned(), |part| format!("{part}\ndata: \"")))
        .collect()
}

/// Every line end, comments, all events in one read, and a last line that nothing ends.
#[tokio::test]
async fn t03_line_ends_and_an_open_last_line_pass_on_every_surface() {
    for way in Way::own() {
        for line_end in LINE_ENDS {
            let said = [": PROCESSING\n\n", &way.said[0], ": ping\n\n", &way.said[1..].concat()].concat();
            for open in [0, 1, 2] {
                let said = said.strip_suffix(&"\n".repeat(open)).unwrap().replace('\n', line_end);
                let (answer, outcome) = way.told(&said).await;
                assert_eq!(answer.text(), said, "{} {line_end:?} {open}", way.path);
                let seen = (outcome.ending, outcome.empty, outcome.usage.input);
                assert_eq!(seen, (Ending::Complete, Check::No, Some(10)), "{} {line_end:?} {open}", way.path);
                assert!(answer.body.is_ok());
            }
        }
    }
}

/// A last line that nothing ends is the end of a translated answer, too.
#[tokio::test]
async fn t03_line_ends_and_an_open_last_line_survive_translation() {
    for way in Way::translated() {
        let plain = way.told(&way.said.concat()).await.0.text();
        assert_eq!(read(&plain), TEXT, "{plain}");
        for line_end in LINE_ENDS {
            for open in [0, 1, 2] {
                let said = way.said.concat().strip_suffix(&"\n".repeat(open)).unwrap().replace('\n', line_end);
                let (answer, outcome) = way.told(&said).await;
                assert_eq!(answer.text(), plain, "{} {line_end:?} {open}", way.path);
                assert_eq!((outcome.ending, outcome.empty), (Ending::Complete, Check::No), "{line_end:?} {open}");
            }
        }
    }
}

/// An event that does not end is passed on in any dialect, and looked at no further than its bound. In the other dialect it
/// cannot be told, and leaving it out would make half an answer look whole: the client is told that it broke.
#[tokio::test]
async fn t03_an_event_beyond_the_bound_passes_and_is_never_left_out_of_a_translation() {
    let long = messages::named("x", &format!(r#","x":"{}""#, "y".repeat(3 << 20)));
    let pieces = |way: &Way| {
        let (before, behind) = way.said.split_at(way.content() + 1);
        let said = [&before.concat(), &long, &behind.concat()].map(String::as_str).concat();
        let mut script = vec![write(STREAM_HEAD)];
        script.extend(said.as_bytes().chunks(100_000).map(|piece| write(chunk(piece))));
        script.push(write(STREAM_END));
        (said, script)
    };
    for way in Way::own() {
        let (said, script) = pieces(&way);
        let world = way.world(vec![script], |_| {}).await;
        assert!(way.ask(&world).await.text() == said, "{} passes", way.path);
        let outcome = world.turns(1).await.remove(0).outcome;
        assert_eq!((outcome.ending, outcome.usage.input), (Ending::Complete, Some(10)), "{}", way.path);
    }
    for way in Way::translated() {
        let (_, script) = pieces(&way);
        let world = way.world(vec![script], |_| {}).await;
        let text = way.ask(&world).await.text();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.contains("\"error\":{") && text.contains(TEXT), "{} {text}", way.path);
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Broken), "{}", way.path);
    }
}

/// An event in several data lines is one text on every surface, with a comment in its middle; a comment is none.
#[tokio::test]
async fn t04_comments_and_events_of_several_data_lines_pass_on_every_surface() {
    let commented = |way: &Way| {
        let events = way.said.iter().map(|event| in_lines(event).replacen("data: ", ": in the middle\ndata: ", 1));
        format!(": PROCESSING\n\n{}", events.collect::<Vec<_>>().join(":\n\n"))
    };
    for way in Way::own() {
        let said = commented(&way);
        assert!(said.matches("\ndata: \"").count() > way.said.len(), "in several lines: {said}");
        let (answer, outcome) = way.told(&said).await;
        assert_eq!(answer.text(), said, "{}", way.path);
        let seen = (outcome.ending, outcome.empty, outcome.usage.input);
        assert_eq!(seen, (Ending::Complete, Check::No, Some(10)), "{}", way.path);
    }
    for way in Way::translated() {
        let plain = way.told(&way.said.concat()).await.0.text();
        let (answer, outcome) = way.told(&commented(&way)).await;
        let text = answer.text();
        let signs = [": ping\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"];
        let said = signs.iter().fold(text.clone(), |text, sign| text.replace(sign, ""));
        assert_eq!(said, plain, "{}: a comment is a sign of life and nothing else", way.path);
        assert!(text.len() > said.len(), "which goes on as one: {text}");
        assert_eq!(outcome.ending, Ending::Complete, "{}", way.path);
    }
}

/// A body in many pieces, in one and an empty one, and one that ends with its connection, on every surface and translated.
#[tokio::test]
async fn t09_a_body_in_pieces_is_one_body_on_every_surface() {
    let response = r#"{"id":"r","object":"response","status":"completed","model":"m","output":[{"id":"i","type":"message","role":"assistant","content":[{"type":"output_text","text":"in pieces","annotations":[]}]}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
    let (talk, chat) = (messages::message("in pieces"), completion("in pieces"));
    for (kind, path, body, text, own) in [
        (Anthropic, MESSAGES, messages::ASK, &*talk, true),
        (OpenAi, RESPONSES, r#"{"model":"support","input":"Hi"}"#, response, true),
        (Anthropic, CHAT, ASK, &talk, false),
        (OpenAi, MESSAGES, messages::ASK, &chat, false),
    ] {
        let head = |more: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}\r\n");
        let length = format!("content-length: {}\r\n", text.len());
        let chunked = head("transfer-encoding: chunked\r\n");
        let mut bytewise = vec![write(head(&length))];
        bytewise.extend(text.as_bytes().chunks(1).map(write));
        let mut chunkwise = vec![write(&chunked)];
        chunkwise.extend(text.as_bytes().chunks(7).map(|piece| write(chunk(piece))));
        chunkwise.push(write(STREAM_END));
        let and_an_end = vec![write(&chunked), write(chunk(text)), write(STREAM_END)];
        let until_close = vec![write(head("") + text), Step::Close];
        let scripts = vec![json_answer(200, "", text), bytewise, chunkwise, and_an_end, until_close];
        let count = scripts.len();
        for (stable, canary) in [(scripts.clone(), vec![]), (vec![], scripts)] {
            let weight = if stable.is_empty() { 10_000 } else { 0 };
            let world = World::with(stable, canary, |config| {
                config.providers.values_mut().for_each(|provider| provider.kind = kind);
            })
            .await;
            world.release(weight).await;
            let mut told = Vec::new();
            for _ in 0..count {
                let answer = Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body)).await).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                told.push(answer.text());
            }
            let whole = if own { text.to_owned() } else { told[0].clone() };
            assert!(whole.contains("in pieces"));
            assert_eq!(told, vec![whole; count], "{kind:?} {path}");
            for turn in world.turns(count).await {
                assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(5)), "{path}");
            }
        }
    }
}

/// A body that breaks in its middle is none, whoever reads it.
#[tokio::test]
async fn t09_a_body_of_which_a_piece_is_missing_is_no_answer() {
    for (kind, path, body, text) in [
        (Anthropic, CHAT, ASK, messages::message("in pieces")),
        (OpenAi, MESSAGES, messages::ASK, completion("in pieces")),
    ] {
        let (begun, _) = text.split_at(text.len() - 1);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        for end in [write(STREAM_END), Step::Close] {
            let script = vec![write(head), write(chunk(begun)), end];
            let world = World::with(vec![script], vec![], |config| {
                config.providers.values_mut().for_each(|provider| provider.kind = kind);
            })
            .await;
            world.release(0).await;
            let answer = Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body)).await).await;
            assert_eq!(answer.status, 502, "{path}: {}", answer.text());
            assert!(!answer.text().contains("in pieces"));
            assert!(matches!(world.turns(1).await[0].outcome.ending, Ending::Failed(_)));
        }
    }
}

/// Reads until `enough`, and no further.
async fn until(answer: &mut http::Response<hyper::body::Incoming>, got: &mut String, enough: impl Fn(&str) -> bool) {
    let reads = async {
        while !enough(got) {
            let frame = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            got.push_str(std::str::from_utf8(&frame).unwrap());
        }
    };
    soon("as much of it", reads).await;
}

/// A sign of life stands between two events of every dialect, in its own form, and never inside one; where a stream is
/// translated the half of an event is not there yet, and a sign of life may stand before it.
#[tokio::test]
async fn t10_a_keep_alive_stands_between_events_on_every_surface() {
    const COMMENT: &str = ": keep-alive\n\n";
    const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    for (way, own) in Way::own().into_iter().zip([true; 2]).chain(Way::translated().into_iter().zip([false; 2])) {
        for line_end in LINE_ENDS {
            let plain = if own {
                way.said.concat().replace('\n', line_end)
            } else {
                way.told(&way.said.concat()).await.0.text()
            };
            let event = |at: usize| way.said[at].replace('\n', line_end);
            let (at, go) = (way.content(), [(); 2].map(|()| Arc::new(Notify::new())));
            let before: String = (0..at).map(event).collect();
            let behind: String = (at + 1..way.said.len()).map(event).collect();
            // in the middle of a line of the content, and of its text
            let content = event(at);
            let (begin, rest) = content.split_at(content.find(TEXT).unwrap() + "日".len());
            let script = vec![
                write(STREAM_HEAD),
                write(chunk(&before)),
                Step::Wait(go[0].clone()),
                write(chunk(begin)),
                Step::Wait(go[1].clone()),
                write(chunk([rest, &behind].concat())),
                write(STREAM_END),
            ];
            // what ends with a CR is read with what follows, and may be `message_start`
            let signs = |got: &str| got.matches(PING).count() + got.matches(COMMENT).count();
            let world = way
                .world(vec![script], |config| {
                    for provider in config.providers.values_mut() {
                        provider.timeouts.keep_alive = Some(Duration::from_millis(10));
                    }
                })
                .await;
            let mut answer = world.send(world.request(way.path, &[("x-session-id", "s")], way.body)).await;
            let mut got = String::new();
            until(&mut answer, &mut got, |got| signs(got) > 1).await;
            go[0].notify_one();
            if own {
                until(&mut answer, &mut got, |got| got.ends_with(begin)).await;
                let more = tokio::time::timeout(Duration::from_millis(60), answer.body_mut().frame()).await;
                assert!(more.is_err(), "{} {line_end:?}: nothing stands inside an event", way.path);
            } else {
                let so_far = signs(&got);
                until(&mut answer, &mut got, |got| signs(got) > so_far + 1).await;
                assert!(!got.contains('日'), "half an event is not told: {got}");
            }
            go[1].notify_one();
            got += &Answer::of(answer).await.text();
            assert_eq!(got.replace(PING, "").replace(COMMENT, ""), plain, "{} {line_end:?}", way.path);
            let begun = got.find("message_start").unwrap_or(0);
            assert!(!got[..begun].contains(PING), "{got}");
            if line_end != "\r" {
                let pings = way.path == MESSAGES;
                assert_eq!((got.contains(PING), got.contains(COMMENT)), (pings, !pings), "{got}");
            }
            assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete);
        }
    }
}

/// A body that is no stream of events is left alone on every surface.
#[tokio::test]
async fn t10_a_body_that_is_no_stream_gets_no_comment_on_any_surface() {
    let (talk, chat) = (messages::message("late"), completion("late"));
    for (kind, path, body, text, own) in [
        (Anthropic, MESSAGES, messages::ASK, &talk, true),
        (OpenAi, RESPONSES, r#"{"model":"support","input":"Hi"}"#, &chat, true),
        (Anthropic, CHAT, ASK, &talk, false),
        (OpenAi, MESSAGES, messages::ASK, &chat, false),
    ] {
        let go = Arc::new(Notify::new());
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        let (begin, rest) = text.split_at(9);
        let script = vec![write(head), write(begin), Step::Wait(go.clone()), write(rest)];
        let world = World::with(vec![script], vec![], |config| {
            for provider in config.providers.values_mut() {
                provider.kind = kind;
                provider.timeouts.keep_alive = Some(Duration::from_millis(5));
            }
        })
        .await;
        world.release(0).await;
        let mut going = Box::pin(async {
            let answer = world.send(world.request(path, &[("x-session-id", "s")], body)).await;
            Answer::of(answer).await
        });
        let late = tokio::time::timeout(Duration::from_millis(40), &mut going).await;
        assert!(late.is_err(), "{path}: it waits for its rest");
        go.notify_one();
        let answer = going.await;
        assert!(if own { answer.text() == *text } else { answer.json().is_object() }, "{path}: {}", answer.text());
        assert!(answer.text().contains("late"));
    }
}
