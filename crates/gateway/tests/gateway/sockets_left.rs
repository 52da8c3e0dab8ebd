//! A client that leaves its websocket in the middle of a turn: what was asked and what came until then is charged, as over HTTP.

use crate::quotas::{coalmine_wire_rate, install, key, secret};
use crate::sockets::{self, Socket, dial, event, say, spoken, written};
use crate::support::*;
use coalmine_core::key::{Payer, Quota, Usd};
use coalmine_core::tally::{CancelPoint, Ending, Turn};
use coalmine_wire::prices::Prices;
use serde_json::{Value, json};

/// A socket of the key `a` at stable, with its provider's end of it.
struct Scene {
    world: World,
    client: Socket,
    one: sockets::Provider,
    _two: sockets::Provider,
}

impl Scene {
    async fn new(path: &str) -> Self {
        let (one, two) = (sockets::provider(None).await, sockets::provider(None).await);
        let world = sockets::world(&one, &two, |config| {
            let mut price = coalmine_wire_rate();
            (price.rate.audio_input_usd, price.rate.audio_output_usd) = (Some(10.0), Some(20.0));
            config.prices = Prices::default().with("model-s", price).with("scribe", price);
        })
        .await;
        world.gateway.install(&tables(route(1, None))).await.unwrap();
        install(&world, 1, vec![key("a", 1, Quota::default())]);
        let bearer = format!("Bearer {}", secret(1));
        let (client, _) = dial(&world, path, &[("authorization", bearer.as_str())]).await.unwrap();
        Self { world, client, one, _two: two }
    }

    /// Sends this, lets the provider answer with these, and leaves once they have come; how the last of these turns ended, and
    /// what the key was charged for all.
    async fn left(self, turns: &[(Vec<Value>, Vec<Value>)]) -> (Ending, u64, Usd) {
        self.left_after(turns, turns.len()).await
    }

    /// The same where not all of it are turns.
    async fn left_after(self, said: &[(Vec<Value>, Vec<Value>)], turns: usize) -> (Ending, u64, Usd) {
        let (turns, tokens, cost) = self.said(said, turns).await;
        (turns.last().unwrap().outcome.ending, tokens, cost)
    }

    async fn said(mut self, said: &[(Vec<Value>, Vec<Value>)], turns: usize) -> (Vec<Turn>, u64, Usd) {
        let mut theirs = None;
        for (asked, answers) in said {
            self.world.clock.advance(1);
            say(&mut self.client, asked).await;
            let theirs = match &mut theirs {
                Some(theirs) => theirs,
                none => none.insert(self.one.socket().await.2),
            };
            for _ in asked {
                event(theirs).await;
            }
            say(theirs, answers).await;
            for _ in answers {
                event(&mut self.client).await;
            }
        }
        drop(self.client);
        let turns = self.world.turns(turns).await;
        let deltas = self.world.sink.deltas.lock().unwrap().clone();
        let told = deltas.iter().flat_map(|delta| &delta.spending).filter(|told| told.payer == Payer::Key("a".into()));
        let used: Vec<_> = told.map(|told| told.used).collect();
        (turns, used.iter().map(|used| used.tokens).sum(), Usd(used.iter().map(|used| used.cost.0).sum()))
    }
}

fn create() -> Value {
    json!({"type": "response.create", "model": "support", "input": "What do you think of this?"})
}

#[tokio::test]
async fn t22_who_leaves_a_socket_of_responses_pays_for_what_was_asked_and_came() {
    let asked = create().to_string().len() as u64 / 4;
    let (whole, text) = (written("resp_1", "hi"), "x".repeat(400));
    let mut half = written("resp_2", &text)[..2].to_vec();
    half[0]["response"]["usage"] = Value::Null;
    for (turns, point, input, output) in [
        (vec![(vec![create()], half.clone())], CancelPoint::MidAnswer, asked, 100),
        (vec![(vec![create()], half[..1].to_vec())], CancelPoint::BeforeFirstByte, asked, 0),
        (vec![(vec![create()], vec![])], CancelPoint::BeforeFirstByte, asked, 0),
        (vec![(vec![create()], whole), (vec![create()], half)], CancelPoint::MidAnswer, asked + 5, 103),
    ] {
        let scene = Scene::new("/v1/responses").await;
        let (ending, tokens, cost) = scene.left(&turns).await;
        assert_eq!((ending, tokens), (Ending::Cancelled(point), input + output));
        assert_eq!(cost, Usd::from_dollars((input + 2 * output) as f64 * 1e-6));
    }
}

