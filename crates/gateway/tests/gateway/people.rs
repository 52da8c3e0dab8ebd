//! A route that people answer: no provider is asked for them, the canary answers in its shadow, and a pair is there when the
//! person's answer has come as feedback.

use crate::shadow::{Reader, shadow, shadowed};
use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::release::policy::Role;
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::preferences::Preferring;
use coalmine_core::tally::{Cause, Ending};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::Version;
use coalmine_gateway::config::Provider;
use serde_json::{Value, json};
use std::sync::Arc;

/// People answer, a judge reads all pairs, and the canary is in its shadow.
async fn world(canary: Vec<Vec<Step>>) -> (World, Arc<Reader>) {
    let preferring = Preferring {
        judge: "better".to_owned(),
        role: Role::Guardrail,
        margin: 0.1,
        weight: 1.0,
        sample: WeightBp::FULL,
    };
    let world = World::with(vec![], canary, |config| {
        config.providers.insert(ProviderName::from("people"), Provider::people());
    })
    .await;
    let mut table = shadowed(Shadow { preferences: vec![preferring], ..shadow() });
    let people = Version { params: [].into(), prompt: None, ..version("people", "agents") };
    table.stable = people.id();
    table.versions.insert(people.id(), Arc::new(people));
    world.gateway.install(&tables(table)).await.unwrap();
    let reader = Arc::new(Reader::default());
    world.gateway.sample_to(reader.clone());
    (world, reader)
}

impl World {
    async fn fed(&self, item: &Value) -> (u16, Value) {
        let answer = Answer::of(self.send(self.request("/v1/feedback", &[], item.to_string())).await).await;
        (answer.status, answer.json())
    }

    /// Until so many copies have been answered by the canary.
    async fn answered(&self, count: usize) {
        soon("the copies", async {
            while self.canary.count() < count || !self.metric("coalmine_shadow_under_way 0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_persons_answer_comes_as_feedback_and_is_the_pairs_other_half() {
    let (world, reader) = world(vec![ok("from the canary")]).await;
    let told = world.chat("s-1", ASK_STREAM).await;
    assert_eq!((told.status, told.header("x-coalmine-arm")), (202, "stable"));
    let said = told.json();
    assert_eq!(said["object"], "coalmine.answered_by_people");
    assert_eq!(said["request_id"], told.header("x-coalmine-request-id"));
    world.answered(1).await;
    assert_eq!(world.pairs(0).await.len(), 0, "nobody has answered yet, and no copy is under way meanwhile");

    world.clock.advance(3_600_000);
    let answer = json!({"request_id": said["request_id"], "answer": "from a person", "metrics": {"solved": 1}});
    assert_eq!(world.fed(&answer).await.0, 200);
    let pair = &world.pairs(1).await[0];
    assert_eq!((pair.stable.ending, pair.canary.ending), (Ending::Complete, Ending::Complete));
    assert!(pair.started_at.0 >= 4_600_000, "it begins when both are there");
    soon("the texts", async {
        while reader.pairs.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sample = reader.pairs.lock().unwrap()[0].clone();
    assert_eq!((sample.stable.as_str(), sample.canary.as_str()), ("from a person", "from the canary"));
    assert!(sample.conversation.contains("hello"));
    assert_eq!(world.fed(&answer).await.0, 200, "sent again it is taken, and counts once");
    assert_eq!(world.pairs(1).await.len(), 1);
    assert_eq!(world.stable.count(), 0, "no provider is asked for a person");
    let turns = world.turns(1).await;
    assert_eq!((turns.len(), turns[0].outcome.status), (1, 202));
    let reported = format!("{:?}", world.sink.deltas.lock().unwrap());
    assert!(!reported.contains("from a person"), "{reported}");
}

#[tokio::test]
async fn a_session_names_the_one_request_that_waits() {
    let (world, _reader) = world(vec![ok("from the canary"), error(500, ""), ok("from the canary")]).await;
    let by_session = json!({"model": "support", "session_id": "s-1", "answer": "yes"});
    world.chat("s-1", ASK).await;
    world.answered(1).await;
    assert_eq!(world.fed(&by_session).await.0, 200);
    world.pairs(1).await;
    world.chat("s-1", ASK).await;
    world.chat("s-1", ASK).await;
    world.answered(3).await;
    let (status, said) = world.fed(&by_session).await;
    assert_eq!(status, 422);
    assert!(said["results"][0]["error"].as_str().unwrap().contains("name one by `request_id`"), "{said}");
    let (status, said) = world.fed(&json!({"model": "support", "session_id": "s-1", "answer": "  "})).await;
    assert!(status == 422 && said.to_string().contains("is empty"), "{said}");
}

/// A canary that fails is a pair like any other, once a person has answered.
#[tokio::test]
async fn a_failed_canary_is_held_against_the_person_who_answered() {
    let (world, reader) = world(vec![error(500, "")]).await;
    let told = world.chat("s-1", ASK).await.json();
    world.answered(1).await;
    world.fed(&json!({"request_id": told["request_id"], "answer": "from a person"})).await;
    let pair = &world.pairs(1).await[0];
    assert_eq!((pair.stable.ending, pair.canary.ending), (Ending::Complete, Ending::Failed(Cause::Server)));
    assert!(reader.pairs.lock().unwrap().is_empty(), "there is nothing to read");
}

#[tokio::test]
async fn what_no_person_answers_is_lost_and_counted() {
    let (world, _reader) = world(vec![ok("from the canary")]).await;
    world.chat("s-1", ASK).await;
    world.answered(1).await;
    world.clock.advance(25 * 3_600_000);
    assert_eq!(world.lost(1).await.unanswered, 1);
}

#[tokio::test]
async fn where_a_model_answers_nobody_sends_its_answers() {
    let world = World::new(vec![ok("from stable")], vec![ok("from the canary")]).await;
    world.gateway.install(&tables(shadowed(shadow()))).await.unwrap();
    let told = world.chat("s-1", ASK).await;
    let item = json!({"request_id": told.header("x-coalmine-request-id"), "answer": "mine"});
    let (status, said) = world.fed(&item).await;
    assert!(status == 422 && said.to_string().contains("a model answers route `support`"), "{said}");
}
