//! Laws of captured answers: they come back as sealed, the newest stay, what is deleted is gone, and their use is noted.

use super::sample;
use crate::{CaptureCut, CaptureRow, Store};
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureScope};
use coalmine_core::id::{ReleaseId, RouteName, TenantId};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;

const MANY: u64 = 1_000;

fn release() -> ReleaseId {
    "support-agent-1".into()
}

async fn ids(store: &impl Store, tenant: &TenantId) -> Vec<u128> {
    ids_of(store, tenant, release().into()).await
}

async fn ids_of(store: &impl Store, tenant: &TenantId, scope: CaptureScope) -> Vec<u128> {
    store.capture_heads(tenant, &scope).await.unwrap().into_iter().map(|head| head.id.0).collect()
}

/// Byte for byte; a second one of the same id changes nothing.
pub async fn a_capture_comes_back_sealed_and_once(store: &impl Store) {
    let tenant = sample::tenant();
    let rows = [sample::capture(1, 10), sample::capture(2, 20)];
    assert_eq!(store.put_captures(&tenant, &rows, MANY).await.unwrap(), 0);
    let other = CaptureRow { sealed: vec![1], ..rows[0].clone() };
    assert_eq!(store.put_captures(&tenant, &[other], MANY).await.unwrap(), 0);
    assert_eq!(store.capture(&tenant, CaptureId(1)).await.unwrap().as_ref(), Some(&rows[0]));
    assert_eq!(store.capture(&tenant, CaptureId(3)).await.unwrap(), None);
    let heads = store.capture_heads(&tenant, &release().into()).await.unwrap();
    assert_eq!(heads, [rows[1].head.clone(), rows[0].head.clone()], "the newest first");
    assert!(store.capture_heads(&tenant, &ReleaseId::from("another-1").into()).await.unwrap().is_empty());
}

/// One arm does not push the other one's out, nor one route another's.
pub async fn the_newest_of_each_arm_stay(store: &impl Store) {
    let tenant = sample::tenant();
    let elsewhere = CaptureHead { route: "other".into(), arm: Arm::Control, ..sample::capture(100, 1).head };
    let elsewhere = CaptureRow { head: elsewhere, sealed: vec![] };
    store.put_captures(&tenant, &[sample::capture(2, 1), elsewhere], 2).await.unwrap();
    let control: Vec<CaptureRow> = [1, 3, 5, 7].map(|number| sample::capture(number, 10 + number as u64)).to_vec();
    assert_eq!(store.put_captures(&tenant, &control, 2).await.unwrap(), 2);
    assert_eq!(ids(store, &tenant).await, [7, 5, 100, 2]);
    assert_eq!(
        store.put_captures(&tenant, &[sample::capture(9, 5)], 2).await.unwrap(),
        1,
        "an old one gives way at once"
    );
    assert_eq!(ids(store, &tenant).await, [7, 5, 100, 2]);
}

/// Each way takes its own, and says how many.
pub async fn captures_are_deleted_by_id_release_and_age(store: &impl Store) {
    let tenant = sample::tenant();
    let other = CaptureHead { release: Some("support-agent-2".into()), ..sample::capture(5, 30).head };
    let other = CaptureRow { head: other, sealed: vec![] };
    let rows = [sample::capture(1, 10), sample::capture(2, 20), sample::capture(3, 30), other];
    store.put_captures(&tenant, &rows, MANY).await.unwrap();
    let delete = async |which| store.delete_captures(&tenant, &which).await.unwrap();
    assert_eq!(delete(CaptureCut::ExpiredBy(UnixMs(109))).await, 0);
    assert_eq!(delete(CaptureCut::ExpiredBy(UnixMs(110))).await, 1);
    assert_eq!(ids(store, &tenant).await, [3, 2]);
    assert_eq!(delete(CaptureCut::One(CaptureId(2))).await, 1);
    assert_eq!(delete(CaptureCut::One(CaptureId(2))).await, 0);
    assert_eq!(delete(CaptureCut::Of(release().into())).await, 1);
    assert!(ids(store, &tenant).await.is_empty());
    assert!(store.capture(&tenant, CaptureId(5)).await.unwrap().is_some());
}

/// What a route answered without a release is its own: no release has it, and no release's end takes it.
pub async fn a_route_without_a_release_has_captures_of_its_own(store: &impl Store) {
    let tenant = sample::tenant();
    let steady = || CaptureScope::from(RouteName::from("support-agent"));
    let mut elsewhere = sample::steady_capture(5, 50);
    elsewhere.head.route = "other".into();
    let rows = [sample::capture(1, 10), sample::steady_capture(2, 20), sample::steady_capture(3, 30), elsewhere];
    store.put_captures(&tenant, &rows, MANY).await.unwrap();
    assert_eq!(ids(store, &tenant).await, [1]);
    assert_eq!(ids_of(store, &tenant, steady()).await, [3, 2]);
    assert_eq!(store.capture(&tenant, CaptureId(2)).await.unwrap().as_ref(), Some(&rows[1]));
    store.put_captures(&tenant, &[sample::steady_capture(4, 40)], 2).await.unwrap();
    assert_eq!(ids_of(store, &tenant, steady()).await, [4, 3], "the newest stay");
    let delete = async |which| store.delete_captures(&tenant, &which).await.unwrap();
    assert_eq!(delete(CaptureCut::Of(release().into())).await, 1);
    assert_eq!(delete(CaptureCut::Of(steady())).await, 2);
    assert_eq!(ids_of(store, &tenant, RouteName::from("other").into()).await, [5]);
}

/// The record of who read what is whole until its time is over.
pub async fn a_use_is_noted_once_and_forgotten_in_time(store: &impl Store) {
    let tenant = sample::tenant();
    let mut uses = sample::capture_uses();
    for used in &uses {
        store.note_capture_use(&tenant, used).await.unwrap();
        store.note_capture_use(&tenant, used).await.unwrap();
    }
    uses.reverse();
    assert_eq!(store.capture_uses(&tenant, UnixMs(0)).await.unwrap(), uses);
    assert_eq!(store.capture_uses(&tenant, UnixMs(30)).await.unwrap(), uses[..2]);
    store.forget_capture_uses(&tenant, UnixMs(20)).await.unwrap();
    assert_eq!(store.capture_uses(&tenant, UnixMs(0)).await.unwrap(), uses[..3], "the oldest two are gone");
}

/// Nothing crosses tenants.
pub async fn captures_are_their_tenants_own(store: &impl Store) {
    let (ours, theirs) = (sample::tenant(), TenantId::from("theirs"));
    store.put_captures(&ours, &[sample::capture(1, 10)], MANY).await.unwrap();
    store.note_capture_use(&ours, &sample::capture_uses()[0]).await.unwrap();
    assert!(ids(store, &theirs).await.is_empty());
    assert_eq!(store.capture(&theirs, CaptureId(1)).await.unwrap(), None);
    for which in
        [CaptureCut::One(CaptureId(1)), CaptureCut::Of(release().into()), CaptureCut::ExpiredBy(UnixMs(u64::MAX))]
    {
        assert_eq!(store.delete_captures(&theirs, &which).await.unwrap(), 0);
    }
    store.forget_capture_uses(&theirs, UnixMs(u64::MAX)).await.unwrap();
    assert!(store.capture_uses(&theirs, UnixMs(0)).await.unwrap().is_empty());
    assert_eq!(store.put_captures(&theirs, &[sample::capture(1, 10)], 0).await.unwrap(), 1);
    assert_eq!(ids(store, &ours).await, [1]);
    assert_eq!(store.capture_uses(&ours, UnixMs(0)).await.unwrap().len(), 1);
}
