//! Incidents, and how a route's own sentinels stand on its stable version.

use coalmine_control::view::SteadyStatus;
use coalmine_core::incident::{Entry, Incident};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wrong with a route, release or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentView {
    /// `inc_4f2a91c3d0b7`.
    pub id: String,
    /// The route.
    pub route: String,
    /// `open`, `acknowledged` or `closed`.
    pub state: String,
    /// `model`, `fingerprint` or `service_tier` of stable, the same with `canary_` before it, `sentinel` or `shutdown`.
    pub kind: String,
    /// What it is about within its route: of one subject only one incident is open.
    pub subject: String,
    /// A sentence with names and numbers.
    pub what: String,
    /// When it was opened, in milliseconds since 1970.
    pub opened_at_ms: u64,
    /// Its journal, oldest first.
    pub journal: Vec<IncidentStepView>,
}

/// One row of an incident's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentStepView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who; `coalmine` for the loop itself.
    pub by: String,
    /// What it is since then: `open`, `acknowledged` or `closed`.
    pub state: String,
    /// Why; may be empty.
    pub note: String,
}

/// What is said of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentBody {
    /// Why; kept in its journal.
    #[serde(default)]
    pub note: String,
}

/// One of a route's own sentinels, as stable answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SteadyView {
    /// Its name.
    pub name: String,
    /// `unasked`, `qualifying`, `passing` or `failing`.
    pub state: String,
    /// Rounds in a row that passed.
    pub passed_in_a_row: u32,
    /// When its newest round began, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// What was not met in that round, or what the trouble was; in the suite's words.
    pub fault: Option<String>,
}

impl From<&Incident> for IncidentView {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.to_string(),
            route: incident.route.to_string(),
            state: incident.state().word().to_owned(),
            kind: incident.cause.word().to_owned(),
            subject: incident.cause.subject(),
            what: incident.what.clone(),
            opened_at_ms: incident.opened_at().0,
            journal: incident.entries.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Entry> for IncidentStepView {
    fn from(entry: &Entry) -> Self {
        Self {
            at_ms: entry.at.0,
            by: entry.by.to_string(),
            state: entry.step.word().to_owned(),
            note: entry.note.clone(),
        }
    }
}

impl From<SteadyStatus> for SteadyView {
    fn from(status: SteadyStatus) -> Self {
        let SteadyStatus { name, state, passed_in_a_row, asked_at, fault } = status;
        let (state, at_ms) = (state.word().to_owned(), asked_at.map(|at| at.0));
        Self { name, state, passed_in_a_row, at_ms, fault }
    }
}
