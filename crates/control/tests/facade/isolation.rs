//! What is wrong with one release stays with it.

use crate::fixture::{Fixture, alice, new_release, version};
use coalmine_core::id::RouteName;
use coalmine_core::release::event::Command;
use coalmine_core::time::SpanMs;
use coalmine_store::{EvidenceBatch, ReleaseEvidence, Store};

#[tokio::test]
async fn a_release_whose_evidence_cannot_be_read_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    let sick = fixture.started().await;
    let other = RouteName::from("sales");
    fixture.control.seed_route(&other, &version("stable-model")).await.unwrap();
    let mut new = new_release("canary-model");
    new.route = other;
    let sound = fixture.control.create_release(new, alice()).await.unwrap().release.id;
    fixture.control.command(&sound, Command::Start, alice(), None).await.unwrap();
    let broken = ReleaseEvidence { totals: Some("{".to_owned()), ..ReleaseEvidence::empty(sick.clone()) };
    let batch = EvidenceBatch { counted: Vec::new(), releases: vec![broken.into()], spending: vec![] };
    fixture.store.add_evidence(&"default".into(), &batch).await.unwrap();

    fixture.report("a", 1);
    fixture.control.tick().await;
    assert!(fixture.control.status(&sound).unwrap().look.is_some(), "the sound one is looked at");
    assert!(fixture.control.status(&sick).unwrap().look.is_none());
    let failing = fixture.control.health().failing;
    assert_eq!(failing.len(), 1);
    assert_eq!(failing[0].0, sick);
    assert_eq!(fixture.share_bp(), 500, "it stands where it is");
}

#[tokio::test]
async fn nothing_moves_on_reports_that_stopped() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.report("a", 1);
    for _ in 0..240 {
        fixture.clock.pass(SpanMs::minutes(1));
        fixture.control.tick().await;
    }
    assert_eq!(fixture.share_bp(), 500);
    let look = fixture.control.status(&id).unwrap().look.unwrap();
    assert!(!look.analysis.quality.holds.is_empty(), "{:?}", look.analysis.quality);
}
