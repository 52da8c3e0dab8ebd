//! What a process finds again after a kill.

use crate::fixture::{FileBrake, Fixture, Postbox, alice, new_release, open, rollback, route, version};
use crate::sentinels::Scripted;
use coalmine_control::clock::{Clock, ManualClock};
use coalmine_control::prices::Now;
use coalmine_core::release::event::Command;
use coalmine_core::release::state::State;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_store::sqlite::SqliteStore;
use coalmine_wire::prices::{Price, Prices, Rate};
use std::sync::Arc;

/// Two lives of the same history, one of them killed and reopened after every step, end alike.
#[tokio::test]
async fn a_process_killed_after_every_step_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for killed in [false, true] {
        let path = folder.path().join(format!("coalmine-{killed}.db"));
        let clock = Arc::new(ManualClock::at(UnixMs(1_767_571_200_000)));
        let (brake, post) = (Arc::new(FileBrake::default()), Arc::new(Postbox::default()));
        let prober = Arc::new(Scripted::default());
        let mut control = open(Arc::new(SqliteStore::open(&path).unwrap()), &clock, &brake, &post, &prober).await;
        control.seed_route(&route(), &version("stable-model")).await.unwrap();
        let id = control.create_release(new_release("canary-model"), alice()).await.unwrap().release.id;
        let steps = [Command::Start, Command::Pause, Command::Resume, rollback("enough")];
        for command in steps {
            if killed {
                drop(control);
                control = open(Arc::new(SqliteStore::open(&path).unwrap()), &clock, &brake, &post, &prober).await;
            }
            clock.pass(SpanMs::secs(31));
            control.command(&id, command, alice(), None).await.unwrap();
        }
        clock.pass(SpanMs::secs(31));
        control.tick().await;
        let mut release = control.release(&id).unwrap();
        assert!(matches!(release.state, State::RolledBack { .. }), "{:?}", release.state);
        let journal = control.journal(&id).await.unwrap();
        let replay = control.replay(&id).await.unwrap();
        assert!(replay.differences.is_empty(), "{replay:?}");
        // Salts are drawn anew in each life of the random source.
        release.salt = coalmine_core::traffic::weight::Salt([0; 32]);
        ends.push((release, journal));
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn a_delta_counted_before_a_kill_is_not_counted_again() {
    let fixture = Fixture::new().await;
    fixture.report("a", 1);
    fixture.report("a", 2);
    fixture.control.tick().await;
    let fixture = fixture.restart().await;
    fixture.report("a", 2);
    assert_eq!(fixture.control.health().queued_turns, 0, "known from the store");
    fixture.report("a", 3);
    assert_eq!(fixture.control.health().queued_turns, 1);
}

#[tokio::test]
async fn the_newest_start_under_a_name_decides_and_the_older_one_steps_aside() {
    let fixture = Fixture::new().await;
    fixture.control.tick().await;
    let newer =
        open(Arc::new(fixture.store.clone()), &fixture.clock, &fixture.brake, &fixture.post, &fixture.prober).await;
    newer.tick().await;
    fixture.control.tick().await;
    let standing = fixture.control.health().standing.unwrap();
    assert_eq!(standing, coalmine_control::lease::Standing::Follower { holder: "coalmine".to_owned() });
    assert_eq!(newer.health().standing, Some(coalmine_control::lease::Standing::Holder { epoch: 2 }));
    // Silent for longer than the lease lasts, the newer one is over.
    fixture.clock.pass(SpanMs::secs(16));
    fixture.control.tick().await;
    assert_eq!(fixture.control.health().standing, Some(coalmine_control::lease::Standing::Holder { epoch: 3 }));
    assert!(fixture.clock.now() > UnixMs(0));
}

/// The commit went through and its answer was lost, and with it the publication.
#[tokio::test]
async fn an_effect_that_was_not_done_is_done_by_the_next_round() {
    let fixture = Fixture::new().await;
    let id = fixture.created("canary-model").await;
    fixture.store.lose_next_answers(1);
    let lost = fixture.control.command(&id, Command::Start, alice(), None).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(fixture.share_bp(), 0);
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::Running { .. }));
    assert_eq!(fixture.share_bp(), 500);
    fixture.control.deliver_notices().await;
    fixture.control.tick().await;
    assert_eq!(fixture.control.health().outbox, 0);
}

