//! Laws of routes, versions, documents and tenants.

use super::sample;
use crate::{EvidenceBatch, ReleaseEvidence, Seeded, Store, StoreError};
use coalmine_core::id::{Generation, RouteName, TenantId};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::UnixMs;
use coalmine_core::version::VersionId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A file seeds a route that is unknown, and is ignored afterwards.
pub async fn a_seed_is_taken_once(store: &impl Store) {
    let route = RouteName::from("support-agent");
    let (row, seeded) = store.seed_route(&sample::tenant(), &route, &sample::stable()).await.unwrap();
    assert_eq!(seeded, Seeded::New);
    assert_eq!((row.stable, row.table_generation, row.releases), (sample::stable().id(), Generation(0), 0));
    let known = store.version(&sample::tenant(), row.stable).await.unwrap();
    assert_eq!(known, Some(sample::stable()));

    let (again, seeded) = store.seed_route(&sample::tenant(), &route, &sample::canary()).await.unwrap();
    assert_eq!(seeded, Seeded::Known);
    assert_eq!(again, row);
}

/// Routes are read in the order of their names.
pub async fn routes_are_listed_by_name(store: &impl Store) {
    assert!(store.routes(&sample::tenant()).await.unwrap().is_empty());
    for name in ["sales", "billing", "support-agent"] {
        store.seed_route(&sample::tenant(), &name.into(), &sample::stable()).await.unwrap();
    }
    let names: Vec<_> = store.routes(&sample::tenant()).await.unwrap().into_iter().map(|row| row.route.0).collect();
    assert_eq!(names, ["billing", "sales", "support-agent"]);
}

/// The stable version is the last one set.
pub async fn stable_is_set_and_read(store: &impl Store) {
    let route = RouteName::from("support-agent");
    store.seed_route(&sample::tenant(), &route, &sample::stable()).await.unwrap();
    let canary = store.put_version(&sample::tenant(), &sample::canary()).await.unwrap();
    let row = store.set_stable(&sample::tenant(), &route, canary).await.unwrap();
    assert_eq!(row.stable, canary);
    assert_eq!(store.routes(&sample::tenant()).await.unwrap(), [row]);
}

/// No route points to a version that nobody can read, and no unknown route is made by the way.
pub async fn a_stable_version_must_be_known(store: &impl Store) {
    let route = RouteName::from("support-agent");
    let (row, _) = store.seed_route(&sample::tenant(), &route, &sample::stable()).await.unwrap();
    let unknown = VersionId([9; 32]);
    let refused = store.set_stable(&sample::tenant(), &route, unknown).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let refused = store.set_stable(&sample::tenant(), &"sales".into(), row.stable).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    assert_eq!(store.routes(&sample::tenant()).await.unwrap(), [row]);
}

