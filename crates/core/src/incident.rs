//! Incidents: what is wrong with what a route asks of its providers, until it is not, or somebody closes it.
//!
//! An incident is its own journal: the entries are only ever added to, and its state is the fold of them. It is opened
//! once for each cause, whoever decides and however often: its id is made of its route, of what it is about and of what
//! began it, and of one subject only one is open at a time.

use crate::drift::NameKind;
use crate::id::{Actor, IncidentId, ReleaseId, RouteName};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// The longest note that is kept, in characters.
pub const NOTE_MAX: usize = 500;

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// `inc_4f2a91c3`.
    pub id: IncidentId,
    /// The route.
    pub route: RouteName,
    /// What it is about.
    pub cause: Cause,
    /// What is wrong, in a sentence with names and numbers.
    pub what: String,
    /// Its journal, oldest first; the first one opened it.
    pub entries: Vec<Entry>,
}

/// What an incident is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum Cause {
    /// Answers of stable come under another name.
    Name {
        /// Provider and model that stable asks for.
        requested: String,
        /// Which name.
        kind: NameKind,
        /// The names before.
        was: String,
        /// The names now.
        is: String,
        /// When that was seen.
        since: UnixMs,
    },
    /// Answers of a release's canary come under another name.
    CanaryName {
        /// The release that exposes it.
        release: ReleaseId,
        /// Provider and model that the canary asks for.
        requested: String,
        /// Which name.
        kind: NameKind,
        /// The names before.
        was: String,
        /// The names now.
        is: String,
        /// When that was seen.
        since: UnixMs,
    },
    /// Stable fails a sentinel that it used to pass.
    Sentinel {
        /// Which.
        sentinel: String,
        /// When the round began that confirmed it.
        since: UnixMs,
    },
    /// The end of the model that stable asks for is near.
    Shutdown {
        /// The model, by its maker's name.
        model: String,
        /// `YYYY-MM-DD`.
        date: String,
    },
}

/// One row of an incident's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: UnixMs,
    /// Who.
    pub by: Actor,
    /// What was done.
    pub step: Step,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What happens to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It begins.
    Opened,
    /// Somebody knows of it.
    Acknowledged,
    /// It is over.
    Closed,
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is over.
    #[error("incident {0} is closed already; a new one is opened where its cause begins anew")]
    Closed(IncidentId),
    /// Somebody said so before.
    #[error("incident {id} was acknowledged by {by} already")]
    Acknowledged {
        /// Which.
        id: IncidentId,
        /// Who.
        by: Actor,
    },
}

impl Step {
    /// A word for programs, of what an incident is after it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }
}

impl Cause {
    /// A word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Name { kind, .. } => kind.word(),
            Self::CanaryName { kind, .. } => match kind {
                NameKind::Model => "canary_model",
                NameKind::Fingerprint => "canary_fingerprint",
                NameKind::Tier => "canary_service_tier",
            },
            Self::Sentinel { .. } => "sentinel",
            Self::Shutdown { .. } => "shutdown",
        }
    }

    /// What it is about, within its route: of one subject only one incident is open.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Name { requested, .. } => format!("{}/{requested}", self.word()),
            Self::CanaryName { release, .. } => format!("{}/{release}", self.word()),
            Self::Sentinel { sentinel, .. } => format!("sentinel/{sentinel}"),
            Self::Shutdown { model, .. } => format!("shutdown/{model}"),
        }
    }

    /// What began it: with route and subject, the same cause.
    fn beginning(&self) -> String {
        match self {
            Self::Name { since, .. } | Self::CanaryName { since, .. } | Self::Sentinel { since, .. } => {
                since.0.to_string()
            }
            Self::Shutdown { date, .. } => date.clone(),
        }
    }
}

impl Incident {
    /// A new one, opened by the loop.
    #[must_use]
    pub fn open(route: &RouteName, cause: Cause, what: String, at: UnixMs) -> Self {
        let id = Self::id_of(route, &cause);
        let opened = Entry { at, by: Actor::coalmine(), step: Step::Opened, note: String::new() };
        Self { id, route: route.clone(), cause, what, entries: vec![opened] }
    }

