//! Rollback with the store silent, and through restarts.

use crate::fixture::{Fixture, alice, bob, rollback, route};
use coalmine_control::view::Commit;
use coalmine_core::release::event::Command;
use coalmine_core::release::state::State;
use coalmine_core::time::SpanMs;

#[tokio::test]
async fn exposure_drops_while_the_store_is_silent_and_the_commit_follows() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let before = fixture.generation();
    fixture.store.set_unavailable();
    let outcome = fixture.control.command(&id, rollback("refunds are wrong"), alice(), None).await.unwrap();
    assert!(matches!(outcome.commit, Commit::Pending { .. }));
    assert!(outcome.message.starts_with("exposure is down; the commit is pending: "), "{}", outcome.message);
    assert_eq!(fixture.share_bp(), 0);
    assert!(fixture.generation() > before, "gateways take only a newer table");
    let table = fixture.control.table();
    assert_eq!(table.borrow().routes[&route()].revoked.len(), 1, "live sessions follow on_rollback at once");
    let pending = fixture.control.status(&id).unwrap().pending.unwrap();
    assert_eq!(pending.actor, alice());
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::Running { .. }), "not committed");
    assert_eq!(fixture.share_bp(), 0, "and still down");

    fixture.store.set_available();
    let lowered_as = fixture.generation();
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::RollingBack { .. }));
    assert!(fixture.control.status(&id).unwrap().pending.is_none());
    assert!(fixture.generation() > lowered_as);
    assert_eq!(*fixture.brake.log.lock().unwrap(), ["lower support-1", "lift support-1"]);
    let journal = fixture.control.journal(&id).await.unwrap();
    assert_eq!(journal.last().unwrap().actor, alice());
}

#[tokio::test]
async fn a_pending_rollback_survives_a_kill() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.set_unavailable();
    fixture.control.command(&id, rollback("refunds are wrong"), alice(), None).await.unwrap();
    fixture.store.set_available();
    let fixture = fixture.restart().await;
    assert_eq!(fixture.share_bp(), 0, "held down by the ceiling file from the first table on");
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::RollingBack { .. }));
    assert!(fixture.brake.file.lock().unwrap().is_empty(), "lifted by the committed table");
}

#[tokio::test]
async fn another_operators_rollback_meets_the_pending_one() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.set_unavailable();
    fixture.control.command(&id, rollback("refunds are wrong"), alice(), None).await.unwrap();
    fixture.control.command(&id, rollback("me too"), bob(), None).await.unwrap();
    fixture.store.set_available();
    fixture.control.tick().await;
    let journal = fixture.control.journal(&id).await.unwrap();
    let rollbacks =
        journal.iter().filter(|row| matches!(row.decision, coalmine_core::release::report::Decision::Rollback { .. }));
    assert_eq!(rollbacks.count(), 1);
}

#[tokio::test]
async fn all_releases_are_rolled_back_in_one_command() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let outcomes = fixture.control.rollback_all(&bob(), "provider is on fire").await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].0, id);
    assert!(matches!(outcomes[0].1.as_ref().unwrap().release.state, State::RollingBack { .. }));
    assert_eq!(fixture.share_bp(), 0);
}

#[tokio::test]
async fn a_rollback_is_over_when_every_live_gateway_serves_it() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let old = fixture.generation();
    fixture.report("a", 1);
    fixture.report("b", 1);
    fixture.control.command(&id, rollback("bad"), alice(), None).await.unwrap();
    fixture.clock.pass(SpanMs(200));
    fixture.report("a", 2);
    fixture.report_serving("b", 2, old);
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::RollingBack { .. }));
    let shown = fixture.control.status(&id).unwrap().propagation.unwrap().to_string();
    assert_eq!(shown, "on 1/2 gateways; waiting for b");
    fixture.report("b", 3);
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::RolledBack { .. }));
    let shown = fixture.control.status(&id).unwrap().propagation.unwrap().to_string();
    assert_eq!(shown, "on 2/2 gateways in 0.2 s");
}

#[tokio::test]
async fn a_gateway_that_lags_is_named_and_not_waited_for() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.report("slow", 1);
    fixture.clock.pass(SpanMs::secs(11));
    fixture.report("quick", 1);
    fixture.control.command(&id, rollback("bad"), alice(), None).await.unwrap();
    fixture.report("quick", 2);
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::RolledBack { .. }));
    let status = fixture.control.status(&id).unwrap();
    assert!(status.propagation.unwrap().to_string().ends_with("; not heard: slow"));
    assert_eq!(status.gateways.len(), 2);
}

#[tokio::test]
async fn after_a_promotion_the_old_stable_is_restored_by_one_command() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let promote = Command::Promote { reason: "urgent".to_owned() };
    fixture.control.command(&id, promote, alice(), None).await.unwrap();
    fixture.report("a", 1);
    fixture.control.tick().await;
    let release = fixture.control.release(&id).unwrap();
    assert!(matches!(release.state, State::Promoted { .. }), "{:?}", release.state);
    assert_eq!(fixture.control.routes()[0].row.stable, release.canary);
    fixture.control.command(&id, rollback("it was not"), bob(), None).await.unwrap();
    assert_eq!(fixture.control.routes()[0].row.stable, release.stable);
    let table = fixture.control.table();
    assert_eq!(table.borrow().routes[&route()].stable, release.stable);
}
