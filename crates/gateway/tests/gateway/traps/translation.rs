//! T01 and T02 where a canary's provider speaks another dialect than the client: what is cut, and how its lines end, makes no
//! difference to what the client reads.

use crate::messages;
use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::Ending;
use coalmine_gateway::config::ProviderKind;
use serde_json::Value;

const TEXT: &str = "日本 🐤 \\\"x\\\"";
const READ: &str = "日本 🐤 \"x\"";
const CITY: &str = r#"{"city":"東京🗼"}"#;
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const ASK_CHAT: &str = r#"{"model":"support","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}],"tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object"}}}]}"#;
const ASK_MESSAGES: &str = r#"{"model":"support","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello"}],"tools":[{"name":"find","input_schema":{"type":"object"}}]}"#;
/// So many requests are sent while a world's clock shows one second, which is told to clients.
const IN_A_SECOND: usize = 900;

/// From which dialect to which: the canary's provider, and the client's way to ask.
#[derive(Clone, Copy)]
enum Way {
    ToChat,
    ToMessages,
}

impl Way {
    const BOTH: [Self; 2] = [Self::ToChat, Self::ToMessages];

    /// What the canary says: text, a call of a tool in two pieces, why it ends, what it used.
    fn said(self) -> String {
        let (a, b) = CITY.split_at(CITY.find('東').unwrap());
        let quoted = |piece: &str| serde_json::to_string(piece).unwrap();
        match self {
            Self::ToChat => {
                let piece = |piece: &str| {
                    let delta =
                        format!(r#","index":1,"delta":{{"type":"input_json_delta","partial_json":{}}}"#, quoted(piece));
                    messages::named("content_block_delta", &delta)
                };
                let [stop, _, last] = messages::end();
                let call = r#","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"find","input":{}}"#;
                let reason = r#","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}"#;
                [
                    messages::start(),
                    messages::ping(),
                    messages::opened(),
                    messages::text(TEXT),
                    stop.clone(),
                    messages::named("content_block_start", call),
                    piece(a),
                    piece(b),
                    stop.replace("0", "1"),
                    messages::named("message_delta", reason),
                    last,
                ]
                .concat()
            }
            Self::ToMessages => {
                let called = |piece: &str| {
                    event(&format!(
                        r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,{piece}}}]}},"finish_reason":null}}]}}"#
                    ))
                };
                [
                    role(),
                    ": OPENROUTER PROCESSING\n\n".to_owned(),
                    delta(TEXT),
                    called(&format!(
                        r#""id":"call_1","type":"function","function":{{"name":"find","arguments":{}}}"#,
                        quoted(a)
                    )),
                    called(&format!(r#""function":{{"arguments":{}}}"#, quoted(b))),
                    event(r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#),
                    usage(),
                    done(),
                ]
                .concat()
            }
        }
    }

    fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::ToChat => (CHAT, ASK_CHAT),
            Self::ToMessages => (MESSAGES, ASK_MESSAGES),
        }
    }

    /// What a client makes of it: text, arguments, why it ended, tokens read and written.
    fn read(self, stream: &str) -> (String, String, String, u64, u64) {
        let (mut text, mut arguments, mut reason, mut tokens) = (String::new(), String::new(), String::new(), (0, 0));
        let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
            let event: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            match self {
                Self::ToChat => {
                    let choice = &event["choices"][0];
                    text += &of(&choice["delta"]["content"]);
                    arguments += &of(&choice["delta"]["tool_calls"][0]["function"]["arguments"]);
                    reason += &of(&choice["finish_reason"]);
                    let usage = &event["usage"];
                    tokens.0 += usage["prompt_tokens"].as_u64().unwrap_or(0);
                    tokens.1 += usage["completion_tokens"].as_u64().unwrap_or(0);
                }
                Self::ToMessages => {
                    text += &of(&event["delta"]["text"]);
                    arguments += &of(&event["delta"]["partial_json"]);
                    reason += &of(&event["delta"]["stop_reason"]);
                    let usage = if event["type"] == "message_delta" { &event["usage"] } else { &Value::Null };
                    tokens.0 += usage["input_tokens"].as_u64().unwrap_or(0);
                    tokens.1 += usage["output_tokens"].as_u64().unwrap_or(0);
                }
            }
        }
        (text, arguments, reason, tokens.0, tokens.1)
    }

    fn meant(self) -> (String, String, String, u64, u64) {
        let (reason, written) = match self {
            Self::ToChat => ("tool_calls", 7),
            Self::ToMessages => ("tool_use", 5),
        };
        (READ.to_owned(), CITY.to_owned(), reason.to_owned(), 10, written)
    }

    /// What the client gets for each of these streams, each in its pieces.
    async fn told(self, streams: &[Vec<&[u8]>]) -> Vec<String> {
        let mut told = Vec::new();
        for streams in streams.chunks(IN_A_SECOND) {
            let script = |pieces: &Vec<&[u8]>| {
                let mut steps = vec![write(STREAM_HEAD)];
                steps.extend(pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| write(chunk(piece))));
                steps.push(write(STREAM_END));
                steps
            };
            let canary = streams.iter().map(script).collect();
            let world = World::with(vec![], canary, |config| {
                let other = if matches!(self, Self::ToChat) { "two" } else { "one" };
                config.providers.get_mut(&ProviderName::from(other)).unwrap().kind = ProviderKind::Anthropic;
            })
            .await;
            world.release(10_000).await;
            let (path, body) = self.path();
            for _ in streams {
                let answer = Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body)).await).await;
                assert_eq!((answer.status, answer.body.is_ok()), (200, true), "{}", answer.text());
                told.push(answer.text());
            }
            for turn in world.turns(streams.len()).await {
                let outcome = turn.outcome;
                let seen = (outcome.ending, outcome.tool_calls, outcome.tool_calls_bad, outcome.usage.output);
                assert_eq!(seen, (Ending::Complete, 1, 0, Some(self.meant().4)));
            }
        }
        told
    }
}

