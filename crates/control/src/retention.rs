//! What is kept beside the evidence, and what is forgotten.
//!
//! Journals and sealed buckets are kept for good: they are the record. Sessions are forgotten once they
//! have posted their last number; those of a release that is over, with it. What was spent on a day is kept for
//! more than a year, and so is who read what was captured; a captured answer until its time is over.

use crate::control::Control;
use crate::error::chain;
use crate::reconcile::Desk;
use coalmine_core::evidence::RouteHistory;
use coalmine_core::id::{ReleaseId, RouteName};
use coalmine_core::key::Day;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_store::{EvidenceBatch, ReleaseEvidence, StoreError};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often histories and trails are written, by the wall.
const WALL_DOCUMENTS_EVERY: SpanMs = SpanMs::minutes(1);
/// How often what is over is forgotten, by the wall.
const WALL_RETENTION_EVERY: SpanMs = SpanMs::minutes(10);
/// A gateway silent for longer is gone, by the wall.
const WALL_GATEWAY_GONE: SpanMs = SpanMs::minutes(15);
/// Days of which it is kept what was spent on them: more than a year, for whoever reads the store.
const SPENDING_DAYS: u64 = 400;
/// Finished releases looked at in one go.
const RELEASES_AT_ONCE: usize = 16;

impl Control {
    /// The hourly summaries of a route's stable traffic, as the loop has them.
    pub async fn route_history(&self, route: &RouteName) -> Option<RouteHistory> {
        self.desk.lock().await.histories.get(route).cloned()
    }

    /// Once, at the start and when this node takes over: what was known of names and sentinels.
    pub(crate) async fn read_watch(&self, desk: &mut Desk) {
        if desk.watch_read {
            return;
        }
        let routes: Vec<RouteName> = self.known().routes.keys().cloned().collect();
        let (mut all_names, mut all_steady) = (BTreeMap::new(), BTreeMap::new());
        for route in routes {
            let names = self.read_watched(&names_document(&route)).await;
            let steady = self.read_watched(&steady_document(&route)).await;
            let (Ok(names), Ok(steady)) = (names, steady) else { return };
            all_names.extend(names.map(|names| (route.clone(), names)));
            all_steady.extend(steady.map(|steady| (route, steady)));
        }
        (desk.names, desk.watch_read) = (all_names, true);
        let mut known = self.known();
        known.steady = all_steady;
        // Whoever decided before has asked meanwhile.
        known.steady_rounds.clear();
        known.is_steady_read = true;
    }

