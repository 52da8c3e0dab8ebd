//! Laws of evidence: every delta counts once, and what is sealed stays.

use super::sample;
use crate::{EvidenceBatch, ReleaseEvidence, Store, StoreError};
use coalmine_core::evidence::{SealedBucket, Session, TwoArms};
use coalmine_core::id::{GatewayId, ReleaseId, UnitKey};
use coalmine_core::metric::{Metric, Number};
use coalmine_core::time::UnixMs;
use std::collections::BTreeMap;
use std::sync::Arc;

fn release() -> ReleaseId {
    "support-agent-1".into()
}

fn session(requests: u64) -> Session {
    Session { requests, ..sample::session() }
}

fn batch(counted: &[(&str, u64, u64)], change: ReleaseEvidence) -> EvidenceBatch {
    let counted = counted.iter().map(|(gateway, epoch, sequence)| (GatewayId::from(*gateway), *epoch, *sequence));
    EvidenceBatch { counted: counted.collect(), releases: vec![Arc::new(change)], spending: vec![] }
}

fn sessions(rows: &[(u128, u64)]) -> ReleaseEvidence {
    let rows = rows.iter().map(|(unit, requests)| (UnitKey(*unit), Arc::new(session(*requests))));
    ReleaseEvidence { sessions: rows.collect(), ..ReleaseEvidence::empty(release()) }
}

/// Mirrored sessions by their unit and the place of their sample.
fn mirrored(rows: &[(u128, usize)]) -> ReleaseEvidence {
    let samples = sample::mirrored_sessions();
    let rows = rows.iter().map(|(unit, which)| (UnitKey(*unit), Arc::new(samples[*which].clone())));
    ReleaseEvidence { mirrored: rows.collect(), ..ReleaseEvidence::empty(release()) }
}

async fn read(store: &impl Store) -> ReleaseEvidence {
    store.evidence(&sample::tenant(), &release()).await.unwrap()
}

async fn add(store: &impl Store, batch: &EvidenceBatch) -> Result<(), StoreError> {
    store.add_evidence(&sample::tenant(), batch).await
}

/// Everything of a release's evidence is read as it was written; of several releases each its own.
pub async fn evidence_comes_back(store: &impl Store) {
    let whole = ReleaseEvidence {
        yardstick: Some(sample::yardstick()),
        sessions: vec![
            (UnitKey(0), Arc::new(session(1))),
            (UnitKey(1 << 64), Arc::new(session(2))),
            (UnitKey(u128::MAX), Arc::new(session(3))),
        ],
        mirrored: mirrored(&[(1, 0), (5, 1)]).mirrored,
        sealed: sample::sealed_buckets(),
        totals: Some("{\"exposed\":3}".to_owned()),
        ..ReleaseEvidence::empty(release())
    };
    let other = ReleaseEvidence { release: "sales-1".into(), ..sessions(&[(1, 9)]) };
    let both = EvidenceBatch {
        counted: vec![],
        releases: vec![Arc::new(whole.clone()), Arc::new(other.clone())],
        spending: vec![],
    };
    add(store, &both).await.unwrap();
    assert_eq!(read(store).await, whole);
    assert_eq!(store.evidence(&sample::tenant(), &"sales-1".into()).await.unwrap(), other);

    // What a batch does not speak of stays.
    add(store, &batch(&[], sessions(&[]))).await.unwrap();
    assert_eq!(read(store).await, whole);
}

/// A session's row is replaced whole, and goes once all that were exposed with it have posted their last number.
pub async fn a_session_is_replaced_and_forgotten(store: &impl Store) {
    let exposed = |unit, at, requests| (UnitKey(unit), Arc::new(Session { exposed_at: at, ..session(requests) }));
    let (early, late) = (UnixMs(1_000), UnixMs(2_000));
    let begun = vec![exposed(1, early, 1), exposed(2, late, 1), exposed(3, early, 1)];
    add(store, &batch(&[], ReleaseEvidence { sessions: begun, ..sessions(&[]) })).await.unwrap();
    let changed = vec![exposed(3, early, 4), exposed(2, late, 5)];
    let change = ReleaseEvidence { sessions: changed, live_from: late, ..sessions(&[]) };
    add(store, &batch(&[], change)).await.unwrap();
    let left = ReleaseEvidence { sessions: vec![exposed(2, late, 5)], live_from: late, ..sessions(&[]) };
    assert_eq!(read(store).await, left);
    let stale = ReleaseEvidence { live_from: early, ..sessions(&[]) };
    add(store, &batch(&[], stale)).await.unwrap();
    assert_eq!(read(store).await, left, "it never falls");
}

