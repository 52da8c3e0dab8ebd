//! Laws of judges: the pinned judge, its scores' sums, and what it has shown, spent and been labelled survive a store.

use super::sample;
use crate::{EvidenceBatch, ReleaseEvidence, Store};
use coalmine_core::evidence::Totals;
use coalmine_core::id::{Actor, RouteName, UnitKey};
use coalmine_core::judge::{Happened, JudgeRecords, Standing};
use coalmine_core::metric::Metric;
use coalmine_core::release::state::Release;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;
use std::sync::Arc;

const NOON: UnixMs = UnixMs(1_750_000_000_000);

async fn created(store: &impl Store) -> Release {
    let route: RouteName = "support-agent".into();
    store.seed_route(&sample::tenant(), &route, &sample::stable()).await.unwrap();
    store.put_version(&sample::tenant(), &sample::canary()).await.unwrap();
    let release = sample::judged(&sample::release(&route, 1));
    store.create_release(&release, &sample::row(&release, &Actor::from("ana"))).await.unwrap();
    release
}

/// The judge that a release was created with is the one that it is read with: rubric, sampling, anchors and identity.
pub async fn a_judge_stays_pinned(store: &impl Store) {
    let release = created(store).await;
    let read = store.release(&sample::tenant(), &release.id).await.unwrap().unwrap();
    assert_eq!(read.policy, release.policy);
    let ids = |release: &Release| release.policy.judged().map(|(judge, _)| judge.id()).collect::<Vec<_>>();
    assert_eq!((ids(&read), ids(&read).len()), (ids(&release), 1));
}

/// What a judge has shown comes back whole, and goes on from there: a restart opens no budget anew, forgets no label,
/// and believes no judge that was held.
pub async fn what_a_judge_has_shown_comes_back(store: &impl Store) {
    let release = created(store).await;
    let (judge, _) = release.policy.judged().next().unwrap();
    let mut records = JudgeRecords::default();
    let happened = [
        Happened::Asked { usd: Some(0.25) },
        Happened::Anchored { agreed: 2, of: 2 },
        Happened::Scored { arm: Arm::Canary, value: 0.0, item: Some(u64::MAX) },
        Happened::Scored { arm: Arm::Control, value: 1.0, item: None },
        Happened::Labelled { item: u64::MAX, value: 1.0 },
        Happened::Dropped { arm: Arm::Control, count: 3 },
        Happened::Failed { arm: Some(Arm::Canary), why: "status 503".to_owned() },
        Happened::Skipped { arm: Arm::Canary },
    ];
    happened.iter().for_each(|happened| records.absorb(judge, happened, NOON));
    write(store, &release, &records).await;
    assert_eq!(read(store, &release).await, records);

    // The rest of the day's money, spent after a restart, is of the same day.
    let mut again = read(store, &release).await;
    again.absorb(judge, &Happened::Asked { usd: Some(0.75) }, NOON);
    write(store, &release, &again).await;
    let found = read(store, &release).await;
    let record = found.get(judge).unwrap();
    assert!(matches!(record.standing(judge, NOON), Standing::Spent { .. }), "{record:?}");
    assert_eq!(record.item(u64::MAX).and_then(|item| item.label), Some(1.0));
}

/// A session's score is kept under its judge's name, beside what people say under the same one.
pub async fn a_score_is_kept_under_its_judge(store: &impl Store) {
    let release = created(store).await;
    let session = sample::judged_session();
    let sessions = vec![(UnitKey(1), Arc::new(session.clone()))];
    let change = ReleaseEvidence { sessions, ..ReleaseEvidence::empty(release.id.clone()) };
    add(store, change).await;
    let found = store.evidence(&sample::tenant(), &release.id).await.unwrap().sessions;
    assert_eq!(found, [(UnitKey(1), Arc::new(session))]);
    let metrics = [Metric::Judge("helpful".to_owned()), Metric::Feedback("helpful".to_owned())];
    assert_eq!(metrics.map(|metric| found[0].1.sums.get(&metric).map(|sums| sums.whole)), [Some(0.25), Some(1.0)]);
}

async fn add(store: &impl Store, change: ReleaseEvidence) {
    let batch = EvidenceBatch { counted: vec![], releases: vec![Arc::new(change)], spending: vec![] };
    store.add_evidence(&sample::tenant(), &batch).await.unwrap();
}

async fn write(store: &impl Store, release: &Release, judges: &JudgeRecords) {
    let totals = Totals { judges: judges.clone(), ..Totals::default() };
    let totals = Some(serde_json::to_string(&totals).unwrap());
    add(store, ReleaseEvidence { totals, ..ReleaseEvidence::empty(release.id.clone()) }).await;
}

async fn read(store: &impl Store, release: &Release) -> JudgeRecords {
    let totals = store.evidence(&sample::tenant(), &release.id).await.unwrap().totals.unwrap();
    serde_json::from_str::<Totals>(&totals).unwrap().judges
}
