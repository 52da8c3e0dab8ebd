//! Why the control plane did not do it.

use coalmine_core::id::{Actor, Generation, IncidentId, KeyName, ReleaseId, RouteName};
use coalmine_core::incident::NotTaken;
use coalmine_core::key::KeyRefused;
use coalmine_core::release::decide::Refused;
use coalmine_core::version::VersionId;
use coalmine_store::StoreError;

/// What was asked and not done. Variants are named for what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Ask for another one.
    #[error("release {0} is not known; `coalmine status` lists the releases")]
    UnknownRelease(ReleaseId),
    /// Ask for another one.
    #[error("route {0} is not known; add it to `routes` in the configuration")]
    UnknownRoute(RouteName),
    /// Ask for another one.
    #[error("key {0} is not known; `coalmine key list` lists the keys")]
    UnknownKey(KeyName),
    /// Ask for another one.
    #[error("incident {0} is not known; `coalmine incidents list --all` lists them")]
    UnknownIncident(IncidentId),
    /// Look again and repeat: somebody else was faster.
    #[error("incident {0} was changed meanwhile; look again and repeat")]
    IncidentChanged(IncidentId),
    /// The incident's state does not allow it.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// Choose another name.
    #[error("there is a key {0} already; a name is taken once, also by a key that was revoked: choose another one")]
    KeyTaken(KeyName),
    /// Look again and repeat: somebody else was faster.
    #[error("key {0} was changed meanwhile; look again and repeat")]
    KeyChanged(KeyName),
    /// The key's state does not allow it.
    #[error(transparent)]
    KeyRefused(#[from] KeyRefused),
    /// Look again and repeat: somebody else was faster.
    #[error(
        "release {release} was changed meanwhile by {by} (generation {found}, expected {expected}); look again and repeat"
    )]
    Conflict {
        /// Which.
        release: ReleaseId,
        /// Who changed it.
        by: Actor,
        /// The generation now.
        found: Generation,
        /// The one that was expected.
        expected: Generation,
    },
    /// The state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Repeat until it is done, or do it at once.
    #[error("{verb} waits for the canary's upstreams ({why}); repeat it, or with `now` (--now) wait for nothing")]
    NotReady {
        /// What was asked.
        verb: &'static str,
        /// What they say, in words with numbers.
        why: String,
    },
    /// There is nothing to release.
    #[error("the canary is version {version}, which route {route} serves already; change something first")]
    SameVersion {
        /// Which route.
        route: RouteName,
        /// Which version.
        version: VersionId,
    },
    /// End the other release first.
    #[error(
        "route {route} already has release {running}, which is not over and goes on; a route tries one version at a time: wait for its end, or `coalmine rollback {running}` and start again"
    )]
    RouteBusy {
        /// Which route.
        route: RouteName,
        /// The release in the way.
        running: ReleaseId,
    },
    /// Mend the release.
    #[error("the release cannot be created: {0}")]
    BadRelease(String),
    /// Label another answer, or with another value.
    #[error("the label is not taken: {0}")]
    BadLabel(String),
    /// Switch it on.
    #[error("nothing is captured here: `capture` does not stand in coalmine.yaml")]
    NoCapture,
    /// Ask one who may.
    #[error("{0} may not read captured texts; `capture.readers` in coalmine.yaml names who may")]
    MayNotRead(Actor),
    /// Ask for another one.
    #[error("there is no capture {0}; it may have expired. `coalmine captures list RELEASE` lists what there is")]
    UnknownCapture(String),
    /// Bring the key, or give it up.
    #[error("the capture cannot be opened")]
    Sealed(#[source] crate::captures::seal::SealError),
    /// State the traffic.
    #[error(transparent)]
    TooLittle(#[from] coalmine_core::forecast::TooLittle),
    /// Look again before repeating: what was asked may or may not have been written.
    #[error("the store does not answer now; look at the status before repeating")]
    StoreSilent(#[source] StoreError),
    /// Mend the ceiling file: it may hold down a release that must not be exposed.
    #[error("what is held down cannot be read")]
    Ceiling(#[source] crate::ports::BrakeError),
    /// Do not go on: an operator must look at the store.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { release, by, found, expected } => Self::Conflict { release, by, found, expected },
            StoreError::KeyTaken { key } => Self::KeyTaken(key),
            StoreError::IncidentChanged { incident } => Self::IncidentChanged(incident),
            StoreError::KeyChanged { key } => Self::KeyChanged(key),
            StoreError::RouteBusy { route, running } => Self::RouteBusy { route, running },
            error @ StoreError::Unavailable { .. } => Self::StoreSilent(error),
            error @ (StoreError::NotFound { .. } | StoreError::Behind { .. } | StoreError::Corrupt { .. }) => {
                Self::Store(error)
            }
        }
    }
}

/// An error with its sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}