#[tokio::test]
async fn a_picture_of_the_evidence_survives_a_restart_to_the_end_of_its_release() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    for sequence in 1..4 {
        fixture.clock.pass(SpanMs::minutes(2));
        fixture.report("a", sequence);
        fixture.control.tick().await;
    }
    fixture.control.command(&id, rollback("enough"), alice(), None).await.unwrap();
    for _ in 0..3 {
        fixture.clock.pass(SpanMs::minutes(2));
        fixture.control.tick().await;
    }
    let before = fixture.control.evidence_history(&id).unwrap();
    assert!(!before.points.is_empty(), "there is something to lose");
    let fixture = fixture.restart().await;
    assert_eq!(fixture.control.evidence_history(&id).unwrap().points.len(), before.points.len());
}

#[tokio::test]
async fn a_tampered_record_is_told() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.control.command(&id, rollback("enough"), alice(), None).await.unwrap();
    let (release, journal) = (fixture.control.release(&id).unwrap(), fixture.control.journal(&id).await.unwrap());
    let told = |release: &coalmine_core::release::state::Release, journal: &[_]| {
        !coalmine_control::replay::replay(release, journal).differences.is_empty()
    };
    assert!(!told(&release, &journal));
    let mut looser = release.clone();
    looser.policy.false_rollback_rate *= 2.0;
    assert!(told(&looser, &journal), "other criteria");
    assert!(told(&release, &journal[..journal.len() - 1]), "the last row is gone");
    let mut without = journal.clone();
    without.remove(1);
    assert!(told(&release, &without), "a row is gone from the middle");
    let mut other = journal;
    let decision = other[1].decision.clone();
    if let Some(last) = other.last_mut() {
        last.decision = decision;
    }
    assert!(told(&release, &other), "another decision");
}

/// Another price list, another process, another node: the release goes by the prices that it was created under, and
/// the difference is told.
#[tokio::test]
async fn a_release_keeps_its_prices_whatever_the_list_says_later() {
    let price = |usd: f64| Price { rate: Rate { output_usd: usd, ..Rate::default() }, long: None };
    let list = |usd| Prices::default().with("stable-model", price(usd)).with("canary-model", price(2.0));
    let fixture = Fixture::new().await.with_prices(list(1.0)).await;
    let id = fixture.started().await;
    let kept = fixture.control.release(&id).unwrap().prices.unwrap();
    assert_eq!(kept.models.len(), 2);
    let served = |fixture: &Fixture| fixture.control.table().borrow().routes[&route()].prices.clone();
    assert_eq!(served(&fixture), Some(kept.clone()));
    let changed = |fixture: &Fixture| {
        let told = fixture.control.status(&id).unwrap().prices.unwrap().models.into_iter();
        told.filter(|one| one.now != Now::Same).map(|one| one.model).collect::<Vec<_>>()
    };
    assert!(changed(&fixture).is_empty());

    let fixture = fixture.with_prices(list(5.0)).await;
    assert_eq!(fixture.control.release(&id).unwrap().prices, Some(kept.clone()), "it survives the process");
    assert_eq!(served(&fixture), Some(kept));
    assert_eq!(changed(&fixture), ["stable-model"]);

    fixture.control.command(&id, rollback("enough"), alice(), None).await.unwrap();
    fixture.clock.pass(SpanMs::secs(31));
    fixture.control.tick().await;
    assert_eq!(served(&fixture), None, "nothing is compared any more");
    let next = fixture.created("canary-model").await;
    let fresh = fixture.control.release(&next).unwrap().prices.unwrap();
    assert!(fresh.models["stable-model"].as_ref().unwrap().0.contains("\"output_usd\":5.0"), "{fresh:?}");
    assert_eq!(fixture.control.replay(&id).await.unwrap().differences, [], "the record has them too");
}
