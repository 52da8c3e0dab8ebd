//! A probe goes the version's own way, and leaves no trace in what users are measured by.

use crate::support::*;
use bytes::Bytes;
use coalmine_core::version::{Prompt, PromptMode};
use coalmine_gateway::ProbeError;
use std::time::Duration;

const QUESTION: &str = r#"{"model":"support","messages":[{"role":"user","content":"2 + 2?"}]}"#;
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_probe_is_rewritten_for_its_version_and_enters_no_tally() {
    let world = World::new(vec![], vec![ok("4")]).await;
    let mut canary = version("two", "model-of-canary");
    canary.prompt = Some(Prompt::new(PromptMode::Replace, "Be brief."));
    let probed = world.gateway.probe(&canary, &Bytes::from(QUESTION), LIMIT).await.unwrap();
    assert_eq!(probed.body, completion("4"));
    let asked = world.canary.received()[0].json();
    assert_eq!(asked["model"], "model-of-canary");
    assert_eq!(asked["messages"][0]["content"], "Be brief.");
    assert_eq!(world.pins.len(), 0, "no session");
    assert!(
        !world.gateway.render_metrics(coalmine_gateway::Exposition::Text).contains("coalmine_requests_total{"),
        "no request of a user"
    );
}

#[tokio::test]
async fn trouble_is_told_from_the_versions_own_fault() {
    let scripts = vec![error(429, ""), error(503, ""), error(404, ""), error(400, ""), vec![Step::Close]];
    let world = World::new(vec![], scripts).await;
    let canary = version("two", "m");
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(match world.gateway.probe(&canary, &Bytes::from(QUESTION), LIMIT).await {
            Ok(_) => "answered",
            Err(ProbeError::Trouble(_)) => "trouble",
            Err(ProbeError::Refused(_)) => "refused",
            Err(_) => "other",
        });
    }
    assert_eq!(told, ["trouble", "trouble", "refused", "refused", "trouble"]);
    let nowhere = world.gateway.probe(&version("nowhere", "m"), &Bytes::from(QUESTION), LIMIT).await;
    assert!(matches!(nowhere, Err(ProbeError::NoProvider(_))));
}

#[tokio::test]
async fn embeddings_go_to_their_own_path_and_enter_no_tally() {
    let vectors = r#"{"data":[{"index":0,"embedding":[0.1,0.2]}]}"#;
    let world = World::new(vec![], vec![json_answer(200, "", vectors), error(401, "")]).await;
    let body = Bytes::from_static(br#"{"model":"small","input":["a"]}"#);
    let embedded = world.gateway.embed(&"two".into(), body.clone(), LIMIT).await.unwrap();
    assert_eq!(embedded, vectors);
    let received = world.canary.received();
    assert!(received[0].head.starts_with("POST /v1/embeddings "), "{}", received[0].head);
    assert_eq!(received[0].json()["input"][0], "a");
    let refused = world.gateway.embed(&"two".into(), body.clone(), LIMIT).await;
    assert!(matches!(refused, Err(ProbeError::Refused(_))));
    assert!(matches!(world.gateway.embed(&"nowhere".into(), body, LIMIT).await, Err(ProbeError::NoProvider(_))));
}
