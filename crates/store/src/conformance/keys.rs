//! Laws of client keys and of what is spent under them.

use super::sample;
use crate::{EvidenceBatch, Store, StoreError};
use coalmine_core::id::TenantId;
use coalmine_core::key::{Day, Key, Payer, Spending, Usd, Used};
use coalmine_core::time::UnixMs;

fn spending(payer: Payer, day: u64, cost: u64) -> Spending {
    Spending { payer, day: Day(day), used: Used { requests: 1, tokens: 7, cost: Usd(cost) } }
}

fn batch(sequence: u64, spending: Vec<Spending>) -> EvidenceBatch {
    EvidenceBatch { counted: vec![("gw".into(), 1, sequence)], releases: Vec::new(), spending }
}

/// Every form of a key is read as it was written, by name; a name is never given away again.
pub async fn a_key_comes_back_and_its_name_is_taken_once(store: &impl Store) {
    let tenant = sample::tenant();
    let mut keys = sample::keys();
    for key in &keys {
        store.create_key(&tenant, key).await.unwrap();
        store.create_key(&tenant, key).await.unwrap();
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(store.keys(&tenant).await.unwrap(), keys);
    for key in &keys {
        let other = Key { created_at: UnixMs(77), ..key.clone() };
        let refused = store.create_key(&tenant, &other).await;
        assert!(matches!(refused, Err(StoreError::KeyTaken { .. })), "{refused:?}");
    }
    assert_eq!(store.keys(&tenant).await.unwrap(), keys);
}

/// The second writer is told, and a change repeated is one change.
pub async fn of_two_changes_of_a_key_one_is_kept(store: &impl Store) {
    let tenant = sample::tenant();
    let key = sample::key();
    let revoked = key.revoke("ana".into(), UnixMs(9));
    let unknown = store.update_key(&tenant, key.generation, &revoked).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    store.create_key(&tenant, &key).await.unwrap();
    store.update_key(&tenant, key.generation, &revoked).await.unwrap();
    store.update_key(&tenant, key.generation, &revoked).await.unwrap();
    let late = key.revoke("ben".into(), UnixMs(10));
    let refused = store.update_key(&tenant, key.generation, &late).await;
    assert!(matches!(refused, Err(StoreError::KeyChanged { .. })), "{refused:?}");
    assert_eq!(store.keys(&tenant).await.unwrap(), [revoked]);
}

/// Whole days, so that a batch offered twice counts once; one that is behind writes nothing.
pub async fn a_day_of_spending_is_replaced_with_its_mark(store: &impl Store) {
    let tenant = sample::tenant();
    let key = || Payer::Key("acme/prod".into());
    let first =
        [spending(key(), 5, 10), spending(Payer::Customer("acme".into()), 6, 3), spending(Payer::Tenant, 6, u64::MAX)];
    store.add_evidence(&tenant, &batch(3, first.to_vec())).await.unwrap();
    store.add_evidence(&tenant, &batch(3, first.to_vec())).await.unwrap();
    assert_eq!(store.spending(&tenant, Day(0)).await.unwrap(), first);
    assert_eq!(store.spending(&tenant, Day(6)).await.unwrap(), first[1..]);
    let behind = store.add_evidence(&tenant, &batch(2, vec![spending(key(), 5, 99)])).await;
    assert!(matches!(behind, Err(StoreError::Behind { .. })), "{behind:?}");
    store.add_evidence(&tenant, &batch(4, vec![spending(key(), 5, 11)])).await.unwrap();
    assert_eq!(store.spending(&tenant, Day(0)).await.unwrap()[0], spending(key(), 5, 11));
}

/// Nothing crosses tenants.
pub async fn keys_and_spending_are_their_tenants_own(store: &impl Store) {
    let (ours, theirs) = (sample::tenant(), TenantId::from("theirs"));
    store.create_key(&ours, &sample::key()).await.unwrap();
    store.add_evidence(&ours, &batch(1, vec![spending(Payer::Tenant, 1, 1)])).await.unwrap();
    assert!(store.keys(&theirs).await.unwrap().is_empty());
    assert!(store.spending(&theirs, Day(0)).await.unwrap().is_empty());
    let key = sample::key();
    let foreign = store.update_key(&theirs, key.generation, &key.revoke("ana".into(), UnixMs(1))).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })), "{foreign:?}");
    let other = Key { created_at: UnixMs(1), ..sample::key() };
    store.create_key(&theirs, &other).await.unwrap();
    assert_eq!(store.keys(&ours).await.unwrap(), [sample::key()]);
}

/// Of the tenant that is named, and no later day.
pub async fn spending_of_long_ago_is_forgotten(store: &impl Store) {
    let (ours, theirs) = (sample::tenant(), TenantId::from("theirs"));
    let days = |days: [u64; 3]| days.map(|day| spending(Payer::Tenant, day, 1)).to_vec();
    for tenant in [&ours, &theirs] {
        store.add_evidence(tenant, &batch(1, days([4, 5, 6]))).await.unwrap();
    }
    store.forget_spending(&ours, Day(5)).await.unwrap();
    assert_eq!(store.spending(&ours, Day(0)).await.unwrap(), days([4, 5, 6])[1..]);
    assert_eq!(store.spending(&theirs, Day(0)).await.unwrap(), days([4, 5, 6]));
}
