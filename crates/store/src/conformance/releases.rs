//! Laws of releases: state, journal and outbox move together or not at all.

use super::sample;
use crate::{Store, StoreError};
use coalmine_core::id::{Actor, Generation, RouteName};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::{Decision, JournalRow};
use coalmine_core::release::state::{Release, RollbackCause, State};
use coalmine_core::time::UnixMs;

fn route() -> RouteName {
    "support-agent".into()
}

fn ana() -> Actor {
    "ana".into()
}

fn running(from: &Release) -> Release {
    sample::next(from, State::Running { stage: 0, entered_at: UnixMs(5) })
}

fn rolled_back(from: &Release) -> Release {
    sample::next(from, State::RolledBack { why: RollbackCause::Undecided, at: UnixMs(9) })
}

fn promoted(from: &Release) -> Release {
    sample::next(from, State::Promoted { at: UnixMs(9), keep_until: UnixMs(99), hold_back: sample::weight(0) })
}

async fn with_route(store: &impl Store) {
    store.seed_route(&sample::tenant(), &route(), &sample::stable()).await.unwrap();
    store.put_version(&sample::tenant(), &sample::canary()).await.unwrap();
}

async fn created(store: &impl Store, attempt: u32) -> Release {
    let release = sample::release(&route(), attempt);
    store.create_release(&release, &sample::row(&release, &ana())).await.unwrap();
    release
}

async fn commit(store: &impl Store, from: &Release, next: &Release, by: &Actor) -> Result<(), StoreError> {
    store.commit_step(from.generation, next, &sample::row(next, by), &[]).await
}

async fn read(store: &impl Store, release: &Release) -> Release {
    store.release(&sample::tenant(), &release.id).await.unwrap().unwrap()
}

/// Whatever state a release is committed in, it is read back equal.
pub async fn a_release_comes_back_in_every_state(store: &impl Store) {
    with_route(store).await;
    let mut last = created(store, 7).await;
    assert_eq!(read(store, &last).await, last);
    assert_eq!(store.routes(&sample::tenant()).await.unwrap()[0].releases, 1, "counted in its route");
    for state in sample::releases_in_every_state().into_iter().map(|release| release.state) {
        let next = sample::next(&last, state);
        commit(store, &last, &next, &ana()).await.unwrap();
        assert_eq!(read(store, &next).await, next);
        last = next;
    }
    assert_eq!(store.release(&sample::tenant(), &"unknown".into()).await.unwrap(), None);
}

/// One unfinished release per route; the refusal names the one in the way.
pub async fn a_second_unfinished_release_is_refused(store: &impl Store) {
    with_route(store).await;
    let first = created(store, 1).await;
    let second = sample::release(&route(), 2);
    let refused = store.create_release(&second, &sample::row(&second, &ana())).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::RouteBusy { route: busy, running } if *busy == route() && *running == first.id),
        "{refused:?}"
    );
    assert_eq!(store.release(&sample::tenant(), &second.id).await.unwrap(), None);
    assert!(store.journal(&sample::tenant(), &second.id).await.unwrap().is_empty());

    commit(store, &first, &rolled_back(&first), &ana()).await.unwrap();
    store.create_release(&second, &sample::row(&second, &ana())).await.unwrap();
    assert_eq!(store.routes(&sample::tenant()).await.unwrap()[0].releases, 2);
}

/// A release of an unknown route, or of a version that nobody can read, is refused.
pub async fn a_release_needs_its_route_and_versions(store: &impl Store) {
    let release = sample::release(&route(), 1);
    let first = sample::row(&release, &ana());
    let refused = store.create_release(&release, &first).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotFound { what } if what.contains("support-agent")), "{refused:?}");
    store.seed_route(&sample::tenant(), &route(), &sample::stable()).await.unwrap();
    let refused = store.create_release(&release, &first).await.unwrap_err();
    let canary = sample::canary().id().to_string();
    assert!(matches!(&refused, StoreError::NotFound { what } if what.contains(&canary)), "{refused:?}");
    assert_eq!(store.routes(&sample::tenant()).await.unwrap()[0].releases, 0);
}

/// The same creation again is harmless; another release of the same name is a conflict.
pub async fn a_name_is_taken_once(store: &impl Store) {
    with_route(store).await;
    let release = created(store, 1).await;
    let first = sample::row(&release, &ana());
    store.create_release(&release, &first).await.unwrap();
    assert_eq!(store.journal(&sample::tenant(), &release.id).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.routes(&sample::tenant()).await.unwrap()[0].releases, 1);

    let other = Release { attempt: 9, ..release.clone() };
    let refused = store.create_release(&other, &first).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { by, .. } if *by == ana()), "{refused:?}");
    assert_eq!(read(store, &release).await, release);
}

