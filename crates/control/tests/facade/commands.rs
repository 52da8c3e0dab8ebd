//! What operators say, and who hears it first.

use crate::fixture::{Fixture, alice, bob, new_release, rollback, route, version};
use coalmine_control::ControlError;
use coalmine_control::view::NewRelease;
use coalmine_core::id::{Generation, ReleaseId, RouteName};
use coalmine_core::release::event::Command;
use coalmine_core::release::report::Decision;
use coalmine_core::release::state::State;
use coalmine_core::time::SpanMs;
use coalmine_core::version::{Prompt, PromptMode, Version};
use coalmine_store::Seeded;

#[tokio::test]
async fn a_release_exposes_nobody_before_it_is_started() {
    let fixture = Fixture::new().await;
    let created = fixture.control.create_release(new_release("canary-model"), alice()).await.unwrap();
    assert_eq!(created.release.id, ReleaseId::from("support-1"));
    assert_eq!(created.diff.changed[0].to, "openai/canary-model");
    assert_eq!(fixture.share_bp(), 0);
    let outcome = fixture.control.command(&created.release.id, Command::Start, alice(), None).await.unwrap();
    assert_eq!(outcome.decision, Decision::Start);
    assert_eq!(fixture.share_bp(), 500);
    let status = fixture.control.status(&created.release.id).unwrap();
    assert_eq!(status.exposures.len(), 1);
    assert_eq!(status.canary.unwrap().model, "canary-model");
}

