//! Laws of incidents: opened once for a cause, a journal that only grows, and notices that come with each step.

use super::sample;
use crate::{Store, StoreError};
use coalmine_core::id::{Actor, TenantId};
use coalmine_core::incident::Incident;
use coalmine_core::release::effect::{Effect, Notice};
use coalmine_core::time::UnixMs;

fn told(incident: &Incident) -> [Effect; 1] {
    let Incident { id, route, what, .. } = incident.clone();
    [Effect::Notify(Notice::IncidentOpened { incident: id, route, what })]
}

/// However often and by whomever: the first one stands, and is told of once, also after it is over.
pub async fn a_cause_opens_one_incident(store: &impl Store) {
    let tenant = sample::tenant();
    let incident = sample::failing(7);
    assert_eq!(store.open_incident(&tenant, &incident, &told(&incident)).await.unwrap(), incident);
    let other_node = Incident { what: "in other words".to_owned(), ..incident.clone() };
    for again in [&incident, &other_node] {
        assert_eq!(store.open_incident(&tenant, again, &told(again)).await.unwrap(), incident);
    }
    let pending = store.outbox(&tenant).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!((&pending[0].release, &pending[0].effect), (&None, &told(&incident)[0]));
    let closed = incident.close(&Actor::from("ana"), "known", UnixMs(99)).unwrap();
    store.update_incident(&tenant, &closed, &[]).await.unwrap();
    assert_eq!(store.open_incident(&tenant, &incident, &told(&incident)).await.unwrap(), closed);
    assert_eq!(store.incidents(&tenant).await.unwrap(), [closed]);
    store.settle_effect(&tenant, pending[0].id, Ok(())).await.unwrap();
    assert!(store.outbox(&tenant).await.unwrap().is_empty());
}

/// Another beginning of the same subject is that incident while it is open, and one of its own afterwards.
pub async fn a_subject_has_one_open_incident(store: &impl Store) {
    let tenant = sample::tenant();
    let (first, later) = (sample::failing(7), sample::failing(8));
    store.open_incident(&tenant, &first, &told(&first)).await.unwrap();
    assert_eq!(store.open_incident(&tenant, &later, &told(&later)).await.unwrap(), first);
    let closed = first.close(&Actor::coalmine(), "", UnixMs(9)).unwrap();
    store.update_incident(&tenant, &closed, &[]).await.unwrap();
    assert_eq!(store.open_incident(&tenant, &later, &told(&later)).await.unwrap(), later);
    assert_eq!(store.incidents(&tenant).await.unwrap(), [later, closed], "those that are open come first");
}

/// Every kind is read as it was written.
pub async fn incidents_come_back_whole(store: &impl Store) {
    let tenant = sample::tenant();
    let all = sample::incidents();
    for incident in &all {
        store.open_incident(&tenant, incident, &[]).await.unwrap();
    }
    let found = store.incidents(&tenant).await.unwrap();
    assert_eq!(found.len(), all.len());
    assert!(all.iter().all(|incident| found.contains(incident)), "{found:?}");
}

/// Of two steps at once one is taken; a step repeated is one; and nothing is taken back.
pub async fn a_journal_of_an_incident_only_grows(store: &impl Store) {
    let (tenant, ana, ben) = (sample::tenant(), Actor::from("ana"), Actor::from("ben"));
    let opened = sample::failing(7);
    let unknown = store.update_incident(&tenant, &opened, &[]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    store.open_incident(&tenant, &opened, &[]).await.unwrap();
    let known = opened.acknowledge(&ana, "looking", UnixMs(20)).unwrap();
    store.update_incident(&tenant, &known, &told(&opened)).await.unwrap();
    store.update_incident(&tenant, &known, &told(&opened)).await.unwrap();
    assert_eq!(store.outbox(&tenant).await.unwrap().len(), 1);
    let late = opened.close(&ben, "", UnixMs(21)).unwrap();
    for refused in [&late, &opened] {
        let refused = store.update_incident(&tenant, refused, &told(&opened)).await;
        assert!(matches!(refused, Err(StoreError::IncidentChanged { .. })), "{refused:?}");
    }
    assert_eq!(store.incidents(&tenant).await.unwrap(), [known]);
    assert_eq!(store.outbox(&tenant).await.unwrap().len(), 1);
}

/// Nothing crosses tenants.
pub async fn incidents_are_their_tenants_own(store: &impl Store) {
    let (ours, theirs) = (sample::tenant(), TenantId::from("theirs"));
    let incident = sample::failing(7);
    store.open_incident(&ours, &incident, &told(&incident)).await.unwrap();
    assert!(store.incidents(&theirs).await.unwrap().is_empty());
    let foreign = store.update_incident(&theirs, &incident.close(&"eve".into(), "", UnixMs(9)).unwrap(), &[]).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })), "{foreign:?}");
    assert_eq!(store.open_incident(&theirs, &sample::failing(8), &[]).await.unwrap(), sample::failing(8));
    assert_eq!(store.incidents(&ours).await.unwrap(), [incident]);
}
