//! Sentinels that a judge, an embeddings endpoint or a webhook decides: obeyed where they speak, unknown where they do not.

use crate::fixture::Fixture;
use crate::sentinels::{Says, asserting, pass, started, started_within, state, why};
use coalmine_core::release::state::State;
use coalmine_core::sentinel::{Criticality, Judging, OfflineGate};
use coalmine_core::time::SpanMs;
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

/// A judge that has used up its day says nothing of anybody: the release waits, and nobody is asked for answers that could
/// not be judged. A kill does not fill the purse again, and the next day does.
#[tokio::test]
async fn a_spent_budget_is_insufficient_data_and_never_a_failure() {
    let [_, (_, graded), _] = appeals();
    for judging in [
        Judging { calls_per_day: Some(4), usd_per_day: None },
        Judging { calls_per_day: None, usd_per_day: Some(0.0035) },
    ] {
        let fixture = Fixture::new().await;
        fixture.prober.set("canary-model", Some(Says::Wrong));
        let sentinels = vec![asserting("refund", Criticality::Critical, Check::Appeal(graded.clone()))];
        let id = started_within(&fixture, sentinels, None, judging).await;
        pass(&fixture, 120).await;
        assert_eq!(fixture.prober.questions().len(), 4, "three to qualify, and one of the round of both: {judging:?}");
        assert_eq!(state(&fixture, &id), State::Preflight, "held, and nobody is accused");
        let analysis = fixture.control.explain(&id).await.unwrap().analysis.unwrap();
        let told = &analysis.sentinels[0].reason;
        assert!(told.starts_with("insufficient data: the day's"), "{told}");

        let fixture = fixture.restart().await;
        let _ = fixture.prober.turns();
        pass(&fixture, 300).await;
        assert_eq!(fixture.prober.questions().len(), 0, "the day stays spent: {judging:?}");
        assert_eq!(fixture.prober.turns(), "", "and no answers are asked for");
        fixture.clock.pass(SpanMs::hours(24));
        pass(&fixture, 60).await;
        assert!(!fixture.prober.questions().is_empty(), "a new day");
        assert!(matches!(state(&fixture, &id), State::Preflight), "four questions confirm nothing");
    }
}
