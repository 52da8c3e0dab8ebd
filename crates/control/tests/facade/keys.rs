//! Client keys: told to gateways, revoked without the store, and what is spent under them kept.

use crate::fixture::{Fixture, alice, route};
use coalmine_control::ControlError;
use coalmine_control::keys::NewKey;
use coalmine_control::view::Commit;
use coalmine_core::id::{Actor, RouteName};
use coalmine_core::key::{Day, Key, KeyTable, Payer, Quota, Spending, Standing, Usd, Used};
use coalmine_core::tally::Delta;
use coalmine_core::time::SpanMs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn new(name: &str) -> NewKey {
    NewKey { name: name.into(), customer: None, routes: None, expires_at: None, quota: Quota::default() }
}

fn told(fixture: &Fixture) -> Arc<KeyTable> {
    fixture.control.key_table().borrow().clone()
}

fn standing(fixture: &Fixture, name: &str) -> Standing {
    let table = told(fixture);
    let key = table.keys.iter().find(|key| key.name.as_str() == name).unwrap();
    key.standing(coalmine_control::clock::Clock::now(fixture.clock.as_ref()))
}

fn spend(fixture: &Fixture, sequence: u64, cost: u64) {
    let now = coalmine_control::clock::Clock::now(fixture.clock.as_ref());
    let used = Used { requests: 1, tokens: 10, cost: Usd(cost) };
    let spending = [Payer::Key("acme".into()), Payer::Tenant].map(|payer| Spending { payer, day: Day::of(now), used });
    let delta = Delta {
        gateway: "a".into(),
        epoch: 1,
        sequence,
        complete_to: now,
        turns: Vec::new(),
        feedback: Vec::new(),
        dropped: Vec::new(),
        serving: BTreeMap::new(),
        mirrored: Vec::new(),
        spending: spending.to_vec(),
    };
    fixture.control.intake(Arc::new(delta)).unwrap();
}

fn costs(table: &KeyTable) -> Vec<(u64, u64)> {
    table.spent.iter().map(|(_, spent)| (spent.of_day.cost.0, spent.of_month.cost.0)).collect()
}

