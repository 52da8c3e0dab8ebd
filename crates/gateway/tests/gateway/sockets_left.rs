//! A client that leaves its websocket in the middle of a turn: what was asked and what came until then is charged, as over HTTP.

use crate::quotas::{coalmine_wire_rate, install, key, secret};
use crate::sockets::{self, Socket, dial, event, say, spoken, written};
use crate::support::*;
use coalmine_core::key::{Payer, Quota, Usd};
use coalmine_core::tally::{CancelPoint, Ending};
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
            config.prices = Prices::default().with("model-s", coalmine_wire_rate());
        })
        .await;
        world.gateway.install(&tables(route(1, None))).await.unwrap();
        install(&world, 1, vec![key("a", 1, Quota::default())]);
        let bearer = format!("Bearer {}", secret(1));
        let (client, _) = dial(&world, path, &[("authorization", bearer.as_str())]).await.unwrap();
        Self { world, client, one, _two: two }
    }

    /// Sends this, lets the provider answer with these, and leaves once they have come; how the last turn of so many ended,
    /// and what the key was charged for all.
    async fn left(mut self, turns: &[(Value, Vec<Value>)]) -> (Ending, u64, Usd) {
        let mut theirs = None;
        for (asked, answers) in turns {
            self.world.clock.advance(1);
            say(&mut self.client, std::slice::from_ref(asked)).await;
            let theirs = match &mut theirs {
                Some(theirs) => theirs,
                none => none.insert(self.one.socket().await.2),
            };
            event(theirs).await;
            say(theirs, answers).await;
            for _ in answers {
                event(&mut self.client).await;
            }
        }
        drop(self.client);
        let ending = self.world.turns(turns.len()).await.last().unwrap().outcome.ending;
        let deltas = self.world.sink.deltas.lock().unwrap().clone();
        let told = deltas.iter().flat_map(|delta| &delta.spending).filter(|told| told.payer == Payer::Key("a".into()));
        let used: Vec<_> = told.map(|told| told.used).collect();
        (ending, used.iter().map(|used| used.tokens).sum(), Usd(used.iter().map(|used| used.cost.0).sum()))
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
        (vec![(create(), half.clone())], CancelPoint::MidAnswer, asked, 100),
        (vec![(create(), half[..1].to_vec())], CancelPoint::BeforeFirstByte, asked, 0),
        (vec![(create(), vec![])], CancelPoint::BeforeFirstByte, asked, 0),
        (vec![(create(), whole), (create(), half)], CancelPoint::MidAnswer, asked + 5, 103),
    ] {
        let scene = Scene::new("/v1/responses").await;
        let (ending, tokens, cost) = scene.left(&turns).await;
        assert_eq!((ending, tokens), (Ending::Cancelled(point), input + output));
        assert_eq!(cost, Usd::from_dollars((input + 2 * output) as f64 * 1e-6));
    }
}

/// What a realtime session has heard nobody told the gateway in words: what was said until then is charged.
#[tokio::test]
async fn t22_who_leaves_a_realtime_socket_pays_for_what_was_said_until_then() {
    let text = "x".repeat(400);
    let begun = spoken("r", "completed")[0].clone();
    let said = json!({"type": "response.output_audio_transcript.delta", "response_id": "r", "delta": text});
    let asked = json!({"type": "response.create"});
    let scene = Scene::new("/v1/realtime?model=support").await;
    let left = scene.left(&[(asked, vec![begun, said])]).await;
    assert_eq!(left, (Ending::Cancelled(CancelPoint::MidAnswer), 100, Usd::from_dollars(200e-6)));
}
