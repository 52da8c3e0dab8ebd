//! Incidents: opened and closed by the drift watch, acknowledged and closed by people.

use crate::control::Control;
use crate::error::ControlError;
use coalmine_core::id::{Actor, IncidentId, RouteName};
use coalmine_core::incident::{Cause, Entry, Incident, NotTaken, Step};
use coalmine_core::release::effect::{Effect, Notice};
use coalmine_core::time::UnixMs;
use coalmine_store::StoreError;

impl Control {
    /// Those that are open first, each newest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<Incident> {
        let mut all: Vec<Incident> = self.known().incidents.values().cloned().collect();
        all.sort_by_key(|incident| (!incident.is_open(), std::cmp::Reverse(incident.opened_at()), incident.id.clone()));
        all
    }

    /// One, by its id.
    ///
    /// # Errors
    /// When it is not known.
    pub fn incident(&self, id: &IncidentId) -> Result<Incident, ControlError> {
        let found = self.known().incidents.get(id).cloned();
        found.ok_or_else(|| ControlError::UnknownIncident(id.clone()))
    }

    /// Somebody knows of it.
    ///
    /// # Errors
    /// When it is not known, acknowledged or closed already, changed meanwhile, or the store does not answer.
    pub async fn acknowledge_incident(
        &self,
        id: &IncidentId,
        by: &Actor,
        note: &str,
    ) -> Result<Incident, ControlError> {
        self.change_incident(id, |incident, now| incident.acknowledge(by, note, now)).await
    }

    /// It is over, by the word of somebody.
    ///
    /// # Errors
    /// As [`Self::acknowledge_incident`].
    pub async fn close_incident(&self, id: &IncidentId, by: &Actor, note: &str) -> Result<Incident, ControlError> {
        self.change_incident(id, |incident, now| incident.close(by, note, now)).await
    }

    /// As another process may have left them.
    pub(crate) async fn load_incidents(&self) -> Result<(), StoreError> {
        let incidents = self.ask("reading the incidents", self.store.incidents(&self.settings.tenant)).await?;
        self.known().incidents = incidents.into_iter().map(|incident| (incident.id.clone(), incident)).collect();
        Ok(())
    }

    pub(crate) fn open_incidents_of_all(&self) -> Vec<Incident> {
        self.known().incidents.values().filter(|incident| incident.is_open()).cloned().collect()
    }

    pub(crate) fn open_incidents(&self, route: &RouteName) -> Vec<Incident> {
        self.open_incidents_of_all().into_iter().filter(|incident| incident.route == *route).collect()
    }

    /// Opens an incident and tells people, unless its cause has had one.
    pub(crate) async fn open_incident(
        &self,
        route: &RouteName,
        cause: Cause,
        what: String,
        now: UnixMs,
    ) -> Result<(), ControlError> {
        let incident = Incident::open(route, cause, what, now);
        if self.known().incidents.contains_key(&incident.id) {
            return Ok(());
        }
        let Incident { id, route, what, .. } = incident.clone();
        let told = [Effect::Notify(Notice::IncidentOpened { incident: id, route, what })];
        let call = self.store.open_incident(&self.settings.tenant, &incident, &told);
        let stands = self.ask("opening an incident", call).await?;
        if stands.id == incident.id {
            tracing::warn!(incident = %stands.id, route = %stands.route, "{}", stands.what);
        }
        self.known().incidents.insert(stands.id.clone(), stands);
        Ok(())
    }

    /// Closes one whose cause is over; one that somebody closed meanwhile is let be.
    pub(crate) async fn end_incident(&self, incident: &Incident, note: &str, now: UnixMs) -> Result<(), ControlError> {
        match incident.close(&Actor::coalmine(), note, now) {
            Ok(next) => self.write_step(next).await.map(|_| ()),
            Err(NotTaken::Closed(_) | NotTaken::Acknowledged { .. }) => Ok(()),
        }
    }

    async fn change_incident(
        &self,
        id: &IncidentId,
        change: impl Fn(&Incident, UnixMs) -> Result<Incident, NotTaken>,
    ) -> Result<Incident, ControlError> {
        let next = change(&self.incident(id)?, self.clock.now())?;
        self.write_step(next).await
    }

    async fn write_step(&self, next: Incident) -> Result<Incident, ControlError> {
        let told = notices(&next);
        let call = self.store.update_incident(&self.settings.tenant, &next, &told);
        if let Err(error) = self.ask("changing an incident", call).await {
            if matches!(error, StoreError::IncidentChanged { .. } | StoreError::NotFound { .. }) {
                self.load_incidents().await?;
            }
            return Err(error.into());
        }
        if let Some(Entry { by, step, note, .. }) = next.entries.last() {
            tracing::info!(incident = %next.id, route = %next.route, %by, %note, "incident {}", step.word());
        }
        self.known().incidents.insert(next.id.clone(), next.clone());
        Ok(next)
    }
}

/// The end of an incident is told; that somebody knows of it is not.
fn notices(next: &Incident) -> Vec<Effect> {
    let Some(Entry { by, step, note, .. }) = next.entries.last() else { return Vec::new() };
    match step {
        Step::Opened | Step::Acknowledged => Vec::new(),
        Step::Closed => {
            let note = if note.is_empty() { format!("closed by {by}") } else { format!("closed by {by}: {note}") };
            let what = format!("{}; {note}", next.what);
            let (incident, route) = (next.id.clone(), next.route.clone());
            vec![Effect::Notify(Notice::IncidentClosed { incident, route, what })]
        }
    }
}