    /// The id of whatever incident has this cause.
    #[must_use]
    pub fn id_of(route: &RouteName, cause: &Cause) -> IncidentId {
        let mut hasher = blake3::Hasher::new_derive_key("coalmine incident 1");
        for part in [route.as_str(), &cause.subject(), &cause.beginning()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let digits = hasher.finalize().to_hex();
        IncidentId(format!("inc_{}", &digits[..12]))
    }

    /// The last thing that happened to it.
    #[must_use]
    pub fn state(&self) -> Step {
        self.entries.last().map_or(Step::Opened, |entry| entry.step)
    }

    /// Whether it is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state() != Step::Closed
    }

    /// When it was opened.
    #[must_use]
    pub fn opened_at(&self) -> UnixMs {
        self.entries.first().map_or(UnixMs::default(), |entry| entry.at)
    }

    /// Somebody knows of it.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn acknowledge(&self, by: &Actor, note: &str, at: UnixMs) -> Result<Self, NotTaken> {
        match self.entries.last() {
            Some(Entry { step: Step::Closed, .. }) => Err(NotTaken::Closed(self.id.clone())),
            Some(Entry { step: Step::Acknowledged, by, .. }) => {
                Err(NotTaken::Acknowledged { id: self.id.clone(), by: by.clone() })
            }
            Some(Entry { step: Step::Opened, .. }) | None => Ok(self.after(Step::Acknowledged, by, note, at)),
        }
    }

    /// It is over.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn close(&self, by: &Actor, note: &str, at: UnixMs) -> Result<Self, NotTaken> {
        if self.is_open() { Ok(self.after(Step::Closed, by, note, at)) } else { Err(NotTaken::Closed(self.id.clone())) }
    }

    /// Whether `next` is this one with more entries.
    #[must_use]
    pub fn becomes(&self, next: &Self) -> bool {
        let same = self.id == next.id && self.route == next.route && self.cause == next.cause && self.what == next.what;
        same && next.entries.len() > self.entries.len() && next.entries.starts_with(&self.entries)
    }

    fn after(&self, step: Step, by: &Actor, note: &str, at: UnixMs) -> Self {
        let mut next = self.clone();
        let note = note.chars().take(NOTE_MAX).collect();
        next.entries.push(Entry { at, by: by.clone(), step, note });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(since: u64) -> Incident {
        let cause = Cause::Sentinel { sentinel: "refund".to_owned(), since: UnixMs(since) };
        Incident::open(&"support".into(), cause, "in words".to_owned(), UnixMs(since + 5))
    }

    #[test]
    fn one_cause_has_one_id_whoever_opens_it_and_whenever() {
        let later = Incident::open(&"support".into(), failing(7).cause, "else".to_owned(), UnixMs(99));
        assert_eq!(later.id, failing(7).id);
        assert_ne!(failing(8).id, failing(7).id, "it began anew");
        assert_eq!(failing(8).cause.subject(), failing(7).cause.subject());
        let elsewhere = Incident::open(&"sales".into(), failing(7).cause, String::new(), UnixMs(0));
        assert_ne!(elsewhere.id, failing(7).id);
    }

    #[test]
    fn its_state_is_what_happened_last_and_nothing_follows_its_end() {
        let ana = Actor::from("ana");
        let opened = failing(7);
        let known = opened.acknowledge(&ana, "looking", UnixMs(20)).unwrap();
        assert_eq!((opened.state().word(), known.state().word()), ("open", "acknowledged"));
        assert!(matches!(known.acknowledge(&ana, "", UnixMs(21)), Err(NotTaken::Acknowledged { .. })));
        let over = known.close(&Actor::coalmine(), "", UnixMs(30)).unwrap();
        assert!(!over.is_open() && known.is_open());
        assert!(over.close(&ana, "", UnixMs(31)).is_err() && over.acknowledge(&ana, "", UnixMs(31)).is_err());
        assert!(opened.becomes(&known) && opened.becomes(&over) && known.becomes(&over));
        let other = opened.close(&ana, "", UnixMs(20)).unwrap();
        assert!(!known.becomes(&other) && !over.becomes(&known) && !known.becomes(&known));
    }

    #[test]
    fn a_note_is_bounded() {
        let closed = failing(7).close(&"ana".into(), &"ü".repeat(10_000), UnixMs(9)).unwrap();
        assert_eq!(closed.entries[1].note.chars().count(), NOTE_MAX);
    }
}
