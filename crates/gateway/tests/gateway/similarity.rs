//! How near the answers of a shadow are: asked of an embeddings endpoint beside the served request, within the shadow's
//! budget, and unknown where that is in trouble.

use crate::shadow::{shadow, shadowed};
use crate::support::*;
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::similarity::{Cosine, Likeness, Similarity};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{JsonText, Version};
use coalmine_wire::prices::{Price, Rate};
use serde_json::json;

fn similarity(baseline: WeightBp) -> Shadow {
    let version =
        Version { params: [("dimensions".to_owned(), JsonText("2".to_owned()))].into(), ..version("two", "e-1") };
    let similarity = Similarity { version, sample: WeightBp::FULL, baseline, bar: None };
    Shadow { similarity: Some(Box::new(similarity)), ..shadow() }
}

fn embeddings(vectors: &[[f64; 2]]) -> Vec<Step> {
    let data: Vec<_> = vectors.iter().enumerate().map(|(index, v)| json!({"index": index, "embedding": v})).collect();
    json_answer(200, "", &json!({"data": data, "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000}}).to_string())
}

impl World {
    /// What was measured, once there is so much.
    async fn likenesses(&self, count: usize) -> Vec<Likeness> {
        soon("the likenesses", async {
            loop {
                let deltas = self.sink.deltas.lock().unwrap().clone();
                let all: Vec<Likeness> =
                    deltas.iter().flat_map(|d| &d.mirrored).flat_map(|m| m.likenesses.iter().cloned()).collect();
                if all.len() >= count {
                    return all;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Both answers, and stable's second to the same request, in one question of the configured model.
#[tokio::test]
async fn answers_are_held_together_by_embeddings_and_stable_against_itself() {
    let canary = vec![ok("from the canary"), embeddings(&[[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])];
    let world = World::new(vec![ok("from stable"), ok("stable once more")], canary).await;
    world.gateway.install(&tables(shadowed(similarity(WeightBp::FULL)))).await.unwrap();
    assert_eq!(world.chat("s-1", ASK).await.status, 200);
    let measured = &world.likenesses(1).await[0];
    assert_eq!((measured.canary, measured.again), (Cosine::Known(0.6), Some(Cosine::Known(1.0))));
    assert_eq!(measured.unit, world.pairs(1).await[0].unit);

    let asked = &world.canary.received()[1];
    assert!(asked.head.starts_with("POST /v1/embeddings "), "{}", asked.head);
    let said = asked.json();
    assert_eq!((said["model"].as_str(), said["dimensions"].as_u64()), (Some("e-1"), Some(2)));
    assert_eq!(said["input"], json!(["from stable", "from the canary", "stable once more"]));
    let again = &world.stable.received()[1];
    assert_eq!(
        (again.json()["model"].as_str(), again.header("authorization")),
        (Some("model-s"), Some("Bearer key-one"))
    );
    assert_eq!(world.turns(1).await.len(), 1, "stable's second answer is no turn of anybody");
    assert!(world.metric(r#"coalmine_shadow_similarity_total{route="support",came="known"} 2"#));
    let reported = format!("{:?}", world.sink.deltas.lock().unwrap());
    assert!(!reported.contains("once more"), "{reported}");
}

/// Trouble is unknown; an answer without a text has nothing to be near to, and is not asked about.
#[tokio::test]
async fn trouble_is_unknown_and_a_missing_answer_is_not_measured() {
    let odd = |body: &str| json_answer(200, "", body);
    for trouble in
        [error(500, ""), error(401, ""), odd("<html>"), odd(r#"{"data":[]}"#), embeddings(&[[0.0, 0.0], [1.0, 0.0]])]
    {
        let world = World::new(vec![ok("from stable")], vec![ok("from the canary"), trouble]).await;
        world.gateway.install(&tables(shadowed(similarity(WeightBp::ZERO)))).await.unwrap();
        world.chat("s-1", ASK).await;
        let measured = &world.likenesses(1).await[0];
        assert_eq!((measured.canary, measured.again), (Cosine::Unknown, None));
        assert_eq!(world.pairs(1).await.len(), 1, "the pair itself is told");
    }
    for silent in [ok(""), error(500, "")] {
        let world = World::new(vec![ok("from stable")], vec![silent]).await;
        world.gateway.install(&tables(shadowed(similarity(WeightBp::FULL)))).await.unwrap();
        world.chat("s-1", ASK).await;
        assert_eq!(world.pairs(1).await.len(), 1);
        soon("the copy's end", async {
            while !world.metric("coalmine_shadow_under_way 0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((world.canary.count(), world.stable.count()), (1, 1), "nobody is asked about nothing");
    }
}

/// What embeddings cost is the shadow's, and once the day's budget is spent they are not asked for.
#[tokio::test]
async fn embeddings_are_paid_from_the_shadows_budget() {
    let spend = |spent: f64| async move {
        let canary = vec![ok("from the canary"), embeddings(&[[1.0, 0.0], [1.0, 0.0]]), ok("from the canary")];
        let world = World::with(vec![ok("from stable")], canary, |config| {
            let rate = Rate { input_usd: spent, output_usd: 0.0, ..Rate::default() };
            config.prices = config.prices.clone().with("e-1", Price { rate, long: None });
        })
        .await;
        world.gateway.install(&tables(shadowed(similarity(WeightBp::ZERO)))).await.unwrap();
        world.chat("s-1", ASK).await;
        world.likenesses(1).await;
        soon("the copy's end", async {
            while !world.metric("coalmine_shadow_under_way 0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.chat("s-2", ASK).await;
        soon("the second's end", async {
            while world.stable.count() < 2 || !world.metric("coalmine_shadow_under_way 0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.metric(r#"coalmine_shadow_lost_total{route="support",why="budget"} 1"#)
    };
    // 1,000 tokens at so many dollars a million, against $1 a day
    assert!(spend(1_000.0).await);
    assert!(!spend(0.1).await);
}