/// The last one created comes first; one route's or all.
pub async fn releases_are_listed_newest_first(store: &impl Store) {
    with_route(store).await;
    store.seed_route(&sample::tenant(), &"sales".into(), &sample::stable()).await.unwrap();
    let first = created(store, 1).await;
    commit(store, &first, &rolled_back(&first), &ana()).await.unwrap();
    let sales = sample::release(&"sales".into(), 1);
    store.create_release(&sales, &sample::row(&sales, &ana())).await.unwrap();
    let second = created(store, 2).await;
    let listed = store.releases(&sample::tenant(), None).await.unwrap();
    assert_eq!(listed, [second.clone(), sales, rolled_back(&first)]);
    let listed = store.releases(&sample::tenant(), Some(&route())).await.unwrap();
    assert_eq!(listed, [second, rolled_back(&first)]);
    assert!(store.releases(&sample::tenant(), Some(&"unknown".into())).await.unwrap().is_empty());
}

/// The loser learns who was faster, and at which generation the release is now.
pub async fn a_conflict_names_the_other_actor(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    commit(store, &draft, &running(&draft), &"bo".into()).await.unwrap();
    let refused = commit(store, &draft, &rolled_back(&draft), &"cy".into()).await.unwrap_err();
    let StoreError::Conflict { release, by, found, expected } = refused else { panic!("no conflict: {refused:?}") };
    assert_eq!((release, by), (draft.id.clone(), "bo".into()));
    assert_eq!((found, expected), (Generation(2), Generation(1)));
    assert_eq!(read(store, &draft).await, running(&draft));

    // A hold in between, by the loop, is not who changed it.
    let held = running(&draft);
    let hold = JournalRow { decision: Decision::Hold, ..sample::row(&held, &Actor::coalmine()) };
    store.commit_step(held.generation, &held, &hold, &[]).await.unwrap();
    let refused = commit(store, &draft, &rolled_back(&draft), &"cy".into()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { by, .. } if by.as_str() == "bo"), "{refused:?}");
}

/// Of two who saw the same generation exactly one commits.
pub async fn of_two_at_once_one_commits(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    let (up, down) = (running(&draft), rolled_back(&draft));
    let (bo, cy) = (Actor::from("bo"), Actor::from("cy"));
    let (first, second) = tokio::join!(commit(store, &draft, &up, &bo), commit(store, &draft, &down, &cy));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let won = if first.is_ok() { up } else { down };
    assert_eq!(read(store, &draft).await, won);
    assert_eq!(store.journal(&sample::tenant(), &draft.id).await.unwrap().len(), 2);
}

/// A step whose answer was lost is offered again: it is done once.
pub async fn a_step_repeated_is_one_step(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    let next = running(&draft);
    let row = sample::row(&next, &ana());
    let effects = [Effect::Publish { route: route() }];
    for _ in 0..2 {
        store.commit_step(draft.generation, &next, &row, &effects).await.unwrap();
    }
    assert_eq!(store.journal(&sample::tenant(), &draft.id).await.unwrap().len(), 2);
    assert_eq!(store.outbox(&sample::tenant()).await.unwrap().len(), 1);
    // The same state by somebody else is not the same step.
    let other = store.commit_step(draft.generation, &next, &sample::row(&next, &"bo".into()), &effects).await;
    assert!(matches!(&other, Err(StoreError::Conflict { by, .. }) if *by == ana()), "{other:?}");
}

/// A row that moves nothing may be kept at the generation that it saw, and the next step goes on from there.
pub async fn a_hold_keeps_the_generation(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    let next = running(&draft);
    commit(store, &draft, &next, &ana()).await.unwrap();
    for at in [100, 101] {
        let hold = JournalRow { decision: Decision::Hold, at: UnixMs(at), ..sample::row(&next, &Actor::coalmine()) };
        store.commit_step(next.generation, &next, &hold, &[]).await.unwrap();
    }
    assert_eq!(store.journal(&sample::tenant(), &draft.id).await.unwrap().len(), 4);
    commit(store, &next, &rolled_back(&next), &ana()).await.unwrap();
    assert_eq!(read(store, &draft).await, rolled_back(&next));
}