#[tokio::test]
async fn a_canary_that_is_served_already_is_no_release() {
    let fixture = Fixture::new().await;
    let refused = fixture.control.create_release(new_release("stable-model"), alice()).await;
    assert!(matches!(refused, Err(ControlError::SameVersion { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_plan_that_cannot_be_kept_to_is_refused_with_all_its_faults() {
    let fixture = Fixture::new().await;
    let mut new = new_release("canary-model");
    new.plan.stages.reverse();
    new.policy.false_rollback_rate = 0.9;
    let refused = fixture.control.create_release(new, alice()).await.unwrap_err().to_string();
    assert!(refused.contains("stages[1]") && refused.contains("false_rollback_rate"), "{refused}");
}

/// Whoever sends a release itself is held to what files are held to.
#[tokio::test]
async fn a_canary_whose_provider_would_read_the_braces_is_refused() {
    let fixture = Fixture::new().await;
    let of = |variables: &[&str]| {
        let variables = variables.iter().map(|name| ((*name).to_owned(), "Acme".to_owned())).collect();
        let prompt = Prompt { variables, ..Prompt::new(PromptMode::Replace, "Help {{company}}.") };
        Version { prompt: Some(prompt), ..version("templated") }
    };
    let sales = RouteName::from("sales");
    fixture.control.seed_route(&sales, &of(&["company"])).await.unwrap();
    let asked = |route: &RouteName, canary| NewRelease { route: route.clone(), canary, ..new_release("x") };
    let refused = |new| async { fixture.control.create_release(new, alice()).await.unwrap_err().to_string() };
    let open = refused(asked(&sales, of(&[]))).await;
    assert!(open.contains("canary.prompt: it has a place for `company`, which stable declares"), "{open}");
    let unused = refused(asked(&route(), of(&["company", "tone"]))).await;
    assert!(unused.contains("canary.prompt: the text does not use `tone`"), "{unused}");
    fixture.control.create_release(asked(&route(), of(&[])), alice()).await.unwrap();
}

#[tokio::test]
async fn a_route_has_one_unfinished_release() {
    let fixture = Fixture::new().await;
    fixture.created("one").await;
    let refused = fixture.control.create_release(new_release("two"), bob()).await.unwrap_err();
    let text = "route support already has release support-1, which is not over and goes on; a route tries one version \
                at a time: wait for its end, or `coalmine rollback support-1` and start again";
    assert_eq!(refused.to_string(), text);
}

#[tokio::test]
async fn the_file_only_seeds_and_what_differs_is_told() {
    let fixture = Fixture::new().await;
    let again = fixture.control.seed_route(&route(), &version("other-model")).await.unwrap();
    assert_eq!(again.seeded, Seeded::Known);
    assert_eq!(again.row.stable, version("stable-model").id());
    assert_eq!(again.differs.changed[0].to, "openai/other-model");
}

#[tokio::test]
async fn the_slower_of_two_operators_is_told_who_was_faster() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let seen = fixture.control.release(&id).unwrap().generation;
    fixture.control.command(&id, Command::Pause, alice(), Some(seen)).await.unwrap();
    let advance = Command::Advance { reason: "looks good".to_owned() };
    let lost = fixture.control.command(&id, advance, bob(), Some(seen)).await.unwrap_err();
    assert_eq!(
        lost.to_string(),
        format!(
            "release support-1 was changed meanwhile by alice (generation {}, expected {seen}); look again and repeat",
            Generation(seen.0 + 1)
        )
    );
    assert_eq!(fixture.share_bp(), 500);
}

#[tokio::test]
async fn an_operator_on_another_node_is_a_conflict_too() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let other = crate::fixture::open(
        std::sync::Arc::new(fixture.store.clone()),
        &fixture.clock,
        &fixture.brake,
        &fixture.post,
        &fixture.prober,
    )
    .await;
    other.command(&id, Command::Pause, bob(), None).await.unwrap();
    let advance = Command::Advance { reason: "looks good".to_owned() };
    let lost = fixture.control.command(&id, advance, alice(), None).await.unwrap_err();
    assert!(lost.to_string().contains("changed meanwhile by bob"), "{lost}");
    // Looked at again, the state of the other node is seen.
    let resumed = fixture.control.command(&id, Command::Resume, alice(), None).await.unwrap();
    assert!(matches!(resumed.release.state, State::Running { stage: 0, .. }));
}

#[tokio::test]
async fn a_rollback_never_loses_a_race() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let seen = fixture.control.release(&id).unwrap().generation;
    fixture.control.command(&id, Command::Pause, alice(), None).await.unwrap();
    let outcome = fixture.control.command(&id, rollback("bad"), bob(), Some(seen)).await.unwrap();
    assert!(matches!(outcome.release.state, State::RollingBack { .. }));
    assert_eq!(fixture.share_bp(), 0);
    let again = fixture.control.command(&id, rollback("bad"), alice(), None).await.unwrap();
    assert!(again.message.starts_with("rolled back already by bob"), "{}", again.message);
}

#[tokio::test]
async fn a_second_try_of_the_same_canary_is_counted() {
    let fixture = Fixture::new().await;
    let first = fixture.started().await;
    assert_eq!(fixture.control.release(&first).unwrap().attempt, 0);
    fixture.control.command(&first, rollback("bad"), alice(), None).await.unwrap();
    fixture.clock.pass(SpanMs::secs(31));
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&first).unwrap().state, State::RolledBack { .. }));
    let again = fixture.created("canary-model").await;
    assert_eq!(fixture.control.release(&again).unwrap().attempt, 1);
}

#[tokio::test]
async fn a_command_while_the_store_is_silent_changes_nothing() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.set_unavailable();
    let advance = Command::Advance { reason: "looks good".to_owned() };
    let refused = fixture.control.command(&id, advance, alice(), None).await;
    assert!(matches!(refused, Err(ControlError::StoreSilent(_))), "{refused:?}");
    assert_eq!(fixture.share_bp(), 500);
    assert!(matches!(fixture.control.health().store, coalmine_control::view::StoreHealth::Silent { .. }));
    fixture.store.set_available();
    fixture.control.command(&id, Command::Pause, alice(), None).await.unwrap();
    assert_eq!(fixture.control.health().store, coalmine_control::view::StoreHealth::Answers);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_again() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.lose_next_answers(1);
    let lost = fixture.control.command(&id, Command::Pause, alice(), None).await;
    assert!(matches!(lost, Err(ControlError::StoreSilent(_))), "{lost:?}");
    let resumed = fixture.control.command(&id, Command::Resume, alice(), None).await.unwrap();
    assert!(matches!(resumed.release.state, State::Running { .. }), "the pause had been written");
}
