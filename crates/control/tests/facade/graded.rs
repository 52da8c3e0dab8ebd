//! Sentinels that a judge, an embeddings endpoint or a webhook decides: obeyed where they speak, unknown where they do not.

use crate::fixture::Fixture;
use crate::sentinels::{Says, asserting, pass, started, state, why};
use coalmine_core::release::state::State;
use coalmine_core::sentinel::{Criticality, OfflineGate};
use coalmine_wire::probe::{Appeal, Check, Grading, Pinned};
use std::collections::BTreeMap;

fn pinned(model: &str) -> Option<Pinned> {
    Some(Pinned { provider: "openai".to_owned(), model: model.to_owned(), params: BTreeMap::new() })
}

/// Each with the name that [`crate::sentinels::Scripted`] knows whoever is asked by.
fn appeals() -> [(&'static str, Appeal); 3] {
    let (values, vars) = (vec!["You have 30 days.".to_owned()], BTreeMap::new());
    let by = pinned("embedding-model");
    let criteria = vec!["It says how long.".to_owned()];
    let graded = Appeal::Graded { grading: Grading::ClosedQa, criteria, threshold: None, by: pinned("judge-model") };
    [
        ("embeddings", Appeal::Similar { values, threshold: 0.8, by }),
        ("judge-model", graded),
        ("webhook", Appeal::Webhook { to: "kindness".to_owned(), vars, threshold: Some(0.5) }),
    ]
}

#[tokio::test]
async fn what_they_find_wrong_on_the_canary_alone_rolls_back_before_exposure() {
    for (asked, appeal) in appeals() {
        let fixture = Fixture::new().await;
        fixture.prober.set("canary-model", Some(Says::Wrong));
        let sentinels = vec![asserting("refund", Criticality::Critical, Check::Appeal(appeal))];
        let id = started(&fixture, sentinels, None).await;
        pass(&fixture, 30).await;
        let why = why(&fixture, &id);
        assert!(matches!(state(&fixture, &id), State::RolledBack { .. } | State::RollingBack { .. }), "{asked}: {why}");
        assert!(why.contains("refund") && !why.contains("14 days"), "{asked}: {why}");
    }
}

#[tokio::test]
async fn their_trouble_is_unknown_and_neither_passes_nor_fails_anybody() {
    for (asked, appeal) in appeals() {
        let fixture = Fixture::new().await;
        fixture.prober.set("canary-model", Some(Says::Wrong));
        fixture.prober.set(asked, Some(Says::Away));
        let sentinels = vec![asserting("refund", Criticality::Critical, Check::Appeal(appeal))];
        let id = started(&fixture, sentinels, None).await;
        pass(&fixture, 300).await;
        assert_eq!(state(&fixture, &id), State::Preflight, "{asked}");
        let analysis = fixture.control.explain(&id).await.unwrap().analysis.unwrap();
        let told = analysis.sentinels.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join("; ");
        assert!(told.contains("503"), "{asked}: it is said why: {told}");
        fixture.prober.set(asked, None);
        pass(&fixture, 120).await;
        assert_ne!(state(&fixture, &id), State::Preflight, "{asked}: and once they are back it is found");
    }
}

#[tokio::test]
async fn they_decide_the_offline_gate_too() {
    let (_, appeal) = appeals().into_iter().last().unwrap();
    let fixture = Fixture::new().await;
    fixture.prober.set("canary-model", Some(Says::Wrong));
    let gate = OfflineGate { suite: "evals/offline.yaml".to_owned(), pass_share: 0.9 };
    let sentinels = vec![asserting("gate: refund", Criticality::Gate, Check::Appeal(appeal))];
    let id = started(&fixture, sentinels, Some(gate)).await;
    pass(&fixture, 60).await;
    assert_eq!(state(&fixture, &id), State::Preflight, "held below its bar");
    fixture.prober.set("canary-model", None);
    pass(&fixture, 900).await;
    assert_ne!(state(&fixture, &id), State::Preflight);
}