#[tokio::test]
async fn a_key_is_told_at_once_and_found_again_after_a_kill() {
    let fixture = Fixture::new().await;
    let before = told(&fixture).generation;
    let issued = fixture.control.create_key(new("acme"), alice()).await.unwrap();
    assert_eq!(told(&fixture).keys.as_slice(), std::slice::from_ref(&issued.key));
    assert!(told(&fixture).generation > before);
    let rotated = fixture.control.rotate_key(&"acme".into(), SpanMs::hours(1), &alice()).await.unwrap();
    assert_ne!(rotated.secret.expose(), issued.secret.expose());
    let last = told(&fixture).generation;
    fixture.clock.pass(SpanMs::secs(1));
    let fixture = fixture.restart().await;
    assert_eq!(told(&fixture).keys.as_slice(), [rotated.key]);
    assert!(told(&fixture).generation > last);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_key_returns_when_the_gateway_of_this_process_admits_by_it() {
    let fixture = Fixture::new().await;
    let (control, name) = (&fixture.control, "acme".into());
    let mut tables = control.key_table();
    control.acknowledge_keys(tables.borrow().generation);
    let (served, serves) = tokio::sync::watch::channel(Arc::default());
    let gateway = tokio::spawn({
        let control = control.clone();
        async move {
            while tables.changed().await.is_ok() {
                // it has no time for a while
                tokio::time::sleep(Duration::from_millis(300)).await;
                let table = tables.borrow_and_update().clone();
                served.send_replace(table.clone());
                control.acknowledge_keys(table.generation);
            }
        }
    });
    let is_served = || *serves.borrow() == told(&fixture);
    control.create_key(new("acme"), alice()).await.unwrap();
    assert!(is_served(), "a key that is made opens it");
    control.rotate_key(&name, SpanMs::hours(1), &alice()).await.unwrap();
    assert!(is_served());
    control.limit_key(&name, Quota::default(), &alice()).await.unwrap();
    assert!(is_served());
    control.revoke_key(&name, alice()).await.unwrap();
    assert!(is_served());
    gateway.abort();
    let began = Instant::now();
    control.create_key(new("globex"), alice()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(1), "one that takes nothing holds nobody for long");
}

#[tokio::test(start_paused = true)]
async fn without_a_gateway_in_this_process_no_change_of_a_key_waits() {
    let fixture = Fixture::new().await;
    let began = Instant::now();
    fixture.control.create_key(new("acme"), alice()).await.unwrap();
    assert!(began.elapsed().is_zero());
}

#[tokio::test]
async fn a_name_is_taken_for_good_and_a_route_must_be_known() {
    let fixture = Fixture::new().await;
    fixture.control.create_key(new("acme"), alice()).await.unwrap();
    fixture.control.revoke_key(&"acme".into(), alice()).await.unwrap();
    let taken = fixture.control.create_key(new("acme"), alice()).await;
    assert!(matches!(taken, Err(ControlError::KeyTaken(_))), "{taken:?}");
    let scoped = |name: &str, route: RouteName| NewKey { routes: Some([route].into()), ..new(name) };
    assert!(fixture.control.create_key(scoped("one", route()), alice()).await.is_ok());
    let unknown = fixture.control.create_key(scoped("two", "nowhere".into()), alice()).await;
    assert!(matches!(unknown, Err(ControlError::UnknownRoute(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_revocation_holds_while_the_store_is_away_and_is_written_when_it_is_back() {
    let fixture = Fixture::new().await;
    fixture.control.create_key(new("acme"), alice()).await.unwrap();
    fixture.store.set_unavailable();
    let (key, commit) = fixture.control.revoke_key(&"acme".into(), alice()).await.unwrap();
    assert!(matches!(commit, Commit::Pending { .. }) && key.revoked.is_some());
    assert_eq!(standing(&fixture, "acme"), Standing::Revoked);
    fixture.store.set_available();
    fixture.control.tick().await;
    fixture.control.tick().await;
    let fixture = fixture.restart().await;
    assert_eq!(standing(&fixture, "acme"), Standing::Revoked);
}

#[tokio::test]
async fn a_revocation_that_was_never_written_outlives_the_process() {
    let fixture = Fixture::new().await;
    fixture.control.create_key(new("acme"), alice()).await.unwrap();
    fixture.store.set_unavailable();
    fixture.control.revoke_key(&"acme".into(), alice()).await.unwrap();
    // the process ends, and the store comes back without it
    fixture.store.set_available();
    let fixture = fixture.restart().await;
    assert_eq!(standing(&fixture, "acme"), Standing::Revoked, "before anything was written");
    assert!(!fixture.control.keys()[0].committed);
    fixture.control.tick().await;
    assert!(fixture.control.keys()[0].committed && fixture.brake.revoked.lock().unwrap().is_empty());
    assert_eq!(standing(&fixture.restart().await, "acme"), Standing::Revoked);
}

#[tokio::test]
async fn of_a_key_changed_elsewhere_what_the_store_holds_counts() {
    let fixture = Fixture::new().await;
    let stale = fixture.control.create_key(new("acme"), alice()).await.unwrap().key;
    let store = &fixture.store;
    let tenant = coalmine_core::id::TenantId::default();
    let theirs: Key = stale.revoke(Actor::from("ben"), stale.created_at);
    coalmine_store::Store::update_key(store, &tenant, stale.generation, &theirs).await.unwrap();
    let late = fixture.control.limit_key(&"acme".into(), Quota::default(), &alice()).await;
    assert!(matches!(late, Err(ControlError::KeyRefused(_))), "{late:?}");
    assert_eq!(standing(&fixture, "acme"), Standing::Revoked);
}

#[tokio::test]
async fn what_is_spent_is_counted_once_and_outlives_a_kill() {
    let fixture = Fixture::new().await;
    spend(&fixture, 1, 5);
    spend(&fixture, 2, 7);
    fixture.control.tick().await;
    assert_eq!(costs(&told(&fixture)), [(12, 12); 2]);
    let fixture = fixture.restart().await;
    spend(&fixture, 2, 7);
    fixture.control.tick().await;
    assert_eq!(costs(&told(&fixture)), [(12, 12); 2]);
    fixture.clock.pass(SpanMs::hours(24));
    spend(&fixture, 3, 1);
    fixture.control.tick().await;
    assert_eq!(costs(&told(&fixture)), [(1, 13); 2]);
    fixture.clock.pass(SpanMs::hours(24 * 31));
    fixture.control.tick().await;
    assert_eq!(costs(&told(&fixture)), [], "another month");
}

/// By that a gateway sees that it has nothing to build anew.
#[tokio::test]
async fn what_is_spent_is_told_with_the_same_keys() {
    let fixture = Fixture::new().await;
    fixture.control.create_key(new("acme"), alice()).await.unwrap();
    let before = told(&fixture);
    spend(&fixture, 1, 5);
    fixture.control.tick().await;
    let after = told(&fixture);
    assert!(after.generation > before.generation && Arc::ptr_eq(&after.keys, &before.keys));
    fixture.control.revoke_key(&"acme".into(), alice()).await.unwrap();
    assert_eq!(standing(&fixture, "acme"), Standing::Revoked);
}

#[tokio::test]
async fn spending_is_told_while_the_store_is_away_and_written_when_it_is_back() {
    let fixture = Fixture::new().await;
    fixture.control.tick().await;
    fixture.store.set_unavailable();
    spend(&fixture, 1, 5);
    fixture.control.tick().await;
    assert_eq!(costs(&told(&fixture)), [(5, 5); 2]);
    fixture.store.set_available();
    for _ in 0..2 {
        fixture.control.tick().await;
    }
    let fixture = fixture.restart().await;
    assert_eq!(costs(&told(&fixture)), [(5, 5); 2]);
}