/// Every event in several data lines, and every line ended by both signs.
fn in_lines(stream: &str) -> String {
    let lines = |data: &str| match data.find(",\"") {
        Some(at) => format!("data: {}\r\ndata: {}", &data[..=at], &data[at + 1..]),
        None => format!("data: {data}"),
    };
    let line = |line: &str| line.strip_prefix("data: ").map_or_else(|| line.to_owned(), lines);
    stream.split('\n').map(line).collect::<Vec<_>>().join("\r\n")
}

#[tokio::test]
async fn t01_every_cut_of_a_translated_stream_is_the_same_stream() {
    for way in Way::BOTH {
        let said = in_lines(&way.said());
        assert!(said.contains("\r\ndata: \""), "in several lines: {said}");
        let cuts = (0..said.len()).map(|at| {
            let (a, b) = said.as_bytes().split_at(at);
            vec![a, b]
        });
        let told = way.told(&cuts.collect::<Vec<_>>()).await;
        assert_eq!(way.read(&told[0]), way.meant(), "{}", told[0]);
        for (at, text) in told.iter().enumerate() {
            assert_eq!(*text, told[0], "cut at {at}");
        }
    }
}

#[tokio::test]
async fn t01_tiny_pieces_of_a_translated_stream_are_the_same_stream_whatever_its_line_ends() {
    for way in Way::BOTH {
        let plain = way.said();
        let forms = [plain.clone(), plain.replace('\n', "\r\n"), plain.replace('\n', "\r"), in_lines(&plain)];
        let mut streams = vec![vec![plain.as_bytes()]];
        for form in &forms {
            streams.extend([1, 2, 3, 7].map(|size| form.as_bytes().chunks(size).collect::<Vec<_>>()));
        }
        let told = way.told(&streams).await;
        assert_eq!(way.read(&told[0]), way.meant(), "{}", told[0]);
        told.iter().for_each(|text| assert_eq!(*text, told[0]));
    }
}

#[tokio::test]
async fn t02_every_cut_of_a_sign_survives_translation() {
    for way in Way::BOTH {
        let said = way.said();
        let cuts: Vec<usize> = (1..said.len()).filter(|at| !said.is_char_boundary(*at)).collect();
        assert_eq!(cuts.len(), 14);
        let cut = |at: &usize| {
            let (a, b) = said.as_bytes().split_at(*at);
            vec![a, b]
        };
        for text in way.told(&cuts.iter().map(cut).collect::<Vec<_>>()).await {
            assert_eq!(way.read(&text), way.meant(), "{text}");
        }
    }
}