/// Rows of a lap go once a later one holds whatever lives; the highest lap comes back.
pub async fn rows_of_an_earlier_lap_go(store: &impl Store) {
    add(store, &batch(&[], sessions(&[(1, 1), (2, 1)]))).await.unwrap();
    add(store, &batch(&[], ReleaseEvidence { lap: 1, ..sessions(&[(2, 2)]) })).await.unwrap();
    assert_eq!(read(store).await, ReleaseEvidence { lap: 1, ..sessions(&[(1, 1), (2, 2)]) });
    add(store, &batch(&[], ReleaseEvidence { lap: 1, whole_from: 1, ..sessions(&[(3, 1)]) })).await.unwrap();
    assert_eq!(read(store).await, ReleaseEvidence { lap: 1, ..sessions(&[(2, 2), (3, 1)]) });
    add(store, &batch(&[], ReleaseEvidence { whole_from: u64::MAX, ..sessions(&[]) })).await.unwrap();
    assert_eq!(read(store).await, sessions(&[]));
}

/// So is a mirrored session's, young or counted, until it is not remembered any longer; it is none of the sessions.
pub async fn a_mirrored_session_is_replaced_and_forgotten(store: &impl Store) {
    add(store, &batch(&[], mirrored(&[(1, 0), (2, 0), (3, 0)]))).await.unwrap();
    let change =
        ReleaseEvidence { unmirrored: vec![UnitKey(1), UnitKey(3), UnitKey(77)], ..mirrored(&[(2, 1), (3, 1)]) };
    add(store, &batch(&[], change)).await.unwrap();
    assert_eq!(read(store).await, mirrored(&[(2, 1)]));
}

/// A bucket is sealed once; the order of sealing is kept, whatever the buckets' own order.
pub async fn a_sealed_bucket_never_changes(store: &impl Store) {
    let order = [(Number::Session, 4), (Number::First, 5), (Number::First, 2), (Number::Whole, 1)];
    for (number, bucket) in order {
        let sealed = vec![sample::sealed(number, bucket)];
        add(store, &batch(&[], ReleaseEvidence { sealed, ..sessions(&[]) })).await.unwrap();
    }
    let metrics = BTreeMap::from([(Metric::ErrorRate, TwoArms::default())]);
    let other = SealedBucket { metrics, ..sample::sealed(Number::First, 2) };
    let sealed = vec![other, sample::sealed(Number::First, 6)];
    add(store, &batch(&[], ReleaseEvidence { sealed, ..sessions(&[]) })).await.unwrap();

    let mut expected: Vec<_> = order.map(|(number, bucket)| sample::sealed(number, bucket)).into();
    expected.push(sample::sealed(Number::First, 6));
    assert_eq!(read(store).await.sealed, expected);
}

/// The same batch again changes nothing.
pub async fn a_batch_repeated_counts_once(store: &impl Store) {
    let sealed = sample::sealed_buckets();
    let once = batch(&[("a", 1, 4), ("a", 1, 5)], ReleaseEvidence { sealed, ..sessions(&[(1, 1)]) });
    add(store, &once).await.unwrap();
    let before = read(store).await;
    add(store, &once).await.unwrap();
    assert_eq!(read(store).await, before);
    assert_eq!(store.counted(&sample::tenant()).await.unwrap(), [("a".into(), 1, 5)]);
}

/// An intake that another one has overtaken writes nothing, and is told how far the other one is.
pub async fn a_batch_left_behind_is_refused_whole(store: &impl Store) {
    add(store, &batch(&[("a", 1, 5), ("b", 1, 3)], sessions(&[(1, 9)]))).await.unwrap();
    let late = batch(&[("b", 1, 4), ("a", 1, 4)], sessions(&[(1, 2), (2, 2)]));
    let refused = add(store, &late).await.unwrap_err();
    let StoreError::Behind { gateway, epoch, found, offered } = refused else { panic!("not told: {refused:?}") };
    assert_eq!((gateway.as_str(), epoch, found, offered), ("a", 1, 5, 4));
    assert_eq!(read(store).await, sessions(&[(1, 9)]));
    let marks = [("a".into(), 1, 5), ("b".into(), 1, 3)];
    assert_eq!(store.counted(&sample::tenant()).await.unwrap(), marks);
}

/// A restarted gateway counts anew, beside its former self; no number is too large.
pub async fn marks_are_kept_per_gateway_and_epoch(store: &impl Store) {
    assert!(store.counted(&sample::tenant()).await.unwrap().is_empty());
    let marks = [("b", 2, 1), ("a", u64::MAX, u64::MAX - 1), ("a", 1, 7), ("b", 1, 900)];
    for mark in marks {
        add(store, &batch(&[mark], sessions(&[]))).await.unwrap();
    }
    add(store, &batch(&[("a", u64::MAX, u64::MAX)], sessions(&[]))).await.unwrap();
    let expected = [("a".into(), 1, 7), ("a".into(), u64::MAX, u64::MAX), ("b".into(), 1, 900), ("b".into(), 2, 1)];
    assert_eq!(store.counted(&sample::tenant()).await.unwrap(), expected);
}

/// A gateway may report on a release that a restored store has never seen: intake goes on.
pub async fn evidence_of_an_unknown_release_is_kept(store: &impl Store) {
    assert_eq!(read(store).await, ReleaseEvidence::empty(release()));
    add(store, &batch(&[("a", 1, 1)], sessions(&[(1, 1)]))).await.unwrap();
    assert_eq!(read(store).await, sessions(&[(1, 1)]));
}
