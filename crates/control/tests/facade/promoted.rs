//! After a promotion: those held back on the old stable, and what ends it.

use crate::fixture::{Fixture, alice, bob, new_release, rollback, route};
use coalmine_core::id::ReleaseId;
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::state::State;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;

/// Promoted by hand, 2 % held back.
async fn promoted() -> (Fixture, ReleaseId) {
    let fixture = Fixture::new().await;
    let mut new = new_release("canary-model");
    new.policy.hold_back = WeightBp::new(200).unwrap();
    let id = fixture.control.create_release(new, alice()).await.unwrap().release.id;
    fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    let promote = Command::Promote { reason: "urgent".to_owned() };
    fixture.control.command(&id, promote, alice(), None).await.unwrap();
    fixture.report("a", 1);
    fixture.control.tick().await;
    (fixture, id)
}

fn hold_back(fixture: &Fixture, id: &ReleaseId) -> u16 {
    fixture.control.release(id).unwrap().state.hold_back().bp()
}

fn control_of(fixture: &Fixture) -> Option<coalmine_core::version::VersionId> {
    fixture.control.table().borrow().routes[&route()].release.as_ref().and_then(|release| release.control)
}

#[tokio::test]
async fn some_stay_on_the_old_stable_until_the_keep_is_over() {
    let (fixture, id) = promoted().await;
    let release = fixture.control.release(&id).unwrap();
    assert_eq!(
        (hold_back(&fixture, &id), fixture.share_bp(), control_of(&fixture)),
        (200, 9_800, Some(release.stable))
    );
    let fixture = fixture.restart().await;
    fixture.report("a", 2);
    fixture.control.tick().await;
    assert_eq!((fixture.share_bp(), control_of(&fixture)), (9_800, Some(release.stable)), "a restart keeps it");
    let look = fixture.control.status(&id).unwrap().look.unwrap();
    assert!(look.report.headline.contains("2 % of the new sessions stay on the old stable"), "{:?}", look.report);
    fixture.clock.pass(SpanMs::hours(49));
    fixture.report("a", 3);
    fixture.control.tick().await;
    assert_eq!((hold_back(&fixture, &id), fixture.share_bp(), control_of(&fixture)), (0, 0, None));
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::Promoted { .. }));
    assert_eq!(fixture.control.routes()[0].row.stable, release.canary);
    assert!(fixture.control.replay(&id).await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn a_later_release_ends_it() {
    let (fixture, id) = promoted().await;
    let next = fixture.created("next-model").await;
    fixture.report("a", 2);
    fixture.control.tick().await;
    assert_eq!(hold_back(&fixture, &id), 200, "a draft exposes nobody");
    fixture.control.command(&next, Command::Start, alice(), None).await.unwrap();
    assert_eq!((fixture.share_bp(), control_of(&fixture)), (500, None), "at once, in the table");
    fixture.report("a", 3);
    fixture.control.tick().await;
    assert_eq!(hold_back(&fixture, &id), 0);
    let journal = fixture.control.journal(&id).await.unwrap();
    assert_eq!(journal.last().unwrap().event, Event::Superseded { by: next });
}

#[tokio::test]
async fn a_rollback_restores_the_old_stable_for_those_too() {
    let (fixture, id) = promoted().await;
    let release = fixture.control.release(&id).unwrap();
    fixture.control.command(&id, rollback("worse"), bob(), None).await.unwrap();
    let table = fixture.control.table();
    let table = table.borrow();
    assert_eq!((table.routes[&route()].stable, table.routes[&route()].release.is_none()), (release.stable, true));
    assert_eq!(fixture.control.routes()[0].row.stable, release.stable);
}