/// Strictly increasing, also when many ask at once, and per route.
pub async fn a_table_generation_is_never_handed_out_twice(store: &impl Store) {
    let (route, other) = (RouteName::from("support-agent"), RouteName::from("sales"));
    for name in [&route, &other] {
        store.seed_route(&sample::tenant(), name, &sample::stable()).await.unwrap();
    }
    let tenant = sample::tenant();
    let ask = || store.next_table_generation(&tenant, &route);
    let answers = tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
    let (a, b, c, d, e, f, g, h) = answers;
    let handed_out: BTreeSet<_> = [a, b, c, d, e, f, g, h].into_iter().map(Result::unwrap).collect();
    assert_eq!(handed_out, (1..=8).map(Generation).collect());
    assert_eq!(store.next_table_generation(&tenant, &route).await.unwrap(), Generation(9));
    assert_eq!(store.next_table_generation(&tenant, &other).await.unwrap(), Generation(1));
    let rows = store.routes(&tenant).await.unwrap();
    assert_eq!(rows[1].table_generation, Generation(9), "the route shows its last one");
    let refused = store.next_table_generation(&tenant, &"unknown".into()).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

/// A version is kept under the hash of its content; a second time is harmless.
pub async fn versions_come_back_whole(store: &impl Store) {
    for version in sample::versions_of_every_kind() {
        let id = store.put_version(&sample::tenant(), &version).await.unwrap();
        assert_eq!(id, version.id());
        assert_eq!(store.put_version(&sample::tenant(), &version).await.unwrap(), id);
        assert_eq!(store.version(&sample::tenant(), id).await.unwrap(), Some(version));
    }
    assert_eq!(store.version(&sample::tenant(), VersionId([9; 32])).await.unwrap(), None);
}

/// A document is what was put last.
pub async fn a_document_is_replaced(store: &impl Store) {
    assert_eq!(store.document(&sample::tenant(), "notified").await.unwrap(), None);
    for text in ["{\"at\":1}", "", "größer \u{0}"] {
        store.put_document(&sample::tenant(), "notified", text).await.unwrap();
        assert_eq!(store.document(&sample::tenant(), "notified").await.unwrap().as_deref(), Some(text));
    }
    assert_eq!(store.document(&sample::tenant(), "other").await.unwrap(), None);
}

/// Nothing of one tenant is seen or touched by another, equal names included.
pub async fn tenants_do_not_see_each_other(store: &impl Store) {
    let (ours, theirs) = (sample::tenant(), TenantId::from("theirs"));
    let route = RouteName::from("support-agent");
    let release = sample::release(&route, 1);
    let first = sample::row(&release, &"ana".into());
    store.seed_route(&ours, &route, &sample::stable()).await.unwrap();
    store.put_version(&ours, &sample::canary()).await.unwrap();
    store.create_release(&release, &first).await.unwrap();
    let running = sample::next(&release, State::Running { stage: 0, entered_at: UnixMs(5) });
    let effects = [Effect::Publish { route: route.clone() }];
    store.commit_step(release.generation, &running, &sample::row(&running, &"ana".into()), &effects).await.unwrap();
    let evidence = ReleaseEvidence {
        sealed: sample::sealed_buckets(),
        totals: Some("{}".to_owned()),
        ..ReleaseEvidence::empty(release.id.clone())
    };
    let batch = EvidenceBatch {
        counted: vec![("gw".into(), 1, 5)],
        releases: vec![Arc::new(evidence.clone())],
        spending: vec![],
    };
    store.add_evidence(&ours, &batch).await.unwrap();
    store.put_document(&ours, "notified", "ours").await.unwrap();

    assert!(store.routes(&theirs).await.unwrap().is_empty());
    assert_eq!(store.version(&theirs, release.stable).await.unwrap(), None);
    assert_eq!(store.release(&theirs, &release.id).await.unwrap(), None);
    assert!(store.releases(&theirs, None).await.unwrap().is_empty());
    assert!(store.journal(&theirs, &release.id).await.unwrap().is_empty());
    assert!(store.outbox(&theirs).await.unwrap().is_empty());
    assert!(store.counted(&theirs).await.unwrap().is_empty());
    assert_eq!(store.evidence(&theirs, &release.id).await.unwrap(), ReleaseEvidence::empty(release.id.clone()));
    assert_eq!(store.document(&theirs, "notified").await.unwrap(), None);
    assert!(store.next_table_generation(&theirs, &route).await.is_err());
    assert!(store.set_stable(&theirs, &route, release.stable).await.is_err());

    let foreign = Release { tenant: theirs.clone(), ..sample::next(&running, State::Draft) };
    let refused = store.commit_step(running.generation, &foreign, &first, &[]).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    let pending = store.outbox(&ours).await.unwrap();
    store.settle_effect(&theirs, pending[0].id, Ok(())).await.unwrap();
    assert_eq!(store.outbox(&ours).await.unwrap(), pending, "another tenant cannot settle it");

    store.seed_route(&theirs, &route, &sample::canary()).await.unwrap();
    store.put_document(&theirs, "notified", "theirs").await.unwrap();
    store
        .add_evidence(
            &theirs,
            &EvidenceBatch { counted: vec![("gw".into(), 1, 2)], releases: vec![], spending: vec![] },
        )
        .await
        .unwrap();
    assert_eq!(store.document(&ours, "notified").await.unwrap().as_deref(), Some("ours"));
    assert_eq!(store.counted(&ours).await.unwrap(), [("gw".into(), 1, 5)]);
    assert_eq!(store.evidence(&ours, &release.id).await.unwrap(), evidence);
    assert_eq!(store.release(&ours, &release.id).await.unwrap(), Some(running));
}

/// It answers while nothing is wrong.
pub async fn it_answers_a_ping(store: &impl Store) {
    store.ping().await.unwrap();
}