/// A promoted release can be rolled back while its route is free, and not beside a newer one.
pub async fn a_release_cannot_come_back_beside_another(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    let over = promoted(&draft);
    commit(store, &draft, &over, &ana()).await.unwrap();
    let back = sample::next(&over, State::RollingBack { why: RollbackCause::Undecided, since: UnixMs(10) });
    let newer = created(store, 2).await;
    let refused = commit(store, &over, &back, &ana()).await.unwrap_err();
    assert!(matches!(&refused, StoreError::RouteBusy { running, .. } if *running == newer.id), "{refused:?}");
    assert_eq!(read(store, &draft).await, over);
    // From over to over needs no free route.
    commit(store, &over, &rolled_back(&over), &ana()).await.unwrap();
    commit(store, &newer, &rolled_back(&newer), &ana()).await.unwrap();
    let over = rolled_back(&over);
    let back = sample::next(&over, State::RollingBack { why: RollbackCause::Undecided, since: UnixMs(11) });
    commit(store, &over, &back, &ana()).await.unwrap();
}

/// The journal is read in the order in which it was written, equal times included, every kind of row.
pub async fn the_journal_is_in_order(store: &impl Store) {
    with_route(store).await;
    let mut last = created(store, 7).await;
    let mut written = vec![sample::row(&last, &ana())];
    for row in sample::journal_rows_of_every_kind() {
        let next = sample::next(&last, State::Running { stage: 0, entered_at: UnixMs(last.generation.0) });
        let row = JournalRow { generation: next.generation, ..row };
        store.commit_step(last.generation, &next, &row, &[]).await.unwrap();
        written.push(row);
        last = next;
    }
    assert_eq!(store.journal(&sample::tenant(), &last.id).await.unwrap(), written);
    assert!(store.journal(&sample::tenant(), &"unknown".into()).await.unwrap().is_empty());
}

/// A step of a release that the store does not know is no step.
pub async fn a_step_of_nothing_is_refused(store: &impl Store) {
    with_route(store).await;
    let draft = sample::release(&route(), 1);
    let refused = commit(store, &draft, &running(&draft), &ana()).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert!(store.releases(&sample::tenant(), None).await.unwrap().is_empty());
}

/// Effects wait in the order in which they were committed; a failed one stays in its place and counts.
pub async fn the_outbox_is_in_order_and_retried(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 7).await;
    let effects = sample::effects_of_every_kind();
    let next = running(&draft);
    store.commit_step(draft.generation, &next, &sample::row(&next, &ana()), &effects).await.unwrap();
    let pending = store.outbox(&sample::tenant()).await.unwrap();
    let listed: Vec<_> = pending.iter().map(|it| it.effect.clone()).collect();
    assert_eq!(listed, effects);
    assert!(
        pending.iter().all(|it| it.release.as_ref() == Some(&draft.id) && it.tries == 0 && it.last_error.is_none())
    );
    assert!(pending.is_sorted_by(|a, b| a.id < b.id));

    for message in ["refused", "timed out"] {
        store.settle_effect(&sample::tenant(), pending[0].id, Err(message.to_owned())).await.unwrap();
    }
    for _ in 0..2 {
        store.settle_effect(&sample::tenant(), pending[1].id, Ok(())).await.unwrap();
    }
    store.settle_effect(&sample::tenant(), pending[1].id, Err("too late".to_owned())).await.unwrap();
    let left = store.outbox(&sample::tenant()).await.unwrap();
    assert_eq!(left.len(), effects.len() - 1);
    assert_eq!((left[0].id, left[0].tries, left[0].last_error.as_deref()), (pending[0].id, 2, Some("timed out")));
    assert_eq!(left[1].id, pending[2].id);

    // A number is not used again after its effect is done.
    let later = rolled_back(&next);
    let last = pending.last().unwrap().id;
    store.settle_effect(&sample::tenant(), last, Ok(())).await.unwrap();
    store.commit_step(next.generation, &later, &sample::row(&later, &ana()), &effects[..1]).await.unwrap();
    assert!(store.outbox(&sample::tenant()).await.unwrap().last().unwrap().id > last);
}

/// A step that is refused leaves neither a row nor an effect.
pub async fn a_refused_step_leaves_no_trace(store: &impl Store) {
    with_route(store).await;
    let draft = created(store, 1).await;
    let next = running(&draft);
    let effects = [Effect::Publish { route: route() }];
    let refused = store.commit_step(Generation(77), &next, &sample::row(&next, &ana()), &effects).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(read(store, &draft).await, draft);
    assert_eq!(store.journal(&sample::tenant(), &draft.id).await.unwrap().len(), 1);
    assert!(store.outbox(&sample::tenant()).await.unwrap().is_empty());
}