/// Of a realtime session what was said until then is charged, by the text of it.
#[tokio::test]
async fn t22_who_leaves_a_realtime_socket_pays_for_what_was_said_until_then() {
    let text = "x".repeat(400);
    let begun = spoken("r", "completed")[0].clone();
    let said = json!({"type": "response.output_audio_transcript.delta", "response_id": "r", "delta": text});
    let asked = json!({"type": "response.create"});
    let scene = Scene::new("/v1/realtime?model=support").await;
    let left = scene.left(&[(vec![asked], vec![begun, said])]).await;
    assert_eq!(left, (Ending::Cancelled(CancelPoint::MidAnswer), 100, Usd::from_dollars(200e-6)));
}

/// Sound is charged by how long it lasts, whether anybody puts it into words or not: what was heard, and what was spoken.
#[tokio::test]
async fn t22_who_leaves_a_realtime_socket_pays_for_sound_without_words() {
    let second = |name: &str, key: &str| json!({"type": name, key: "A".repeat(64_000), "response_id": "r"});
    let heard = second("input_audio_buffer.append", "audio");
    let asked = vec![heard.clone(), heard, json!({"type": "response.create"})];
    let committed = json!({"type": "input_audio_buffer.committed", "item_id": "i"});
    let begun = spoken("r", "completed")[0].clone();
    let said = second("response.output_audio.delta", "delta");
    let [before, begins, answers] = [
        // what is not part of the conversation is not read
        (vec![], 0, 0),
        (vec![begun.clone()], 0, 0),
        (vec![begun, said.clone(), said], 0, 40),
    ];
    for (answers, input, output) in [before, begins, answers] {
        let point = if output > 0 { CancelPoint::MidAnswer } else { CancelPoint::BeforeFirstByte };
        let scene = Scene::new("/v1/realtime?model=support").await;
        let left = scene.left(&[(asked.clone(), answers)]).await;
        assert_eq!(left, (Ending::Cancelled(point), input + output, Usd::from_dollars(output as f64 * 20e-6)));
    }
    // the second response reads what the first did, what that said, and what was heard since
    let whole = spoken("first", "completed");
    let turn = |answers: &[Value]| (vec![json!({"type": "response.create"})], answers.to_vec());
    let scene = Scene::new("/v1/realtime?model=support").await;
    let hears = (asked[..1].to_vec(), vec![committed]);
    let left = scene.left_after(&[turn(&whole), hears, turn(&[])], 2).await;
    let (first, second) = (12.0 + 7.0 * 2.0, 19.0 + 10.0 * 10.0);
    let point = CancelPoint::BeforeFirstByte;
    assert_eq!(left, (Ending::Cancelled(point), 19 + 29, Usd::from_dollars((first + second) * 1e-6)));
}

/// What somebody says is written down by another model, which is paid for by its own price: with the turn under way, with the next,
/// or with none.
#[tokio::test]
async fn a_transcript_costs_what_its_own_model_does() {
    let by = |model: &str| {
        let settings = json!({"audio": {"input": {"transcription": {"model": model}}}});
        json!({"type": "session.updated", "session": settings})
    };
    let written = |usage: Value| {
        let what = "conversation.item.input_audio_transcription.completed";
        json!({"type": what, "item_id": "i", "content_index": 0, "transcript": "Hey.", "usage": usage})
    };
    let tokens = json!({"type": "tokens", "input_tokens": 13, "output_tokens": 9, "total_tokens": 22,
        "input_token_details": {"text_tokens": 3, "audio_tokens": 10}});
    let time = json!({"type": "duration", "seconds": 2.58});
    let micros = |n: u64| Usd(1_000 * n);
    // text read at 1, sound read at 10, written at 2 for a million; the answer reads 12 and writes 7
    let (answer, of_tokens, of_time) = (26, 3 + 100 + 18, 250);
    for (model, usage, count, cost) in
        [("scribe", &tokens, 22, Some(of_tokens)), ("scribe", &time, 25, Some(of_time)), ("nobody", &tokens, 22, None)]
    {
        let whole = spoken("r", "completed");
        let create = vec![json!({"type": "response.create"})];
        let within = [&[by(model), whole[0].clone(), written(usage.clone())], &whole[1..]].concat();
        let said = [
            vec![(create.clone(), within)],
            vec![(vec![], vec![by(model), written(usage.clone())]), (create.clone(), whole.clone())],
            vec![(create, [&[by(model)], &whole[..], &[written(usage.clone())]].concat())],
        ];
        for (place, said) in said.iter().enumerate() {
            let (turns, charged, paid) = Scene::new("/v1/realtime?model=support").await.said(said, 1).await;
            assert_eq!((charged, paid), (19 + count, micros(answer + cost.unwrap_or(0))), "{model} {place}");
            let beside = if place == 2 { Some(0) } else { cost };
            let told = turns[0].outcome.cost_usd.map(Usd::from_dollars);
            assert_eq!(told, beside.map(|beside| micros(answer + beside)), "{model} {place}");
        }
    }
}