    /// What cannot be read is begun anew; `Err` where the store does not answer.
    async fn read_watched<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let found = self.ask("reading a document", self.store.document(&self.settings.tenant, name)).await;
        let text = found.inspect_err(|error| tracing::warn!(%name, error = %chain(error), "it was not read"))?;
        Ok(text.and_then(|text| {
            let read = serde_json::from_str(&text);
            read.inspect_err(|error| tracing::warn!(%name, %error, "it cannot be read and is begun anew")).ok()
        }))
    }

    /// Once, at the start: a history that cannot be read is begun anew.
    pub(crate) async fn read_documents(&self, desk: &mut Desk) {
        if desk.histories_read {
            return;
        }
        let routes: Vec<RouteName> = self.known().routes.keys().cloned().collect();
        for route in routes {
            let name = history_document(&route);
            match self.ask("reading a history", self.store.document(&self.settings.tenant, &name)).await {
                Ok(None) => {}
                Ok(Some(text)) => match serde_json::from_str(&text) {
                    Ok(history) => {
                        desk.histories.insert(route, history);
                    }
                    Err(error) => tracing::warn!(%route, %error, "the history cannot be read and is begun anew"),
                },
                Err(error) => {
                    tracing::warn!(%route, error = %chain(&error), "the history was not read");
                    return;
                }
            }
        }
        desk.histories_read = true;
    }

    /// Writes histories and trails once a minute, and forgets what is over.
    pub(crate) async fn keep_house(&self, desk: &mut Desk, now: UnixMs) {
        if now.since(desk.documents_at) >= self.clock.of_wall(WALL_DOCUMENTS_EVERY) {
            desk.documents_at = now;
            if let Err(error) = self.write_documents(desk).await {
                tracing::warn!(error = %chain(&error), "histories and trails are not written; tried again in a minute");
            }
            if let Err(error) = self.load_incidents().await {
                tracing::warn!(error = %chain(&error), "what other nodes did to incidents is not read");
            }
            self.expire_captures().await;
        }
        if now.since(desk.retention_at) >= self.clock.of_wall(WALL_RETENTION_EVERY) {
            desk.retention_at = now;
            self.known().gateways.forget_silent(now, self.clock.of_wall(WALL_GATEWAY_GONE));
            if let Err(error) = self.forget_sessions(desk).await {
                tracing::warn!(error = %chain(&error), "sessions of finished releases are not forgotten yet");
            }
            if let Err(error) = self.forget_capture_uses().await {
                tracing::warn!(error = %chain(&error), "who read captures long ago is not forgotten yet");
            }
            let oldest = Day(Day::of(now).0.saturating_sub(SPENDING_DAYS));
            let forget = self.store.forget_spending(&self.settings.tenant, oldest);
            if let Err(error) = self.ask("forgetting what was spent", forget).await {
                tracing::warn!(error = %chain(&error), "what was spent long ago is not forgotten yet");
            }
        }
    }

    async fn write_documents(&self, desk: &mut Desk) -> Result<(), StoreError> {
        let (mut documents, mut ended) = (Vec::new(), Vec::new());
        for (route, history) in &desk.histories {
            documents.push((history_document(route), serde_json::to_string(history)));
        }
        for (route, names) in &desk.names {
            documents.push((names_document(route), serde_json::to_string(names)));
        }
        {
            let known = self.known();
            for (route, steady) in known.steady.iter().filter(|_| desk.watch_read) {
                documents.push((steady_document(route), serde_json::to_string(steady)));
            }
            // Of a release that is over once more, so that its picture has its end.
            for (id, found) in &known.releases {
                let is_over = !found.release.state.is_watched();
                if found.trail.points.is_empty() || (is_over && desk.drawn.contains(id)) {
                    continue;
                }
                documents.push((crate::trail::document_of(id), serde_json::to_string(&found.trail)));
                ended.extend(is_over.then(|| id.clone()));
            }
        }
        for (name, text) in documents {
            let text = text.map_err(|error| StoreError::Corrupt { what: format!("document {name}: {error}") })?;
            self.ask("writing a document", self.store.put_document(&self.settings.tenant, &name, &text)).await?;
        }
        desk.drawn.extend(ended);
        Ok(())
    }

    /// Sessions that still owed a number when their release ended.
    async fn forget_sessions(&self, desk: &mut Desk) -> Result<(), StoreError> {
        let over: Vec<ReleaseId> = {
            let known = self.known();
            let over = known.releases.values().filter(|found| !found.release.state.is_watched());
            let due = over.filter(|found| !desk.forgotten.contains(&found.release.id));
            due.take(RELEASES_AT_ONCE).map(|found| found.release.id.clone()).collect()
        };
        for id in over {
            let kept = self.ask("reading the evidence", self.store.evidence(&self.settings.tenant, &id)).await?;
            let unmirrored: Vec<_> = kept.mirrored.into_iter().map(|(unit, _)| unit).collect();
            if !kept.sessions.is_empty() || !unmirrored.is_empty() {
                // Whatever lap a row is of, none of its sessions lives.
                let evidence =
                    ReleaseEvidence { whole_from: u64::MAX, unmirrored, ..ReleaseEvidence::empty(id.clone()) };
                let batch = EvidenceBatch { counted: Vec::new(), releases: vec![Arc::new(evidence)], spending: vec![] };
                self.ask("forgetting sessions", self.store.add_evidence(&self.settings.tenant, &batch)).await?;
            }
            desk.forgotten.insert(id);
        }
        Ok(())
    }
}

fn names_document(route: &RouteName) -> String {
    format!("names/{route}")
}

fn steady_document(route: &RouteName) -> String {
    format!("sentinels/{route}")
}

fn history_document(route: &RouteName) -> String {
    format!("history/{route}")
}
